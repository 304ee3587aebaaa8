#include "droidflow/pipeline/delivery.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <string>
#include <sys/stat.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsSupersetOf;

const std::string kPath = "LAB/success/2024-01-02/Tue_Jan__2_03:04:05_2024";

std::vector<std::string> NamesIn(const fs::path& directory) {
  std::vector<std::string> names;
  const Result<std::vector<FileStamp>> files = ListFiles(directory);
  for (const FileStamp& file : files.value_or(std::vector<FileStamp>())) names.push_back(file.name);
  return names;
}

bool IsOneFile(const fs::path& a, const fs::path& b) {
  struct stat stat_a = {};
  struct stat stat_b = {};
  return stat(a.c_str(), &stat_a) == 0 && stat(b.c_str(), &stat_b) == 0 &&
         stat_a.st_ino == stat_b.st_ino;
}

class DeliveryTest : public testing::Test {
 protected:
  MetadataOptions Options() {
    MetadataOptions options;
    options.out = dir_ / "out";
    return options;
  }

  /// Delivers an episode with two products of the whole and one of depth.
  TaskResult DeliverOne(const MetadataOptions& options) {
    EXPECT_THAT(MakeDirectories(options.RunDir()), IsOk());
    Result<Delivery> delivery = Delivery::Prepare(options);
    EXPECT_THAT(delivery, IsOk());
    for (const char* name : {"quality.json", "tracks.npz", "recordings/7/depth.mkv"}) {
      EXPECT_THAT(WriteFile(delivery->ScratchOf(3) / name, name), IsOk());
    }
    Result<TaskResult> delivered = delivery->Deliver(3, *EpisodeRefFromPath(kPath));
    EXPECT_THAT(delivered, IsOk());
    EXPECT_FALSE(fs::exists(delivery->ScratchOf(3)));
    EXPECT_THAT(delivery->CleanUp(), IsOk());
    return delivered.value_or(TaskResult{});
  }

  TemporaryDirectory dir_;
};

const std::vector<std::string> kWhole = {"quality.json", "recordings/7/depth.mkv", "tracks.npz"};

TEST_F(DeliveryTest, PutsAnEpisodeIntoOutWithoutQueues) {
  const TaskResult result = DeliverOne(Options());
  EXPECT_EQ(result.directory, kPath);
  EXPECT_EQ(result.files.size(), 3);
  EXPECT_EQ(NamesIn(dir_ / "out" / kPath), kWhole);
}

TEST_F(DeliveryTest, PutsLinksWithoutDepthIntoTheSecondQueue) {
  MetadataOptions options = Options();
  options.full.batch_dir = dir_ / "whole";
  options.full.batch_metadata_dir = dir_ / "metadata";
  const TaskResult result = DeliverOne(options);
  EXPECT_EQ(result.directory, dir_ / "whole" / kPath);
  EXPECT_EQ(NamesIn(dir_ / "whole" / kPath), kWhole);
  EXPECT_THAT(NamesIn(dir_ / "metadata" / kPath), ElementsAre("quality.json", "tracks.npz"));
  EXPECT_TRUE(
      IsOneFile(dir_ / "whole" / kPath / "tracks.npz", dir_ / "metadata" / kPath / "tracks.npz"));
  EXPECT_FALSE(fs::exists(dir_ / "out" / kPath));
}

TEST_F(DeliveryTest, KeepsTheWholeInOutWithAQueueOfMetadataOnly) {
  MetadataOptions options = Options();
  options.full.batch_metadata_dir = dir_ / "metadata";
  EXPECT_EQ(DeliverOne(options).directory, kPath);
  EXPECT_EQ(NamesIn(dir_ / "out" / kPath), kWhole);
  EXPECT_THAT(NamesIn(dir_ / "metadata" / kPath), ElementsAre("quality.json", "tracks.npz"));
}

TEST_F(DeliveryTest, WorksWithOneFolderForEverything) {
  MetadataOptions options = Options();
  options.scratch_dir = options.full.staging_dir = options.full.batch_dir =
      options.full.batch_metadata_dir = dir_ / "all";
  DeliverOne(options);
  EXPECT_EQ(NamesIn(dir_ / "all" / kPath), kWhole);
  EXPECT_EQ(NamesIn(dir_ / "all").size(), 3) << "nothing hidden is left";
}

TEST_F(DeliveryTest, CopiesFromAnotherFileSystem) {
  MetadataOptions options = Options();
  const fs::path other = "/dev/shm";
  std::error_code error;
  if (!fs::is_directory(other, error)) GTEST_SKIP() << "no second file system";
  options.scratch_dir = other / ("droidflow-test-" + std::to_string(getpid()));
  options.full.staging_dir = dir_ / "staging";
  DeliverOne(options);
  fs::remove_all(options.scratch_dir);
  EXPECT_EQ(NamesIn(dir_ / "out" / kPath), kWhole);
}

TEST_F(DeliveryTest, EmptiesWhatACrashLeftButNotAnotherRuns) {
  MetadataOptions options = Options();
  options.scratch_dir = dir_ / "scratch";
  MetadataOptions other = options;
  other.run_dir = dir_ / "other-run";
  for (const MetadataOptions& each : {options, other}) {
    ASSERT_THAT(MakeDirectories(each.RunDir()), IsOk());
    Result<Delivery> delivery = Delivery::Prepare(each);
    ASSERT_THAT(delivery, IsOk());
    ASSERT_THAT(WriteFile(delivery->ScratchOf(0) / "half", "x"), IsOk());
  }
  ASSERT_THAT(NamesIn(dir_ / "scratch"), testing::SizeIs(2));
  ASSERT_THAT(Delivery::Prepare(options), IsOk());
  EXPECT_THAT(NamesIn(dir_ / "scratch"), testing::SizeIs(1));
}

TEST_F(DeliveryTest, TellsAnEpisodeThatLeftItsQueueFromOneThatIsMissing) {
  EXPECT_TRUE(HasLeftTheQueue(dir_ / "queue" / kPath));
  ASSERT_THAT(MakeDirectories(dir_ / "queue" / kPath), IsOk());
  EXPECT_FALSE(HasLeftTheQueue(dir_ / "queue" / kPath));
  EXPECT_FALSE(HasLeftTheQueue(kPath)) << "in --out";
}

}  // namespace
}  // namespace droidflow

#include "droidflow/pipeline/disk_budget.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;
using testing::AllOf;
using testing::Ge;
using testing::Le;

// Half-random bytes, so that no file system stores less than there is.
std::string Bytes(std::size_t count) {
  std::string bytes(count, '\0');
  std::uint32_t state = 1;
  for (char& byte : bytes) byte = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

constexpr std::size_t kMegabyte = 1'000'000;

TEST(MeasureFolders, CountsALinkedFileOnceAndEpisodesByTheirQuality) {
  const TemporaryDirectory dir;
  ASSERT_THAT(WriteFile(dir / "full/a/depth.mkv", Bytes(kMegabyte)), IsOk());
  ASSERT_THAT(WriteFile(dir / "full/a/quality.json", "{}"), IsOk());
  ASSERT_THAT(WriteFile(dir / "full/.droidflow/run-1/arriving/quality.json", "{}"), IsOk());
  ASSERT_THAT(MakeDirectories(dir / "metadata"), IsOk());
  fs::create_hard_link(dir / "full/a/depth.mkv", dir / "metadata/depth.mkv");
  const FolderUse use = MeasureFolders({dir / "full", dir / "metadata"});
  EXPECT_THAT(use.bytes, AllOf(Ge(kMegabyte), Le(kMegabyte + 40'000)));
  EXPECT_EQ(use.episodes, 1);
}

TEST(MeasureFolders, CountsFoldersInFoldersOnce) {
  const TemporaryDirectory dir;
  ASSERT_THAT(WriteFile(dir / "queue/.droidflow/scratch/x", Bytes(kMegabyte)), IsOk());
  const FolderUse once = MeasureFolders({dir / "queue"});
  EXPECT_EQ(MeasureFolders({dir / "queue/.droidflow", dir / "queue"}), once);
  EXPECT_EQ(MeasureFolders({dir / "queue", dir / "queue"}), once);
  EXPECT_EQ(MeasureFolders({dir / "queue", dir / "gone"}), once);
}

TEST(DiskBudget, HasNoRoomUntilSomebodyTakesEpisodesAway) {
  const TemporaryDirectory dir;
  Result<DiskBudget> budget = DiskBudget::Make({dir / "queue"}, 2 * kMegabyte);
  ASSERT_THAT(budget, IsOk());
  const DiskBudget::Clock::time_point start = DiskBudget::Clock::now();
  EXPECT_TRUE(budget->HasRoom(0, start));
  ASSERT_THAT(WriteFile(dir / "queue/a", Bytes(2 * kMegabyte)), IsOk());
  EXPECT_FALSE(budget->HasRoom(0, start + seconds(60)));
  fs::remove(dir / "queue/a");
  EXPECT_TRUE(budget->HasRoom(0, start + seconds(120)));
}

TEST(DiskBudget, CountsWhatEpisodesInHandWillTake) {
  const TemporaryDirectory dir;
  Result<DiskBudget> budget = DiskBudget::Make({dir / "queue"}, 3 * kMegabyte);
  ASSERT_THAT(budget, IsOk());
  const DiskBudget::Clock::time_point start = DiskBudget::Clock::now();
  ASSERT_THAT(WriteFile(dir / "queue/a", Bytes(kMegabyte)), IsOk());
  budget->Delivered(kMegabyte);
  EXPECT_TRUE(budget->HasRoom(1, start + seconds(60)));
  EXPECT_FALSE(budget->HasRoom(2, start + seconds(61)));
}

TEST(DiskBudget, TakesNineTenthsOfTheFreeSpaceUnlessTold) {
  const TemporaryDirectory dir;
  const Result<std::uint64_t> free_bytes = FreeBytes(dir.path());
  ASSERT_THAT(free_bytes, IsOk());
  const Result<DiskBudget> budget = DiskBudget::Make({dir.path()}, std::nullopt);
  ASSERT_THAT(budget, IsOk());
  // Others use the disk too.
  EXPECT_NEAR(
      static_cast<double>(budget->limit_bytes()) / static_cast<double>(*free_bytes), 0.9, 0.05);
}

}  // namespace
}  // namespace droidflow

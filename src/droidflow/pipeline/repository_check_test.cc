#include "droidflow/pipeline/repository_check.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/sha256.h"
#include "droidflow/core/test_support.h"
#include "droidflow/pipeline/hub_targets.h"
#include "droidflow/transfer/folder_store.h"
#include "droidflow/transfer/uploader.h"

#include <chrono>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// An output tree, and the folder that it is uploaded to.
class RepositoryCheckTest : public ::testing::TestWithParam<HubLayout> {
 protected:
  void SetUp() override { ASSERT_THAT(store.Prepare(), IsOk()); }

  void Make(const std::string& episode) const {
    const fs::path place = out() / "LAB/success" / episode;
    for (const char* const name : {"tracks.npz", "quality.json", "recordings/1/depth.mkv"}) {
      ASSERT_THAT(WriteFile(place / name, episode + " " + name), IsOk());
    }
  }

  void Upload(const std::string& episode) {
    UploadQueue queue = UploadQueue::Open(out() / ".droidflow").value();
    const UploadEntry entry =
        MakeUploadEntry(kFullDestination, "uuid-of-" + episode, out(), "LAB/success/" + episode)
            .value();
    ASSERT_THAT(queue.Enqueue({&entry, 1}), IsOk());
    UploadTarget target{.name = kFullDestination, .store = &store};
    if (GetParam() == HubLayout::kShards) target.shards = ShardOptions{};
    ASSERT_THAT(RunUploader(out() / ".droidflow",
                            {&target, 1},
                            {.interval = std::chrono::milliseconds(0),
                             .keep_uploaded = true,
                             .poll = std::chrono::milliseconds(10)})
                    .status,
                IsOk());
  }

  RepositoryContents Contents() {
    const auto contents = ReadRepository(store);
    EXPECT_THAT(contents, IsOk());
    return *contents;
  }

  RepositoryFindings CheckTree(const char* destination = kFullDestination) {
    const RepositoryContents contents = Contents();
    RepositoryCheck check(contents);
    EXPECT_THAT(ExpectTree(check, out(), destination), IsOk());
    return check.Finish(store, 100).value();
  }

  RepositoryFindings CheckQueue() {
    const RepositoryContents contents = Contents();
    RepositoryCheck check(contents);
    UploadQueue queue = UploadQueue::Open(out() / ".droidflow").value();
    EXPECT_THAT(ExpectConfirmed(check, queue, kFullDestination), IsOk());
    return check.Finish(store, 100).value();
  }

  /// The first file of the hub whose name ends so.
  [[nodiscard]] fs::path InHub(const std::string& end) const {
    for (const auto& entry : fs::recursive_directory_iterator(hub())) {
      const std::string path = entry.path().string();
      if (path.find(".droidflow") == std::string::npos && path.ends_with(end)) return entry.path();
    }
    return {};
  }

  [[nodiscard]] fs::path out() const { return folder / "out"; }
  [[nodiscard]] fs::path hub() const { return folder / "hub"; }

  TemporaryDirectory folder;
  FolderStore store{folder / "hub"};
};

INSTANTIATE_TEST_SUITE_P(Layouts,
                         RepositoryCheckTest,
                         ::testing::Values(HubLayout::kFiles, HubLayout::kShards),
                         [](const auto& layout) { return std::string(ToString(layout.param)); });

TEST_P(RepositoryCheckTest, TellsWhatEpisodesThereAre) {
  Make("a");
  Make("b");
  Upload("a");
  Upload("b");
  const RepositoryContents contents = Contents();
  ASSERT_THAT(contents.episodes, SizeIs(2));
  const RepositoryEpisode& a = contents.episodes[0];
  EXPECT_EQ(a.folder, "LAB/success/a");
  EXPECT_EQ(a.files.size(), 3U);
  EXPECT_EQ(a.TotalBytes(),
            3 * 2 + std::string("tracks.npzquality.jsonrecordings/1/depth.mkv").size());
  EXPECT_EQ(contents.HasShards(), GetParam() == HubLayout::kShards);
  EXPECT_EQ(a.uuid, GetParam() == HubLayout::kShards ? "uuid-of-a" : "");
  EXPECT_TRUE(contents.HasDepth());
  for (const RepositoryFile& file : a.files) {
    EXPECT_EQ(ReadStored(store, contents.revision, a.StoredIn(file), file.offset, file.size_bytes)
                  .value(),
              "a " + file.name);
  }
}

TEST_P(RepositoryCheckTest, FindsNothingWrongWithWhatWasUploaded) {
  Make("a");
  Upload("a");
  for (const RepositoryFindings& findings : {CheckTree(), CheckQueue()}) {
    EXPECT_TRUE(findings.AllWell());
    EXPECT_EQ(findings.expected_episodes, 1U);
    EXPECT_THAT(findings.extra, IsEmpty());
    EXPECT_EQ(findings.read_back, 3U);
  }
}

TEST_P(RepositoryCheckTest, FindsWhatIsMissing) {
  Make("a");
  Upload("a");
  Make("b");
  const RepositoryFindings findings = CheckTree();
  EXPECT_THAT(findings.missing,
              ElementsAre("LAB/success/b/quality.json",
                          "LAB/success/b/recordings/1/depth.mkv",
                          "LAB/success/b/tracks.npz"));
  EXPECT_FALSE(findings.AllWell());
  EXPECT_TRUE(CheckQueue().AllWell());  // nobody has uploaded it
}

TEST_P(RepositoryCheckTest, FindsWhatIsDifferentOfTheSameSize) {
  Make("a");
  Upload("a");
  ASSERT_THAT(WriteFile(out() / "LAB/success/a/tracks.npz", "A tracks.npz"), IsOk());
  const RepositoryFindings findings = CheckTree();
  ASSERT_THAT(findings.different, SizeIs(1));
  EXPECT_EQ(findings.different[0].path, "LAB/success/a/tracks.npz");
  EXPECT_THAT(findings.different[0].text, HasSubstr("want 12 bytes of hash "));
  EXPECT_FALSE(findings.AllWell());
}

TEST_P(RepositoryCheckTest, TakesDepthForExtraWhereItIsNotWanted) {
  Make("a");
  Upload("a");
  const RepositoryFindings findings = CheckTree(kMetadataDestination);
  EXPECT_THAT(findings.extra, ElementsAre("LAB/success/a/recordings/1/depth.mkv"));
  EXPECT_TRUE(findings.AllWell());
}

TEST_P(RepositoryCheckTest, FindsBytesThatRotted) {
  Make("a");
  Upload("a");
  const bool shards = GetParam() == HubLayout::kShards;
  const fs::path file = InHub(shards ? ".tar" : "tracks.npz");
  std::string bytes = ReadFileText(file).value();
  const std::size_t at = bytes.find("a tracks.npz");
  ASSERT_NE(at, std::string::npos);
  bytes[at] = 'A';
  fs::permissions(file, fs::perms::owner_write, fs::perm_options::add);
  ASSERT_THAT(WriteFile(file, bytes), IsOk());
  const RepositoryFindings findings = CheckTree();
  ASSERT_THAT(findings.damaged, SizeIs(1));
  EXPECT_EQ(findings.damaged[0].path, "LAB/success/a/tracks.npz");
  EXPECT_FALSE(findings.AllWell());
}

TEST_P(RepositoryCheckTest, FindsFilesThatWereConfirmedAndAreGone) {
  Make("a");
  Upload("a");
  fs::remove(InHub(GetParam() == HubLayout::kShards ? ".tar" : "tracks.npz"));
  const RepositoryFindings findings = CheckQueue();
  ASSERT_THAT(findings.missing, SizeIs(1));
  if (GetParam() == HubLayout::kShards) {
    EXPECT_THAT(findings.missing[0], HasSubstr("data/LAB/shard-"));
    ASSERT_THAT(findings.damaged, SizeIs(3));
    EXPECT_THAT(findings.damaged[0].text, HasSubstr("no such shard: data/LAB/shard-"));
  } else {
    EXPECT_EQ(findings.missing[0], "LAB/success/a/tracks.npz");
  }
}

TEST(ReadRepository, SaysThatThereIsNone) {
  const TemporaryDirectory folder;
  FolderStore store(folder.path());
  EXPECT_THAT(ReadRepository(store), FailsAs("no_repository", HasSubstr(folder.path().string())));
}

}  // namespace
}  // namespace droidflow

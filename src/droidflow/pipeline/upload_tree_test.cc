#include "droidflow/pipeline/upload_tree.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

void AddEpisode(const fs::path& root, const std::string& folder, const std::string& quality) {
  ASSERT_THAT(WriteFile(root / folder / "tracks.npz", "tracks"), IsOk());
  ASSERT_THAT(WriteFile(root / folder / "quality.json", quality), IsOk());
}

std::int64_t Staged(UploadQueue& queue, const std::string& destination) {
  return (*queue.Counts())[destination].of(UploadState::kStaged).episodes;
}

TEST(UploadTree, EpisodesAreFoundOutsideOfHiddenFolders) {
  const TemporaryDirectory root;
  AddEpisode(root.path(), "LAB/success/b", "{}");
  AddEpisode(root.path(), "LAB/success/a/recordings", "{}");
  AddEpisode(root.path(), "LAB/success/a", "{}");
  AddEpisode(root.path(), ".droidflow/incoming/c", "{}");
  ASSERT_THAT(WriteFile(root / "LAB/notes.txt", "x"), IsOk());
  std::vector<std::string> found;
  ASSERT_THAT(WalkEpisodes(root.path(),
                           [&](const std::string& folder) -> Status {
                             found.push_back(folder);
                             return {};
                           }),
              IsOk());
  EXPECT_THAT(found, ElementsAre("LAB/success/a", "LAB/success/b"));
}

TEST(UploadTree, AnEpisodeIsCalledWhatItsQualityFileCallsIt) {
  const TemporaryDirectory root;
  AddEpisode(root.path(), "a", R"({"episode_id": "LAB+1+2"})");
  AddEpisode(root.path(), "b", "no JSON");
  AddEpisode(root.path(), "c", R"({"episode_id": 3})");
  EXPECT_EQ(EpisodeKey(root.path(), "a"), "LAB+1+2");
  EXPECT_EQ(EpisodeKey(root.path(), "b"), "b");
  EXPECT_EQ(EpisodeKey(root.path(), "c"), "c");
  EXPECT_EQ(EpisodeKey(root.path(), "none"), "none");
}

TEST(UploadTree, OnlyWhatIsNewIsQueuedAgain) {
  const TemporaryDirectory root;
  AddEpisode(root.path(), "a", "{}");
  UploadQueue queue = *UploadQueue::Open(root / ".droidflow");
  UploadTree tree(root.path(), {"full", "metadata"});
  EXPECT_EQ(tree.EnqueueNew(queue).value(), 1U);
  EXPECT_EQ(tree.EnqueueNew(queue).value(), 0U);
  AddEpisode(root.path(), "b", "{}");
  AddEpisode(root.path(), "new", "{}");
  ASSERT_THAT(PlaceDirectory(root / "new", root / "a"), IsOk());
  EXPECT_EQ(tree.EnqueueNew(queue).value(), 2U);
  EXPECT_EQ(Staged(queue, "full"), 2);
  EXPECT_EQ(Staged(queue, "metadata"), 2);
}

TEST(UploadTree, AnEpisodeIsNoTree) {
  const TemporaryDirectory root;
  AddEpisode(root.path(), "", "{}");
  UploadQueue queue = *UploadQueue::Open(root / ".droidflow");
  EXPECT_THAT(UploadTree(root.path(), {"full"}).EnqueueNew(queue),
              FailsWith(ErrorKind::kUsage, HasSubstr("it is an episode")));
}

TEST(UploadTree, ADamagedQueueIsMadeAgainOfTheEpisodesOnTheDisk) {
  const TemporaryDirectory root;
  AddEpisode(root.path(), "LAB/a", "{}");
  AddEpisode(root.path(), ".droidflow/incoming/b", "{}");
  ASSERT_THAT(WriteFile(root / ".droidflow/upload.sqlite", std::string(5000, 'x')), IsOk());
  std::vector<std::string> notes;
  Result<UploadQueue> queue =
      OpenOrRebuildQueue(root / ".droidflow", {root.path()}, {"full"}, [&](const auto& note) {
        notes.push_back(note);
      });
  ASSERT_THAT(queue, IsOk());
  EXPECT_THAT(notes, ElementsAre(HasSubstr("made again")));
  EXPECT_EQ(Staged(*queue, "full"), 1);
  EXPECT_TRUE(fs::exists(root / ".droidflow/upload.sqlite.damaged-1"));
}

}  // namespace
}  // namespace droidflow

#include "droidflow/pipeline/dataset_card.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/sha256.h"
#include "droidflow/core/test_support.h"
#include "droidflow/transfer/folder_store.h"
#include "droidflow/transfer/memory_store.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

const CardContext kTracks{.repo = "lab/tracks", .episodes = 40};

/// Puts a text there, as a person does who edits files on the Hub.
void Commit(Store& store, const std::string& path, const std::string& text) {
  const TemporaryDirectory folder;
  ASSERT_TRUE(WriteFile(folder / "file", text));
  const OutgoingFile file{.path = path,
                          .source = folder / "file",
                          .size_bytes = text.size(),
                          .sha256 = Sha256OfFile(folder / "file").value(),
                          .git_oid = GitBlobOidOfFile(folder / "file").value()};
  ASSERT_TRUE(store.Put({&file, 1}).front());
  ASSERT_TRUE(store.Commit({.files = {file}, .summary = "Update " + path}));
}

std::string CardOf(Store& store) {
  std::string text;
  EXPECT_TRUE(store.Read(
      *store.Head(), "README.md", 0, std::nullopt, [&](std::span<const std::byte> bytes) -> Status {
        text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return {};
      }));
  return text;
}

std::vector<std::string> PathsOf(Store& store) {
  std::vector<std::string> paths;
  EXPECT_TRUE(
      store.List(*store.Head(), "", [&](const StoredFile& file) { paths.push_back(file.path); }));
  return paths;
}

class DatasetCard : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(store.Prepare()); }

  MemoryStore store;
};

TEST(DatasetCardText, SaysWhatTheHubAsksForAtItsStart) {
  const std::string card = FormatDatasetCard(kTracks);
  EXPECT_THAT(card, StartsWith("---\nlicense: cc-by-4.0\npretty_name: "));
  EXPECT_THAT(card,
              AllOf(HasSubstr("\ntask_categories:\n- robotics\n"),
                    HasSubstr("\n---\n\n# "),
                    HasSubstr("hf download lab/tracks --repo-type dataset --local-dir data"),
                    HasSubstr("@inproceedings{khazatsky2024droid,")));
}

TEST(DatasetCardText, PutsTheNumberOfEpisodesIntoTheHubsBins) {
  const auto card = [](std::int64_t episodes) { return FormatDatasetCard({.episodes = episodes}); };
  EXPECT_THAT(card(0), HasSubstr("\n- n<1K\n"));
  EXPECT_THAT(card(999), HasSubstr("\n- n<1K\n"));
  EXPECT_THAT(card(1000), HasSubstr("\n- 1K<n<10K\n"));
  EXPECT_THAT(card(76000), HasSubstr("\n- 10K<n<100K\n"));
  EXPECT_THAT(card(100000), HasSubstr("\n- 100K<n<1M\n"));
}

TEST(DatasetCardText, SpeaksOfDepthWhereThereIsSome) {
  EXPECT_THAT(FormatDatasetCard(kTracks),
              AllOf(Not(HasSubstr("depth_meta.json\n")), Not(HasSubstr("ffmpeg"))));
  EXPECT_THAT(
      FormatDatasetCard({.depth = true}),
      AllOf(HasSubstr("### recordings/{serial}/depth_meta.json\n"), HasSubstr("ffmpeg -v error")));
}

TEST(DatasetCardText, SaysHowShardsAreReadByRanges) {
  const CardContext context{.repo = "lab/tracks", .branch = "next", .shards = true};
  EXPECT_THAT(FormatDatasetCard(context),
              AllOf(HasSubstr("/datasets/lab/tracks/resolve/next/"),
                    HasSubstr("\"Range\""),
                    HasSubstr("--revision next")));
  EXPECT_THAT(FormatDatasetCard({.shards = true}),
              AllOf(HasSubstr("meta/shard-"), Not(HasSubstr("\"Range\""))));
}

TEST(DatasetCardText, SaysWhatTheEpisodesWereMadeWith) {
  EXPECT_THAT(FormatDatasetCard({.config = R"({"points":480,"step_mm":1.5})", .version = "7.8.9"}),
              AllOf(HasSubstr("droidflow 7.8.9."),
                    HasSubstr("```json\n{\n  \"points\": 480,\n  \"step_mm\": 1.5\n}\n```\n")));
}

TEST(DatasetCardText, ShowsWhetherAnyoneChangedIt) {
  const std::string card = FormatDatasetCard(kTracks);
  EXPECT_THAT(card, EndsWith(" -->\n"));
  EXPECT_TRUE(IsGeneratedCard(card));
  EXPECT_FALSE(IsGeneratedCard(card + "\nBy us."));
  EXPECT_FALSE(IsGeneratedCard("By us.\n" + card));
  std::string changed = card;
  changed.replace(changed.find("cc-by-4.0"), 9, "cc-by-3.0");
  EXPECT_FALSE(IsGeneratedCard(changed));
  EXPECT_FALSE(IsGeneratedCard(""));
  EXPECT_FALSE(IsGeneratedCard("# Our data\n"));
}

TEST_F(DatasetCard, IsWrittenAndRenewedWhileNobodyHasChangedIt) {
  EXPECT_EQ(WriteDatasetCard(store, kTracks), CardOutcome::kWritten);
  EXPECT_EQ(CardOf(store), FormatDatasetCard(kTracks));
  EXPECT_EQ(WriteDatasetCard(store, kTracks), CardOutcome::kUpToDate);
  EXPECT_EQ(store.CountOf(StoreCall::kCommit), 1);
  CardContext more = kTracks;
  more.episodes = 5000;
  EXPECT_EQ(WriteDatasetCard(store, more), CardOutcome::kWritten);
  EXPECT_EQ(CardOf(store), FormatDatasetCard(more));
}

TEST_F(DatasetCard, StaysAsAPersonLeftIt) {
  ASSERT_EQ(WriteDatasetCard(store, kTracks), CardOutcome::kWritten);
  const std::string edited = FormatDatasetCard(kTracks) + "\nBy us.\n";
  Commit(store, "README.md", edited);
  EXPECT_EQ(WriteDatasetCard(store, {.episodes = 5000}), CardOutcome::kKept);
  EXPECT_TRUE(EnsureDatasetCard(store, {.episodes = 5000}));
  EXPECT_EQ(CardOf(store), edited);
}

TEST_F(DatasetCard, OfARunIsWrittenOnce) {
  Commit(store, "LAB/e/tracks.npz", "tracks");
  EXPECT_TRUE(EnsureDatasetCard(store, kTracks));
  EXPECT_THAT(PathsOf(store), ::testing::UnorderedElementsAre("LAB/e/tracks.npz", "README.md"));
  EXPECT_TRUE(EnsureDatasetCard(store, {.episodes = 5000}));
  EXPECT_EQ(CardOf(store), FormatDatasetCard(kTracks));
}

TEST_F(DatasetCard, IsWrittenWhileOthersCommit) {
  int moved = 0;
  store.SetHooks([&](StoreCall call, const std::string&) -> Status {
    if (call != StoreCall::kCommit || ++moved != 1) return {};
    Commit(store, "other", "text");
    return {};
  });
  EXPECT_EQ(WriteDatasetCard(store, kTracks), CardOutcome::kWritten);
  EXPECT_THAT(PathsOf(store), ::testing::UnorderedElementsAre("README.md", "other"));
}

TEST_F(DatasetCard, NeverReplacesOneThatAPersonCommitsMeanwhile) {
  int moved = 0;
  store.SetHooks([&](StoreCall call, const std::string&) -> Status {
    if (call == StoreCall::kCommit && ++moved == 1) Commit(store, "README.md", "ours");
    return {};
  });
  EXPECT_EQ(WriteDatasetCard(store, kTracks), CardOutcome::kKept);
  EXPECT_EQ(CardOf(store), "ours");
}

TEST_F(DatasetCard, GivesUpWhenTheHeadNeverRests) {
  int count = 0;
  bool inside = false;
  store.SetHooks([&](StoreCall call, const std::string&) -> Status {
    if (call != StoreCall::kCommit || inside) return {};
    inside = true;
    Commit(store, "other", std::to_string(++count));
    inside = false;
    return {};
  });
  const auto written = WriteDatasetCard(store, kTracks);
  EXPECT_THAT(written,
              FailsWith(ErrorKind::kTransient, HasSubstr("writing the dataset card: want head")));
  EXPECT_EQ(written.error().status, store_status::kHeadMoved);
  EXPECT_THAT(PathsOf(store), ElementsAre("other"));
}

TEST(DatasetCardInAFolder, StaysAsAPersonLeftIt) {
  const TemporaryDirectory folder;
  FolderStore store(folder.path());
  ASSERT_TRUE(store.Prepare());
  const CardContext context{.folder = folder.path()};
  ASSERT_EQ(WriteDatasetCard(store, context), CardOutcome::kWritten);
  fs::remove(folder / "README.md");
  ASSERT_TRUE(WriteFile(folder / "README.md", "ours"));
  EXPECT_EQ(WriteDatasetCard(store, context), CardOutcome::kKept);
  EXPECT_TRUE(EnsureDatasetCard(store, context));
  EXPECT_EQ(ReadFileText(folder / "README.md"), "ours");
}

/// Uploads one episode into a folder. @return what was told of the card.
std::vector<std::string> UploadOne(const TemporaryDirectory& folder) {
  EXPECT_THAT(WriteFile(folder / "out/LAB/e/tracks.npz", "tracks"), IsOk());
  UploadQueue queue = UploadQueue::Open(folder / "queue").value();
  const UploadEntry entry = MakeUploadEntry(kFullDestination, "e", folder / "out", "LAB/e").value();
  EXPECT_THAT(queue.Enqueue({&entry, 1}), IsOk());
  HubOptions options;
  options.hub = "file:" + (folder / "hub").string();
  const auto places = MakeHubPlaces(options, Pipeline::kFull);
  std::vector<std::string> notes;
  const UploadSummary summary = UploadToPlaces(
      folder / "queue",
      *places,
      options,
      Pipeline::kFull,
      {},
      [](const UploadEvent&) {},
      [&](const std::string& note) { notes.push_back(note); });
  EXPECT_THAT(summary.status, IsOk());
  EXPECT_EQ(summary.targets.at(kFullDestination).confirmed.episodes, 1);
  return notes;
}

TEST(DatasetCardOfUploads, StandsBesideTheFirstEpisodes) {
  const TemporaryDirectory folder;
  EXPECT_THAT(UploadOne(folder), IsEmpty());
  EXPECT_TRUE(IsGeneratedCard(ReadFileText(folder / "hub/README.md").value()));
}

TEST(DatasetCardOfUploads, IsNoReasonForThemToFail) {
  const TemporaryDirectory folder;
  ASSERT_THAT(MakeDirectories(folder / "hub/README.md"), IsOk());
  EXPECT_THAT(UploadOne(folder), ElementsAre(HasSubstr("README.md")));
}

}  // namespace
}  // namespace droidflow

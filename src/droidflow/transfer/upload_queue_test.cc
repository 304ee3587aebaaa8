#include "droidflow/transfer/upload_queue.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <csignal>
#include <fstream>
#include <random>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::int64_t kMany = 1'000'000'000;
constexpr std::int64_t kHour_ms = 3'600'000;

const UploadQueue::Selection kStagedFull{.destination = "full"};
const UploadQueue::Selection kConfirmedFull{.destination = "full",
                                            .state = UploadState::kConfirmed};

/// An episode of two files below `root`.
UploadEntry MakeEpisode(const fs::path& root,
                        const std::string& key,
                        const std::string& text = "x") {
  UploadEntry entry{.destination = "full",
                    .key = key,
                    .root = root,
                    .folder = "lab/" + key,
                    .prefix = "data/lab/" + key};
  EXPECT_THAT(WriteFile(root / entry.folder / "tracks.npz", text), IsOk());
  EXPECT_THAT(WriteFile(root / entry.folder / "cam/depth.mkv", text + text), IsOk());
  entry.files = ListUploadFiles(root, entry.folder).value();
  return entry;
}

UploadEntry For(UploadEntry entry, const std::string& destination) {
  entry.destination = destination;
  return entry;
}

std::vector<std::string> Keys(const std::vector<QueuedEntry>& entries) {
  std::vector<std::string> keys;
  for (const QueuedEntry& queued : entries) keys.push_back(queued.entry.key);
  return keys;
}

std::vector<QueuedEntry> TakeAll(UploadQueue& queue, const UploadQueue::Selection& selection) {
  return queue.Take(selection, 0, kMany, kMany).value();
}

TEST(UploadQueue, KeepsAnEpisodeForAllItsDestinations) {
  const TemporaryDirectory dir;
  {
    UploadQueue queue = UploadQueue::Open(dir / "queue").value();
    const UploadEntry entry = MakeEpisode(dir / "out", "a", "12345");
    ASSERT_THAT(queue.Enqueue(std::vector{entry, For(entry, "metadata")}), IsOk());
  }
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  const auto entries = TakeAll(queue, kStagedFull);
  ASSERT_THAT(entries, SizeIs(1));
  const UploadEntry& a = entries[0].entry;
  ASSERT_THAT(a.files, SizeIs(2));
  EXPECT_EQ(a.PathOf(a.files[0]), "data/lab/a/cam/depth.mkv");
  EXPECT_EQ(a.Source(a.files[0]), dir / "out/lab/a/cam/depth.mkv");
  EXPECT_EQ(a.files[0].size_bytes, 10U);
  const auto counts = queue.Counts().value();
  const UploadTotals once{.episodes = 1, .files = 2, .bytes = 15};
  EXPECT_EQ(counts.at("full").of(UploadState::kStaged), once);
  EXPECT_EQ(counts.at("metadata").of(UploadState::kStaged), once);
  EXPECT_EQ(counts.at("full").unfinished(), 1);
}

TEST(UploadQueue, TakesAllDestinationsOrNone) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  const UploadEntry entry = MakeEpisode(dir / "out", "a");
  UploadEntry bad = For(entry, "metadata");
  bad.files[0].name = "../elsewhere";
  EXPECT_THAT(queue.Enqueue(std::vector{entry, bad}),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("have '../elsewhere'")));
  bad.files.clear();
  EXPECT_THAT(queue.Enqueue(std::vector{entry, bad}),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want files")));
  EXPECT_THAT(queue.Counts().value(), IsEmpty());
}

TEST(UploadQueue, LeavesAKnownEpisodeAsItIs) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  UploadEntry entry = MakeEpisode(dir / "out", "a");
  ASSERT_THAT(queue.Enqueue(std::span(&entry, 1)), IsOk());
  const auto first = TakeAll(queue, kStagedFull);
  ASSERT_THAT(queue.MarkConfirmed(first), IsOk());
  std::ranges::reverse(entry.files);
  ASSERT_THAT(queue.Enqueue(std::span(&entry, 1)), IsOk());
  EXPECT_TRUE(queue.IsConfirmed("a", "full").value());
  EXPECT_FALSE(queue.IsConfirmed("a", "metadata").value());
  EXPECT_FALSE(queue.IsConfirmed("b", "full").value());
}

TEST(UploadQueue, PutsAChangedEpisodeInTheOldOnesPlace) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  UploadEntry entry = MakeEpisode(dir / "out", "a", "old");
  ASSERT_THAT(queue.Enqueue(std::span(&entry, 1)), IsOk());
  auto in_flight = TakeAll(queue, kStagedFull);
  in_flight[0].entry.files[1].sha256 = "hash of old";
  ASSERT_THAT(queue.SetFiles(in_flight[0]), IsOk());

  entry = MakeEpisode(dir / "out", "a", "newer");
  ASSERT_THAT(queue.Enqueue(std::span(&entry, 1)), IsOk());
  ASSERT_THAT(queue.MarkConfirmed(in_flight), IsOk());  // it settles, and says nothing of the new
  EXPECT_FALSE(queue.IsConfirmed("a", "full").value());
  const auto staged = TakeAll(queue, kStagedFull);
  ASSERT_THAT(staged, SizeIs(1));
  EXPECT_EQ(staged[0].entry.files[1].size_bytes, 5U);
  EXPECT_NE(staged[0].id, in_flight[0].id);
  EXPECT_THAT(queue.TakeRemovable(false, 10).value(), IsEmpty());
  EXPECT_TRUE(queue.IsOurs("full", "data/lab/a/tracks.npz", "hash of old", "").value());
  EXPECT_FALSE(queue.IsOurs("full", "data/lab/a/tracks.npz", "another", "").value());
}

TEST(UploadQueue, RemembersTheHashOfAnInodeWhateverItsName) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  UploadEntry entry = MakeEpisode(dir / "out", "a");
  ASSERT_THAT(queue.Enqueue(std::span(&entry, 1)), IsOk());
  QueuedEntry queued = TakeAll(queue, kStagedFull)[0];
  UploadFile& hashed = queued.entry.files[0];
  hashed.sha256 = "hash";
  hashed.git_oid = "oid";
  ASSERT_THAT(queue.SetFiles(queued), IsOk());

  fs::create_directories(dir / "metadata/a");
  fs::create_hard_link(entry.Source(hashed), dir / "metadata/a/other.mkv");
  UploadFile linked = ListUploadFiles(dir / "metadata", "a").value()[0];
  EXPECT_TRUE(queue.RecallHash(linked).value());
  EXPECT_EQ(linked.sha256 + linked.git_oid, "hashoid");
  linked.mtime_ns += 1;
  EXPECT_FALSE(queue.RecallHash(linked).value());
}

TEST(UploadQueue, TakesWholeEpisodesUpToALimit) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  for (const char* const key : {"a", "b", "c", "d"}) {
    const UploadEntry entry = MakeEpisode(dir / "out", key, "12");  // 2 files, 6 bytes
    ASSERT_THAT(queue.Enqueue(std::span(&entry, 1)), IsOk());
  }
  EXPECT_THAT(Keys(queue.Take(kStagedFull, 0, 5, kMany).value()), ElementsAre("a", "b"));
  EXPECT_THAT(Keys(queue.Take(kStagedFull, 0, kMany, 18).value()), ElementsAre("a", "b", "c"));
  EXPECT_THAT(Keys(queue.Take(kStagedFull, 2, 1, 1).value()), ElementsAre("c"));
  EXPECT_THAT(Keys(queue.TakeNewest(kStagedFull, 2).value()), ElementsAre("d", "c"));
  EXPECT_EQ(queue.BytesByGroup(kStagedFull).value().at("lab"), 24);
  EXPECT_THAT(Keys(queue.TakeOfGroup(kStagedFull, "lab", 13).value()), ElementsAre("a", "b"));
  EXPECT_THAT(queue.TakeOfGroup(kStagedFull, "la", 13).value(), IsEmpty());
}

TEST(UploadQueue, FreesAFolderWhenItsLastDestinationIsConfirmed) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  const UploadEntry entry = MakeEpisode(dir / "out", "a");
  ASSERT_THAT(queue.Enqueue(std::vector{entry, For(entry, "metadata")}), IsOk());
  ASSERT_THAT(queue.MarkConfirmed(TakeAll(queue, kStagedFull)), IsOk());
  EXPECT_THAT(queue.TakeRemovable(false, 10).value(), IsEmpty());
  ASSERT_THAT(queue.MarkConfirmed(TakeAll(queue, {.destination = "metadata"})), IsOk());
  const auto removable = queue.TakeRemovable(false, 10).value();
  EXPECT_THAT(removable, SizeIs(2));
  for (const QueuedEntry& queued : removable) ASSERT_THAT(queue.MarkRemoved(queued), IsOk());
  EXPECT_THAT(queue.TakeRemovable(false, 10).value(), IsEmpty());
}

TEST(UploadQueue, ListsWhatIsParkedAndGivesItAnotherTry) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  const UploadEntry entry = MakeEpisode(dir / "out", "a");
  ASSERT_THAT(queue.Enqueue(std::span(&entry, 1)), IsOk());
  ASSERT_THAT(queue.Park(TakeAll(queue, kStagedFull)[0], "refused", "too many files"), IsOk());
  const auto parked = queue.Parked().value();
  ASSERT_THAT(parked, SizeIs(1));
  EXPECT_EQ(parked[0].key + ": " + parked[0].status + ": " + parked[0].reason,
            "a: refused: too many files");
  EXPECT_EQ(queue.Counts().value().at("full").of(UploadState::kParked).episodes, 1);
  EXPECT_EQ(queue.Unpark("full").value(), 1);
  EXPECT_EQ(queue.Counts().value().at("full").of(UploadState::kStaged).episodes, 1);
}

TEST(UploadQueue, AShardStandsForItsEpisodes) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  ASSERT_THAT(queue.BindDestination("full", "here"), IsOk());
  for (const char* const key : {"a", "b"}) {
    const UploadEntry entry = MakeEpisode(dir / "out", key);
    ASSERT_THAT(queue.Enqueue(std::span(&entry, 1)), IsOk());
  }
  UploadEntry shard = MakeEpisode(dir / "shards", "shard-0");
  const auto episodes = TakeAll(queue, kStagedFull);
  const UploadEntry changed = MakeEpisode(dir / "out", "b", "other");
  ASSERT_THAT(queue.Enqueue(std::span(&changed, 1)), IsOk());  // while the shard was written
  ASSERT_THAT(queue.AddShard(shard, episodes), IsOk());
  EXPECT_EQ(queue.NextShardNumber("full").value(), 1);
  EXPECT_THAT(Keys(TakeAll(queue, kStagedFull)), ElementsAre("b"));

  const UploadQueue::Selection shards{.destination = "full", .shards = true};
  const auto queued = TakeAll(queue, shards);
  ASSERT_THAT(Keys(queued), ElementsAre("shard-0"));
  EXPECT_TRUE(queue.HasShard("full", "lab/shard-0").value());
  ASSERT_THAT(queue.MarkStored(queued), IsOk());
  EXPECT_EQ(queue.Counts().value().at("full").of(UploadState::kStored).episodes, 1);
  ASSERT_THAT(queue.MarkConfirmed(queued), IsOk());
  EXPECT_TRUE(queue.IsConfirmed("a", "full").value());
  EXPECT_FALSE(queue.IsConfirmed("b", "full").value());
  EXPECT_THAT(Keys(queue.TakeRemovable(false, 10).value()), ElementsAre("a", "shard-0"));
  ASSERT_THAT(queue.DropShard(queued[0]), IsOk());
  EXPECT_THAT(Keys(TakeAll(queue, kStagedFull)), ElementsAre("a", "b"));
}

TEST(UploadQueue, GivesSoManyCommitsPerHourAndNoMore) {
  const TemporaryDirectory dir;
  constexpr std::int64_t kNow = 1'700'000'000'000;
  {
    UploadQueue queue = UploadQueue::Open(dir / "queue").value();
    EXPECT_EQ(queue.TakeCommitSlot(2, kNow).value(), 0);
    EXPECT_EQ(queue.TakeCommitSlot(2, kNow + 1000).value(), 0);
  }
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  EXPECT_EQ(queue.TakeCommitSlot(2, kNow + 2000).value(), kHour_ms - 2000);
  EXPECT_EQ(queue.TakeCommitSlot(2, kNow + kHour_ms).value(), 0);
  EXPECT_EQ(queue.TakeCommitSlot(2, kNow + kHour_ms).value(), 1000);
  ASSERT_THAT(queue.ReturnCommitSlot(), IsOk());
  EXPECT_EQ(queue.TakeCommitSlot(2, kNow + kHour_ms).value(), 0);
}

TEST(UploadQueue, WaitsAnHourAtMostWhenTheClockWasSetBack) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  constexpr std::int64_t kNow = 1'700'000'000'000;
  EXPECT_EQ(queue.TakeCommitSlot(1, kNow).value(), 0);
  EXPECT_EQ(queue.TakeCommitSlot(1, kNow - 100 * kHour_ms).value(), kHour_ms);
  EXPECT_EQ(queue.TakeCommitSlot(1, kNow - 99 * kHour_ms).value(), 0);
}

TEST(UploadQueue, KnowsAnotherPlaceWhenItSeesOne) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  const UploadEntry entry = MakeEpisode(dir / "out", "a");
  ASSERT_THAT(queue.Enqueue(std::span(&entry, 1)), IsOk());
  EXPECT_THAT(queue.BindDestination("full", "a mistake"), IsOk());
  EXPECT_THAT(queue.BindDestination("full", "dataset a"), IsOk());  // nothing is in the other one
  ASSERT_THAT(queue.MarkStored(TakeAll(queue, kStagedFull)), IsOk());
  EXPECT_THAT(queue.BindDestination("full", "dataset a"), IsOk());
  EXPECT_THAT(queue.BindDestination("full", "dataset b"),
              FailsWith(ErrorKind::kUsage, HasSubstr("is dataset a, not dataset b")));
}

TEST(UploadQueue, ShowsAnIndexWhenItIsComplete) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  const std::vector<std::string> both{"x", "y/z"};
  const std::vector<std::string> paths{"data/a/x", "data/a/y/z", "data/b/x", "/in a shard"};
  const std::int64_t index = queue.BeginIndex("full").value();
  ASSERT_THAT(queue.AddToIndex("full", index, paths), IsOk());
  EXPECT_FALSE(queue.IsInRepository("full", "a", "data/a", both).value());
  ASSERT_THAT(queue.FinishIndex("full", index, "head 1"), IsOk());
  EXPECT_EQ(queue.IndexedRevision("full").value(), "head 1");
  EXPECT_TRUE(queue.IsInRepository("full", "a", "data/a", both).value());
  EXPECT_FALSE(queue.IsInRepository("full", "b", "data/b", both).value());
  EXPECT_FALSE(queue.IsInRepository("full", "c", "data/a", {}).value());
  EXPECT_FALSE(queue.IsInRepository("metadata", "a", "data/a", both).value());
  EXPECT_TRUE(queue.IsInRepository("full", "in a shard", "data/c", both).value());

  // The next one is not seen before its end, and then alone.
  const std::int64_t next = queue.BeginIndex("full").value();
  ASSERT_THAT(queue.AddToIndex("full", next, std::vector<std::string>{"data/b/x"}), IsOk());
  EXPECT_TRUE(queue.IsInRepository("full", "a", "data/a", both).value());
  ASSERT_THAT(queue.FinishIndex("full", next, "head 2"), IsOk());
  EXPECT_FALSE(queue.IsInRepository("full", "a", "data/a", both).value());
}

void Damage(const fs::path& file, std::size_t offset, const std::string& with) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(static_cast<std::streamoff>(offset));
  stream << with;
}

TEST(UploadQueue, NamesADamagedFile) {
  for (const char* const how : {"no database", "empty", "torn"}) {
    const TemporaryDirectory dir;
    {
      UploadQueue queue = UploadQueue::Open(dir / "queue").value();
      for (int i = 0; i < 50; ++i) {
        const UploadEntry entry = MakeEpisode(dir / "out", std::to_string(i));
        ASSERT_THAT(queue.Enqueue(std::span(&entry, 1)), IsOk());
      }
    }
    const fs::path file = dir / "queue/upload.sqlite";
    if (how == std::string("no database")) {
      std::ofstream(file) << std::string(8192, 'x');
    } else if (how == std::string("empty")) {
      fs::resize_file(file, 0);
    } else {
      Damage(file, 3 * 4096, std::string(fs::file_size(file) - 3 * 4096, 'x'));
    }
    const auto use = [&]() -> Status {
      DF_ASSIGN_OR_RETURN(UploadQueue queue, UploadQueue::Open(dir / "queue"));
      return queue.CheckIntegrity();
    };
    EXPECT_THAT(use(), FailsAs("upload_queue_damaged", HasSubstr("upload.sqlite"))) << how;

    const auto describe = [](const fs::path& root, const std::string& folder) {
      std::vector<UploadEntry> entries;
      if (!fs::exists(root / folder / "tracks.npz")) return entries;
      const std::string key = fs::path(folder).filename();
      for (const char* const destination : {"full", "metadata"}) {
        entries.push_back({.destination = destination,
                           .key = key,
                           .root = root,
                           .folder = folder,
                           .prefix = "data/" + folder});
      }
      return entries;
    };
    const std::vector<fs::path> roots{dir / "out"};
    Result<UploadQueue> rebuilt = UploadQueue::RebuildFromDisk(dir / "queue", roots, describe);
    ASSERT_THAT(rebuilt, IsOk()) << how;
    const auto counts = rebuilt->Counts().value();
    const UploadTotals all{.episodes = 50, .files = 100, .bytes = 150};
    EXPECT_EQ(counts.at("full").of(UploadState::kStaged), all);
    EXPECT_EQ(counts.at("metadata").of(UploadState::kStaged), all);
    EXPECT_TRUE(fs::exists(dir / "queue/upload.sqlite.damaged-1"));
  }
}

TEST(UploadQueue, SaysWhenTheDiskIsFullAndGoesOnAfterwards) {
  const TemporaryDirectory dir;
  UploadQueue queue = UploadQueue::Open(dir / "queue").value();
  int i = 0;
  Status status;
  // Only a file-size limit stops SQLite as a full disk would.
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 400'000, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  for (; status && i < 10'000; ++i) {
    UploadEntry entry{.destination = "full",
                      .key = std::to_string(i),
                      .root = "/out",
                      .folder = std::to_string(i),
                      .prefix = "",
                      .files = {{.name = "a"}}};
    status = queue.Enqueue(std::span(&entry, 1));
  }
  setrlimit(RLIMIT_FSIZE, &before);
  ASSERT_THAT(status, ::testing::Not(IsOk()));
  EXPECT_EQ(queue.Counts().value().at("full").of(UploadState::kStaged).episodes, i - 1);
  UploadEntry entry{.destination = "full",
                    .key = "after",
                    .root = "/out",
                    .folder = "after",
                    .prefix = "",
                    .files = {{.name = "a"}}};
  EXPECT_THAT(queue.Enqueue(std::span(&entry, 1)), IsOk());
  EXPECT_THAT(queue.CheckIntegrity(), IsOk());
}

TEST(UploadQueue, LosesNothingWhenItsProducersAreKilled) {
  const TemporaryDirectory dir;
  std::vector<UploadEntry> entries;
  for (int i = 0; i < 200; ++i) entries.push_back(MakeEpisode(dir / "out", std::to_string(i)));
  ASSERT_THAT(UploadQueue::Open(dir / "queue"), IsOk());
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t pid = fork();
    if (pid == 0) {
      UploadQueue queue = UploadQueue::Open(dir / "queue").value();
      for (const UploadEntry& entry : entries) {
        const std::vector both{entry, For(entry, "metadata")};
        if (!queue.Enqueue(both)) _exit(1);
        if (write(ends[1], ".", 1) != 1) _exit(1);
      }
      _exit(0);
    }
    close(ends[1]);
    int told = 0;
    const int stop_at = 1 + static_cast<int>(random() % entries.size());
    for (char c = 0; told < stop_at && read(ends[0], &c, 1) == 1;) ++told;
    kill(pid, SIGKILL);
    int status = 0;
    waitpid(pid, &status, 0);
    close(ends[0]);
    UploadQueue queue = UploadQueue::Open(dir / "queue").value();
    const auto counts = queue.Counts().value();
    EXPECT_GE(counts.at("full").of(UploadState::kStaged).episodes, told);
    EXPECT_EQ(counts.at("full").of(UploadState::kStaged),
              counts.at("metadata").of(UploadState::kStaged));
  }
}

TEST(UploaderLock, LetsOneProcessUpload) {
  const TemporaryDirectory dir;
  Result<UploaderLock> lock = UploaderLock::Acquire(dir.path());
  ASSERT_THAT(lock, IsOk());
  EXPECT_THAT(
      UploaderLock::Acquire(dir.path()),
      FailsWith(ErrorKind::kBusy, HasSubstr(fmt::format("process {} uploads already", getpid()))));
  lock = Fail(ErrorKind::kCancelled, "released");
  EXPECT_THAT(UploaderLock::Acquire(dir.path()), IsOk());
}

}  // namespace
}  // namespace droidflow

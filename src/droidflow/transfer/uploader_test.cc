#include "droidflow/transfer/uploader.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/sha256.h"
#include "droidflow/core/test_support.h"
#include "droidflow/transfer/folder_store.h"
#include "droidflow/transfer/memory_store.h"
#include "droidflow/transfer/repository_index.h"

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <fstream>
#include <mutex>
#include <random>
#include <set>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using std::chrono::milliseconds;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::int64_t kHour_ms = 3'600'000;

/// Time that passes when somebody waits for it, in large steps.
class FakeClock : public Clock {
 public:
  milliseconds Steady() override { return milliseconds(steady_ms); }
  std::int64_t UnixMs() override { return 1'700'000'000'000 + steady_ms + jump_ms; }
  void Sleep(milliseconds duration) override {
    steady_ms += is_slow ? 1 : std::max<std::int64_t>(duration.count(), 5000);
    std::this_thread::sleep_for(is_slow ? 1ms : 20us);  // lets the other threads work
  }

  std::atomic<bool> is_slow{false};  ///< as time really is
  std::atomic<std::int64_t> steady_ms{1};
  std::atomic<std::int64_t> jump_ms{0};
};

/// A memory that may refuse commits for what is in them, and lie about what it has.
class OddStore : public MemoryStore {
 public:
  Result<std::string> Commit(const CommitRequest& request) override {
    {
      const std::scoped_lock lock(mutex);
      largest_commit = std::max(largest_commit, request.files.size());
    }
    if (on_commit) DF_RETURN_IF_ERROR(on_commit(request));
    return MemoryStore::Commit(request);
  }
  Result<std::vector<std::optional<StoredFile>>> Stat(const std::string& revision,
                                                      std::span<const std::string> paths) override {
    DF_ASSIGN_OR_RETURN(auto found, MemoryStore::Stat(revision, paths));
    if (on_stat) {
      for (std::optional<StoredFile>& file : found) on_stat(revision, file);
    }
    return found;
  }

  std::function<Status(const CommitRequest&)> on_commit;
  std::function<void(const std::string& revision, std::optional<StoredFile>&)> on_stat;
  std::mutex mutex;
  std::size_t largest_commit = 0;
};

/// What a machine has: a queue, and outputs that are made as a run makes them.
class Machine {
 public:
  explicit Machine(fs::path dir) : dir_(std::move(dir)) {
    options.clock = &clock;
    options.interval = 1'000'000h;
    options.patience = 1'000'000h;
    options.poll = 100ms;
    options.commits_per_hour = 1'000'000;
  }

  [[nodiscard]] fs::path out() const { return dir_ / "out"; }
  [[nodiscard]] fs::path queue_dir() const { return dir_ / "queue"; }
  [[nodiscard]] UploadQueue queue() const { return UploadQueue::Open(queue_dir()).value(); }

  void Write(const std::string& path, const std::string& text) {
    fs::remove(out() / path);
    ASSERT_THAT(WriteFile(out() / path, text), IsOk());
  }

  /// Three files, and an entry for each destination.
  void AddEpisode(const std::string& key,
                  const std::string& text,
                  const std::vector<std::string>& destinations = {"full"}) {
    const std::string folder = "lab/" + key;
    WriteEpisode(folder, text);
    UploadQueue open = queue();
    Enqueue(open, key, folder, destinations);
  }
  void AddEpisodes(int count) {
    UploadQueue open = queue();
    for (int i = 0; i < count; ++i) {
      const std::string key = fmt::format("e{}", i);
      WriteEpisode("lab/" + key, fmt::format("text {}", i));
      Enqueue(open, key, "lab/" + key, {"full"});
    }
  }
  void WriteEpisode(const std::string& folder, const std::string& text) {
    Write(folder + "/tracks.npz", text);
    Write(folder + "/quality.json", fmt::format("{{\"of\": \"{} {}\"}}", folder, text));
    Write(folder + "/recordings/1/depth.mkv", text + text);
  }
  void Enqueue(UploadQueue& queue,
               const std::string& key,
               const std::string& folder,
               const std::vector<std::string>& destinations) {
    const std::vector<UploadFile> files = ListUploadFiles(out(), folder).value();
    std::vector<UploadEntry> entries;
    for (const std::string& destination : destinations) {
      entries.push_back({.destination = destination,
                         .key = key,
                         .root = out(),
                         .folder = folder,
                         .prefix = "data/" + folder,
                         .files = files});
    }
    const std::scoped_lock lock(mutex_);
    for (const UploadFile& file : files) {
      hashes_["data/" + folder + "/" + file.name] =
          Sha256OfFile(out() / folder / file.name).value();
    }
    ASSERT_THAT(queue.Enqueue(entries), IsOk());
  }

  UploadSummary Upload(Store& store, const UploadControl& control = {}) {
    const UploadTarget target{.name = "full", .store = &store, .overwrite = overwrite};
    return Upload(std::span(&target, 1), control);
  }
  UploadSummary Upload(std::span<const UploadTarget> targets, const UploadControl& control = {}) {
    return RunUploader(queue_dir(), targets, options, control, observe);
  }

  /// Every path that was ever enqueued has its last content in the store.
  void ExpectAllIn(Store& store) {
    const std::string head = store.Head().value();
    for (const auto& [path, hash] : hashes_) {
      const auto stored = store.Stat(head, std::span(&path, 1)).value()[0];
      ASSERT_TRUE(stored) << path;
      EXPECT_EQ(stored->sha256, hash) << path;
    }
  }
  void ExpectNothingLeft() const {
    EXPECT_TRUE(fs::exists(out()));
    EXPECT_THAT(ListFiles(out()).value(), IsEmpty());
    EXPECT_TRUE(fs::is_empty(out()));
  }
  [[nodiscard]] std::vector<ParkedEpisode> Parked() const { return queue().Parked().value(); }
  [[nodiscard]] std::int64_t Count(UploadState state,
                                   const std::string& destination = "full") const {
    return queue().Counts().value()[destination].of(state).episodes;
  }

  FakeClock clock;
  UploaderOptions options;
  bool overwrite = false;
  std::function<void(const UploadEvent&)> observe;

 private:
  fs::path dir_;
  std::mutex mutex_;
  std::map<std::string, std::string> hashes_;
};

class Uploader : public ::testing::Test {
 protected:
  /// How many commits the store has; its first state has none.
  int Commits() { return std::stoi(store.Head().value()) - 1; }

  const TemporaryDirectory dir;
  Machine machine{dir / "a"};
  OddStore store;
};

tl::unexpected<Error> Told(const char* status, std::int64_t retry_after_ms = 0) {
  Error error{ErrorKind::kTransient, fmt::format("told: {}", status), status};
  error.retry_after_ms = retry_after_ms;
  return tl::unexpected(error);
}
tl::unexpected<Error> ForGood(const char* status) {
  return FailAs(status, ErrorKind::kInvalidData, "for good: {}", status);
}

/// Fails the first `times` calls of a kind.
MemoryStore::Hook FailFirst(StoreCall which, int times, const tl::unexpected<Error>& error) {
  return [=, left = std::make_shared<std::atomic<int>>(times)](StoreCall call,
                                                               const std::string&) -> Status {
    if (call == which && (*left)-- > 0) return error;
    return {};
  };
}

TEST_F(Uploader, ConfirmsEpisodesAndRemovesThem) {
  machine.AddEpisodes(10);
  const UploadSummary summary = machine.Upload(store);
  EXPECT_THAT(summary.status, IsOk());
  machine.ExpectAllIn(store);
  machine.ExpectNothingLeft();
  EXPECT_EQ(machine.Count(UploadState::kConfirmed), 10);
  EXPECT_EQ(summary.targets.at("full").confirmed.episodes, 10);
  EXPECT_EQ(summary.targets.at("full").confirmed.files, 30);
  EXPECT_EQ(Commits(), 1);
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  EXPECT_EQ(Commits(), 1);
}

TEST_F(Uploader, LeavesFilesWhenAskedTo) {
  machine.AddEpisodes(2);
  machine.options.keep_uploaded = true;
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  EXPECT_THAT(ListFiles(machine.out()).value(), SizeIs(6));
  machine.options.keep_uploaded = false;
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectNothingLeft();
}

TEST_F(Uploader, PutsEachEpisodeInOneCommit) {
  machine.AddEpisodes(20);
  machine.options.batch_files = 7;
  store.on_commit = [&](const CommitRequest& request) -> Status {
    std::map<std::string, int> files;
    for (const OutgoingFile& file : request.files) {
      ++files[file.path.substr(0, file.path.find('/', 9))];
    }
    for (const auto& [episode, count] : files) EXPECT_EQ(count, 3) << episode;
    EXPECT_LE(request.files.size(), 7U);
    EXPECT_FALSE(request.summary.empty());
    return {};
  };
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
  EXPECT_EQ(Commits(), 10);
}

TEST_F(Uploader, SendsNoByteTwiceWhenItWasKilledBeforeTheCommit) {
  machine.AddEpisodes(5);
  std::atomic<bool> stop = false;
  store.SetHooks([&](StoreCall call, const std::string&) -> Status {
    if (call != StoreCall::kCommit || stop.exchange(true)) return {};
    return Told("");
  });
  EXPECT_THAT(machine.Upload(store, {.stop = [&] { return stop.load(); }}).status,
              FailsWith(ErrorKind::kCancelled, HasSubstr("asked to stop")));
  EXPECT_EQ(store.CountOf(StoreCall::kPut), 15);
  EXPECT_EQ(Commits(), 0);
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  EXPECT_EQ(store.CountOf(StoreCall::kPut), 15);
  machine.ExpectAllIn(store);
}

TEST_F(Uploader, PutsBytesAgainThatTheStoreHasForgotten) {
  machine.AddEpisodes(5);
  std::atomic<int> commits = 0;
  store.SetHooks([&](StoreCall call, const std::string&) -> Status {
    if (call == StoreCall::kCommit && commits++ == 0) store.DropUncommittedBytes();
    return {};
  });
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
  machine.ExpectNothingLeft();
  EXPECT_EQ(Commits(), 1);
}

TEST_F(Uploader, LooksBeforeItRepeatsACommitWhoseAnswerWasLost) {
  for (const bool landed : {true, false}) {
    OddStore odd;
    Machine here(dir / fmt::format("landed {}", landed));
    here.AddEpisodes(100);
    const auto hook = FailFirst(StoreCall::kCommit, 2, Told("unclear"));
    odd.SetHooks(landed ? MemoryStore::Hook{} : hook, landed ? hook : MemoryStore::Hook{});
    int empty = 0;
    std::string before;
    odd.on_commit = [&](const CommitRequest& request) -> Status {
      empty += request.files.empty() ? 1 : 0;
      return {};
    };
    EXPECT_THAT(here.Upload(odd).status, IsOk());
    here.ExpectAllIn(odd);
    here.ExpectNothingLeft();
    EXPECT_EQ(empty, 0);
    const int states = std::stoi(odd.Head().value()) - 1;
    if (landed) {
      EXPECT_EQ(states, odd.CountOf(StoreCall::kCommit));
    } else {
      EXPECT_EQ(states, odd.CountOf(StoreCall::kCommit) - 2);
      EXPECT_GT(states, 2) << "it went on with smaller commits";
    }
  }
}

TEST_F(Uploader, MakesNoSecondCommitWhenItWasKilledAfterTheFirst) {
  machine.AddEpisodes(5);
  std::atomic<bool> stop = false;
  store.SetHooks({}, [&](StoreCall call, const std::string&) -> Status {
    if (call != StoreCall::kCommit) return {};
    stop = true;
    return Told("unclear");
  });
  EXPECT_THAT(machine.Upload(store, {.stop = [&] { return stop.load(); }}).status,
              FailsWith(ErrorKind::kCancelled, HasSubstr("")));
  EXPECT_THAT(ListFiles(machine.out()).value(), SizeIs(15));
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  EXPECT_EQ(store.CountOf(StoreCall::kCommit), 1);
  machine.ExpectAllIn(store);
  machine.ExpectNothingLeft();
}

TEST_F(Uploader, NeverCommitsAFileUnderTheHashOfAnother) {
  for (const bool before : {true, false}) {
    OddStore odd;
    Machine here(dir / fmt::format("before {}", before));
    here.AddEpisodes(4);
    std::atomic<int> changes = 0;
    const auto change = [&](StoreCall call, const std::string& path) -> Status {
      // Rewritten in place, as long and as old as before: only its bytes tell.
      if (call == StoreCall::kPut && path == "data/lab/e2/tracks.npz" && changes++ < 2) {
        const fs::path file = here.out() / "lab/e2/tracks.npz";
        const auto time = fs::last_write_time(file);
        const std::string text = fmt::format("texT {}", changes.load());
        std::ofstream(file) << text;
        if (before) fs::last_write_time(file, time);
      }
      return {};
    };
    odd.SetHooks(before ? MemoryStore::Hook(change) : MemoryStore::Hook{},
                 before ? MemoryStore::Hook{} : MemoryStore::Hook(change));
    here.options.keep_uploaded = true;
    EXPECT_THAT(here.Upload(odd).status, IsOk());
    UploadQueue queue = here.queue();
    here.Enqueue(queue, "e2", "lab/e2", {"elsewhere"});  // takes note of the hash
    here.ExpectAllIn(odd);
  }
}

TEST_F(Uploader, LeavesAFileThatChangedAfterItsCommit) {
  machine.AddEpisodes(2);
  store.SetHooks({}, [&](StoreCall call, const std::string&) -> Status {
    if (call == StoreCall::kCommit) machine.Write("lab/e1/tracks.npz", "made since");
    return {};
  });
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  const auto left = ListFiles(machine.out()).value();
  ASSERT_THAT(left, SizeIs(1));
  EXPECT_EQ(left[0].name, "lab/e1/tracks.npz");
}

TEST_F(Uploader, TakesWhatArrivesMeanwhileInTheNextCommit) {
  machine.AddEpisodes(2);
  std::atomic<int> added = 0;
  store.SetHooks([&](StoreCall call, const std::string&) -> Status {
    if (call == StoreCall::kCommit && added++ < 3) {
      machine.AddEpisode(fmt::format("late {}", added.load()), "late");
    }
    return {};
  });
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
  machine.ExpectNothingLeft();
  EXPECT_EQ(Commits(), 4);
}

TEST_F(Uploader, ReplacesItsOwnEpisodeThatWasMadeAnew) {
  machine.AddEpisode("a", "first");
  std::atomic<int> commits = 0;
  store.SetHooks([&](StoreCall call, const std::string&) -> Status {
    if (call == StoreCall::kCommit && commits++ == 0) machine.AddEpisode("a", "second");
    return {};
  });
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.AddEpisode("a", "third");
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
  machine.ExpectNothingLeft();
  EXPECT_EQ(Commits(), 3);
  EXPECT_EQ(machine.Count(UploadState::kConfirmed), 1);
}

TEST_F(Uploader, WaitsAsLongAsItIsTold) {
  machine.AddEpisodes(3);
  std::mutex mutex;
  std::map<StoreCall, std::vector<std::int64_t>> calls;
  store.SetHooks([&](StoreCall call, const std::string&) -> Status {
    const std::scoped_lock lock(mutex);
    auto& times = calls[call];
    times.push_back(machine.clock.steady_ms);
    if (call == StoreCall::kCommit && times.size() <= 3) return Told("rate_limited", 7000);
    if (call == StoreCall::kPut && times.size() == 1) return Told("rate_limited", 5000);
    return {};
  });
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
  const auto& commits = calls[StoreCall::kCommit];
  ASSERT_THAT(commits, SizeIs(4));
  for (std::size_t i = 1; i < commits.size(); ++i) EXPECT_GE(commits[i], commits[i - 1] + 7000);
  const auto& puts = calls[StoreCall::kPut];
  ASSERT_THAT(puts, SizeIs(12));  // one episode is put again
  EXPECT_GE(puts[9], puts[0] + 5000);
}

TEST_F(Uploader, StoresBytesWhileCommitsWait) {
  machine.AddEpisodes(60);  // 180 files: the store is given 100 at most in one call
  machine.options.batch_files = 3;
  std::mutex mutex;
  std::condition_variable changed;
  int puts = 0;
  int commits = 0;
  store.SetHooks([&](StoreCall call, const std::string&) -> Status {
    std::unique_lock lock(mutex);
    if (call == StoreCall::kPut) {
      // The last ones come while the first commit waits for its hour.
      const bool in_time = ++puts < 150 || changed.wait_for(lock, 60s, [&] { return commits > 0; });
      EXPECT_TRUE(in_time);
    }
    if (call == StoreCall::kCommit) {
      ++commits;
      changed.notify_all();
      if (commits == 1) return Told("rate_limited", kHour_ms);
      if (commits == 2) {
        EXPECT_TRUE(changed.wait_for(lock, 60s, [&] { return puts == 180; }));
      }
    }
    changed.notify_all();
    return {};
  });
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
}

TEST_F(Uploader, StopsADestinationWithoutRightsAndFinishesTheOther) {
  for (const char* const status : {"unauthorized", "forbidden", "no_repository"}) {
    for (const StoreCall where : {StoreCall::kPut, StoreCall::kCommit, StoreCall::kStat}) {
      SCOPED_TRACE(fmt::format("{} {}", status, static_cast<int>(where)));
      Machine here(dir / fmt::format("{} {}", status, static_cast<int>(where)));
      MemoryStore closed;
      MemoryStore open;
      closed.SetHooks(FailFirst(where, 1'000'000, ForGood(status)));
      for (int i = 0; i < 4; ++i) here.AddEpisode(std::to_string(i), "x", {"full", "metadata"});
      const std::vector<UploadTarget> targets{{.name = "full", .store = &closed},
                                              {.name = "metadata", .store = &open}};
      const UploadSummary summary = here.Upload(targets);
      EXPECT_THAT(summary.status, FailsAs(status, HasSubstr("for good")));
      EXPECT_THAT(summary.targets.at("metadata").status, IsOk());
      here.ExpectAllIn(open);
      EXPECT_LE(closed.CountOf(where), where == StoreCall::kPut ? 12 : 1);
      EXPECT_EQ(here.queue().Counts().value().at("full").unfinished(), 4);
      EXPECT_THAT(ListFiles(here.out()).value(), SizeIs(12)) << "full needs them still";

      const int puts = closed.CountOf(StoreCall::kPut);
      closed.SetHooks({});
      EXPECT_THAT(here.Upload(targets).status, IsOk());
      if (where == StoreCall::kCommit) {
        EXPECT_EQ(closed.CountOf(StoreCall::kPut), puts);
      }
      here.ExpectAllIn(closed);
      here.ExpectNothingLeft();
    }
  }
}

TEST_F(Uploader, SharesARepositoryWithAnotherMachine) {
  Machine other(dir / "b");
  for (int i = 0; i < 30; ++i) {
    machine.AddEpisode(fmt::format("a{}", i), "of a");
    other.AddEpisode(fmt::format("b{}", i), "of b");
  }
  machine.options.batch_files = other.options.batch_files = 6;
  std::thread beside([&] { EXPECT_THAT(other.Upload(store).status, IsOk()); });
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  beside.join();
  machine.ExpectAllIn(store);
  other.ExpectAllIn(store);
  EXPECT_LE(Commits(), 32);
}

TEST_F(Uploader, GoesOnWhenOthersAreAlwaysFaster) {
  machine.AddEpisodes(3);
  int others = 0;
  store.on_commit = [&](const CommitRequest&) -> Status {
    if (others++ >= 12) return {};
    const fs::path file = dir / "foreign";
    DF_RETURN_IF_ERROR(WriteFile(file, std::to_string(others)));
    OutgoingFile foreign{.path = fmt::format("other/{}", others), .source = file};
    foreign.size_bytes = fs::file_size(file);
    foreign.sha256 = Sha256OfFile(file).value();
    EXPECT_THAT(store.Put(std::span(&foreign, 1))[0], IsOk());
    EXPECT_THAT(store.MemoryStore::Commit({.files = {foreign}, .summary = "other", .batch_id = ""}),
                IsOk());
    return {};
  };
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
  EXPECT_EQ(Commits(), 13);
}

TEST_F(Uploader, KnowsAnEpisodeThatAnotherMachineUploaded) {
  Machine same(dir / "b");
  machine.AddEpisode("a", "text");
  same.AddEpisode("a", "text");
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  EXPECT_THAT(same.Upload(store).status, IsOk());
  EXPECT_EQ(store.CountOf(StoreCall::kCommit), 1);
  EXPECT_EQ(same.Count(UploadState::kConfirmed), 1);
  same.ExpectNothingLeft();
}

TEST_F(Uploader, LetsTheFirstOfTwoDifferentEpisodesWinUnlessToldOtherwise) {
  Machine other(dir / "b");
  machine.AddEpisode("a", "text");
  other.AddEpisode("a", "text of another");
  other.AddEpisode("b", "alone");
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  const UploadSummary summary = other.Upload(store);
  EXPECT_THAT(summary.status, IsOk());
  EXPECT_EQ(summary.targets.at("full").parked, 1);
  machine.ExpectAllIn(store);
  const auto parked = other.Parked();
  ASSERT_THAT(parked, SizeIs(1));
  EXPECT_EQ(parked[0].status, "differs");
  EXPECT_THAT(parked[0].reason, HasSubstr("data/lab/a/"));
  EXPECT_THAT(ListFiles(other.out()).value(), SizeIs(3));

  other.overwrite = true;
  EXPECT_EQ(other.queue().Unpark("full").value(), 1);
  EXPECT_THAT(other.Upload(store).status, IsOk());
  other.ExpectAllIn(store);
  other.ExpectNothingLeft();
}

TEST_F(Uploader, BelievesOnlyWhatItReadsBack) {
  machine.AddEpisodes(3);
  std::atomic<int> lies = 2;
  store.on_stat = [&](const std::string& revision, std::optional<StoredFile>& file) {
    if (file && revision != "1" && file->path == "data/lab/e1/tracks.npz" && lies-- > 0) {
      EXPECT_TRUE(fs::exists(machine.out() / "lab/e1/tracks.npz"));
      file->sha256 = std::string(64, '0');
    }
  };
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
  machine.ExpectNothingLeft();
  EXPECT_GT(store.CountOf(StoreCall::kPut), 9) << "its bytes were put again";
}

TEST_F(Uploader, ParksWhatIsNeverReadBackRight) {
  machine.AddEpisodes(3);
  store.on_stat = [](const std::string&, std::optional<StoredFile>& file) {
    if (file && file->path == "data/lab/e1/tracks.npz") file->size_bytes += 1;
  };
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  const auto parked = machine.Parked();
  ASSERT_THAT(parked, SizeIs(1));
  EXPECT_EQ(parked[0].key + " " + parked[0].status, "e1 not_confirmed");
  EXPECT_EQ(machine.Count(UploadState::kConfirmed), 2);
  EXPECT_THAT(ListFiles(machine.out()).value(), SizeIs(3));
}

TEST_F(Uploader, DoesNotFillARepositoryThatWasMadeAnew) {
  machine.AddEpisodes(3);
  machine.options.keep_uploaded = true;
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  MemoryStore empty;
  EXPECT_THAT(machine.Upload(empty).status, FailsAs("no_repository", HasSubstr("memory")));
  EXPECT_EQ(empty.CountOf(StoreCall::kPrepare), 0);
  ASSERT_THAT(empty.Prepare(), IsOk());
  EXPECT_THAT(machine.Upload(empty).status,
              FailsAs("repository_lost_files", HasSubstr("memory has lost")));
  EXPECT_EQ(empty.CountOf(StoreCall::kPut), 0);
  machine.options.upload_again = true;
  EXPECT_THAT(machine.Upload(empty).status, IsOk());
  machine.ExpectAllIn(empty);
}

TEST_F(Uploader, FindsOutWhatIsThereAfterItsQueueWasLost) {
  machine.AddEpisodes(5);
  machine.options.keep_uploaded = true;
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  std::ofstream(machine.queue_dir() / "upload.sqlite") << "torn";
  EXPECT_THAT(machine.Upload(store).status, FailsAs("upload_queue_damaged", HasSubstr("rebuild")));

  const std::vector<fs::path> roots{machine.out()};
  ASSERT_THAT(UploadQueue::RebuildFromDisk(
                  machine.queue_dir(),
                  roots,
                  [](const fs::path& root, const std::string& folder) -> std::vector<UploadEntry> {
                    if (!fs::exists(root / folder / "quality.json")) return {};
                    return {{.destination = "full",
                             .key = folder.substr(4),
                             .root = root,
                             .folder = folder,
                             .prefix = "data/" + folder}};
                  }),
              IsOk());
  machine.AddEpisode("new", "one");
  machine.options.keep_uploaded = false;
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  EXPECT_EQ(machine.Count(UploadState::kConfirmed), 6);
  EXPECT_EQ(Commits(), 2);
  machine.ExpectAllIn(store);
  machine.ExpectNothingLeft();
}

TEST_F(Uploader, DoesNotMindAClockThatGoesBack) {
  machine.AddEpisodes(10);
  machine.options.batch_files = 3;
  machine.options.commits_per_hour = 3;
  store.on_commit = [&](const CommitRequest&) -> Status {
    machine.clock.jump_ms -= 100 * kHour_ms;
    return {};
  };
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
}

TEST_F(Uploader, ParksThePoisonAndCommitsTheRest) {
  machine.AddEpisodes(100);
  machine.options.batch_files = 300;
  int refused = 0;
  store.on_commit = [&](const CommitRequest& request) -> Status {
    for (const OutgoingFile& file : request.files) {
      if (!file.path.starts_with("data/lab/e37/")) continue;
      ++refused;
      return ForGood("refused");
    }
    return {};
  };
  store.SetHooks([](StoreCall call, const std::string& path) -> Status {
    if (call == StoreCall::kPut && path == "data/lab/e52/tracks.npz") return ForGood("ignored");
    return {};
  });
  const UploadSummary summary = machine.Upload(store);
  EXPECT_THAT(summary.status, IsOk());
  EXPECT_EQ(summary.targets.at("full").parked, 2);
  EXPECT_EQ(machine.Count(UploadState::kConfirmed), 98);
  std::map<std::string, std::string> parked;
  for (const ParkedEpisode& episode : machine.Parked()) {
    parked[episode.key] = episode.status + ": " + episode.reason;
  }
  EXPECT_EQ(parked,
            (std::map<std::string, std::string>{{"e37", "refused: for good: refused"},
                                                {"e52", "ignored: for good: ignored"}}));
  EXPECT_LE(refused, 20);
  EXPECT_THAT(ListFiles(machine.out()).value(), SizeIs(6));
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  EXPECT_LE(refused, 20) << "parked is parked";
}

TEST_F(Uploader, MakesCommitsSmallerUntilTheyFit) {
  machine.AddEpisodes(60);
  store.on_commit = [](const CommitRequest& request) -> Status {
    if (request.files.size() > 10) return Told("too_large");
    return {};
  };
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
  EXPECT_EQ(machine.Count(UploadState::kParked), 0);
}

TEST_F(Uploader, MakesCommitsLargerWhileTheyAreFast) {
  machine.AddEpisodes(220);  // 250 files at first, then 400
  machine.options.interval = 0ms;
  machine.clock.is_slow = true;  // a commit seems to take as long as it does
  std::mutex mutex;
  std::condition_variable changed;
  int puts = 0;
  store.SetHooks([&](StoreCall call, const std::string&) -> Status {
    std::unique_lock lock(mutex);
    if (call == StoreCall::kPut) ++puts;
    if (call == StoreCall::kHead && puts > 0) {
      changed.wait_for(lock, 60s, [&] { return puts == 660; });
    }
    changed.notify_all();
    return {};
  });
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
  EXPECT_GT(store.largest_commit, 250U);
  EXPECT_LT(store.largest_commit, 400U);
}

TEST_F(Uploader, KeepsToItsCommitsPerHourThroughRestarts) {
  machine.AddEpisodes(14);
  machine.options.batch_files = 3;
  machine.options.commits_per_hour = 2;
  std::atomic<bool> stop = false;
  store.on_commit = [&](const CommitRequest&) -> Status {
    stop = true;
    return {};
  };
  int runs = 0;
  for (; runs < 100 && machine.Count(UploadState::kConfirmed) < 14; ++runs) {
    stop = false;
    (void)machine.Upload(store, {.stop = [&] { return stop.load(); }});
  }
  EXPECT_GT(runs, 5);
  EXPECT_EQ(Commits(), 14);
  EXPECT_GE(machine.clock.steady_ms, 6 * kHour_ms);
}

TEST_F(Uploader, CommitsAsItLikesWhereNobodyLimitsIt) {
  machine.AddEpisodes(14);
  machine.options.batch_files = 3;
  machine.options.commits_per_hour = 1;
  machine.observe = [](const UploadEvent& event) {
    EXPECT_NE(event.kind, UploadEvent::Kind::kWaiting) << event.message;
  };
  const UploadTarget target{.name = "full", .store = &store, .limits_commits = false};
  EXPECT_THAT(machine.Upload(std::span(&target, 1)).status, IsOk());
  EXPECT_EQ(Commits(), 14);
}

TEST_F(Uploader, CommitsAfterAnIntervalWhileMoreMayCome) {
  machine.AddEpisodes(2);
  machine.options.interval = 600s;
  std::int64_t committed_at = 0;
  store.on_commit = [&](const CommitRequest&) -> Status {
    committed_at = machine.clock.steady_ms;
    return {};
  };
  std::atomic<bool> confirmed = false;
  machine.observe = [&](const UploadEvent& event) {
    confirmed = confirmed || event.kind == UploadEvent::Kind::kConfirmed;
  };
  EXPECT_THAT(machine.Upload(store, {.finish = [&] { return confirmed.load(); }}).status, IsOk());
  EXPECT_GE(committed_at, 600'000);
  machine.ExpectAllIn(store);
}

TEST_F(Uploader, GivesUpWhenNothingSucceedsForLong) {
  machine.AddEpisodes(2);
  machine.options.patience = 1h;
  store.SetHooks(FailFirst(StoreCall::kPut, 1'000'000, Told("")));
  EXPECT_THAT(machine.Upload(store).status, FailsWith(ErrorKind::kTransient, HasSubstr("told")));
  EXPECT_GE(machine.clock.steady_ms, kHour_ms);
  EXPECT_LT(store.CountOf(StoreCall::kPut), 1000);
  EXPECT_EQ(machine.Count(UploadState::kStaged), 2);
  store.SetHooks(FailFirst(StoreCall::kPut, 10, Told("")));
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
}

TEST_F(Uploader, TakesFilesWithUnusualNamesAndSizes) {
  for (const char* const name :
       {"a+b#c%20?.json", "sp ace.npz", "u\xCC\x88.txt", "\xC3\xBC.txt", "empty.json"}) {
    machine.Write(std::string("lab/odd/") + name, name == std::string("empty.json") ? "" : name);
  }
  machine.Write("lab/odd/" + std::string(200, 'n'), "long");
  UploadQueue queue = machine.queue();
  machine.Enqueue(queue, "odd", "lab/odd", {"full"});
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  machine.ExpectAllIn(store);
  machine.ExpectNothingLeft();
}

TEST_F(Uploader, ParksAnEpisodeWhoseFileIsGoneOrNoFile) {
  machine.AddEpisodes(4);
  fs::remove(machine.out() / "lab/e1/tracks.npz");
  fs::remove(machine.out() / "lab/e2/tracks.npz");
  fs::create_symlink("/etc/passwd", machine.out() / "lab/e2/tracks.npz");
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  std::map<std::string, std::string> parked;
  for (const ParkedEpisode& episode : machine.Parked()) {
    parked[episode.key] = episode.status;
    EXPECT_THAT(episode.reason, HasSubstr("tracks.npz"));
  }
  EXPECT_EQ(parked, (std::map<std::string, std::string>{{"e1", "vanished"}, {"e2", "refused"}}));
  EXPECT_EQ(machine.Count(UploadState::kConfirmed), 2);
}

TEST_F(Uploader, LetsOneProcessUpload) {
  const auto lock = UploaderLock::Acquire(machine.queue_dir());
  ASSERT_THAT(lock, IsOk());
  EXPECT_THAT(machine.Upload(store).status, FailsWith(ErrorKind::kBusy, HasSubstr("uploads")));
}

TEST_F(Uploader, RefusesAnotherPlaceForTheSameDestination) {
  machine.AddEpisodes(1);
  FolderStore folder(dir / "store");
  EXPECT_THAT(machine.Upload(folder).status, IsOk());
  EXPECT_THAT(machine.Upload(store).status, FailsWith(ErrorKind::kUsage, HasSubstr("not memory")));
}

TEST_F(Uploader, PacksEpisodesIntoShards) {
  for (int i = 0; i < 6; ++i) machine.AddEpisode(fmt::format("e{}", i), std::string(300, 'x'));
  machine.AddEpisode("no.good", "x");
  const UploadTarget target{
      .name = "full",
      .store = &store,
      .shards = ShardOptions{.shard_bytes = 3000, .run = "r", .prefix = "v1"}};
  ASSERT_THAT(WriteFile(machine.queue_dir() / "shards/full/shard-r-00007/data/x.tar", "unfinished"),
              IsOk());
  const UploadSummary summary = machine.Upload(std::span(&target, 1));
  EXPECT_THAT(summary.status, IsOk());
  EXPECT_EQ(summary.targets.at("full").confirmed.episodes, 6);
  const auto parked = machine.Parked();
  ASSERT_THAT(parked, SizeIs(1));
  EXPECT_EQ(parked[0].key + " " + parked[0].status, "no.good refused");

  std::vector<std::string> names;
  ASSERT_THAT(store.List(store.Head().value(), "", [&](StoredFile f) { names.push_back(f.path); }),
              IsOk());
  EXPECT_THAT(names,
              ElementsAre("v1/data/lab/shard-r-00000.tar",
                          "v1/data/lab/shard-r-00001.tar",
                          "v1/data/lab/shard-r-00002.tar",
                          "v1/meta/shard-r-00000.jsonl",
                          "v1/meta/shard-r-00001.jsonl",
                          "v1/meta/shard-r-00002.jsonl"));
  EXPECT_THAT(ListFiles(machine.out()).value(), SizeIs(3)) << "what is parked";
  EXPECT_THAT(ListFiles(machine.queue_dir() / "shards").value(), IsEmpty());

  UploadQueue queue = machine.queue();
  ASSERT_THAT(IndexRepository(queue, "full", store), IsOk());
  EXPECT_TRUE(queue.IsInRepository("full", "e3", "", {}).value());
  EXPECT_FALSE(queue.IsInRepository("full", "no.good", "", {}).value());

  // Another machine that has the same episode leaves it.
  Machine other(dir / "b");
  other.AddEpisode("e3", "other");
  other.AddEpisode("e9", "other");
  UploadQueue other_queue = other.queue();
  ASSERT_THAT(IndexRepository(other_queue, "full", store), IsOk());
  const UploadTarget others{.name = "full", .store = &store, .shards = ShardOptions{.run = "s"}};
  EXPECT_THAT(other.Upload(std::span(&others, 1)).status, IsOk());
  ASSERT_THAT(other.Parked(), SizeIs(1));
  EXPECT_EQ(other.Parked()[0].key + " " + other.Parked()[0].status, "e3 differs");
  EXPECT_EQ(other.Count(UploadState::kConfirmed), 1);
}

TEST_F(Uploader, RebuildsAShardThatWasLost) {
  machine.AddEpisodes(3);
  const UploadTarget target{.name = "full", .store = &store, .shards = ShardOptions{}};
  std::atomic<bool> stop = false;
  store.SetHooks([&](StoreCall call, const std::string&) -> Status {
    if (call != StoreCall::kPut || stop.exchange(true)) return {};
    return Told("");
  });
  EXPECT_THAT(machine.Upload(std::span(&target, 1), {.stop = [&] { return stop.load(); }}).status,
              FailsWith(ErrorKind::kCancelled, HasSubstr("")));
  ASSERT_THAT(RemoveTree(machine.queue_dir() / "shards"), IsOk());
  EXPECT_THAT(machine.Upload(std::span(&target, 1)).status, IsOk());
  EXPECT_EQ(machine.Count(UploadState::kConfirmed), 3);
  EXPECT_EQ(Commits(), 1);
  machine.ExpectNothingLeft();
}

TEST_F(Uploader, KeepsTheLastCompleteIndex) {
  machine.AddEpisodes(3);
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  UploadQueue queue = machine.queue();
  const std::vector<std::string> names{"tracks.npz"};
  const auto has = [&](const std::string& key) {
    return queue.IsInRepository("full", key, "data/lab/" + key, names).value();
  };
  EXPECT_FALSE(has("e1"));
  ASSERT_THAT(IndexRepository(queue, "full", store), IsOk());
  EXPECT_TRUE(has("e1"));
  ASSERT_THAT(IndexRepository(queue, "full", store), IsOk());
  EXPECT_EQ(store.CountOf(StoreCall::kList), 1) << "nothing is new";

  machine.AddEpisode("late", "x");
  EXPECT_THAT(machine.Upload(store).status, IsOk());
  store.SetHooks({}, FailFirst(StoreCall::kList, 1, Told("")));  // after the last page
  EXPECT_THAT(IndexRepository(queue, "full", store), ::testing::Not(IsOk()));
  EXPECT_TRUE(has("e1"));
  EXPECT_FALSE(has("late"));
  ASSERT_THAT(IndexRepository(queue, "full", store), IsOk());
  EXPECT_TRUE(has("late"));
}

/// One upload in a process of its own, on the machine's real clock.
pid_t StartUploader(const Machine& machine, const fs::path& store_dir, bool shards) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  FolderStore full(store_dir / "full");
  FolderStore metadata(store_dir / "metadata");
  std::vector<UploadTarget> targets{{.name = "full", .store = &full},
                                    {.name = "metadata", .store = &metadata}};
  if (shards) targets[1].shards = ShardOptions{.shard_bytes = 3000, .run = "r"};
  const UploaderOptions options{.batch_files = 9, .commits_per_hour = 1'000'000, .poll = 1ms};
  const UploadSummary summary = RunUploader(machine.queue_dir(), targets, options);
  _exit(summary.status ? 0 : 1);
}

TEST(UploaderProcess, LosesAndDoublesNothingWhenItIsKilled) {
  for (const bool shards : {false, true}) {
    const TemporaryDirectory dir;
    Machine machine(dir / "a");
    std::mt19937 random(5);
    int killed = 0;
    int made = 0;
    for (int round = 0; round < 15; ++round) {
      for (int i = 0; i < 4; ++i) {
        machine.AddEpisode(fmt::format("e{}", made),
                           std::string(200, static_cast<char>('a' + made % 26)),
                           {"full", "metadata"});
        ++made;
      }
      const pid_t pid = StartUploader(machine, dir / "store", shards);
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 60'000));
      kill(pid, SIGKILL);
      int status = 0;
      waitpid(pid, &status, 0);
      if (WIFSIGNALED(status)) {
        ++killed;
      } else {
        EXPECT_EQ(status, 0);
      }
      // What is gone here is there.
      FolderStore full(dir / "store/full");
      if (!full.Prepare()) continue;
      const std::string head = full.Head().value();
      for (int i = 0; i < made; ++i) {
        for (const char* const name : {"tracks.npz", "quality.json", "recordings/1/depth.mkv"}) {
          const std::string path = fmt::format("lab/e{}/{}", i, name);
          if (fs::exists(machine.out() / path)) continue;
          const std::string stored = "data/" + path;
          EXPECT_TRUE(full.Stat(head, std::span(&stored, 1)).value()[0]) << path;
        }
      }
    }
    EXPECT_GT(killed, 5);
    int status = 0;
    waitpid(StartUploader(machine, dir / "store", shards), &status, 0);
    EXPECT_EQ(status, 0);
    FolderStore full(dir / "store/full");
    machine.ExpectAllIn(full);
    machine.ExpectNothingLeft();
    EXPECT_EQ(machine.Count(UploadState::kConfirmed, "full"), made);
    EXPECT_EQ(machine.Count(UploadState::kConfirmed, "metadata"), made);
    if (shards) {
      // Every episode is in one shard, whole.
      EXPECT_EQ(RunPython("import collections, glob, tarfile\nroot = '" +
                          (dir / "store/metadata").string() + "/'\n" + R"(
count = collections.Counter()
for path in glob.glob(root + 'data/lab/*.tar'):
    for m in tarfile.open(path): count[m.name] += 1
print(len(count), set(count.values()))
)"),
                fmt::format("{} {{1}}\n", 3 * made));
    } else {
      FolderStore metadata(dir / "store/metadata");
      machine.ExpectAllIn(metadata);
    }
    // No commit is empty but the one that makes the store.
    std::ifstream history(dir / "store/full/.droidflow/commits.jsonl");
    int empty = 0;
    for (std::string line; std::getline(history, line);) {
      empty += line.find("data/lab/") == std::string::npos ? 1 : 0;
    }
    EXPECT_EQ(empty, 1);
  }
}

}  // namespace
}  // namespace droidflow

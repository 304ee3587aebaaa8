#include "droidflow/transfer/uploader.h"

#include "droidflow/core/check.h"
#include "droidflow/core/sha256.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <mutex>
#include <random>
#include <set>
#include <span>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

constexpr std::array<std::int64_t, 11> kLadder{20, 50, 75, 100, 125, 200, 250, 400, 600, 800, 1000};
constexpr std::size_t kLadderStart = 6;
constexpr milliseconds kFastCommit = 40s;
constexpr std::int64_t kPutFiles = 100;
constexpr std::int64_t kPutBytes = 1'000'000'000;
constexpr std::int64_t kFirstPutBytes = 64'000'000;  // nothing is sent while these are hashed
constexpr std::int64_t kConfirmFiles = 1000;
constexpr std::uint64_t kMaxGitBytes = 10 << 20;  // larger files are never held as git does
constexpr int kMaxAttempts = 5;
constexpr int kLookedAtFirst = 20;
constexpr milliseconds kSlice = 50ms;

/// What an error asks for; of several, the last one here.
enum class Fate {
  kFine,
  kLater,       ///< it may pass
  kStoreAgain,  ///< bytes are missing
  kRefused,     ///< for good, somewhere in this
  kDivide,      ///< too much at once
  kChanged,     ///< a local file is not what was hashed
  kUnclear,     ///< it may have happened
  kHeadMoved,
  kWait,
  kStop,
};

Fate FateOf(const Error& error) {
  using namespace store_status;  // NOLINT(google-build-using-namespace)
  static const std::map<std::string_view, Fate> fates{{kUnauthorized, Fate::kStop},
                                                      {kForbidden, Fate::kStop},
                                                      {kNoRepository, Fate::kStop},
                                                      {kRateLimited, Fate::kWait},
                                                      {kHeadMoved, Fate::kHeadMoved},
                                                      {kBytesMissing, Fate::kStoreAgain},
                                                      {kTooLarge, Fate::kDivide},
                                                      {kUnclear, Fate::kUnclear},
                                                      {kRefused, Fate::kRefused},
                                                      {kIgnored, Fate::kRefused},
                                                      {kChanged, Fate::kChanged}};
  if (const auto found = fates.find(error.status); found != fates.end()) return found->second;
  switch (error.kind) {
    case ErrorKind::kTransient:
    case ErrorKind::kBusy:
    case ErrorKind::kNoSpace:
    case ErrorKind::kNotFound:
      return Fate::kLater;
    case ErrorKind::kInvalidData:
      return Fate::kRefused;
    default:
      return Fate::kStop;
  }
}

OutgoingFile Outgoing(const UploadEntry& entry, const UploadFile& file) {
  return {.path = entry.PathOf(file),
          .source = entry.Source(file),
          .size_bytes = file.size_bytes,
          .sha256 = file.sha256,
          .git_oid = file.git_oid};
}

std::vector<std::string> PathsOf(std::span<const QueuedEntry> entries) {
  std::vector<std::string> paths;
  for (const QueuedEntry& queued : entries) {
    for (const UploadFile& file : queued.entry.files) paths.push_back(queued.entry.PathOf(file));
  }
  return paths;
}

UploadTotals TotalsOf(std::span<const QueuedEntry> entries) {
  UploadTotals totals{.episodes = static_cast<std::int64_t>(entries.size())};
  for (const QueuedEntry& queued : entries) {
    totals.files += static_cast<std::int64_t>(queued.entry.files.size());
    for (const UploadFile& file : queued.entry.files) {
      totals.bytes += static_cast<std::int64_t>(file.size_bytes);
    }
  }
  return totals;
}

/// Removes those of an entry's files that are still what was uploaded, and the folders that this
/// leaves empty. Another folder that takes the place of this one meanwhile is not touched.
void RemoveUploaded(const UploadEntry& entry) {
  const fs::path directory = entry.root / entry.folder;
  const UniqueFd folder(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  // All of them: files, or the folder too, may be gone since a process that was killed.
  std::set<std::string, std::greater<>> inner;  // deepest first
  for (const UploadFile& file : entry.files) {
    for (fs::path parent = fs::path(file.name).parent_path(); !parent.empty();
         parent = parent.parent_path()) {
      inner.insert(parent.string());
    }
    struct stat info = {};
    if (fstatat(folder.get(), file.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    const UploadFile now{
        .name = file.name,
        .size_bytes = static_cast<std::uint64_t>(info.st_size),
        .mtime_ns = info.st_mtim.tv_sec * std::int64_t{1'000'000'000} + info.st_mtim.tv_nsec,
        .inode = info.st_ino};
    if (!S_ISREG(info.st_mode) || !now.SameStamp(file)) continue;
    unlinkat(folder.get(), file.name.c_str(), 0);
  }
  for (const std::string& name : inner) unlinkat(folder.get(), name.c_str(), AT_REMOVEDIR);
  for (fs::path part = entry.folder; !part.empty(); part = part.parent_path()) {
    if (rmdir((entry.root / part).c_str()) != 0 && errno != ENOENT) return;
  }
}

/// What the lanes of one upload share.
struct Shared {
  const fs::path& dir;
  const UploaderOptions& options;
  const UploadControl& control;
  const std::function<void(const UploadEvent&)>& observe;
  std::mutex observing;
  std::mutex hashing;  ///< hard links in two destinations are hashed once

  [[nodiscard]] bool FinishAsked() const { return !control.finish || control.finish(); }
  [[nodiscard]] bool StopAsked() const { return control.stop && control.stop(); }
};

/// One destination: a thread that stores bytes and one that commits.
class Lane {
 public:
  Lane(Shared& shared, const UploadTarget& target)
      : shared_(shared),
        target_(target),
        options_(shared.options),
        clock_(*shared.options.clock),
        store_(*target.store),
        has_shards_(target.shards.has_value()),
        last_success_(clock_.Steady()) {}

  void Run() {
    WithQueue(&Lane::Prepare);
    std::thread storing([this] { WithQueue(&Lane::StoreLoop); });
    WithQueue(&Lane::CommitLoop);
    storing.join();
  }

  /// After Run.
  [[nodiscard]] TargetSummary summary() const {
    TargetSummary summary = summary_;
    if (stopped_) {
      summary.status = tl::unexpected(error_);
    } else if (!finished_) {
      summary.status = Fail(ErrorKind::kCancelled, "the upload was asked to stop");
    }
    return summary;
  }

 private:
  struct Deferral {
    int times = 0;
    milliseconds until{0};
  };

  [[nodiscard]] bool Ended() const { return stopped_ || shared_.StopAsked(); }
  [[nodiscard]] UploadQueue::Selection In(UploadState state) const {
    return {.destination = target_.name, .state = state, .shards = has_shards_};
  }

  void Tell(UploadEvent event) {
    event.destination = target_.name;
    const std::lock_guard lock(shared_.observing);
    if (event.kind == UploadEvent::Kind::kParked) ++summary_.parked;
    if (event.kind == UploadEvent::Kind::kCommitted) ++summary_.commits;
    if (event.kind == UploadEvent::Kind::kConfirmed) {
      summary_.confirmed.episodes += event.totals.episodes;
      summary_.confirmed.files += event.totals.files;
      summary_.confirmed.bytes += event.totals.bytes;
    }
    if (shared_.observe) shared_.observe(event);
  }

  void Stop(const Error& error) {
    {
      const std::lock_guard lock(stopping_);
      if (stopped_) return;
      error_ = error;
      stopped_ = true;
    }
    Tell({.kind = UploadEvent::Kind::kStopped, .message = error.message});
  }

  void Succeeded(milliseconds later = 0ms) {
    const milliseconds now = clock_.Steady() + later;
    if (now > last_success_.load()) last_success_ = now;
  }

  void Pause(milliseconds duration) {
    const milliseconds end = clock_.Steady() + duration;
    for (milliseconds now = clock_.Steady(); now < end && !Ended(); now = clock_.Steady()) {
      clock_.Sleep(std::min(end - now, kSlice));
    }
  }

  /// Until it is time to look for work again, or the other thread has changed something since.
  void AwaitWork(int changes_seen) {
    const milliseconds end = clock_.Steady() + options_.poll;
    while (changes_ == changes_seen && clock_.Steady() < end && !Ended()) clock_.Sleep(kSlice);
  }

  /// Longer each time, and never the same for two machines.
  milliseconds Backoff(int times, milliseconds first, milliseconds most) {
    const milliseconds longest = std::min(first * (1 << std::min(times, 16)), most);
    const std::lock_guard lock(stopping_);
    return milliseconds(
        std::uniform_int_distribution<std::int64_t>(longest.count() / 2, longest.count())(random_));
  }

  [[nodiscard]] std::size_t HalfStep() const {
    std::size_t half = step_;
    while (half > 0 && 2 * kLadder.at(half) > kLadder.at(step_)) --half;
    return half;
  }

  /// Waits after an error that may pass; gives up when patience is over.
  void WaitAfter(const Error& error, milliseconds duration) {
    if (shared_.FinishAsked()) {
      milliseconds none{0};
      finish_seen_.compare_exchange_strong(none, clock_.Steady());
      const milliseconds since = std::max(last_success_.load(), finish_seen_.load());
      if (clock_.Steady() - since > options_.patience) return Stop(error);
    }
    if (duration >= 10s) {
      Tell({.kind = UploadEvent::Kind::kWaiting, .message = error.message, .wait = duration});
    }
    Pause(duration);
  }

  /// As long as it was told, and a little more.
  void WaitAsTold(const Error& error, int times) {
    const milliseconds told(error.retry_after_ms);
    const milliseconds duration = told + Backoff(told > 0ms ? 0 : times, 1s, 600s);
    Succeeded(duration);  // being asked to wait is no failure
    WaitAfter(error, duration);
  }

  /// Runs one of the steps below with a queue of this thread's own.
  void WithQueue(Status (Lane::*steps)(UploadQueue&)) {
    if (stopped_) return;
    Result<UploadQueue> queue = UploadQueue::Open(shared_.dir);
    const Status status = queue ? (this->*steps)(*queue) : Status(tl::unexpected(queue.error()));
    if (!status) Stop(status.error());
  }

  Status Prepare(UploadQueue& queue);
  Status LookForLosses(UploadQueue& queue);

  /// Repeats a step until the end. A step's error is the queue's own: a full or busy disk may pass.
  template <typename Step>
  Status Repeat(Step step) {
    for (int failures = 0; !Ended();) {
      const Result<bool> go_on = step();
      if (go_on) {
        if (!*go_on) return {};
        failures = 0;
        continue;
      }
      const ErrorKind kind = go_on.error().kind;
      if (kind != ErrorKind::kNoSpace && kind != ErrorKind::kBusy) {
        return tl::unexpected(go_on.error());
      }
      WaitAfter(go_on.error(), Backoff(failures++, options_.poll, 60s));
    }
    return {};
  }

  Status StoreLoop(UploadQueue& queue) {
    return Repeat([&] { return StoreSome(queue); });
  }
  Status CommitLoop(UploadQueue& queue) {
    return Repeat([&] { return CommitSome(queue); });
  }

  Result<bool> StoreSome(UploadQueue& queue);
  Status PackShards(UploadQueue& queue);
  /// Hashes those of its files that were not, or are no longer what was hashed.
  ///
  /// @return  why a file cannot be read; it is an error of the queue's otherwise.
  Result<Status> HashFiles(UploadQueue& queue, QueuedEntry& queued);
  /// Hashes the entries to be stored next. Errors are left to the one who stores them.
  void HashNext();
  Result<UploadFile> Hash(UploadQueue& queue, const QueuedEntry& queued, UploadFile file);
  Status SettlePut(UploadQueue& queue, const QueuedEntry& queued, const Error& error);

  Result<bool> CommitSome(UploadQueue& queue);
  /// @return false: not all could be read back yet.
  Result<bool> ConfirmSome(UploadQueue& queue);
  /// @return  the store's answer; it is an error of the queue's otherwise.
  Result<Status> CommitEntries(UploadQueue& queue, std::vector<QueuedEntry> entries);
  Result<Status> CommitHalves(UploadQueue& queue, const std::vector<QueuedEntry>& entries);
  Result<Status> SettleCommit(UploadQueue& queue,
                              const std::vector<QueuedEntry>& entries,
                              const Error& error);
  void WaitAfterCommit(const Error& error);
  Status RemoveLocal(UploadQueue& queue);

  Status Park(UploadQueue& queue,
              const QueuedEntry& queued,
              const std::string& status,
              const std::string& reason) {
    DF_RETURN_IF_ERROR(queue.Park(queued, status, reason));
    Succeeded();
    Tell({.kind = UploadEvent::Kind::kParked,
          .key = queued.entry.key,
          .message = status + ": " + reason});
    return {};
  }
  Status SettleUnreadable(UploadQueue& queue, const QueuedEntry& queued, const Error& error);
  /// Starts entries again, together; parks those that have been started again too often.
  Status StartAgain(UploadQueue& queue,
                    std::span<const QueuedEntry> entries,
                    bool forget_hashes,
                    const Error& error) {
    std::vector<QueuedEntry> again;
    for (const QueuedEntry& queued : entries) {
      if (queued.attempts < kMaxAttempts) {
        again.push_back(queued);
      } else {
        DF_RETURN_IF_ERROR(Park(queue, queued, error.status, error.message));
      }
    }
    return queue.Restage(again, forget_hashes);
  }
  void Defer(const QueuedEntry& queued, const Error& error) {
    Deferral& deferral = deferred_[queued.id];
    deferral.until = clock_.Steady() + Backoff(deferral.times++, 1s, 300s);
    last_deferral_ = error;
  }

  bool IsPutOff(const QueuedEntry& queued) {
    const auto found = deferred_.find(queued.id);
    const bool is = found != deferred_.end() && found->second.until > clock_.Steady();
    pass_skipped_ = pass_skipped_ || is;
    return is;
  }

  Shared& shared_;
  const UploadTarget& target_;
  const UploaderOptions& options_;
  Clock& clock_;
  Store& store_;
  const bool has_shards_;

  std::mutex stopping_;  ///< guards error_ and random_
  std::atomic<bool> stopped_ = false;
  Error error_ = {};
  std::mt19937 random_{std::random_device{}()};
  TargetSummary summary_;  ///< guarded by Shared::observing
  std::atomic<milliseconds> last_success_;
  std::atomic<milliseconds> finish_seen_{0ms};
  std::atomic<bool> nothing_to_store_ = false;
  std::atomic<int> changes_ = 0;  ///< for which one thread may wait on the other

  // Of the storing thread, and of the one that hashes while it waits.
  std::int64_t cursor_ = 0;
  std::int64_t put_bytes_ = kFirstPutBytes;
  std::optional<UploadQueue> queue_of_next_;
  bool pass_was_idle_ = true;
  bool pass_skipped_ = false;  ///< something that is put off
  int put_failures_ = 0;
  std::map<std::int64_t, Deferral> deferred_;
  Error last_deferral_ = {};

  // Of the committing thread.
  std::size_t step_ = kLadderStart;  ///< on the ladder
  int commit_failures_ = 0;
  std::optional<milliseconds> first_stored_;
  bool finished_ = false;
};

Status Lane::Prepare(UploadQueue& queue) {
  DF_RETURN_IF_ERROR(BindToStore(queue, target_.name, store_, has_shards_));
  DF_ASSIGN_OR_RETURN(const UploadTotals confirmed, queue.Totals(In(UploadState::kConfirmed)));
  if (has_shards_) {
    const fs::path staging = shared_.dir / "shards" / target_.name;
    std::error_code error;
    std::vector<std::string> names;
    fs::directory_iterator at(staging, error);
    for (const fs::directory_iterator end; !error && at != end; at.increment(error)) {
      names.push_back(at->path().filename().string());
    }
    for (const std::string& name : names) {
      DF_ASSIGN_OR_RETURN(const bool known, queue.HasShard(target_.name, name));
      if (!known) DF_RETURN_IF_ERROR(RemoveTree(staging / name));
    }
  }
  for (int failures = 0; !Ended(); ++failures) {
    // What has been there is never made anew: it was deleted or renamed, and a person must know.
    Status ready = confirmed.episodes > 0 ? LookForLosses(queue) : store_.Prepare();
    if (ready) return RemoveLocal(queue);
    switch (FateOf(ready.error())) {
      case Fate::kWait:
        WaitAsTold(ready.error(), failures);
        break;
      case Fate::kLater:
      case Fate::kUnclear:
      case Fate::kHeadMoved:
        WaitAfter(ready.error(), Backoff(failures, 1s, 60s));
        break;
      default:
        return ready;
    }
  }
  return {};
}

Status Lane::LookForLosses(UploadQueue& queue) {
  DF_ASSIGN_OR_RETURN(const std::string head, store_.Head());
  const auto lost =
      [&](const std::vector<QueuedEntry>& entries) -> Result<std::vector<const QueuedEntry*>> {
    const std::vector<std::string> paths = PathsOf(entries);
    DF_ASSIGN_OR_RETURN(const auto stored, store_.Stat(head, paths));
    std::vector<const QueuedEntry*> missing;
    std::size_t i = 0;
    for (const QueuedEntry& queued : entries) {
      const std::size_t end = i + queued.entry.files.size();
      bool is_missing = false;
      for (; i < end; ++i) is_missing |= !stored.at(i);
      if (is_missing) missing.push_back(&queued);
    }
    return missing;
  };
  DF_ASSIGN_OR_RETURN(const std::vector<QueuedEntry> newest,
                      queue.TakeNewest(In(UploadState::kConfirmed), kLookedAtFirst));
  DF_ASSIGN_OR_RETURN(const auto missing, lost(newest));
  if (missing.empty()) return {};
  if (!options_.upload_again) {
    return FailAs("repository_lost_files",
                  ErrorKind::kUsage,
                  "{} has lost what was confirmed there, as {}: was it deleted and made again?",
                  store_.Describe(),
                  missing.front()->entry.key);
  }
  for (std::int64_t after = 0;;) {
    DF_ASSIGN_OR_RETURN(const std::vector<QueuedEntry> entries,
                        queue.Take(In(UploadState::kConfirmed), after, kConfirmFiles, INT64_MAX));
    if (entries.empty()) return {};
    after = entries.back().id;
    DF_ASSIGN_OR_RETURN(const auto gone, lost(entries));
    for (const QueuedEntry* queued : gone) {
      DF_RETURN_IF_ERROR(has_shards_
                             ? queue.DropShard(*queued)
                             : queue.Restage(std::span(queued, 1), /*forget_hashes=*/false));
    }
  }
}

Status Lane::SettleUnreadable(UploadQueue& queue, const QueuedEntry& queued, const Error& error) {
  if (error.kind == ErrorKind::kTransient || error.kind == ErrorKind::kNoSpace) {
    Defer(queued, error);
    return {};
  }
  if (error.kind != ErrorKind::kNotFound) {
    return Park(queue, queued, store_status::kRefused, error.message);
  }
  // A file is gone: it may have been removed because all of them are there already.
  const auto is_there = [&]() -> Result<std::string> {
    const std::vector<std::string> paths = PathsOf(std::span(&queued, 1));
    DF_ASSIGN_OR_RETURN(const std::string head, store_.Head());
    DF_ASSIGN_OR_RETURN(const auto stored, store_.Stat(head, paths));
    for (std::size_t i = 0; i < paths.size(); ++i) {
      const UploadFile& file = queued.entry.files.at(i);
      if (file.sha256.empty() || !stored.at(i) ||
          !SameContent(*stored.at(i), Outgoing(queued.entry, file))) {
        return std::string();
      }
    }
    return head;
  };
  const Result<std::string> head = is_there();
  if (!head) {
    if (FateOf(head.error()) == Fate::kStop) Stop(head.error());
    Defer(queued, head.error());
    return {};
  }
  if (!head->empty()) return queue.MarkCommitted(std::span(&queued, 1), *head);
  if (queued.is_shard) return queue.DropShard(queued);
  return Park(queue, queued, "vanished", error.message);
}

Result<UploadFile> Lane::Hash(UploadQueue& queue, const QueuedEntry& queued, UploadFile file) {
  const std::lock_guard lock(shared_.hashing);
  // One that had to start again may be in the memory with a hash that is wrong.
  if (queued.attempts == 0) {
    const Result<bool> known = queue.RecallHash(file);
    if (known && *known) return file;
  }
  const fs::path path = queued.entry.Source(file);
  DF_ASSIGN_OR_RETURN(file.sha256, Sha256OfFile(path));
  if (file.size_bytes <= kMaxGitBytes) {
    DF_ASSIGN_OR_RETURN(file.git_oid, GitBlobOidOfFile(path));
  }
  DF_ASSIGN_OR_RETURN(const UploadFile now, StampUploadFile(queued.entry, file.name));
  if (now.SameStamp(file)) return file;
  return Fail(ErrorKind::kTransient, "it was changed while it was read: {}", path.string());
}

Result<Status> Lane::HashFiles(UploadQueue& queue, QueuedEntry& queued) {
  bool is_new = false;
  for (UploadFile& file : queued.entry.files) {
    Result<UploadFile> now = StampUploadFile(queued.entry, file.name);
    if (now && now->SameStamp(file) && !file.sha256.empty()) continue;
    if (now) now = Hash(queue, queued, *now);
    if (!now) return Status(tl::unexpected(now.error()));
    file = *std::move(now);
    is_new = true;
  }
  if (is_new) DF_RETURN_IF_ERROR(queue.SetFiles(queued));
  return Status();
}

void Lane::HashNext() {
  if (!queue_of_next_) {
    Result<UploadQueue> queue = UploadQueue::Open(shared_.dir);
    if (!queue) return;
    queue_of_next_ = *std::move(queue);
  }
  auto entries = queue_of_next_->Take(In(UploadState::kStaged), cursor_, kPutFiles, put_bytes_);
  if (!entries) return;
  for (QueuedEntry& queued : *entries) {
    if (Ended() || !HashFiles(*queue_of_next_, queued)) return;
  }
}

Status Lane::SettlePut(UploadQueue& queue, const QueuedEntry& queued, const Error& error) {
  switch (FateOf(error)) {
    case Fate::kChanged:
      for (const UploadFile& file : queued.entry.files) {
        if (const auto now = StampUploadFile(queued.entry, file.name); !now) {
          return SettleUnreadable(queue, queued, now.error());
        }
      }
      return StartAgain(queue, std::span(&queued, 1), /*forget_hashes=*/true, error);
    case Fate::kRefused:
    case Fate::kDivide:
      return Park(queue, queued, error.status, error.message);
    case Fate::kStop:
      Stop(error);
      return {};
    default:
      Defer(queued, error);
      return {};
  }
}

Result<bool> Lane::StoreSome(UploadQueue& queue) {
  const int changes_seen = changes_;
  if (has_shards_) DF_RETURN_IF_ERROR(PackShards(queue));
  DF_ASSIGN_OR_RETURN(std::vector<QueuedEntry> entries,
                      queue.Take(In(UploadState::kStaged), cursor_, kPutFiles, put_bytes_));
  if (entries.empty()) {
    cursor_ = 0;
    const bool skipped = std::exchange(pass_skipped_, false);
    if (!std::exchange(pass_was_idle_, true)) return true;
    if (!nothing_to_store_.exchange(true)) ++changes_;
    if (shared_.FinishAsked()) {
      DF_ASSIGN_OR_RETURN(const bool unfinished, queue.HasUnfinished(target_.name));
      if (!unfinished) return false;
    }
    if (skipped) {
      WaitAfter(last_deferral_, options_.poll);
    } else {
      deferred_.clear();
      AwaitWork(changes_seen);
    }
    return true;
  }
  cursor_ = entries.back().id;

  std::vector<QueuedEntry> ready;
  std::vector<OutgoingFile> files;
  for (QueuedEntry& queued : entries) {
    if (IsPutOff(queued)) continue;
    pass_was_idle_ = false;
    nothing_to_store_ = false;
    DF_ASSIGN_OR_RETURN(const Status hashed, HashFiles(queue, queued));
    if (!hashed) {
      DF_RETURN_IF_ERROR(SettleUnreadable(queue, queued, hashed.error()));
      continue;
    }
    for (const UploadFile& file : queued.entry.files) {
      files.push_back(Outgoing(queued.entry, file));
    }
    ready.push_back(std::move(queued));
  }
  if (ready.empty() || Ended()) return true;

  put_bytes_ = std::min(2 * put_bytes_, kPutBytes);
  std::thread hashing([this] { HashNext(); });
  const std::vector<Status> statuses = store_.Put(files);
  hashing.join();
  DF_CHECK(statuses.size() == files.size(), "{} of {}", statuses.size(), files.size());
  std::vector<QueuedEntry> stored;
  std::optional<Error> told_to_wait;
  std::optional<Error> transient;
  std::size_t i = 0;
  for (const QueuedEntry& queued : ready) {
    const Error* worst = nullptr;
    for (const std::size_t end = i + queued.entry.files.size(); i < end; ++i) {
      if (statuses[i]) continue;
      const Error& error = statuses[i].error();
      if (worst == nullptr || FateOf(error) > FateOf(*worst)) worst = &error;
    }
    if (worst == nullptr) {
      deferred_.erase(queued.id);
      stored.push_back(queued);
    } else if (FateOf(*worst) == Fate::kWait) {
      told_to_wait = *worst;
    } else {
      if (FateOf(*worst) == Fate::kLater) transient = *worst;
      DF_RETURN_IF_ERROR(SettlePut(queue, queued, *worst));
    }
  }
  DF_RETURN_IF_ERROR(queue.MarkStored(stored));
  if (!stored.empty()) {
    ++changes_;
    put_failures_ = 0;
    Succeeded();
  }
  if (told_to_wait) {
    WaitAsTold(*told_to_wait, put_failures_++);
  } else if (transient && stored.empty()) {
    WaitAfter(*transient, Backoff(put_failures_++, 1s, 60s));
  }
  return true;
}

Status Lane::PackShards(UploadQueue& queue) {
  const UploadQueue::Selection staged{.destination = target_.name};
  DF_ASSIGN_OR_RETURN(const UploadTotals totals, queue.Totals(staged));
  const bool finish = shared_.FinishAsked();
  if (totals.episodes == 0 || (!finish && totals.bytes < target_.shards->shard_bytes)) return {};
  DF_ASSIGN_OR_RETURN(const auto groups, queue.BytesByGroup(staged));
  for (const auto& [group, bytes] : groups) {
    if (Ended() || (!finish && bytes < target_.shards->shard_bytes)) continue;
    DF_ASSIGN_OR_RETURN(std::vector<QueuedEntry> episodes,
                        queue.TakeOfGroup(staged, group, target_.shards->shard_bytes));
    std::erase_if(episodes, [&](const QueuedEntry& queued) { return IsPutOff(queued); });
    if (!target_.overwrite) {
      for (auto at = episodes.begin(); at != episodes.end();) {
        const std::string& key = at->entry.key;
        DF_ASSIGN_OR_RETURN(const bool known, queue.IsInRepository(target_.name, key, "", {}));
        if (known) {
          DF_RETURN_IF_ERROR(Park(queue, *at, "differs", "a shard there has this episode"));
        }
        at = known ? episodes.erase(at) : at + 1;
      }
    }
    if (episodes.empty()) continue;
    pass_was_idle_ = false;
    nothing_to_store_ = false;

    std::string run = target_.shards->run;
    if (run.empty()) {
      DF_ASSIGN_OR_RETURN(run, queue.QueueId());
    }
    DF_ASSIGN_OR_RETURN(const std::int64_t number, queue.NextShardNumber(target_.name));
    DF_ASSIGN_OR_RETURN(BuiltShard shard,
                        BuildShard(*target_.shards,
                                   shared_.dir / "shards" / target_.name,
                                   fmt::format("shard-{}-{:05}", run, number),
                                   group,
                                   std::move(episodes)));
    if (!shard.packed.empty()) {
      DF_RETURN_IF_ERROR(queue.AddShard(shard.entry, shard.packed));
      Succeeded();
    }
    for (NotPacked& left : shard.left_out) {
      if (FateOf(left.error) == Fate::kChanged) {
        for (UploadFile& file : left.entry.entry.files) {
          if (Result<UploadFile> now = StampUploadFile(left.entry.entry, file.name)) file = *now;
        }
        DF_RETURN_IF_ERROR(queue.SetFiles(left.entry));
        Defer(left.entry, left.error);
      } else {
        DF_RETURN_IF_ERROR(SettleUnreadable(queue, left.entry, left.error));
      }
    }
  }
  return {};
}

Result<bool> Lane::CommitSome(UploadQueue& queue) {
  const int changes_seen = changes_;
  DF_ASSIGN_OR_RETURN(const bool all_confirmed, ConfirmSome(queue));
  if (!all_confirmed) return true;
  DF_ASSIGN_OR_RETURN(const UploadTotals stored, queue.Totals(In(UploadState::kStored)));
  const bool finish = shared_.FinishAsked();
  if (stored.episodes == 0) {
    first_stored_.reset();
    if (finish) {
      DF_ASSIGN_OR_RETURN(const bool unfinished, queue.HasUnfinished(target_.name));
      if (!unfinished) {
        finished_ = true;
        ++changes_;
        return false;
      }
    }
    AwaitWork(changes_seen);
    return true;
  }
  if (!first_stored_) first_stored_ = clock_.Steady();
  const std::int64_t most = std::min(options_.batch_files, kLadder.at(step_));
  const bool is_full = stored.files >= most || stored.bytes >= options_.batch_bytes;
  const bool is_due = is_full || clock_.Steady() - *first_stored_ >= options_.interval ||
                      (finish && nothing_to_store_);
  if (!is_due) {
    AwaitWork(changes_seen);
    return true;
  }
  DF_ASSIGN_OR_RETURN(std::vector<QueuedEntry> batch,
                      queue.Take(In(UploadState::kStored), 0, most, options_.batch_bytes));
  const milliseconds start = clock_.Steady();
  DF_ASSIGN_OR_RETURN(const Status committed, CommitEntries(queue, std::move(batch)));
  ++changes_;
  if (!committed) {
    WaitAfterCommit(committed.error());
    return true;
  }
  commit_failures_ = 0;
  if (!is_full) first_stored_.reset();
  if (is_full && clock_.Steady() - start < kFastCommit)
    step_ = std::min(step_ + 1, kLadder.size() - 1);
  return true;
}

Result<Status> Lane::CommitEntries(UploadQueue& queue, std::vector<QueuedEntry> entries) {
  // One whose files are no longer those that were stored starts again.
  std::vector<QueuedEntry> unchanged;
  for (QueuedEntry& queued : entries) {
    const bool same = std::ranges::all_of(queued.entry.files, [&](const UploadFile& file) {
      const Result<UploadFile> now = StampUploadFile(queued.entry, file.name);
      return now && now->SameStamp(file);
    });
    if (same) {
      unchanged.push_back(std::move(queued));
    } else {
      DF_RETURN_IF_ERROR(queue.Restage(std::span(&queued, 1), /*forget_hashes=*/false));
    }
  }

  if (unchanged.empty()) return Status();

  // An earlier commit, whose answer was lost, may have made some of it visible.
  const Result<std::string> head = store_.Head();
  if (!head) return Status(tl::unexpected(head.error()));
  const std::vector<std::string> paths = PathsOf(unchanged);
  const auto stored = store_.Stat(*head, paths);
  if (!stored) return Status(tl::unexpected(stored.error()));
  CommitRequest request{.files = {}, .summary = {}, .batch_id = {}, .parent = *head};
  std::vector<QueuedEntry> there;
  std::vector<QueuedEntry> to_commit;
  std::size_t i = 0;
  for (QueuedEntry& queued : unchanged) {
    std::vector<OutgoingFile> missing;
    std::string taken;  // by another content
    for (const UploadFile& file : queued.entry.files) {
      OutgoingFile outgoing = Outgoing(queued.entry, file);
      const std::optional<StoredFile>& have = stored->at(i++);
      if (have && SameContent(*have, outgoing)) continue;
      if (have && !target_.overwrite) {
        DF_ASSIGN_OR_RETURN(const bool ours,
                            queue.IsOurs(target_.name, have->path, have->sha256, have->git_oid));
        if (!ours) taken = have->path;
      }
      missing.push_back(std::move(outgoing));
    }
    if (!taken.empty()) {
      DF_RETURN_IF_ERROR(Park(queue, queued, "differs", "it has other content there: " + taken));
    } else if (missing.empty()) {
      there.push_back(std::move(queued));
    } else {
      std::ranges::move(missing, std::back_inserter(request.files));
      to_commit.push_back(std::move(queued));
    }
  }
  DF_RETURN_IF_ERROR(queue.MarkCommitted(there, *head));
  if (to_commit.empty()) return Status();

  std::int64_t wait_ms = 0;
  if (target_.limits_commits) {
    DF_ASSIGN_OR_RETURN(wait_ms, queue.TakeCommitSlot(options_.commits_per_hour, clock_.UnixMs()));
  }
  if (wait_ms > 0) {
    Error error{ErrorKind::kTransient,
                fmt::format("{} commits were made within an hour", options_.commits_per_hour),
                store_status::kRateLimited};
    error.retry_after_ms = wait_ms;
    return Status(tl::unexpected(std::move(error)));
  }
  DF_ASSIGN_OR_RETURN(const std::string queue_id, queue.QueueId());
  request.summary = fmt::format("{} ({})", options_.title, to_commit.size());
  request.batch_id = fmt::format("{}-{}-{}", queue_id, to_commit.front().id, to_commit.size());
  const Result<std::string> committed = store_.Commit(request);
  if (!committed) return SettleCommit(queue, to_commit, committed.error());
  DF_RETURN_IF_ERROR(queue.MarkCommitted(to_commit, *committed));
  Succeeded();
  Tell({.kind = UploadEvent::Kind::kCommitted, .totals = TotalsOf(to_commit)});
  return Status();
}

Result<Status> Lane::CommitHalves(UploadQueue& queue, const std::vector<QueuedEntry>& entries) {
  const auto middle = entries.begin() + static_cast<std::ptrdiff_t>(entries.size() / 2);
  DF_ASSIGN_OR_RETURN(const Status first, CommitEntries(queue, {entries.begin(), middle}));
  if (!first) return first;
  return CommitEntries(queue, {middle, entries.end()});
}

Result<Status> Lane::SettleCommit(UploadQueue& queue,
                                  const std::vector<QueuedEntry>& entries,
                                  const Error& error) {
  const Fate fate = FateOf(error);
  if (fate != Fate::kUnclear && fate != Fate::kLater) DF_RETURN_IF_ERROR(queue.ReturnCommitSlot());
  switch (fate) {
    case Fate::kDivide:
    case Fate::kRefused:
      if (fate == Fate::kDivide) step_ = HalfStep();
      if (entries.size() > 1) return CommitHalves(queue, entries);
      DF_RETURN_IF_ERROR(Park(queue, entries.front(), error.status, error.message));
      return Status();
    case Fate::kStoreAgain:
    case Fate::kChanged:
      // The second time, only the part that it is about.
      if (entries.size() > 1 && std::ranges::any_of(entries, [](const QueuedEntry& queued) {
            return queued.attempts > 0;
          })) {
        return CommitHalves(queue, entries);
      }
      return StartAgain(queue, entries, fate == Fate::kChanged, error);
    default:
      return Status(tl::unexpected(error));
  }
}

void Lane::WaitAfterCommit(const Error& error) {
  switch (FateOf(error)) {
    case Fate::kWait:
      return WaitAsTold(error, commit_failures_++);
    case Fate::kHeadMoved:
      return WaitAfter(error, Backoff(commit_failures_++, 500ms, 30s));
    case Fate::kUnclear:
      step_ = HalfStep();
      return WaitAfter(error, Backoff(commit_failures_++, 2s, 60s));
    case Fate::kLater:
      step_ = step_ > 0 ? step_ - 1 : 0;
      return WaitAfter(error, Backoff(commit_failures_++, 1s, 60s));
    default:
      return Stop(error);
  }
}

Result<bool> Lane::ConfirmSome(UploadQueue& queue) {
  for (;;) {
    DF_ASSIGN_OR_RETURN(std::vector<QueuedEntry> entries,
                        queue.Take(In(UploadState::kCommitted), 0, kConfirmFiles, INT64_MAX));
    if (entries.empty()) return true;
    const std::string revision = entries.front().revision;
    std::erase_if(entries, [&](const QueuedEntry& queued) { return queued.revision != revision; });
    const std::vector<std::string> paths = PathsOf(entries);
    const auto stored = store_.Stat(revision, paths);
    if (!stored && stored.error().kind == ErrorKind::kNotFound &&
        FateOf(stored.error()) == Fate::kLater) {
      DF_RETURN_IF_ERROR(queue.MarkStored(entries));  // that state is gone: look at the newest
      return false;
    }
    if (!stored) {
      WaitAfterCommit(stored.error());
      return false;
    }
    std::vector<QueuedEntry> confirmed;
    std::size_t i = 0;
    for (QueuedEntry& queued : entries) {
      std::string wrong;
      for (const UploadFile& file : queued.entry.files) {
        const std::optional<StoredFile>& have = stored->at(i++);
        if (have && SameContent(*have, Outgoing(queued.entry, file))) continue;
        wrong = file.name;
        if (have) {
          DF_RETURN_IF_ERROR(queue.AddOurs(target_.name, have->path, have->sha256, have->git_oid));
        }
      }
      if (wrong.empty()) {
        confirmed.push_back(std::move(queued));
      } else {
        DF_RETURN_IF_ERROR(
            StartAgain(queue,
                       std::span(&queued, 1),
                       /*forget_hashes=*/true,
                       {ErrorKind::kInternal,
                        fmt::format("it is not what was committed as {}: {}", revision, wrong),
                        "not_confirmed"}));
      }
    }
    if (confirmed.empty()) continue;
    DF_ASSIGN_OR_RETURN(const UploadTotals totals, queue.MarkConfirmed(confirmed));
    Succeeded();
    Tell({.kind = UploadEvent::Kind::kConfirmed, .totals = totals});
    DF_RETURN_IF_ERROR(RemoveLocal(queue));
  }
}

Status Lane::RemoveLocal(UploadQueue& queue) {
  for (;;) {
    DF_ASSIGN_OR_RETURN(const std::vector<QueuedEntry> entries,
                        queue.TakeRemovable(options_.keep_uploaded, 100));
    if (entries.empty()) return {};
    for (const QueuedEntry& queued : entries) {
      RemoveUploaded(queued.entry);
      DF_RETURN_IF_ERROR(queue.MarkRemoved(queued));
    }
  }
}

}  // namespace

Status BindToStore(UploadQueue& queue,
                   const std::string& destination,
                   const Store& store,
                   bool in_shards) {
  return queue.BindDestination(destination, store.Describe() + (in_shards ? ", in shards" : ""));
}

UploadSummary RunUploader(const fs::path& queue_dir,
                          std::span<const UploadTarget> targets,
                          const UploaderOptions& options,
                          const UploadControl& control,
                          const std::function<void(const UploadEvent&)>& observe) {
  UploadSummary summary;
  const Result<UploaderLock> lock = UploaderLock::Acquire(queue_dir);
  if (!lock) {
    summary.status = tl::unexpected(lock.error());
    return summary;
  }
  Result<UploadQueue> queue = UploadQueue::Open(queue_dir);
  summary.status = queue ? queue->CheckIntegrity() : Status(tl::unexpected(queue.error()));
  if (!summary.status) return summary;

  Shared shared{.dir = queue_dir,
                .options = options,
                .control = control,
                .observe = observe,
                .observing = {},
                .hashing = {}};
  std::vector<std::unique_ptr<Lane>> lanes;
  std::vector<std::thread> threads;
  for (const UploadTarget& target : targets) {
    lanes.push_back(std::make_unique<Lane>(shared, target));
    threads.emplace_back([lane = lanes.back().get()] { lane->Run(); });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < lanes.size(); ++i) {
    const TargetSummary& target = summary.targets[targets[i].name] = lanes[i]->summary();
    // Having been asked to stop is the least of all reasons.
    if (summary.status || summary.status.error().kind == ErrorKind::kCancelled) {
      if (!target.status) summary.status = target.status;
    }
  }
  return summary;
}

}  // namespace droidflow

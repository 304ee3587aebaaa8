#pragma once

/// Takes episodes from the queue to where they belong.

#include "droidflow/core/result.h"
#include "droidflow/transfer/clock.h"
#include "droidflow/transfer/shard_layout.h"
#include "droidflow/transfer/store.h"
#include "droidflow/transfer/upload_queue.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>

namespace droidflow {

/// A destination's place.
struct UploadTarget {
  std::string name;  ///< as in UploadEntry::destination
  Store* store = nullptr;
  /// Replace what others have put under the same names; else the first one wins, and an episode
  /// with other content is parked as "differs".
  bool overwrite = false;
  std::optional<ShardOptions> shards = {};  ///< none: files under their own names
  bool limits_commits = true;               ///< to UploaderOptions::commits_per_hour
};

/// Binds a destination to a store and a layout, as RunUploader does before anything else.
/// @return as UploadQueue::BindDestination.
[[nodiscard]] Status BindToStore(UploadQueue& queue,
                                 const std::string& destination,
                                 const Store& store,
                                 bool in_shards);

struct UploaderOptions {
  /// A commit is made when so many files or bytes are stored, when the first of them has waited
  /// for `interval`, and at the end. How many files the place takes at once is found out besides.
  std::chrono::milliseconds interval{600'000};
  std::int64_t batch_files = 1000;
  std::int64_t batch_bytes = 50'000'000'000;
  int commits_per_hour = 100;  ///< over all destinations that limit them
  bool keep_uploaded = false;  ///< leave confirmed files where they are
  /// Upload again what the queue knows as confirmed and the place has lost; else that is an error.
  bool upload_again = false;
  /// Once asked to finish: how long to go on without any success.
  std::chrono::milliseconds patience{3'600'000};
  std::chrono::milliseconds poll{1000};
  std::string title = "Add episodes";  ///< of commits
  Clock* clock = &SystemClock();
};

/// Asked often, by any thread.
struct UploadControl {
  /// No more episodes will come: upload what is there and return. Empty: so from the start.
  std::function<bool()> finish = {};
  /// Return soon; what is under way is taken up again next time.
  std::function<bool()> stop = {};
};

struct UploadEvent {
  enum class Kind {
    kCommitted,  ///< `totals` became visible
    kConfirmed,  ///< `totals` were read back
    kParked,     ///< the episode `key` was given up: `message`
    kWaiting,    ///< for `wait`: `message` says why
    kStopped,    ///< the destination was given up: `message`
  };
  Kind kind = Kind::kCommitted;
  std::string destination = {};
  std::string key = {};
  std::string message = {};
  UploadTotals totals = {};
  std::chrono::milliseconds wait{0};
};

struct TargetSummary {
  UploadTotals confirmed = {};  ///< in this run
  std::int64_t commits = 0;
  std::int64_t parked = 0;
  Status status = {};  ///< why it stopped before everything was done
};

struct UploadSummary {
  std::map<std::string, TargetSummary> targets = {};
  Status status = {};  ///< the first failure; kCancelled when it was asked to stop
};

/// Uploads until everything is confirmed or parked. Bytes are sent while commits wait, and the
/// destinations do not wait for each other.
///
/// An episode's files are in one commit. It is confirmed when the store has given every file's hash
/// back at that commit; only then its local files go, as far as they are still those and no other
/// destination needs their folder, with the folders that are left empty below the root. Wherever
/// the process is killed, the next one goes on: it looks before it commits, so that nothing is
/// committed twice.
///
/// Errors  kBusy: another process uploads; kInvalidData, "upload_queue_damaged"; of a target:
///         unauthorized, forbidden, no_repository, "repository_lost_files", or the last failure
///         when patience ended. The queue stays intact.
/// Thread  starts its own; call it in a process that forks no more. `observe` is called by one at
///         a time.
[[nodiscard]] UploadSummary RunUploader(
    const std::filesystem::path& queue_dir,
    std::span<const UploadTarget> targets,
    const UploaderOptions& options,
    const UploadControl& control = {},
    const std::function<void(const UploadEvent&)>& observe = {});

}  // namespace droidflow

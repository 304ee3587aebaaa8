#pragma once

/// What is to be uploaded and how far it is, in `{dir}/upload.sqlite`.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// A local file as it was when it was last looked at, and what it contains.
struct UploadFile {
  std::string name;  ///< below the entry's folder, '/' between parts
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;
  std::uint64_t inode = 0;
  std::string sha256 = {};   ///< empty: not known yet
  std::string git_oid = {};  ///< of files up to 10 MiB, which a store may hold as git does

  [[nodiscard]] bool SameStamp(const UploadFile& other) const {
    return size_bytes == other.size_bytes && mtime_ns == other.mtime_ns && inode == other.inode;
  }
};

/// One episode for one destination: its files are committed together or not at all.
struct UploadEntry {
  std::string destination;     ///< "full", "metadata"
  std::string key;             ///< of the episode, unique in its destination
  std::filesystem::path root;  ///< never removed
  std::string folder;          ///< below root
  std::string prefix;          ///< folder in the store; "" = its root
  std::vector<UploadFile> files = {};

  [[nodiscard]] std::filesystem::path Source(const UploadFile& file) const {
    return root / folder / file.name;
  }
  [[nodiscard]] std::string PathOf(const UploadFile& file) const {
    return prefix.empty() ? file.name : prefix + "/" + file.name;
  }
};

enum class UploadState {
  kStaged = 0,     ///< on this machine only
  kStored = 1,     ///< the store has the bytes, nobody sees them
  kCommitted = 2,  ///< visible, not read back
  kConfirmed = 3,  ///< read back: the store has exactly this content
  kParked = 4,     ///< given up, with a reason; Unpark tries again
  kPacked = 5,     ///< a part of a shard, whose state counts
};
inline constexpr int kUploadStates = 5;  ///< those that Counts tells

[[nodiscard]] const char* ToString(UploadState state);

struct UploadTotals {
  std::int64_t episodes = 0;
  std::int64_t files = 0;
  std::int64_t bytes = 0;

  bool operator==(const UploadTotals&) const = default;
};

struct UploadCounts {
  std::array<UploadTotals, kUploadStates> by_state = {};

  [[nodiscard]] const UploadTotals& of(UploadState state) const {
    return by_state.at(static_cast<std::size_t>(state));
  }
  /// Neither confirmed nor parked.
  [[nodiscard]] std::int64_t unfinished() const {
    return of(UploadState::kStaged).episodes + of(UploadState::kStored).episodes +
           of(UploadState::kCommitted).episodes;
  }
};

struct ParkedEpisode {
  std::string destination;
  std::string key;
  std::string status;  ///< a store_status, "vanished", "differs", "not_confirmed", "bad_key"
  std::string reason;
};

/// An entry of the queue, for who works on it.
struct QueuedEntry {
  std::int64_t id = 0;
  std::int64_t attempts = 0;  ///< how often it had to start again
  bool is_shard = false;
  std::string revision = {};  ///< at which it was committed
  UploadEntry entry = {};
};

/// Every regular file below `root/folder`, sorted by name. @return kNotFound without files.
[[nodiscard]] Result<std::vector<UploadFile>> ListUploadFiles(const std::filesystem::path& root,
                                                              const std::string& folder);

/// How a file looks now, without its content. @return kNotFound when there is none, kInvalidData
/// when it is no regular file.
[[nodiscard]] Result<UploadFile> StampUploadFile(const UploadEntry& entry, const std::string& name);

/// The episodes that wait for their upload, kept through `kill -9` at any moment: every call is one
/// transaction. After a power cut the last calls of producers may be missing (offer those episodes
/// again: it changes nothing for the others); what an uploader has confirmed is on the disk before
/// a local file is removed. Nothing in it is loaded whole, and nothing depends on the clock going
/// forward.
///
/// Thread  one thread at a time; any number of processes, and one of them uploads (see
///         UploaderLock). No process may have the queue open when it forks one that opens it too:
///         SQLite would take the parent's locks for the child's.
/// Errors  kNoSpace when the disk is full; kInvalidData, status "upload_queue_damaged", when the
///         file is torn: RebuildFromDisk.
class UploadQueue {
 public:
  /// Opens the queue of a folder; makes both when there is none.
  [[nodiscard]] static Result<UploadQueue> Open(const std::filesystem::path& dir);

  /// Puts a damaged queue, which nobody may have open, aside (`upload.sqlite.damaged-N`) and makes
  /// one of what lies on the disk.
  /// What the store has already is found out by the next upload, and becomes confirmed without a
  /// commit.
  ///
  /// @param describe  called for every folder below `root`, parents first: the entries (without
  ///                  files) that it is, none when it is no finished episode.
  using DescribeFolder = std::function<std::vector<UploadEntry>(const std::filesystem::path& root,
                                                                const std::string& folder)>;
  [[nodiscard]] static Result<UploadQueue> RebuildFromDisk(
      const std::filesystem::path& dir,
      std::span<const std::filesystem::path> roots,
      const DescribeFolder& describe);

  UploadQueue(UploadQueue&&) noexcept;
  UploadQueue& operator=(UploadQueue&&) noexcept;
  ~UploadQueue();

  [[nodiscard]] const std::filesystem::path& dir() const;

  /// Adds entries, all or none. One that is known with the same files is left as it is, whatever
  /// its state; one with other files takes the old one's place, and may replace in the store what
  /// the old one put there.
  [[nodiscard]] Status Enqueue(std::span<const UploadEntry> entries);

  [[nodiscard]] Result<std::map<std::string, UploadCounts>> Counts();
  [[nodiscard]] Result<std::vector<ParkedEpisode>> Parked(int limit = 1000);
  [[nodiscard]] Result<bool> IsConfirmed(std::string_view key, std::string_view destination);
  /// Gives parked entries of a destination another try. @return how many.
  [[nodiscard]] Result<std::int64_t> Unpark(std::string_view destination);

  /// Whether the store had, when IndexRepository last looked, an episode in a shard (`key`) or all
  /// `names` below `prefix`.
  [[nodiscard]] Result<bool> IsInRepository(std::string_view destination,
                                            std::string_view key,
                                            std::string_view prefix,
                                            std::span<const std::string> names);

  // From here on: for the uploader.

  /// Reads the whole database through.
  [[nodiscard]] Status CheckIntegrity();

  /// Remembers which place a destination is; kUsage when something was uploaded to another one.
  [[nodiscard]] Status BindDestination(const std::string& destination, const std::string& place);

  /// What one step of an upload asks for.
  struct Selection {
    std::string destination;
    UploadState state = UploadState::kStaged;
    bool shards = false;  ///< shards, or else episodes
  };
  /// Entries with an id above `after`, oldest first, until a limit would be passed; at least one
  /// when there is one.
  [[nodiscard]] Result<std::vector<QueuedEntry>> Take(const Selection& selection,
                                                      std::int64_t after,
                                                      std::int64_t max_files,
                                                      std::int64_t max_bytes);
  /// The same, but only of a group: those whose folder begins with it.
  [[nodiscard]] Result<std::vector<QueuedEntry>> TakeOfGroup(const Selection& selection,
                                                             const std::string& group,
                                                             std::int64_t max_bytes);
  /// The newest ones, at most `limit`.
  [[nodiscard]] Result<std::vector<QueuedEntry>> TakeNewest(const Selection& selection, int limit);
  [[nodiscard]] Result<UploadTotals> Totals(const Selection& selection);
  /// Bytes by the first part of the folder.
  [[nodiscard]] Result<std::map<std::string, std::int64_t>> BytesByGroup(
      const Selection& selection);
  /// Whether anything is neither confirmed nor parked.
  [[nodiscard]] Result<bool> HasUnfinished(const std::string& destination);

  /// A hash that was once computed of this inode, size and time; `file` gets it.
  [[nodiscard]] Result<bool> RecallHash(UploadFile& file);
  /// What is known of an entry's files now.
  [[nodiscard]] Status SetFiles(const QueuedEntry& entry);

  /// New states. An entry that was superseded meanwhile is gone and left alone.
  [[nodiscard]] Status MarkStored(std::span<const QueuedEntry> entries);
  [[nodiscard]] Status MarkCommitted(std::span<const QueuedEntry> entries,
                                     const std::string& revision);
  /// Also the episodes of shards. It is on the disk when this returns. @return the episodes.
  [[nodiscard]] Result<UploadTotals> MarkConfirmed(std::span<const QueuedEntry> entries);
  /// Starts again.
  [[nodiscard]] Status Restage(std::span<const QueuedEntry> entries, bool forget_hashes);
  [[nodiscard]] Status Park(const QueuedEntry& entry,
                            const std::string& status,
                            const std::string& reason);

  /// Whether this queue has put that content there, for an entry that was superseded or came out
  /// wrong: then it may be replaced.
  [[nodiscard]] Result<bool> IsOurs(const std::string& destination,
                                    const std::string& path,
                                    const std::string& sha256,
                                    const std::string& git_oid);

  [[nodiscard]] Status AddOurs(const std::string& destination,
                               const std::string& path,
                               const std::string& sha256,
                               const std::string& git_oid);

  /// Confirmed entries whose local files were not removed and whose folder no other entry waits
  /// for.
  [[nodiscard]] Result<std::vector<QueuedEntry>> TakeRemovable(bool only_shards, int limit);
  [[nodiscard]] Status MarkRemoved(const QueuedEntry& entry);

  /// One of `budget` commits per hour, over all destinations and restarts. @return milliseconds to
  /// wait for one, 0 = taken.
  [[nodiscard]] Result<std::int64_t> TakeCommitSlot(int budget, std::int64_t unix_ms);
  /// The last one taken led to no commit.
  [[nodiscard]] Status ReturnCommitSlot();

  /// A name for shards that no other queue has.
  [[nodiscard]] Result<std::string> QueueId();
  /// How many shards a destination has had.
  [[nodiscard]] Result<std::int64_t> NextShardNumber(const std::string& destination);
  /// A finished shard takes the place of its episodes; those superseded meanwhile are left alone.
  [[nodiscard]] Status AddShard(const UploadEntry& shard, std::span<const QueuedEntry> episodes);
  /// A shard whose files are lost: its episodes are staged again.
  [[nodiscard]] Status DropShard(const QueuedEntry& shard);
  [[nodiscard]] Result<bool> HasShard(const std::string& destination, const std::string& folder);

  /// A new index of what a store has, seen by IsInRepository when it is finished.
  [[nodiscard]] Result<std::string> IndexedRevision(const std::string& destination);
  [[nodiscard]] Result<std::int64_t> BeginIndex(const std::string& destination);
  [[nodiscard]] Status AddToIndex(const std::string& destination,
                                  std::int64_t index,
                                  std::span<const std::string> names);
  [[nodiscard]] Status FinishIndex(const std::string& destination,
                                   std::int64_t index,
                                   const std::string& revision);

 private:
  struct Impl;
  explicit UploadQueue(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

/// Holds `{dir}/uploader.lock` until it is destroyed or the process ends, however it ends.
class UploaderLock {
 public:
  /// @return kBusy, naming the holder's process, when another one uploads.
  [[nodiscard]] static Result<UploaderLock> Acquire(const std::filesystem::path& dir);

 private:
  explicit UploaderLock(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace droidflow

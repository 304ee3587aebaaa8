#pragma once

/// A run on a cluster: its directory on the file system that all machines share, which is the
/// record. Slurm is only asked what is still alive.
///
///   plan.json, settings.yaml, items.txt    what is to be done; never changed
///   attempts/NNNN/shards.txt               task i of an attempt does the shard of line i
///   attempts/NNNN/{job.sh,submit.json}     what was submitted, and the ids that Slurm gave
///   attempts/NNNN/{fail-NNNNN.json,merge.json,cancelled}
///   merge.json                             the last attempt's: what was missing at its end
///   shards/NNNNN/done.json                 a shard is finished: items, files, checksums
///   logs/NNNN/{array}_{task}.out
///
/// Every file is renamed into its place, whole. Nothing here knows what an item is.

#include "droidflow/core/result.h"
#include "droidflow/jobs/run_store.h"
#include "droidflow/jobs/slurm.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace droidflow {

/// What the run is, and how it is to be submitted.
struct SlurmPlan {
  std::string name;       ///< of its jobs and of nobody else's
  std::string version;    ///< of the program that made it
  std::string hash;       ///< of settings and items: results with another are not of this run
  std::string command;    ///< of the program that a task stands for
  std::string program;    ///< path of the program, on all machines
  std::string directory;  ///< where the user was: relative paths start there
  int items = 0;
  int items_per_shard = 32;
  int max_parallel = 0;                   ///< tasks at a time; 0: as many as there is room for
  std::vector<std::string> sbatch;        ///< its arguments, of tasks and of the rest
  std::vector<std::string> sbatch_tasks;  ///< … of tasks only
  bool upload_task = false;               ///< a job of its own uploads while tasks are at work
  bool merge_partial = false;             ///< merge what is there, though not all is

  [[nodiscard]] int Shards() const { return (items + items_per_shard - 1) / items_per_shard; }
  /// Names of the jobs: of tasks, of the merging and the uploading.
  [[nodiscard]] std::string MergeName() const { return name + "-merge"; }
  [[nodiscard]] std::string UploadName() const { return name + "-upload"; }
};

/// A finished item, as its record and the SHA-256 of each of the record's files.
struct ShardItem {
  TaskRecord record;
  std::vector<std::string> sha256;
};

/// Who did a shard.
struct ShardMaker {
  std::string job;  ///< "{array}_{task}"
  int restarts = 0;
  std::string node;
  std::int64_t started_unix_ms = 0;
  std::int64_t finished_unix_ms = 0;
};

struct ShardResult {
  int shard = 0;
  ShardMaker maker;
  StateCounts counts;
  std::vector<ShardItem> items;  ///< empty when only the rest was asked for
};

/// Why a task did not finish its shard.
struct ShardFailure {
  int exit_code = 1;  ///< kShardInterrupted, kShardBad or another
  std::string message;
  ShardMaker maker;
};
inline constexpr int kShardBad = 65;          ///< its data or settings: no use to try again
inline constexpr int kShardInterrupted = 75;  ///< told to stop

/// One array of an attempt, or the part of it that fits into one.
struct SubmittedArray {
  int offset = 0;  ///< line of shards.txt of its task 0
  int count = 0;
  std::string job;
};

struct SlurmAttempt {
  int number = 0;
  std::vector<int> shards;             ///< task i does this shard
  std::vector<bool> is_again;          ///< … even if it is finished, as some of it is not done
  std::vector<SubmittedArray> arrays;  ///< as far as submitted
  std::string merge_job;               ///< empty: not submitted yet
  std::string upload_job;
  bool is_cancelled = false;

  /// Whether all of it was submitted.
  [[nodiscard]] bool IsSubmitted() const { return !merge_job.empty(); }
};

/// Thread  one; any number of processes on any machines.
class SlurmRun {
 public:
  /// Makes a run directory. One whose submission stopped on the way is opened when it is for the
  /// same items and settings, and made again when nothing of it was submitted.
  /// @return  kBusy when another run, or all of this, is in it already.
  [[nodiscard]] static Result<SlurmRun> Create(const std::filesystem::path& dir,
                                               SlurmPlan plan,
                                               std::string_view settings,
                                               const std::vector<std::string>& items);
  /// @return kNotFound when there is none; kInvalidData for a damaged one.
  [[nodiscard]] static Result<SlurmRun> Open(const std::filesystem::path& dir);

  /// A run that is not written down yet.
  SlurmRun(std::filesystem::path dir, SlurmPlan plan)
      : dir_(std::move(dir)), plan_(std::move(plan)) {}

  [[nodiscard]] const SlurmPlan& plan() const { return plan_; }
  [[nodiscard]] const std::filesystem::path& dir() const { return dir_; }
  [[nodiscard]] std::filesystem::path SettingsPath() const { return dir_ / "settings.yaml"; }
  [[nodiscard]] std::filesystem::path ShardDir(int shard) const;
  [[nodiscard]] std::filesystem::path AttemptDir(int attempt) const;
  /// The log of a task.
  [[nodiscard]] std::filesystem::path LogPath(int attempt,
                                              const std::string& array,
                                              int task) const;

  /// The items of a shard. Reads no more of items.txt than there is up to them.
  [[nodiscard]] Result<std::vector<std::string>> ItemsOf(int shard) const;

  /// What done.json says; nothing without one of this plan.
  [[nodiscard]] Result<std::optional<ShardResult>> ReadResult(int shard, bool with_items) const;
  /// Puts done.json in its place. The first of two is kept, unless the shard is done `again`.
  ///
  /// @param own  a folder on the same file system that is nobody else's.
  /// @return whether it is this one.
  [[nodiscard]] Result<bool> PublishResult(const ShardResult& result,
                                           const std::filesystem::path& own,
                                           bool is_again) const;

  [[nodiscard]] Status WriteFailure(int attempt, int shard, const ShardFailure& failure) const;
  [[nodiscard]] Result<std::optional<ShardFailure>> ReadFailure(int attempt, int shard) const;

  /// Numbers of the attempts, 1 and up.
  [[nodiscard]] Result<int> CountAttempts() const;
  /// Adds one that does these shards. @return its number.
  [[nodiscard]] Result<int> AddAttempt(const std::vector<int>& shards,
                                       const std::vector<bool>& is_again) const;
  [[nodiscard]] Result<SlurmAttempt> ReadAttempt(int attempt) const;

  /// Submits what of an attempt is not submitted yet: its arrays, then a job that merges when they
  /// and `others` (ids of arrays) have ended, and one that uploads if the plan says so.
  [[nodiscard]] Status Submit(int attempt,
                              Slurm& slurm,
                              const std::vector<std::string>& others = {}) const;

  /// sbatch's arguments for a part of an attempt, and the script: what Submit calls it with.
  [[nodiscard]] std::vector<std::string> ArrayArguments(int attempt,
                                                        const SubmittedArray& array) const;
  [[nodiscard]] std::string FormatJobScript(int attempt) const;

  /// Makes task requeue themselves no more.
  [[nodiscard]] Status MarkCancelled(int attempt) const;
  [[nodiscard]] bool IsCancelled(int attempt) const;

 private:
  [[nodiscard]] std::vector<std::string> LoneJobArguments(const char* verb,
                                                          int attempt,
                                                          const std::string& dependency) const;
  [[nodiscard]] Status SaveSubmitted(const SlurmAttempt& attempt) const;

  std::filesystem::path dir_;
  SlurmPlan plan_;
};

enum class ShardState {
  kDone,
  kRunning,
  kWaiting,  ///< for its turn
  kFailed,   ///< by its own account; why says so
  kBad,      ///< … for its data or settings
  kLost,     ///< nobody does it, and nobody says why
};
inline constexpr std::array kShardStates = {ShardState::kDone,
                                            ShardState::kRunning,
                                            ShardState::kWaiting,
                                            ShardState::kFailed,
                                            ShardState::kBad,
                                            ShardState::kLost};
/// "done", "running", "waiting", "failed", "bad", "lost".
[[nodiscard]] std::string_view ToString(ShardState state);

struct ShardStatus {
  ShardState state = ShardState::kLost;
  int attempt = 0;  ///< its last; 0: none
  std::string job;  ///< "{array}_{task}" of it; empty: not submitted
  std::string node;
  std::string why;
  std::int64_t quarantined = 0;  ///< of its items
  bool is_damaged = false;       ///< it was done, but its files are not all there
};

/// How a run stands.
struct SlurmStatus {
  std::vector<ShardStatus> shards;
  std::map<ShardState, int> shards_by_state;
  StateCounts items;  ///< of finished shards; pending: of the others
  int attempts = 0;
  bool is_merged = false;  ///< all of it
  std::vector<std::string> alive_arrays;
  Status slurm;                          ///< whether Slurm answered: else who is alive is not known
  std::optional<double> items_per_hour;  ///< by the shards that were finished so far
  std::optional<double> seconds_left;
};

/// Looks at every shard. Without an answer of Slurm's, what is not done and has not failed is lost.
[[nodiscard]] Result<SlurmStatus> LookAtRun(const SlurmRun& run, Slurm& slurm);

}  // namespace droidflow

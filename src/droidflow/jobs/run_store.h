#pragma once

/// What a run has done so far, in `{run_dir}/run.sqlite`.

#include "droidflow/core/result.h"
#include "droidflow/jobs/task.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// All that is known of one task.
struct TaskRecord {
  Task task = {};
  TaskState state = TaskState::kPending;
  std::string status = {};  ///< name that reports group by; empty: none
  std::string message = {};
  std::string failed_stage = {};
  int attempts = 0;  ///< started, over all runs
  int worker = -1;   ///< slot of the last attempt
  std::int64_t started_unix_ms = 0;
  std::int64_t finished_unix_ms = 0;
  std::vector<StageTime> stages = {};
  std::uint64_t output_bytes = 0;
  std::uint64_t peak_rss_bytes = 0;
  std::string directory = {};
  std::vector<FileStamp> files = {};
  std::string fingerprint = {};  ///< of the configuration that made `files`
  std::string detail = {};
};

/// How many tasks are in each state.
struct StateCounts {
  std::int64_t pending = 0;
  std::int64_t running = 0;
  std::int64_t done = 0;
  std::int64_t quarantined = 0;
  std::int64_t skipped = 0;

  [[nodiscard]] std::int64_t total() const {
    return pending + running + done + quarantined + skipped;
  }
  bool operator==(const StateCounts&) const = default;
};

/// One stage over all done tasks. Median and p95 are values that were measured (nearest rank).
struct StageSummary {
  std::string name;
  std::size_t count = 0;
  double total_ms = 0;
  double median_ms = 0;
  double p95_ms = 0;
};

/// The memory of a run, written as it goes: every call is one transaction, so a process killed at
/// any moment leaves the state before or after a call. It promises this for a killed process; after
/// a power cut the last calls may be missing, and those tasks are done again.
///
/// Thread  one thread at a time; one writing process (see RunLock), any number of readers.
/// Errors  kNoSpace when the disk is full; kInvalidData when the file is damaged or no database.
class RunStore {
 public:
  /// Opens the store of a run directory; makes folder and store when there is none.
  ///
  /// @return kUnsupported for a store that a newer version wrote.
  [[nodiscard]] static Result<RunStore> Open(const std::filesystem::path& run_dir);

  /// Opens it to look, also while a run is going on.
  ///
  /// @return kNotFound when there is none.
  [[nodiscard]] static Result<RunStore> OpenReadOnly(const std::filesystem::path& run_dir);

  RunStore(RunStore&&) noexcept;
  RunStore& operator=(RunStore&&) noexcept;
  ~RunStore();

  /// Adds tasks, in this order. One that is known keeps its state; its place and payload are
  /// renewed.
  [[nodiscard]] Status AddTasks(std::span<const Task> tasks);

  /// Every task, in order.
  [[nodiscard]] Result<std::vector<TaskRecord>> LoadAll();
  /// The quarantined ones, in order.
  [[nodiscard]] Result<std::vector<TaskRecord>> LoadFailures();

  /// Makes pending again what was running when the last coordinator died. @return how many.
  [[nodiscard]] Result<std::int64_t> ResetRunning();
  /// Makes tasks pending again, whatever they were: files changed, another configuration.
  [[nodiscard]] Status Requeue(std::span<const std::string> keys);

  /// An attempt starts. Unknown keys are a programmer's error, here and below.
  [[nodiscard]] Status MarkRunning(std::string_view key, int worker);
  /// An attempt was dropped: pending again, with the reason.
  [[nodiscard]] Status Release(std::string_view key, const Error& reason);
  /// The last attempt's result.
  [[nodiscard]] Status Finish(std::string_view key,
                              const TaskResult& result,
                              std::string_view fingerprint);

  [[nodiscard]] Result<StateCounts> CountStates();

 private:
  struct Impl;
  explicit RunStore(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

/// Whether the files of each record are as they were when it was finished; false for one that has
/// none. Relative directories are below `root`.
[[nodiscard]] std::vector<bool> CheckFiles(std::span<const TaskRecord> records,
                                           const std::filesystem::path& root,
                                           unsigned threads);

/// Stages of the done tasks, in the order in which they first appear.
[[nodiscard]] std::vector<StageSummary> SummarizeStages(std::span<const TaskRecord> records);

}  // namespace droidflow

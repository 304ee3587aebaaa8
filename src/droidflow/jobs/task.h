#pragma once

/// A unit of work and what became of it. Nothing here knows what the work is.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

struct Task {
  std::string key;           ///< names it for good: the same in every run
  std::string payload = {};  ///< what the worker needs to do it, any bytes of UTF-8
};

enum class TaskState {
  kPending,      ///< to be done
  kRunning,      ///< in a worker's hands; after a crash of the coordinator: half done
  kDone,         ///< its files are in place
  kQuarantined,  ///< failed for good: status and message say why
  kSkipped,      ///< not to be done: status and message say why
};

/// "pending", "running", "done", "quarantined", "skipped": as they stand in the run store.
[[nodiscard]] const char* ToString(TaskState state);
/// The inverse of ToString; nothing for any other text.
[[nodiscard]] std::optional<TaskState> ParseTaskState(std::string_view text);

/// How long one named part of a task took.
struct StageTime {
  std::string name;  ///< no line break
  double duration_ms = 0;

  bool operator==(const StageTime&) const = default;
};

/// What became of one attempt at a task.
struct TaskResult {
  TaskState state = TaskState::kDone;  ///< kDone, kQuarantined or kSkipped
  std::optional<Error> error = {};     ///< why it is not done; empty when it is
  std::string failed_stage = {};       ///< the stage that failed; empty: none, or not known
  std::vector<StageTime> stages = {};
  std::uint64_t output_bytes = 0;
  std::string directory = {};         ///< where `files` are; empty: none were written
  std::vector<FileStamp> files = {};  ///< what a resumed run checks before it skips the task
  std::string detail = {};            ///< the caller's own, any text
  std::string status = {};  ///< of a done task: a name that reports list it by; empty: none
  bool leave = false;       ///< the worker is of no use any more: a new one takes its slot

  // Filled in by WorkerPool.
  int worker = -1;
  int attempt = 0;  ///< from 1
  int pid = 0;
  std::uint64_t peak_rss_bytes = 0;  ///< of the worker's process so far
  std::int64_t started_unix_ms = 0;
  std::int64_t finished_unix_ms = 0;
};

/// A result that failed for `error`: kQuarantined.
[[nodiscard]] TaskResult FailedTask(Error error);
/// A result that there was nothing to do, for the reason that `error` gives: kSkipped.
[[nodiscard]] TaskResult SkippedTask(Error error);

/// Text forms for the run store and for messages between processes; names may hold any byte
/// but, in a stage's name, a line break.
[[nodiscard]] std::string FormatStages(const std::vector<StageTime>& stages);
[[nodiscard]] Result<std::vector<StageTime>> ParseStages(std::string_view text);
[[nodiscard]] std::string FormatStamps(const std::vector<FileStamp>& stamps);
[[nodiscard]] Result<std::vector<FileStamp>> ParseStamps(std::string_view text);

/// Milliseconds since 1970 (UTC).
[[nodiscard]] std::int64_t UnixNowMs();

}  // namespace droidflow

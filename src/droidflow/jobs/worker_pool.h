#pragma once

/// Worker processes of this program, fed one task at a time.

#include "droidflow/core/result.h"
#include "droidflow/jobs/task.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

namespace droidflow {

struct WorkerPoolOptions {
  /// Processes at the same time; no more are started than there are tasks.
  int workers = 1;
  /// An attempt that takes longer is killed; 0: no limit. The same goes for `setup`.
  std::chrono::milliseconds task_timeout{0};
  /// Attempts at a task that crashes, runs out of time or fails with kTransient.
  int max_attempts = 3;
  /// Pause before a task is tried again, times the number of attempts so far.
  std::chrono::milliseconds retry_delay{200};
  /// How long tasks in hand may go on after a request to stop.
  std::chrono::milliseconds stop_grace{10'000};
  /// A worker is replaced after this many tasks (libraries leak); 0: never.
  int recycle_after = 0;
};

/// What a worker knows of itself.
struct WorkerContext {
  int worker = 0;   ///< slot, 0 … workers - 1; a replacement has its predecessor's
  int attempt = 0;  ///< at this task, from 1; 0 in `setup`
};

/// What the pool asks and tells, all in the coordinator. A failed Status ends the run with it.
/// `next` and `on_finished` must be there, the others may be empty.
struct PoolHandlers {
  /// The next task; nothing: there are no more (it is not asked again).
  std::function<Result<std::optional<Task>>()> next;
  /// Whether `next` can say; asked again at every tick, and when `wakes` says so. Empty: always.
  std::function<bool()> has_next = {};
  /// A descriptor that is readable when there is something to be asked anew, or -1. Empty: none.
  std::function<int()> wakes = {};
  /// Whether a task may be started now; asked again at every tick. Empty: always.
  std::function<bool()> may_start = {};
  std::function<Status(const Task&, const WorkerContext&)> on_started = {};
  /// The task's last result: it will not be tried again.
  std::function<Status(const Task&, const TaskResult&)> on_finished;
  /// The attempt failed and another will follow.
  std::function<Status(const Task&, const TaskResult&)> on_attempt_failed = {};
  /// A task that was started will not be finished in this run, for no fault of its own.
  std::function<Status(const Task&, const Error&)> on_dropped = {};
  /// A line that a worker printed to stdout or stderr.
  std::function<void(const WorkerContext&, std::string_view)> on_output = {};
  /// At least four times a second.
  std::function<void()> tick = {};
};

/// Runs tasks in forked processes of this program, so that a crash costs one attempt at one task.
///
/// Workers are forked without exec: what the coordinator has in memory when Run starts, they share
/// read-only, copy-on-write. They ignore SIGINT, SIGTERM and SIGPIPE, are killed when the
/// coordinator dies, and have their output captured; the last of it goes into the message of a
/// crash.
///
/// A task's failed attempt is tried again up to max_attempts when the worker died (status
/// "crashed"), it took too long ("timeout") or `work` failed with kTransient. `work` failing with
/// kNoSpace drops that task and stops the run. Every other result is final. After StopSignal() is
/// set no task is started; those in hand get stop_grace, then are killed and dropped.
///
/// It does not promise an order of results. Exceptions of `work` end the worker like any crash.
///
/// Thread  Run must be called with no other thread alive, from the thread that lives longest: the
///         kernel ends workers when the thread that forked them ends.
class WorkerPool {
 public:
  using Work = std::function<TaskResult(const Task&, const WorkerContext&)>;
  using Setup = std::function<Status(const WorkerContext&)>;

  /// @param work   runs in a worker, once per attempt.
  /// @param setup  runs once in each new worker before its first task; may be empty. Its failure
  ///               ends the run.
  WorkerPool(const WorkerPoolOptions& options, Work work, Setup setup = {});

  /// Runs until there are no tasks left, and leaves no worker behind.
  ///
  /// @return kCancelled after a stop signal, kNoSpace when a disk was full, else the first failure
  ///         of a handler, of `setup` or of starting workers.
  [[nodiscard]] Status Run(const PoolHandlers& handlers);

 private:
  WorkerPoolOptions options_;
  Work work_;
  Setup setup_;
};

}  // namespace droidflow

#pragma once

/// Uploads while a run goes on: the queue of its run directory, and the process that empties it.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"
#include "droidflow/jobs/run_store.h"
#include "droidflow/jobs/task.h"
#include "droidflow/pipeline/options.h"
#include "droidflow/transfer/upload_queue.h"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <sys/types.h>
#include <vector>

namespace droidflow {

/// A run's uploads. Without a place in the options nothing is uploaded; a queue that an earlier run
/// left still says which episodes are uploaded and gone.
///
/// The process dies with this one, and goes on where it was killed. Its failures do not become the
/// run's: Outcome tells of them.
///
/// Thread  one, that which made it; no other may be alive at Start.
class RunUploads {
 public:
  /// Opens the queue, if there is one or a place is given. Nothing is started.
  [[nodiscard]] static Result<RunUploads> Look(const MetadataOptions& options);

  /// Also starts the process, when there is a place; it finds out what the repositories have, and
  /// waits. The run directory must be held.
  [[nodiscard]] static Result<RunUploads> Start(const MetadataOptions& options);

  RunUploads(RunUploads&&) = default;
  RunUploads& operator=(RunUploads&&) = delete;
  /// Kills a process that was not waited for.
  ~RunUploads();

  /// Waits until it is known what the repositories have, or that it cannot be.
  void WaitForIndex();
  /// Whether every repository has the episode already; false where that is not known.
  [[nodiscard]] Result<bool> IsInRepository(const Task& task);
  /// Whether a finished episode, not all of whose files are there any more, was uploaded before
  /// they went: what is still there is as it was.
  [[nodiscard]] Result<bool> IsUploaded(const TaskRecord& record);

  /// Queues finished episodes. Those that are queued, or have left, stay as they are.
  [[nodiscard]] Status Offer(std::span<const Task> tasks);

  /// Lets the process upload.
  void Begin();
  /// Listens to the process, for so long at most.
  void Poll(std::chrono::milliseconds duration = {});
  /// What there is to tell since the last time.
  [[nodiscard]] std::vector<std::string> TakeNotes();
  /// "12 files, 1.3 GB to upload"; empty without a place.
  [[nodiscard]] std::string Describe() const;
  [[nodiscard]] bool is_running() const { return process_ != nullptr; }

  /// No more episodes will come: waits until all are uploaded, or cannot be, or a stop signal.
  void Finish(const std::function<void()>& tick);
  /// Ends the process; the queue stays.
  void Stop();
  /// Why not everything was uploaded.
  [[nodiscard]] Status Outcome();

 private:
  struct Process;
  struct EndProcess {
    void operator()(Process* process) const;
  };

  RunUploads() = default;
  [[nodiscard]] std::filesystem::path RootOf(const std::string& destination) const;
  void Hear(const std::string& line);
  void Count();

  std::vector<std::string> destinations_;
  std::filesystem::path whole_root_;
  std::filesystem::path metadata_root_;
  std::filesystem::path out_;
  std::optional<UploadQueue> queue_;
  std::unique_ptr<Process, EndProcess> process_;
  bool is_index_awaited_ = false;
  bool is_indexed_ = false;
  Status ended_ = {};  ///< what the process said at its end
  UploadTotals left_;
  std::chrono::steady_clock::time_point next_count_;
  std::vector<std::string> notes_;
};

}  // namespace droidflow

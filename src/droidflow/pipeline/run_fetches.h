#pragma once

/// The raw data of a run: what is in buckets is fetched by a process of its own, ahead of those who
/// use it.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"
#include "droidflow/jobs/task.h"
#include "droidflow/pipeline/options.h"

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <sys/types.h>
#include <vector>

namespace droidflow {

/// A task of a run, and the bucket that it comes from; empty: its files are here.
struct FetchTask {
  Task task;
  std::string bucket = {};
  std::uint64_t fetch_bytes = 0;
};

/// Hands out tasks when their raw files are there.
///
/// An episode that cannot be fetched is a failure of its own. What may pass is tried again after
/// the others, three times in all. Three episodes in a row that do not come, or one while none came
/// yet, mean that nobody answers, and end the fetching: Outcome says so. Tasks that were handed out
/// are not concerned.
///
/// The process dies with this one. What it fetched is removed at the next start.
///
/// Thread  one, that which made it; no other may be alive at Start.
class RunFetches {
 public:
  struct Failure {
    Task task;
    Error error;
  };

  /// @param ahead  so many episodes are fetched that nobody has asked for yet.
  [[nodiscard]] static Result<RunFetches> Start(const MetadataOptions& options,
                                                std::vector<FetchTask> tasks,
                                                int ahead);
  RunFetches(RunFetches&&) = default;
  RunFetches& operator=(RunFetches&&) = delete;
  ~RunFetches();

  /// Whether Next can say.
  [[nodiscard]] bool HasNext() const;
  /// Nothing: there are no more.
  [[nodiscard]] std::optional<Task> Next();
  /// Readable when there is something to Poll; -1: never.
  [[nodiscard]] int wakes() const;
  /// Listens to the process, and asks it for more while there is room on the disk.
  ///
  /// @param room_bytes  for all that is fetched; one episode always has room.
  void Poll(std::uint64_t room_bytes);
  [[nodiscard]] std::vector<Failure> TakeFailures();
  /// The files of a task are not needed any more.
  void Release(const Task& task);
  /// Ends the process, and removes what was fetched.
  void Stop();
  /// Why it ended early.
  [[nodiscard]] const Status& Outcome() const { return outcome_; }

 private:
  struct Process;
  struct EndProcess {
    void operator()(Process* process) const;
  };
  struct Asked {
    FetchTask fetch;
    int tries = 0;
  };

  RunFetches() = default;
  void Ask();
  void Hear(const std::string& line);
  void TakeAsAnswer();
  void End(Status outcome);
  [[nodiscard]] std::size_t OnItsWay() const { return asked_.size() + ready_.size(); }

  std::filesystem::path folder_;
  std::size_t ahead_ = 0;
  std::deque<Task> here_;                            ///< whose files are here anyway
  std::deque<Asked> waiting_;                        ///< to be asked for
  std::map<std::string, Asked> asked_;               ///< by payload
  std::deque<Asked> ready_;                          ///< fetched, and not handed out
  std::map<std::string, std::uint64_t> held_bytes_;  ///< of all on the disk, by payload
  std::uint64_t all_held_bytes_ = 0;
  std::set<std::string> silent_;  ///< payloads of those that did not come, since the last that did
  bool has_answered_ = false;
  std::vector<Failure> failures_;
  Status outcome_ = {};
  std::unique_ptr<Process, EndProcess> process_;
};

}  // namespace droidflow

#pragma once

/// The cluster's scheduler, spoken to through its programs sbatch, squeue, scontrol and scancel.

#include "droidflow/core/result.h"

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

struct SlurmPatience {
  std::chrono::milliseconds timeout{30'000};  ///< of one call
  int attempts = 4;                           ///< at a call that Slurm does not answer
  std::chrono::milliseconds pause{1'000};     ///< before the second attempt; then twice as long
};

/// A job, or one task of an array, as Slurm knows it.
struct SlurmJob {
  std::string id;       ///< of the array; of a job that is none, its own
  int index = -1;       ///< in the array; -1: none
  std::string name;     ///< given when it was submitted
  std::string comment;  ///< given when it was submitted
  std::string state;    ///< "PENDING", "RUNNING", "NODE_FAIL", …
  std::string reason;   ///< why it waits, or ended; "None"
  std::string node;

  /// Whether it waits, runs, or is about to do so again.
  [[nodiscard]] bool IsAlive() const;
  bool operator==(const SlurmJob&) const = default;
};

/// What to submit: `arguments` are sbatch's, the script and its own last.
struct SlurmSubmission {
  std::string name;
  std::string comment;  ///< of all jobs of this name only this one has it
  std::vector<std::string> arguments;
};

/// Thread  one.
/// Errors  kTransient: Slurm does not answer; kUnsupported: its programs are not installed; kUsage:
///         it refuses, in its own words.
class Slurm {
 public:
  explicit Slurm(const SlurmPatience& patience = {}) : patience_(patience) {}

  /// Submits a job once, even where Slurm took it and the answer was lost.
  ///
  /// @param may_be_there  an earlier process may have submitted it: then it is looked for first.
  /// @return its id.
  [[nodiscard]] Result<std::string> Submit(const SlurmSubmission& submission, bool may_be_there);

  /// Every job of these names that Slurm has not forgotten; it forgets those that ended minutes
  /// ago.
  [[nodiscard]] Result<std::vector<SlurmJob>> Jobs(const std::vector<std::string>& names);

  /// One more than the largest index of an array: MaxArraySize; 1001, Slurm's default, where it
  /// does not say.
  [[nodiscard]] Result<int> MaxArraySize();

  /// "RUNNING", "CANCELLED", …
  [[nodiscard]] Result<std::string> StateOf(const std::string& id);

  /// Has a job end and wait for another turn.
  [[nodiscard]] Status Requeue(const std::string& id);

  /// Ends this user's jobs of these names, or with these states of them only ("PENDING").
  [[nodiscard]] Status Cancel(const std::vector<std::string>& names, const std::string& state = {});

 private:
  [[nodiscard]] Result<std::string> Ask(const std::vector<std::string>& words);

  SlurmPatience patience_;
};

/// The lines that Jobs asks squeue for. @return kInvalidData for one that is none.
[[nodiscard]] Result<std::vector<SlurmJob>> ParseSqueue(std::string_view text);

/// The id that `sbatch --parsable` prints: "12", or "12;cluster" in a federation.
[[nodiscard]] Result<std::string> ParseSbatch(std::string_view text);

/// MaxArraySize of `scontrol show config`; nothing: 1001.
[[nodiscard]] int ParseMaxArraySize(std::string_view text);

}  // namespace droidflow

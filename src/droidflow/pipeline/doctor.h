#pragma once

/// What this machine has, and what that allows.

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace droidflow {

/// "droidflow 0.1.0 (Release, GNU 12.2.0)" and the lines that --version adds: instruction sets of
/// this processor and which optional parts are in this build.
[[nodiscard]] std::string FormatVersion();

/// One finding of `droidflow doctor`.
struct Finding {
  enum class Grade { kOk, kNote, kProblem };
  std::string subject;  ///< "cores", "disk"
  Grade grade;
  std::string text;    ///< what was found
  std::string allows;  ///< what follows from it; may be empty
};

/// Looks at this machine. `directories` are checked for space and for whether they can be written;
/// those that do not exist are judged by their nearest parent. A secret is only ever said to be
/// there.
///
/// @param episodes  how many are to be made and uploaded; 0: not known.
[[nodiscard]] std::vector<Finding> ExamineMachine(
    const std::vector<std::filesystem::path>& directories, std::size_t episodes = 0);

/// Cores that this process may use: its affinity, capped by the control group's quota.
[[nodiscard]] int UsableCores();

}  // namespace droidflow

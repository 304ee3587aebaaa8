#pragma once

/// One coordinator per run directory.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"

#include <filesystem>

namespace droidflow {

/// Holds `{run_dir}/lock` until it is destroyed or the process ends, however it ends.
///
/// The file names the holder's process and host. Worker processes forked while it is held inherit
/// the lock, so a coordinator that was killed keeps its run directory until its last worker is
/// gone.
class RunLock {
 public:
  /// Takes the lock; makes the folder when there is none.
  ///
  /// @return kBusy, naming the holder, when another process has it. When that process is dead and
  ///         only its workers are left, they get five seconds to end first.
  [[nodiscard]] static Result<RunLock> Acquire(const std::filesystem::path& run_dir);

 private:
  explicit RunLock(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
};

}  // namespace droidflow

#pragma once

#include "droidflow/core/result.h"

#include <chrono>
#include <string>
#include <vector>

namespace droidflow {

/// What a program printed, and how it ended.
struct ProgramEnd {
  int exit_code = 0;  ///< 128 and the signal's number where one ended it
  std::string out;
  std::string err;
};

/// Runs a program of the PATH to its end, without a shell and without input.
///
/// @return kNotFound when there is none of that name; kTransient when it took longer, and was
///         killed.
[[nodiscard]] Result<ProgramEnd> RunProgram(const std::vector<std::string>& words,
                                            std::chrono::milliseconds timeout);

}  // namespace droidflow

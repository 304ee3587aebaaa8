#pragma once

/// What the Python package droidflow does for the program.

#include <string>
#include <vector>

namespace droidflow {

/// Becomes `python3 -m droidflow {words}`, by the interpreter that DROIDFLOW_PYTHON names.
///
/// @return  the exit code where there is no such interpreter, or it lacks the package.
[[nodiscard]] int RunPythonPackage(const std::vector<std::string>& words);

}  // namespace droidflow

#include "droidflow/cli/python_package.h"

#include "droidflow/cli/output.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

std::string PythonInterpreter() {
  // No other thread changes the environment.
  const char* const named = std::getenv("DROIDFLOW_PYTHON");  // NOLINT(concurrency-mt-unsafe)
  return named != nullptr && *named != '\0' ? named : "python3";
}

/// Becomes this program. Returns only where that fails, with errno.
void Become(std::vector<std::string> words) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
}

/// Whether an interpreter starts and finds the package.
Status FindPackage(const std::string& python) {
  const pid_t child = fork();
  if (child < 0) return Fail(ErrorKind::kTransient, "cannot start a process");
  if (child == 0) {
    Become({python,
            "-c",
            "import importlib.util, sys; sys.exit(importlib.util.find_spec('droidflow') is None)"});
    _exit(errno == ENOENT ? 127 : 126);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  if (code == 0) return {};
  const char* const have = code == 127   ? "no such interpreter"
                           : code == 126 ? "one that cannot be started"
                                         : "one without it";
  return Fail(ErrorKind::kUnsupported,
              "want a Python with the package droidflow ('pip install ./python' in the sources, or "
              "DROIDFLOW_PYTHON names an interpreter that has it), have {}: {}",
              have,
              python);
}

}  // namespace

int RunPythonPackage(const std::vector<std::string>& words) {
  const std::string python = PythonInterpreter();
  if (const Status found = FindPackage(python); !found) return Report(found.error());
  std::vector<std::string> all = {python, "-m", "droidflow"};
  all.insert(all.end(), words.begin(), words.end());
  std::fflush(nullptr);
  Become(std::move(all));
  return Report({ErrorKind::kUnsupported, fmt::format("cannot start {}", python)});
}

}  // namespace droidflow

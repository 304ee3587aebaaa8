#include "droidflow/cli/commands.h"
#include "droidflow/cli/output.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace droidflow {
namespace {

struct ExportCommand {
  std::vector<std::string> words;
};

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

int RunExport(const ExportCommand& command) {
  const std::string python = PythonInterpreter();
  if (const Status found = FindPackage(python); !found) return Report(found.error());
  std::vector<std::string> words = {python, "-m", "droidflow", "export"};
  words.insert(words.end(), command.words.begin(), command.words.end());
  std::fflush(nullptr);
  Become(words);
  return Report({ErrorKind::kUnsupported, fmt::format("cannot start {}", python)});
}

}  // namespace

void AddExportCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<ExportCommand>();
  CLI::App* sub = app.add_subcommand(
      "export", "Write finished episodes in another format, by the Python package droidflow");
  sub->prefix_command();
  sub->footer(
      "What follows goes to 'python3 -m droidflow export', of $DROIDFLOW_PYTHON or the python3 in\n"
      "PATH, whose --help shows what it takes.\n"
      "Example:\n"
      "  droidflow export --to lerobot /data/tracks /data/lerobot --droid-root /data/droid_raw\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 episodes were left out.");
  sub->callback([sub, command, &exit_code] {
    command->words = sub->remaining();
    exit_code = RunExport(*command);
  });
}

}  // namespace droidflow

#include "droidflow/cli/commands.h"
#include "droidflow/cli/output.h"
#include "droidflow/cli/python_package.h"

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace droidflow {
namespace {

struct ExportCommand {
  std::vector<std::string> words;
};

int RunExport(const ExportCommand& command) {
  std::vector<std::string> words = {"export"};
  words.insert(words.end(), command.words.begin(), command.words.end());
  return RunPythonPackage(words);
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

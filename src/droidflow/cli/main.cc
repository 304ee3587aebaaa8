#include "droidflow/cli/commands.h"
#include "droidflow/cli/completion.h"
#include "droidflow/cli/output.h"
#include "droidflow/pipeline/doctor.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace {

/// CLI11 takes "-1" for an option named 1. A blank in front makes it a value; values are trimmed.
std::vector<std::string> ShieldNegativeNumbers(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  for (std::string& argument : arguments) {
    const bool negative =
        argument.size() > 1 && argument[0] == '-' &&
        (std::isdigit(static_cast<unsigned char>(argument[1])) != 0 || argument[1] == '.');
    if (negative) argument.insert(0, 1, ' ');
  }
  std::ranges::reverse(arguments);  // CLI11 takes a vector last argument first
  return arguments;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "droidflow turns raw episodes of the DROID robot data set into training data: 3-D tracks of "
      "points\n"
      "on the gripper's contact pads, their 2-D projections in every camera, camera poses and "
      "intrinsics.\n",
      "droidflow"};
  app.set_version_flag("--version", droidflow::FormatVersion());
  app.require_subcommand(1);
  app.get_formatter()->column_width(36);
  app.footer(
      "Example:\n"
      "  droidflow synth demo --episodes 6\n"
      "  droidflow metadata -1 2 --droid-root demo/raw --annotations demo/annotations --out "
      "demo/out\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 some episodes quarantined, 10 no such input,\n"
      "11 another process holds the run, 12 no permission to upload, 13 Slurm does not answer,\n"
      "130 stopped by a signal.");

  int exit_code = droidflow::kExitDone;
  droidflow::AddMetadataCommand(app, exit_code);
  droidflow::AddFullCommand(app, exit_code);
  droidflow::AddTracksCommands(app, exit_code);
  droidflow::AddDepthCommand(app, exit_code);
  droidflow::AddDepthEvalCommand(app, exit_code);
  droidflow::AddUploadCommand(app, exit_code);
  droidflow::AddHubCommand(app, exit_code);
  droidflow::AddSlurmCommand(app, exit_code);
  droidflow::AddAvailabilityCommand(app, exit_code);
  droidflow::AddFetchCommand(app, exit_code);
  droidflow::AddEpisodesCommand(app, exit_code);
  droidflow::AddStatusCommand(app, exit_code);
  droidflow::AddVerifyCommand(app, exit_code);
  droidflow::AddInspectCommand(app, exit_code);
  droidflow::AddDepthPreviewCommand(app, exit_code);
  droidflow::AddRenderCommand(app, exit_code);
  droidflow::AddReportCommand(app, exit_code);
  droidflow::AddCheckCommand(app, exit_code);
  droidflow::AddViewCommand(app, exit_code);
  droidflow::AddDiffCommand(app, exit_code);
  droidflow::AddStatsCommand(app, exit_code);
  droidflow::AddIndexCommand(app, exit_code);
  droidflow::AddExportCommand(app, exit_code);
  droidflow::AddExplainCommand(app, exit_code);
  droidflow::AddConvertCommand(app, exit_code);
  droidflow::AddSynthCommand(app, exit_code);
  droidflow::AddDoctorCommand(app, exit_code);
  droidflow::AddCompletionCommands(app);

  // What the shells' completion scripts call; the words are not ours to parse.
  if (argc > 1 && std::string_view(argv[1]) == "complete") {
    fmt::print("{}", droidflow::CompleteWords(app, {argv + 2, argv + argc}));
    return droidflow::kExitDone;
  }
  // CLI11 would only say that a command is required.
  const auto is_asked_for = [&](const CLI::App* command) { return command->get_name() == argv[1]; };
  if (argc > 1 && argv[1][0] != '-' && app.get_subcommands(is_asked_for).empty()) {
    fmt::print(stderr, "droidflow: no such command: {}; droidflow --help lists them\n", argv[1]);
    return droidflow::kExitUsage;
  }
  try {
    app.parse(ShieldNegativeNumbers(argc, argv));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? droidflow::kExitDone : droidflow::kExitUsage;
  }
  return exit_code;
}

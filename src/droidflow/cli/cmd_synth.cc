#include "droidflow/cli/commands.h"
#include "droidflow/cli/output.h"
#include "droidflow/pipeline/synth.h"

#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct SynthCommand {
  std::string directory;
  SynthOptions options;
  bool json = false;
  bool dry_run = false;
};

int RunSynth(const SynthCommand& command) {
  if (command.dry_run) {
    fmt::print("would write {} episodes of {} steps{} to {}\n",
               command.options.episodes,
               command.options.steps,
               command.options.faults ? " and one of each kind of broken episode" : "",
               command.directory);
    return kExitDone;
  }
  const Result<SynthReport> report = Synthesize(command.directory, command.options);
  if (!report) return Report(report.error());
  if (command.json) {
    Json faults = Json::array();
    for (const SynthFault& fault : report->faults) {
      faults.push_back({{"kind", fault.kind},
                        {"uuid", fault.uuid},
                        {"path", fault.path},
                        {"expected", fault.expected},
                        {"outcome", fault.outcome}});
    }
    fmt::print("{}\n", Json{{"episodes", report->uuids}, {"faults", faults}}.dump(2));
    return kExitDone;
  }
  fmt::print("{} good and {} broken episodes: {}\n",
             report->uuids.size(),
             report->faults.size(),
             command.directory);
  return kExitDone;
}

}  // namespace

void AddSynthCommand(CLI::App& app, int& exit_code) {
  auto synth = std::make_shared<SynthCommand>();
  CLI::App* command = app.add_subcommand(
      "synth", "Make raw episodes, annotations and calibration files to try things on");
  command
      ->add_option("DIR", synth->directory, "New folder: raw/, annotations/, conf/, episodes.txt")
      ->required()
      ->type_name("");
  command->add_option("--episodes", synth->options.episodes, "Good episodes")
      ->check(CLI::Range(0, 1000000))
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--steps", synth->options.steps, "Control steps of each")
      ->check(CLI::Range(1, 100000))
      ->type_name("T")
      ->capture_default_str();
  command->add_option("--seed", synth->options.seed, "The same seed gives the same episodes")
      ->type_name("S")
      ->capture_default_str();
  command->add_flag("--faults",
                    synth->options.faults,
                    "Add one of each kind of broken episode, and faults.json that lists them");
  command->add_flag("--json", synth->json, "Print what was made as JSON");
  command->add_flag("--dry-run", synth->dry_run, "Say what would be made and write nothing");
  command->footer(
      "Example:\n  droidflow synth demo --episodes 20 --faults\n"
      "Exit status: 0 done, 1 failed, 2 usage (the folder holds episodes already).");
  command->callback([synth, &exit_code] { exit_code = RunSynth(*synth); });
}

}  // namespace droidflow

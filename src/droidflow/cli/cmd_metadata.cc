#include "droidflow/cli/commands.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/cli/run_report.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/metadata_run.h"

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct MetadataCommand {
  OptionFlags flags;
  bool json = false;
  bool dry_run = false;
  bool quiet = false;
  bool verbose = false;
};

void PrintPlan(const RunPlan& plan, const MetadataOptions& options, bool json) {
  if (json) {
    Json episodes = Json::array();
    for (const ListedEpisode& episode : plan.list.episodes)
      episodes.push_back(episode.ref.relative_path);
    const Json document = {{"dry_run", true},
                           {"matching", plan.list.matching},
                           {"selected", plan.list.episodes.size()},
                           {"already_done", plan.already_done},
                           {"quarantined_before", plan.quarantined},
                           {"to_do", plan.to_do},
                           {"not_found", plan.list.not_found_uuids},
                           {"duplicates", plan.list.duplicates.size()},
                           {"out", options.out},
                           {"episodes", episodes}};
    fmt::print("{}\n", document.dump(2));
    return;
  }
  fmt::print(
      "would process {} of {} matching episodes ({} done before, {} quarantined before) into {}\n",
      plan.to_do,
      plan.list.matching,
      plan.already_done,
      plan.quarantined,
      options.out);
  for (const Error& error : plan.list.not_found) fmt::print("not found: {}\n", error.message);
}

int RunCommand(const MetadataCommand& command) {
  const Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  if (command.flags.print_config()) {
    fmt::print("{}", FormatConfig(*options));
    return kExitDone;
  }
  InstallStopHandlers();
  const Result<EpisodeContext> context = MakeEpisodeContext(*options);
  if (!context) return Report(context.error());
  if (command.dry_run) {
    const Result<RunPlan> plan = PlanMetadataRun(*context);
    if (!plan) return Report(plan.error());
    PrintPlan(*plan, *options, command.json);
    return kExitDone;
  }
  const Result<RunSummary> summary =
      RunMetadata(*context, {.quiet = command.quiet, .verbose = command.verbose});
  if (!summary) return Report(summary.error());
  if (command.json) {
    fmt::print("{}\n", SummaryJson(*summary).dump(2));
  } else if (!command.quiet) {
    fmt::print("{}", FormatSummary(*summary));
  }
  if (!summary->stopped) return Report(summary->stopped.error());
  return summary->store.quarantined > 0 ? kExitQuarantined : kExitDone;
}

}  // namespace

void AddMetadataCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<MetadataCommand>();
  CLI::App* sub = app.add_subcommand(
      "metadata",
      "Write tracks, poses, intrinsics and quality of many episodes; run again to go on");
  command->flags.AddPositional(*sub, "limit", "LIMIT");
  command->flags.AddPositional(*sub, "workers", "WORKERS");
  using Group = OptionInfo::Group;
  command->flags.AddTo(*sub, {Group::kInput, Group::kTrack, Group::kSelection, Group::kRun});
  sub->add_flag("--json", command->json, "Print the summary as JSON");
  sub->add_flag("--dry-run", command->dry_run, "Say what would be done and write nothing");
  sub->add_flag("-q,--quiet", command->quiet, "Print errors only");
  sub->add_flag("-v,--verbose", command->verbose, "Print a line for every episode");
  sub->footer(
      "Example: all episodes with 8 workers\n"
      "  droidflow metadata -1 8 --droid-root /data/droid_raw --annotations /data/annotations \\\n"
      "      --conf-dir /data/zed_conf --out /data/tracks\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 episodes are quarantined, 10 no such input,\n"
      "11 another process holds the run directory, 130 stopped by a signal (run again to go on).");
  sub->callback([command, &exit_code] { exit_code = RunCommand(*command); });
}

}  // namespace droidflow

#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/cli/run_command.h"
#include "droidflow/cli/run_report.h"
#include "droidflow/cli/upload_report.h"
#include "droidflow/core/stop.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/pipeline/episode_run.h"
#include "droidflow/pipeline/run_estimate.h"

#include <chrono>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct RunCommandLine {
  Pipeline pipeline = Pipeline::kMetadata;
  OptionFlags flags;
  bool json = false;
  bool dry_run = false;
  bool quiet = false;
  bool verbose = false;
};

Json ToJson(const RunEstimate& estimate) {
  if (estimate.sampled == 0) return nullptr;
  return {{"sampled_episodes", estimate.sampled},
          {"workers", estimate.workers},
          {"read_bytes", std::round(estimate.read_bytes)},
          {"metadata_bytes", std::round(estimate.metadata_bytes)},
          {"depth_bytes", std::round(estimate.depth_bytes)},
          {"depth_frames", std::round(estimate.frames)},
          {"seconds", std::round(estimate.seconds * 10) / 10}};
}

void Print(const RunEstimate& estimate) {
  if (estimate.sampled == 0) {
    fmt::print("no episode of the sample could be done: its size and time are not known\n");
    return;
  }
  fmt::print(
      "by a sample of {}: about {} with {} workers\n",
      estimate.sampled,
      FormatDuration(std::chrono::milliseconds(static_cast<std::int64_t>(1000 * estimate.seconds))),
      estimate.workers);
  fmt::print("  reads   {}\n", FormatBytes(estimate.read_bytes));
  fmt::print("  writes  {}: {} of tracks and metadata, {} of depth ({:.0f} frames)\n",
             FormatBytes(estimate.metadata_bytes + estimate.depth_bytes),
             FormatBytes(estimate.metadata_bytes),
             FormatBytes(estimate.depth_bytes),
             estimate.frames);
}

void PrintPlan(const RunPlan& plan,
               const RunEstimate& estimate,
               const MetadataOptions& options,
               bool json) {
  const std::string& into = options.full.batch_dir.empty() ? options.out : options.full.batch_dir;
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
                           {"fetch_bytes", plan.fetch_bytes},
                           {"not_found", plan.list.not_found_uuids},
                           {"duplicates", plan.list.duplicates.size()},
                           {"out", into},
                           {"estimate", ToJson(estimate)},
                           {"episodes", episodes}};
    PrintJson(document);
    return;
  }
  fmt::print(
      "would process {} of {} matching episodes ({} done before, {} quarantined before) into {}\n",
      plan.to_do,
      plan.list.matching,
      plan.already_done,
      plan.quarantined,
      into);
  for (const Error& error : plan.list.not_found) fmt::print("not found: {}\n", error.message);
  if (plan.fetch_bytes > 0) {
    fmt::print("fetches {} of raw data\n", FormatBytes(static_cast<double>(plan.fetch_bytes)));
  }
  if (plan.to_do > 0) Print(estimate);
}

int RunCommand(const RunCommandLine& command) {
  Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  options->pipeline = command.pipeline;
  if (command.flags.print_config()) {
    fmt::print("{}", FormatConfig(*options));
    return kExitDone;
  }
  InstallStopHandlers();
  const Result<EpisodeContext> context = MakeEpisodeContext(*options);
  if (!context) return Report(context.error());
  if (command.dry_run) {
    const Result<RunPlan> plan = PlanRun(*context);
    if (!plan) return Report(plan.error());
    const Result<RunEstimate> estimate = EstimateRun(*context, plan->list.episodes, plan->to_do);
    if (!estimate) return Report(estimate.error());
    PrintPlan(*plan, *estimate, *options, command.json);
    return kExitDone;
  }
  const Result<RunSummary> summary =
      RunEpisodes(*context, {.quiet = command.quiet, .verbose = command.verbose});
  if (!summary) return Report(summary.error());
  const UploadReport uploads = ReadUploadReport(options->RunDir());
  if (command.json) {
    Json document = SummaryJson(*summary);
    document["uploads"] = ToJson(uploads);
    PrintJson(document);
  } else if (!command.quiet) {
    fmt::print("{}{}", FormatSummary(*summary), FormatUploads(uploads));
  }
  if (!summary->stopped) return Report(summary->stopped.error());
  if (!summary->uploads) {
    (void)Report(summary->uploads.error());
    return kExitQuarantined;
  }
  return summary->store.quarantined > 0 ? kExitQuarantined : kExitDone;
}

/// What both pipelines take.
void AddRunFlags(CLI::App& sub, RunCommandLine& command) {
  using Group = OptionInfo::Group;
  command.flags.AddTo(
      sub,
      {Group::kInput, Group::kFetch, Group::kTrack, Group::kSelection, Group::kRun, Group::kHub});
  sub.add_flag("--json", command.json, "Print the summary as JSON");
  sub.add_flag("--dry-run",
               command.dry_run,
               "Say what would be done, and by a sample how much and how long; write nothing");
  sub.add_flag("-q,--quiet", command.quiet, "Print errors only");
  sub.add_flag("-v,--verbose", command.verbose, "Print a line for every episode");
}

constexpr const char kExitStatus[] =
    "Exit status: 0 done, 1 failed, 2 usage, 3 episodes are quarantined or not uploaded (they are\n"
    "kept), 10 no such input, 11 another process holds the run directory, 130 stopped by a signal "
    "(run again to go on).";

CLI::App* DefineMetadata(CLI::App& app, RunCommandLine& command) {
  CLI::App* sub = app.add_subcommand(
      "metadata",
      "Write tracks, poses, intrinsics and quality of many episodes; run again to go on");
  command.flags.AddPositional(*sub, "limit", "LIMIT");
  command.flags.AddPositional(*sub, "workers", "WORKERS");
  AddRunFlags(*sub, command);
  sub->footer(fmt::format(
      "Example: all episodes with 8 workers\n"
      "  droidflow metadata -1 8 --droid-root /data/droid_raw --annotations /data/annotations \\\n"
      "      --conf-dir /data/zed_conf --out /data/tracks\n{}",
      kExitStatus));
  return sub;
}

CLI::App* DefineFull(CLI::App& app, RunCommandLine& command) {
  command.pipeline = Pipeline::kFull;
  CLI::App* sub = app.add_subcommand(
      "full", "What metadata writes, and depth of every stereo recording; run again to go on");
  command.flags.AddPositional(*sub, "limit", "LIMIT");
  command.flags.AddPositional(*sub, "workers_per_gpu", "WORKERS_PER_GPU");
  command.flags.AddPositional(*sub, "gpus", "NUM_GPUS");
  using Group = OptionInfo::Group;
  AddRunFlags(*sub, command);
  command.flags.AddGroups(*sub, {Group::kDepth, Group::kFull});
  sub->footer(fmt::format(
      "Example: 100 episodes, 6 workers on each of 4 GPUs; without GPUs --workers counts\n"
      "  droidflow full 100 6 4 --droid-root /data/droid_raw --annotations /data/annotations \\\n"
      "      --conf-dir /data/zed_conf --out /data/droid_depth --scratch-dir /local\n{}",
      kExitStatus));
  return sub;
}

}  // namespace

void AddMetadataCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<RunCommandLine>();
  DefineMetadata(app, *command)->callback([command, &exit_code] {
    exit_code = RunCommand(*command);
  });
}

void AddFullCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<RunCommandLine>();
  DefineFull(app, *command)->callback([command, &exit_code] { exit_code = RunCommand(*command); });
}

Result<RunRequest> ParseRunCommand(const std::vector<std::string>& words) {
  CLI::App app{"", "droidflow"};
  app.require_subcommand(1);
  RunCommandLine metadata;
  RunCommandLine full;
  DefineMetadata(app, metadata);
  const CLI::App* const full_command = DefineFull(app, full);
  try {
    // CLI11 takes a vector last word first.
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
  } catch (const CLI::ParseError& error) {
    return Fail(ErrorKind::kUsage,
                "behind -- want what 'droidflow metadata' or 'droidflow full' takes: {}",
                error.what());
  }
  const RunCommandLine& given = full_command->parsed() ? full : metadata;
  DF_ASSIGN_OR_RETURN(MetadataOptions options, given.flags.Resolve());
  options.pipeline = given.pipeline;
  return RunRequest{.command = full_command->parsed() ? "full" : "metadata",
                    .options = std::move(options),
                    .dry_run = given.dry_run};
}

}  // namespace droidflow

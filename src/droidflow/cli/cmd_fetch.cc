#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/stop.h"
#include "droidflow/io/annotations.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/pipeline/fetch.h"

#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct FetchCommand {
  OptionFlags flags;
  std::string what = "metadata,h5,stereo,svo";
  DownloadOptions download;
  double rate_mb_per_s = 0;
  bool dry_run = false;
  bool json = false;
  bool quiet = false;
};

Json PlanJson(const FetchPlan& plan) {
  Json episodes = Json::array();
  std::size_t files = 0;
  for (const FetchEpisode& episode : plan.episodes) {
    episodes.push_back(episode.ref.relative_path);
    files += episode.files.size();
  }
  return {{"files", files},
          {"bytes", plan.bytes},
          {"bytes_there", plan.bytes_there},
          {"not_found", plan.not_found_uuids},
          {"episodes", episodes}};
}

void PrintNotFound(const FetchPlan& plan) {
  for (const Error& error : plan.not_found) fmt::print("not found: {}\n", error.message);
}

Result<FetchReport> FetchWithProgress(const FetchPlan& plan,
                                      const DownloadOptions& options,
                                      bool quiet) {
  ProgressOptions style = ProgressOptionsFor(STDERR_FILENO);
  if (quiet) style.style = ProgressOptions::Style::kQuiet;
  ProgressCounts counts;
  for (const FetchEpisode& episode : plan.episodes) counts.total += std::ssize(episode.files);
  Progress progress(std::cerr, style, counts);
  double bytes = 0;
  Result<FetchReport> report =
      RunFetch(plan, options, [&](const Download& download, const Status& status) {
        ++(status ? counts.ok : counts.failed);
        if (status) bytes += static_cast<double>(download.listed.size_bytes);
        counts.more = fmt::format(
            "files, {} of {}", FormatBytes(bytes), FormatBytes(static_cast<double>(plan.bytes)));
        progress.Update(counts);
      });
  progress.Finish(counts);
  return report;
}

Result<int> RunFetchCommand(const FetchCommand& command) {
  DF_ASSIGN_OR_RETURN(const MetadataOptions options, command.flags.Resolve());
  DF_ASSIGN_OR_RETURN(const WantedFiles wanted,
                      ParseWantedFiles(command.what).map_error(During("--what")));
  if (options.out.empty()) return Fail(ErrorKind::kUsage, "--out is needed");
  std::optional<Annotations> annotations;
  if (!options.input.annotations.empty()) {
    const AnnotationPaths all = FindAnnotations(options.input.annotations);
    DF_ASSIGN_OR_RETURN(annotations, Annotations::Open({.episode_paths = all.episode_paths}));
  }
  InstallStopHandlers();
  const std::string& root = options.input.droid_root;
  DF_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source,
                      OpenRawSource(root.empty() ? kPublishedRaw : root));
  DF_ASSIGN_OR_RETURN(
      const FetchPlan plan,
      PlanFetch(
          *source, options.selection, wanted, options.out, annotations ? &*annotations : nullptr));
  Json document = PlanJson(plan);
  document["dry_run"] = command.dry_run;
  document["out"] = options.out;
  const int missing = plan.not_found.empty() ? kExitDone : kExitQuarantined;
  if (command.dry_run) {
    if (command.json) {
      PrintJson(document);
      return missing;
    }
    fmt::print("would fetch {} files of {} episodes, {}, of which {} are there, from {} into {}\n",
               document["files"].get<std::size_t>(),
               plan.episodes.size(),
               FormatBytes(static_cast<double>(plan.bytes)),
               FormatBytes(static_cast<double>(plan.bytes_there)),
               source->Describe(),
               options.out);
    PrintNotFound(plan);
    return missing;
  }
  DownloadOptions download = command.download;
  download.rate_bytes_per_s = command.rate_mb_per_s * 1e6;
  DF_ASSIGN_OR_RETURN(const FetchReport report,
                      FetchWithProgress(plan, download, command.quiet || command.json));
  Json failures = Json::array();
  for (const auto& [episode, error] : report.failures) {
    failures.push_back({{"episode", episode}, {"status", error.status}, {"error", error.message}});
  }
  document["whole_episodes"] = report.episodes;
  document["failures"] = failures;
  if (command.json) {
    PrintJson(document);
  } else if (!command.quiet) {
    fmt::print("{} of {} episodes are whole, {} files: {}\n",
               report.episodes,
               plan.episodes.size(),
               report.files,
               options.out);
    PrintNotFound(plan);
  }
  if (!command.json) {
    for (const auto& [episode, error] : report.failures) (void)Report(error);
  }
  return report.failures.empty() ? missing : kExitQuarantined;
}

}  // namespace

void AddFetchCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<FetchCommand>();
  CLI::App* sub =
      app.add_subcommand("fetch", "Fetch raw episodes from a bucket into a local raw tree");
  command->flags.AddPositional(*sub, "limit", "LIMIT");
  command->flags.AddKeys(
      *sub, {"droid_root", "annotations", "limit", "episodes", "labs", "outcome", "out"});
  sub->add_option("--what",
                  command->what,
                  "Some of metadata,h5,stereo,svo,mono; of the recordings of a camera the first "
                  "that it has")
      ->type_name("KIND,KIND")
      ->capture_default_str();
  sub->add_option("--download-jobs", command->download.jobs, "Downloads at a time")
      ->check(CLI::Range(1, 64))
      ->type_name("N")
      ->capture_default_str();
  sub->add_option("--download-rate",
                  command->rate_mb_per_s,
                  "Megabytes per second of all downloads together (no limit)")
      ->check(CLI::Range(0.1, 1e6))
      ->type_name("MB");
  sub->add_flag("--json", command->json, "Print JSON");
  sub->add_flag("--dry-run", command->dry_run, "Say what would be fetched, and how many bytes");
  sub->add_flag("-q,--quiet", command->quiet, "Print errors only");
  sub->footer(fmt::format(
      "DIR of --droid-root may be gs://BUCKET/FOLDER, and is {}\n"
      "unless given. Run again to go on.\n"
      "Example: what full needs of two labs' episodes\n"
      "  droidflow fetch 100 --labs IRIS,TRI --outcome success --out /data/droid_raw\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 files or episodes are missing, 10 no such input, "
      "130 stopped by a signal.",
      kPublishedRaw));
  sub->callback([command, &exit_code] {
    const Result<int> code = RunFetchCommand(*command);
    exit_code = code ? *code : Report(code.error());
  });
}

}  // namespace droidflow

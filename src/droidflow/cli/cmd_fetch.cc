#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/stop.h"
#include "droidflow/io/annotations.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/pipeline/fetch.h"
#include "droidflow/pipeline/raw_roots.h"
#include "droidflow/transfer/hf_store.h"
#include "droidflow/transfer/store_source.h"

#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

/// What both commands take.
struct FetchFlags {
  DownloadOptions download;
  double rate_mb_per_s = 0;
  bool dry_run = false;
  bool json = false;
  bool quiet = false;

  void AddTo(CLI::App& command) {
    command.add_option("--download-jobs", download.jobs, "Downloads at a time")
        ->check(CLI::Range(1, 64).description(""))
        ->type_name("N")
        ->capture_default_str();
    command
        .add_option("--download-rate",
                    rate_mb_per_s,
                    "Megabytes per second of all downloads together (no limit)")
        ->check(CLI::Range(0.1, 1e6).description(""))
        ->type_name("MB");
    command.add_flag("--json", json, "Print JSON");
    command.add_flag("--dry-run", dry_run, "Say what would be fetched, and how many bytes");
    command.add_flag("-q,--quiet", quiet, "Print errors only");
  }
};

struct FetchCommand {
  OptionFlags flags;
  std::string what = "metadata,h5,stereo,svo";
  FetchFlags fetch;
};

struct FetchAnnotationsCommand {
  std::string repo = kPublishedAnnotations;
  std::string out;
  bool all = false;
  FetchFlags fetch;
};

Result<FetchReport> FetchWithProgress(const FetchPlan& plan,
                                      const DownloadOptions& options,
                                      bool quiet) {
  ProgressOptions style = ProgressOptionsFor(STDERR_FILENO);
  if (quiet) style.style = ProgressOptions::Style::kQuiet;
  ProgressCounts counts;
  counts.total = std::ssize(plan.files);
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

/// Fetches a plan, or tells of it. @return the exit status.
Result<int> CarryOut(const FetchPlan& plan,
                     const FetchFlags& flags,
                     const std::string& from,
                     const std::string& out) {
  const int missing = plan.not_found.empty() ? kExitDone : kExitQuarantined;
  Json document = {{"dry_run", flags.dry_run},
                   {"from", from},
                   {"out", out},
                   {"files", plan.files.size()},
                   {"bytes", plan.bytes},
                   {"bytes_there", plan.bytes_there},
                   {"not_found", plan.not_found_uuids},
                   {"episodes", plan.episodes}};
  const auto print = [&](const std::string& text) {
    if (flags.json) {
      PrintJson(document);
    } else if (!flags.quiet) {
      fmt::print("{}", text);
      for (const Error& error : plan.not_found) fmt::print("not found: {}\n", error.message);
    }
  };
  if (flags.dry_run) {
    print(fmt::format("would fetch {} of {}, {}, of which {} are there, from {}: {}\n",
                      Counted(plan.files.size(), "file"),
                      Counted(plan.episodes.size(), "episode"),
                      FormatBytes(static_cast<double>(plan.bytes)),
                      FormatBytes(static_cast<double>(plan.bytes_there)),
                      from,
                      out));
    return missing;
  }
  DownloadOptions download = flags.download;
  download.rate_bytes_per_s = flags.rate_mb_per_s * 1e6;
  DF_ASSIGN_OR_RETURN(const FetchReport report,
                      FetchWithProgress(plan, download, flags.quiet || flags.json));
  Json failures = Json::array();
  for (const auto& [path, error] : report.failures) {
    failures.push_back({{"file", path}, {"status", error.status}, {"error", error.message}});
    if (!flags.json) (void)Report(error);
  }
  document["files_there"] = report.files;
  document["failures"] = std::move(failures);
  print(fmt::format("{} of {} of {} are there: {}\n",
                    report.files,
                    Counted(plan.files.size(), "file"),
                    Counted(plan.episodes.size(), "episode"),
                    out));
  return report.failures.empty() ? missing : kExitQuarantined;
}

Result<int> RunFetchCommand(const FetchCommand& command) {
  DF_ASSIGN_OR_RETURN(const MetadataOptions options, command.flags.Resolve());
  DF_ASSIGN_OR_RETURN(const WantedFiles wanted,
                      ParseWantedFiles(command.what).map_error(During("--what")));
  if (options.out.empty()) return Fail(ErrorKind::kUsage, "--out is needed");
  std::optional<Annotations> annotations;
  if (!options.input.annotations.empty()) {
    const AnnotationPaths all = FindAnnotations(options.input.annotations);
    AnnotationPaths used;
    used.episode_paths = all.episode_paths;
    DF_ASSIGN_OR_RETURN(annotations, Annotations::Open(used));
  }
  InstallStopHandlers();
  const std::vector<std::string> roots = options.input.Roots();
  if (roots.size() > 1) {
    return Fail(ErrorKind::kUsage, "--droid-root: want one, have {}", fmt::join(roots, " and "));
  }
  DF_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source,
                      OpenRawSource(roots.empty() ? kPublishedRaw : roots[0], options.fetch));
  DF_ASSIGN_OR_RETURN(
      const FetchPlan plan,
      PlanFetch(
          *source, options.selection, wanted, options.out, annotations ? &*annotations : nullptr));
  return CarryOut(plan, command.fetch, source->Describe(), options.out);
}

Result<int> RunFetchAnnotations(const FetchAnnotationsCommand& command) {
  InstallStopHandlers();
  HfStoreOptions options;
  options.repo = command.repo;
  options.type = "model";
  DF_ASSIGN_OR_RETURN(const std::unique_ptr<HfStore> store, HfStore::Make(options));
  DF_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source, OpenStoreAsSource(*store));
  DF_ASSIGN_OR_RETURN(const FetchPlan plan, PlanAnnotations(*source, command.all, command.out));
  return CarryOut(plan, command.fetch, source->Describe(), command.out);
}

}  // namespace

void AddFetchCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<FetchCommand>();
  CLI::App* sub =
      app.add_subcommand("fetch", "Fetch raw episodes from a bucket into a local raw tree");
  command->flags.AddPositional(*sub, "limit", "LIMIT");
  command->flags.AddKeys(*sub,
                         {"droid_root",
                          "annotations",
                          "limit",
                          "episodes",
                          "labs",
                          "outcome",
                          "out",
                          "stall_timeout"});
  sub->add_option("--what",
                  command->what,
                  "Some of metadata,h5,stereo,svo,mono; of the recordings of a camera the first "
                  "that it has")
      ->type_name("KIND,KIND")
      ->capture_default_str();
  command->fetch.AddTo(*sub);
  sub->footer(fmt::format(
      "DIR of --droid-root may be gs://BUCKET/FOLDER, and is {}\n"
      "unless given. Run again to go on.\n"
      "Example: what full needs of two labs' episodes\n"
      "  droidflow fetch 100 --labs IRIS,TRI --outcome success --out /data/droid_raw\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 files or episodes are missing, 10 no such input, "
      "130 stopped by a signal.",
      kPublishedRaw));
  sub->callback([command, sub, &exit_code] {
    if (!sub->get_subcommands().empty()) return;
    const Result<int> code = RunFetchCommand(*command);
    exit_code = code ? *code : Report(code.error());
  });

  auto annotations = std::make_shared<FetchAnnotationsCommand>();
  CLI::App* files = sub->add_subcommand(
      "annotations", "Fetch the annotation files that droidflow reads from the Hugging Face Hub");
  files->add_option("--out", annotations->out, "Folder for them, to be given as --annotations")
      ->required()
      ->type_name("DIR");
  files->add_option("--hf-repo", annotations->repo, "The model that has them")
      ->type_name("NAMESPACE/NAME")
      ->capture_default_str();
  files->add_flag("--all", annotations->all, "Fetch every .json file of its top folder");
  annotations->fetch.AddTo(*files);
  files->footer(
      "Run again to go on. HF_ENDPOINT is obeyed.\n"
      "Example:\n  droidflow fetch annotations --out /data/annotations\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 files are missing, 10 no such files, 130 stopped "
      "by a signal.");
  files->callback([annotations, &exit_code] {
    const Result<int> code = RunFetchAnnotations(*annotations);
    exit_code = code ? *code : Report(code.error());
  });
}

}  // namespace droidflow

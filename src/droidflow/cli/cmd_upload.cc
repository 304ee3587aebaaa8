#include "droidflow/cli/commands.h"
#include "droidflow/cli/export_shards.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/cli/upload_report.h"
#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/core/temporary_folder.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/pipeline/hub_targets.h"
#include "droidflow/pipeline/upload_tree.h"
#include "droidflow/pipeline/verify.h"

#include <atomic>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds kLookAgain{5};

struct UploadCommandLine {
  OptionFlags flags;
  std::string dir = ".";
  std::string queue_dir;
  std::optional<double> min_check;
  bool of_metadata = false;  ///< episodes have no depth, and are whole without
  bool watch = false;
  bool json = false;
  bool quiet = false;
  bool dry_run = false;
};

/// Says on stderr how it goes.
///
/// Thread  any.
class UploadReporter {
 public:
  UploadReporter(bool quiet, const UploadTotals& to_do)
      : left_(to_do),
        counts_{.total = to_do.episodes},
        progress_(std::cerr, Style(quiet), counts_) {}

  void Observe(const UploadEvent& event) {
    const std::lock_guard lock(mutex_);
    if (event.kind == UploadEvent::Kind::kConfirmed) {
      counts_.ok += event.totals.episodes;
      left_.files -= event.totals.files;
      left_.bytes -= event.totals.bytes;
    }
    if (event.kind == UploadEvent::Kind::kParked) ++counts_.failed;
    if (const std::string line = DescribeEvent(event); !line.empty()) SayLine(line);
    Draw();
  }
  /// More has been queued.
  void Found(const UploadTotals& to_do) {
    const std::lock_guard lock(mutex_);
    left_ = to_do;
    counts_.total = counts_.ok + counts_.failed + to_do.episodes;
    Draw();
  }
  void Say(const std::string& line) {
    const std::lock_guard lock(mutex_);
    SayLine(line);
  }
  void End() {
    const std::lock_guard lock(mutex_);
    progress_.Finish(counts_);
  }

 private:
  static ProgressOptions Style(bool quiet) {
    ProgressOptions options = ProgressOptionsFor(STDERR_FILENO);
    if (quiet) options.style = ProgressOptions::Style::kQuiet;
    return options;
  }
  void SayLine(const std::string& line) {
    progress_.Clear();
    std::cerr << line << '\n';
  }
  void Draw() {
    counts_.more = fmt::format(
        "{} files, {} left", left_.files, FormatBytes(static_cast<double>(left_.bytes)));
    progress_.Update(counts_);
  }

  std::mutex mutex_;
  UploadTotals left_;
  ProgressCounts counts_;
  Progress progress_;
};

/// Where the queue is, and the tree that belongs to it, if any.
struct UploadSource {
  fs::path queue_dir;
  std::optional<fs::path> tree;
};

Result<UploadSource> FindSource(const UploadCommandLine& command) {
  if (command.dir.empty()) return Fail(ErrorKind::kUsage, "DIR: want a folder, have ''");
  const fs::path dir = fs::absolute(fs::path(command.dir) / "").lexically_normal().parent_path();
  std::error_code ignored;
  if (!fs::is_directory(dir, ignored)) {
    return Fail(ErrorKind::kNotFound, "no such folder: {}", dir.string());
  }
  if (!command.queue_dir.empty()) {
    DF_RETURN_IF_ERROR(MakeDirectories(command.queue_dir));
    return UploadSource{command.queue_dir, dir};
  }
  if (dir.filename() == ".droidflow") return UploadSource{dir, dir.parent_path()};
  if (fs::exists(dir / "upload.sqlite", ignored)) return UploadSource{dir, std::nullopt};
  return UploadSource{dir / ".droidflow", dir};
}

Result<UploadTotals> Unfinished(UploadQueue& queue, const std::vector<std::string>& destinations) {
  UploadTotals sum;
  DF_ASSIGN_OR_RETURN(auto counts, queue.Counts());
  for (const std::string& destination : destinations) {
    const UploadTotals part = UnfinishedTotals(counts[destination]);
    sum.episodes += part.episodes;
    sum.files += part.files;
    sum.bytes += part.bytes;
  }
  return sum;
}

/// A queue that a run without depth has filled goes on as that run did.
Result<Pipeline> PipelineOf(const fs::path& queue_dir, const HubOptions& hub, bool of_metadata) {
  if (of_metadata) return Pipeline::kMetadata;
  if (HubDestinations(hub, Pipeline::kFull).size() > 1) return Pipeline::kFull;
  std::error_code ignored;
  if (!fs::exists(queue_dir / "upload.sqlite", ignored)) return Pipeline::kFull;
  Result<UploadQueue> queue = UploadQueue::Open(queue_dir);
  if (!queue) return Pipeline::kFull;  // it is made again below
  DF_ASSIGN_OR_RETURN(const auto counts, queue->Counts());
  const bool metadata_only =
      counts.contains(kMetadataDestination) && !counts.contains(kFullDestination);
  return metadata_only ? Pipeline::kMetadata : Pipeline::kFull;
}

/// What an upload would have to do; tried on a copy of the queue.
Result<UploadTotals> LookWhatToDo(const UploadCommandLine& command, const HubOptions& hub) {
  DF_ASSIGN_OR_RETURN(const UploadSource source, FindSource(command));
  DF_ASSIGN_OR_RETURN(const TemporaryFolder copy, TemporaryFolder::Make());
  for (const char* const name : {"upload.sqlite", "upload.sqlite-wal"}) {
    std::error_code error;
    fs::copy_file(source.queue_dir / name, copy.path() / name, error);
    if (error && error != std::errc::no_such_file_or_directory) {
      return FailErrno(error.value(),
                       fmt::format("cannot copy {}", (source.queue_dir / name).string()));
    }
  }
  DF_ASSIGN_OR_RETURN(const Pipeline pipeline, PipelineOf(copy.path(), hub, command.of_metadata));
  const std::vector<std::string> destinations = HubDestinations(hub, pipeline);
  DF_ASSIGN_OR_RETURN(UploadQueue queue, UploadQueue::Open(copy.path()));
  if (source.tree)
    DF_RETURN_IF_ERROR(UploadTree(*source.tree, destinations, command.min_check).EnqueueNew(queue));
  return Unfinished(queue, destinations);
}

struct Uploaded {
  UploadSummary summary;
  UploadReport report;
};

Result<Uploaded> Upload(const UploadCommandLine& command, const HubOptions& hub) {
  DF_ASSIGN_OR_RETURN(const UploadSource source, FindSource(command));
  DF_RETURN_IF_ERROR(UploaderLock::Acquire(source.queue_dir));
  DF_ASSIGN_OR_RETURN(const Pipeline pipeline,
                      PipelineOf(source.queue_dir, hub, command.of_metadata));
  const std::vector<std::string> destinations = HubDestinations(hub, pipeline);
  const auto say = [](const std::string& line) { std::cerr << line + "\n"; };
  DF_ASSIGN_OR_RETURN(const std::vector<HubPlace> places, MakeHubPlaces(hub, pipeline, say));
  std::vector<fs::path> roots;
  if (source.tree) roots.push_back(*source.tree);
  DF_ASSIGN_OR_RETURN(UploadQueue queue,
                      OpenOrRebuildQueue(source.queue_dir, roots, destinations, say));
  std::optional<UploadTree> tree;
  if (source.tree) tree.emplace(*source.tree, destinations, command.min_check);
  {
    // While episodes are looked for, nobody else removes some.
    DF_ASSIGN_OR_RETURN(const UploaderLock lock, UploaderLock::Acquire(source.queue_dir));
    if (tree) DF_RETURN_IF_ERROR(tree->EnqueueNew(queue));
    for (const std::string& destination : destinations) {
      DF_RETURN_IF_ERROR(queue.Unpark(destination));
    }
    if (hub.layout == HubLayout::kShards) {
      for (const HubPlace& place : places) DF_RETURN_IF_ERROR(IndexPlace(queue, place, hub.layout));
    }
  }
  DF_ASSIGN_OR_RETURN(const UploadTotals to_do, Unfinished(queue, destinations));
  UploadReporter reporter(command.quiet, to_do);

  std::atomic<bool> ended = false;
  std::thread watcher;
  UploadControl control;
  control.stop = [] { return StopSignal() != 0; };
  if (command.watch) {
    control.finish = [] { return false; };
    watcher = std::thread([&] {
      const auto look = [&]() -> Status {
        DF_ASSIGN_OR_RETURN(const std::size_t found, tree->EnqueueNew(queue));
        if (found == 0) return {};
        DF_ASSIGN_OR_RETURN(const UploadTotals more, Unfinished(queue, destinations));
        reporter.Found(more);
        return {};
      };
      auto next = std::chrono::steady_clock::now() + kLookAgain;
      while (!ended && StopSignal() == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        if (!tree || std::chrono::steady_clock::now() < next) continue;
        if (const Status looked = look(); !looked) reporter.Say(looked.error().message);
        next = std::chrono::steady_clock::now() + kLookAgain;
      }
    });
  }
  Uploaded uploaded;
  uploaded.summary = UploadToPlaces(
      source.queue_dir,
      places,
      hub,
      pipeline,
      control,
      [&](const UploadEvent& event) { reporter.Observe(event); },
      [&](const std::string& line) { reporter.Say(line); });
  ended = true;
  if (watcher.joinable()) watcher.join();
  reporter.End();
  DF_ASSIGN_OR_RETURN(uploaded.report, MakeUploadReport(queue));
  return uploaded;
}

int ExitCodeOf(const Uploaded& uploaded) {
  const Status& status = uploaded.summary.status;
  if (status) return uploaded.report.parked.empty() ? kExitDone : kExitQuarantined;
  const Error& error = status.error();
  fmt::print(stderr, "droidflow: {}\n", error.message);
  if (NeedsPermission(error)) return kExitForbidden;
  const bool is_ours = error.kind == ErrorKind::kCancelled || error.kind == ErrorKind::kBusy ||
                       (error.kind == ErrorKind::kUsage && error.status.empty());
  return is_ours ? ExitCodeOf(error.kind) : kExitQuarantined;
}

int RunUpload(const UploadCommandLine& command) {
  const Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  if (command.flags.print_config()) {
    fmt::print("{}", FormatConfig(*options));
    return kExitDone;
  }
  if (!options->hub.HasPlace()) {
    return Report({ErrorKind::kUsage, "where to? Give --hf-repo or --hub"});
  }
  if (command.dry_run) {
    const Result<UploadTotals> to_do = LookWhatToDo(command, options->hub);
    if (!to_do) return Report(to_do.error());
    if (command.json) {
      PrintJson({{"episodes", to_do->episodes}, {"files", to_do->files}, {"bytes", to_do->bytes}});
    } else {
      fmt::print("would upload {} ({}, {})\n",
                 Counted(to_do->episodes, "episode"),
                 Counted(to_do->files, "file"),
                 FormatBytes(static_cast<double>(to_do->bytes)));
    }
    return kExitDone;
  }
  InstallStopHandlers();
  const Result<Uploaded> uploaded = Upload(command, options->hub);
  if (!uploaded) {
    const int code = Report(uploaded.error());
    return NeedsPermission(uploaded.error()) ? kExitForbidden : code;
  }
  if (command.json) {
    PrintJson(ToJson(uploaded->report, &uploaded->summary));
  } else if (!command.quiet) {
    fmt::print("{}", FormatUploads(uploaded->report));
  }
  return ExitCodeOf(*uploaded);
}

}  // namespace

int ExportShards(const ShardExport& command) {
  if (command.to.empty()) return Report({ErrorKind::kUsage, "DST: want a folder, have ''"});
  const Result<std::vector<fs::path>> episodes = FindEpisodeOutputs(command.results);
  if (!episodes) return Report(episodes.error());
  const fs::path to = fs::absolute(fs::path(command.to) / "").lexically_normal().parent_path();
  UploadCommandLine upload;
  upload.dir = command.results;
  upload.queue_dir = to / ".droidflow" / "export";
  upload.min_check = command.min_check;
  upload.quiet = command.quiet;
  HubOptions hub;
  hub.hub = "file:" + to.string();
  hub.keep_uploaded = true;
  hub.layout = HubLayout::kShards;
  hub.shard_gb = command.shard_gb;
  InstallStopHandlers();
  const Result<Uploaded> uploaded = Upload(upload, hub);
  if (!uploaded) return Report(uploaded.error());
  UploadTotals written;
  for (const auto& [name, target] : uploaded->summary.targets) written = target.confirmed;
  if (command.json) {
    PrintJson({{"folder", to.string()},
               {"episodes", written.episodes},
               {"files", written.files},
               {"bytes", written.bytes},
               {"parked", uploaded->report.parked.size()}});
  } else if (!command.quiet) {
    fmt::print("{} ({}) written to {}\n",
               Counted(written.episodes, "episode"),
               FormatBytes(static_cast<double>(written.bytes)),
               (to / "data").string());
  }
  return ExitCodeOf(*uploaded);
}

void AddUploadCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<UploadCommandLine>();
  CLI::App* sub = app.add_subcommand(
      "upload",
      "Upload finished episodes, read them back and remove them here; run again to go on");
  sub->add_option("DIR",
                  command->dir,
                  "Folder with finished episodes, or the directory of a run that has uploads left")
      ->type_name("");
  command->flags.AddTo(*sub, {OptionInfo::Group::kHub});
  sub->add_option("--queue-dir",
                  command->queue_dir,
                  "Where to keep the queue: on a local disk, where DIR is on a file system that "
                  "machines share (DIR/.droidflow)")
      ->type_name("DIR");
  sub->add_option("--min-check",
                  command->min_check,
                  "Leave out episodes in which droidflow check found a lower score, or none")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->type_name("S");
  sub->add_flag("--of-metadata", command->of_metadata)->group("");  // for jobs of Slurm
  sub->add_flag("--watch", command->watch, "Go on until stopped, and look for new episodes");
  sub->add_flag(
      "--dry-run", command->dry_run, "Say how much there is to upload, and upload nothing");
  sub->add_flag("--json", command->json, "Print the summary as JSON");
  sub->add_flag("-q,--quiet", command->quiet, "Print errors only");
  sub->footer(
      "Example:\n"
      "  droidflow upload /data/droid_depth --hf-repo lab/droid_depth --hf-private\n"
      "Exit status: 0 done, 2 usage, 3 something could not be uploaded (it is kept), 10 no such\n"
      "folder, 11 another process uploads, 12 no permission, 130 stopped by a signal.");
  sub->callback([command, &exit_code] { exit_code = RunUpload(*command); });
}

}  // namespace droidflow

#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/episode_list.h"
#include "droidflow/pipeline/single_episode.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct SingleCommand {
  OptionFlags flags;
  Products products;
  std::string episode;
  bool json = false;
  bool dry_run = false;
};

/// Every episode of the selection, one after another: an episode takes a few milliseconds.
int RunMany(const SingleCommand& command, const EpisodeContext& context) {
  const Result<EpisodeList> list = ListEpisodes(context.options, context.annotations);
  if (!list) return Report(list.error());
  if (command.dry_run) {
    fmt::print("would process {} of {} into {}\n",
               list->episodes.size(),
               Counted(list->matching, "episode"),
               context.options.out);
    return kExitDone;
  }
  InstallStopHandlers();
  std::size_t done = 0;
  std::size_t files = 0;
  Json failed = Json::array();
  for (const ListedEpisode& episode : list->episodes) {
    if (StopSignal() != 0) break;
    const Result<SingleEpisode> written =
        WriteSingleEpisode(context, episode.ref, command.products);
    if (written) {
      ++done;
      files += written->files.size();
      continue;
    }
    const Error& error = written.error();
    if (error.status.empty()) return Report(error);
    failed.push_back({{"episode", episode.ref.uuid},
                      {"path", episode.ref.relative_path},
                      {"status", error.status},
                      {"message", error.message}});
    fmt::print(stderr, "droidflow: {}: {}\n", episode.ref.relative_path, error.message);
  }
  for (const Error& error : list->not_found) {
    failed.push_back({{"status", error.status}, {"message", error.message}});
    fmt::print(stderr, "droidflow: {}\n", error.message);
  }
  if (command.json) {
    PrintJson({{"done", done}, {"files", files}, {"failed", failed}});
  } else {
    fmt::print("{} done, {} failed, {} in {}\n",
               Counted(done, "episode"),
               failed.size(),
               Counted(files, "file"),
               context.options.out);
  }
  if (StopSignal() != 0) return kExitCancelled;
  return failed.empty() ? kExitDone : kExitQuarantined;
}

int RunSingle(const SingleCommand& command) {
  const Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  if (command.flags.print_config()) {
    fmt::print("{}", FormatConfig(*options));
    return kExitDone;
  }
  const Result<EpisodeContext> context = MakeEpisodeContext(*options);
  if (!context) return Report(context.error());
  if (command.episode.empty()) return RunMany(command, *context);
  const Result<EpisodeRef> ref = FindSingleEpisode(*context, command.episode);
  if (!ref) return Report(ref.error());
  if (command.dry_run) {
    fmt::print("would process {} into {}\n", ref->relative_path, options->out);
    return kExitDone;
  }
  const Result<SingleEpisode> written = WriteSingleEpisode(*context, *ref, command.products);
  if (!written) {
    const Error& error = written.error();
    const int exit_code = Report(error);
    // An episode that a run would quarantine.
    return error.status.empty() ? exit_code : kExitQuarantined;
  }
  if (command.json) {
    Json files = Json::array();
    for (const std::filesystem::path& file : written->files) files.push_back(file.string());
    Json warnings = Json::array();
    for (const Warning& warning : written->warnings) {
      warnings.push_back({{"code", warning.code}, {"text", warning.text}});
    }
    PrintJson({{"files", files}, {"warnings", warnings}});
    return kExitDone;
  }
  for (const Warning& warning : written->warnings) {
    fmt::print(stderr, "warning {}: {}\n", warning.code, warning.text);
  }
  for (const std::filesystem::path& file : written->files) fmt::print("{}\n", file.string());
  return kExitDone;
}

/// @param many  whether it also takes LIMIT and a selection in place of --episode-id.
void AddSingle(CLI::App& app,
               int& exit_code,
               Products products,
               bool many,
               const char* name,
               const char* what) {
  auto command = std::make_shared<SingleCommand>();
  command->products = products;
  CLI::App* sub = app.add_subcommand(name, what);
  CLI::Option* const episode =
      sub->add_option(
             "--episode-id", command->episode, "Its uuid, or its folder below the raw root")
          ->type_name("ID");
  using Group = OptionInfo::Group;
  if (many) {
    command->flags.AddPositional(*sub, "limit", "LIMIT");
    command->flags.AddTo(*sub, {Group::kInput, Group::kTrack, Group::kSelection, Group::kRun});
  } else {
    episode->required();
    command->flags.AddTo(*sub, {Group::kInput, Group::kTrack, Group::kRun});
  }
  sub->add_flag("--json", command->json, "Print the files written and the warnings as JSON");
  sub->add_flag("--dry-run", command->dry_run, "Say what would be done and write nothing");
  sub->footer(fmt::format(
      "Example:\n"
      "  droidflow {0} --episode-id AUTOLab+5d05c5aa+2023-08-12-16h-26m-07s \\\n"
      "      --droid-root /data/droid_raw --annotations /data/annotations --out /data/tracks\n"
      "{1}"
      "Exit status: 0 done, 1 failed, 2 usage, 3 {2}, 10 no such input.",
      name,
      many
          ? fmt::format("  droidflow {} -1 --droid-root /data/droid_raw --out /data/tracks\n", name)
          : "",
      many ? "episodes are broken" : "the episode is broken"));
  sub->callback([command, &exit_code] { exit_code = RunSingle(*command); });
}

}  // namespace

void AddTracksCommands(CLI::App& app, int& exit_code) {
  AddSingle(app,
            exit_code,
            Products::kTracks,
            /*many=*/false,
            "tracks",
            "Write tracks.npz, extrinsics.npz, quality.json and video.json of one episode");
  AddSingle(app,
            exit_code,
            Products::kIntrinsics,
            /*many=*/true,
            "intrinsics",
            "Write recordings/{serial}/intrinsics.json of one episode, or of LIMIT (-1: all)");
}

}  // namespace droidflow

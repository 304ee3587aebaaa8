#include "droidflow/cli/commands.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
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

int RunSingle(const SingleCommand& command) {
  const Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  if (command.flags.print_config()) {
    fmt::print("{}", FormatConfig(*options));
    return kExitDone;
  }
  const Result<EpisodeContext> context = MakeEpisodeContext(*options);
  if (!context) return Report(context.error());
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
    fmt::print("{}\n", Json{{"files", files}, {"warnings", warnings}}.dump(2));
    return kExitDone;
  }
  for (const Warning& warning : written->warnings) {
    fmt::print(stderr, "warning {}: {}\n", warning.code, warning.text);
  }
  for (const std::filesystem::path& file : written->files) fmt::print("{}\n", file.string());
  return kExitDone;
}

void AddSingle(
    CLI::App& app, int& exit_code, Products products, const char* name, const char* what) {
  auto command = std::make_shared<SingleCommand>();
  command->products = products;
  CLI::App* sub = app.add_subcommand(name, what);
  sub->add_option("--episode-id", command->episode, "Its uuid, or its folder below the raw root")
      ->required()
      ->type_name("ID");
  using Group = OptionInfo::Group;
  command->flags.AddTo(*sub, {Group::kInput, Group::kTrack, Group::kRun});
  sub->add_flag("--json", command->json, "Print the files written and the warnings as JSON");
  sub->add_flag("--dry-run", command->dry_run, "Say what would be done and write nothing");
  sub->footer(fmt::format(
      "Example:\n"
      "  droidflow {} --episode-id AUTOLab+5d05c5aa+2023-08-12-16h-26m-07s \\\n"
      "      --droid-root /data/droid_raw --annotations /data/annotations --out /data/tracks\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 the episode is broken, 10 no such input.",
      name));
  sub->callback([command, &exit_code] { exit_code = RunSingle(*command); });
}

}  // namespace

void AddTracksCommands(CLI::App& app, int& exit_code) {
  AddSingle(app,
            exit_code,
            Products::kTracks,
            "tracks",
            "Write tracks.npz, extrinsics.npz and quality.json of one episode");
  AddSingle(app,
            exit_code,
            Products::kIntrinsics,
            "intrinsics",
            "Write recordings/{serial}/intrinsics.json of one episode");
}

}  // namespace droidflow

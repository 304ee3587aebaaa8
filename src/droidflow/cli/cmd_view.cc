#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/cli/python_package.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/doctor.h"
#include "droidflow/pipeline/raw_roots.h"
#include "droidflow/pipeline/view_episode.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

struct ViewCommand {
  OptionFlags flags;
  std::string episode;
  std::string out = "episode.mcap";
  std::string rrd;
  ViewOptions options;
  bool json = false;
};

/// The file for Rerun, whose own package writes it.
int RunRrd(const ViewCommand& command) {
  const ViewOptions& view = command.options;
  std::vector<std::string> words = {"view", command.episode, "-o", command.rrd};
  if (!view.droid_roots.empty()) {
    words.insert(words.end(), {"--droid-root", view.droid_roots.front().string()});
  }
  words.insert(words.end(),
               {fmt::format("--camera={}", fmt::join(view.cameras, ",")),
                fmt::format("--width={}", view.width_px),
                fmt::format("--every={}", view.every)});
  return RunPythonPackage(words);
}

int RunView(ViewCommand& command) {
  const Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  ViewOptions& view = command.options;
  Result<std::vector<std::filesystem::path>> folders = RecordingFolders(options->input);
  if (!folders) return Report(folders.error());
  view.droid_roots = *std::move(folders);
  view.conf_dir = options->input.conf_dir;
  view.decode_threads = UsableCores();
  if (!command.rrd.empty()) return RunRrd(command);
  if (!command.out.ends_with(".mcap")) {
    return Report({ErrorKind::kUsage, "--out: want a name that ends in .mcap: " + command.out});
  }
  InstallStopHandlers();
  const Result<ViewedEpisode> viewed = WriteView(command.episode, command.out, view);
  if (!viewed) return Report(viewed.error());
  if (command.json) {
    PrintJson(nlohmann::ordered_json{{"file", command.out},
                                     {"episode", command.episode},
                                     {"steps", viewed->steps},
                                     {"messages", viewed->messages},
                                     {"bytes", std::filesystem::file_size(command.out)},
                                     {"notes", viewed->notes}});
    return kExitDone;
  }
  for (const std::string& note : viewed->notes) fmt::print(stderr, "note: {}\n", note);
  fmt::print("{} of {} in {} messages: {}\n",
             Counted(viewed->steps, "step"),
             (std::filesystem::path(command.episode) / "").parent_path().filename().string(),
             viewed->messages,
             command.out);
  return kExitDone;
}

}  // namespace

void AddViewCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<ViewCommand>();
  CLI::App* sub = app.add_subcommand(
      "view",
      "Write an episode for Foxglove (MCAP) or Rerun: poses, tracks, pictures and depth over time");
  sub->add_option("EPISODE", command->episode, "Folder of an episode's results")
      ->required()
      ->type_name("");
  sub->add_option("-o,--out", command->out, "File to write (.mcap)")
      ->type_name("FILE")
      ->capture_default_str();
  sub->add_option("--rrd", command->rrd, "Write this file for Rerun instead, by the Python package")
      ->type_name("FILE");
  sub->add_option("--camera",
                  command->options.cameras,
                  "Only these: ext1, ext2, wrist or serials (all that have 2-D tracks)")
      ->delimiter(',')
      ->type_name("CAMERA,…");
  sub->add_option(
         "--width", command->options.width_px, "Of pictures and depth, at most; 0: as recorded")
      ->check(CLI::Range(0, 8192).description(""))
      ->type_name("PX")
      ->capture_default_str();
  sub->add_option("--every", command->options.every, "Each K-th step")
      ->check(CLI::Range(1, 1'000'000).description(""))
      ->type_name("K")
      ->capture_default_str();
  sub->add_flag("--json", command->json, "Print what was written as JSON");
  command->flags.AddKeys(*sub, {"droid_root", "conf_dir"});
  sub->footer(
      "Open the file in Foxglove (app.foxglove.dev, or its desktop application): a 3D panel shows\n"
      "/tracks, /path and the frames 'contact', 'ext1', 'ext2' and 'wrist' in the frame 'world';\n"
      "an Image panel shows /camera/ext1/image or /camera/ext1/depth with /camera/ext1/tracks "
      "over\n"
      "it. Without --droid-root there are no pictures. --rrd takes the Python package droidflow "
      "with\n"
      "rerun-sdk (pip install './python[view]' in the sources), and the first --droid-root.\n"
      "Example:\n"
      "  droidflow view out/AUTOLab/success/2023-07-07/Fri_Jul__7_09:42:23_2023 \\\n"
      "    --droid-root /data/droid_raw/1.0.1 -o episode.mcap\n"
      "Exit status: 0 done, 1 something cannot be read or written, 2 usage, 10 no such episode,\n"
      "130 stopped by a signal.");
  sub->callback([command, &exit_code] { exit_code = RunView(*command); });
}

}  // namespace droidflow

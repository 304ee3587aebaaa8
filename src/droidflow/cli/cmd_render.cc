#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/doctor.h"
#include "droidflow/pipeline/raw_roots.h"
#include "droidflow/pipeline/render_episode.h"
#include "droidflow/pipeline/verify.h"
#include "droidflow/view/moments.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct RenderCommand {
  OptionFlags flags;
  std::vector<std::string> paths;
  std::string out = "render.png";
  std::vector<std::string> what{"all"};
  RenderOptions options;
  bool json = false;
};

/// Beside `out`, named after the episode, where there are several.
fs::path NameFor(const fs::path& out, const fs::path& episode, bool is_alone) {
  if (is_alone) return out;
  const fs::path folder = (episode / "").parent_path();
  return out.parent_path() / fmt::format("{}-{}-{}{}",
                                         out.stem().string(),
                                         folder.parent_path().filename().string(),
                                         folder.filename().string(),
                                         out.extension().string());
}

/// Whether the others may still be drawn.
bool IsOfOneEpisode(ErrorKind kind) {
  return kind == ErrorKind::kNotFound || kind == ErrorKind::kInvalidData ||
         kind == ErrorKind::kUsage;
}

int RunRender(RenderCommand& command) {
  const Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  RenderOptions& render = command.options;
  Result<std::vector<fs::path>> folders = RecordingFolders(options->input);
  if (!folders) return Report(folders.error());
  render.droid_roots = *std::move(folders);
  render.conf_dir = options->input.conf_dir;
  const auto has = [&](std::string_view name) {
    return std::ranges::any_of(
        command.what, [&](const std::string& word) { return word == name || word == "all"; });
  };
  render.tracks = has("tracks");
  render.frames = has("frames");
  render.depth = has("depth");
  render.decode_threads = UsableCores();

  if (const Status moments = CheckMoments(command.out, "step", render.step, render.every);
      !moments) {
    return Report(moments.error());
  }
  std::vector<fs::path> episodes;
  for (const std::string& path : command.paths) {
    const Result<std::vector<fs::path>> found = FindEpisodeOutputs(path);
    if (!found) return Report(found.error());
    episodes.insert(episodes.end(), found->begin(), found->end());
  }
  InstallStopHandlers();
  Json written = Json::array();
  std::size_t damaged = 0;
  for (const fs::path& episode : episodes) {
    const fs::path out = NameFor(command.out, episode, episodes.size() == 1);
    const Result<RenderedEpisode> rendered = RenderEpisode(episode, out, render);
    if (!rendered) {
      if (episodes.size() == 1 || !IsOfOneEpisode(rendered.error().kind)) {
        return Report(rendered.error());
      }
      fmt::print(stderr, "not drawn: {}: {}\n", episode.string(), rendered.error().message);
      written.push_back(
          {{"file", nullptr}, {"episode", episode.string()}, {"error", rendered.error().message}});
      ++damaged;
      continue;
    }
    written.push_back({{"file", out.string()},
                       {"episode", episode.string()},
                       {"steps", rendered->steps},
                       {"width", rendered->width_px},
                       {"height", rendered->height_px},
                       {"notes", rendered->notes}});
    if (command.json) continue;
    for (const std::string& note : rendered->notes) fmt::print(stderr, "note: {}\n", note);
    fmt::print("{} of {}, {}x{}: {}\n",
               Counted(rendered->steps, "step"),
               episode.filename().string(),
               rendered->width_px,
               rendered->height_px,
               out.string());
  }
  if (command.json) PrintJson(written);
  return damaged == 0 ? kExitDone : kExitQuarantined;
}

}  // namespace

void AddRenderCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<RenderCommand>();
  CLI::App* sub = app.add_subcommand(
      "render", "Draw tracks over the recordings, and depth: a picture or a video of an episode");
  sub->add_option(
         "EPISODE", command->paths, "Episode folders of results, or folders that hold some")
      ->required()
      ->type_name("");
  sub->add_option("-o,--out", command->out, "Contact sheet (.png) or H.264 video (.mp4)")
      ->type_name("FILE")
      ->capture_default_str();
  sub->add_option("--camera",
                  command->options.cameras,
                  "Only these: ext1, ext2, wrist or serials (all that have 2-D tracks)")
      ->delimiter(',')
      ->type_name("CAMERA,…");
  sub->add_option("--what", command->what, "tracks, frames, depth or all")
      ->delimiter(',')
      ->check(CLI::IsMember({"tracks", "frames", "depth", "all"}).description(""))
      ->type_name("WHAT,…")
      ->default_str("all");
  CLI::Option* const step =
      sub->add_option("--step", command->options.step, "Only this step, from 0; .png")
          ->type_name("N");
  sub->add_option("--every", command->options.every, "Each K-th step (.png: 8 of all; .mp4: 1)")
      ->type_name("K")
      ->excludes(step);
  sub->add_flag("--json", command->json, "Print what was written as JSON");
  command->flags.AddKeys(*sub, {"droid_root", "conf_dir"});
  sub->footer(
      "Points are orange on the left finger and blue on the right, with a tail of the last 15 "
      "steps;\n"
      "points outside of the picture are marked at its border. The line from violet to yellow is "
      "the way\n"
      "of the gripper, the axes (x red, y green, z blue; 5 cm) are the contact frame. Without\n"
      "--droid-root, and where a recording cannot be read, they are drawn on gray. Of several "
      "episodes\n"
      "those that are damaged, or lack the camera or step, are named and left out.\n"
      "Example:\n"
      "  droidflow render out/AUTOLab/success/2023-07-07/Fri_Jul__7_09:42:23_2023 \\\n"
      "    --droid-root /data/droid_raw/1.0.1 -o tracks.mp4\n"
      "Exit status: 0 done, 1 something cannot be read or written, 2 usage, 3 some of several\n"
      "episodes are left out, 10 no such episode, 130 stopped by a signal.");
  sub->callback([command, &exit_code] { exit_code = RunRender(*command); });
}

}  // namespace droidflow

#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/check_episode.h"
#include "droidflow/pipeline/doctor.h"
#include "droidflow/pipeline/raw_roots.h"
#include "droidflow/pipeline/verify.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct CheckCommand {
  OptionFlags flags;
  std::vector<std::string> paths;
  std::optional<double> min_check;
  bool dry_run = false;
  bool json = false;
  bool quiet = false;
};

/// A number with its unit, or a dash.
std::string Cell(const std::optional<double>& value, int digits, const char* unit = "") {
  return value ? fmt::format("{:.{}f}{}", *value, digits, unit) : "-";
}

void PrintChecked(const fs::path& directory, const CheckedEpisode& episode) {
  std::vector<std::vector<std::string>> rows{
      {"camera", "", "score", "shift", "", "late", "depth off", "within 2 cm", "visible"}};
  for (const CheckedCamera& camera : episode.cameras) {
    rows.push_back({camera.serial,
                    camera.role,
                    Cell(camera.score, 2),
                    Cell(camera.shift_px, 1, " px"),
                    Cell(camera.shift_mm, 0, " mm"),
                    Cell(camera.time_offset_frames, 1, " frames"),
                    Cell(camera.depth_error_mm, 0, " mm"),
                    Cell(camera.depth_within_2cm, 2),
                    Cell(camera.visible_fraction, 2)});
  }
  fmt::print("{}: score {}\n{}",
             directory.string(),
             Cell(episode.score, 2),
             FormatTable(rows, {2, 3, 4, 5, 6, 7, 8}));
}

int RunCheck(CheckCommand& command) {
  const Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  LabelCheckOptions check{.conf_dir = options->input.conf_dir,
                          .decode_threads = UsableCores(),
                          .write = !command.dry_run};
  Result<std::vector<std::filesystem::path>> folders = RecordingFolders(options->input);
  if (!folders) return Report(folders.error());
  check.droid_roots = *std::move(folders);
  std::vector<fs::path> episodes;
  for (const std::string& path : command.paths) {
    const Result<std::vector<fs::path>> found = FindEpisodeOutputs(path);
    if (!found) return Report(found.error());
    episodes.insert(episodes.end(), found->begin(), found->end());
  }
  InstallStopHandlers();
  Json all = Json::array();
  std::vector<fs::path> checked;
  int below = 0;
  int unreadable = 0;
  Status status;
  for (const fs::path& directory : episodes) {
    const Result<CheckedEpisode> episode = CheckEpisode(directory, check);
    if (!episode) {
      const Error& error = episode.error();
      if (error.kind != ErrorKind::kInvalidData && error.kind != ErrorKind::kNotFound) {
        status = tl::unexpected(error);
        break;
      }
      ++unreadable;
      if (command.json) {
        all.push_back({{"directory", directory.string()}, {"error", error.message}});
      }
      fmt::print(stderr, "droidflow: not checked: {}: {}\n", directory.string(), error.message);
      continue;
    }
    checked.push_back(directory);
    const bool is_below = command.min_check && !(episode->score.value_or(-1) >= *command.min_check);
    if (is_below) ++below;
    if (command.json) {
      Json one = Json::parse(FormatCheck(*episode));
      one["directory"] = directory.string();
      all.push_back(std::move(one));
      continue;
    }
    if (!command.quiet || is_below) PrintChecked(directory, *episode);
    for (const CheckedCamera& camera : episode->cameras) {
      for (const std::string& note : camera.notes) {
        if (command.quiet) continue;
        fmt::print(stderr,
                   "note: {}, camera {}: {}\n",
                   directory.filename().string(),
                   camera.serial,
                   note);
      }
    }
  }
  // Also of those that came before an error.
  if (check.write) {
    const Status told = AnnounceChecked(checked);
    if (status && !told) status = told;
  }
  if (command.json) PrintJson(all);
  if (!status) return Report(status.error());
  if (below > 0 && !command.json) {
    fmt::print(stderr, "{} of {} below a score of {}\n", below, checked.size(), *command.min_check);
  }
  return below + unreadable > 0 ? kExitQuarantined : kExitDone;
}

}  // namespace

void AddCheckCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<CheckCommand>();
  CLI::App* sub = app.add_subcommand(
      "check", "Label truth: do pictures and depth show the gripper where the labels say?");
  sub->add_option(
         "EPISODE", command->paths, "Episode folders of results, or folders that hold some")
      ->required()
      ->type_name("");
  sub->add_option("--min-check",
                  command->min_check,
                  "Exit with status 3 when an episode has a lower score, or none")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->type_name("S");
  sub->add_flag("--dry-run", command->dry_run, "Measure, and write nothing");
  sub->add_flag("--json", command->json, "Print what is written to quality.json as JSON");
  sub->add_flag("-q,--quiet", command->quiet, "Print episodes below --min-check and errors only");
  command->flags.AddKeys(*sub, {"droid_root", "conf_dir"});
  sub->footer(
      "The score of a camera is the share of the best overlap, of the gripper with what moves in "
      "its\n"
      "pictures, that the labels reach; shift is how far off the best one is, late by how many "
      "frames\n"
      "pictures come after the robot's states. An episode's score is its lowest external camera's. "
      "They\n"
      "go to quality.json as `check`, the visibility of each point to "
      "recordings/*/visibility.npz.\n"
      "Without --droid-root only depth is looked at.\n"
      "Example:\n"
      "  droidflow check /data/droid_tracks --droid-root /data/droid_raw/1.0.1 --min-check 0.6\n"
      "Exit status: 0 done, 1 something cannot be written, 2 usage, 3 an episode is below "
      "--min-check\n"
      "or damaged (the others are checked), 10 no such episode or root, 11 a run is going on "
      "there,\n"
      "130 stopped by a signal.");
  sub->callback([command, &exit_code] { exit_code = RunCheck(*command); });
}

}  // namespace droidflow

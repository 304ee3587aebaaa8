#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/stop.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/pipeline/availability.h"
#include "droidflow/pipeline/fetch.h"
#include "droidflow/pipeline/process_episode.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct AvailabilityCommand {
  OptionFlags flags;
  bool json = false;
  bool csv = false;
};

/// Sums over episodes.
struct LabTotals {
  std::size_t episodes = 0;
  std::size_t with_metadata = 0;
  std::size_t with_trajectory = 0;
  std::size_t with_stereo = 0;
  std::size_t calibrated = 0;
  std::size_t with_intrinsics = 0;
  std::uint64_t bytes = 0;
  std::uint64_t metadata_bytes = 0;
  std::uint64_t full_bytes = 0;

  void Add(const EpisodeAvailability& episode) {
    ++episodes;
    with_metadata += episode.has_metadata ? 1 : 0;
    with_trajectory += episode.trajectory_bytes > 0 ? 1 : 0;
    with_stereo += episode.has_stereo() ? 1 : 0;
    calibrated += episode.calibrated_cameras > 0 ? 1 : 0;
    with_intrinsics += episode.cameras_with_intrinsics > 0 ? 1 : 0;
    bytes += episode.bytes;
    metadata_bytes += episode.metadata_bytes;
    full_bytes += episode.full_bytes;
  }
};

Json ToJson(const EpisodeAvailability& episode) {
  return {{"uuid", episode.ref.uuid},
          {"lab", episode.ref.lab},
          {"outcome", ToString(episode.ref.outcome)},
          {"path", episode.ref.relative_path},
          {"roots", episode.roots},
          {"has_metadata", episode.has_metadata},
          {"trajectory_bytes", episode.trajectory_bytes},
          {"recorded_cameras", episode.recorded_cameras},
          {"stereo_mp4", episode.stereo_mp4},
          {"mono_mp4", episode.mono_mp4},
          {"svo", episode.svo},
          {"calibrated_cameras", episode.calibrated_cameras},
          {"cameras_with_intrinsics", episode.cameras_with_intrinsics},
          {"bytes", episode.bytes},
          {"metadata_bytes", episode.metadata_bytes},
          {"full_bytes", episode.full_bytes}};
}

Json ToJson(const LabTotals& totals) {
  return {{"episodes", totals.episodes},
          {"with_metadata", totals.with_metadata},
          {"with_trajectory", totals.with_trajectory},
          {"with_stereo", totals.with_stereo},
          {"calibrated", totals.calibrated},
          {"with_intrinsics", totals.with_intrinsics},
          {"bytes", totals.bytes},
          {"metadata_bytes", totals.metadata_bytes},
          {"full_bytes", totals.full_bytes}};
}

/// A field of a CSV line.
std::string CsvField(const Json& value) {
  std::string text;
  if (value.is_array()) {
    for (const Json& part : value) text += (text.empty() ? "" : " ") + part.get<std::string>();
  } else {
    text = value.is_string() ? value.get<std::string>() : value.dump();
  }
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

void PrintCsv(const Availability& availability) {
  std::vector<std::string> names;
  const Json none = ToJson(EpisodeAvailability{});
  for (const auto& [name, value] : none.items()) names.push_back(name);
  fmt::print("{}\n", fmt::join(names, ","));
  for (const EpisodeAvailability& episode : availability.episodes) {
    std::vector<std::string> fields;
    const Json object = ToJson(episode);
    for (const auto& [name, value] : object.items()) fields.push_back(CsvField(value));
    fmt::print("{}\n", fmt::join(fields, ","));
  }
}

std::vector<std::string> RowOf(const std::string& lab, const LabTotals& totals) {
  const auto size = [](std::uint64_t bytes) { return FormatBytes(static_cast<double>(bytes)); };
  return {lab,
          fmt::to_string(totals.episodes),
          fmt::to_string(totals.with_metadata),
          fmt::to_string(totals.with_trajectory),
          fmt::to_string(totals.with_stereo),
          fmt::to_string(totals.calibrated),
          fmt::to_string(totals.with_intrinsics),
          size(totals.bytes),
          size(totals.metadata_bytes),
          size(totals.full_bytes)};
}

Result<int> RunAvailability(const AvailabilityCommand& command) {
  DF_ASSIGN_OR_RETURN(MetadataOptions options, command.flags.Resolve());
  if (command.json && command.csv) return Fail(ErrorKind::kUsage, "give --json or --csv, not both");
  if (options.input.droid_root.empty()) options.input.droid_root = kPublishedRaw;
  InstallStopHandlers();
  DF_ASSIGN_OR_RETURN(const Annotations annotations, OpenInputs(options.input));
  DF_ASSIGN_OR_RETURN(const Availability availability, FindAvailability(options, annotations));
  std::map<std::string, LabTotals> labs;
  LabTotals all;
  for (const EpisodeAvailability& episode : availability.episodes) {
    labs[episode.ref.lab].Add(episode);
    all.Add(episode);
  }
  if (command.csv) {
    PrintCsv(availability);
  } else if (command.json) {
    Json document = {{"total", ToJson(all)},
                     {"labs", Json::object()},
                     {"not_found", availability.not_found_uuids},
                     {"episodes", Json::array()}};
    for (const auto& [lab, totals] : labs) document["labs"][lab] = ToJson(totals);
    for (const EpisodeAvailability& episode : availability.episodes) {
      document["episodes"].push_back(ToJson(episode));
    }
    PrintJson(document);
  } else {
    std::vector<std::vector<std::string>> rows = {{"lab",
                                                   "episodes",
                                                   "metadata",
                                                   "trajectory",
                                                   "stereo",
                                                   "calibrated",
                                                   "intrinsics",
                                                   "all files",
                                                   "for metadata",
                                                   "for full"}};
    for (const auto& [lab, totals] : labs) rows.push_back(RowOf(lab, totals));
    rows.push_back(RowOf("all", all));
    fmt::print("{}", FormatTable(rows, {1, 2, 3, 4, 5, 6, 7, 8, 9}));
    for (const Error& error : availability.not_found) {
      fmt::print("not found: {}\n", error.message);
    }
  }
  return availability.not_found.empty() ? kExitDone : kExitQuarantined;
}

}  // namespace

void AddAvailabilityCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<AvailabilityCommand>();
  CLI::App* sub = app.add_subcommand(
      "availability", "Say which files and calibrations episodes have, where, and how large");
  command->flags.AddKeys(*sub,
                         {"droid_root",
                          "annotations",
                          "episodes",
                          "labs",
                          "outcome",
                          "download_jobs",
                          "stall_timeout"});
  sub->add_flag("--json", command->json, "Print JSON: totals, and every episode");
  sub->add_flag("--csv", command->csv, "Print a line for every episode");
  sub->footer(fmt::format(
      "DIR of --droid-root may be gs://BUCKET/FOLDER, and is {}\n"
      "unless given. 'for metadata' and 'for full' is what these would fetch.\n"
      "Example: a list of episodes, of which some are here\n"
      "  droidflow availability --droid-root /data/droid_raw --droid-root {} \\\n"
      "      --episodes uuids.txt --csv\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 episodes are missing, 10 no such input, 130 "
      "stopped by a signal.",
      kPublishedRaw,
      kPublishedRaw));
  sub->callback([command, &exit_code] {
    const Result<int> code = RunAvailability(*command);
    exit_code = code ? *code : Report(code.error());
  });
}

}  // namespace droidflow

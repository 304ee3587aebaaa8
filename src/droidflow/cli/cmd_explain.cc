#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/pipeline/explain.h"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct ExplainCommand {
  OptionFlags flags;
  std::string episode;
  bool json = false;
};

Json ToJson(const Considerations& considered) {
  Json list = Json::array();
  for (const Considered& one : considered) {
    list.push_back({{"what", one.what}, {"finding", one.finding}, {"chosen", one.chosen}});
  }
  return list;
}

Json ToJson(const RankedCalibration& ranked) {
  const CameraCalibration& calibration = ranked.calibration;
  Json json = {{"serial", calibration.serial},
               {"file", calibration.file},
               {"metric_type", ToString(calibration.metric_type)},
               {"metric_value", nullptr},
               {"source", calibration.source},
               {"rank", nullptr},
               {"ranked_episodes", ranked.ranked_episodes}};
  if (calibration.metric_value) json["metric_value"] = *calibration.metric_value;
  if (ranked.rank) json["rank"] = *ranked.rank;
  return json;
}

Json JsonOfCamera(const EpisodeCamera& camera, const std::string& no_depth) {
  return {{"serial", camera.serial},
          {"role", ToString(camera.role)},
          {"pose", ToJson(camera.pose_sources)},
          {"intrinsics", ToJson(camera.intrinsics_sources)},
          {"baseline_m", camera.baseline_m},
          {"baseline_source", camera.baseline_source},
          {"recordings", ToJson(camera.recording.files)},
          {"recording_reason", camera.recording.reason},
          {"no_depth", no_depth.empty() ? Json(nullptr) : Json(no_depth)}};
}

Json ToJson(const Explanation& explanation) {
  Json calibrations = Json::array();
  for (const RankedCalibration& ranked : explanation.calibrations) {
    calibrations.push_back(ToJson(ranked));
  }
  Json cameras = Json::array();
  for (std::size_t i = 0; i < explanation.episode.cameras.size(); ++i) {
    cameras.push_back(JsonOfCamera(explanation.episode.cameras[i], explanation.depth[i].reason));
  }
  Json warnings = Json::array();
  for (const Warning& warning : explanation.warnings) {
    warnings.push_back({{"code", warning.code}, {"text", warning.text}});
  }
  Json files = Json::array();
  for (const ExplainedFile& file : explanation.files) {
    Json& entry = files.emplace_back(Json{{"file", file.file}, {"bytes", file.size_bytes}});
    for (const ExplainedArray& array : file.arrays) {
      entry["arrays"][array.name] = {{"dtype", array.dtype}, {"shape", array.shape}};
    }
  }
  const Status& outcome = explanation.outcome;
  Json json = {{"uuid", nullptr},
               {"folder", nullptr},
               {"outcome", outcome ? "done" : "quarantined"},
               {"status", outcome ? Json(nullptr) : Json(outcome.error().status)},
               {"message", outcome ? Json(nullptr) : Json(outcome.error().message)},
               {"stage", outcome ? Json(nullptr) : Json(explanation.failed_stage)},
               {"folders", ToJson(explanation.folders)},
               {"calibrations", calibrations},
               {"cameras", cameras},
               {"warnings", warnings},
               {"files", files}};
  if (explanation.ref) {
    json["uuid"] = explanation.ref->uuid;
    json["folder"] = explanation.ref->relative_path;
  }
  return json;
}

void Print(std::string_view title, const Considerations& considered) {
  fmt::print("{}\n", title);
  for (const Considered& one : considered) {
    fmt::print("  {} {}: {}\n", one.chosen ? "->" : "  ", one.what, one.finding);
  }
}

void Print(const Explanation& explanation) {
  if (explanation.ref) {
    fmt::print("{}\n{}\n", explanation.ref->uuid, explanation.ref->relative_path);
  }
  // Dozens of names that are not there say no more than their number.
  const auto is_absent = [](const Considered& folder) {
    return folder.finding.starts_with("no such folder");
  };
  Considerations there = explanation.folders;
  const auto absent = std::erase_if(there, is_absent);
  if (!explanation.folders.empty()) {
    Print("\nfolders looked for", there);
    if (absent > 0) fmt::print("     {} names that are not there (--json lists them)\n", absent);
  }
  if (!explanation.calibrations.empty()) {
    fmt::print("\ncalibrations of the annotations\n");
    std::vector<std::vector<std::string>> rows{
        {"camera", "file", "metric", "value", "source", "rank", "of"}};
    for (const RankedCalibration& ranked : explanation.calibrations) {
      const CameraCalibration& calibration = ranked.calibration;
      rows.push_back(
          {calibration.serial,
           std::string(calibration.file),
           std::string(ToString(calibration.metric_type)),
           calibration.metric_value ? fmt::format("{:.4g}", *calibration.metric_value) : "-",
           calibration.source.empty() ? "-" : calibration.source,
           ranked.rank ? fmt::format("{:.3f}", *ranked.rank) : "-",
           ranked.rank ? fmt::to_string(ranked.ranked_episodes) : "-"});
    }
    fmt::print("{}", FormatTable(rows, {3, 5, 6}));
  }
  for (std::size_t i = 0; i < explanation.episode.cameras.size(); ++i) {
    const EpisodeCamera& camera = explanation.episode.cameras[i];
    fmt::print("\ncamera {}, {}\n", camera.serial, ToString(camera.role));
    Print("  pose", camera.pose_sources);
    Print("  intrinsics", camera.intrinsics_sources);
    const std::string& why = camera.recording.reason;
    Print(fmt::format("  recording: {}", why.empty() ? "no file" : why), camera.recording.files);
    const std::string& no_depth = explanation.depth[i].reason;
    fmt::print("  depth: {}\n", no_depth.empty() ? "with full" : no_depth);
  }
  if (!explanation.warnings.empty()) fmt::print("\nwarnings\n");
  for (const Warning& warning : explanation.warnings) {
    fmt::print("  {}: {}\n", warning.code, warning.text);
  }
  if (!explanation.outcome) {
    const Error& error = explanation.outcome.error();
    fmt::print(
        "\nquarantined, {} at {}: {}\n", error.status, explanation.failed_stage, error.message);
    return;
  }
  fmt::print("\nwould be written\n");
  for (const ExplainedFile& file : explanation.files) {
    fmt::print("  {}  {} bytes\n", file.file, file.size_bytes);
    for (const ExplainedArray& array : file.arrays) {
      fmt::print("    {} {} [{}]\n", array.name, array.dtype, fmt::join(array.shape, ","));
    }
  }
}

int RunExplain(const ExplainCommand& command) {
  const Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  if (command.flags.print_config()) {
    fmt::print("{}", FormatConfig(*options));
    return kExitDone;
  }
  const Result<Explanation> explanation = ExplainEpisode(*options, command.episode);
  if (!explanation) return Report(explanation.error());
  if (command.json) {
    PrintJson(ToJson(*explanation));
  } else {
    Print(*explanation);
  }
  if (!explanation->ref) return kExitNoInput;
  return explanation->outcome ? kExitDone : kExitQuarantined;
}

}  // namespace

void AddExplainCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<ExplainCommand>();
  CLI::App* sub = app.add_subcommand(
      "explain", "Say all that is considered for an episode, what is chosen and what is written");
  sub->add_option("ID", command->episode, "Its uuid, or its folder below the raw root")
      ->required()
      ->type_name("");
  using Group = OptionInfo::Group;
  command->flags.AddTo(*sub, {Group::kInput, Group::kTrack});
  sub->add_flag("--json", command->json, "Print JSON");
  sub->footer(
      "An arrow is before what is chosen. The episode is done as by 'droidflow metadata' into a\n"
      "folder that is removed again; nothing else is written.\n"
      "Example:\n"
      "  droidflow explain AUTOLab+5d05c5aa+2023-08-12-16h-26m-07s --droid-root /data/droid_raw "
      "\\\n"
      "      --annotations /data/annotations --conf-dir /data/zed_conf\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 a run would quarantine it, 10 it is not there.");
  sub->callback([command, &exit_code] { exit_code = RunExplain(*command); });
}

}  // namespace droidflow

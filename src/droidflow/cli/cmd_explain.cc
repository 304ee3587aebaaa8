#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/stop.h"
#include "droidflow/episode/status.h"
#include "droidflow/jobs/progress.h"
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

/// Not found, or what a run would make of it.
const char* OutcomeOf(const Explanation& explanation) {
  if (!explanation.ref) return "not_found";
  if (explanation.outcome) return "done";
  return explanation.outcome.error().status == status::kDuplicate ? "skipped" : "quarantined";
}

Json ToJson(const Explanation& explanation) {
  Json folders = Json::array();
  for (const auto& [root, considered] : explanation.looked_for) {
    for (Json& folder : ToJson(considered)) {
      folder["root"] = root;
      folders.push_back(std::move(folder));
    }
  }
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
               {"root", nullptr},
               {"fetched_bytes", nullptr},
               {"outcome", OutcomeOf(explanation)},
               {"status", outcome ? Json(nullptr) : Json(outcome.error().status)},
               {"message", outcome ? Json(nullptr) : Json(outcome.error().message)},
               {"stage", outcome ? Json(nullptr) : Json(explanation.failed_stage)},
               {"folders", folders},
               {"calibrations", calibrations},
               {"cameras", cameras},
               {"warnings", warnings},
               {"files", files}};
  if (explanation.ref) {
    json["uuid"] = explanation.ref->uuid;
    json["folder"] = explanation.ref->relative_path;
    json["root"] = explanation.root;
  }
  if (explanation.fetched_bytes) json["fetched_bytes"] = *explanation.fetched_bytes;
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
    fmt::print("episode  {}\nfolder   {}\nin       {}\n",
               explanation.ref->uuid,
               explanation.ref->relative_path,
               explanation.root);
    if (explanation.fetched_bytes) {
      fmt::print("fetched  {}: small files whole, of recordings what tells their kind and length\n",
                 FormatBytes(static_cast<double>(*explanation.fetched_bytes)));
    }
    fmt::print("\n-> is before what is chosen\n");
  }
  // Dozens of names that are not there say no more than their number.
  const auto is_absent = [](const Considered& folder) {
    return folder.finding.starts_with("no such folder");
  };
  for (const auto& [root, folders] : explanation.looked_for) {
    if (folders.empty()) continue;
    Considerations there = folders;
    const auto absent = std::erase_if(there, is_absent);
    Print(fmt::format("{}folders looked for in {}", explanation.ref ? "\n" : "", root), there);
    if (absent > 0) fmt::print("     {} names that are not there (--json lists them)\n", absent);
  }
  if (!explanation.calibrations.empty()) {
    fmt::print("\ncalibrations of the annotations, ranked from 0 (worst) to 1 (best) among all\n");
    std::vector<std::vector<std::string>> rows{
        {"camera", "file", "metric", "value", "source", "rank", "episodes"}};
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
    fmt::print("  depth: {}\n", no_depth.empty() ? "by 'droidflow full'" : "none: " + no_depth);
  }
  if (!explanation.warnings.empty()) fmt::print("\nwarnings\n");
  for (const Warning& warning : explanation.warnings) {
    fmt::print("  {}: {}\n", warning.code, warning.text);
  }
  if (!explanation.outcome) {
    const Error& error = explanation.outcome.error();
    if (explanation.ref) {
      const bool is_skipped = error.status == status::kDuplicate;
      fmt::print("\na run would {} it, {} in stage {}: {}\n",
                 is_skipped ? "skip" : "quarantine",
                 error.status,
                 explanation.failed_stage,
                 error.message);
    } else {
      // Where it was looked for stands above.
      const bool is_told = !explanation.looked_for.front().folders.empty();
      fmt::print("\nnot found{}\n", is_told ? "" : ": " + error.message);
    }
    return;
  }
  fmt::print("\nwould be written\n");
  for (const ExplainedFile& file : explanation.files) {
    fmt::print("  {}  {}\n", file.file, FormatBytes(static_cast<double>(file.size_bytes)));
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
  if (HasBucket(options->input)) InstallStopHandlers();  // so that nothing stays in $TMPDIR
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
  command->flags.AddKeys(
      *sub, {"download_jobs", "download_rate", "stall_timeout", "cache_dir", "cache_gb"});
  sub->add_flag("--json", command->json, "Print JSON");
  sub->footer(
      "An arrow is before what is chosen. The episode is done as by 'droidflow metadata' into a\n"
      "folder in $TMPDIR that is removed again; nothing else is written.\n"
      "DIR of --droid-root may be gs://BUCKET/FOLDER: the folder of the episode's date is listed,\n"
      "and metadata, trajectory and heads of recordings are fetched, never a whole recording.\n"
      "--measure-rows, which takes those, is left out then.\n"
      "Example:\n"
      "  droidflow explain AUTOLab+5d05c5aa+2023-08-12-16h-26m-07s --droid-root /data/droid_raw "
      "\\\n"
      "      --annotations /data/annotations --conf-dir /data/zed_conf\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 a run would quarantine it, 10 it is not there, "
      "130 stopped by a signal.");
  sub->callback([command, &exit_code] { exit_code = RunExplain(*command); });
}

}  // namespace droidflow

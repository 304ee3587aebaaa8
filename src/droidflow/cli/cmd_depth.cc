#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/formats/mp4_header.h"
#include "droidflow/pipeline/depth_pair.h"
#include "droidflow/pipeline/depth_product.h"
#include "droidflow/pipeline/episode_depth.h"
#include "droidflow/pipeline/map_file.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/single_episode.h"
#include "droidflow/video/recording_summary.h"
#include "droidflow/video/zed_source.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct DepthCommand {
  OptionFlags flags;
  std::string episode;
  std::vector<std::string> cameras;
  std::vector<std::string> input;
  std::string conf;
  std::optional<double> fx_px;
  std::optional<double> baseline_m;
  std::string confidence;
  bool json = false;
  bool dry_run = false;
};

Json RowsJson(const std::optional<RowAlignment>& rows, const RowOffset& removed) {
  return {{"measured", rows ? Json::parse(FormatRowAlignment(*rows)) : Json(nullptr)},
          {"removed_px", removed.offset_px}};
}

std::string DescribeRows(const std::optional<RowAlignment>& rows, const RowOffset& removed) {
  if (!rows) return "rows not measured";
  return fmt::format(
      "rows off by {:.2f} px{}", rows->median_abs_px, removed == RowOffset{} ? "" : ", taken out");
}

// ---- A pair of pictures ---------------------------------------------------------------------

int RunPair(const DepthCommand& command,
            const MetadataOptions& options,
            const std::optional<StereoGeometry>& geometry) {
  if (!command.conf.empty()) {
    return Report({ErrorKind::kUsage,
                   "--conf goes with a recording; pictures are taken as rectified, and --fx and "
                   "--baseline make their disparities depth"});
  }
  const DepthPairInput input{.left = command.input[0],
                             .right = command.input[1],
                             .geometry = geometry,
                             .out = options.out,
                             .confidence_out = command.confidence};
  if (command.dry_run) {
    fmt::print("would match {} and {} into {}\n", command.input[0], command.input[1], options.out);
    return kExitDone;
  }
  const Result<DepthPairReport> report = WriteDepthPair(input, options.depth);
  if (!report) return Report(report.error());
  for (const std::string& note : report->notes) fmt::print(stderr, "droidflow: {}\n", note);
  if (command.json) {
    PrintJson(
        {{"out", options.out},
         {"kind", geometry ? "depth" : "disparity"},
         {"width", report->width_px},
         {"height", report->height_px},
         {"backend", ToString(report->backend)},
         {"backend_parameters",
          Json::parse(FormatBackendParameters(options.depth, report->backend, report->matcher))},
         {"rows", RowsJson(report->rows, report->removed)},
         {"valid_fraction", report->valid_fraction},
         {"notes", report->notes}});
    return kExitDone;
  }
  fmt::print("{}: {} of {}x{}, {}, {:.1f} % valid, {}\n",
             options.out,
             geometry ? "depth" : "disparity",
             report->width_px,
             report->height_px,
             ToString(report->backend),
             100 * report->valid_fraction,
             DescribeRows(report->rows, report->removed));
  return kExitDone;
}

// ---- A recording ----------------------------------------------------------------------------

Json ToJson(const DepthReport& report, double seconds) {
  Json files = Json::array();
  for (const fs::path& file : report.files) files.push_back(file.string());
  return {{"files", files},
          {"backend", report.backend},
          {"frames", report.frames},
          {"missing_frames", report.missing_frames},
          {"damaged_frames", report.damaged_frames},
          {"valid_fraction", report.valid_fraction},
          {"rows", RowsJson(report.rows, report.removed)},
          {"seconds", std::round(seconds * 1000) / 1000},
          {"warnings", report.warnings}};
}

void PrintReport(const DepthReport& report, double seconds) {
  fmt::print("{}: {} frames, {}, {:.1f} % valid, {}, {:.1f} s\n",
             report.files.front().string(),
             report.frames,
             report.backend,
             100 * report.valid_fraction,
             DescribeRows(report.rows, report.removed),
             seconds);
}

void PrintWarnings(const std::string& name, const DepthReport& report) {
  for (const std::string& warning : report.warnings) {
    fmt::print(stderr, "warning: {}: {}\n", name, warning);
  }
  if (report.missing_frames > 0) {
    const bool is_one = report.missing_frames == 1;
    const char* why = is_one ? "it cannot be decoded" : "they cannot be decoded";
    if (report.backend.starts_with("external")) why = "there is no map";
    fmt::print(stderr,
               "warning: {}: {} {} no depth: {}\n",
               name,
               Counted(static_cast<std::uint64_t>(report.missing_frames), "frame"),
               is_one ? "has" : "have",
               why);
  }
}

/// Whether a calibration file is, by its name SN<serial>.conf, that of another camera.
std::vector<std::string> WarningsOf(const fs::path& conf, const std::string& serial) {
  const std::string name = conf.filename().string();
  const std::string other = conf.stem().string().substr(std::min<std::size_t>(name.size(), 2));
  const bool is_named = name.starts_with("SN") && conf.extension() == ".conf" && !other.empty() &&
                        other.find_first_not_of("0123456789") == std::string::npos;
  if (serial.empty() || !is_named || other == serial) return {};
  return {fmt::format(
      "the recording is of camera {}, the calibration file of camera {}: {}", serial, other, name)};
}

/// The camera of a recording by its calibration file, as the recording's pictures need it.
Result<RectifiedRig> RigOf(const fs::path& conf, const SourceInfo& info) {
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(conf));
  DF_ASSIGN_OR_RETURN(const ZedCalibration calibration, ParseZedConf(text, conf.string()));
  return MakeRig(calibration, info.width_px, info.height_px, std::nullopt)
      .map_error([&](Error error) {
        error.message += ": " + conf.string();
        return error;
      });
}

Result<DepthReport> WriteRecording(const DepthCommand& command,
                                   const MetadataOptions& options,
                                   const std::optional<StereoGeometry>& geometry,
                                   const DepthOutput& output) {
  DF_RETURN_IF_ERROR(CheckDepthOptions(options.depth));
  const fs::path path = command.input[0];
  DF_ASSIGN_OR_RETURN(const RecordingSummary summary,
                      SummarizeRecording(path, SvoFrames::kUnknown));
  const bool asks_sdk = options.depth.backend.kind == DepthBackend::Kind::kZed ||
                        (ZedSdkBuiltIn() && command.conf.empty() && !summary.info.rectified);
  std::optional<RectifiedRig> rig;
  if (!command.conf.empty()) {
    DF_ASSIGN_OR_RETURN(rig, RigOf(command.conf, summary.info));
  } else if (!geometry && !asks_sdk) {
    return Fail(ErrorKind::kUsage,
                "want --conf, or --fx and --baseline, to make depth of {}",
                path.string());
  }
  DepthRecording recording{.path = path,
                           .rig = rig ? &*rig : nullptr,
                           .geometry = geometry,
                           .use_zed_sdk = asks_sdk,
                           .decode_threads = options.decode_threads};
  if (rig && !geometry) {
    recording.geometry = {.fx_px = rig->rectified.intrinsics.fx_px,
                          .baseline_m = rig->rectified.baseline_m};
  }
  std::vector<std::int64_t> shown_at_ns;
  if (summary.format == RecordingFormat::kMp4) {
    // Without, the nominal rate has to do.
    shown_at_ns = ReadMp4FrameTimes(path).value_or(std::vector<std::int64_t>());
  }
  MatcherPool pool;
  return WriteDepth(recording,
                    {.recording_name = path.filename().string(),
                     .serial = summary.info.serial,
                     .step_to_frame = std::nullopt,
                     .frame_times_ns = summary.frame_times_ns,
                     .shown_at_ns = std::move(shown_at_ns),
                     .warnings = WarningsOf(command.conf, summary.info.serial)},
                    options.depth,
                    output,
                    pool);
}

Status CheckRecordingOutput(const DepthCommand& command,
                            const MetadataOptions& options,
                            const DepthOutput& output) {
  DF_RETURN_IF_ERROR(CheckNotOver(output.path(), {command.input[0], command.conf}));
  DF_RETURN_IF_ERROR(CheckNotOver(output.meta_path(), {command.input[0], command.conf}));
  if (output.is_video()) return {};
  // Pictures would take the place of maps.
  std::error_code ignored;
  return CheckNotOver(fs::absolute(output.path(), ignored).parent_path(),
                      {options.depth.backend.directory});
}

int RunRecording(const DepthCommand& command,
                 const MetadataOptions& options,
                 const std::optional<StereoGeometry>& geometry) {
  if (!command.confidence.empty()) {
    return Report({ErrorKind::kUsage, "--confidence goes with a pair of pictures"});
  }
  const Result<DepthOutput> output = DepthOutput::Parse(options.out);
  if (!output) return Report(output.error());
  if (const Status status = CheckRecordingOutput(command, options, *output); !status) {
    return Report(status.error());
  }
  if (command.dry_run) {
    fmt::print("would write depth of {} into {}\n", command.input[0], options.out);
    return kExitDone;
  }
  InstallStopHandlers();
  const auto start = std::chrono::steady_clock::now();
  const Result<DepthReport> report = WriteRecording(command, options, geometry, *output);
  const std::chrono::duration<double> duration = std::chrono::steady_clock::now() - start;
  if (!report) return Report(report.error());
  PrintWarnings(command.input[0], *report);
  if (command.json) {
    PrintJson(ToJson(*report, duration.count()));
  } else {
    PrintReport(*report, duration.count());
  }
  return kExitDone;
}

// ---- An episode -----------------------------------------------------------------------------

int RunEpisode(const DepthCommand& command, MetadataOptions options) {
  if (!command.conf.empty() || command.fx_px || command.baseline_m || !command.confidence.empty()) {
    return Report(
        {ErrorKind::kUsage,
         "--conf, --fx, --baseline and --confidence go with --input; an episode's cameras "
         "are known from its files and --conf-dir"});
  }
  // The SDK reads no others.
  if (options.depth.backend.kind == DepthBackend::Kind::kZed &&
      options.track.recording_order == DefaultRecordingOrder()) {
    options.track.recording_order = {RecordingKind::kSvo2, RecordingKind::kSvo};
  }
  const Result<EpisodeContext> context = MakeEpisodeContext(options);
  if (!context) return Report(context.error());
  const Result<EpisodeRef> ref = FindSingleEpisode(*context, command.episode);
  if (!ref) return Report(ref.error());
  if (command.dry_run) {
    fmt::print("would write depth of {} into {}\n", ref->relative_path, options.out);
    return kExitDone;
  }
  InstallStopHandlers();
  const auto start = std::chrono::steady_clock::now();
  const Result<std::vector<CameraDepth>> cameras =
      WriteEpisodeDepth(*context, *ref, command.cameras);
  const std::chrono::duration<double> duration = std::chrono::steady_clock::now() - start;
  if (!cameras) {
    const int exit_code = Report(cameras.error());
    // An episode that a run would quarantine.
    return cameras.error().status.empty() ? exit_code : kExitQuarantined;
  }
  Json all = Json::array();
  bool has_depth = false;
  bool has_failed = false;
  for (const CameraDepth& camera : *cameras) {
    has_depth |= camera.report.has_value();
    has_failed |= camera.failed;
    Json json = {{"serial", camera.serial}, {"role", camera.role}, {"depth", nullptr}};
    if (camera.report) {
      json["depth"] = ToJson(*camera.report, 0);
      json["depth"].erase("seconds");
      PrintWarnings("camera " + camera.serial, *camera.report);
    } else {
      fmt::print(stderr, "droidflow: camera {}: no depth: {}\n", camera.serial, camera.reason);
    }
    json["reason"] = camera.reason.empty() ? Json(nullptr) : Json(camera.reason);
    all.push_back(std::move(json));
    if (camera.report && !command.json) {
      fmt::print("{}: {} frames, {}, {:.1f} % valid, {}\n",
                 camera.report->files.front().string(),
                 camera.report->frames,
                 camera.report->backend,
                 100 * camera.report->valid_fraction,
                 DescribeRows(camera.report->rows, camera.report->removed));
    }
  }
  if (command.json) {
    PrintJson({{"episode", ref->relative_path},
               {"cameras", all},
               {"seconds", std::round(duration.count() * 1000) / 1000}});
  }
  return has_depth && !has_failed ? kExitDone : kExitQuarantined;
}

int RunDepth(const DepthCommand& command) {
  const Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  if (command.flags.print_config()) {
    fmt::print("{}", FormatConfig(*options));
    return kExitDone;
  }
  if (command.episode.empty() == command.input.empty()) {
    return Report({ErrorKind::kUsage, "give --input or --episode-id"});
  }
  if (options->out.empty()) return Report({ErrorKind::kUsage, "--out is needed"});
  if (!command.episode.empty()) return RunEpisode(command, *options);
  if (!command.cameras.empty()) {
    return Report({ErrorKind::kUsage, "--cameras goes with --episode-id"});
  }
  if (command.fx_px.has_value() != command.baseline_m.has_value()) {
    return Report({ErrorKind::kUsage, "give both --fx and --baseline, or neither"});
  }
  std::optional<StereoGeometry> geometry;
  if (command.fx_px) {
    geometry = {.fx_px = *command.fx_px, .baseline_m = *command.baseline_m};
    if (const Status status = CheckStereoGeometry(*geometry); !status) {
      return Report(status.error());
    }
  }
  return command.input.size() == 2 ? RunPair(command, *options, geometry)
                                   : RunRecording(command, *options, geometry);
}

}  // namespace

void AddDepthCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<DepthCommand>();
  CLI::App* sub = app.add_subcommand(
      "depth", "Compute depth of an episode, of a recording or of a pair of pictures");
  sub->add_option("--episode-id",
                  command->episode,
                  "An episode's uuid, or its folder below the raw root: depth of its cameras")
      ->type_name("ID");
  sub->add_option("--cameras",
                  command->cameras,
                  "Of the episode only these: serials, or ext1, ext2, wrist (all)")
      ->delimiter(',')
      ->type_name("CAM,CAM");
  sub->add_option("--input",
                  command->input,
                  "LEFT RIGHT: a rectified pair of pictures. RECORDING: a stereo MP4, SVO2 or SVO")
      ->expected(1, 2)
      ->type_name("FILE");
  sub->add_option("--conf", command->conf, "Calibration file of the recording's camera")
      ->type_name("SN.conf");
  sub->add_option("--fx", command->fx_px, "Focal length of the rectified pictures, pixels")
      ->type_name("PX");
  sub->add_option("--baseline", command->baseline_m, "Distance between the eyes, metres")
      ->type_name("M");
  sub->add_option("--confidence",
                  command->confidence,
                  "Of a pair of pictures: how sure the disparities are, 0 to 255")
      ->type_name("FILE.png");
  command->flags.AddTo(*sub, {OptionInfo::Group::kInput, OptionInfo::Group::kDepth});
  command->flags.AddKeys(*sub, {"out", "decode_threads", "recording_order"});
  sub->add_flag("--json", command->json, "Print what was done as JSON");
  sub->add_flag("--dry-run", command->dry_run, "Say what would be done and write nothing");
  sub->footer(
      "--out is for an episode the folder of results: recordings/{serial}/depth.mkv and\n"
      "depth_meta.json below the episode's folder. For a recording it is a video, depth.mkv, or a\n"
      "picture for each frame, 'depth/%06d.png' (.pfm, .npy). For a pair of pictures it is a\n"
      "X.pfm, X.png or X.npy: disparities in pixels (PNG: 64ths of a pixel), with --fx and\n"
      "--baseline depth in metres (PNG: millimetres).\n"
      "Examples:\n"
      "  droidflow depth --input left.png right.png --max-disparity 64 --out disparity.pfm\n"
      "  droidflow depth --input 22008760.svo2 --conf SN22008760.conf --out depth.mkv\n"
      "  droidflow depth --episode-id AUTOLab+5d05c5aa+2023-08-12-16h-26m-07s \\\n"
      "      --droid-root /data/droid_raw --annotations /data/annotations --out /data/out\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 the episode is broken or has no depth,\n"
      "10 no such input, 130 stopped by a signal.");
  sub->callback([command, &exit_code] { exit_code = RunDepth(*command); });
}

}  // namespace droidflow

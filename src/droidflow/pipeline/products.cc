#include "droidflow/pipeline/products.h"

#include "droidflow/core/files.h"
#include "droidflow/formats/npz_writer.h"
#include "droidflow/pipeline/build_info.h"
#include "droidflow/pipeline/idle_steps.h"
#include "droidflow/pipeline/npz_rows_internal.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

/// Names from files need not be UTF-8, as JSON must be.
std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

/// Below it, and kIdleGripper, an episode counts as idle between two steps.
constexpr double kIdlePath_m = 0.0005;

double IdleFraction(const EpisodeData& episode) {
  const std::vector<double>& distance_m = episode.plan.cumulative_distance_m;
  const std::vector<double>& gripper = episode.trajectory.gripper_position;
  if (distance_m.size() < 2) return 1.0;
  std::size_t idle = 0;
  for (std::size_t t = 1; t < distance_m.size(); ++t) {
    idle += static_cast<std::size_t>(distance_m[t] - distance_m[t - 1] < kIdlePath_m &&
                                     std::abs(gripper[t] - gripper[t - 1]) < kIdleGripper);
  }
  return static_cast<double>(idle) / static_cast<double>(distance_m.size() - 1);
}

/// Median of step start minus image capture; nothing where a time is not known.
Json CaptureDelayMs(const EpisodeCamera& camera, const Trajectory& trajectory) {
  if (camera.capture_ms.empty() || trajectory.step_start_ms.empty()) return nullptr;
  std::vector<std::int64_t> delays_ms;
  for (std::size_t t = 0; t < camera.capture_ms.size(); ++t) {
    delays_ms.push_back(trajectory.step_start_ms[t] - camera.capture_ms[t]);
  }
  const auto middle = delays_ms.begin() + static_cast<std::ptrdiff_t>(delays_ms.size() / 2);
  std::ranges::nth_element(delays_ms, middle);
  return *middle;
}

template <typename T>
Json OrNull(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json OrNull(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json DescribeRanges(const std::vector<StepRange>& ranges) {
  Json json = Json::array();
  for (const StepRange& range : ranges) json.push_back({range.begin, range.end});
  return json;
}

/// Which recording is used and why; nothing where the camera has no file at all.
Json DescribeRecording(const EpisodeCamera& camera) {
  const RecordingChoice& recording = camera.recording;
  if (recording.reason.empty()) return nullptr;
  Json json = {{"file", nullptr}, {"kind", nullptr}, {"reason", recording.reason}};
  if (recording.chosen) {
    json["file"] = recording.chosen->name;
    json["kind"] = ToString(recording.chosen->kind);
  }
  return json;
}

Json DepthValidFraction(const EpisodeData& episode, const std::string& serial) {
  if (!episode.depth) return nullptr;
  const auto camera = std::ranges::find(*episode.depth, serial, &CameraDepth::serial);
  if (camera == episode.depth->end() || !camera->report) return nullptr;
  return camera->report->valid_fraction;
}

Json DescribeCamera(const EpisodeData& episode, std::size_t index) {
  const EpisodeCamera& camera = episode.cameras[index];
  Json metric = nullptr;
  if (camera.metric)
    metric = {{"type", ToString(camera.metric->type)}, {"value", camera.metric->value}};
  std::optional<std::int64_t> frames;
  if (camera.recording.chosen) frames = camera.recording.chosen->summary.info.frame_count;
  return {{"role", ToString(camera.role)},
          {"intrinsics_source", OrNull(camera.intrinsics_source)},
          {"extrinsics_source", OrNull(camera.extrinsics_source)},
          {"calibration_metric", metric},
          {"recording", DescribeRecording(camera)},
          {"frames", OrNull(frames)},
          {"rows", camera.rows ? Json::parse(FormatRowAlignment(*camera.rows)) : Json(nullptr)},
          {"in_image_fraction", OrNull(episode.views[index].in_image_fraction)},
          {"capture_delay_ms", CaptureDelayMs(camera, episode.trajectory)},
          {"depth_valid_fraction", DepthValidFraction(episode, camera.serial)}};
}

/// `depth` of quality.json: what became of each camera that depth was wanted of; null: of none.
Json DescribeDepth(const EpisodeData& episode) {
  if (!episode.depth) return nullptr;
  Json json = Json::object();
  for (const CameraDepth& camera : *episode.depth) {
    Json& entry = json[camera.serial] = {{"reason", OrNull(camera.reason)}};
    if (!camera.report) continue;
    entry.update({{"backend", camera.report->backend},
                  {"frames", camera.report->frames},
                  {"missing_frames", camera.report->missing_frames},
                  {"damaged_frames", camera.report->damaged_frames},
                  {"warnings", camera.report->warnings}});
  }
  return json;
}

}  // namespace

std::filesystem::path IntrinsicsFile(const std::string& serial) {
  return std::filesystem::path("recordings") / serial / "intrinsics.json";
}

std::filesystem::path VideoFile(const std::string& serial) {
  return std::filesystem::path("recordings") / serial / "video.json";
}

std::string FormatRowAlignment(const RowAlignment& rows) {
  return Json{{"matches", rows.matches},
              {"median_abs_px", rows.median_abs_px},
              {"offset_px", rows.fit.offset_px},
              {"slope_x", rows.fit.slope_x},
              {"slope_y", rows.fit.slope_y},
              {"residual_px", rows.residual_px}}
      .dump();
}

Status WriteExtrinsicsNpz(const EpisodeData& episode,
                          NpzCompression compression,
                          const std::filesystem::path& path) {
  const std::size_t frames = episode.trajectory.size();
  DF_ASSIGN_OR_RETURN(NpzWriter npz, NpzWriter::Create(path, compression));
  DF_RETURN_IF_ERROR(npz.AddScalar<std::int64_t>("num_frames", static_cast<std::int64_t>(frames)));
  for (std::size_t i = 0; i < episode.cameras.size(); ++i) {
    const EpisodeCamera& camera = episode.cameras[i];
    if (!camera.pose) continue;
    const CameraView& view = episode.views[i];
    if (camera.is_wrist()) {
      DF_RETURN_IF_ERROR(AddPoses<double>(
          {npz, {}}, "wrist_extrinsics", frames, [&](std::size_t t) { return view.PoseAt(t); }));
      DF_RETURN_IF_ERROR(npz.AddString("wrist_serial", camera.serial));
      DF_RETURN_IF_ERROR(npz.AddString("wrist_source", camera.extrinsics_source));
    } else {
      std::array<double, 16> matrix;
      StoreMatrix<double>(view.PoseAt(0), matrix);
      DF_RETURN_IF_ERROR(npz.AddArray<double>("external_" + camera.serial, {4, 4}, matrix));
      DF_RETURN_IF_ERROR(
          npz.AddString("external_source_" + camera.serial, camera.extrinsics_source));
    }
  }
  return npz.Finish();
}

Status WriteIntrinsicsJson(const EpisodeData& episode, const std::filesystem::path& directory) {
  for (const EpisodeCamera& camera : episode.cameras) {
    if (!camera.intrinsics) continue;
    const Intrinsics& K = *camera.intrinsics;
    const Json json = {{"fx", K.fx_px},
                       {"fy", K.fy_px},
                       {"cx", K.cx_px},
                       {"cy", K.cy_px},
                       {"width", K.width_px},
                       {"height", K.height_px},
                       {"k1", 0.0},
                       {"k2", 0.0},
                       {"p1", 0.0},
                       {"p2", 0.0},
                       {"k3", 0.0},
                       {"source", camera.intrinsics_source},
                       {"approximate", camera.approximate_intrinsics},
                       {"baseline_m", camera.baseline_m},
                       {"baseline_source", camera.baseline_source}};
    DF_RETURN_IF_ERROR(WriteFile(directory / IntrinsicsFile(camera.serial), Dump(json, 2) + "\n"));
  }
  return {};
}

Status WriteVideoJson(const EpisodeData& episode, const std::filesystem::path& directory) {
  for (const EpisodeCamera& camera : episode.cameras) {
    if (!camera.recording.chosen) continue;
    const SourceInfo& info = camera.recording.chosen->summary.info;
    Json differences_ms = Json::array();
    for (const std::optional<double>& difference_ms : camera.pairing.difference_ms) {
      differences_ms.push_back(difference_ms ? Json(std::round(*difference_ms * 1000) / 1000)
                                             : Json(nullptr));
    }
    const bool has_times =
        std::ranges::any_of(camera.pairing.difference_ms,
                            [](const auto& difference) { return difference.has_value(); });
    const Json json = {
        {"file", camera.recording.chosen->name},
        {"kind", ToString(camera.recording.chosen->kind)},
        {"codec", OrNull(info.codec)},
        {"width", info.width_px},
        {"height", info.height_px},
        {"stereo", info.stereo},
        {"rectified", info.rectified},
        {"serial", camera.serial},
        {"frames", OrNull(info.frame_count)},
        {"nominal_fps",
         info.nominal_fps > 0 ? Json(std::round(info.nominal_fps * 1000) / 1000) : Json(nullptr)},
        {"paired_by", ToString(camera.pairing.paired_by)},
        {"steps_with_frame", camera.pairing.MatchedSteps()},
        {"step_to_frame", camera.pairing.step_to_frame},
        {"frame_minus_received_ms", has_times ? differences_ms : Json(nullptr)}};
    DF_RETURN_IF_ERROR(WriteFile(directory / VideoFile(camera.serial), Dump(json, -1) + "\n"));
  }
  return {};
}

Status WriteQualityJson(const EpisodeData& episode,
                        const std::string& config_json,
                        const std::string& provenance,
                        const std::filesystem::path& path) {
  Json externals = Json::array();
  Json wrist = nullptr;
  Json cameras = Json::object();
  for (std::size_t i = 0; i < episode.cameras.size(); ++i) {
    const EpisodeCamera& camera = episode.cameras[i];
    if (camera.is_wrist()) {
      wrist = camera.serial;
    } else {
      externals.push_back(camera.serial);
    }
    cameras[camera.serial] = DescribeCamera(episode, i);
  }
  Json calibration = Json::object();
  if (!episode.calibration_json.empty()) {
    calibration[episode.ref.uuid] = Json::parse(episode.calibration_json);
  }
  Json warnings = Json::array();
  for (const Warning& warning : episode.warnings) {
    warnings.push_back({{"code", warning.code}, {"text", warning.text}});
  }
  Json timings = Json::object();
  for (const StageTime& stage : episode.stages) {
    timings[stage.name] = std::round(stage.duration_ms * 1000) / 1000;
  }
  const Json json = {
      {"episode_id", episode.ref.uuid},
      {"source_path", episode.ref.relative_path},
      {"outcome", ToString(episode.ref.outcome)},
      {"num_frames", episode.trajectory.size()},
      {"num_track_points", 2 * episode.pad_points_m.size()},
      {"external_cameras", externals},
      {"wrist_camera", wrist},
      {"cameras_with_2d_tracks", SerialsWithTracks2d(episode)},
      {"cam2base_calibration", calibration},
      {"droidflow_version", build_info::kVersion},
      {"config", Json::parse(config_json)},
      {"cameras", cameras},
      {"path_length_mm", episode.plan.cumulative_distance_m.back() * kMillimetres},
      {"idle_fraction", IdleFraction(episode)},
      {"idle_ranges", DescribeRanges(episode.idle_ranges)},
      {"keep_ranges", episode.keep_ranges ? DescribeRanges(*episode.keep_ranges) : Json(nullptr)},
      {"fps", episode.fps},
      {"current_task", episode.metadata.current_task},
      {"language", episode.language},
      {"lab", episode.ref.lab},
      {"building", OrNull(episode.metadata.building)},
      {"scene_id", OrNull(episode.metadata.scene_id)},
      {"warnings", warnings},
      {"depth", DescribeDepth(episode)},
      {"provenance", Json::parse(provenance)},
      {"timings_ms", timings}};
  return WriteFile(path, Dump(json, 2) + "\n");
}

}  // namespace droidflow

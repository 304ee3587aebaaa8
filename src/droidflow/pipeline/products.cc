#include "droidflow/pipeline/products.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/formats/npz_writer.h"
#include "droidflow/pipeline/build_info.h"
#include "droidflow/pipeline/idle_steps.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

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

std::int64_t Size(std::size_t size) { return static_cast<std::int64_t>(size); }

/// A pose as a row-major 4x4 matrix.
template <typename T>
void StoreMatrix(const Transform& pose, std::span<T> out) {
  for (int row = 0; row < 4; ++row) {
    for (int column = 0; column < 4; ++column) {
      out[4 * static_cast<std::size_t>(row) + static_cast<std::size_t>(column)] =
          static_cast<T>(pose.matrix()(row, column));
    }
  }
}

/// An array [count, …] whose rows of `width` values `fill` computes in order.
template <typename T, typename Fill>
Status AddRows(NpzWriter& npz,
               const std::string& name,
               NpyShape shape,
               std::size_t count,
               std::size_t width,
               Fill fill) {
  DF_RETURN_IF_ERROR(npz.BeginArray<T>(name, shape));
  // As many rows at a time as fit into the writer's buffer; a row that does not fit goes by way of
  // memory of its own.
  constexpr std::size_t kRoom = NpzWriter::kMaxReserve_bytes / sizeof(T);
  if (width > kRoom) {
    std::vector<T> row(width);
    for (std::size_t i = 0; i < count; ++i) {
      fill(i, std::span<T>(row));
      DF_RETURN_IF_ERROR(npz.Append<T>(row));
    }
    return {};
  }
  const std::size_t rows_at_once =
      std::max<std::size_t>(1, std::min(kRoom / 4, std::size_t{16384}) / width);
  for (std::size_t begin = 0; begin < count; begin += rows_at_once) {
    const std::size_t rows = std::min(rows_at_once, count - begin);
    DF_ASSIGN_OR_RETURN(const std::span<T> room, npz.Reserve<T>(rows * width));
    for (std::size_t i = 0; i < rows; ++i) fill(begin + i, room.subspan(i * width, width));
    npz.Commit<T>(rows * width);
  }
  return {};
}

/// An array [count, 4, 4] of poses.
template <typename T, typename PoseAt>
Status AddPoses(NpzWriter& npz, const std::string& name, std::size_t count, PoseAt pose_at) {
  return AddRows<T>(
      npz, name, {Size(count), 4, 4}, count, 16, [&](std::size_t i, std::span<T> out) {
        StoreMatrix<T>(pose_at(i), out);
      });
}

template <typename PointAt>
Status AddPoints(NpzWriter& npz, const std::string& name, std::size_t count, PointAt point_at) {
  return AddRows<float>(
      npz, name, {Size(count), 3}, count, 3, [&](std::size_t i, std::span<float> out) {
        const Vector3 point = point_at(i);
        for (int k = 0; k < 3; ++k) out[static_cast<std::size_t>(k)] = static_cast<float>(point[k]);
      });
}

const Transform& PoseAt(const CameraView& view, std::size_t frame) {
  return view.T_base_cam.size() == 1 ? view.T_base_cam.front() : view.T_base_cam[frame];
}

Status AddTracks2d(NpzWriter& npz,
                   const EpisodeData& episode,
                   std::size_t index,
                   double min_depth_m,
                   CameraView& view) {
  const EpisodeCamera& camera = episode.cameras[index];
  const ContactTrack& track = view.track ? *view.track : *episode.track;
  const Intrinsics& K = *camera.intrinsics;
  const std::size_t frames = track.frame_count();
  const std::size_t points = track.point_count();
  // A pixel's area reaches half a pixel around its centre.
  const auto max_u = static_cast<float>(K.width_px - 0.5);
  const auto max_v = static_cast<float>(K.height_px - 0.5);
  std::size_t inside = 0;
  DF_RETURN_IF_ERROR(AddRows<float>(
      npz,
      "tracks_2d_" + camera.serial,
      {Size(frames), Size(points), 2},
      frames,
      2 * points,
      [&](std::size_t frame, std::span<float> uv_px) {
        track.PixelsAt(frame, K, PoseAt(view, frame), min_depth_m, uv_px);
        for (std::size_t i = 0; i < uv_px.size(); i += 2) {
          // NaN compares false.
          inside += static_cast<std::size_t>(uv_px[i] >= -0.5F && uv_px[i] < max_u &&
                                             uv_px[i + 1] >= -0.5F && uv_px[i + 1] < max_v);
        }
      }));
  view.in_image_fraction = static_cast<double>(inside) / static_cast<double>(frames * points);
  const std::array<double, 9> matrix = {K.fx_px, 0, K.cx_px, 0, K.fy_px, K.cy_px, 0, 0, 1};
  DF_RETURN_IF_ERROR(npz.AddArray<double>("intrinsics_" + camera.serial, {3, 3}, matrix));
  const std::array<std::int64_t, 2> size = {K.width_px, K.height_px};
  return npz.AddArray<std::int64_t>("image_size_" + camera.serial, {2}, size);
}

std::vector<std::string> SerialsWithTracks2d(const EpisodeData& episode) {
  std::vector<std::string> serials;
  for (const EpisodeCamera& camera : episode.cameras) {
    if (camera.has_tracks_2d()) serials.push_back(camera.serial);
  }
  return serials;
}

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

Status WriteTracksNpz(EpisodeData& episode,
                      const TrackOptions& options,
                      const std::filesystem::path& path) {
  DF_CHECK(episode.track.has_value() && episode.views.size() == episode.cameras.size());
  const ContactTrack& track = *episode.track;
  const Trajectory& trajectory = episode.trajectory;
  const ResamplePlan& plan = episode.plan;
  ResampledTrack resampled(track, plan);
  const std::size_t frames = track.frame_count();
  const std::size_t steps = plan.steps.size();
  const std::size_t points = track.point_count();

  DF_ASSIGN_OR_RETURN(NpzWriter npz, NpzWriter::Create(path));
  DF_RETURN_IF_ERROR(
      AddRows<float>(npz,
                     "tracks_3d",
                     {Size(frames), Size(points), 3},
                     frames,
                     3 * points,
                     [&](std::size_t t, std::span<float> xyz_m) { track.PointsAt(t, xyz_m); }));
  DF_RETURN_IF_ERROR(AddRows<double>(npz,
                                     "contact_points_local",
                                     {Size(episode.pad_points_m.size()), 3},
                                     episode.pad_points_m.size(),
                                     3,
                                     [&](std::size_t i, std::span<double> out) {
                                       const Vector3& point = episode.pad_points_m[i];
                                       std::copy_n(point.data(), 3, out.begin());
                                     }));
  DF_RETURN_IF_ERROR(AddPoints(
      npz, "contact_centroids", frames, [&](std::size_t t) { return track.Centroid(t); }));
  DF_RETURN_IF_ERROR(AddPoses<float>(
      npz, "contact_frames", frames, [&](std::size_t t) { return track.ContactFrame(t); }));
  DF_RETURN_IF_ERROR(AddPoses<float>(npz, "left_contact_frames", frames, [&](std::size_t t) {
    return track.LeftContactFrame(t);
  }));
  DF_RETURN_IF_ERROR(AddPoses<float>(npz, "right_contact_frames", frames, [&](std::size_t t) {
    return track.RightContactFrame(t);
  }));
  DF_RETURN_IF_ERROR(
      AddRows<float>(npz,
                     "normalized_tracks_3d",
                     {Size(steps), Size(points), 3},
                     steps,
                     3 * points,
                     [&](std::size_t m, std::span<float> xyz_m) { resampled.PointsAt(m, xyz_m); }));
  DF_RETURN_IF_ERROR(AddPoints(
      npz, "normalized_centroids", steps, [&](std::size_t m) { return resampled.Centroid(m); }));
  DF_RETURN_IF_ERROR(AddPoses<float>(
      npz, "normalized_frames", steps, [&](std::size_t m) { return resampled.ContactFrame(m); }));
  DF_RETURN_IF_ERROR(AddPoses<float>(npz, "normalized_left_frames", steps, [&](std::size_t m) {
    return resampled.LeftContactFrame(m);
  }));
  DF_RETURN_IF_ERROR(AddPoses<float>(npz, "normalized_right_frames", steps, [&](std::size_t m) {
    return resampled.RightContactFrame(m);
  }));
  DF_RETURN_IF_ERROR(AddRows<double>(npz,
                                     "cumulative_distance_mm",
                                     {Size(frames)},
                                     frames,
                                     1,
                                     [&](std::size_t t, std::span<double> out) {
                                       out[0] = plan.cumulative_distance_m[t] * kMillimetres;
                                     }));
  DF_RETURN_IF_ERROR(
      npz.AddArray<std::int32_t>("frame_to_normalized_idx", {Size(frames)}, plan.frame_to_step));
  DF_RETURN_IF_ERROR(npz.AddScalar<double>("normalized_step_size_mm", options.step_mm));
  DF_RETURN_IF_ERROR(npz.AddScalar<std::int64_t>("num_normalized_steps", Size(steps)));
  for (std::size_t i = 0; i < episode.cameras.size(); ++i) {
    if (!episode.cameras[i].has_tracks_2d()) continue;
    DF_RETURN_IF_ERROR(AddTracks2d(npz, episode, i, options.MinPointDepthM(), episode.views[i]));
  }
  DF_RETURN_IF_ERROR(npz.AddStrings("cameras_with_2d_tracks", SerialsWithTracks2d(episode)));
  DF_RETURN_IF_ERROR(AddPoses<double>(
      npz, "gripper_poses", frames, [&](std::size_t t) { return track.gripper_pose(t); }));
  DF_RETURN_IF_ERROR(
      npz.AddArray<double>("gripper_positions", {Size(frames)}, trajectory.gripper_position));
  DF_RETURN_IF_ERROR(AddRows<double>(npz,
                                     "cartesian_positions",
                                     {Size(frames), 6},
                                     frames,
                                     6,
                                     [&](std::size_t t, std::span<double> out) {
                                       std::ranges::copy(trajectory.cartesian_position[t],
                                                         out.begin());
                                     }));
  DF_RETURN_IF_ERROR(npz.AddScalar<std::int64_t>("num_frames", Size(frames)));
  DF_RETURN_IF_ERROR(npz.AddScalar<std::int64_t>("num_points_per_finger", Size(points / 2)));
  DF_RETURN_IF_ERROR(npz.AddScalar<double>("fps", episode.fps));
  if (!trajectory.step_start_ms.empty()) {
    DF_RETURN_IF_ERROR(
        npz.AddArray<std::int64_t>("timestamps_ms", {Size(frames)}, trajectory.step_start_ms));
  }
  DF_RETURN_IF_ERROR(npz.AddScalar<double>("gripper_joint_max_rad", options.JointMaxRad()));
  return npz.Finish();
}

Status WriteExtrinsicsNpz(const EpisodeData& episode, const std::filesystem::path& path) {
  const std::size_t frames = episode.trajectory.size();
  DF_ASSIGN_OR_RETURN(NpzWriter npz, NpzWriter::Create(path));
  DF_RETURN_IF_ERROR(npz.AddScalar<std::int64_t>("num_frames", Size(frames)));
  for (std::size_t i = 0; i < episode.cameras.size(); ++i) {
    const EpisodeCamera& camera = episode.cameras[i];
    if (!camera.pose) continue;
    const CameraView& view = episode.views[i];
    if (camera.is_wrist()) {
      DF_RETURN_IF_ERROR(AddPoses<double>(
          npz, "wrist_extrinsics", frames, [&](std::size_t t) { return PoseAt(view, t); }));
      DF_RETURN_IF_ERROR(npz.AddString("wrist_serial", camera.serial));
      DF_RETURN_IF_ERROR(npz.AddString("wrist_source", camera.extrinsics_source));
    } else {
      std::array<double, 16> matrix;
      StoreMatrix<double>(PoseAt(view, 0), matrix);
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

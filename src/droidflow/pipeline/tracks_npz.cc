#include "droidflow/core/check.h"
#include "droidflow/formats/npz_writer.h"
#include "droidflow/pipeline/npz_rows_internal.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/tracks_layout.h"
#include "droidflow/tracks/contact_track.h"
#include "droidflow/tracks/resample.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {
namespace {

std::int64_t Length(std::size_t size) { return static_cast<std::int64_t>(size); }

const ContactTrack& TrackOf(const EpisodeData& episode, std::size_t camera) {
  const CameraView& view = episode.views[camera];
  return view.track ? *view.track : *episode.track;
}

/// Where a camera sees the points of a step; counts those in the image.
class PixelCounter {
 public:
  PixelCounter(const EpisodeData& episode, std::size_t camera, double min_depth_m)
      : view_(episode.views[camera]),
        intrinsics_(*episode.cameras[camera].intrinsics),
        track_(TrackOf(episode, camera)),
        min_depth_m_(min_depth_m) {}

  void operator()(std::size_t step, std::span<float> uv_px) {
    track_.PixelsAt(step, intrinsics_, view_.PoseAt(step), min_depth_m_, uv_px);
    // A pixel's area reaches half a pixel around its centre.
    const auto max_u = static_cast<float>(intrinsics_.width_px - 0.5);
    const auto max_v = static_cast<float>(intrinsics_.height_px - 0.5);
    for (std::size_t i = 0; i < uv_px.size(); i += 2) {
      // NaN compares false.
      inside_ += static_cast<std::size_t>(uv_px[i] >= -0.5F && uv_px[i] < max_u &&
                                          uv_px[i + 1] >= -0.5F && uv_px[i + 1] < max_v);
    }
  }

  [[nodiscard]] double fraction() const {
    return static_cast<double>(inside_) /
           static_cast<double>(track_.frame_count() * track_.point_count());
  }

 private:
  const CameraView& view_;
  const Intrinsics& intrinsics_;
  const ContactTrack& track_;
  double min_depth_m_;
  std::size_t inside_ = 0;
};

/// What is known of a camera, beside its tracks.
Status AddCamera(NpzWriter& npz, const EpisodeData& episode, std::size_t index) {
  const EpisodeCamera& camera = episode.cameras[index];
  const Intrinsics& K = *camera.intrinsics;
  const std::array<double, 9> matrix = {K.fx_px, 0, K.cx_px, 0, K.fy_px, K.cy_px, 0, 0, 1};
  DF_RETURN_IF_ERROR(npz.AddArray<double>("intrinsics_" + camera.serial, {3, 3}, matrix));
  const std::array<std::int64_t, 2> size = {K.width_px, K.height_px};
  DF_RETURN_IF_ERROR(npz.AddArray<std::int64_t>("image_size_" + camera.serial, {2}, size));
  if (!episode.views[index].track) return {};
  return npz.AddArray<std::int64_t>(
      "capture_ms_" + camera.serial, {Length(camera.capture_ms.size())}, camera.capture_ms);
}

Status AddTracks2d(const RowArchive& archive,
                   const TrackOptions& options,
                   std::size_t index,
                   EpisodeData& episode) {
  const std::string name = "tracks_2d_" + episode.cameras[index].serial;
  const ContactTrack& track = TrackOf(episode, index);
  const std::size_t steps = track.frame_count();
  const std::size_t points = track.point_count();
  PixelCounter pixels(episode, index, options.MinPointDepthM());
  DF_RETURN_IF_ERROR(
      AddRows<float>(archive,
                     name,
                     {Length(steps), Length(points), 2},
                     steps,
                     2 * points,
                     [&](std::size_t step, std::span<float> uv_px) { pixels(step, uv_px); }));
  episode.views[index].in_image_fraction = pixels.fraction();
  return AddCamera(archive.npz, episode, index);
}

/// What the compact layout has of a camera.
Status AddCompactCamera(NpzWriter& npz,
                        const TrackOptions& options,
                        std::size_t index,
                        EpisodeData& episode) {
  CameraView& view = episode.views[index];
  const ContactTrack& track = TrackOf(episode, index);
  PixelCounter pixels(episode, index, options.MinPointDepthM());
  std::vector<float> uv_px(2 * track.point_count());
  for (std::size_t step = 0; step < track.frame_count(); ++step) pixels(step, uv_px);
  view.in_image_fraction = pixels.fraction();
  DF_RETURN_IF_ERROR(AddPoses<double>({npz, {}},
                                      "T_base_cam_" + episode.cameras[index].serial,
                                      view.T_base_cam.size(),
                                      [&](std::size_t i) { return view.T_base_cam[i]; }));
  return AddCamera(npz, episode, index);
}

/// What stands in both layouts, in front of the cameras and behind them.
Status AddPadPoints(NpzWriter& npz, const EpisodeData& episode) {
  return AddRows<double>({npz, {}},
                         "contact_points_local",
                         {Length(episode.pad_points_m.size()), 3},
                         episode.pad_points_m.size(),
                         3,
                         [&](std::size_t i, std::span<double> out) {
                           std::copy_n(episode.pad_points_m[i].data(), 3, out.begin());
                         });
}

Status AddResampling(NpzWriter& npz, const EpisodeData& episode, const TrackOptions& options) {
  DF_RETURN_IF_ERROR(npz.AddScalar<double>("normalized_step_size_mm", options.step_mm));
  return npz.AddScalar<std::int64_t>("num_normalized_steps", Length(episode.plan.steps.size()));
}

Status AddRobot(NpzWriter& npz, const EpisodeData& episode, const TrackOptions& options) {
  const Trajectory& trajectory = episode.trajectory;
  const std::size_t steps = trajectory.size();
  DF_RETURN_IF_ERROR(
      npz.AddArray<double>("gripper_positions", {Length(steps)}, trajectory.gripper_position));
  DF_RETURN_IF_ERROR(AddRows<double>({npz, {}},
                                     "cartesian_positions",
                                     {Length(steps), 6},
                                     steps,
                                     6,
                                     [&](std::size_t t, std::span<double> out) {
                                       std::ranges::copy(trajectory.cartesian_position[t],
                                                         out.begin());
                                     }));
  DF_RETURN_IF_ERROR(npz.AddScalar<std::int64_t>("num_frames", Length(steps)));
  DF_RETURN_IF_ERROR(
      npz.AddScalar<std::int64_t>("num_points_per_finger", Length(episode.pad_points_m.size())));
  DF_RETURN_IF_ERROR(npz.AddScalar<double>("fps", episode.fps));
  if (!trajectory.step_start_ms.empty()) {
    DF_RETURN_IF_ERROR(
        npz.AddArray<std::int64_t>("timestamps_ms", {Length(steps)}, trajectory.step_start_ms));
  }
  return npz.AddScalar<double>("gripper_joint_max_rad", options.JointMaxRad());
}

Status AddCompact(EpisodeData& episode, const TrackOptions& options, NpzWriter& npz) {
  DF_RETURN_IF_ERROR(npz.AddScalar<std::int64_t>(kCompactKey, kCompactVersion));
  DF_RETURN_IF_ERROR(AddPadPoints(npz, episode));
  DF_RETURN_IF_ERROR(AddResampling(npz, episode, options));
  DF_RETURN_IF_ERROR(
      npz.AddScalar<std::int64_t>("float32_distances", options.Float32Distances() ? 1 : 0));
  DF_RETURN_IF_ERROR(npz.AddScalar<double>("min_point_depth_m", options.MinPointDepthM()));
  for (std::size_t i = 0; i < episode.cameras.size(); ++i) {
    if (!episode.cameras[i].has_tracks_2d()) continue;
    DF_RETURN_IF_ERROR(AddCompactCamera(npz, options, i, episode));
  }
  DF_RETURN_IF_ERROR(npz.AddStrings("cameras_with_2d_tracks", SerialsWithTracks2d(episode)));
  DF_RETURN_IF_ERROR(AddRobot(npz, episode, options));
  DF_RETURN_IF_ERROR(npz.AddArray<double>("gripper_mount_xyz_m", {3}, options.mount_xyz_m));
  return npz.AddArray<double>("gripper_mount_rpy_rad", {3}, options.mount_rpy_rad);
}

Status AddFull(EpisodeData& episode, const TrackOptions& options, const RowArchive& archive) {
  NpzWriter& npz = archive.npz;
  const ContactTrack& track = *episode.track;
  const ResamplePlan& plan = episode.plan;
  ResampledTrack resampled(track, plan);
  const std::size_t frames = track.frame_count();
  const std::size_t steps = plan.steps.size();
  const std::size_t points = track.point_count();

  DF_RETURN_IF_ERROR(
      AddRows<float>(archive,
                     "tracks_3d",
                     {Length(frames), Length(points), 3},
                     frames,
                     3 * points,
                     [&](std::size_t t, std::span<float> xyz_m) { track.PointsAt(t, xyz_m); }));
  DF_RETURN_IF_ERROR(AddPadPoints(npz, episode));
  DF_RETURN_IF_ERROR(AddPoints(
      archive, "contact_centroids", frames, [&](std::size_t t) { return track.Centroid(t); }));
  DF_RETURN_IF_ERROR(AddPoses<float>(
      archive, "contact_frames", frames, [&](std::size_t t) { return track.ContactFrame(t); }));
  DF_RETURN_IF_ERROR(AddPoses<float>(archive, "left_contact_frames", frames, [&](std::size_t t) {
    return track.LeftContactFrame(t);
  }));
  DF_RETURN_IF_ERROR(AddPoses<float>(archive, "right_contact_frames", frames, [&](std::size_t t) {
    return track.RightContactFrame(t);
  }));
  DF_RETURN_IF_ERROR(
      AddRows<float>(archive,
                     "normalized_tracks_3d",
                     {Length(steps), Length(points), 3},
                     steps,
                     3 * points,
                     [&](std::size_t m, std::span<float> xyz_m) { resampled.PointsAt(m, xyz_m); }));
  DF_RETURN_IF_ERROR(AddPoints(archive, "normalized_centroids", steps, [&](std::size_t m) {
    return resampled.Centroid(m);
  }));
  DF_RETURN_IF_ERROR(AddPoses<float>(archive, "normalized_frames", steps, [&](std::size_t m) {
    return resampled.ContactFrame(m);
  }));
  DF_RETURN_IF_ERROR(AddPoses<float>(archive, "normalized_left_frames", steps, [&](std::size_t m) {
    return resampled.LeftContactFrame(m);
  }));
  DF_RETURN_IF_ERROR(AddPoses<float>(archive, "normalized_right_frames", steps, [&](std::size_t m) {
    return resampled.RightContactFrame(m);
  }));
  DF_RETURN_IF_ERROR(AddRows<double>(archive,
                                     "cumulative_distance_mm",
                                     {Length(frames)},
                                     frames,
                                     1,
                                     [&](std::size_t t, std::span<double> out) {
                                       out[0] = plan.cumulative_distance_m[t] * kMillimetres;
                                     }));
  DF_RETURN_IF_ERROR(
      npz.AddArray<std::int32_t>("frame_to_normalized_idx", {Length(frames)}, plan.frame_to_step));
  DF_RETURN_IF_ERROR(AddResampling(npz, episode, options));
  for (std::size_t i = 0; i < episode.cameras.size(); ++i) {
    if (!episode.cameras[i].has_tracks_2d()) continue;
    DF_RETURN_IF_ERROR(AddTracks2d(archive, options, i, episode));
  }
  DF_RETURN_IF_ERROR(npz.AddStrings("cameras_with_2d_tracks", SerialsWithTracks2d(episode)));
  DF_RETURN_IF_ERROR(AddPoses<double>(
      archive, "gripper_poses", frames, [&](std::size_t t) { return track.gripper_pose(t); }));
  return AddRobot(npz, episode, options);
}

}  // namespace

std::vector<std::string> SerialsWithTracks2d(const EpisodeData& episode) {
  std::vector<std::string> serials;
  for (const EpisodeCamera& camera : episode.cameras) {
    if (camera.has_tracks_2d()) serials.push_back(camera.serial);
  }
  return serials;
}

GripperModel GripperOf(const TrackOptions& options) {
  return {.joint_max_rad = options.JointMaxRad(),
          .mount_xyz_m = Vector3(options.mount_xyz_m.data()),
          .mount_rpy_rad = Vector3(options.mount_rpy_rad.data())};
}

std::vector<Transform> EePoses(const Trajectory& trajectory) {
  std::vector<Transform> T_base_ee;
  T_base_ee.reserve(trajectory.size());
  for (const PoseVector& pose : trajectory.cartesian_position) {
    T_base_ee.push_back(TransformFromPoseVector(pose));
  }
  return T_base_ee;
}

Status ComputeTracks(const TrackOptions& options,
                     std::span<const Transform> T_base_ee,
                     EpisodeData& episode) {
  episode.track.emplace(
      T_base_ee, episode.trajectory.gripper_position, GripperOf(options), episode.pad_points_m);
  DF_ASSIGN_OR_RETURN(episode.plan,
                      PlanResample(CentroidsAsStored(*episode.track),
                                   options.step_mm / 1000.0,
                                   options.Float32Distances() ? DistancePrecision::kFloat32
                                                              : DistancePrecision::kFloat64));
  return {};
}

Status AddTracks(EpisodeData& episode,
                 const TrackOptions& options,
                 std::span<const std::string_view> only,
                 NpzWriter& npz) {
  DF_CHECK(episode.track.has_value() && episode.views.size() == episode.cameras.size());
  if (options.tracks_layout == TracksLayout::kCompact) return AddCompact(episode, options, npz);
  return AddFull(episode, options, {npz, only});
}

Status WriteTracksNpz(EpisodeData& episode,
                      const TrackOptions& options,
                      const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(NpzWriter npz, NpzWriter::Create(path, options.compress));
  DF_RETURN_IF_ERROR(AddTracks(episode, options, {}, npz));
  return npz.Finish();
}

}  // namespace droidflow

#pragma once

#include "droidflow/geometry/pose.h"
#include "droidflow/geometry/projection.h"

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace droidflow {

/// What trajectory.h5 says of one camera.
struct TrajectoryCamera {
  std::optional<int> type;               ///< 0 hand, 1 varied, 2 fixed
  std::optional<PoseVector> left_base;   ///< pose of the left lens in base at step 0
  std::optional<PoseVector> right_base;  ///< pose of the right lens in base at step 0
  /// Pose of the left lens in the ee frame ("_left_gripper_offset"), [T] rows or empty.
  std::vector<PoseVector> left_ee;
  std::vector<std::int64_t> frame_received_ms;     ///< [T] Unix ms, or empty
  std::vector<std::int64_t> estimated_capture_ms;  ///< [T] Unix ms, or empty
  /// fx fy cx cy of the left lens at step 0, from camera_intrinsics; its width and height are 0
  /// (the file does not say them).
  std::optional<Intrinsics> intrinsics;
};

/// The used part of trajectory.h5.
///
/// Frame    robot base; poses are of the end effector (`ee`, panda_link8).
/// Shape    [T] everywhere; T >= 1.
/// Unit     metres, radians, Unix milliseconds; gripper 0 open … 1 closed.
/// Invalid  never: non-finite values and wrong shapes are refused while reading.
struct Trajectory {
  std::vector<PoseVector> cartesian_position;
  std::vector<double> gripper_position;        ///< within [-0.05, 1.05], as recorded
  std::vector<std::int64_t> step_start_ms;     ///< empty when the file has no usable timestamps
  std::vector<std::uint8_t> movement_enabled;  ///< empty when absent
  std::vector<std::uint8_t> skip_action;       ///< empty when absent
  /// By serial. Only `type` says that a camera is on this robot: the list also holds stale serials.
  std::map<std::string, TrajectoryCamera> cameras;

  [[nodiscard]] std::size_t size() const { return cartesian_position.size(); }
};

/// Keeps the first `frames` steps; does nothing for a shorter trajectory.
void TruncateTrajectory(Trajectory& trajectory, std::size_t frames);

/// What DROID was recorded at, where times do not tell.
inline constexpr double kDefaultFps = 15;

/// Control steps a second: 1000 over the mean step, without pauses of more than three times the
/// median step.
///
/// Unit     Unix milliseconds in, Hz out.
/// Invalid  nothing for fewer than two times, or if time stands still.
[[nodiscard]] std::optional<double> MeasureControlRate(std::span<const std::int64_t> step_start_ms);

}  // namespace droidflow

#pragma once

#include "droidflow/geometry/pose.h"

#include <cstdint>
#include <span>
#include <vector>

namespace droidflow {

/// T_ee_cam of a camera mounted on the hand, from its pose in base at a moment when the end
/// effector's is known. T_base_cam at any other moment is then T_base_ee * T_ee_cam.
///
/// Source   DROID's metadata gives the wrist camera's pose in base at step 0.
[[nodiscard]] Transform HandCameraInEe(const Transform& T_base_ee, const Transform& T_base_cam);

/// What the robot is doing at some moments.
struct RobotStates {
  std::vector<Transform> T_base_ee;
  std::vector<double> gripper_position;
};

/// The robot's states at the moments when images were taken, which are not those of the control
/// steps.
///
/// Position and gripper are linear between the steps around a moment, the rotation is spherical
/// linear. Before the first step and after the last the state is theirs. Steps with equal or
/// decreasing timestamps (a clock that was set) are accepted: the search for a moment's neighbours
/// starts at its own step and goes to the nearest ones that enclose it.
///
/// Shape    everything [T]; moment t belongs to step t.
/// Unit     Unix milliseconds.
[[nodiscard]] RobotStates InterpolateAt(std::span<const Transform> T_base_ee,
                                        std::span<const double> gripper_position,
                                        std::span<const std::int64_t> step_start_ms,
                                        std::span<const std::int64_t> moments_ms);

}  // namespace droidflow

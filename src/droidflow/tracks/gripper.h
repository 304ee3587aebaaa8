#pragma once

#include "droidflow/geometry/pose.h"

#include <numbers>

namespace droidflow {

/// Full travel of the Robotiq 2F-85's finger joint, from open to pads touching (0.6 mm apart).
/// Source   robotiq_arg85_description URDF, finger_joint's upper limit.
inline constexpr double kFingerJointMax_rad = 0.725;

/// What the original pipeline takes for it: drives the pads 7.9 mm through each other.
inline constexpr double kOriginalFingerJointMax_rad = 0.8;

/// A Robotiq 2F-85 gripper on the robot's end effector.
///
/// Frame    ee: panda_link8. gripper: the gripper's base, z out of the hand, fingers open along x.
///          left, right: the inner fingers; the pad's face looks along -x.
struct GripperModel {
  double joint_max_rad = kFingerJointMax_rad;
  /// The gripper's pose in ee: origin and angles about the fixed axes x, y, z.
  Vector3 mount_xyz_m = Vector3::Zero();
  Vector3 mount_rpy_rad = {0, 0, std::numbers::pi / 2};
};

[[nodiscard]] Transform GripperMount(const GripperModel& model);

/// Angle of the finger joint at a recorded gripper position (0 open … 1 closed, clamped to that).
[[nodiscard]] double FingerJoint(const GripperModel& model, double gripper_position);

/// Poses of the inner fingers in the gripper's frame.
/// Source   robotiq_arg85_description URDF: base -> outer knuckle -> inner finger, which stays
/// parallel.
[[nodiscard]] Transform LeftFingerInGripper(double joint_rad);
[[nodiscard]] Transform RightFingerInGripper(double joint_rad);

}  // namespace droidflow

#include "droidflow/tracks/gripper.h"

#include <algorithm>

namespace droidflow {
namespace {

// Joint origins of robotiq_arg85_description's URDF, in metres. The right side's differ from the
// left's by up to half a millimetre there as well.
const Vector3 kLeftKnuckleInGripper_m = {0.0127, 0, 0.0693};
const Vector3 kRightKnuckleInGripper_m = {-0.0127, 0, 0.0693};
const Vector3 kLeftFingerInKnuckle_m = {0.03458531, 0, 0.04549702};
const Vector3 kRightFingerInKnuckle_m = {0.03410605, 0, 0.04585739};

}  // namespace

Transform GripperMount(const GripperModel& model) {
  const Vector3& xyz = model.mount_xyz_m;
  const Vector3& rpy = model.mount_rpy_rad;
  return TransformFromPoseVector({xyz.x(), xyz.y(), xyz.z(), rpy.x(), rpy.y(), rpy.z()});
}

double FingerJoint(const GripperModel& model, double gripper_position) {
  return std::clamp(gripper_position, 0.0, 1.0) * model.joint_max_rad;
}

Transform LeftFingerInGripper(double joint_rad) {
  const Transform T_gripper_knuckle = MakeTransform(RotationY(-joint_rad), kLeftKnuckleInGripper_m);
  const Transform T_knuckle_left = MakeTransform(RotationY(joint_rad), kLeftFingerInKnuckle_m);
  return T_gripper_knuckle * T_knuckle_left;
}

Transform RightFingerInGripper(double joint_rad) {
  const Matrix3 half_turn = Eigen::DiagonalMatrix<double, 3>(-1, -1, 1);  // Rz(pi)
  const Transform T_gripper_knuckle =
      MakeTransform(half_turn * RotationY(-joint_rad), kRightKnuckleInGripper_m);
  const Transform T_knuckle_right = MakeTransform(RotationY(joint_rad), kRightFingerInKnuckle_m);
  return T_gripper_knuckle * T_knuckle_right;
}

}  // namespace droidflow

#include "droidflow/tracks/gripper.h"

#include <gtest/gtest.h>

namespace droidflow {
namespace {

constexpr double kPadX_m = -0.0078;  // the pad's face in the inner finger's frame

// Free space between the two pads; negative when one is inside the other.
double PadGap(double joint_rad) {
  const Vector3 pad_m(kPadX_m, 0, 0.02);
  return (LeftFingerInGripper(joint_rad) * pad_m).x() -
         (RightFingerInGripper(joint_rad) * pad_m).x();
}

TEST(Gripper, OpenFingersStandWhereTheUrdfPutsThem) {
  EXPECT_LT((LeftFingerInGripper(0).translation() - Vector3(0.04728531, 0, 0.11479702)).norm(),
            1e-15);
  EXPECT_LT((RightFingerInGripper(0).translation() - Vector3(-0.04680605, 0, 0.11515739)).norm(),
            1e-15);
}

TEST(Gripper, PadsAlmostTouchAtTheJointsLimit) {
  EXPECT_NEAR(PadGap(kFingerJointMax_rad), 0.0006, 0.00005);
  EXPECT_NEAR(PadGap(0.722), 0.0010, 0.00005);
  EXPECT_NEAR(PadGap(kOriginalFingerJointMax_rad), -0.0079, 0.00005);
}

TEST(Gripper, FingersStayParallelAndFaceEachOther) {
  for (const double joint_rad : {0.0, 0.3, kFingerJointMax_rad}) {
    const Matrix3 left = LeftFingerInGripper(joint_rad).linear();
    const Matrix3 right = RightFingerInGripper(joint_rad).linear();
    EXPECT_LT((left - Matrix3::Identity()).norm(), 1e-15);
    EXPECT_LT((right * Vector3(-1, 0, 0) - Vector3(1, 0, 0)).norm(), 1e-15);
    EXPECT_LT((right * Vector3(0, 0, 1) - Vector3(0, 0, 1)).norm(), 1e-15);
  }
}

TEST(Gripper, FingersOpenAlongTheHandsYAxis) {
  const Transform T_ee_left = GripperMount({}) * LeftFingerInGripper(0);
  EXPECT_LT((T_ee_left.translation() - Vector3(0, 0.04728531, 0.11479702)).norm(), 1e-15);
}

TEST(Gripper, MountIsAParameter) {
  const GripperModel model{.mount_xyz_m = {0.1, 0, 0}, .mount_rpy_rad = {0, 0, 0}};
  EXPECT_LT((GripperMount(model) * Vector3(1, 2, 3) - Vector3(1.1, 2, 3)).norm(), 1e-15);
}

TEST(Gripper, PositionIsClampedToItsRange) {
  const GripperModel model;
  EXPECT_EQ(FingerJoint(model, 0.5), 0.3625);
  EXPECT_EQ(FingerJoint(model, -0.04), 0);
  EXPECT_EQ(FingerJoint(model, 1.05), 0.725);
}

}  // namespace
}  // namespace droidflow

#include "droidflow/tracks/gripper_shape.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

constexpr Intrinsics kCamera{
    .fx_px = 100, .fy_px = 100, .cx_px = 50, .cy_px = 40, .width_px = 101, .height_px = 81};

TEST(DrawBoxes, ShowsTheNearFaceOfABoxBeforeTheCamera) {
  // 20 cm wide and 10 cm tall, its near face 1 m away: 20 x 10 pixels about the middle.
  OrientedBox box{.half_m = {0.1, 0.05, 0.25}};
  box.pose.translation() = Vector3(0, 0, 1.25);
  Image<float> depth_m;
  DrawBoxes(std::array{box}, Transform::Identity(), kCamera, depth_m);
  for (int v = 0; v < 81; ++v) {
    for (int u = 0; u < 101; ++u) {
      const int du = std::abs(u - 50);
      const int dv = std::abs(v - 40);
      if (du == 10 || dv == 5) continue;  // the very edge
      ASSERT_NEAR(depth_m.at(u, v), du < 10 && dv < 5 ? 1 : 0, 1e-6) << u << " " << v;
    }
  }
}

TEST(DrawBoxes, ShowsTheNearerOfTwoAndNothingBehindTheCamera) {
  OrientedBox near_box{.half_m = {0.1, 0.1, 0.1}};
  near_box.pose.translation() = Vector3(0, 0, 0.6);
  OrientedBox far_box{.half_m = {0.3, 0.3, 0.1}};
  far_box.pose.translation() = Vector3(0, 0, 1.1);
  OrientedBox behind{.half_m = {0.3, 0.3, 0.1}};
  behind.pose.translation() = Vector3(0, 0, -1);
  Image<float> depth_m;
  DrawBoxes(std::array{far_box, near_box, behind}, Transform::Identity(), kCamera, depth_m);
  EXPECT_NEAR(depth_m.at(50, 40), 0.5, 1e-6);
  EXPECT_NEAR(depth_m.at(75, 40), 1, 1e-6);
  EXPECT_EQ(depth_m.at(85, 40), 0);
}

TEST(GripperShape, FingersComeTogetherAsTheGripperCloses) {
  const auto gap_m = [](double joint_rad) {
    const GripperShape shape = GripperShapeAt(joint_rad);
    const auto& left = shape.fingers[1];
    const auto& right = shape.fingers[3];
    return left.pose.translation().x() - left.half_m.x() -
           (right.pose.translation().x() + right.half_m.x());
  };
  EXPECT_NEAR(gap_m(0), 0.0785, 0.001);  // 2 x (47.0 - 7.8) mm
  EXPECT_NEAR(gap_m(0.725), 0.0006, 0.0005);
}

TEST(GripperShape, FingersReachAsFarAsTheUrdfSays) {
  const GripperShape open = GripperShapeAt(0);
  const double tip_m = open.fingers[1].pose.translation().z() + open.fingers[1].half_m.z();
  EXPECT_NEAR(tip_m, 0.1148 + 0.044, 0.0002);
}

}  // namespace
}  // namespace droidflow

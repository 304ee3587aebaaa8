#include "droidflow/tracks/contact_track.h"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

const std::vector<Vector3> kPad_m = {
    {-0.0078, -0.01, 0.01}, {-0.0078, 0.01, 0.01}, {-0.0078, 0.003, 0.04}};

std::vector<Transform> SomePoses(std::size_t count) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> value(-1, 1);
  std::vector<Transform> poses;
  for (std::size_t i = 0; i < count; ++i) {
    poses.push_back(TransformFromPoseVector({value(random),
                                             value(random),
                                             value(random),
                                             3 + value(random),
                                             value(random),
                                             3 * value(random)}));
  }
  return poses;
}

ContactTrack SomeTrack() {
  return ContactTrack(SomePoses(4), std::vector{0.0, 0.3, 1.0, -0.02}, {}, kPad_m);
}

std::vector<Vector3> PointsOf(const ContactTrack& track, std::size_t frame) {
  std::vector<double> xyz_m(3 * track.point_count());
  track.PointsAt(frame, std::span<double>(xyz_m));
  std::vector<Vector3> points;
  for (std::size_t i = 0; i < xyz_m.size(); i += 3) {
    points.emplace_back(xyz_m[i], xyz_m[i + 1], xyz_m[i + 2]);
  }
  return points;
}

TEST(ContactTrack, GivesTheNumbersWorkedByHand) {
  // Hand at the origin: the mount turns gripper x to y. Open left finger at (0.04728531, 0,
  // 0.11479702).
  const std::vector<Vector3> pad_m = {{-0.0078, 0.011, 0.02}};
  const ContactTrack track(std::vector{Transform::Identity()}, std::vector{0.0}, {}, pad_m);
  ASSERT_EQ(track.frame_count(), 1);
  ASSERT_EQ(track.point_count(), 2);
  const std::vector<Vector3> points = PointsOf(track, 0);
  const Vector3 left_m(-0.011, 0.03948531, 0.13479702);
  const Vector3 right_m(0.011, -0.03900605, 0.13515739);  // its finger is turned by half a turn
  EXPECT_LT((points[0] - left_m).norm(), 1e-15);
  EXPECT_LT((points[1] - right_m).norm(), 1e-15);
  EXPECT_LT((track.Centroid(0) - 0.5 * (left_m + right_m)).norm(), 1e-15);
  EXPECT_LT((track.LeftContactFrame(0).translation() - left_m).norm(), 1e-15);
  EXPECT_LT((track.RightContactFrame(0).translation() - right_m).norm(), 1e-15);
}

TEST(ContactTrack, MovesEachFingerAsARigidBody) {
  const ContactTrack track = SomeTrack();
  for (std::size_t frame = 0; frame < track.frame_count(); ++frame) {
    const std::vector<Vector3> points = PointsOf(track, frame);
    for (std::size_t i = 0; i < 3; ++i) {
      const double want_m = (kPad_m[i] - kPad_m[(i + 1) % 3]).norm();
      EXPECT_NEAR((points[i] - points[(i + 1) % 3]).norm(), want_m, 1e-15);
      EXPECT_NEAR((points[3 + i] - points[3 + (i + 1) % 3]).norm(), want_m, 1e-15);
    }
  }
}

TEST(ContactTrack, CentroidsAreTheMeansOfThePoints) {
  const ContactTrack track = SomeTrack();
  for (std::size_t frame = 0; frame < track.frame_count(); ++frame) {
    const std::vector<Vector3> p_m = PointsOf(track, frame);
    const Vector3 left_m = (p_m[0] + p_m[1] + p_m[2]) / 3;
    const Vector3 right_m = (p_m[3] + p_m[4] + p_m[5]) / 3;
    EXPECT_LT((track.LeftContactFrame(frame).translation() - left_m).norm(), 1e-15);
    EXPECT_LT((track.RightContactFrame(frame).translation() - right_m).norm(), 1e-15);
    EXPECT_LT((track.ContactFrame(frame).translation() - (left_m + right_m) / 2).norm(), 1e-15);
  }
}

TEST(ContactTrack, FramesHaveTheGrippersAndTheFingersRotation) {
  const ContactTrack track = SomeTrack();
  const std::vector<Transform> T_base_ee = SomePoses(4);
  for (std::size_t frame = 0; frame < track.frame_count(); ++frame) {
    const Matrix3 gripper = T_base_ee[frame].linear() * RotationZ(1.5707963267948966);
    EXPECT_LT((track.ContactFrame(frame).linear() - gripper).norm(), 1e-15);
    EXPECT_LT((track.LeftContactFrame(frame).linear() - gripper).norm(), 1e-15);
    EXPECT_LT(
        (track.RightContactFrame(frame).linear() - gripper * RotationZ(3.141592653589793)).norm(),
        1e-15);
  }
}

TEST(ContactTrack, PositionsBelowZeroCountAsOpen) {
  const std::vector<Transform> poses(2, Transform::Identity());
  const ContactTrack track(poses, std::vector{0.0, -0.05}, {}, kPad_m);
  EXPECT_EQ(PointsOf(track, 0), PointsOf(track, 1));
}

TEST(ContactTrack, FloatPointsAreTheRoundedOnes) {
  const ContactTrack track = SomeTrack();
  const std::vector<Vector3> want_m = PointsOf(track, 1);
  std::vector<float> have_m(3 * track.point_count());
  track.PointsAt(1, std::span<float>(have_m));
  for (std::size_t i = 0; i < have_m.size(); ++i) {
    EXPECT_EQ(have_m[i], static_cast<float>(want_m[i / 3][static_cast<Eigen::Index>(i % 3)]));
  }
}

TEST(ContactTrack, PixelsAreThoseOfProjectPoint) {
  const ContactTrack track = SomeTrack();
  const Intrinsics camera{.fx_px = 525, .fy_px = 530, .cx_px = 640, .cy_px = 360};
  const Transform T_base_cam = TransformFromPoseVector({0.1, 0.2, -0.3, 0.5, -0.4, 0.3});
  int hidden = 0;
  int seen = 0;
  for (std::size_t frame = 0; frame < track.frame_count(); ++frame) {
    std::vector<float> uv_px(2 * track.point_count());
    track.PixelsAt(frame, camera, T_base_cam, 0.1, uv_px);
    const std::vector<Vector3> p_base_m = PointsOf(track, frame);
    for (std::size_t i = 0; i < p_base_m.size(); ++i) {
      const Pixel want = ProjectPoint(camera, T_base_cam.inverse() * p_base_m[i], 0.1);
      ++(std::isnan(want.u_px) ? hidden : seen);
      EXPECT_EQ(std::isnan(uv_px[2 * i]), std::isnan(want.u_px));
      EXPECT_EQ(std::isnan(uv_px[2 * i + 1]), std::isnan(want.v_px));
      if (std::isnan(want.u_px)) continue;
      EXPECT_NEAR(uv_px[2 * i], want.u_px, 1e-3);
      EXPECT_NEAR(uv_px[2 * i + 1], want.v_px, 1e-3);
    }
  }
  EXPECT_GT(hidden, 0);
  EXPECT_GT(seen, 0);
}

TEST(ContactTrack, APointAtTheMinimumDepthIsNotSeen) {
  const ContactTrack track(
      std::vector{Transform::Identity()}, std::vector{0.0}, {}, std::vector{Vector3(0, 0, 0)});
  Transform T_base_cam = Transform::Identity();
  T_base_cam.translation().z() = track.left_pose(0).translation().z() - 0.5;
  std::vector<float> uv_px(4);
  track.PixelsAt(0, {.fx_px = 1, .fy_px = 1}, T_base_cam, 0.5, uv_px);
  EXPECT_TRUE(std::isnan(uv_px[0]) && std::isnan(uv_px[1]));
  EXPECT_FALSE(std::isnan(uv_px[2]) || std::isnan(uv_px[3]));  // the right finger is 0.36 mm deeper
}

TEST(ContactTrackDeathTest, ListsOfDifferentLengthsAreAMistakeOfTheCaller) {
  EXPECT_DEATH(ContactTrack(SomePoses(2), std::vector{0.0}, {}, kPad_m), "2 poses, 1 gripper");
}

}  // namespace
}  // namespace droidflow

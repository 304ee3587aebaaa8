#include "droidflow/tracks/camera_poses.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using Times = std::vector<std::int64_t>;

constexpr std::int64_t kStart_ms = 1'691'882'767'000;

// Step i at x = i, turned by 0.2 i about z, gripper at i / 10.
RobotStates Moving(std::size_t steps) {
  RobotStates states;
  for (std::size_t i = 0; i < steps; ++i) {
    const auto x = static_cast<double>(i);
    states.T_base_ee.push_back(MakeTransform(RotationZ(0.2 * x), {x, 0, 0}));
    states.gripper_position.push_back(x / 10);
  }
  return states;
}

// Where along x the hand is at each moment.
std::vector<double> Places(const Times& step_start_ms, const Times& moments_ms) {
  const RobotStates steps = Moving(step_start_ms.size());
  const RobotStates states =
      InterpolateAt(steps.T_base_ee, steps.gripper_position, step_start_ms, moments_ms);
  std::vector<double> places;
  for (std::size_t i = 0; i < states.T_base_ee.size(); ++i) {
    const double x = states.T_base_ee[i].translation().x();
    EXPECT_NEAR(states.gripper_position[i], x / 10, 1e-15);
    EXPECT_LT((states.T_base_ee[i].linear() - RotationZ(0.2 * x)).norm(), 1e-14);
    places.push_back(x);
  }
  return places;
}

TEST(HandCameraInEe, CarriesTheCameraWithTheHand) {
  const Transform T_base_ee = TransformFromPoseVector({0.4, 0.1, 0.3, 3.1, 0.1, -0.7});
  const Transform T_ee_cam = TransformFromPoseVector({0.03, 0.05, -0.02, 0.3, 0.1, 1.5});
  const Transform found = HandCameraInEe(T_base_ee, T_base_ee * T_ee_cam);
  EXPECT_LT((found.matrix() - T_ee_cam.matrix()).norm(), 1e-15);
}

TEST(InterpolateAt, GivesTheNumbersWorkedByHand) {
  EXPECT_THAT(Places({kStart_ms, kStart_ms + 100, kStart_ms + 300},
                     {kStart_ms + 50, kStart_ms + 100, kStart_ms + 150}),
              ElementsAre(DoubleEq(0.5), DoubleEq(1), DoubleEq(1.25)));
}

TEST(InterpolateAt, StaysAtTheEnds) {
  EXPECT_THAT(Places({1000, 1100}, {900, 5000}), ElementsAre(0, 1));
  EXPECT_THAT(Places({1000}, {900}), ElementsAre(0));
}

TEST(InterpolateAt, AcceptsStepsWithEqualTimes) {
  EXPECT_THAT(Places({1000, 1000, 1000, 1100}, {1000, 950, 1050, 1100}),
              ElementsAre(2, 0, DoubleEq(2.5), 3));
}

TEST(InterpolateAt, AClockThatWasSetBackLeavesTheOtherStepsAlone) {
  // The fourth step's clock is 1000 ms back; images are 50 ms older than their step.
  EXPECT_THAT(Places({2000, 2100, 2200, 1300, 1400}, {1950, 2050, 2150, 1250, 1350}),
              ElementsAre(0, DoubleEq(0.5), DoubleEq(1.5), 0, DoubleEq(3.5)));
}

TEST(InterpolateAt, SurvivesTimesAtTheEndsOfTheirRange) {
  constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  EXPECT_THAT(Places({kMin, kMax}, {0, kMax}), ElementsAre(DoubleEq(0.5), 1));
}

TEST(InterpolateAt, NoStepsGiveNoStates) { EXPECT_TRUE(Places({}, {}).empty()); }

}  // namespace
}  // namespace droidflow

#include "droidflow/pipeline/idle_steps.h"

#include <vector>

#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Trajectory Resting(std::size_t steps) {
  Trajectory trajectory;
  trajectory.cartesian_position.resize(steps);
  trajectory.gripper_position.assign(steps, 0.5);
  return trajectory;
}

TEST(IdleRanges, AreStepsThatDoNotLeadFarEnough) {
  // 10 Hz, 0.1 m/s: 10 mm a step is the limit.
  const std::vector<double> distance_m = {0, 0.02, 0.029, 0.030, 0.05, 0.055};
  EXPECT_THAT(FindIdleRanges(Resting(6), distance_m, 10, 0.1),
              ElementsAre(StepRange{1, 3}, StepRange{4, 6}));
}

TEST(IdleRanges, GoByTheTimesOfStepsWhereThereAreAny) {
  Trajectory trajectory = Resting(4);
  trajectory.step_start_ms = {1000, 1100, 2100, 2200};
  const std::vector<double> distance_m = {0, 0.02, 0.04, 0.06};
  EXPECT_THAT(FindIdleRanges(trajectory, distance_m, 1, 0.1), ElementsAre(StepRange{1, 2}));
}

TEST(IdleRanges, LeaveOutStepsInWhichTheGripperMoves) {
  Trajectory trajectory = Resting(5);
  trajectory.gripper_position = {0, 0, 0.009, 0.02, 0.02};
  EXPECT_THAT(FindIdleRanges(trajectory, std::vector<double>(5), 15, 0.0075),
              ElementsAre(StepRange{0, 2}, StepRange{3, 5}));
}

TEST(IdleRanges, HaveStepsWithoutMovementEnabled) {
  Trajectory trajectory = Resting(4);
  trajectory.movement_enabled = {1, 0, 1, 0};
  const std::vector<double> distance_m = {0, 1, 2, 3};
  EXPECT_THAT(FindIdleRanges(trajectory, distance_m, 15, 0.0075),
              ElementsAre(StepRange{1, 2}, StepRange{3, 4}));
}

TEST(IdleRanges, OfOneStepAreIt) {
  EXPECT_THAT(FindIdleRanges(Resting(1), std::vector<double>(1), 15, 0),
              ElementsAre(StepRange{0, 1}));
  EXPECT_THAT(FindIdleRanges(Resting(2), std::vector<double>(2), 15, 0), IsEmpty());
}

}  // namespace
}  // namespace droidflow

#include "droidflow/episode/trajectory.h"

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using ::testing::Eq;
using ::testing::Optional;

TEST(MeasureControlRate, IsAThousandOverTheMeanStep) {
  // Steps of 60 and 80 ms: 70 ms on average.
  constexpr std::array<std::int64_t, 3> kTimes_ms{1000, 1060, 1140};
  EXPECT_THAT(MeasureControlRate(kTimes_ms), Optional(1000.0 / 70.0));
}

TEST(MeasureControlRate, LeavesOutPausesOfMoreThanThreeTimesTheMedian) {
  // Steps 50, 50, 50, 151, 150: the median is 50, so 151 goes and 150 stays: 300 ms over 4 steps.
  constexpr std::array<std::int64_t, 6> kTimes_ms{0, 50, 100, 150, 301, 451};
  EXPECT_THAT(MeasureControlRate(kTimes_ms), Optional(1000.0 * 4 / 300));
}

TEST(MeasureControlRate, IsUnknownForOneStepAndForNone) {
  constexpr std::array<std::int64_t, 1> kOne_ms{5};
  EXPECT_THAT(MeasureControlRate(kOne_ms), Eq(std::nullopt));
  EXPECT_THAT(MeasureControlRate({}), Eq(std::nullopt));
}

}  // namespace
}  // namespace droidflow

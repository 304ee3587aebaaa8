#include "droidflow/pipeline/frame_pairing.h"

#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::Optional;

constexpr std::int64_t kStart_ms = 1'700'000'000'000;

std::vector<std::int64_t> Milliseconds(std::initializer_list<int> offsets) {
  std::vector<std::int64_t> times;
  for (const int offset : offsets) times.push_back(kStart_ms + offset);
  return times;
}

std::vector<std::int64_t> Nanoseconds(std::initializer_list<double> offsets_ms) {
  std::vector<std::int64_t> times;
  for (const double offset_ms : offsets_ms) {
    times.push_back(kStart_ms * 1'000'000 + static_cast<std::int64_t>(offset_ms * 1e6));
  }
  return times;
}

TEST(PairFrames, TakesTheFrameNearestInTime) {
  const auto steps_ms = Milliseconds({0, 70, 140, 210});
  const auto received_ms = Milliseconds({-15, 55, 125, 195});
  // The recorder started a frame early and lost the third step's.
  const auto frames_ns = Nanoseconds({-85, -14.5, 56, 194});
  const FramePairing pairing = PairFrames({.steps = 4,
                                           .received_ms = received_ms,
                                           .step_start_ms = steps_ms,
                                           .frame_ns = frames_ns,
                                           .frame_count = 4});
  EXPECT_EQ(pairing.paired_by, PairedBy::kTimestamps);
  EXPECT_THAT(pairing.step_to_frame, ElementsAre(1, 2, -1, 3));
  EXPECT_THAT(pairing.difference_ms,
              ElementsAre(Optional(0.5), Optional(1.0), Eq(std::nullopt), Optional(-1.0)));
  EXPECT_EQ(pairing.MatchedSteps(), 3);
  EXPECT_FALSE(pairing.times_disagree);
}

TEST(PairFrames, ReachesHalfAStepAndNoFurther) {
  const auto steps_ms = Milliseconds({0, 70, 140});
  const auto frames_ns = Nanoseconds({35, 105.5, 175.000001});
  const FramePairing pairing = PairFrames({.steps = 3,
                                           .received_ms = steps_ms,
                                           .step_start_ms = steps_ms,
                                           .frame_ns = frames_ns,
                                           .frame_count = 3});
  // 0 is 35 from the first; 70 is 35 from the first; 140 is 34.5 from the second.
  EXPECT_THAT(pairing.step_to_frame, ElementsAre(0, 0, 1));
}

TEST(PairFrames, GoesByIndexWhenTheClocksHaveNothingInCommon) {
  const auto steps_ms = Milliseconds({0, 70, 140});
  const std::vector<std::int64_t> since_boot_ns = {5'000'000, 75'000'000, 145'000'000};
  const FramePairing pairing = PairFrames({.steps = 3,
                                           .received_ms = steps_ms,
                                           .step_start_ms = steps_ms,
                                           .frame_ns = since_boot_ns,
                                           .frame_count = 3});
  EXPECT_EQ(pairing.paired_by, PairedBy::kIndex);
  EXPECT_TRUE(pairing.times_disagree);
  EXPECT_THAT(pairing.step_to_frame, ElementsAre(0, 1, 2));
  EXPECT_THAT(pairing.difference_ms, Each(Optional(5.0 - static_cast<double>(kStart_ms))));
}

TEST(PairFrames, GoesByTimeWhenHalfOfTheStepsFindAFrame) {
  const auto steps_ms = Milliseconds({0, 70, 140, 210});
  const auto frames_ns = Nanoseconds({1, 71});
  FrameClocks clocks{.steps = 4,
                     .received_ms = steps_ms,
                     .step_start_ms = steps_ms,
                     .frame_ns = frames_ns,
                     .frame_count = 2};
  EXPECT_THAT(PairFrames(clocks).step_to_frame, ElementsAre(0, 1, -1, -1));
  EXPECT_EQ(PairFrames(clocks).paired_by, PairedBy::kTimestamps);
  const auto one_frame_ns = Nanoseconds({71});
  clocks.frame_ns = one_frame_ns;
  clocks.frame_count = 1;
  EXPECT_EQ(PairFrames(clocks).paired_by, PairedBy::kIndex);
  EXPECT_TRUE(PairFrames(clocks).times_disagree);
}

TEST(PairFrames, GoesByIndexWithoutTimes) {
  EXPECT_THAT(PairFrames({.steps = 4, .frame_count = 3}).step_to_frame, ElementsAre(0, 1, 2, -1));
  EXPECT_THAT(PairFrames({.steps = 2, .frame_count = 5}).step_to_frame, ElementsAre(0, 1));
  // The number of frames of an SVO file is not known before it is decoded.
  EXPECT_THAT(PairFrames({.steps = 3}).step_to_frame, ElementsAre(0, 1, -1));
  EXPECT_THAT(PairFrames({.steps = 1}).step_to_frame, ElementsAre(0));
  EXPECT_THAT(PairFrames({.steps = 3}).difference_ms, Each(Eq(std::nullopt)));
  EXPECT_FALSE(PairFrames({.steps = 3}).times_disagree);
  EXPECT_TRUE(PairFrames({}).step_to_frame.empty());
}

TEST(PairFrames, CopesWithAClockThatWasSetBack) {
  const auto steps_ms = Milliseconds({0, 70, 140});
  const auto frames_ns = Nanoseconds({70, 0, 140});
  EXPECT_THAT(PairFrames({.steps = 3,
                          .received_ms = steps_ms,
                          .step_start_ms = steps_ms,
                          .frame_ns = frames_ns,
                          .frame_count = 3})
                  .step_to_frame,
              ElementsAre(1, 0, 2));
}

}  // namespace
}  // namespace droidflow

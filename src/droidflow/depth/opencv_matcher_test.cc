#include "droidflow/core/result_matchers.h"
#include "droidflow/depth/matcher.h"

#include <cstdlib>
#include <random>

namespace droidflow {
namespace {

using ::testing::HasSubstr;

constexpr MatcherBackend kBackend = MatcherBackend::kOpencv;

/// Noise, smooth enough to be placed between pixels, and the same moved to the left.
struct Pair {
  GrayImage left;
  GrayImage right;
};

Pair NoisePair(int width_px, int height_px, int disparity_px) {
  Pair pair{GrayImage(width_px, height_px), GrayImage(width_px, height_px)};
  std::minstd_rand random(7);
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) pair.left.at(x, y) = random() % 256;
    for (int x = 0; x < width_px; ++x) {
      const int from = x + disparity_px;
      pair.right.at(x, y) = from < width_px ? pair.left.at(from, y) : random() % 256;
    }
  }
  return pair;
}

class OpencvMatcherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!IsAvailable(kBackend)) GTEST_SKIP() << WhyNotAvailable(kBackend);
  }
};

TEST_F(OpencvMatcherTest, FindsAShiftAcrossTheFullWidth) {
  for (const MatcherPreset preset :
       {MatcherPreset::kFast, MatcherPreset::kBalanced, MatcherPreset::kQuality}) {
    MatcherOptions options = OptionsOf(preset);
    options.max_disparity_px = 20;
    const auto matcher = MakeMatcher(kBackend, options);
    ASSERT_THAT(matcher, IsOk());
    const Pair pair = NoisePair(131, 40, 9);
    DisparityImage disparity;
    ASSERT_THAT((*matcher)->Match(pair.left.view(), pair.right.view(), disparity, nullptr), IsOk());
    ASSERT_EQ(disparity.width_px(), 131);
    ASSERT_EQ(disparity.height_px(), 40);
    int right = 0;
    for (int y = 0; y < 40; ++y) {
      for (int x = 12; x < 131; ++x) right += std::abs(disparity.at(x, y) - 9 * 16) <= 8 ? 1 : 0;
    }
    EXPECT_GT(right, 0.98 * 40 * (131 - 12)) << ToString(preset);
  }
}

TEST_F(OpencvMatcherTest, GivesNothingOutsideTheSearch) {
  MatcherOptions options;
  options.min_disparity_px = 3;
  options.max_disparity_px = 8;  // OpenCV rounds 5 up to 16.
  const auto matcher = MakeMatcher(kBackend, options);
  ASSERT_THAT(matcher, IsOk());
  for (const int disparity_px : {0, 5, 12}) {
    const Pair pair = NoisePair(64, 24, disparity_px);
    DisparityImage disparity;
    ASSERT_THAT((*matcher)->Match(pair.left.view(), pair.right.view(), disparity, nullptr), IsOk());
    for (int y = 0; y < 24; ++y) {
      for (int x = 0; x < 64; ++x) {
        const int px16 = disparity.at(x, y);
        EXPECT_TRUE(px16 == kNoDisparity_px16 || (px16 >= 3 * 16 && px16 < 8 * 16)) << px16;
      }
    }
  }
}

TEST_F(OpencvMatcherTest, TakesPicturesOfAnySize) {
  const auto matcher = MakeMatcher(kBackend, {});
  ASSERT_THAT(matcher, IsOk());
  for (const auto& [width_px, height_px] : {std::pair{1, 1}, {1, 9}, {9, 1}, {2, 2}, {300, 3}}) {
    const Pair pair = NoisePair(width_px, height_px, 0);
    DisparityImage disparity;
    ASSERT_THAT((*matcher)->Match(pair.left.view(), pair.right.view(), disparity, nullptr), IsOk());
    EXPECT_EQ(disparity.width_px(), width_px);
    EXPECT_EQ(disparity.height_px(), height_px);
  }
}

TEST_F(OpencvMatcherTest, RefusesWhatItCannotDo) {
  const auto matcher = MakeMatcher(kBackend, {});
  ASSERT_THAT(matcher, IsOk());
  const GrayImage small(3, 2);
  const GrayImage large(3, 3);
  DisparityImage disparity;
  GrayImage confidence;
  EXPECT_THAT((*matcher)->Match(small.view(), large.view(), disparity, nullptr),
              FailsWith(ErrorKind::kUsage, HasSubstr("have 3x2 and 3x3")));
  EXPECT_THAT((*matcher)->Match(small.view(), small.view(), disparity, &confidence),
              FailsWith(ErrorKind::kUnsupported, HasSubstr("how sure")));
}

}  // namespace
}  // namespace droidflow

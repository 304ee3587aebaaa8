#include "droidflow/depth/disparity_to_depth.h"

#include "droidflow/core/result_matchers.h"

#include <cmath>
#include <limits>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Disparity times depth is 63 pixel metres.
constexpr StereoGeometry kMini{.fx_px = 700, .baseline_m = 0.09};

DepthTable TableOf(const StereoGeometry& geometry, const DepthRange& range) {
  auto table = DepthTable::Make(geometry, range);
  EXPECT_THAT(table, IsOk());
  return *std::move(table);
}

TEST(DepthTable, GivesTheNumbersWorkedByHand) {
  const DepthTable table = TableOf(kMini, {.min_m = 0.01, .max_m = 65});
  EXPECT_EQ(table.DepthMm(63 * 16), 1000);
  EXPECT_EQ(table.DepthMm(16), 63000);
  EXPECT_EQ(table.DepthMm(16 * 16), 3938);  // 3937.5
  EXPECT_EQ(table.DepthMm(7 * 16), 9000);
  EXPECT_EQ(table.DepthMm(7 * 16 + 1), 8920);  // 1008000 / 113 = 8920.35
  EXPECT_EQ(table.DepthMm(32767), 31);         // 30.76
  EXPECT_FLOAT_EQ(table.DepthM(16 * 16), 3.9375F);
}

TEST(DepthTable, HasNoDepthWithoutDisparityAtInfinityAndOutsideTheRange) {
  const DepthTable table = TableOf(kMini, {.min_m = 0.63, .max_m = 9});
  EXPECT_EQ(table.DepthMm(kNoDisparity_px16), 0);
  EXPECT_EQ(table.DepthMm(std::numeric_limits<std::int16_t>::min()), 0);
  EXPECT_EQ(table.DepthMm(0), 0);
  EXPECT_EQ(table.DepthMm(7 * 16), 9000);  // The range's ends belong to it.
  EXPECT_EQ(table.DepthMm(7 * 16 - 1), 0);
  EXPECT_EQ(table.DepthMm(100 * 16), 630);
  EXPECT_EQ(table.DepthMm(100 * 16 + 2), 0);  // 629.2
  EXPECT_TRUE(std::isnan(table.DepthM(0)));
  EXPECT_TRUE(std::isnan(table.DepthM(7 * 16 - 1)));
}

TEST(DepthTable, StaysWithin16Bits) {
  const DepthTable table =
      TableOf({.fx_px = 1000, .baseline_m = 1}, {.min_m = 0.001, .max_m = 65.535});
  EXPECT_EQ(table.DepthMm(1), 0);    // 16 km
  EXPECT_EQ(table.DepthMm(244), 0);  // 65574
  EXPECT_EQ(table.DepthMm(245), 65306);
}

TEST(DepthTable, AppliesToWholePictures) {
  DisparityImage disparity(2, 2);
  disparity.at(0, 0) = 63 * 16;
  disparity.at(1, 0) = kNoDisparity_px16;
  disparity.at(0, 1) = 126 * 16;
  disparity.at(1, 1) = 0;
  Image<std::uint16_t> depth_mm;
  TableOf(kMini, {}).Apply(disparity.view(), depth_mm);
  EXPECT_EQ(depth_mm.at(0, 0), 1000);
  EXPECT_EQ(depth_mm.at(1, 0), 0);
  EXPECT_EQ(depth_mm.at(0, 1), 500);
  EXPECT_EQ(depth_mm.at(1, 1), 0);
}

TEST(DepthTable, RefusesWhatIsNoCameraOrNoRange) {
  for (const double bad : {0.0, -1.0, kNan, kInfinity}) {
    EXPECT_THAT(DepthTable::Make({bad, 0.1}, {}),
                FailsWith(ErrorKind::kUsage, HasSubstr("focal length: want more than 0 pixels")));
    EXPECT_THAT(DepthTable::Make({500, bad}, {}),
                FailsWith(ErrorKind::kUsage, HasSubstr("baseline: want more than 0 metres")));
  }
  for (const auto& [min_m, max_m] : {std::pair{0.0, 1.0},
                                     {-1.0, 1.0},
                                     {1.0, 1.0},
                                     {2.0, 1.0},
                                     {0.2, 65.536},
                                     {kNan, 1.0},
                                     {0.2, kNan},
                                     {0.2, kInfinity}}) {
    EXPECT_THAT(DepthTable::Make(kMini, {min_m, max_m}),
                FailsWith(ErrorKind::kUsage, HasSubstr("want 0 < min < max <= 65.535 m")));
  }
}

TEST(DepthOf, DoesNotRoundTheDisparity) {
  constexpr DepthRange kRange{.min_m = 0.1, .max_m = 60};
  EXPECT_EQ(DepthOf(6.3, kMini, kRange), 10000);
  EXPECT_EQ(DepthOf(6.31, kMini, kRange), 9984);  // 63000 / 6.31 = 9984.15
  for (const double none : {0.0, -1.0, kNan, kInfinity, 1.0, 634.0}) {
    EXPECT_EQ(DepthOf(none, kMini, kRange), 0) << none;
  }
}

TEST(RoundToMillimetres, RoundsHalvesUpwards) {
  constexpr DepthRange kRange{.min_m = 0.5, .max_m = 2};
  EXPECT_EQ(RoundToMillimetres(1.0625, kRange), 1063);  // 1062.5
  EXPECT_EQ(RoundToMillimetres(1.0624, kRange), 1062);
  EXPECT_EQ(RoundToMillimetres(2.0004, kRange), 2000);
  for (const double none : {0.4994, 2.0006, kNan, kInfinity, -1.0}) {
    EXPECT_EQ(RoundToMillimetres(none, kRange), 0) << none;
  }
}

TEST(DefaultMaxDisparity, Is256At1280AndInProportion) {
  EXPECT_EQ(DefaultMaxDisparityPx(1280), 256);
  EXPECT_EQ(DefaultMaxDisparityPx(1920), 384);
  EXPECT_EQ(DefaultMaxDisparityPx(672), 134);
  EXPECT_EQ(DefaultMaxDisparityPx(1), 1);
  EXPECT_EQ(DefaultMaxDisparityPx(100'000), 1024);
}

TEST(MaxDisparityFor, SeesWhatIsSoNear) {
  EXPECT_EQ(MaxDisparityForPx(kMini, 0.625, 1280), 101);  // 63 / 0.625 = 100.8
  EXPECT_EQ(MaxDisparityForPx(kMini, 63, 1280), 2);
  EXPECT_EQ(MaxDisparityForPx(kMini, 1e9, 1280), 1);
  EXPECT_EQ(MaxDisparityForPx(kMini, 1e-9, 1280), 1024);
  EXPECT_EQ(MaxDisparityForPx(kMini, 1e-9, 640), 640);
}

TEST(ClipDepth, KeepsTheEndsOfTheRange) {
  Image<std::uint16_t> depth_mm(4, 1);
  depth_mm.at(0, 0) = 1099;
  depth_mm.at(1, 0) = 1100;
  depth_mm.at(2, 0) = 2300;
  depth_mm.at(3, 0) = 2301;
  ClipDepth({.min_m = 1.1, .max_m = 2.3}, depth_mm);
  EXPECT_EQ(depth_mm.at(0, 0), 0);
  EXPECT_EQ(depth_mm.at(1, 0), 1100);
  EXPECT_EQ(depth_mm.at(2, 0), 2300);
  EXPECT_EQ(depth_mm.at(3, 0), 0);
}

TEST(MaskDisparity, LooksAtThePixelAndAtItsPartner) {
  DisparityImage disparity(4, 1);
  GrayImage left(4, 1);
  GrayImage right(4, 1);
  for (int x = 0; x < 4; ++x) {
    disparity.at(x, 0) = 2 * 16 - 9;  // Rounds to one pixel.
    left.at(x, 0) = x == 3 ? 0 : 255;
    right.at(x, 0) = x == 1 ? 0 : 255;
  }
  disparity.at(1, 0) = 5 * 16;  // Its partner lies outside the picture.
  MaskDisparity(nullptr, nullptr, disparity);
  EXPECT_EQ(disparity.at(3, 0), 23);
  MaskDisparity(&left, &right, disparity);
  EXPECT_EQ(disparity.at(0, 0), 23);
  EXPECT_EQ(disparity.at(1, 0), 80);
  EXPECT_EQ(disparity.at(2, 0), kNoDisparity_px16);
  EXPECT_EQ(disparity.at(3, 0), kNoDisparity_px16);
}

}  // namespace
}  // namespace droidflow

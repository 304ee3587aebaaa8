#include "droidflow/depth/rectifier.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <hwy/targets.h>
#include <random>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using ::testing::ElementsAre;

GrayImage Picture(int width_px, int height_px, const std::vector<int>& values) {
  GrayImage picture(width_px, height_px);
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) {
      picture.at(x, y) = static_cast<std::uint8_t>(
          values.at(static_cast<std::size_t>(y) * static_cast<std::size_t>(width_px) +
                    static_cast<std::size_t>(x)));
    }
  }
  return picture;
}

std::vector<int> Values(const GrayImage& picture) {
  std::vector<int> values;
  for (int y = 0; y < picture.height_px(); ++y) {
    for (int x = 0; x < picture.width_px(); ++x) values.push_back(picture.at(x, y));
  }
  return values;
}

GrayImage RandomPicture(int width_px, int height_px, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int> values;
  for (int i = 0; i < width_px * height_px; ++i) values.push_back(static_cast<int>(random() % 256));
  return Picture(width_px, height_px, values);
}

std::vector<int> Resampled(const Remapper& remapper, const GrayImage& raw) {
  GrayImage out;
  remapper.Apply(raw.view(), out);
  return Values(out);
}

// A pinhole eye whose picture is the wanted one shifted: pixel (x, y) lies at (x + dx, y + dy).
Remapper Shift(int width_px, int height_px, double dx_px, double dy_px) {
  return Remapper::FromRawEye(
      {.fx_px = 4, .fy_px = 4, .cx_px = 1 + dx_px, .cy_px = 1 + dy_px, .lens = {}},
      width_px,
      height_px,
      Matrix3::Identity(),
      {.fx_px = 4,
       .fy_px = 4,
       .cx_px = 1,
       .cy_px = 1,
       .width_px = width_px,
       .height_px = height_px});
}

TEST(Remapper, LeavesAPictureAsItIsUnderTheIdentity) {
  const GrayImage raw = RandomPicture(37, 11, 1);
  const Remapper identity = Shift(37, 11, 0, 0);
  EXPECT_TRUE(identity.covers_everything());
  EXPECT_EQ(Resampled(identity, raw), Values(raw));
  EXPECT_EQ(Values(identity.mask()), std::vector<int>(37 * 11, 255));
}

TEST(Remapper, GivesTheNumbersWorkedByHand) {
  const GrayImage raw = Picture(3,
                                2,
                                {10,
                                 20,
                                 40,  //
                                 30,
                                 60,
                                 255});
  // Half a pixel right: (10 + 20) / 2, (20 + 40) / 2, and nothing to the right of 40.
  EXPECT_THAT(Resampled(Shift(3, 2, 0.5, 0), raw), ElementsAre(15, 30, 0, 45, 158, 0));  // 157.5
  // A quarter down: 10 * 3/4 + 30 / 4, 20 * 3/4 + 60 / 4, 40 * 3/4 + 255 / 4 = 93.75.
  EXPECT_THAT(Resampled(Shift(3, 2, 0, 0.25), raw), ElementsAre(15, 30, 94, 0, 0, 0));
  // Both: 15 * 3/4 + 45 / 4 = 22.5, 30 * 3/4 + 157.5 / 4 = 61.875.
  EXPECT_THAT(Resampled(Shift(3, 2, 0.5, 0.25), raw), ElementsAre(23, 62, 0, 0, 0, 0));
  // Places are rounded to 32nds, halves up: 1 - 1/64 to 1, and 1 - 3/64 to 31/32, where
  // 10 / 32 + 20 * 31/32 = 19.7, 39.4, 59.1 and 248.9.
  EXPECT_THAT(Resampled(Shift(3, 2, -1.0 / 64, 0), raw), ElementsAre(0, 20, 40, 0, 60, 255));
  EXPECT_THAT(Resampled(Shift(3, 2, -3.0 / 64, 0), raw), ElementsAre(0, 20, 39, 0, 59, 249));
}

TEST(Remapper, MasksWhatLiesOutsideAndKeepsTheBorderItself) {
  const GrayImage raw = Picture(3, 3, {9, 9, 9, 9, 9, 9, 9, 9, 9});
  const Remapper down_by_one = Shift(3, 3, 0, 1);
  EXPECT_THAT(Values(down_by_one.mask()), ElementsAre(255, 255, 255, 255, 255, 255, 0, 0, 0));
  EXPECT_THAT(Resampled(down_by_one, raw), ElementsAre(9, 9, 9, 9, 9, 9, 0, 0, 0));
  EXPECT_FALSE(down_by_one.covers_everything());
  const Remapper a_little_left = Shift(3, 3, -1e-6, 0);
  EXPECT_THAT(Values(a_little_left.mask()), ElementsAre(0, 255, 255, 0, 255, 255, 0, 255, 255));
}

TEST(Remapper, MasksRaysThatDoNotPassInFrontOfTheEye) {
  const Remapper behind = Remapper::FromRawEye(
      {.fx_px = 4, .fy_px = 4, .cx_px = 1, .cy_px = 1, .lens = {}},
      4,
      3,
      RotationFromVector({0, 3, 0}),
      {.fx_px = 4, .fy_px = 4, .cx_px = 1, .cy_px = 1, .width_px = 3, .height_px = 2});
  EXPECT_THAT(Values(behind.mask()), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(Resampled(behind, RandomPicture(4, 3, 2)), ElementsAre(0, 0, 0, 0, 0, 0));
}

constexpr RawEye kWideEye{.fx_px = 300,
                          .fy_px = 301,
                          .cx_px = 158,
                          .cy_px = 93,
                          .lens = KannalaBrandt{-0.037, 0.025, -0.016, 0.011}};
constexpr Intrinsics kRectified{
    .fx_px = 290, .fy_px = 290, .cx_px = 160, .cy_px = 90, .width_px = 321, .height_px = 181};

TEST(Remapper, LooksAlongRectifiedRowsForARowOffsetOfARawEye) {
  const Matrix3 R_rect_eye = RotationFromVector({0.01, -0.02, 0.03});
  const GrayImage raw = RandomPicture(320, 180, 3);
  const std::vector<int> plain =
      Resampled(Remapper::FromRawEye(kWideEye, 320, 180, R_rect_eye, kRectified), raw);
  const std::vector<int> moved = Resampled(
      Remapper::FromRawEye(kWideEye, 320, 180, R_rect_eye, kRectified, {.offset_px = 3}), raw);
  EXPECT_EQ(std::vector<int>(moved.begin(), moved.end() - 3 * 321),
            std::vector<int>(plain.begin() + 3 * 321, plain.end()));
}

TEST(Remapper, EqualsBilinearInterpolationOnEveryInstructionSet) {
  const Matrix3 R_rect_eye = RotationFromVector({0.01, -0.02, 0.03});
  for (const auto& [width_px, height_px] :
       {std::pair{2, 2}, {3, 2}, {2, 5}, {15, 4}, {17, 5}, {63, 3}, {65, 4}, {641, 13}}) {
    SCOPED_TRACE(testing::Message() << width_px << 'x' << height_px);
    RawEye eye = kWideEye;
    eye.cx_px = 0.5 * width_px;
    eye.cy_px = 0.5 * height_px;
    const Intrinsics rectified{.fx_px = 280,
                               .fy_px = 280,
                               .cx_px = 0.5 * width_px - 6,
                               .cy_px = 0.5 * height_px + 3,
                               .width_px = width_px + 2,
                               .height_px = height_px + 1};
    const GrayImage raw = RandomPicture(width_px, height_px, 4);
    std::vector<int> expected;
    std::vector<int> expected_mask;
    for (int y = 0; y < rectified.height_px; ++y) {
      for (int x = 0; x < rectified.width_px; ++x) {
        const Pixel at = RawPixelFromRectified(
            eye, R_rect_eye, rectified, {static_cast<double>(x), static_cast<double>(y)});
        const bool is_inside =
            at.u_px >= 0 && at.u_px <= width_px - 1 && at.v_px >= 0 && at.v_px <= height_px - 1;
        expected_mask.push_back(is_inside ? 255 : 0);
        if (!is_inside) {
          expected.push_back(0);
          continue;
        }
        // Each raw pixel is a tent of width one; sums of 1/1024ths are exact.
        const double u_px = std::floor(at.u_px * 32 + 0.5) / 32;
        const double v_px = std::floor(at.v_px * 32 + 0.5) / 32;
        double sum = 0;
        for (int v = 0; v < height_px; ++v) {
          for (int u = 0; u < width_px; ++u) {
            sum += raw.at(u, v) * std::max(0.0, 1 - std::abs(u - u_px)) *
                   std::max(0.0, 1 - std::abs(v - v_px));
          }
        }
        expected.push_back(static_cast<int>(std::floor(sum + 0.5)));
      }
    }
    const Remapper remapper = Remapper::FromRawEye(eye, width_px, height_px, R_rect_eye, rectified);
    EXPECT_EQ(Values(remapper.mask()), expected_mask);
    for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
      hwy::SetSupportedTargetsForTest(target);
      EXPECT_EQ(Resampled(remapper, raw), expected) << hwy::TargetName(target);
    }
    hwy::SetSupportedTargetsForTest(0);
  }
}

TEST(Remapper, ReadsHalfOfAPictureWhereItLies) {
  const GrayImage both = RandomPicture(74, 9, 5);
  std::vector<int> right;
  for (int y = 0; y < 9; ++y) {
    for (int x = 37; x < 74; ++x) right.push_back(both.at(x, y));
  }
  const Remapper remapper = Shift(37, 9, 0.3, 0.7);
  GrayImage out;
  remapper.Apply(both.view().Columns(37, 37), out);
  EXPECT_EQ(Values(out), Resampled(remapper, Picture(37, 9, right)));
}

TEST(RemapperDeathTest, RefusesAPictureOfAnotherSize) {
  const Remapper remapper = Shift(4, 3, 0, 0);
  GrayImage out;
  EXPECT_DEATH(remapper.Apply(RandomPicture(4, 2, 6).view(), out),
               "a picture of 4x2 for a map of 4x3");
}

}  // namespace
}  // namespace droidflow

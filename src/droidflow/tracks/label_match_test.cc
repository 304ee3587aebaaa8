#include "droidflow/tracks/label_match.h"

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

constexpr int kWidth = 160;
constexpr int kHeight = 120;
constexpr double kPi = 3.14159265358979323846;

/// 1 in a rectangle, else 0.
Image<float> Rectangle(int width, int height, int left, int top, int right, int bottom) {
  Image<float> image(width, height);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.at(x, y) = x >= left && x < right && y >= top && y < bottom ? 1.0F : 0.0F;
    }
  }
  return image;
}

/// Of a rectangle of 20 x 30 pixels, in a camera's picture of kWidth x kHeight.
Footprint FootprintOf(int left, int top) {
  const int width = kWidth + 2 * kShiftReach_px;
  const int height = kHeight + 2 * kShiftReach_px;
  const int x = left + kShiftReach_px;
  const int y = top + kShiftReach_px;
  const Image<float> shape = Rectangle(width, height, x, y, x + 20, y + 30);
  const Image<float> guard = Rectangle(width, height, 0, 0, 0, 0);
  Footprint footprint = MakeFootprint(shape.view(), guard.view(), 8);
  footprint.centre_px = {left + 10.0 - kWidth / 2, top + 15.0 - kHeight / 2};
  return footprint;
}

TEST(Footprint, IsTheShapeAndTheRingAboutItButForTheGuard) {
  const int width = kWidth + 2 * kShiftReach_px;
  const int height = kHeight + 2 * kShiftReach_px;
  const Image<float> shape = Rectangle(width, height, 100, 100, 110, 110);
  const Image<float> guard = Rectangle(width, height, 0, 0, width, 100);  // all above
  const Footprint footprint = MakeFootprint(shape.view(), guard.view(), 4);
  EXPECT_EQ(footprint.inside.size(), 100);
  // Of the square ring between 2 and 4 pixels away, 18² - 12², the rows at and below the top.
  EXPECT_EQ(footprint.around.size(), 18 * 14 - 12 * 11);
  for (const auto& [x, y] : footprint.around) EXPECT_GE(y + kShiftReach_px, 100);
}

TEST(LabelFit, FindsThatLabelsAreRight) {
  std::vector<Footprint> footprints;
  std::vector<ShiftTable> tables;
  for (int i = 0; i < 10; ++i) {
    footprints.push_back(FootprintOf(40 + 6 * i, 30 + 4 * i));
    const Image<float> seen =
        Rectangle(kWidth, kHeight, 40 + 6 * i, 30 + 4 * i, 60 + 6 * i, 60 + 4 * i);
    tables.emplace_back(footprints.back(), seen.view());
  }
  const LabelFit fit = FitLabels(footprints, tables, false);
  EXPECT_NEAR(fit.overlap, 1, 1e-5);
  EXPECT_NEAR(fit.best_overlap, 1, 1e-5);
  EXPECT_NEAR(fit.shift_px, 0, 1e-9);
}

TEST(LabelFit, FindsHowFarAllIsShifted) {
  std::vector<Footprint> footprints;
  std::vector<ShiftTable> tables;
  for (int i = 0; i < 10; ++i) {
    footprints.push_back(FootprintOf(40 + 6 * i, 30 + 4 * i));
    const Image<float> seen = Rectangle(
        kWidth, kHeight, 40 + 6 * i + 12, 30 + 4 * i - 8, 60 + 6 * i + 12, 60 + 4 * i - 8);
    tables.emplace_back(footprints.back(), seen.view());
  }
  const LabelFit fit = FitLabels(footprints, tables, false);
  EXPECT_NEAR(fit.best_overlap, 1, 1e-5);
  EXPECT_LT(fit.overlap, 0.3);  // (8 x 22) of (20 x 30) pixels are left, and as many are around
  EXPECT_NEAR(fit.shift_px, std::hypot(12, 8), 0.3);
}

TEST(LabelFit, TellsLatePicturesFromAShift) {
  std::vector<Footprint> footprints;
  std::vector<ShiftTable> tables;
  for (int i = 0; i < 12; ++i) {
    const int speed = i % 2 == 0 ? 4 : -6;
    footprints.push_back(FootprintOf(60, 40));
    footprints.back().velocity_px = {static_cast<double>(speed), 0};
    // Two steps late: it is still where it was.
    const int x = 60 - 2 * speed;
    const Image<float> seen = Rectangle(kWidth, kHeight, x, 40, x + 20, 70);
    tables.emplace_back(footprints.back(), seen.view());
  }
  const LabelFit fit = FitLabels(footprints, tables, false);
  EXPECT_NEAR(fit.late_steps, 2, 0.1);
  EXPECT_NEAR(fit.shift_px, 0, 0.3);
  EXPECT_NEAR(fit.overlap, 1, 0.02);
}

TEST(Foreground, IsWhatIsNotAlwaysThere) {
  std::vector<Image<float>> pictures;
  for (int i = 0; i < 9; ++i) {
    Image<float>& picture = pictures.emplace_back(20, 10);
    for (int y = 0; y < 10; ++y) {
      for (int x = 0; x < 20; ++x) {
        picture.at(x, y) = x / 2 == i ? 200.0F : static_cast<float>(5 * x);
      }
    }
  }
  const std::vector<Image<float>> found = FindForeground(pictures);
  for (int i = 0; i < 9; ++i) {
    for (int x = 0; x < 20; ++x) EXPECT_EQ(found[i].at(x, 4), x / 2 == i ? 1.0F : 0.0F);
  }
}

TEST(Stillness, IsWhatStaysWhileTheRestMoves) {
  std::vector<Image<float>> pictures;
  for (int i = 0; i < 5; ++i) {
    Image<float>& picture = pictures.emplace_back(20, 10);
    for (int y = 0; y < 10; ++y) {
      for (int x = 0; x < 20; ++x) {
        picture.at(x, y) = x < 10 ? 80.0F : static_cast<float>(50 * ((x + i) % 4));
      }
    }
  }
  for (const Image<float>& still : FindStillness(pictures)) {
    EXPECT_EQ(still.at(3, 3), 1);
    EXPECT_EQ(still.at(15, 3), 0);
  }
}

TEST(FindLag, FindsFractionsOfAStep) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const double late : {-3.3, 0.0, 0.4, 2.5}) {
    std::vector<double> said;
    std::vector<double> seen;
    for (int t = 0; t < 100; ++t) {
      const auto speed = [](double at) {
        return 2 + std::sin(2 * kPi * at / 23) + std::sin(2 * kPi * at / 41);
      };
      said.push_back(speed(t));
      seen.push_back(t % 17 == 3 ? kNan : 5 * speed(t - late) + 1);
    }
    const std::optional<Lag> lag = FindLag(seen, said, 10);
    ASSERT_TRUE(lag.has_value());
    EXPECT_NEAR(lag->steps, late, 0.1);
    EXPECT_GT(lag->correlation, 0.95);
  }
}

TEST(FindLag, SaysNothingOfRowsThatHaveNothingInCommon) {
  std::vector<double> said;
  std::vector<double> seen;
  for (int t = 0; t < 60; ++t) {
    said.push_back(t);
    seen.push_back(t % 2);
  }
  EXPECT_FALSE(FindLag(seen, said, 10).has_value());
  EXPECT_FALSE(FindLag(std::span(said).first(15), std::span(said).first(15), 3).has_value());
}

TEST(ShrinkAndSmooth, KeepsMeans) {
  GrayImage picture(8, 6);
  for (int y = 0; y < 6; ++y) {
    for (int x = 0; x < 8; ++x) picture.at(x, y) = static_cast<std::uint8_t>(10 * x);
  }
  const Image<float> small = ShrinkAndSmooth(std::as_const(picture).view(), 2);
  ASSERT_EQ(small.width_px(), 4);
  ASSERT_EQ(small.height_px(), 3);
  EXPECT_FLOAT_EQ(small.at(1, 1), 25);
  EXPECT_FLOAT_EQ(small.at(2, 2), 45);
}

TEST(MeanChange, LeavesNoiseOutAndMindsTheRectangle) {
  const Image<float> before = Rectangle(20, 20, 0, 0, 0, 0);
  Image<float> after = Rectangle(20, 20, 0, 0, 0, 0);
  after.at(3, 3) = 2;   // noise
  after.at(4, 4) = 13;  // 10 above it
  after.at(15, 15) = 13;
  EXPECT_NEAR(MeanChange(before.view(), std::as_const(after).view(), -5, -5, 10, 10), 0.1, 1e-6);
  EXPECT_TRUE(std::isnan(MeanChange(before.view(), std::as_const(after).view(), 20, 0, 30, 10)));
}

}  // namespace
}  // namespace droidflow

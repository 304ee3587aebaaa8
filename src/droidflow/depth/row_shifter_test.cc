#include "droidflow/depth/row_shifter.h"

#include <cmath>
#include <cstdlib>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using ::testing::ElementsAre;

/// Row y is value(y) in every column.
template <typename Value>
GrayImage Rows(int width_px, int height_px, Value value) {
  GrayImage picture(width_px, height_px);
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) picture.at(x, y) = static_cast<std::uint8_t>(value(y));
  }
  return picture;
}

std::vector<int> Column(const GrayImage& picture, int x) {
  std::vector<int> column;
  for (int y = 0; y < picture.height_px(); ++y) column.push_back(picture.at(x, y));
  return column;
}

std::vector<int> Shifted(const GrayImage& picture, const RowOffset& offset, int x = 0) {
  GrayImage out;
  RowShifter(picture.width_px(), picture.height_px(), offset).Apply(picture.view(), out);
  return Column(out, x);
}

TEST(RowShifter, MovesByWholeRowsWithoutChangingThem) {
  const GrayImage picture = Rows(3, 5, [](int y) { return 10 * y; });
  EXPECT_THAT(Shifted(picture, {.offset_px = 2}), ElementsAre(20, 30, 40, 40, 40));
  EXPECT_THAT(Shifted(picture, {.offset_px = -1}), ElementsAre(0, 0, 10, 20, 30));
  EXPECT_THAT(Shifted(picture, {.offset_px = 1e9}), ElementsAre(40, 40, 40, 40, 40));
  EXPECT_THAT(Shifted(picture, {.offset_px = -1e9}), ElementsAre(0, 0, 0, 0, 0));
  EXPECT_THAT(Column(RowShifter(3, 5, {.offset_px = 2}).mask(), 1),
              ElementsAre(255, 255, 255, 0, 0));
  EXPECT_FALSE(RowShifter(3, 5, {.offset_px = 0.1}).covers_everything());
  EXPECT_TRUE(RowShifter(3, 5, {.offset_px = 0.01}).covers_everything());  // Rounds to nothing.
}

TEST(RowShifter, KeepsEvenAreasAndSlopes) {
  for (const double offset_px : {0.03, 0.25, 0.5, 0.77, 1.5}) {
    EXPECT_EQ(Shifted(Rows(2, 9, [](int) { return 201; }), {.offset_px = offset_px}),
              std::vector<int>(9, 201));
    const std::vector<int> slope =
        Shifted(Rows(2, 20, [](int y) { return 12 * y; }), {.offset_px = offset_px});
    for (std::size_t y = 3; y < 15; ++y) {
      EXPECT_NEAR(slope[y], 12 * (static_cast<double>(y) + offset_px), 1) << y;
    }
  }
}

TEST(RowShifter, KeepsDetailThatBilinearInterpolationLoses) {
  // A wave of three rows: a mean of neighbours halves it.
  const auto wave = [](double y) { return 128 + 100 * std::cos(2 * M_PI * y / 3); };
  const std::vector<int> moved =
      Shifted(Rows(1, 30, [&](int y) { return std::lround(wave(y)); }), {.offset_px = 0.5});
  for (std::size_t y = 3; y < 26; ++y) {
    EXPECT_NEAR(moved[y], wave(static_cast<double>(y) + 0.5), 15) << y;
  }
}

TEST(RowShifter, FollowsASlopeInEveryColumn) {
  constexpr int kWidth = 101;
  constexpr int kHeight = 60;
  const GrayImage picture = Rows(kWidth, kHeight, [](int y) { return 4 * y; });
  const RowOffset offset{.offset_px = 1, .slope_x = 0.02, .slope_y = -0.01};
  for (const int x : {0, 1, 50, 99, 100}) {
    const std::vector<int> column = Shifted(picture, offset, x);
    for (int y = 6; y < kHeight - 6; ++y) {
      const double place = y + 1 + 0.02 * (x - 50) - 0.01 * (y - 29.5);
      EXPECT_NEAR(column[static_cast<std::size_t>(y)], 4 * place, 0.6) << x << ' ' << y;
    }
  }
}

TEST(RowShifter, TakesPicturesOfOnePixel) {
  EXPECT_THAT(Shifted(Rows(1, 1, [](int) { return 7; }), {.offset_px = 0.5}), ElementsAre(7));
}

}  // namespace
}  // namespace droidflow

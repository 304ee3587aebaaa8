#include "droidflow/view/canvas.h"

#include <cstdint>
#include <limits>
#include <string>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

constexpr Rgb kPaper{1, 2, 3};
constexpr Rgb kInk{200, 100, 50};

/// The picture as lines of '#' (ink) and '.'.
std::string Show(const Canvas& canvas) {
  std::string text;
  for (int y = 0; y < canvas.picture().height_px(); ++y) {
    for (int x = 0; x < canvas.picture().width_px(); ++x) {
      text += canvas.picture().at(x, y) == kInk ? '#' : '.';
    }
    text += '\n';
  }
  return text;
}

TEST(Canvas, FillsWhatOfABoxIsInThePicture) {
  Canvas canvas(4, 3, kPaper);
  canvas.Fill({2, -1, 9, 2}, kInk);
  canvas.Fill({-3, 2, 4, 9}, kInk);
  canvas.Fill({0, 1, 0, 2}, kInk);
  canvas.Fill({9, 0, 2, 2}, kInk);
  EXPECT_EQ(Show(canvas), "..##\n....\n#...\n");
  EXPECT_EQ(canvas.picture().at(0, 0), kPaper);
}

int BrightnessOf(const Canvas& canvas) {
  int sum = 0;
  for (int y = 0; y < canvas.picture().height_px(); ++y) {
    for (int x = 0; x < canvas.picture().width_px(); ++x) sum += canvas.picture().at(x, y).g;
  }
  return sum;
}

TEST(Canvas, StrokesCoverTheirArea) {
  constexpr Rgb kWhite{255, 255, 255};
  Canvas disc(40, 40, {});
  disc.Stroke({20.3, 19.6}, {20.3, 19.6}, 20, kWhite);
  EXPECT_NEAR(BrightnessOf(disc) / 255.0, 3.14159 * 100, 4);
  Canvas line(60, 60, {});
  line.Stroke({10, 10}, {40, 50}, 4, kWhite, 0.5);
  EXPECT_NEAR(BrightnessOf(line) / 127.5, 50 * 4 + 3.14159 * 4, 4);
  EXPECT_EQ(line.picture().at(25, 30), (Rgb{128, 128, 128}));
}

TEST(Canvas, StrokesWhatOfALineIsInThePicture) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  Canvas canvas(5, 3, kPaper);
  canvas.Stroke({-1e9, 1}, {2, 1}, 1, kInk);
  canvas.Stroke({kNan, 1}, {4, 1}, 1, kInk);
  canvas.Stroke({4, 1}, {4, kNan}, 1, kInk);
  canvas.Stroke({40, 10}, {50, 10}, 9, kInk);
  EXPECT_EQ(Show(canvas), ".....\n###..\n.....\n");
}

TEST(Canvas, PastesPicturesSmallerByAveragingAndLargerByRepeating) {
  RgbImage picture(4, 2);
  for (int x = 0; x < 4; ++x) {
    picture.at(x, 0) = {static_cast<std::uint8_t>(10 * x), 0, 4};
    picture.at(x, 1) = {static_cast<std::uint8_t>(10 * x), 1, 8};
  }
  Canvas canvas(5, 3, kPaper);
  canvas.Paste(picture.view(), {1, 1, 2, 1});
  EXPECT_EQ(canvas.picture().at(1, 1), (Rgb{5, 1, 6}));
  EXPECT_EQ(canvas.picture().at(2, 1), (Rgb{25, 1, 6}));
  EXPECT_EQ(canvas.picture().at(3, 1), kPaper);
  canvas.Paste(picture.view(), {-4, -3, 8, 4});
  EXPECT_EQ(canvas.picture().at(0, 0), (Rgb{20, 1, 8}));
  EXPECT_EQ(canvas.picture().at(3, 0), (Rgb{30, 1, 8}));
  EXPECT_EQ(canvas.picture().at(0, 1), kPaper);
}

TEST(Canvas, WritesLettersBelowTheLineToo) {
  Canvas canvas(11, 9, kPaper);
  canvas.Write(0, 0, "1g", 1, kInk);
  EXPECT_EQ(Show(canvas),
            "..#........\n"
            ".##........\n"
            "..#....####\n"
            "..#...#...#\n"
            "..#...#...#\n"
            "..#...#...#\n"
            ".###...####\n"
            "..........#\n"
            ".......###.\n");
}

TEST(Canvas, WritesABoxForALetterThatItDoesNotHave) {
  Canvas canvas(5, 9, kPaper);
  canvas.Write(0, 0, "Q", 1, kInk);
  EXPECT_EQ(Show(canvas), "#####\n#...#\n#...#\n#...#\n#...#\n#...#\n#####\n.....\n.....\n");
}

TEST(Canvas, MeasuresWhatItWrites) {
  EXPECT_EQ(Canvas::WidthOf("", 3), 0);
  EXPECT_EQ(Canvas::WidthOf("m", 3), 15);
  EXPECT_EQ(Canvas::WidthOf("mm", 3), 33);
  EXPECT_EQ(Canvas::LineHeight(3), 27);
}

}  // namespace
}  // namespace droidflow

#include "droidflow/view/canvas.h"

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

#include "droidflow/view/track_overlay.h"

#include "droidflow/view/colour_map.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

constexpr Rgb kBlank{10, 10, 10};
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

int PixelsLike(const Canvas& canvas, Rgb colour) {
  int count = 0;
  for (int y = 0; y < canvas.picture().height_px(); ++y) {
    for (int x = 0; x < canvas.picture().width_px(); ++x) {
      const Rgb& pixel = canvas.picture().at(x, y);
      count += std::abs(pixel.r - colour.r) + std::abs(pixel.g - colour.g) +
                           std::abs(pixel.b - colour.b) <
                       60
                   ? 1
                   : 0;
    }
  }
  return count;
}

TEST(DrawOverlay, ColoursThePathFromItsStartToItsEnd) {
  Canvas canvas(640, 480, kBlank);
  DrawOverlay({.left = {}, .right = {}, .path = {{10, 100}, {300, 100}, {600, 100}}}, canvas);
  EXPECT_EQ(canvas.picture().at(150, 100), ViridisAt(0.5));
  EXPECT_EQ(canvas.picture().at(450, 100), ViridisAt(1));
}

TEST(DrawOverlay, ColoursPointsByTheirFinger) {
  Canvas canvas(640, 480, kBlank);
  DrawOverlay({.left = {.points = {{100, 50}}, .tail = {}},
               .right = {.points = {{300, 50}, {320, 50}}, .tail = {}},
               .path = {}},
              canvas);
  EXPECT_GT(canvas.picture().at(100, 50).r, 150);
  EXPECT_GT(canvas.picture().at(320, 50).b, 150);
  EXPECT_GT(canvas.picture().at(300, 50).b, canvas.picture().at(300, 50).r);
}

TEST(DrawOverlay, LetsTailsFade) {
  Canvas canvas(640, 480, kBlank);
  DrawOverlay({.left = {.points = {}, .tail = {{50, 50}, {100, 50}, {150, 50}, {200, 50}}},
               .right = {},
               .path = {}},
              canvas);
  EXPECT_LT(canvas.picture().at(75, 50).r, canvas.picture().at(125, 50).r);
  EXPECT_LT(canvas.picture().at(125, 50).r, canvas.picture().at(175, 50).r);
}

TEST(DrawOverlay, MarksPointsOutsideAtTheBorderAndLeavesOutInvalidOnes) {
  Canvas canvas(640, 480, kBlank);
  DrawOverlay({.left = {.points = {{kNan, 50}, {50, kNan}}, .tail = {{kNan, 1}, {9, 9}}},
               .right = {},
               .path = {{kNan, kNan}, {20, 20}, {kNan, 20}}},
              canvas);
  EXPECT_EQ(PixelsLike(canvas, kBlank), 640 * 480);
  DrawOverlay({.left = {.points = {{-500, 200}}, .tail = {}}, .right = {}, .path = {}}, canvas);
  EXPECT_EQ(canvas.picture().at(0, 200), kOutsideColour);
}

TEST(DrawOverlay, DrawsTheAxesOfAFrame) {
  Canvas canvas(640, 480, kBlank);
  DrawOverlay({.left = {},
               .right = {},
               .path = {},
               .frame = {{300, 200}, {400, 200}, {300, 300}, {200, 100}}},
              canvas);
  EXPECT_EQ(canvas.picture().at(350, 200), kAxisColours[0]);
  EXPECT_EQ(canvas.picture().at(300, 250), kAxisColours[1]);
  EXPECT_EQ(canvas.picture().at(250, 150), kAxisColours[2]);
}

}  // namespace
}  // namespace droidflow

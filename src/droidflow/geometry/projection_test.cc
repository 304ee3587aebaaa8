#include "droidflow/geometry/projection.h"

#include <cmath>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

constexpr Intrinsics kCamera{
    .fx_px = 500, .fy_px = 400, .cx_px = 320, .cy_px = 240, .width_px = 640, .height_px = 480};
constexpr double kMinDepth_m = 0.01;

TEST(ProjectPoint, GivesTheNumbersWorkedByHand) {
  const Pixel axis = ProjectPoint(kCamera, {0, 0, 2}, kMinDepth_m);
  EXPECT_EQ(axis.u_px, 320);
  EXPECT_EQ(axis.v_px, 240);
  const Pixel beside = ProjectPoint(kCamera, {0.5, -0.25, 2}, kMinDepth_m);
  EXPECT_EQ(beside.u_px, 445);  // 500 * 0.25 + 320
  EXPECT_EQ(beside.v_px, 190);  // 400 * -0.125 + 240
}

TEST(ProjectPoint, DoesNotClipToTheImage) {
  EXPECT_EQ(ProjectPoint(kCamera, {-4, 0, 1}, kMinDepth_m).u_px, -1680);
}

TEST(ProjectPoint, GivesNanAtTheMinimumDepthAndNearer) {
  for (const double z_m : {kMinDepth_m, 0.0, -1.0, std::nan("")}) {
    const Pixel pixel = ProjectPoint(kCamera, {0.1, 0.1, z_m}, kMinDepth_m);
    EXPECT_TRUE(std::isnan(pixel.u_px)) << z_m;
    EXPECT_TRUE(std::isnan(pixel.v_px)) << z_m;
  }
  EXPECT_FALSE(std::isnan(ProjectPoint(kCamera, {0, 0, 0.011}, kMinDepth_m).u_px));
}

}  // namespace
}  // namespace droidflow

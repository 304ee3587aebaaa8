#include "droidflow/geometry/lens.h"

#include <cmath>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

TEST(Lens, WithoutDistortionBrownConradyIsThePinhole) {
  const NormalisedPoint seen = Distort(BrownConrady{}, {0.3, -0.7});
  EXPECT_EQ(seen.x, 0.3);
  EXPECT_EQ(seen.y, -0.7);
}

TEST(Lens, BrownConradyGivesTheNumbersWorkedByHand) {
  // r^2 = 5/16: radial = 1 + 0.0625 + 0.0390625 + 0.0244140625.
  const BrownConrady lens{.k1 = 0.2, .k2 = 0.4, .p1 = 0.01, .p2 = 0.02, .k3 = 0.8};
  const NormalisedPoint seen = Distort(lens, {0.5, -0.25});
  EXPECT_NEAR(seen.x, 0.56298828125 - 0.0025 + 0.01625, 1e-15);
  EXPECT_NEAR(seen.y, -0.281494140625 + 0.004375 - 0.005, 1e-15);
}

TEST(Lens, KannalaBrandtShowsTheAngleOfIncidence) {
  // At 45 degrees the angle is pi/4; polynomial worked with Python.
  const double quarter = 0.78539816339744831;
  const NormalisedPoint plain = Distort(KannalaBrandt{}, {0, -1});
  EXPECT_EQ(plain.x, 0);
  EXPECT_NEAR(plain.y, -quarter, 1e-15);
  const KannalaBrandt lens{.k1 = 0.1, .k2 = 0.2, .k3 = 0.3, .k4 = 0.4};
  EXPECT_NEAR(Distort(lens, {1, 0}).x, 0.9944032370057105, 1e-15);
}

TEST(Lens, KannalaBrandtKeepsTheDirectionFromTheCentre) {
  const KannalaBrandt lens{.k1 = -0.03, .k2 = 0.02, .k3 = -0.01, .k4 = 0.01};
  const NormalisedPoint seen = Distort(lens, {0.6, 0.8});
  EXPECT_NEAR(seen.y / seen.x, 0.8 / 0.6, 1e-15);
  EXPECT_NEAR(std::hypot(seen.x, seen.y), Distort(lens, {1, 0}).x, 1e-15);
}

TEST(Lens, TheAxisStaysWhereItIs) {
  for (const LensModel& lens :
       {LensModel(BrownConrady{.k1 = 0.3, .p1 = 0.1}), LensModel(KannalaBrandt{.k1 = 0.3})}) {
    const NormalisedPoint seen = Distort(lens, {0, 0});
    EXPECT_EQ(seen.x, 0);
    EXPECT_EQ(seen.y, 0);
  }
}

}  // namespace
}  // namespace droidflow

#include "droidflow/geometry/deterministic_math.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNearestPi = 0x1.921fb54442d18p+1;
constexpr int kSamples = 200'000;

// Distance in units in the last place of `want`, the oracle's value in more digits than a double
// has.
double UlpsBetween(double have, long double want) {
  const double rounded = std::abs(static_cast<double>(want));
  const long double ulp = std::nextafter(rounded, kInfinity) - rounded;
  return static_cast<double>(std::abs(have - want) / ulp);
}

struct Worst {
  double ulps = 0;
  double at = 0;

  void Add(double x, double have, long double want) {
    const double u = UlpsBetween(have, want);
    if (!(u <= ulps)) *this = {u, x};
  }
};

TEST(DeterministicMath, SineAndCosineAreWithinTwoUnitsOfLongDouble) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> turn(-7, 7);
  std::uniform_real_distribution<double> exponent(-40, 20);
  Worst sine;
  Worst cosine;
  const auto add = [&](double x) {
    sine.Add(x, Sin(x), std::sin(static_cast<long double>(x)));
    cosine.Add(x, Cos(x), std::cos(static_cast<long double>(x)));
  };
  for (int i = 0; i < kSamples; ++i) {
    add(turn(random));
    add(std::copysign(std::exp2(exponent(random)), turn(random)));
  }
  EXPECT_LT(sine.ulps, 2) << "at " << sine.at;
  EXPECT_LT(cosine.ulps, 2) << "at " << cosine.at;
}

// There the argument's reduction loses all digits of a double.
TEST(DeterministicMath, SineAndCosineKeepTheirDigitsAtMultiplesOfHalfPi) {
  Worst worst;
  for (int multiple = 1; multiple < 600'000; multiple += 7) {
    const double x = multiple * (kNearestPi / 2);
    const long double exact = x;
    worst.Add(x, Sin(x), std::sin(exact));
    worst.Add(x, Cos(x), std::cos(exact));
  }
  EXPECT_LT(worst.ulps, 2) << "at " << worst.at;
}

TEST(DeterministicMath, InversesAreWithinTwoUnitsOfLongDouble) {
  std::mt19937_64 random(2);
  std::uniform_real_distribution<double> cosine(-1, 1);
  std::uniform_real_distribution<double> exponent(-40, 40);
  Worst atan;
  Worst acos;
  for (int i = 0; i < kSamples; ++i) {
    const double c = cosine(random);
    const double near_one = 1 - std::exp2(-std::abs(exponent(random)));
    const double x = std::copysign(std::exp2(exponent(random)), c);
    atan.Add(4 * c, Atan(4 * c), std::atan(static_cast<long double>(4 * c)));
    atan.Add(x, Atan(x), std::atan(static_cast<long double>(x)));
    acos.Add(c, Acos(c), std::acos(static_cast<long double>(c)));
    acos.Add(near_one, Acos(near_one), std::acos(static_cast<long double>(near_one)));
    acos.Add(-near_one, Acos(-near_one), std::acos(static_cast<long double>(-near_one)));
  }
  EXPECT_LT(atan.ulps, 2) << "at " << atan.at;
  EXPECT_LT(acos.ulps, 2) << "at " << acos.at;
}

TEST(DeterministicMath, SpecialValuesAreExact) {
  EXPECT_EQ(Sin(0), 0);
  EXPECT_TRUE(std::signbit(Sin(-0.0)));
  EXPECT_EQ(Sin(5e-324), 5e-324);
  EXPECT_EQ(Sin(kNearestPi / 2), 1);
  EXPECT_EQ(Sin(-kNearestPi / 2), -1);
  EXPECT_EQ(Sin(kNearestPi), 0x1.1a62633145c07p-53);  // pi less the double nearest to it
  EXPECT_EQ(Cos(0), 1);
  EXPECT_EQ(Cos(kNearestPi), -1);
  EXPECT_EQ(Cos(kNearestPi / 2), 0x1.1a62633145c07p-54);
  EXPECT_TRUE(std::signbit(Atan(-0.0)));
  EXPECT_EQ(Atan(1), kNearestPi / 4);
  EXPECT_EQ(Atan(kInfinity), kNearestPi / 2);
  EXPECT_EQ(Atan(-kInfinity), -kNearestPi / 2);
  EXPECT_EQ(Acos(1), 0);
  EXPECT_EQ(Acos(0), kNearestPi / 2);
  EXPECT_EQ(Acos(-1), kNearestPi);
}

TEST(DeterministicMath, WhatHasNoAnswerIsNan) {
  for (const double x : {kInfinity, -kInfinity, std::nan("")}) {
    EXPECT_TRUE(std::isnan(Sin(x)));
    EXPECT_TRUE(std::isnan(Cos(x)));
  }
  EXPECT_TRUE(std::isnan(Atan(std::nan(""))));
  for (const double x : {std::nextafter(1.0, 2.0), -1.5, kInfinity, std::nan("")}) {
    EXPECT_TRUE(std::isnan(Acos(x)));
  }
}

TEST(DeterministicMath, HugeAnglesStillGivePointsOnTheCircle) {
  for (const double x : {1.1e6, -3e15, 1e300, std::numeric_limits<double>::max()}) {
    EXPECT_NEAR(Sin(x) * Sin(x) + Cos(x) * Cos(x), 1, 1e-15) << x;
  }
}

}  // namespace
}  // namespace droidflow

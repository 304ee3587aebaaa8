#include "droidflow/view/colour_map.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

/// CIE 1976 lightness of an sRGB colour, 0 … 100.
double Lightness(Rgb colour) {
  const auto linear = [](std::uint8_t level) {
    const double value = level / 255.0;
    return value <= 0.04045 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4);
  };
  const double y =
      0.2126 * linear(colour.r) + 0.7152 * linear(colour.g) + 0.0722 * linear(colour.b);
  return y <= 216.0 / 24389 ? y * 24389 / 27 : 116 * std::cbrt(y) - 16;
}

TEST(ViridisAt, GivesTheColoursThatMatplotlibGives) {
  for (const auto& [share, wanted] : {std::pair{0.0, Rgb{0x44, 0x01, 0x54}},
                                      {64.0 / 255, Rgb{0x3b, 0x52, 0x8b}},
                                      {128.0 / 255, Rgb{0x21, 0x91, 0x8c}},
                                      {192.0 / 255, Rgb{0x5e, 0xc9, 0x62}},
                                      {1.0, Rgb{0xfd, 0xe7, 0x25}}}) {
    const Rgb colour = ViridisAt(share);
    EXPECT_LE(std::abs(colour.r - wanted.r), 2) << share;
    EXPECT_LE(std::abs(colour.g - wanted.g), 2) << share;
    EXPECT_LE(std::abs(colour.b - wanted.b), 2) << share;
  }
}

TEST(ViridisAt, RisesInLightnessByEqualSteps) {
  const double first = Lightness(ViridisAt(0));
  const double last = Lightness(ViridisAt(1));
  EXPECT_GT(last - first, 70);
  for (int i = 1; i <= 64; ++i) {
    const double share = i / 64.0;
    const double lightness = Lightness(ViridisAt(share));
    EXPECT_GT(lightness, Lightness(ViridisAt(share - 1 / 64.0))) << share;
    EXPECT_NEAR(lightness, first + share * (last - first), 2) << share;
  }
}

TEST(ViridisAt, IsNowhereGray) {
  for (int i = 0; i <= 255; ++i) {
    const Rgb c = ViridisAt(i / 255.0);
    EXPECT_GE(std::max({c.r, c.g, c.b}) - std::min({c.r, c.g, c.b}), 60) << i;
  }
}

TEST(ViridisAt, HoldsItsEnds) {
  EXPECT_EQ(ViridisAt(-1), ViridisAt(0));
  EXPECT_EQ(ViridisAt(2), ViridisAt(1));
  EXPECT_EQ(ViridisAt(std::numeric_limits<double>::quiet_NaN()), ViridisAt(0));
}

}  // namespace
}  // namespace droidflow

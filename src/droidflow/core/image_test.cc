#include "droidflow/core/image.h"

#include <cstdint>

#include <gmock/gmock.h>

namespace droidflow {
namespace {

TEST(Image, StartsEveryRowAtAMultipleOf64Bytes) {
  const GrayImage image(65, 3);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(image.row(0)) % 64, 0);
  EXPECT_EQ(image.view().stride, 128);
  EXPECT_EQ(Image<std::uint16_t>(33, 2).view().stride, 64);
  EXPECT_EQ(RgbImage(65, 2).view().stride, 65) << "whole pixels apart";
}

TEST(Image, KeepsItsMemoryWhereThatSuffices) {
  GrayImage image(64, 4);
  const std::uint8_t* const before = image.row(0);
  image.Resize(32, 3);
  EXPECT_EQ(image.row(0), before);
  EXPECT_EQ(image.width_px(), 32);
  EXPECT_EQ(image.height_px(), 3);
}

TEST(Image, IsEmptyAndUsableAgainWhenItsMemoryHasMoved) {
  GrayImage from(64, 4);
  from.at(63, 3) = 7;
  GrayImage to = std::move(from);
  EXPECT_EQ(to.at(63, 3), 7);
  EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move): what is left is what is tested
  from.Resize(64, 4);
  from.at(0, 0) = 1;
  EXPECT_NE(from.row(0), to.row(0));
}

TEST(ImageView, ShowsSomeColumns) {
  GrayImage pair(8, 2);
  pair.at(5, 1) = 9;
  const GrayView right = pair.view().Columns(4, 4);
  EXPECT_EQ(right.width_px, 4);
  EXPECT_EQ(right.at(1, 1), 9);
}

}  // namespace
}  // namespace droidflow

#include "droidflow/depth/disparity_error.h"

#include "droidflow/core/result_matchers.h"

#include <limits>
#include <vector>

namespace droidflow {
namespace {

using ::testing::HasSubstr;

constexpr float kNone = std::numeric_limits<float>::quiet_NaN();

Image<float> Rows(const std::vector<std::vector<float>>& rows) {
  Image<float> image(static_cast<int>(rows[0].size()), static_cast<int>(rows.size()));
  for (int y = 0; y < image.height_px(); ++y) {
    std::copy(rows[static_cast<std::size_t>(y)].begin(),
              rows[static_cast<std::size_t>(y)].end(),
              image.row(y));
  }
  return image;
}

TEST(ScoreDisparity, GivesTheNumbersWorkedByHand) {
  // Errors of 0, 1, 1.5, 3 and 5; the sixth has no truth.
  const auto score = ScoreDisparity(Rows({{10, 11, 8.5, 13, 5}, {7, 7, 7, 7, 7}}).view(),
                                    Rows({{10, 10, 10, 10, 10}, {7, 7, 7, kNone, 7}}).view(),
                                    nullptr);
  ASSERT_THAT(score, IsOk());
  EXPECT_EQ(score->pixels, 9);
  EXPECT_DOUBLE_EQ(score->density_percent, 100);
  ASSERT_TRUE(score->valid.has_value());
  EXPECT_DOUBLE_EQ(score->valid->bad1_percent, 100.0 * 3 / 9);  // 1 is not more than 1.
  EXPECT_DOUBLE_EQ(score->valid->bad2_percent, 100.0 * 2 / 9);
  EXPECT_DOUBLE_EQ(score->valid->bad4_percent, 100.0 * 1 / 9);
  EXPECT_DOUBLE_EQ(score->valid->avg_px, 10.5 / 9);
  EXPECT_DOUBLE_EQ(score->dense.avg_px, 10.5 / 9);
}

TEST(ScoreDisparity, FillsGapsWithTheSmallerNeighbourInTheRow) {
  // Filled: 4 4 4 9 9 6 6 6.
  const auto score = ScoreDisparity(Rows({{kNone, 4, kNone, 9, 9, kNone, kNone, 6}}).view(),
                                    Rows({{9, 4, 4.5, 9, 9, 9, 7, 6}}).view(),
                                    nullptr);
  ASSERT_THAT(score, IsOk());
  EXPECT_DOUBLE_EQ(score->density_percent, 50);
  EXPECT_DOUBLE_EQ(score->valid->avg_px, 0);
  // 5, 0, 0.5, 0, 0, 3, 1, 0
  EXPECT_DOUBLE_EQ(score->dense.avg_px, 9.5 / 8);
  EXPECT_DOUBLE_EQ(score->dense.bad1_percent, 25);
  EXPECT_DOUBLE_EQ(score->dense.bad2_percent, 25);
  EXPECT_DOUBLE_EQ(score->dense.bad4_percent, 12.5);
}

TEST(ScoreDisparity, CallsARowWithoutResultBad) {
  const auto score = ScoreDisparity(
      Rows({{kNone, kNone}, {5, 5}}).view(), Rows({{0.5, 3}, {5, 5}}).view(), nullptr);
  ASSERT_THAT(score, IsOk());
  EXPECT_DOUBLE_EQ(score->density_percent, 50);
  EXPECT_DOUBLE_EQ(score->dense.bad4_percent, 50);
  EXPECT_DOUBLE_EQ(score->dense.avg_px, 3.5 / 4);
}

TEST(ScoreDisparity, CountsTheMaskOnlyAndFillsFromAllOfTheRow) {
  GrayImage mask(3, 1);
  mask.at(0, 0) = 128;
  mask.at(1, 0) = 255;
  mask.at(2, 0) = 0;
  const auto score =
      ScoreDisparity(Rows({{2, kNone, 9}}).view(), Rows({{50, 4, 50}}).view(), &mask);
  ASSERT_THAT(score, IsOk());
  EXPECT_EQ(score->pixels, 1);
  EXPECT_DOUBLE_EQ(score->density_percent, 0);
  EXPECT_FALSE(score->valid.has_value());
  EXPECT_DOUBLE_EQ(score->dense.avg_px, 2);
}

TEST(ScoreDisparity, SaysWhatDoesNotFit) {
  GrayImage mask(2, 1);
  mask.at(0, 0) = mask.at(1, 0) = 0;
  const auto fails = [](const char* text) {
    return FailsWith(ErrorKind::kInvalidData, HasSubstr(text));
  };
  EXPECT_THAT(
      ScoreDisparity(Rows({{1, 2}}).view(), Rows({{1}}).view(), nullptr),
      FailsWith(ErrorKind::kUsage, HasSubstr("want a truth of 2x1, as the result, have 1x1")));
  EXPECT_THAT(
      ScoreDisparity(Rows({{1}}).view(), Rows({{1}}).view(), &mask),
      FailsWith(ErrorKind::kUsage, HasSubstr("want a mask of 1x1, as the result, have 2x1")));
  EXPECT_THAT(ScoreDisparity(Rows({{1, 2}}).view(), Rows({{1, 2}}).view(), &mask),
              fails("where the mask is 255 to compare, have none"));
  EXPECT_THAT(ScoreDisparity(Rows({{1}}).view(), Rows({{kNone}}).view(), nullptr),
              fails("want pixels of known truth to compare, have none"));
}

}  // namespace
}  // namespace droidflow

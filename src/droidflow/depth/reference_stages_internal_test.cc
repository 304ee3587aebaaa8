/// Every step of the reference against numbers worked by hand.

#include "droidflow/depth/reference_stages_internal.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow::reference {
namespace {

using ::testing::ElementsAre;

template <typename T = std::uint8_t>
Image<T> Picture(int width_px, const std::vector<int>& values) {
  Image<T> picture(width_px, static_cast<int>(values.size()) / width_px);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int index = static_cast<int>(i);
    picture.at(index % width_px, index / width_px) = static_cast<T>(values[i]);
  }
  return picture;
}

template <typename T>
std::vector<int> Values(const Image<T>& picture) {
  std::vector<int> values;
  for (int y = 0; y < picture.height_px(); ++y) {
    for (int x = 0; x < picture.width_px(); ++x) values.push_back(picture.at(x, y));
  }
  return values;
}

template <typename T>
std::vector<int> Available(const Volume<T>& volume, int x, int y) {
  std::vector<int> values;
  for (int d = volume.search().min_px; volume.search().IsAvailable(d, x); ++d) {
    values.push_back(volume.at(x, y)[d]);
  }
  return values;
}

/// One row, from the available numbers of each pixel.
template <typename T>
Volume<T> Row(Search search, const std::vector<std::vector<int>>& pixels) {
  Volume<T> volume(static_cast<int>(pixels.size()), 1, search);
  for (int x = 0; x < volume.width_px(); ++x) {
    const std::vector<int>& values = pixels.at(static_cast<std::size_t>(x));
    EXPECT_FALSE(search.IsAvailable(search.min_px + static_cast<int>(values.size()), x)) << x;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const int d = search.min_px + static_cast<int>(i);
      EXPECT_TRUE(search.IsAvailable(d, x)) << d << " at column " << x;
      volume.at(x, 0)[d] = static_cast<T>(values[i]);
    }
  }
  return volume;
}

TEST(Search, HasWhatLiesInBothPictures) {
  constexpr Search kSearch{2, 5};
  std::vector<int> available;
  for (int x = 0; x < 7; ++x) {
    int count = 0;
    for (int d = 0; d < 9; ++d) count += kSearch.IsAvailable(d, x) ? 1 : 0;
    available.push_back(count);
  }
  EXPECT_THAT(available, ElementsAre(0, 0, 1, 2, 3, 3, 3));
}

TEST(Census, SetsABitForEachDarkerNeighbourOfOneColourOfTheChessboard) {
  const std::vector<int> values{
      1, 1, 9, 9, 9, 9, 9, 9, 9,  // (-3, -3) is bit 0; (-4, -3) is of the other colour
      9, 9, 9, 9, 9, 9, 9, 9, 9,  // bits 4 … 8
      9, 9, 9, 9, 9, 9, 9, 9, 9,  // bits 9 … 12
      1, 9, 5, 1, 5, 9, 9, 9, 9,  // (-4, 0) is bit 13; equal is not darker; (-1, 0) does not count
      9, 9, 9, 9, 9, 9, 9, 9, 9,  // bits 17 … 20
      9, 9, 9, 9, 9, 9, 9, 9, 4,  // (4, 2) is bit 25
      9, 9, 9, 9, 9, 9, 9, 1, 9,  // (3, 3) is bit 29
  };
  EXPECT_EQ(Census(Picture(9, values).view()).at(4, 3), 1U | 1U << 13 | 1U << 25 | 1U << 29);
  std::vector<int> dark(9 * 7, 1);
  dark.at(3 * 9 + 4) = 5;
  EXPECT_EQ(Census(Picture(9, dark).view()).at(4, 3), (1U << 30) - 1);
}

TEST(Census, GoesOnWithTheNearestPixelOutside) {
  const Image<std::uint32_t> census = Census(Picture(2, {3, 7}).view());
  EXPECT_EQ(census.at(0, 0), 0U);
  // The two leftmost of every row are darker.
  EXPECT_EQ(census.at(1, 0), 3U | 3U << 4 | 3U << 9 | 3U << 13 | 3U << 17 | 3U << 21 | 3U << 26);
}

TEST(Gradients, AreHalfTheDifferenceAround128) {
  const Image<Gradient> gradients = Gradients(Picture(3,
                                                      {10,
                                                       20,
                                                       40,  //
                                                       30,
                                                       60,
                                                       255})
                                                  .view());
  EXPECT_EQ(gradients.at(0, 0), (Gradient{133, 138}));  // (20 - 10 + 256) / 2, (30 - 10 + 256) / 2
  EXPECT_EQ(gradients.at(1, 0), (Gradient{143, 148}));
  EXPECT_EQ(gradients.at(2, 1), (Gradient{225, 235}));  // 225.5, 235.5
  const Image<Gradient> steepest = Gradients(Picture(3, {255, 9, 0}).view());
  EXPECT_EQ(steepest.at(1, 0), (Gradient{0, 128}));  // 0.5
}

TEST(MatchingCosts, AddCensusAndGradient) {
  const GrayImage left = Picture(2, {3, 7});
  const Costs same = MatchingCosts(left.view(), left.view(), {0, 2});
  EXPECT_THAT(Available(same, 0, 0), ElementsAre(0));
  EXPECT_THAT(Available(same, 1, 0), ElementsAre(0, 14));  // 14 bits, both gradients are 130
  const Costs a_bit = MatchingCosts(left.view(), Picture(2, {3, 13}).view(), {0, 2});
  EXPECT_THAT(Available(a_bit, 1, 0), ElementsAre(3, 17));  // 133 against 130
  const Costs steep = MatchingCosts(left.view(), Picture(2, {3, 200}).view(), {1, 4});
  EXPECT_THAT(Available(steep, 0, 0), ElementsAre());
  EXPECT_THAT(Available(steep, 1, 0), ElementsAre(22));  // 226 against 130 counts 8
}

TEST(MatchingCosts, EndAt36) {
  std::vector<int> left(9 * 7, 1);
  left.at(3 * 9 + 4) = 5;
  std::vector<int> right(9 * 7, 50);
  right.at(3 * 9 + 5) = 90;  // not in the centre's census: 30 bits differ, and the gradient
  const Costs costs = MatchingCosts(Picture(9, left).view(), Picture(9, right).view(), {0, 1});
  EXPECT_THAT(Available(costs, 4, 3), ElementsAre(36));
}

constexpr MatcherOptions kSmallPenalties{.p1 = 2, .p2_min = 3, .p2 = 10};

TEST(PathCosts, GivesTheNumbersWorkedByHand) {
  const GrayImage left = Picture(4, {100, 100, 110, 91});
  const Costs costs = Row<std::uint8_t>({0, 3}, {{5}, {4, 9}, {20, 6, 1}, {7, 7, 7}});
  const Costs right = PathCosts(left.view(), costs, {1, 0}, kSmallPenalties);
  EXPECT_THAT(Available(right, 0, 0), ElementsAre(5));
  // m = 5, P2' = 10: 4 + 5 - 5; 9 + (5 + 2) - 5.
  EXPECT_THAT(Available(right, 1, 0), ElementsAre(4, 11));
  // m = 4, P2' = 10 - 10 / 2: 20 + 4 - 4; 6 + (4 + 2) - 4; 1 + (4 + 5) - 4.
  EXPECT_THAT(Available(right, 2, 0), ElementsAre(20, 8, 6));
  // m = 6, P2' = 3, for 10 - 19 / 2 is less: 7 + (6 + 3) - 6; 7 + 8 - 6; 7 + 6 - 6.
  EXPECT_THAT(Available(right, 3, 0), ElementsAre(10, 9, 7));

  const Costs to_the_left = PathCosts(left.view(), costs, {-1, 0}, kSmallPenalties);
  EXPECT_THAT(Available(to_the_left, 3, 0), ElementsAre(7, 7, 7));
  EXPECT_THAT(Available(to_the_left, 2, 0), ElementsAre(20, 6, 1));
  // m = 1, P2' = 5: 4 + (1 + 5) - 1; 9 + (1 + 2) - 1.
  EXPECT_THAT(Available(to_the_left, 1, 0), ElementsAre(9, 11));
  EXPECT_THAT(Available(to_the_left, 0, 0), ElementsAre(5));
}

TEST(PathCosts, StartWhereNothingCameBefore) {
  const GrayImage left = Picture(4, {100, 100, 100, 100});
  const Costs costs = Row<std::uint8_t>({2, 4}, {{}, {}, {5}, {4, 9}});
  const Costs path = PathCosts(left.view(), costs, {1, 0}, kSmallPenalties);
  EXPECT_THAT(Available(path, 2, 0), ElementsAre(5));
  EXPECT_THAT(Available(path, 3, 0), ElementsAre(4, 11));
  const Costs down = PathCosts(left.view(), costs, {0, 1}, kSmallPenalties);
  EXPECT_THAT(Available(down, 3, 0), ElementsAre(4, 9));
}

TEST(PathCosts, FollowTheirStep) {
  const GrayImage left = Picture(3, std::vector<int>(9, 100));
  for (const Step step : kSteps) {
    Costs costs(3, 3, {0, 1});
    for (int y = 0; y < 3; ++y) {
      for (int x = 0; x < 3; ++x) costs.at(x, y)[0] = static_cast<std::uint8_t>(1 + x + 3 * y);
    }
    // With one disparity, L = C + L(q) - m = C whatever the step; a second one tells where q is.
    Costs two(5, 5, {0, 2});
    two.at(2, 2)[0] = 20;  // only there is disparity 1 the cheaper
    two.at(2 - step.x, 2 - step.y)[1] = 3;
    const GrayImage flat = Picture(5, std::vector<int>(25, 100));
    const Costs path = PathCosts(flat.view(), two, step, {.p1 = 7, .p2_min = 8, .p2 = 27});
    EXPECT_THAT(Available(path, 2 + step.x, 2 + step.y), ElementsAre(7, 0))
        << step.x << ' ' << step.y;
    EXPECT_EQ(Available(PathCosts(left.view(), costs, step, {}), 1, 1), std::vector<int>{5});
  }
}

TEST(SumOfPaths, TakesFiveOrEight) {
  const GrayImage left = Picture(4, {100, 100, 110, 91});
  const Costs costs = Row<std::uint8_t>({0, 3}, {{5}, {4, 9}, {20, 6, 1}, {7, 7, 7}});
  MatcherOptions options = kSmallPenalties;
  // A row: both horizontal paths, worked above, and the costs of all others.
  EXPECT_THAT(Available(SumOfPaths(left.view(), costs, options), 2, 0),
              ElementsAre(20 + 20 + 3 * 20, 8 + 6 + 3 * 6, 6 + 1 + 3 * 1));
  options.paths = 8;
  EXPECT_THAT(Available(SumOfPaths(left.view(), costs, options), 2, 0),
              ElementsAre(20 + 20 + 6 * 20, 8 + 6 + 6 * 6, 6 + 1 + 6 * 1));
}

TEST(SumOfPaths, EndsAt255) {
  const GrayImage left = Picture(1, {100});
  const Costs costs = Row<std::uint8_t>({0, 1}, {{36}});
  EXPECT_THAT(Available(SumOfPaths(left.view(), costs, {.paths = 5}), 0, 0), ElementsAre(180));
  EXPECT_THAT(Available(SumOfPaths(left.view(), costs, {.paths = 8}), 0, 0), ElementsAre(255));
}

TEST(PickWinners, TakesTheSmallestOfEquals) {
  const Sums sums = Row<std::uint16_t>({1, 4}, {{}, {9}, {9, 7}, {9, 5, 5}, {3, 5, 2}});
  EXPECT_THAT(Values(PickWinners(sums)), ElementsAre(kNone, 1, 2, 2, 3));
}

std::vector<int> Unique(int second, int percent) {
  const Sums sums = Row<std::uint16_t>(
      {0, 5}, {{9}, {9, 9}, {9, 9, 9}, {9, 9, 9, 9}, {200, 100, 100, second, 250}});
  Winners winners = Picture<int>(5, {kNone, kNone, kNone, kNone, 1});
  DropAmbiguous(sums, percent, winners);
  return Values(winners);
}

TEST(DropAmbiguous, ComparesWithTheBestThatIsNotBeside) {
  EXPECT_THAT(Unique(106, 5), ElementsAre(kNone, kNone, kNone, kNone, 1));
  EXPECT_THAT(Unique(105, 5), ElementsAre(kNone, kNone, kNone, kNone, kNone));  // 9975 < 10000
  EXPECT_THAT(Unique(125, 20), ElementsAre(kNone, kNone, kNone, kNone, 1));     // 10000 is not less
  EXPECT_THAT(Unique(100, 0), ElementsAre(kNone, kNone, kNone, kNone, 1));
}

std::vector<int> Agreed(int most_px) {
  const Sums sums = Row<std::uint16_t>(
      {0, 4}, {{90}, {90, 90}, {10, 90, 90}, {90, 20, 90, 90}, {90, 90, 15, 90}});
  Winners winners = PickWinners(sums);
  EXPECT_THAT(Values(winners), ElementsAre(0, 0, 0, 1, 2));
  DropWhereEyesDisagree(sums, most_px, winners);
  return Values(winners);
}

TEST(DropWhereEyesDisagree, LooksForTheBestOfTheRightPixel) {
  // Columns 2, 3 and 4 all want column 2 of the right picture, which wants disparity 0. Its columns
  // 0 and 1 get 90 from wherever they look.
  EXPECT_THAT(Agreed(-1), ElementsAre(0, 0, 0, 1, 2));
  EXPECT_THAT(Agreed(0), ElementsAre(0, 0, 0, kNone, kNone));
  EXPECT_THAT(Agreed(1), ElementsAre(0, 0, 0, 1, kNone));
  EXPECT_THAT(Agreed(2), ElementsAre(0, 0, 0, 1, 2));
}

int Refined(int before, int at, int after, bool subpixel = true) {
  const Sums sums = Row<std::uint16_t>({4, 7}, {{}, {}, {}, {}, {9}, {9, 9}, {before, at, after}});
  return Refine(sums, Picture<int>(7, {-1, -1, -1, -1, -1, -1, 5}), subpixel).at(6, 0);
}

TEST(Refine, TurnsTwoLinesOfEqualSlopeIntoSixteenths) {
  EXPECT_EQ(Refined(10, 4, 10), 80);
  EXPECT_EQ(Refined(10, 4, 8), 83);     // (16 * 2 + 6) / 12 = 3.2
  EXPECT_EQ(Refined(8, 4, 10), 77);     // (-32 + 6) / 12 = -2.2
  EXPECT_EQ(Refined(20, 4, 4), 88);     // (256 + 16) / 32 = 8.5
  EXPECT_EQ(Refined(5, 4, 104), 72);    // (-1584 + 100) / 200 = -7.4
  EXPECT_EQ(Refined(255, 0, 254), 80);  // (16 + 255) / 510 = 0.5
  EXPECT_EQ(Refined(10, 4, 8, false), 80);
}

TEST(Refine, NeedsBothNeighbours) {
  const Sums sums = Row<std::uint16_t>({1, 4}, {{}, {5}, {9, 5}, {1, 5, 9}, {9, 5, 1}});
  // Disparity 3 is not available at column 2; 0 and 4 are not looked for.
  EXPECT_THAT(Values(Refine(sums, PickWinners(sums), true)), ElementsAre(-1, 16, 32, 16, 48));
}

TEST(MedianOf, CountsMissingNeighboursAsTheMiddle) {
  const auto median_px16 = [](const std::vector<int>& values) {
    return Values(MedianOf(Picture<std::int16_t>(3, values).view()));
  };
  EXPECT_EQ(median_px16({-1, 10, 20, -1, 50, 30, 70, 60, 40}).at(4), 50);
  EXPECT_EQ(median_px16({5, 10, 20, 6, 50, 30, 70, 60, 40}).at(4), 30);
  EXPECT_EQ(median_px16({5, 10, 20, 6, -1, 30, 70, 60, 40}).at(4), -1);
  // Outside counts as missing.
  EXPECT_THAT(median_px16({50, 10, 10, 10, 10, 10, 10, 10, 10}),
              ElementsAre(50, 10, 10, 10, 10, 10, 10, 10, 10));
  EXPECT_THAT(median_px16({10, 50, 10}), ElementsAre(10, 50, 10));
  EXPECT_THAT(median_px16({10, 50, 10, 10, 10, 10}), ElementsAre(10, 10, 10, 10, 10, 10));
}

std::vector<int> WithoutSpeckles(int width_px,
                                 const std::vector<int>& values,
                                 int area_px,
                                 int range_px) {
  DisparityImage disparity_px16 = Picture<std::int16_t>(width_px, values);
  DropSpeckles(area_px, range_px, disparity_px16);
  return Values(disparity_px16);
}

TEST(DropSpeckles, JoinsWhatIsNear) {
  const std::vector<int> row{16, 48, 81, -1, 81, 0};
  EXPECT_EQ(WithoutSpeckles(6, row, 0, 2), row);
  EXPECT_THAT(WithoutSpeckles(6, row, 1, 2), ElementsAre(16, 48, -1, -1, -1, -1));
  EXPECT_THAT(WithoutSpeckles(6, row, 2, 2), ElementsAre(-1, -1, -1, -1, -1, -1));
  EXPECT_THAT(WithoutSpeckles(6, row, 2, 3), ElementsAre(16, 48, 81, -1, -1, -1));
}

TEST(DropSpeckles, JoinsRoundCornersButNotAcrossThem) {
  const std::vector<int> values{
      5,
      -1,
      5,
      -1,  // a U of seven, and
      5,
      -1,
      5,
      -1,  //
      5,
      5,
      5,
      -1,  //
      -1,
      -1,
      -1,
      5  // one that touches its corner
  };
  std::vector<int> without_one = values;
  without_one.back() = -1;
  EXPECT_EQ(WithoutSpeckles(4, values, 1, 0), without_one);
  EXPECT_EQ(WithoutSpeckles(4, values, 6, 0), without_one);
  EXPECT_EQ(WithoutSpeckles(4, values, 7, 0), std::vector<int>(16, -1));
}

TEST(ConfidenceOf, SaysHowMuchWorseTheOthersAre) {
  const Sums sums = Row<std::uint16_t>({0, 5},
                                       {{7},
                                        {7, 3},
                                        {7, 50, 8},
                                        {50, 9, 200, 100},
                                        {40, 90, 41, 90, 90},
                                        {90, 90, 40, 90, 40},
                                        {0, 0, 0, 0, 0}});
  const Winners winners = PickWinners(sums);
  EXPECT_THAT(Values(winners), ElementsAre(0, 1, 0, 1, 0, 2, 0));
  const DisparityImage disparity_px16 = Picture<std::int16_t>(7, {0, 16, 0, 16, -1, 32, 0});
  // 255: no others; 255 * (8 - 7) / 8 = 31.9; 255 * (100 - 9) / 100 = 232.05; dropped; a tie;
  // zeros.
  EXPECT_THAT(Values(ConfidenceOf(sums, winners, disparity_px16.view())),
              ElementsAre(255, 255, 31, 232, 0, 0, 0));
}

TEST(Halve, RoundsAndGoesOnOutside) {
  EXPECT_THAT(Values(Halve(Picture(3, {10, 20, 31}).view())), ElementsAre(15, 31));
  EXPECT_THAT(Values(Halve(Picture(2, {1, 2, 3, 4, 255, 254}).view())), ElementsAre(3, 255));
  EXPECT_THAT(Values(Halve(Picture(1, {9}).view())), ElementsAre(9));
}

TEST(HalfSizeOptions, AreHalved) {
  const MatcherOptions half = HalfSizeOptions({.min_disparity_px = 3,
                                               .max_disparity_px = 101,
                                               .half_size = true,
                                               .lr_check_px = 3,
                                               .speckle_area_px = 103,
                                               .speckle_range_px = 3});
  EXPECT_EQ(half,
            (MatcherOptions{.min_disparity_px = 2,
                            .max_disparity_px = 51,
                            .lr_check_px = 3,
                            .speckle_area_px = 25,
                            .speckle_range_px = 2}));
  const MatcherOptions narrow = HalfSizeOptions({.min_disparity_px = 5, .max_disparity_px = 6});
  EXPECT_EQ(narrow.min_disparity_px, 3);
  EXPECT_EQ(narrow.max_disparity_px, 4);
}

std::vector<int> Doubled(const std::vector<int>& row, int width_px, Search search = {0, 99}) {
  return Values(DoubleDisparity(
      Picture<std::int16_t>(static_cast<int>(row.size()), row).view(), width_px, 1, search));
}

TEST(DoubleDisparity, InterpolatesWhereTheNeighboursAreNear) {
  // (9 * 16 + 3 * 32 + 3 * 16 + 32 + 4) / 8 = 40.5, (9 * 32 + 3 * 16 + 3 * 32 + 16 + 4) / 8 = 56.5
  EXPECT_THAT(Doubled({16, 32}, 4), ElementsAre(32, 40, 56, 64));
  EXPECT_THAT(Doubled({16, 32}, 3), ElementsAre(32, 40, 56));
  EXPECT_THAT(Doubled({16, 33}, 4), ElementsAre(32, 32, 66, 66));
  EXPECT_THAT(Doubled({16, -1}, 4), ElementsAre(32, 32, -1, -1));
  EXPECT_THAT(Doubled({16, 32}, 4, {0, 4}), ElementsAre(32, 40, 48, 48));
  EXPECT_THAT(Doubled({16, 32}, 4, {3, 9}), ElementsAre(48, 48, 56, 64));
}

TEST(DoubleDisparity, TakesRowsAndCornersToo) {
  const DisparityImage half_px16 = Picture<std::int16_t>(2, {16, 20, 24, 32});
  const std::vector<int> whole = Values(DoubleDisparity(half_px16.view(), 4, 4, {0, 99}));
  EXPECT_EQ(whole.at(1 * 4 + 1), 39);  // (9 * 16 + 3 * 20 + 3 * 24 + 32 + 4) / 8 = 39
  EXPECT_EQ(whole.at(0 * 4 + 1), 34);  // (9 * 16 + 3 * 20 + 3 * 16 + 20 + 4) / 8 = 34.5
  EXPECT_EQ(whole.at(2 * 4 + 3), 58);  // (9 * 32 + 3 * 32 + 3 * 20 + 20 + 4) / 8 = 58.5
}

}  // namespace
}  // namespace droidflow::reference

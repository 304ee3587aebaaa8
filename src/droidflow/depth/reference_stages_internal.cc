#include "droidflow/depth/reference_stages_internal.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <limits>
#include <optional>

namespace droidflow::reference {
namespace {

constexpr int kCensusRadiusX = 4;
constexpr int kCensusRadiusY = 3;
constexpr int kMostGradientCost = 8;
constexpr int kMostCost = 36;
constexpr int kMostSum = 255;
constexpr int kMostConfidence = 255;

/// The pixel; outside, the nearest one.
int PixelAt(GrayView picture, int x, int y) {
  return picture.at(std::clamp(x, 0, picture.width_px - 1),
                    std::clamp(y, 0, picture.height_px - 1));
}

int FloorOfQuotient(int numerator, int positive_denominator) {
  const int quotient = numerator / positive_denominator;
  return numerator % positive_denominator < 0 ? quotient - 1 : quotient;
}

bool HasDisparity(std::int16_t disparity_px16) { return disparity_px16 != kNoDisparity_px16; }

/// The least sum of the disparities at (x, y) that are neither d nor beside it.
std::optional<int> LeastOfOthers(const Sums& sums, int x, int y, int d) {
  std::optional<int> least;
  for (int other = sums.search().min_px; sums.search().IsAvailable(other, x); ++other) {
    if (std::abs(other - d) <= 1) continue;
    const int sum = sums.at(x, y)[other];
    if (!least || sum < *least) least = sum;
  }
  return least;
}

/// Looks from the right picture: the least sum of the pixels on the left that may be x_right.
std::optional<int> LeastOfRightPixel(const Sums& sums, int x_right, int y) {
  std::optional<int> least;
  for (int d = sums.search().min_px; d < sums.search().max_px; ++d) {
    const int x = x_right + d;
    if (!sums.IsInside(x, y) || !sums.search().IsAvailable(d, x)) continue;
    const int sum = sums.at(x, y)[d];
    if (!least || sum < *least) least = sum;
  }
  return least;
}

}  // namespace

Image<std::uint32_t> Census(GrayView picture) {
  Image<std::uint32_t> census(picture.width_px, picture.height_px);
  for (int y = 0; y < picture.height_px; ++y) {
    for (int x = 0; x < picture.width_px; ++x) {
      std::uint32_t bits = 0;
      int bit = 0;
      for (int dy = -kCensusRadiusY; dy <= kCensusRadiusY; ++dy) {
        for (int dx = -kCensusRadiusX; dx <= kCensusRadiusX; ++dx) {
          if ((dx + dy) % 2 != 0 || (dx == 0 && dy == 0)) continue;
          if (PixelAt(picture, x + dx, y + dy) < picture.at(x, y)) bits |= 1U << bit;
          ++bit;
        }
      }
      census.at(x, y) = bits;
    }
  }
  return census;
}

Image<Gradient> Gradients(GrayView picture) {
  Image<Gradient> gradients(picture.width_px, picture.height_px);
  for (int y = 0; y < picture.height_px; ++y) {
    for (int x = 0; x < picture.width_px; ++x) {
      gradients.at(x, y) = {
          .x = (PixelAt(picture, x + 1, y) - PixelAt(picture, x - 1, y) + 256) / 2,
          .y = (PixelAt(picture, x, y + 1) - PixelAt(picture, x, y - 1) + 256) / 2};
    }
  }
  return gradients;
}

Costs MatchingCosts(GrayView left, GrayView right, Search search) {
  const Image<std::uint32_t> left_census = Census(left);
  const Image<std::uint32_t> right_census = Census(right);
  const Image<Gradient> left_gradients = Gradients(left);
  const Image<Gradient> right_gradients = Gradients(right);
  Costs costs(left.width_px, left.height_px, search);
  for (int y = 0; y < left.height_px; ++y) {
    for (int x = 0; x < left.width_px; ++x) {
      for (int d = search.min_px; search.IsAvailable(d, x); ++d) {
        const int census = std::popcount(left_census.at(x, y) ^ right_census.at(x - d, y));
        const Gradient p = left_gradients.at(x, y);
        const Gradient q = right_gradients.at(x - d, y);
        const int gradient = std::min(kMostGradientCost, std::abs(p.x - q.x) + std::abs(p.y - q.y));
        costs.at(x, y)[d] = static_cast<std::uint8_t>(std::min(kMostCost, census + gradient));
      }
    }
  }
  return costs;
}

Costs PathCosts(GrayView left, const Costs& costs, Step step, const MatcherOptions& options) {
  const Search search = costs.search();
  const int width_px = costs.width_px();
  const int height_px = costs.height_px();
  const int p1 = options.p1;
  Costs path(width_px, height_px, search);
  // In an order in which q comes before p.
  for (int row = 0; row < height_px; ++row) {
    for (int column = 0; column < width_px; ++column) {
      const int x = step.x < 0 ? width_px - 1 - column : column;
      const int y = step.y < 0 ? height_px - 1 - row : row;
      const auto costs_p = costs.at(x, y);
      const auto path_p = path.at(x, y);
      const int x_q = x - step.x;
      const int y_q = y - step.y;
      if (!costs.IsInside(x_q, y_q) || !search.IsAvailable(search.min_px, x_q)) {
        for (int d = search.min_px; search.IsAvailable(d, x); ++d) path_p[d] = costs_p[d];
        continue;
      }
      const auto path_q = path.at(x_q, y_q);
      int least = std::numeric_limits<int>::max();
      for (int d = search.min_px; search.IsAvailable(d, x_q); ++d) {
        least = std::min<int>(least, path_q[d]);
      }
      const int p2 =
          std::max(options.p2_min, options.p2 - std::abs(left.at(x, y) - left.at(x_q, y_q)) / 2);
      for (int d = search.min_px; search.IsAvailable(d, x); ++d) {
        int best = least + p2;
        if (search.IsAvailable(d, x_q)) best = std::min<int>(best, path_q[d]);
        if (search.IsAvailable(d - 1, x_q)) best = std::min(best, path_q[d - 1] + p1);
        if (search.IsAvailable(d + 1, x_q)) best = std::min(best, path_q[d + 1] + p1);
        path_p[d] = static_cast<std::uint8_t>(costs_p[d] + best - least);
      }
    }
  }
  return path;
}

Sums SumOfPaths(GrayView left, const Costs& costs, const MatcherOptions& options) {
  const Search search = costs.search();
  const auto for_each = [&](auto visit) {
    for (int y = 0; y < costs.height_px(); ++y) {
      for (int x = 0; x < costs.width_px(); ++x) {
        for (int d = search.min_px; search.IsAvailable(d, x); ++d) visit(x, y, d);
      }
    }
  };
  Sums sums(costs.width_px(), costs.height_px(), search);
  for (int i = 0; i < options.paths; ++i) {
    const Costs path = PathCosts(left, costs, kSteps.at(static_cast<std::size_t>(i)), options);
    for_each([&](int x, int y, int d) {
      sums.at(x, y)[d] = static_cast<std::uint16_t>(sums.at(x, y)[d] + path.at(x, y)[d]);
    });
  }
  for_each([&](int x, int y, int d) {
    sums.at(x, y)[d] = static_cast<std::uint16_t>(std::min<int>(kMostSum, sums.at(x, y)[d]));
  });
  return sums;
}

Winners PickWinners(const Sums& sums) {
  Winners winners(sums.width_px(), sums.height_px());
  for (int y = 0; y < sums.height_px(); ++y) {
    for (int x = 0; x < sums.width_px(); ++x) {
      int winner = kNone;
      for (int d = sums.search().min_px; sums.search().IsAvailable(d, x); ++d) {
        if (winner == kNone || sums.at(x, y)[d] < sums.at(x, y)[winner]) winner = d;
      }
      winners.at(x, y) = winner;
    }
  }
  return winners;
}

void DropAmbiguous(const Sums& sums, int uniqueness_percent, Winners& winners) {
  if (uniqueness_percent == 0) return;
  for (int y = 0; y < sums.height_px(); ++y) {
    for (int x = 0; x < sums.width_px(); ++x) {
      const int d = winners.at(x, y);
      if (d == kNone) continue;
      const std::optional<int> second = LeastOfOthers(sums, x, y, d);
      if (second && *second * (100 - uniqueness_percent) < sums.at(x, y)[d] * 100) {
        winners.at(x, y) = kNone;
      }
    }
  }
}

void DropWhereEyesDisagree(const Sums& sums, int most_px, Winners& winners) {
  if (most_px < 0) return;
  const Search search = sums.search();
  std::vector<std::optional<int>> least(static_cast<std::size_t>(sums.width_px()));
  for (int y = 0; y < sums.height_px(); ++y) {
    for (int x = 0; x < sums.width_px(); ++x) {
      least.at(static_cast<std::size_t>(x)) = LeastOfRightPixel(sums, x, y);
    }
    for (int x = 0; x < sums.width_px(); ++x) {
      const int d = winners.at(x, y);
      if (d == kNone) continue;
      const int x_right = x - d;
      bool agrees = false;
      for (int other = d - most_px; other <= d + most_px; ++other) {
        const int x_other = x_right + other;
        if (!sums.IsInside(x_other, y) || !search.IsAvailable(other, x_other)) continue;
        if (sums.at(x_other, y)[other] == least.at(static_cast<std::size_t>(x_right))) {
          agrees = true;
        }
      }
      if (!agrees) winners.at(x, y) = kNone;
    }
  }
}

DisparityImage Refine(const Sums& sums, const Winners& winners, bool subpixel) {
  DisparityImage disparity_px16(sums.width_px(), sums.height_px());
  for (int y = 0; y < sums.height_px(); ++y) {
    for (int x = 0; x < sums.width_px(); ++x) {
      const int d = winners.at(x, y);
      if (d == kNone) {
        disparity_px16.at(x, y) = kNoDisparity_px16;
        continue;
      }
      int refined_px16 = kDisparityScale * d;
      if (subpixel && sums.search().IsAvailable(d - 1, x) && sums.search().IsAvailable(d + 1, x)) {
        const int before = sums.at(x, y)[d - 1];
        const int after = sums.at(x, y)[d + 1];
        const int slope = std::max(before, after) - sums.at(x, y)[d];  // > 0: d wins ties
        refined_px16 += FloorOfQuotient(kDisparityScale * (before - after) + slope, 2 * slope);
      }
      disparity_px16.at(x, y) = static_cast<std::int16_t>(refined_px16);
    }
  }
  return disparity_px16;
}

DisparityImage MedianOf(DisparityView disparity_px16) {
  DisparityImage median_px16(disparity_px16.width_px, disparity_px16.height_px);
  for (int y = 0; y < disparity_px16.height_px; ++y) {
    for (int x = 0; x < disparity_px16.width_px; ++x) {
      const std::int16_t middle = disparity_px16.at(x, y);
      median_px16.at(x, y) = middle;
      if (!HasDisparity(middle)) continue;
      std::array<std::int16_t, 9> values{};
      std::size_t count = 0;
      for (int v = y - 1; v <= y + 1; ++v) {
        for (int u = x - 1; u <= x + 1; ++u) {
          const bool is_inside =
              0 <= u && u < disparity_px16.width_px && 0 <= v && v < disparity_px16.height_px;
          values.at(count++) =
              is_inside && HasDisparity(disparity_px16.at(u, v)) ? disparity_px16.at(u, v) : middle;
        }
      }
      std::sort(values.begin(), values.end());
      median_px16.at(x, y) = values.at(4);
    }
  }
  return median_px16;
}

void DropSpeckles(int area_px, int range_px, DisparityImage& disparity_px16) {
  struct Position {
    int x;
    int y;
  };
  const int width_px = disparity_px16.width_px();
  const int height_px = disparity_px16.height_px();
  Image<std::uint8_t> was_seen(width_px, height_px);
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) was_seen.at(x, y) = 0;
  }
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) {
      if (was_seen.at(x, y) != 0 || !HasDisparity(disparity_px16.at(x, y))) continue;
      std::vector<Position> patch{{x, y}};
      was_seen.at(x, y) = 1;
      for (std::size_t i = 0; i < patch.size(); ++i) {
        const Position here = patch[i];
        for (const Step step : {Step{1, 0}, Step{-1, 0}, Step{0, 1}, Step{0, -1}}) {
          const Position next{here.x + step.x, here.y + step.y};
          if (next.x < 0 || next.x >= width_px || next.y < 0 || next.y >= height_px) continue;
          if (was_seen.at(next.x, next.y) != 0) continue;
          const int here_px16 = disparity_px16.at(here.x, here.y);
          const std::int16_t next_px16 = disparity_px16.at(next.x, next.y);
          if (!HasDisparity(next_px16)) continue;
          if (std::abs(next_px16 - here_px16) > kDisparityScale * range_px) continue;
          was_seen.at(next.x, next.y) = 1;
          patch.push_back(next);
        }
      }
      if (patch.size() > static_cast<std::size_t>(area_px)) continue;
      for (const Position& pixel : patch) disparity_px16.at(pixel.x, pixel.y) = kNoDisparity_px16;
    }
  }
}

GrayImage ConfidenceOf(const Sums& sums, const Winners& winners, DisparityView disparity_px16) {
  GrayImage confidence(sums.width_px(), sums.height_px());
  for (int y = 0; y < sums.height_px(); ++y) {
    for (int x = 0; x < sums.width_px(); ++x) {
      int value = 0;
      if (HasDisparity(disparity_px16.at(x, y))) {
        const int best = sums.at(x, y)[winners.at(x, y)];
        const std::optional<int> second = LeastOfOthers(sums, x, y, winners.at(x, y));
        if (!second) {
          value = kMostConfidence;
        } else if (*second > best) {
          value = kMostConfidence * (*second - best) / *second;
        }
      }
      confidence.at(x, y) = static_cast<std::uint8_t>(value);
    }
  }
  return confidence;
}

GrayImage Halve(GrayView picture) {
  GrayImage half((picture.width_px + 1) / 2, (picture.height_px + 1) / 2);
  for (int y = 0; y < half.height_px(); ++y) {
    for (int x = 0; x < half.width_px(); ++x) {
      const int sum = PixelAt(picture, 2 * x, 2 * y) + PixelAt(picture, 2 * x + 1, 2 * y) +
                      PixelAt(picture, 2 * x, 2 * y + 1) + PixelAt(picture, 2 * x + 1, 2 * y + 1);
      half.at(x, y) = static_cast<std::uint8_t>((sum + 2) / 4);
    }
  }
  return half;
}

MatcherOptions HalfSizeOptions(const MatcherOptions& options) {
  MatcherOptions half = options;
  half.half_size = false;
  // Rounded up: twice as much is not less than what is asked for, and inside the right picture.
  half.min_disparity_px = (options.min_disparity_px + 1) / 2;
  half.max_disparity_px = (options.max_disparity_px + 1) / 2;
  if (half.max_disparity_px == half.min_disparity_px) ++half.max_disparity_px;
  half.speckle_area_px = options.speckle_area_px / 4;
  half.speckle_range_px = (options.speckle_range_px + 1) / 2;
  return half;
}

DisparityImage DoubleDisparity(DisparityView half_px16,
                               int width_px,
                               int height_px,
                               Search search) {
  DisparityImage whole_px16(width_px, height_px);
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) {
      const int x_half = x / 2;
      const int y_half = y / 2;
      const int x_beside =
          std::clamp(x % 2 == 1 ? x_half + 1 : x_half - 1, 0, half_px16.width_px - 1);
      const int y_beside =
          std::clamp(y % 2 == 1 ? y_half + 1 : y_half - 1, 0, half_px16.height_px - 1);
      const std::int16_t a = half_px16.at(x_half, y_half);
      if (!HasDisparity(a)) {
        whole_px16.at(x, y) = kNoDisparity_px16;
        continue;
      }
      const std::int16_t b = half_px16.at(x_beside, y_half);
      const std::int16_t c = half_px16.at(x_half, y_beside);
      const std::int16_t e = half_px16.at(x_beside, y_beside);
      const auto is_near_a = [a](std::int16_t other) {
        return HasDisparity(other) && std::abs(other - a) <= kDisparityScale;
      };
      const int doubled_px16 = is_near_a(b) && is_near_a(c) && is_near_a(e)
                                   ? (9 * a + 3 * b + 3 * c + e + 4) / 8
                                   : 2 * a;
      whole_px16.at(x, y) = static_cast<std::int16_t>(std::clamp(
          doubled_px16, kDisparityScale * search.min_px, kDisparityScale * (search.max_px - 1)));
    }
  }
  return whole_px16;
}

}  // namespace droidflow::reference

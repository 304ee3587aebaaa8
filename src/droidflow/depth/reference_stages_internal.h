#pragma once

/// The steps of docs/matching.md, a function each, written as they are defined there: whole volumes
/// and no shortcuts, so that the fast backends can be held to them.
///
/// Source   docs/matching.md, whose steps are numbered as here.

#include "droidflow/core/image.h"
#include "droidflow/depth/matcher.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace droidflow::reference {

/// The disparities that are looked for: min <= d < max.
struct Search {
  int min_px = 0;
  int max_px = 1;

  [[nodiscard]] bool IsAvailable(int d_px, int x_px) const {
    return min_px <= d_px && d_px < max_px && d_px <= x_px;
  }
};

/// The numbers of one pixel, a number for every disparity.
template <typename T>
struct AtPixel {
  T* of_min = nullptr;
  int min_px = 0;

  [[nodiscard]] T& operator[](int d_px) const { return of_min[d_px - min_px]; }
};

/// A number for every pixel of the left picture and every disparity.
///
/// Shape    [H, W, D], D for min … max - 1.
/// Invalid  0 where a disparity is not available; nothing may depend on it.
template <typename T>
class Volume {
 public:
  Volume(int width_px, int height_px, Search search)
      : width_px_(width_px),
        height_px_(height_px),
        search_(search),
        values_(static_cast<std::size_t>(width_px) * static_cast<std::size_t>(height_px) *
                static_cast<std::size_t>(search.max_px - search.min_px)) {}

  [[nodiscard]] int width_px() const { return width_px_; }
  [[nodiscard]] int height_px() const { return height_px_; }
  [[nodiscard]] Search search() const { return search_; }
  [[nodiscard]] bool IsInside(int x, int y) const {
    return 0 <= x && x < width_px_ && 0 <= y && y < height_px_;
  }
  /// at(x, y)[d]
  [[nodiscard]] AtPixel<T> at(int x, int y) {
    return {values_.data() + IndexOf(x, y), search_.min_px};
  }
  [[nodiscard]] AtPixel<const T> at(int x, int y) const {
    return {values_.data() + IndexOf(x, y), search_.min_px};
  }

 private:
  [[nodiscard]] std::size_t IndexOf(int x, int y) const {
    const std::size_t pixel = static_cast<std::size_t>(y) * static_cast<std::size_t>(width_px_) +
                              static_cast<std::size_t>(x);
    return pixel * static_cast<std::size_t>(search_.max_px - search_.min_px);
  }

  int width_px_;
  int height_px_;
  Search search_;
  std::vector<T> values_;
};

using Costs = Volume<std::uint8_t>;
using Sums = Volume<std::uint16_t>;

/// 1. Bits in the order of rows, then columns, the first the lowest.
[[nodiscard]] Image<std::uint32_t> Census(GrayView picture);

struct Gradient {
  int x = 0;
  int y = 0;

  bool operator==(const Gradient&) const = default;
};
/// 2.
[[nodiscard]] Image<Gradient> Gradients(GrayView picture);

/// 3.
[[nodiscard]] Costs MatchingCosts(GrayView left, GrayView right, Search search);

struct Step {
  int x = 0;
  int y = 0;
};
inline constexpr std::array<Step, 8> kSteps{
    {{1, 0}, {-1, 0}, {0, 1}, {1, 1}, {-1, 1}, {0, -1}, {-1, -1}, {1, -1}}};

/// 4. L of one step.
[[nodiscard]] Costs PathCosts(GrayView left,
                              const Costs& costs,
                              Step step,
                              const MatcherOptions& options);

/// 5.
[[nodiscard]] Sums SumOfPaths(GrayView left, const Costs& costs, const MatcherOptions& options);

/// Whole disparities, in pixels.
///
/// Invalid  kNone.
using Winners = Image<int>;
inline constexpr int kNone = -1;

/// 6.
[[nodiscard]] Winners PickWinners(const Sums& sums);

/// 7.
void DropAmbiguous(const Sums& sums, int uniqueness_percent, Winners& winners);

/// 8.
void DropWhereEyesDisagree(const Sums& sums, int most_px, Winners& winners);

/// 9.
[[nodiscard]] DisparityImage Refine(const Sums& sums, const Winners& winners, bool subpixel);

/// 10.
[[nodiscard]] DisparityImage MedianOf(DisparityView disparity_px16);

/// 11.
void DropSpeckles(int area_px, int range_px, DisparityImage& disparity_px16);

[[nodiscard]] GrayImage ConfidenceOf(const Sums& sums,
                                     const Winners& winners,
                                     DisparityView disparity_px16);

/// The half size: what goes in …
[[nodiscard]] GrayImage Halve(GrayView picture);
[[nodiscard]] MatcherOptions HalfSizeOptions(const MatcherOptions& options);
/// … and what comes out, of the size wanted.
[[nodiscard]] DisparityImage DoubleDisparity(DisparityView half_px16,
                                             int width_px,
                                             int height_px,
                                             Search search);

}  // namespace droidflow::reference

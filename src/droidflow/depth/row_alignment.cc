#include "droidflow/depth/row_alignment.h"

#include "droidflow/core/check.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <Eigen/Dense>

namespace droidflow {
namespace {

// Corners are found and sought at half size, where noise and search are a quarter, and then placed
// at full size.

// Mean of 2x2.
GrayImage HalfSize(GrayView picture) {
  GrayImage half(picture.width_px / 2, picture.height_px / 2);
  for (int y = 0; y < half.height_px(); ++y) {
    const std::uint8_t* const upper = picture.row(2 * y);
    const std::uint8_t* const lower = picture.row(2 * y + 1);
    std::uint8_t* const out = half.row(y);
    for (int x = 0; x < half.width_px(); ++x) {
      out[x] = static_cast<std::uint8_t>(
          (upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1] + 2) / 4);
    }
  }
  return half;
}

struct Place {
  int x;
  int y;
};

// ---- Corners --------------------------------------------------------------------------------

struct Corner {
  Place place;
  float score;
};

constexpr int kTensorRadius_px = 3;
// Of the mean squared gradient in the direction where it is weakest, in (gray levels a pixel)^2.
// Sensor noise of 2 levels at full size leaves 0.5.
constexpr float kMinCornerScore = 3;

// How well a place is fixed in its worst direction: the smaller eigenvalue of the mean of the
// gradients' outer products.  Shi & Tomasi 1994, "Good features to track".
Image<float> CornerScores(const GrayImage& picture) {
  const int width_px = picture.width_px();
  const int height_px = picture.height_px();
  constexpr int kSide_px = 2 * kTensorRadius_px + 1;
  Image<float> scores(width_px, height_px);
  // Sums over the columns of the window, one row of the picture entering and one leaving.
  struct Products {
    std::int32_t xx = 0;
    std::int32_t xy = 0;
    std::int32_t yy = 0;
  };
  std::vector<Products> column_sums(static_cast<std::size_t>(width_px));
  const auto add_row = [&](int y, int sign) {
    if (y < 1 || y >= height_px - 1) return;
    const std::uint8_t* const row = picture.row(y);
    const std::uint8_t* const above = picture.row(y - 1);
    const std::uint8_t* const below = picture.row(y + 1);
    for (int x = 1; x < width_px - 1; ++x) {
      const int gx = row[x + 1] - row[x - 1];
      const int gy = below[x] - above[x];
      Products& sums = column_sums[static_cast<std::size_t>(x)];
      sums.xx += sign * gx * gx;
      sums.xy += sign * gx * gy;
      sums.yy += sign * gy * gy;
    }
  };
  for (int y = 0; y < kTensorRadius_px; ++y) add_row(y, 1);
  for (int y = 0; y < height_px; ++y) {
    add_row(y + kTensorRadius_px, 1);
    add_row(y - kTensorRadius_px - 1, -1);
    float* const out = scores.row(y);
    Products window;
    for (int x = -kTensorRadius_px; x < width_px; ++x) {
      if (const int entering = x + kTensorRadius_px; entering < width_px) {
        const Products& sums = column_sums[static_cast<std::size_t>(entering)];
        window.xx += sums.xx;
        window.xy += sums.xy;
        window.yy += sums.yy;
      }
      if (const int leaving = x - kTensorRadius_px - 1; leaving >= 0) {
        const Products& sums = column_sums[static_cast<std::size_t>(leaving)];
        window.xx -= sums.xx;
        window.xy -= sums.xy;
        window.yy -= sums.yy;
      }
      if (x < 0) continue;
      // Central differences are twice the gradient.
      constexpr float kScale = 1.0F / (4 * kSide_px * kSide_px);
      const float mean = 0.5F * static_cast<float>(window.xx + window.yy);
      const float half_difference = 0.5F * static_cast<float>(window.xx - window.yy);
      const auto mixed = static_cast<float>(window.xy);
      out[x] = kScale * (mean - std::sqrt(half_difference * half_difference + mixed * mixed));
    }
  }
  return scores;
}

// The best corner of each cell of a grid of about twice as many cells as corners are wanted, and of
// those the best.
std::vector<Place> FindCorners(const GrayImage& picture, int max_corners, int margin_px) {
  const Image<float> scores = CornerScores(picture);
  const double pixels = static_cast<double>(picture.width_px()) * picture.height_px();
  const int cell_px =
      std::max(4, static_cast<int>(std::sqrt(pixels / (2.0 * std::max(1, max_corners)))));
  std::vector<Corner> corners;
  for (int top = margin_px; top < picture.height_px() - margin_px; top += cell_px) {
    for (int left = margin_px; left < picture.width_px() - margin_px; left += cell_px) {
      Corner best{.place = {}, .score = kMinCornerScore};
      for (int y = top; y < std::min(top + cell_px, picture.height_px() - margin_px); ++y) {
        for (int x = left; x < std::min(left + cell_px, picture.width_px() - margin_px); ++x) {
          if (scores.at(x, y) > best.score) best = {.place = {x, y}, .score = scores.at(x, y)};
        }
      }
      if (best.score > kMinCornerScore) corners.push_back(best);
    }
  }
  std::stable_sort(corners.begin(), corners.end(), [](const Corner& a, const Corner& b) {
    return a.score > b.score;
  });
  corners.resize(std::min(corners.size(), static_cast<std::size_t>(std::max(0, max_corners))));
  std::vector<Place> places;
  places.reserve(corners.size());
  for (const Corner& corner : corners) places.push_back(corner.place);
  return places;
}

// ---- Search at half size --------------------------------------------------------------------

constexpr int kWindowRadiusX_px = 4;
constexpr int kWindowRadiusY_px = 3;
// Census strings of nine pixels around a place are compared: 558 bits of a window of 13x11.
constexpr int kCensusStep_px = 2;
constexpr int kSearchMargin_px = kWindowRadiusX_px + kCensusStep_px;
constexpr int kBitsCompared = 9 * 62;

// A bit for each of the 62 pixels around one in a window of 9x7: whether it is darker. Exposure
// does not change it. Zero near the border.
// Source   Zabih & Woodfill 1994, "Non-parametric local transforms".
Image<std::uint64_t> Census(const GrayImage& picture) {
  constexpr int kTogether = 64;  // pixels, so that eight bits of many are made at once
  constexpr int kBytes = 8;
  using Bits = std::array<std::uint8_t, kTogether>;
  Image<std::uint64_t> census(picture.width_px(), picture.height_px());
  const int end_x = picture.width_px() - kWindowRadiusX_px;
  for (int y = 0; y < picture.height_px(); ++y) {
    std::uint64_t* const out = census.row(y);
    std::fill_n(out, picture.width_px(), std::uint64_t{0});
    if (y < kWindowRadiusY_px || y >= picture.height_px() - kWindowRadiusY_px) continue;
    // A row may be read up to 64 bytes past its end.
    for (int x = kWindowRadiusX_px; x < end_x; x += kTogether) {
      const std::uint8_t* const centre = picture.row(y) + x;
      std::array<Bits, kBytes> bytes{};
      int neighbour = 0;
      for (int dy = -kWindowRadiusY_px; dy <= kWindowRadiusY_px; ++dy) {
        for (int dx = -kWindowRadiusX_px; dx <= kWindowRadiusX_px; ++dx) {
          if (dx == 0 && dy == 0) continue;
          const std::uint8_t* const other = picture.row(y + dy) + x + dx;
          Bits& bits = bytes[static_cast<std::size_t>(neighbour++ / 8)];
          for (std::size_t i = 0; i < kTogether; ++i) {
            bits[i] = static_cast<std::uint8_t>(bits[i] + bits[i] + (other[i] < centre[i] ? 1 : 0));
          }
        }
      }
      const auto pixels = static_cast<std::size_t>(std::min(kTogether, end_x - x));
      for (std::size_t i = 0; i < pixels; ++i) {
        std::uint64_t word = 0;
        for (const Bits& bits : bytes) word = word << 8 | bits[i];
        out[static_cast<std::size_t>(x) + i] = word;
      }
    }
  }
  return census;
}

// Where to look in the other picture: columns, both ends included, and rows to either side.
struct SearchArea {
  int left;
  int right;
  int middle_row;
  int rows;
};

// Bits that differ, or some number above `limit` once there are more.
int HammingDistance(
    const Image<std::uint64_t>& a, Place p, const Image<std::uint64_t>& b, Place q, int limit) {
  int distance = 0;
  for (int dy = -kCensusStep_px; dy <= kCensusStep_px; dy += kCensusStep_px) {
    const std::uint64_t* const row_a = a.row(p.y + dy) + p.x;
    const std::uint64_t* const row_b = b.row(q.y + dy) + q.x;
    for (int dx = -kCensusStep_px; dx <= kCensusStep_px; dx += kCensusStep_px) {
      distance += std::popcount(row_a[dx] ^ row_b[dx]);
    }
    if (distance > limit) break;
  }
  return distance;
}

// The place in `other` that looks most like one in `census`; nothing where another place, more than
// two pixels away, looks nearly as much like it.
std::optional<Place> Search(const Image<std::uint64_t>& census,
                            Place place,
                            const Image<std::uint64_t>& other,
                            SearchArea area) {
  // Chance gives half of the bits.
  constexpr int kMaxDistance = kBitsCompared * 3 / 10;
  const auto rival_limit = [](int best_distance) { return best_distance * 5 / 4; };
  area.left = std::max(area.left, kSearchMargin_px);
  area.right = std::min(area.right, other.width_px() - 1 - kSearchMargin_px);
  struct Candidate {
    Place place;
    int distance;
  };
  std::vector<Candidate> candidates;
  Candidate best{.place = {}, .distance = kMaxDistance + 1};
  // From the middle row outwards: a good candidate found early saves comparing the others to the
  // end.
  for (int i = 0; i <= 2 * area.rows; ++i) {
    const int y = area.middle_row + (i % 2 == 0 ? i / 2 : -(i + 1) / 2);
    if (y < kSearchMargin_px || y >= other.height_px() - kSearchMargin_px) continue;
    for (int x = area.left; x <= area.right; ++x) {
      const int limit = rival_limit(best.distance);
      const Candidate candidate{{x, y}, HammingDistance(census, place, other, {x, y}, limit)};
      if (candidate.distance > limit) continue;
      candidates.push_back(candidate);
      if (candidate.distance < best.distance) best = candidate;
    }
  }
  if (best.distance > kMaxDistance) return std::nullopt;
  for (const Candidate& candidate : candidates) {
    const bool is_far = std::abs(candidate.place.x - best.place.x) > 2 ||
                        std::abs(candidate.place.y - best.place.y) > 2;
    if (is_far && candidate.distance <= rival_limit(best.distance)) return std::nullopt;
  }
  return best.place;
}

// ---- Placing at full size -------------------------------------------------------------------

// A window of 15x15 with a frame around it for gradients and interpolation.
constexpr int kWindowRadius_px = 7;
constexpr int kWindowSide_px = 2 * kWindowRadius_px + 1;
constexpr int kWindowPixels = kWindowSide_px * kWindowSide_px;
// What the search at half size may be wrong by, and interpolation needs.
constexpr int kIntegerReach_px = 2;
constexpr int kFullMargin_px = kWindowRadius_px + kIntegerReach_px + 4;

using Window = std::array<float, kWindowPixels>;

struct SubPixel {
  double x_px;
  double y_px;
};

// Takes the mean out and sets the length to one, so that exposure does not matter.
// @return  what the values were multiplied by; 0 for a window without content.
float Normalise(Window& window) {
  float sum = 0;
  for (const float value : window) sum += value;
  const float mean = sum / kWindowPixels;
  float squares = 0;
  for (float& value : window) {
    value -= mean;
    squares += value * value;
  }
  if (squares < 1) return 0;
  const float scale = 1 / std::sqrt(squares);
  for (float& value : window) value *= scale;
  return scale;
}

Window WindowAt(GrayView picture, Place place) {
  Window window;
  float* out = window.data();
  for (int y = place.y - kWindowRadius_px; y <= place.y + kWindowRadius_px; ++y) {
    const std::uint8_t* const row = picture.row(y) + place.x - kWindowRadius_px;
    for (int x = 0; x < kWindowSide_px; ++x) *out++ = row[x];
  }
  return window;
}

// Weights of the four pixels around a place, at -1, 0, 1 and 2.
// Source   Keys 1981, "Cubic convolution interpolation", a = -0.5. Bilinear interpolation blurs
//          places between pixels and draws the answer towards whole ones.
std::array<float, 4> CubicWeights(double t) {
  return {static_cast<float>(t * (-0.5 + t * (1 - 0.5 * t))),
          static_cast<float>(1 + t * t * (-2.5 + 1.5 * t)),
          static_cast<float>(t * (0.5 + t * (2 - 1.5 * t))),
          static_cast<float>(t * t * (-0.5 + 0.5 * t))};
}

Window InterpolatedWindow(GrayView picture, SubPixel at) {
  const double left_px = std::floor(at.x_px);
  const double top_px = std::floor(at.y_px);
  const std::array<float, 4> wx = CubicWeights(at.x_px - left_px);
  const std::array<float, 4> wy = CubicWeights(at.y_px - top_px);
  constexpr int kRows = kWindowSide_px + 3;
  std::array<float, static_cast<std::size_t>(kRows * kWindowSide_px)> rows;
  float* out = rows.data();
  for (int y = 0; y < kRows; ++y) {
    const std::uint8_t* const row =
        picture.row(static_cast<int>(top_px) - kWindowRadius_px - 1 + y) +
        static_cast<int>(left_px) - kWindowRadius_px - 1;
    for (int x = 0; x < kWindowSide_px; ++x) {
      *out++ = wx[0] * row[x] + wx[1] * row[x + 1] + wx[2] * row[x + 2] + wx[3] * row[x + 3];
    }
  }
  Window window;
  for (int i = 0; i < kWindowPixels; ++i) {
    const float* const column = &rows[static_cast<std::size_t>(i)];
    window[static_cast<std::size_t>(i)] = wy[0] * column[0] + wy[1] * column[kWindowSide_px] +
                                          wy[2] * column[2 * kWindowSide_px] +
                                          wy[3] * column[3 * kWindowSide_px];
  }
  return window;
}

// Correlation of two windows of whole pixels, means taken out; 0 for one without content.
double Correlation(GrayView left, Place p, GrayView right, Place q) {
  int sum_left = 0;
  int sum_right = 0;
  int squares_left = 0;
  int squares_right = 0;
  int products = 0;
  for (int dy = -kWindowRadius_px; dy <= kWindowRadius_px; ++dy) {
    const std::uint8_t* const row_left = left.row(p.y + dy) + p.x - kWindowRadius_px;
    const std::uint8_t* const row_right = right.row(q.y + dy) + q.x - kWindowRadius_px;
    for (int i = 0; i < kWindowSide_px; ++i) {
      sum_left += row_left[i];
      sum_right += row_right[i];
      squares_left += row_left[i] * row_left[i];
      squares_right += row_right[i] * row_right[i];
      products += row_left[i] * row_right[i];
    }
  }
  const auto covariance = [](int ab, int a, int b) {
    return static_cast<double>(std::int64_t{ab} * kWindowPixels - std::int64_t{a} * b);
  };
  const double variances = covariance(squares_left, sum_left, sum_left) *
                           covariance(squares_right, sum_right, sum_right);
  return variances > 0 ? covariance(products, sum_left, sum_right) / std::sqrt(variances) : 0;
}

bool HoldsWindow(GrayView picture, Place place) {
  return place.x >= kFullMargin_px && place.y >= kFullMargin_px &&
         place.x < picture.width_px - kFullMargin_px &&
         place.y < picture.height_px - kFullMargin_px;
}

// Where the window around `corner` of the left picture lies in the right one, to a fraction of a
// pixel, starting near `guess`: the best whole pixel by correlation, then Gauss-Newton steps on the
// difference of the normalised windows.
// Source   Lucas & Kanade 1981; Baker & Matthews 2004, "Lucas-Kanade 20 years on", section 3.2.
std::optional<SubPixel> Refine(GrayView left, Place corner, GrayView right, Place guess) {
  constexpr float kMinCorrelation = 0.85F;
  if (!HoldsWindow(left, corner) || !HoldsWindow(right, guess)) return std::nullopt;

  Place start = guess;
  double best = -1;
  for (int dy = -kIntegerReach_px; dy <= kIntegerReach_px; ++dy) {
    for (int dx = -kIntegerReach_px; dx <= kIntegerReach_px; ++dx) {
      const Place place{guess.x + dx, guess.y + dy};
      const double correlation = Correlation(left, corner, right, place);
      if (correlation > best) {
        best = correlation;
        start = place;
      }
    }
  }

  Window wanted = WindowAt(left, corner);
  const float scale = Normalise(wanted);
  if (scale == 0) return std::nullopt;
  const Window to_right = WindowAt(left, {corner.x + 1, corner.y});
  const Window to_left = WindowAt(left, {corner.x - 1, corner.y});
  const Window below = WindowAt(left, {corner.x, corner.y + 1});
  const Window above = WindowAt(left, {corner.x, corner.y - 1});
  Window gradient_x;
  Window gradient_y;
  double xx = 0;
  double xy = 0;
  double yy = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    gradient_x[i] = 0.5F * scale * (to_right[i] - to_left[i]);
    gradient_y[i] = 0.5F * scale * (below[i] - above[i]);
    xx += gradient_x[i] * gradient_x[i];
    xy += gradient_x[i] * gradient_y[i];
    yy += gradient_y[i] * gradient_y[i];
  }
  const double determinant = xx * yy - xy * xy;
  if (!(determinant > 1e-4 * xx * yy)) return std::nullopt;

  SubPixel at{static_cast<double>(start.x), static_cast<double>(start.y)};
  constexpr int kMaxSteps = 12;
  constexpr double kSmallStep_px = 0.005;
  constexpr double kReach_px = 1.5;
  for (int step = 0; step < kMaxSteps; ++step) {
    Window found = InterpolatedWindow(right, at);
    if (Normalise(found) == 0) return std::nullopt;
    double bx = 0;
    double by = 0;
    double correlation = 0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const float difference = wanted[i] - found[i];
      bx += gradient_x[i] * difference;
      by += gradient_y[i] * difference;
      correlation += wanted[i] * found[i];
    }
    const double dx = (yy * bx - xy * by) / determinant;
    const double dy = (xx * by - xy * bx) / determinant;
    at.x_px += dx;
    at.y_px += dy;
    if (!(std::abs(at.x_px - start.x) <= kReach_px && std::abs(at.y_px - start.y) <= kReach_px)) {
      return std::nullopt;
    }
    if (std::abs(dx) < kSmallStep_px && std::abs(dy) < kSmallStep_px) {
      return correlation >= kMinCorrelation ? std::optional(at) : std::nullopt;
    }
  }
  return std::nullopt;
}

// ---- The fit --------------------------------------------------------------------------------

constexpr std::size_t kMinMatches = 30;
// Slopes need more: they are wrong where matches are few or lie in one part of the picture.
constexpr std::size_t kMinMatchesForSlopes = 100;
// Standard deviation of a coordinate, as a share of the picture's side; 0.29 when evenly spread.
constexpr double kMinSpread = 0.15;

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

template <typename Value>
std::vector<double> Map(const std::vector<CornerMatch>& matches, Value value) {
  std::vector<double> values;
  values.reserve(matches.size());
  for (const CornerMatch& match : matches) values.push_back(value(match));
  return values;
}

double StandardDeviation(const std::vector<double>& values) {
  double sum = 0;
  double squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  const double mean = sum / static_cast<double>(values.size());
  return std::sqrt(std::max(0.0, squares / static_cast<double>(values.size()) - mean * mean));
}

}  // namespace

std::vector<CornerMatch> MatchCorners(GrayView left,
                                      GrayView right,
                                      const CornerMatchOptions& options) {
  DF_CHECK(left.width_px == right.width_px && left.height_px == right.height_px,
           "{}x{} and {}x{}",
           left.width_px,
           left.height_px,
           right.width_px,
           right.height_px);
  // Zero disparity is at infinity, but a calibration may be wrong by a little.
  constexpr double kMinDisparity_px = -4;
  const GrayImage half_left = HalfSize(left);
  const GrayImage half_right = HalfSize(right);
  const Image<std::uint64_t> census_left = Census(half_left);
  const Image<std::uint64_t> census_right = Census(half_right);
  const int behind = static_cast<int>(std::ceil(-kMinDisparity_px / 2));
  const int ahead = static_cast<int>(std::ceil(options.max_disparity_px / 2));
  const int rows = static_cast<int>(std::ceil(options.max_row_offset_px / 2));

  std::vector<CornerMatch> matches;
  for (const Place& corner : FindCorners(half_left, options.max_corners, kSearchMargin_px)) {
    const std::optional<Place> found = Search(census_left,
                                              corner,
                                              census_right,
                                              {.left = corner.x - ahead,
                                               .right = corner.x + behind,
                                               .middle_row = corner.y,
                                               .rows = rows});
    if (!found.has_value()) continue;
    const std::optional<Place> back = Search(census_right,
                                             *found,
                                             census_left,
                                             {.left = found->x - behind,
                                              .right = found->x + ahead,
                                              .middle_row = found->y,
                                              .rows = rows});
    if (!back.has_value() || std::abs(back->x - corner.x) > 1 || std::abs(back->y - corner.y) > 1) {
      continue;
    }
    const Place full{2 * corner.x, 2 * corner.y};
    const std::optional<SubPixel> placed = Refine(left, full, right, {2 * found->x, 2 * found->y});
    if (!placed.has_value()) continue;
    const CornerMatch match{.x_px = static_cast<double>(full.x),
                            .y_px = static_cast<double>(full.y),
                            .disparity_px = full.x - placed->x_px,
                            .row_offset_px = placed->y_px - full.y};
    if (match.disparity_px >= kMinDisparity_px && match.disparity_px <= options.max_disparity_px &&
        std::abs(match.row_offset_px) <= options.max_row_offset_px) {
      matches.push_back(match);
    }
  }
  return matches;
}

std::optional<RowAlignment> FitRowAlignment(const std::vector<CornerMatch>& matches,
                                            int width_px,
                                            int height_px) {
  if (matches.size() < kMinMatches) return std::nullopt;
  const double centre_x_px = 0.5 * (width_px - 1);
  const double centre_y_px = 0.5 * (height_px - 1);
  const std::vector<double> x_px =
      Map(matches, [&](const CornerMatch& match) { return match.x_px - centre_x_px; });
  const std::vector<double> y_px =
      Map(matches, [&](const CornerMatch& match) { return match.y_px - centre_y_px; });
  const std::vector<double> offset_px =
      Map(matches, [](const CornerMatch& match) { return match.row_offset_px; });

  const bool with_slopes = matches.size() >= kMinMatchesForSlopes &&
                           StandardDeviation(x_px) >= kMinSpread * width_px &&
                           StandardDeviation(y_px) >= kMinSpread * height_px;
  RowOffset fit{.offset_px = Median(offset_px)};
  const auto residuals_px = [&] {
    std::vector<double> residuals;
    residuals.reserve(matches.size());
    for (std::size_t i = 0; i < matches.size(); ++i) {
      residuals.push_back(std::abs(offset_px[i] - fit.At(x_px[i], y_px[i])));
    }
    return residuals;
  };

  // Least squares again and again, weighted by Tukey's biweight: nothing beyond 4.685 standard
  // deviations counts. The deviation comes from the median, so it shrinks as the slopes come in.
  constexpr int kRounds = 20;
  constexpr double kMinDeviation_px = 0.01;
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<double> residuals = residuals_px();
    const double limit_px = 4.685 * std::max(kMinDeviation_px, 1.4826 * Median(residuals));
    // Coordinates in halves of the picture, so that all three unknowns are pixels.
    Eigen::Matrix3d normal = Eigen::Matrix3d::Zero();
    Eigen::Vector3d right_side = Eigen::Vector3d::Zero();
    for (std::size_t i = 0; i < matches.size(); ++i) {
      if (residuals[i] >= limit_px) continue;
      const double share = residuals[i] / limit_px;
      const double weight = (1 - share * share) * (1 - share * share);
      const Eigen::Vector3d row(1, x_px[i] / centre_x_px, y_px[i] / centre_y_px);
      normal += weight * row * row.transpose();
      right_side += weight * offset_px[i] * row;
    }
    if (!with_slopes) {
      fit.offset_px = right_side(0) / normal(0, 0);
      continue;
    }
    const Eigen::Vector3d solution = normal.ldlt().solve(right_side);
    fit = {.offset_px = solution(0),
           .slope_x = solution(1) / centre_x_px,
           .slope_y = solution(2) / centre_y_px};
  }

  return RowAlignment{
      .matches = static_cast<int>(matches.size()),
      .median_abs_px = Median(
          Map(matches, [](const CornerMatch& match) { return std::abs(match.row_offset_px); })),
      .fit = fit,
      .residual_px = Median(residuals_px())};
}

std::string_view ToString(RowAlign row_align) {
  return row_align == RowAlign::kAuto ? "auto" : "off";
}

RowOffset ChooseRowOffset(const std::optional<RowAlignment>& alignment, RowAlign row_align) {
  const bool is_taken = row_align == RowAlign::kAuto && alignment.has_value() &&
                        alignment->median_abs_px > kRowAlignThreshold_px;
  return is_taken ? alignment->fit : RowOffset{};
}

}  // namespace droidflow

#include "droidflow/tracks/label_match.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

namespace droidflow {
namespace {

constexpr float kUnknownEvidence = 0.5F;
constexpr double kBeyondTable = -0.2;
constexpr std::size_t kMaxPlaces = 1200;

/// Reorders `values`.
float MedianOf(std::span<float> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

Image<float> MakeLike(const Image<float>& other) {
  return Image<float>(other.width_px(), other.height_px());
}

/// At most kMaxPlaces, evenly spread.
void ThinOut(std::vector<Footprint::Place>& places) {
  const std::size_t count = places.size();
  if (count <= kMaxPlaces) return;
  for (std::size_t i = 0; i < kMaxPlaces; ++i) places[i] = places[i * count / kMaxPlaces];
  places.resize(kMaxPlaces);
}

/// Parameters of FitLabels: the shift's two parts, growth, turn, steps along the motion.
using ShiftParameters = std::array<double, 5>;

Pixel ShiftOf(const ShiftParameters& p, const Footprint& footprint) {
  const auto& [u, v] = footprint.centre_px;
  return {p[0] + p[2] * u - p[3] * v + p[4] * footprint.velocity_px.u_px,
          p[1] + p[2] * v + p[3] * u + p[4] * footprint.velocity_px.v_px};
}

double OverlapAt(const ShiftParameters& parameters,
                 std::span<const Footprint> footprints,
                 std::span<const ShiftTable> tables) {
  double sum = 0;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    const Pixel shift = ShiftOf(parameters, footprints[i]);
    sum += tables[i].At(shift.u_px, shift.v_px);
  }
  return sum / static_cast<double>(tables.size());
}

}  // namespace

Image<float> ShrinkAndSmooth(GrayView picture, int shrink) {
  const int width_px = picture.width_px / shrink;
  const int height_px = picture.height_px / shrink;
  Image<float> small(width_px, height_px);
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) {
      int sum = 0;
      for (int dy = 0; dy < shrink; ++dy) {
        const std::uint8_t* const row = picture.row(y * shrink + dy) + std::ptrdiff_t{x} * shrink;
        for (int dx = 0; dx < shrink; ++dx) sum += row[dx];
      }
      small.at(x, y) = static_cast<float>(sum) / static_cast<float>(shrink * shrink);
    }
  }
  Image<float> smooth(width_px, height_px);
  for (int y = 0; y < height_px; ++y) {
    const std::array rows = {
        small.row(std::max(y - 1, 0)), small.row(y), small.row(std::min(y + 1, height_px - 1))};
    for (int x = 0; x < width_px; ++x) {
      const int left = std::max(x - 1, 0);
      const int right = std::min(x + 1, width_px - 1);
      float sum = 0;
      for (const float* const row : rows) sum += row[left] + row[x] + row[right];
      smooth.at(x, y) = sum / 9;
    }
  }
  return smooth;
}

std::vector<Image<float>> FindForeground(std::span<const Image<float>> pictures) {
  constexpr float kMinDeviation = 1.5F;
  constexpr float kDeviationOfMedian = 1.4826F;  // of the normal distribution
  constexpr float kNothing_deviations = 3;
  constexpr float kSure_deviations = 9;
  std::vector<Image<float>> found;
  for (const Image<float>& picture : pictures) found.push_back(MakeLike(picture));
  std::vector<float> values(pictures.size());
  std::vector<float> away(pictures.size());
  for (int y = 0; y < pictures[0].height_px(); ++y) {
    for (int x = 0; x < pictures[0].width_px(); ++x) {
      for (std::size_t i = 0; i < pictures.size(); ++i) values[i] = pictures[i].at(x, y);
      const float middle = MedianOf(values);
      for (std::size_t i = 0; i < pictures.size(); ++i) {
        away[i] = std::abs(pictures[i].at(x, y) - middle);
        found[i].at(x, y) = away[i];
      }
      const float deviation = std::max(kDeviationOfMedian * MedianOf(away), kMinDeviation);
      for (Image<float>& picture : found) {
        float& value = picture.at(x, y);
        value = std::clamp(
            (value / deviation - kNothing_deviations) / (kSure_deviations - kNothing_deviations),
            0.0F,
            1.0F);
      }
    }
  }
  return found;
}

std::vector<Image<float>> FindStillness(std::span<const Image<float>> pictures) {
  constexpr float kNothing = 3;
  constexpr float kSure = 15;
  std::vector<Image<float>> found;
  const std::size_t last = pictures.size() - 1;
  for (std::size_t i = 0; i <= last; ++i) {
    const Image<float>& here = pictures[i];
    const Image<float>& before = pictures[i == 0 ? 1 : i - 1];
    const Image<float>& after = pictures[i == last ? last - 1 : i + 1];
    Image<float> still = MakeLike(here);
    for (int y = 0; y < here.height_px(); ++y) {
      for (int x = 0; x < here.width_px(); ++x) {
        const float value = here.at(x, y);
        const float change =
            (std::abs(before.at(x, y) - value) + std::abs(after.at(x, y) - value)) / 2;
        still.at(x, y) = 1 - std::clamp((change - kNothing) / (kSure - kNothing), 0.0F, 1.0F);
      }
    }
    found.push_back(std::move(still));
  }
  return found;
}

double MeanChange(ImageView<const float> before,
                  ImageView<const float> after,
                  int left,
                  int top,
                  int right,
                  int bottom) {
  constexpr float kNoise = 3;
  constexpr float kMost = 20;
  left = std::clamp(left, 0, before.width_px);
  right = std::clamp(right, left, before.width_px);
  top = std::clamp(top, 0, before.height_px);
  bottom = std::clamp(bottom, top, before.height_px);
  if (left == right || top == bottom) return std::numeric_limits<double>::quiet_NaN();
  double sum = 0;
  for (int y = top; y < bottom; ++y) {
    float row = 0;
    for (int x = left; x < right; ++x) {
      row += std::clamp(std::abs(after.at(x, y) - before.at(x, y)) - kNoise, 0.0F, kMost);
    }
    sum += row;
  }
  return sum / (static_cast<double>(right - left) * (bottom - top));
}

Footprint MakeFootprint(ImageView<const float> shape, ImageView<const float> guard, int ring_px) {
  // How far each pixel is from the shape, in steps to one of eight neighbours.
  const int width = shape.width_px;
  const int height = shape.height_px;
  Image<std::uint8_t> distance(width, height);
  const auto far = static_cast<std::uint8_t>(ring_px + 1);
  const auto at = [&](int x, int y) {
    return x < 0 || y < 0 || x >= width || y >= height ? far : distance.at(x, y);
  };
  const auto relax = [&](int x, int y, int dy, int dx) {
    const int nearest =
        std::min({at(x - 1, y + dy), at(x, y + dy), at(x + 1, y + dy), at(x + dx, y)});
    distance.at(x, y) =
        static_cast<std::uint8_t>(std::min({int{distance.at(x, y)}, nearest + 1, int{far}}));
  };
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      distance.at(x, y) = shape.at(x, y) > 0 ? 0 : far;
      relax(x, y, -1, -1);
    }
  }
  Footprint footprint;
  for (int y = height - 1; y >= 0; --y) {
    for (int x = width - 1; x >= 0; --x) {
      relax(x, y, 1, 1);
      if (guard.at(x, y) > 0) continue;
      const Footprint::Place place{x - kShiftReach_px, y - kShiftReach_px};
      const int steps = distance.at(x, y);
      // Right at the edge neither is sure.
      if (steps == 0) footprint.inside.push_back(place);
      if (steps > 1 && steps <= ring_px) footprint.around.push_back(place);
    }
  }
  ThinOut(footprint.inside);
  ThinOut(footprint.around);
  return footprint;
}

ShiftTable::ShiftTable(const Footprint& footprint, ImageView<const float> evidence)
    : overlap_(std::size_t{kSide} * kSide, 0) {
  // A footprint reaches kShiftReach_px beyond the picture, and is shifted as far again.
  constexpr int kMargin_px = 2 * kShiftReach_px;
  Image<float> wide(evidence.width_px + 2 * kMargin_px, evidence.height_px + 2 * kMargin_px);
  for (int y = 0; y < wide.height_px(); ++y) {
    std::fill_n(wide.row(y), wide.width_px(), kUnknownEvidence);
    const int inner = y - kMargin_px;
    if (inner < 0 || inner >= evidence.height_px) continue;
    std::copy_n(evidence.row(inner), evidence.width_px, wide.row(y) + kMargin_px);
  }
  const auto add = [&](std::span<const Footprint::Place> places, float sign) {
    const float weight = sign / static_cast<float>(places.size());
    for (const auto& [x, y] : places) {
      for (int j = 0; j < kSide; ++j) {
        const float* const row = wide.row(y + kShiftReach_px + j * kStep_px) + x + kShiftReach_px;
        float* const sums = overlap_.data() + std::ptrdiff_t{j} * kSide;
        for (int i = 0; i < kSide; ++i) sums[i] += weight * row[i * kStep_px];
      }
    }
  };
  add(footprint.inside, 1);
  add(footprint.around, -1);
}

double ShiftTable::At(double dx_px, double dy_px) const {
  const double x = (dx_px + kShiftReach_px) / kStep_px;
  const double y = (dy_px + kShiftReach_px) / kStep_px;
  if (!(x >= 0 && y >= 0 && x < kSide - 1 && y < kSide - 1)) return kBeyondTable;
  const int i = static_cast<int>(x);
  const int j = static_cast<int>(y);
  const float* const row = overlap_.data() + std::ptrdiff_t{j} * kSide + i;
  const auto across = [&](const float* at) { return at[0] + (x - i) * (at[1] - at[0]); };
  return across(row) + (y - j) * (across(row + kSide) - across(row));
}

LabelFit FitLabels(std::span<const Footprint> footprints,
                   std::span<const ShiftTable> tables,
                   bool is_on_hand) {
  const std::size_t free = is_on_hand ? 2 : 5;
  Pixel mean{0, 0};
  for (const Footprint& footprint : footprints) {
    mean.u_px += footprint.centre_px.u_px / static_cast<double>(footprints.size());
    mean.v_px += footprint.centre_px.v_px / static_cast<double>(footprints.size());
  }
  ShiftParameters best{};
  double most = OverlapAt(best, footprints, tables);
  const auto attempt = [&](const ShiftParameters& parameters) {
    const double overlap = OverlapAt(parameters, footprints, tables);
    if (overlap <= most + 1e-9) return false;
    most = overlap;
    best = parameters;
    return true;
  };
  for (int dy = -kShiftReach_px; dy < kShiftReach_px; dy += 2) {
    for (int dx = -kShiftReach_px; dx < kShiftReach_px; dx += 2) {
      ShiftParameters parameters{};
      parameters[0] = dx;
      parameters[1] = dy;
      attempt(parameters);
    }
  }
  // Then along each parameter with ever smaller steps; growth and turn about the mean place, which
  // leaves the shift there as it is.
  constexpr ShiftParameters kFirstStep{4, 4, 0.04, 0.04, 1};
  for (double scale = 1; scale > 0.05;) {
    bool has_improved = false;
    for (std::size_t a = 0; a < free; ++a) {
      for (const double sign : {-1.0, 1.0}) {
        const double step = sign * scale * kFirstStep[a];
        ShiftParameters parameters = best;
        parameters[a] += step;
        if (a == 2) {
          parameters[0] -= step * mean.u_px;
          parameters[1] -= step * mean.v_px;
        }
        if (a == 3) {
          parameters[0] += step * mean.v_px;
          parameters[1] -= step * mean.u_px;
        }
        has_improved |= attempt(parameters);
      }
    }
    if (!has_improved) scale /= 2;
  }
  LabelFit fit{.best_overlap = most, .late_steps = -best[4]};
  fit.overlap = OverlapAt({0, 0, 0, 0, best[4]}, footprints, tables);
  best[4] = 0;
  double squares = 0;
  for (const Footprint& footprint : footprints) {
    const Pixel shift = ShiftOf(best, footprint);
    squares += shift.u_px * shift.u_px + shift.v_px * shift.v_px;
  }
  fit.shift_px = std::sqrt(squares / static_cast<double>(footprints.size()));
  return fit;
}

std::optional<Lag> FindLag(std::span<const double> seen,
                           std::span<const double> said,
                           int max_lag) {
  constexpr double kMinCorrelation = 0.3;
  constexpr int kMinInCommon = 20;
  const auto count = static_cast<int>(std::min(seen.size(), said.size()));
  const auto correlate = [&](int lag) {
    double n = 0;
    double x = 0;
    double y = 0;
    double xx = 0;
    double yy = 0;
    double xy = 0;
    for (int t = std::max(0, lag); t < std::min(count, count + lag); ++t) {
      const double a = seen[t];
      const double b = said[t - lag];
      if (!std::isfinite(a + b)) continue;
      n += 1;
      x += a;
      y += b;
      xx += a * a;
      yy += b * b;
      xy += a * b;
    }
    const double variance = (n * xx - x * x) * (n * yy - y * y);
    return n < kMinInCommon || !(variance > 0) ? -1 : (n * xy - x * y) / std::sqrt(variance);
  };
  std::vector<double> correlations;
  for (int lag = -max_lag; lag <= max_lag; ++lag) correlations.push_back(correlate(lag));
  const auto top = std::ranges::max_element(correlations);
  if (*top < kMinCorrelation || top == correlations.begin() || top == correlations.end() - 1) {
    return std::nullopt;
  }
  const double bend = top[-1] - 2 * top[0] + top[1];
  const double off = bend < 0 ? 0.5 * (top[-1] - top[1]) / bend : 0;
  return Lag{static_cast<double>(top - correlations.begin()) - max_lag + off, *top};
}

}  // namespace droidflow

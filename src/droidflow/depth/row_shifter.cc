#include "droidflow/depth/row_shifter.h"

#include "droidflow/core/check.h"
#include "droidflow/geometry/deterministic_math.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace droidflow {
namespace {

constexpr int kRowWeightBits = 8;
constexpr int kOne = 1 << kRowWeightBits;

double Sinc(double x) {
  const double angle_rad = std::numbers::pi * x;
  return x == 0 ? 1 : Sin(angle_rad) / angle_rad;
}

}  // namespace

RowShifter::RowShifter(int width_px, int height_px, const RowOffset& row_offset)
    : row_offset_(row_offset), mask_(width_px, height_px) {
  DF_CHECK(width_px >= 1 && height_px >= 1, "{}x{}", width_px, height_px);
  constexpr int kReach = kTaps / 2;
  for (int phase = 0; phase < kPhases; ++phase) {
    std::array<double, kTaps> exact;
    for (int tap = 0; tap < kTaps; ++tap) {
      const double x = tap - (kReach - 1) - static_cast<double>(phase) / kPhases;
      exact[static_cast<std::size_t>(tap)] = Sinc(x) * Sinc(x / kReach);
    }
    const double sum = std::accumulate(exact.begin(), exact.end(), 0.0);
    auto& weights = weights_[static_cast<std::size_t>(phase)];
    std::ranges::transform(exact, weights.begin(), [&](double weight) {
      return static_cast<int>(std::floor(weight / sum * kOne + 0.5));
    });
    // Together one, so that even areas stay as they are.
    *std::ranges::max_element(weights) += kOne - std::accumulate(weights.begin(), weights.end(), 0);
  }
  const int last = (height_px - 1) * kPhases;
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) {
      const int place = Place(x, y);
      mask_.at(x, y) = place >= 0 && place <= last ? 255 : 0;
      covers_everything_ &= mask_.at(x, y) != 0;
    }
  }
}

int RowShifter::Place(int x, int y) const {
  const double offset_px = row_offset_.At(x - 0.5 * (mask_.width_px() - 1),  //
                                          y - 0.5 * (mask_.height_px() - 1));
  // Beyond the picture all rows are the same.
  const double most_px = mask_.height_px() + kTaps;
  return static_cast<int>(
      std::floor((y + std::clamp(offset_px, -most_px, most_px)) * kPhases + 0.5));
}

void RowShifter::Apply(GrayView picture, GrayImage& out) const {
  const int width_px = mask_.width_px();
  const int height_px = mask_.height_px();
  DF_CHECK(picture.width_px == width_px && picture.height_px == height_px,
           "a picture of {}x{} for {}x{}",
           picture.width_px,
           picture.height_px,
           width_px,
           height_px);
  out.Resize(width_px, height_px);
  for (int y = 0; y < height_px; ++y) {
    // Offsets change slowly along a row: by runs of columns with the same place.
    for (int x = 0; x < width_px;) {
      const int place = Place(x, y);
      int end = x + 1;
      if (row_offset_.slope_x == 0) {
        end = width_px;
      } else {
        while (end < width_px && Place(end, y) == place) ++end;
      }
      const int first = (place >> 5) - (kTaps / 2 - 1);
      static_assert(kPhases == 1 << 5);
      const auto& weights = weights_[static_cast<std::size_t>(place & (kPhases - 1))];
      std::array<const std::uint8_t*, kTaps> rows;
      for (int tap = 0; tap < kTaps; ++tap) {
        rows[static_cast<std::size_t>(tap)] =
            picture.row(std::clamp(first + tap, 0, height_px - 1));
      }
      std::uint8_t* const row = out.row(y);
      for (; x < end; ++x) {
        int sum = kOne / 2;
        for (std::size_t tap = 0; tap < rows.size(); ++tap) sum += weights[tap] * rows[tap][x];
        row[x] = static_cast<std::uint8_t>(std::clamp(sum >> kRowWeightBits, 0, 255));
      }
    }
  }
}

}  // namespace droidflow

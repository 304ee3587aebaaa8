#include "droidflow/depth/disparity_error.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

namespace droidflow {
namespace {

constexpr std::uint8_t kCounts = 255;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

class Tally {
 public:
  void Add(double error_px, bool is_bad = false) {
    ++pixels_;
    sum_px_ += error_px;
    bad1_ += static_cast<int>(is_bad || error_px > 1);
    bad2_ += static_cast<int>(is_bad || error_px > 2);
    bad4_ += static_cast<int>(is_bad || error_px > 4);
  }

  [[nodiscard]] std::int64_t pixels() const { return pixels_; }
  [[nodiscard]] DisparityErrors Errors() const {
    const double pixels = static_cast<double>(pixels_);
    constexpr double kPercent = 100;
    return {.bad1_percent = kPercent * static_cast<double>(bad1_) / pixels,
            .bad2_percent = kPercent * static_cast<double>(bad2_) / pixels,
            .bad4_percent = kPercent * static_cast<double>(bad4_) / pixels,
            .avg_px = sum_px_ / pixels};
  }

 private:
  std::int64_t pixels_ = 0;
  std::int64_t bad1_ = 0;
  std::int64_t bad2_ = 0;
  std::int64_t bad4_ = 0;
  double sum_px_ = 0;
};

/// Every gap of a row becomes the smaller of its two neighbours; at the row's ends, the only one.
/// Without any neighbour it stays infinite.
void FillRow(const float* row, int width_px, std::vector<float>& filled) {
  filled.assign(row, row + width_px);
  float last = kInfinity;
  for (float& value : filled) value = std::isnan(value) ? last : last = value;
  last = kInfinity;
  for (int x = width_px - 1; x >= 0; --x) {
    if (std::isnan(row[x])) {
      filled[static_cast<std::size_t>(x)] = std::min(filled[static_cast<std::size_t>(x)], last);
    } else {
      last = row[x];
    }
  }
}

Status CheckSize(std::string_view what,
                 int width_px,
                 int height_px,
                 ImageView<const float> result) {
  if (width_px == result.width_px && height_px == result.height_px) return {};
  return Fail(ErrorKind::kUsage,
              "want a {} of {}x{}, as the result, have {}x{}",
              what,
              result.width_px,
              result.height_px,
              width_px,
              height_px);
}

}  // namespace

Result<DisparityScore> ScoreDisparity(ImageView<const float> result_px,
                                      ImageView<const float> truth_px,
                                      const GrayImage* mask) {
  DF_RETURN_IF_ERROR(CheckSize("truth", truth_px.width_px, truth_px.height_px, result_px));
  if (mask != nullptr) {
    DF_RETURN_IF_ERROR(CheckSize("mask", mask->width_px(), mask->height_px(), result_px));
  }
  Tally valid;
  Tally dense;
  std::vector<float> filled;
  for (int y = 0; y < result_px.height_px; ++y) {
    const float* const row = result_px.row(y);
    FillRow(row, result_px.width_px, filled);
    for (int x = 0; x < result_px.width_px; ++x) {
      if (mask != nullptr && mask->at(x, y) != kCounts) continue;
      const double truth = truth_px.at(x, y);
      if (std::isnan(truth)) continue;
      if (!std::isnan(row[x])) valid.Add(std::abs(row[x] - truth));
      const float value = filled[static_cast<std::size_t>(x)];
      const bool is_empty_row = value == kInfinity;
      dense.Add(std::abs((is_empty_row ? 0 : value) - truth), is_empty_row);
    }
  }
  if (dense.pixels() == 0) {
    return Fail(ErrorKind::kInvalidData,
                "want pixels of known truth{} to compare, have none",
                mask == nullptr ? "" : " where the mask is 255");
  }
  DisparityScore score{.pixels = dense.pixels(),
                       .density_percent = 100 * static_cast<double>(valid.pixels()) /
                                          static_cast<double>(dense.pixels()),
                       .valid = std::nullopt,
                       .dense = dense.Errors()};
  if (valid.pixels() > 0) score.valid = valid.Errors();
  return score;
}

}  // namespace droidflow

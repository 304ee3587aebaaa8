#include "droidflow/depth/disparity_to_depth.h"

#include "droidflow/core/check.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace droidflow {
namespace {

constexpr double kMillimetres = 1000;
constexpr int kMost_mm = std::numeric_limits<std::uint16_t>::max();
constexpr std::int64_t kDisparitiesAtWidth = 256;
constexpr std::int64_t kWidth_px = 1280;

/// A range as what is stored.
struct MillimetreRange {
  int min_mm;
  int max_mm;
};

MillimetreRange InMillimetres(const DepthRange& range) {
  // 1.1 * 1000 is more than 1100.
  constexpr double kSlack_mm = 1e-6;
  return {static_cast<int>(std::ceil(range.min_m * kMillimetres - kSlack_mm)),
          static_cast<int>(std::floor(range.max_m * kMillimetres + kSlack_mm))};
}

}  // namespace

Status CheckDepthRange(const DepthRange& range) {
  if (range.min_m > 0 && range.min_m < range.max_m && range.max_m * kMillimetres <= kMost_mm) {
    return {};
  }
  return Fail(ErrorKind::kUsage,
              "depth range: want 0 < min < max <= {} m, have {} to {} m",
              kMost_mm / kMillimetres,
              range.min_m,
              range.max_m);
}

Status CheckStereoGeometry(const StereoGeometry& geometry) {
  const auto is_length = [](double value) { return std::isfinite(value) && value > 0; };
  if (!is_length(geometry.fx_px)) {
    return Fail(
        ErrorKind::kUsage, "focal length: want more than 0 pixels, have {}", geometry.fx_px);
  }
  if (!is_length(geometry.baseline_m)) {
    return Fail(
        ErrorKind::kUsage, "baseline: want more than 0 metres, have {}", geometry.baseline_m);
  }
  return {};
}

int DefaultMaxDisparityPx(int width_px) {
  const std::int64_t scaled = (kDisparitiesAtWidth * width_px + kWidth_px / 2) / kWidth_px;
  return static_cast<int>(std::clamp<std::int64_t>(scaled, 1, kMostDisparities));
}

int MaxDisparityForPx(const StereoGeometry& geometry, double min_depth_m, int width_px) {
  const double nearest_px = std::floor(geometry.fx_px * geometry.baseline_m / min_depth_m) + 1;
  const int most_px = std::clamp(width_px, 1, kMostDisparities);
  return nearest_px < most_px ? std::max(static_cast<int>(nearest_px), 1) : most_px;
}

std::uint16_t RoundToMillimetres(double depth_m, const DepthRange& range) {
  const auto [min_mm, max_mm] = InMillimetres(range);
  const double mm = std::floor(depth_m * kMillimetres + 0.5);
  return mm >= min_mm && mm <= max_mm ? static_cast<std::uint16_t>(mm) : 0;
}

std::uint16_t DepthOf(double disparity_px,
                      const StereoGeometry& geometry,
                      const DepthRange& range) {
  if (!(disparity_px > 0)) return 0;
  const auto [min_mm, max_mm] = InMillimetres(range);
  const double mm =
      std::floor(geometry.fx_px * geometry.baseline_m * kMillimetres / disparity_px + 0.5);
  return mm >= min_mm && mm <= max_mm ? static_cast<std::uint16_t>(mm) : 0;
}

DepthTable::DepthTable(const StereoGeometry& geometry, const DepthRange& range)
    : disparity_depth_px16_m_(geometry.fx_px * geometry.baseline_m * kDisparityScale),
      depth_mm_(std::size_t{1} << 15) {
  for (std::size_t px16 = 1; px16 < depth_mm_.size(); ++px16) {
    depth_mm_[px16] = DepthOf(static_cast<double>(px16) / kDisparityScale, geometry, range);
  }
}

Result<DepthTable> DepthTable::Make(const StereoGeometry& geometry, const DepthRange& range) {
  DF_RETURN_IF_ERROR(CheckStereoGeometry(geometry));
  DF_RETURN_IF_ERROR(CheckDepthRange(range));
  return DepthTable(geometry, range);
}

float DepthTable::DepthM(std::int16_t disparity_px16) const {
  if (DepthMm(disparity_px16) == 0) return std::numeric_limits<float>::quiet_NaN();
  return static_cast<float>(disparity_depth_px16_m_ / disparity_px16);
}

void DepthTable::Apply(DisparityView disparity_px16, Image<std::uint16_t>& depth_mm) const {
  depth_mm.Resize(disparity_px16.width_px, disparity_px16.height_px);
  for (int y = 0; y < disparity_px16.height_px; ++y) {
    const std::int16_t* const row = disparity_px16.row(y);
    std::uint16_t* const out = depth_mm.row(y);
    for (int x = 0; x < disparity_px16.width_px; ++x) out[x] = DepthMm(row[x]);
  }
}

void ClipDepth(const DepthRange& range, Image<std::uint16_t>& depth_mm) {
  const auto [min_mm, max_mm] = InMillimetres(range);
  for (int y = 0; y < depth_mm.height_px(); ++y) {
    std::uint16_t* const row = depth_mm.row(y);
    for (int x = 0; x < depth_mm.width_px(); ++x) {
      if (row[x] < min_mm || row[x] > max_mm) row[x] = 0;
    }
  }
}

void MaskDisparity(const GrayImage* left_mask,
                   const GrayImage* right_mask,
                   DisparityImage& disparity_px16) {
  const int width_px = disparity_px16.width_px();
  for (const GrayImage* const mask : {left_mask, right_mask}) {
    DF_CHECK(mask == nullptr ||
                 (mask->width_px() == width_px && mask->height_px() == disparity_px16.height_px()),
             "a mask of another size");
  }
  for (int y = 0; y < disparity_px16.height_px(); ++y) {
    std::int16_t* const row = disparity_px16.row(y);
    if (left_mask != nullptr) {
      const std::uint8_t* const shows = left_mask->row(y);
      for (int x = 0; x < width_px; ++x) {
        if (shows[x] == 0) row[x] = kNoDisparity_px16;
      }
    }
    if (right_mask == nullptr) continue;
    const std::uint8_t* const shows = right_mask->row(y);
    for (int x = 0; x < width_px; ++x) {
      if (row[x] < 0) continue;
      const int partner = x - (row[x] + kDisparityScale / 2) / kDisparityScale;
      if (partner >= 0 && shows[partner] == 0) row[x] = kNoDisparity_px16;
    }
  }
}

}  // namespace droidflow

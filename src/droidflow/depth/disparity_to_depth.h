#pragma once

/// From disparities to millimetres.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"
#include "droidflow/depth/matcher.h"

#include <cstdint>
#include <vector>

namespace droidflow {

/// What lies outside is no depth.
struct DepthRange {
  double min_m = 0.2;
  double max_m = 10;

  bool operator==(const DepthRange&) const = default;
};

/// @return kUsage unless 0 < min < max <= 65.535, which is what 16 bits of millimetres hold.
[[nodiscard]] Status CheckDepthRange(const DepthRange& range);

/// The camera that disparities were seen with.
struct StereoGeometry {
  double fx_px = 0;       ///< of the rectified left eye, at the pictures' size
  double baseline_m = 0;  ///< distance between the eyes

  bool operator==(const StereoGeometry&) const = default;
};

/// @return kUsage for what is not finite and more than 0.
[[nodiscard]] Status CheckStereoGeometry(const StereoGeometry& geometry);

/// How many whole disparities a picture is searched for by default: 256 at 1280 columns, in
/// proportion at other widths, at most what a Matcher takes.
[[nodiscard]] int DefaultMaxDisparityPx(int width_px);

/// How many it takes to see what is min_depth_m away: floor(fx B / min_depth) + 1, at most
/// `width_px` and what a Matcher takes.
[[nodiscard]] int MaxDisparityForPx(const StereoGeometry& geometry,
                                    double min_depth_m,
                                    int width_px);

/// Metres as they are stored. Unit  millimetres, rounded, halves upwards. Invalid  0: outside the
/// range, or no number.
[[nodiscard]] std::uint16_t RoundToMillimetres(double depth_m, const DepthRange& range);

/// The depth of one disparity. Unit  pixels to millimetres: round(1000 fx B / d). Invalid  0: a
/// disparity that is no number or not more than 0, else as RoundToMillimetres.
[[nodiscard]] std::uint16_t DepthOf(double disparity_px,
                                    const StereoGeometry& geometry,
                                    const DepthRange& range);

/// A camera's depth of every disparity, looked up.
///
/// Unit     as DepthOf.
/// Invalid  0: no disparity, else as DepthOf.
/// Thread   Apply may be called from several threads.
/// Source   Hartley & Zisserman 2004, section 11.12: z = fx B / d for a rectified pair.
class DepthTable {
 public:
  /// @return as CheckStereoGeometry and CheckDepthRange.
  [[nodiscard]] static Result<DepthTable> Make(const StereoGeometry& geometry,
                                               const DepthRange& range);

  [[nodiscard]] std::uint16_t DepthMm(std::int16_t disparity_px16) const {
    return disparity_px16 > 0 ? depth_mm_[static_cast<std::size_t>(disparity_px16)] : 0;
  }
  /// The same, not rounded: z = fx B / d. NaN where DepthMm is 0.
  [[nodiscard]] float DepthM(std::int16_t disparity_px16) const;

  /// @param depth_mm  resized to the disparities' size.
  void Apply(DisparityView disparity_px16, Image<std::uint16_t>& depth_mm) const;

 private:
  DepthTable(const StereoGeometry& geometry, const DepthRange& range);

  double disparity_depth_px16_m_ = 0;    ///< what disparity times depth is
  std::vector<std::uint16_t> depth_mm_;  ///< by disparity
};

/// Takes depth outside a range away.
void ClipDepth(const DepthRange& range, Image<std::uint16_t>& depth_mm);

/// Takes disparities away where one of both pictures shows nothing: at the pixel itself, or at its
/// partner on the right, if that is in the picture.
///
/// @param left_mask, right_mask  0: nothing; null: everywhere something.
void MaskDisparity(const GrayImage* left_mask,
                   const GrayImage* right_mask,
                   DisparityImage& disparity_px16);

}  // namespace droidflow

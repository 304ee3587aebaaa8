#pragma once

/// Raw stereo frames onto the rectified camera that is reported, row by row aligned.

#include "droidflow/core/image.h"
#include "droidflow/geometry/projection.h"
#include "droidflow/geometry/rectification.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace droidflow {

/// By how much the right picture's rows lie below the left's: what is at row y on the left is at
/// row y + At(x, y) on the right, x and y being those of the left picture.
///
/// Unit     pixels of the rectified picture; slopes in pixels a pixel, about the picture's centre.
struct RowOffset {
  double offset_px = 0;
  double slope_x = 0;
  double slope_y = 0;

  /// @param x_px, y_px  from the picture's centre, ((width - 1) / 2, (height - 1) / 2).
  [[nodiscard]] double At(double x_px, double y_px) const {
    return offset_px + slope_x * x_px + slope_y * y_px;
  }

  bool operator==(const RowOffset&) const = default;
};

/// Resamples pictures by a map made once.
///
/// A row offset is taken out by looking At(x, y) rows further down, where x and y are those of the
/// pixel wanted. For the right picture that x is the left one's less the disparity, which a map
/// cannot know, so a row is wrong by slope_x * disparity: 0.05 px where the offset grows by 0.25 px
/// over 1280 columns and the disparity is 256.
///
/// Invalid  pixels whose place lies outside the raw picture, its border being the centres of its
///          outermost pixels, are 0 and masked.
/// Thread   Apply may be called from several threads.
class Remapper {
 public:
  /// The map of one raw eye onto the rectified camera wanted. `row_offset` is the right eye's; none
  /// for the left's.
  ///
  /// @param raw_width_px, raw_height_px  2x2 to 16384x16384.
  [[nodiscard]] static Remapper FromRawEye(const RawEye& eye,
                                           int raw_width_px,
                                           int raw_height_px,
                                           const Matrix3& R_rect_eye,
                                           const Intrinsics& rectified,
                                           const RowOffset& row_offset = {});

  /// Bilinear, places rounded to 1/32 px, in integers: the same bytes on every machine.
  ///
  /// @param raw  of the size given when this was made.
  /// @param out  resized to the rectified size.
  void Apply(GrayView raw, GrayImage& out) const;

  /// 255 where a pixel shows something, 0 where its place lies outside the raw picture.
  [[nodiscard]] const GrayImage& mask() const { return mask_; }
  [[nodiscard]] bool covers_everything() const { return covers_everything_; }

 private:
  Remapper(int raw_width_px, int raw_height_px, int width_px, int height_px);
  void Place(int x, int y, Pixel raw);

  int raw_width_px_ = 0;
  int raw_height_px_ = 0;
  GrayImage mask_;
  bool covers_everything_ = true;

  // Per pixel, rows `map_stride_` apart: the upper left of the four raw pixels, column in the lower
  // half, row in the upper; and the weights in 1/32 of the right column, in the lower byte, and of
  // the lower row.
  std::size_t map_stride_ = 0;
  std::vector<std::uint32_t> place_;
  std::vector<std::uint16_t> weights_;
};

}  // namespace droidflow

#pragma once

/// Pictures with their rows moved by a little.

#include "droidflow/core/image.h"
#include "droidflow/depth/rectifier.h"

#include <array>
#include <cstdint>

namespace droidflow {

/// Takes a row offset out of right pictures that are rectified already, by looking At(x, y) rows
/// further down. Sharper than a Remapper: at half a row, bilinear interpolation leaves nothing of
/// the finest detail, which the left picture still has.
///
/// Invalid  beyond the picture's first and last rows it goes on as these; masked.
/// Thread   Apply may be called from several threads.
/// Source   Lanczos-windowed sinc over 6 rows; Duchon 1979, "Lanczos filtering in one and two
///          dimensions". Places rounded to 1/32 px, weights to 1/256: the same bytes on every
///          machine.
class RowShifter {
 public:
  RowShifter(int width_px, int height_px, const RowOffset& row_offset);

  /// @param picture  of the size given when this was made.
  /// @param out      resized to it.
  void Apply(GrayView picture, GrayImage& out) const;

  /// 255 where a pixel shows something, 0 where its place lies beyond the outermost rows' centres.
  [[nodiscard]] const GrayImage& mask() const { return mask_; }
  [[nodiscard]] bool covers_everything() const { return covers_everything_; }

 private:
  static constexpr int kTaps = 6;
  static constexpr int kPhases = 32;

  /// Where in the picture row y, column x lies. Unit  1/32 px.
  [[nodiscard]] int Place(int x, int y) const;

  RowOffset row_offset_;
  std::array<std::array<int, kTaps>, kPhases> weights_{};  ///< in 1/256, by the fraction of a place
  GrayImage mask_;
  bool covers_everything_ = true;
};

}  // namespace droidflow

#pragma once

/// Whether the rows of a stereo pair agree, measured on the pictures themselves.

#include "droidflow/core/image.h"
#include "droidflow/depth/rectifier.h"

#include <optional>
#include <string_view>
#include <vector>

namespace droidflow {

/// One corner of the left picture that was found in the right one.
///
/// Unit     pixels, to a fraction.
struct CornerMatch {
  double x_px = 0;
  double y_px = 0;
  double disparity_px = 0;   ///< x on the left minus x on the right
  double row_offset_px = 0;  ///< row on the right minus row on the left
};

struct CornerMatchOptions {
  int max_corners = 600;  ///< spread over the picture
  double max_disparity_px = 256;
  double max_row_offset_px = 6;
};

/// Finds corners on the left and the same places on the right, with sub-pixel rows; ambiguous and
/// inconsistent matches (left to right and back) are dropped. Exposure may differ.
///
/// @param left, right  of one size, rectified or nearly.
/// @return  disparities from -4 px, as a calibration may place infinity a little wrong.
[[nodiscard]] std::vector<CornerMatch> MatchCorners(GrayView left,
                                                    GrayView right,
                                                    const CornerMatchOptions& options);

/// How the rows of a recording agree.
struct RowAlignment {
  int matches = 0;           ///< corners that it rests on
  double median_abs_px = 0;  ///< median |row offset| before any correction
  RowOffset fit;             ///< the constant and sloped part, robustly fitted
  double residual_px = 0;    ///< median |row offset - fit|
};

/// Fits an offset and slopes to matches of one or several pairs of a recording, so that outliers do
/// not matter. Slopes are fitted only where matches are many (100) and spread enough to carry them.
///
/// Source   least squares again and again with the biweight of Beaton & Tukey 1974, "The fitting of
///          power series".
///
/// @return  nothing for fewer than 30 matches.
[[nodiscard]] std::optional<RowAlignment> FitRowAlignment(const std::vector<CornerMatch>& matches,
                                                          int width_px,
                                                          int height_px);

enum class RowAlign {
  kAuto,  ///< take an offset out when its median is above kRowAlignThreshold_px
  kOff,
};
[[nodiscard]] std::string_view ToString(RowAlign row_align);

inline constexpr double kRowAlignThreshold_px = 0.15;

/// The offset to take out of a recording: the fit's, or none.
[[nodiscard]] RowOffset ChooseRowOffset(const std::optional<RowAlignment>& alignment,
                                        RowAlign row_align);

}  // namespace droidflow

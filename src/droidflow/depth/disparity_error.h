#pragma once

/// How far disparities are from the truth.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"

#include <cstdint>
#include <optional>

namespace droidflow {

/// Errors over a set of pixels. Unit  percent of the set with an error of more than so many pixels;
/// pixels.
struct DisparityErrors {
  double bad1_percent = 0;
  double bad2_percent = 0;
  double bad4_percent = 0;
  double avg_px = 0;  ///< mean of the errors' amounts
};

struct DisparityScore {
  std::int64_t pixels = 0;               ///< those that count: in the mask, truth known
  double density_percent = 0;            ///< of these, the share that has a result
  std::optional<DisparityErrors> valid;  ///< over those with a result; nothing: there are none
  /// Over all that count, after filling what has no result with the smaller of its nearest
  /// neighbours in the row that have one. In a row without any, all are bad, and off by all of
  /// their disparity.
  DisparityErrors dense;
};

/// Scores disparities against the truth.
///
/// Unit     pixels.
/// Invalid  NaN: no result, or no truth.
/// Source   the error measures of Scharstein & Szeliski 2002, "A taxonomy and evaluation of dense
///          two-frame stereo correspondence algorithms".
/// @param mask  255: counts; null: every pixel of known truth does.
/// @return      kUsage for different sizes; kInvalidData where no pixel counts.
[[nodiscard]] Result<DisparityScore> ScoreDisparity(ImageView<const float> result_px,
                                                    ImageView<const float> truth_px,
                                                    const GrayImage* mask);

}  // namespace droidflow

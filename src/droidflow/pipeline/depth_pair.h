#pragma once

/// Disparity or depth of one pair of pictures: `droidflow depth --input LEFT RIGHT`.

#include "droidflow/core/result.h"
#include "droidflow/depth/disparity_to_depth.h"
#include "droidflow/depth/row_alignment.h"
#include "droidflow/pipeline/depth_options.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

struct DepthPairInput {
  std::filesystem::path left;
  std::filesystem::path right;
  std::optional<StereoGeometry> geometry;  ///< none: disparities are written
  std::filesystem::path out;               ///< .pfm, .png or .npy, as WriteMap
  std::filesystem::path confidence_out;    ///< 8-bit gray .png, as Matcher; empty: none
};

struct DepthPairReport {
  int width_px = 0;
  int height_px = 0;
  DepthBackend backend;
  MatcherOptions matcher;
  double valid_fraction = 0;
  std::optional<RowAlignment> rows;  ///< nothing: too few corners, or not measured
  RowOffset removed;
  std::vector<std::string> notes;  ///< what was done to the pictures
};

/// Matches a rectified pair. Depth is exact to the disparity's sixteenth of a pixel, not rounded to
/// millimetres, except in PNG.
///
/// Of the backend external the map is taken that FindMapOfPair finds, clipped to the range where it
/// becomes depth; its rows are not measured.
///
/// @return kUsage for options and names that cannot be, for files that are no pictures and for
///         pictures that do not go together, or would be written over; kNotFound.
[[nodiscard]] Result<DepthPairReport> WriteDepthPair(const DepthPairInput& input,
                                                     const DepthOptions& options);

}  // namespace droidflow

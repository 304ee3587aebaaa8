#pragma once

/// Steps 1 to 9 of docs/matching.md with vectors of whatever length the machine has.

#include "droidflow/core/image.h"
#include "droidflow/depth/huge_buffer_internal.h"
#include "droidflow/depth/matcher.h"

#include <cstdint>

namespace droidflow {

/// The memory of one matching, kept from pair to pair. All of it belongs to the kernels; a buffer
/// is described where they lay it out.
struct SgmWorkspace {
  HugeBuffer left_features;
  HugeBuffer right_features;
  HugeBuffer half_sums;  ///< of the paths that lead down, with 8 paths
  HugeBuffer states;
  GrayImage padded_picture;
};

/// Disparities before median and speckle filter. `half_size`, median and speckles of the options
/// are not looked at.
///
/// @param left, right  of one size, at least 1x1.
/// @param disparity    of that size.
/// @param confidence   empty, or of that size: of every pixel that has a disparity.
void SgmOnCpu(const MatcherOptions& options,
              GrayView left,
              GrayView right,
              SgmWorkspace& workspace,
              ImageView<std::int16_t> disparity_px16,
              ImageView<std::uint8_t> confidence);

/// Step 10. `out` is another picture of the size of `in`.
///
/// @param in  with room for one more row and column on every side, which are written to.
void MedianOnCpu(ImageView<std::int16_t> in, ImageView<std::int16_t> out);

/// The picture halved: means of 2x2. `out` is of half the size, rounded up.
void HalveOnCpu(GrayView in, ImageView<std::uint8_t> out);

}  // namespace droidflow

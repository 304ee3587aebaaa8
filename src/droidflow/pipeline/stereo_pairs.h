#pragma once

/// How well the rows of a recording's two eyes agree, measured on its pictures.

#include "droidflow/core/result.h"
#include "droidflow/depth/row_alignment.h"
#include "droidflow/geometry/projection.h"
#include "droidflow/geometry/rectification.h"
#include "droidflow/video/frame_source.h"

#include <optional>

namespace droidflow {

/// A raw pair and the rectified camera that its frames are resampled onto.
struct RectifiedRig {
  StereoPair raw;
  RectifiedPair rectified;  ///< its intrinsics are those wanted, not always the pair's own
};

/// Matches corners on pairs spread over the first 150 frames of a stereo recording and fits a row
/// offset. Reads on from where the source is.
///
/// @param rig  of a raw recording; null: the frames are rectified already.
/// @return     nothing where the pictures have too few corners.
[[nodiscard]] Result<std::optional<RowAlignment>> MeasureRows(FrameSource& source,
                                                              const RectifiedRig* rig);

}  // namespace droidflow

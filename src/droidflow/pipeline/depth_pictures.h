#pragma once

/// Depth from files, whatever they are.

#include "droidflow/core/result.h"
#include "droidflow/view/depth_preview.h"

#include <filesystem>
#include <memory>

namespace droidflow {

/// Opens a depth video (Matroska), one map of depth (16-bit PNG in millimetres; PFM or .npy in
/// metres), or a folder: of such maps, in the order of their names, or with one depth.mkv in it or
/// below.
///
/// @param out  what is written meanwhile.
/// Invalid  what is 65.5 m away or more.
/// @return  kNotFound; kUsage for a folder with several depth.mkv, and where `out` is a file that
/// is read; what reading returns.
[[nodiscard]] Result<std::unique_ptr<DepthPictures>> OpenDepthPictures(
    const std::filesystem::path& path, int decode_threads, const std::filesystem::path& out = {});

}  // namespace droidflow

#pragma once

/// Writes the smallest thing that every player takes for a recording.

#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <span>

namespace droidflow {

/// A gray picture that is shown for some frames.
struct StillVideo {
  std::span<const std::uint8_t> gray;  ///< [height_px, width_px], 0 black
  int width_px = 0;                    ///< 1 … 65535
  int height_px = 0;                   ///< 1 … 65535
  std::int32_t frame_count = 1;        ///< at least 1
  double fps = 15;                     ///< 0.001 … 1e6, kept to 0.001
};

/// Writes a QuickTime file of `frame_count` frames that are all the same PNG, stored once: a few kB
/// whatever the length. Generated test data has it in place of recordings.
///
/// Source  QuickTime File Format (sample type "png "); PNG, third edition.
[[nodiscard]] Status WriteStillMp4(const std::filesystem::path& path, const StillVideo& video);

}  // namespace droidflow

#pragma once

/// How large pictures may be. Not installed.

#include <cstdint>

namespace droidflow {

inline constexpr int kMaxSide_px = 8192;
/// Of hostile files, which FFmpeg would take memory for.
inline constexpr std::int64_t kMaxPicture_px = std::int64_t{8192} * 4096;

[[nodiscard]] constexpr bool IsPictureSize(int width_px, int height_px) {
  return width_px > 0 && height_px > 0 && width_px <= kMaxSide_px && height_px <= kMaxSide_px &&
         std::int64_t{width_px} * height_px <= kMaxPicture_px;
}

}  // namespace droidflow

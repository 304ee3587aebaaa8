#pragma once

/// Disparities and depths of one picture in a file: PFM, 16-bit PNG or NumPy's .npy.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"

#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace droidflow {

enum class MapKind {
  kDisparity,  ///< pixels; in a PNG 64ths of a pixel
  kDepth,      ///< metres; in a PNG millimetres
};
/// "disparity" or "depth".
[[nodiscard]] std::string_view ToString(MapKind kind);
[[nodiscard]] std::optional<MapKind> MapKindFromString(std::string_view name);

/// How a file's name ends, in small letters: ".png" of A.PNG.
[[nodiscard]] std::string EndingOf(const std::filesystem::path& path);

/// Refuses to write over what is read, or written, too. @param inputs  may be empty. @return
/// kUsage.
[[nodiscard]] Status CheckNotOver(const std::filesystem::path& out,
                                  std::initializer_list<std::filesystem::path> inputs);

/// Whether a file's name ends as those that WriteMap writes. @return kUsage.
[[nodiscard]] Status CheckMapName(const std::filesystem::path& path);

/// Reads a map; what it is, its content says.
///
/// Unit     pixels or metres.
/// Invalid  NaN: no value. In the file: NaN, infinity, a negative number, and 0 in a PNG and of
///          depth.
/// @return  kNotFound; kInvalidData for other files, 8-bit and colour pictures, arrays that have
///          not two axes.
[[nodiscard]] Result<Image<float>> ReadMap(const std::filesystem::path& path, MapKind kind);

/// Writes a map as its name ends: .pfm (no value: infinity), .npy (float32 [H,W], no value: NaN)
/// or .png (16 bit, no value: 0; rounded, and a value that does not fit is none).
///
/// @param map  NaN: no value.
/// @return     as CheckMapName.
[[nodiscard]] Status WriteMap(const std::filesystem::path& path,
                              ImageView<const float> map,
                              MapKind kind);

}  // namespace droidflow

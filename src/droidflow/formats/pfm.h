#pragma once

/// PFM: pictures of 32-bit floats, as stereo benchmarks have their disparities.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace droidflow {

/// Reads a picture of one channel out of the bytes of a file; its rows become top-down.
///
/// Invalid  what the file has (infinity, by custom) is given as it is.
/// Source   Paul Debevec's portable float map: "Pf", width, height, a scale whose sign is the byte
///          order (negative: little-endian; its amount does not count), then rows bottom-up.
/// @param name  what messages call it.
/// @return      kInvalidData for anything else, more bytes or fewer; three channels ("PF") too.
[[nodiscard]] Result<Image<float>> ParsePfm(std::span<const std::byte> bytes,
                                            std::string_view name);

/// Reads a .pfm file. @return kNotFound too.
[[nodiscard]] Result<Image<float>> ReadPfm(const std::filesystem::path& path);

/// The file of a picture, little-endian.
[[nodiscard]] std::string FormatPfm(ImageView<const float> picture);

}  // namespace droidflow

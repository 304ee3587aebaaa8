#pragma once

/// Single pictures in files: PNG, JPEG and PNM (PBM, PGM, PPM) in, PNG and JPEG out.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace droidflow {

using Gray16View = ImageView<const std::uint16_t>;
using Gray16Image = Image<std::uint16_t>;

/// A picture in the nearest of three forms; the two others are empty.
struct PictureFile {
  std::string_view stored_as;  ///< "8-bit gray", "16-bit gray with alpha", "8-bit colour", …
  GrayImage gray = {};
  Gray16Image gray16 = {};
  RgbImage rgb = {};  ///< of 16-bit colour the upper 8 bits

  [[nodiscard]] int width_px() const;
  [[nodiscard]] int height_px() const;
};

/// Reads a picture; what it is, its first bytes say. Alpha is left out, one bit a pixel becomes 0
/// and 255, palettes become colour. Up to 8192 pixels a side and 8192x4096 in all.
///
/// @return kNotFound; kInvalidData for what is none of these formats, is damaged or is larger;
///         kUnsupported where this machine lacks FFmpeg's libraries.
[[nodiscard]] Result<PictureFile> ReadPicture(const std::filesystem::path& path);

/// The picture as 8-bit gray: of 16 bits the upper 8; of colour (77 R + 150 G + 29 B) / 256,
/// rounded down.
///
/// Source   ITU-R BT.601, weights in 1/256.
[[nodiscard]] GrayImage ToGray8(PictureFile picture);

/// Writes PNG files, whole or not at all. Same limits as ReadPicture.
///
/// @return kUsage for a picture without pixels or a larger one.
[[nodiscard]] Status WriteGrayPng(const std::filesystem::path& path, GrayView picture);
[[nodiscard]] Status WriteGray16Png(const std::filesystem::path& path, Gray16View picture);
[[nodiscard]] Status WriteRgbPng(const std::filesystem::path& path, RgbView picture);

/// A JPEG file in memory, colours as sharp as brightness; the same on every machine.
///
/// @param quantizer  2 (best) … 31 (smallest).
/// @return kUsage for a picture without pixels or a larger one than ReadPicture takes.
[[nodiscard]] Result<std::vector<std::byte>> EncodeJpeg(RgbView picture, int quantizer);

}  // namespace droidflow

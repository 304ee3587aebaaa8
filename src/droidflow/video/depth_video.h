#pragma once

/// Depth as lossless video: FFV1 version 3, gray16le, Matroska. Any FFmpeg reads it.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

namespace droidflow {

/// What every Matroska file starts with.
inline constexpr std::string_view kMatroskaMagic = "\x1a\x45\xdf\xa3";

/// Unit     millimetres. Invalid  0: no measurement.
using DepthView = ImageView<const std::uint16_t>;
using DepthImage = Image<std::uint16_t>;

struct DepthVideoOptions {
  int width_px = 0;
  int height_px = 0;
  double nominal_fps = 15;  ///< of frames without times of their own
  int encode_threads = 1;
};

/// Compresses and writes depth frame by frame, at least one. Up to 8192 pixels a side and 8192x4096
/// in all; pictures of less than 3 pixels a side are FFV1 version 1, which FFmpeg keeps. The file
/// is in place, under its name, only after Close: a reader sees all of it or none.
///
/// Memory   one frame and the encoder's; does not grow with the recording.
/// Source   RFC 9043 (FFV1), RFC 9559 (Matroska).
class DepthVideoWriter {
 public:
  [[nodiscard]] static Result<DepthVideoWriter> Open(const std::filesystem::path& path,
                                                     const DepthVideoOptions& options);
  DepthVideoWriter(DepthVideoWriter&&) noexcept;
  DepthVideoWriter& operator=(DepthVideoWriter&&) noexcept;
  /// Without Close nothing is left behind.
  ~DepthVideoWriter();

  /// @param time_ms  since the first frame, rising; none: by the nominal rate. All frames of a file
  ///                 have one or none has.
  [[nodiscard]] Status Write(DepthView depth_mm,
                             std::optional<std::int64_t> time_ms = std::nullopt);
  [[nodiscard]] Status Close();

 private:
  class Impl;
  explicit DepthVideoWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Reads what DepthVideoWriter wrote, and other Matroska files of FFV1 in 16-bit gray. A frame that
/// fails its checksum is an error.
class DepthVideoReader {
 public:
  /// @return kInvalidData for a file that is no such video, or was cut off: its length is known
  /// from
  ///         its header.
  [[nodiscard]] static Result<DepthVideoReader> Open(const std::filesystem::path& path,
                                                     int decode_threads = 1);
  DepthVideoReader(DepthVideoReader&&) noexcept;
  DepthVideoReader& operator=(DepthVideoReader&&) noexcept;
  ~DepthVideoReader();

  [[nodiscard]] int width_px() const;
  [[nodiscard]] int height_px() const;
  [[nodiscard]] int ffv1_version() const;                         ///< 1: also version 0
  [[nodiscard]] std::optional<std::int64_t> frame_count() const;  ///< by the container

  /// @param depth_mm  valid until the next call. @return false after the last frame.
  [[nodiscard]] Result<bool> Next(DepthView& depth_mm);
  /// Makes Next give frame `index`, the same picture as when all before it are read. At once where
  /// the file's index lists every frame, as that of DepthVideoWriter does; else by reading on.
  ///
  /// @return kUsage for a negative index; past the end is no error, Next says false; as Next.
  [[nodiscard]] Status Seek(std::int64_t index);
  [[nodiscard]] std::int64_t time_ms() const;  ///< of the frame that Next gave last

 private:
  class Impl;
  explicit DepthVideoReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace droidflow

#pragma once

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace droidflow {

enum class VideoCodec {
  kMpeg4,  ///< MPEG-4 part 2, as DROID's own MP4 files
  kH264,
  kHevc,
};

struct VideoOptions {
  VideoCodec codec = VideoCodec::kMpeg4;
  int width_px = 0;   ///< even
  int height_px = 0;  ///< even
  double nominal_fps = 60;
  /// MPEG-4: the quantiser, 1 (best) … 31. H.264 and H.265: 1 … 6, times 8 it is the rate factor.
  int quality = 3;
  int encode_threads = 1;
  /// H.264 and H.265: one intra picture and then none, refreshed by moving columns, as ZED records.
  bool intra_refresh = false;
};

/// Compresses colour pictures, one at a time. The same pictures give the same bytes.
class VideoEncoder {
 public:
  /// A packet as it leaves the encoder: MPEG-4 with its headers in front, H.264 and H.265 as an
  /// Annex B access unit. Frames leave in the order in which they came: no B frames.
  using OnPacket = std::function<Status(std::span<const std::byte> packet, bool is_key)>;

  [[nodiscard]] static Result<VideoEncoder> Open(const VideoOptions& options, OnPacket on_packet);
  VideoEncoder(VideoEncoder&&) noexcept;
  VideoEncoder& operator=(VideoEncoder&&) noexcept;
  ~VideoEncoder();

  [[nodiscard]] Status Write(RgbView frame);
  /// Lets out what the encoder still holds.
  [[nodiscard]] Status Finish();

 private:
  class Impl;
  explicit VideoEncoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Writes an MP4 file that players and browsers play; in place, under its name, only after Close.
class Mp4VideoWriter {
 public:
  [[nodiscard]] static Result<Mp4VideoWriter> Open(const std::filesystem::path& path,
                                                   const VideoOptions& options);
  Mp4VideoWriter(Mp4VideoWriter&&) noexcept;
  Mp4VideoWriter& operator=(Mp4VideoWriter&&) noexcept;
  /// Without Close nothing is left behind.
  ~Mp4VideoWriter();

  [[nodiscard]] Status Write(RgbView frame);
  [[nodiscard]] Status Close();

 private:
  class Impl;
  explicit Mp4VideoWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace droidflow

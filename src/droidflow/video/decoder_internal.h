#pragma once

/// Pictures out of packets, by libavcodec.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"
#include "droidflow/video/ffmpeg_internal.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace droidflow {

/// A decoded picture where the decoder keeps it.
struct Picture {
  std::int64_t key = 0;  ///< of the packet it came from
  GrayView luma;
  // As swscale wants them.
  AVPixelFormat format = AV_PIX_FMT_NONE;
  std::array<const std::uint8_t*, 4> planes{};
  std::array<int, 4> strides{};
  AVColorSpace matrix = AVCOL_SPC_UNSPECIFIED;
  bool full_range = false;
  bool damaged = false;
};

class Decoder {
 public:
  Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  virtual ~Decoder() = default;

  /// An empty packet says that there are no more. @return an error for what cannot be decoded, this
  /// packet or one before; packets behind it may be.
  [[nodiscard]] virtual Status Send(std::span<const std::byte> packet, std::int64_t key) = 0;

  /// @param picture  valid until the next call. @return false: send more first, or there is no
  /// more.
  [[nodiscard]] virtual Result<bool> Receive(Picture& picture) = 0;

  /// How many pictures that are decoded before another one may be shown after it.
  [[nodiscard]] virtual int ReorderDepth() const = 0;
};

struct DecoderOptions {
  AVCodecID codec = AV_CODEC_ID_NONE;
  const AVCodecParameters* parameters = nullptr;  ///< none: the packets say everything
  int threads = 1;
};

/// Decodes whole frames of 8 bits, damaged ones and those before the first key frame too.
[[nodiscard]] Result<std::unique_ptr<Decoder>> OpenDecoder(const Ffmpeg& ffmpeg,
                                                           const DecoderOptions& options);

/// Decodes the frames of an SVO2 recording in JPEG mode (SplitJpegStrips).
[[nodiscard]] Result<std::unique_ptr<Decoder>> OpenStripDecoder(const Ffmpeg& ffmpeg);

}  // namespace droidflow

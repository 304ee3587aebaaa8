#pragma once

#include "droidflow/core/result.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace droidflow {

/// No recording of a ZED has frames that are larger: 2K pairs have 5.5 million pixels. With the
/// 36 pictures that a hostile stream can make a decoder keep, this is 450 MB.
constexpr int kMaxPicturePixels = 1 << 23;
constexpr int kMaxPictureSide_px = 8192;
constexpr std::size_t kMaxPacket_bytes = std::size_t{64} << 20;

/// Refuses what nobody should make room for.
[[nodiscard]] inline Status CheckPictureSize(std::int64_t width_px, std::int64_t height_px) {
  if (width_px > 0 && height_px > 0 && width_px <= kMaxPictureSide_px &&
      height_px <= kMaxPictureSide_px && width_px * height_px <= kMaxPicturePixels) {
    return {};
  }
  return Fail(ErrorKind::kInvalidData,
              "want a picture of at most {} pixels a side and {} in all, have {}x{}",
              kMaxPictureSide_px,
              kMaxPicturePixels,
              width_px,
              height_px);
}

/// Whether a picture holds both eyes, side by side.
[[nodiscard]] constexpr bool IsPair(int width_px, int height_px) {
  return 2 * width_px > 5 * height_px;
}

/// What is stored for one frame.
struct Packet {
  /// Of MP4: when it is shown; of SVO: its place in the file, which is the order of decoding.
  std::int64_t key = 0;
  std::span<const std::byte> bytes;  ///< until the reader's next call
  bool has_picture = true;           ///< false: no frame can come of it, but one had its place here
};

/// The packets of a recording in the order of decoding. One packet for every frame, also for those
/// that cannot be read.
class PacketReader {
 public:
  PacketReader() = default;
  PacketReader(const PacketReader&) = delete;
  PacketReader& operator=(const PacketReader&) = delete;
  virtual ~PacketReader() = default;

  /// @return false after the last one.
  [[nodiscard]] virtual Result<bool> Read(Packet& packet) = 0;

  /// The last frame, at or before `index`, from which on decoding gives the same pictures as from
  /// the first frame on.
  [[nodiscard]] virtual std::int64_t StartFor(std::int64_t index) = 0;

  /// Goes to a frame that StartFor gave.
  [[nodiscard]] virtual Status GoTo(std::int64_t start) = 0;

  [[nodiscard]] virtual std::optional<std::int64_t> TimeOf(std::int64_t index) const = 0;

  [[nodiscard]] virtual std::vector<std::string> Warnings() const = 0;
};

}  // namespace droidflow

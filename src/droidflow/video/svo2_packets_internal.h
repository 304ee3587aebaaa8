#pragma once

/// SVO2 recordings without a decoder: what their messages say and hold.

#include "droidflow/core/result.h"
#include "droidflow/formats/mcap_reader.h"
#include "droidflow/video/packet_reader_internal.h"
#include "droidflow/video/recording_summary.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace droidflow {

enum class Svo2Codec { kH264, kHevc, kJpeg };

/// A JPEG frame's four strips: 40 bytes of header (two u32, four u64 sizes), then the pictures.
[[nodiscard]] Result<std::array<std::span<const std::byte>, 4>> SplitJpegStrips(
    std::span<const std::byte> payload);

/// The frames of the first camera in the file.
class Svo2Packets final : public PacketReader {
 public:
  /// Finds the frames, their codec and what svo_header says.
  [[nodiscard]] static Result<std::unique_ptr<Svo2Packets>> Open(const std::filesystem::path& path);

  [[nodiscard]] const SourceInfo& info() const { return info_; }
  [[nodiscard]] Svo2Codec codec() const { return codec_; }
  /// Of all frames; empty where the file is too damaged to list them.
  [[nodiscard]] const std::vector<std::uint64_t>& listed_times_ns() const {
    return listed_times_ns_;
  }

  Result<bool> Read(Packet& packet) override;
  std::int64_t StartFor(std::int64_t index) override;
  Status GoTo(std::int64_t start) override;
  std::optional<std::int64_t> TimeOf(std::int64_t index) const override;
  std::vector<std::string> Warnings() const override;

 private:
  Svo2Packets(std::filesystem::path path, McapReader reader)
      : path_(std::move(path)), reader_(std::move(reader)) {}

  Status SelectCamera();
  Status FindCodec();
  void Describe();

  std::filesystem::path path_;
  McapReader reader_;
  SourceInfo info_;
  Svo2Codec codec_ = Svo2Codec::kHevc;
  /// As the first frame with parameter sets says; 0: it does not.
  int pair_width_px_ = 0;
  int pair_height_px_ = 0;
  std::vector<std::uint64_t> listed_times_ns_;
  std::vector<std::uint64_t> times_ns_;  ///< of the frames read so far
  std::int64_t number_ = 0;              ///< of the next frame
  std::vector<std::string> problems_;
  std::optional<std::string> bad_frame_;  ///< the first one
};

}  // namespace droidflow

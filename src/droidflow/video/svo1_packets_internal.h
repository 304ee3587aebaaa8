#pragma once

/// SVO recordings of the first format, without a decoder.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"
#include "droidflow/formats/annexb.h"
#include "droidflow/video/frame_source.h"
#include "droidflow/video/packet_reader_internal.h"

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

/// Finds the pictures in a file whose format nobody has published: units of H.265 or H.264 behind
/// start codes, and between them records of the recorder's own, which may look like units.
///
/// A coded unit never holds a start code, so one may be cut at each. A unit is taken when it is a
/// group of parameter sets that says the picture size of the file's header, or a coded slice behind
/// such a group that is too large to be one of the recorder's records.
///
/// Memory   a block of the file and one frame.
class Svo1Packets final : public PacketReader {
 public:
  /// Reads the whole file once to count its frames.
  [[nodiscard]] static Result<std::unique_ptr<Svo1Packets>> Open(const std::filesystem::path& path);

  /// What the file's first bytes say, which leaves codec and frame count open.
  [[nodiscard]] static Result<SourceInfo> ReadInfo(const std::filesystem::path& path);

  [[nodiscard]] const SourceInfo& info() const { return info_; }
  [[nodiscard]] NalCodec codec() const { return *codec_; }

  Result<bool> Read(Packet& packet) override;
  std::int64_t StartFor(std::int64_t index) override;
  Status GoTo(std::int64_t start) override;
  std::optional<std::int64_t> TimeOf(std::int64_t index) const override;
  std::vector<std::string> Warnings() const override;

 private:
  using Bytes = std::span<const std::byte>;

  explicit Svo1Packets(std::filesystem::path path) : path_(std::move(path)) {}

  Status ReadHeader();
  void Rewind();
  /// @return what stands behind a start code, as far as it can be one unit, until the next call;
  /// nothing at the end of the file.
  Result<std::optional<Bytes>> NextUnit();
  /// Reads a block on. @return false at the end of the file.
  Result<bool> Fill();
  bool TakeParameterSet(Bytes unit);
  [[nodiscard]] bool SaysSize(NalCodec codec, Bytes unit) const;
  [[nodiscard]] bool IsSlice(Bytes unit) const;
  [[nodiscard]] bool IsPrefix(Bytes unit) const;

  std::filesystem::path path_;
  UniqueFd fd_;
  SourceInfo info_;
  std::optional<NalCodec> codec_;  ///< once there is a whole group of parameter sets

  std::vector<std::byte> buffer_;    ///< a part of the file
  std::uint64_t end_byte_ = 0;       ///< in the file, of buffer_
  std::size_t scan_ = 0;             ///< in buffer_: start codes are looked for from here on
  std::optional<std::size_t> unit_;  ///< in buffer_: where the unit begins that NextUnit gives next

  std::vector<std::byte> video_parameter_set_;  ///< empty: the unit before was none
  std::vector<std::byte> group_;                ///< parameter sets behind each other; empty: none
  NalCodec group_codec_ = NalCodec::kHevc;
  std::vector<std::byte> parameter_sets_;  ///< to go in front of the next picture
  bool follows_prefix_ = false;            ///< the unit before is one that only a slice follows
  std::vector<std::byte> gathered_;        ///< the picture that is being found
  std::vector<std::byte> picture_;         ///< the one that Read gave
  std::int64_t number_ = 0;                ///< of the next frame
};

}  // namespace droidflow

#include "droidflow/formats/annexb.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace droidflow {
namespace {

using Bytes = std::span<const std::byte>;

constexpr int kH264SliceLast = 5;  // Slices, partitions B and C among them, are types 1 to 5.
constexpr int kH264Sps = 7;
constexpr int kHevcSliceLast = 21;
constexpr int kHevcVps = 32;
constexpr int kHevcSps = 33;
constexpr int kHevcPps = 34;
// The widest or highest picture of level 6.2: sqrt(8 * 35 651 584) luma samples (H.265 A.4.1; the
// same in macroblocks in H.264 A.3.1).
constexpr std::uint64_t kMaxSide_px = 16888;

/// Bits of a parameter set from the highest of a byte on. Past the end, and after a number that
/// cannot be, it gives zeros and ok() is false.
class BitReader {
 public:
  /// @param unit  without its header; emulation prevention bytes are left out (H.264 7.4.1).
  explicit BitReader(Bytes unit) {
    bytes_.reserve(unit.size());
    int zeros = 0;
    for (const std::byte byte : unit) {
      if (zeros >= 2 && byte == std::byte{3}) {
        zeros = 0;
        continue;
      }
      zeros = byte == std::byte{0} ? zeros + 1 : 0;
      bytes_.push_back(byte);
    }
  }

  [[nodiscard]] bool ok() const { return ok_; }

  std::uint32_t Bits(int count) {
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i) value = value << 1 | Bit();
    return value;
  }
  bool Flag() { return Bit() != 0; }
  void Skip(int count) {
    for (int i = 0; i < count; ++i) Bit();
  }

  /// Exponential Golomb code, ue(v) of H.264 9.1.
  std::uint32_t Unsigned() {
    int zeros = 0;
    while (ok_ && Bit() == 0) {
      // 32 bits hold the codes with up to 31 zeros.
      if (++zeros > 31) ok_ = false;
    }
    if (!ok_) return 0;
    return (std::uint32_t{1} << zeros) - 1 + Bits(zeros);
  }

  /// se(v) of H.264 9.1.1.
  std::int64_t Signed() {
    const std::int64_t code = Unsigned();
    return code % 2 == 1 ? (code + 1) / 2 : -(code / 2);
  }

  /// A ue(v) that may be at most `max`.
  std::uint32_t UnsignedUpTo(std::uint32_t max) {
    const std::uint32_t value = Unsigned();
    if (value > max) ok_ = false;
    return ok_ ? value : 0;
  }

 private:
  std::uint32_t Bit() {
    if (position_ >= bytes_.size() * 8) ok_ = false;
    if (!ok_) return 0;
    const auto byte = static_cast<std::uint32_t>(bytes_[position_ / 8]);
    return byte >> (7 - position_++ % 8) & 1U;
  }

  std::vector<std::byte> bytes_;
  std::size_t position_ = 0;
  bool ok_ = true;
};

/// What is cut off each side, in units that depend on the chroma.
struct Cropping {
  std::uint64_t left = 0;
  std::uint64_t right = 0;
  std::uint64_t top = 0;
  std::uint64_t bottom = 0;
};

Cropping ReadCropping(BitReader& bits) {
  // In this order in both codecs.
  Cropping crop;
  crop.left = bits.Unsigned();
  crop.right = bits.Unsigned();
  crop.top = bits.Unsigned();
  crop.bottom = bits.Unsigned();
  return crop;
}

Result<SequenceInfo> Cropped(const BitReader& bits,
                             std::uint64_t width_px,
                             std::uint64_t height_px,
                             const Cropping& crop,
                             std::uint64_t unit_x_px,
                             std::uint64_t unit_y_px) {
  if (!bits.ok()) {
    return Fail(ErrorKind::kInvalidData, "a sequence parameter set that ends early or is damaged");
  }
  const std::uint64_t crop_x_px = (crop.left + crop.right) * unit_x_px;
  const std::uint64_t crop_y_px = (crop.top + crop.bottom) * unit_y_px;
  if (width_px > kMaxSide_px || height_px > kMaxSide_px || crop_x_px >= width_px ||
      crop_y_px >= height_px) {
    return Fail(ErrorKind::kInvalidData,
                "a sequence parameter set with pictures of {} x {} pixels of which {} x {} are cut "
                "off",
                width_px,
                height_px,
                crop_x_px,
                crop_y_px);
  }
  return SequenceInfo{.width_px = static_cast<int>(width_px - crop_x_px),
                      .height_px = static_cast<int>(height_px - crop_y_px)};
}

/// 7.3.2.1.1.1: its values are not needed, only where it ends.
void SkipScalingList(BitReader& bits, int size) {
  std::int64_t last = 8;
  std::int64_t next = 8;
  for (int i = 0; i < size && bits.ok(); ++i) {
    if (next != 0) next = ((last + bits.Signed()) % 256 + 256) % 256;
    if (next != 0) last = next;
  }
}

Result<SequenceInfo> ParseH264(Bytes unit) {
  // The profiles whose sets say what their chroma is (7.3.2.1.1).
  constexpr std::array<std::uint32_t, 13> kHighProfiles{
      100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135};

  BitReader bits(unit.subspan(1));
  const std::uint32_t profile = bits.Bits(8);
  bits.Skip(16);          // Constraints, level.
  bits.UnsignedUpTo(31);  // The set's id.
  std::uint32_t chroma_format = 1;
  bool has_separate_planes = false;
  if (std::ranges::find(kHighProfiles, profile) != kHighProfiles.end()) {
    chroma_format = bits.UnsignedUpTo(3);
    if (chroma_format == 3) has_separate_planes = bits.Flag();
    bits.UnsignedUpTo(6);  // Bit depths of luma and chroma.
    bits.UnsignedUpTo(6);
    bits.Skip(1);  // Lossless bypass.
    if (bits.Flag()) {
      const int num_lists = chroma_format == 3 ? 12 : 8;
      for (int i = 0; i < num_lists; ++i) {
        if (bits.Flag()) SkipScalingList(bits, i < 6 ? 16 : 64);
      }
    }
  }
  bits.UnsignedUpTo(12);  // Bits of the frame number.
  const std::uint32_t order_type = bits.UnsignedUpTo(2);
  if (order_type == 0) {
    bits.UnsignedUpTo(12);
  } else if (order_type == 1) {
    bits.Skip(1);
    bits.Signed();
    bits.Signed();
    const std::uint32_t num_offsets = bits.UnsignedUpTo(255);
    for (std::uint32_t i = 0; i < num_offsets; ++i) bits.Signed();
  }
  bits.UnsignedUpTo(16);  // Reference frames.
  bits.Skip(1);           // Gaps in the frame numbers.
  const std::uint64_t width_mb = std::uint64_t{bits.Unsigned()} + 1;
  const std::uint64_t height_units = std::uint64_t{bits.Unsigned()} + 1;
  const bool has_frames_only = bits.Flag();
  if (!has_frames_only) bits.Skip(1);  // Fields or frames by macroblock.
  bits.Skip(1);                        // Direct inference.
  const Cropping crop = bits.Flag() ? ReadCropping(bits) : Cropping{};

  const std::uint64_t rows_per_unit = has_frames_only ? 1 : 2;
  // Equations 7-19 to 7-22; planes of their own are cropped as monochrome.
  const bool has_half_width = !has_separate_planes && (chroma_format == 1 || chroma_format == 2);
  const bool has_half_height = !has_separate_planes && chroma_format == 1;
  return Cropped(bits,
                 width_mb * 16,
                 height_units * 16 * rows_per_unit,
                 crop,
                 has_half_width ? 2 : 1,
                 (has_half_height ? 2 : 1) * rows_per_unit);
}

Result<SequenceInfo> ParseHevc(Bytes unit) {
  constexpr int kProfile_bits = 88;
  constexpr int kLevel_bits = 8;

  BitReader bits(unit.subspan(2));
  bits.Skip(4);  // The video parameter set's id.
  const auto num_sub_layers = static_cast<int>(bits.Bits(3));
  bits.Skip(1);  // Temporal nesting.
  bits.Skip(kProfile_bits + kLevel_bits);
  // 7.3.3: which sub-layers say their profile and level, padded to eight layers when there are any.
  std::array<bool, 8> has_profile{};
  std::array<bool, 8> has_level{};
  for (int i = 0; i < num_sub_layers; ++i) {
    has_profile[i] = bits.Flag();
    has_level[i] = bits.Flag();
  }
  if (num_sub_layers > 0) bits.Skip(2 * (8 - num_sub_layers));
  for (int i = 0; i < num_sub_layers; ++i) {
    if (has_profile[i]) bits.Skip(kProfile_bits);
    if (has_level[i]) bits.Skip(kLevel_bits);
  }
  bits.UnsignedUpTo(15);  // The set's id.
  const std::uint32_t chroma_format = bits.UnsignedUpTo(3);
  if (chroma_format == 3) bits.Skip(1);  // Planes of their own.
  const std::uint64_t width_px = bits.Unsigned();
  const std::uint64_t height_px = bits.Unsigned();
  const Cropping crop = bits.Flag() ? ReadCropping(bits) : Cropping{};
  return Cropped(bits,
                 width_px,
                 height_px,
                 crop,
                 chroma_format == 1 || chroma_format == 2 ? 2 : 1,
                 chroma_format == 1 ? 2 : 1);
}

}  // namespace

std::vector<NalUnit> FindNalUnits(Bytes stream) {
  std::vector<NalUnit> units;
  // Closes the last unit in front of byte `end`, and drops it when there is nothing in it.
  const auto close_last = [&](std::size_t end) {
    if (units.empty()) return;
    NalUnit& last = units.back();
    while (end > last.begin && stream[end - 1] == std::byte{0}) --end;
    last.end = end;
    if (last.begin == last.end) units.pop_back();
  };
  for (std::size_t at = 2; at < stream.size(); ++at) {
    const void* const found = std::memchr(stream.data() + at, 1, stream.size() - at);
    if (found == nullptr) break;
    at = static_cast<std::size_t>(static_cast<const std::byte*>(found) - stream.data());
    if (stream[at - 1] != std::byte{0} || stream[at - 2] != std::byte{0}) continue;
    const bool is_long = at >= 3 && stream[at - 3] == std::byte{0};
    const std::size_t start_code = at - (is_long ? 3 : 2);
    close_last(start_code);
    units.push_back({.start_code = start_code, .begin = at + 1, .end = at + 1});
  }
  close_last(stream.size());
  return units;
}

int NalType(NalCodec codec, std::byte first) {
  const int header = std::to_integer<int>(first);
  return codec == NalCodec::kH264 ? header & 0x1F : header >> 1 & 0x3F;
}

bool IsPlausibleNalHeader(NalCodec codec, Bytes unit) {
  if (unit.empty() || (unit[0] & std::byte{0x80}) != std::byte{0}) return false;
  const int type = NalType(codec, unit[0]);
  if (codec == NalCodec::kH264) {
    // Table 7-1: 17, 18 and from 22 on are reserved, 0 and from 24 on unspecified.
    return (type >= 1 && type <= 16) || (type >= 19 && type <= 21);
  }
  if (unit.size() < 2) return false;
  const int layer = (std::to_integer<int>(unit[0]) & 1) << 5 | std::to_integer<int>(unit[1]) >> 3;
  const int temporal_id_plus1 = std::to_integer<int>(unit[1]) & 7;
  // Table 7-1: 10 to 15, 22 to 31 and 41 to 47 are reserved, from 48 on unspecified.
  return layer == 0 && temporal_id_plus1 >= 1 &&
         (type <= 9 || (type >= 16 && type <= 21) || (type >= 32 && type <= 40));
}

std::optional<NalCodec> DetectNalCodec(Bytes stream) {
  for (const NalUnit& place : FindNalUnits(stream)) {
    const Bytes unit = stream.subspan(place.begin, place.end - place.begin);
    // No header can be both: where H.264 says 7, H.265 says that the layer is above 31.
    if (IsPlausibleNalHeader(NalCodec::kHevc, unit)) {
      const int type = NalType(NalCodec::kHevc, unit[0]);
      if (type >= kHevcVps && type <= kHevcPps) return NalCodec::kHevc;
    }
    if (IsPlausibleNalHeader(NalCodec::kH264, unit) &&
        NalType(NalCodec::kH264, unit[0]) == kH264Sps) {
      return NalCodec::kH264;
    }
  }
  return std::nullopt;
}

Result<SequenceInfo> ParseSequenceParameterSet(NalCodec codec, Bytes unit) {
  const int sps_type = codec == NalCodec::kH264 ? kH264Sps : kHevcSps;
  if (!IsPlausibleNalHeader(codec, unit) || NalType(codec, unit[0]) != sps_type) {
    return Fail(ErrorKind::kInvalidData,
                "want a sequence parameter set, unit type {}, have {} bytes of {}",
                sps_type,
                unit.size(),
                unit.empty() ? "nothing" : fmt::format("type {}", NalType(codec, unit[0])));
  }
  return codec == NalCodec::kH264 ? ParseH264(unit) : ParseHevc(unit);
}

bool IsFirstSliceOfPicture(NalCodec codec, Bytes unit) {
  if (!IsPlausibleNalHeader(codec, unit)) return false;
  const int type = NalType(codec, unit[0]);
  const std::size_t header_size = codec == NalCodec::kH264 ? 1 : 2;
  const bool is_slice = codec == NalCodec::kH264 ? type == 1 || type == 2 || type == kH264SliceLast
                                                 : type <= kHevcSliceLast;
  // H.264: ue(v) 0 is a single one. No emulation prevention byte can stand here.
  return is_slice && unit.size() > header_size &&
         (unit[header_size] & std::byte{0x80}) != std::byte{0};
}

}  // namespace droidflow

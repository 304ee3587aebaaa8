#pragma once

/// H.264 and H.265 as a stream of bytes: where its units are, and what its parameter sets say.

#include "droidflow/core/result.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace droidflow {

enum class NalCodec { kH264, kHevc };

/// One network abstraction layer unit of a byte stream.
struct NalUnit {
  std::size_t start_code = 0;  ///< offset of the 00 00 01 or 00 00 00 01 before it
  std::size_t begin = 0;       ///< offset of its header
  std::size_t end = 0;         ///< one past its last byte, trailing zeros left out
};

/// Finds the units between start codes; there are no empty ones.
/// Source   ITU-T H.264 and H.265, annex B.
[[nodiscard]] std::vector<NalUnit> FindNalUnits(std::span<const std::byte> stream);

/// H.264: 0 … 31; H.265: 0 … 63.
[[nodiscard]] int NalType(NalCodec codec, std::byte first);

/// Whether the header can be one of the codec's: forbidden bit zero, type in use, and for H.265
/// layer 0 and a temporal id of at least 1.
[[nodiscard]] bool IsPlausibleNalHeader(NalCodec codec, std::span<const std::byte> unit);

/// Tells the codec from the first unit that is a parameter set, skipping access unit delimiters and
/// SEI; nothing where there is none.
[[nodiscard]] std::optional<NalCodec> DetectNalCodec(std::span<const std::byte> stream);

/// What a sequence parameter set says.
struct SequenceInfo {
  int width_px = 0;   ///< after cropping
  int height_px = 0;  ///< after cropping
};

/// Reads a sequence parameter set, header included, emulation prevention bytes and all.
/// Source   ITU-T H.264 7.3.2.1, H.265 7.3.2.2.
/// @return kInvalidData when it ends too early or says what cannot be.
[[nodiscard]] Result<SequenceInfo> ParseSequenceParameterSet(NalCodec codec,
                                                             std::span<const std::byte> unit);

/// Whether a coded slice unit is the first one of its picture (H.264: first_mb_in_slice = 0,
/// H.265: first_slice_segment_in_pic_flag); false for units that are no slices.
[[nodiscard]] bool IsFirstSliceOfPicture(NalCodec codec, std::span<const std::byte> unit);

}  // namespace droidflow

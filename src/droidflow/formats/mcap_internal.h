#pragma once

/// Names that the writer and the reader of MCAP files share. Not installed.
///
/// Source  MCAP specification, mcap.dev/spec.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace droidflow::mcap {

inline constexpr std::string_view kMagic{"\x89MCAP0\r\n", 8};

enum Opcode : std::uint8_t {
  kHeader = 0x01,
  kFooter = 0x02,
  kSchema = 0x03,
  kChannel = 0x04,
  kMessage = 0x05,
  kChunk = 0x06,
  kMessageIndex = 0x07,
  kChunkIndex = 0x08,
  kStatistics = 0x0B,
  kSummaryOffset = 0x0E,
  kDataEnd = 0x0F,
};

inline constexpr std::size_t kRecordHeader_bytes = 9;    ///< opcode and length
inline constexpr std::size_t kMessageHeader_bytes = 22;  ///< of a message, all but its data
inline constexpr std::size_t kFooter_bytes = 20;

/// The largest content of a record that is held in memory at once.
inline constexpr std::size_t kMaxRecord_bytes = 256'000'000;

}  // namespace droidflow::mcap

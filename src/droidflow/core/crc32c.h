#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace droidflow {

/// CRC-32C (Castagnoli) of bytes that come piece by piece: 0 before the first, then the value so
/// far.
///
/// Source   RFC 3720, appendix B.4; eight tables as of Kounavis and Berry, 2005.
[[nodiscard]] std::uint32_t AddToCrc32c(std::uint32_t crc, std::span<const std::byte> bytes);

}  // namespace droidflow

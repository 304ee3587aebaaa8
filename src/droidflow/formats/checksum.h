#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace droidflow {

/// CRC-32 as ZIP and PNG have it. @param before  of the bytes in front of these; 0: there are none.
[[nodiscard]] std::uint32_t Crc32(std::span<const std::byte> bytes, std::uint32_t before = 0);

}  // namespace droidflow

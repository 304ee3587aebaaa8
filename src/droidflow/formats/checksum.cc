#include "droidflow/formats/checksum.h"

#include <libdeflate.h>

namespace droidflow {

std::uint32_t Crc32(std::span<const std::byte> bytes, std::uint32_t before) {
  return libdeflate_crc32(before, bytes.data(), bytes.size());
}

}  // namespace droidflow

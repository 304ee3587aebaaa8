#pragma once

/// Bytes as text.

#include <cstddef>
#include <span>
#include <string>

namespace droidflow {

/// Source  RFC 4648, section 4: with padding.
[[nodiscard]] std::string Base64(std::span<const std::byte> bytes);

}  // namespace droidflow

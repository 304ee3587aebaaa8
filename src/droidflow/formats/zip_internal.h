#pragma once

/// Names that the writer and the reader of .npz archives share.
///
/// Source  PKWARE APPNOTE.TXT 6.3.9, sections 4.3.7 (local header) to 4.3.16 and 4.5.3 (ZIP64).

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace droidflow::zip {

inline constexpr std::uint32_t kLocalHeader = 0x04034b50;
inline constexpr std::uint32_t kCentralHeader = 0x02014b50;
inline constexpr std::uint32_t kEnd64 = 0x06064b50;
inline constexpr std::uint32_t kEnd64Locator = 0x07064b50;
inline constexpr std::uint32_t kEnd = 0x06054b50;

inline constexpr std::size_t kLocalHeader_bytes = 30;
inline constexpr std::size_t kCentralHeader_bytes = 46;
inline constexpr std::size_t kEnd64_bytes = 56;
inline constexpr std::size_t kEnd64Locator_bytes = 20;
inline constexpr std::size_t kEnd_bytes = 22;

inline constexpr std::uint16_t kExtraZip64 = 0x0001;
inline constexpr std::uint16_t kExtraAlignment = 0xD935;  // As written by Android's zipalign.

inline constexpr std::uint16_t kStored = 0;
inline constexpr std::uint16_t kDeflated = 8;
inline constexpr std::uint16_t kFlagEncrypted = 0x0001;
inline constexpr std::uint16_t kFlagUtf8 = 0x0800;

/// In a 32-bit (16-bit) field: the value stands in the ZIP64 record.
inline constexpr std::uint32_t kSeeZip64 = 0xFFFFFFFF;
inline constexpr std::uint16_t kSeeZip64Count = 0xFFFF;

inline constexpr std::string_view kNpySuffix = ".npy";

}  // namespace droidflow::zip

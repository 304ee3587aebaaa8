#pragma once

/// Binary records, built and read field by field. Not installed.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace droidflow {

/// @tparam kOrder  of the bytes of a number: ZIP has the little end first, MP4 and PNG the big one.
template <std::endian kOrder>
class Record {
 public:
  Record& U8(std::uint64_t value) { return Add(value, 1); }
  Record& U16(std::uint64_t value) { return Add(value, 2); }
  Record& U32(std::uint64_t value) { return Add(value, 4); }
  Record& U64(std::uint64_t value) { return Add(value, 8); }
  Record& Text(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  Record& Zeros(std::size_t count) {
    bytes_.append(count, '\0');
    return *this;
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }

 private:
  Record& Add(std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i) {
      const int byte = kOrder == std::endian::little ? i : size - 1 - i;
      bytes_ += static_cast<char>(value >> (8 * byte));
    }
    return *this;
  }

  std::string bytes_;
};

/// The number of type T at an offset, the little end first. The bytes must be there.
template <typename T>
[[nodiscard]] T Load(std::span<const std::byte> bytes, std::size_t offset) {
  static_assert(std::endian::native == std::endian::little);
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

using LittleEndianRecord = Record<std::endian::little>;
using BigEndianRecord = Record<std::endian::big>;

}  // namespace droidflow

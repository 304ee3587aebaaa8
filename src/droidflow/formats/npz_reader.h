#pragma once

/// Reads .npz archives: ours and NumPy's.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"
#include "droidflow/formats/npy.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace droidflow {

/// An open .npz archive, mapped into memory.
///
/// Stored and deflated members, ZIP64 included. What the directory says is checked against the file
/// before it is used; a member's CRC-32 is checked each time it is read. A file that is cut short
/// by somebody else while it is open is not survived (SIGBUS).
///
/// Thread  any number of readers.
class NpzReader {
 public:
  [[nodiscard]] static Result<NpzReader> Open(const std::filesystem::path& path);
  /// An open file. @param name  what messages call it.
  [[nodiscard]] static Result<NpzReader> Open(const UniqueFd& fd, std::string name);

  /// Names of the arrays, without ".npy", in the order of the directory.
  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }
  [[nodiscard]] bool Contains(std::string_view name) const;
  /// Whether a member is deflated.
  [[nodiscard]] bool HasDeflated() const;
  [[nodiscard]] const std::string& path() const { return path_; }

  /// The bytes of one array as an .npy file has them, whatever is in them.
  struct Bytes {
    std::span<const std::byte> bytes;
    std::shared_ptr<const void> owner;
  };
  /// @return as Read().
  [[nodiscard]] Result<Bytes> Content(std::string_view name) const;

  /// One array.
  ///
  /// Memory  a stored member whose data is aligned (ours always is) is not copied: the array views
  /// the
  ///         file, which stays mapped as long as the array lives.
  /// @return kNotFound when there is no such array, kInvalidData when its bytes are not what they
  /// should be.
  [[nodiscard]] Result<NpyArray> Read(std::string_view name) const;

 private:
  struct Member {
    std::uint64_t header_offset = 0;
    std::uint64_t stored_bytes = 0;
    std::uint64_t size_bytes = 0;
    std::uint32_t crc32 = 0;
    std::uint16_t method = 0;
    std::uint64_t directory_offset = 0;  ///< of its own record, for messages
  };

  NpzReader() = default;
  Status ReadDirectory();
  Result<std::span<const std::byte>> StoredBytes(const Member& member) const;

  std::string path_;
  std::shared_ptr<const void> mapping_;
  std::span<const std::byte> bytes_;
  std::uint64_t directory_begin_ = 0;
  std::vector<std::string> names_;
  std::unordered_map<std::string, Member> members_;  ///< by name
};

}  // namespace droidflow

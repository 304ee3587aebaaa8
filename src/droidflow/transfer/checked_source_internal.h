#pragma once

#include "droidflow/core/files.h"
#include "droidflow/core/sha256.h"
#include "droidflow/transfer/store.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace droidflow {

/// Reads a local file from its start and proves meanwhile that it is what was hashed.
///
/// Errors  kChanged: it is gone, shorter, longer or other. The last piece is handed over only when
///         all of it was right, so that nobody takes a changed file for a whole one.
class CheckedSource {
 public:
  [[nodiscard]] static Result<CheckedSource> Open(const OutgoingFile& file);

  /// Fills the buffer; less than all of it only at the end, and then 0.
  [[nodiscard]] Result<std::size_t> Read(std::span<std::byte> buffer);

 private:
  explicit CheckedSource(const OutgoingFile& file) : file_(file) {}

  OutgoingFile file_;
  UniqueFd fd_;
  Sha256 hash_;
  std::uint64_t position_bytes_ = 0;
};

/// Reads all of it.
[[nodiscard]] Status CheckSource(const OutgoingFile& file);

/// Opens a local file of that size.
[[nodiscard]] Result<UniqueFd> OpenSource(const OutgoingFile& file);

/// Fills the buffer from a place in a file; less than all of it only at its end.
[[nodiscard]] Result<std::size_t> ReadAt(int fd,
                                         std::uint64_t offset,
                                         std::span<std::byte> buffer,
                                         const std::filesystem::path& path);

[[nodiscard]] tl::unexpected<Error> FailChanged(const OutgoingFile& file, std::string_view what);

}  // namespace droidflow

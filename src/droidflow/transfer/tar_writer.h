#pragma once

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace droidflow {

/// An archive of files, written one after the other. The same members give the same bytes: they are
/// owned by nobody and were made in 1970.
///
/// Source   POSIX.1-2001, pax: ustar headers, and extended ones before names over 100 bytes and
///          members over 8 GiB.
class TarWriter {
 public:
  /// The file is seen when Finish has returned; until then, and without it, there is none.
  [[nodiscard]] static Result<TarWriter> Create(const std::filesystem::path& path);

  /// Starts a member. @return the offset of its first byte in the archive.
  [[nodiscard]] Result<std::uint64_t> Begin(const std::string& name, std::uint64_t size_bytes);
  /// Adds to the member; in all as much as Begin was told.
  [[nodiscard]] Status Write(std::span<const std::byte> bytes);
  [[nodiscard]] Status End();

  /// Where the next member starts.
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }
  /// Takes back what was written from there on, a part of a member included.
  [[nodiscard]] Status Truncate(std::uint64_t size_bytes);

  [[nodiscard]] Status Finish();

 private:
  explicit TarWriter(AtomicFile file) : file_(std::move(file)) {}
  [[nodiscard]] Status AddHeader(const std::string& name, std::uint64_t size_bytes, char type);
  [[nodiscard]] Status Pad();

  AtomicFile file_;
  std::uint64_t size_bytes_ = 0;
  std::uint64_t missing_bytes_ = 0;  ///< of the member
};

}  // namespace droidflow

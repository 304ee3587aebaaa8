#pragma once

/// Files as droidflow writes and reads them: whole, and never half visible to others.

#include "droidflow/core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// A file descriptor that closes itself. Move only.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd();

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  int Release();
  void Close();

 private:
  int fd_ = -1;
};

/// Turns errno into an Error: ENOENT and ENOTDIR -> kNotFound, ENOSPC and EDQUOT -> kNoSpace
/// (status "no_space"), EAGAIN, EIO, ESTALE and ENOMEM -> kTransient, everything else -> kInternal.
///
/// @param action  what was tried, with the path last: "cannot open /data/x".
[[nodiscard]] tl::unexpected<Error> FailErrno(int error_number, std::string_view action);

/// Reads a whole file into memory. @return kNotFound when there is none.
[[nodiscard]] Result<std::vector<std::byte>> ReadFileBytes(const std::filesystem::path& path);
[[nodiscard]] Result<std::string> ReadFileText(const std::filesystem::path& path);

/// Writes all bytes or says why not.
[[nodiscard]] Status WriteAll(int fd, std::span<const std::byte> bytes, std::string_view path);

/// Writes a file that others see whole or not at all: temporary name in the same folder, fsync,
/// rename over `path`, fsync of the folder. Parent folders are made. The temporary is removed on
/// failure.
[[nodiscard]] Status WriteFileAtomically(const std::filesystem::path& path, std::string_view text);

/// Writes a file, and its parents, in a folder that nobody else looks at yet: in place and not
/// flushed.
[[nodiscard]] Status WriteFile(const std::filesystem::path& path, std::string_view text);

/// Makes a folder and its parents.
[[nodiscard]] Status MakeDirectories(const std::filesystem::path& path);

/// Flushes every file and folder below `directory`, and itself, to the disk.
[[nodiscard]] Status SyncTree(const std::filesystem::path& directory);

/// Copies every regular file and folder below `from` to `to` (made new).
[[nodiscard]] Status CopyTree(const std::filesystem::path& from, const std::filesystem::path& to);

/// Removes a tree; no error when it is not there.
[[nodiscard]] Status RemoveTree(const std::filesystem::path& path);

/// Puts a finished folder in its place in one step, so that a reader sees the old result or the new
/// one and never a mixture.
///
/// `ready` and `final_path` must be on one file system. An older folder at `final_path` is
/// exchanged (RENAME_EXCHANGE; where the file system lacks it: old one renamed to `{ready}.old`,
/// then the new one renamed in) and then removed. Parents of `final_path` are made and synced.
[[nodiscard]] Status PlaceDirectory(const std::filesystem::path& ready,
                                    const std::filesystem::path& final_path);

/// What a file looked like when it was finished.
struct FileStamp {
  std::string name;  ///< relative to the folder it was listed from, '/' between parts
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;

  bool operator==(const FileStamp&) const = default;
};

/// Every regular file below `directory`, sorted by name.
[[nodiscard]] Result<std::vector<FileStamp>> ListFiles(const std::filesystem::path& directory);

/// Whether every file of `stamps` is below `directory` with its size and time of last change.
[[nodiscard]] bool FilesUnchanged(const std::filesystem::path& directory,
                                  std::span<const FileStamp> stamps);

/// Free bytes for this user on the file system that holds `path` (or its nearest existing parent).
[[nodiscard]] Result<std::uint64_t> FreeBytes(const std::filesystem::path& path);

}  // namespace droidflow

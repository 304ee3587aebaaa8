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

/// A file that is written piece by piece and that others see whole or not at all.
///
/// It is written under a temporary name in the folder of `path`, whose parents are made. Commit
/// flushes it to the disk and puts it in its place; without Commit nothing is left behind.
class AtomicFile {
 public:
  [[nodiscard]] static Result<AtomicFile> Create(const std::filesystem::path& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  ~AtomicFile();

  /// Adds bytes at the end.
  [[nodiscard]] Status Write(std::span<const std::byte> bytes);

  /// fsync, rename over path(), fsync of the folder. Nothing may follow.
  [[nodiscard]] Status Commit();

  /// The name that the file gets.
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// The name that it has until then, for libraries that want to open it themselves.
  [[nodiscard]] const std::filesystem::path& temporary() const { return temporary_; }
  /// For writing at other places than the end.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  AtomicFile() = default;
  void Discard();

  std::filesystem::path path_;
  std::filesystem::path temporary_;  ///< empty: there is none
  UniqueFd fd_;
};

/// Flushes a finished file to the disk and gives it its name, in the same file system, for good.
[[nodiscard]] Status PlaceFile(int fd,
                               const std::filesystem::path& ready,
                               const std::filesystem::path& final_path);

/// Removes what processes of this machine that have died left of an AtomicFile at `path`; what
/// cannot be removed stays.
void RemoveAbandoned(const std::filesystem::path& path);

/// Writes a whole AtomicFile in one call.
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

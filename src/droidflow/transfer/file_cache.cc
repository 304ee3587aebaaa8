#include "droidflow/transfer/file_cache.h"

#include "droidflow/core/files.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

// Under it a copy grows; a dot keeps it out of listings.
constexpr char kCopyBegin[] = ".copy-";

/// Gives a file a second name; where file systems do not, a copy.
bool LinkOrCopy(const fs::path& from, const fs::path& to) {
  if (link(from.c_str(), to.c_str()) == 0) return true;
  if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != ENOTSUP) return false;
  const fs::path copy =
      to.parent_path() / fmt::format("{}{}-{}", kCopyBegin, getpid(), to.filename().string());
  std::error_code error;
  fs::copy_file(from, copy, fs::copy_options::overwrite_existing, error);
  if (!error) fs::rename(copy, to, error);
  if (error) fs::remove(copy, error);
  return fs::exists(to, error);
}

}  // namespace

FileCache::FileCache(fs::path folder, std::optional<std::uint64_t> limit_bytes)
    : folder_(std::move(folder)), limit_bytes_(limit_bytes) {}

bool FileCache::Take(const std::string& path, std::uint64_t size_bytes, const fs::path& to) {
  const fs::path file = folder_ / path;
  std::error_code error;
  if (fs::file_size(file, error) != size_bytes || error) return false;
  if (!LinkOrCopy(file, to)) return false;
  // Another process may have replaced it meanwhile.
  if (fs::file_size(to, error) != size_bytes || error) {
    fs::remove(to, error);
    return false;
  }
  (void)utimensat(AT_FDCWD, file.c_str(), nullptr, 0);
  return true;
}

void FileCache::Put(const std::string& path, const fs::path& from) {
  const fs::path file = folder_ / path;
  if (!MakeDirectories(file.parent_path())) return;
  if (!LinkOrCopy(from, file) || !limit_bytes_) return;
  std::error_code error;
  const std::uintmax_t size_bytes = fs::file_size(file, error);
  const std::scoped_lock lock(mutex_);
  if (held_bytes_ && !error) *held_bytes_ += size_bytes;
  if (!held_bytes_ || *held_bytes_ > *limit_bytes_) MakeRoom();
}

void FileCache::MakeRoom() {
  Result<std::vector<FileStamp>> files = ListFiles(folder_);
  if (!files) return;  // some vanished: the next time
  std::uint64_t held_bytes = 0;
  for (const FileStamp& file : *files) held_bytes += file.size_bytes;
  if (held_bytes > *limit_bytes_) {
    std::ranges::sort(*files, {}, &FileStamp::mtime_ns);
    const std::uint64_t enough_bytes = *limit_bytes_ - *limit_bytes_ / 10;
    for (const FileStamp& file : *files) {
      if (held_bytes <= enough_bytes) break;
      const fs::path path = folder_ / file.name;
      std::error_code error;
      if (fs::remove(path, error)) held_bytes -= file.size_bytes;
      // Folders that have become empty.
      for (fs::path parent = path.parent_path(); parent != folder_ && fs::remove(parent, error);) {
        parent = parent.parent_path();
      }
    }
  }
  held_bytes_ = held_bytes;
}

}  // namespace droidflow

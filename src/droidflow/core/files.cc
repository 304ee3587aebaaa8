#include "droidflow/core/files.h"

#include "droidflow/core/check.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <new>
#include <stdexcept>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

Result<UniqueFd> OpenFile(const fs::path& path, int flags, mode_t mode = 0) {
  for (;;) {
    UniqueFd fd(open(path.c_str(), flags | O_CLOEXEC, mode));
    if (fd.valid()) return fd;
    if (errno != EINTR) return FailErrno(errno, fmt::format("cannot open {}", path.string()));
  }
}

/// Bytes read into `buffer`, 0 at the end of the file.
Result<std::size_t> ReadSome(int fd, void* buffer, std::size_t size, const fs::path& path) {
  for (;;) {
    const ssize_t count = read(fd, buffer, size);
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EINTR) return FailErrno(errno, fmt::format("cannot read {}", path.string()));
  }
}

/// The size that stat gives is only a hint: files of /proc say 0, and a file may grow meanwhile.
template <typename Container>
Result<Container> ReadWhole(const fs::path& path) try {
  DF_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY));
  struct stat info = {};
  if (fstat(fd.get(), &info) != 0) {
    return FailErrno(errno, fmt::format("cannot stat {}", path.string()));
  }
  Container content;
  content.resize(static_cast<std::size_t>(info.st_size));
  std::size_t filled = 0;
  for (;;) {
    if (filled < content.size()) {
      DF_ASSIGN_OR_RETURN(
          const std::size_t count,
          ReadSome(fd.get(), content.data() + filled, content.size() - filled, path));
      if (count == 0) break;
      filled += count;
    } else {
      typename Container::value_type more[4096];
      DF_ASSIGN_OR_RETURN(const std::size_t count, ReadSome(fd.get(), more, sizeof(more), path));
      if (count == 0) break;
      content.insert(content.end(), more, more + count);
      filled += count;
    }
  }
  content.resize(filled);
  return content;
} catch (const std::bad_alloc&) {
  return FailErrno(ENOMEM, fmt::format("cannot read {}", path.string()));
} catch (const std::length_error&) {
  return FailErrno(ENOMEM, fmt::format("cannot read {}", path.string()));
}

Status SyncPath(const fs::path& path, int flags) {
  DF_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(path, O_RDONLY | flags));
  // Some network file systems refuse to sync a folder; there the rename itself is durable.
  if (fsync(fd.get()) != 0 && !(errno == EINVAL && (flags & O_DIRECTORY) != 0)) {
    return FailErrno(errno, fmt::format("cannot sync {}", path.string()));
  }
  return {};
}

Status SyncDirectory(const fs::path& path) { return SyncPath(path, O_DIRECTORY); }

/// The folder that holds `path`: "." for a bare name, and the parent of "a/b" for "a/b/".
fs::path ParentOf(const fs::path& path) {
  const fs::path named = path.has_filename() ? path : path.parent_path();
  const fs::path parent = named.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

/// Calls `visit(entry)` for everything below `directory`, a folder before what is in it.
template <typename Visit>
Status Walk(const fs::path& directory, Visit visit) {
  std::error_code error;
  fs::recursive_directory_iterator entry(directory, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    DF_RETURN_IF_ERROR(visit(*entry));
  }
  if (error) return FailErrno(error.value(), fmt::format("cannot list {}", directory.string()));
  return {};
}

Status CopyFile(const fs::path& from, const fs::path& to) {
  DF_ASSIGN_OR_RETURN(const UniqueFd source, OpenFile(from, O_RDONLY));
  struct stat info = {};
  if (fstat(source.get(), &info) != 0) {
    return FailErrno(errno, fmt::format("cannot stat {}", from.string()));
  }
  DF_ASSIGN_OR_RETURN(const UniqueFd target,
                      OpenFile(to, O_WRONLY | O_CREAT | O_EXCL, info.st_mode & 0777U));
  std::vector<std::byte> buffer(std::size_t{1} << 20);
  for (;;) {
    DF_ASSIGN_OR_RETURN(const std::size_t count,
                        ReadSome(source.get(), buffer.data(), buffer.size(), from));
    if (count == 0) return {};
    DF_RETURN_IF_ERROR(WriteAll(target.get(), std::span(buffer).first(count), to.string()));
  }
}

Status Rename(const fs::path& from, const fs::path& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return {};
  return FailErrno(errno, fmt::format("cannot rename {} to {}", from.string(), to.string()));
}

/// For file systems without RENAME_EXCHANGE: for a moment there is nothing at `final_path`.
Status ReplaceInTwoSteps(const fs::path& ready, const fs::path& final_path) {
  const fs::path old = ready.string() + ".old";
  DF_RETURN_IF_ERROR(RemoveTree(old));
  DF_RETURN_IF_ERROR(Rename(final_path, old));
  if (Status placed = Rename(ready, final_path); !placed) {
    DF_RETURN_IF_ERROR(Rename(old, final_path));
    return placed;
  }
  DF_RETURN_IF_ERROR(SyncDirectory(ParentOf(final_path)));
  return RemoveTree(old);
}

constexpr std::string_view kTemporary = ".tmp-";  // {name}.tmp-{process}-{number}

/// Whether a name is that of a temporary file whose process is gone.
bool IsAbandoned(std::string_view name, std::string_view final_name) {
  if (!name.starts_with(final_name)) return false;
  name.remove_prefix(final_name.size());
  if (!name.starts_with(kTemporary)) return false;
  name.remove_prefix(kTemporary.size());
  const char* const end = name.data() + name.size();
  pid_t process = 0;
  unsigned number = 0;
  const auto [dash, no_process] = std::from_chars(name.data(), end, process);
  if (no_process != std::errc() || process <= 0 || dash == end || *dash != '-') return false;
  const auto [rest, no_number] = std::from_chars(dash + 1, end, number);
  if (no_number != std::errc() || rest != end) return false;
  return kill(process, 0) != 0 && errno == ESRCH;
}

}  // namespace

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = other.Release();
  }
  return *this;
}

UniqueFd::~UniqueFd() { Close(); }

int UniqueFd::Release() { return std::exchange(fd_, -1); }

void UniqueFd::Close() {
  // Not tried again after EINTR: on Linux the descriptor is closed all the same.
  if (valid()) close(Release());
}

tl::unexpected<Error> FailErrno(int error_number, std::string_view action) {
  std::string reason = std::generic_category().message(error_number);
  if (!reason.empty() && reason[0] >= 'A' && reason[0] <= 'Z') reason[0] += 'a' - 'A';
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return Fail(ErrorKind::kNotFound, "{}: {}", reason, action);
    case ENOSPC:
    case EDQUOT:
      return FailAs("no_space", ErrorKind::kNoSpace, "{}: {}", reason, action);
    case EAGAIN:
    case EIO:
    case ESTALE:
    case ENOMEM:
      return Fail(ErrorKind::kTransient, "{}: {}", reason, action);
    default:
      return Fail(ErrorKind::kInternal, "{}: {}", reason, action);
  }
}

Result<std::vector<std::byte>> ReadFileBytes(const fs::path& path) {
  return ReadWhole<std::vector<std::byte>>(path);
}

Result<std::string> ReadFileText(const fs::path& path) { return ReadWhole<std::string>(path); }

Status WriteAll(int fd, std::span<const std::byte> bytes, std::string_view path) {
  while (!bytes.empty()) {
    const ssize_t count = write(fd, bytes.data(), bytes.size());
    if (count >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      return FailErrno(errno, fmt::format("cannot write {}", path));
    }
  }
  return {};
}

Status WriteFile(const fs::path& path, std::string_view text) {
  DF_RETURN_IF_ERROR(MakeDirectories(ParentOf(path)));
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!fd.valid()) return FailErrno(errno, fmt::format("cannot make {}", path.string()));
  return WriteAll(fd.get(), std::as_bytes(std::span(text)), path.string());
}

Result<AtomicFile> AtomicFile::Create(const fs::path& path) {
  static std::atomic<unsigned> counter{0};
  // A place where nothing can be written is no input that is missing.
  const auto not_an_input = [](Error error) {
    if (error.kind == ErrorKind::kNotFound) error.kind = ErrorKind::kInternal;
    return error;
  };
  DF_RETURN_IF_ERROR(MakeDirectories(ParentOf(path)).map_error(not_an_input));

  AtomicFile file;
  file.path_ = path;
  for (;;) {
    const fs::path temporary =
        fmt::format("{}{}{}-{}", path.string(), kTemporary, getpid(), counter++);
    file.fd_ = UniqueFd(open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file.fd_.valid()) {
      file.temporary_ = temporary;
      return file;
    }
    if (errno != EEXIST && errno != EINTR) {
      return tl::unexpected(not_an_input(
          FailErrno(errno, fmt::format("cannot make {}", temporary.string())).value()));
    }
  }
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      fd_(std::move(other.fd_)) {}

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  if (this != &other) {
    Discard();
    path_ = std::move(other.path_);
    temporary_ = std::exchange(other.temporary_, {});
    fd_ = std::move(other.fd_);
  }
  return *this;
}

AtomicFile::~AtomicFile() { Discard(); }

void AtomicFile::Discard() {
  if (!temporary_.empty()) unlink(temporary_.c_str());
  temporary_.clear();
}

Status AtomicFile::Write(std::span<const std::byte> bytes) {
  return WriteAll(fd_.get(), bytes, path_.string());
}

Status AtomicFile::Commit() {
  DF_CHECK(!temporary_.empty(), "{} is in its place", path_.string());
  DF_RETURN_IF_ERROR(PlaceFile(fd_.get(), temporary_, path_));
  temporary_.clear();
  fd_.Close();
  return {};
}

Status PlaceFile(int fd, const fs::path& ready, const fs::path& final_path) {
  if (fsync(fd) != 0) {
    return FailErrno(errno, fmt::format("cannot sync {}", final_path.string()));
  }
  DF_RETURN_IF_ERROR(Rename(ready, final_path));
  return SyncDirectory(ParentOf(final_path));
}

void RemoveAbandoned(const fs::path& path) {
  std::error_code error;
  std::vector<fs::path> abandoned;
  for (fs::directory_iterator entry(ParentOf(path), error), end; !error && entry != end;
       entry.increment(error)) {
    if (IsAbandoned(entry->path().filename().string(), path.filename().string())) {
      abandoned.push_back(entry->path());
    }
  }
  for (const fs::path& file : abandoned) fs::remove(file, error);
}

Status WriteFileAtomically(const fs::path& path, std::string_view text) {
  DF_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  DF_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(text))));
  return file.Commit();
}

Status MakeDirectories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return FailErrno(error.value(), fmt::format("cannot make {}", path.string()));
  return {};
}

Status SyncTree(const fs::path& directory) {
  DF_RETURN_IF_ERROR(Walk(directory, [](const fs::directory_entry& entry) -> Status {
    const fs::file_status status = entry.symlink_status();
    if (fs::is_directory(status)) return SyncDirectory(entry.path());
    if (fs::is_regular_file(status)) return SyncPath(entry.path(), 0);
    return {};
  }));
  return SyncDirectory(directory);
}

Status CopyTree(const fs::path& from, const fs::path& to) {
  if (mkdir(to.c_str(), 0777) != 0) {
    return FailErrno(errno, fmt::format("cannot make {}", to.string()));
  }
  return Walk(from, [&](const fs::directory_entry& entry) -> Status {
    const fs::path target = to / entry.path().lexically_relative(from);
    const fs::file_status status = entry.symlink_status();
    if (fs::is_directory(status)) return MakeDirectories(target);
    if (fs::is_regular_file(status)) return CopyFile(entry.path(), target);
    return {};
  });
}

Status RemoveTree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return FailErrno(error.value(), fmt::format("cannot remove {}", path.string()));
  return {};
}

Status PlaceDirectory(const fs::path& ready, const fs::path& final_path) {
  const fs::path parent = ParentOf(final_path);
  std::vector<fs::path> to_sync{parent};
  std::error_code ignored;
  while (!fs::exists(to_sync.back(), ignored) && to_sync.back() != ParentOf(to_sync.back())) {
    to_sync.push_back(ParentOf(to_sync.back()));
  }
  DF_RETURN_IF_ERROR(MakeDirectories(parent));

  if (renameat2(AT_FDCWD, ready.c_str(), AT_FDCWD, final_path.c_str(), RENAME_EXCHANGE) == 0) {
    DF_RETURN_IF_ERROR(SyncDirectory(parent));
    return RemoveTree(ready);
  }
  switch (errno) {
    case ENOENT:
      // Whoever cleans up behind us may remove a parent that is empty just now.
      for (int attempt = 0;; ++attempt) {
        Status placed = Rename(ready, final_path);
        if (placed) break;
        if (placed.error().kind != ErrorKind::kNotFound || attempt == 100) return placed;
        DF_RETURN_IF_ERROR(MakeDirectories(parent));
      }
      break;
    case EINVAL:
    case ENOSYS:
    case EOPNOTSUPP:
      if (fs::exists(fs::symlink_status(final_path, ignored))) {
        return ReplaceInTwoSteps(ready, final_path);
      }
      DF_RETURN_IF_ERROR(Rename(ready, final_path));
      break;
    default:
      return FailErrno(
          errno, fmt::format("cannot exchange {} with {}", ready.string(), final_path.string()));
  }
  for (const fs::path& directory : to_sync) DF_RETURN_IF_ERROR(SyncDirectory(directory));
  return {};
}

Result<std::vector<FileStamp>> ListFiles(const fs::path& directory) {
  std::vector<FileStamp> stamps;
  DF_RETURN_IF_ERROR(Walk(directory, [&](const fs::directory_entry& entry) -> Status {
    struct stat info = {};
    if (lstat(entry.path().c_str(), &info) != 0) {
      return FailErrno(errno, fmt::format("cannot stat {}", entry.path().string()));
    }
    if (S_ISREG(info.st_mode)) {
      stamps.push_back(
          {.name = entry.path().lexically_relative(directory).generic_string(),
           .size_bytes = static_cast<std::uint64_t>(info.st_size),
           .mtime_ns = info.st_mtim.tv_sec * std::int64_t{1'000'000'000} + info.st_mtim.tv_nsec});
    }
    return {};
  }));
  std::ranges::sort(stamps, {}, &FileStamp::name);
  return stamps;
}

bool FilesUnchanged(const fs::path& directory, std::span<const FileStamp> stamps) {
  const UniqueFd folder(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!folder.valid()) return false;
  return std::ranges::all_of(stamps, [&](const FileStamp& stamp) {
    struct stat info = {};
    return fstatat(folder.get(), stamp.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(info.st_mode) && static_cast<std::uint64_t>(info.st_size) == stamp.size_bytes &&
           info.st_mtim.tv_sec * std::int64_t{1'000'000'000} + info.st_mtim.tv_nsec ==
               stamp.mtime_ns;
  });
}

Result<std::uint64_t> FreeBytes(const fs::path& path) {
  std::error_code error;
  fs::path existing = fs::absolute(path, error);
  if (error) return FailErrno(error.value(), fmt::format("cannot resolve {}", path.string()));
  struct statvfs info = {};
  while (statvfs(existing.c_str(), &info) != 0) {
    if (errno == EINTR) continue;
    if (errno != ENOENT || existing == existing.root_path()) {
      return FailErrno(errno, fmt::format("cannot read the free space of {}", path.string()));
    }
    existing = ParentOf(existing);
  }
  return std::uint64_t{info.f_bavail} * info.f_frsize;
}

}  // namespace droidflow

#include "droidflow/transfer/checked_source_internal.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace droidflow {

tl::unexpected<Error> FailChanged(const OutgoingFile& file, std::string_view what) {
  return FailAs(store_status::kChanged,
                ErrorKind::kInvalidData,
                "{}, which is not what was hashed: {}",
                what,
                file.source.string());
}

Result<std::size_t> ReadAt(int fd,
                           std::uint64_t offset,
                           std::span<std::byte> buffer,
                           const std::filesystem::path& path) {
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    const ssize_t count = pread(
        fd, buffer.data() + filled, buffer.size() - filled, static_cast<off_t>(offset + filled));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FailErrno(errno, fmt::format("cannot read {}", path.string()));
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
  }
  return filled;
}

Result<UniqueFd> OpenSource(const OutgoingFile& file) {
  // Not to wait for a writer where somebody put a pipe.
  UniqueFd fd(open(file.source.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) {
    if (errno == ENOENT || errno == ENOTDIR) return FailChanged(file, "there is no file");
    return FailErrno(errno, fmt::format("cannot open {}", file.source.string()));
  }
  struct stat info = {};
  if (fstat(fd.get(), &info) != 0) {
    return FailErrno(errno, fmt::format("cannot stat {}", file.source.string()));
  }
  if (!S_ISREG(info.st_mode)) return FailChanged(file, "there is something else than a file");
  if (static_cast<std::uint64_t>(info.st_size) != file.size_bytes) {
    return FailChanged(file, fmt::format("want {} bytes, have {}", file.size_bytes, info.st_size));
  }
  return fd;
}

Result<CheckedSource> CheckedSource::Open(const OutgoingFile& file) {
  CheckedSource source(file);
  DF_ASSIGN_OR_RETURN(source.fd_, OpenSource(file));
  return source;
}

Result<std::size_t> CheckedSource::Read(std::span<std::byte> buffer) {
  const std::uint64_t left = file_.size_bytes - position_bytes_;
  buffer = buffer.first(std::min<std::uint64_t>(buffer.size(), left));
  DF_ASSIGN_OR_RETURN(const std::size_t count,
                      ReadAt(fd_.get(), position_bytes_, buffer, file_.source));
  if (count < buffer.size()) {
    return FailChanged(file_, fmt::format("it ends after {} bytes", position_bytes_ + count));
  }
  hash_.Add(buffer);
  position_bytes_ += count;
  if (position_bytes_ == file_.size_bytes && (left > 0 || file_.size_bytes == 0)) {
    std::byte more{};
    DF_ASSIGN_OR_RETURN(const std::size_t beyond,
                        ReadAt(fd_.get(), position_bytes_, std::span(&more, 1), file_.source));
    if (beyond > 0)
      return FailChanged(file_, fmt::format("it goes on after {} bytes", position_bytes_));
    if (const std::string have = Sha256(std::move(hash_)).Finish(); have != file_.sha256) {
      return FailChanged(file_, fmt::format("its SHA-256 is {}", have));
    }
    hash_ = Sha256();  // of nothing: an empty file may be read to its end again
  }
  return count;
}

Status CheckSource(const OutgoingFile& file) {
  DF_ASSIGN_OR_RETURN(CheckedSource source, CheckedSource::Open(file));
  std::vector<std::byte> buffer(std::size_t{1} << 18);
  for (std::size_t count = 1; count > 0;) {
    DF_ASSIGN_OR_RETURN(count, source.Read(buffer));
  }
  return {};
}

}  // namespace droidflow

#include "droidflow/transfer/download.h"

#include "droidflow/core/crc32c.h"
#include "droidflow/core/files.h"
#include "droidflow/core/parallel.h"
#include "droidflow/core/sha256.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr std::uint64_t kProgress_bytes = std::uint64_t{1} << 20;
constexpr int kContentTries = 3;

/// A file under its temporary name, locked, and the checksums of what it has.
class PartFile {
 public:
  static Result<PartFile> Open(const Download& download) {
    PartFile part(download.listed);
    part.path_ = download.to.parent_path() / ("." + download.to.filename().string() + ".part");
    DF_RETURN_IF_ERROR(MakeDirectories(part.path_.parent_path()));
    // Between opening and locking another process may have renamed it.
    for (bool is_ours = false; !is_ours;) {
      part.fd_ = UniqueFd(open(part.path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
      if (!part.fd_.valid()) return FailErrno(errno, "cannot make " + part.path_.string());
      if (flock(part.fd_.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return FailErrno(errno, "cannot lock " + part.path_.string());
        return Fail(ErrorKind::kBusy, "another process fetches {}", download.to.string());
      }
      struct stat locked = {};
      struct stat named = {};
      is_ours = fstat(part.fd_.get(), &locked) == 0 && stat(part.path_.c_str(), &named) == 0 &&
                locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
    }
    DF_RETURN_IF_ERROR(part.TakeUp());
    return part;
  }

  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

  Status Write(std::span<const std::byte> bytes) {
    DF_RETURN_IF_ERROR(WriteAll(fd_.get(), bytes, path_.string()));
    Add(bytes);
    return {};
  }

  /// What is wrong with all that it has; empty: nothing.
  std::string FindFault() {
    const auto differs = [](std::string_view what, const auto& want, const auto& have) {
      return fmt::format("want {} {}, have {}", what, want, have);
    };
    if (size_bytes_ != listed_.size_bytes) {
      return differs("bytes", listed_.size_bytes, size_bytes_);
    }
    if (const std::string md5 = md5_.Finish(); !listed_.md5.empty() && md5 != listed_.md5) {
      return differs("MD5", listed_.md5, md5);
    }
    if (listed_.crc32c && crc32c_ != *listed_.crc32c) {
      return fmt::format("want CRC-32C {:08x}, have {:08x}", *listed_.crc32c, crc32c_);
    }
    if (const std::string sha256 = sha256_.Finish();
        !listed_.sha256.empty() && sha256 != listed_.sha256) {
      return differs("SHA-256", listed_.sha256, sha256);
    }
    return {};
  }

  Status StartAnew() {
    if (ftruncate(fd_.get(), 0) != 0 || lseek(fd_.get(), 0, SEEK_SET) != 0) {
      return FailErrno(errno, "cannot empty " + path_.string());
    }
    md5_ = {};
    sha256_ = {};
    crc32c_ = 0;
    size_bytes_ = 0;
    return {};
  }

  Status Place(const fs::path& to, bool flush) {
    if (flush) return PlaceFile(fd_.get(), path_, to);
    if (rename(path_.c_str(), to.c_str()) == 0) return {};
    return FailErrno(errno, "cannot make " + to.string());
  }
  void Remove() { unlink(path_.c_str()); }

 private:
  explicit PartFile(const SourceEntry& listed) : listed_(listed) {}

  void Add(std::span<const std::byte> bytes) {
    if (!listed_.md5.empty()) md5_.Add(bytes);
    if (!listed_.sha256.empty()) sha256_.Add(bytes);
    if (listed_.crc32c) crc32c_ = AddToCrc32c(crc32c_, bytes);
    size_bytes_ += bytes.size();
  }

  /// Reads what an earlier try has left.
  Status TakeUp() {
    std::vector<std::byte> buffer(kProgress_bytes / 4);
    for (;;) {
      const ssize_t count = read(fd_.get(), buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return FailErrno(errno, "cannot read " + path_.string());
      if (count == 0) return {};
      Add(std::span(buffer).first(static_cast<std::size_t>(count)));
    }
  }

  SourceEntry listed_;
  fs::path path_;
  UniqueFd fd_;
  Md5 md5_;
  Sha256 sha256_;
  std::uint32_t crc32c_ = 0;
  std::uint64_t size_bytes_ = 0;
};

bool IsInPlace(const Download& download) {
  std::error_code ignored;
  return fs::is_regular_file(download.to, ignored) &&
         fs::file_size(download.to, ignored) == download.listed.size_bytes;
}

}  // namespace

Status DownloadRate::Pass(std::size_t bytes) {
  if (bytes_per_s_ <= 0) return {};
  milliseconds wait{0};
  {
    const std::scoped_lock lock(mutex_);
    const auto now_ms = static_cast<double>(clock_.Steady().count());
    free_ms_ = std::max(free_ms_, now_ms) + 1e3 * static_cast<double>(bytes) / bytes_per_s_;
    wait = milliseconds(static_cast<std::int64_t>(free_ms_ - now_ms));
  }
  return WaitFor(clock_, wait);
}

Status Downloader::Fetch(const Download& download) {
  if (IsInPlace(download)) return {};
  DF_ASSIGN_OR_RETURN(PartFile part, PartFile::Open(download));
  const std::uint64_t size_bytes = download.listed.size_bytes;
  int breaks = 0;
  for (int tries = 1;;) {
    const std::uint64_t before_bytes = part.size_bytes();
    bool too_long = before_bytes > size_bytes;
    Status read;
    if (before_bytes < size_bytes) {
      read = download.source->Read(
          download.path, before_bytes, {}, [&](std::span<const std::byte> bytes) -> Status {
            too_long = part.size_bytes() + bytes.size() > size_bytes;
            if (too_long) return Fail(ErrorKind::kInvalidData, "more than was listed");
            DF_RETURN_IF_ERROR(rate_.Pass(bytes.size()));
            return part.Write(bytes);
          });
    }
    if (!read && !too_long) {
      const std::uint64_t came_bytes = part.size_bytes() - before_bytes;
      if (came_bytes >= kProgress_bytes) breaks = 0;
      // Without a single byte the source has been patient already.
      const bool again = read.error().kind == ErrorKind::kTransient && came_bytes > 0;
      if (again && breaks < options_.retries) {
        DF_RETURN_IF_ERROR(WaitFor(*options_.clock, BackoffBefore(breaks++, options_.backoff)));
        continue;
      }
      if (read.error().kind == ErrorKind::kNotFound) part.Remove();
      return read;
    }
    const std::string fault =
        too_long ? fmt::format("want bytes {}, have more", size_bytes) : part.FindFault();
    if (fault.empty()) return part.Place(download.to, options_.flush);
    if (tries++ == kContentTries) {
      part.Remove();
      return FailAs(source_status::kBadDownload,
                    ErrorKind::kInvalidData,
                    "came {} times and was never what is listed, {}: {}/{}",
                    kContentTries,
                    fault,
                    download.source->Describe(),
                    download.path);
    }
    DF_RETURN_IF_ERROR(part.StartAnew());
  }
}

std::vector<Status> Downloader::FetchAll(
    std::span<const Download> downloads,
    const std::function<void(const Download&, const Status&)>& done) {
  std::vector<Status> statuses(downloads.size());
  std::mutex mutex;  // guards what follows, and `done`
  std::optional<Error> end;
  ParallelFor(downloads.size(), options_.jobs, [&](std::size_t i) {
    {
      const std::scoped_lock lock(mutex);
      if (end) statuses[i] = tl::unexpected(*end);
    }
    if (statuses[i]) statuses[i] = Fetch(downloads[i]);
    const std::scoped_lock lock(mutex);
    if (!statuses[i] && (statuses[i].error().kind == ErrorKind::kCancelled ||
                         statuses[i].error().kind == ErrorKind::kNoSpace)) {
      end = statuses[i].error();
    }
    if (done) done(downloads[i], statuses[i]);
  });
  return statuses;
}

}  // namespace droidflow

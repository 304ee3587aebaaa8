#pragma once

/// Files from a source onto the disk: whole, checked, and in their place at once.

#include "droidflow/core/source.h"
#include "droidflow/transfer/clock.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace droidflow {

/// Lets bytes pass at a rate: whoever brings some waits until those before have had their time.
///
/// Thread  any.
class DownloadRate {
 public:
  /// @param bytes_per_s  0: as fast as it goes.
  explicit DownloadRate(double bytes_per_s, Clock& clock = SystemClock())
      : bytes_per_s_(bytes_per_s), clock_(clock) {}

  /// @return kCancelled.
  [[nodiscard]] Status Pass(std::size_t bytes);

 private:
  const double bytes_per_s_;
  Clock& clock_;
  std::mutex mutex_;
  double free_ms_ = 0;  ///< when all that came has had its time, on the steady clock
};

struct Download {
  Source* source = nullptr;
  std::string path = {};          ///< in the source
  SourceEntry listed = {};        ///< its size and checksums; the name does not matter
  std::filesystem::path to = {};  ///< on this machine
};

struct DownloadOptions {
  int jobs = 8;                             ///< downloads at a time
  double rate_bytes_per_s = 0;              ///< of all together; 0: as fast as it goes
  int retries = 5;                          ///< after breaks without 1 MiB between them
  std::chrono::milliseconds backoff{1000};  ///< HttpOptions::backoff
  bool flush = true;                        ///< false: a file may be lost with the power
  Clock* clock = &SystemClock();
};

/// Fetches files.
///
/// A file is written as ".{name}.part" beside its place, by one process at a time. After a break it
/// goes on where it was, in a later run too; once it has the size and the checksums that were
/// listed it is flushed and renamed. Wrong bytes are fetched anew. A file of the right size in its
/// place is left as it is.
///
/// Errors  the source's; status bad_download, kInvalidData: wrong bytes every time; kBusy: another
///         process fetches it; kNoSpace. kCancelled and kTransient leave the part for later.
/// Memory  256 KiB per job.
/// Thread  any; all share the rate.
class Downloader {
 public:
  explicit Downloader(DownloadOptions options)
      : options_(options), rate_(options.rate_bytes_per_s, *options.clock) {}

  [[nodiscard]] Status Fetch(const Download& download);

  /// Several at a time. A stop or a full disk ends all that have not begun.
  ///
  /// @param done  called after each, by one thread at a time; may be empty.
  /// @return      one status per file, in their order.
  [[nodiscard]] std::vector<Status> FetchAll(
      std::span<const Download> downloads,
      const std::function<void(const Download&, const Status&)>& done = {});

 private:
  const DownloadOptions options_;
  DownloadRate rate_;
};

}  // namespace droidflow

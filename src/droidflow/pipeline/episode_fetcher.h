#pragma once

/// What a run needs of an episode in a bucket, and no more.

#include "droidflow/core/source.h"
#include "droidflow/io/source_episodes.h"
#include "droidflow/pipeline/options.h"
#include "droidflow/transfer/download.h"
#include "droidflow/transfer/file_cache.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <semaphore>
#include <span>
#include <string>
#include <vector>

namespace droidflow {

/// At most so much of a recording is read for what its headers say, and of an MP4 file its index.
inline constexpr std::uint64_t kHead_bytes = 64'000;

/// How many bytes of an episode a run fetches, by the names of its files.
[[nodiscard]] std::uint64_t BytesToFetch(std::span<const SourceEntry> files,
                                         const MetadataOptions& options);

/// Which recordings of an episode are fetched.
enum class FetchedRecordings {
  kUsed,   ///< what a run uses: of each camera one
  kHeads,  ///< the heads of all
};

/// Reads what tells the kind, size and frame count of a recording into a file of its full size; the
/// rest is a hole. SVO2 files tell by all of their chunks: for kUsed they come whole, for kHeads
/// without the pictures that the indexes between chunks make needless.
[[nodiscard]] Status FetchHead(Source& source,
                               const std::string& path,
                               std::uint64_t size_bytes,
                               const std::filesystem::path& to,
                               FetchedRecordings recordings = FetchedRecordings::kUsed);

/// In a fetched episode's folder: what the source said of its files, for ReadListing.
inline constexpr const char kListedFile[] = ".listed.json";

/// Fetches episodes for a run: metadata_*.json, trajectory.h5 and the head of one recording of each
/// camera; where pictures are decoded, this recording whole. Of a camera all recordings' heads are
/// fetched only where the first by name is not what its name says. A run over these files writes
/// what it would write with the whole episode.
///
/// Errors  as Downloader's; status not_in_bucket for an episode that is not listed.
/// Memory  256 KiB per download.
/// Thread  any.
class EpisodeFetcher {
 public:
  /// @param source  must outlive it.
  EpisodeFetcher(Source& source,
                 const MetadataOptions& options,
                 FetchedRecordings recordings = FetchedRecordings::kUsed);
  ~EpisodeFetcher();

  /// Makes the episode's folder below `root`. @return the bytes that it takes there.
  [[nodiscard]] Result<std::uint64_t> Fetch(const std::string& relative_path,
                                            const std::filesystem::path& root);

  /// Of files, so far.
  [[nodiscard]] std::uint64_t bytes_read() const;

 private:
  class Limited;
  struct Episode;

  Status FetchFiles(const Episode& episode, std::span<const SourceEntry> files);
  Status FetchWhole(const Episode& episode, const SourceEntry& file);
  Status FetchRecordings(const Episode& episode);
  Result<bool> IsDecoded(const Episode& episode, const std::string& serial) const;

  const MetadataOptions& options_;
  const FetchedRecordings recordings_;
  const std::unique_ptr<Limited> source_;
  Downloader downloader_;
  std::unique_ptr<FileCache> cache_;  ///< null: what was used is removed
};

}  // namespace droidflow

#include "droidflow/pipeline/convert.h"

#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/formats/npz_reader.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/tracks_layout.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <limits>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostKeysNamed = 6;

/// How an array of a file differs from what would come back.
Result<std::string> DescribeChange(const NpzReader& file,
                                   const NpzReader& back,
                                   const std::string& name) {
  if (!file.Contains(name)) return fmt::format("{} is not in it", name);
  if (!back.Contains(name)) return fmt::format("{} does not follow from the others", name);
  const Result<NpyArray> array = file.Read(name);
  if (!array) return fmt::format("{} is of another type", name);
  DF_ASSIGN_OR_RETURN(const NpyArray other, back.Read(name));
  if (array->descr != other.descr || array->shape != other.shape) {
    return fmt::format("{} is {} [{}], not {} [{}]",
                       name,
                       array->descr,
                       fmt::join(array->shape, ","),
                       other.descr,
                       fmt::join(other.shape, ","));
  }
  const auto numbers = array->ToDoubles();
  const auto other_numbers = other.ToDoubles();
  if (!numbers || !other_numbers) return fmt::format("{} has other texts", name);
  double largest = 0;
  for (std::size_t i = 0; i < numbers->size(); ++i) {
    const double one = (*numbers)[i];
    const double two = (*other_numbers)[i];
    if (one == two || (std::isnan(one) && std::isnan(two))) continue;
    const double difference = std::abs(one - two);
    largest = std::max(
        largest, std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference);
  }
  if (largest == 0) return fmt::format("{} has zeros or NaNs of other bytes", name);
  return fmt::format("{} differs by up to {:.3g}", name, largest);
}

/// Refuses where the arrays of `back` are not those of `file`, in the same order.
Status RequireSame(const NpzReader& file, const NpzReader& back) {
  std::vector<std::string> changed;
  for (const std::string& name : file.names()) {
    bool same = back.Contains(name);
    if (same) {
      DF_ASSIGN_OR_RETURN(const NpzReader::Bytes content, file.Content(name));
      DF_ASSIGN_OR_RETURN(const NpzReader::Bytes other, back.Content(name));
      same = std::ranges::equal(content.bytes, other.bytes);
    }
    if (!same) changed.push_back(name);
  }
  std::ranges::copy_if(back.names(), std::back_inserter(changed), [&](const std::string& name) {
    return !file.Contains(name);
  });
  if (changed.empty() && file.names() == back.names()) return {};
  std::vector<std::string> words;
  for (std::size_t i = 0; i < std::min(changed.size(), kMostKeysNamed); ++i) {
    DF_ASSIGN_OR_RETURN(words.emplace_back(), DescribeChange(file, back, changed[i]));
  }
  if (changed.empty()) words.emplace_back("its keys are in another order");
  if (changed.size() > words.size()) {
    words.push_back(fmt::format("and {} more keys", changed.size() - words.size()));
  }
  return Fail(ErrorKind::kInvalidData,
              "not converted, its arrays would not come back: {}: {}",
              fmt::join(words, ", "),
              file.path());
}

NpzCompression CompressionOf(const NpzReader& file) {
  return file.HasDeflated() ? NpzCompression::kZip : NpzCompression::kNone;
}

Status WriteRepacked(const NpzReader& file, NpzWriter& npz) {
  for (const std::string& name : file.names()) {
    DF_ASSIGN_OR_RETURN(const NpzReader::Bytes content, file.Content(name));
    DF_RETURN_IF_ERROR(npz.AddContent(name, content.bytes));
  }
  return {};
}

Status CopyOneFile(const fs::path& from, const fs::path& to) {
  RemoveAbandoned(to);
  DF_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(to));
  std::error_code error;
  fs::copy_file(from, file.temporary(), fs::copy_options::overwrite_existing, error);
  if (!error) return file.Commit();
  return FailErrno(error.value(), fmt::format("cannot copy {} to {}", from.string(), to.string()));
}

/// Writes `stored` in another way to `path`.
Status WriteConverted(const NpzReader& stored,
                      const fs::path& directory,
                      TracksLayout layout,
                      NpzCompression compression,
                      const fs::path& path) {
  RemoveAbandoned(path);
  DF_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  DF_ASSIGN_OR_RETURN(NpzWriter npz, NpzWriter::Create(file.temporary(), compression));
  const TracksLayout before = LayoutOf(stored);
  if (layout == before) {
    DF_RETURN_IF_ERROR(WriteRepacked(stored, npz));
  } else {
    DF_ASSIGN_OR_RETURN(TracksSource source, ReadTracksSource(stored, directory));
    source.options.tracks_layout = layout;
    DF_RETURN_IF_ERROR(AddTracks(source.episode, source.options, {}, npz));
  }
  DF_RETURN_IF_ERROR(npz.Finish());

  DF_ASSIGN_OR_RETURN(const NpzReader made, NpzReader::Open(file.temporary()));
  if (layout == before) {
    DF_RETURN_IF_ERROR(RequireSame(stored, made));
  } else {
    DF_ASSIGN_OR_RETURN(TracksSource source, ReadTracksSource(made, directory));
    source.options.tracks_layout = before;
    DF_ASSIGN_OR_RETURN(const NpzReader back, TracksInMemory(source, {}, stored.path()));
    DF_RETURN_IF_ERROR(RequireSame(stored, back));
  }
  return file.Commit();
}

/// @return whether it was written.
Result<bool> ConvertArchive(const EpisodeToConvert& episode,
                            const char* name,
                            const ConvertOptions& options) {
  const fs::path from = episode.from / name;
  DF_ASSIGN_OR_RETURN(const NpzReader stored, NpzReader::Open(from));
  const TracksLayout layout = options.layout.value_or(LayoutOf(stored));
  const NpzCompression compression = options.compression.value_or(CompressionOf(stored));
  if (layout == LayoutOf(stored) && compression == CompressionOf(stored)) {
    if (episode.from == episode.to) return false;
    DF_RETURN_IF_ERROR(CopyOneFile(from, episode.to / name));
  } else {
    DF_RETURN_IF_ERROR(
        WriteConverted(stored, episode.from, layout, compression, episode.to / name));
  }
  return true;
}

}  // namespace

Result<bool> ConvertEpisode(const EpisodeToConvert& episode, const ConvertOptions& options) {
  // First what may be refused.
  DF_ASSIGN_OR_RETURN(const bool tracks, ConvertArchive(episode, kTracksFile, options));
  DF_ASSIGN_OR_RETURN(
      const bool extrinsics,
      ConvertArchive(episode, kExtrinsicsFile, {.layout = {}, .compression = options.compression}));
  if (episode.from != episode.to) {
    DF_ASSIGN_OR_RETURN(const std::vector<FileStamp> files, ListFiles(episode.from));
    for (const FileStamp& file : files) {
      if (file.name == kTracksFile || file.name == kExtrinsicsFile) continue;
      DF_RETURN_IF_ERROR(CopyOneFile(episode.from / file.name, episode.to / file.name));
    }
  }
  return tracks || extrinsics;
}

void ConvertEpisodes(
    const std::vector<EpisodeToConvert>& episodes,
    const ConvertOptions& options,
    int threads,
    const std::function<void(const EpisodeToConvert&, const Result<bool>&)>& on_done) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  const auto work = [&] {
    for (std::size_t i = next++; i < episodes.size() && StopSignal() == 0; i = next++) {
      const Result<bool> converted = ConvertEpisode(episodes[i], options);
      const std::lock_guard lock(mutex);
      on_done(episodes[i], converted);
    }
  };
  std::vector<std::jthread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(work);
  work();
}

}  // namespace droidflow

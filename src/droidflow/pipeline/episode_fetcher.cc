#include "droidflow/pipeline/episode_fetcher.h"

#include "droidflow/core/files.h"
#include "droidflow/io/listing_cache.h"
#include "droidflow/io/metadata_reader.h"
#include "droidflow/io/recordings.h"
#include "droidflow/pipeline/raw_roots.h"
#include "droidflow/pipeline/recording_choice.h"
#include "droidflow/transfer/store.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <functional>
#include <future>
#include <sys/types.h>
#include <unistd.h>
#include <utility>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kFirstLook_bytes = 8'000;
constexpr std::uint64_t kMaxIndex_bytes = std::uint64_t{64} << 20;
constexpr int kMaxLooks = 16;

/// A file of a source that is read where it is looked at.
class SparseCopy {
 public:
  SparseCopy(Source& source, std::string path, std::uint64_t size_bytes)
      : source_(source), path_(std::move(path)), size_bytes_(size_bytes) {}

  Status Open(const fs::path& to) {
    DF_RETURN_IF_ERROR(MakeDirectories(to.parent_path()));
    fd_ = UniqueFd(open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!fd_.valid() || ftruncate(fd_.get(), static_cast<off_t>(size_bytes_)) != 0) {
      return FailErrno(errno, "cannot make " + to.string());
    }
    return {};
  }

  /// Fetches a part, and `ahead` bytes if it was not among those fetched last.
  /// @return  it, to the end of the file at most.
  Result<std::string_view> Look(std::uint64_t at, std::uint64_t bytes, std::uint64_t ahead = 0) {
    const std::uint64_t left_bytes = size_bytes_ - std::min(at, size_bytes_);
    bytes = std::min(bytes, left_bytes);
    if (at < at_ || at + bytes > at_ + seen_.size()) {
      const std::uint64_t wanted_bytes = std::min(std::max(bytes, ahead), left_bytes);
      DF_ASSIGN_OR_RETURN(seen_, source_.ReadText(path_, at, wanted_bytes));
      at_ = at;
      if (seen_.size() != wanted_bytes) {
        return FailAs(source_status::kBadDownload,
                      ErrorKind::kInvalidData,
                      "want {} bytes from byte {} on, have {}: {}/{}",
                      wanted_bytes,
                      at,
                      seen_.size(),
                      source_.Describe(),
                      path_);
      }
      const auto count = pwrite(fd_.get(), seen_.data(), seen_.size(), static_cast<off_t>(at_));
      if (count != std::ssize(seen_)) return FailErrno(count < 0 ? errno : ENOSPC, "cannot write");
    }
    return std::string_view(seen_).substr(at - at_, bytes);
  }

 private:
  Source& source_;
  const std::string path_;
  const std::uint64_t size_bytes_;
  UniqueFd fd_;
  std::string seen_;
  std::uint64_t at_ = 0;
};

std::uint64_t BigEndianAt(std::string_view bytes, std::size_t at, std::size_t count) {
  std::uint64_t value = 0;
  for (const char byte : bytes.substr(at, count)) {
    value = value << 8U | static_cast<unsigned char>(byte);
  }
  return value;
}

/// The headers of an MP4 file's boxes, and its index whole.
Status LookAtBoxes(SparseCopy& file, std::uint64_t size_bytes) {
  std::uint64_t at = 0;
  for (int looks = 0; at < size_bytes && looks < kMaxLooks; ++looks) {
    constexpr std::uint64_t kHeader_bytes = 16;
    // What follows the pictures is the index, at the end.
    DF_ASSIGN_OR_RETURN(const std::string_view header, file.Look(at, kHeader_bytes, kHead_bytes));
    if (header.size() < 8) return {};
    const bool is_movie = header.substr(4, 4) == "moov";
    std::uint64_t box_bytes = BigEndianAt(header, 0, 4);
    if (box_bytes == 1 && header.size() == kHeader_bytes) box_bytes = BigEndianAt(header, 8, 8);
    if (box_bytes == 0) box_bytes = size_bytes - at;
    if (box_bytes < 8 || box_bytes > size_bytes - at) return {};  // broken, as its reader will say
    if (is_movie && box_bytes <= kMaxIndex_bytes) DF_RETURN_IF_ERROR(file.Look(at, box_bytes));
    at += box_bytes;
  }
  return {};
}

/// The records of an MCAP file; of chunks and messages after the first MB only what is before and
/// behind their content.
Status LookAtRecords(SparseCopy& file, std::uint64_t size_bytes) {
  constexpr std::uint64_t kMagic_bytes = 8;
  constexpr std::uint64_t kRecordHeader_bytes = 9;
  constexpr std::uint64_t kLook_bytes = 4096;  // the indexes of a chunk, and where the next begins
  constexpr std::uint64_t kContentHeader_bytes = 100;
  constexpr std::uint64_t kMaxRecord_bytes = std::uint64_t{16} << 20;
  std::uint64_t opened_bytes = std::uint64_t{1} << 20;  // what the file is, and the first picture
  for (std::uint64_t at = kMagic_bytes; at < size_bytes;) {
    DF_ASSIGN_OR_RETURN(const std::string_view header,
                        file.Look(at, kRecordHeader_bytes, kLook_bytes));
    if (header.size() < kRecordHeader_bytes) return {};
    const bool has_content = header[0] == 5 || header[0] == 6;  // a message, a chunk
    std::uint64_t record_bytes = 0;
    for (std::size_t i = 8; i > 0; --i) {
      record_bytes = record_bytes << 8U | static_cast<unsigned char>(header[i]);
    }
    const bool is_cut = record_bytes > size_bytes - at - kRecordHeader_bytes;
    const bool is_opened = !has_content || is_cut || opened_bytes > 0;
    if (has_content) opened_bytes -= std::min(opened_bytes, record_bytes);
    const std::uint64_t most_bytes = is_opened ? kMaxRecord_bytes : kContentHeader_bytes;
    DF_RETURN_IF_ERROR(file.Look(at, kRecordHeader_bytes + std::min(record_bytes, most_bytes)));
    if (is_cut) return {};
    at += kRecordHeader_bytes + record_bytes;
  }
  return {};
}

/// The recording of a camera that comes first by its name; null without any.
const RecordingFile* FirstByName(const CameraRecordings& camera, const RecordingOrder& order) {
  for (const RecordingKind kind : order) {
    const RecordingFile* const file = camera.Find(kind);
    if (file != nullptr && file->size_bytes > 0) return file;
  }
  return nullptr;
}

bool DecodesPictures(const MetadataOptions& options) {
  return options.pipeline == Pipeline::kFull || options.track.measure_rows;
}

/// Calls all at once and waits for them. @return the first failure, a lasting one before others.
Status RunAll(const std::vector<std::function<Status()>>& work) {
  std::vector<std::future<Status>> others;
  for (std::size_t i = 1; i < work.size(); ++i) {
    others.push_back(std::async(std::launch::async, work[i]));
  }
  Status outcome = work.empty() ? Status{} : work[0]();
  for (std::future<Status>& other : others) {
    Status status = other.get();
    const bool is_worse = !status && (outcome || outcome.error().kind == ErrorKind::kTransient);
    if (is_worse) outcome = std::move(status);
  }
  return outcome;
}

}  // namespace

std::uint64_t BytesToFetch(std::span<const SourceEntry> files, const MetadataOptions& options) {
  std::uint64_t bytes = 0;
  for (const SourceEntry& file : files) {
    if (UuidFromMetadataName(file.name) || file.name == "trajectory.h5") bytes += file.size_bytes;
  }
  for (const auto& [serial, camera] : RecordingsAmong(files)) {
    const RecordingFile* const first = FirstByName(camera, options.track.recording_order);
    if (first == nullptr) continue;
    const bool is_whole = first->kind == RecordingKind::kSvo2 ||
                          (DecodesPictures(options) && first->kind != RecordingKind::kMonoMp4);
    bytes += is_whole ? first->size_bytes : std::min(first->size_bytes, kHead_bytes);
  }
  return bytes;
}

Status FetchHead(Source& source,
                 const std::string& path,
                 std::uint64_t size_bytes,
                 const fs::path& to,
                 FetchedRecordings recordings) {
  DF_RETURN_IF_ERROR(CheckStorePath(path));
  SparseCopy file(source, path, size_bytes);
  DF_RETURN_IF_ERROR(file.Open(to));
  DF_ASSIGN_OR_RETURN(const std::string_view head, file.Look(0, kFirstLook_bytes));
  if (head.starts_with("\x89MCAP")) {
    if (recordings == FetchedRecordings::kHeads) return LookAtRecords(file, size_bytes);
    return file.Look(0, size_bytes).map([](auto&&) {});
  }
  if (path.ends_with(".mp4")) return LookAtBoxes(file, size_bytes);
  return file.Look(0, kHead_bytes).map([](auto&&) {});
}

/// A source that is asked by so many at a time, for so many bytes a second.
class EpisodeFetcher::Limited : public Source {
 public:
  Limited(Source& source, const FetchOptions& options)
      : source_(source), free_(options.jobs), rate_(options.rate_mb_per_s.value_or(0) * 1e6) {}

  std::string Describe() const override { return source_.Describe(); }
  Result<std::vector<SourceEntry>> List(const std::string& folder, ListDepth depth) override {
    const Turn turn(free_);
    return source_.List(folder, depth);
  }
  Status Read(const std::string& path,
              std::uint64_t offset,
              std::optional<std::uint64_t> length,
              const Sink& sink) override {
    const Turn turn(free_);
    return source_.Read(path, offset, length, [&](std::span<const std::byte> bytes) -> Status {
      bytes_read += bytes.size();
      DF_RETURN_IF_ERROR(rate_.Pass(bytes.size()));
      return sink(bytes);
    });
  }

  std::atomic<std::uint64_t> bytes_read = 0;

 private:
  struct Turn {
    explicit Turn(std::counting_semaphore<>& all) : all_(all) { all_.acquire(); }
    ~Turn() { all_.release(); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    std::counting_semaphore<>& all_;
  };

  Source& source_;
  std::counting_semaphore<> free_;
  DownloadRate rate_;
};

struct EpisodeFetcher::Episode {
  std::string path;  ///< in the source
  fs::path folder;   ///< on this machine
  std::vector<SourceEntry> files;
};

EpisodeFetcher::EpisodeFetcher(Source& source,
                               const MetadataOptions& options,
                               FetchedRecordings recordings)
    : options_(options),
      recordings_(recordings),
      source_(std::make_unique<Limited>(source, options.fetch)),
      downloader_({.jobs = options.fetch.jobs,
                   .flush = options.fetch.keep_raw || !options.fetch.cache_dir.empty()}) {
  const FetchOptions& fetch = options.fetch;
  if (!fetch.keep_raw && fetch.cache_dir.empty()) return;
  std::optional<std::uint64_t> limit_bytes;
  if (!fetch.keep_raw) limit_bytes = static_cast<std::uint64_t>(fetch.cache_gb * kGiga);
  cache_ = std::make_unique<FileCache>(
      fetch.cache_dir.empty() ? options.RunDir() / "raw" : fs::path(fetch.cache_dir), limit_bytes);
}

EpisodeFetcher::~EpisodeFetcher() = default;

std::uint64_t EpisodeFetcher::bytes_read() const { return source_->bytes_read; }

Status EpisodeFetcher::FetchWhole(const Episode& episode, const SourceEntry& file) {
  const std::string path = episode.path + "/" + file.name;
  // Whoever fills a bucket does not choose where files go here.
  DF_RETURN_IF_ERROR(CheckStorePath(path));
  const fs::path to = episode.folder / file.name;
  DF_RETURN_IF_ERROR(MakeDirectories(to.parent_path()));
  std::error_code ignored;
  fs::remove(to, ignored);  // it may be a head
  if (cache_ && cache_->Take(path, file.size_bytes, to)) return {};
  DF_RETURN_IF_ERROR(downloader_.Fetch({source_.get(), path, file, to}));
  if (cache_) cache_->Put(path, to);
  return {};
}

Status EpisodeFetcher::FetchFiles(const Episode& episode, std::span<const SourceEntry> files) {
  std::vector<std::function<Status()>> work;
  for (const SourceEntry& file : files) {
    work.emplace_back([&] { return FetchWhole(episode, file); });
  }
  return RunAll(work);
}

Result<bool> EpisodeFetcher::IsDecoded(const Episode& episode, const std::string& serial) const {
  if (!DecodesPictures(options_)) return false;
  const std::vector<std::string>& names = options_.full.cameras;
  if (names.empty() || options_.track.measure_rows) return true;
  const Result<EpisodeMetadata> metadata = ReadMetadata(episode.folder);
  const MetadataCamera* const camera = metadata ? metadata->FindCamera(serial) : nullptr;
  // Who it is may also be known from elsewhere.
  if (camera == nullptr) return true;
  return std::ranges::any_of(names, [&](const std::string& name) {
    return name == serial || name == ToString(camera->role);
  });
}

Status EpisodeFetcher::FetchRecordings(const Episode& episode) {
  const RecordingOrder& order = options_.track.recording_order;
  DF_ASSIGN_OR_RETURN(const auto here, FindRecordings(episode.folder));
  std::vector<SourceEntry> whole;
  for (const auto& [serial, listed] : RecordingsAmong(episode.files)) {
    const auto entry_of = [&](const std::string& name) {
      return *std::ranges::find(episode.files, name, &SourceEntry::name);
    };
    const auto camera = here.find(serial);
    if (camera == here.end()) continue;
    DF_ASSIGN_OR_RETURN(RecordingChoice choice, ChooseRecording(camera->second, serial, order));
    const RecordingFile* const first = FirstByName(listed, order);
    if (first != nullptr && (!choice.chosen || choice.chosen->name != first->name ||
                             choice.chosen->kind != first->kind)) {
      // It is not what its name says: which one is taken depends on all of them.
      std::vector<std::function<Status()>> heads;
      for (const RecordingFile& file : listed.files) {
        if (file.size_bytes == 0 || file.name == first->name) continue;
        heads.emplace_back([&] {
          return FetchHead(*source_,
                           episode.path + "/" + file.name,
                           file.size_bytes,
                           episode.folder / file.name);
        });
      }
      DF_RETURN_IF_ERROR(RunAll(heads));
      DF_ASSIGN_OR_RETURN(const auto all, FindRecordings(episode.folder));
      DF_ASSIGN_OR_RETURN(choice, ChooseRecording(all.at(serial), serial, order));
    }
    if (!choice.chosen || !choice.chosen->summary.info.stereo) continue;
    DF_ASSIGN_OR_RETURN(const bool is_decoded, IsDecoded(episode, serial));
    if (is_decoded) whole.push_back(entry_of(choice.chosen->name));
  }
  return FetchFiles(episode, whole);
}

Result<std::uint64_t> EpisodeFetcher::Fetch(const std::string& relative_path,
                                            const fs::path& root) {
  Episode episode{.path = relative_path, .folder = root / relative_path, .files = {}};
  DF_ASSIGN_OR_RETURN(
      std::vector<SourceEpisode> of_date,
      ListEpisodesOfDate(*source_, relative_path.substr(0, relative_path.rfind('/'))));
  const auto found = std::ranges::find(
      of_date, relative_path, [](const SourceEpisode& e) { return e.ref.relative_path; });
  if (found == of_date.end()) {
    return FailAs(source_status::kNotInBucket,
                  ErrorKind::kNotFound,
                  "no such folder: {}/{}",
                  source_->Describe(),
                  relative_path);
  }
  episode.files = std::move(found->files);
  DF_RETURN_IF_ERROR(RemoveTree(episode.folder));
  DF_RETURN_IF_ERROR(MakeDirectories(episode.folder));

  std::vector<std::function<Status()>> work;
  const auto whole = [&](const SourceEntry& file) {
    work.emplace_back([&] { return FetchWhole(episode, file); });
  };
  const auto recordings = RecordingsAmong(episode.files);
  for (const auto& [serial, camera] : recordings) {
    const RecordingFile* const first = FirstByName(camera, options_.track.recording_order);
    for (const RecordingFile& file : camera.files) {
      DF_RETURN_IF_ERROR(CheckStorePath(file.name));
      if (file.size_bytes == 0) DF_RETURN_IF_ERROR(WriteFile(episode.folder / file.name, ""));
      const bool is_wanted = recordings_ == FetchedRecordings::kHeads && file.size_bytes > 0;
      if (&file != first && !is_wanted) continue;
      work.emplace_back([&] {
        return FetchHead(*source_,
                         relative_path + "/" + file.name,
                         file.size_bytes,
                         episode.folder / file.name,
                         recordings_);
      });
    }
  }
  for (const SourceEntry& file : episode.files) {
    const bool is_times = std::ranges::any_of(recordings, [&](const auto& camera) {
      return camera.second.timestamps_json && camera.second.timestamps_json->string() == file.name;
    });
    if (UuidFromMetadataName(file.name) || file.name == "trajectory.h5" || is_times) whole(file);
  }
  Status fetched = RunAll(work);
  if (fetched && recordings_ == FetchedRecordings::kUsed) fetched = FetchRecordings(episode);
  if (fetched) fetched = WriteListing(episode.files, episode.folder / kListedFile);
  if (!fetched) {
    (void)RemoveTree(episode.folder);
    return tl::unexpected(std::move(fetched).error());
  }
  return BytesToFetch(episode.files, options_);
}

}  // namespace droidflow

#include "droidflow/pipeline/depth_frames.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/pipeline/map_file.h"
#include "droidflow/video/recording_summary.h"
#include "droidflow/video/zed_source.h"

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <span>
#include <system_error>
#include <thread>
#include <utility>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

/// The geometry that is given, else the one that the SDK put into the recording's info.
Result<StereoGeometry> GeometryOf(const DepthRecording& recording, const SourceInfo& info) {
  if (recording.geometry) return *recording.geometry;
  if (info.intrinsics && info.baseline_m > 0) {
    return StereoGeometry{.fx_px = info.intrinsics->fx_px, .baseline_m = info.baseline_m};
  }
  return Fail(ErrorKind::kInvalidData,
              "want the camera's focal length and baseline, have none: {}",
              recording.path.string());
}

// ---- Matching -------------------------------------------------------------------------------

void CopyPicture(GrayView from, GrayImage& to) {
  to.Resize(from.width_px, from.height_px);
  for (int y = 0; y < from.height_px; ++y) std::copy_n(from.row(y), from.width_px, to.row(y));
}

/// Reads pairs and matches them: with one matcher on the caller's thread, with more each on a
/// thread of its own, the frames in order all the same.
class MatchedDepth final : public DepthSource {
 public:
  MatchedDepth(PairSource pairs,
               StereoGeometry geometry,
               DepthTable table,
               std::vector<Matcher*> matchers,
               std::string parameters_json)
      : pairs_(std::move(pairs)),
        geometry_(geometry),
        table_(std::move(table)),
        matchers_(std::move(matchers)),
        parameters_json_(std::move(parameters_json)) {
    if (matchers_.size() == 1) return;
    // As many being matched as waiting.
    slots_ = std::vector<Slot>(2 * matchers_.size());
    for (Matcher* const matcher : matchers_) {
      workers_.emplace_back([this, matcher] { Work(*matcher); });
    }
  }

  ~MatchedDepth() override {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    changed_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  Result<bool> Next(DepthFrame& frame) override {
    return workers_.empty() ? NextAlone(frame) : NextOfWorkers(frame);
  }

  const SourceInfo& info() const override { return pairs_.info(); }
  StereoGeometry geometry() const override { return geometry_; }
  std::string parameters_json() const override { return parameters_json_; }
  std::optional<RowAlignment> rows() const override { return pairs_.rows(); }
  RowOffset removed() const override { return pairs_.removed(); }
  std::vector<std::string> Warnings() const override { return pairs_.Warnings(); }

 private:
  /// A pair on its way through a worker.
  struct Slot {
    AlignedPair pair;  ///< whose views are those of left and right
    GrayImage left;
    GrayImage right;
    DepthImage depth_mm;
    Status status;
    bool is_done = false;
  };

  Status MakeDepth(Matcher& matcher,
                   GrayView left,
                   GrayView right,
                   DisparityImage& disparity_px16,
                   DepthImage& depth_mm) const {
    DF_RETURN_IF_ERROR(matcher.Match(left, right, disparity_px16, nullptr));
    MaskDisparity(pairs_.left_mask(), pairs_.right_mask(), disparity_px16);
    table_.Apply(std::as_const(disparity_px16).view(), depth_mm);
    return {};
  }

  static void Tell(const AlignedPair& pair, const DepthImage& depth_mm, DepthFrame& frame) {
    frame = {.index = pair.index,
             .time_ns = pair.time_ns,
             .depth_mm = depth_mm.view(),
             .damaged = pair.damaged};
  }

  Result<bool> NextAlone(DepthFrame& frame) {
    AlignedPair pair;
    DF_ASSIGN_OR_RETURN(const bool more, pairs_.Next(pair));
    if (!more) return false;
    DF_RETURN_IF_ERROR(MakeDepth(*matchers_[0], pair.left, pair.right, disparity_px16_, depth_mm_));
    Tell(pair, depth_mm_, frame);
    return true;
  }

  Slot& SlotOf(std::int64_t number) {
    return slots_[static_cast<std::size_t>(number) % slots_.size()];
  }

  /// Fills every free slot. A slot is the caller's until `filled_` counts it and after it is done,
  /// a worker's between; the one told last stays as it is until the next call.
  void Fill() {
    while (!end_ && filled_ - told_ < static_cast<std::int64_t>(slots_.size())) {
      Slot& slot = SlotOf(filled_);
      AlignedPair pair;
      Result<bool> more = pairs_.Next(pair);
      if (!more || !*more) {
        end_ = std::move(more);
        return;
      }
      CopyPicture(pair.left, slot.left);
      CopyPicture(pair.right, slot.right);
      slot.pair = pair;
      slot.is_done = false;
      {
        const std::lock_guard lock(mutex_);
        ++filled_;
      }
      changed_.notify_all();
    }
  }

  Result<bool> NextOfWorkers(DepthFrame& frame) {
    Fill();
    if (told_ == filled_) return *end_;
    Slot& slot = SlotOf(told_);
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return slot.is_done; });
    }
    ++told_;
    // Before the caller's next call fills it again.
    std::swap(slot.depth_mm, depth_mm_);
    if (!slot.status) return tl::unexpected(slot.status.error());
    Tell(slot.pair, depth_mm_, frame);
    return true;
  }

  void Work(Matcher& matcher) {
    DisparityImage disparity_px16;
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return is_over_ || claimed_ < filled_; });
      if (is_over_) return;
      Slot& slot = SlotOf(claimed_++);
      lock.unlock();
      slot.status = MakeDepth(matcher,
                              std::as_const(slot.left).view(),
                              std::as_const(slot.right).view(),
                              disparity_px16,
                              slot.depth_mm);
      lock.lock();
      slot.is_done = true;
      changed_.notify_all();
    }
  }

  PairSource pairs_;
  StereoGeometry geometry_;
  DepthTable table_;
  std::vector<Matcher*> matchers_;
  std::string parameters_json_;
  DisparityImage disparity_px16_;
  DepthImage depth_mm_;  ///< of the frame told last

  std::vector<Slot> slots_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::int64_t filled_ = 0;          ///< pairs that were read; of the mutex
  std::int64_t claimed_ = 0;         ///< … that a worker has taken; of the mutex
  std::int64_t told_ = 0;            ///< … whose depth was told; the caller's
  bool is_over_ = false;             ///< of the mutex
  std::optional<Result<bool>> end_;  ///< what the last read said
  std::vector<std::thread> workers_;
};

Result<std::unique_ptr<DepthSource>> OpenMatched(const DepthRecording& recording,
                                                 const DepthOptions& options,
                                                 MatcherBackend backend,
                                                 MatcherPool& pool) {
  DF_ASSIGN_OR_RETURN(PairSource pairs,
                      PairSource::Open(recording.path,
                                       recording.rig,
                                       {.row_align = options.row_align,
                                        .decode_threads = recording.decode_threads,
                                        .use_zed_sdk = recording.use_zed_sdk}));
  DF_ASSIGN_OR_RETURN(const StereoGeometry geometry, GeometryOf(recording, pairs.info()));
  DF_ASSIGN_OR_RETURN(DepthTable table, DepthTable::Make(geometry, options.Range()));
  const int width_px = pairs.info().width_px;
  DF_RETURN_IF_ERROR(CheckDisparityFits(options, width_px));
  const MatcherOptions matcher = MatcherOptionsFor(options, width_px, geometry);
  DF_ASSIGN_OR_RETURN(std::vector<Matcher*> matchers, pool.Get(backend, matcher, options.jobs));
  return std::make_unique<MatchedDepth>(
      std::move(pairs),
      geometry,
      std::move(table),
      std::move(matchers),
      FormatBackendParameters(
          options, {.kind = DepthBackend::Kind::kMatcher, .matcher = backend}, matcher));
}

// ---- The ZED SDK ----------------------------------------------------------------------------

class ZedDepth final : public DepthSource {
 public:
  ZedDepth(std::unique_ptr<FrameSource> source, StereoGeometry geometry, DepthOptions options)
      : source_(std::move(source)), geometry_(geometry), options_(std::move(options)) {}

  Result<bool> Next(DepthFrame& frame) override {
    StereoFrame seen;
    DF_ASSIGN_OR_RETURN(const bool more, source_->Next(seen));
    if (!more) return false;
    depth_mm_.Resize(seen.depth_mm.width_px, seen.depth_mm.height_px);
    for (int y = 0; y < seen.depth_mm.height_px; ++y) {
      std::copy_n(seen.depth_mm.row(y), seen.depth_mm.width_px, depth_mm_.row(y));
    }
    ClipDepth(options_.Range(), depth_mm_);
    frame = {.index = seen.index,
             .time_ns = seen.time_ns,
             .depth_mm = std::as_const(depth_mm_).view(),
             .damaged = seen.damaged};
    return true;
  }

  const SourceInfo& info() const override { return source_->info(); }
  StereoGeometry geometry() const override { return geometry_; }
  std::string parameters_json() const override {
    return FormatBackendParameters(options_, {.kind = DepthBackend::Kind::kZed}, {});
  }
  std::vector<std::string> Warnings() const override { return source_->Warnings(); }

 private:
  std::unique_ptr<FrameSource> source_;
  StereoGeometry geometry_;
  DepthOptions options_;
  DepthImage depth_mm_;
};

Result<std::unique_ptr<DepthSource>> OpenZed(const DepthRecording& recording,
                                             const DepthOptions& options) {
  DF_ASSIGN_OR_RETURN(std::unique_ptr<FrameSource> source,
                      OpenZedSource(recording.path,
                                    {.decode_threads = recording.decode_threads,
                                     .use_zed_sdk = true,
                                     .sdk_depth = true,
                                     .zed_depth_mode = options.zed_depth_mode}));
  // The SDK computed with its own camera, whatever else is known.
  DF_ASSIGN_OR_RETURN(const StereoGeometry geometry,
                      GeometryOf({.path = recording.path}, source->info()));
  return std::make_unique<ZedDepth>(std::move(source), geometry, options);
}

// ---- Maps that somebody else made -----------------------------------------------------------

class ExternalDepth final : public DepthSource {
 public:
  ExternalDepth(MapFolder maps,
                RecordingSummary summary,
                StereoGeometry geometry,
                DepthOptions options)
      : maps_(std::move(maps)),
        summary_(std::move(summary)),
        geometry_(geometry),
        options_(std::move(options)),
        frame_count_(summary_.info.frame_count.value_or(maps_.last_frame() + 1)) {}

  Result<bool> Next(DepthFrame& frame) override {
    if (index_ >= frame_count_) return false;
    frame = {.index = index_};
    const auto place = static_cast<std::size_t>(index_);
    if (place < summary_.frame_times_ns.size()) frame.time_ns = summary_.frame_times_ns[place];
    const fs::path* const file = maps_.Find(index_++);
    depth_mm_.Resize(summary_.info.width_px, summary_.info.height_px);
    frame.missing = file == nullptr;
    if (file != nullptr) {
      DF_RETURN_IF_ERROR(ReadDepth(*file));
    } else {
      for (int y = 0; y < depth_mm_.height_px(); ++y) {
        std::fill_n(depth_mm_.row(y), depth_mm_.width_px(), std::uint16_t{0});
      }
    }
    frame.depth_mm = std::as_const(depth_mm_).view();
    return true;
  }

  const SourceInfo& info() const override { return summary_.info; }
  StereoGeometry geometry() const override { return geometry_; }
  std::string parameters_json() const override {
    return FormatBackendParameters(options_, {.kind = DepthBackend::Kind::kExternal}, {});
  }
  std::vector<std::string> Warnings() const override { return summary_.problems; }

 private:
  Status ReadDepth(const fs::path& file) {
    DF_ASSIGN_OR_RETURN(const Image<float> map, ReadMap(file, options_.external_unit));
    if (map.width_px() != depth_mm_.width_px() || map.height_px() != depth_mm_.height_px()) {
      return Fail(ErrorKind::kInvalidData,
                  "want a map of {}x{}, as the recording, have {}x{}: {}",
                  depth_mm_.width_px(),
                  depth_mm_.height_px(),
                  map.width_px(),
                  map.height_px(),
                  file.string());
    }
    const bool is_depth = options_.external_unit == MapKind::kDepth;
    for (int y = 0; y < depth_mm_.height_px(); ++y) {
      for (int x = 0; x < depth_mm_.width_px(); ++x) {
        const double value = map.at(x, y);
        depth_mm_.at(x, y) = is_depth ? RoundToMillimetres(value, options_.Range())
                                      : DepthOf(value, geometry_, options_.Range());
      }
    }
    return {};
  }

  MapFolder maps_;
  RecordingSummary summary_;
  StereoGeometry geometry_;
  DepthOptions options_;
  std::int64_t frame_count_;
  std::int64_t index_ = 0;
  DepthImage depth_mm_;
};

Result<std::unique_ptr<DepthSource>> OpenExternal(const DepthRecording& recording,
                                                  const DepthOptions& options,
                                                  const fs::path& directory) {
  DF_ASSIGN_OR_RETURN(MapFolder maps, MapFolder::Open(directory));
  DF_ASSIGN_OR_RETURN(RecordingSummary summary,
                      SummarizeRecording(recording.path, SvoFrames::kCount));
  DF_ASSIGN_OR_RETURN(const StereoGeometry geometry, GeometryOf(recording, summary.info));
  DF_RETURN_IF_ERROR(CheckStereoGeometry(geometry));
  const std::int64_t frames = summary.info.frame_count.value_or(maps.last_frame() + 1);
  if (maps.last_frame() >= frames) {
    return Fail(ErrorKind::kInvalidData,
                "want maps of frames 0 … {}, have one of frame {}: {}",
                frames - 1,
                maps.last_frame(),
                maps.Find(maps.last_frame())->string());
  }
  return std::make_unique<ExternalDepth>(std::move(maps), std::move(summary), geometry, options);
}

/// The last number in a name; nothing where it has none.
Result<std::optional<std::int64_t>> NumberIn(const fs::path& path) {
  const std::string stem = path.stem().string();
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto end = std::find_if(stem.rbegin(), stem.rend(), is_digit).base();
  const auto begin =
      std::find_if_not(std::make_reverse_iterator(end), stem.rend(), is_digit).base();
  if (begin == end) return std::nullopt;
  std::int64_t number = 0;
  const char* const first = stem.data() + (begin - stem.begin());
  const auto [stop, error] = std::from_chars(first, first + (end - begin), number);
  // As many frames as fit into a recording's index.
  if (error != std::errc() || number > std::numeric_limits<std::int32_t>::max()) {
    return Fail(ErrorKind::kInvalidData, "want a frame's number in the name: {}", path.string());
  }
  return number;
}

}  // namespace

Result<std::vector<Matcher*>> MatcherPool::Get(MatcherBackend backend,
                                               const MatcherOptions& options,
                                               int count) {
  DF_CHECK(count >= 1, "{}", count);
  if (backend != backend_ || options != options_) matchers_.clear();
  backend_ = backend;
  options_ = options;
  while (matchers_.size() < static_cast<std::size_t>(count)) {
    DF_ASSIGN_OR_RETURN(std::unique_ptr<Matcher> matcher, MakeMatcher(backend, options));
    matchers_.push_back(std::move(matcher));
  }
  std::vector<Matcher*> matchers(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < matchers.size(); ++i) matchers[i] = matchers_[i].get();
  return matchers;
}

Result<std::unique_ptr<DepthSource>> OpenDepthSource(const DepthRecording& recording,
                                                     const DepthOptions& options,
                                                     MatcherPool& pool) {
  const DepthBackend backend = Resolve(options.backend);
  switch (backend.kind) {
    case DepthBackend::Kind::kZed:
      return OpenZed(recording, options);
    case DepthBackend::Kind::kExternal:
      return OpenExternal(recording, options, backend.directory);
    case DepthBackend::Kind::kAuto:
    case DepthBackend::Kind::kMatcher:
      break;
  }
  return OpenMatched(recording, options, backend.matcher, pool);
}

Result<MapFolder> MapFolder::Open(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path& path = entry->path();
    if (CheckMapName(path) && entry->is_regular_file()) files.push_back(path);
  }
  if (error) {
    return FailErrno(error.value(), fmt::format("cannot list {}", directory.string()));
  }
  std::ranges::sort(files);
  MapFolder maps;
  bool has_numbers = false;
  for (std::size_t i = 0; i < files.size(); ++i) {
    DF_ASSIGN_OR_RETURN(const std::optional<std::int64_t> number, NumberIn(files[i]));
    if (i > 0 && number.has_value() != has_numbers) {
      return Fail(ErrorKind::kInvalidData,
                  "want a number in every name or in none, have {} and {}",
                  files[i - 1].filename().string(),
                  files[i].string());
    }
    has_numbers = number.has_value();
    const auto [place, is_new] =
        maps.files_.emplace(number.value_or(static_cast<std::int64_t>(i)), files[i]);
    if (!is_new) {
      return Fail(ErrorKind::kInvalidData,
                  "want one map of frame {}, have {} and {}",
                  *number,
                  place->second.filename().string(),
                  files[i].string());
    }
  }
  return maps;
}

const fs::path* MapFolder::Find(std::int64_t frame) const {
  const auto found = files_.find(frame);
  return found == files_.end() ? nullptr : &found->second;
}

std::int64_t MapFolder::last_frame() const { return files_.empty() ? -1 : files_.rbegin()->first; }

}  // namespace droidflow

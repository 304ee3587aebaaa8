#include "droidflow/pipeline/depth_frames.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/pipeline/depth_line_internal.h"
#include "droidflow/pipeline/map_file.h"
#include "droidflow/video/recording_summary.h"
#include "droidflow/video/zed_source.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <system_error>
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

/// Resizes a picture and leaves nothing in it.
void MakeEmpty(int width_px, int height_px, DepthImage& depth_mm) {
  depth_mm.Resize(width_px, height_px);
  for (int y = 0; y < height_px; ++y) std::fill_n(depth_mm.row(y), width_px, std::uint16_t{0});
}

template <typename T>
void CopyPicture(ImageView<const T> from, Image<T>& to) {
  to.Resize(from.width_px, from.height_px);
  for (int y = 0; y < from.height_px; ++y) std::copy_n(from.row(y), from.width_px, to.row(y));
}

/// The frames of a recording that get depth. What the decoder lost of them is missing, so that each
/// keeps its place.
///
/// @tparam Seen  what reading gives: an AlignedPair, a StereoFrame.
template <typename Seen>
class WantedFrames {
 public:
  WantedFrames(const DepthRecording& recording, const DepthOptions& options)
      : every_(options.every), max_frames_(recording.max_frames) {}

  /// @param next  reads what follows: Result<bool>(Seen&, first frame that is wanted).
  /// @param take  keeps what is wanted: void(const Seen&).
  template <typename Next, typename Take>
  Result<DepthLine::Step> Read(DepthFrame& frame, Next next, Take take) {
    if (max_frames_ && index_ >= *max_frames_) return DepthLine::Step::kEnd;
    if (!is_seen_) {
      DF_ASSIGN_OR_RETURN(is_seen_, next(seen_, index_));
      if (!is_seen_) return DepthLine::Step::kEnd;
    }
    if (seen_.index < index_) {
      is_seen_ = false;
      return DepthLine::Step::kSkipped;
    }
    frame = {.index = index_, .missing = seen_.index > index_};
    index_ += every_;
    if (frame.missing) return DepthLine::Step::kFrame;
    frame.time_ns = seen_.time_ns;
    frame.damaged = seen_.damaged;
    take(std::as_const(seen_));
    is_seen_ = false;
    return DepthLine::Step::kFrame;
  }

 private:
  std::int64_t every_;
  std::optional<std::int64_t> max_frames_;
  std::int64_t index_ = 0;  ///< of the next one that is wanted
  Seen seen_;
  bool is_seen_ = false;  ///< `seen_` was read and not taken
};

// ---- Matching -------------------------------------------------------------------------------

class MatchedDepth final : public DepthSource {
 public:
  MatchedDepth(PairSource pairs,
               const WantedFrames<AlignedPair>& wanted,
               StereoGeometry geometry,
               DepthTable table,
               std::vector<Matcher*> matchers,
               std::string parameters_json,
               DepthCounters& counters)
      : pairs_(std::move(pairs)),
        wanted_(wanted),
        geometry_(geometry),
        table_(std::move(table)),
        matchers_(std::move(matchers)),
        parameters_json_(std::move(parameters_json)),
        disparities_px16_(matchers_.size()),
        line_([this](DepthSlot& slot) { return Read(slot); },
              [this](std::size_t worker, DepthSlot& slot) { return Match(worker, slot); },
              matchers_.size(),
              counters) {}

  Result<bool> Next(DepthFrame& frame) override { return line_.Next(frame); }

  const SourceInfo& info() const override { return pairs_.info(); }
  StereoGeometry geometry() const override { return geometry_; }
  std::string parameters_json() const override { return parameters_json_; }
  std::optional<RowAlignment> rows() const override { return pairs_.rows(); }
  RowOffset removed() const override { return pairs_.removed(); }
  std::vector<std::string> Warnings() const override { return pairs_.Warnings(); }

 private:
  Result<DepthLine::Step> Read(DepthSlot& slot) {
    return wanted_.Read(
        slot.frame,
        [this](AlignedPair& pair, std::int64_t from) { return pairs_.Next(pair, from); },
        [&](const AlignedPair& pair) {
          CopyPicture(pair.left, slot.left);
          CopyPicture(pair.right, slot.right);
        });
  }

  Status Match(std::size_t worker, DepthSlot& slot) {
    if (slot.frame.missing) {
      MakeEmpty(info().width_px, info().height_px, slot.depth_mm);
      return {};
    }
    DisparityImage& disparity_px16 = disparities_px16_[worker];
    DF_RETURN_IF_ERROR(matchers_[worker]->Match(std::as_const(slot.left).view(),
                                                std::as_const(slot.right).view(),
                                                disparity_px16,
                                                nullptr));
    MaskDisparity(pairs_.left_mask(), pairs_.right_mask(), disparity_px16);
    table_.Apply(std::as_const(disparity_px16).view(), slot.depth_mm);
    return {};
  }

  PairSource pairs_;
  WantedFrames<AlignedPair> wanted_;
  StereoGeometry geometry_;
  DepthTable table_;
  std::vector<Matcher*> matchers_;
  std::string parameters_json_;
  std::vector<DisparityImage> disparities_px16_;  ///< of each matcher
  DepthLine line_;                                ///< the last: its threads use the others
};

Result<std::unique_ptr<DepthSource>> OpenMatched(const DepthRecording& recording,
                                                 const DepthOptions& options,
                                                 MatcherBackend backend,
                                                 MatcherPool& pool,
                                                 DepthCounters& counters) {
  const auto open = [&] {
    const ScopedTime time(counters.decode_ns);
    return PairSource::Open(recording.path,
                            recording.rig,
                            {.row_align = options.row_align,
                             .decode_threads = recording.decode_threads,
                             .use_zed_sdk = recording.use_zed_sdk});
  };
  DF_ASSIGN_OR_RETURN(PairSource pairs, open());
  DF_ASSIGN_OR_RETURN(const StereoGeometry geometry, GeometryOf(recording, pairs.info()));
  DF_ASSIGN_OR_RETURN(DepthTable table, DepthTable::Make(geometry, options.Range()));
  const int width_px = pairs.info().width_px;
  DF_RETURN_IF_ERROR(CheckDisparityFits(options, width_px));
  const MatcherOptions matcher = MatcherOptionsFor(options, width_px, geometry);
  DF_ASSIGN_OR_RETURN(std::vector<Matcher*> matchers, pool.Get(backend, matcher, options.Jobs()));
  return std::make_unique<MatchedDepth>(
      std::move(pairs),
      WantedFrames<AlignedPair>(recording, options),
      geometry,
      std::move(table),
      std::move(matchers),
      FormatBackendParameters(
          options, {.kind = DepthBackend::Kind::kMatcher, .matcher = backend}, matcher),
      counters);
}

// ---- The ZED SDK ----------------------------------------------------------------------------

class ZedDepth final : public DepthSource {
 public:
  ZedDepth(std::unique_ptr<FrameSource> source,
           const WantedFrames<StereoFrame>& wanted,
           StereoGeometry geometry,
           DepthOptions options,
           DepthCounters& counters)
      : source_(std::move(source)),
        wanted_(wanted),
        geometry_(geometry),
        options_(std::move(options)),
        line_([this](DepthSlot& slot) { return Read(slot); }, nullptr, 0, counters) {}

  Result<bool> Next(DepthFrame& frame) override { return line_.Next(frame); }

  const SourceInfo& info() const override { return source_->info(); }
  StereoGeometry geometry() const override { return geometry_; }
  std::string parameters_json() const override {
    return FormatBackendParameters(options_, {.kind = DepthBackend::Kind::kZed}, {});
  }
  std::vector<std::string> Warnings() const override { return source_->Warnings(); }

 private:
  Result<DepthLine::Step> Read(DepthSlot& slot) {
    MakeEmpty(info().width_px, info().height_px, slot.depth_mm);
    return wanted_.Read(
        slot.frame,
        [this](StereoFrame& seen, std::int64_t) { return source_->Next(seen); },
        [&](const StereoFrame& seen) {
          CopyPicture(seen.depth_mm, slot.depth_mm);
          ClipDepth(options_.Range(), slot.depth_mm);
        });
  }

  std::unique_ptr<FrameSource> source_;
  WantedFrames<StereoFrame> wanted_;
  StereoGeometry geometry_;
  DepthOptions options_;
  DepthLine line_;  ///< the last: its thread uses the others
};

Result<std::unique_ptr<DepthSource>> OpenZed(const DepthRecording& recording,
                                             const DepthOptions& options,
                                             DepthCounters& counters) {
  DF_ASSIGN_OR_RETURN(std::unique_ptr<FrameSource> source,
                      OpenZedSource(recording.path,
                                    {.decode_threads = recording.decode_threads,
                                     .use_zed_sdk = true,
                                     .sdk_depth = true,
                                     .zed_depth_mode = options.zed_depth_mode}));
  // The SDK computed with its own camera, whatever else is known.
  DF_ASSIGN_OR_RETURN(const StereoGeometry geometry,
                      GeometryOf({.path = recording.path}, source->info()));
  return std::make_unique<ZedDepth>(std::move(source),
                                    WantedFrames<StereoFrame>(recording, options),
                                    geometry,
                                    options,
                                    counters);
}

// ---- Maps that somebody else made -----------------------------------------------------------

class ExternalDepth final : public DepthSource {
 public:
  ExternalDepth(MapFolder maps,
                RecordingSummary summary,
                std::int64_t frame_count,
                StereoGeometry geometry,
                DepthOptions options,
                DepthCounters& counters)
      : maps_(std::move(maps)),
        summary_(std::move(summary)),
        frame_count_(frame_count),
        geometry_(geometry),
        options_(std::move(options)),
        line_([this](DepthSlot& slot) { return Read(slot); }, nullptr, 0, counters) {}

  Result<bool> Next(DepthFrame& frame) override { return line_.Next(frame); }

  const SourceInfo& info() const override { return summary_.info; }
  StereoGeometry geometry() const override { return geometry_; }
  std::string parameters_json() const override {
    return FormatBackendParameters(options_, {.kind = DepthBackend::Kind::kExternal}, {});
  }
  std::vector<std::string> Warnings() const override { return summary_.problems; }

 private:
  Result<DepthLine::Step> Read(DepthSlot& slot) {
    if (index_ >= frame_count_) return DepthLine::Step::kEnd;
    const fs::path* const file = maps_.Find(index_);
    slot.frame = {.index = index_, .missing = file == nullptr};
    const auto place = static_cast<std::size_t>(index_);
    if (place < summary_.frame_times_ns.size()) slot.frame.time_ns = summary_.frame_times_ns[place];
    index_ += options_.every;
    MakeEmpty(info().width_px, info().height_px, slot.depth_mm);
    if (file != nullptr) DF_RETURN_IF_ERROR(ReadDepth(*file, slot.depth_mm));
    return DepthLine::Step::kFrame;
  }

  Status ReadDepth(const fs::path& file, DepthImage& depth_mm) const {
    DF_ASSIGN_OR_RETURN(const Image<float> map, ReadMap(file, options_.external_unit));
    if (map.width_px() != depth_mm.width_px() || map.height_px() != depth_mm.height_px()) {
      return Fail(ErrorKind::kInvalidData,
                  "want a map of {}x{}, as the recording, have {}x{}: {}",
                  depth_mm.width_px(),
                  depth_mm.height_px(),
                  map.width_px(),
                  map.height_px(),
                  file.string());
    }
    const bool is_depth = options_.external_unit == MapKind::kDepth;
    for (int y = 0; y < depth_mm.height_px(); ++y) {
      for (int x = 0; x < depth_mm.width_px(); ++x) {
        const double value = map.at(x, y);
        depth_mm.at(x, y) = is_depth ? RoundToMillimetres(value, options_.Range())
                                     : DepthOf(value, geometry_, options_.Range());
      }
    }
    return {};
  }

  MapFolder maps_;
  RecordingSummary summary_;
  std::int64_t frame_count_;
  StereoGeometry geometry_;
  DepthOptions options_;
  std::int64_t index_ = 0;
  DepthLine line_;  ///< the last: its thread uses the others
};

Result<std::unique_ptr<DepthSource>> OpenExternal(const DepthRecording& recording,
                                                  const DepthOptions& options,
                                                  const fs::path& directory,
                                                  DepthCounters& counters) {
  DF_ASSIGN_OR_RETURN(MapFolder maps, MapFolder::Open(directory));
  DF_ASSIGN_OR_RETURN(RecordingSummary summary,
                      SummarizeRecording(recording.path, SvoFrames::kCount));
  DF_ASSIGN_OR_RETURN(const StereoGeometry geometry, GeometryOf(recording, summary.info));
  DF_RETURN_IF_ERROR(CheckStereoGeometry(geometry));
  const std::int64_t frames = summary.info.frame_count.value_or(maps.last_frame() + 1);
  std::int64_t first = 0;
  while (first <= maps.last_frame() && maps.Find(first) == nullptr) first += options.every;
  if (first > maps.last_frame()) {
    return Fail(ErrorKind::kNotFound,
                "backend external: want maps of frames 0, {}, {}, …, as 000000.png, .pfm or .npy, "
                "have {} maps and of none of these: {}",
                options.every,
                2 * options.every,
                maps.size(),
                directory.string());
  }
  if (maps.last_frame() >= frames) {
    return Fail(ErrorKind::kInvalidData,
                "want maps of frames 0 … {}, have one of frame {}: {}",
                frames - 1,
                maps.last_frame(),
                maps.Find(maps.last_frame())->string());
  }
  return std::make_unique<ExternalDepth>(std::move(maps),
                                         std::move(summary),
                                         std::min(frames, recording.max_frames.value_or(frames)),
                                         geometry,
                                         options,
                                         counters);
}

/// The maps in a folder, by name.
Result<std::vector<fs::path>> ListMaps(const fs::path& directory) {
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
  return files;
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
                                                     MatcherPool& pool,
                                                     DepthCounters& counters) {
  const DepthBackend backend = Resolve(options.backend);
  switch (backend.kind) {
    case DepthBackend::Kind::kZed:
      return OpenZed(recording, options, counters);
    case DepthBackend::Kind::kExternal:
      return OpenExternal(recording, options, backend.directory, counters);
    case DepthBackend::Kind::kAuto:
    case DepthBackend::Kind::kMatcher:
      break;
  }
  return OpenMatched(recording, options, backend.matcher, pool, counters);
}

Result<MapFolder> MapFolder::Open(const fs::path& directory) {
  DF_ASSIGN_OR_RETURN(const std::vector<fs::path> files, ListMaps(directory));
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

Result<fs::path> FindMapOfPair(const fs::path& directory,
                               const fs::path& left,
                               const fs::path& right) {
  DF_ASSIGN_OR_RETURN(std::vector<fs::path> files, ListMaps(directory));
  std::erase_if(files, [&](const fs::path& file) {
    std::error_code ignored;
    return fs::equivalent(file, left, ignored) || fs::equivalent(file, right, ignored);
  });
  const auto named = std::ranges::find(files, left.stem(), &fs::path::stem);
  if (named != files.end()) {
    const auto other = std::find_if(
        named + 1, files.end(), [&](const fs::path& file) { return file.stem() == left.stem(); });
    if (other == files.end()) return *named;
    return Fail(ErrorKind::kInvalidData,
                "want one map of {}, have {} and {}",
                left.filename().string(),
                named->filename().string(),
                other->string());
  }
  if (files.size() == 1) return files.front();
  for (const fs::path& file : files) {
    const Result<std::optional<std::int64_t>> number = NumberIn(file);
    if (number && *number == 0) return file;
  }
  return Fail(ErrorKind::kNotFound,
              "backend external: want {}.png, .pfm or .npy, one map alone, or 000000.png, .pfm or "
              ".npy, have {} maps with other names: {}",
              left.stem().string(),
              files.size(),
              directory.string());
}

}  // namespace droidflow

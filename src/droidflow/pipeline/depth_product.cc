#include "droidflow/pipeline/depth_product.h"

#include "droidflow/core/files.h"
#include "droidflow/core/sha256.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/build_info.h"
#include "droidflow/pipeline/depth_line_internal.h"
#include "droidflow/pipeline/map_file.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/video/depth_video.h"
#include "droidflow/video/picture_file.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr double kMinFps = 0.002;
constexpr double kMaxFps = 999;
constexpr std::int64_t kNanosecondsPerMillisecond = 1'000'000;

/// What was written, as depth_meta.json counts it.
struct Tally {
  std::int64_t valid_px = 0;
  std::int64_t all_px = 0;
  std::vector<std::int64_t> damaged;
  std::vector<std::int64_t> missing;
  std::vector<std::optional<std::int64_t>> times_ns;  ///< of every frame

  /// @param frame  the next: number frames() of those with depth.
  void Add(const DepthFrame& frame) {
    const DepthView& depth_mm = frame.depth_mm;
    for (int y = 0; y < depth_mm.height_px; ++y) {
      const std::uint16_t* const row = depth_mm.row(y);
      valid_px += depth_mm.width_px - std::count(row, row + depth_mm.width_px, 0);
    }
    all_px += std::int64_t{depth_mm.width_px} * depth_mm.height_px;
    if (frame.damaged) damaged.push_back(frames());
    if (frame.missing) missing.push_back(frames());
    times_ns.push_back(frame.time_ns);
  }
  [[nodiscard]] std::int64_t frames() const { return static_cast<std::int64_t>(times_ns.size()); }
  [[nodiscard]] double ValidFraction() const {
    return static_cast<double>(valid_px) / static_cast<double>(all_px);
  }
};

/// Adds what a recording's counters have grown by to those that others watch.
class LiveCounters {
 public:
  LiveCounters(const DepthCounters& own, DepthCounters* live) : own_(own), live_(live) {}
  LiveCounters(const LiveCounters&) = delete;
  LiveCounters& operator=(const LiveCounters&) = delete;
  ~LiveCounters() { Update(); }

  void Update() {
    if (live_ == nullptr) return;
    for (std::size_t i = 0; i < kCounters.size(); ++i) {
      const std::int64_t now = own_.*kCounters[i];
      live_->*kCounters[i] += now - std::exchange(told_[i], now);
    }
  }

 private:
  static constexpr std::array kCounters{&DepthCounters::frames,
                                        &DepthCounters::decode_ns,
                                        &DepthCounters::match_ns,
                                        &DepthCounters::encode_ns,
                                        &DepthCounters::wait_ns};

  const DepthCounters& own_;
  DepthCounters* live_;
  std::array<std::int64_t, kCounters.size()> told_ = {};
};

/// What is known of every frame, as said of every K-th: the frames of the depth.
DepthContext ForEvery(int every, DepthContext context) {
  if (context.step_to_frame) {
    for (std::int32_t& frame : *context.step_to_frame) {
      frame = frame >= 0 && frame % every == 0 ? frame / every : -1;
    }
  }
  for (std::vector<std::int64_t>* const times_ns :
       {&context.frame_times_ns, &context.shown_at_ns}) {
    const auto step = static_cast<std::size_t>(every);
    std::size_t count = 0;
    for (std::size_t i = 0; i < times_ns->size(); i += step) (*times_ns)[count++] = (*times_ns)[i];
    times_ns->resize(count);
  }
  return context;
}

/// The rate of a video of every K-th frame.
double VideoFps(const DepthContext& context, const SourceInfo& info, int every) {
  double fps = kDefaultFps;
  for (const double known : {info.nominal_fps, context.nominal_fps.value_or(0)}) {
    if (known >= kMinFps && known <= kMaxFps) fps = known;
  }
  return std::max(fps / every, kMinFps);
}

/// Milliseconds since `start_ns`, if every frame has a time and they rise: what a video can hold.
/// Otherwise empty: it then goes by the nominal rate.
std::vector<std::int64_t> RisingMs(const std::vector<std::int64_t>& times_ns,
                                   std::int64_t start_ns) {
  std::vector<std::int64_t> times_ms;
  // Twenty years: also what a difference may be.
  constexpr std::int64_t kMost_ms = std::int64_t{1} << 39;
  for (const std::int64_t time_ns : times_ns) {
    // In two parts: times may be farther apart than a number holds.
    const std::int64_t rest_ns =
        time_ns % kNanosecondsPerMillisecond - start_ns % kNanosecondsPerMillisecond;
    const std::int64_t time_ms =
        time_ns / kNanosecondsPerMillisecond - start_ns / kNanosecondsPerMillisecond +
        std::llround(static_cast<double>(rest_ns) / kNanosecondsPerMillisecond);
    if ((!times_ms.empty() && time_ms <= times_ms.back()) || time_ms > kMost_ms) return {};
    times_ms.push_back(time_ms);
  }
  return times_ms;
}

/// When the frames of the depth are shown: from 0 on where their times are of a clock, else as the
/// recording is, from where it starts; empty: by the nominal rate.
std::vector<std::int64_t> VideoTimesMs(const DepthContext& context) {
  if (!context.frame_times_ns.empty()) {
    return RisingMs(context.frame_times_ns, context.frame_times_ns.front());
  }
  if (context.nominal_fps || context.shown_at_ns.empty()) return {};
  return RisingMs(context.shown_at_ns, std::min(std::int64_t{0}, context.shown_at_ns.front()));
}

/// Takes depth frame by frame.
class Sink {
 public:
  [[nodiscard]] static Result<Sink> Open(const DepthOutput& output,
                                         const DepthVideoOptions& video,
                                         std::vector<std::int64_t> times_ms) {
    RemoveAbandoned(output.meta_path());
    Sink sink(output, std::move(times_ms));
    if (output.is_video()) {
      RemoveAbandoned(output.path());
      DF_ASSIGN_OR_RETURN(sink.video_, DepthVideoWriter::Open(output.path(), video));
    }
    return sink;
  }

  [[nodiscard]] Status Write(const DepthFrame& frame, std::int64_t place) {
    if (video_) {
      const auto index = static_cast<std::size_t>(place);
      std::optional<std::int64_t> time_ms;
      if (!times_ms_.empty()) {
        // A file has more frames than its index says: they follow a millisecond apart.
        time_ms = index < times_ms_.size()
                      ? times_ms_[index]
                      : times_ms_.back() + 1 + static_cast<std::int64_t>(index - times_ms_.size());
      }
      return video_->Write(frame.depth_mm, time_ms);
    }
    const fs::path file = output_.FrameFile(place);
    if (EndingOf(file) == ".png") return WriteGray16Png(file, frame.depth_mm);
    map_m_.Resize(frame.depth_mm.width_px, frame.depth_mm.height_px);
    for (int y = 0; y < map_m_.height_px(); ++y) {
      for (int x = 0; x < map_m_.width_px(); ++x) {
        const std::uint16_t mm = frame.depth_mm.at(x, y);
        map_m_.at(x, y) = mm == 0 ? std::numeric_limits<float>::quiet_NaN()
                                  : static_cast<float>(mm / kMillimetres);
      }
    }
    return WriteMap(file, std::as_const(map_m_).view(), MapKind::kDepth);
  }

  [[nodiscard]] Status Close() {
    std::error_code error;
    // Not even for a moment the description of another video.
    fs::remove(output_.meta_path(), error);
    if (error) {
      return FailErrno(error.value(),
                       fmt::format("cannot remove {}", output_.meta_path().string()));
    }
    return video_ ? video_->Close() : Status();
  }

 private:
  Sink(const DepthOutput& output, std::vector<std::int64_t> times_ms)
      : output_(output), times_ms_(std::move(times_ms)) {}

  DepthOutput output_;
  std::vector<std::int64_t> times_ms_;
  std::optional<DepthVideoWriter> video_;
  Image<float> map_m_;
};

double Seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

Json NullOr(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

/// [frames] Unix milliseconds; null unless every frame has a time.
Json TimesJson(const Tally& tally, const std::vector<std::int64_t>& given_ns) {
  Json times = Json::array();
  for (std::size_t i = 0; i < tally.times_ns.size(); ++i) {
    const bool is_given = i < given_ns.size();
    if (!is_given && !tally.times_ns[i]) return nullptr;
    const std::int64_t time_ns = is_given ? given_ns[i] : *tally.times_ns[i];
    // Microseconds: as much of 2023 as a double holds.
    times.push_back(std::round(static_cast<double>(time_ns) / 1000) / 1000);
  }
  return times;
}

/// [frames] the first step that a frame shows, -1: none.
Json FrameToStep(const std::vector<std::int32_t>& step_to_frame, std::int64_t frames) {
  std::vector<std::int32_t> frame_to_step(static_cast<std::size_t>(frames), -1);
  for (std::size_t step = 0; step < step_to_frame.size(); ++step) {
    const std::int32_t frame = step_to_frame[step];
    if (frame < 0 || frame >= frames) continue;
    std::int32_t& first = frame_to_step[static_cast<std::size_t>(frame)];
    if (first < 0) first = static_cast<std::int32_t>(step);
  }
  return frame_to_step;
}

/// Steps whose frame was not decoded show none.
Json StepToFrame(std::vector<std::int32_t> step_to_frame, std::int64_t frames) {
  for (std::int32_t& frame : step_to_frame) frame = frame < frames ? frame : -1;
  return step_to_frame;
}

Json DescribeRows(const DepthSource& source) {
  const RowOffset removed = source.removed();
  Json json = {{"removed",
                {{"offset_px", removed.offset_px},
                 {"slope_x", removed.slope_x},
                 {"slope_y", removed.slope_y}}},
               {"measured", nullptr}};
  if (source.rows()) json["measured"] = Json::parse(FormatRowAlignment(*source.rows()));
  return json;
}

std::string FormatMeta(const DepthSource& source,
                       const DepthContext& context,
                       const DepthOptions& options,
                       const DepthOutput& output,
                       const DepthReport& report,
                       const Tally& tally,
                       const std::string& sha256) {
  const SourceInfo& info = source.info();
  const DepthBackend backend = Resolve(options.backend);
  const DepthRange range = options.Range();
  const std::string extension = EndingOf(output.path()).substr(1);
  const bool is_integer = output.is_video() || extension == "png";
  const bool is_external = backend.kind == DepthBackend::Kind::kExternal;
  const auto [step_to_frame, frame_to_step] =
      context.step_to_frame ? std::pair(StepToFrame(*context.step_to_frame, tally.frames()),
                                        FrameToStep(*context.step_to_frame, tally.frames()))
                            : std::pair(Json(nullptr), Json(nullptr));
  Json json = {
      {"file", output.path().filename().string()},
      {"codec", output.is_video() ? "ffv1" : extension},
      {"pix_fmt", is_integer ? "gray16le" : "grayf32le"},
      {"unit", is_integer ? "millimetre" : "metre"},
      {"scale", is_integer ? kMillimetres : 1.0},
      {"invalid_value", is_integer ? Json(0) : Json(nullptr)},
      {"width", info.width_px},
      {"height", info.height_px},
      {"frame_count", tally.frames()},
      {"depth_every", options.every},
      {"nominal_fps",
       info.nominal_fps > 0 ? Json(std::round(info.nominal_fps * 1000) / 1000) : Json(nullptr)},
      {"min_depth_m", range.min_m},
      {"max_depth_m", range.max_m},
      {"backend", is_external ? "external" : ToString(backend)},
      {"backend_parameters", Json::parse(source.parameters_json())},
      {"fx", source.geometry().fx_px},
      {"baseline_m", source.geometry().baseline_m},
      {"recording", NullOr(context.recording_name)},
      {"serial", NullOr(context.serial)},
      {"rows", DescribeRows(source)},
      {"valid_fraction", report.valid_fraction},
      {"damaged_frames", tally.damaged},
      {"missing_frames", tally.missing},
      {"warnings", report.warnings},
      {"step_to_frame", step_to_frame},
      {"frame_to_step", frame_to_step},
      {"timestamps_ms", TimesJson(tally, context.frame_times_ns)},
      {"droidflow_version", build_info::kVersion},
      {"sha256", NullOr(sha256)},
  };
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// Whether an error means that the recording's end is reached sooner than it should; a bad map of
/// somebody else's is his to mend.
bool EndsRecording(const Error& error, const DepthOptions& options, const Tally& tally) {
  return error.kind == ErrorKind::kInvalidData && tally.frames() > 0 &&
         options.backend.kind != DepthBackend::Kind::kExternal;
}

}  // namespace

Result<DepthOutput> DepthOutput::Parse(const fs::path& path) {
  DepthOutput output;
  output.path_ = path;
  const std::string name = path.filename().string();
  if (EndingOf(path) == ".mkv") {
    output.is_video_ = true;
    output.meta_path_ = path.parent_path() / (path.stem().string() + "_meta.json");
    return output;
  }
  // "%d" or "%06d", once, and no other per cent.
  const std::size_t place = name.find('%');
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t end = place + 1;
  while (place != name.npos && end < name.size() && is_digit(name[end])) ++end;
  const bool is_pattern = place != name.npos && end < name.size() && name[end] == 'd' &&
                          end - place <= 3 && name.find('%', end) == name.npos;
  if (!is_pattern || !CheckMapName(path)) {
    return Fail(ErrorKind::kUsage,
                "want a video named .mkv, or a picture for each frame as %06d.png, .pfm or .npy, "
                "have '{}': {}",
                name,
                path.string());
  }
  output.meta_path_ = path.parent_path() / kDepthMetaFile;
  return output;
}

fs::path DepthOutput::FrameFile(std::int64_t index) const {
  const std::string name = path_.filename().string();
  const std::size_t place = name.find('%');
  const std::size_t end = name.find('d', place);
  const std::string width = name.substr(place + 1, end - place - 1);
  const std::string number =
      width.empty() ? fmt::to_string(index) : fmt::format("{:0>{}}", index, std::stoi(width));
  return path_.parent_path() / (name.substr(0, place) + number + name.substr(end + 1));
}

Result<DepthReport> WriteDepth(const DepthRecording& recording,
                               const DepthContext& context,
                               const DepthOptions& options,
                               const DepthOutput& output,
                               MatcherPool& pool,
                               DepthCounters* live) {
  DF_RETURN_IF_ERROR(CheckDepthOptions(options));
  const auto start = std::chrono::steady_clock::now();
  DepthCounters counters;
  LiveCounters others(counters, live);
  DF_ASSIGN_OR_RETURN(const std::unique_ptr<DepthSource> source,
                      OpenDepthSource(recording, options, pool, counters));
  const SourceInfo& info = source->info();
  const DepthContext known = ForEvery(options.every, context);
  DF_ASSIGN_OR_RETURN(Sink sink,
                      Sink::Open(output,
                                 {.width_px = info.width_px,
                                  .height_px = info.height_px,
                                  .nominal_fps = VideoFps(context, info, options.every),
                                  .encode_threads = options.encode_threads},
                                 VideoTimesMs(known)));
  DepthReport report;
  report.warnings = context.warnings;
  report.backend = ToString(Resolve(options.backend));
  Tally tally;
  for (;;) {
    if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
    DepthFrame frame;
    const auto next = [&] {
      const ScopedTime time(counters.wait_ns);
      return source->Next(frame);
    };
    const Result<bool> more = next();
    if (!more && EndsRecording(more.error(), options, tally)) {
      report.warnings.push_back(
          fmt::format("it ends after {} frames: {}", tally.frames(), more.error().message));
      break;
    }
    if (!more) return tl::unexpected(more.error());
    if (!*more) break;
    {
      const ScopedTime time(counters.encode_ns);
      DF_RETURN_IF_ERROR(sink.Write(frame, tally.frames()));
      tally.Add(frame);
    }
    ++counters.frames;
    others.Update();
  }
  if (tally.frames() == 0) {
    return Fail(ErrorKind::kInvalidData,
                "want a recording of at least one frame: {}",
                recording.path.string());
  }
  const std::vector<std::string> warnings = source->Warnings();
  report.warnings.insert(report.warnings.end(), warnings.begin(), warnings.end());
  report.frames = tally.frames();
  report.missing_frames = static_cast<std::int64_t>(tally.missing.size());
  report.damaged_frames = static_cast<std::int64_t>(tally.damaged.size());
  report.valid_fraction = tally.ValidFraction();
  report.rows = source->rows();
  report.removed = source->removed();
  {
    const ScopedTime time(counters.encode_ns);
    DF_RETURN_IF_ERROR(sink.Close());
  }
  std::string sha256;
  if (output.is_video()) {
    DF_ASSIGN_OR_RETURN(sha256, Sha256OfFile(output.path()));
  }
  DF_RETURN_IF_ERROR(WriteFileAtomically(
      output.meta_path(), FormatMeta(*source, known, options, output, report, tally, sha256)));
  report.files = {output.is_video() ? output.path() : output.FrameFile(0), output.meta_path()};
  report.decode_s = Seconds(std::chrono::nanoseconds(counters.decode_ns));
  report.match_s = Seconds(std::chrono::nanoseconds(counters.match_ns));
  report.encode_s = Seconds(std::chrono::nanoseconds(counters.encode_ns));
  report.wait_s = Seconds(std::chrono::nanoseconds(counters.wait_ns));
  report.wall_s = Seconds(std::chrono::steady_clock::now() - start);
  return report;
}

}  // namespace droidflow

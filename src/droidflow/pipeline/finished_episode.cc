#include "droidflow/pipeline/finished_episode.h"

#include "droidflow/core/files.h"
#include "droidflow/io/calibration_reader.h"
#include "droidflow/pipeline/episode_depth.h"
#include "droidflow/pipeline/product_arrays.h"
#include "droidflow/pipeline/product_json_internal.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/stereo_pairs.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMaxPathPoints = 400;
constexpr int kReadOn_frames = 60;  ///< rather than looking for a frame that is not farther away

Result<FinishedMotion> ReadMotion(const ProductArrays& tracks) {
  FinishedMotion motion;
  DF_ASSIGN_OR_RETURN(motion.steps, tracks.Count("num_frames"));
  DF_ASSIGN_OR_RETURN(const std::int64_t points, tracks.Count("num_points_per_finger"));
  motion.points = 2 * points;
  DF_ASSIGN_OR_RETURN(const std::vector<double> fps, tracks.Numbers("fps", 1));
  motion.fps = fps[0] > 0 ? fps[0] : 15;
  const std::int64_t steps = motion.steps;
  if (tracks.Contains("timestamps_ms")) {
    DF_ASSIGN_OR_RETURN(motion.time_s, tracks.Numbers("timestamps_ms", steps));
    const double first = motion.time_s.front();
    motion.start_unix_ms = static_cast<std::int64_t>(first);
    for (double& time : motion.time_s) time = (time - first) / 1000;
  } else {
    for (std::int64_t t = 0; t < steps; ++t) {
      motion.time_s.push_back(static_cast<double>(t) / motion.fps);
    }
  }
  DF_ASSIGN_OR_RETURN(motion.frames, tracks.Poses("contact_frames", steps));
  DF_ASSIGN_OR_RETURN(motion.left_frames, tracks.Poses("left_contact_frames", steps));
  DF_ASSIGN_OR_RETURN(motion.right_frames, tracks.Poses("right_contact_frames", steps));
  DF_ASSIGN_OR_RETURN(const std::int64_t resampled, tracks.Count("num_normalized_steps"));
  DF_ASSIGN_OR_RETURN(const std::vector<double> path,
                      tracks.Numbers("normalized_centroids", 3 * resampled));
  const std::int64_t stride = std::max<std::int64_t>((resampled - 1) / kMaxPathPoints, 1);
  for (std::int64_t i = 0; i < resampled; i += stride) {
    motion.path_world_m.emplace_back(path[3 * i], path[3 * i + 1], path[3 * i + 2]);
  }
  DF_ASSIGN_OR_RETURN(const std::vector<double> distance_mm,
                      tracks.Numbers("cumulative_distance_mm", steps));
  motion.path_mm = std::max(static_cast<int>(std::lround(distance_mm.back())), 1);
  return motion;
}

class EpisodeLoader {
 public:
  EpisodeLoader(fs::path directory, const FinishedEpisodeOptions& options)
      : directory_(std::move(directory)), options_(options) {}

  Result<FinishedEpisode> Load();

 private:
  Status LoadCamera(const ProductArrays& tracks,
                    const ProductArrays& extrinsics,
                    const std::string& serial,
                    const std::string& role);
  void LoadRecording(FinishedCamera& camera);
  void LoadDepth(FinishedCamera& camera);
  void Note(std::string text) { episode_.notes.push_back(std::move(text)); }

  fs::path directory_;
  const FinishedEpisodeOptions& options_;
  std::string source_path_;  ///< of the raw episode, below the root
  FinishedEpisode episode_;
};

Result<FinishedEpisode> EpisodeLoader::Load() {
  DF_ASSIGN_OR_RETURN(const ProductArrays tracks, ProductArrays::Open(directory_ / kTracksFile));
  DF_ASSIGN_OR_RETURN(const ProductArrays extrinsics,
                      ProductArrays::Open(directory_ / kExtrinsicsFile));
  DF_ASSIGN_OR_RETURN(episode_.motion, ReadMotion(tracks));
  DF_ASSIGN_OR_RETURN(const std::vector<std::string> serials, tracks.CamerasWithTracks());
  const auto quality =
      ReadJsonObject(directory_ / kQualityFile).value_or(nlohmann::ordered_json::object());
  episode_.quality_json = quality.dump();
  if (const auto source = quality.find("source_path");
      source != quality.end() && source->is_string()) {
    source_path_ = source->get<std::string>();
  }
  const auto cameras = quality.value("cameras", nlohmann::ordered_json::object());
  std::vector<std::string> known;
  for (const std::string& serial : serials) {
    std::string role;
    const auto camera = cameras.find(serial);
    if (camera != cameras.end() && camera->is_object()) role = camera->value("role", "");
    if (role.empty() && !extrinsics.Contains("external_" + serial)) role = "wrist";
    known.push_back(role.empty() ? serial : fmt::format("{} {}", role, serial));
    const bool is_wanted = options_.cameras.empty() ||
                           std::ranges::any_of(options_.cameras, [&](const std::string& name) {
                             return name == serial || name == role;
                           });
    if (is_wanted) DF_RETURN_IF_ERROR(LoadCamera(tracks, extrinsics, serial, role));
  }
  if (episode_.cameras.empty()) {
    return Fail(ErrorKind::kUsage,
                "no camera {} with tracks, there are [{}]: {}",
                fmt::join(options_.cameras, ", "),
                fmt::join(known, ", "),
                directory_.string());
  }
  return std::move(episode_);
}

Status EpisodeLoader::LoadCamera(const ProductArrays& tracks,
                                 const ProductArrays& extrinsics,
                                 const std::string& serial,
                                 const std::string& role) {
  FinishedCamera camera;
  camera.serial = serial;
  camera.role = role;
  DF_ASSIGN_OR_RETURN(camera.intrinsics, tracks.IntrinsicsOf(serial));
  DF_ASSIGN_OR_RETURN(
      camera.tracks_px,
      tracks.Numbers("tracks_2d_" + serial, episode_.motion.steps * episode_.motion.points * 2));
  if (extrinsics.Contains("external_" + serial)) {
    DF_ASSIGN_OR_RETURN(camera.T_world_cam, extrinsics.Poses("external_" + serial, 1));
  } else {
    DF_ASSIGN_OR_RETURN(camera.T_world_cam,
                        extrinsics.Poses("wrist_extrinsics", episode_.motion.steps));
  }
  LoadRecording(camera);
  if (options_.depth) LoadDepth(camera);
  episode_.cameras.push_back(std::move(camera));
  return {};
}

void EpisodeLoader::LoadRecording(FinishedCamera& camera) {
  const std::string& serial = camera.serial;
  const auto video = ReadJsonObject(directory_ / VideoFile(serial));
  if (!video) return Note(fmt::format("camera {}: no recording is known", serial));
  if (options_.droid_roots.empty()) {
    return Note(fmt::format("camera {}: its recording takes --droid-root", serial));
  }
  const fs::path path = FindRecordingFile(options_.droid_roots, source_path_, *video);
  Result<RecordedPictures> pictures =
      RecordedPictures::Open(path, serial, camera.intrinsics, options_);
  if (!pictures) return Note(fmt::format("camera {}: {}", serial, pictures.error().message));
  camera.recording = *std::move(pictures);
  camera.step_to_frame = FramesOfSteps(*video, episode_.motion.steps);
}

void EpisodeLoader::LoadDepth(FinishedCamera& camera) {
  const fs::path path = directory_ / DepthFile(camera.serial);
  const auto meta = ReadJsonObject(path.parent_path() / kDepthMetaFile);
  if (!meta) return;
  Result<RecordedDepth> depth = RecordedDepth::Open(path, options_.decode_threads);
  if (!depth) {
    return Note(fmt::format("camera {}: no depth: {}", camera.serial, depth.error().message));
  }
  camera.depth = *std::move(depth);
  camera.step_to_depth = FramesOfSteps(*meta, episode_.motion.steps);
}

}  // namespace

Result<nlohmann::ordered_json> ReadJsonObject(const fs::path& path) {
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  auto json = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_object()) return json;
  return Fail(ErrorKind::kInvalidData, "want a JSON object: {}", path.string());
}

std::vector<std::int64_t> FramesOfSteps(const nlohmann::ordered_json& json, std::int64_t steps) {
  std::vector<std::int64_t> frames(steps, -1);
  const auto found = json.find("step_to_frame");
  if (found == json.end() || !found->is_array()) return frames;
  for (std::int64_t t = 0; t < std::min(steps, static_cast<std::int64_t>(found->size())); ++t) {
    const nlohmann::ordered_json& frame = (*found)[t];
    if (frame.is_number_integer()) frames[t] = frame.get<std::int64_t>();
  }
  return frames;
}

fs::path FindRecordingFile(std::span<const fs::path> droid_roots,
                           const std::string& source_path,
                           const nlohmann::ordered_json& video) {
  const auto file = video.find("file");
  const bool is_named = file != video.end() && file->is_string();
  const fs::path below = fs::path(source_path) / (is_named ? file->get<std::string>() : "");
  const auto found = std::ranges::find_if(droid_roots, [&](const fs::path& root) {
    std::error_code ignored;
    return fs::exists(root / below, ignored);
  });
  return (found == droid_roots.end() ? droid_roots.front() : *found) / below;
}

Result<std::optional<Remapper>> LeftEyeRectifier(const SourceInfo& info,
                                                 const std::string& serial,
                                                 const Intrinsics& intrinsics,
                                                 const fs::path& conf_dir,
                                                 const fs::path& path) {
  if (info.rectified) return std::optional<Remapper>();
  if (conf_dir.empty()) {
    return Fail(ErrorKind::kUsage, "it is not rectified, want --conf-dir: {}", path.string());
  }
  DF_ASSIGN_OR_RETURN(const ZedCalibration calibration,
                      ReadZedCalibration(conf_dir, info.serial.empty() ? serial : info.serial));
  DF_ASSIGN_OR_RETURN(const RectifiedRig rig,
                      MakeRig(calibration, info.width_px, info.height_px, intrinsics));
  return std::optional(Remapper::FromRawEye(rig.raw.left,
                                            info.width_px,
                                            info.height_px,
                                            rig.rectified.R_rect_left,
                                            rig.rectified.intrinsics));
}

class RecordedPictures::Impl {
 public:
  static Result<std::unique_ptr<Impl>> Open(const fs::path& path,
                                            const std::string& serial,
                                            const Intrinsics& intrinsics,
                                            const FinishedEpisodeOptions& options) {
    auto impl = std::make_unique<Impl>();
    impl->path_ = path;
    DF_ASSIGN_OR_RETURN(
        impl->source_,
        OpenFrameSource(path,
                        {.pixels = PixelFormat::kRgb, .decode_threads = options.decode_threads}));
    DF_ASSIGN_OR_RETURN(
        impl->map_,
        LeftEyeRectifier(impl->source_->info(), serial, intrinsics, options.conf_dir, path));
    return impl;
  }

  Result<std::optional<RgbView>> At(std::int64_t index) {
    wanted_.insert(index);
    const bool is_in_gap = index >= gap_ && index < shown_index_;
    if (!is_in_gap && index != shown_index_) DF_RETURN_IF_ERROR(GoTo(index));
    if (index == shown_index_) {
      if (is_damaged_) damaged_.insert(index);
      return std::optional(shown_);
    }
    missing_.insert(index);
    return std::optional<RgbView>();
  }

  std::string Trouble() const {
    std::vector<std::string> words;
    const auto add = [&](const std::set<std::int64_t>& frames, const char* what) {
      if (frames.empty()) return;
      words.push_back(fmt::format("{} of {} wanted frames {}, the first is {}",
                                  frames.size(),
                                  wanted_.size(),
                                  what,
                                  *frames.begin()));
    };
    add(missing_, "cannot be read");
    add(damaged_, "are damaged");
    // Those after the first are about frames, too.
    if (const auto warnings = source_->Warnings(); !warnings.empty()) {
      words.push_back(warnings.front());
    }
    if (words.empty()) return "";
    if (const auto count = source_->info().frame_count) {
      words.insert(words.begin(), fmt::format("by its header it has {} frames", *count));
    }
    if (!words.back().ends_with(path_.string())) words.back() += ": " + path_.string();
    return fmt::format("{}", fmt::join(words, "; "));
  }

 private:
  /// Shows frame `index`, or the next one that can be decoded.
  Status GoTo(std::int64_t index) {
    shown_index_ = -1;
    if (index < next_ || index > next_ + kReadOn_frames) {
      DF_RETURN_IF_ERROR(source_->Seek(index));
      next_ = index;
    }
    StereoFrame frame;
    while (next_ <= index) {
      DF_ASSIGN_OR_RETURN(const bool is_there, source_->Next(frame));
      if (!is_there) return {};
      next_ = frame.index + 1;
    }
    if (map_) {
      Rectify(frame.left_rgb);
    } else {
      shown_ = frame.left_rgb;
    }
    is_damaged_ = frame.damaged;
    gap_ = index;
    shown_index_ = frame.index;
    return {};
  }

  void Rectify(RgbView raw) {
    raw_plane_.Resize(raw.width_px, raw.height_px);
    for (std::uint8_t Rgb::*const channel : {&Rgb::r, &Rgb::g, &Rgb::b}) {
      for (int y = 0; y < raw.height_px; ++y) {
        for (int x = 0; x < raw.width_px; ++x) raw_plane_.at(x, y) = raw.at(x, y).*channel;
      }
      map_->Apply(std::as_const(raw_plane_).view(), plane_);
      rectified_.Resize(plane_.width_px(), plane_.height_px());
      for (int y = 0; y < plane_.height_px(); ++y) {
        for (int x = 0; x < plane_.width_px(); ++x) rectified_.at(x, y).*channel = plane_.at(x, y);
      }
    }
    shown_ = std::as_const(rectified_).view();
  }

  fs::path path_;
  std::unique_ptr<FrameSource> source_;
  std::optional<Remapper> map_;
  std::int64_t next_ = 0;  ///< that the source gives
  RgbView shown_;
  std::int64_t shown_index_ = -1;  ///< -1: none is shown
  bool is_damaged_ = false;        ///< the one that is shown
  std::int64_t gap_ = 0;           ///< from here up to the shown one no frame can be decoded
  std::set<std::int64_t> wanted_;
  std::set<std::int64_t> missing_;
  std::set<std::int64_t> damaged_;
  GrayImage raw_plane_;
  GrayImage plane_;
  RgbImage rectified_;
};

RecordedPictures::RecordedPictures(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RecordedPictures::RecordedPictures(RecordedPictures&&) noexcept = default;
RecordedPictures& RecordedPictures::operator=(RecordedPictures&&) noexcept = default;
RecordedPictures::~RecordedPictures() = default;

Result<RecordedPictures> RecordedPictures::Open(const fs::path& path,
                                                const std::string& serial,
                                                const Intrinsics& intrinsics,
                                                const FinishedEpisodeOptions& options) {
  DF_ASSIGN_OR_RETURN(std::unique_ptr<Impl> impl, Impl::Open(path, serial, intrinsics, options));
  return RecordedPictures(std::move(impl));
}

Result<std::optional<RgbView>> RecordedPictures::At(std::int64_t index) { return impl_->At(index); }

std::string RecordedPictures::Trouble() const { return impl_->Trouble(); }

Result<RecordedDepth> RecordedDepth::Open(const fs::path& path, int decode_threads) {
  DF_ASSIGN_OR_RETURN(DepthVideoReader reader, DepthVideoReader::Open(path, decode_threads));
  return RecordedDepth(std::move(reader));
}

Result<std::optional<DepthView>> RecordedDepth::At(std::int64_t index) {
  if (index != shown_index_) {
    shown_index_ = -1;
    DF_RETURN_IF_ERROR(reader_.Seek(index));
    DF_ASSIGN_OR_RETURN(const bool is_there, reader_.Next(shown_));
    if (!is_there) return std::optional<DepthView>();
    shown_index_ = index;
  }
  return std::optional(shown_);
}

std::optional<RgbView> FinishedCamera::PictureAt(std::int64_t t, std::vector<std::string>& notes) {
  if (!recording || step_to_frame[t] < 0) return std::nullopt;
  const Result<std::optional<RgbView>> seen = recording->At(step_to_frame[t]);
  if (seen) return *seen;
  notes.push_back(
      fmt::format("camera {}: from step {} on no picture: {}", serial, t, seen.error().message));
  recording.reset();
  return std::nullopt;
}

std::optional<DepthView> FinishedCamera::DepthAt(std::int64_t t, std::vector<std::string>& notes) {
  if (!depth || step_to_depth[t] < 0) return std::nullopt;
  const Result<std::optional<DepthView>> seen = depth->At(step_to_depth[t]);
  if (seen) return *seen;
  notes.push_back(
      fmt::format("camera {}: from step {} on no depth: {}", serial, t, seen.error().message));
  depth.reset();
  return std::nullopt;
}

void FinishedCamera::NoteTrouble(std::vector<std::string>& notes) const {
  const std::string trouble = recording ? recording->Trouble() : "";
  if (!trouble.empty()) notes.push_back(fmt::format("camera {}: {}", serial, trouble));
}

Result<FinishedEpisode> LoadFinishedEpisode(const fs::path& directory,
                                            const FinishedEpisodeOptions& options) {
  return EpisodeLoader(directory, options).Load();
}

}  // namespace droidflow

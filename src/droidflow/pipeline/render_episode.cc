#include "droidflow/pipeline/render_episode.h"

#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/depth/rectifier.h"
#include "droidflow/formats/npz_reader.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/io/calibration_reader.h"
#include "droidflow/pipeline/episode_depth.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/stereo_pairs.h"
#include "droidflow/pipeline/tracks_layout.h"
#include "droidflow/video/depth_video.h"
#include "droidflow/video/frame_source.h"
#include "droidflow/video/picture_file.h"
#include "droidflow/video/video_writer.h"
#include "droidflow/view/canvas.h"
#include "droidflow/view/colour_bar.h"
#include "droidflow/view/depth_preview.h"
#include "droidflow/view/moments.h"
#include "droidflow/view/track_overlay.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kTail_steps = 15;
constexpr int kMaxPathPoints = 400;
constexpr double kAxis_m = 0.05;
constexpr double kMinDepth_m = 0.01;
constexpr int kReadOn_frames = 60;  ///< rather than looking for a frame that is not farther away

constexpr int kMaxVideoWidth_px = 1920;
constexpr int kGap_px = 8;
constexpr int kMinTile_px = 320;
constexpr int kEnlarged_px = 640;  ///< as wide as smaller pictures become
constexpr int kCaptionDot_px = 2;
constexpr int kLegendDot_px = 2;
constexpr Rgb kSheetColour{24, 24, 24};
constexpr Rgb kInkColour{240, 240, 240};
constexpr Rgb kNoPictureColour{70, 70, 70};

/// Arrays of an archive, checked against the sizes that they must have.
class ArrayReader {
 public:
  static Result<ArrayReader> Open(const fs::path& path) {
    DF_ASSIGN_OR_RETURN(NpzReader npz, OpenTracks(path));
    return ArrayReader(path, std::move(npz));
  }

  [[nodiscard]] bool Contains(std::string_view name) const { return npz_.Contains(name); }
  [[nodiscard]] Result<std::vector<double>> Numbers(const std::string& name,
                                                    std::int64_t count) const {
    DF_ASSIGN_OR_RETURN(const NpyArray array, npz_.Read(name));
    if (array.size() != count) {
      return Fail(ErrorKind::kInvalidData,
                  "{}: want {} numbers, have {}: {}",
                  name,
                  count,
                  array.size(),
                  path_.string());
    }
    return array.ToDoubles();
  }
  [[nodiscard]] Result<std::int64_t> Count(const std::string& name) const {
    DF_ASSIGN_OR_RETURN(const std::vector<double> value, Numbers(name, 1));
    if (value[0] >= 1) return static_cast<std::int64_t>(value[0]);
    return Fail(
        ErrorKind::kInvalidData, "{}: want 1 or more, have {}: {}", name, value[0], path_.string());
  }
  [[nodiscard]] Result<std::vector<std::string>> Strings(const std::string& name) const {
    DF_ASSIGN_OR_RETURN(const NpyArray array, npz_.Read(name));
    return array.ToStrings();
  }

 private:
  ArrayReader(fs::path path, NpzReader npz) : path_(std::move(path)), npz_(std::move(npz)) {}

  fs::path path_;
  NpzReader npz_;
};

/// Number `index` of a row of 4x4 matrices.
Transform TransformAt(std::span<const double> matrices, std::int64_t index) {
  Transform transform;
  transform.matrix() =
      Eigen::Map<const Eigen::Matrix<double, 4, 4, Eigen::RowMajor>>(matrices.data() + 16 * index);
  return transform;
}

/// What the tracks say of an episode, whatever the camera.
struct Motion {
  std::int64_t steps = 0;
  std::int64_t points = 0;  ///< of both fingers
  double fps = 0;
  std::vector<double> time_s;         ///< [steps], of the first step 0
  std::vector<double> frames;         ///< [steps,4,4] world
  std::vector<double> left_frames;    ///< [steps,4,4]
  std::vector<double> right_frames;   ///< [steps,4,4]
  std::vector<Vector3> path_world_m;  ///< equal steps apart
  int path_mm = 0;
};

Result<Motion> ReadMotion(const ArrayReader& tracks) {
  Motion motion;
  DF_ASSIGN_OR_RETURN(motion.steps, tracks.Count("num_frames"));
  DF_ASSIGN_OR_RETURN(const std::int64_t points, tracks.Count("num_points_per_finger"));
  motion.points = 2 * points;
  DF_ASSIGN_OR_RETURN(const std::vector<double> fps, tracks.Numbers("fps", 1));
  motion.fps = fps[0] > 0 ? fps[0] : 15;
  const std::int64_t steps = motion.steps;
  if (tracks.Contains("timestamps_ms")) {
    DF_ASSIGN_OR_RETURN(motion.time_s, tracks.Numbers("timestamps_ms", steps));
    const double first = motion.time_s.front();
    for (double& time : motion.time_s) time = (time - first) / 1000;
  } else {
    for (std::int64_t t = 0; t < steps; ++t) {
      motion.time_s.push_back(static_cast<double>(t) / motion.fps);
    }
  }
  DF_ASSIGN_OR_RETURN(motion.frames, tracks.Numbers("contact_frames", 16 * steps));
  DF_ASSIGN_OR_RETURN(motion.left_frames, tracks.Numbers("left_contact_frames", 16 * steps));
  DF_ASSIGN_OR_RETURN(motion.right_frames, tracks.Numbers("right_contact_frames", 16 * steps));
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

/// Gives frames of a recording by number, as the rectified camera sees them.
class Backdrop {
 public:
  static Result<Backdrop> Open(const fs::path& path,
                               const std::string& serial,
                               const Intrinsics& intrinsics,
                               const RenderOptions& options) {
    Backdrop backdrop;
    DF_ASSIGN_OR_RETURN(
        backdrop.source_,
        OpenFrameSource(path,
                        {.pixels = PixelFormat::kRgb, .decode_threads = options.decode_threads}));
    const SourceInfo& info = backdrop.source_->info();
    if (info.rectified) return backdrop;
    if (options.conf_dir.empty()) {
      return Fail(ErrorKind::kUsage, "it is not rectified, want --conf-dir: {}", path.string());
    }
    DF_ASSIGN_OR_RETURN(
        const ZedCalibration calibration,
        ReadZedCalibration(options.conf_dir, info.serial.empty() ? serial : info.serial));
    DF_ASSIGN_OR_RETURN(const RectifiedRig rig,
                        MakeRig(calibration, info.width_px, info.height_px, intrinsics));
    backdrop.map_ = Remapper::FromRawEye(rig.raw.left,
                                         info.width_px,
                                         info.height_px,
                                         rig.rectified.R_rect_left,
                                         rig.rectified.intrinsics);
    return backdrop;
  }

  /// @return nothing where the recording ends before.
  Result<std::optional<RgbView>> At(std::int64_t index) {
    if (index < next_ - 1 || index > next_ + kReadOn_frames) {
      DF_RETURN_IF_ERROR(source_->Seek(index));
      next_ = index;
    }
    StereoFrame frame;
    while (next_ <= index) {
      DF_ASSIGN_OR_RETURN(const bool is_there, source_->Next(frame));
      if (!is_there) return std::optional<RgbView>();
      next_ = frame.index + 1;
      if (next_ <= index) continue;
      if (map_) {
        Rectify(frame.left_rgb);
      } else {
        shown_ = frame.left_rgb;
      }
    }
    return std::optional(shown_);
  }

 private:
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

  std::unique_ptr<FrameSource> source_;
  std::optional<Remapper> map_;
  std::int64_t next_ = 0;
  RgbView shown_;
  GrayImage raw_plane_;
  GrayImage plane_;
  RgbImage rectified_;
};

/// Gives frames of a depth video by number.
class DepthBackdrop {
 public:
  DepthBackdrop(fs::path path, int decode_threads)
      : path_(std::move(path)), decode_threads_(decode_threads) {}

  /// @return nothing where the video ends before.
  Result<std::optional<DepthView>> At(std::int64_t index) {
    if (!reader_ || index < next_ - 1) {
      DF_ASSIGN_OR_RETURN(reader_, DepthVideoReader::Open(path_, decode_threads_));
      next_ = 0;
    }
    for (; next_ <= index; ++next_) {
      DF_ASSIGN_OR_RETURN(const bool is_there, reader_->Next(shown_));
      if (!is_there) return std::optional<DepthView>();
    }
    return std::optional(shown_);
  }

 private:
  fs::path path_;
  int decode_threads_;
  std::optional<DepthVideoReader> reader_;
  std::int64_t next_ = 0;
  DepthView shown_;
};

Result<Json> ReadJsonObject(const fs::path& path) {
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_object()) return json;
  return Fail(ErrorKind::kInvalidData, "want a JSON object: {}", path.string());
}

/// Which frame shows each step; -1: none.
std::vector<std::int64_t> StepsToFrames(const Json& json, std::int64_t steps) {
  std::vector<std::int64_t> frames(steps, -1);
  const auto found = json.find("step_to_frame");
  if (found == json.end() || !found->is_array()) return frames;
  for (std::int64_t t = 0; t < std::min(steps, static_cast<std::int64_t>(found->size())); ++t) {
    const Json& frame = (*found)[t];
    if (frame.is_number_integer()) frames[t] = frame.get<std::int64_t>();
  }
  return frames;
}

/// A camera of the episode.
struct RenderedCamera {
  std::string serial;
  std::string role;  ///< empty: not known
  Intrinsics intrinsics;
  std::vector<double> tracks_px;    ///< [steps,points,2]
  std::vector<double> T_world_cam;  ///< [4,4] or [steps,4,4]
  std::optional<Backdrop> recording;
  std::vector<std::int64_t> step_to_frame;
  std::optional<DepthBackdrop> depth;
  std::vector<std::int64_t> step_to_depth;
  std::map<std::int64_t, DepthImage> depth_at;  ///< what was read before it is drawn, by step

  [[nodiscard]] const std::string& name() const { return role.empty() ? serial : role; }
  [[nodiscard]] Transform CameraFromWorld(std::int64_t t) const {
    return TransformAt(T_world_cam, T_world_cam.size() > 16 ? t : 0).inverse();
  }
};

/// The largest box of these proportions in another's upper left.
Box FitInto(int width_px, int height_px, const Box& box) {
  const double scale = std::min(static_cast<double>(box.width_px) / width_px,
                                static_cast<double>(box.height_px) / height_px);
  return {box.x_px,
          box.y_px,
          static_cast<int>(std::lround(width_px * scale)),
          static_cast<int>(std::lround(height_px * scale))};
}

/// Writes the first of the texts that is not too wide, above a box.
void WriteAbove(const Box& box, std::span<const std::string> texts, Canvas& canvas) {
  for (const std::string& text : texts) {
    if (Canvas::WidthOf(text, kCaptionDot_px) > box.width_px) continue;
    canvas.Write(
        box.x_px, box.y_px - Canvas::LineHeight(kCaptionDot_px), text, kCaptionDot_px, kInkColour);
    return;
  }
}

class EpisodeRenderer {
 public:
  EpisodeRenderer(fs::path directory, const RenderOptions& options)
      : directory_(std::move(directory)), options_(options) {}

  Status Load();
  Result<EpisodeSheet> DrawSheet();
  Result<RenderedEpisode> WriteVideo(const fs::path& out);

 private:
  struct Tile {
    RenderedCamera* camera = nullptr;
    bool is_depth = false;
  };
  /// Tiles of one moment, in rows.
  struct Layout {
    std::vector<Tile> tiles;
    int columns = 1;
    int tile_width_px = 0;
    int tile_height_px = 0;
    int moment_height_px = 0;
    int width_px = 0;

    static constexpr int kCaption_px = 9 * kCaptionDot_px + 3 * kCaptionDot_px;
    [[nodiscard]] Box BoxOf(std::size_t tile) const {
      const int column = static_cast<int>(tile) % columns;
      const int row = static_cast<int>(tile) / columns;
      return {kGap_px + column * (tile_width_px + kGap_px),
              row * (tile_height_px + kCaption_px + kGap_px) + kCaption_px,
              tile_width_px,
              tile_height_px};
    }
  };

  Status LoadCamera(const ArrayReader& tracks,
                    const ArrayReader& extrinsics,
                    const std::string& serial,
                    const std::string& role);
  void LoadRecording(const std::string& serial, RenderedCamera& camera);
  void LoadDepth(const std::string& serial, RenderedCamera& camera);
  void Note(std::string text) { notes_.push_back(std::move(text)); }

  [[nodiscard]] Layout MakeLayout(bool is_video);
  [[nodiscard]] int LegendHeight() const;
  Result<std::optional<DepthView>> DepthAt(RenderedCamera& camera, std::int64_t t);
  Status MeasureDepth(std::span<const std::int64_t> moments, const Layout* kept_for);
  [[nodiscard]] std::int64_t ShownSteps() const;
  [[nodiscard]] TrackOverlay OverlayAt(const RenderedCamera& camera,
                                       std::int64_t t,
                                       double scale,
                                       std::string& lost) const;
  Status DrawMoment(std::int64_t t, const Layout& layout, int y_px, Canvas& canvas);
  Status DrawPicture(RenderedCamera& camera, std::int64_t t, const Box& box, Canvas& canvas);
  Status DrawDepth(RenderedCamera& camera, std::int64_t t, const Box& box, Canvas& canvas);
  void DrawLegends(int y_px, Canvas& canvas) const;

  fs::path directory_;
  const RenderOptions& options_;
  std::string source_path_;  ///< of the raw episode, below the root
  Motion motion_;
  std::vector<RenderedCamera> cameras_;
  bool has_depth_ = false;
  DepthScale depth_scale_;
  std::optional<DepthColours> depth_colours_;
  std::vector<std::string> notes_;
};

Status EpisodeRenderer::Load() {
  DF_ASSIGN_OR_RETURN(const ArrayReader tracks, ArrayReader::Open(directory_ / kTracksFile));
  DF_ASSIGN_OR_RETURN(const ArrayReader extrinsics,
                      ArrayReader::Open(directory_ / kExtrinsicsFile));
  DF_ASSIGN_OR_RETURN(motion_, ReadMotion(tracks));
  DF_ASSIGN_OR_RETURN(const std::vector<std::string> serials,
                      tracks.Strings("cameras_with_2d_tracks"));
  Json cameras = Json::object();
  if (const Result<Json> quality = ReadJsonObject(directory_ / kQualityFile)) {
    if (const auto found = quality->find("cameras"); found != quality->end()) cameras = *found;
    const auto source = quality->find("source_path");
    if (source != quality->end() && source->is_string()) source_path_ = source->get<std::string>();
  }
  std::vector<std::string> known;
  for (const std::string& serial : serials) {
    std::string role;
    const auto camera = cameras.find(serial);
    if (camera != cameras.end() && camera->is_object()) role = camera->value("role", "");
    known.push_back(role.empty() ? serial : fmt::format("{} {}", role, serial));
    const bool is_wanted = options_.cameras.empty() ||
                           std::ranges::any_of(options_.cameras, [&](const std::string& name) {
                             return name == serial || name == role;
                           });
    if (is_wanted) DF_RETURN_IF_ERROR(LoadCamera(tracks, extrinsics, serial, role));
  }
  if (cameras_.empty()) {
    return Fail(ErrorKind::kUsage,
                "no camera {} with tracks, there are [{}]: {}",
                fmt::join(options_.cameras, ", "),
                fmt::join(known, ", "),
                directory_.string());
  }
  return {};
}

Status EpisodeRenderer::LoadCamera(const ArrayReader& tracks,
                                   const ArrayReader& extrinsics,
                                   const std::string& serial,
                                   const std::string& role) {
  RenderedCamera camera;
  camera.serial = serial;
  camera.role = role;
  DF_ASSIGN_OR_RETURN(const std::vector<double> k, tracks.Numbers("intrinsics_" + serial, 9));
  DF_ASSIGN_OR_RETURN(const std::vector<double> size, tracks.Numbers("image_size_" + serial, 2));
  constexpr double kMaxImageSide_px = 8192;
  if (!(size[0] >= 1 && size[0] <= kMaxImageSide_px && size[1] >= 1 &&
        size[1] <= kMaxImageSide_px)) {
    return Fail(ErrorKind::kInvalidData,
                "image_size_{}: want 1 … {}, have {} x {}: {}",
                serial,
                kMaxImageSide_px,
                size[0],
                size[1],
                directory_.string());
  }
  camera.intrinsics = {.fx_px = k[0],
                       .fy_px = k[4],
                       .cx_px = k[2],
                       .cy_px = k[5],
                       .width_px = static_cast<int>(size[0]),
                       .height_px = static_cast<int>(size[1])};
  DF_ASSIGN_OR_RETURN(camera.tracks_px,
                      tracks.Numbers("tracks_2d_" + serial, motion_.steps * motion_.points * 2));
  if (extrinsics.Contains("external_" + serial)) {
    DF_ASSIGN_OR_RETURN(camera.T_world_cam, extrinsics.Numbers("external_" + serial, 16));
  } else {
    DF_ASSIGN_OR_RETURN(camera.T_world_cam,
                        extrinsics.Numbers("wrist_extrinsics", 16 * motion_.steps));
  }
  LoadRecording(serial, camera);
  if (options_.depth) LoadDepth(serial, camera);
  cameras_.push_back(std::move(camera));
  return {};
}

void EpisodeRenderer::LoadRecording(const std::string& serial, RenderedCamera& camera) {
  const Result<Json> video = ReadJsonObject(directory_ / VideoFile(serial));
  if (!video) return Note(fmt::format("camera {}: no recording is known", serial));
  if (options_.droid_roots.empty()) {
    return Note(fmt::format("camera {}: its recording takes --droid-root", serial));
  }
  const auto path_below = [&](const fs::path& root) {
    return root / source_path_ / video->value("file", "");
  };
  const auto& roots = options_.droid_roots;
  const auto found = std::ranges::find_if(roots, [&](const fs::path& root) {
    std::error_code ignored;
    return fs::exists(path_below(root), ignored);
  });
  const fs::path path = path_below(found == roots.end() ? roots.front() : *found);
  Result<Backdrop> backdrop = Backdrop::Open(path, serial, camera.intrinsics, options_);
  if (!backdrop) return Note(fmt::format("camera {}: {}", serial, backdrop.error().message));
  camera.recording = *std::move(backdrop);
  camera.step_to_frame = StepsToFrames(*video, motion_.steps);
}

void EpisodeRenderer::LoadDepth(const std::string& serial, RenderedCamera& camera) {
  const fs::path path = directory_ / DepthFile(serial);
  const Result<Json> meta = ReadJsonObject(path.parent_path() / kDepthMetaFile);
  if (!meta) return;
  camera.step_to_depth = StepsToFrames(*meta, motion_.steps);
  camera.depth.emplace(path, options_.decode_threads);
  has_depth_ = true;
}

EpisodeRenderer::Layout EpisodeRenderer::MakeLayout(bool is_video) {
  Layout layout;
  for (RenderedCamera& camera : cameras_) {
    layout.tiles.push_back({&camera, false});
    if (!is_video && camera.depth) layout.tiles.push_back({&camera, true});
  }
  // Of several cameras a video has depth in a row of its own.
  layout.columns = static_cast<int>(layout.tiles.size());
  if (is_video && has_depth_) {
    for (RenderedCamera& camera : cameras_) layout.tiles.push_back({&camera, true});
    if (cameras_.size() == 1) layout.columns = 2;
  }
  double tallness = 0;
  int widest_px = kEnlarged_px;
  for (const RenderedCamera& camera : cameras_) {
    tallness = std::max(
        tallness, static_cast<double>(camera.intrinsics.height_px) / camera.intrinsics.width_px);
    widest_px = std::max(widest_px, camera.intrinsics.width_px);
  }
  const int width_px = is_video ? kMaxVideoWidth_px : options_.sheet_width_px;
  layout.tile_width_px =
      std::clamp((width_px - kGap_px) / layout.columns - kGap_px, kMinTile_px, widest_px);
  layout.tile_height_px = static_cast<int>(std::lround(layout.tile_width_px * tallness));
  const int rows = (static_cast<int>(layout.tiles.size()) + layout.columns - 1) / layout.columns;
  layout.moment_height_px = rows * (Layout::kCaption_px + layout.tile_height_px + kGap_px);
  layout.width_px = kGap_px + layout.columns * (layout.tile_width_px + kGap_px);
  layout.width_px += layout.width_px % 2;
  return layout;
}

int EpisodeRenderer::LegendHeight() const {
  return (options_.tracks ? kLegendHeight_dots * kLegendDot_px : 0) +
         (has_depth_ ? kLegendHeight_dots * kLegendDot_px : 0);
}

Result<std::optional<DepthView>> EpisodeRenderer::DepthAt(RenderedCamera& camera, std::int64_t t) {
  if (const auto kept = camera.depth_at.find(t); kept != camera.depth_at.end()) {
    return std::optional(std::as_const(kept->second).view());
  }
  if (!camera.depth || camera.step_to_depth[t] < 0) return std::optional<DepthView>();
  return camera.depth->At(camera.step_to_depth[t]);
}

/// One scale for all of the depth that is shown.
///
/// @param kept_for  keeps the pictures in the size of its tiles, so that none is read twice.
Status EpisodeRenderer::MeasureDepth(std::span<const std::int64_t> moments,
                                     const Layout* kept_for) {
  if (!has_depth_) return {};
  DepthHistogram histogram;
  for (RenderedCamera& camera : cameras_) {
    for (const std::int64_t t : moments) {
      DF_ASSIGN_OR_RETURN(const std::optional<DepthView> depth, DepthAt(camera, t));
      if (!depth) continue;
      histogram.Add(*depth);
      if (kept_for == nullptr) continue;
      const Box size = FitInto(depth->width_px,
                               depth->height_px,
                               {0, 0, kept_for->tile_width_px, kept_for->tile_height_px});
      DepthImage small(size.width_px, size.height_px);
      for (int y = 0; y < size.height_px; ++y) {
        for (int x = 0; x < size.width_px; ++x) {
          small.at(x, y) = depth->at((2 * x + 1) * depth->width_px / (2 * size.width_px),
                                     (2 * y + 1) * depth->height_px / (2 * size.height_px));
        }
      }
      camera.depth_at.emplace(t, std::move(small));
    }
  }
  depth_scale_ = ChooseDepthScale(histogram, std::nullopt, std::nullopt);
  depth_colours_.emplace(depth_scale_);
  return {};
}

/// Steps up to the last one that a camera has a picture of; all where there is none.
std::int64_t EpisodeRenderer::ShownSteps() const {
  std::int64_t shown = 0;
  for (const RenderedCamera& camera : cameras_) {
    for (std::int64_t t = 0; camera.recording && t < motion_.steps; ++t) {
      if (camera.step_to_frame[t] >= 0) shown = std::max(shown, t + 1);
    }
  }
  return shown > 0 ? shown : motion_.steps;
}

/// @param lost  set to what is not in the picture.
TrackOverlay EpisodeRenderer::OverlayAt(const RenderedCamera& camera,
                                        std::int64_t t,
                                        double scale,
                                        std::string& lost) const {
  const Transform T_cam_world = camera.CameraFromWorld(t);
  // A pixel's centre is a whole number, on the large picture as on the small one.
  const auto on_tile = [&](double u_px, double v_px) {
    return Pixel{(u_px + 0.5) * scale - 0.5, (v_px + 0.5) * scale - 0.5};
  };
  const auto project = [&](const Vector3& point_world_m) {
    const Pixel pixel = ProjectPoint(camera.intrinsics, T_cam_world * point_world_m, kMinDepth_m);
    return on_tile(pixel.u_px, pixel.v_px);
  };
  TrackOverlay overlay;
  if (options_.tracks) {
    int outside = 0;
    int behind = 0;
    for (std::int64_t i = 0; i < motion_.points; ++i) {
      const double* const point = camera.tracks_px.data() + 2 * (t * motion_.points + i);
      const bool is_left = i < motion_.points / 2;
      (is_left ? overlay.left : overlay.right).points.push_back(on_tile(point[0], point[1]));
      if (!std::isfinite(point[0] + point[1])) {
        ++behind;
      } else if (point[0] < 0 || point[1] < 0 || point[0] > camera.intrinsics.width_px - 1 ||
                 point[1] > camera.intrinsics.height_px - 1) {
        ++outside;
      }
    }
    if (outside > 0) lost = fmt::format("{} of {} outside", outside, motion_.points);
    if (behind > 0) {
      lost += fmt::format("{}{} of {} behind", outside > 0 ? ", " : "", behind, motion_.points);
    }
    for (std::int64_t s = std::max<std::int64_t>(t - kTail_steps, 0); s <= t; ++s) {
      overlay.left.tail.push_back(project(TransformAt(motion_.left_frames, s).translation()));
      overlay.right.tail.push_back(project(TransformAt(motion_.right_frames, s).translation()));
    }
    for (const Vector3& point : motion_.path_world_m) overlay.path.push_back(project(point));
  }
  if (options_.frames) {
    const Transform frame = TransformAt(motion_.frames, t);
    overlay.frame.push_back(project(frame.translation()));
    for (int axis = 0; axis < 3; ++axis) {
      overlay.frame.push_back(project(frame * (kAxis_m * Vector3::Unit(axis))));
    }
  }
  return overlay;
}

Status EpisodeRenderer::DrawPicture(RenderedCamera& camera,
                                    std::int64_t t,
                                    const Box& box,
                                    Canvas& canvas) {
  std::optional<RgbView> picture;
  if (camera.recording && camera.step_to_frame[t] >= 0) {
    Result<std::optional<RgbView>> read = camera.recording->At(camera.step_to_frame[t]);
    if (read) {
      picture = *read;
    } else {
      Note(fmt::format(
          "camera {}: from step {} on no picture: {}", camera.serial, t, read.error().message));
      camera.recording.reset();
    }
  }
  const Box place = FitInto(camera.intrinsics.width_px, camera.intrinsics.height_px, box);
  Canvas tile(place.width_px, place.height_px, kNoPictureColour);
  if (picture) tile.Paste(*picture, {0, 0, place.width_px, place.height_px});
  const double scale = static_cast<double>(place.width_px) / camera.intrinsics.width_px;
  std::string lost;
  DrawOverlay(OverlayAt(camera, t, scale, lost), tile);
  canvas.Paste(std::as_const(tile.picture()).view(), place);

  const std::string moment = fmt::format("step {}  {:.2f} s", t, motion_.time_s[t]);
  const std::string missing = picture ? "" : "  no picture";
  WriteAbove(
      place,
      std::array{fmt::format("{} {}  {}{}  {}", camera.role, camera.serial, moment, missing, lost),
                 fmt::format("{} {}  {}{}", camera.role, camera.serial, moment, missing),
                 fmt::format("{}  {}{}", camera.name(), moment, missing),
                 fmt::format("{}  step {}", camera.name(), t)},
      canvas);
  return {};
}

Status EpisodeRenderer::DrawDepth(RenderedCamera& camera,
                                  std::int64_t t,
                                  const Box& box,
                                  Canvas& canvas) {
  DF_ASSIGN_OR_RETURN(const std::optional<DepthView> depth, DepthAt(camera, t));
  const std::string what = depth ? "depth" : "no depth";
  WriteAbove(box,
             std::array{fmt::format("{} {}  {}", camera.role, camera.serial, what),
                        fmt::format("{}  {}", camera.name(), what)},
             canvas);
  if (depth) {
    depth_colours_->Draw(*depth, FitInto(depth->width_px, depth->height_px, box), canvas);
  } else {
    canvas.Fill(box, kNoPictureColour);
  }
  return {};
}

Status EpisodeRenderer::DrawMoment(std::int64_t t, const Layout& layout, int y_px, Canvas& canvas) {
  if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
  for (std::size_t i = 0; i < layout.tiles.size(); ++i) {
    const auto& [camera, is_depth] = layout.tiles[i];
    Box box = layout.BoxOf(i);
    box.y_px += y_px;
    DF_RETURN_IF_ERROR(is_depth ? DrawDepth(*camera, t, box, canvas)
                                : DrawPicture(*camera, t, box, canvas));
  }
  return {};
}

void EpisodeRenderer::DrawLegends(int y_px, Canvas& canvas) const {
  constexpr int kDot = kLegendDot_px;
  constexpr int kMargin_px = 4 * kDot;
  constexpr int kBar_px = 9 * kDot;
  if (options_.tracks) {
    const int bar_y_px = y_px + kMargin_px;
    int x_px = kGap_px;
    const auto name = [&](std::string_view text, Rgb colour) {
      canvas.Fill({x_px, bar_y_px, kBar_px, kBar_px}, colour);
      x_px += kBar_px + 3 * kDot;
      canvas.Write(x_px, bar_y_px + kDot, text, kDot, kInkColour);
      x_px += Canvas::WidthOf(text, kDot) + 14 * kDot;
    };
    name("left", kLeftFingerColour);
    name("right", kRightFingerColour);
    name("outside", kOutsideColour);
    canvas.Write(x_px, bar_y_px + kDot, "path", kDot, kInkColour);
    const int first_px = x_px + Canvas::WidthOf("path", kDot) + 20 * kDot;
    const int last_px =
        canvas.picture().width_px() - kMargin_px -
        std::max(Canvas::WidthOf(FormatMetres(motion_.path_mm), kDot) / 2, 10 * kDot);
    DrawColourBar({.first_mm = 0, .last_mm = motion_.path_mm},
                  {first_px, bar_y_px, std::max(last_px - first_px, 2), kBar_px},
                  kDot,
                  canvas);
    y_px += kLegendHeight_dots * kDot;
  }
  if (has_depth_) DrawDepthLegend(depth_scale_, y_px, kDot, canvas);
}

Result<EpisodeSheet> EpisodeRenderer::DrawSheet() {
  DF_ASSIGN_OR_RETURN(const std::vector<std::int64_t> moments,
                      ChooseMoments(options_.step || options_.every ? motion_.steps : ShownSteps(),
                                    "step",
                                    options_.step,
                                    options_.every,
                                    options_.moments));
  const Layout layout = MakeLayout(/*is_video=*/false);
  DF_RETURN_IF_ERROR(MeasureDepth(moments, &layout));
  const int moments_px = static_cast<int>(moments.size()) * layout.moment_height_px;
  const int legend_px = options_.legend ? LegendHeight() : 0;
  Canvas canvas(layout.width_px, moments_px + legend_px, kSheetColour);
  for (std::size_t i = 0; i < moments.size(); ++i) {
    DF_RETURN_IF_ERROR(
        DrawMoment(moments[i], layout, static_cast<int>(i) * layout.moment_height_px, canvas));
  }
  if (options_.legend) DrawLegends(moments_px, canvas);
  return EpisodeSheet{.picture = std::move(canvas.picture()),
                      .steps = static_cast<std::int64_t>(moments.size()),
                      .notes = notes_};
}

Result<RenderedEpisode> EpisodeRenderer::WriteVideo(const fs::path& out) {
  DF_ASSIGN_OR_RETURN(const std::vector<std::int64_t> sample,
                      ChooseMoments(motion_.steps, "step", std::nullopt, std::nullopt));
  DF_RETURN_IF_ERROR(MeasureDepth(sample, nullptr));
  const Layout layout = MakeLayout(/*is_video=*/true);
  int height_px = layout.moment_height_px + LegendHeight();
  height_px += height_px % 2;
  DF_ASSIGN_OR_RETURN(Mp4VideoWriter writer,
                      Mp4VideoWriter::Open(out,
                                           {.codec = VideoCodec::kH264,
                                            .width_px = layout.width_px,
                                            .height_px = height_px,
                                            .nominal_fps = motion_.fps,
                                            .quality = 2}));
  RenderedEpisode rendered{
      .steps = 0, .width_px = layout.width_px, .height_px = height_px, .notes = {}};
  Canvas canvas(layout.width_px, height_px, kSheetColour);
  for (std::int64_t t = 0; t < motion_.steps; t += options_.every.value_or(1)) {
    canvas.Fill({0, 0, layout.width_px, height_px}, kSheetColour);
    DF_RETURN_IF_ERROR(DrawMoment(t, layout, 0, canvas));
    DrawLegends(layout.moment_height_px, canvas);
    DF_RETURN_IF_ERROR(writer.Write(std::as_const(canvas.picture()).view()));
    ++rendered.steps;
  }
  DF_RETURN_IF_ERROR(writer.Close());
  rendered.notes = notes_;
  return rendered;
}

}  // namespace

Result<RenderedEpisode> RenderEpisode(const fs::path& directory,
                                      const fs::path& out,
                                      const RenderOptions& options) {
  DF_RETURN_IF_ERROR(CheckMoments(out, "step", options.step, options.every));
  EpisodeRenderer renderer(directory, options);
  DF_RETURN_IF_ERROR(renderer.Load());
  if (IsVideoName(out)) return renderer.WriteVideo(out);
  DF_ASSIGN_OR_RETURN(EpisodeSheet sheet, renderer.DrawSheet());
  DF_RETURN_IF_ERROR(WriteRgbPng(out, std::as_const(sheet.picture).view()));
  return RenderedEpisode{.steps = sheet.steps,
                         .width_px = sheet.picture.width_px(),
                         .height_px = sheet.picture.height_px(),
                         .notes = std::move(sheet.notes)};
}

Result<EpisodeSheet> DrawEpisodeSheet(const fs::path& directory, const RenderOptions& options) {
  EpisodeRenderer renderer(directory, options);
  DF_RETURN_IF_ERROR(renderer.Load());
  return renderer.DrawSheet();
}

}  // namespace droidflow

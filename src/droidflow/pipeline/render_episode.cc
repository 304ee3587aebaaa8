#include "droidflow/pipeline/render_episode.h"

#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/finished_episode.h"
#include "droidflow/video/depth_video.h"
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
#include <span>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr int kTail_steps = 15;
constexpr double kAxis_m = 0.05;
constexpr double kMinDepth_m = 0.01;

constexpr int kMaxVideoWidth_px = 1920;
constexpr int kGap_px = 8;
constexpr int kEnlarged_px = 640;  ///< as wide as smaller pictures become
constexpr int kCaptionDot_px = 2;
constexpr int kLegendDot_px = 2;
constexpr Rgb kSheetColour{24, 24, 24};
constexpr Rgb kInkColour{240, 240, 240};
constexpr Rgb kNoPictureColour{70, 70, 70};

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
    FinishedCamera* camera = nullptr;
    bool is_depth = false;
  };
  /// Tiles of one moment, in rows; moments in rows too.
  struct Layout {
    std::vector<Tile> tiles;
    int columns = 1;  ///< of tiles, for each moment
    int across = 1;   ///< moments beside each other
    int tile_width_px = 0;
    int tile_height_px = 0;
    int moment_width_px = 0;
    int moment_height_px = 0;
    int width_px = 0;
    int height_px = 0;  ///< of all moments

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

  [[nodiscard]] Layout MakeLayout(bool is_video, int moments);
  [[nodiscard]] int LegendHeight() const;
  std::optional<DepthView> DepthAt(FinishedCamera& camera, std::int64_t t);
  void MeasureDepth(std::span<const std::int64_t> moments, const Layout* kept_for);
  [[nodiscard]] std::int64_t ShownSteps() const;
  [[nodiscard]] TrackOverlay OverlayAt(const FinishedCamera& camera,
                                       std::int64_t t,
                                       double scale,
                                       std::string& lost) const;
  Status DrawMoment(std::int64_t t, const Layout& layout, int place, Canvas& canvas);
  void DrawPicture(FinishedCamera& camera, std::int64_t t, const Box& box, Canvas& canvas);
  void DrawDepth(FinishedCamera& camera, std::int64_t t, const Box& box, Canvas& canvas);
  std::vector<std::string> AllNotes() const;
  void DrawLegends(int y_px, Canvas& canvas) const;

  fs::path directory_;
  const RenderOptions& options_;
  FinishedMotion motion_;
  std::vector<FinishedCamera> cameras_;
  bool has_depth_ = false;
  /// What was read before it is drawn, by serial and step.
  std::map<std::pair<std::string, std::int64_t>, DepthImage> depth_at_;
  DepthScale depth_scale_;
  std::optional<DepthColours> depth_colours_;
  std::vector<std::string> notes_;
};

Status EpisodeRenderer::Load() {
  DF_ASSIGN_OR_RETURN(FinishedEpisode episode, LoadFinishedEpisode(directory_, options_));
  motion_ = std::move(episode.motion);
  cameras_ = std::move(episode.cameras);
  notes_ = std::move(episode.notes);
  has_depth_ = std::ranges::any_of(
      cameras_, [](const FinishedCamera& camera) { return camera.depth.has_value(); });
  return {};
}

EpisodeRenderer::Layout EpisodeRenderer::MakeLayout(bool is_video, int moments) {
  Layout layout;
  for (FinishedCamera& camera : cameras_) {
    layout.tiles.push_back({&camera, false});
    if (!is_video && camera.depth) layout.tiles.push_back({&camera, true});
  }
  // Of several cameras a video has depth in a row of its own.
  layout.columns = static_cast<int>(layout.tiles.size());
  if (is_video && has_depth_) {
    for (FinishedCamera& camera : cameras_) layout.tiles.push_back({&camera, true});
    if (cameras_.size() == 1) layout.columns = 2;
  }
  double tallness = 0;
  int widest_px = kEnlarged_px;
  for (const FinishedCamera& camera : cameras_) {
    tallness = std::max(
        tallness, static_cast<double>(camera.intrinsics.height_px) / camera.intrinsics.width_px);
    widest_px = std::max(widest_px, camera.intrinsics.width_px);
  }
  const int width_px = is_video ? kMaxVideoWidth_px : options_.sheet_width_px;
  const int rows = (static_cast<int>(layout.tiles.size()) + layout.columns - 1) / layout.columns;
  const auto arrange = [&](int across) {
    Layout made = layout;
    made.across = across;
    made.tile_width_px = std::clamp((width_px - kGap_px) / (layout.columns * across) - kGap_px,
                                    options_.min_tile_px,
                                    widest_px);
    made.tile_height_px = static_cast<int>(std::lround(made.tile_width_px * tallness));
    made.moment_width_px = layout.columns * (made.tile_width_px + kGap_px);
    made.moment_height_px = rows * (Layout::kCaption_px + made.tile_height_px + kGap_px);
    made.width_px = kGap_px + across * made.moment_width_px;
    made.width_px += made.width_px % 2;
    made.height_px = (moments + across - 1) / across * made.moment_height_px;
    return made;
  };
  const auto oblong = [](const Layout& made) {
    return std::abs(std::log(static_cast<double>(made.width_px) / made.height_px));
  };
  Layout best = arrange(1);
  for (int across = 2; across <= moments; ++across) {
    Layout made = arrange(across);
    if (made.width_px <= width_px && oblong(made) < oblong(best)) best = std::move(made);
  }
  return best;
}

int EpisodeRenderer::LegendHeight() const {
  return (options_.tracks ? kLegendHeight_dots * kLegendDot_px : 0) +
         (has_depth_ ? kLegendHeight_dots * kLegendDot_px : 0);
}

std::optional<DepthView> EpisodeRenderer::DepthAt(FinishedCamera& camera, std::int64_t t) {
  if (const auto kept = depth_at_.find({camera.serial, t}); kept != depth_at_.end()) {
    return std::as_const(kept->second).view();
  }
  return camera.DepthAt(t, notes_);
}

/// One scale for all of the depth that is shown.
///
/// @param kept_for  keeps the pictures in the size of its tiles, so that none is read twice.
void EpisodeRenderer::MeasureDepth(std::span<const std::int64_t> moments, const Layout* kept_for) {
  if (!has_depth_) return;
  DepthHistogram histogram;
  for (FinishedCamera& camera : cameras_) {
    for (const std::int64_t t : moments) {
      const std::optional<DepthView> depth = DepthAt(camera, t);
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
      depth_at_.emplace(std::pair(camera.serial, t), std::move(small));
    }
  }
  depth_scale_ = ChooseDepthScale(histogram, std::nullopt, std::nullopt);
  depth_colours_.emplace(depth_scale_);
}

/// Steps up to the last one that a camera has a picture of; all where there is none.
std::int64_t EpisodeRenderer::ShownSteps() const {
  std::int64_t shown = 0;
  for (const FinishedCamera& camera : cameras_) {
    for (std::int64_t t = 0; camera.recording && t < motion_.steps; ++t) {
      if (camera.step_to_frame[t] >= 0) shown = std::max(shown, t + 1);
    }
  }
  return shown > 0 ? shown : motion_.steps;
}

/// @param lost  set to what is not in the picture.
TrackOverlay EpisodeRenderer::OverlayAt(const FinishedCamera& camera,
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
      overlay.left.tail.push_back(project(motion_.left_frames[s].translation()));
      overlay.right.tail.push_back(project(motion_.right_frames[s].translation()));
    }
    for (const Vector3& point : motion_.path_world_m) overlay.path.push_back(project(point));
  }
  if (options_.frames) {
    const Transform frame = motion_.frames[t];
    overlay.frame.push_back(project(frame.translation()));
    for (int axis = 0; axis < 3; ++axis) {
      overlay.frame.push_back(project(frame * (kAxis_m * Vector3::Unit(axis))));
    }
  }
  return overlay;
}

void EpisodeRenderer::DrawPicture(FinishedCamera& camera,
                                  std::int64_t t,
                                  const Box& box,
                                  Canvas& canvas) {
  const std::optional<RgbView> picture = camera.PictureAt(t, notes_);
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
}

void EpisodeRenderer::DrawDepth(FinishedCamera& camera,
                                std::int64_t t,
                                const Box& box,
                                Canvas& canvas) {
  const std::optional<DepthView> depth = DepthAt(camera, t);
  std::string what = depth ? "depth" : "no depth";
  if (depth && !options_.legend) {
    what +=
        fmt::format(" {:g} to {:g} m", depth_scale_.near_mm / 1000.0, depth_scale_.far_mm / 1000.0);
  }
  WriteAbove(box,
             std::array{fmt::format("{} {}  {}", camera.role, camera.serial, what),
                        fmt::format("{}  {}", camera.name(), what),
                        what},
             canvas);
  if (depth) {
    depth_colours_->Draw(*depth, FitInto(depth->width_px, depth->height_px, box), canvas);
  } else {
    canvas.Fill(box, kNoPictureColour);
  }
}

/// @param place  of it among the moments that are shown.
Status EpisodeRenderer::DrawMoment(std::int64_t t,
                                   const Layout& layout,
                                   int place,
                                   Canvas& canvas) {
  if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
  for (std::size_t i = 0; i < layout.tiles.size(); ++i) {
    const auto& [camera, is_depth] = layout.tiles[i];
    Box box = layout.BoxOf(i);
    box.x_px += place % layout.across * layout.moment_width_px;
    box.y_px += place / layout.across * layout.moment_height_px;
    if (is_depth) {
      DrawDepth(*camera, t, box, canvas);
    } else {
      DrawPicture(*camera, t, box, canvas);
    }
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

std::vector<std::string> EpisodeRenderer::AllNotes() const {
  std::vector<std::string> notes = notes_;
  for (const FinishedCamera& camera : cameras_) camera.NoteTrouble(notes);
  return notes;
}

Result<EpisodeSheet> EpisodeRenderer::DrawSheet() {
  DF_ASSIGN_OR_RETURN(const std::vector<std::int64_t> moments,
                      ChooseMoments(options_.step || options_.every ? motion_.steps : ShownSteps(),
                                    "step",
                                    options_.step,
                                    options_.every,
                                    options_.moments));
  const Layout layout = MakeLayout(/*is_video=*/false, static_cast<int>(moments.size()));
  MeasureDepth(moments, &layout);
  const int legend_px = options_.legend ? LegendHeight() : 0;
  Canvas canvas(layout.width_px, layout.height_px + legend_px, kSheetColour);
  for (std::size_t i = 0; i < moments.size(); ++i) {
    DF_RETURN_IF_ERROR(DrawMoment(moments[i], layout, static_cast<int>(i), canvas));
  }
  if (options_.legend) DrawLegends(layout.height_px, canvas);
  return EpisodeSheet{.picture = std::move(canvas.picture()),
                      .steps = static_cast<std::int64_t>(moments.size()),
                      .has_depth = has_depth_,
                      .notes = AllNotes()};
}

Result<RenderedEpisode> EpisodeRenderer::WriteVideo(const fs::path& out) {
  DF_ASSIGN_OR_RETURN(const std::vector<std::int64_t> sample,
                      ChooseMoments(motion_.steps, "step", std::nullopt, std::nullopt));
  MeasureDepth(sample, nullptr);
  const Layout layout = MakeLayout(/*is_video=*/true, 1);
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
  rendered.notes = AllNotes();
  return rendered;
}

}  // namespace

Result<RenderedEpisode> RenderEpisode(const fs::path& directory,
                                      const fs::path& out,
                                      const RenderOptions& options) {
  DF_RETURN_IF_ERROR(CheckMoments(out, "step", options.step, options.every));
  EpisodeRenderer renderer(directory, options);
  DF_RETURN_IF_ERROR(renderer.Load());
  RemoveAbandoned(out);
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

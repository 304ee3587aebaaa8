#include "droidflow/view/depth_preview.h"

#include "droidflow/core/stop.h"
#include "droidflow/video/picture_file.h"
#include "droidflow/video/video_writer.h"
#include "droidflow/view/canvas.h"
#include "droidflow/view/colour_bar.h"
#include "droidflow/view/colour_map.h"
#include "droidflow/view/moments.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr int kDepths = std::numeric_limits<std::uint16_t>::max() + 1;
constexpr double kNearShare = 0.01;
constexpr double kFarShare = 0.99;
constexpr DepthScale kNothingKnown{.near_mm = 250, .far_mm = 3000};
constexpr std::array kSteps_mm = {
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000};
constexpr int kMostSteps = 20;  // that the ends of a scale are whole numbers of

constexpr double kDefaultFps = 15;
constexpr double kMinFps = 0.1;
constexpr double kMaxFps = 1000;

constexpr int kMinWidth_px = 640;
constexpr int kMaxWidth_px = 1920;
constexpr int kMaxHeight_px = 1440;
constexpr int kSheetWidth_px = 1280;
constexpr int kGap_px = 8;
constexpr int kWidthPerDot_px = 430;  // of letters: 15x21 px where the picture is 1280 wide

constexpr Rgb kBackground{24, 24, 24};
constexpr Rgb kInk{240, 240, 240};
constexpr Rgb kHatchDark{96, 96, 96};
constexpr Rgb kHatchLight{150, 150, 150};
constexpr int kHatch_px = 4;

Rgb HatchAt(int x, int y) { return (x + y) / kHatch_px % 2 == 0 ? kHatchDark : kHatchLight; }

double ShareOf(double depth_mm, const DepthScale& scale) {
  return (scale.far_mm - depth_mm) / (scale.far_mm - scale.near_mm);
}

/// Where everything is.
struct Layout {
  int columns = 1;
  int dot_px = 2;      ///< of the legend's letters
  int caption_px = 0;  ///< height above each tile
  int tile_width_px = 0;
  int tile_height_px = 0;
  int gap_px = 0;
  int left_px = 0;  ///< of the first tile
  int legend_y_px = 0;
  int width_px = 0;
  int height_px = 0;
};

int RoundUpToEven(int value) { return value + value % 2; }

/// The largest size of those proportions in a box, enlarged by whole steps only.
void FitTile(int width_px, int height_px, int max_width_px, int max_height_px, Layout& layout) {
  const double factor = std::min(static_cast<double>(max_width_px) / width_px,
                                 static_cast<double>(max_height_px) / height_px);
  const double used = factor >= 1 ? std::floor(factor) : factor;
  layout.tile_width_px = std::max(static_cast<int>(width_px * used), 1);
  layout.tile_height_px = std::max(static_cast<int>(height_px * used), 1);
}

Layout PlaceTiles(int count, int width_px, int height_px, bool has_captions) {
  Layout layout;
  if (count == 1) {
    const bool is_small = width_px < kMinWidth_px;
    FitTile(width_px,
            height_px,
            is_small ? kMinWidth_px + width_px - 1 : std::min(width_px, kMaxWidth_px),
            kMaxHeight_px,
            layout);
  } else {
    layout.columns =
        count <= kSheetPictures ? 2 : static_cast<int>(std::ceil(std::sqrt(double(count))));
    layout.gap_px = kGap_px;
    FitTile(width_px, height_px, kSheetWidth_px / layout.columns, kMaxHeight_px / 2, layout);
  }
  const int rows = (count + layout.columns - 1) / layout.columns;
  const int tiles_width_px =
      layout.columns * layout.tile_width_px + (layout.columns + 1) * layout.gap_px;
  layout.width_px = RoundUpToEven(std::max(tiles_width_px, kMinWidth_px));
  layout.left_px = (layout.width_px - tiles_width_px) / 2 + layout.gap_px;
  layout.dot_px = std::max((layout.width_px + kWidthPerDot_px / 2) / kWidthPerDot_px, 2);
  const int caption_dot_px = count == 1 ? layout.dot_px : 2;
  layout.caption_px = has_captions ? Canvas::LineHeight(caption_dot_px) + 4 * caption_dot_px : 0;
  layout.legend_y_px =
      rows * (layout.caption_px + layout.tile_height_px + layout.gap_px) + layout.gap_px;
  layout.height_px = RoundUpToEven(layout.legend_y_px + kLegendHeight_dots * layout.dot_px);
  return layout;
}

std::optional<int> Millimetres(std::optional<double> metres) {
  if (!metres) return std::nullopt;
  return static_cast<int>(std::lround(*metres * 1000));
}

std::string CaptionOf(std::int64_t index, std::optional<double> time_s) {
  if (!time_s) return fmt::format("frame {}", index);
  return fmt::format("frame {}  {:.2f} s", index, *time_s);
}

DepthImage Copy(DepthView depth_mm) {
  DepthImage copy(depth_mm.width_px, depth_mm.height_px);
  for (int y = 0; y < depth_mm.height_px; ++y) {
    std::copy_n(depth_mm.row(y), depth_mm.width_px, copy.row(y));
  }
  return copy;
}

/// Gives the frames to `each`, from the start.
///
/// @return how many there are, if `each` did not end it by giving false.
template <typename Each>
Result<std::int64_t> ForEachFrame(DepthPictures& frames, const Each& each) {
  DF_RETURN_IF_ERROR(frames.Seek(0));
  DepthView depth_mm;
  for (std::int64_t index = 0;; ++index) {
    if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
    DF_ASSIGN_OR_RETURN(const bool is_there, frames.Next(depth_mm));
    if (!is_there) return index;
    DF_ASSIGN_OR_RETURN(const bool goes_on, each(index, depth_mm));
    if (!goes_on) return index + 1;
  }
}

Result<std::int64_t> CountFrames(DepthPictures& frames) {
  if (const std::optional<std::int64_t> count = frames.count()) return *count;
  return ForEachFrame(frames, [](std::int64_t, DepthView) -> Result<bool> { return true; });
}

Result<DepthPreview> PreviewSheet(DepthPictures& frames,
                                  const fs::path& out,
                                  const DepthPreviewOptions& options) {
  DF_ASSIGN_OR_RETURN(const std::int64_t count, CountFrames(frames));
  if (count == 0) return Fail(ErrorKind::kInvalidData, "want at least one frame, have none");
  DF_ASSIGN_OR_RETURN(const std::vector<std::int64_t> chosen,
                      ChooseMoments(count, "frame", options.frame, options.every));
  std::vector<DepthTile> tiles;
  DepthHistogram histogram;
  for (const std::int64_t index : chosen) {
    if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
    DF_RETURN_IF_ERROR(frames.Seek(index));
    DepthView depth_mm;
    DF_ASSIGN_OR_RETURN(const bool is_there, frames.Next(depth_mm));
    if (!is_there) {
      return Fail(ErrorKind::kInvalidData, "want {} frames, have no frame {}", count, index);
    }
    histogram.Add(depth_mm);
    const bool is_alone = count == 1 && !frames.time_s();
    tiles.push_back({Copy(depth_mm), is_alone ? "" : CaptionOf(index, frames.time_s())});
  }
  const DepthScale scale =
      ChooseDepthScale(histogram, Millimetres(options.near_m), Millimetres(options.far_m));
  const RgbImage picture = DrawDepth(tiles, scale);
  DF_RETURN_IF_ERROR(WriteRgbPng(out, picture.view()));
  return DepthPreview{.pictures = static_cast<std::int64_t>(tiles.size()),
                      .scale = scale,
                      .valid_share = histogram.valid_share(),
                      .width_px = picture.width_px(),
                      .height_px = picture.height_px()};
}

Result<DepthPreview> PreviewVideo(DepthPictures& frames,
                                  const fs::path& out,
                                  const DepthPreviewOptions& options) {
  const int every = options.every.value_or(1);
  DepthHistogram histogram;
  std::optional<double> last_s;
  const auto look = [&](std::int64_t index, DepthView depth_mm) -> Result<bool> {
    if (index % every == 0) histogram.Add(depth_mm);
    last_s = frames.time_s();
    return true;
  };
  DF_ASSIGN_OR_RETURN(const std::int64_t count, ForEachFrame(frames, look));
  DepthPreview preview{
      .scale = ChooseDepthScale(histogram, Millimetres(options.near_m), Millimetres(options.far_m)),
      .valid_share = histogram.valid_share()};
  const double fps = last_s && *last_s > 0 ? static_cast<double>(count - 1) / *last_s : kDefaultFps;

  std::optional<Mp4VideoWriter> writer;
  std::vector<DepthTile> tile(1);
  const auto draw = [&](std::int64_t index, DepthView depth_mm) -> Result<bool> {
    if (index % every != 0) return true;
    tile[0] = {Copy(depth_mm), CaptionOf(index, frames.time_s())};
    const RgbImage picture = DrawDepth(tile, preview.scale);
    if (!writer) {
      preview.width_px = picture.width_px();
      preview.height_px = picture.height_px();
      DF_ASSIGN_OR_RETURN(writer,
                          Mp4VideoWriter::Open(out,
                                               {.codec = VideoCodec::kH264,
                                                .width_px = preview.width_px,
                                                .height_px = preview.height_px,
                                                .nominal_fps = std::clamp(fps, kMinFps, kMaxFps),
                                                .quality = 2}));
    }
    DF_RETURN_IF_ERROR(writer->Write(picture.view()));
    ++preview.pictures;
    return true;
  };
  DF_RETURN_IF_ERROR(ForEachFrame(frames, draw));
  if (!writer) return Fail(ErrorKind::kInvalidData, "want at least one frame, have none");
  DF_RETURN_IF_ERROR(writer->Close());
  return preview;
}

}  // namespace

DepthHistogram::DepthHistogram() : count_(kDepths) {}

void DepthHistogram::Add(DepthView depth_mm) {
  for (int y = 0; y < depth_mm.height_px; ++y) {
    const std::uint16_t* const row = depth_mm.row(y);
    for (int x = 0; x < depth_mm.width_px; ++x) ++count_[row[x]];
  }
  total_ += std::int64_t{depth_mm.width_px} * depth_mm.height_px;
}

double DepthHistogram::valid_share() const {
  if (total_ == 0) return 0;
  return static_cast<double>(total_ - count_[0]) / static_cast<double>(total_);
}

int DepthHistogram::Quantile(double share) const {
  const double wanted = share * static_cast<double>(total_ - count_[0]);
  std::int64_t sum = 0;
  for (int depth_mm = 1; depth_mm < kDepths; ++depth_mm) {
    sum += count_[depth_mm];
    if (sum > 0 && static_cast<double>(sum) >= wanted) return depth_mm;
  }
  return 0;
}

DepthColours::DepthColours(const DepthScale& scale) : colours_(kDepths) {
  for (int depth_mm = 1; depth_mm < kDepths; ++depth_mm) {
    colours_[depth_mm] = ViridisAt(ShareOf(depth_mm, scale));
  }
}

void DepthColours::Draw(DepthView depth_mm, const Box& box, Canvas& canvas) const {
  for (int y = 0; y < box.height_px; ++y) {
    const std::uint16_t* const from =
        depth_mm.row(static_cast<int>((2LL * y + 1) * depth_mm.height_px / (2 * box.height_px)));
    Rgb* const to = canvas.picture().row(box.y_px + y) + box.x_px;
    for (int x = 0; x < box.width_px; ++x) {
      const auto place = (2LL * x + 1) * depth_mm.width_px / (2 * box.width_px);
      const std::uint16_t depth = from[place];
      to[x] = depth == 0 ? HatchAt(box.x_px + x, box.y_px + y) : colours_[depth];
    }
  }
}

void DrawDepthLegend(const DepthScale& scale, int y_px, int dot_px, Canvas& canvas) {
  constexpr std::string_view kNoDepth = "no depth";
  const int margin_px = 4 * dot_px;
  const int bar_y_px = y_px + margin_px;
  const int bar_height_px = 9 * dot_px;

  const int words_x_px =
      canvas.picture().width_px() - margin_px - Canvas::WidthOf(kNoDepth, dot_px);
  const int swatch_px = 14 * dot_px;
  const int swatch_x_px = words_x_px - 3 * dot_px - swatch_px;
  for (int y = bar_y_px; y < bar_y_px + bar_height_px; ++y) {
    for (int x = swatch_x_px; x < swatch_x_px + swatch_px; ++x) {
      canvas.Fill({x, y, 1, 1}, HatchAt(x, y));
    }
  }
  canvas.Write(words_x_px, bar_y_px + dot_px, kNoDepth, dot_px, kInk);

  // Half of a number stands out at each end of the bar.
  const int bar_x_px = margin_px + Canvas::WidthOf(FormatMetres(scale.near_mm), dot_px) / 2;
  const int bar_end_px =
      swatch_x_px - 4 * dot_px - Canvas::WidthOf(FormatMetres(scale.far_mm), dot_px) / 2;
  DrawColourBar(
      {.first_mm = scale.near_mm, .last_mm = scale.far_mm, .first_share = 1, .last_share = 0},
      {bar_x_px, bar_y_px, bar_end_px - bar_x_px, bar_height_px},
      dot_px,
      canvas);
}

DepthScale ChooseDepthScale(const DepthHistogram& histogram,
                            std::optional<int> near_mm,
                            std::optional<int> far_mm) {
  DepthScale scale = kNothingKnown;
  if (const int lowest_mm = histogram.Quantile(kNearShare); lowest_mm > 0) {
    const int highest_mm = histogram.Quantile(kFarShare);
    const auto* const step = std::ranges::find_if(
        kSteps_mm, [&](int step_mm) { return (highest_mm - lowest_mm) / step_mm < kMostSteps; });
    scale.near_mm = lowest_mm / *step * *step;
    scale.far_mm = (highest_mm / *step + 1) * *step;
  }
  scale.near_mm = near_mm.value_or(scale.near_mm);
  scale.far_mm = far_mm.value_or(scale.far_mm);
  if (scale.far_mm <= scale.near_mm) {
    // Everything lies beyond the end that is given.
    if (near_mm) {
      scale.far_mm = scale.near_mm + 1000;
    } else {
      scale.near_mm = 0;
    }
  }
  return scale;
}

RgbImage DrawDepth(std::span<const DepthTile> tiles, const DepthScale& scale) {
  DF_CHECK(!tiles.empty() && scale.far_mm > scale.near_mm);
  const DepthView first = tiles[0].depth_mm.view();
  DF_CHECK(!first.empty());
  const bool has_captions =
      std::ranges::any_of(tiles, [](const DepthTile& tile) { return !tile.caption.empty(); });
  const Layout layout =
      PlaceTiles(static_cast<int>(tiles.size()), first.width_px, first.height_px, has_captions);
  const DepthColours colours(scale);
  Canvas canvas(layout.width_px, layout.height_px, kBackground);
  for (int i = 0; i < static_cast<int>(tiles.size()); ++i) {
    const DepthView depth_mm = tiles[i].depth_mm.view();
    DF_CHECK(depth_mm.width_px == first.width_px && depth_mm.height_px == first.height_px);
    const int x_px = layout.left_px + i % layout.columns * (layout.tile_width_px + layout.gap_px);
    const int y_px =
        layout.gap_px +
        i / layout.columns * (layout.caption_px + layout.tile_height_px + layout.gap_px);
    const int caption_dot_px = tiles.size() == 1 ? layout.dot_px : 2;
    canvas.Write(x_px + (layout.gap_px == 0 ? 4 * caption_dot_px : 0),
                 y_px + 3 * caption_dot_px,
                 tiles[i].caption,
                 caption_dot_px,
                 kInk);
    colours.Draw(depth_mm,
                 {x_px, y_px + layout.caption_px, layout.tile_width_px, layout.tile_height_px},
                 canvas);
  }
  DrawDepthLegend(scale, layout.legend_y_px, layout.dot_px, canvas);
  return std::move(canvas.picture());
}

Status CheckDepthPreview(const fs::path& out, const DepthPreviewOptions& options) {
  DF_RETURN_IF_ERROR(CheckMoments(out, "frame", options.frame, options.every));
  constexpr double kMost_m = (kDepths - 1) / 1000.0;
  for (const auto& [name, value_m] : {std::pair{"near", options.near_m}, {"far", options.far_m}}) {
    if (value_m && !(*value_m >= 0 && *value_m <= kMost_m)) {
      return Fail(ErrorKind::kUsage, "{}: want 0 … {} m, have {}", name, kMost_m, *value_m);
    }
  }
  const std::optional<int> near_mm = Millimetres(options.near_m);
  const std::optional<int> far_mm = Millimetres(options.far_m);
  if (far_mm && *far_mm <= near_mm.value_or(0)) {
    return Fail(ErrorKind::kUsage,
                "far: want more than {} m, have {}",
                options.near_m.value_or(0),
                *options.far_m);
  }
  return {};
}

Result<DepthPreview> PreviewDepth(DepthPictures& frames,
                                  const fs::path& out,
                                  const DepthPreviewOptions& options) {
  DF_RETURN_IF_ERROR(CheckDepthPreview(out, options));
  return IsVideoName(out) ? PreviewVideo(frames, out, options) : PreviewSheet(frames, out, options);
}

}  // namespace droidflow

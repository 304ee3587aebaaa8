#pragma once

/// Depth made visible: pictures and videos with colours for metres, and a legend that says which.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"
#include "droidflow/video/depth_video.h"
#include "droidflow/view/canvas.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace droidflow {

/// Which depth has which colour: `near_mm` is yellow, `far_mm` dark violet, between them viridis;
/// what lies beyond has the colour of that end. No depth is hatched in gray.
struct DepthScale {
  int near_mm = 0;
  int far_mm = 0;  ///< greater than near_mm

  bool operator==(const DepthScale&) const = default;
};

/// How often each depth occurs.
class DepthHistogram {
 public:
  DepthHistogram();

  void Add(DepthView depth_mm);

  /// @return 0 … 1; 0 where nothing was added.
  [[nodiscard]] double valid_share() const;

  /// Millimetres that `share` of what is valid is not beyond; 0 where nothing is valid.
  [[nodiscard]] int Quantile(double share) const;

 private:
  std::vector<std::int64_t> count_;  ///< per millimetre
  std::int64_t total_ = 0;
};

/// A scale from the 1st to the 99th percentile, widened to round numbers, or from and to what is
/// given; 0.25 to 3 m where nothing is valid.
[[nodiscard]] DepthScale ChooseDepthScale(const DepthHistogram& histogram,
                                          std::optional<int> near_mm,
                                          std::optional<int> far_mm);

/// What a scale makes of depth.
class DepthColours {
 public:
  explicit DepthColours(const DepthScale& scale);

  /// Fills a box in the picture by taking pixels as they are.
  void Draw(DepthView depth_mm, const Box& box, Canvas& canvas) const;

 private:
  std::vector<Rgb> colours_;  ///< per millimetre
};

/// A margin, the bar, its ticks, their numbers, a margin.
inline constexpr int kLegendHeight_dots = 29;

/// The colours of the scale, with ticks at round depths, and the hatching; from side to side.
void DrawDepthLegend(const DepthScale& scale, int y_px, int dot_px, Canvas& canvas);

/// One of the pictures of a sheet.
struct DepthTile {
  DepthImage depth_mm;
  std::string caption;  ///< small letters; empty on all of them: no captions
};

/// Draws depth and the legend below it, at least 640 px wide: small pictures are enlarged, large
/// ones made smaller, by taking pixels as they are.
///
/// Shape   even sides. Tiles stand in rows, in their order, with 1 column for one, 2 for up to 8,
///         and as many columns as rows beyond.
/// @param tiles  at least one, all of one size.
[[nodiscard]] RgbImage DrawDepth(std::span<const DepthTile> tiles, const DepthScale& scale);

/// Depth pictures in any order, as often as wanted.
class DepthPictures {
 public:
  DepthPictures() = default;
  DepthPictures(const DepthPictures&) = delete;
  DepthPictures& operator=(const DepthPictures&) = delete;
  virtual ~DepthPictures() = default;

  /// @param depth_mm  of one size, valid until the next call. @return false after the last.
  [[nodiscard]] virtual Result<bool> Next(DepthView& depth_mm) = 0;
  /// Of the picture that Next gave last, since the first; nothing: they have no times.
  [[nodiscard]] virtual std::optional<double> time_s() const = 0;
  /// How many there are, as far as that is known without reading them.
  [[nodiscard]] virtual std::optional<std::int64_t> count() const = 0;
  /// Makes Next give picture `index`; past the end is no error.
  [[nodiscard]] virtual Status Seek(std::int64_t index) = 0;
};

struct DepthPreviewOptions {
  std::optional<double> near_m = {};
  std::optional<double> far_m = {};
  std::optional<int> frame = {};  ///< PNG: only this one, from 0
  std::optional<int> every = {};  ///< each K-th; default: 8 of all in a PNG, each in an MP4
};

/// What a preview shows.
struct DepthPreview {
  std::int64_t pictures = 0;
  DepthScale scale;
  double valid_share = 0;  ///< of the pixels of these pictures
  int width_px = 0;
  int height_px = 0;
};

/// What can be told without the depth. @return kUsage with the option, what it must be and what it
/// is.
[[nodiscard]] Status CheckDepthPreview(const std::filesystem::path& out,
                                       const DepthPreviewOptions& options);

/// Writes a contact sheet (.png) or a video (.mp4, H.264 as browsers play it). The video has the
/// mean rate of the depth, so with `every` it plays as many times as fast. Whole or not at all.
///
/// @return as CheckDepthPreview; kUsage for a frame that is not there and for more than 64 pictures
///         on a sheet; kCancelled after a signal; what reading and writing return.
[[nodiscard]] Result<DepthPreview> PreviewDepth(DepthPictures& frames,
                                                const std::filesystem::path& out,
                                                const DepthPreviewOptions& options);

}  // namespace droidflow

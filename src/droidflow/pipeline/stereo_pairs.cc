#include "droidflow/pipeline/stereo_rows.h"

#include "droidflow/core/check.h"
#include "droidflow/depth/rectifier.h"

#include <vector>

namespace droidflow {
namespace {

constexpr std::int64_t kLastFrame = 150;
constexpr std::int64_t kEvery = 15;

}  // namespace

Result<std::optional<RowAlignment>> MeasureRows(FrameSource& source, const RectifiedRig* rig) {
  DF_CHECK(source.info().stereo, "one eye has no rows to compare");
  std::optional<Remapper> left_map;
  std::optional<Remapper> right_map;
  if (rig != nullptr) {
    const Intrinsics& K = rig->rectified.intrinsics;
    left_map = Remapper::FromRawEye(
        rig->raw.left, rig->raw.width_px, rig->raw.height_px, rig->rectified.R_rect_left, K);
    right_map = Remapper::FromRawEye(
        rig->raw.right, rig->raw.width_px, rig->raw.height_px, rig->rectified.R_rect_right, K);
  }
  const int width_px = source.info().width_px;
  const int height_px = source.info().height_px;
  // As far as depth is searched for by default.
  const CornerMatchOptions options{.max_disparity_px = width_px / 5.0};
  std::vector<CornerMatch> matches;
  StereoFrame frame;
  GrayImage left;
  GrayImage right;
  for (std::int64_t i = 0; i < kLastFrame; ++i) {
    DF_ASSIGN_OR_RETURN(const bool more, source.Next(frame));
    if (!more) break;
    if (i % kEvery != 0 || frame.damaged) continue;
    if (rig != nullptr) {
      left_map->Apply(frame.left, left);
      right_map->Apply(frame.right, right);
      frame.left = left.view();
      frame.right = right.view();
    }
    const std::vector<CornerMatch> found = MatchCorners(frame.left, frame.right, options);
    matches.insert(matches.end(), found.begin(), found.end());
  }
  return FitRowAlignment(matches, width_px, height_px);
}

}  // namespace droidflow

#include "droidflow/pipeline/stereo_pairs.h"

#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

/// Pairs that rows are measured on: every 15th of the first 150.
constexpr std::int64_t kMeasureEvery = 15;
constexpr std::int64_t kLastMeasured = 150 - kMeasureEvery;

Remapper MapOf(const RawEye& eye,
               const RectifiedRig& rig,
               const Matrix3& R_rect_eye,
               const RowOffset& row_offset) {
  return Remapper::FromRawEye(
      eye, rig.raw.width_px, rig.raw.height_px, R_rect_eye, rig.rectified.intrinsics, row_offset);
}

}  // namespace

Result<RectifiedRig> MakeRig(const ZedCalibration& calibration,
                             int width_px,
                             int height_px,
                             const std::optional<Intrinsics>& wanted) {
  DF_ASSIGN_OR_RETURN(StereoPair pair, StereoPairFor(calibration, width_px, height_px));
  DF_ASSIGN_OR_RETURN(RectifiedPair rectified, Rectify(pair));
  if (wanted) rectified.intrinsics = *wanted;
  return RectifiedRig{std::move(pair), std::move(rectified)};
}

Result<PairSource> PairSource::Open(const std::filesystem::path& path,
                                    const RectifiedRig* rig,
                                    const PairOptions& options) {
  PairSource pairs;
  DF_ASSIGN_OR_RETURN(
      pairs.source_,
      OpenFrameSource(
          path, {.decode_threads = options.decode_threads, .use_zed_sdk = options.use_zed_sdk}));
  const SourceInfo& info = pairs.info();
  if (!info.stereo) {
    return Fail(ErrorKind::kInvalidData, "want both eyes, have one: {}", path.string());
  }
  if (info.rectified) rig = nullptr;
  if (!info.rectified && rig == nullptr) {
    return Fail(ErrorKind::kInvalidData,
                "want the calibration file of its camera to rectify raw frames: {}",
                path.string());
  }
  if (rig != nullptr &&
      (rig->raw.width_px != info.width_px || rig->raw.height_px != info.height_px)) {
    return Fail(ErrorKind::kInvalidData,
                "want frames of {}x{}, as calibrated, have {}x{}: {}",
                rig->raw.width_px,
                rig->raw.height_px,
                info.width_px,
                info.height_px,
                path.string());
  }
  pairs.MakeMaps(rig);
  if (options.row_align == RowAlign::kOff) return pairs;
  DF_RETURN_IF_ERROR(pairs.MeasureRows());
  pairs.removed_ = ChooseRowOffset(pairs.rows_, options.row_align);
  if (pairs.removed_ != RowOffset{}) pairs.MakeMaps(rig);
  return pairs;
}

void PairSource::MakeMaps(const RectifiedRig* rig) {
  if (rig != nullptr) {
    left_map_ = MapOf(rig->raw.left, *rig, rig->rectified.R_rect_left, {});
    right_map_ = MapOf(rig->raw.right, *rig, rig->rectified.R_rect_right, removed_);
  } else if (removed_ != RowOffset{}) {
    row_shifter_.emplace(info().width_px, info().height_px, removed_);
  }
}

Status PairSource::MeasureRows() {
  // As far as depth is searched for by default.
  const CornerMatchOptions options{.max_disparity_px = info().width_px / 5.0};
  std::vector<CornerMatch> matches;
  AlignedPair pair;
  for (std::int64_t i = 0; i <= kLastMeasured; ++i) {
    const bool is_measured = i % kMeasureEvery == 0;
    DF_ASSIGN_OR_RETURN(const bool more,
                        Next(pair, is_measured ? 0 : std::numeric_limits<std::int64_t>::max()));
    if (!more) break;
    if (!is_measured || pair.damaged) continue;
    const std::vector<CornerMatch> found = MatchCorners(pair.left, pair.right, options);
    matches.insert(matches.end(), found.begin(), found.end());
  }
  rows_ = FitRowAlignment(matches, info().width_px, info().height_px);
  return source_->Seek(0);
}

Result<bool> PairSource::Next(AlignedPair& pair, std::int64_t from) {
  StereoFrame frame;
  DF_ASSIGN_OR_RETURN(const bool more, source_->Next(frame));
  if (!more) return false;
  pair = {frame.index, frame.time_ns, {}, {}, frame.damaged};
  if (frame.index < from) return true;
  pair.left = frame.left;
  pair.right = frame.right;
  if (left_map_) {
    left_map_->Apply(frame.left, left_);
    pair.left = left_.view();
  }
  if (right_map_) {
    right_map_->Apply(frame.right, right_);
    pair.right = right_.view();
  }
  if (row_shifter_) {
    row_shifter_->Apply(frame.right, right_);
    pair.right = right_.view();
  }
  return true;
}

}  // namespace droidflow

#include "droidflow/pipeline/depth_pair.h"

#include "droidflow/depth/row_shifter.h"
#include "droidflow/pipeline/depth_frames.h"
#include "droidflow/pipeline/map_file.h"
#include "droidflow/video/picture_file.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <system_error>
#include <utility>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

/// @return kUsage for a file that is no picture: another one was meant.
Result<GrayImage> ReadEye(const fs::path& path, std::vector<std::string>& notes) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    return Fail(ErrorKind::kUsage, "want a picture, have a folder: {}", path.string());
  }
  DF_ASSIGN_OR_RETURN(PictureFile picture, ReadPicture(path).map_error([](Error error) {
    if (error.kind == ErrorKind::kInvalidData) error.kind = ErrorKind::kUsage;
    return error;
  }));
  if (picture.stored_as != "8-bit gray") {
    notes.push_back(fmt::format("{} is made 8-bit gray: {}", picture.stored_as, path.string()));
  }
  return ToGray8(std::move(picture));
}

/// Takes a row offset out of the right picture. Rows that it does not show become as its outermost
/// ones, and are matched too: those of a few pixels are what the rows beside them say.
void AlignRows(GrayView left,
               GrayImage& right,
               RowAlign row_align,
               int max_disparity_px,
               DepthPairReport& report) {
  if (row_align == RowAlign::kOff) return;
  const CornerMatchOptions options{.max_disparity_px = static_cast<double>(max_disparity_px)};
  report.rows = FitRowAlignment(
      MatchCorners(left, std::as_const(right).view(), options), left.width_px, left.height_px);
  report.removed = ChooseRowOffset(report.rows, row_align);
  if (report.removed == RowOffset{}) return;
  GrayImage aligned;
  RowShifter(left.width_px, left.height_px, report.removed)
      .Apply(std::as_const(right).view(), aligned);
  right = std::move(aligned);
}

Status CheckOutput(const DepthPairInput& input, const DepthOptions& options) {
  DF_RETURN_IF_ERROR(CheckMapName(input.out));
  if (!input.confidence_out.empty() && EndingOf(input.confidence_out) != ".png") {
    return Fail(ErrorKind::kUsage,
                "confidence: want a file named .png, have '{}': {}",
                input.confidence_out.extension().string(),
                input.confidence_out.string());
  }
  if (input.geometry) DF_RETURN_IF_ERROR(CheckStereoGeometry(*input.geometry));
  DF_RETURN_IF_ERROR(CheckNotOver(input.out, {input.left, input.right, input.confidence_out}));
  if (!input.confidence_out.empty()) {
    DF_RETURN_IF_ERROR(CheckNotOver(input.confidence_out, {input.left, input.right}));
  }
  if (options.backend.kind == DepthBackend::Kind::kZed) {
    return Fail(ErrorKind::kUsage,
                "backend: want one that matches pictures, have zed: the ZED SDK makes depth of SVO "
                "and SVO2 recordings only");
  }
  if (options.backend.kind != DepthBackend::Kind::kExternal) return {};
  if (!input.confidence_out.empty()) {
    return Fail(ErrorKind::kUsage, "confidence: want a backend that matches, external has none");
  }
  if (options.external_unit == MapKind::kDepth && !input.geometry) {
    return Fail(ErrorKind::kUsage,
                "want --fx and --baseline with a map of depth, as without them disparities are "
                "written");
  }
  return {};
}

/// Pixels, or metres where the camera is known.
Image<float> ToMap(DisparityView disparity_px16, const DepthTable* table) {
  Image<float> map(disparity_px16.width_px, disparity_px16.height_px);
  for (int y = 0; y < map.height_px(); ++y) {
    for (int x = 0; x < map.width_px(); ++x) {
      const std::int16_t px16 = disparity_px16.at(x, y);
      float value = std::numeric_limits<float>::quiet_NaN();
      if (table != nullptr) {
        value = table->DepthM(px16);
      } else if (px16 >= 0) {
        value = static_cast<float>(px16) / kDisparityScale;
      }
      map.at(x, y) = value;
    }
  }
  return map;
}

/// Somebody else's map of the pair, as it is written. @return as FindMapOfPair and ReadMap; kUsage
/// for one of another size.
Result<Image<float>> ReadExternal(const DepthPairInput& input,
                                  const DepthOptions& options,
                                  const DepthPairReport& report) {
  DF_ASSIGN_OR_RETURN(const fs::path file,
                      FindMapOfPair(options.backend.directory, input.left, input.right));
  DF_RETURN_IF_ERROR(CheckNotOver(input.out, {file}));
  DF_ASSIGN_OR_RETURN(Image<float> map, ReadMap(file, options.external_unit));
  if (map.width_px() != report.width_px || map.height_px() != report.height_px) {
    return Fail(ErrorKind::kUsage,
                "want a map of {}x{}, as the pictures, have {}x{}: {}",
                report.width_px,
                report.height_px,
                map.width_px(),
                map.height_px(),
                file.string());
  }
  if (!input.geometry) return map;
  const double fx_baseline = input.geometry->fx_px * input.geometry->baseline_m;
  for (int y = 0; y < map.height_px(); ++y) {
    for (float& value : std::span(map.row(y), static_cast<std::size_t>(map.width_px()))) {
      const double depth_m = options.external_unit == MapKind::kDepth ? value : fx_baseline / value;
      const bool is_in_range = RoundToMillimetres(depth_m, options.Range()) != 0;
      value = is_in_range ? static_cast<float>(depth_m) : std::numeric_limits<float>::quiet_NaN();
    }
  }
  return map;
}

std::int64_t CountValues(const Image<float>& map) {
  std::int64_t count = 0;
  for (int y = 0; y < map.height_px(); ++y) {
    const float* const row = map.row(y);
    count +=
        std::count_if(row, row + map.width_px(), [](float value) { return !std::isnan(value); });
  }
  return count;
}

/// Disparities, or depth, by a matcher.
Result<Image<float>> MatchPair(const DepthPairInput& input,
                               const DepthOptions& options,
                               const GrayImage& left,
                               GrayImage& right,
                               DepthPairReport& report,
                               GrayImage* confidence) {
  DF_RETURN_IF_ERROR(CheckDisparityFits(options, report.width_px));
  report.matcher = MatcherOptionsFor(options, report.width_px, input.geometry);
  AlignRows(left.view(), right, options.row_align, report.matcher.max_disparity_px, report);

  DF_ASSIGN_OR_RETURN(const std::unique_ptr<Matcher> matcher,
                      MakeMatcher(report.backend.matcher, report.matcher));
  DisparityImage disparity_px16;
  DF_RETURN_IF_ERROR(
      matcher->Match(left.view(), std::as_const(right).view(), disparity_px16, confidence));
  std::optional<DepthTable> table;
  if (input.geometry) {
    DF_ASSIGN_OR_RETURN(table, DepthTable::Make(*input.geometry, options.Range()));
  }
  return ToMap(std::as_const(disparity_px16).view(), table ? &*table : nullptr);
}

}  // namespace

Result<DepthPairReport> WriteDepthPair(const DepthPairInput& input, const DepthOptions& options) {
  DF_RETURN_IF_ERROR(CheckOutput(input, options));
  DF_RETURN_IF_ERROR(CheckDepthOptions(options));
  DepthPairReport report;
  DF_ASSIGN_OR_RETURN(const GrayImage left, ReadEye(input.left, report.notes));
  DF_ASSIGN_OR_RETURN(GrayImage right, ReadEye(input.right, report.notes));
  report.width_px = left.width_px();
  report.height_px = left.height_px();
  if (right.width_px() != report.width_px || right.height_px() != report.height_px) {
    return Fail(ErrorKind::kUsage,
                "want a right picture of {}x{}, as the left, have {}x{}: {}",
                report.width_px,
                report.height_px,
                right.width_px(),
                right.height_px(),
                input.right.string());
  }
  report.backend = Resolve(options.backend);
  const bool is_external = report.backend.kind == DepthBackend::Kind::kExternal;
  const bool wants_confidence = !input.confidence_out.empty();
  GrayImage confidence;
  DF_ASSIGN_OR_RETURN(
      const Image<float> map,
      is_external
          ? ReadExternal(input, options, report)
          : MatchPair(
                input, options, left, right, report, wants_confidence ? &confidence : nullptr));
  report.valid_fraction =
      static_cast<double>(CountValues(map)) / report.width_px / report.height_px;
  DF_RETURN_IF_ERROR(
      WriteMap(input.out, map.view(), input.geometry ? MapKind::kDepth : MapKind::kDisparity));
  if (wants_confidence) {
    DF_RETURN_IF_ERROR(WriteGrayPng(input.confidence_out, std::as_const(confidence).view()));
  }
  return report;
}

}  // namespace droidflow

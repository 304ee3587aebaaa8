#include "droidflow/pipeline/depth_pair.h"

#include "droidflow/depth/row_shifter.h"
#include "droidflow/video/picture_file.h"

#include <cmath>
#include <limits>
#include <memory>
#include <utility>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

/// @return kUsage for a file that is no picture: another one was meant.
Result<GrayImage> ReadEye(const fs::path& path, std::vector<std::string>& notes) {
  DF_ASSIGN_OR_RETURN(PictureFile picture, ReadPicture(path).map_error([](Error error) {
    if (error.kind == ErrorKind::kInvalidData) error.kind = ErrorKind::kUsage;
    return error;
  }));
  if (picture.gray.empty()) {
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
  if (!input.confidence_out.empty() && input.confidence_out.extension() != ".png") {
    return Fail(ErrorKind::kUsage,
                "confidence: want a file named .png, have '{}': {}",
                input.confidence_out.extension().string(),
                input.confidence_out.string());
  }
  if (input.geometry) DF_RETURN_IF_ERROR(CheckStereoGeometry(*input.geometry));
  const DepthBackend::Kind kind = options.backend.kind;
  if (kind == DepthBackend::Kind::kZed || kind == DepthBackend::Kind::kExternal) {
    return Fail(ErrorKind::kUsage,
                "backend: want one that matches pictures, have {}",
                ToString(options.backend));
  }
  return {};
}

/// Pixels, or metres where the camera is known. @return how many there are.
std::int64_t ToMap(DisparityView disparity_px16, const DepthTable* table, Image<float>& map) {
  std::int64_t valid = 0;
  map.Resize(disparity_px16.width_px, disparity_px16.height_px);
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
      valid += std::isnan(value) ? 0 : 1;
    }
  }
  return valid;
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
  DF_RETURN_IF_ERROR(CheckDisparityFits(options, report.width_px));
  report.backend = Resolve(options.backend);
  report.matcher = MatcherOptionsFor(options, report.width_px, input.geometry);
  AlignRows(left.view(), right, options.row_align, report.matcher.max_disparity_px, report);

  DF_ASSIGN_OR_RETURN(const std::unique_ptr<Matcher> matcher,
                      MakeMatcher(report.backend.matcher, report.matcher));
  DisparityImage disparity_px16;
  GrayImage confidence;
  const bool wants_confidence = !input.confidence_out.empty();
  DF_RETURN_IF_ERROR(matcher->Match(left.view(),
                                    std::as_const(right).view(),
                                    disparity_px16,
                                    wants_confidence ? &confidence : nullptr));

  std::optional<DepthTable> table;
  if (input.geometry) {
    DF_ASSIGN_OR_RETURN(table, DepthTable::Make(*input.geometry, options.Range()));
  }
  Image<float> map;
  const std::int64_t valid =
      ToMap(std::as_const(disparity_px16).view(), table ? &*table : nullptr, map);
  report.valid_fraction = static_cast<double>(valid) / report.width_px / report.height_px;
  DF_RETURN_IF_ERROR(
      WriteMap(input.out, map.view(), table ? MapKind::kDepth : MapKind::kDisparity));
  if (wants_confidence) {
    DF_RETURN_IF_ERROR(WriteGrayPng(input.confidence_out, std::as_const(confidence).view()));
  }
  return report;
}

}  // namespace droidflow

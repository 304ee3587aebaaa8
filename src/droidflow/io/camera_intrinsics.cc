#include "droidflow/io/camera_intrinsics.h"

namespace droidflow {
namespace {

constexpr ImageSize kUsualSize{.width_px = 1280, .height_px = 720};

}  // namespace

std::optional<Intrinsics> IntrinsicsAtSize(const Intrinsics& intrinsics, ImageSize size) {
  if (ImageSize{intrinsics.width_px, intrinsics.height_px} == size) return intrinsics;
  const ZedResolution* from = FindZedResolution(intrinsics.width_px, intrinsics.height_px);
  const ZedResolution* to = FindZedResolution(size.width_px, size.height_px);
  if (from == nullptr || to == nullptr) return std::nullopt;
  const double scale = to->scale / from->scale;
  return Intrinsics{.fx_px = intrinsics.fx_px * scale,
                    .fy_px = intrinsics.fy_px * scale,
                    .cx_px = (intrinsics.cx_px - from->u_offset_px) * scale + to->u_offset_px,
                    .cy_px = (intrinsics.cy_px - from->v_offset_px) * scale + to->v_offset_px,
                    .width_px = size.width_px,
                    .height_px = size.height_px};
}

Result<ChosenIntrinsics> ChooseIntrinsics(const IntrinsicsSources& sources) {
  if (sources.sdk) return ChosenIntrinsics{.intrinsics = *sources.sdk, .source = "zed_sdk"};
  const ImageSize size = sources.recording.value_or(kUsualSize);
  if (sources.annotated) {
    if (const auto intrinsics = IntrinsicsAtSize(*sources.annotated, size)) {
      return ChosenIntrinsics{.intrinsics = *intrinsics, .source = "annotations"};
    }
  }
  if (sources.trajectory) {
    ChosenIntrinsics chosen{.intrinsics = *sources.trajectory, .source = "trajectory"};
    chosen.intrinsics.width_px = size.width_px;
    chosen.intrinsics.height_px = size.height_px;
    return chosen;
  }
  if (sources.conf == nullptr) {
    return Fail(
        ErrorKind::kNotFound,
        "no intrinsics for {}x{} in the annotations or trajectory.h5, and no calibration file",
        size.width_px,
        size.height_px);
  }
  DF_ASSIGN_OR_RETURN(const StereoPair pair,
                      StereoPairFor(*sources.conf, size.width_px, size.height_px));
  DF_ASSIGN_OR_RETURN(const RectifiedPair rectified, Rectify(pair));
  return ChosenIntrinsics{.intrinsics = rectified.intrinsics,
                          .source = sources.conf_by_header ? "svo2+conf" : "conf",
                          .approximate = true};
}

}  // namespace droidflow

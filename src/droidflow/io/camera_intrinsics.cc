#include "droidflow/io/camera_intrinsics.h"

#include <string>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

constexpr ImageSize kUsualSize{.width_px = 1280, .height_px = 720};

/// What a source says of a camera; nothing: why not.
using IntrinsicsFinding = std::pair<std::optional<Intrinsics>, std::string>;

IntrinsicsFinding Annotated(const IntrinsicsSources& sources, ImageSize size) {
  if (!sources.annotated) return {std::nullopt, "no entry"};
  if (const auto intrinsics = IntrinsicsAtSize(*sources.annotated, size)) return {intrinsics, ""};
  return {std::nullopt,
          fmt::format("of {}x{}, which is no size of the recording's camera",
                      sources.annotated->width_px,
                      sources.annotated->height_px)};
}

IntrinsicsFinding Recorded(const IntrinsicsSources& sources, ImageSize size) {
  if (!sources.trajectory) return {std::nullopt, "no entry"};
  Intrinsics intrinsics = *sources.trajectory;
  intrinsics.width_px = size.width_px;
  intrinsics.height_px = size.height_px;
  return {intrinsics, ""};
}

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

Result<ChosenIntrinsics> ChooseIntrinsics(const IntrinsicsSources& sources,
                                          Considerations* considered) {
  const ImageSize size = sources.recording.value_or(kUsualSize);
  std::optional<ChosenIntrinsics> chosen;
  const auto consider = [&](std::string_view source, const IntrinsicsFinding& finding) {
    const auto& [intrinsics, why_not] = finding;
    const bool is_first = intrinsics && !chosen;
    if (is_first) chosen = ChosenIntrinsics{.intrinsics = *intrinsics, .source = source};
    if (considered == nullptr) return;
    considered->push_back({std::string(source),
                           intrinsics ? fmt::format("fx {:.3f}, {}x{}",
                                                    intrinsics->fx_px,
                                                    intrinsics->width_px,
                                                    intrinsics->height_px)
                                      : why_not,
                           is_first});
  };
  consider("zed_sdk", {sources.sdk, "not asked"});
  consider("annotations", Annotated(sources, size));
  consider("trajectory", Recorded(sources, size));
  const std::string_view conf = sources.conf_by_header ? "svo2+conf" : "conf";
  if (chosen || sources.conf == nullptr) {
    consider(conf, {std::nullopt, sources.conf == nullptr ? "no calibration file" : "not needed"});
    if (chosen) return *chosen;
    return Fail(
        ErrorKind::kNotFound,
        "no intrinsics for {}x{} in the annotations or trajectory.h5, and no calibration file",
        size.width_px,
        size.height_px);
  }
  const Result<RectifiedPair> rectified =
      StereoPairFor(*sources.conf, size.width_px, size.height_px).and_then(Rectify);
  if (!rectified) {
    consider(conf, {std::nullopt, rectified.error().message});
    return tl::unexpected(rectified.error());
  }
  consider(conf, {rectified->intrinsics, ""});
  chosen->approximate = true;
  return *chosen;
}

}  // namespace droidflow

#include "droidflow/io/calibration_reader.h"

#include "droidflow/core/files.h"
#include "droidflow/formats/ini.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include <fmt/format.h>

namespace droidflow {
namespace {

constexpr double kNominalZed2_m = 0.12;
constexpr double kNominalZedMini_m = 0.063;
constexpr double kNominalTolerance = 0.1;
constexpr double kMiniMinFocal_px = 650;  // at 1280x720
constexpr double kMetersPerMillimeter = 1e-3;
constexpr char kStereo[] = "STEREO";

Result<double> GetPositive(const Ini& ini, const std::string& section, const char* key) {
  DF_ASSIGN_OR_RETURN(const double value, ini.GetDouble(section, key));
  if (!(value > 0)) {
    return Fail(ErrorKind::kInvalidData,
                "[{}] {}: want a number above 0, have {}: {}",
                section,
                key,
                value,
                ini.name());
  }
  return value;
}

Result<LensModel> ParseLens(const Ini& ini, const std::string& section) {
  DF_ASSIGN_OR_RETURN(const double k1, ini.GetDouble(section, "k1"));
  DF_ASSIGN_OR_RETURN(const double k2, ini.GetDouble(section, "k2"));
  DF_ASSIGN_OR_RETURN(const double k3, ini.GetDouble(section, "k3"));
  if (!ini.Find(section, "p1") && ini.Find(section, "k4")) {
    DF_ASSIGN_OR_RETURN(const double k4, ini.GetDouble(section, "k4"));
    return KannalaBrandt{.k1 = k1, .k2 = k2, .k3 = k3, .k4 = k4};
  }
  DF_ASSIGN_OR_RETURN(const double p1, ini.GetDouble(section, "p1"));
  DF_ASSIGN_OR_RETURN(const double p2, ini.GetDouble(section, "p2"));
  return BrownConrady{.k1 = k1, .k2 = k2, .p1 = p1, .p2 = p2, .k3 = k3};
}

Result<RawEye> ParseEye(const Ini& ini, const std::string& section) {
  RawEye eye;
  DF_ASSIGN_OR_RETURN(eye.fx_px, GetPositive(ini, section, "fx"));
  DF_ASSIGN_OR_RETURN(eye.fy_px, GetPositive(ini, section, "fy"));
  DF_ASSIGN_OR_RETURN(eye.cx_px, GetPositive(ini, section, "cx"));
  DF_ASSIGN_OR_RETURN(eye.cy_px, GetPositive(ini, section, "cy"));
  DF_ASSIGN_OR_RETURN(eye.lens, ParseLens(ini, section));
  return eye;
}

Result<ZedCalibration::Mode> ParseMode(const Ini& ini, std::string_view name) {
  ZedCalibration::Mode mode;
  DF_ASSIGN_OR_RETURN(mode.left, ParseEye(ini, fmt::format("LEFT_CAM_{}", name)));
  DF_ASSIGN_OR_RETURN(mode.right, ParseEye(ini, fmt::format("RIGHT_CAM_{}", name)));
  DF_ASSIGN_OR_RETURN(const double rx_rad, ini.GetDouble(kStereo, fmt::format("RX_{}", name)));
  DF_ASSIGN_OR_RETURN(const double cv_rad, ini.GetDouble(kStereo, fmt::format("CV_{}", name)));
  DF_ASSIGN_OR_RETURN(const double rz_rad, ini.GetDouble(kStereo, fmt::format("RZ_{}", name)));
  mode.R_right_left = StereoRotationFromZed(rx_rad, cv_rad, rz_rad);
  return mode;
}

bool IsNear(double value, double nominal) {
  return std::abs(value - nominal) <= kNominalTolerance * nominal;
}

std::optional<double> BaselineOfPoses(const TrajectoryCamera& camera) {
  if (!camera.left_base || !camera.right_base) return std::nullopt;
  const PoseVector& left = *camera.left_base;
  const PoseVector& right = *camera.right_base;
  const double baseline_m =
      Vector3(right[0] - left[0], right[1] - left[1], right[2] - left[2]).norm();
  if (!IsNear(baseline_m, kNominalZed2_m) && !IsNear(baseline_m, kNominalZedMini_m)) {
    return std::nullopt;
  }
  return baseline_m;
}

}  // namespace

const ZedResolution* FindZedResolution(int width_px, int height_px) {
  const auto* found = std::find_if(
      kZedResolutions.begin(), kZedResolutions.end(), [=](const ZedResolution& resolution) {
        return resolution.width_px == width_px && resolution.height_px == height_px;
      });
  return found == kZedResolutions.end() ? nullptr : found;
}

Result<ZedCalibration> ParseZedConf(std::string_view text, std::string_view name) {
  DF_ASSIGN_OR_RETURN(const Ini ini, ParseIni(text, name));
  ZedCalibration calibration;
  DF_ASSIGN_OR_RETURN(const double baseline_mm, GetPositive(ini, kStereo, "Baseline"));
  DF_ASSIGN_OR_RETURN(const double ty_mm, ini.GetDouble(kStereo, "TY"));
  DF_ASSIGN_OR_RETURN(const double tz_mm, ini.GetDouble(kStereo, "TZ"));
  calibration.baseline_m = baseline_mm * kMetersPerMillimeter;
  calibration.ty_m = ty_mm * kMetersPerMillimeter;
  calibration.tz_m = tz_mm * kMetersPerMillimeter;
  bool has_mode = false;
  for (std::size_t i = 0; i < kZedResolutions.size(); ++i) {
    const std::string_view resolution = kZedResolutions[i].name;
    if (!ini.Find(fmt::format("LEFT_CAM_{}", resolution), "fx")) continue;
    DF_ASSIGN_OR_RETURN(calibration.modes[i], ParseMode(ini, resolution));
    has_mode = true;
  }
  if (!has_mode) {
    return Fail(ErrorKind::kInvalidData,
                "want a section LEFT_CAM_2K, _FHD, _HD or _VGA with fx, have none: {}",
                name);
  }
  return calibration;
}

Result<ZedCalibration> ReadZedCalibration(const std::filesystem::path& conf_dir,
                                          std::string_view serial) {
  const std::filesystem::path path = conf_dir / fmt::format("SN{}.conf", serial);
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  return ParseZedConf(text, path.string());
}

Result<StereoPair> StereoPairFor(const ZedCalibration& calibration, int width_px, int height_px) {
  const ZedResolution* resolution = FindZedResolution(width_px, height_px);
  if (resolution == nullptr) {
    return Fail(
        ErrorKind::kNotFound,
        "want the size of a zed image, 2208x1242, 1920x1080, 1280x720 or 672x376, have {}x{}",
        width_px,
        height_px);
  }
  const auto& mode =
      calibration.modes[static_cast<std::size_t>(resolution - kZedResolutions.data())];
  if (!mode) {
    return Fail(
        ErrorKind::kNotFound, "the calibration file has no section for {}", resolution->name);
  }
  return StereoPair{
      .left = mode->left,
      .right = mode->right,
      .R_right_left = mode->R_right_left,
      .t_right_left_m = Vector3(calibration.baseline_m, calibration.ty_m, calibration.tz_m),
      .width_px = width_px,
      .height_px = height_px};
}

Baseline ChooseBaseline(const ZedCalibration* conf,
                        const TrajectoryCamera* trajectory,
                        CameraRole role,
                        const Intrinsics& intrinsics) {
  if (conf != nullptr) return {conf->baseline_m, "conf"};
  if (trajectory != nullptr) {
    if (const auto baseline_m = BaselineOfPoses(*trajectory)) return {*baseline_m, "trajectory"};
  }
  const ZedResolution* resolution = FindZedResolution(intrinsics.width_px, intrinsics.height_px);
  const double fx_px = resolution == nullptr ? intrinsics.fx_px * 1280 / intrinsics.width_px
                                             : intrinsics.fx_px / resolution->scale;
  const bool is_mini = role == CameraRole::kWrist || fx_px > kMiniMinFocal_px;
  return {is_mini ? kNominalZedMini_m : kNominalZed2_m, "nominal"};
}

}  // namespace droidflow

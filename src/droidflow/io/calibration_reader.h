#pragma once

#include "droidflow/core/result.h"
#include "droidflow/episode/episode.h"
#include "droidflow/episode/trajectory.h"
#include "droidflow/geometry/rectification.h"

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace droidflow {

/// A resolution at which a ZED camera records, and how its pixels relate to those of 1280x720:
/// u = scale * u_1280 + u_offset_px, v likewise. All but 1280x720 are other crops of one sensor,
/// the larger ones without its 2x2 binning.
///
/// Source   the relation between the sections of every published calibration file.
struct ZedResolution {
  std::string_view name;  ///< "2K", "FHD", "HD", "VGA", as in the file's section names
  int width_px;
  int height_px;
  double scale;
  double u_offset_px;
  double v_offset_px;
};

inline constexpr std::array<ZedResolution, 4> kZedResolutions{{{"2K", 2208, 1242, 2, -173, -96},
                                                               {"FHD", 1920, 1080, 2, -317, -177},
                                                               {"HD", 1280, 720, 1, 0, 0},
                                                               {"VGA", 672, 376, 0.5, 15.5, 7.5}}};

/// The resolution of an image's size; null for a size at which no ZED records.
[[nodiscard]] const ZedResolution* FindZedResolution(int width_px, int height_px);

/// The calibration file of one ZED camera, SN<serial>.conf: the raw, not rectified pair.
struct ZedCalibration {
  struct Mode {
    RawEye left;
    RawEye right;
    Matrix3 R_right_left;
  };
  std::array<std::optional<Mode>, kZedResolutions.size()> modes;  ///< as kZedResolutions
  double baseline_m = 0;
  double ty_m = 0;
  double tz_m = 0;
};

/// Reads a calibration file's text. Eyes with p1 have an ordinary lens (ZED, ZED 2), eyes with k4
/// and no p1 a wide one (ZED Mini and newer).
///
/// @param name  what messages call the file.
/// @return      kInvalidData with section, key and text.
[[nodiscard]] Result<ZedCalibration> ParseZedConf(std::string_view text, std::string_view name);

/// Reads {conf_dir}/SN{serial}.conf. @return kNotFound where there is none.
[[nodiscard]] Result<ZedCalibration> ReadZedCalibration(const std::filesystem::path& conf_dir,
                                                        std::string_view serial);

/// The raw pair at an image size. @return kNotFound where the file has no section for it.
[[nodiscard]] Result<StereoPair> StereoPairFor(const ZedCalibration& calibration,
                                               int width_px,
                                               int height_px);

struct Baseline {
  double baseline_m;
  std::string_view source;  ///< "conf", "trajectory" or "nominal"
};

/// The distance between a camera's eyes: of the calibration file; else of the poses in
/// trajectory.h5 if within 10 % of a model's nominal value; else the nominal value (ZED Mini for
/// the wrist and for focal lengths above 650 px at 1280x720, else ZED 2).
///
/// @param conf        may be null.
/// @param trajectory  may be null.
/// @param intrinsics  of the rectified image; its size tells the focal length at 1280x720.
[[nodiscard]] Baseline ChooseBaseline(const ZedCalibration* conf,
                                      const TrajectoryCamera* trajectory,
                                      CameraRole role,
                                      const Intrinsics& intrinsics);

}  // namespace droidflow

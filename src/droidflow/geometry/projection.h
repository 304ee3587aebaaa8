#pragma once

#include "droidflow/geometry/pose.h"

#include <cmath>
#include <limits>

namespace droidflow {

/// A rectified pinhole camera.
///
/// Unit     pixels of an image of width_px x height_px. The centre of the top-left pixel is (0, 0).
struct Intrinsics {
  double fx_px = 0;
  double fy_px = 0;
  double cx_px = 0;
  double cy_px = 0;
  int width_px = 0;
  int height_px = 0;

  bool operator==(const Intrinsics&) const = default;
};

/// One image point; (NaN, NaN) where a point cannot be seen.
struct Pixel {
  double u_px;
  double v_px;
};

/// Projects one point seen by a camera onto its image.
///
/// Frame    camera: x right, y down, z forward.
/// Invalid  a point at z <= min_depth_m gives (NaN, NaN). Nothing is clipped to the image.
/// Source   pinhole model, Hartley & Zisserman 2004, section 6.1. No distortion: rectify first.
[[nodiscard]] inline Pixel ProjectPoint(const Intrinsics& intrinsics,
                                        const Vector3& point_cam_m,
                                        double min_depth_m) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  if (!(point_cam_m.z() > min_depth_m)) return {kNan, kNan};
  return {intrinsics.fx_px * point_cam_m.x() / point_cam_m.z() + intrinsics.cx_px,
          intrinsics.fy_px * point_cam_m.y() / point_cam_m.z() + intrinsics.cy_px};
}

}  // namespace droidflow

#pragma once

#include <variant>

namespace droidflow {

/// A point on the plane z = 1 before a camera: (x / z, y / z), no unit.
struct NormalisedPoint {
  double x;
  double y;
};

/// Radial and tangential distortion of an ordinary lens.
/// Source   Brown 1966, "Decentering distortion of lenses"; OpenCV's order k1 k2 p1 p2 k3.
struct BrownConrady {
  double k1 = 0, k2 = 0, p1 = 0, p2 = 0, k3 = 0;

  bool operator==(const BrownConrady&) const = default;
};

/// Distortion of a wide lens as a polynomial in the angle of incidence.
/// Source   Kannala & Brandt 2006, "A generic camera model", radial part; OpenCV's fisheye k1 … k4.
struct KannalaBrandt {
  double k1 = 0, k2 = 0, k3 = 0, k4 = 0;

  bool operator==(const KannalaBrandt&) const = default;
};

using LensModel = std::variant<BrownConrady, KannalaBrandt>;

/// Where a lens shows a point that an ideal pinhole would show at `ideal`.
///
/// Defined for every finite point, unlike the inverse. Far outside the lens's field of view both
/// polynomials leave the physical lens and may fold back.
[[nodiscard]] NormalisedPoint Distort(const LensModel& lens, NormalisedPoint ideal);

}  // namespace droidflow

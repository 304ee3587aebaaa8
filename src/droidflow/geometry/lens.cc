#include "droidflow/geometry/lens.h"

#include "droidflow/geometry/deterministic_math.h"

#include <cmath>

namespace droidflow {
namespace {

NormalisedPoint DistortBy(const BrownConrady& lens, NormalisedPoint ideal) {
  const auto [x, y] = ideal;
  const double r2 = x * x + y * y;
  const double radial = 1 + r2 * (lens.k1 + r2 * (lens.k2 + r2 * lens.k3));
  return {x * radial + 2 * lens.p1 * x * y + lens.p2 * (r2 + 2 * x * x),
          y * radial + lens.p1 * (r2 + 2 * y * y) + 2 * lens.p2 * x * y};
}

NormalisedPoint DistortBy(const KannalaBrandt& lens, NormalisedPoint ideal) {
  const double r = std::sqrt(ideal.x * ideal.x + ideal.y * ideal.y);
  if (r == 0) return ideal;
  const double angle_rad = Atan(r);
  const double a2 = angle_rad * angle_rad;
  const double distorted_rad =
      angle_rad * (1 + a2 * (lens.k1 + a2 * (lens.k2 + a2 * (lens.k3 + a2 * lens.k4))));
  const double scale = distorted_rad / r;
  return {ideal.x * scale, ideal.y * scale};
}

}  // namespace

NormalisedPoint Distort(const LensModel& lens, NormalisedPoint ideal) {
  return std::visit([ideal](const auto& model) { return DistortBy(model, ideal); }, lens);
}

}  // namespace droidflow

#include "droidflow/geometry/rectification.h"

#include "droidflow/geometry/deterministic_math.h"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace droidflow {
namespace {

struct TurnedEye {
  const RawEye* eye;
  Matrix3 R_rect_eye;
};

// Rotation that takes v to the x axis, to the end of it that is nearer.
Matrix3 RotationToXAxis(const Vector3& v) {
  const Vector3 axis = v.cross(Vector3(v.x() < 0 ? -1 : 1, 0, 0));
  const double sine = axis.norm();  // times |v|
  if (sine == 0) return Matrix3::Identity();
  return RotationFromVector(axis * (Atan(sine / std::abs(v.x())) / sine));
}

std::vector<Pixel> BorderPixels(int width_px, int height_px) {
  std::vector<Pixel> border;
  for (int u = 0; u < width_px; ++u) {
    border.push_back({static_cast<double>(u), 0});
    border.push_back({static_cast<double>(u), height_px - 1.0});
  }
  for (int v = 1; v < height_px - 1; ++v) {
    border.push_back({0, static_cast<double>(v)});
    border.push_back({width_px - 1.0, static_cast<double>(v)});
  }
  return border;
}

bool FallsInside(const TurnedEye& turned, Intrinsics rectified, double focal_px, Pixel pixel) {
  rectified.fx_px = rectified.fy_px = focal_px;
  const Pixel raw = RawPixelFromRectified(*turned.eye, turned.R_rect_eye, rectified, pixel);
  return raw.u_px >= 0 && raw.u_px <= rectified.width_px - 1 && raw.v_px >= 0 &&
         raw.v_px <= rectified.height_px - 1;
}

// Real pairs lie within 0.9 … 1.1 of the raw focal length.
constexpr double kSearchFactor = 2;

// Smallest focal length at which every border pixel of both eyes falls inside, or NaN.
double SmallestFocal(const std::array<TurnedEye, 2>& eyes, const Intrinsics& rectified) {
  const std::vector<Pixel> border = BorderPixels(rectified.width_px, rectified.height_px);
  const auto all_inside = [&](double focal_px) {
    for (const TurnedEye& turned : eyes) {
      for (const Pixel& pixel : border) {
        if (!FallsInside(turned, rectified, focal_px, pixel)) return false;
      }
    }
    return true;
  };
  // Downwards in small steps, not by bisection: at focal lengths far too small the lens polynomial
  // folds back and pixels seem to fall inside again.
  constexpr double kStep = 63.0 / 64;
  double inside_px = kSearchFactor * eyes[0].eye->fx_px;
  const double lowest_px = eyes[0].eye->fx_px / kSearchFactor;
  if (!all_inside(inside_px)) return std::numeric_limits<double>::quiet_NaN();
  while (all_inside(inside_px * kStep)) {
    inside_px *= kStep;
    if (inside_px < lowest_px) return std::numeric_limits<double>::quiet_NaN();
  }
  // Each pixel that still falls outside raises the answer to its own limit.
  double answer_px = inside_px * kStep;
  for (const TurnedEye& turned : eyes) {
    for (const Pixel& pixel : border) {
      if (FallsInside(turned, rectified, answer_px, pixel)) continue;
      double high_px = inside_px;
      for (;;) {
        const double middle_px = 0.5 * (answer_px + high_px);
        if (middle_px == answer_px || middle_px == high_px) break;
        (FallsInside(turned, rectified, middle_px, pixel) ? high_px : answer_px) = middle_px;
      }
      answer_px = high_px;
    }
  }
  return answer_px;
}

Status CheckEye(const char* name, const RawEye& eye) {
  for (const double value : {eye.fx_px, eye.fy_px, eye.cx_px, eye.cy_px}) {
    if (!std::isfinite(value) || value <= 0) {
      return Fail(ErrorKind::kInvalidData,
                  "{} eye: want positive fx fy cx cy, have {} {} {} {}",
                  name,
                  eye.fx_px,
                  eye.fy_px,
                  eye.cx_px,
                  eye.cy_px);
    }
  }
  return {};
}

Status CheckPair(const StereoPair& pair) {
  constexpr int kMaxSide_px = 16384;
  if (pair.width_px < 2 || pair.height_px < 2 || pair.width_px > kMaxSide_px ||
      pair.height_px > kMaxSide_px) {
    return Fail(ErrorKind::kInvalidData,
                "want an image of 2x2 to {}x{}, have {}x{}",
                kMaxSide_px,
                kMaxSide_px,
                pair.width_px,
                pair.height_px);
  }
  DF_RETURN_IF_ERROR(CheckEye("left", pair.left));
  DF_RETURN_IF_ERROR(CheckEye("right", pair.right));
  if (!IsRotation(pair.R_right_left, 1e-6)) {
    return Fail(ErrorKind::kInvalidData, "the rotation between the eyes is no rotation");
  }
  const Vector3& t = pair.t_right_left_m;
  if (!t.allFinite() || !(std::abs(t.x()) > std::abs(t.y()) && std::abs(t.x()) > std::abs(t.z()))) {
    return Fail(ErrorKind::kInvalidData,
                "want a baseline mostly along x, have ({}, {}, {}) m",
                t.x(),
                t.y(),
                t.z());
  }
  return {};
}

}  // namespace

Matrix3 StereoRotationFromZed(double rx_rad, double cv_rad, double rz_rad) {
  return RotationFromVector({rx_rad, cv_rad, rz_rad});
}

Result<RectifiedPair> Rectify(const StereoPair& pair) {
  DF_RETURN_IF_ERROR(CheckPair(pair));
  // Half of the rotation each: `half` takes the right eye back, its inverse takes the left one
  // forth.
  const Eigen::Quaterniond whole = QuaternionFromRotation(pair.R_right_left);
  const Matrix3 half = InterpolateRotation(whole, Eigen::Quaterniond::Identity(), 0.5).transpose();
  const Matrix3 to_baseline = RotationToXAxis(half * pair.t_right_left_m);

  RectifiedPair rectified;
  rectified.R_rect_left = to_baseline * half.transpose();
  rectified.R_rect_right = to_baseline * half;
  rectified.baseline_m = pair.t_right_left_m.norm();
  rectified.intrinsics = {.cx_px = 0.5 * (pair.left.cx_px + pair.right.cx_px),
                          .cy_px = 0.5 * (pair.left.cy_px + pair.right.cy_px),
                          .width_px = pair.width_px,
                          .height_px = pair.height_px};
  const double focal_px =
      SmallestFocal({{{&pair.left, rectified.R_rect_left}, {&pair.right, rectified.R_rect_right}}},
                    rectified.intrinsics);
  if (!std::isfinite(focal_px)) {
    return Fail(
        ErrorKind::kInvalidData,
        "want a smallest focal length that keeps the rectified image inside the raw one, have "
        "none from {} to {} px",
        pair.left.fx_px / kSearchFactor,
        pair.left.fx_px * kSearchFactor);
  }
  rectified.intrinsics.fx_px = rectified.intrinsics.fy_px = focal_px;
  return rectified;
}

Pixel RawPixelFromRectified(const RawEye& eye,
                            const Matrix3& R_rect_eye,
                            const Intrinsics& rectified,
                            Pixel pixel) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const Vector3 v_rect((pixel.u_px - rectified.cx_px) / rectified.fx_px,
                       (pixel.v_px - rectified.cy_px) / rectified.fy_px,
                       1);
  const Vector3 v_eye = R_rect_eye.transpose() * v_rect;
  if (!(v_eye.z() > 0)) return {kNan, kNan};
  const NormalisedPoint seen = Distort(eye.lens, {v_eye.x() / v_eye.z(), v_eye.y() / v_eye.z()});
  return {eye.fx_px * seen.x + eye.cx_px, eye.fy_px * seen.y + eye.cy_px};
}

}  // namespace droidflow

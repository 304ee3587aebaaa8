#include "droidflow/tracks/gripper_shape.h"

#include "droidflow/tracks/contact_pad.h"
#include "droidflow/tracks/gripper.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace droidflow {
namespace {

constexpr double kMinBoxDepth_m = 0.02;

/// Bounds of a box in the picture; everything where a corner is not before the camera.
struct PixelBounds {
  int left, top, right, bottom;  ///< the last two are the first that are outside
};

PixelBounds BoundsOf(const OrientedBox& box,
                     const Transform& T_cam_box,
                     const Intrinsics& intrinsics) {
  const PixelBounds all{0, 0, intrinsics.width_px, intrinsics.height_px};
  double left = std::numeric_limits<double>::infinity();
  double top = left;
  double right = -left;
  double bottom = -left;
  for (int corner = 0; corner < 8; ++corner) {
    const Vector3 sign((corner & 1) != 0 ? 1 : -1, (corner & 2) != 0 ? 1 : -1, corner > 3 ? 1 : -1);
    const Vector3 at = T_cam_box * box.half_m.cwiseProduct(sign);
    const Pixel pixel = ProjectPoint(intrinsics, at, kMinBoxDepth_m);
    if (std::isnan(pixel.u_px)) return all;
    left = std::min(left, pixel.u_px);
    right = std::max(right, pixel.u_px);
    top = std::min(top, pixel.v_px);
    bottom = std::max(bottom, pixel.v_px);
  }
  const auto clamp = [](double value, int most) {
    return static_cast<int>(std::clamp(value, 0.0, static_cast<double>(most)));
  };
  return {clamp(std::floor(left), all.right),
          clamp(std::floor(top), all.bottom),
          clamp(std::ceil(right) + 1, all.right),
          clamp(std::ceil(bottom) + 1, all.bottom)};
}

}  // namespace

GripperShape GripperShapeAt(double joint_rad) {
  constexpr double kBodyHeight_m = 0.09;
  constexpr double kArmLength_m = 0.3;
  const auto lifted = [](double z_m) {
    return MakeTransform(Matrix3::Identity(), Vector3(0, 0, z_m));
  };
  GripperShape shape;
  shape.body = {{lifted(kBodyHeight_m / 2), {0.042, 0.034, kBodyHeight_m / 2}}};
  shape.arm = {{lifted(-kArmLength_m / 2), {0.065, 0.065, kArmLength_m / 2}}};
  const Vector3 pad_middle((PadFace::kX_m + 0.008) / 2, 0, (PadFace::kMaxZ_m - 0.01) / 2);
  const Vector3 pad_half((0.008 - PadFace::kX_m) / 2,
                         (PadFace::kMaxY_m - PadFace::kMinY_m) / 2,
                         (PadFace::kMaxZ_m + 0.01) / 2);
  for (const Transform& finger :
       {LeftFingerInGripper(joint_rad), RightFingerInGripper(joint_rad)}) {
    // The outer links end where the finger begins.
    const Vector3 tip = finger.translation();
    const Vector3 root(std::copysign(0.0306, tip.x()), 0, 0.0549);
    const Vector3 along = tip - root;
    Matrix3 R;
    R.col(2) = along.normalized();
    R.col(1) = Vector3::UnitY();
    R.col(0) = R.col(1).cross(R.col(2));
    shape.fingers.push_back(
        {MakeTransform(R, (root + tip) / 2), {0.009, 0.009, along.norm() / 2 + 0.005}});
    shape.fingers.push_back({finger * Eigen::Translation3d(pad_middle), pad_half});
  }
  return shape;
}

void DrawBoxes(std::span<const OrientedBox> boxes,
               const Transform& T_cam_boxes,
               const Intrinsics& intrinsics,
               Image<float>& depth_m) {
  depth_m.Resize(intrinsics.width_px, intrinsics.height_px);
  for (int y = 0; y < depth_m.height_px(); ++y)
    std::fill_n(depth_m.row(y), depth_m.width_px(), 0.0F);
  for (const OrientedBox& box : boxes) {
    const Transform T_cam_box = T_cam_boxes * box.pose;
    const PixelBounds bounds = BoundsOf(box, T_cam_box, intrinsics);
    const Matrix3 R_box_cam = T_cam_box.linear().transpose();
    const Vector3 eye = -(R_box_cam * T_cam_box.translation());
    for (int v = bounds.top; v < bounds.bottom; ++v) {
      for (int u = bounds.left; u < bounds.right; ++u) {
        // The ray is (x, y, 1) times the depth: between which depths is it within all three slabs?
        const Vector3 ray = R_box_cam * Vector3((u - intrinsics.cx_px) / intrinsics.fx_px,
                                                (v - intrinsics.cy_px) / intrinsics.fy_px,
                                                1);
        double near_m = kMinBoxDepth_m;
        double far_m = std::numeric_limits<double>::infinity();
        for (int axis = 0; axis < 3; ++axis) {
          const double one = (-box.half_m[axis] - eye[axis]) / ray[axis];
          const double other = (box.half_m[axis] - eye[axis]) / ray[axis];
          near_m = std::max(near_m, std::min(one, other));
          far_m = std::min(far_m, std::max(one, other));
        }
        if (!(near_m < far_m)) continue;
        float& depth = depth_m.at(u, v);
        if (depth == 0 || near_m < depth) depth = static_cast<float>(near_m);
      }
    }
  }
}

}  // namespace droidflow

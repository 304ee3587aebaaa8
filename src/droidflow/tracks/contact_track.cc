#include "droidflow/tracks/contact_track.h"

#include "droidflow/core/check.h"

#include <limits>

namespace droidflow {
namespace {

struct PadView {
  const double* x_m;
  const double* y_m;
  const double* z_m;
  std::size_t size;
};

// The numbers of a transform as locals, which the compiler keeps in registers.
struct Affine {
  explicit Affine(const Transform& transform)
      : xx(transform(0, 0)),
        xy(transform(0, 1)),
        xz(transform(0, 2)),
        x0(transform(0, 3)),
        yx(transform(1, 0)),
        yy(transform(1, 1)),
        yz(transform(1, 2)),
        y0(transform(1, 3)),
        zx(transform(2, 0)),
        zy(transform(2, 1)),
        zz(transform(2, 2)),
        z0(transform(2, 3)) {}

  double X(double x, double y, double z) const { return xx * x + xy * y + xz * z + x0; }
  double Y(double x, double y, double z) const { return yx * x + yy * y + yz * z + y0; }
  double Z(double x, double y, double z) const { return zx * x + zy * y + zz * z + z0; }

  double xx, xy, xz, x0, yx, yy, yz, y0, zx, zy, zz, z0;
};

template <typename Scalar>
void WritePoints(const Transform& T_base_finger, const PadView& pad, Scalar* __restrict xyz_m) {
  const Affine base_finger(T_base_finger);
  for (std::size_t i = 0; i < pad.size; ++i) {
    const double x = pad.x_m[i];
    const double y = pad.y_m[i];
    const double z = pad.z_m[i];
    xyz_m[3 * i] = static_cast<Scalar>(base_finger.X(x, y, z));
    xyz_m[3 * i + 1] = static_cast<Scalar>(base_finger.Y(x, y, z));
    xyz_m[3 * i + 2] = static_cast<Scalar>(base_finger.Z(x, y, z));
  }
}

void WritePixels(const Transform& T_cam_finger,
                 const PadView& pad,
                 const Intrinsics& intrinsics,
                 double min_depth_m,
                 float* __restrict uv_px) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const Affine cam_finger(T_cam_finger);
  const double fx_px = intrinsics.fx_px;
  const double fy_px = intrinsics.fy_px;
  const double cx_px = intrinsics.cx_px;
  const double cy_px = intrinsics.cy_px;
  for (std::size_t i = 0; i < pad.size; ++i) {
    const double x = pad.x_m[i];
    const double y = pad.y_m[i];
    const double z = pad.z_m[i];
    const double depth_m = cam_finger.Z(x, y, z);
    const auto u_px = static_cast<float>(fx_px * cam_finger.X(x, y, z) / depth_m + cx_px);
    const auto v_px = static_cast<float>(fy_px * cam_finger.Y(x, y, z) / depth_m + cy_px);
    const bool is_seen = depth_m > min_depth_m;
    uv_px[2 * i] = is_seen ? u_px : kNan;
    uv_px[2 * i + 1] = is_seen ? v_px : kNan;
  }
}

}  // namespace

ContactTrack::ContactTrack(std::span<const Transform> T_base_ee,
                           std::span<const double> gripper_position,
                           const GripperModel& model,
                           std::span<const Vector3> pad_points_m) {
  DF_CHECK(!T_base_ee.empty() && T_base_ee.size() == gripper_position.size(),
           "{} poses, {} gripper positions",
           T_base_ee.size(),
           gripper_position.size());
  DF_CHECK(!pad_points_m.empty(), "no contact points");
  gripper_.reserve(T_base_ee.size());
  left_.reserve(T_base_ee.size());
  right_.reserve(T_base_ee.size());
  const Transform T_ee_gripper = GripperMount(model);
  for (std::size_t frame = 0; frame < T_base_ee.size(); ++frame) {
    const double joint_rad = FingerJoint(model, gripper_position[frame]);
    const Transform& T_base_gripper = gripper_.emplace_back(T_base_ee[frame] * T_ee_gripper);
    left_.push_back(T_base_gripper * LeftFingerInGripper(joint_rad));
    right_.push_back(T_base_gripper * RightFingerInGripper(joint_rad));
  }
  for (const Vector3& point : pad_points_m) {
    pad_x_m_.push_back(point.x());
    pad_y_m_.push_back(point.y());
    pad_z_m_.push_back(point.z());
    pad_mean_m_ += point;
  }
  pad_mean_m_ /= static_cast<double>(pad_points_m.size());
}

// A rigid motion takes the mean of points to the mean of the moved points, so no frame's points are
// needed for these.
Vector3 ContactTrack::Centroid(std::size_t frame) const {
  return 0.5 * (left_[frame] * pad_mean_m_ + right_[frame] * pad_mean_m_);
}

Transform ContactTrack::ContactFrame(std::size_t frame) const {
  return MakeTransform(gripper_[frame].linear(), Centroid(frame));
}

Transform ContactTrack::LeftContactFrame(std::size_t frame) const {
  return MakeTransform(left_[frame].linear(), left_[frame] * pad_mean_m_);
}

Transform ContactTrack::RightContactFrame(std::size_t frame) const {
  return MakeTransform(right_[frame].linear(), right_[frame] * pad_mean_m_);
}

void ContactTrack::PointsAt(std::size_t frame, std::span<double> xyz_m) const {
  DF_CHECK(xyz_m.size() == 3 * point_count(), "{} != 3 * {}", xyz_m.size(), point_count());
  const PadView pad{pad_x_m_.data(), pad_y_m_.data(), pad_z_m_.data(), pad_x_m_.size()};
  WritePoints(left_[frame], pad, xyz_m.data());
  WritePoints(right_[frame], pad, xyz_m.data() + 3 * pad.size);
}

void ContactTrack::PointsAt(std::size_t frame, std::span<float> xyz_m) const {
  DF_CHECK(xyz_m.size() == 3 * point_count(), "{} != 3 * {}", xyz_m.size(), point_count());
  const PadView pad{pad_x_m_.data(), pad_y_m_.data(), pad_z_m_.data(), pad_x_m_.size()};
  WritePoints(left_[frame], pad, xyz_m.data());
  WritePoints(right_[frame], pad, xyz_m.data() + 3 * pad.size);
}

void ContactTrack::PixelsAt(std::size_t frame,
                            const Intrinsics& intrinsics,
                            const Transform& T_base_cam,
                            double min_depth_m,
                            std::span<float> uv_px) const {
  DF_CHECK(uv_px.size() == 2 * point_count(), "{} != 2 * {}", uv_px.size(), point_count());
  const PadView pad{pad_x_m_.data(), pad_y_m_.data(), pad_z_m_.data(), pad_x_m_.size()};
  const Transform T_cam_base = T_base_cam.inverse();
  WritePixels(T_cam_base * left_[frame], pad, intrinsics, min_depth_m, uv_px.data());
  WritePixels(
      T_cam_base * right_[frame], pad, intrinsics, min_depth_m, uv_px.data() + 2 * pad.size);
}

}  // namespace droidflow

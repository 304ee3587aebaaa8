#pragma once

#include "droidflow/geometry/pose.h"
#include "droidflow/geometry/projection.h"
#include "droidflow/tracks/gripper.h"

#include <cstddef>
#include <span>
#include <vector>

namespace droidflow {

/// Where a gripper's contact points are in every frame of an episode.
///
/// Holds one pose per frame and finger and computes points when asked: [T, N, 3] is never in
/// memory.
///
/// Frame    robot base, unless said otherwise.
/// Shape    T frames; N = 2 P points, the left finger's P first.
/// Unit     metres.
/// Thread   const functions may run at the same time.
class ContactTrack {
 public:
  /// @param T_base_ee         [T], T >= 1.
  /// @param gripper_position  [T], 0 open … 1 closed; clamped to that for the fingers' pose.
  /// @param pad_points_m      [P], P >= 1, inner-finger frame; the same for both fingers.
  ContactTrack(std::span<const Transform> T_base_ee,
               std::span<const double> gripper_position,
               const GripperModel& model,
               std::span<const Vector3> pad_points_m);

  [[nodiscard]] std::size_t frame_count() const { return gripper_.size(); }
  [[nodiscard]] std::size_t point_count() const { return 2 * pad_x_m_.size(); }

  /// T_base_gripper, T_base_left and T_base_right.
  [[nodiscard]] const Transform& gripper_pose(std::size_t frame) const { return gripper_[frame]; }
  [[nodiscard]] const Transform& left_pose(std::size_t frame) const { return left_[frame]; }
  [[nodiscard]] const Transform& right_pose(std::size_t frame) const { return right_[frame]; }

  /// Mean of all N points.
  [[nodiscard]] Vector3 Centroid(std::size_t frame) const;

  /// The gripper's rotation with its origin at the centroid.
  [[nodiscard]] Transform ContactFrame(std::size_t frame) const;
  /// A finger's rotation with its origin at that finger's mean point.
  [[nodiscard]] Transform LeftContactFrame(std::size_t frame) const;
  [[nodiscard]] Transform RightContactFrame(std::size_t frame) const;

  /// Writes the points of one frame, [N, 3].
  void PointsAt(std::size_t frame, std::span<double> xyz_m) const;
  void PointsAt(std::size_t frame, std::span<float> xyz_m) const;

  /// Writes where a camera sees the points of one frame, [N, 2], as ProjectPoint does.
  void PixelsAt(std::size_t frame,
                const Intrinsics& intrinsics,
                const Transform& T_base_cam,
                double min_depth_m,
                std::span<float> uv_px) const;

 private:
  std::vector<Transform> gripper_;
  std::vector<Transform> left_;
  std::vector<Transform> right_;
  // The pad's points by coordinate, so that the compiler can work on several at once.
  std::vector<double> pad_x_m_;
  std::vector<double> pad_y_m_;
  std::vector<double> pad_z_m_;
  Vector3 pad_mean_m_ = Vector3::Zero();
};

}  // namespace droidflow

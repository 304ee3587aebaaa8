#pragma once

/// What a camera sees of the gripper, roughly: boxes about its body, links and fingers.

#include "droidflow/core/image.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/geometry/projection.h"

#include <span>
#include <vector>

namespace droidflow {

/// A box about the origin of its frame.
struct OrientedBox {
  Transform pose = Transform::Identity();  ///< of its middle, in whatever frame the box stands
  Vector3 half_m = Vector3::Zero();        ///< half of its edges
};

/// A Robotiq 2F-85 with its fingers somewhere between open and closed.
///
/// Frame    gripper.
/// Source   robotiq_arg85_description URDF for the joints, the maker's drawing for the outside.
struct GripperShape {
  std::vector<OrientedBox> body;
  std::vector<OrientedBox> fingers;  ///< left link, left finger, right link, right finger
  /// Where the robot's last links are, whose shape is left open.
  std::vector<OrientedBox> arm;
};
[[nodiscard]] GripperShape GripperShapeAt(double joint_rad);

/// The depth of the nearest box's surface at each pixel's centre.
///
/// @param T_cam_boxes  takes the boxes' frame to the camera's.
/// @param depth_m      resized to the camera's picture. Unit metres. Invalid 0: no box there.
void DrawBoxes(std::span<const OrientedBox> boxes,
               const Transform& T_cam_boxes,
               const Intrinsics& intrinsics,
               Image<float>& depth_m);

}  // namespace droidflow

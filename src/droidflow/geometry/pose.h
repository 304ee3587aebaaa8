#pragma once

/// Rigid poses, as DROID writes them and as droidflow computes with them.
///
/// `T_a_b` is the pose of b in a and takes b-coordinates to a: `p_a = T_a_b * p_b`. See
/// docs/frames.md.

#include "droidflow/core/result.h"

#include <array>
#include <span>

#include <Eigen/Core>
#include <Eigen/Geometry>

namespace droidflow {

using Vector3 = Eigen::Vector3d;
using Matrix3 = Eigen::Matrix3d;
using Transform = Eigen::Isometry3d;

/// DROID's pose vector: x y z, then three angles about the fixed axes x, y, z.
///
/// Unit     metres, radians.
/// Source   shared convention of DROID's cartesian_position and cam2base extrinsics; SciPy's
///          Rotation.from_euler("xyz"): R = Rz(c) * Ry(b) * Rx(a).
using PoseVector = std::array<double, 6>;

/// Pose from a pose vector. Bit-identical on every machine (own sine and cosine).
[[nodiscard]] Transform TransformFromPoseVector(const PoseVector& pose);

[[nodiscard]] Transform MakeTransform(const Matrix3& rotation, const Vector3& origin_m);

[[nodiscard]] Matrix3 RotationX(double angle_rad);
[[nodiscard]] Matrix3 RotationY(double angle_rad);
[[nodiscard]] Matrix3 RotationZ(double angle_rad);

/// Rotation of |v| radians about v (Rodrigues).
[[nodiscard]] Matrix3 RotationFromVector(const Vector3& rotation_vector_rad);

/// Unit quaternion of a rotation by the largest-component method: stable near 180 degrees.
/// Source   Shepperd 1978, "Quaternion from rotation matrix".
[[nodiscard]] Eigen::Quaterniond QuaternionFromRotation(const Matrix3& rotation);

/// Rotation at `weight` (0 … 1) of the way from a to b on the shorter arc: spherical linear, or
/// normalised linear when the quaternions' dot product exceeds 0.9995.
/// Source   Shoemake 1985, "Animating rotation with quaternion curves".
[[nodiscard]] Matrix3 InterpolateRotation(const Eigen::Quaterniond& a,
                                          const Eigen::Quaterniond& b,
                                          double weight);

/// Pose at `weight` (0 … 1) between two: origin linear, rotation as InterpolateRotation.
[[nodiscard]] Transform InterpolatePose(const Transform& a, const Transform& b, double weight);

/// Whether `rotation` is orthonormal with determinant +1, each entry of RᵀR within `tolerance`.
[[nodiscard]] bool IsRotation(const Matrix3& rotation, double tolerance);

}  // namespace droidflow

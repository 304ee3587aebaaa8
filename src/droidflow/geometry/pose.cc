#include "droidflow/geometry/pose.h"

#include "droidflow/geometry/deterministic_math.h"

#include <cmath>

namespace droidflow {

Transform TransformFromPoseVector(const PoseVector& pose) {
  return MakeTransform(RotationZ(pose[5]) * RotationY(pose[4]) * RotationX(pose[3]),
                       {pose[0], pose[1], pose[2]});
}

Transform MakeTransform(const Matrix3& rotation, const Vector3& origin_m) {
  Transform transform = Transform::Identity();
  transform.linear() = rotation;
  transform.translation() = origin_m;
  return transform;
}

Matrix3 RotationX(double angle_rad) {
  const double s = Sin(angle_rad);
  const double c = Cos(angle_rad);
  Matrix3 rotation;
  rotation << 1, 0, 0, 0, c, -s, 0, s, c;
  return rotation;
}

Matrix3 RotationY(double angle_rad) {
  const double s = Sin(angle_rad);
  const double c = Cos(angle_rad);
  Matrix3 rotation;
  rotation << c, 0, s, 0, 1, 0, -s, 0, c;
  return rotation;
}

Matrix3 RotationZ(double angle_rad) {
  const double s = Sin(angle_rad);
  const double c = Cos(angle_rad);
  Matrix3 rotation;
  rotation << c, -s, 0, s, c, 0, 0, 0, 1;
  return rotation;
}

Matrix3 RotationFromVector(const Vector3& rotation_vector_rad) {
  const double angle_rad = rotation_vector_rad.norm();
  if (angle_rad == 0) return Matrix3::Identity();
  const Vector3 axis = rotation_vector_rad / angle_rad;
  Matrix3 cross;
  cross << 0, -axis.z(), axis.y(), axis.z(), 0, -axis.x(), -axis.y(), axis.x(), 0;
  const double half_sine = Sin(0.5 * angle_rad);
  // 1 - cos as 2 sin^2 of the half keeps its digits for small angles.
  return Matrix3::Identity() + Sin(angle_rad) * cross + 2 * half_sine * half_sine * (cross * cross);
}

Eigen::Quaterniond QuaternionFromRotation(const Matrix3& rotation) {
  const Matrix3& r = rotation;
  // Four times the square of each component, less one.
  const double w = r(0, 0) + r(1, 1) + r(2, 2);
  const double x = r(0, 0) - r(1, 1) - r(2, 2);
  const double y = r(1, 1) - r(2, 2) - r(0, 0);
  const double z = r(2, 2) - r(0, 0) - r(1, 1);
  Eigen::Quaterniond q;
  if (w >= x && w >= y && w >= z) {
    q = {1 + w, r(2, 1) - r(1, 2), r(0, 2) - r(2, 0), r(1, 0) - r(0, 1)};
  } else if (x >= y && x >= z) {
    q = {r(2, 1) - r(1, 2), 1 + x, r(1, 0) + r(0, 1), r(0, 2) + r(2, 0)};
  } else if (y >= z) {
    q = {r(0, 2) - r(2, 0), r(1, 0) + r(0, 1), 1 + y, r(2, 1) + r(1, 2)};
  } else {
    q = {r(1, 0) - r(0, 1), r(0, 2) + r(2, 0), r(2, 1) + r(1, 2), 1 + z};
  }
  return q.normalized();
}

Matrix3 InterpolateRotation(const Eigen::Quaterniond& a,
                            const Eigen::Quaterniond& b,
                            double weight) {
  constexpr double kNearlyEqual = 0.9995;
  const double signed_dot = a.dot(b);
  const double dot = std::abs(signed_dot);
  double weight_a = 1 - weight;
  double weight_b = weight;
  if (dot <= kNearlyEqual) {
    const double angle_rad = Acos(dot);
    const double sine = Sin(angle_rad);
    weight_a = Sin(weight_a * angle_rad) / sine;
    weight_b = Sin(weight_b * angle_rad) / sine;
  }
  if (signed_dot < 0) weight_b = -weight_b;
  return Eigen::Quaterniond(weight_a * a.coeffs() + weight_b * b.coeffs())
      .normalized()
      .toRotationMatrix();
}

Transform InterpolatePose(const Transform& a, const Transform& b, double weight) {
  return MakeTransform(
      InterpolateRotation(
          QuaternionFromRotation(a.linear()), QuaternionFromRotation(b.linear()), weight),
      (1 - weight) * a.translation() + weight * b.translation());
}

bool IsRotation(const Matrix3& rotation, double tolerance) {
  const Matrix3 error = rotation.transpose() * rotation - Matrix3::Identity();
  return (error.array().abs() <= tolerance).all() && rotation.determinant() > 0;
}

}  // namespace droidflow

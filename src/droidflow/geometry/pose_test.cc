#include "droidflow/geometry/pose.h"

#include "droidflow/core/test_support.h"

#include <numbers>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

constexpr double kPi = std::numbers::pi;

Matrix3 MatrixFrom(std::span<const double> rows) {
  return Eigen::Map<const Eigen::Matrix<double, 3, 3, Eigen::RowMajor>>(rows.data());
}

double Difference(const Matrix3& a, const Matrix3& b) { return (a - b).cwiseAbs().maxCoeff(); }

TEST(Pose, QuarterTurnsGoTheRightWayRound) {
  EXPECT_LT((RotationX(kPi / 2) * Vector3::UnitY() - Vector3::UnitZ()).norm(), 1e-15);
  EXPECT_LT((RotationY(kPi / 2) * Vector3::UnitZ() - Vector3::UnitX()).norm(), 1e-15);
  EXPECT_LT((RotationZ(kPi / 2) * Vector3::UnitX() - Vector3::UnitY()).norm(), 1e-15);
}

TEST(Pose, AnglesAreAboutFixedAxesXFirst) {
  // y turns to z by the first angle; the second, about y, leaves nothing of z but x.
  const Transform T_a_b = TransformFromPoseVector({1, 2, 3, kPi / 2, kPi / 2, 0});
  EXPECT_LT((T_a_b * Vector3::UnitY() - Vector3(2, 2, 3)).norm(), 1e-15);
}

TEST(Pose, InverseUndoes) {
  const Transform T_a_b = TransformFromPoseVector({0.4, -0.2, 0.7, 3.0, -0.4, 1.2});
  EXPECT_LT((T_a_b.inverse() * T_a_b).matrix().cwiseAbs().sum() - 4, 1e-15);
  EXPECT_TRUE(IsRotation(T_a_b.linear(), 1e-15));
}

TEST(Pose, AgreesWithSciPy) {
  const std::vector<double> numbers = NumbersFromPython(R"(
import numpy as np
from scipy.spatial.transform import Rotation, Slerp
rng = np.random.default_rng(3)
def show(*arrays):
    print(*[repr(float(v)) for a in arrays for v in np.ravel(a)])
for i in range(200):
    angles = rng.uniform(-4, 4, 3)
    vector = rng.normal(size=3) * 10.0 ** rng.uniform(-9, 0.3)
    first = Rotation.from_euler("xyz", angles)
    # Near 180 degrees about an axis across z, as a gripper that points down.
    down = Rotation.from_euler("xyz", [np.pi + rng.normal() * 1e-3, rng.normal() * 1e-3, angles[2]])
    near = down * Rotation.from_rotvec(vector / np.linalg.norm(vector) * rng.uniform(0.07, 3))
    weight = rng.uniform()
    between = Slerp([0, 1], Rotation.concatenate([down, near]))(weight)
    show(angles, first.as_matrix(), vector, Rotation.from_rotvec(vector).as_matrix(),
         down.as_matrix(), near.as_matrix(), weight, between.as_matrix())
)");
  constexpr std::size_t kRow = 3 + 9 + 3 + 9 + 9 + 9 + 1 + 9;
  ASSERT_EQ(numbers.size(), 200 * kRow);
  for (std::size_t i = 0; i < numbers.size(); i += kRow) {
    SCOPED_TRACE(i / kRow);
    const std::span row = std::span(numbers).subspan(i, kRow);
    const Transform pose = TransformFromPoseVector({0, 0, 0, row[0], row[1], row[2]});
    EXPECT_LT(Difference(pose.linear(), MatrixFrom(row.subspan(3))), 1e-15);
    EXPECT_LT(
        Difference(RotationFromVector({row[12], row[13], row[14]}), MatrixFrom(row.subspan(15))),
        2e-15);
    const Matrix3 down = MatrixFrom(row.subspan(24));
    EXPECT_LT(Difference(QuaternionFromRotation(down).toRotationMatrix(), down), 1e-15);
    const Matrix3 between = InterpolateRotation(
        QuaternionFromRotation(down), QuaternionFromRotation(MatrixFrom(row.subspan(33))), row[42]);
    EXPECT_LT(Difference(between, MatrixFrom(row.subspan(43))), 1e-14);
  }
}

TEST(QuaternionFromRotation, IsExactForHalfTurns) {
  EXPECT_EQ(QuaternionFromRotation(Vector3(1, -1, -1).asDiagonal().toDenseMatrix()).x(), 1);
  EXPECT_EQ(QuaternionFromRotation(Vector3(-1, 1, -1).asDiagonal().toDenseMatrix()).y(), 1);
  EXPECT_EQ(QuaternionFromRotation(Vector3(-1, -1, 1).asDiagonal().toDenseMatrix()).z(), 1);
  EXPECT_EQ(QuaternionFromRotation(Matrix3::Identity()).w(), 1);
}

TEST(InterpolateRotation, TakesTheShorterArc) {
  const Eigen::Quaterniond a = QuaternionFromRotation(RotationZ(0.2));
  const Eigen::Quaterniond b = QuaternionFromRotation(RotationZ(1.2));
  const Eigen::Quaterniond minus_b(-b.coeffs());
  EXPECT_LT(Difference(InterpolateRotation(a, b, 0.25), RotationZ(0.45)), 1e-15);
  EXPECT_LT(Difference(InterpolateRotation(a, minus_b, 0.25), RotationZ(0.45)), 1e-15);
}

TEST(InterpolateRotation, IsLinearForNearlyEqualRotations) {
  // Dot product cos(0.01) > 0.9995. Normalised linear: the half angle is atan(w tan …), not w times
  // it.
  const double weight = 0.25;
  const Matrix3 between = InterpolateRotation(
      QuaternionFromRotation(RotationX(0)), QuaternionFromRotation(RotationX(0.02)), weight);
  const double half_rad =
      std::atan2(weight * std::sin(0.01), (1 - weight) + weight * std::cos(0.01));
  EXPECT_LT(Difference(between, RotationX(2 * half_rad)), 1e-16);
  EXPECT_GT(Difference(between, RotationX(0.005)), 1e-8);
}

TEST(InterpolatePose, EndsAtItsEndsAndMovesStraight) {
  const Transform a = TransformFromPoseVector({0, 0, 0, 3.1, 0, 0});
  const Transform b = TransformFromPoseVector({1, -2, 4, -3.1, 0, 0});
  EXPECT_LT((InterpolatePose(a, b, 0).matrix() - a.matrix()).norm(), 1e-15);
  EXPECT_LT((InterpolatePose(a, b, 1).matrix() - b.matrix()).norm(), 1e-15);
  const Transform middle = InterpolatePose(a, b, 0.5);
  EXPECT_EQ(middle.translation(), Vector3(0.5, -1, 2));
  EXPECT_LT(Difference(middle.linear(), RotationX(kPi)), 1e-15);  // through 180 degrees, not back
}

TEST(IsRotation, RefusesMirrorsScalesAndNan) {
  EXPECT_TRUE(IsRotation(RotationY(0.3), 1e-15));
  EXPECT_FALSE(IsRotation(Vector3(1, 1, -1).asDiagonal().toDenseMatrix(), 1e-6));
  EXPECT_FALSE(IsRotation(1.001 * Matrix3::Identity(), 1e-6));
  EXPECT_FALSE(IsRotation(Matrix3::Constant(std::nan("")), 1e-6));
}

}  // namespace
}  // namespace droidflow

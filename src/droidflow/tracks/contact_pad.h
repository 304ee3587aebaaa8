#pragma once

/// Points on a finger's contact pad: where the robot touches what it handles.

#include "droidflow/core/result.h"
#include "droidflow/geometry/pose.h"

#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace droidflow {

/// The pad's face: a rectangle with normal -x, towards the other finger.
///
/// Frame    inner finger (`left`, `right`), metres. The same points serve both fingers.
/// Source   robotiq_arg85_description, meshes/inner_finger_fine.STL; its corners above z = 0.039
/// are
///          slightly rounded, which is left out.
struct PadFace {
  static constexpr double kX_m = -0.0078;
  static constexpr double kMinY_m = -0.011;
  static constexpr double kMaxY_m = 0.011;
  static constexpr double kMinZ_m = 0.007;
  static constexpr double kMaxZ_m = 0.044;
};

inline constexpr std::size_t kDefaultPadPoints = 480;
inline constexpr std::size_t kMaxPadPoints = 1'000'000;

/// A face of a mesh, its corners counter-clockwise seen from outside.
using MeshFace = std::array<Vector3, 3>;

/// Centres of `count` equal cells that cover the pad's face, y fastest.
///
/// Rows and columns are the factorisation of `count` whose cells are nearest to square: 480 is 16
/// in y by 30 in z.
///
/// @return  kUsage when even the best cells are longer than twice their width; names the nearest
/// count
///          that works.
[[nodiscard]] Result<std::vector<Vector3>> PadGridPoints(std::size_t count);

/// `count` points spread evenly, and always the same, over the contact face of a finger mesh: the
/// faces with normal within 10 degrees of -x that lie on the smallest such plane.
///
/// Frame    the mesh's own, which must be the inner finger's in metres.
///
/// @return  kUsage when there is no such face, or when the mesh is larger than a metre, as one in
///          millimetres is: what unit it has is not guessed.
[[nodiscard]] Result<std::vector<Vector3>> PadPointsFromMesh(std::span<const MeshFace> mesh,
                                                             std::size_t count);

/// Takes points that a user brings, [P, 3] row-major, after checking them.
///
/// @param shape  of the array that holds `values`.
/// @return       kUsage for another shape, no points, non-finite values or points more than a metre
///               from the finger's origin.
[[nodiscard]] Result<std::vector<Vector3>> PadPointsFromArray(std::span<const std::size_t> shape,
                                                              std::span<const double> values);

}  // namespace droidflow

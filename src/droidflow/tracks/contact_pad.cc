#include "droidflow/tracks/contact_pad.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include <fmt/ranges.h>

namespace droidflow {
namespace {

// Nothing on a finger is this far from its origin: larger numbers are another unit.
constexpr double kReach_m = 1;

struct Grid {
  std::size_t in_y;
  std::size_t in_z;
};

double CellElongation(const Grid& grid) {
  const double width = (PadFace::kMaxY_m - PadFace::kMinY_m) / static_cast<double>(grid.in_y);
  const double length = (PadFace::kMaxZ_m - PadFace::kMinZ_m) / static_cast<double>(grid.in_z);
  return std::max(width / length, length / width);
}

// The factorisation with the squarest cells, unless even those are longer than twice their width.
std::optional<Grid> BestGrid(std::size_t count) {
  constexpr double kMaxElongation = 2;
  std::optional<Grid> best;
  double best_elongation = kMaxElongation;
  const auto consider = [&](const Grid& grid) {
    const double elongation = CellElongation(grid);
    if (elongation > best_elongation || (best && elongation == best_elongation)) return;
    best = grid;
    best_elongation = elongation;
  };
  for (std::size_t factor = 1; factor * factor <= count; ++factor) {
    if (count % factor != 0) continue;
    consider({.in_y = factor, .in_z = count / factor});
    consider({.in_y = count / factor, .in_z = factor});
  }
  return best;
}

std::size_t NearestGoodCount(std::size_t count) {
  for (std::size_t distance = 1; distance < count; ++distance) {
    if (BestGrid(count - distance)) return count - distance;
    if (BestGrid(count + distance)) return count + distance;
  }
  return 1;
}

Status CheckCount(std::size_t count) {
  if (count < 1 || count > kMaxPadPoints) {
    return Fail(
        ErrorKind::kUsage, "want 1 to {} contact points per finger, have {}", kMaxPadPoints, count);
  }
  return {};
}

// The digits of `index` in `base`, mirrored at the point: evenly spread in [0, 1).
// Source: van der Corput 1935; two coprime bases make a Halton sequence.
double RadicalInverse(std::uint64_t index, std::uint64_t base) {
  std::uint64_t mirrored = 0;
  std::uint64_t denominator = 1;
  for (; index > 0; index /= base) {
    mirrored = mirrored * base + index % base;
    denominator *= base;
  }
  return static_cast<double>(mirrored) / static_cast<double>(denominator);
}

struct Face {
  const MeshFace* corners;
  double x_m;
  double area_m2;
};

// Faces whose normal is within 10 degrees of -x, in the mesh's order.
std::vector<Face> FacesTowardsMinusX(std::span<const MeshFace> mesh) {
  constexpr double kCos10Degrees = 0.98480775301220806;
  std::vector<Face> faces;
  for (const MeshFace& corners : mesh) {
    const auto& [a, b, c] = corners;
    const Vector3 normal = (b - a).cross(c - a);
    const double length = normal.norm();
    if (length > 0 && -normal.x() >= kCos10Degrees * length) {
      faces.push_back({&corners, (a.x() + b.x() + c.x()) / 3, length / 2});
    }
  }
  return faces;
}

}  // namespace

Result<std::vector<Vector3>> PadGridPoints(std::size_t count) {
  DF_RETURN_IF_ERROR(CheckCount(count));
  const std::optional<Grid> grid = BestGrid(count);
  if (!grid) {
    return Fail(
        ErrorKind::kUsage,
        "{} contact points make no grid with cells up to twice as long as wide: the nearest "
        "number that does is {}",
        count,
        NearestGoodCount(count));
  }
  const double width_m = (PadFace::kMaxY_m - PadFace::kMinY_m) / static_cast<double>(grid->in_y);
  const double length_m = (PadFace::kMaxZ_m - PadFace::kMinZ_m) / static_cast<double>(grid->in_z);
  std::vector<Vector3> points;
  points.reserve(count);
  for (std::size_t row = 0; row < grid->in_z; ++row) {
    for (std::size_t column = 0; column < grid->in_y; ++column) {
      points.emplace_back(PadFace::kX_m,
                          PadFace::kMinY_m + (static_cast<double>(column) + 0.5) * width_m,
                          PadFace::kMinZ_m + (static_cast<double>(row) + 0.5) * length_m);
    }
  }
  return points;
}

Result<std::vector<Vector3>> PadPointsFromMesh(std::span<const MeshFace> mesh, std::size_t count) {
  DF_RETURN_IF_ERROR(CheckCount(count));
  double reach_m = 0;
  for (const MeshFace& corners : mesh) {
    for (const Vector3& corner : corners) {
      if (!corner.allFinite()) {
        return Fail(ErrorKind::kUsage,
                    "finger mesh: face {} has a corner that is not finite",
                    &corners - mesh.data());
      }
      reach_m = std::max(reach_m, corner.cwiseAbs().maxCoeff());
    }
  }
  if (reach_m > kReach_m) {
    return Fail(ErrorKind::kUsage,
                "finger mesh: want metres, have corners up to {} from the origin: if its unit is "
                "the millimetre, scale it by 0.001",
                reach_m);
  }

  std::vector<Face> faces = FacesTowardsMinusX(mesh);
  if (faces.empty()) {
    return Fail(ErrorKind::kUsage,
                "finger mesh: none of its {} faces has a normal within 10 degrees of -x",
                mesh.size());
  }
  constexpr double kSamePlane_m = 1e-4;
  const double plane_m =
      std::min_element(faces.begin(), faces.end(), [](const Face& a, const Face& b) {
        return a.x_m < b.x_m;
      })->x_m;
  std::erase_if(faces, [plane_m](const Face& face) { return face.x_m > plane_m + kSamePlane_m; });
  double total_m2 = 0;
  for (const Face& face : faces) total_m2 += face.area_m2;

  // Equal steps of cumulative area choose the face, a Halton sequence the place on it.
  std::vector<Vector3> points;
  points.reserve(count);
  std::size_t face = 0;
  double area_to_here_m2 = faces[0].area_m2;  // up to and with faces[face]
  for (std::size_t i = 0; i < count; ++i) {
    const double target_m2 = (static_cast<double>(i) + 0.5) / static_cast<double>(count) * total_m2;
    while (area_to_here_m2 < target_m2 && face + 1 < faces.size()) {
      area_to_here_m2 += faces[++face].area_m2;
    }
    const auto& [a, b, c] = *faces[face].corners;
    // The square root makes the density even on the triangle (Osada et al. 2002, equation 1).
    const double across = std::sqrt(RadicalInverse(i + 1, 2));
    const double along = RadicalInverse(i + 1, 3);
    points.emplace_back((1 - across) * a + across * (1 - along) * b + across * along * c);
  }
  return points;
}

Result<std::vector<Vector3>> PadPointsFromArray(std::span<const std::size_t> shape,
                                                std::span<const double> values) {
  if (shape.size() != 2 || shape[1] != 3 || values.size() % 3 != 0 ||
      shape[0] != values.size() / 3) {
    return Fail(ErrorKind::kUsage,
                "contact points: want an array of shape [P, 3], have [{}] with {} values",
                fmt::join(shape, ", "),
                values.size());
  }
  DF_RETURN_IF_ERROR(CheckCount(shape[0]).map_error(During("contact points")));
  std::vector<Vector3> points;
  points.reserve(shape[0]);
  for (std::size_t i = 0; i < shape[0]; ++i) {
    const Vector3 point(values[3 * i], values[3 * i + 1], values[3 * i + 2]);
    if (!(point.cwiseAbs().array() <= kReach_m).all()) {
      return Fail(
          ErrorKind::kUsage,
          "contact points: want metres within {} m of the finger's origin, have ({}, {}, {}) "
          "in row {}",
          kReach_m,
          point.x(),
          point.y(),
          point.z(),
          i);
    }
    points.push_back(point);
  }
  return points;
}

}  // namespace droidflow

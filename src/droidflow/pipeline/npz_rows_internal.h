#pragma once

/// Arrays of poses and points as the products hold them, written row by row.

#include "droidflow/formats/npz_writer.h"
#include "droidflow/geometry/pose.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// An archive, and which of the large arrays are wanted.
struct RowArchive {
  NpzWriter& npz;
  std::span<const std::string_view> only;  ///< empty: all

  [[nodiscard]] bool Wants(std::string_view name) const {
    return only.empty() || std::ranges::find(only, name) != only.end();
  }
};

/// A pose as a row-major 4x4 matrix.
template <typename T>
void StoreMatrix(const Transform& pose, std::span<T> out) {
  for (int row = 0; row < 4; ++row) {
    for (int column = 0; column < 4; ++column) {
      out[4 * static_cast<std::size_t>(row) + static_cast<std::size_t>(column)] =
          static_cast<T>(pose.matrix()(row, column));
    }
  }
}

/// An array [count, …] whose rows of `width` values `fill` computes in order.
template <typename T, typename Fill>
Status AddRows(const RowArchive& archive,
               const std::string& name,
               const NpyShape& shape,
               std::size_t count,
               std::size_t width,
               Fill fill) {
  if (!archive.Wants(name)) return {};
  NpzWriter& npz = archive.npz;
  DF_RETURN_IF_ERROR(npz.BeginArray<T>(name, shape));
  // As many rows at a time as fit into the writer's buffer; a row that does not fit goes by way of
  // memory of its own.
  constexpr std::size_t kRoom = NpzWriter::kMaxReserve_bytes / sizeof(T);
  if (width > kRoom) {
    std::vector<T> row(width);
    for (std::size_t i = 0; i < count; ++i) {
      fill(i, std::span<T>(row));
      DF_RETURN_IF_ERROR(npz.Append<T>(row));
    }
    return {};
  }
  const std::size_t rows_at_once =
      std::max<std::size_t>(1, std::min(kRoom / 4, std::size_t{16384}) / width);
  for (std::size_t begin = 0; begin < count; begin += rows_at_once) {
    const std::size_t rows = std::min(rows_at_once, count - begin);
    DF_ASSIGN_OR_RETURN(const std::span<T> room, npz.Reserve<T>(rows * width));
    for (std::size_t i = 0; i < rows; ++i) fill(begin + i, room.subspan(i * width, width));
    npz.Commit<T>(rows * width);
  }
  return {};
}

/// An array [count, 4, 4] of poses.
template <typename T, typename PoseAt>
Status AddPoses(const RowArchive& archive,
                const std::string& name,
                std::size_t count,
                PoseAt pose_at) {
  return AddRows<T>(archive,
                    name,
                    {static_cast<std::int64_t>(count), 4, 4},
                    count,
                    16,
                    [&](std::size_t i, std::span<T> out) { StoreMatrix<T>(pose_at(i), out); });
}

/// An array [count, 3] of points.
template <typename PointAt>
Status AddPoints(const RowArchive& archive,
                 const std::string& name,
                 std::size_t count,
                 PointAt point_at) {
  return AddRows<float>(archive,
                        name,
                        {static_cast<std::int64_t>(count), 3},
                        count,
                        3,
                        [&](std::size_t i, std::span<float> out) {
                          const Vector3 point = point_at(i);
                          for (int k = 0; k < 3; ++k) {
                            out[static_cast<std::size_t>(k)] = static_cast<float>(point[k]);
                          }
                        });
}

}  // namespace droidflow

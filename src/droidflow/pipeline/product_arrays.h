#pragma once

/// Arrays of a finished episode's archives, in the sizes that they must have.

#include "droidflow/core/result.h"
#include "droidflow/formats/npz_reader.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/geometry/projection.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// tracks.npz (of either layout) or extrinsics.npz, opened to be read.
///
/// Errors name the file: kNotFound for an array that is missing, kInvalidData for one of another
/// size or type.
class ProductArrays {
 public:
  /// @param only  of large arrays those that will be read; empty: all. See OpenTracks.
  [[nodiscard]] static Result<ProductArrays> Open(const std::filesystem::path& path,
                                                  std::span<const std::string_view> only = {});

  [[nodiscard]] bool Contains(std::string_view name) const { return npz_.Contains(name); }
  /// However many there are.
  [[nodiscard]] Result<std::vector<double>> Numbers(const std::string& name) const;
  [[nodiscard]] Result<std::vector<double>> Numbers(const std::string& name,
                                                    std::int64_t count) const;
  /// One number, 1 or more.
  [[nodiscard]] Result<std::int64_t> Count(const std::string& name) const;
  /// [count,4,4], as the array's name tells.
  [[nodiscard]] Result<std::vector<Transform>> Poses(const std::string& name,
                                                     std::int64_t count) const;
  [[nodiscard]] Result<std::vector<std::string>> Strings(const std::string& name) const;
  /// Serials, in the file's order. The original pipeline pickled their list: there they are those
  /// of the keys `tracks_2d_{serial}`.
  [[nodiscard]] Result<std::vector<std::string>> CamerasWithTracks() const;
  /// `intrinsics_{serial}` and `image_size_{serial}`: of the camera that 2-D tracks are drawn in.
  ///
  /// @param min_side_px  smaller images are refused, as are those of more than 8192 pixels a side.
  [[nodiscard]] Result<Intrinsics> IntrinsicsOf(const std::string& serial,
                                                int min_side_px = 1) const;

 private:
  ProductArrays(std::filesystem::path path, NpzReader npz)
      : path_(std::move(path)), npz_(std::move(npz)) {}

  std::filesystem::path path_;
  NpzReader npz_;
};

}  // namespace droidflow

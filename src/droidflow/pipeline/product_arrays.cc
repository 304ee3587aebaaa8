#include "droidflow/pipeline/product_arrays.h"

#include "droidflow/pipeline/tracks_layout.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace droidflow {

Result<ProductArrays> ProductArrays::Open(const std::filesystem::path& path,
                                          std::span<const std::string_view> only) {
  DF_ASSIGN_OR_RETURN(NpzReader npz, OpenTracks(path, only));
  return ProductArrays(path, std::move(npz));
}

Result<std::vector<double>> ProductArrays::Numbers(const std::string& name) const {
  DF_ASSIGN_OR_RETURN(const NpyArray array, npz_.Read(name));
  return array.ToDoubles();
}

Result<std::vector<double>> ProductArrays::Numbers(const std::string& name,
                                                   std::int64_t count) const {
  DF_ASSIGN_OR_RETURN(const NpyArray array, npz_.Read(name));
  if (array.size() != count) {
    return Fail(ErrorKind::kInvalidData,
                "{}: want {} numbers, have {}: {}",
                name,
                count,
                array.size(),
                path_.string());
  }
  return array.ToDoubles();
}

Result<std::int64_t> ProductArrays::Count(const std::string& name) const {
  DF_ASSIGN_OR_RETURN(const std::vector<double> value, Numbers(name, 1));
  if (value[0] >= 1) return static_cast<std::int64_t>(value[0]);
  return Fail(
      ErrorKind::kInvalidData, "{}: want 1 or more, have {}: {}", name, value[0], path_.string());
}

Result<std::vector<Transform>> ProductArrays::Poses(const std::string& name,
                                                    std::int64_t count) const {
  DF_ASSIGN_OR_RETURN(const std::vector<double> numbers, Numbers(name, 16 * count));
  std::vector<Transform> poses(count);
  for (std::int64_t i = 0; i < count; ++i) {
    poses[i].matrix() =
        Eigen::Map<const Eigen::Matrix<double, 4, 4, Eigen::RowMajor>>(numbers.data() + 16 * i);
  }
  return poses;
}

Result<std::vector<std::string>> ProductArrays::Strings(const std::string& name) const {
  DF_ASSIGN_OR_RETURN(const NpyArray array, npz_.Read(name));
  return array.ToStrings();
}

Result<std::vector<std::string>> ProductArrays::CamerasWithTracks() const {
  constexpr const char kList[] = "cameras_with_2d_tracks";
  constexpr std::string_view kTracks = "tracks_2d_";
  constexpr std::size_t kHeader_bytes = 128;
  DF_ASSIGN_OR_RETURN(const NpzReader::Bytes list, npz_.Content(kList));
  const std::string_view header(reinterpret_cast<const char*>(list.bytes.data()),
                                std::min(list.bytes.size(), kHeader_bytes));
  if (header.find("'|O'") == std::string_view::npos) return Strings(kList);
  std::vector<std::string> serials;
  for (const std::string_view name : npz_.names()) {
    if (name.starts_with(kTracks)) serials.emplace_back(name.substr(kTracks.size()));
  }
  return serials;
}

Result<Intrinsics> ProductArrays::IntrinsicsOf(const std::string& serial, int min_side_px) const {
  DF_ASSIGN_OR_RETURN(const std::vector<double> k, Numbers("intrinsics_" + serial, 9));
  DF_ASSIGN_OR_RETURN(const std::vector<double> size, Numbers("image_size_" + serial, 2));
  constexpr double kMaxImageSide_px = 8192;
  if (!(size[0] >= min_side_px && size[0] <= kMaxImageSide_px && size[1] >= min_side_px &&
        size[1] <= kMaxImageSide_px)) {
    return Fail(ErrorKind::kInvalidData,
                "image_size_{}: want {} … {}, have {} x {}: {}",
                serial,
                min_side_px,
                kMaxImageSide_px,
                size[0],
                size[1],
                path_.string());
  }
  return Intrinsics{.fx_px = k[0],
                    .fy_px = k[4],
                    .cx_px = k[2],
                    .cy_px = k[5],
                    .width_px = static_cast<int>(size[0]),
                    .height_px = static_cast<int>(size[1])};
}

}  // namespace droidflow

#include "droidflow/pipeline/map_file.h"

#include "droidflow/core/files.h"
#include "droidflow/formats/npy.h"
#include "droidflow/formats/pfm.h"
#include "droidflow/video/picture_file.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
constexpr float kPfmNone = std::numeric_limits<float>::infinity();
constexpr int kMaxSide_px = 1 << 16;
constexpr std::int64_t kMaxMap_px = std::int64_t{1} << 26;
// An array may promise more than memory holds, its bytes cannot.
constexpr std::uintmax_t kMaxFile_bytes = std::uintmax_t{1} << 30;

/// What one pixel, or one metre, is in a PNG.
float PngScale(MapKind kind) { return kind == MapKind::kDisparity ? 64.0F : 1000.0F; }

/// A number of a file that holds numbers as they are; zero is a disparity, that of the horizon.
float Clean(float value, MapKind kind) {
  const bool is_value =
      std::isfinite(value) && (kind == MapKind::kDisparity ? value >= 0 : value > 0);
  return is_value ? value : kNone;
}

Result<Image<float>> FromNpy(std::vector<std::byte> bytes, const fs::path& path, MapKind kind) {
  const auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  DF_ASSIGN_OR_RETURN(const NpyArray array, ParseNpy(*owner, path.string(), owner));
  const auto is_side = [](std::int64_t side) { return side >= 1 && side <= kMaxSide_px; };
  if (array.shape.size() != 2 || !is_side(array.shape[0]) || !is_side(array.shape[1]) ||
      array.shape[0] * array.shape[1] > kMaxMap_px) {
    return Fail(ErrorKind::kInvalidData,
                "want an array [H,W] of at most {} a side and {} in all, have [{}]: {}",
                kMaxSide_px,
                kMaxMap_px,
                fmt::join(array.shape, ","),
                path.string());
  }
  DF_ASSIGN_OR_RETURN(const std::vector<double> values, array.ToDoubles());
  Image<float> map(static_cast<int>(array.shape[1]), static_cast<int>(array.shape[0]));
  auto value = values.begin();
  for (int y = 0; y < map.height_px(); ++y) {
    for (int x = 0; x < map.width_px(); ++x) {
      map.at(x, y) = Clean(static_cast<float>(*value++), kind);
    }
  }
  return map;
}

Result<Image<float>> FromPng(const fs::path& path, MapKind kind) {
  DF_ASSIGN_OR_RETURN(const PictureFile picture, ReadPicture(path));
  if (picture.gray16.empty()) {
    return Fail(ErrorKind::kInvalidData,
                "want a {} of 16-bit gray, have {}: {}",
                ToString(kind),
                picture.stored_as,
                path.string());
  }
  Image<float> map(picture.width_px(), picture.height_px());
  for (int y = 0; y < map.height_px(); ++y) {
    const std::uint16_t* const row = picture.gray16.row(y);
    for (int x = 0; x < map.width_px(); ++x) {
      map.at(x, y) = row[x] == 0 ? kNone : static_cast<float>(row[x]) / PngScale(kind);
    }
  }
  return map;
}

bool StartsWith(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() &&
         std::string_view(reinterpret_cast<const char*>(bytes.data()), magic.size()) == magic;
}

Status WriteNpy(const fs::path& path, ImageView<const float> map) {
  std::string file = FormatNpyHeader("<f4", {map.height_px, map.width_px});
  for (int y = 0; y < map.height_px; ++y) {
    file.append(reinterpret_cast<const char*>(map.row(y)),
                static_cast<std::size_t>(map.width_px) * sizeof(float));
  }
  return WriteFileAtomically(path, file);
}

Status WritePfm(const fs::path& path, ImageView<const float> map) {
  Image<float> stored(map.width_px, map.height_px);
  for (int y = 0; y < map.height_px; ++y) {
    for (int x = 0; x < map.width_px; ++x) {
      stored.at(x, y) = std::isnan(map.at(x, y)) ? kPfmNone : map.at(x, y);
    }
  }
  return WriteFileAtomically(path, FormatPfm(stored.view()));
}

Status WriteMapPng(const fs::path& path, ImageView<const float> map, MapKind kind) {
  constexpr float kMost = std::numeric_limits<std::uint16_t>::max();
  Gray16Image stored(map.width_px, map.height_px);
  for (int y = 0; y < map.height_px; ++y) {
    for (int x = 0; x < map.width_px; ++x) {
      const float value = std::floor(map.at(x, y) * PngScale(kind) + 0.5F);
      stored.at(x, y) = value >= 0 && value <= kMost ? static_cast<std::uint16_t>(value) : 0;
    }
  }
  return WriteGray16Png(path, stored.view());
}

}  // namespace

std::string_view ToString(MapKind kind) {
  return kind == MapKind::kDisparity ? "disparity" : "depth";
}

std::optional<MapKind> MapKindFromString(std::string_view name) {
  for (const MapKind kind : {MapKind::kDisparity, MapKind::kDepth}) {
    if (ToString(kind) == name) return kind;
  }
  return std::nullopt;
}

std::string EndingOf(const fs::path& path) {
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return ending;
}

Status CheckNotOver(const fs::path& out, std::initializer_list<fs::path> inputs) {
  for (const fs::path& input : inputs) {
    std::error_code ignored;
    const auto full = [&](const fs::path& path) {
      return fs::weakly_canonical(fs::absolute(path, ignored), ignored);
    };
    if (input.empty() || (!fs::equivalent(out, input, ignored) && full(out) != full(input)))
      continue;
    return Fail(ErrorKind::kUsage, "want a file of its own to write, have twice: {}", out.string());
  }
  return {};
}

Status CheckMapName(const fs::path& path) {
  const std::string extension = EndingOf(path);
  if (extension == ".pfm" || extension == ".png" || extension == ".npy") return {};
  return Fail(ErrorKind::kUsage,
              "want a file named .pfm, .png or .npy, have '{}': {}",
              path.extension().string(),
              path.string());
}

Result<Image<float>> ReadMap(const fs::path& path, MapKind kind) {
  std::error_code ignored;
  const std::uintmax_t size_bytes = fs::file_size(path, ignored);
  if (!ignored && size_bytes > kMaxFile_bytes) {
    return Fail(ErrorKind::kInvalidData,
                "want a file of at most {} bytes, have {}: {}",
                kMaxFile_bytes,
                size_bytes,
                path.string());
  }
  DF_ASSIGN_OR_RETURN(std::vector<std::byte> bytes, ReadFileBytes(path));
  if (StartsWith(bytes, "\x93NUMPY")) return FromNpy(std::move(bytes), path, kind);
  if (StartsWith(bytes, "\x89PNG")) return FromPng(path, kind);
  if (!StartsWith(bytes, "Pf") && !StartsWith(bytes, "PF")) {
    return Fail(ErrorKind::kInvalidData,
                "want a {} (PFM, PNG or npy), the file of {} bytes is none: {}",
                ToString(kind),
                bytes.size(),
                path.string());
  }
  DF_ASSIGN_OR_RETURN(Image<float> map, ParsePfm(bytes, path.string()));
  for (int y = 0; y < map.height_px(); ++y) {
    for (int x = 0; x < map.width_px(); ++x) map.at(x, y) = Clean(map.at(x, y), kind);
  }
  return map;
}

Status WriteMap(const fs::path& path, ImageView<const float> map, MapKind kind) {
  DF_RETURN_IF_ERROR(CheckMapName(path));
  if (EndingOf(path) == ".pfm") return WritePfm(path, map);
  if (EndingOf(path) == ".npy") return WriteNpy(path, map);
  return WriteMapPng(path, map, kind);
}

}  // namespace droidflow

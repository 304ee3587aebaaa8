#include "droidflow/formats/pfm.h"

#include "droidflow/core/files.h"

#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

namespace droidflow {
namespace {

static_assert(std::endian::native == std::endian::little, "floats are written as they are");

constexpr int kMaxPfmSide_px = 1 << 16;
// "Pf", two numbers and a scale: whatever is longer is no header.
constexpr std::size_t kMaxHeader_bytes = 256;

bool IsBlank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

/// The words of a header, each followed by one space at least.
struct Words {
  std::string_view text;
  std::size_t at = 0;

  std::string_view Next() {
    while (at < text.size() && IsBlank(text[at])) ++at;
    const std::size_t begin = at;
    while (at < text.size() && !IsBlank(text[at])) ++at;
    return text.substr(begin, at - begin);
  }
};

template <typename T>
std::optional<T> ParseNumber(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

float FromBigEndian(float value) {
  return std::bit_cast<float>(__builtin_bswap32(std::bit_cast<std::uint32_t>(value)));
}

}  // namespace

Result<Image<float>> ParsePfm(std::span<const std::byte> bytes, std::string_view name) {
  Words words{
      {reinterpret_cast<const char*>(bytes.data()), std::min(bytes.size(), kMaxHeader_bytes)}};
  const std::string_view magic = words.Next();
  if (magic == "PF") {
    return Fail(ErrorKind::kInvalidData, "want a PFM of one channel, have three: {}", name);
  }
  const std::optional<int> width_px = ParseNumber<int>(words.Next());
  const std::optional<int> height_px = ParseNumber<int>(words.Next());
  const std::optional<double> scale = ParseNumber<double>(words.Next());
  const bool is_header = magic == "Pf" && width_px && height_px && scale &&
                         (*scale < 0 || *scale > 0) && words.at < words.text.size();
  if (!is_header) {
    return Fail(ErrorKind::kInvalidData,
                "want a PFM's header (Pf, width, height, scale), the file of {} bytes has none: {}",
                bytes.size(),
                name);
  }
  if (*width_px < 1 || *height_px < 1 || *width_px > kMaxPfmSide_px ||
      *height_px > kMaxPfmSide_px) {
    return Fail(ErrorKind::kInvalidData,
                "want a PFM of 1 to {} pixels a side, have {}x{}: {}",
                kMaxPfmSide_px,
                *width_px,
                *height_px,
                name);
  }
  const std::span<const std::byte> data = bytes.subspan(words.at + 1);
  const std::size_t row_bytes = static_cast<std::size_t>(*width_px) * sizeof(float);
  // Before room is made for it: the header may promise anything.
  if (data.size() != row_bytes * static_cast<std::size_t>(*height_px)) {
    return Fail(ErrorKind::kInvalidData,
                "want {} bytes behind the header of a PFM of {}x{}, have {}: {}",
                row_bytes * static_cast<std::size_t>(*height_px),
                *width_px,
                *height_px,
                data.size(),
                name);
  }
  Image<float> picture(*width_px, *height_px);
  for (int y = 0; y < *height_px; ++y) {
    float* const row = picture.row(*height_px - 1 - y);
    std::memcpy(row, data.data() + static_cast<std::size_t>(y) * row_bytes, row_bytes);
    if (*scale < 0) continue;
    for (int x = 0; x < *width_px; ++x) row[x] = FromBigEndian(row[x]);
  }
  return picture;
}

Result<Image<float>> ReadPfm(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, ReadFileBytes(path));
  return ParsePfm(bytes, path.string());
}

std::string FormatPfm(ImageView<const float> picture) {
  std::string file = fmt::format("Pf\n{} {}\n-1.0\n", picture.width_px, picture.height_px);
  const std::size_t row_bytes = static_cast<std::size_t>(picture.width_px) * sizeof(float);
  file.reserve(file.size() + row_bytes * static_cast<std::size_t>(picture.height_px));
  for (int y = picture.height_px - 1; y >= 0; --y) {
    file.append(reinterpret_cast<const char*>(picture.row(y)), row_bytes);
  }
  return file;
}

}  // namespace droidflow

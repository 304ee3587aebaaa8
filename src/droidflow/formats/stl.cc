#include "droidflow/formats/stl.h"

#include "droidflow/core/files.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace droidflow {
namespace {

constexpr std::size_t kHeader_bytes = 80;
constexpr std::size_t kTriangles_byte = kHeader_bytes + sizeof(std::uint32_t);
constexpr std::size_t kTriangle_bytes = 50;

bool IsFinite(const std::array<float, 3>& point) {
  return std::isfinite(point[0]) && std::isfinite(point[1]) && std::isfinite(point[2]);
}

Result<std::vector<StlTriangle>> ParseBinary(std::span<const std::byte> bytes,
                                             std::size_t count,
                                             std::string_view name) {
  static_assert(std::endian::native == std::endian::little);
  std::vector<StlTriangle> triangles(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = kTriangles_byte + i * kTriangle_bytes;
    StlTriangle& triangle = triangles[i];
    std::memcpy(&triangle.normal, bytes.data() + at, sizeof(triangle.normal));
    std::memcpy(
        &triangle.vertices, bytes.data() + at + sizeof(triangle.normal), sizeof(triangle.vertices));
    for (const auto& vertex : triangle.vertices) {
      if (!IsFinite(vertex)) {
        return Fail(
            ErrorKind::kInvalidData, "byte {}: triangle {} is not finite in {}", at, i, name);
      }
    }
  }
  return triangles;
}

/// The words of an ASCII file and the lines they stand on.
class AsciiParser {
 public:
  AsciiParser(std::string_view text, std::string_view name) : text_(text), name_(name) {}

  Result<std::vector<StlTriangle>> Parse() {
    std::vector<StlTriangle> triangles;
    do {
      DF_RETURN_IF_ERROR(Take("solid"));
      SkipLine();  // The name.
      while (PeekIs("facet")) {
        DF_ASSIGN_OR_RETURN(const StlTriangle triangle, TakeFacet());
        triangles.push_back(triangle);
      }
      DF_RETURN_IF_ERROR(Take("endsolid"));
      SkipLine();
    } while (!Peek().empty());
    return triangles;
  }

 private:
  Result<StlTriangle> TakeFacet() {
    StlTriangle triangle;
    DF_RETURN_IF_ERROR(Take("facet"));
    DF_RETURN_IF_ERROR(Take("normal"));
    DF_RETURN_IF_ERROR(TakePoint(triangle.normal));
    DF_RETURN_IF_ERROR(Take("outer"));
    DF_RETURN_IF_ERROR(Take("loop"));
    for (auto& vertex : triangle.vertices) {
      DF_RETURN_IF_ERROR(Take("vertex"));
      DF_RETURN_IF_ERROR(TakePoint(vertex));
      if (!IsFinite(vertex)) return Unexpected("a finite vertex before");
    }
    DF_RETURN_IF_ERROR(Take("endloop"));
    DF_RETURN_IF_ERROR(Take("endfacet"));
    return triangle;
  }

  Status TakePoint(std::array<float, 3>& point) {
    for (float& value : point) {
      std::string_view word = Peek();
      if (word.starts_with('+')) word.remove_prefix(1);
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
      if (error != std::errc() || end != word.data() + word.size()) return Unexpected("a number");
      Advance();
    }
    return {};
  }

  Status Take(std::string_view word) {
    if (!PeekIs(word)) return Unexpected(word);
    Advance();
    return {};
  }

  /// The next word, empty at the end.
  std::string_view Peek() {
    while (position_ < text_.size() && IsSpace(text_[position_])) {
      line_ += text_[position_] == '\n' ? 1 : 0;
      ++position_;
    }
    std::size_t end = position_;
    while (end < text_.size() && !IsSpace(text_[end])) ++end;
    return text_.substr(position_, end - position_);
  }

  bool PeekIs(std::string_view lower_case) {
    const std::string_view word = Peek();
    if (word.size() != lower_case.size()) return false;
    for (std::size_t i = 0; i < word.size(); ++i) {
      if (std::tolower(static_cast<unsigned char>(word[i])) != lower_case[i]) return false;
    }
    return true;
  }

  void Advance() { position_ += Peek().size(); }

  void SkipLine() { position_ = std::min(text_.find('\n', position_), text_.size()); }

  tl::unexpected<Error> Unexpected(std::string_view wanted) {
    const std::string_view found = Peek().substr(0, 20);
    return Fail(ErrorKind::kInvalidData,
                "line {}: want {}, found {} in ASCII STL {}",
                line_,
                wanted,
                found.empty() ? "the end" : found,
                name_);
  }

  static bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

  std::string_view text_;
  std::string_view name_;
  std::size_t position_ = 0;
  std::size_t line_ = 1;
};

}  // namespace

Result<std::vector<StlTriangle>> ParseStl(std::span<const std::byte> bytes, std::string_view name) {
  std::uint32_t count = 0;
  std::uint64_t want_bytes = kTriangles_byte;
  if (bytes.size() >= kTriangles_byte) {
    std::memcpy(&count, bytes.data() + kHeader_bytes, sizeof(count));
    want_bytes += std::uint64_t{count} * kTriangle_bytes;
    if (bytes.size() == want_bytes) return ParseBinary(bytes, count, name);
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with("solid") || text.starts_with("SOLID"))
    return AsciiParser(text, name).Parse();
  return Fail(ErrorKind::kInvalidData,
              "a binary STL of {} triangles has {} bytes, this one has {}: {}",
              count,
              want_bytes,
              bytes.size(),
              name);
}

Result<std::vector<StlTriangle>> ReadStl(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, ReadFileBytes(path));
  return ParseStl(bytes, path.native());
}

}  // namespace droidflow

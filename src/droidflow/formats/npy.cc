#include "droidflow/formats/npy.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/ranges.h>

namespace droidflow {
namespace {

static_assert(std::endian::native == std::endian::little, "bytes are stored as they lie in memory");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kHeaderAlignment_bytes = 64;
constexpr std::size_t kDataAlignment_bytes = 16;
constexpr std::size_t kMaxAxes = 32;  // NumPy's own limit.

struct Header {
  std::string descr;
  NpyShape shape;
  bool fortran_order = false;
};

/// Reads the Python dictionary of a header: {'descr': '<f4', 'fortran_order': False, 'shape': (2,
/// 3), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, std::size_t first_byte, std::string_view name)
      : text_(text), first_byte_(first_byte), name_(name) {}

  Result<Header> Parse() {
    Header header;
    bool has_descr = false;
    bool has_order = false;
    bool has_shape = false;
    DF_RETURN_IF_ERROR(Take('{'));
    while (Peek() != '}') {
      DF_ASSIGN_OR_RETURN(const std::string_view key, TakeString());
      DF_RETURN_IF_ERROR(Take(':'));
      if (key == "descr" && !has_descr) {
        DF_ASSIGN_OR_RETURN(header.descr, TakeString());
        has_descr = true;
      } else if (key == "fortran_order" && !has_order) {
        DF_ASSIGN_OR_RETURN(header.fortran_order, TakeBool());
        has_order = true;
      } else if (key == "shape" && !has_shape) {
        DF_ASSIGN_OR_RETURN(header.shape, TakeTuple());
        has_shape = true;
      } else {
        return Unexpected("descr, fortran_order and shape, once each");
      }
      if (Peek() != '}') DF_RETURN_IF_ERROR(Take(','));
    }
    DF_RETURN_IF_ERROR(Take('}'));
    if (!has_descr || !has_order || !has_shape) {
      return Unexpected("descr, fortran_order and shape, once each");
    }
    if (Peek() != '\0') return Unexpected("nothing behind the header's dictionary");
    return header;
  }

 private:
  tl::unexpected<Error> Unexpected(std::string_view wanted) const {
    return Fail(ErrorKind::kInvalidData,
                "byte {}: want {}, found '{}' in {}",
                first_byte_ + position_,
                wanted,
                text_.substr(position_, 20),
                name_);
  }

  /// The next character that is not space, '\0' at the end.
  char Peek() {
    while (position_ < text_.size() && (text_[position_] == ' ' || text_[position_] == '\n')) {
      ++position_;
    }
    return position_ < text_.size() ? text_[position_] : '\0';
  }

  Status Take(char wanted) {
    if (Peek() != wanted) return Unexpected(std::string("'") + wanted + "'");
    ++position_;
    return {};
  }

  Result<std::string_view> TakeString() {
    const char quote = Peek();
    if (quote != '\'' && quote != '"') return Unexpected("a quoted text (no structured type)");
    const std::size_t end = text_.find(quote, position_ + 1);
    if (end == std::string_view::npos) return Unexpected("a closing quote");
    const std::string_view value = text_.substr(position_ + 1, end - position_ - 1);
    position_ = end + 1;
    return value;
  }

  Result<bool> TakeBool() {
    Peek();
    for (const auto& [word, value] : {std::pair("True", true), std::pair("False", false)}) {
      if (text_.substr(position_).starts_with(word)) {
        position_ += std::strlen(word);
        return value;
      }
    }
    return Unexpected("True or False");
  }

  Result<NpyShape> TakeTuple() {
    NpyShape shape;
    DF_RETURN_IF_ERROR(Take('('));
    while (Peek() != ')') {
      if (shape.size() == kMaxAxes) return Unexpected(fmt::format("at most {} axes", kMaxAxes));
      std::int64_t length = 0;
      const char* const begin = text_.data() + position_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), length);
      if (error != std::errc() || length < 0) return Unexpected("the length of an axis");
      position_ += static_cast<std::size_t>(end - begin);
      shape.push_back(length);
      if (Peek() != ')') DF_RETURN_IF_ERROR(Take(','));
    }
    DF_RETURN_IF_ERROR(Take(')'));
    return shape;
  }

  std::string_view text_;
  std::size_t first_byte_;
  std::string_view name_;
  std::size_t position_ = 0;
};

/// Bytes of one element of a type that can be read without Python, nullopt for others.
std::optional<std::size_t> ItemSizeBytes(std::string_view descr) {
  if (descr.size() < 3 || std::string_view("<>|=").find(descr[0]) == std::string_view::npos) {
    return std::nullopt;
  }
  std::uint32_t count = 0;
  const char* const end = descr.data() + descr.size();
  const auto [stop, error] = std::from_chars(descr.data() + 2, end, count);
  if (error != std::errc() || stop != end) return std::nullopt;
  switch (descr[1]) {
    case 'b':
    case 'i':
    case 'u':
    case 'f':
    case 'c':
    case 'S':
    case 'V':
      return count;
    case 'U':
      return std::size_t{count} * 4;
    default:
      return std::nullopt;
  }
}

template <typename T>
void ConvertTo(std::vector<double>& values, std::span<const std::byte> data, bool swap) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::array<std::byte, sizeof(T)> item;
    std::memcpy(item.data(), data.data() + i * sizeof(T), sizeof(T));
    if (swap) std::reverse(item.begin(), item.end());
    values[i] = static_cast<double>(std::bit_cast<T>(item));
  }
}

/// Values in the order of memory when the first axis runs fastest, to C order.
std::vector<double> COrderFromFortranOrder(const std::vector<double>& values,
                                           const NpyShape& shape) {
  std::vector<double> sorted(values.size());
  std::vector<std::int64_t> index(shape.size(), 0);
  for (const double value : values) {
    std::int64_t at = 0;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) at = at * shape[axis] + index[axis];
    sorted[static_cast<std::size_t>(at)] = value;
    for (std::size_t axis = 0; axis < shape.size() && ++index[axis] == shape[axis]; ++axis) {
      index[axis] = 0;
    }
  }
  return sorted;
}

constexpr bool IsScalarValue(char32_t code) {
  return code < 0xD800 || (code > 0xDFFF && code <= 0x10FFFF);
}

void AppendUtf8(char32_t code, std::string& text) {
  const auto put = [&text](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

}  // namespace

std::string FormatNpyHeader(std::string_view descr, const NpyShape& shape) {
  for (const std::int64_t length : shape) DF_CHECK(length >= 0, "shape {}", shape);
  // A tuple of one is "(3,)".
  const std::string dictionary =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}",
                  descr,
                  fmt::join(shape, ", "),
                  shape.size() == 1 ? "," : "");
  const auto padded_size = [&](std::size_t prefix) {
    const std::size_t size = prefix + dictionary.size() + 1;
    return (size + kHeaderAlignment_bytes - 1) / kHeaderAlignment_bytes * kHeaderAlignment_bytes;
  };
  const bool is_long = padded_size(10) - 10 > 0xFFFF;
  const std::size_t prefix = is_long ? 12 : 10;
  const std::size_t total = padded_size(prefix);
  std::string header(kMagic);
  header += is_long ? '\2' : '\1';
  header += '\0';
  for (std::size_t byte = 0; header.size() < prefix; ++byte) {
    header += static_cast<char>((total - prefix) >> (8 * byte));
  }
  header += dictionary;
  header.resize(total - 1, ' ');
  header += '\n';
  return header;
}

Result<std::u32string> Utf32FromUtf8(std::string_view text) {
  constexpr std::array<char32_t, 5> kSmallest{0, 0, 0x80, 0x800, 0x10000};
  std::u32string codes;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC0 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                                             : 4;
    char32_t code = length <= 1 ? lead : lead & (0x7FU >> length);
    bool is_valid = length > 0 && lead < 0xF8 && i + length <= text.size();
    for (std::size_t k = 1; is_valid && k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      is_valid = (next & 0xC0) == 0x80;
      code = code << 6 | (next & 0x3F);
    }
    if (!is_valid || code < kSmallest[length] || !IsScalarValue(code)) {
      return Fail(
          ErrorKind::kInvalidData, "byte {} is not UTF-8 in a text of {} bytes", i, text.size());
    }
    codes.push_back(code);
    i += length;
  }
  return codes;
}

std::int64_t NpyArray::size() const {
  std::int64_t count = 1;
  for (const std::int64_t length : shape) count *= length;
  return count;
}

Status NpyArray::CheckIs(DType dtype) const {
  if (descr != ToString(dtype)) {
    return Fail(
        ErrorKind::kInvalidData, "want type {}, have {} in {}", ToString(dtype), descr, name);
  }
  if (fortran_order && shape.size() > 1) {
    return Fail(ErrorKind::kInvalidData, "want C order, have Fortran order in {}", name);
  }
  return {};
}

Result<std::vector<double>> NpyArray::ToDoubles() const {
  std::vector<double> values(static_cast<std::size_t>(size()));
  const bool swap = descr.starts_with('>');
  const std::string_view type = std::string_view(descr).substr(1);
  if (type == "f8") {
    ConvertTo<double>(values, data, swap);
  } else if (type == "f4") {
    ConvertTo<float>(values, data, swap);
  } else if (type == "i8") {
    ConvertTo<std::int64_t>(values, data, swap);
  } else if (type == "i4") {
    ConvertTo<std::int32_t>(values, data, swap);
  } else if (type == "i2") {
    ConvertTo<std::int16_t>(values, data, swap);
  } else if (type == "i1") {
    ConvertTo<std::int8_t>(values, data, swap);
  } else if (type == "u8") {
    ConvertTo<std::uint64_t>(values, data, swap);
  } else if (type == "u4") {
    ConvertTo<std::uint32_t>(values, data, swap);
  } else if (type == "u2") {
    ConvertTo<std::uint16_t>(values, data, swap);
  } else if (type == "u1" || type == "b1") {
    ConvertTo<std::uint8_t>(values, data, swap);
  } else {
    return Fail(
        ErrorKind::kInvalidData, "want bool, integers, f4 or f8, have type {} in {}", descr, name);
  }
  if (fortran_order && shape.size() > 1) return COrderFromFortranOrder(values, shape);
  return values;
}

Result<std::vector<std::string>> NpyArray::ToStrings() const {
  if (!descr.starts_with("<U")) {
    return Fail(ErrorKind::kInvalidData, "want texts (<U), have type {} in {}", descr, name);
  }
  if (shape.size() > 1) {
    return Fail(
        ErrorKind::kInvalidData, "want at most one axis, have {} in {}", shape.size(), name);
  }
  const auto count = static_cast<std::size_t>(size());
  std::vector<std::string> texts(count);
  const std::size_t length = count == 0 ? 0 : data.size() / count / sizeof(char32_t);
  for (std::size_t i = 0; i < count; ++i) {
    std::u32string codes(length, U'\0');
    std::memcpy(
        codes.data(), data.data() + i * length * sizeof(char32_t), length * sizeof(char32_t));
    codes.erase(codes.find_last_not_of(U'\0') + 1);
    for (const char32_t code : codes) {
      if (!IsScalarValue(code)) {
        return Fail(ErrorKind::kInvalidData,
                    "text {} holds {:#x}, which is no character in {}",
                    i,
                    static_cast<std::uint32_t>(code),
                    name);
      }
      AppendUtf8(code, texts[i]);
    }
  }
  return texts;
}

Result<NpyArray> ParseNpy(std::span<const std::byte> bytes,
                          std::string_view name,
                          std::shared_ptr<const void> owner) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kMagic)) {
    return Fail(
        ErrorKind::kInvalidData, "byte 0: no .npy magic in the {} bytes of {}", bytes.size(), name);
  }
  const auto byte_at = [&](std::size_t i) { return static_cast<std::size_t>(bytes[i]); };
  const std::size_t version = bytes.size() > 6 ? byte_at(6) : 0;
  const std::size_t prefix = version == 1 ? 10 : 12;
  if (bytes.size() < prefix) {
    return Fail(ErrorKind::kInvalidData,
                "ends at byte {}, inside the .npy header of {}",
                bytes.size(),
                name);
  }
  if (version < 1 || version > 3 || byte_at(7) != 0) {
    return Fail(ErrorKind::kInvalidData,
                "byte 6: want .npy version 1.0, 2.0 or 3.0, have {}.{} in {}",
                version,
                byte_at(7),
                name);
  }
  std::size_t header_size = byte_at(8) | byte_at(9) << 8;
  if (version > 1) header_size |= byte_at(10) << 16 | byte_at(11) << 24;
  if (header_size > bytes.size() - prefix) {
    return Fail(ErrorKind::kInvalidData,
                "byte 8: the header says it has {} bytes, {} are there in {}",
                header_size,
                bytes.size() - prefix,
                name);
  }
  DF_ASSIGN_OR_RETURN(Header header,
                      HeaderParser(text.substr(prefix, header_size), prefix, name).Parse());

  const std::optional<std::size_t> item_size = ItemSizeBytes(header.descr);
  if (!item_size) {
    return Fail(
        ErrorKind::kInvalidData, "type {} cannot be read without Python in {}", header.descr, name);
  }
  std::size_t want_bytes = *item_size;
  bool overflows = false;
  for (const std::int64_t length : header.shape) {
    overflows |= __builtin_mul_overflow(want_bytes, static_cast<std::size_t>(length), &want_bytes);
  }
  const std::span<const std::byte> data = bytes.subspan(prefix + header_size);
  // A type of no bytes would allow any number of elements.
  if (overflows || want_bytes != data.size() || (*item_size == 0 && !header.shape.empty())) {
    return Fail(ErrorKind::kInvalidData,
                "byte {}: type {} with shape ({}) does not fit the {} bytes of data in {}",
                prefix + header_size,
                header.descr,
                fmt::join(header.shape, ", "),
                data.size(),
                name);
  }

  NpyArray array{.name = std::string(name),
                 .descr = std::move(header.descr),
                 .shape = std::move(header.shape),
                 .fortran_order = header.fortran_order,
                 .data = data,
                 .owner = std::move(owner)};
  // np.savez aligns data inside its member only, so a mapped file may hold it at any address.
  if (reinterpret_cast<std::uintptr_t>(data.data()) % kDataAlignment_bytes != 0) {
    const auto copy = std::make_shared<std::vector<std::byte>>(data.begin(), data.end());
    array.data = *copy;
    array.owner = copy;
  }
  return array;
}

Result<NpyArray> ReadNpy(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(std::vector<std::byte> bytes, ReadFileBytes(path));
  const auto owner = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  return ParseNpy(*owner, path.native(), owner);
}

}  // namespace droidflow

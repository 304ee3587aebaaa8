#include "droidflow/formats/ini.h"

#include "droidflow/core/files.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstddef>

#include <ini.h>

namespace droidflow {
namespace {

// The library cuts longer lines and names without a word.
constexpr std::size_t kMaxLine_bytes = 190;
constexpr std::size_t kMaxName_bytes = 49;

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return lower;
}

std::string_view Trim(std::string_view line) {
  constexpr std::string_view kSpace = " \t\r\v\f";
  const std::size_t first = line.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(kSpace) - first + 1);
}

tl::unexpected<Error> BadLine(std::size_t number,
                              std::string_view want,
                              std::string_view line,
                              std::string_view name) {
  return Fail(ErrorKind::kInvalidData,
              "line {}: want {}, found {:?} in {}",
              number,
              want,
              line.substr(0, 40),
              name);
}

}  // namespace

std::optional<std::string_view> Ini::Find(std::string_view section, std::string_view key) const {
  const auto found = values_.find({LowerCase(section), LowerCase(key)});
  if (found == values_.end()) return std::nullopt;
  return found->second;
}

Result<double> Ini::GetDouble(std::string_view section, std::string_view key) const {
  const std::optional<std::string_view> text = Find(section, key);
  if (!text) return Fail(ErrorKind::kNotFound, "no {} in section [{}] of {}", key, section, name_);
  double value = 0;
  const char* const end = text->data() + text->size();
  const auto [stop, error] =
      std::from_chars(text->data() + (text->starts_with('+') ? 1 : 0), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) {
    return Fail(ErrorKind::kInvalidData,
                "{} in section [{}]: want a number, found {:?} in {}",
                key,
                section,
                *text,
                name_);
  }
  return value;
}

Result<Ini> ParseIni(std::string_view text, std::string_view name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  // An indented line would continue the value before it, as in Python; in calibration files it is a
  // line like any other.
  std::string lines;
  std::size_t number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view whole = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(whole.size() + 1, rest.size()));
    const std::string_view line = Trim(whole);
    ++number;
    if (line.size() > kMaxLine_bytes) {
      return BadLine(number, fmt::format("at most {} bytes", kMaxLine_bytes), line, name);
    }
    if (line.find('\0') != std::string_view::npos)
      return BadLine(number, "text", "a NUL byte", name);
    const bool is_comment = line.starts_with(';') || line.starts_with('#');
    const std::size_t name_begin = line.starts_with('[') ? 1 : 0;
    const std::size_t name_end = line.find_first_of(name_begin == 1 ? "]" : "=:");
    if (!is_comment && name_end != std::string_view::npos &&
        name_end > name_begin + kMaxName_bytes) {
      return BadLine(number, fmt::format("a name of at most {} bytes", kMaxName_bytes), line, name);
    }
    lines.append(line).push_back('\n');
  }

  Ini ini;
  ini.name_ = name;
  const auto add = [](void* user, const char* section, const char* key, const char* value) {
    auto& values = static_cast<Ini*>(user)->values_;
    values.insert_or_assign({LowerCase(section), LowerCase(key)}, value);
    return 1;
  };
  const int bad_line = ini_parse_string(lines.c_str(), add, &ini);
  if (bad_line < 0) return FailErrno(ENOMEM, fmt::format("cannot parse {}", name));
  if (bad_line > 0) {
    std::string_view line = lines;
    for (int i = 1; i < bad_line; ++i) line.remove_prefix(line.find('\n') + 1);
    return BadLine(static_cast<std::size_t>(bad_line),
                   "[section] or key = value",
                   line.substr(0, line.find('\n')),
                   name);
  }
  return ini;
}

Result<Ini> ReadIni(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  return ParseIni(text, path.native());
}

}  // namespace droidflow

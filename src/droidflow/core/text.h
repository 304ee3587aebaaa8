#pragma once

#include <cstddef>
#include <string_view>

namespace droidflow {

/// Without blanks and line ends at both ends.
[[nodiscard]] inline std::string_view StripBlanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

}  // namespace droidflow

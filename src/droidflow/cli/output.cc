#include "droidflow/cli/output.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <unistd.h>

#include <fmt/format.h>

namespace droidflow {

int ExitCodeOf(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kUsage:
      return kExitUsage;
    case ErrorKind::kNotFound:
      return kExitNoInput;
    case ErrorKind::kBusy:
      return kExitBusy;
    case ErrorKind::kCancelled:
      return kExitCancelled;
    case ErrorKind::kInvalidData:
    case ErrorKind::kTransient:
    case ErrorKind::kUnsupported:
    case ErrorKind::kNoSpace:
    case ErrorKind::kInternal:
      return kExitFailed;
  }
  return kExitFailed;
}

int Report(const Error& error) {
  fmt::print(stderr, "droidflow: {}\n", error.message);
  return ExitCodeOf(error.kind);
}

bool IsTerminal(int fd) { return isatty(fd) == 1; }

std::string Counted(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string FormatTable(const std::vector<std::vector<std::string>>& rows,
                        const std::vector<std::size_t>& right_aligned) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool right = std::ranges::find(right_aligned, i) != right_aligned.end();
      line += right ? fmt::format("{:>{}}", row[i], widths[i])
                    : fmt::format("{:<{}}", row[i], widths[i]);
      if (i + 1 < row.size()) line += "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace droidflow

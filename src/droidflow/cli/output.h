#pragma once

/// What the user sees: errors on stderr, results on stdout.

#include "droidflow/core/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitQuarantined = 3;
inline constexpr int kExitNoInput = 10;
inline constexpr int kExitBusy = 11;
inline constexpr int kExitForbidden = 12;
inline constexpr int kExitNoSlurm = 13;  ///< it does not answer
inline constexpr int kExitCancelled = 130;

/// The exit code that an error of this kind ends the program with.
[[nodiscard]] int ExitCodeOf(ErrorKind kind);

/// Prints "droidflow: {message}" to stderr and returns the exit code of the error.
[[nodiscard]] int Report(const Error& error);

/// Whether stdout (1) or stderr (2) is a terminal.
[[nodiscard]] bool IsTerminal(int fd);

/// "1 episode", "2 episodes".
[[nodiscard]] std::string Counted(std::uint64_t count, std::string_view noun);

/// Rows as columns wide enough for their longest cell; the first row is the heading.
/// Columns named in `right_aligned` (by index) are flush right.
[[nodiscard]] std::string FormatTable(const std::vector<std::vector<std::string>>& rows,
                                      const std::vector<std::size_t>& right_aligned);

}  // namespace droidflow

#pragma once

/// How droidflow reports failure: the world fails -> Result or Status, the programmer fails ->
/// DF_CHECK.

#include <cstdint>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <tl/expected.hpp>

namespace droidflow {

/// Kinds are decisions: one exists only where a caller acts differently.
enum class ErrorKind {
  kInvalidData,  ///< the input is wrong: quarantine the episode, go on with the next
  kNotFound,     ///< the file, dataset or key is not there
  kUsage,        ///< the command line or the configuration is wrong: the user must change it
  kTransient,    ///< may pass: the job is tried again
  kUnsupported,  ///< this build or machine cannot
  kCancelled,    ///< asked to stop
  kBusy,         ///< another process holds it
  kNoSpace,      ///< the disk is full: the run stops, nothing is wrong with the episode
  kInternal,     ///< a bug, or an I/O failure with no better name
};

[[nodiscard]] constexpr const char* ToString(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidData:
      return "invalid data";
    case ErrorKind::kNotFound:
      return "not found";
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kTransient:
      return "transient";
    case ErrorKind::kUnsupported:
      return "unsupported";
    case ErrorKind::kCancelled:
      return "cancelled";
    case ErrorKind::kBusy:
      return "busy";
    case ErrorKind::kNoSpace:
      return "no space";
    case ErrorKind::kInternal:
      return "internal";
  }
  return "unknown";
}

struct [[nodiscard]] Error {
  ErrorKind kind;
  std::string message;      ///< lower case, no full stop, values included; paths and URLs last
  std::string status = {};  ///< name that a report groups by ("bad_trajectory"); empty: none
  std::int64_t retry_after_ms = 0;  ///< how long a kTransient asks to wait; 0: it does not say

  bool operator==(const Error&) const = default;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

/// Makes a failure: `return Fail(ErrorKind::kInvalidData, "want 6 values, have {}", n);`
template <typename... Args>
[[nodiscard]] tl::unexpected<Error> Fail(ErrorKind kind,
                                         fmt::format_string<Args...> format,
                                         Args&&... args) {
  return tl::unexpected(Error{kind, fmt::format(format, std::forward<Args>(args)...)});
}

/// Makes a failure with the name under which reports list it.
template <typename... Args>
[[nodiscard]] tl::unexpected<Error> FailAs(const char* status,
                                           ErrorKind kind,
                                           fmt::format_string<Args...> format,
                                           Args&&... args) {
  return tl::unexpected(Error{kind, fmt::format(format, std::forward<Args>(args)...), status});
}

/// For map_error: says what was being done, "reading calibration: want 6 values, have 5".
[[nodiscard]] inline auto During(std::string where) {
  return [where = std::move(where)](Error error) {
    error.message = where + ": " + error.message;
    return error;
  };
}

#define DF_CONCAT_INNER(a, b) a##b
#define DF_CONCAT(a, b) DF_CONCAT_INNER(a, b)

/// Returns the error of a Status or Result expression from the enclosing function.
#define DF_RETURN_IF_ERROR(expression)                       \
  do {                                                       \
    if (auto df_status = (expression); !df_status)           \
      return ::tl::unexpected(std::move(df_status).error()); \
  } while (false)

// A declaration cannot stand in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)

/// `DF_ASSIGN_OR_RETURN(const Trajectory trajectory, ReadTrajectory(path));`
#define DF_ASSIGN_OR_RETURN(declaration, expression) \
  DF_ASSIGN_OR_RETURN_INNER(DF_CONCAT(df_result_, __LINE__), declaration, expression)
#define DF_ASSIGN_OR_RETURN_INNER(result, declaration, expression) \
  auto result = (expression);                                      \
  if (!result) return ::tl::unexpected(std::move(result).error()); \
  declaration = *std::move(result)

// NOLINTEND(bugprone-macro-parentheses)

}  // namespace droidflow

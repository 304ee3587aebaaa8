#pragma once

/// DF_CHECK(condition, "text {}", values…): a promise between programmers, always on. A broken one
/// prints where, what and the values, and aborts: in a worker that costs one attempt of one
/// episode.

#include <string_view>

#include <fmt/format.h>

namespace droidflow {

[[noreturn]] void CheckFailed(const char* condition,
                              const char* file,
                              int line,
                              std::string_view message);

}  // namespace droidflow

#define DF_CHECK(condition, ...)                                                               \
  do {                                                                                         \
    if (!(condition)) [[unlikely]]                                                             \
      ::droidflow::CheckFailed(#condition, __FILE__, __LINE__, ::fmt::format("" __VA_ARGS__)); \
  } while (false)

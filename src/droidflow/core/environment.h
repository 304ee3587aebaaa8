#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace droidflow {

/// The value of an environment variable; nothing when it is not set or empty.
///
/// Thread  nobody may change the environment meanwhile: droidflow does so only before it starts
/// threads.
[[nodiscard]] inline std::optional<std::string> EnvironmentVariable(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

}  // namespace droidflow

#pragma once

#include "droidflow/core/files.h"

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {

/// What the checks of an episode's files have in common.
class EpisodeChecker {
 protected:
  explicit EpisodeChecker(std::filesystem::path directory) : directory_(std::move(directory)) {}

  template <typename... Args>
  void Problem(fmt::format_string<Args...> format, Args&&... args) {
    problems_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }

  /// An object; nothing, and a problem, for anything else.
  std::optional<nlohmann::ordered_json> ReadJson(const std::filesystem::path& name) {
    const Result<std::string> text = ReadFileText(directory_ / name);
    if (!text) {
      Problem("{}: {}", name.string(), text.error().message);
      return std::nullopt;
    }
    auto json = nlohmann::ordered_json::parse(*text, nullptr, /*allow_exceptions=*/false);
    if (json.is_object()) return json;
    Problem("{}: not a JSON object", name.string());
    return std::nullopt;
  }

  std::filesystem::path directory_;
  std::vector<std::string> problems_;
};

}  // namespace droidflow

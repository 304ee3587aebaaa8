#pragma once

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {

/// One document on stdout. Messages may hold names that are not UTF-8, as JSON must be.
inline void PrintJson(const nlohmann::ordered_json& document) {
  fmt::print("{}\n",
             document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace droidflow

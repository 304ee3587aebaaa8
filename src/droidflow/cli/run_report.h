#pragma once

/// A run's summary, for people and for programs.

#include "droidflow/pipeline/episode_run.h"

#include <string>

#include <nlohmann/json.hpp>

namespace droidflow {

[[nodiscard]] nlohmann::ordered_json SummaryJson(const RunSummary& summary);
[[nodiscard]] std::string FormatSummary(const RunSummary& summary);

/// The part that speaks of the whole run directory: counts, failures, time per stage.
[[nodiscard]] nlohmann::ordered_json StoreJson(const RunSummary& summary);
[[nodiscard]] std::string FormatStore(const RunSummary& summary);

}  // namespace droidflow

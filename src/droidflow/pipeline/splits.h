#pragma once

/// Which part of a data set an episode is for: to train with, to validate or to test.

#include "droidflow/core/result.h"

#include <array>
#include <cstdint>
#include <string_view>

namespace droidflow {

inline constexpr std::array<const char*, 3> kSplits = {"train", "val", "test"};

/// In the order of kSplits; what counts is how they relate.
using SplitShares = std::array<double, 3>;

inline constexpr const char kDefaultSplits[] = "80/10/10";

/// "80/10/10". @return kUsage.
[[nodiscard]] Result<SplitShares> ParseSplitShares(std::string_view text);

/// One of kSplits, the same for all episodes of a scene, on every machine and for ever: the first 8
/// bytes of the SHA-256 of the JSON text `["lab", "building", scene_id]` are a number from 0 to 1,
/// and the shares divide that range in their order. The Python package does the same.
[[nodiscard]] std::string_view SplitOf(std::string_view lab,
                                       std::string_view building,
                                       std::int64_t scene_id,
                                       const SplitShares& shares);

}  // namespace droidflow

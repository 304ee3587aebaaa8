#pragma once

/// Which moments of a row of pictures are shown: in a contact sheet (.png), or in a video (.mp4).

#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

namespace droidflow {

inline constexpr int kSheetPictures = 8;
inline constexpr int kMaxSheetPictures = 64;

[[nodiscard]] bool IsVideoName(const std::filesystem::path& out);

/// @param unit  what moments are called: "frame", "step".
/// @param only  this one alone. @param every  each K-th.
/// @return      kUsage for another ending than .png and .mp4, one moment as a video, both, and
///              numbers that are too small.
[[nodiscard]] Status CheckMoments(const std::filesystem::path& out,
                                  std::string_view unit,
                                  std::optional<int> only,
                                  std::optional<int> every);

/// Those of `count` that a sheet shows: `only`, each K-th, or `pictures` from the first to the
/// last.
///
/// @return kUsage for one that is not there, and for more than 64.
[[nodiscard]] Result<std::vector<std::int64_t>> ChooseMoments(std::int64_t count,
                                                              std::string_view unit,
                                                              std::optional<int> only,
                                                              std::optional<int> every,
                                                              int pictures = kSheetPictures);

}  // namespace droidflow

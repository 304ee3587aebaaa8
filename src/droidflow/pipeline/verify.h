#pragma once

/// Checks of finished episodes: do the files hold together?

#include "droidflow/core/result.h"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace droidflow {

struct VerifiedEpisode {
  std::filesystem::path directory;
  std::vector<std::string> problems;  ///< empty: whole and consistent
};

/// Checks one episode's folder: every key with its type and shape, finite values, orthonormal
/// rotations, 2-D tracks that are the projection of the 3-D ones (where poses are those of the
/// steps), resampled steps no further apart than asked for, images sizes, intrinsics.json and
/// quality.json.
[[nodiscard]] VerifiedEpisode VerifyEpisode(const std::filesystem::path& directory);

/// Checks many on `threads` threads; `on_verified` is called in the order of `directories`, one
/// call at a time.
void VerifyEpisodes(const std::vector<std::filesystem::path>& directories,
                    int threads,
                    const std::function<void(const VerifiedEpisode&)>& on_verified);

/// Every folder at or below `path` that holds a product of an episode, sorted; run directories are
/// passed over.
///
/// @return kNotFound when `path` is not there or holds no episode.
[[nodiscard]] Result<std::vector<std::filesystem::path>> FindEpisodeOutputs(
    const std::filesystem::path& path);

}  // namespace droidflow

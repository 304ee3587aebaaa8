#pragma once

/// Checks of finished episodes: do the files hold together?

#include "droidflow/core/result.h"
#include "droidflow/pipeline/verify_depth.h"

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

struct VerifyOptions {
  bool every_depth_frame = true;  ///< false: only the first one of a video
  int decode_threads = 1;
};

struct VerifiedEpisode {
  std::filesystem::path directory;
  std::vector<std::string> problems;  ///< empty: whole and consistent
  /// The wrist camera's depth; nothing: there is none, or not every frame was read.
  std::optional<DepthComparison> wrist_depth;
};

/// Checks one episode's folder: every key with its type and shape, finite values, orthonormal
/// rotations, 2-D tracks that are the projection of the 3-D ones (where poses are those of the
/// steps), resampled steps no further apart than asked for, images sizes, intrinsics.json,
/// quality.json, and depth (CheckDepth).
[[nodiscard]] VerifiedEpisode VerifyEpisode(const std::filesystem::path& directory,
                                            const VerifyOptions& options = {});

/// Checks many on `threads` threads, which decode where there are fewer episodes; `on_verified` is
/// called in the order of `directories`, one call at a time.
void VerifyEpisodes(const std::vector<std::filesystem::path>& directories,
                    bool every_depth_frame,
                    int threads,
                    const std::function<void(const VerifiedEpisode&)>& on_verified);

/// Every folder at or below `path` that holds a product of an episode, sorted; run directories are
/// passed over.
///
/// @return kNotFound when `path` is not there or holds no episode.
[[nodiscard]] Result<std::vector<std::filesystem::path>> FindEpisodeOutputs(
    const std::filesystem::path& path);

}  // namespace droidflow

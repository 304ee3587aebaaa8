#pragma once

/// Depth of every camera of an episode that has a recording for it: `droidflow depth --episode-id`.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/depth_product.h"
#include "droidflow/pipeline/process_episode.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// "recordings/{serial}/depth.mkv"
[[nodiscard]] std::filesystem::path DepthFile(const std::string& serial);

/// What became of a camera.
struct CameraDepth {
  std::string serial;
  std::string role;
  std::optional<DepthReport> report;
  std::string reason;   ///< why there is no depth; empty: there is
  bool failed = false;  ///< there should be: its recording or its calibration is wrong
};

/// Writes {directory}/recordings/{serial}/depth.mkv and depth_meta.json of a camera.
///
/// Depth needs both eyes in one recording, or the maps of another program, and focal length and
/// baseline. Maps are looked for in {DIR}/{episode}/recordings/{serial}, then in {DIR}/{serial}.
///
/// @param camera  of `episode`.
/// @return  without report where the camera has nothing to compute depth from, or what it has is
///          wrong; an error where the machine failed.
[[nodiscard]] Result<CameraDepth> WriteCameraDepth(const EpisodeContext& context,
                                                   const EpisodeRef& episode,
                                                   const EpisodeCamera& camera,
                                                   const std::filesystem::path& directory,
                                                   MatcherPool& pool);

/// Writes depth into the episode's output folder; other files there stay.
///
/// @param cameras  serials, or roles ("ext1", "ext2", "wrist"); empty: all.
/// @return  kNotFound for a camera that the episode does not have; an error with a status where a
///          run would quarantine the episode.
[[nodiscard]] Result<std::vector<CameraDepth>> WriteEpisodeDepth(
    const EpisodeContext& context, const EpisodeRef& ref, const std::vector<std::string>& cameras);

}  // namespace droidflow

#pragma once

/// Depth of every camera of an episode that has a recording for it.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/depth_product.h"
#include "droidflow/pipeline/process_episode.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// "recordings/{serial}/depth.mkv"
[[nodiscard]] std::filesystem::path DepthFile(const std::string& serial);

/// Why a camera has no depth although nothing failed; empty: it has.
[[nodiscard]] std::string ReasonAgainstDepth(const EpisodeCamera& camera, DepthBackend::Kind kind);

/// Makes depth in one process, and keeps its matchers from episode to episode.
///
/// Thread  one at a time; it uses threads of its own where options ask for several cameras or
///         frames at a time.
class DepthWorker {
 public:
  /// @param options   as CheckDepthOptions wants them.
  /// @param counters  of all that is under way, or null; outlives the worker.
  DepthWorker(DepthOptions options, int camera_jobs, DepthCounters* counters);

  /// Writes {directory}/recordings/{serial}/depth.mkv and depth_meta.json of each camera.
  ///
  /// Depth needs both eyes in one recording, or the maps of another program, and focal length and
  /// baseline. Maps are looked for in {DIR}/{episode}/recordings/{serial}, then in {DIR}/{serial}.
  ///
  /// @param names  serials, or roles ("ext1", "ext2", "wrist"); empty: all. The others are left
  ///               out.
  /// @return  one for each camera, in the episode's order: without report where it has nothing to
  ///          compute depth from, or what it has is wrong; an error where the machine failed.
  [[nodiscard]] Result<std::vector<CameraDepth>> Write(const EpisodeContext& context,
                                                       const EpisodeData& episode,
                                                       const std::vector<std::string>& names,
                                                       const std::filesystem::path& directory);

  /// From now on only so many frames of each recording.
  void LimitFrames(std::int64_t most) { most_frames_ = most; }

  [[nodiscard]] const DepthOptions& options() const { return options_; }

 private:
  [[nodiscard]] Result<CameraDepth> WriteCamera(const EpisodeContext& context,
                                                const EpisodeData& episode,
                                                const EpisodeCamera& camera,
                                                const std::filesystem::path& directory,
                                                MatcherPool& pool) const;
  [[nodiscard]] Result<DepthReport> WriteReport(const EpisodeContext& context,
                                                const EpisodeData& episode,
                                                const EpisodeCamera& camera,
                                                const std::filesystem::path& directory,
                                                MatcherPool& pool) const;

  DepthOptions options_;
  DepthCounters* counters_;
  std::optional<std::int64_t> most_frames_;
  std::vector<MatcherPool> pools_;  ///< one for each camera at a time
};

/// Writes depth into the episode's output folder; other files there stay: `droidflow depth
/// --episode-id`.
///
/// @return  as DepthWorker::Write; kNotFound for a camera that the episode does not have; an error
///          with a status where a run would quarantine the episode.
[[nodiscard]] Result<std::vector<CameraDepth>> WriteEpisodeDepth(
    const EpisodeContext& context, const EpisodeRef& ref, const std::vector<std::string>& cameras);

}  // namespace droidflow

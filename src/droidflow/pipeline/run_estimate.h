#pragma once

/// How much a run will write, and how long it will take, from a sample of its episodes.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/episode_run.h"
#include "droidflow/pipeline/process_episode.h"

#include <cstdint>
#include <filesystem>
#include <vector>

namespace droidflow {

/// Of all episodes that are to be done.
struct RunEstimate {
  std::size_t sampled = 0;  ///< episodes that were looked at; 0: the rest is not known
  double read_bytes = 0;    ///< trajectories and recordings
  double metadata_bytes = 0;
  double depth_bytes = 0;
  double frames = 0;   ///< of depth
  double seconds = 0;  ///< with this many workers
  int workers = 0;
};

/// Makes a few episodes for real, with depth of a few frames of each camera, in a temporary folder
/// that is removed.
///
/// @param episodes  as PlanRun lists them.
/// @param to_do     how many of them are to be done.
[[nodiscard]] Result<RunEstimate> EstimateRun(const EpisodeContext& context,
                                              const std::vector<ListedEpisode>& episodes,
                                              std::size_t to_do);

}  // namespace droidflow

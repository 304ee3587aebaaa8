#pragma once

/// Some products of one episode, without a run: `droidflow tracks` and `droidflow intrinsics`.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/process_episode.h"

#include <filesystem>
#include <string_view>
#include <vector>

namespace droidflow {

/// Finds an episode by uuid or by folder. @return kNotFound, naming what was tried.
[[nodiscard]] Result<EpisodeRef> FindSingleEpisode(const EpisodeContext& context,
                                                   std::string_view uuid_or_folder);

struct SingleEpisode {
  std::vector<std::filesystem::path> files;
  std::vector<Warning> warnings;
};

/// Computes the products in a folder of their own, then moves each file over the one in the
/// episode's output folder. Other files there stay.
///
/// @return an error with a status where a run would quarantine the episode.
[[nodiscard]] Result<SingleEpisode> WriteSingleEpisode(const EpisodeContext& context,
                                                       const EpisodeRef& ref,
                                                       Products products);

}  // namespace droidflow

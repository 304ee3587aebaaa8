#pragma once

/// Finished episodes with their arrays stored in another way.

#include "droidflow/core/result.h"
#include "droidflow/formats/npz_writer.h"
#include "droidflow/pipeline/options.h"

#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

namespace droidflow {

struct ConvertOptions {
  std::optional<TracksLayout> layout;         ///< of tracks.npz; empty: as it is
  std::optional<NpzCompression> compression;  ///< of .npz files; empty: as they are
};

/// An episode, and where to.
struct EpisodeToConvert {
  std::filesystem::path from;
  std::filesystem::path to;  ///< may be `from`
};

/// Stores the arrays of an episode's tracks.npz and extrinsics.npz in another way. Elsewhere its
/// other files are copied.
///
/// What was made is converted back before it takes its place: a file whose arrays would not come
/// back, every one with the same bytes, is refused and stays as it is. Each file changes in one
/// step.
///
/// @return whether a file changed (elsewhere: true); kInvalidData, with the keys that differ and by
///         how much, for what would not come back.
[[nodiscard]] Result<bool> ConvertEpisode(const EpisodeToConvert& episode,
                                          const ConvertOptions& options);

/// Converts many on `threads` threads; `on_done` is called for one at a time. After a signal no
/// other one is begun.
void ConvertEpisodes(
    const std::vector<EpisodeToConvert>& episodes,
    const ConvertOptions& options,
    int threads,
    const std::function<void(const EpisodeToConvert&, const Result<bool>&)>& on_done);

}  // namespace droidflow

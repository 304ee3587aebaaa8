#pragma once

/// tracks.npz in its layouts: read whichever it is, and made of one another.
///
/// The compact layout holds what the full one is computed from (docs/formats.md lists its keys).
/// Both are written by AddTracks, and computed by ComputeTracks: there is no second way.

#include "droidflow/core/result.h"
#include "droidflow/formats/npz_reader.h"
#include "droidflow/pipeline/options.h"
#include "droidflow/pipeline/products.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace droidflow {

/// The key that only the compact layout has, and its value: another one is refused, as arrays might
/// come out differently.
inline constexpr const char kCompactKey[] = "compact_version";
inline constexpr std::int64_t kCompactVersion = 1;

[[nodiscard]] TracksLayout LayoutOf(const NpzReader& tracks);

/// What tracks.npz follows from; of the episode only what AddTracks looks at.
struct TracksSource {
  EpisodeData episode;
  TrackOptions options;  ///< `tracks_layout` and `compress` are those of the file
};

/// Reads tracks.npz of either layout; the full one leaves the rest to extrinsics.npz and
/// quality.json (where that lacks an option, it is taken to be the default). That its arrays follow
/// from it is not checked.
///
/// @param directory  where these are.
/// @return kInvalidData where a key is missing, has another type or shape, or is not finite.
[[nodiscard]] Result<TracksSource> ReadTracksSource(const NpzReader& tracks,
                                                    const std::filesystem::path& directory);

/// Opens tracks.npz so that it has every key of the full layout: a compact one is expanded.
///
/// @param only  of large arrays those that will be read; empty: all.
/// Memory   of a compact one, all that it expands to, until the last array of it is gone.
/// @return  as ReadTracksSource.
[[nodiscard]] Result<NpzReader> OpenTracks(const std::filesystem::path& path,
                                           std::span<const std::string_view> only = {});

/// The arrays of `source` as an archive in memory. @param name  what messages call it.
[[nodiscard]] Result<NpzReader> TracksInMemory(TracksSource& source,
                                               std::span<const std::string_view> only,
                                               const std::string& name);

}  // namespace droidflow

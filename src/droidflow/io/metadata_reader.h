#pragma once

#include "droidflow/core/result.h"
#include "droidflow/episode/episode.h"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace droidflow {

/// The uuid in "metadata_<uuid>.json"; nothing for other names.
[[nodiscard]] std::optional<std::string_view> UuidFromMetadataName(std::string_view file_name);

/// The folder's metadata_<uuid>.json; the first by name if there are several.
/// @return status no_metadata where there is none.
[[nodiscard]] Result<std::filesystem::path> FindMetadataFile(
    const std::filesystem::path& episode_dir);

/// Reads the folder's metadata_<uuid>.json. The uuid is the one of the file's name.
///
/// Only what EpisodeMetadata holds is taken: the file also names the person who recorded. A missing
/// or null serial is no camera; a serial may be a number; extrinsics that are not six finite
/// numbers are absent.
///
/// @return statuses no_metadata, bad_metadata (with line and byte where it is not JSON).
[[nodiscard]] Result<EpisodeMetadata> ReadMetadata(const std::filesystem::path& episode_dir);

}  // namespace droidflow

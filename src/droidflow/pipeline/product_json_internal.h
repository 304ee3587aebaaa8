#pragma once

/// What the JSON files of a finished episode say of its recordings.

#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace droidflow {

/// @return kNotFound; kInvalidData for what is no JSON object.
[[nodiscard]] Result<nlohmann::ordered_json> ReadJsonObject(const std::filesystem::path& path);

/// `step_to_frame` of video.json or depth_meta.json; -1: no frame.
[[nodiscard]] std::vector<std::int64_t> FramesOfSteps(const nlohmann::ordered_json& json,
                                                      std::int64_t steps);

/// Where the recording of a video.json is: in the first of the roots that has it, or else the
/// first.
///
/// @param source_path  of the raw episode, below a root.
[[nodiscard]] std::filesystem::path FindRecordingFile(
    std::span<const std::filesystem::path> droid_roots,
    const std::string& source_path,
    const nlohmann::ordered_json& video);

}  // namespace droidflow

#pragma once

/// What the numbers of many episodes look like together, as those who normalize them need it.

#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// One component of a feature. NaN and infinite values are left out.
struct ComponentStats {
  std::int64_t count = 0;
  double min = 0;
  double max = 0;
  double mean = 0;
  double std = 0;  ///< of the population: divided by count
  /// Values that 1 % and 99 % of the values do not exceed; within a 65536th of max - min.
  double q01 = 0;
  double q99 = 0;
};

/// How many episodes of a lab there are.
struct LabCounts {
  std::int64_t success = 0;
  std::int64_t failure = 0;  ///< or of no known outcome
  std::int64_t steps = 0;
};

struct DatasetStats {
  std::int64_t episodes = 0;
  std::map<std::string, LabCounts> labs;
  /// Of tracks.npz, a value for each step: "cartesian_positions" (6 components),
  /// "contact_centroids" (3), "gripper_positions" (1). Of quality.json, one for each episode:
  /// "num_frames", "path_length_mm", "idle_fraction"; or for each camera: "in_image_fraction",
  /// "capture_delay_ms", "depth_valid_fraction".
  std::map<std::string, std::vector<ComponentStats>> features;
};

/// Reads all episodes at or below a folder twice.
///
/// @param split      only those that meta/episodes.jsonl has in this split; empty: all.
/// @param min_check  leaves out episodes whose check has a lower score, or none.
/// Memory   does not grow with the values, but for the list of episodes.
/// @return  kNotFound where there is no episode, or no index to know splits by; kInvalidData for
/// one that is damaged; kCancelled
///          after a signal.
[[nodiscard]] Result<DatasetStats> ComputeDatasetStats(
    const std::filesystem::path& directory,
    const std::string& split = {},
    std::optional<double> min_check = std::nullopt);

}  // namespace droidflow

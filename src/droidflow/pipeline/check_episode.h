#pragma once

/// Label truth: do pictures and depth show the gripper where a finished episode says it is?

#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace droidflow {

struct LabelCheckOptions {
  /// Where the recordings are, the first that has one counts; none: depth alone is looked at.
  std::vector<std::filesystem::path> droid_roots = {};
  std::filesystem::path conf_dir = {};  ///< calibration, which raw recordings need
  int decode_threads = 1;
  bool write = true;  ///< visibility.npz, and `check` of quality.json
};

/// One camera's labels against what it recorded. What could not be measured is empty.
struct CheckedCamera {
  std::string serial;
  std::string role;
  /// Of the best overlap of the gripper with what moves in the pictures (of a wrist camera: what
  /// stays), the share that the labels reach as they stand. 1 is right, 0 nothing in common.
  std::optional<double> score;
  std::optional<double> overlap;             ///< as the labels stand, -1 … 1
  std::optional<double> shift_px;            ///< of the best overlap, in the recording's pixels
  std::optional<double> shift_mm;            ///< the same at the gripper's distance
  std::optional<double> time_offset_frames;  ///< by which pictures come after the states of labels
  std::optional<double> time_correlation;    ///< of both motions at that offset
  std::optional<double> depth_error_mm;      ///< median of measured minus said
  std::optional<double> depth_within_2cm;    ///< share of the gripper's measured pixels
  std::optional<double>
      visible_fraction;            ///< of the track points in the picture whose depth is known
  std::int64_t moments = 0;        ///< whose pictures were compared
  std::vector<std::string> notes;  ///< why something could not be measured
  bool saw_pictures = false;  ///< the recording is here, and was read as far as there are steps
  bool saw_depth = false;     ///< depth is here
};

struct CheckedEpisode {
  std::vector<CheckedCamera> cameras;
  std::optional<double> score;  ///< the lowest of the external cameras'
};

/// What is written of them as `check` in quality.json: a JSON object. docs/formats.md has it.
[[nodiscard]] std::string FormatCheck(const CheckedEpisode& episode);

/// The score in an episode's quality.json. @return none where it was not checked or not measured.
[[nodiscard]] std::optional<double> ReadCheckScore(const std::filesystem::path& directory);

/// Measures an episode's labels. With `write`, quality.json is replaced in one step, and
/// recordings/{serial}/visibility.npz is made of each camera that has depth. What was measured
/// earlier and cannot be now, for want of the recording or depth, is kept.
///
/// @param directory  with the episode's products.
/// @return kNotFound or kInvalidData for products that are missing or damaged; kCancelled after a
///         signal.
[[nodiscard]] Result<CheckedEpisode> CheckEpisode(const std::filesystem::path& directory,
                                                  const LabelCheckOptions& options);

/// Lets what keeps track of results, in the `.droidflow` nearest above each folder, know the new
/// files: a run that is resumed takes the episodes as done, and those that wait for their upload,
/// or were uploaded and are still here, are queued anew.
///
/// @return kBusy while a run is going on there.
[[nodiscard]] Status AnnounceChecked(std::span<const std::filesystem::path> directories);

}  // namespace droidflow

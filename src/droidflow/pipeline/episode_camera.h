#pragma once

/// One camera of an episode with everything that is known of it, and where that was known from.

#include "droidflow/core/result.h"
#include "droidflow/depth/row_alignment.h"
#include "droidflow/episode/considered.h"
#include "droidflow/episode/episode.h"
#include "droidflow/episode/trajectory.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/geometry/projection.h"
#include "droidflow/io/annotations.h"
#include "droidflow/io/calibration_reader.h"
#include "droidflow/pipeline/frame_pairing.h"
#include "droidflow/pipeline/recording_choice.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// How well an external camera's pose fits, by the annotations.
struct CalibrationMetric {
  MetricType type = MetricType::kOther;
  double value = 0;
};

struct EpisodeCamera {
  CameraRole role = CameraRole::kExternal1;
  std::string serial;

  /// Where the camera is: in base for an external one, in ee for the wrist's. Empty: not known.
  std::optional<Transform> pose;
  Considerations pose_sources;
  std::string extrinsics_source;  ///< as docs/formats.md names them; empty without a pose

  std::optional<Intrinsics> intrinsics;
  Considerations intrinsics_sources;
  std::string intrinsics_source;
  bool approximate_intrinsics = false;
  double baseline_m = 0;
  std::string baseline_source;

  std::optional<CalibrationMetric> metric;
  RecordingChoice recording;
  FramePairing pairing;                ///< [T], where a recording was chosen
  std::vector<std::int64_t> frame_ns;  ///< Unix ns of every frame of the recording, or empty
  std::optional<std::filesystem::path> frame_times_file;  ///< that was read for them
  std::optional<RowAlignment> rows;                       ///< where they were measured
  std::vector<std::int64_t> capture_ms;  ///< [T] Unix ms at which images were taken, or empty

  [[nodiscard]] bool is_wrist() const { return role == CameraRole::kWrist; }
  [[nodiscard]] bool has_tracks_2d() const { return pose.has_value() && intrinsics.has_value(); }
};

/// Factory calibration files by serial.
using ZedCalibrations = std::map<std::string, ZedCalibration, std::less<>>;

/// What CollectCameras looks at.
struct CameraInputs {
  const EpisodeMetadata& metadata;
  const Trajectory& trajectory;
  const Annotations& annotations;
  std::filesystem::path episode_dir;
  const ZedCalibrations& conf;
  RecordingOrder recording_order = DefaultRecordingOrder();
};

/// The cameras of an episode: externals in the order of the annotation entry (else ext1, ext2), the
/// wrist's last.
///
/// Roles and serials come from the metadata; camera_serials.json and the types in trajectory.h5
/// fill gaps, in this order. What is missing or does not fit becomes a warning; an error is only a
/// file system or an annotation file that cannot be read any more.
[[nodiscard]] Result<std::vector<EpisodeCamera>> CollectCameras(const CameraInputs& inputs,
                                                                std::vector<Warning>& warnings);

}  // namespace droidflow

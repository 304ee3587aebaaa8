#pragma once

/// The files that droidflow writes for an episode; docs/formats.md has them byte for byte.

#include "droidflow/core/result.h"
#include "droidflow/depth/row_alignment.h"
#include "droidflow/episode/episode.h"
#include "droidflow/episode/trajectory.h"
#include "droidflow/formats/npz_writer.h"
#include "droidflow/jobs/task.h"
#include "droidflow/pipeline/depth_product.h"
#include "droidflow/pipeline/episode_camera.h"
#include "droidflow/pipeline/options.h"
#include "droidflow/pipeline/provenance.h"
#include "droidflow/tracks/contact_track.h"
#include "droidflow/tracks/gripper.h"
#include "droidflow/tracks/resample.h"

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

inline constexpr const char kTracksFile[] = "tracks.npz";
inline constexpr const char kExtrinsicsFile[] = "extrinsics.npz";
inline constexpr const char kQualityFile[] = "quality.json";

/// "recordings/{serial}/intrinsics.json"
[[nodiscard]] std::filesystem::path IntrinsicsFile(const std::string& serial);

/// "recordings/{serial}/video.json"
[[nodiscard]] std::filesystem::path VideoFile(const std::string& serial);

/// `rows` of quality.json and of `droidflow inspect`, a JSON object.
[[nodiscard]] std::string FormatRowAlignment(const RowAlignment& rows);

/// What an episode looks like to one camera.
struct CameraView {
  /// [T], or one pose for a camera that stands still.
  std::vector<Transform> T_base_cam;
  /// The gripper at this camera's moments; empty: at the control steps, as the 3-D tracks.
  std::optional<ContactTrack> track;
  /// Filled in by WriteTracksNpz: share of the 2-D track points that lie in the image.
  std::optional<double> in_image_fraction;

  [[nodiscard]] const Transform& PoseAt(std::size_t step) const {
    return T_base_cam.size() == 1 ? T_base_cam.front() : T_base_cam[step];
  }
};

/// An episode with all that has been computed of it.
struct EpisodeData {
  EpisodeRef ref;
  EpisodeMetadata metadata;
  Trajectory trajectory;
  std::vector<EpisodeCamera> cameras;
  std::vector<CameraView> views;  ///< beside `cameras`
  double fps = 0;
  std::vector<Vector3> pad_points_m;
  std::optional<ContactTrack> track;
  ResamplePlan plan;
  std::vector<std::string> language;                  ///< instructions of the annotations
  std::optional<std::vector<StepRange>> keep_ranges;  ///< of the annotations, within the steps
  std::vector<StepRange> idle_ranges;
  std::string calibration_json;                   ///< the annotation entry verbatim; empty: none
  std::optional<std::vector<CameraDepth>> depth;  ///< empty: not wanted
  std::string depth_status;                       ///< JudgeDepth's
  std::vector<SourceFile> sources;
  std::vector<Warning> warnings;
  std::vector<StageTime> stages;
};

/// Those of cameras whose 2-D tracks there are.
[[nodiscard]] std::vector<std::string> SerialsWithTracks2d(const EpisodeData& episode);

[[nodiscard]] GripperModel GripperOf(const TrackOptions& options);
/// Poses of the end effector in base, [T].
[[nodiscard]] std::vector<Transform> EePoses(const Trajectory& trajectory);
/// Fills in `track` and `plan`, from `trajectory` and `pad_points_m`.
///
/// @param T_base_ee  EePoses'.
[[nodiscard]] Status ComputeTracks(const TrackOptions& options,
                                   std::span<const Transform> T_base_ee,
                                   EpisodeData& episode);

/// Writes tracks.npz in the layout of `options`.
///
/// Memory  a buffer of 256 KiB and two frames of points, however long the path; compressed, twice
///         the largest array, too.
[[nodiscard]] Status WriteTracksNpz(EpisodeData& episode,
                                    const TrackOptions& options,
                                    const std::filesystem::path& path);
/// Adds what WriteTracksNpz writes to an archive.
///
/// @param only  of large arrays those with these names; empty: all.
[[nodiscard]] Status AddTracks(EpisodeData& episode,
                               const TrackOptions& options,
                               std::span<const std::string_view> only,
                               NpzWriter& npz);
[[nodiscard]] Status WriteExtrinsicsNpz(const EpisodeData& episode,
                                        NpzCompression compression,
                                        const std::filesystem::path& path);
/// One file per camera whose intrinsics are known, below `directory`.
[[nodiscard]] Status WriteIntrinsicsJson(const EpisodeData& episode,
                                         const std::filesystem::path& directory);
/// One file per camera that has a recording, below `directory`: what it is and which frame shows
/// which step.
[[nodiscard]] Status WriteVideoJson(const EpisodeData& episode,
                                    const std::filesystem::path& directory);
/// @param config_json  FormatRunConfig's.
/// @param provenance   FormatProvenance's.
[[nodiscard]] Status WriteQualityJson(const EpisodeData& episode,
                                      const std::string& config_json,
                                      const std::string& provenance,
                                      const std::filesystem::path& path);

}  // namespace droidflow

#pragma once

/// A finished episode read back from its files, with what its cameras saw: what pictures and other
/// views are made of.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"
#include "droidflow/depth/rectifier.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/geometry/projection.h"
#include "droidflow/video/depth_video.h"
#include "droidflow/video/frame_source.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace droidflow {

struct FinishedEpisodeOptions {
  /// Where the recordings are, the first that has one counts; none: none is shown.
  std::vector<std::filesystem::path> droid_roots = {};
  std::filesystem::path conf_dir = {};    ///< calibration, which raw recordings need to be shown
  std::vector<std::string> cameras = {};  ///< roles or serials; empty: all that have 2-D tracks
  bool depth = true;                      ///< depth, where there is some
  int decode_threads = 1;
};

/// What rectifies the left eye's pictures of a recording; nothing where they are rectified.
///
/// @param serial  of the camera, where the recording does not say.
/// @return kUsage without a folder of calibrations; as ReadZedCalibration.
[[nodiscard]] Result<std::optional<Remapper>> LeftEyeRectifier(
    const SourceInfo& info,
    const std::string& serial,
    const Intrinsics& intrinsics,
    const std::filesystem::path& conf_dir,
    const std::filesystem::path& path);

/// What the tracks say, whatever the camera. Frame: world. Unit: metres.
struct FinishedMotion {
  std::int64_t steps = 0;
  std::int64_t points = 0;  ///< of both fingers, left ones first
  double fps = 0;
  std::vector<double> time_s;           ///< [steps], of the first step 0
  std::int64_t start_unix_ms = 0;       ///< of the first step; 0: not known
  std::vector<Transform> frames;        ///< [steps] of the contact
  std::vector<Transform> left_frames;   ///< [steps]
  std::vector<Transform> right_frames;  ///< [steps]
  std::vector<Vector3> path_world_m;    ///< the gripper's way, equal steps apart, a few hundred
  int path_mm = 0;
};

/// Gives frames of a recording by number, as the rectified left camera sees them.
class RecordedPictures {
 public:
  /// @return kUsage for a recording that is not rectified where there is no calibration.
  [[nodiscard]] static Result<RecordedPictures> Open(const std::filesystem::path& path,
                                                     const std::string& serial,
                                                     const Intrinsics& intrinsics,
                                                     const FinishedEpisodeOptions& options);
  RecordedPictures(RecordedPictures&&) noexcept;
  RecordedPictures& operator=(RecordedPictures&&) noexcept;
  ~RecordedPictures();

  /// Quick for frames in their order. The picture is there until the next call.
  /// @return nothing where it cannot be decoded, or the recording ends before.
  [[nodiscard]] Result<std::optional<RgbView>> At(std::int64_t index);

  /// What is wrong with the frames that were asked for, and with the file; empty: nothing.
  [[nodiscard]] std::string Trouble() const;

 private:
  class Impl;
  explicit RecordedPictures(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Gives frames of a depth video by number.
class RecordedDepth {
 public:
  /// @return as DepthVideoReader::Open.
  [[nodiscard]] static Result<RecordedDepth> Open(const std::filesystem::path& path,
                                                  int decode_threads);

  /// As RecordedPictures::At, and quick in any order.
  [[nodiscard]] Result<std::optional<DepthView>> At(std::int64_t index);

 private:
  explicit RecordedDepth(DepthVideoReader reader) : reader_(std::move(reader)) {}

  DepthVideoReader reader_;
  std::int64_t shown_index_ = -1;
  DepthView shown_;
};

/// A camera with 2-D tracks.
struct FinishedCamera {
  std::string serial;
  std::string role;  ///< empty: not known
  Intrinsics intrinsics;
  std::vector<double> tracks_px;       ///< [steps,points,2]
  std::vector<Transform> T_world_cam;  ///< [1] or [steps]
  std::optional<RecordedPictures> recording;
  std::vector<std::int64_t> step_to_frame;  ///< of the recording; -1: none
  std::optional<RecordedDepth> depth;
  std::vector<std::int64_t> step_to_depth;  ///< of the depth video; -1: none

  [[nodiscard]] const std::string& name() const { return role.empty() ? serial : role; }
  /// At a step; nothing where there is none. What cannot be read is noted, and not asked for again.
  [[nodiscard]] std::optional<RgbView> PictureAt(std::int64_t t, std::vector<std::string>& notes);
  [[nodiscard]] std::optional<DepthView> DepthAt(std::int64_t t, std::vector<std::string>& notes);
  /// Notes what RecordedPictures::Trouble says.
  void NoteTrouble(std::vector<std::string>& notes) const;

  [[nodiscard]] bool moves() const { return T_world_cam.size() > 1; }
  [[nodiscard]] Transform WorldFromCamera(std::int64_t t) const {
    return T_world_cam[moves() ? t : 0];
  }
  [[nodiscard]] Transform CameraFromWorld(std::int64_t t) const {
    return WorldFromCamera(t).inverse();
  }
};

struct FinishedEpisode {
  FinishedMotion motion;
  std::vector<FinishedCamera> cameras;
  std::string quality_json = "{}";  ///< quality.json; an empty object where it cannot be read
  std::vector<std::string> notes;   ///< what cannot be shown, and why
};

/// Reads tracks.npz, extrinsics.npz and quality.json, and opens the recordings that video.json
/// names and depth.mkv.
///
/// @param directory  with the episode's products.
/// @return kUsage for a camera that is not there; kNotFound or kInvalidData for products that are
///         missing or damaged. A recording or depth that is not there or damaged is a note.
[[nodiscard]] Result<FinishedEpisode> LoadFinishedEpisode(const std::filesystem::path& directory,
                                                          const FinishedEpisodeOptions& options);

}  // namespace droidflow

#pragma once

/// A finished episode as a recording for a viewer of robot data, such as Foxglove.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/finished_episode.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace droidflow {

struct ViewOptions : FinishedEpisodeOptions {
  int width_px = 640;  ///< of pictures and depth, at most; 0: as they were recorded
  int every = 1;       ///< each K-th step
};

struct ViewedEpisode {
  std::int64_t steps = 0;  ///< that were written
  std::uint64_t messages = 0;
  std::vector<std::string> notes;  ///< what could not be shown, and why
};

/// Writes an MCAP file with one message of a kind for each step, at the step's Unix time (from 1970
/// on where that is not known):
///
/// topic                       schema                     what
/// /tf                         foxglove.FrameTransforms   contact and cameras in the frame world
/// /tracks                     foxglove.PointCloud        contact points, coloured by finger
/// /path                       foxglove.SceneUpdate       the gripper's whole way, once
/// /camera/{name}/calibration  foxglove.CameraCalibration rectified pinhole, in the pictures' size
/// /camera/{name}/image        foxglove.CompressedImage   JPEG, as the camera saw it
/// /camera/{name}/tracks       foxglove.ImageAnnotations  contact points on it
/// /camera/{name}/depth        foxglove.RawImage          16UC1, millimetres, 0: none
/// /status                     foxglove.Log               what quality.json says of the episode,
/// and
///                                                        what could not be shown
///
/// Names are roles (ext1, ext2, wrist), or serials where the role is not known. Messages are JSON;
/// chunks are compressed by Zstandard. Whole or not at all; what killed processes left of the file
/// is removed.
///
/// @return kUsage for a camera that is not there; kNotFound or kInvalidData for products that are
///         missing or damaged; kCancelled after a signal.
/// Memory  the tracks, one picture of each camera, a chunk.
/// Source  docs.foxglove.dev/docs/sdk/schemas.
[[nodiscard]] Result<ViewedEpisode> WriteView(const std::filesystem::path& directory,
                                              const std::filesystem::path& out,
                                              const ViewOptions& options);

}  // namespace droidflow

#pragma once

/// What there is of episodes, and where: `droidflow availability`.

#include "droidflow/core/result.h"
#include "droidflow/episode/episode.h"
#include "droidflow/io/annotations.h"
#include "droidflow/pipeline/options.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// An episode by the names and sizes of its files, in the first raw root that has it.
struct EpisodeAvailability {
  EpisodeRef ref;
  std::vector<std::string> roots = {};  ///< all that have its folder
  bool has_metadata = false;
  std::uint64_t trajectory_bytes = 0;  ///< 0: there is none
  // Cameras with such a recording that is not empty, or with any.
  int stereo_mp4 = 0;
  int mono_mp4 = 0;
  int svo = 0;  ///< SVO2 too
  int recorded_cameras = 0;
  int calibrated_cameras = 0;        ///< by the annotations
  int cameras_with_intrinsics = 0;   ///< by the annotations
  std::uint64_t bytes = 0;           ///< of all its files
  std::uint64_t metadata_bytes = 0;  ///< of what `metadata` reads
  std::uint64_t full_bytes = 0;      ///< of what `full` reads

  /// Whether depth could be made of it.
  [[nodiscard]] bool has_stereo() const { return stereo_mp4 + svo > 0; }
};

struct Availability {
  std::vector<EpisodeAvailability> episodes;  ///< by path, or as asked for
  std::vector<Error> not_found;
  std::vector<std::string> not_found_uuids;  ///< beside `not_found`
};

/// Lists the episodes of all raw roots, or those that are asked for. No file is opened.
///
/// @return kNotFound where none is of the labs and the outcome asked for.
[[nodiscard]] Result<Availability> FindAvailability(const MetadataOptions& options,
                                                    const Annotations& annotations);

}  // namespace droidflow

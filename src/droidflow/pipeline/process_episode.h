#pragma once

/// One episode, step by step: raw files in, products out.

#include "droidflow/core/result.h"
#include "droidflow/episode/episode.h"
#include "droidflow/io/annotations.h"
#include "droidflow/jobs/task.h"
#include "droidflow/pipeline/options.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/provenance.h"

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace droidflow {

/// What every episode of a run shares; made once, before workers are forked, and then only read.
struct EpisodeContext {
  MetadataOptions options;
  Annotations annotations;
  ZedCalibrations conf;
  std::vector<Vector3> pad_points_m;
  std::string config_json;  ///< FormatRunConfig's: also the fingerprint of results
  std::vector<FileChecksum> annotation_checksums;
  std::string run_provenance;  ///< FormatRunProvenance's
};

/// Checks the raw root and opens the annotations.
///
/// @param indexes  folder of Annotations::SaveIndexes; empty: the files are read through.
/// @return kUsage without a root; kNotFound for a missing folder or file; kInvalidData for a
/// malformed
///         annotation file.
[[nodiscard]] Result<Annotations> OpenInputs(const InputOptions& input,
                                             const std::filesystem::path& indexes = {});

/// Checks the input paths, opens the annotations and reads calibration files and contact points.
///
/// @return kNotFound for a missing root, folder or file; kUsage for points or a mesh that cannot
/// serve;
///         kInvalidData for a malformed annotation or calibration file.
[[nodiscard]] Result<EpisodeContext> MakeEpisodeContext(const MetadataOptions& options);

/// Reads what is known of an episode and its cameras; nothing is computed, and nothing decoded.
///
/// @return an error with a status where a run would quarantine the episode.
[[nodiscard]] Result<EpisodeData> CollectEpisode(const EpisodeContext& context,
                                                 const EpisodeRef& ref);

/// Which products to write.
enum class Products {
  kAll,
  kTracks,      ///< tracks.npz, extrinsics.npz, quality.json, recordings/{serial}/video.json
  kIntrinsics,  ///< recordings/{serial}/intrinsics.json
};

/// Makes an episode's depth below a folder. @return one for each camera that is wanted.
using MakeDepth = std::function<Result<std::vector<CameraDepth>>(
    const EpisodeData& episode, const std::filesystem::path& directory)>;

/// Whether an episode with this depth is finished, by what a run requires.
///
/// @return  a name for reports: "" with depth, "no_stereo" without any stereo recording, "no_depth"
///          where none could be made of one; kInvalidData with such a name where it is to be
///          quarantined.
[[nodiscard]] Result<std::string> JudgeDepth(RequireDepth require,
                                             const std::vector<CameraDepth>& cameras);

struct ProcessedEpisode {
  Status status;
  std::string depth_status;  ///< JudgeDepth's
  std::string failed_stage;  ///< empty when all went well
  std::vector<StageTime> stages;
  std::vector<Warning> warnings;
};

/// Writes the products of one episode into `directory`, which must be there and is nobody else's.
///
/// @param make_depth  of kAll; empty: no depth is wanted.
/// Memory   without depth below 256 MB for 2287 steps, 960 points and a path of 20 m.
/// Thread   one episode at a time in a process.
[[nodiscard]] ProcessedEpisode ProcessEpisode(const EpisodeContext& context,
                                              const EpisodeRef& ref,
                                              Products products,
                                              const std::filesystem::path& directory,
                                              const MakeDepth& make_depth = {});

}  // namespace droidflow

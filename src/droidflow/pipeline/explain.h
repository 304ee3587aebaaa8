#pragma once

/// What a run would make of an episode, and why: every decision with all that it was between.

#include "droidflow/core/result.h"
#include "droidflow/episode/considered.h"
#include "droidflow/pipeline/process_episode.h"
#include "droidflow/pipeline/raw_roots.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// A calibration of the annotation files, and how it compares.
struct RankedCalibration {
  CameraCalibration calibration;
  /// Of its value among the best ones of all annotated episodes with one of that type: 0 worst … 1
  /// best; nothing without a value that can be ranked.
  std::optional<double> rank;
  std::size_t ranked_episodes = 0;
};

struct ExplainedArray {
  std::string name;
  std::string dtype;  ///< as NumPy writes it
  std::vector<std::int64_t> shape;
};

/// A file that a run would write.
struct ExplainedFile {
  std::string file;  ///< relative to the episode's folder
  std::uint64_t size_bytes = 0;
  std::vector<ExplainedArray> arrays;  ///< of .npz files
};

struct ExplainedDepth {
  std::string serial;
  std::string reason;  ///< why `full` would make none; empty: it would, unless pictures are broken
};

struct Explanation {
  std::vector<RootConsiderations> looked_for;  ///< without folders where one was named
  std::string root;                            ///< the raw root that has it
  std::optional<std::uint64_t> fetched_bytes;  ///< of its files, where the root is a bucket
  std::optional<EpisodeRef> ref;
  std::vector<RankedCalibration> calibrations;
  EpisodeData episode;  ///< as far as it could be read
  std::vector<ExplainedDepth> depth;
  std::vector<ExplainedFile> files;  ///< of `metadata`
  std::vector<Warning> warnings;
  Status outcome;            ///< why a run would quarantine it
  std::string failed_stage;  ///< … and while it did what; empty: it would not
};

/// Goes through an episode as a run does, into a folder of its own that is gone afterwards. Of a
/// bucket the folders in which the episode may lie are listed; small files and the heads of
/// recordings are fetched, into this folder or the cache of `options`, and rows are not measured.
///
/// @param uuid_or_folder  what is not found is an `outcome`, too.
/// @return an error for inputs that no episode could be read with.
[[nodiscard]] Result<Explanation> ExplainEpisode(const MetadataOptions& options,
                                                 const std::string& uuid_or_folder);

}  // namespace droidflow

#pragma once

/// A run that many machines share: what each of them is given, and what it makes of it.

#include "droidflow/core/result.h"
#include "droidflow/io/annotations.h"
#include "droidflow/jobs/run_store.h"
#include "droidflow/jobs/slurm_run.h"
#include "droidflow/pipeline/options.h"

#include <filesystem>
#include <string>
#include <vector>

namespace droidflow {

struct ShardedEpisodes {
  std::vector<std::string> items;    ///< folders of episodes, as a run does them one after another
  std::vector<TaskRecord> undoable;  ///< not found, or there twice
  Annotations annotations;           ///< RunShard wants their indexes
};

/// Lists the episodes of a run.
///
/// @return what ListEpisodes refuses; kUsage for options that only a run on one machine can have.
[[nodiscard]] Result<ShardedEpisodes> PlanShards(const MetadataOptions& options);

/// The options of a task: what of a machine it may use, unless the user said.
///
/// @param cores  of a task.
[[nodiscard]] MetadataOptions OptionsOfTask(MetadataOptions options, int cores, bool has_gpus);

struct ShardPlaces {
  std::filesystem::path scratch;   ///< on a local disk, empty, nobody else's
  std::filesystem::path arriving;  ///< on the file system of `out`, nobody else's
  std::filesystem::path indexes;   ///< of the annotations
};

/// Does the episodes of a shard as an ordinary run does, but for its traces in `out`: another may
/// do the same shard at the same time. What is in `out` already, with the same numbers' options, is
/// not done again.
///
/// @return the items in their order; kCancelled after a request to stop, with what was finished by
///         then in `out`; what an ordinary run refuses.
[[nodiscard]] Result<std::vector<ShardItem>> RunShard(const MetadataOptions& options,
                                                      const std::vector<std::string>& items,
                                                      const ShardPlaces& places);

/// What of a shard's files is missing or has another size; empty: nothing.
///
/// @param may_be_gone  whole episodes may be: they were uploaded.
[[nodiscard]] std::vector<std::string> MissingFiles(const ShardResult& result,
                                                    const std::filesystem::path& out,
                                                    bool may_be_gone);

}  // namespace droidflow

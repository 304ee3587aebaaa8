#pragma once

#include <optional>
#include <string>

namespace droidflow {

/// What `droidflow export --to webdataset` is told.
struct ShardExport {
  std::string results;  ///< folder of finished episodes
  std::string to;       ///< folder; one that has shards of an earlier export gets what it lacks
  double shard_gb = 1;
  std::optional<double> min_check = {};
  bool json = false;
  bool quiet = false;
};

/// Writes the shards that an upload would, into a folder, which keeps the queue: `results` stays as
/// it is, and what it is uploaded to elsewhere has nothing to do with it.
///
/// @return the exit status, as of `droidflow upload`.
int ExportShards(const ShardExport& command);

}  // namespace droidflow

#pragma once

/// Many episodes in one file: WebDataset archives with an index, as `layout: shards` uploads them.
///
///     data/{group}/shard-{run}-{number}.tar   members {key}.{name}, '/' in names as '.'
///     meta/shard-{run}-{number}.jsonl         one line per episode, with every member's offset
///
/// A group is the first part of an episode's folder (DROID's lab).

#include "droidflow/transfer/upload_queue.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

struct ShardOptions {
  /// A shard is closed before it would exceed this; an episode is never divided.
  std::int64_t shard_bytes = 1'000'000'000;
  std::string run = {};     ///< in the names; empty: one that no other queue has
  std::string prefix = {};  ///< folder in the store; "" = its root
  /// Left out of the names of members.
  std::string dropped_folder = "recordings/";
  /// A JSON file whose content the index repeats, so that nobody opens a shard to choose episodes.
  std::string inlined_file = "quality.json";
};

/// What became of an episode that is not in the shard.
struct NotPacked {
  QueuedEntry entry;
  Error error;  ///< kNotFound: a file vanished; kTransient: one is not as it was; else for good
};

struct BuiltShard {
  UploadEntry entry;  ///< of the shard itself, with its two files
  std::vector<QueuedEntry> packed;
  std::vector<NotPacked> left_out;
};

/// The name of an episode's file in a shard. @return kRefused when the key has a dot or slash:
/// readers take what stands before the first dot for the key.
[[nodiscard]] Result<std::string> ShardMemberName(const ShardOptions& options,
                                                  const std::string& key,
                                                  const std::string& name);

/// Writes a shard and its index into `staging/{name}/`, which is made new.
///
/// @param episodes  of one destination and group.
/// @return          an entry without files when no episode could be packed. An error is the disk's.
[[nodiscard]] Result<BuiltShard> BuildShard(const ShardOptions& options,
                                            const std::filesystem::path& staging,
                                            const std::string& name,
                                            const std::string& group,
                                            std::vector<QueuedEntry> episodes);

/// Whether a path is that of a shard's index.
[[nodiscard]] bool IsShardIndex(std::string_view path);

/// A file of an episode in a shard.
struct ShardMember {
  std::string name;  ///< below the episode's folder
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
  std::string sha256;
};

/// A line of a shard's index.
struct ShardedEpisode {
  std::string key;
  std::string shard;  ///< relative to what the index's `meta/` is in
  std::string folder;
  std::vector<ShardMember> members;
};

/// What a shard's index says. @return kInvalidData for what is no such index.
[[nodiscard]] Result<std::vector<ShardedEpisode>> ParseShardEpisodes(const std::string& text);

/// The keys that a shard's index names. @return kInvalidData for what is no such index.
[[nodiscard]] Result<std::vector<std::string>> ParseShardIndex(const std::string& text);

}  // namespace droidflow

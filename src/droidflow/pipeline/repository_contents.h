#pragma once

/// What a repository has, whichever way its episodes lie there.

#include "droidflow/core/result.h"
#include "droidflow/transfer/store.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// A file of an episode.
struct RepositoryFile {
  std::string name;          ///< below the episode's folder
  std::uint64_t offset = 0;  ///< in the shard
  std::uint64_t size_bytes = 0;
  std::string sha256 = {};  ///< empty: the store knows `git_oid` only
  std::string git_oid = {};
};

struct RepositoryEpisode {
  std::string folder;
  std::string uuid = {};   ///< empty: only its quality.json says it
  std::string shard = {};  ///< path of the archive; empty: files lie under their own names
  std::vector<RepositoryFile> files = {};

  /// The file of the store that has a file's bytes.
  [[nodiscard]] std::string StoredIn(const RepositoryFile& file) const {
    return shard.empty() ? folder + "/" + file.name : shard;
  }
  [[nodiscard]] std::uint64_t TotalBytes() const;
};

struct RepositoryContents {
  std::string revision;
  std::vector<RepositoryEpisode> episodes = {};  ///< by folder; one may be in several shards
  std::vector<StoredFile> others = {};  ///< by path: shards, their indexes, what is of no episode

  [[nodiscard]] bool HasShards() const;
  [[nodiscard]] bool HasDepth() const;
  [[nodiscard]] const StoredFile* FindOther(const std::string& path) const;
};

/// Lists a store's newest state and reads the indexes of its shards.
///
/// Memory  300 bytes per file.
/// @return the store's errors: kNotFound, "no_repository", when there is none; kInvalidData for an
///         index that is none.
[[nodiscard]] Result<RepositoryContents> ReadRepository(Store& store);

/// A whole file, or `length` bytes at `offset`.
[[nodiscard]] Result<std::string> ReadStored(Store& store,
                                             const std::string& revision,
                                             const std::string& path,
                                             std::uint64_t offset = 0,
                                             std::optional<std::uint64_t> length = std::nullopt);

}  // namespace droidflow

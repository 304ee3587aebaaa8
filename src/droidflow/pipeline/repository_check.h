#pragma once

/// Whether a repository has what it should have.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/repository_contents.h"
#include "droidflow/transfer/store.h"
#include "droidflow/transfer/upload_queue.h"

#include <cstddef>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

struct RepositoryFinding {
  std::string path;
  std::string text;  ///< what was expected and what was found
};

struct RepositoryFindings {
  std::size_t expected_episodes = 0;
  std::size_t expected_files = 0;
  std::vector<std::string> missing = {};
  std::vector<RepositoryFinding> different = {};
  std::vector<std::string> extra = {};          ///< files that nobody expected; no fault
  std::size_t read_back = 0;                    ///< files whose bytes were read and hashed
  std::vector<RepositoryFinding> damaged = {};  ///< their bytes are not what the repository says

  [[nodiscard]] bool AllWell() const {
    return missing.empty() && different.empty() && damaged.empty();
  }
};

/// Compares, by folder and name, whatever the repository's layout is.
class RepositoryCheck {
 public:
  /// `contents` must live as long.
  explicit RepositoryCheck(const RepositoryContents& contents);

  /// An episode that should be there; again for the same folder: another one's part. Files without
  /// hashes are read if they are still on this machine, else compared by size.
  [[nodiscard]] Status Expect(const UploadEntry& episode);
  /// A shard that should be there, by the queue that made it.
  void ExpectShard(const UploadEntry& shard);

  /// What is left over; and shards that are not there or shorter than their index says; and reads
  /// `sample` files, evenly spaced among those with a SHA-256.
  [[nodiscard]] Result<RepositoryFindings> Finish(Store& store, std::size_t sample);

 private:
  const RepositoryContents& contents_;
  std::multimap<std::string_view, const RepositoryEpisode*> by_folder_;
  std::set<std::string> expected_;  ///< paths
  std::set<std::string> folders_;
  RepositoryFindings findings_;
};

/// Tells a check of every episode below an output tree, as `destination` takes it.
[[nodiscard]] Status ExpectTree(RepositoryCheck& check,
                                const std::filesystem::path& root,
                                const std::string& destination);

/// Tells a check of everything that a queue knows as confirmed.
[[nodiscard]] Status ExpectConfirmed(RepositoryCheck& check,
                                     UploadQueue& queue,
                                     const std::string& destination);

}  // namespace droidflow

#pragma once

/// The way of a finished episode from a worker's folder to where others look for it.

#include "droidflow/core/result.h"
#include "droidflow/episode/episode.h"
#include "droidflow/jobs/task.h"
#include "droidflow/pipeline/options.h"

#include <filesystem>
#include <string>
#include <vector>

namespace droidflow {

/// The folders of a run.
///
/// A worker writes into `scratch`. A finished episode goes through `staging`, if there is one, to
/// every place it is wanted at: `out`, or the queues of whole episodes and of episodes without
/// depth. Where it arrives, it appears in one step, whole. Both queues hold the same files: hard
/// links, where the file systems allow.
///
/// Other runs may use the same disks: each has hidden folders of its own, found again after a
/// crash.
class Delivery {
 public:
  /// Makes the folders, and empties those of unfinished work. The run directory must be held.
  [[nodiscard]] static Result<Delivery> Prepare(const MetadataOptions& options);

  /// Where a worker may write; another worker's is another.
  [[nodiscard]] std::filesystem::path ScratchOf(int worker) const;

  /// Puts an episode from a worker's folder in its places.
  ///
  /// @return directory, files and size of it, where it is whole; a queue's directory is absolute.
  [[nodiscard]] Result<TaskResult> Deliver(int worker, const EpisodeRef& ref) const;

  /// Removes the folders of unfinished work.
  [[nodiscard]] Status CleanUp() const;

  /// What takes space until the run, or whoever empties the queues, is done with it.
  [[nodiscard]] std::vector<std::filesystem::path> StagedFolders() const;
  [[nodiscard]] bool has_queues() const { return has_queues_; }

 private:
  struct Place {
    std::filesystem::path root;
    std::filesystem::path arriving;  ///< on its file system, so that a rename puts it in place
    bool is_queue = false;
  };

  std::vector<std::filesystem::path> hidden_;  ///< folders of unfinished work
  std::filesystem::path scratch_;
  std::filesystem::path staging_;  ///< empty: none
  std::string
      kept_config_;  ///< a result of this configuration that is there stays; empty: none does
  std::vector<Place> places_;  ///< that of whole episodes last, that without depth first
  bool has_queues_ = false;
};

/// Whether a folder has an episode that was made with this configuration, FormatRunConfig's.
[[nodiscard]] bool HasResult(const std::filesystem::path& directory,
                             const std::string& config_json);

/// Where a run keeps unfinished work below a folder that other runs use too.
[[nodiscard]] std::filesystem::path HiddenFolderOfRun(const MetadataOptions& options);

/// Whether a queue that a record's episode was delivered to does not have it any more: whoever
/// empties the queue has it now.
[[nodiscard]] bool HasLeftTheQueue(const std::string& directory);

}  // namespace droidflow

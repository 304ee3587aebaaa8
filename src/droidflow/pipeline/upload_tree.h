#pragma once

/// Finished episodes below a folder, as `droidflow upload` queues them.

#include "droidflow/core/result.h"
#include "droidflow/transfer/upload_queue.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// Calls `found` with every folder below `root` that holds a product of an episode, parents first,
/// as a path below it. Folders named .droidflow are passed over; what vanishes meanwhile is not
/// there.
[[nodiscard]] Status WalkEpisodes(const std::filesystem::path& root,
                                  const std::function<Status(const std::string& folder)>& found);

/// The name of an episode in a queue: what its quality.json calls it, as runs do, else its folder.
[[nodiscard]] std::string EpisodeKey(const std::filesystem::path& root, const std::string& folder);

/// An output tree and those of its episodes that were queued already.
///
/// Thread  one.
class UploadTree {
 public:
  /// @param min_check  leaves out episodes whose check has a lower score, or none.
  UploadTree(const std::filesystem::path& root,
             std::vector<std::string> destinations,
             std::optional<double> min_check = std::nullopt);

  /// Queues every episode that was not there at the last call, or was put in its place since.
  ///
  /// @return  how many; kUsage when the folder is itself an episode.
  [[nodiscard]] Result<std::size_t> EnqueueNew(UploadQueue& queue);

 private:
  std::filesystem::path root_;
  std::vector<std::string> destinations_;
  std::optional<double> min_check_;
  std::map<std::string, std::uint64_t> known_;  ///< folder -> its inode
};

/// Opens a queue; one that is damaged is put aside and made again of the episodes below `roots`.
[[nodiscard]] Result<UploadQueue> OpenOrRebuildQueue(
    const std::filesystem::path& dir,
    const std::vector<std::filesystem::path>& roots,
    const std::vector<std::string>& destinations,
    const std::function<void(const std::string&)>& notice);

}  // namespace droidflow

#pragma once

/// A folder of this machine, or one that it mounts, as the place for finished episodes.

#include "droidflow/transfer/store.h"

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>

namespace droidflow {

/// Files lie in the folder under their names, read-only. `.droidflow` beside them holds the history
/// (commits.jsonl, a line per commit), the bytes that no commit names yet and those of replaced
/// files, for a week.
///
/// A commit that was killed is completed by whoever opens the folder next, or was never visible.
/// A file that was removed or resized by others is no longer told of, and can be put and committed
/// again; a file that came from elsewhere is never replaced. Processes on several machines may
/// share the folder where flock() works across them. Bytes are stored once: files of equal content
/// are hard links, where the file system has them.
class FolderStore : public Store {
 public:
  explicit FolderStore(std::filesystem::path folder);

  [[nodiscard]] std::string Describe() const override;
  [[nodiscard]] Status Prepare() override;
  [[nodiscard]] Result<std::string> Head() override;
  [[nodiscard]] Status List(const std::string& revision,
                            const std::string& folder,
                            const std::function<void(StoredFile)>& tell) override;
  [[nodiscard]] Result<std::vector<std::optional<StoredFile>>> Stat(
      const std::string& revision, std::span<const std::string> paths) override;
  [[nodiscard]] std::vector<Status> Put(std::span<const OutgoingFile> files) override;
  [[nodiscard]] Result<std::string> Commit(const CommitRequest& request) override;
  [[nodiscard]] Status Read(const std::string& revision,
                            const std::string& path,
                            std::uint64_t offset,
                            std::optional<std::uint64_t> length,
                            const std::function<Status(std::span<const std::byte>)>& sink) override;

 private:
  struct Content {
    std::uint64_t size_bytes = 0;
    std::string sha256;
  };
  /// What the lines of the history up to one of them say.
  struct State {
    std::string head;
    std::map<std::string, Content> files;
    std::uint64_t read_bytes = 0;  ///< of the history
  };

  [[nodiscard]] std::filesystem::path Hidden(const char* name) const;
  [[nodiscard]] std::filesystem::path ObjectPath(const std::string& sha256) const;
  /// Adds what the history says beyond `state`, to the commit `until` or to its end.
  [[nodiscard]] Status ReadHistory(State& state, const std::string& until) const;
  [[nodiscard]] Result<std::shared_ptr<const State>> Refresh();
  [[nodiscard]] Result<std::shared_ptr<const State>> Newest();
  [[nodiscard]] Result<std::shared_ptr<const State>> StateAt(const std::string& revision);
  [[nodiscard]] bool IsNewest(const State& state);
  /// What a state has at a path; of the newest only what is there.
  [[nodiscard]] std::optional<StoredFile> Told(const State& state, const std::string& path);
  [[nodiscard]] Status PutOne(const OutgoingFile& file);
  [[nodiscard]] Status MakeWay(const State& state, const OutgoingFile& file) const;
  [[nodiscard]] Status Place(const StoredFile& file) const;
  [[nodiscard]] Status Recover();
  [[nodiscard]] Status RemoveOldObjects() const;

  std::filesystem::path folder_;
  std::mutex mutex_;  ///< guards newest_
  std::shared_ptr<State> newest_ = std::make_shared<State>();
};

}  // namespace droidflow

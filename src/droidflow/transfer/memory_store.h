#pragma once

/// A store that forgets, for tests of those who use stores.

#include "droidflow/transfer/store.h"

#include <array>
#include <functional>
#include <map>
#include <mutex>

namespace droidflow {

enum class StoreCall { kPrepare, kHead, kList, kStat, kPut, kCommit, kRead };

/// A Store in memory that fails where it is told to.
class MemoryStore : public Store {
 public:
  /// Asked at every call, and by Put for every file; may block, and may call the store.
  ///
  /// @param path  of the file for kPut and kRead, else empty.
  using Hook = std::function<Status(StoreCall call, const std::string& path)>;

  /// `before`: a failure is told and nothing happens. `after`: it happens and a failure is told, as
  /// when a reply is lost. Empty: none. Call before the store is used.
  void SetHooks(Hook before, Hook after = {});
  /// How often something was asked for; kPut counts files.
  [[nodiscard]] int CountOf(StoreCall call) const;
  /// Forgets bytes that no commit names, as a store may that waited for long.
  void DropUncommittedBytes();

  [[nodiscard]] std::string Describe() const override { return "memory"; }
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
  using Files = std::map<std::string, StoredFile>;

  [[nodiscard]] Status Before(StoreCall call, const std::string& path = {});
  [[nodiscard]] Status After(StoreCall call, const std::string& path = {});
  [[nodiscard]] Result<Files> FilesAt(const std::string& revision) const;
  [[nodiscard]] Status PutOne(const OutgoingFile& file);
  [[nodiscard]] Result<std::string> CommitAll(const CommitRequest& request);

  Hook before_;
  Hook after_;
  mutable std::mutex mutex_;  ///< guards what follows
  std::array<int, 7> counts_{};
  std::map<std::string, std::vector<std::byte>> bytes_;  ///< by SHA-256
  std::vector<Files> states_;                            ///< revision "1" is the first
};

}  // namespace droidflow

#pragma once

/// How much may wait on disks before a run starts no more episodes.

#include "droidflow/core/result.h"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// What folders hold. Files with several names count once.
struct FolderUse {
  std::uint64_t bytes = 0;
  std::int64_t episodes = 0;  ///< whole ones, by their quality.json outside of hidden folders

  bool operator==(const FolderUse&) const = default;
};

/// What vanishes meanwhile is not counted; folders below another of the list count once.
[[nodiscard]] FolderUse MeasureFolders(const std::vector<std::filesystem::path>& folders);

/// Says whether there is room for one more episode, by what the last ones took.
///
/// Thread  one.
class DiskBudget {
 public:
  using Clock = std::chrono::steady_clock;

  /// @param limit_bytes  for all folders together; nothing: for those on each file system 90 % of
  ///                     what is free there now, and what they hold.
  [[nodiscard]] static Result<DiskBudget> Make(std::vector<std::filesystem::path> folders,
                                               std::optional<std::uint64_t> limit_bytes);

  /// An episode was delivered with so many bytes.
  void Delivered(std::uint64_t bytes);

  /// @param in_hand  episodes that workers have at the moment.
  [[nodiscard]] bool HasRoom(int in_hand, Clock::time_point now = Clock::now());

  /// Of all folders.
  [[nodiscard]] FolderUse use() const;
  [[nodiscard]] std::uint64_t limit_bytes() const;

 private:
  /// Folders with a limit of their own.
  struct Share {
    std::vector<std::filesystem::path> folders;
    std::uint64_t limit_bytes = 0;
    FolderUse use = {};
  };

  std::vector<Share> shares_;
  Clock::time_point next_look_ = {};
  std::uint64_t unseen_bytes_ = 0;  ///< delivered since the last look
  std::uint64_t delivered_bytes_ = 0;
  std::int64_t delivered_ = 0;
};

}  // namespace droidflow

#include "droidflow/pipeline/disk_budget.h"

#include "droidflow/core/files.h"
#include "droidflow/pipeline/products.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <sys/stat.h>
#include <system_error>
#include <utility>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr double kShareOfFree = 0.9;
constexpr std::chrono::milliseconds kLeastPause{1000};
constexpr int kPausePerLook = 20;  // looking takes at most a twentieth of the time

void Measure(const fs::path& folder, FolderUse& use) {
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  // An error is a folder that went away: its contents are somewhere else.
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    struct stat status = {};
    if (lstat(entry->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    use.bytes += static_cast<std::uint64_t>(status.st_blocks) * 512 /
                 std::max<std::uint64_t>(status.st_nlink, 1);
    const bool is_hidden = entry->path().string().find("/.droidflow/") != std::string::npos;
    if (!is_hidden && entry->path().filename() == kQualityFile) ++use.episodes;
  }
}

bool IsBelow(const fs::path& path, const fs::path& folder) {
  const fs::path from_folder = fs::absolute(path).lexically_normal().lexically_relative(
      fs::absolute(folder).lexically_normal());
  return !from_folder.empty() && *from_folder.begin() != "..";
}

}  // namespace

FolderUse MeasureFolders(const std::vector<fs::path>& folders) {
  FolderUse use;
  for (std::size_t i = 0; i < folders.size(); ++i) {
    bool is_counted = false;
    for (std::size_t k = 0; k < folders.size() && !is_counted; ++k) {
      is_counted = k != i && IsBelow(folders[i], folders[k]) &&
                   !(k > i && IsBelow(folders[k], folders[i]));  // two names of one folder
    }
    if (!is_counted) Measure(folders[i], use);
  }
  return use;
}

Result<DiskBudget> DiskBudget::Make(std::vector<fs::path> folders,
                                    std::optional<std::uint64_t> limit_bytes) {
  DiskBudget budget;
  if (limit_bytes) {
    budget.shares_.push_back({.folders = std::move(folders), .limit_bytes = *limit_bytes});
    return budget;
  }
  std::map<dev_t, Share> by_file_system;
  for (fs::path& folder : folders) {
    DF_ASSIGN_OR_RETURN(const std::uint64_t free_bytes, FreeBytes(folder));
    struct stat status = {};
    if (stat(folder.c_str(), &status) != 0) {
      return FailErrno(errno, "cannot look at " + folder.string());
    }
    Share& share = by_file_system[status.st_dev];
    share.limit_bytes = static_cast<std::uint64_t>(kShareOfFree * static_cast<double>(free_bytes));
    share.folders.push_back(std::move(folder));
  }
  for (auto& [device, share] : by_file_system) {
    share.limit_bytes += MeasureFolders(share.folders).bytes;
    budget.shares_.push_back(std::move(share));
  }
  return budget;
}

FolderUse DiskBudget::use() const {
  FolderUse sum;
  for (const Share& share : shares_) {
    sum.bytes += share.use.bytes;
    sum.episodes += share.use.episodes;
  }
  return sum;
}

std::uint64_t DiskBudget::limit_bytes() const {
  std::uint64_t sum = 0;
  for (const Share& share : shares_) sum += share.limit_bytes;
  return sum;
}

void DiskBudget::Delivered(std::uint64_t bytes) {
  delivered_bytes_ += bytes;
  unseen_bytes_ += bytes;
  ++delivered_;
}

bool DiskBudget::HasRoom(int in_hand, Clock::time_point now) {
  if (now >= next_look_) {
    const Clock::time_point start = Clock::now();
    for (Share& share : shares_) share.use = MeasureFolders(share.folders);
    unseen_bytes_ = 0;
    next_look_ =
        now + std::max<Clock::duration>(kLeastPause, kPausePerLook * (Clock::now() - start));
  }
  const std::uint64_t episode_bytes =
      delivered_ > 0 ? delivered_bytes_ / static_cast<std::uint64_t>(delivered_) : 0;
  const std::uint64_t coming_bytes =
      static_cast<std::uint64_t>(in_hand) * episode_bytes + unseen_bytes_;
  return std::ranges::all_of(shares_, [&](const Share& share) {
    return share.use.bytes + coming_bytes < share.limit_bytes;
  });
}

}  // namespace droidflow

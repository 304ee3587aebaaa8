#include "droidflow/pipeline/upload_tree.h"

#include "droidflow/core/files.h"
#include "droidflow/pipeline/check_episode.h"
#include "droidflow/pipeline/hub_targets.h"
#include "droidflow/pipeline/products.h"

#include <algorithm>
#include <sys/stat.h>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kEpisodesPerEnqueue = 500;

Status Walk(const fs::path& root,
            const fs::path& folder,
            const std::function<Status(const std::string&)>& found) {
  std::error_code error;
  std::vector<fs::path> inner;
  bool is_episode = false;
  fs::directory_iterator entry(root / folder, error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
    std::error_code gone;
    const fs::path name = entry->path().filename();
    if (!entry->is_symlink(gone) && entry->is_directory(gone)) {
      if (name != ".droidflow") inner.push_back(folder / name);
    } else {
      is_episode |=
          std::ranges::any_of(kEpisodeFiles, [&](const char* product) { return name == product; });
    }
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return FailErrno(error.value(), fmt::format("cannot list {}", (root / folder).string()));
  }
  if (is_episode) return found(folder.generic_string());
  std::ranges::sort(inner);
  for (const fs::path& below : inner) DF_RETURN_IF_ERROR(Walk(root, below, found));
  return {};
}

/// The episode for each destination; none when it has vanished.
Result<std::vector<UploadEntry>> EntriesOf(const fs::path& root,
                                           const std::string& folder,
                                           const std::vector<std::string>& destinations) {
  std::vector<UploadEntry> entries;
  const std::string key = EpisodeKey(root, folder);
  for (const std::string& destination : destinations) {
    Result<UploadEntry> entry = MakeUploadEntry(destination, key, root, folder);
    if (!entry && entry.error().kind == ErrorKind::kNotFound) continue;
    if (!entry) return tl::unexpected(std::move(entry).error());
    entries.push_back(*std::move(entry));
  }
  return entries;
}

}  // namespace

Status WalkEpisodes(const fs::path& root,
                    const std::function<Status(const std::string& folder)>& found) {
  return Walk(root, {}, found);
}

std::string EpisodeKey(const fs::path& root, const std::string& folder) {
  if (const Result<std::string> text = ReadFileText(root / folder / kQualityFile)) {
    const auto quality = nlohmann::json::parse(*text, /*cb=*/nullptr, /*allow_exceptions=*/false);
    if (quality.is_object()) {
      const auto id = quality.find("episode_id");
      if (id != quality.end() && id->is_string() && !id->get<std::string>().empty()) {
        return id->get<std::string>();
      }
    }
  }
  return folder;
}

UploadTree::UploadTree(const fs::path& root,
                       std::vector<std::string> destinations,
                       std::optional<double> min_check)
    : root_(fs::absolute(root).lexically_normal()),
      destinations_(std::move(destinations)),
      min_check_(min_check) {}

Result<std::size_t> UploadTree::EnqueueNew(UploadQueue& queue) {
  std::map<std::string, std::uint64_t> here;
  std::vector<UploadEntry> batch;
  std::size_t count = 0;
  const auto flush = [&](std::size_t at_least) -> Status {
    if (batch.size() < at_least) return {};
    DF_RETURN_IF_ERROR(queue.Enqueue(batch));
    batch.clear();
    return {};
  };
  DF_RETURN_IF_ERROR(WalkEpisodes(root_, [&](const std::string& folder) -> Status {
    if (folder.empty()) {
      return Fail(ErrorKind::kUsage,
                  "it is an episode, want the folder that holds episodes: {}",
                  root_.string());
    }
    // Not remembered: it may be checked later.
    if (min_check_ && ReadCheckScore(root_ / folder).value_or(-1) < *min_check_) return {};
    struct stat info = {};
    if (stat((root_ / folder).c_str(), &info) != 0) return {};
    here[folder] = info.st_ino;
    if (const auto known = known_.find(folder);
        known != known_.end() && known->second == info.st_ino) {
      return {};
    }
    DF_ASSIGN_OR_RETURN(std::vector<UploadEntry> entries, EntriesOf(root_, folder, destinations_));
    std::ranges::move(entries, std::back_inserter(batch));
    ++count;
    return flush(kEpisodesPerEnqueue);
  }));
  DF_RETURN_IF_ERROR(flush(1));
  known_ = std::move(here);
  return count;
}

Result<UploadQueue> OpenOrRebuildQueue(const fs::path& dir,
                                       const std::vector<fs::path>& roots,
                                       const std::vector<std::string>& destinations,
                                       const std::function<void(const std::string&)>& notice) {
  Result<UploadQueue> queue = UploadQueue::Open(dir);
  Status opened = queue ? queue->CheckIntegrity() : Status(tl::unexpected(queue.error()));
  if (opened) return queue;
  if (opened.error().status != "upload_queue_damaged") return tl::unexpected(opened.error());
  notice(fmt::format("{}: made again from the episodes on the disk", opened.error().message));
  queue = tl::unexpected(opened.error());  // closed, before its file is renamed
  return UploadQueue::RebuildFromDisk(
      dir, roots, [&](const fs::path& root, const std::string& folder) {
        std::vector<UploadEntry> none;
        if (folder.find(".droidflow") != std::string::npos) return none;
        const bool is_episode = std::ranges::any_of(kEpisodeFiles, [&](const char* name) {
          std::error_code ignored;
          return fs::exists(root / folder / name, ignored);
        });
        return is_episode ? EntriesOf(root, folder, destinations).value_or(none) : none;
      });
}

}  // namespace droidflow

#include "droidflow/pipeline/repository_contents.h"

#include "droidflow/pipeline/depth_product.h"
#include "droidflow/pipeline/hub_targets.h"
#include "droidflow/transfer/shard_layout.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <span>
#include <string_view>
#include <utility>

namespace droidflow {
namespace {

/// The folder of the episode that a path is a file of; empty: it is of none.
std::string_view EpisodeFolder(std::string_view path) {
  if (const std::size_t at = path.find("/recordings/"); at != std::string_view::npos) {
    return path.substr(0, at);
  }
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {};
  const bool is_product =
      std::ranges::find(kEpisodeFiles, path.substr(slash + 1)) != std::end(kEpisodeFiles);
  return is_product ? path.substr(0, slash) : std::string_view{};
}

/// What is before "meta/" of an index, and so before the names of its shards.
std::string PrefixOf(const std::string& index) { return index.substr(0, index.rfind("meta/")); }

}  // namespace

std::uint64_t RepositoryEpisode::TotalBytes() const {
  return std::accumulate(
      files.begin(), files.end(), std::uint64_t{0}, [](std::uint64_t sum, const auto& file) {
        return sum + file.size_bytes;
      });
}

bool RepositoryContents::HasShards() const {
  return std::ranges::any_of(episodes, [](const auto& episode) { return !episode.shard.empty(); });
}

bool RepositoryContents::HasDepth() const {
  return std::ranges::any_of(episodes, [](const auto& episode) {
    return std::ranges::any_of(episode.files,
                               [](const auto& file) { return IsDepthFile(file.name); });
  });
}

const StoredFile* RepositoryContents::FindOther(const std::string& path) const {
  const auto found = std::ranges::lower_bound(others, path, {}, &StoredFile::path);
  return found != others.end() && found->path == path ? &*found : nullptr;
}

Result<std::string> ReadStored(Store& store,
                               const std::string& revision,
                               const std::string& path,
                               std::uint64_t offset,
                               std::optional<std::uint64_t> length) {
  std::string text;
  DF_RETURN_IF_ERROR(
      store.Read(revision, path, offset, length, [&](std::span<const std::byte> bytes) -> Status {
        text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return {};
      }));
  return text;
}

Result<RepositoryContents> ReadRepository(Store& store) {
  RepositoryContents contents;
  DF_ASSIGN_OR_RETURN(contents.revision, store.Head());
  std::map<std::string, RepositoryEpisode, std::less<>> by_folder;
  DF_RETURN_IF_ERROR(store.List(contents.revision, "", [&](StoredFile file) {
    const std::string_view folder = EpisodeFolder(file.path);
    if (folder.empty()) {
      contents.others.push_back(std::move(file));
      return;
    }
    auto episode = by_folder.find(folder);
    if (episode == by_folder.end()) {
      episode = by_folder.emplace(folder, RepositoryEpisode{.folder = std::string(folder)}).first;
    }
    episode->second.files.push_back({.name = file.path.substr(folder.size() + 1),
                                     .size_bytes = file.size_bytes,
                                     .sha256 = std::move(file.sha256),
                                     .git_oid = std::move(file.git_oid)});
  }));
  std::ranges::sort(contents.others, {}, &StoredFile::path);
  for (auto& [folder, episode] : by_folder) contents.episodes.push_back(std::move(episode));

  for (const StoredFile& other : contents.others) {
    if (!IsShardIndex(other.path)) continue;
    DF_ASSIGN_OR_RETURN(const std::string text, ReadStored(store, contents.revision, other.path));
    Result<std::vector<ShardedEpisode>> sharded = ParseShardEpisodes(text);
    if (!sharded) return tl::unexpected(During("reading " + other.path)(sharded.error()));
    for (ShardedEpisode& line : *sharded) {
      RepositoryEpisode episode{.folder = std::move(line.folder),
                                .uuid = std::move(line.key),
                                .shard = PrefixOf(other.path) + line.shard};
      for (ShardMember& member : line.members) {
        episode.files.push_back({.name = std::move(member.name),
                                 .offset = member.offset,
                                 .size_bytes = member.size_bytes,
                                 .sha256 = std::move(member.sha256)});
      }
      contents.episodes.push_back(std::move(episode));
    }
  }
  std::ranges::stable_sort(contents.episodes, {}, &RepositoryEpisode::folder);
  return contents;
}

}  // namespace droidflow

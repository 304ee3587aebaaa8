#include "droidflow/pipeline/repository_check.h"

#include "droidflow/core/sha256.h"
#include "droidflow/pipeline/hub_targets.h"
#include "droidflow/pipeline/upload_tree.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

constexpr std::int64_t kFilesAtOnce = 5000;

std::string Describe(std::uint64_t size_bytes, const std::string& hash) {
  return fmt::format(
      "{} bytes{}{}", size_bytes, hash.empty() ? "" : " of hash ", hash.substr(0, 12));
}

/// What is wrong with a stored file; empty: nothing.
Result<std::string> Compare(const UploadEntry& episode,
                            const UploadFile& file,
                            const RepositoryFile& stored) {
  std::string want = stored.sha256.empty() ? file.git_oid : file.sha256;
  const std::string& have = stored.sha256.empty() ? stored.git_oid : stored.sha256;
  if (want.empty() && file.size_bytes == stored.size_bytes) {
    const std::filesystem::path source = episode.Source(file);
    Result<std::string> hash =
        stored.sha256.empty() ? GitBlobOidOfFile(source) : Sha256OfFile(source);
    if (hash) {
      want = *std::move(hash);
    } else if (hash.error().kind != ErrorKind::kNotFound) {
      return hash;
    }
  }
  if (file.size_bytes == stored.size_bytes && (want.empty() || want == have)) return std::string();
  return fmt::format(
      "want {}, have {}", Describe(file.size_bytes, want), Describe(stored.size_bytes, have));
}

}  // namespace

RepositoryCheck::RepositoryCheck(const RepositoryContents& contents) : contents_(contents) {
  for (const RepositoryEpisode& episode : contents.episodes) {
    by_folder_.emplace(episode.folder, &episode);
  }
}

Status RepositoryCheck::Expect(const UploadEntry& episode) {
  findings_.expected_episodes += folders_.insert(episode.folder).second ? 1 : 0;
  const auto [begin, end] = by_folder_.equal_range(episode.folder);
  for (const UploadFile& file : episode.files) {
    std::string path = episode.folder + "/" + file.name;
    if (!expected_.insert(path).second) continue;
    ++findings_.expected_files;
    std::string problem;
    bool is_there = false;
    bool is_same = false;
    for (auto place = begin; place != end && !is_same; ++place) {
      const auto& files = place->second->files;
      const auto stored = std::ranges::find(files, file.name, &RepositoryFile::name);
      if (stored == files.end()) continue;
      is_there = true;
      DF_ASSIGN_OR_RETURN(problem, Compare(episode, file, *stored));
      is_same = problem.empty();
    }
    if (!is_there) {
      findings_.missing.push_back(std::move(path));
    } else if (!is_same) {
      findings_.different.push_back({std::move(path), std::move(problem)});
    }
  }
  return {};
}

void RepositoryCheck::ExpectShard(const UploadEntry& shard) {
  for (const UploadFile& file : shard.files) {
    const std::string path = shard.PathOf(file);
    const StoredFile* const stored = contents_.FindOther(path);
    const OutgoingFile local{.path = path,
                             .size_bytes = file.size_bytes,
                             .sha256 = file.sha256,
                             .git_oid = file.git_oid};
    expected_.insert(path);
    ++findings_.expected_files;
    if (stored == nullptr) {
      findings_.missing.push_back(path);
    } else if (!SameContent(*stored, local)) {
      const bool by_git = stored->sha256.empty();
      findings_.different.push_back(
          {path,
           fmt::format("want {}, have {}",
                       Describe(file.size_bytes, by_git ? file.git_oid : file.sha256),
                       Describe(stored->size_bytes, by_git ? stored->git_oid : stored->sha256))});
    }
  }
}

Result<RepositoryFindings> RepositoryCheck::Finish(Store& store, std::size_t sample) {
  std::vector<std::pair<const RepositoryEpisode*, const RepositoryFile*>> hashed;
  for (const RepositoryEpisode& episode : contents_.episodes) {
    for (const RepositoryFile& file : episode.files) {
      if (std::string path = episode.folder + "/" + file.name; !expected_.contains(path)) {
        findings_.extra.push_back(std::move(path));
      }
      if (!episode.shard.empty()) {
        const StoredFile* const shard = contents_.FindOther(episode.shard);
        if (shard == nullptr || shard->size_bytes < file.offset + file.size_bytes) {
          findings_.damaged.push_back({episode.folder + "/" + file.name,
                                       shard == nullptr
                                           ? "no such shard: " + episode.shard
                                           : fmt::format("want {} bytes at {} of a shard of {}: {}",
                                                         file.size_bytes,
                                                         file.offset,
                                                         shard->size_bytes,
                                                         episode.shard)});
          continue;
        }
      }
      if (!file.sha256.empty()) hashed.emplace_back(&episode, &file);
    }
  }
  sample = std::min(sample, hashed.size());
  for (std::size_t i = 0; i < sample; ++i) {
    const auto [episode, file] = hashed[i * hashed.size() / sample];
    Sha256 hash;
    std::uint64_t size_bytes = 0;
    DF_RETURN_IF_ERROR(store.Read(contents_.revision,
                                  episode->StoredIn(*file),
                                  file->offset,
                                  file->size_bytes,
                                  [&](std::span<const std::byte> bytes) -> Status {
                                    hash.Add(bytes);
                                    size_bytes += bytes.size();
                                    return {};
                                  }));
    ++findings_.read_back;
    if (const std::string have = hash.Finish(); have != file->sha256) {
      findings_.damaged.push_back({episode->folder + "/" + file->name,
                                   fmt::format("want {}, read {}",
                                               Describe(file->size_bytes, file->sha256),
                                               Describe(size_bytes, have))});
    }
  }
  return std::move(findings_);
}

Status ExpectTree(RepositoryCheck& check,
                  const std::filesystem::path& root,
                  const std::string& destination) {
  return WalkEpisodes(root, [&](const std::string& folder) -> Status {
    DF_ASSIGN_OR_RETURN(const UploadEntry entry,
                        MakeUploadEntry(destination, folder, root, folder));
    return check.Expect(entry);
  });
}

Status ExpectConfirmed(RepositoryCheck& check, UploadQueue& queue, const std::string& destination) {
  for (const bool shards : {false, true}) {
    const UploadQueue::Selection selection{destination, UploadState::kConfirmed, shards};
    for (std::int64_t after = 0;;) {
      DF_ASSIGN_OR_RETURN(const std::vector<QueuedEntry> entries,
                          queue.Take(selection, after, kFilesAtOnce, INT64_MAX));
      if (entries.empty()) break;
      for (const QueuedEntry& queued : entries) {
        if (shards) {
          check.ExpectShard(queued.entry);
        } else {
          DF_RETURN_IF_ERROR(check.Expect(queued.entry));
        }
      }
      after = entries.back().id;
    }
  }
  return {};
}

}  // namespace droidflow

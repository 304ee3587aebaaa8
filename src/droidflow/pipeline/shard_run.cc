#include "droidflow/pipeline/shard_run.h"

#include "droidflow/core/files.h"
#include "droidflow/core/sha256.h"
#include "droidflow/episode/status.h"
#include "droidflow/pipeline/delivery.h"
#include "droidflow/pipeline/episode_list.h"
#include "droidflow/pipeline/episode_run.h"
#include "droidflow/pipeline/process_episode.h"
#include "droidflow/pipeline/upload_tree.h"

#include <algorithm>
#include <system_error>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

TaskRecord UndoableRecord(const std::string& key,
                          const std::string& path,
                          TaskState state,
                          const Error& error) {
  const std::int64_t now_ms = UnixNowMs();
  return {.task = {.key = key, .payload = path},
          .state = state,
          .status = error.status,
          .message = error.message,
          .started_unix_ms = now_ms,
          .finished_unix_ms = now_ms};
}

/// An episode that was there already.
Result<ShardItem> FindItem(const fs::path& out, const std::string& item) {
  ShardItem found;
  found.record = {.task = {.key = EpisodeKey(out, item), .payload = item},
                  .state = TaskState::kDone,
                  .directory = item};
  DF_ASSIGN_OR_RETURN(found.record.files, ListFiles(out / item));
  return found;
}

}  // namespace

Result<ShardedEpisodes> PlanShards(const MetadataOptions& options) {
  if (!options.full.batch_dir.empty() || !options.full.batch_metadata_dir.empty()) {
    return Fail(ErrorKind::kUsage,
                "--batch-dir and --batch-metadata-dir are for runs on one machine: give --out");
  }
  if (options.selection.part != RunPart()) {
    return Fail(ErrorKind::kUsage, "--shard is for runs without a scheduler");
  }
  DF_ASSIGN_OR_RETURN(EpisodeContext context, MakeEpisodeContext(options));
  DF_ASSIGN_OR_RETURN(const EpisodeList list, ListEpisodes(options, context.annotations));
  ShardedEpisodes sharded{
      .items = {}, .undoable = {}, .annotations = std::move(context.annotations)};
  for (const ListedEpisode& episode : list.episodes) {
    sharded.items.push_back(episode.ref.relative_path);
  }
  for (std::size_t i = 0; i < list.not_found.size(); ++i) {
    sharded.undoable.push_back(
        UndoableRecord(list.not_found_uuids[i], {}, TaskState::kQuarantined, list.not_found[i]));
  }
  for (const EpisodeRef& ref : list.duplicates) {
    sharded.undoable.push_back(
        UndoableRecord(ref.relative_path,
                       ref.relative_path,
                       TaskState::kSkipped,
                       {ErrorKind::kInvalidData,
                        fmt::format("another folder has uuid {} too and comes first", ref.uuid),
                        status::kDuplicate}));
  }
  return sharded;
}

MetadataOptions OptionsOfTask(MetadataOptions options, int cores, bool has_gpus) {
  const bool has_depth = options.pipeline == Pipeline::kFull;
  if (!options.workers) options.workers = std::max(1, has_depth ? cores / 4 : cores);
  if (has_depth && !has_gpus && !options.depth.jobs) {
    options.depth.jobs = std::max(1, cores / (*options.workers * options.full.camera_jobs));
  }
  return options;
}

Result<std::vector<ShardItem>> RunShard(const MetadataOptions& given,
                                        const std::vector<std::string>& items,
                                        const ShardPlaces& places) {
  MetadataOptions options = given;
  options.run_dir = (places.scratch / "run").string();
  options.scratch_dir = places.scratch.string();
  options.hub = {};
  options.shared = {.arriving_dir = places.arriving.string(),
                    .annotation_indexes = places.indexes.string(),
                    .stop_grace_s = 60};
  const fs::path list = places.scratch / "episodes.txt";
  options.selection = {};
  options.selection.limit = -1;
  options.selection.episodes = list.string();
  DF_RETURN_IF_ERROR(MakeDirectories(places.arriving));
  DF_ASSIGN_OR_RETURN(const EpisodeContext context, MakeEpisodeContext(options));

  std::string to_do;
  const auto is_there = [&](const std::string& item) {
    return !options.recompute && HasResult(fs::path(options.out) / item, context.config_json);
  };
  for (const std::string& item : items) {
    if (!is_there(item)) to_do += item + '\n';
  }
  std::unordered_map<std::string, TaskRecord> by_path;
  if (!to_do.empty()) {
    DF_RETURN_IF_ERROR(WriteFile(list, to_do));
    DF_ASSIGN_OR_RETURN(const RunSummary summary, RunEpisodes(context, {}));
    if (!summary.stopped) return tl::unexpected(summary.stopped.error());
    DF_ASSIGN_OR_RETURN(RunStore store, RunStore::OpenReadOnly(options.run_dir));
    DF_ASSIGN_OR_RETURN(std::vector<TaskRecord> records, store.LoadAll());
    for (TaskRecord& record : records) {
      // An episode whose folder is gone by now is known by the name it was asked for.
      const std::string path = record.task.payload.empty() ? record.task.key : record.task.payload;
      by_path.emplace(path, std::move(record));
    }
  }
  std::vector<ShardItem> done;
  for (const std::string& item : items) {
    const auto found = by_path.find(item);
    if (found == by_path.end()) {
      DF_ASSIGN_OR_RETURN(ShardItem there, FindItem(options.out, item));
      done.push_back(std::move(there));
    } else {
      done.push_back({.record = std::move(found->second), .sha256 = {}});
    }
    for (const FileStamp& file : done.back().record.files) {
      DF_ASSIGN_OR_RETURN(
          std::string hash,
          Sha256OfFile(fs::path(options.out) / done.back().record.directory / file.name));
      done.back().sha256.push_back(std::move(hash));
    }
  }
  return done;
}

std::vector<std::string> MissingFiles(const ShardResult& result,
                                      const fs::path& out,
                                      bool may_be_gone) {
  std::vector<std::string> missing;
  for (const ShardItem& item : result.items) {
    const TaskRecord& record = item.record;
    const fs::path directory = out / record.directory;
    std::error_code error;
    if (record.directory.empty() || (may_be_gone && !fs::exists(directory, error))) continue;
    for (const FileStamp& file : record.files) {
      const std::uintmax_t size = fs::file_size(directory / file.name, error);
      if (error || size != file.size_bytes) {
        missing.push_back((fs::path(record.directory) / file.name).string());
      }
    }
  }
  return missing;
}

}  // namespace droidflow

#include "droidflow/pipeline/delivery.h"

#include "droidflow/core/files.h"
#include "droidflow/core/place_new.h"
#include "droidflow/formats/checksum.h"
#include "droidflow/pipeline/depth_product.h"

#include <cerrno>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

bool OnOneFileSystem(const fs::path& a, const fs::path& b) {
  struct stat stat_a = {};
  struct stat stat_b = {};
  return stat(a.c_str(), &stat_a) == 0 && stat(b.c_str(), &stat_b) == 0 &&
         stat_a.st_dev == stat_b.st_dev;
}

/// Moves a tree, by renaming where that can be.
Status MoveTree(const fs::path& from, const fs::path& to) {
  DF_RETURN_IF_ERROR(RemoveTree(to));
  DF_RETURN_IF_ERROR(MakeDirectories(to.parent_path()));
  std::error_code error;
  fs::rename(from, to, error);
  if (!error) return {};
  if (error != std::errc::cross_device_link) {
    return FailErrno(error.value(),
                     fmt::format("cannot move {} to {}", from.string(), to.string()));
  }
  DF_RETURN_IF_ERROR(CopyTree(from, to));
  return RemoveTree(from);
}

/// Links every file but depth to a new folder, or copies it where links cannot be.
Status LinkMetadata(const fs::path& from, const fs::path& to) {
  DF_RETURN_IF_ERROR(RemoveTree(to));
  DF_ASSIGN_OR_RETURN(const std::vector<FileStamp> files, ListFiles(from));
  for (const FileStamp& file : files) {
    if (IsDepthFile(file.name)) continue;
    const fs::path target = to / file.name;
    DF_RETURN_IF_ERROR(MakeDirectories(target.parent_path()));
    if (link((from / file.name).c_str(), target.c_str()) == 0) continue;
    if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != ENOTSUP) {
      return FailErrno(errno, fmt::format("cannot link {}", target.string()));
    }
    std::error_code error;
    fs::copy_file(from / file.name, target, error);
    if (error) return FailErrno(error.value(), fmt::format("cannot copy {}", target.string()));
  }
  return {};
}

std::string WorkerFolder(int worker) { return fmt::format("worker-{}", worker); }

}  // namespace

Result<Delivery> Delivery::Prepare(const MetadataOptions& options) {
  const FullOptions& full = options.full;
  const fs::path run_dir = options.RunDir();
  const fs::path own = HiddenFolderOfRun(options);

  Delivery delivery;
  delivery.has_queues_ = !full.batch_dir.empty() || !full.batch_metadata_dir.empty();
  const fs::path whole = full.batch_dir.empty() ? options.out : full.batch_dir;
  DF_RETURN_IF_ERROR(MakeDirectories(whole));
  if (!full.batch_metadata_dir.empty()) {
    DF_RETURN_IF_ERROR(MakeDirectories(full.batch_metadata_dir));
    std::error_code ignored;
    if (!fs::equivalent(full.batch_metadata_dir, whole, ignored)) {
      delivery.places_.push_back(
          {.root = full.batch_metadata_dir, .arriving = {}, .is_queue = true});
    }
  }
  delivery.places_.push_back({.root = whole, .arriving = {}, .is_queue = !full.batch_dir.empty()});
  // A run directory elsewhere cannot hand episodes over by renaming them.
  const fs::path arriving = options.shared.arriving_dir;
  const auto hidden_in = [&](const fs::path& root, bool is_queue) {
    const fs::path& near = arriving.empty() ? run_dir : arriving;
    delivery.hidden_.push_back(!is_queue && OnOneFileSystem(near, root) ? near / "incoming"
                                                                        : root / own);
    return delivery.hidden_.back();
  };
  for (Place& place : delivery.places_) {
    place.arriving = hidden_in(place.root, place.is_queue) / "arriving";
  }
  delivery.scratch_ =
      options.scratch_dir.empty() ? delivery.hidden_.back() : hidden_in(options.scratch_dir, true);
  delivery.scratch_ /= "scratch";
  if (!arriving.empty() && !options.recompute) {
    DF_ASSIGN_OR_RETURN(delivery.kept_config_, FormatRunConfig(options));
  }
  if (!full.staging_dir.empty()) delivery.staging_ = hidden_in(full.staging_dir, true) / "staging";
  DF_RETURN_IF_ERROR(delivery.CleanUp());
  for (const fs::path& folder : delivery.hidden_) DF_RETURN_IF_ERROR(MakeDirectories(folder));
  return delivery;
}

fs::path Delivery::ScratchOf(int worker) const { return scratch_ / WorkerFolder(worker); }

Result<TaskResult> Delivery::Deliver(int worker, const EpisodeRef& ref) const {
  const Place& whole = places_.back();
  fs::path ready = ScratchOf(worker);
  std::vector<fs::path> hops = {whole.arriving / WorkerFolder(worker)};
  if (!staging_.empty()) hops.insert(hops.begin(), staging_ / WorkerFolder(worker));
  for (const fs::path& hop : hops) {
    DF_RETURN_IF_ERROR(MoveTree(ready, hop));
    ready = hop;
  }
  DF_RETURN_IF_ERROR(SyncTree(ready));
  for (const Place& place : places_) {
    if (&place == &whole) continue;
    const fs::path links = place.arriving / (WorkerFolder(worker) + "-metadata");
    DF_RETURN_IF_ERROR(LinkMetadata(ready, links));
    DF_RETURN_IF_ERROR(SyncTree(links));
    DF_RETURN_IF_ERROR(PlaceDirectory(links, place.root / ref.relative_path));
  }
  const fs::path directory = whole.root / ref.relative_path;
  bool is_placed = false;
  if (!kept_config_.empty()) {
    DF_ASSIGN_OR_RETURN(is_placed, PlaceNew(ready, directory));
    if (!is_placed && HasResult(directory, kept_config_)) {
      is_placed = true;
      DF_RETURN_IF_ERROR(RemoveTree(ready));
    }
  }
  if (!is_placed) DF_RETURN_IF_ERROR(PlaceDirectory(ready, directory));

  TaskResult result;
  result.directory = whole.is_queue ? fs::absolute(directory).string() : ref.relative_path;
  DF_ASSIGN_OR_RETURN(result.files, ListFiles(directory));
  for (const FileStamp& file : result.files) result.output_bytes += file.size_bytes;
  return result;
}

Status Delivery::CleanUp() const {
  for (const fs::path& folder : hidden_) {
    DF_RETURN_IF_ERROR(RemoveTree(folder));
    // Others may have theirs in it: then it stays.
    std::error_code ignored;
    fs::remove(folder.parent_path(), ignored);
  }
  return {};
}

std::vector<fs::path> Delivery::StagedFolders() const {
  std::vector<fs::path> folders = hidden_;
  for (const Place& place : places_) {
    if (place.is_queue) folders.push_back(place.root);
  }
  return folders;
}

bool HasResult(const fs::path& directory, const std::string& config_json) {
  const Result<std::string> text = ReadFileText(directory / "quality.json");
  if (!text) return false;
  const auto quality = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  return quality.is_object() && quality.contains("config") &&
         quality["config"] == nlohmann::json::parse(config_json);
}

fs::path HiddenFolderOfRun(const MetadataOptions& options) {
  // Machines that share a run may call their run directories alike.
  const RunPart& part = options.selection.part;
  const std::string run = fs::absolute(options.RunDir()).lexically_normal().string() +
                          (part == RunPart() ? "" : fmt::format(" {}/{}", part.index, part.count));
  return fmt::format(".droidflow/run-{:08x}", Crc32(std::as_bytes(std::span(run))));
}

bool HasLeftTheQueue(const std::string& directory) {
  std::error_code ignored;
  return fs::path(directory).is_absolute() && !fs::exists(directory, ignored);
}

}  // namespace droidflow

#include "droidflow/pipeline/hub_targets.h"

#include "droidflow/jobs/progress.h"
#include "droidflow/pipeline/dataset_card.h"
#include "droidflow/pipeline/depth_product.h"
#include "droidflow/transfer/folder_store.h"
#include "droidflow/transfer/hf_store.h"
#include "droidflow/transfer/repository_index.h"

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostFiles = 90'000;
constexpr std::size_t kSchemeLength = std::string_view("file:").size();

/// What an option of each kind says; both empty: nothing.
struct PlaceName {
  std::string repo;
  std::string folder;  ///< with "file:"

  [[nodiscard]] bool empty() const { return repo.empty() && folder.empty(); }
};

struct NamedPlace {
  std::string destination;
  PlaceName name;
};

/// Three products, and of each of three cameras intrinsics.json and video.json, and depth's two.
std::size_t FilesPerEpisode(Pipeline pipeline) { return pipeline == Pipeline::kMetadata ? 9 : 15; }

std::vector<NamedPlace> NamedPlaces(const HubOptions& options, Pipeline pipeline) {
  const PlaceName whole{options.repo, options.hub};
  const PlaceName metadata{options.metadata_repo, options.metadata_hub};
  std::vector<NamedPlace> places;
  if (pipeline == Pipeline::kMetadata) {
    const PlaceName& only = metadata.empty() ? whole : metadata;
    if (!only.empty()) places.push_back({kMetadataDestination, only});
    return places;
  }
  if (!whole.empty()) places.push_back({kFullDestination, whole});
  if (!metadata.empty()) places.push_back({kMetadataDestination, metadata});
  return places;
}

}  // namespace

std::vector<std::string> HubDestinations(const HubOptions& options, Pipeline pipeline) {
  std::vector<std::string> destinations;
  for (const NamedPlace& place : NamedPlaces(options, pipeline)) {
    destinations.push_back(place.destination);
  }
  return destinations;
}

Result<std::vector<HubPlace>> MakeHubPlaces(const HubOptions& options,
                                            Pipeline pipeline,
                                            const std::function<void(const std::string&)>& notice) {
  std::vector<HubPlace> places;
  for (const NamedPlace& place : NamedPlaces(options, pipeline)) {
    const auto& [repo, folder] = place.name;
    if (!folder.empty()) {
      const fs::path path = fs::absolute(folder.substr(kSchemeLength)).lexically_normal();
      places.push_back({.destination = place.destination,
                        .store = std::make_unique<FolderStore>(path),
                        .folder = path});
      continue;
    }
    DF_ASSIGN_OR_RETURN(std::unique_ptr<HfStore> store,
                        HfStore::Make({.repo = repo,
                                       .type = options.type,
                                       .branch = options.branch,
                                       .is_private = options.is_private,
                                       .upload_jobs = options.upload_jobs,
                                       .notice = notice}));
    places.push_back({.destination = place.destination, .store = std::move(store), .repo = repo});
  }
  return places;
}

std::vector<UploadTarget> MakeUploadTargets(const std::vector<HubPlace>& places,
                                            const HubOptions& options) {
  std::vector<UploadTarget> targets;
  for (const HubPlace& place : places) {
    UploadTarget target{.name = place.destination,
                        .store = place.store.get(),
                        .overwrite = options.overwrite,
                        .limits_commits = place.folder.empty()};
    if (options.layout == HubLayout::kShards) {
      target.shards =
          ShardOptions{.shard_bytes = static_cast<std::int64_t>(options.shard_gb * kGiga)};
    }
    targets.push_back(std::move(target));
  }
  return targets;
}

UploaderOptions MakeUploaderOptions(const HubOptions& options, Pipeline pipeline) {
  const std::vector<std::string> destinations = HubDestinations(options, pipeline);
  const bool leaves_depth = pipeline == Pipeline::kFull &&
                            std::ranges::find(destinations, kFullDestination) == destinations.end();
  return {.interval = std::chrono::milliseconds(
              static_cast<std::int64_t>(options.upload_interval_s * 1000)),
          .batch_files = options.batch_files,
          .batch_bytes = static_cast<std::int64_t>(options.batch_gb * kGiga),
          .commits_per_hour = options.commits_per_hour,
          .keep_uploaded = options.keep_uploaded || leaves_depth};
}

std::string DescribeEvent(const UploadEvent& event) {
  switch (event.kind) {
    case UploadEvent::Kind::kCommitted:
    case UploadEvent::Kind::kConfirmed:
      return {};
    case UploadEvent::Kind::kParked:
      return fmt::format("not uploaded to {}: {}: {}", event.destination, event.key, event.message);
    case UploadEvent::Kind::kWaiting:
      return fmt::format("upload to {} goes on in {}: {}",
                         event.destination,
                         FormatDuration(event.wait),
                         event.message);
    case UploadEvent::Kind::kStopped:
      return fmt::format("upload to {} stopped: {}", event.destination, event.message);
  }
  return {};
}

bool NeedsPermission(const Error& error) {
  return error.status == store_status::kUnauthorized || error.status == store_status::kForbidden ||
         error.status == store_status::kNoRepository;
}

UploadTotals UnfinishedTotals(const UploadCounts& counts) {
  UploadTotals sum;
  for (const UploadState state :
       {UploadState::kStaged, UploadState::kStored, UploadState::kCommitted}) {
    const UploadTotals& part = counts.of(state);
    sum.episodes += part.episodes;
    sum.files += part.files;
    sum.bytes += part.bytes;
  }
  return sum;
}

Status IndexPlace(UploadQueue& queue, const HubPlace& place, HubLayout layout) {
  const bool in_shards = layout == HubLayout::kShards;
  DF_RETURN_IF_ERROR(BindToStore(queue, place.destination, *place.store, in_shards));
  DF_ASSIGN_OR_RETURN(auto counts, queue.Counts());
  if (counts[place.destination].of(UploadState::kConfirmed).episodes == 0) {
    DF_RETURN_IF_ERROR(place.store->Prepare());
  }
  return IndexRepository(queue, place.destination, *place.store);
}

std::size_t MostEpisodesAsFiles(Pipeline pipeline) {
  return kMostFiles / FilesPerEpisode(pipeline);
}

std::string AdviseOnLayout(std::size_t episodes, const MetadataOptions& options) {
  const bool fits = episodes <= MostEpisodesAsFiles(options.pipeline);
  if (!options.hub.HasPlace() || options.hub.layout == HubLayout::kShards || fits) return {};
  return fmt::format(
      "{} episodes are about {} files, too many for a repository, and {} without depth: "
      "--hub-layout shards is better",
      episodes,
      episodes * FilesPerEpisode(options.pipeline),
      FormatBytes(static_cast<double>(episodes) * kMetadataBytes));
}

UploadSummary UploadToPlaces(const fs::path& queue_dir,
                             const std::vector<HubPlace>& places,
                             const HubOptions& options,
                             Pipeline pipeline,
                             const UploadControl& control,
                             const std::function<void(const UploadEvent&)>& observe,
                             const std::function<void(const std::string&)>& notice) {
  std::map<std::string, std::thread> cards;  // beside the uploads: they do not wait for them
  UploadSummary summary = RunUploader(
      queue_dir,
      MakeUploadTargets(places, options),
      MakeUploaderOptions(options, pipeline),
      control,
      [&](const UploadEvent& event) {
        observe(event);
        if (event.kind != UploadEvent::Kind::kConfirmed || cards.contains(event.destination))
          return;
        const auto place = std::ranges::find(places, event.destination, &HubPlace::destination);
        cards.emplace(event.destination, [&, place] {
          const Status status = EnsureDatasetCard(*place->store, MakeCardContext(*place, options));
          if (!status) notice(status.error().message);
        });
      });
  for (auto& [destination, card] : cards) card.join();
  return summary;
}

Result<UploadEntry> MakeUploadEntry(std::string destination,
                                    std::string key,
                                    const fs::path& root,
                                    const std::string& folder) {
  UploadEntry entry{.destination = std::move(destination),
                    .key = std::move(key),
                    .root = fs::absolute(root).lexically_normal(),
                    .folder = folder,
                    .prefix = folder};
  DF_ASSIGN_OR_RETURN(entry.files, ListUploadFiles(entry.root, entry.folder));
  if (entry.destination == kMetadataDestination) {
    std::erase_if(entry.files, [](const UploadFile& file) { return IsDepthFile(file.name); });
  }
  if (entry.files.empty()) {
    return Fail(
        ErrorKind::kNotFound, "nothing but depth: {}", (entry.root / entry.folder).string());
  }
  return entry;
}

}  // namespace droidflow

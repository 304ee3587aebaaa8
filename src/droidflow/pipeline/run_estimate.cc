#include "droidflow/pipeline/run_estimate.h"

#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/core/temporary_folder.h"
#include "droidflow/pipeline/episode_depth.h"
#include "droidflow/pipeline/episode_fetcher.h"
#include "droidflow/pipeline/raw_roots.h"
#include "droidflow/pipeline/run_resources.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSample = 3;
constexpr std::int64_t kSampleFrames = 12;  // of each camera of the sample

double SizeOf(const fs::path& file) {
  std::error_code error;
  const std::uintmax_t bytes = fs::file_size(file, error);
  return error ? 0 : static_cast<double>(bytes);
}

/// Where the raw files of an episode are; one of a bucket is fetched into `folder`.
Result<EpisodeRef> Localize(const MetadataOptions& options,
                            const ListedEpisode& episode,
                            const fs::path& folder) {
  EpisodeRef ref = episode.ref;
  if (episode.bucket.empty()) return ref;
  MetadataOptions without_cache = options;
  without_cache.fetch.keep_raw = false;
  without_cache.fetch.cache_dir.clear();
  DF_ASSIGN_OR_RETURN(const std::unique_ptr<Source> source,
                      OpenRawSource(episode.bucket, options.fetch));
  DF_RETURN_IF_ERROR(EpisodeFetcher(*source, without_cache).Fetch(ref.relative_path, folder));
  ref.root = folder.string();
  return ref;
}

/// Adds one episode of the sample.
Status AddEpisode(const EpisodeContext& context,
                  const EpisodeRef& ref,
                  DepthWorker* worker,
                  const fs::path& directory,
                  RunEstimate& sum) {
  const fs::path raw = RawFolder(context.options, ref);
  sum.read_bytes += SizeOf(raw / "trajectory.h5");
  double depth_s = 0;
  MakeDepth make_depth;
  if (worker != nullptr) {
    make_depth = [&](const EpisodeData& episode,
                     const fs::path& into) -> Result<std::vector<CameraDepth>> {
      DF_ASSIGN_OR_RETURN(std::vector<CameraDepth> cameras,
                          worker->Write(context, episode, context.options.full.cameras, into));
      for (const CameraDepth& depth : cameras) {
        if (!depth.report || depth.report->frames == 0) continue;
        const auto camera =
            std::ranges::find(episode.cameras, depth.serial, &EpisodeCamera::serial);
        const SourceInfo& info = camera->recording.chosen->summary.info;
        const auto recorded =
            info.frame_count.value_or(std::ssize(episode.trajectory.gripper_position));
        const double frames = static_cast<double>(recorded) / worker->options().every;
        const double share = frames / static_cast<double>(depth.report->frames);
        sum.read_bytes += SizeOf(camera->recording.chosen->path);
        sum.depth_bytes += share * SizeOf(into / DepthFile(depth.serial));
        sum.frames += frames;
        depth_s +=
            share * (depth.report->decode_s + depth.report->match_s + depth.report->encode_s);
      }
      return cameras;
    };
  }
  const ProcessedEpisode processed =
      ProcessEpisode(context, ref, Products::kAll, directory, make_depth);
  DF_RETURN_IF_ERROR(processed.status);
  DF_ASSIGN_OR_RETURN(const std::vector<FileStamp> files, ListFiles(directory));
  for (const FileStamp& file : files) {
    const fs::path name = fs::path(file.name).filename();
    if (name != kDepthVideoFile) sum.metadata_bytes += static_cast<double>(file.size_bytes);
  }
  for (const StageTime& stage : processed.stages) {
    const bool is_depth = stage.name == "depth" || stage.name == "decode" ||
                          stage.name == "match" || stage.name == "encode" || stage.name == "wait";
    if (!is_depth) sum.seconds += stage.duration_ms / 1000;
  }
  sum.seconds += depth_s;
  ++sum.sampled;
  return {};
}

}  // namespace

Result<RunEstimate> EstimateRun(const EpisodeContext& context,
                                const std::vector<ListedEpisode>& episodes,
                                std::size_t to_do) {
  DF_ASSIGN_OR_RETURN(const RunResources resources, FindRunResources(context.options));
  DF_ASSIGN_OR_RETURN(const TemporaryFolder folder, TemporaryFolder::Make());
  RunEstimate estimate{.workers = resources.workers};
  std::optional<DepthWorker> worker;
  if (context.options.pipeline == Pipeline::kFull) {
    worker.emplace(resources.depth, 1, nullptr);
    worker->LimitFrames(kSampleFrames);
  }
  const std::size_t count = std::min(kSample, episodes.size());
  for (std::size_t i = 0; i < count && StopSignal() == 0; ++i) {
    const fs::path directory = folder.path() / "out";
    const fs::path raw = folder.path() / "raw";
    DF_RETURN_IF_ERROR(MakeDirectories(directory));
    RunEstimate with_this = estimate;
    // One that fails will be quarantined; it says nothing of the others.
    const Result<EpisodeRef> ref =
        Localize(context.options, episodes[i * episodes.size() / count], raw);
    if (ref && AddEpisode(context, *ref, worker ? &*worker : nullptr, directory, with_this)) {
      estimate = with_this;
    }
    DF_RETURN_IF_ERROR(RemoveTree(directory));
    DF_RETURN_IF_ERROR(RemoveTree(raw));
  }
  if (estimate.sampled == 0) return estimate;
  const double share = static_cast<double>(to_do) / static_cast<double>(estimate.sampled);
  for (double* value :
       {&estimate.read_bytes, &estimate.metadata_bytes, &estimate.depth_bytes, &estimate.frames}) {
    *value *= share;
  }
  // A worker's threads and cameras share its work.
  const int threads = worker ? resources.depth.Jobs() * context.options.full.camera_jobs : 1;
  estimate.seconds *= share / (resources.workers * threads);
  return estimate;
}

}  // namespace droidflow

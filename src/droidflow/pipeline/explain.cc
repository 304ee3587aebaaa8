#include "droidflow/pipeline/explain.h"

#include "droidflow/core/files.h"
#include "droidflow/formats/npz_reader.h"
#include "droidflow/pipeline/episode_depth.h"
#include "droidflow/pipeline/episode_list.h"
#include "droidflow/pipeline/single_episode.h"

#include <cstdlib>
#include <map>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

Result<std::vector<RankedCalibration>> RankCalibrations(const Annotations& annotations,
                                                        const std::string& uuid) {
  std::vector<RankedCalibration> ranked;
  DF_ASSIGN_OR_RETURN(const auto calibration, annotations.Calibration(uuid));
  if (!calibration) return ranked;
  std::map<MetricType, MetricRanks> ranks;
  for (std::size_t i = 0; i < kNumRankedMetrics; ++i) {
    std::vector<double> values;
    for (const CalibrationSummary& summary : annotations.Summaries()) {
      if (summary.metrics[i].cameras > 0) values.push_back(summary.metrics[i].best);
    }
    const auto type = static_cast<MetricType>(i);
    ranks.emplace(type, MetricRanks(type, std::move(values)));
  }
  for (const auto* cameras : {&calibration->cameras, &calibration->passed_over}) {
    for (const CameraCalibration& camera : *cameras) {
      RankedCalibration& entry = ranked.emplace_back();
      entry.calibration = camera;
      const auto of_type = ranks.find(camera.metric_type);
      const bool is_ranked = of_type != ranks.end() && of_type->second.size() > 0;
      if (!camera.metric_value || !is_ranked) continue;
      entry.rank = of_type->second.RankOf(*camera.metric_value);
      entry.ranked_episodes = of_type->second.size();
    }
  }
  return ranked;
}

Result<std::vector<ExplainedFile>> DescribeFiles(const fs::path& directory) {
  std::vector<ExplainedFile> files;
  DF_ASSIGN_OR_RETURN(const std::vector<FileStamp> stamps, ListFiles(directory));
  for (const FileStamp& stamp : stamps) {
    ExplainedFile& file = files.emplace_back();
    file.file = stamp.name;
    file.size_bytes = stamp.size_bytes;
    if (!stamp.name.ends_with(".npz")) continue;
    DF_ASSIGN_OR_RETURN(const NpzReader npz, NpzReader::Open(directory / stamp.name));
    for (const std::string& name : npz.names()) {
      DF_ASSIGN_OR_RETURN(const NpyArray array, npz.Read(name));
      file.arrays.push_back({name, array.descr, {array.shape.begin(), array.shape.end()}});
    }
  }
  return files;
}

Status Explain(const EpisodeContext& context,
               std::string_view uuid_or_folder,
               const fs::path& scratch,
               Explanation& explanation) {
  const Result<EpisodeRef> ref = FindSingleEpisode(context, uuid_or_folder, &explanation.folders);
  if (!ref) {
    if (ref.error().status.empty()) return tl::unexpected(ref.error());
    explanation.outcome = tl::unexpected(ref.error());
    explanation.failed_stage = "find";
    return {};
  }
  explanation.ref = *ref;
  DF_ASSIGN_OR_RETURN(explanation.calibrations, RankCalibrations(context.annotations, ref->uuid));
  if (Result<EpisodeData> episode = CollectEpisode(context, *ref)) {
    explanation.episode = *std::move(episode);
  }
  for (const EpisodeCamera& camera : explanation.episode.cameras) {
    explanation.depth.push_back(
        {camera.serial, ReasonAgainstDepth(camera, context.options.depth.backend.kind)});
  }
  ProcessedEpisode processed = ProcessEpisode(context, *ref, Products::kAll, scratch);
  explanation.outcome = std::move(processed.status);
  explanation.failed_stage = std::move(processed.failed_stage);
  explanation.warnings = std::move(processed.warnings);
  if (explanation.outcome) {
    DF_ASSIGN_OR_RETURN(explanation.files, DescribeFiles(scratch));
  }
  return {};
}

}  // namespace

Result<Explanation> ExplainEpisode(const MetadataOptions& options,
                                   std::string_view uuid_or_folder) {
  std::error_code error;
  std::string scratch = (fs::temp_directory_path(error) / "droidflow-explain-XXXXXX").string();
  if (error || mkdtemp(scratch.data()) == nullptr) {
    return FailErrno(error ? error.value() : errno, "cannot make a folder " + scratch);
  }
  Explanation explanation;
  const auto explain = [&]() -> Status {
    MetadataOptions own = options;
    own.out = scratch;
    DF_ASSIGN_OR_RETURN(const EpisodeContext context, MakeEpisodeContext(own));
    return Explain(context, uuid_or_folder, scratch, explanation);
  };
  const Status explained = explain();
  const Status removed = RemoveTree(scratch);
  DF_RETURN_IF_ERROR(explained);
  DF_RETURN_IF_ERROR(removed);
  return explanation;
}

}  // namespace droidflow

#include "droidflow/pipeline/explain.h"

#include "droidflow/core/files.h"
#include "droidflow/episode/status.h"
#include "droidflow/formats/npz_reader.h"
#include "droidflow/io/source_episodes.h"
#include "droidflow/pipeline/episode_depth.h"
#include "droidflow/pipeline/episode_fetcher.h"
#include "droidflow/pipeline/episode_list.h"

#include <cstdlib>
#include <map>
#include <memory>

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

/// Whether a run would go on with other episodes.
bool IsOfEpisode(const Error& error) {
  return error.kind == ErrorKind::kInvalidData || error.kind == ErrorKind::kNotFound;
}

/// Names what was fetched by where it came from.
void NameByRoot(const fs::path& fetched, Explanation& explanation) {
  const auto rename = [&, prefix = fetched.string()](std::string& text) {
    for (std::size_t at = 0; (at = text.find(prefix, at)) != std::string::npos;) {
      text.replace(at, prefix.size(), explanation.root);
      at += explanation.root.size();
    }
  };
  for (EpisodeCamera& camera : explanation.episode.cameras) {
    for (Considered& file : camera.recording.files) rename(file.finding);
  }
  for (Warning& warning : explanation.warnings) rename(warning.text);
  if (explanation.outcome) return;
  Error error = explanation.outcome.error();
  rename(error.message);
  explanation.outcome = tl::unexpected(std::move(error));
}

/// The other folders of `root` with an episode's uuid, near where it may lie, in any order. Of a
/// bucket those of its own date, which are listed already.
Result<std::vector<EpisodeRef>> FindTwins(const RawRoot& root, const EpisodeRef& ref) {
  std::vector<EpisodeRef> twins;
  const Result<EpisodeId> id = ParseEpisodeId(ref.uuid);
  if (!id) return twins;
  std::unique_ptr<Source> folder;
  if (!root.bucket) {
    DF_ASSIGN_OR_RETURN(folder, OpenRawSource(root.name));
  }
  Source& source = root.bucket ? *root.listed : *folder;
  std::vector<std::string> dates = LikelyDateFolders(*id);
  if (root.bucket) dates = {fs::path(ref.relative_path).parent_path().generic_string()};
  for (const std::string& date : dates) {
    DF_ASSIGN_OR_RETURN(const auto episodes, ListEpisodesOfDate(source, date));
    for (const SourceEpisode& episode : episodes) {
      if (episode.ref.uuid == ref.uuid && episode.ref.relative_path != ref.relative_path) {
        twins.push_back(episode.ref);
      }
    }
  }
  return twins;
}

/// Whether a run meets `one` first: folders by path, those of buckets successes first.
bool ComesFirst(const RawRoot& root, const EpisodeRef& one, const EpisodeRef& other) {
  if (root.bucket && one.outcome != other.outcome) return one.outcome == Outcome::kSuccess;
  return one.relative_path < other.relative_path;
}

/// @param products  where they go.
Status Explain(const EpisodeContext& context,
               const std::string& uuid_or_folder,
               const fs::path& products,
               Explanation& explanation) {
  const MetadataOptions& options = context.options;
  const auto give_up = [&](const Error& error, const char* stage) -> Status {
    if (!IsOfEpisode(error)) return tl::unexpected(error);
    explanation.outcome = tl::unexpected(error);
    explanation.failed_stage = stage;
    return {};
  };
  DF_ASSIGN_OR_RETURN(const std::vector<RawRoot> roots,
                      OpenRoots(options, context.annotations, ListingsFolder(options)));
  const Result<RootEpisode> found =
      FindInRoots(roots, uuid_or_folder, context.annotations, &explanation.looked_for);
  if (!found) return give_up(found.error(), "find");
  const RawRoot& root = *found->root;
  EpisodeRef ref = found->episode.ref;
  ref.root = root.name;
  explanation.ref = ref;
  explanation.root = root.name;
  DF_ASSIGN_OR_RETURN(explanation.calibrations, RankCalibrations(context.annotations, ref.uuid));
  DF_ASSIGN_OR_RETURN(const std::vector<EpisodeRef> twins, FindTwins(root, ref));
  for (const EpisodeRef& twin : twins) {
    if (explanation.looked_for.empty()) explanation.looked_for.push_back({root.name, {}});
    const bool is_first = ComesFirst(root, twin, ref);
    explanation.looked_for.back().folders.push_back(
        {twin.relative_path,
         fmt::format("has this uuid too, and comes {}", is_first ? "first" : "later")});
    if (is_first && explanation.outcome) {
      explanation.failed_stage = "find";
      explanation.outcome = FailAs(status::kDuplicate,
                                   ErrorKind::kInvalidData,
                                   "another folder has uuid {} too and comes first: {}",
                                   ref.uuid,
                                   twin.relative_path);
    }
  }
  if (!explanation.outcome) return {};
  if (root.bucket) {
    ref.root = FetchedFolder(options);
    EpisodeFetcher fetcher(*root.listed, options, FetchedRecordings::kHeads);
    const Result<std::uint64_t> fetched = fetcher.Fetch(ref.relative_path, ref.root);
    explanation.fetched_bytes = fetcher.bytes_read();
    if (!fetched) return give_up(fetched.error(), "fetch");
  }
  if (Result<EpisodeData> episode = CollectEpisode(context, ref)) {
    explanation.episode = *std::move(episode);
  }
  for (const EpisodeCamera& camera : explanation.episode.cameras) {
    explanation.depth.push_back(
        {camera.serial, ReasonAgainstDepth(camera, options.depth.backend.kind)});
  }
  ProcessedEpisode processed = ProcessEpisode(context, ref, Products::kAll, products);
  explanation.outcome = std::move(processed.status);
  explanation.failed_stage = std::move(processed.failed_stage);
  explanation.warnings = std::move(processed.warnings);
  if (explanation.outcome) {
    DF_ASSIGN_OR_RETURN(explanation.files, DescribeFiles(products));
  }
  if (root.bucket) NameByRoot(ref.root, explanation);
  return {};
}

}  // namespace

Result<Explanation> ExplainEpisode(const MetadataOptions& options,
                                   const std::string& uuid_or_folder) {
  std::error_code error;
  std::string scratch = (fs::temp_directory_path(error) / "droidflow-explain-XXXXXX").string();
  if (error || mkdtemp(scratch.data()) == nullptr) {
    return FailErrno(error ? error.value() : errno, "cannot make a folder " + scratch);
  }
  Explanation explanation;
  const auto explain = [&]() -> Status {
    MetadataOptions own = options;
    own.out = fs::path(scratch) / "out";
    own.run_dir = fs::path(scratch) / "run";
    own.scratch_dir.clear();
    if (HasBucket(own.input)) own.track.measure_rows = false;  // it takes recordings whole
    DF_RETURN_IF_ERROR(MakeDirectories(own.out));
    DF_ASSIGN_OR_RETURN(const EpisodeContext context, MakeEpisodeContext(own));
    return Explain(context, uuid_or_folder, own.out, explanation);
  };
  const Status explained = explain();
  const Status removed = RemoveTree(scratch);
  DF_RETURN_IF_ERROR(explained);
  DF_RETURN_IF_ERROR(removed);
  return explanation;
}

}  // namespace droidflow

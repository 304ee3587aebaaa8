#include "droidflow/pipeline/availability.h"

#include "droidflow/core/parallel.h"
#include "droidflow/episode/status.h"
#include "droidflow/io/metadata_reader.h"
#include "droidflow/io/recordings.h"
#include "droidflow/io/source_episodes.h"
#include "droidflow/pipeline/episode_fetcher.h"
#include "droidflow/pipeline/episode_list.h"
#include "droidflow/pipeline/raw_roots.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <unordered_map>
#include <utility>

namespace droidflow {
namespace {

/// As far as the names of its files tell.
EpisodeAvailability DescribeFiles(const SourceEpisode& episode,
                                  const std::string& root,
                                  const MetadataOptions& options) {
  EpisodeAvailability found{.ref = episode.ref, .roots = {root}};
  for (const SourceEntry& file : episode.files) {
    found.bytes += file.size_bytes;
    found.has_metadata |= UuidFromMetadataName(file.name).has_value();
    if (file.name == "trajectory.h5") found.trajectory_bytes = file.size_bytes;
  }
  for (const auto& [serial, camera] : RecordingsAmong(episode.files)) {
    const auto has = [&, &recordings = camera](RecordingKind kind) {
      const RecordingFile* const file = recordings.Find(kind);
      return file != nullptr && file->size_bytes > 0;
    };
    const bool has_stereo = has(RecordingKind::kStereoMp4);
    const bool has_mono = has(RecordingKind::kMonoMp4);
    const bool has_svo = has(RecordingKind::kSvo) || has(RecordingKind::kSvo2);
    found.stereo_mp4 += has_stereo ? 1 : 0;
    found.mono_mp4 += has_mono ? 1 : 0;
    found.svo += has_svo ? 1 : 0;
    found.recorded_cameras += has_stereo || has_mono || has_svo ? 1 : 0;
  }
  MetadataOptions run = options;
  run.pipeline = Pipeline::kMetadata;
  found.metadata_bytes = BytesToFetch(episode.files, run);
  run.pipeline = Pipeline::kFull;
  found.full_bytes = BytesToFetch(episode.files, run);
  return found;
}

struct OpenRoot {
  std::string name;
  std::unique_ptr<Source> source;
  std::unique_ptr<SourceEpisodeFinder> finder;
};

Status FindEntries(const MetadataOptions& options,
                   const std::vector<OpenRoot>& roots,
                   Availability& availability) {
  DF_ASSIGN_OR_RETURN(const std::vector<std::string> entries,
                      ReadEntries(options.selection.episodes, options.input.droid_root));
  for (const std::string& entry : entries) {
    std::optional<EpisodeAvailability> found;
    std::optional<Error> missing;
    for (const OpenRoot& root : roots) {
      Result<SourceEpisode> episode = root.finder->Find(entry);
      if (!episode && episode.error().status != status::kNotFound) {
        return tl::unexpected(std::move(episode).error());
      }
      if (!episode) {
        missing = std::move(episode).error();
      } else if (found) {
        found->roots.push_back(root.name);
      } else {
        found = DescribeFiles(*episode, root.name, options);
      }
    }
    if (!found) {
      availability.not_found.push_back(*std::move(missing));
      availability.not_found_uuids.push_back(entry);
    } else if (IsWanted(found->ref, options.selection)) {
      availability.episodes.push_back(*std::move(found));
    }
  }
  return {};
}

Status FindAll(const MetadataOptions& options,
               const std::vector<OpenRoot>& roots,
               Availability& availability) {
  std::map<std::string, EpisodeAvailability> by_path;
  for (const OpenRoot& root : roots) {
    const SelectionOptions& selection = options.selection;
    DF_ASSIGN_OR_RETURN(
        const std::vector<std::string> dates,
        ListDateFolders(
            *root.source, selection.labs, selection.outcome, options.fetch.ListingJobs()));
    std::vector<Result<std::vector<EpisodeAvailability>>> of_dates(dates.size());
    std::atomic<bool> has_failed = false;
    ParallelFor(dates.size(), options.fetch.ListingJobs(), [&](std::size_t i) {
      if (has_failed) return;
      of_dates[i] = ListEpisodesOfDate(*root.source, dates[i]).map([&](const auto& episodes) {
        std::vector<EpisodeAvailability> described;
        described.reserve(episodes.size());
        for (const SourceEpisode& episode : episodes) {
          described.push_back(DescribeFiles(episode, root.name, options));
        }
        return described;
      });
      if (!of_dates[i]) has_failed = true;
    });
    for (auto& of_date : of_dates) {
      if (!of_date) return tl::unexpected(std::move(of_date).error());
      for (EpisodeAvailability& episode : *of_date) {
        const auto [place, is_new] =
            by_path.try_emplace(episode.ref.relative_path, std::move(episode));
        if (!is_new) place->second.roots.push_back(root.name);
      }
    }
  }
  for (auto& [path, episode] : by_path) availability.episodes.push_back(std::move(episode));
  return {};
}

}  // namespace

Result<Availability> FindAvailability(const MetadataOptions& options,
                                      const Annotations& annotations) {
  std::vector<OpenRoot> roots;
  for (const std::string& name : options.input.Roots()) {
    OpenRoot& root = roots.emplace_back(OpenRoot{.name = name, .source = {}, .finder = {}});
    DF_ASSIGN_OR_RETURN(root.source, OpenRawSource(name, options.fetch));
    root.finder = std::make_unique<SourceEpisodeFinder>(*root.source, &annotations);
  }
  Availability availability;
  DF_RETURN_IF_ERROR(options.selection.episodes.empty()
                         ? FindAll(options, roots, availability)
                         : FindEntries(options, roots, availability));
  if (availability.episodes.empty() && availability.not_found.empty()) {
    return Fail(ErrorKind::kNotFound,
                "no episode is of the labs and outcome asked for: {}",
                options.input.droid_root);
  }
  std::unordered_map<std::string_view, int> calibrated;
  for (const CalibrationSummary& summary : annotations.Summaries()) {
    calibrated[summary.uuid] = summary.cameras;
  }
  for (EpisodeAvailability& episode : availability.episodes) {
    const auto summary = calibrated.find(episode.ref.uuid);
    if (summary != calibrated.end()) episode.calibrated_cameras = summary->second;
    DF_ASSIGN_OR_RETURN(const auto intrinsics, annotations.IntrinsicsOf(episode.ref.uuid));
    episode.cameras_with_intrinsics = static_cast<int>(intrinsics.size());
  }
  return availability;
}

}  // namespace droidflow

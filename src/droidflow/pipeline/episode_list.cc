#include "droidflow/pipeline/episode_list.h"

#include "droidflow/core/files.h"
#include "droidflow/core/parallel.h"
#include "droidflow/core/text.h"
#include "droidflow/episode/status.h"
#include "droidflow/io/episode_finder.h"
#include "droidflow/io/listing_cache.h"
#include "droidflow/io/source_episodes.h"
#include "droidflow/pipeline/episode_fetcher.h"
#include "droidflow/pipeline/raw_roots.h"
#include "droidflow/transfer/bucket_source.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

using SummariesByUuid = std::unordered_map<std::string_view, const CalibrationSummary*>;

/// False for an episode that has a metric of a type with a limit and does not keep it.
bool KeepsLimits(const CalibrationSummary* summary, const SelectionOptions& selection) {
  if (summary == nullptr) return true;
  const auto keeps = [&](MetricType type, const std::optional<double>& limit) {
    const auto& metric = summary->metrics[static_cast<std::size_t>(type)];
    return !limit || metric.cameras == 0 || !IsBetter(type, *limit, metric.best);
  };
  return keeps(MetricType::kIou, selection.min_iou) &&
         keeps(MetricType::kNumMatches, selection.min_matches) &&
         keeps(MetricType::kReprojectionError, selection.max_reprojection_error);
}

/// Gives each episode its best rank: the share of the episodes with a metric of that type that are
/// not better.
void Rank(std::vector<ListedEpisode>& episodes, const SummariesByUuid& summaries) {
  const auto summary_of = [&](const ListedEpisode& episode) -> const CalibrationSummary* {
    const auto found = summaries.find(episode.ref.uuid);
    return found == summaries.end() ? nullptr : found->second;
  };
  for (std::size_t i = 0; i < kNumRankedMetrics; ++i) {
    const auto type = static_cast<MetricType>(i);
    std::vector<double> values;
    for (const ListedEpisode& episode : episodes) {
      const CalibrationSummary* summary = summary_of(episode);
      if (summary != nullptr && summary->metrics[i].cameras > 0)
        values.push_back(summary->metrics[i].best);
    }
    const MetricRanks ranks(type, std::move(values));
    for (ListedEpisode& episode : episodes) {
      const CalibrationSummary* summary = summary_of(episode);
      if (summary == nullptr || summary->metrics[i].cameras == 0) continue;
      const double value = summary->metrics[i].best;
      const double rank = ranks.RankOf(value);
      if (episode.quality && *episode.quality >= rank) continue;
      episode.quality = rank;
      episode.metric = type;
      episode.metric_value = value;
    }
  }
  for (ListedEpisode& episode : episodes) {
    if (const CalibrationSummary* summary = summary_of(episode)) {
      episode.calibrated_cameras = summary->cameras;
    }
  }
}

ListedEpisode ListedIn(const RawRoot& root,
                       const SourceEpisode& episode,
                       const MetadataOptions& options) {
  ListedEpisode listed;
  listed.ref = episode.ref;
  if (!root.bucket) return listed;
  listed.bucket = root.name;
  listed.fetch_bytes = BytesToFetch(episode.files, options);
  return listed;
}

/// Fills in what is asked for: `found`, and what of it is not there.
Status FindAskedFor(const MetadataOptions& options,
                    const Annotations& annotations,
                    const std::vector<RawRoot>& roots,
                    std::vector<ListedEpisode>& found,
                    EpisodeList& list) {
  DF_ASSIGN_OR_RETURN(const std::vector<std::string> entries,
                      ReadEntries(options.selection.episodes, options.input.droid_root));
  // Where the first root is a folder, few are likely to be missing there.
  if (roots[0].finder) roots[0].finder->ListAhead(entries, options.fetch.ListingJobs());
  for (const std::string& entry : entries) {
    const Result<RootEpisode> episode = FindInRoots(roots, entry, annotations);
    if (episode) {
      found.push_back(ListedIn(*episode->root, episode->episode, options));
    } else if (episode.error().status == status::kNotFound) {
      list.not_found.push_back(episode.error());
      list.not_found_uuids.push_back(entry);
    } else {
      return tl::unexpected(episode.error());
    }
  }
  return {};
}

/// Keeps every `count`-th, from `index` on.
template <typename T>
void KeepPart(const RunPart& part, std::vector<T>& all) {
  const auto count = static_cast<std::size_t>(part.count);
  if (count == 1) return;
  std::size_t kept = 0;
  for (auto i = static_cast<std::size_t>(part.index); i < all.size(); i += count) {
    if (i != kept) all[kept] = std::move(all[i]);
    ++kept;
  }
  all.erase(all.begin() + static_cast<std::ptrdiff_t>(kept), all.end());
}

/// Every episode of a bucket that is wanted, by path within labs, outcomes and dates.
Result<std::vector<ListedEpisode>> ScanBucket(const RawRoot& root, const MetadataOptions& options) {
  const SelectionOptions& selection = options.selection;
  DF_ASSIGN_OR_RETURN(
      const std::vector<std::string> dates,
      ListDateFolders(
          *root.listed, selection.labs, selection.outcome, options.fetch.ListingJobs()));
  std::vector<Result<std::vector<ListedEpisode>>> of_dates(dates.size());
  std::atomic<bool> has_failed = false;
  ParallelFor(dates.size(), options.fetch.ListingJobs(), [&](std::size_t i) {
    if (has_failed) return;
    of_dates[i] = ListEpisodesOfDate(*root.listed, dates[i]).map([&](const auto& episodes) {
      std::vector<ListedEpisode> listed;
      listed.reserve(episodes.size());
      for (const SourceEpisode& episode : episodes) {
        listed.push_back(ListedIn(root, episode, options));
      }
      return listed;
    });
    if (!of_dates[i]) has_failed = true;
  });
  std::vector<ListedEpisode> all;
  for (auto& of_date : of_dates) {
    if (!of_date) return tl::unexpected(std::move(of_date).error());
    std::ranges::move(*of_date, std::back_inserter(all));
  }
  return all;
}

/// Every episode of the roots; a folder that an earlier root has counts there.
Result<std::vector<ListedEpisode>> ScanRoots(const MetadataOptions& options,
                                             const std::vector<RawRoot>& roots) {
  std::vector<ListedEpisode> all;
  std::unordered_set<std::string> paths;
  for (const RawRoot& root : roots) {
    std::vector<ListedEpisode> found;
    if (root.bucket) {
      DF_ASSIGN_OR_RETURN(found, ScanBucket(root, options));
    } else {
      DF_ASSIGN_OR_RETURN(std::vector<EpisodeRef> refs, ScanRawTree(root.name));
      for (EpisodeRef& ref : refs) found.emplace_back().ref = std::move(ref);
    }
    if (roots.size() == 1) return found;
    for (ListedEpisode& episode : found) {
      if (paths.insert(episode.ref.relative_path).second) all.push_back(std::move(episode));
    }
  }
  return all;
}

/// Names folders without metadata as the annotations know them.
Status NameFolders(const Annotations& annotations, std::vector<ListedEpisode>& found) {
  std::set<std::string> nameless;
  for (const ListedEpisode& episode : found) {
    if (episode.ref.uuid.empty()) nameless.insert(episode.ref.relative_path);
  }
  DF_ASSIGN_OR_RETURN(const auto uuids, annotations.UuidsOfPaths(nameless));
  for (ListedEpisode& episode : found) {
    EpisodeRef& ref = episode.ref;
    const auto known = uuids.find(ref.relative_path);
    if (ref.uuid.empty() && known != uuids.end()) ref.uuid = known->second;
  }
  return {};
}

}  // namespace

MetricRanks::MetricRanks(MetricType type, std::vector<double> values)
    : type_(type), worst_first_(std::move(values)) {
  std::ranges::sort(worst_first_, [&](double a, double b) { return IsBetter(type_, b, a); });
}

double MetricRanks::RankOf(double value) const {
  const auto not_better =
      std::ranges::upper_bound(
          worst_first_, value, [&](double a, double b) { return IsBetter(type_, b, a); }) -
      worst_first_.begin();
  return static_cast<double>(not_better) / static_cast<double>(worst_first_.size());
}

Result<std::vector<std::string>> ReadEntries(const std::string& episodes, const std::string& root) {
  std::string text = episodes;
  std::error_code ignored;
  const bool is_file = fs::is_regular_file(episodes, ignored);
  // Text without the '+' of a uuid was meant as a file, or as a folder.
  const std::string first = episodes.substr(0, episodes.find(','));
  if (!is_file && episodes.find('+') == std::string::npos && !EpisodeRefFromPath(first) &&
      !fs::is_directory(fs::path(root) / first, ignored)) {
    return Fail(ErrorKind::kNotFound,
                "--episodes: no such file, no folder in {}, and no uuid: {}",
                root,
                episodes);
  }
  if (is_file) {
    DF_ASSIGN_OR_RETURN(text, ReadFileText(episodes));
  }
  std::vector<std::string> entries;
  std::unordered_set<std::string> seen;
  std::size_t line = 1;
  for (std::size_t begin = 0; begin <= text.size(); ++line) {
    const std::size_t end = std::min(text.find_first_of(is_file ? "\n" : ",", begin), text.size());
    const std::string entry(StripBlanks(std::string_view(text).substr(begin, end - begin)));
    begin = end + 1;
    if (entry.empty() || entry[0] == '#') continue;
    if (const auto id = ParseEpisodeId(entry); !id && !IsFolderName(entry)) {
      return Fail(ErrorKind::kUsage,
                  "--episodes: {}, {} {}{}",
                  id.error().message,
                  is_file ? "line" : "entry",
                  line,
                  is_file ? fmt::format(": {}", episodes) : "");
    }
    if (seen.insert(entry).second) entries.push_back(entry);
  }
  return entries;
}

bool IsWanted(const EpisodeRef& ref, const SelectionOptions& selection) {
  if (selection.outcome && ref.outcome != *selection.outcome) return false;
  return selection.labs.empty() ||
         std::ranges::find(selection.labs, ref.lab) != selection.labs.end();
}

void SortByQuality(std::vector<ListedEpisode>& episodes) {
  std::map<std::string, std::vector<ListedEpisode*>> by_lab;
  for (ListedEpisode& episode : episodes) by_lab[episode.ref.lab].push_back(&episode);
  const auto order = [](const ListedEpisode* episode) {
    return std::tuple(-episode->quality.value_or(-1),
                      -episode->calibrated_cameras,
                      std::string_view(episode->ref.relative_path));
  };
  for (auto& [lab, of_lab] : by_lab) std::ranges::sort(of_lab, {}, order);
  std::vector<ListedEpisode> ordered;
  ordered.reserve(episodes.size());
  for (std::size_t turn = 0; ordered.size() < episodes.size(); ++turn) {
    for (const auto& [lab, of_lab] : by_lab) {
      if (turn < of_lab.size()) ordered.push_back(std::move(*of_lab[turn]));
    }
  }
  episodes = std::move(ordered);
}

Result<EpisodeList> ListEpisodes(const MetadataOptions& options,
                                 const Annotations& annotations,
                                 const fs::path& listings) {
  const SelectionOptions& selection = options.selection;
  EpisodeList list;
  std::vector<ListedEpisode> found;
  DF_ASSIGN_OR_RETURN(const std::vector<RawRoot> roots, OpenRoots(options, annotations, listings));
  if (selection.episodes.empty()) {
    DF_ASSIGN_OR_RETURN(found, ScanRoots(options, roots));
    if (found.empty()) {
      return Fail(ErrorKind::kNotFound,
                  "want folders {{lab}}/{{success,failure}}/{{date}}/{{time}}, found none: {}",
                  options.input.droid_root);
    }
  } else {
    DF_RETURN_IF_ERROR(FindAskedFor(options, annotations, roots, found, list));
  }
  DF_RETURN_IF_ERROR(NameFolders(annotations, found));

  SummariesByUuid summaries;
  for (const CalibrationSummary& summary : annotations.Summaries())
    summaries[summary.uuid] = &summary;
  std::unordered_set<std::string_view> uuids;
  for (const ListedEpisode& episode : found) {
    const EpisodeRef& ref = episode.ref;
    if (!IsWanted(ref, selection)) continue;
    if (!ref.uuid.empty() && !uuids.insert(ref.uuid).second) {
      list.duplicates.push_back(ref);
      continue;
    }
    const auto summary = summaries.find(ref.uuid);
    if (!KeepsLimits(summary == summaries.end() ? nullptr : summary->second, selection)) continue;
    list.episodes.push_back(episode);
  }
  if (list.episodes.empty() && list.not_found.empty()) {
    return Fail(ErrorKind::kNotFound,
                "none of the {} episodes is of the labs, outcome and calibration asked for: {}",
                found.size(),
                options.input.droid_root);
  }
  Rank(list.episodes, summaries);
  SortByQuality(list.episodes);
  list.matching = list.episodes.size();
  if (selection.limit >= 0 && list.matching > static_cast<std::size_t>(selection.limit)) {
    list.episodes.resize(static_cast<std::size_t>(selection.limit));
  }
  KeepPart(selection.part, list.episodes);
  KeepPart(selection.part, list.duplicates);
  KeepPart(selection.part, list.not_found);
  KeepPart(selection.part, list.not_found_uuids);
  return list;
}

}  // namespace droidflow

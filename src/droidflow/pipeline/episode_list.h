#pragma once

/// Which episodes a run does, and in which order.

#include "droidflow/core/result.h"
#include "droidflow/episode/episode.h"
#include "droidflow/io/annotations.h"
#include "droidflow/pipeline/options.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// An episode, where it is and how good its calibration is.
struct ListedEpisode {
  EpisodeRef ref;
  std::string bucket = {};        ///< that has it, of the raw roots; empty: it is on a disk
  std::uint64_t fetch_bytes = 0;  ///< of what a run fetches of it
  /// Best rank of its calibration metrics, each among all episodes with one of that type: 0 worst …
  /// 1 best. Nothing without a metric.
  std::optional<double> quality;
  std::optional<MetricType> metric;  ///< the one that gave `quality`
  double metric_value = 0;
  int calibrated_cameras = 0;
};

/// What a selection asks for, and what of it is there.
struct EpisodeList {
  std::vector<ListedEpisode>
      episodes;              ///< best first within a lab, labs taking turns; of the part asked for
  std::size_t matching = 0;  ///< how many there were before the limit
  std::vector<EpisodeRef> duplicates;        ///< later folders with a uuid that was there already
  std::vector<Error> not_found;              ///< one for each uuid asked for that has no folder
  std::vector<std::string> not_found_uuids;  ///< beside `not_found`
};

/// Puts episodes in the order of a run; ties by calibrated cameras, then by path. Pure.
void SortByQuality(std::vector<ListedEpisode>& episodes);

/// The entries of --episodes: lines of a file, where '#' starts a comment, or a list with commas;
/// uuids, or folders below `root`. Each once.
/// @return kNotFound: neither file, folder nor uuid; kUsage for an entry that is neither uuid nor
/// folder.
[[nodiscard]] Result<std::vector<std::string>> ReadEntries(const std::string& episodes,
                                                           const std::string& root);

/// A folder of an episode is named by its path, a uuid has no '/'.
[[nodiscard]] inline bool IsFolderName(std::string_view entry) {
  return entry.find('/') != std::string_view::npos;
}

/// The values that metrics of one type have, to rank by.
class MetricRanks {
 public:
  MetricRanks(MetricType type, std::vector<double> values);

  /// The share of the values that are not better than this one: 1 best.
  [[nodiscard]] double RankOf(double value) const;
  [[nodiscard]] std::size_t size() const { return worst_first_.size(); }

 private:
  MetricType type_;
  std::vector<double> worst_first_;
};

/// Whether an episode is of the labs and the outcome asked for.
[[nodiscard]] bool IsWanted(const EpisodeRef& ref, const SelectionOptions& selection);

/// Finds, filters, ranks and orders the episodes of `options`: each in the first raw root that has
/// its folder. What is finished already plays no part: the parts of a run are the same at any time,
/// and together all of it. A bucket is listed once per lab, outcome and date, several at a time.
///
/// @param listings  where listings of buckets are kept and looked for; empty: nowhere.
/// @return kNotFound when no episode is there or none is of the kind asked for, or the file of
/// --episodes
///         is not there; kUsage for an entry that is neither uuid nor folder.
[[nodiscard]] Result<EpisodeList> ListEpisodes(const MetadataOptions& options,
                                               const Annotations& annotations,
                                               const std::filesystem::path& listings = {});

}  // namespace droidflow

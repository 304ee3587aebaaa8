#pragma once

/// Which episodes a run does, and in which order.

#include "droidflow/core/result.h"
#include "droidflow/episode/episode.h"
#include "droidflow/io/annotations.h"
#include "droidflow/pipeline/options.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// An episode on disk and how good its calibration is.
struct ListedEpisode {
  EpisodeRef ref;
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

/// Whether an episode is of the labs and the outcome asked for.
[[nodiscard]] bool IsWanted(const EpisodeRef& ref, const SelectionOptions& selection);

/// Finds, filters, ranks and orders the episodes of `options`. What is finished already plays no
/// part: the parts of a run are the same at any time, and together all of it.
///
/// @return kNotFound when no episode is there or none is of the kind asked for, or the file of
/// --episodes
///         is not there; kUsage for an entry that is neither uuid nor folder.
[[nodiscard]] Result<EpisodeList> ListEpisodes(const MetadataOptions& options,
                                               const Annotations& annotations);

}  // namespace droidflow

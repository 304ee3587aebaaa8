#pragma once

/// Raw episodes from a bucket, or another disk, into a local raw tree.

#include "droidflow/core/source.h"
#include "droidflow/io/source_episodes.h"
#include "droidflow/pipeline/options.h"
#include "droidflow/transfer/download.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace droidflow {

/// Where DROID is published.
inline constexpr const char kPublishedRaw[] = "gs://gresearch/robotics/droid_raw/1.0.1";

/// What is to be fetched.
struct FetchPlan {
  std::vector<std::string> episodes;  ///< their folders
  std::vector<Download> files;
  std::vector<Error> not_found;              ///< of the uuids and folders asked for
  std::vector<std::string> not_found_uuids;  ///< beside `not_found`
  std::uint64_t bytes = 0;                   ///< of all files
  std::uint64_t bytes_there = 0;             ///< of those that are in their place
};

/// Lists what is to be fetched into the raw tree `out`: what was asked for, or without that the
/// first by lab, successes first, and date, which lists no further than the limit.
///
/// @param annotations  may be null; their map of paths saves listings.
/// @return kNotFound where no episode is of the labs and outcome asked for. The plan needs
/// `source`.
[[nodiscard]] Result<FetchPlan> PlanFetch(Source& source,
                                          const SelectionOptions& selection,
                                          const WantedFiles& wanted,
                                          const std::filesystem::path& out,
                                          const Annotations* annotations);

/// Where DROID's annotations are published: a model of the Hugging Face Hub.
inline constexpr const char kPublishedAnnotations[] = "KarlP/droid";

/// Lists the annotation files of a source that droidflow reads, or every .json file of its top
/// folder. @return kNotFound where it has none.
[[nodiscard]] Result<FetchPlan> PlanAnnotations(Source& source,
                                                bool all,
                                                const std::filesystem::path& out);

/// A file that could not be fetched.
struct FetchFailure {
  std::string path;  ///< in the source
  Error error;
};

struct FetchReport {
  std::size_t files = 0;  ///< in their place
  std::vector<FetchFailure> failures;
};

/// Fetches a plan.
///
/// @param done  called after each file, by one thread at a time.
/// @return kCancelled, kNoSpace. Other failures stand in the report.
[[nodiscard]] Result<FetchReport> RunFetch(
    const FetchPlan& plan,
    const DownloadOptions& options,
    const std::function<void(const Download&, const Status&)>& done);

}  // namespace droidflow

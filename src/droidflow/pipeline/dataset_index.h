#pragma once

/// One line for each finished episode of a folder, to choose episodes by: meta/episodes.jsonl.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/splits.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// "meta/episodes.jsonl", "meta/dataset.json"
[[nodiscard]] std::filesystem::path EpisodesFile();
[[nodiscard]] std::filesystem::path DatasetFile();

struct IndexedDataset {
  std::int64_t episodes = 0;
  std::map<std::string, std::int64_t> splits;  ///< episodes by split; "": their scene is not known
  std::vector<std::string> left_out;           ///< why, of each whose quality.json cannot be read
};

/// "80/10/10", or, where nothing is asked for, the shares by which the folder is indexed already,
/// so that no scene changes its split unasked; kDefaultSplits before. @return kUsage.
[[nodiscard]] Result<SplitShares> SharesFor(const std::filesystem::path& directory,
                                            std::string_view asked);

/// Writes both files from the quality.json of every episode below a folder, each in one step. The
/// same episodes give the same bytes.
///
/// @return kNotFound where there is no episode; kCancelled after a signal.
[[nodiscard]] Result<IndexedDataset> WriteDatasetIndex(const std::filesystem::path& directory,
                                                       const SplitShares& shares);

/// The folders of the episodes of a split, by meta/episodes.jsonl. @return kNotFound without it;
/// kInvalidData.
[[nodiscard]] Result<std::set<std::string>> FoldersOfSplit(const std::filesystem::path& directory,
                                                           std::string_view split);

/// Whether WriteDatasetIndex with these shares has run after a moment.
[[nodiscard]] bool IsIndexedSince(const std::filesystem::path& directory,
                                  const SplitShares& shares,
                                  std::int64_t unix_ms);

}  // namespace droidflow

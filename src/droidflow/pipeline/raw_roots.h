#pragma once

/// Where the raw files of an episode are: in one of several folders or buckets.

#include "droidflow/core/source.h"
#include "droidflow/episode/considered.h"
#include "droidflow/episode/episode.h"
#include "droidflow/io/annotations.h"
#include "droidflow/io/source_episodes.h"
#include "droidflow/pipeline/options.h"

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace droidflow {

/// "gs://BUCKET/FOLDER", or a folder of this machine. @return kNotFound, kUsage.
[[nodiscard]] Result<std::unique_ptr<Source>> OpenRawSource(const std::string& root,
                                                            const FetchOptions& options = {});

/// Whether any raw root is a bucket.
[[nodiscard]] bool HasBucket(const InputOptions& input);

/// Refuses raw roots that are not there, and none. Buckets are not asked. @return kUsage,
/// kNotFound.
[[nodiscard]] Status CheckRoots(const InputOptions& input);

/// The only raw root of commands that read no buckets. @return kUsage.
[[nodiscard]] Result<std::filesystem::path> LocalRoot(const InputOptions& input);

/// The raw roots of commands that look at recordings. @return kUsage: a bucket; kNotFound.
[[nodiscard]] Result<std::vector<std::filesystem::path>> RecordingFolders(
    const InputOptions& input);

/// A raw root, opened.
struct RawRoot {
  std::string name;
  std::unique_ptr<Source> bucket = {};  ///< null: a folder
  std::unique_ptr<Source> listed = {};  ///< the bucket, with the listings that are kept
  std::unique_ptr<SourceEpisodeFinder> finder = {};
};

/// @param annotations  must outlive them.
/// @param listings     where listings of buckets are kept and looked for; empty: nowhere.
[[nodiscard]] Result<std::vector<RawRoot>> OpenRoots(const MetadataOptions& options,
                                                     const Annotations& annotations,
                                                     const std::filesystem::path& listings);

/// An episode, and where.
struct RootEpisode {
  const RawRoot* root = nullptr;
  SourceEpisode episode = {};  ///< without its files where the root is a folder
};

/// What was looked for in one root.
struct RootConsiderations {
  std::string root;
  Considerations folders;
};

/// Finds an episode by uuid or folder in the first root that has it.
///
/// @param considered  is given all that was looked for, root by root; may be null.
/// @return status not_found, of the last root; kUsage for a text that is neither.
[[nodiscard]] Result<RootEpisode> FindInRoots(
    std::span<const RawRoot> roots,
    const std::string& entry,
    const Annotations& annotations,
    std::vector<RootConsiderations>* considered = nullptr);

/// A run's own folders: listings of buckets, for good; what was fetched, until it is used.
[[nodiscard]] std::filesystem::path ListingsFolder(const MetadataOptions& options);
[[nodiscard]] std::filesystem::path FetchedFolder(const MetadataOptions& options);

/// The raw root that a run reads an episode from: where it was fetched to, or the first folder that
/// has it.
[[nodiscard]] std::string FindRoot(const MetadataOptions& options,
                                   const std::string& relative_path);

/// An episode's folder.
[[nodiscard]] std::filesystem::path RawFolder(const MetadataOptions& options,
                                              const EpisodeRef& ref);

}  // namespace droidflow

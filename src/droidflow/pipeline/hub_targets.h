#pragma once

/// The places that a user wants finished episodes uploaded to, and what goes there.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/options.h"
#include "droidflow/transfer/store.h"
#include "droidflow/transfer/upload_queue.h"
#include "droidflow/transfer/uploader.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// UploadEntry::destination of whole episodes, and of episodes without depth.
inline constexpr const char kFullDestination[] = "full";
inline constexpr const char kMetadataDestination[] = "metadata";

/// Files that every episode has, by which a repository is known to have it.
inline constexpr const char* kEpisodeFiles[] = {"tracks.npz", "extrinsics.npz", "quality.json"};

struct HubPlace {
  std::string destination;
  std::unique_ptr<Store> store;
  std::string repo = {};              ///< on the Hub; empty: `folder`
  std::filesystem::path folder = {};  ///< of this machine; empty: `repo`
};

/// Which destinations the options give a place; the pipeline without depth has one, kMetadata-
/// Destination, whichever option gives it.
[[nodiscard]] std::vector<std::string> HubDestinations(const HubOptions& options,
                                                       Pipeline pipeline);

/// Their stores, which have talked to nobody yet.
///
/// @param notice  gets the warnings of a Hub, from any thread; may be empty.
/// @return        kUsage for what cannot be a place.
[[nodiscard]] Result<std::vector<HubPlace>> MakeHubPlaces(
    const HubOptions& options,
    Pipeline pipeline,
    const std::function<void(const std::string&)>& notice = {});

/// What RunUploader takes; `places` must live as long.
[[nodiscard]] std::vector<UploadTarget> MakeUploadTargets(const std::vector<HubPlace>& places,
                                                          const HubOptions& options);
/// Local files are kept too where no place takes all of an episode.
[[nodiscard]] UploaderOptions MakeUploaderOptions(const HubOptions& options, Pipeline pipeline);

/// A line for people; empty: nothing that they must know.
[[nodiscard]] std::string DescribeEvent(const UploadEvent& event);

/// Whether a person must see to the token, its rights or the repository.
[[nodiscard]] bool NeedsPermission(const Error& error);

/// What is still to be uploaded.
[[nodiscard]] UploadTotals UnfinishedTotals(const UploadCounts& counts);

/// Writes down what a place has (IndexRepository); a place that has never been uploaded to is made.
/// @return also kUsage for a queue that belongs to another place.
[[nodiscard]] Status IndexPlace(UploadQueue& queue, const HubPlace& place, HubLayout layout);

/// About, of an episode without depth: 300 steps, 960 points, a path of 2.5 m, three cameras.
inline constexpr double kMetadataBytes = 45e6;

/// How many episodes a repository takes with --hub-layout files: 90,000 files, 100,000 being the
/// Hub's advice.
[[nodiscard]] std::size_t MostEpisodesAsFiles(Pipeline pipeline);

/// What to do when so many episodes are too many files for a repository; empty: nothing.
[[nodiscard]] std::string AdviseOnLayout(std::size_t episodes, const MetadataOptions& options);

/// RunUploader, with the options' places. A place gets a data set card when its first episodes are
/// confirmed, unless it has one; `notice` tells why it got none, which is no failure.
[[nodiscard]] UploadSummary UploadToPlaces(const std::filesystem::path& queue_dir,
                                           const std::vector<HubPlace>& places,
                                           const HubOptions& options,
                                           Pipeline pipeline,
                                           const UploadControl& control,
                                           const std::function<void(const UploadEvent&)>& observe,
                                           const std::function<void(const std::string&)>& notice);

/// The episode in `root/folder` with the files that the destination takes; its folder in the
/// repository is `folder`. `root` becomes absolute. @return kNotFound without files.
[[nodiscard]] Result<UploadEntry> MakeUploadEntry(std::string destination,
                                                  std::string key,
                                                  const std::filesystem::path& root,
                                                  const std::string& folder);

}  // namespace droidflow

#pragma once

/// Raw episodes where only listings are cheap: in a bucket, or any other source.

#include "droidflow/core/result.h"
#include "droidflow/core/source.h"
#include "droidflow/episode/considered.h"
#include "droidflow/episode/episode.h"
#include "droidflow/io/episode_finder.h"

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// An episode and what its folder holds.
struct SourceEpisode {
  EpisodeRef ref;                  ///< `uuid` by the name of its metadata file
  std::vector<SourceEntry> files;  ///< named below the episode's folder, by name
};

/// Every "{lab}/{outcome}/{date}" of a source whose lab and outcome are wanted, by lab, successes
/// first, by date. Lists a folder for each lab and outcome, `jobs` at a time.
[[nodiscard]] Result<std::vector<std::string>> ListDateFolders(Source& source,
                                                               std::span<const std::string> labs,
                                                               std::optional<Outcome> outcome,
                                                               int jobs = 1);

/// The episodes of a "{lab}/{outcome}/{date}" by path, from one listing; a folder that is not there
/// has none.
[[nodiscard]] Result<std::vector<SourceEpisode>> ListEpisodesOfDate(Source& source,
                                                                    const std::string& date_folder);

/// Finds episodes in a source, with one listing per date folder that it looks into.
///
/// Memory  the listings, 200 bytes per file.
class SourceEpisodeFinder : private EpisodeFolders {
 public:
  /// @param annotations  may be null; both must outlive the finder.
  SourceEpisodeFinder(Source& source, const Annotations* annotations)
      : source_(source), annotations_(annotations) {}

  /// Lists where these are likely to be, `jobs` folders at a time, so that Find need not. What
  /// cannot be listed Find tells.
  void ListAhead(std::span<const std::string> entries, int jobs);

  /// By uuid, as FindEpisode does, or by "{lab}/{outcome}/{date}/{folder}".
  ///
  /// @param considered  is given every folder that was looked for; may be null.
  /// @return status not_found; kUsage for a text that is neither.
  [[nodiscard]] Result<SourceEpisode> Find(const std::string& entry,
                                           Considerations* considered = nullptr);

 private:
  std::string Describe() const override { return source_.Describe(); }
  Result<FolderSearch> FindFolderWith(const std::string& file, const std::string& date) override;
  Result<std::optional<std::string>> UuidOf(const std::string& relative_path) override;

  /// Null: there is no such folder.
  Result<const SourceEpisode*> At(const std::string& relative_path);
  Result<const std::vector<SourceEpisode>*> OfDate(const std::string& date_folder);

  Source& source_;
  const Annotations* annotations_;
  std::map<std::string, std::vector<SourceEpisode>> by_date_;
};

/// Which files of an episode are wanted. trajectory_im128.h5 never is.
struct WantedFiles {
  bool metadata = true;
  bool trajectory = true;
  // Of each camera the first of these that it has, with its frame times.
  bool stereo = true;
  bool svo = true;  ///< SVO2, or else SVO
  bool mono = false;
};

/// "metadata,h5,stereo,svo,mono" or fewer of them. @return kUsage.
[[nodiscard]] Result<WantedFiles> ParseWantedFiles(std::string_view text);

/// The wanted files of an episode, without recordings of zero bytes.
[[nodiscard]] std::vector<SourceEntry> ChooseFiles(std::span<const SourceEntry> files,
                                                   const WantedFiles& wanted);

}  // namespace droidflow

#pragma once

#include "droidflow/core/result.h"
#include "droidflow/episode/considered.h"
#include "droidflow/episode/episode.h"

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

class Annotations;

/// Every episode folder "{lab}/{success|failure}/{date}/{folder}" below a raw data set, sorted by
/// path.
///
/// The uuid is the one in the name of the folder's metadata file, which is not opened; folders
/// without one are listed with an empty uuid. Two folders may have the same uuid: that is the
/// caller's to decide. Other files and folders are passed over, symbolic links are followed.
[[nodiscard]] Result<std::vector<EpisodeRef>> ScanRawTree(const std::filesystem::path& root);

/// The names under which an episode of this id may lie in a date's folder, the most usual first:
/// C's asctime with '_' for ' ' and ':', '_' or '-' in the time; a one-digit day after two
/// underscores or one. Empty for a date that no calendar has.
[[nodiscard]] std::vector<std::string> EpisodeFolderVariants(const EpisodeId& id);

/// The folders "{lab}/{outcome}/{date}" in which an episode of this id may lie, the most usual
/// first: of its date and the days beside it, as a recording may have been filed after midnight or
/// in another time zone. Empty for a date that no calendar has.
[[nodiscard]] std::vector<std::string> LikelyDateFolders(const EpisodeId& id);

/// Finds an episode by its uuid: where the annotations' map says, else by a metadata file of that
/// name in the folders of its date and of the days beside it, else by a folder of a name that fits
/// and that no other episode's metadata claims.
///
/// @param annotations  may be null.
/// @param considered   is given every folder that was looked for; may be null.
/// @return status not_found, naming what was tried; kUsage for a text that is no uuid.
[[nodiscard]] Result<EpisodeRef> FindEpisode(const std::filesystem::path& root,
                                             std::string_view uuid,
                                             const Annotations* annotations,
                                             Considerations* considered = nullptr);

struct FolderSearch {
  std::size_t folders = 0;                ///< that are there
  std::optional<std::string> found = {};  ///< name of the first that has it
};

/// A place where an episode is looked for.
///
/// Errors  the place's.
class EpisodeFolders {
 public:
  EpisodeFolders() = default;
  EpisodeFolders(const EpisodeFolders&) = delete;
  EpisodeFolders& operator=(const EpisodeFolders&) = delete;
  virtual ~EpisodeFolders() = default;

  /// For messages.
  [[nodiscard]] virtual std::string Describe() const = 0;
  /// Looks for a file of this name in the folders of a "{lab}/{outcome}/{date}".
  [[nodiscard]] virtual Result<FolderSearch> FindFolderWith(const std::string& file,
                                                            const std::string& date) = 0;
  /// By a folder's metadata file, empty without one. Nothing: there is no such folder.
  [[nodiscard]] virtual Result<std::optional<std::string>> UuidOf(
      const std::string& relative_path) = 0;
};

/// The same in any place.
[[nodiscard]] Result<EpisodeRef> FindEpisode(EpisodeFolders& folders,
                                             std::string_view uuid,
                                             const Annotations* annotations,
                                             Considerations* considered = nullptr);

/// Finds an episode by its folder: absolute or relative to `root`, with or without '/' at the end.
/// @return status not_found; kUsage for a folder that is not "{lab}/{outcome}/{date}/{folder}" of
/// root.
[[nodiscard]] Result<EpisodeRef> FindEpisodeByPath(const std::filesystem::path& root,
                                                   const std::filesystem::path& path);

}  // namespace droidflow

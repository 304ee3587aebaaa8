#include "droidflow/io/source_episodes.h"

#include "droidflow/core/parallel.h"
#include "droidflow/episode/status.h"
#include "droidflow/io/annotations.h"
#include "droidflow/io/episode_finder.h"
#include "droidflow/io/metadata_reader.h"
#include "droidflow/io/recordings.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <utility>

namespace droidflow {
namespace {

struct WantedName {
  std::string_view name;
  bool WantedFiles::*member;
};
constexpr std::array<WantedName, 5> kWantedNames{{{"metadata", &WantedFiles::metadata},
                                                  {"h5", &WantedFiles::trajectory},
                                                  {"stereo", &WantedFiles::stereo},
                                                  {"svo", &WantedFiles::svo},
                                                  {"mono", &WantedFiles::mono}}};

// What to take of a camera, best first.
struct WantedRecording {
  RecordingKind kind;
  bool WantedFiles::*member;
};
constexpr std::array<WantedRecording, 4> kWantedRecordings{
    {{RecordingKind::kStereoMp4, &WantedFiles::stereo},
     {RecordingKind::kSvo2, &WantedFiles::svo},
     {RecordingKind::kSvo, &WantedFiles::svo},
     {RecordingKind::kMonoMp4, &WantedFiles::mono}}};

std::string DateFolderOf(const std::string& relative_path) {
  return relative_path.substr(0, relative_path.rfind('/'));
}

// The names of a folder's folders; of one that is not there, none.
Result<std::vector<std::string>> SubfoldersOf(Source& source, const std::string& folder) {
  std::vector<std::string> names;
  const auto entries = source.List(folder, ListDepth::kFolder);
  if (!entries && (entries.error().kind != ErrorKind::kNotFound || folder.empty())) {
    return tl::unexpected(entries.error());
  }
  if (!entries) return names;
  for (const SourceEntry& entry : *entries) {
    if (entry.is_folder) names.push_back(entry.name);
  }
  return names;
}

}  // namespace

Result<std::vector<std::string>> ListDateFolders(Source& source,
                                                 std::span<const std::string> labs,
                                                 std::optional<Outcome> outcome,
                                                 int jobs) {
  std::vector<std::string> found(labs.begin(), labs.end());
  if (labs.empty()) {
    DF_ASSIGN_OR_RETURN(found, SubfoldersOf(source, ""));
  }
  std::vector<std::string> parents;
  for (const std::string& lab : found) {
    for (const Outcome each : {Outcome::kSuccess, Outcome::kFailure}) {
      if (!outcome || each == *outcome)
        parents.push_back(fmt::format("{}/{}", lab, ToString(each)));
    }
  }
  std::vector<Result<std::vector<std::string>>> dates(parents.size());
  ParallelFor(
      parents.size(), jobs, [&](std::size_t i) { dates[i] = SubfoldersOf(source, parents[i]); });
  std::vector<std::string> folders;
  for (std::size_t i = 0; i < parents.size(); ++i) {
    if (!dates[i]) return tl::unexpected(std::move(dates[i]).error());
    for (const std::string& date : *dates[i]) {
      std::string folder = fmt::format("{}/{}", parents[i], date);
      if (EpisodeRefFromPath(folder + "/x")) folders.push_back(std::move(folder));
    }
  }
  return folders;
}

Result<std::vector<SourceEpisode>> ListEpisodesOfDate(Source& source,
                                                      const std::string& date_folder) {
  std::vector<SourceEpisode> episodes;
  Result<std::vector<SourceEntry>> listed = source.List(date_folder, ListDepth::kTree);
  if (!listed && listed.error().kind != ErrorKind::kNotFound) {
    return tl::unexpected(listed.error());
  }
  if (!listed) return episodes;
  for (SourceEntry& file : *listed) {
    const std::size_t slash = file.name.find('/');
    if (slash == std::string::npos) continue;
    const std::string path = fmt::format("{}/{}", date_folder, file.name.substr(0, slash));
    if (episodes.empty() || episodes.back().ref.relative_path != path) {
      Result<EpisodeRef> ref = EpisodeRefFromPath(path);
      if (!ref) continue;
      episodes.push_back({.ref = *std::move(ref), .files = {}});
    }
    file.name.erase(0, slash + 1);
    SourceEpisode& episode = episodes.back();
    if (const auto uuid = UuidFromMetadataName(file.name); uuid && episode.ref.uuid.empty()) {
      episode.ref.uuid = *uuid;
    }
    episode.files.push_back(std::move(file));
  }
  return episodes;
}

Result<const std::vector<SourceEpisode>*> SourceEpisodeFinder::OfDate(
    const std::string& date_folder) {
  auto known = by_date_.find(date_folder);
  if (known == by_date_.end()) {
    DF_ASSIGN_OR_RETURN(auto episodes, ListEpisodesOfDate(source_, date_folder));
    known = by_date_.emplace(date_folder, std::move(episodes)).first;
  }
  return &known->second;
}

void SourceEpisodeFinder::ListAhead(std::span<const std::string> entries, int jobs) {
  std::set<std::string> folders;
  for (const std::string& entry : entries) {
    std::optional<std::string> path;
    if (entry.find('/') != std::string::npos) {
      path = entry.substr(0, entry.find_last_not_of('/') + 1);
    } else if (annotations_ != nullptr) {
      path = annotations_->PathOf(entry).value_or(std::nullopt);
    }
    if (path && EpisodeRefFromPath(*path)) {
      folders.insert(DateFolderOf(*path));
    } else if (const Result<EpisodeId> id = ParseEpisodeId(entry)) {
      folders.insert(LikelyDateFolders(*id).front());
    }
  }
  std::vector<std::string> wanted;
  std::ranges::copy_if(folders, std::back_inserter(wanted), [&](const std::string& folder) {
    return !by_date_.contains(folder);
  });
  std::vector<Result<std::vector<SourceEpisode>>> listed(wanted.size());
  ParallelFor(wanted.size(), jobs, [&](std::size_t i) {
    listed[i] = ListEpisodesOfDate(source_, wanted[i]);
  });
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (listed[i]) by_date_.emplace(wanted[i], *std::move(listed[i]));
  }
}

Result<const SourceEpisode*> SourceEpisodeFinder::At(const std::string& relative_path) {
  DF_ASSIGN_OR_RETURN(const auto* episodes, OfDate(DateFolderOf(relative_path)));
  const auto found = std::ranges::find(
      *episodes, relative_path, [](const SourceEpisode& episode) -> const std::string& {
        return episode.ref.relative_path;
      });
  return found == episodes->end() ? nullptr : &*found;
}

Result<FolderSearch> SourceEpisodeFinder::FindFolderWith(const std::string& file,
                                                         const std::string& date) {
  DF_ASSIGN_OR_RETURN(const auto* episodes, OfDate(date));
  const auto found = std::ranges::find_if(*episodes, [&](const SourceEpisode& episode) {
    return std::ranges::find(episode.files, file, &SourceEntry::name) != episode.files.end();
  });
  if (found == episodes->end()) return FolderSearch{.folders = episodes->size()};
  return FolderSearch{.folders = episodes->size(),
                      .found = found->ref.relative_path.substr(date.size() + 1)};
}

Result<std::optional<std::string>> SourceEpisodeFinder::UuidOf(const std::string& relative_path) {
  DF_ASSIGN_OR_RETURN(const SourceEpisode* const episode, At(relative_path));
  if (episode == nullptr) return std::nullopt;
  return episode->ref.uuid;
}

Result<SourceEpisode> SourceEpisodeFinder::Find(const std::string& entry,
                                                Considerations* considered) {
  const bool is_path = entry.find('/') != std::string::npos;
  Result<EpisodeRef> ref;
  if (is_path) {
    ref = EpisodeRefFromPath(entry.substr(0, entry.find_last_not_of('/') + 1));
    if (!ref) return Fail(ErrorKind::kUsage, "{}", ref.error().message);
  } else {
    DF_ASSIGN_OR_RETURN(ref, FindEpisode(*this, entry, annotations_, considered));
  }
  DF_ASSIGN_OR_RETURN(const SourceEpisode* const found, At(ref->relative_path));
  if (found == nullptr) {
    return FailAs(status::kNotFound,
                  ErrorKind::kNotFound,
                  "no such episode folder: {}/{}",
                  source_.Describe(),
                  ref->relative_path);
  }
  SourceEpisode episode = *found;
  if (!is_path) episode.ref.uuid = entry;
  return episode;
}

Result<WantedFiles> ParseWantedFiles(std::string_view text) {
  WantedFiles wanted{
      .metadata = false, .trajectory = false, .stereo = false, .svo = false, .mono = false};
  for (;;) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view name = text.substr(0, comma);
    const auto* const known = std::ranges::find(kWantedNames, name, &WantedName::name);
    if (known == kWantedNames.end()) {
      return Fail(ErrorKind::kUsage, "want some of metadata,h5,stereo,svo,mono, have '{}'", name);
    }
    wanted.*(known->member) = true;
    if (comma == text.size()) return wanted;
    text.remove_prefix(comma + 1);
  }
}

std::vector<SourceEntry> ChooseFiles(std::span<const SourceEntry> files,
                                     const WantedFiles& wanted) {
  std::vector<std::string> names;
  if (wanted.trajectory) names.emplace_back("trajectory.h5");
  for (const auto& [serial, camera] : RecordingsAmong(files)) {
    for (const auto& [kind, member] : kWantedRecordings) {
      const RecordingFile* const file = camera.Find(kind);
      if (!(wanted.*member) || file == nullptr || file->size_bytes == 0) continue;
      names.push_back(file->name);
      if (camera.timestamps_json) names.push_back(camera.timestamps_json->string());
      break;
    }
  }
  std::vector<SourceEntry> chosen;
  for (const SourceEntry& file : files) {
    if ((wanted.metadata && UuidFromMetadataName(file.name)) ||
        std::ranges::find(names, file.name) != names.end()) {
      chosen.push_back(file);
    }
  }
  return chosen;
}

}  // namespace droidflow

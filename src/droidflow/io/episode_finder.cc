#include "droidflow/io/episode_finder.h"

#include "droidflow/core/files.h"
#include "droidflow/episode/status.h"
#include "droidflow/io/annotations.h"
#include "droidflow/io/metadata_reader.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <iterator>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 7> kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<const char*, 12> kMonths{
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

// The names of the folders in a folder, sorted. A folder that went away meanwhile has none.
Result<std::vector<std::string>> FoldersIn(const fs::path& directory) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
    std::error_code dangling;
    if (entry->is_directory(dangling)) names.push_back(entry->path().filename().native());
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return FailErrno(error.value(), "cannot list " + directory.string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The uuid of a folder, empty if it has no metadata file.
Result<std::string> UuidOfFolder(const fs::path& directory) {
  const Result<fs::path> file = FindMetadataFile(directory);
  if (file) return std::string(*UuidFromMetadataName(file->filename().native()));
  if (file.error().kind == ErrorKind::kNotFound) return std::string();
  return tl::unexpected(file.error());
}

// The reference of a folder whose path has the shape of an episode's.
Result<EpisodeRef> RefOfFolder(const fs::path& root, const std::string& relative_path) {
  DF_ASSIGN_OR_RETURN(EpisodeRef ref, EpisodeRefFromPath(relative_path));
  DF_ASSIGN_OR_RETURN(ref.uuid, UuidOfFolder(root / relative_path));
  return ref;
}

Result<std::vector<EpisodeRef>> ScanDate(const fs::path& root, const std::string& date) {
  std::vector<EpisodeRef> refs;
  // Whether a date's folder is one is asked once, with a name that is always valid.
  if (!EpisodeRefFromPath(fmt::format("{}/x", date))) return refs;
  DF_ASSIGN_OR_RETURN(const std::vector<std::string> folders, FoldersIn(root / date));
  for (const std::string& folder : folders) {
    DF_ASSIGN_OR_RETURN(EpisodeRef ref, RefOfFolder(root, fmt::format("{}/{}", date, folder)));
    refs.push_back(std::move(ref));
  }
  return refs;
}

bool IsFolder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// Every "{lab}/{outcome}/{date}" below a root.
Result<std::vector<std::string>> DateFolders(const fs::path& root) {
  std::vector<std::string> found;
  DF_ASSIGN_OR_RETURN(const std::vector<std::string> labs, FoldersIn(root));
  for (const std::string& lab : labs) {
    for (const Outcome outcome : {Outcome::kFailure, Outcome::kSuccess}) {
      const std::string parent = fmt::format("{}/{}", lab, ToString(outcome));
      if (!IsFolder(root / parent)) continue;
      DF_ASSIGN_OR_RETURN(const std::vector<std::string> dates, FoldersIn(root / parent));
      for (const std::string& date : dates) found.push_back(fmt::format("{}/{}", parent, date));
    }
  }
  return found;
}

std::optional<std::chrono::year_month_day> DateOf(const EpisodeId& id) {
  const std::chrono::year_month_day date{std::chrono::year(id.year),
                                         std::chrono::month(static_cast<unsigned>(id.month)),
                                         std::chrono::day(static_cast<unsigned>(id.day))};
  if (!date.ok()) return std::nullopt;
  return date;
}

// The folders of a raw root on this machine.
class LocalFolders : public EpisodeFolders {
 public:
  explicit LocalFolders(const fs::path& root) : root_(root) {}

  std::string Describe() const override { return root_.string(); }
  Result<FolderSearch> FindFolderWith(const std::string& file, const std::string& date) override {
    DF_ASSIGN_OR_RETURN(const std::vector<std::string> names, FoldersIn(root_ / date));
    std::error_code ignored;
    const auto found = std::ranges::find_if(names, [&](const std::string& name) {
      return fs::exists(root_ / date / name / file, ignored);
    });
    if (found == names.end()) return FolderSearch{.folders = names.size()};
    return FolderSearch{.folders = names.size(), .found = *found};
  }
  Result<std::optional<std::string>> UuidOf(const std::string& relative_path) override {
    if (!IsFolder(root_ / relative_path)) return std::nullopt;
    return UuidOfFolder(root_ / relative_path);
  }

 private:
  const fs::path& root_;
};

// A folder that may be the episode's: it has the uuid, or no metadata that says otherwise.
Result<std::optional<EpisodeRef>> Candidate(EpisodeFolders& folders,
                                            const std::string& relative_path,
                                            std::string_view uuid,
                                            std::string_view where_from,
                                            Considerations& considered) {
  const auto note = [&](std::string finding, bool chosen) {
    finding += fmt::format(" ({})", where_from);
    considered.push_back({relative_path, std::move(finding), chosen});
  };
  DF_ASSIGN_OR_RETURN(const std::optional<std::string> found, folders.UuidOf(relative_path));
  if (!found) {
    note("no such folder", /*chosen=*/false);
    return std::nullopt;
  }
  if (!found->empty() && *found != uuid) {
    note("its metadata is of " + *found, /*chosen=*/false);
    return std::nullopt;
  }
  DF_ASSIGN_OR_RETURN(EpisodeRef ref, EpisodeRefFromPath(relative_path));
  ref.uuid = *found;
  note(ref.uuid.empty() ? "no metadata says otherwise" : "its metadata is of the episode",
       /*chosen=*/true);
  return ref;
}

Result<std::optional<EpisodeRef>> FindByMetadata(EpisodeFolders& folders,
                                                 const std::vector<std::string>& date_folders,
                                                 std::string_view uuid,
                                                 Considerations& considered) {
  const std::string file_name = fmt::format("metadata_{}.json", uuid);
  for (const std::string& date : date_folders) {
    DF_ASSIGN_OR_RETURN(const FolderSearch search, folders.FindFolderWith(file_name, date));
    if (search.found) {
      DF_ASSIGN_OR_RETURN(EpisodeRef ref,
                          EpisodeRefFromPath(fmt::format("{}/{}", date, *search.found)));
      ref.uuid = uuid;
      considered.push_back({ref.relative_path, "has " + file_name, /*chosen=*/true});
      return ref;
    }
    considered.push_back({date, fmt::format("{} folders, none has {}", search.folders, file_name)});
  }
  return std::nullopt;
}

}  // namespace

Result<std::vector<EpisodeRef>> ScanRawTree(const fs::path& root) {
  if (!IsFolder(root)) return Fail(ErrorKind::kNotFound, "no such folder: {}", root.string());
  DF_ASSIGN_OR_RETURN(const std::vector<std::string> dates, DateFolders(root));
  // Listing waits for the kernel, or for a network: two at a time at least.
  std::vector<Result<std::vector<EpisodeRef>>> scanned(dates.size());
  std::atomic<std::size_t> next{0};
  const auto scan = [&] {
    for (std::size_t i = next++; i < dates.size(); i = next++)
      scanned[i] = ScanDate(root, dates[i]);
  };
  {
    std::vector<std::jthread> others;
    for (unsigned i = 1; i < std::max(2U, std::thread::hardware_concurrency()); ++i) {
      others.emplace_back(scan);
    }
    scan();
  }
  std::vector<EpisodeRef> refs;
  for (Result<std::vector<EpisodeRef>>& of_date : scanned) {
    if (!of_date) return tl::unexpected(std::move(of_date).error());
    std::move(of_date->begin(), of_date->end(), std::back_inserter(refs));
  }
  std::sort(refs.begin(), refs.end(), [](const EpisodeRef& a, const EpisodeRef& b) {
    return a.relative_path < b.relative_path;
  });
  return refs;
}

std::vector<std::string> EpisodeFolderVariants(const EpisodeId& id) {
  std::vector<std::string> variants;
  const auto date = DateOf(id);
  if (!date) return variants;
  const unsigned weekday = std::chrono::weekday(std::chrono::sys_days(*date)).c_encoding();
  for (const char separator : {':', '_', '-'}) {
    for (const int width : {2, 1}) {
      if (width == 1 && id.day > 9) continue;
      variants.push_back(fmt::format("{}_{}_{:_>{}}_{:02}{}{:02}{}{:02}_{}",
                                     kDays[weekday],
                                     kMonths[static_cast<std::size_t>(id.month - 1)],
                                     id.day,
                                     width,
                                     id.hour,
                                     separator,
                                     id.minute,
                                     separator,
                                     id.second,
                                     id.year));
    }
  }
  return variants;
}

std::vector<std::string> LikelyDateFolders(const EpisodeId& id) {
  std::vector<std::string> folders;
  const auto date = DateOf(id);
  if (!date) return folders;
  for (const int offset : {0, 1, -1}) {
    const std::chrono::year_month_day day{std::chrono::sys_days(*date) + std::chrono::days(offset)};
    for (const Outcome outcome : {Outcome::kSuccess, Outcome::kFailure}) {
      folders.push_back(fmt::format("{}/{}/{:04}-{:02}-{:02}",
                                    id.lab,
                                    ToString(outcome),
                                    static_cast<int>(day.year()),
                                    static_cast<unsigned>(day.month()),
                                    static_cast<unsigned>(day.day())));
    }
  }
  return folders;
}

Result<EpisodeRef> FindEpisode(const fs::path& root,
                               std::string_view uuid,
                               const Annotations* annotations,
                               Considerations* considered) {
  LocalFolders folders(root);
  return FindEpisode(folders, uuid, annotations, considered);
}

Result<EpisodeRef> FindEpisode(EpisodeFolders& folders,
                               std::string_view uuid,
                               const Annotations* annotations,
                               Considerations* considered) {
  Considerations nobody_asks;
  if (considered == nullptr) considered = &nobody_asks;
  const Result<EpisodeId> id = ParseEpisodeId(uuid);
  if (!id) return Fail(ErrorKind::kUsage, "{}", id.error().message);

  std::string tried;
  if (annotations != nullptr) {
    DF_ASSIGN_OR_RETURN(const std::optional<std::string> mapped, annotations->PathOf(uuid));
    if (mapped && EpisodeRefFromPath(*mapped)) {
      DF_ASSIGN_OR_RETURN(std::optional<EpisodeRef> ref,
                          Candidate(folders, *mapped, uuid, "the annotations' path", *considered));
      if (ref) return *std::move(ref);
      tried = fmt::format("the annotations' path {}, ", *mapped);
    }
  }

  const std::vector<std::string> date_folders = LikelyDateFolders(*id);
  DF_ASSIGN_OR_RETURN(std::optional<EpisodeRef> by_metadata,
                      FindByMetadata(folders, date_folders, uuid, *considered));
  if (by_metadata) return *std::move(by_metadata);

  const std::vector<std::string> variants = EpisodeFolderVariants(*id);
  for (const std::string& date : date_folders) {
    for (const std::string& variant : variants) {
      DF_ASSIGN_OR_RETURN(
          std::optional<EpisodeRef> ref,
          Candidate(
              folders, fmt::format("{}/{}", date, variant), uuid, "by its name", *considered));
      if (ref) return *std::move(ref);
    }
  }
  return FailAs(
      status::kNotFound,
      ErrorKind::kNotFound,
      "no folder for {}: tried {}a metadata_{}.json in the folders [{}], and there the names "
      "[{}]: {}",
      uuid,
      tried,
      uuid,
      fmt::join(date_folders, ", "),
      fmt::join(variants, ", "),
      folders.Describe());
}

Result<EpisodeRef> FindEpisodeByPath(const fs::path& root, const fs::path& path) {
  std::error_code ignored;
  const fs::path whole = path.is_absolute() ? path : root / path;
  if (!IsFolder(whole)) {
    return FailAs(
        status::kNotFound, ErrorKind::kNotFound, "no such episode folder: {}", whole.string());
  }
  // "." and ".." are resolved in the text first: the folder may be a link to another disk.
  fs::path relative = fs::absolute(whole, ignored)
                          .lexically_normal()
                          .lexically_relative(fs::absolute(root, ignored).lexically_normal());
  if (!relative.has_filename()) relative = relative.parent_path();
  if (!EpisodeRefFromPath(relative.generic_string())) {
    relative = fs::canonical(whole, ignored).lexically_relative(fs::canonical(root, ignored));
  }
  Result<EpisodeRef> ref = RefOfFolder(root, relative.generic_string());
  if (!ref && ref.error().kind == ErrorKind::kInvalidData) {
    return Fail(ErrorKind::kUsage,
                "want an episode folder {{lab}}/{{success|failure}}/{{date}}/{{folder}} of {}: {}",
                root.string(),
                path.string());
  }
  return ref;
}

}  // namespace droidflow

#include "droidflow/pipeline/fetch.h"

#include "droidflow/episode/status.h"
#include "droidflow/io/annotations.h"
#include "droidflow/pipeline/episode_list.h"
#include "droidflow/transfer/store.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

namespace droidflow {
namespace {

bool HasAll(const FetchPlan& plan, const SelectionOptions& selection) {
  return selection.limit >= 0 && std::ssize(plan.episodes) >= selection.limit;
}

/// Adds a file of `folder` to a plan.
Status AddFileToPlan(Source& source,
                     const std::string& folder,
                     const SourceEntry& file,
                     const std::filesystem::path& out,
                     FetchPlan& plan) {
  const std::string path = folder.empty() ? file.name : folder + "/" + file.name;
  // Whoever fills a bucket does not choose where files go here.
  DF_RETURN_IF_ERROR(CheckStorePath(path));
  const std::filesystem::path to = out / path;
  plan.bytes += file.size_bytes;
  std::error_code none;
  if (std::filesystem::file_size(to, none) == file.size_bytes) plan.bytes_there += file.size_bytes;
  plan.files.push_back({&source, path, file, to});
  return {};
}

/// Adds an episode if it is one of those wanted.
Status AddToPlan(Source& source,
                 const SourceEpisode& episode,
                 const SelectionOptions& selection,
                 const WantedFiles& wanted,
                 const std::filesystem::path& out,
                 FetchPlan& plan) {
  if (!IsWanted(episode.ref, selection)) return {};
  const std::string& folder = episode.ref.relative_path;
  plan.episodes.push_back(folder);
  for (const SourceEntry& file : ChooseFiles(episode.files, wanted)) {
    DF_RETURN_IF_ERROR(AddFileToPlan(source, folder, file, out, plan));
  }
  return {};
}

}  // namespace

Result<FetchPlan> PlanFetch(Source& source,
                            const SelectionOptions& selection,
                            const WantedFiles& wanted,
                            const std::filesystem::path& out,
                            const Annotations* annotations) {
  FetchPlan plan;
  if (!selection.episodes.empty()) {
    DF_ASSIGN_OR_RETURN(const std::vector<std::string> entries,
                        ReadEntries(selection.episodes, source.Describe()));
    SourceEpisodeFinder finder(source, annotations);
    std::set<std::string> seen;
    for (const std::string& entry : entries) {
      if (HasAll(plan, selection)) break;
      const Result<SourceEpisode> episode = finder.Find(entry);
      if (episode && !seen.insert(episode->ref.relative_path).second) continue;
      if (episode) {
        DF_RETURN_IF_ERROR(AddToPlan(source, *episode, selection, wanted, out, plan));
      } else if (episode.error().status == status::kNotFound) {
        plan.not_found.push_back(episode.error());
        plan.not_found_uuids.push_back(entry);
      } else {
        return tl::unexpected(episode.error());
      }
    }
  } else {
    DF_ASSIGN_OR_RETURN(const std::vector<std::string> dates,
                        ListDateFolders(source, selection.labs, selection.outcome));
    for (const std::string& date : dates) {
      if (HasAll(plan, selection)) break;
      DF_ASSIGN_OR_RETURN(const std::vector<SourceEpisode> episodes,
                          ListEpisodesOfDate(source, date));
      for (const SourceEpisode& episode : episodes) {
        if (HasAll(plan, selection)) break;
        DF_RETURN_IF_ERROR(AddToPlan(source, episode, selection, wanted, out, plan));
      }
    }
  }
  if (plan.episodes.empty() && plan.not_found.empty() && selection.limit != 0) {
    return Fail(ErrorKind::kNotFound,
                "no episode is of the labs and outcome asked for: {}",
                source.Describe());
  }
  return plan;
}

Result<FetchPlan> PlanAnnotations(Source& source, bool all, const std::filesystem::path& out) {
  FetchPlan plan;
  DF_ASSIGN_OR_RETURN(const std::vector<SourceEntry> files, source.List("", ListDepth::kFolder));
  for (const SourceEntry& file : files) {
    const bool is_read =
        std::ranges::find(kAnnotationFiles, std::string_view(file.name)) != kAnnotationFiles.end();
    if (file.is_folder || !(is_read || (all && file.name.ends_with(".json")))) continue;
    DF_RETURN_IF_ERROR(AddFileToPlan(source, "", file, out, plan));
  }
  if (!plan.files.empty()) return plan;
  return Fail(ErrorKind::kNotFound,
              "want one of {}, found none: {}",
              fmt::join(kAnnotationFiles, ", "),
              source.Describe());
}

Result<FetchReport> RunFetch(const FetchPlan& plan,
                             const DownloadOptions& options,
                             const std::function<void(const Download&, const Status&)>& done) {
  const std::vector<Status> statuses = Downloader(options).FetchAll(plan.files, done);
  FetchReport report;
  for (std::size_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i]) {
      ++report.files;
      continue;
    }
    const Error& error = statuses[i].error();
    if (error.kind == ErrorKind::kCancelled || error.kind == ErrorKind::kNoSpace) {
      return tl::unexpected(error);
    }
    report.failures.push_back({plan.files[i].path, error});
  }
  return report;
}

}  // namespace droidflow

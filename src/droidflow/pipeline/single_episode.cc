#include "droidflow/pipeline/single_episode.h"

#include "droidflow/core/files.h"
#include "droidflow/io/episode_finder.h"
#include "droidflow/pipeline/raw_roots.h"

#include <cstdlib>
#include <string>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

/// Files of `ready` into `final_dir`, each in one step.
Result<std::vector<fs::path>> MoveFiles(const fs::path& ready, const fs::path& final_dir) {
  DF_RETURN_IF_ERROR(SyncTree(ready));
  DF_ASSIGN_OR_RETURN(const std::vector<FileStamp> files, ListFiles(ready));
  std::vector<fs::path> moved;
  for (const FileStamp& file : files) {
    const fs::path target = final_dir / file.name;
    DF_RETURN_IF_ERROR(MakeDirectories(target.parent_path()));
    std::error_code error;
    fs::rename(ready / file.name, target, error);
    if (error)
      return FailErrno(error.value(), fmt::format("cannot move a file to {}", target.string()));
    moved.push_back(target);
  }
  DF_RETURN_IF_ERROR(SyncTree(final_dir));
  return moved;
}

}  // namespace

Result<EpisodeRef> FindSingleEpisode(const EpisodeContext& context,
                                     std::string_view uuid_or_folder) {
  DF_ASSIGN_OR_RETURN(const fs::path root, LocalRoot(context.options.input));
  if (uuid_or_folder.find('/') != std::string_view::npos)
    return FindEpisodeByPath(root, uuid_or_folder);
  return FindEpisode(root, uuid_or_folder, &context.annotations);
}

Result<SingleEpisode> WriteSingleEpisode(const EpisodeContext& context,
                                         const EpisodeRef& ref,
                                         Products products) {
  const fs::path final_dir = fs::path(context.options.out) / ref.relative_path;
  // On the output's file system, so that a rename moves files to their place.
  const fs::path hidden = fs::path(context.options.out) / ".droidflow";
  DF_RETURN_IF_ERROR(MakeDirectories(hidden));
  std::string scratch = (hidden / "single-XXXXXX").string();
  if (mkdtemp(scratch.data()) == nullptr) {
    return FailErrno(errno, fmt::format("cannot make a folder in {}", hidden.string()));
  }
  ProcessedEpisode processed = ProcessEpisode(context, ref, products, scratch);
  Result<std::vector<fs::path>> files =
      processed.status.and_then([&] { return MoveFiles(scratch, final_dir); });
  const Status removed = RemoveTree(scratch);
  if (!files) return tl::unexpected(std::move(files).error());
  DF_RETURN_IF_ERROR(removed);
  return SingleEpisode{*std::move(files), std::move(processed.warnings)};
}

}  // namespace droidflow

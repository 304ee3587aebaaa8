#include "droidflow/pipeline/raw_roots.h"

#include "droidflow/core/files.h"
#include "droidflow/episode/status.h"
#include "droidflow/io/episode_finder.h"
#include "droidflow/io/listing_cache.h"
#include "droidflow/pipeline/delivery.h"
#include "droidflow/transfer/bucket_source.h"

#include <algorithm>
#include <chrono>
#include <system_error>

namespace droidflow {

namespace fs = std::filesystem;

namespace {

Result<SourceEpisode> FindInRoot(const RawRoot& root,
                                 const std::string& entry,
                                 const Annotations& annotations,
                                 Considerations& considered) {
  if (root.finder) return root.finder->Find(entry, &considered);
  const bool is_path = entry.find('/') != std::string::npos;
  DF_ASSIGN_OR_RETURN(EpisodeRef ref,
                      is_path ? FindEpisodeByPath(root.name, entry)
                              : FindEpisode(root.name, entry, &annotations, &considered));
  // A folder without metadata is known by the name it was asked for.
  if (!is_path) ref.uuid = entry;
  return SourceEpisode{.ref = std::move(ref), .files = {}};
}

}  // namespace

Result<std::unique_ptr<Source>> OpenRawSource(const std::string& root,
                                              const FetchOptions& options) {
  if (IsBucketUrl(root)) {
    return OpenBucket(root, {.stall_timeout = std::chrono::seconds(options.stall_timeout_s)});
  }
  std::error_code ignored;
  if (fs::is_directory(root, ignored)) return MakeFolderSource(root);
  return Fail(ErrorKind::kNotFound, "neither a folder nor gs://BUCKET/FOLDER: {}", root);
}

bool HasBucket(const InputOptions& input) {
  return std::ranges::any_of(input.Roots(), IsBucketUrl);
}

Status CheckRoots(const InputOptions& input) {
  if (input.Roots().empty()) return Fail(ErrorKind::kUsage, "--droid-root is needed");
  for (const std::string& root : input.Roots()) {
    if (IsBucketUrl(root)) {
      DF_RETURN_IF_ERROR(OpenBucket(root).map([](auto&&) {}).map_error(During("--droid-root")));
      continue;
    }
    std::error_code error;
    if (fs::is_directory(root, error)) continue;
    if (error && error != std::errc::no_such_file_or_directory) {
      return FailErrno(error.value(), fmt::format("--droid-root: cannot look into {}", root));
    }
    return Fail(ErrorKind::kNotFound,
                "--droid-root: no such folder, 'droidflow fetch --out DIR' makes one: {}",
                root);
  }
  return {};
}

Result<fs::path> LocalRoot(const InputOptions& input) {
  DF_RETURN_IF_ERROR(CheckRoots(input));
  if (const auto roots = input.Roots(); roots.size() == 1 && !IsBucketUrl(roots[0])) {
    return roots[0];
  }
  return Fail(ErrorKind::kUsage,
              "--droid-root: want one folder, 'droidflow fetch --out DIR' makes one: {}",
              input.droid_root);
}

Result<std::vector<fs::path>> RecordingFolders(const InputOptions& input) {
  std::vector<fs::path> folders;
  for (const std::string& root : input.Roots()) {
    if (IsBucketUrl(root)) {
      return Fail(ErrorKind::kUsage, "--droid-root: want a folder on this machine: {}", root);
    }
    folders.emplace_back(root);
  }
  if (!folders.empty()) DF_RETURN_IF_ERROR(CheckRoots(input));
  return folders;
}

Result<std::vector<RawRoot>> OpenRoots(const MetadataOptions& options,
                                       const Annotations& annotations,
                                       const fs::path& listings) {
  std::vector<RawRoot> roots;
  for (const std::string& name : options.input.Roots()) {
    RawRoot& root = roots.emplace_back(RawRoot{.name = name});
    if (!IsBucketUrl(name)) continue;
    DF_ASSIGN_OR_RETURN(root.bucket, OpenRawSource(name, options.fetch));
    root.listed = KeepListings(*root.bucket, listings);
    root.finder = std::make_unique<SourceEpisodeFinder>(*root.listed, &annotations);
  }
  return roots;
}

Result<RootEpisode> FindInRoots(std::span<const RawRoot> roots,
                                const std::string& entry,
                                const Annotations& annotations,
                                std::vector<RootConsiderations>* considered) {
  Result<RootEpisode> found = Fail(ErrorKind::kUsage, "--droid-root is needed");
  for (const RawRoot& root : roots) {
    Considerations folders;
    found = FindInRoot(root, entry, annotations, folders).map([&](SourceEpisode episode) {
      return RootEpisode{.root = &root, .episode = std::move(episode)};
    });
    if (considered != nullptr) considered->push_back({root.name, std::move(folders)});
    if (found || found.error().status != status::kNotFound) break;
  }
  return found;
}

fs::path ListingsFolder(const MetadataOptions& options) { return options.RunDir() / "listings"; }

fs::path FetchedFolder(const MetadataOptions& options) {
  if (options.scratch_dir.empty()) return options.RunDir() / "fetched";
  // Beside unfinished work, which has a disk budget of its own.
  return options.scratch_dir / (HiddenFolderOfRun(options) += "-fetched");
}

std::string FindRoot(const MetadataOptions& options, const std::string& relative_path) {
  const std::vector<std::string> roots = options.input.Roots();
  if (roots.size() == 1 && !IsBucketUrl(roots[0])) return roots[0];
  std::error_code ignored;
  const fs::path fetched = FetchedFolder(options);
  if (fs::is_directory(fetched / relative_path, ignored)) return fetched.string();
  for (const std::string& root : roots) {
    if (!IsBucketUrl(root) && fs::is_directory(fs::path(root) / relative_path, ignored)) {
      return root;
    }
  }
  return fetched.string();
}

fs::path RawFolder(const MetadataOptions& options, const EpisodeRef& ref) {
  const std::string root = ref.root.empty() ? FindRoot(options, ref.relative_path) : ref.root;
  return fs::path(root) / ref.relative_path;
}

}  // namespace droidflow

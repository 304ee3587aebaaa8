#include "droidflow/core/place_new.h"

#include "droidflow/core/files.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

Status FlushFolder(const fs::path& folder) {
  const UniqueFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || fsync(fd.get()) != 0) {
    return FailErrno(errno, fmt::format("cannot sync {}", folder.string()));
  }
  return {};
}

}  // namespace

Result<bool> PlaceNew(const fs::path& ready, const fs::path& final_path) {
  std::error_code ignored;
  const bool is_folder = fs::is_directory(ready, ignored);
  const fs::path parent = fs::absolute(final_path).parent_path();
  std::vector<fs::path> to_flush{parent};  // with the first of its parents that is there already
  while (!fs::exists(to_flush.back(), ignored) && to_flush.back().has_relative_path()) {
    to_flush.push_back(to_flush.back().parent_path());
  }
  for (int attempt = 0;; ++attempt) {
    DF_RETURN_IF_ERROR(MakeDirectories(parent));
    // A folder is never renamed onto one with content, nor a link made under a name that is taken.
    const int placed = is_folder ? rename(ready.c_str(), final_path.c_str())
                                 : link(ready.c_str(), final_path.c_str());
    if (placed == 0) break;
    const int reason = errno;
    // A file server that answers a request sent twice speaks of the second.
    const bool is_ours = fs::exists(ready, ignored) ? fs::equivalent(ready, final_path, ignored)
                                                    : fs::exists(final_path, ignored);
    if (is_ours) break;
    if (reason == EEXIST || reason == ENOTEMPTY || reason == ENOTDIR) return false;
    // Whoever cleans up behind us may have removed a parent that was empty just then.
    if (reason != ENOENT || attempt == 100) {
      return FailErrno(reason,
                       fmt::format("cannot place {} as {}", ready.string(), final_path.string()));
    }
  }
  if (!is_folder) fs::remove(ready, ignored);
  for (const fs::path& folder : to_flush) DF_RETURN_IF_ERROR(FlushFolder(folder));
  return true;
}

}  // namespace droidflow

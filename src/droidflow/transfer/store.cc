#include "droidflow/transfer/store.h"

#include "droidflow/transfer/commit_check_internal.h"

#include <algorithm>
#include <set>
#include <string_view>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

bool IsUtf8(const std::string& text) try {
  return !nlohmann::json(text).dump().empty();
} catch (const nlohmann::json::exception&) {
  return false;
}

tl::unexpected<Error> Refuse(std::string_view what, const std::string& path) {
  return FailAs(store_status::kRefused, ErrorKind::kInvalidData, "{}: '{}'", what, path);
}

}  // namespace

Status CheckStorePath(const std::string& path) {
  if (path.size() > 1000) return Refuse("want a path of at most 1000 bytes", path);
  if (!IsUtf8(path)) {
    return FailAs(store_status::kRefused, ErrorKind::kInvalidData, "a path is not UTF-8");
  }
  if (std::ranges::any_of(path, [](unsigned char c) { return c < 0x20 || c == 0x7F || c == '\\'; }))
    return Refuse("want a path without control characters and backslashes", path);
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = std::string_view(path).substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") {
      return Refuse("want a relative path without empty parts, '.' and '..'", path);
    }
    if (part.size() > 255) return Refuse("want parts of at most 255 bytes", path);
    if (part == ".git" || part == ".cache" || part == ".droidflow") {
      return Refuse("want a path outside .git, .cache and .droidflow", path);
    }
    begin = end + 1;
  }
  return {};
}

Status CheckCommit(const CommitRequest& request) {
  std::set<std::string_view> paths;
  for (const OutgoingFile& file : request.files) {
    DF_RETURN_IF_ERROR(CheckStorePath(file.path));
    if (!paths.insert(file.path).second) return Refuse("a commit names a file twice", file.path);
  }
  for (const OutgoingFile& file : request.files) {
    for (std::size_t end = file.path.find('/'); end != std::string::npos;
         end = file.path.find('/', end + 1)) {
      if (paths.contains(std::string_view(file.path).substr(0, end))) {
        return Refuse("a commit has a file and a folder of one name", file.path.substr(0, end));
      }
    }
  }
  return {};
}

bool SameContent(const StoredFile& stored, const OutgoingFile& local) {
  if (stored.size_bytes != local.size_bytes) return false;
  if (!stored.sha256.empty()) return stored.sha256 == local.sha256;
  return !stored.git_oid.empty() && stored.git_oid == local.git_oid;
}

}  // namespace droidflow

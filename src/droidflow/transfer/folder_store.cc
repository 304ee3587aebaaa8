#include "droidflow/transfer/folder_store.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/core/sha256.h"
#include "droidflow/transfer/checked_source_internal.h"
#include "droidflow/transfer/commit_check_internal.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <fcntl.h>
#include <set>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <fmt/chrono.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr char kHidden[] = ".droidflow";
constexpr char kHistory[] = "commits.jsonl";
constexpr char kJournal[] = "journal";
constexpr std::size_t kCopy_bytes = std::size_t{1} << 18;
constexpr std::chrono::hours kKept{24 * 7};  ///< bytes that no file has

/// A line of the history, which names itself by its own hash.
std::string FormatLine(const std::string& parent,
                       const CommitRequest& request,
                       std::span<const OutgoingFile* const> files) {
  std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  Json line{{"parent", parent},
            {"time", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", utc)},
            {"summary", request.summary},
            {"batch", request.batch_id},
            {"files", Json::array()}};
  for (const OutgoingFile* file : files) {
    line["files"].push_back(
        {{"path", file->path}, {"size_bytes", file->size_bytes}, {"sha256", file->sha256}});
  }
  const auto dump = [&] { return line.dump(-1, ' ', false, Json::error_handler_t::replace); };
  const std::string nameless = dump();
  Sha256 hash;
  hash.Add(std::as_bytes(std::span(nameless)));
  line["commit"] = hash.Finish().substr(0, 40);
  return dump() + '\n';
}

struct Line {
  std::string commit;
  std::vector<StoredFile> files = {};
};

Result<Line> ParseLine(std::string_view text, const fs::path& path) try {
  const Json json = Json::parse(text);
  Line line{.commit = json.at("commit")};
  for (const Json& file : json.at("files")) {
    line.files.push_back({.path = file.at("path"),
                          .size_bytes = file.at("size_bytes"),
                          .sha256 = file.at("sha256")});
  }
  return line;
} catch (const Json::exception& error) {
  return Fail(
      ErrorKind::kInvalidData, "not a line of a history: {}: {}", error.what(), path.string());
}

Result<UniqueFd> Lock(const fs::path& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!fd.valid()) return FailErrno(errno, fmt::format("cannot open {}", path.string()));
  while (flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return FailErrno(errno, fmt::format("cannot lock {}", path.string()));
  }
  return fd;
}

Status Sync(int fd, const fs::path& path) {
  // Some network file systems refuse to sync a folder; there the rename itself is durable.
  if (fsync(fd) == 0 || errno == EINVAL) return {};
  return FailErrno(errno, fmt::format("cannot sync {}", path.string()));
}

Status SyncFolder(const fs::path& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return FailErrno(errno, fmt::format("cannot open {}", path.string()));
  return Sync(fd.get(), path);
}

/// What lstat says; nothing where nothing is.
Result<std::optional<struct stat>> Look(const fs::path& path) {
  struct stat info = {};
  if (lstat(path.c_str(), &info) == 0) return info;
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  return FailErrno(errno, fmt::format("cannot stat {}", path.string()));
}

bool IsFileOf(const fs::path& path, std::uint64_t size_bytes) {
  const auto info = Look(path);
  return info && *info && S_ISREG((*info)->st_mode) &&
         static_cast<std::uint64_t>((*info)->st_size) == size_bytes;
}

bool Exists(const fs::path& path) {
  const auto info = Look(path);
  return info && *info;
}

Status WriteObject(const fs::path& path, const OutgoingFile& file) {
  DF_ASSIGN_OR_RETURN(CheckedSource source, CheckedSource::Open(file));
  DF_ASSIGN_OR_RETURN(AtomicFile object, AtomicFile::Create(path));
  std::vector<std::byte> buffer(kCopy_bytes);
  for (;;) {
    DF_ASSIGN_OR_RETURN(const std::size_t count, source.Read(buffer));
    if (count == 0) break;
    DF_RETURN_IF_ERROR(object.Write(std::span(buffer).first(count)));
  }
  struct stat info = {};
  if (fstat(object.fd(), &info) != 0 || fchmod(object.fd(), info.st_mode & 0444U) != 0) {
    return FailErrno(errno, fmt::format("cannot protect {}", path.string()));
  }
  return object.Commit();
}

}  // namespace

FolderStore::FolderStore(fs::path folder) : folder_(std::move(folder)) {}

std::string FolderStore::Describe() const { return "folder " + folder_.string(); }

fs::path FolderStore::Hidden(const char* name) const { return folder_ / kHidden / name; }

fs::path FolderStore::ObjectPath(const std::string& sha256) const {
  DF_CHECK(sha256.size() == 64, "want a SHA-256, have '{}'", sha256);
  return Hidden("objects") / sha256;
}

Status FolderStore::ReadHistory(State& state, const std::string& until) const {
  const fs::path path = Hidden(kHistory);
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) {
    return FailAs(store_status::kNoRepository,
                  ErrorKind::kNotFound,
                  "no store of droidflow: {}",
                  folder_.string());
  }
  struct stat info = {};
  if (!fd.valid() || fstat(fd.get(), &info) != 0) {
    return FailErrno(errno, fmt::format("cannot open {}", path.string()));
  }
  const auto size_bytes = static_cast<std::uint64_t>(info.st_size);
  std::string text(size_bytes - std::min(size_bytes, state.read_bytes), '\0');
  DF_ASSIGN_OR_RETURN(
      const std::size_t count,
      ReadAt(fd.get(), state.read_bytes, std::as_writable_bytes(std::span(text)), path));
  std::string_view rest = std::string_view(text).substr(0, count);
  // A last line without its end is being written, or was when its writer was killed.
  for (std::size_t end = 0; (end = rest.find('\n')) != std::string_view::npos;) {
    DF_ASSIGN_OR_RETURN(Line line, ParseLine(rest.substr(0, end), path));
    for (StoredFile& file : line.files) {
      state.files[file.path] = {.size_bytes = file.size_bytes, .sha256 = file.sha256};
    }
    state.head = line.commit;
    state.read_bytes += end + 1;
    if (state.head == until) break;
    rest.remove_prefix(end + 1);
  }
  return {};
}

Result<std::shared_ptr<const FolderStore::State>> FolderStore::Refresh() {
  const std::scoped_lock lock(mutex_);
  const auto info = Look(Hidden(kHistory));
  if (!info || !*info || static_cast<std::uint64_t>((*info)->st_size) != newest_->read_bytes) {
    if (newest_.use_count() == 1) {
      // Nobody else looks at it: no copy of a long history. What others read they have read.
      std::atomic_thread_fence(std::memory_order_acquire);
      DF_RETURN_IF_ERROR(ReadHistory(*newest_, {}));
    } else {
      auto state = std::make_shared<State>(*newest_);
      DF_RETURN_IF_ERROR(ReadHistory(*state, {}));
      newest_ = std::move(state);
    }
  }
  return newest_;
}

Result<std::shared_ptr<const FolderStore::State>> FolderStore::Newest() {
  if (Exists(Hidden(kJournal))) {
    DF_ASSIGN_OR_RETURN(const UniqueFd lock, Lock(Hidden("lock")));
    DF_RETURN_IF_ERROR(Recover());
  }
  return Refresh();
}

Result<std::shared_ptr<const FolderStore::State>> FolderStore::StateAt(
    const std::string& revision) {
  DF_ASSIGN_OR_RETURN(auto newest, Newest());
  if (newest->head == revision) return newest;
  auto state = std::make_shared<State>();
  DF_RETURN_IF_ERROR(ReadHistory(*state, revision));
  if (state->head == revision) return state;
  return Fail(
      ErrorKind::kNotFound, "there is no commit '{}': {}", revision, Hidden(kHistory).string());
}

/// Whether what stood in the folder before this call was of that state.
bool FolderStore::IsNewest(const State& state) {
  const auto newest = Newest();
  return newest && (*newest)->head == state.head;
}

Status FolderStore::Prepare() {
  DF_RETURN_IF_ERROR(MakeDirectories(Hidden("objects")));
  DF_RETURN_IF_ERROR(SyncFolder(folder_));
  DF_ASSIGN_OR_RETURN(const UniqueFd lock, Lock(Hidden("lock")));
  if (!Exists(Hidden(kHistory))) {
    const std::string line = FormatLine("", {.summary = "an empty folder"}, {});
    DF_RETURN_IF_ERROR(WriteFileAtomically(Hidden(kHistory), line));
  }
  DF_RETURN_IF_ERROR(Recover());
  return RemoveOldObjects();
}

Status FolderStore::RemoveOldObjects() const {
  const std::time_t limit = std::time(nullptr) - std::chrono::seconds(kKept).count();
  const fs::path objects = Hidden("objects");
  std::error_code error;
  for (auto entry = fs::directory_iterator(objects, error);
       !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const auto info = Look(entry->path());
    if (info && *info && S_ISREG((*info)->st_mode) && (*info)->st_nlink == 1 &&
        (*info)->st_mtime < limit && unlink(entry->path().c_str()) != 0) {
      return FailErrno(errno, fmt::format("cannot remove {}", entry->path().string()));
    }
  }
  if (!error) return {};
  return FailErrno(error.value(), fmt::format("cannot list {}", objects.string()));
}

Result<std::string> FolderStore::Head() {
  DF_ASSIGN_OR_RETURN(const auto state, Newest());
  return state->head;
}

std::optional<StoredFile> FolderStore::Told(const State& state, const std::string& path) {
  const auto file = state.files.find(path);
  if (file == state.files.end()) return std::nullopt;
  const auto& [size_bytes, sha256] = file->second;
  if (!IsFileOf(folder_ / path, size_bytes) && IsNewest(state)) return std::nullopt;
  return StoredFile{.path = path, .size_bytes = size_bytes, .sha256 = sha256};
}

Status FolderStore::List(const std::string& revision,
                         const std::string& folder,
                         const std::function<void(StoredFile)>& tell) {
  DF_ASSIGN_OR_RETURN(const auto state, StateAt(revision));
  const std::string prefix = folder.empty() ? folder : folder + '/';
  for (auto entry = state->files.lower_bound(prefix);
       entry != state->files.end() && entry->first.starts_with(prefix);
       ++entry) {
    if (auto file = Told(*state, entry->first)) tell(*std::move(file));
  }
  return {};
}

Result<std::vector<std::optional<StoredFile>>> FolderStore::Stat(
    const std::string& revision, std::span<const std::string> paths) {
  DF_ASSIGN_OR_RETURN(const auto state, StateAt(revision));
  std::vector<std::optional<StoredFile>> files;
  for (const std::string& path : paths) files.push_back(Told(*state, path));
  return files;
}

Status FolderStore::PutOne(const OutgoingFile& file) {
  DF_RETURN_IF_ERROR(CheckStorePath(file.path));
  const fs::path object = ObjectPath(file.sha256);
  return IsFileOf(object, file.size_bytes) ? Status() : WriteObject(object, file);
}

std::vector<Status> FolderStore::Put(std::span<const OutgoingFile> files) {
  std::vector<Status> results;
  for (const OutgoingFile& file : files) results.push_back(PutOne(file));
  return results;
}

/// Everything that can be refused is refused before the journal is written.
Status FolderStore::MakeWay(const State& state, const OutgoingFile& file) const {
  if (!IsFileOf(ObjectPath(file.sha256), file.size_bytes)) {
    return FailAs(store_status::kBytesMissing,
                  ErrorKind::kTransient,
                  "the bytes of a file are not stored: {}",
                  file.path);
  }
  const fs::path target = folder_ / file.path;
  DF_RETURN_IF_ERROR(MakeDirectories(target.parent_path()));
  DF_ASSIGN_OR_RETURN(const auto info, Look(target));
  if (!info || (S_ISREG(info->st_mode) && state.files.contains(file.path))) return {};
  if (IsFileOf(target, file.size_bytes)) {
    DF_ASSIGN_OR_RETURN(const std::string sha256, Sha256OfFile(target));
    if (sha256 == file.sha256) return {};
  }
  return FailAs(store_status::kRefused,
                ErrorKind::kInvalidData,
                "what stands there was not put there by droidflow: {}",
                target.string());
}

Result<std::string> FolderStore::Commit(const CommitRequest& request) {
  DF_RETURN_IF_ERROR(CheckCommit(request));
  if (!Exists(Hidden(kHistory))) return Head();  // which says that there is none
  DF_ASSIGN_OR_RETURN(const UniqueFd lock, Lock(Hidden("lock")));
  DF_RETURN_IF_ERROR(Recover());
  DF_ASSIGN_OR_RETURN(auto state, Refresh());
  if (!request.parent.empty() && request.parent != state->head) {
    return FailAs(store_status::kHeadMoved,
                  ErrorKind::kTransient,
                  "want head {}, have {}: {}",
                  request.parent,
                  state->head,
                  folder_.string());
  }
  std::vector<const OutgoingFile*> files;
  for (const OutgoingFile& file : request.files) {
    const std::optional<StoredFile> stands = Told(*state, file.path);
    if (stands && SameContent(*stands, file)) continue;
    DF_RETURN_IF_ERROR(MakeWay(*state, file));
    files.push_back(&file);
  }
  if (files.empty()) return state->head;

  const std::string line = FormatLine(state->head, request, files);
  state.reset();  // so that it need not be copied for what comes now
  const fs::path journal = Hidden(kJournal);
  if (Status written = WriteFileAtomically(journal, line);
      !written && (unlink(journal.c_str()) == 0 || errno == ENOENT)) {
    return tl::unexpected(written.error());
  }
  if (Status completed = Recover(); !completed) {
    completed.error().status = store_status::kUnclear;
    return tl::unexpected(completed.error());
  }
  return Head();
}

/// Completes the commit of which there is a journal. Needs the lock.
Status FolderStore::Recover() {
  const fs::path journal = Hidden(kJournal);
  if (!Exists(journal)) return {};
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(journal));
  DF_ASSIGN_OR_RETURN(const Line line, ParseLine(text, journal));
  DF_ASSIGN_OR_RETURN(const auto state, Refresh());
  if (state->head != line.commit) {
    std::set<fs::path> folders;
    for (const StoredFile& file : line.files) {
      DF_RETURN_IF_ERROR(Place(file));
      for (fs::path parent = fs::path(file.path).parent_path(); folders.insert(parent).second;) {
        parent = parent.parent_path();
      }
    }
    for (const fs::path& path : folders) DF_RETURN_IF_ERROR(SyncFolder(folder_ / path));

    const fs::path history = Hidden(kHistory);
    const UniqueFd fd(open(history.c_str(), O_WRONLY | O_CLOEXEC));
    const auto end = static_cast<off_t>(state->read_bytes);  // what follows was cut off
    if (!fd.valid() || ftruncate(fd.get(), end) != 0 || lseek(fd.get(), end, SEEK_SET) != end) {
      return FailErrno(errno, fmt::format("cannot write {}", history.string()));
    }
    DF_RETURN_IF_ERROR(WriteAll(fd.get(), std::as_bytes(std::span(text)), history.string()));
    DF_RETURN_IF_ERROR(Sync(fd.get(), history));
  }
  if (unlink(journal.c_str()) == 0) return {};
  return FailErrno(errno, fmt::format("cannot remove {}", journal.string()));
}

/// Puts stored bytes under their name, at once.
Status FolderStore::Place(const StoredFile& file) const {
  const fs::path object = ObjectPath(file.sha256);
  const fs::path target = folder_ / file.path;
  const fs::path placing = Hidden("placing");
  unlink(placing.c_str());
  if (link(object.c_str(), placing.c_str()) != 0) {
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK) {
      return FailErrno(errno, fmt::format("cannot link {}", object.string()));
    }
    DF_RETURN_IF_ERROR(WriteObject(placing,
                                   {.path = file.path,
                                    .source = object,
                                    .size_bytes = file.size_bytes,
                                    .sha256 = file.sha256}));
  }
  if (rename(placing.c_str(), target.c_str()) != 0) {
    return FailErrno(errno, fmt::format("cannot place {}", target.string()));
  }
  unlink(placing.c_str());  // where both are links to one file, rename() does nothing
  return {};
}

Status FolderStore::Read(const std::string& revision,
                         const std::string& path,
                         std::uint64_t offset,
                         std::optional<std::uint64_t> length,
                         const std::function<Status(std::span<const std::byte>)>& sink) {
  DF_ASSIGN_OR_RETURN(const auto state, StateAt(revision));
  const std::optional<StoredFile> file = Told(*state, path);
  if (!file) return Fail(ErrorKind::kNotFound, "there is no file {}", (folder_ / path).string());
  fs::path source = folder_ / path;
  UniqueFd fd(open(source.c_str(), O_RDONLY | O_CLOEXEC));
  if (!IsNewest(*state)) {
    source = ObjectPath(file->sha256);
    fd = UniqueFd(open(source.c_str(), O_RDONLY | O_CLOEXEC));
  }
  if (!fd.valid()) return FailErrno(errno, fmt::format("cannot open {}", source.string()));

  const std::uint64_t begin = std::min(offset, file->size_bytes);
  std::uint64_t left = std::min(length.value_or(file->size_bytes), file->size_bytes - begin);
  std::vector<std::byte> buffer(kCopy_bytes);
  for (std::uint64_t at = begin; left > 0;) {
    const auto piece = std::span(buffer).first(std::min<std::uint64_t>(left, buffer.size()));
    DF_ASSIGN_OR_RETURN(const std::size_t count, ReadAt(fd.get(), at, piece, source));
    if (count < piece.size()) {
      return Fail(ErrorKind::kInvalidData,
                  "want {} bytes, have {}: {}",
                  file->size_bytes,
                  at + count,
                  source.string());
    }
    DF_RETURN_IF_ERROR(sink(piece));
    at += count;
    left -= count;
  }
  return {};
}

}  // namespace droidflow

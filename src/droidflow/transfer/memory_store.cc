#include "droidflow/transfer/memory_store.h"

#include "droidflow/transfer/checked_source_internal.h"
#include "droidflow/transfer/commit_check_internal.h"

#include <algorithm>
#include <charconv>
#include <set>

namespace droidflow {
namespace {

bool IsBelow(const std::string& path, const std::string& folder) {
  return folder.empty() || path.starts_with(folder + '/');
}

tl::unexpected<Error> FailNotPrepared() {
  return FailAs(store_status::kNoRepository, ErrorKind::kNotFound, "nothing was prepared: memory");
}

}  // namespace

void MemoryStore::SetHooks(Hook before, Hook after) {
  before_ = std::move(before);
  after_ = std::move(after);
}

int MemoryStore::CountOf(StoreCall call) const {
  const std::scoped_lock lock(mutex_);
  return counts_[static_cast<std::size_t>(call)];
}

void MemoryStore::DropUncommittedBytes() {
  const std::scoped_lock lock(mutex_);
  std::set<std::string> named;
  for (const Files& files : states_) {
    for (const auto& [path, file] : files) named.insert(file.sha256);
  }
  std::erase_if(bytes_, [&](const auto& entry) { return !named.contains(entry.first); });
}

Status MemoryStore::Before(StoreCall call, const std::string& path) {
  {
    const std::scoped_lock lock(mutex_);
    ++counts_[static_cast<std::size_t>(call)];
  }
  return before_ ? before_(call, path) : Status();
}

Status MemoryStore::After(StoreCall call, const std::string& path) {
  return after_ ? after_(call, path) : Status();
}

Status MemoryStore::Prepare() {
  DF_RETURN_IF_ERROR(Before(StoreCall::kPrepare));
  {
    const std::scoped_lock lock(mutex_);
    if (states_.empty()) states_.emplace_back();
  }
  return After(StoreCall::kPrepare);
}

Result<std::string> MemoryStore::Head() {
  DF_RETURN_IF_ERROR(Before(StoreCall::kHead));
  std::size_t newest = 0;
  {
    const std::scoped_lock lock(mutex_);
    newest = states_.size();
  }
  DF_RETURN_IF_ERROR(After(StoreCall::kHead));
  if (newest > 0) return std::to_string(newest);
  return FailNotPrepared();
}

Result<MemoryStore::Files> MemoryStore::FilesAt(const std::string& revision) const {
  const std::scoped_lock lock(mutex_);
  std::size_t number = 0;
  std::from_chars(revision.data(), revision.data() + revision.size(), number);
  if (number < 1 || number > states_.size()) {
    return Fail(ErrorKind::kNotFound, "there is no revision '{}': memory", revision);
  }
  return states_[number - 1];
}

Status MemoryStore::List(const std::string& revision,
                         const std::string& folder,
                         const std::function<void(StoredFile)>& tell) {
  DF_RETURN_IF_ERROR(Before(StoreCall::kList));
  DF_ASSIGN_OR_RETURN(const Files files, FilesAt(revision));
  for (const auto& [path, file] : files) {
    if (IsBelow(path, folder)) tell(file);
  }
  return After(StoreCall::kList);
}

Result<std::vector<std::optional<StoredFile>>> MemoryStore::Stat(
    const std::string& revision, std::span<const std::string> paths) {
  DF_RETURN_IF_ERROR(Before(StoreCall::kStat));
  DF_ASSIGN_OR_RETURN(const Files files, FilesAt(revision));
  std::vector<std::optional<StoredFile>> found;
  for (const std::string& path : paths) {
    const auto file = files.find(path);
    found.push_back(file == files.end() ? std::nullopt : std::optional(file->second));
  }
  DF_RETURN_IF_ERROR(After(StoreCall::kStat));
  return found;
}

Status MemoryStore::PutOne(const OutgoingFile& file) {
  DF_RETURN_IF_ERROR(Before(StoreCall::kPut, file.path));
  DF_RETURN_IF_ERROR(CheckStorePath(file.path));
  bool stored = false;
  {
    const std::scoped_lock lock(mutex_);
    stored = bytes_.contains(file.sha256);
  }
  if (!stored) {
    DF_ASSIGN_OR_RETURN(CheckedSource source, CheckedSource::Open(file));
    std::vector<std::byte> bytes(file.size_bytes);
    DF_RETURN_IF_ERROR(source.Read(bytes));
    const std::scoped_lock lock(mutex_);
    bytes_[file.sha256] = std::move(bytes);
  }
  return After(StoreCall::kPut, file.path);
}

std::vector<Status> MemoryStore::Put(std::span<const OutgoingFile> files) {
  std::vector<Status> results;
  for (const OutgoingFile& file : files) results.push_back(PutOne(file));
  return results;
}

Result<std::string> MemoryStore::CommitAll(const CommitRequest& request) {
  DF_RETURN_IF_ERROR(CheckCommit(request));
  const std::scoped_lock lock(mutex_);
  if (states_.empty()) return FailNotPrepared();
  const std::string head = std::to_string(states_.size());
  if (!request.parent.empty() && request.parent != head) {
    return FailAs(store_status::kHeadMoved,
                  ErrorKind::kTransient,
                  "want head {}, have {}: memory",
                  request.parent,
                  head);
  }
  Files files = states_.back();
  bool changed = false;
  for (const OutgoingFile& file : request.files) {
    if (const auto stands = files.find(file.path);
        stands != files.end() && SameContent(stands->second, file)) {
      continue;
    }
    if (!bytes_.contains(file.sha256)) {
      return FailAs(store_status::kBytesMissing,
                    ErrorKind::kTransient,
                    "the bytes of a file are not stored: {}",
                    file.path);
    }
    files[file.path] = {.path = file.path,
                        .size_bytes = file.size_bytes,
                        .sha256 = file.sha256,
                        .git_oid = file.git_oid};
    changed = true;
  }
  if (!changed) return head;
  states_.push_back(std::move(files));
  return std::to_string(states_.size());
}

Result<std::string> MemoryStore::Commit(const CommitRequest& request) {
  DF_RETURN_IF_ERROR(Before(StoreCall::kCommit));
  DF_ASSIGN_OR_RETURN(std::string head, CommitAll(request));
  DF_RETURN_IF_ERROR(After(StoreCall::kCommit));
  return head;
}

Status MemoryStore::Read(const std::string& revision,
                         const std::string& path,
                         std::uint64_t offset,
                         std::optional<std::uint64_t> length,
                         const std::function<Status(std::span<const std::byte>)>& sink) {
  DF_RETURN_IF_ERROR(Before(StoreCall::kRead, path));
  DF_ASSIGN_OR_RETURN(const Files files, FilesAt(revision));
  const auto file = files.find(path);
  if (file == files.end()) return Fail(ErrorKind::kNotFound, "there is no file {}", path);
  std::vector<std::byte> bytes;
  {
    const std::scoped_lock lock(mutex_);
    bytes = bytes_.at(file->second.sha256);
  }
  const std::size_t begin = std::min<std::uint64_t>(offset, bytes.size());
  const std::size_t count =
      std::min<std::uint64_t>(length.value_or(bytes.size()), bytes.size() - begin);
  if (count > 0) DF_RETURN_IF_ERROR(sink(std::span(bytes).subspan(begin, count)));
  return After(StoreCall::kRead, path);
}

}  // namespace droidflow

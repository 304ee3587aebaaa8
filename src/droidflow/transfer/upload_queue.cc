#include "droidflow/transfer/upload_queue.h"

#include "droidflow/core/check.h"
#include "droidflow/core/sqlite.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <unordered_map>
#include <utility>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr int kSchemaVersion = 1;
constexpr std::int64_t kHour_ms = 3'600'000;

// `removable`: confirmed, and no other entry waits for its folder. `shard`: the entry it is packed
// in. `number` counts the index that is being written; readers see `generation`.
constexpr const char kSchema[] = R"(
CREATE TABLE entry (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  destination TEXT NOT NULL,
  key TEXT NOT NULL,
  root TEXT NOT NULL,
  folder TEXT NOT NULL,
  prefix TEXT NOT NULL,
  files INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  is_shard INTEGER NOT NULL DEFAULT 0,
  shard INTEGER,
  state INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  revision TEXT NOT NULL DEFAULT '',
  status TEXT NOT NULL DEFAULT '',
  reason TEXT NOT NULL DEFAULT '',
  removable INTEGER NOT NULL DEFAULT 0,
  UNIQUE (destination, key)
);
CREATE INDEX entry_by_state ON entry (destination, state, is_shard, id, files, bytes);
CREATE INDEX entry_by_folder ON entry (folder, root);
CREATE INDEX entry_by_shard ON entry (shard) WHERE shard IS NOT NULL;
CREATE INDEX entry_removable ON entry (id) WHERE removable = 1;
CREATE TABLE file (
  entry INTEGER NOT NULL,
  name TEXT NOT NULL,
  size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  sha256 TEXT NOT NULL DEFAULT '',
  git_oid TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (entry, name)
) WITHOUT ROWID;
CREATE INDEX file_by_inode ON file (inode, size, mtime_ns) WHERE sha256 <> '';
CREATE TABLE ours (
  destination TEXT NOT NULL,
  path TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  git_oid TEXT NOT NULL,
  PRIMARY KEY (destination, path, sha256)
) WITHOUT ROWID;
CREATE TABLE destination (
  name TEXT NOT NULL PRIMARY KEY,
  place TEXT NOT NULL DEFAULT '',
  shards INTEGER NOT NULL DEFAULT 0,
  number INTEGER NOT NULL DEFAULT 0,
  generation INTEGER NOT NULL DEFAULT 0,
  revision TEXT NOT NULL DEFAULT ''
);
CREATE TABLE listed (
  destination TEXT NOT NULL,
  generation INTEGER NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (destination, generation, name)
) WITHOUT ROWID;
CREATE TABLE commit_time (id INTEGER PRIMARY KEY AUTOINCREMENT, unix_ms INTEGER NOT NULL);
CREATE TABLE identity (id TEXT NOT NULL);
)";

constexpr const char kEntryColumns[] =
    "id, attempts, is_shard, revision, destination, key, root, folder, prefix, files, bytes";

/// The first part of an entry's folder; empty when it has one part only.
constexpr const char kGroup[] = "substr(folder, 1, max(0, instr(folder, '/') - 1))";

fs::path QueuePath(const fs::path& dir) { return dir / "upload.sqlite"; }

Error Named(Error error) {
  if (error.kind == ErrorKind::kInvalidData) {
    error.status = "upload_queue_damaged";
    error.message = "the upload queue is damaged, rebuild it from the disk: " + error.message;
  }
  return error;
}

/// A statement in use, ready for the next one afterwards.
class Query {
 public:
  explicit Query(Statement& statement) : statement_(&statement) {}
  Query(Query&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}
  Query& operator=(Query&&) = delete;
  ~Query() {
    if (statement_ != nullptr) statement_->Reset();
  }
  [[nodiscard]] Result<bool> Next() { return statement_->Step().map_error(Named); }
  const Statement* operator->() const { return statement_; }

 private:
  Statement* statement_;
};

bool IsPlain(std::string_view path) {
  if (path.starts_with('/') || path.find('\0') != std::string_view::npos) return false;
  const fs::path parts(path);
  return std::ranges::none_of(parts, [](const fs::path& part) { return part == ".."; });
}

Status CheckEntry(const UploadEntry& entry) {
  const auto wrong = [&](std::string_view what, std::string_view have) {
    return Fail(ErrorKind::kInvalidData,
                "upload {} to {}: {}, have '{}'",
                entry.key,
                entry.destination,
                what,
                have);
  };
  if (entry.files.empty()) return wrong("want files", "");
  if (!IsPlain(entry.folder)) return wrong("want a folder below the root", entry.folder);
  if (!IsPlain(entry.prefix)) return wrong("want a folder of the store", entry.prefix);
  for (const UploadFile& file : entry.files) {
    if (file.name.empty() || !IsPlain(file.name)) return wrong("want names below it", file.name);
  }
  return {};
}

std::string NewIdentity() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

/// A finished database under another name, then linked: nobody ever sees one without its tables.
Status MakeDatabase(const fs::path& dir) {
  const fs::path path = QueuePath(dir);
  const fs::path temporary = path.string() + fmt::format(".new-{}", getpid());
  DF_RETURN_IF_ERROR(RemoveTree(temporary));
  {
    DF_ASSIGN_OR_RETURN(Database database,
                        Database::Open(temporary, Database::Mode::kReadWriteCreate));
    DF_RETURN_IF_ERROR(
        database.Execute(fmt::format("BEGIN; {} INSERT INTO identity VALUES ('{}'); "
                                     "PRAGMA user_version = {}; COMMIT",
                                     kSchema,
                                     NewIdentity(),
                                     kSchemaVersion)));
  }
  const bool failed = link(temporary.c_str(), path.c_str()) != 0 && errno != EEXIST;
  const int error_number = errno;
  DF_RETURN_IF_ERROR(RemoveTree(temporary));
  if (failed) return FailErrno(error_number, fmt::format("cannot make {}", path.string()));
  return {};
}

}  // namespace

const char* ToString(UploadState state) {
  switch (state) {
    case UploadState::kStaged:
      return "staged";
    case UploadState::kStored:
      return "stored";
    case UploadState::kCommitted:
      return "committed";
    case UploadState::kConfirmed:
      return "confirmed";
    case UploadState::kParked:
      return "parked";
    case UploadState::kPacked:
      return "packed";
  }
  return "unknown";
}

Result<UploadFile> StampUploadFile(const UploadEntry& entry, const std::string& name) {
  const fs::path path = entry.root / entry.folder / name;
  struct stat info = {};
  if (lstat(path.c_str(), &info) != 0) {
    return FailErrno(errno, fmt::format("cannot stat {}", path.string()));
  }
  if (!S_ISREG(info.st_mode)) {
    return Fail(ErrorKind::kInvalidData, "want a regular file: {}", path.string());
  }
  return UploadFile{
      .name = name,
      .size_bytes = static_cast<std::uint64_t>(info.st_size),
      .mtime_ns = info.st_mtim.tv_sec * std::int64_t{1'000'000'000} + info.st_mtim.tv_nsec,
      .inode = info.st_ino};
}

Result<std::vector<UploadFile>> ListUploadFiles(const fs::path& root, const std::string& folder) {
  DF_ASSIGN_OR_RETURN(const std::vector<FileStamp> stamps, ListFiles(root / folder));
  const UploadEntry entry{
      .destination = {}, .key = {}, .root = root, .folder = folder, .prefix = {}};
  std::vector<UploadFile> files;
  for (const FileStamp& stamp : stamps) {
    DF_ASSIGN_OR_RETURN(UploadFile file, StampUploadFile(entry, stamp.name));
    files.push_back(std::move(file));
  }
  if (files.empty()) {
    return Fail(ErrorKind::kNotFound, "no files below {}", (root / folder).string());
  }
  return files;
}

struct UploadQueue::Impl {
  Database database;
  fs::path dir;
  // Destroyed before the database.
  std::unordered_map<std::string_view, Statement> statements = {};

  /// Every statement is prepared once; `sql` must be a literal.
  template <typename... Args>
  Result<Query> Ask(std::string_view sql, const Args&... args) {
    auto found = statements.find(sql);
    if (found == statements.end()) {
      DF_ASSIGN_OR_RETURN(Statement statement, database.Prepare(sql).map_error(Named));
      found = statements.emplace(sql, std::move(statement)).first;
    }
    [[maybe_unused]] int position = 0;
    (BindOne(found->second, ++position, args), ...);
    return Query(found->second);
  }
  template <typename... Args>
  Status Run(std::string_view sql, const Args&... args) {
    DF_ASSIGN_OR_RETURN(Query query, Ask(sql, args...));
    for (;;) {
      DF_ASSIGN_OR_RETURN(const bool has_row, query.Next());
      if (!has_row) return {};
    }
  }
  /// The first column of the first row; nothing without a row.
  template <typename... Args>
  Result<std::optional<std::int64_t>> AskInt(std::string_view sql, const Args&... args) {
    DF_ASSIGN_OR_RETURN(Query query, Ask(sql, args...));
    DF_ASSIGN_OR_RETURN(const bool has_row, query.Next());
    if (!has_row) return std::nullopt;
    return query->ColumnInt(0);
  }
  Result<std::int64_t> Changes() {
    DF_ASSIGN_OR_RETURN(const std::optional<std::int64_t> count, AskInt("SELECT changes()"));
    return count.value_or(0);
  }
  template <typename Body>
  Status Transact(Body body) {
    return InTransaction(database, body).map_error(Named);
  }
  /// The same for a body that gives a number.
  template <typename Body>
  Result<std::int64_t> TransactInt(Body body) {
    std::int64_t value = 0;
    const Status status = Transact([&]() -> Status {
      DF_ASSIGN_OR_RETURN(value, body());
      return {};
    });
    if (!status) return tl::unexpected(status.error());
    return value;
  }

  template <typename... Args>
  Result<Query> AskSelected(std::string_view sql, const Selection& selection, const Args&... args) {
    return Ask(sql,
               selection.destination,
               static_cast<std::int64_t>(selection.state),
               std::int64_t{selection.shards},
               args...);
  }

  Status Insert(const UploadEntry& entry, bool is_shard);
  Status Supersede(std::int64_t id, const UploadEntry& old);
  Status InsertOurs(const std::string& destination,
                    const std::string& path,
                    const std::string& sha256,
                    const std::string& git_oid) {
    return Run(
        "INSERT OR IGNORE INTO ours VALUES (?1, ?2, ?3, ?4)", destination, path, sha256, git_oid);
  }
  Result<std::vector<QueuedEntry>> ReadEntries(Query rows,
                                               std::int64_t max_files,
                                               std::int64_t max_bytes);
  Status LoadFiles(std::int64_t id, UploadEntry& entry);
  Status MarkEach(std::span<const QueuedEntry> entries,
                  UploadState state,
                  std::string_view revision);

 private:
  static void BindOne(Statement& statement, int position, std::string_view value) {
    statement.Bind(position, value);
  }
  static void BindOne(Statement& statement, int position, std::int64_t value) {
    statement.Bind(position, value);
  }
};

Status UploadQueue::Impl::LoadFiles(std::int64_t id, UploadEntry& entry) {
  DF_ASSIGN_OR_RETURN(Query rows,
                      Ask("SELECT name, size, mtime_ns, inode, sha256, git_oid FROM file "
                          "WHERE entry = ?1 ORDER BY name",
                          id));
  for (;;) {
    DF_ASSIGN_OR_RETURN(const bool has_row, rows.Next());
    if (!has_row) return {};
    entry.files.push_back({.name = std::string(rows->ColumnText(0)),
                           .size_bytes = static_cast<std::uint64_t>(rows->ColumnInt(1)),
                           .mtime_ns = rows->ColumnInt(2),
                           .inode = static_cast<std::uint64_t>(rows->ColumnInt(3)),
                           .sha256 = std::string(rows->ColumnText(4)),
                           .git_oid = std::string(rows->ColumnText(5))});
  }
}

Result<std::vector<QueuedEntry>> UploadQueue::Impl::ReadEntries(Query rows,
                                                                std::int64_t max_files,
                                                                std::int64_t max_bytes) {
  std::vector<QueuedEntry> entries;
  for (;;) {
    DF_ASSIGN_OR_RETURN(const bool has_row, rows.Next());
    if (!has_row) return entries;
    max_files -= rows->ColumnInt(9);
    max_bytes -= rows->ColumnInt(10);
    if (!entries.empty() && (max_files < 0 || max_bytes < 0)) return entries;
    QueuedEntry queued{.id = rows->ColumnInt(0),
                       .attempts = rows->ColumnInt(1),
                       .is_shard = rows->ColumnInt(2) != 0,
                       .revision = std::string(rows->ColumnText(3)),
                       .entry = {.destination = std::string(rows->ColumnText(4)),
                                 .key = std::string(rows->ColumnText(5)),
                                 .root = rows->ColumnText(6),
                                 .folder = std::string(rows->ColumnText(7)),
                                 .prefix = std::string(rows->ColumnText(8))}};
    DF_RETURN_IF_ERROR(LoadFiles(queued.id, queued.entry));
    entries.push_back(std::move(queued));
  }
}

Status UploadQueue::Impl::Insert(const UploadEntry& entry, bool is_shard) {
  std::int64_t bytes = 0;
  for (const UploadFile& file : entry.files) bytes += static_cast<std::int64_t>(file.size_bytes);
  DF_RETURN_IF_ERROR(
      Run("INSERT INTO entry (destination, key, root, folder, prefix, files, bytes, is_shard) "
          "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
          entry.destination,
          entry.key,
          entry.root.string(),
          entry.folder,
          entry.prefix,
          static_cast<std::int64_t>(entry.files.size()),
          bytes,
          std::int64_t{is_shard}));
  DF_ASSIGN_OR_RETURN(const std::optional<std::int64_t> id, AskInt("SELECT last_insert_rowid()"));
  for (const UploadFile& file : entry.files) {
    DF_RETURN_IF_ERROR(
        Run("INSERT OR REPLACE INTO file (entry, name, size, mtime_ns, inode, sha256, git_oid) "
            "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            *id,
            file.name,
            static_cast<std::int64_t>(file.size_bytes),
            file.mtime_ns,
            static_cast<std::int64_t>(file.inode),
            file.sha256,
            file.git_oid));
  }
  return {};
}

Status UploadQueue::Impl::Supersede(std::int64_t id, const UploadEntry& old) {
  // It may be in flight: what it puts there must not be taken for somebody else's.
  for (const UploadFile& file : old.files) {
    if (file.sha256.empty()) continue;
    DF_RETURN_IF_ERROR(InsertOurs(old.destination, old.PathOf(file), file.sha256, file.git_oid));
  }
  DF_RETURN_IF_ERROR(Run("DELETE FROM file WHERE entry = ?1", id));
  return Run("DELETE FROM entry WHERE id = ?1", id);
}

Status UploadQueue::Impl::MarkEach(std::span<const QueuedEntry> entries,
                                   UploadState state,
                                   std::string_view revision) {
  for (const QueuedEntry& queued : entries) {
    DF_RETURN_IF_ERROR(Run("UPDATE entry SET state = ?2, revision = ?3 WHERE id = ?1",
                           queued.id,
                           static_cast<std::int64_t>(state),
                           revision));
  }
  return {};
}

UploadQueue::UploadQueue(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
UploadQueue::UploadQueue(UploadQueue&&) noexcept = default;
UploadQueue& UploadQueue::operator=(UploadQueue&&) noexcept = default;
UploadQueue::~UploadQueue() = default;

const fs::path& UploadQueue::dir() const { return impl_->dir; }

Result<UploadQueue> UploadQueue::Open(const fs::path& dir) {
  DF_RETURN_IF_ERROR(MakeDirectories(dir));
  const fs::path path = QueuePath(dir);
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT) return FailErrno(errno, fmt::format("cannot stat {}", path.string()));
    DF_RETURN_IF_ERROR(MakeDatabase(dir));
  } else if (info.st_size == 0) {
    // SQLite would take it for a new database.
    return tl::unexpected(Named({ErrorKind::kInvalidData,
                                 fmt::format("want a database, have 0 bytes: {}", path.string())}));
  }
  DF_ASSIGN_OR_RETURN(Database database,
                      Database::Open(path, Database::Mode::kReadWriteCreate).map_error(Named));
  auto impl = std::make_unique<Impl>(Impl{.database = std::move(database), .dir = dir});
  DF_ASSIGN_OR_RETURN(const std::optional<std::int64_t> version,
                      impl->AskInt("PRAGMA user_version"));
  if (version.value_or(0) > kSchemaVersion) {
    return Fail(ErrorKind::kUnsupported,
                "the upload queue has version {}, want {} or older: {}",
                *version,
                kSchemaVersion,
                path.string());
  }
  if (version.value_or(0) < kSchemaVersion) {
    return tl::unexpected(Named(
        {ErrorKind::kInvalidData, fmt::format("the database holds no queue: {}", path.string())}));
  }
  return UploadQueue(std::move(impl));
}

Result<UploadQueue> UploadQueue::RebuildFromDisk(const fs::path& dir,
                                                 std::span<const fs::path> roots,
                                                 const DescribeFolder& describe) {
  DF_ASSIGN_OR_RETURN(const UploaderLock lock, UploaderLock::Acquire(dir));
  const fs::path path = QueuePath(dir);
  std::error_code error;
  if (fs::exists(path, error)) {
    int n = 1;
    while (fs::exists(path.string() + fmt::format(".damaged-{}", n), error)) ++n;
    for (const char* const suffix : {"", "-wal", "-shm"}) {
      const fs::path from = path.string() + suffix;
      if (!fs::exists(from, error)) continue;
      fs::rename(from, path.string() + fmt::format(".damaged-{}{}", n, suffix), error);
      if (error) return FailErrno(error.value(), fmt::format("cannot rename {}", from.string()));
    }
  }
  DF_ASSIGN_OR_RETURN(UploadQueue queue, Open(dir));
  for (const fs::path& root : roots) {
    fs::recursive_directory_iterator at(root, error);
    for (const fs::recursive_directory_iterator end; !error && at != end; at.increment(error)) {
      std::error_code gone;
      if (!at->is_directory(gone) || at->is_symlink(gone)) continue;
      const std::string folder = at->path().lexically_relative(root).generic_string();
      std::vector<UploadEntry> entries = describe(root, folder);
      if (entries.empty()) continue;
      at.disable_recursion_pending();
      DF_ASSIGN_OR_RETURN(const std::vector<UploadFile> files, ListUploadFiles(root, folder));
      for (UploadEntry& entry : entries) {
        if (entry.files.empty()) entry.files = files;
      }
      DF_RETURN_IF_ERROR(queue.Enqueue(entries));
    }
    if (error) return FailErrno(error.value(), fmt::format("cannot list {}", root.string()));
  }
  return queue;
}

Status UploadQueue::Enqueue(std::span<const UploadEntry> entries) {
  for (const UploadEntry& entry : entries) DF_RETURN_IF_ERROR(CheckEntry(entry));
  return impl_->Transact([&]() -> Status {
    for (const UploadEntry& entry : entries) {
      std::optional<QueuedEntry> known;
      {
        DF_ASSIGN_OR_RETURN(Query row,
                            impl_->Ask("SELECT id, root, folder, prefix FROM entry "
                                       "WHERE destination = ?1 AND key = ?2",
                                       entry.destination,
                                       entry.key));
        DF_ASSIGN_OR_RETURN(const bool has_row, row.Next());
        if (has_row) {
          known = {.id = row->ColumnInt(0),
                   .entry = {.destination = entry.destination,
                             .key = entry.key,
                             .root = row->ColumnText(1),
                             .folder = std::string(row->ColumnText(2)),
                             .prefix = std::string(row->ColumnText(3))}};
        }
      }
      if (known) {
        UploadEntry& old = known->entry;
        DF_RETURN_IF_ERROR(impl_->LoadFiles(known->id, old));
        std::vector<UploadFile> files = entry.files;
        std::ranges::sort(files, {}, &UploadFile::name);
        const bool same =
            old.root == entry.root && old.folder == entry.folder && old.prefix == entry.prefix &&
            std::ranges::equal(old.files, files, [](const UploadFile& a, const UploadFile& b) {
              return a.name == b.name && a.SameStamp(b);
            });
        if (same) continue;
        DF_RETURN_IF_ERROR(impl_->Supersede(known->id, old));
      }
      DF_RETURN_IF_ERROR(impl_->Insert(entry, /*is_shard=*/false));
      DF_RETURN_IF_ERROR(impl_->Run(
          "UPDATE entry SET removable = 0 WHERE folder = ?1 AND root = ?2 AND removable = 1",
          entry.folder,
          entry.root.string()));
    }
    return {};
  });
}

Result<std::map<std::string, UploadCounts>> UploadQueue::Counts() {
  DF_ASSIGN_OR_RETURN(
      Query rows,
      impl_->Ask("SELECT e.destination, coalesce(s.state, e.state), count(*), sum(e.files), "
                 "sum(e.bytes) FROM entry e LEFT JOIN entry s ON s.id = e.shard "
                 "WHERE e.is_shard = 0 GROUP BY 1, 2"));
  std::map<std::string, UploadCounts> counts;
  for (;;) {
    DF_ASSIGN_OR_RETURN(const bool has_row, rows.Next());
    if (!has_row) return counts;
    counts[std::string(rows->ColumnText(0))].by_state.at(
        static_cast<std::size_t>(rows->ColumnInt(1))) = {
        .episodes = rows->ColumnInt(2), .files = rows->ColumnInt(3), .bytes = rows->ColumnInt(4)};
  }
}

Result<std::vector<ParkedEpisode>> UploadQueue::Parked(int limit) {
  DF_ASSIGN_OR_RETURN(
      Query rows,
      impl_->Ask("SELECT destination, key, status, reason FROM entry WHERE state = 4 "
                 "ORDER BY id LIMIT ?1",
                 std::int64_t{limit}));
  std::vector<ParkedEpisode> parked;
  for (;;) {
    DF_ASSIGN_OR_RETURN(const bool has_row, rows.Next());
    if (!has_row) return parked;
    parked.push_back({.destination = std::string(rows->ColumnText(0)),
                      .key = std::string(rows->ColumnText(1)),
                      .status = std::string(rows->ColumnText(2)),
                      .reason = std::string(rows->ColumnText(3))});
  }
}

Result<bool> UploadQueue::IsConfirmed(std::string_view key, std::string_view destination) {
  DF_ASSIGN_OR_RETURN(
      const std::optional<std::int64_t> state,
      impl_->AskInt(
          "SELECT state FROM entry WHERE destination = ?1 AND key = ?2", destination, key));
  return state == static_cast<std::int64_t>(UploadState::kConfirmed);
}

Result<std::int64_t> UploadQueue::Unpark(std::string_view destination) {
  return impl_->TransactInt([&]() -> Result<std::int64_t> {
    DF_RETURN_IF_ERROR(
        impl_->Run("UPDATE entry SET state = 0, attempts = 0, status = '', reason = '' "
                   "WHERE destination = ?1 AND state = 4",
                   destination));
    return impl_->Changes();
  });
}

Result<bool> UploadQueue::IsInRepository(std::string_view destination,
                                         std::string_view key,
                                         std::string_view prefix,
                                         std::span<const std::string> names) {
  const auto is_listed = [&](const std::string& name) {
    return impl_->AskInt(
        "SELECT 1 FROM listed l JOIN destination d ON d.name = l.destination "
        "AND d.generation = l.generation WHERE l.destination = ?1 AND l.name = ?2",
        destination,
        name);
  };
  // No path begins with '/': that is how the episodes in shards are told from files.
  DF_ASSIGN_OR_RETURN(const std::optional<std::int64_t> in_shard,
                      is_listed("/" + std::string(key)));
  if (in_shard) return true;
  for (const std::string& name : names) {
    DF_ASSIGN_OR_RETURN(const std::optional<std::int64_t> listed,
                        is_listed(prefix.empty() ? name : std::string(prefix) + "/" + name));
    if (!listed) return false;
  }
  return !names.empty();
}

Status UploadQueue::CheckIntegrity() {
  DF_ASSIGN_OR_RETURN(Query rows, impl_->Ask("PRAGMA quick_check(1)"));
  DF_ASSIGN_OR_RETURN(const bool has_row, rows.Next());
  if (has_row && rows->ColumnText(0) == "ok") return {};
  return tl::unexpected(Named({ErrorKind::kInvalidData,
                               fmt::format("{}: {}",
                                           has_row ? rows->ColumnText(0) : "no answer",
                                           QueuePath(impl_->dir).string())}));
}

Status UploadQueue::BindDestination(const std::string& destination, const std::string& place) {
  return impl_->Transact([&]() -> Status {
    DF_RETURN_IF_ERROR(
        impl_->Run("INSERT OR IGNORE INTO destination (name) VALUES (?1)", destination));
    DF_RETURN_IF_ERROR(impl_->Run(
        "UPDATE destination SET place = ?2 WHERE name = ?1 AND (place = '' OR NOT ("
        "EXISTS (SELECT 1 FROM entry WHERE destination = ?1 AND (state <> 0 OR is_shard <> 0)) OR "
        "EXISTS (SELECT 1 FROM ours WHERE destination = ?1)))",
        destination,
        place));
    DF_ASSIGN_OR_RETURN(Query row,
                        impl_->Ask("SELECT place FROM destination WHERE name = ?1", destination));
    DF_ASSIGN_OR_RETURN(const bool has_row, row.Next());
    DF_CHECK(has_row);
    if (row->ColumnText(0) == place) return {};
    return Fail(
        ErrorKind::kUsage,
        "destination {} of this queue is {}, not {}; end its uploads, or remove the queue to "
        "begin anew: {}",
        destination,
        row->ColumnText(0),
        place,
        QueuePath(impl_->dir).string());
  });
}

namespace {

constexpr const char kSelected[] = "destination = ?1 AND state = ?2 AND is_shard = ?3";

}  // namespace

Result<std::vector<QueuedEntry>> UploadQueue::Take(const Selection& selection,
                                                   std::int64_t after,
                                                   std::int64_t max_files,
                                                   std::int64_t max_bytes) {
  static const std::string sql = fmt::format(
      "SELECT {} FROM entry WHERE {} AND id > ?4 ORDER BY id", kEntryColumns, kSelected);
  DF_ASSIGN_OR_RETURN(Query rows, impl_->AskSelected(sql, selection, after));
  return impl_->ReadEntries(std::move(rows), max_files, max_bytes);
}

Result<std::vector<QueuedEntry>> UploadQueue::TakeOfGroup(const Selection& selection,
                                                          const std::string& group,
                                                          std::int64_t max_bytes) {
  static const std::string sql = fmt::format(
      "SELECT {} FROM entry WHERE {} AND {} = ?4 ORDER BY id", kEntryColumns, kSelected, kGroup);
  DF_ASSIGN_OR_RETURN(Query rows, impl_->AskSelected(sql, selection, group));
  return impl_->ReadEntries(std::move(rows), INT64_MAX, max_bytes);
}

Result<std::vector<QueuedEntry>> UploadQueue::TakeNewest(const Selection& selection, int limit) {
  static const std::string sql = fmt::format(
      "SELECT {} FROM entry WHERE {} ORDER BY id DESC LIMIT ?4", kEntryColumns, kSelected);
  DF_ASSIGN_OR_RETURN(Query rows, impl_->AskSelected(sql, selection, std::int64_t{limit}));
  return impl_->ReadEntries(std::move(rows), INT64_MAX, INT64_MAX);
}

Result<UploadTotals> UploadQueue::Totals(const Selection& selection) {
  static const std::string sql = fmt::format(
      "SELECT count(*), coalesce(sum(files), 0), coalesce(sum(bytes), 0) FROM entry WHERE {}",
      kSelected);
  DF_ASSIGN_OR_RETURN(Query row, impl_->AskSelected(sql, selection));
  DF_ASSIGN_OR_RETURN(const bool has_row, row.Next());
  DF_CHECK(has_row);
  return UploadTotals{
      .episodes = row->ColumnInt(0), .files = row->ColumnInt(1), .bytes = row->ColumnInt(2)};
}

Result<std::map<std::string, std::int64_t>> UploadQueue::BytesByGroup(const Selection& selection) {
  static const std::string sql =
      fmt::format("SELECT {}, sum(bytes) FROM entry WHERE {} GROUP BY 1", kGroup, kSelected);
  DF_ASSIGN_OR_RETURN(Query rows, impl_->AskSelected(sql, selection));
  std::map<std::string, std::int64_t> bytes;
  for (;;) {
    DF_ASSIGN_OR_RETURN(const bool has_row, rows.Next());
    if (!has_row) return bytes;
    bytes[std::string(rows->ColumnText(0))] = rows->ColumnInt(1);
  }
}

Result<bool> UploadQueue::HasUnfinished(const std::string& destination) {
  DF_ASSIGN_OR_RETURN(
      const std::optional<std::int64_t> found,
      impl_->AskInt("SELECT 1 FROM entry WHERE destination = ?1 AND state IN (0, 1, 2) LIMIT 1",
                    destination));
  return found.has_value();
}

Result<bool> UploadQueue::RecallHash(UploadFile& file) {
  DF_ASSIGN_OR_RETURN(Query row,
                      impl_->Ask("SELECT sha256, git_oid FROM file WHERE inode = ?1 AND size = ?2 "
                                 "AND mtime_ns = ?3 AND sha256 <> '' LIMIT 1",
                                 static_cast<std::int64_t>(file.inode),
                                 static_cast<std::int64_t>(file.size_bytes),
                                 file.mtime_ns));
  DF_ASSIGN_OR_RETURN(const bool has_row, row.Next());
  if (!has_row) return false;
  file.sha256 = row->ColumnText(0);
  file.git_oid = row->ColumnText(1);
  return true;
}

Status UploadQueue::SetFiles(const QueuedEntry& queued) {
  return impl_->Transact([&]() -> Status {
    std::int64_t bytes = 0;
    for (const UploadFile& file : queued.entry.files) {
      DF_RETURN_IF_ERROR(impl_->Run(
          "UPDATE file SET size = ?3, mtime_ns = ?4, inode = ?5, sha256 = ?6, git_oid = ?7 "
          "WHERE entry = ?1 AND name = ?2",
          queued.id,
          file.name,
          static_cast<std::int64_t>(file.size_bytes),
          file.mtime_ns,
          static_cast<std::int64_t>(file.inode),
          file.sha256,
          file.git_oid));
      bytes += static_cast<std::int64_t>(file.size_bytes);
    }
    return impl_->Run("UPDATE entry SET bytes = ?2 WHERE id = ?1", queued.id, bytes);
  });
}

Status UploadQueue::MarkStored(std::span<const QueuedEntry> entries) {
  return impl_->Transact([&] { return impl_->MarkEach(entries, UploadState::kStored, ""); });
}

Status UploadQueue::MarkCommitted(std::span<const QueuedEntry> entries,
                                  const std::string& revision) {
  return impl_->Transact(
      [&] { return impl_->MarkEach(entries, UploadState::kCommitted, revision); });
}

Result<UploadTotals> UploadQueue::MarkConfirmed(std::span<const QueuedEntry> entries) {
  UploadTotals totals;
  // Files are removed next: only now a power cut must not take it back.
  DF_RETURN_IF_ERROR(impl_->database.Execute("PRAGMA synchronous = FULL"));
  const Status status = impl_->Transact([&]() -> Status {
    for (const QueuedEntry& queued : entries) {
      DF_RETURN_IF_ERROR(
          impl_->Run("UPDATE entry SET state = 3 WHERE id = ?1 OR shard = ?1", queued.id));
      DF_RETURN_IF_ERROR(impl_->Run(
          "UPDATE entry AS e SET removable = 1 WHERE state = 3 AND (folder, root) IN "
          "(SELECT folder, root FROM entry WHERE id = ?1 OR shard = ?1) AND NOT EXISTS "
          "(SELECT 1 FROM entry o WHERE o.folder = e.folder AND o.root = e.root AND o.state <> 3)",
          queued.id));
      DF_ASSIGN_OR_RETURN(
          Query row,
          impl_->Ask("SELECT count(*), coalesce(sum(files), 0), coalesce(sum(bytes), 0) "
                     "FROM entry WHERE (id = ?1 OR shard = ?1) AND is_shard = 0",
                     queued.id));
      DF_ASSIGN_OR_RETURN(const bool has_row, row.Next());
      DF_CHECK(has_row);
      totals.episodes += row->ColumnInt(0);
      totals.files += row->ColumnInt(1);
      totals.bytes += row->ColumnInt(2);
    }
    return {};
  });
  DF_RETURN_IF_ERROR(impl_->database.Execute("PRAGMA synchronous = NORMAL"));
  if (!status) return tl::unexpected(status.error());
  return totals;
}

Status UploadQueue::Restage(std::span<const QueuedEntry> entries, bool forget_hashes) {
  return impl_->Transact([&]() -> Status {
    for (const QueuedEntry& queued : entries) {
      DF_RETURN_IF_ERROR(impl_->Run(
          "UPDATE entry SET state = 0, attempts = attempts + 1 WHERE id = ?1", queued.id));
      if (!forget_hashes) continue;
      DF_RETURN_IF_ERROR(
          impl_->Run("UPDATE file SET sha256 = '', git_oid = '' WHERE entry = ?1", queued.id));
    }
    return {};
  });
}

Status UploadQueue::Park(const QueuedEntry& queued,
                         const std::string& status,
                         const std::string& reason) {
  return impl_->Transact([&] {
    return impl_->Run("UPDATE entry SET state = 4, status = ?2, reason = ?3 WHERE id = ?1",
                      queued.id,
                      status,
                      reason);
  });
}

Result<bool> UploadQueue::IsOurs(const std::string& destination,
                                 const std::string& path,
                                 const std::string& sha256,
                                 const std::string& git_oid) {
  DF_ASSIGN_OR_RETURN(const std::optional<std::int64_t> found,
                      impl_->AskInt("SELECT 1 FROM ours WHERE destination = ?1 AND path = ?2 AND "
                                    "(sha256 = ?3 OR (git_oid <> '' AND git_oid = ?4))",
                                    destination,
                                    path,
                                    sha256,
                                    git_oid));
  return found.has_value();
}

Status UploadQueue::AddOurs(const std::string& destination,
                            const std::string& path,
                            const std::string& sha256,
                            const std::string& git_oid) {
  return impl_->Transact([&] { return impl_->InsertOurs(destination, path, sha256, git_oid); });
}

Result<std::vector<QueuedEntry>> UploadQueue::TakeRemovable(bool only_shards, int limit) {
  static const std::string sql = fmt::format(
      "SELECT {} FROM entry WHERE removable = 1 AND is_shard >= ?1 ORDER BY id LIMIT ?2",
      kEntryColumns);
  DF_ASSIGN_OR_RETURN(Query rows, impl_->Ask(sql, std::int64_t{only_shards}, std::int64_t{limit}));
  return impl_->ReadEntries(std::move(rows), INT64_MAX, INT64_MAX);
}

Status UploadQueue::MarkRemoved(const QueuedEntry& queued) {
  return impl_->Transact(
      [&] { return impl_->Run("UPDATE entry SET removable = 0 WHERE id = ?1", queued.id); });
}

Result<std::int64_t> UploadQueue::TakeCommitSlot(int budget, std::int64_t unix_ms) {
  return impl_->TransactInt([&]() -> Result<std::int64_t> {
    // A clock that was set back must not hold commits for longer than an hour.
    DF_RETURN_IF_ERROR(
        impl_->Run("UPDATE commit_time SET unix_ms = ?1 WHERE unix_ms > ?1", unix_ms));
    DF_RETURN_IF_ERROR(
        impl_->Run("DELETE FROM commit_time WHERE unix_ms <= ?1", unix_ms - kHour_ms));
    DF_ASSIGN_OR_RETURN(
        const std::optional<std::int64_t> oldest,
        impl_->AskInt("SELECT unix_ms FROM commit_time ORDER BY unix_ms DESC LIMIT 1 OFFSET ?1",
                      std::int64_t{std::max(budget, 1) - 1}));
    if (oldest) return std::max<std::int64_t>(1, *oldest + kHour_ms - unix_ms);
    DF_RETURN_IF_ERROR(impl_->Run("INSERT INTO commit_time (unix_ms) VALUES (?1)", unix_ms));
    return 0;
  });
}

Status UploadQueue::ReturnCommitSlot() {
  return impl_->Transact([&] {
    return impl_->Run("DELETE FROM commit_time WHERE id = (SELECT max(id) FROM commit_time)");
  });
}

Result<std::string> UploadQueue::QueueId() {
  DF_ASSIGN_OR_RETURN(Query row, impl_->Ask("SELECT id FROM identity"));
  DF_ASSIGN_OR_RETURN(const bool has_row, row.Next());
  DF_CHECK(has_row);
  return std::string(row->ColumnText(0));
}

Result<std::int64_t> UploadQueue::NextShardNumber(const std::string& destination) {
  DF_ASSIGN_OR_RETURN(const std::optional<std::int64_t> number,
                      impl_->AskInt("SELECT shards FROM destination WHERE name = ?1", destination));
  return number.value_or(0);
}

Status UploadQueue::AddShard(const UploadEntry& shard, std::span<const QueuedEntry> episodes) {
  return impl_->Transact([&]() -> Status {
    DF_RETURN_IF_ERROR(impl_->Insert(shard, /*is_shard=*/true));
    DF_ASSIGN_OR_RETURN(const std::optional<std::int64_t> id,
                        impl_->AskInt("SELECT id FROM entry WHERE destination = ?1 AND key = ?2",
                                      shard.destination,
                                      shard.key));
    for (const QueuedEntry& episode : episodes) {
      DF_RETURN_IF_ERROR(impl_->Run(
          "UPDATE entry SET state = 5, shard = ?2 WHERE id = ?1 AND state = 0", episode.id, *id));
    }
    return impl_->Run("UPDATE destination SET shards = shards + 1 WHERE name = ?1",
                      shard.destination);
  });
}

Status UploadQueue::DropShard(const QueuedEntry& shard) {
  return impl_->Transact([&]() -> Status {
    DF_RETURN_IF_ERROR(
        impl_->Run("UPDATE entry SET state = 0, shard = NULL WHERE shard = ?1", shard.id));
    DF_RETURN_IF_ERROR(impl_->Run("DELETE FROM file WHERE entry = ?1", shard.id));
    return impl_->Run("DELETE FROM entry WHERE id = ?1", shard.id);
  });
}

Result<bool> UploadQueue::HasShard(const std::string& destination, const std::string& folder) {
  DF_ASSIGN_OR_RETURN(
      const std::optional<std::int64_t> found,
      impl_->AskInt("SELECT 1 FROM entry WHERE destination = ?1 AND folder = ?2 AND is_shard = 1",
                    destination,
                    folder));
  return found.has_value();
}

Result<std::string> UploadQueue::IndexedRevision(const std::string& destination) {
  DF_ASSIGN_OR_RETURN(Query row,
                      impl_->Ask("SELECT revision FROM destination WHERE name = ?1", destination));
  DF_ASSIGN_OR_RETURN(const bool has_row, row.Next());
  return has_row ? std::string(row->ColumnText(0)) : std::string();
}

Result<std::int64_t> UploadQueue::BeginIndex(const std::string& destination) {
  return impl_->TransactInt([&]() -> Result<std::int64_t> {
    DF_RETURN_IF_ERROR(
        impl_->Run("INSERT OR IGNORE INTO destination (name) VALUES (?1)", destination));
    DF_RETURN_IF_ERROR(
        impl_->Run("UPDATE destination SET number = number + 1 WHERE name = ?1", destination));
    DF_ASSIGN_OR_RETURN(
        const std::optional<std::int64_t> index,
        impl_->AskInt("SELECT number FROM destination WHERE name = ?1", destination));
    return index.value_or(0);
  });
}

Status UploadQueue::AddToIndex(const std::string& destination,
                               std::int64_t index,
                               std::span<const std::string> names) {
  return impl_->Transact([&]() -> Status {
    for (const std::string& name : names) {
      DF_RETURN_IF_ERROR(
          impl_->Run("INSERT OR IGNORE INTO listed VALUES (?1, ?2, ?3)", destination, index, name));
    }
    return {};
  });
}

Status UploadQueue::FinishIndex(const std::string& destination,
                                std::int64_t index,
                                const std::string& revision) {
  return impl_->Transact([&]() -> Status {
    DF_RETURN_IF_ERROR(impl_->Run(
        "UPDATE destination SET generation = ?2, revision = ?3 WHERE name = ?1 AND generation < ?2",
        destination,
        index,
        revision));
    return impl_->Run(
        "DELETE FROM listed WHERE destination = ?1 AND generation < ?2", destination, index);
  });
}

Result<UploaderLock> UploaderLock::Acquire(const fs::path& dir) {
  DF_RETURN_IF_ERROR(MakeDirectories(dir));
  const fs::path path = dir / "uploader.lock";
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!fd.valid()) return FailErrno(errno, fmt::format("cannot open {}", path.string()));
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return FailErrno(errno, fmt::format("cannot lock {}", path.string()));
    const std::string holder = ReadFileText(path).value_or("?");
    return Fail(ErrorKind::kBusy,
                "process {} uploads already: {}",
                std::string_view(holder).substr(0, holder.find('\n')),
                path.string());
  }
  const std::string text = fmt::format("{}\n", getpid());
  if (ftruncate(fd.get(), 0) != 0) {
    return FailErrno(errno, fmt::format("cannot write {}", path.string()));
  }
  DF_RETURN_IF_ERROR(WriteAll(fd.get(), std::as_bytes(std::span(text)), path.string()));
  return UploaderLock(std::move(fd));
}

}  // namespace droidflow

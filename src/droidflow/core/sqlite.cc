#include "droidflow/core/sqlite.h"

#include "droidflow/core/check.h"

#include <cerrno>

#include <sqlite3.h>

namespace droidflow {
namespace {

constexpr int kBusyTimeout_ms = 5000;

tl::unexpected<Error> FailSqlite(sqlite3* database,
                                 std::string_view action,
                                 std::string_view path) {
  const std::string message = fmt::format("{}: {}: {}", action, sqlite3_errmsg(database), path);
  const int code = sqlite3_errcode(database) & 0xff;
  // The shared memory beside the file, and a quota: SQLite calls these I/O errors, not SQLITE_FULL.
  const int error_number = sqlite3_system_errno(database);
  const bool disk_is_full = error_number == ENOSPC || error_number == EDQUOT;
  if (code == SQLITE_FULL || ((code == SQLITE_IOERR || code == SQLITE_CANTOPEN) && disk_is_full)) {
    return FailAs("no_space", ErrorKind::kNoSpace, "{}", message);
  }
  switch (code) {
    case SQLITE_BUSY:
      return Fail(ErrorKind::kBusy, "{}", message);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return Fail(ErrorKind::kInvalidData, "{}", message);
    case SQLITE_CANTOPEN:
      return Fail(ErrorKind::kNotFound, "{}", message);
    default:
      return Fail(ErrorKind::kInternal, "{}", message);
  }
}

tl::unexpected<Error> FailSqlite(sqlite3* database, std::string_view action) {
  return FailSqlite(database, action, sqlite3_db_filename(database, "main"));
}

}  // namespace

void Statement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Statement::Statement(sqlite3* database, sqlite3_stmt* statement)
    : database_(database), statement_(statement) {}

Statement& Statement::Bind(int position, std::int64_t value) {
  DF_CHECK(sqlite3_bind_int64(statement_.get(), position, value) == SQLITE_OK,
           "cannot bind {}: {}",
           position,
           sqlite3_errmsg(database_));
  return *this;
}

Statement& Statement::Bind(int position, double value) {
  DF_CHECK(sqlite3_bind_double(statement_.get(), position, value) == SQLITE_OK,
           "cannot bind {}: {}",
           position,
           sqlite3_errmsg(database_));
  return *this;
}

Statement& Statement::Bind(int position, std::string_view value) {
  // A null pointer would bind NULL, and an empty text is not NULL.
  const char* data = value.data() == nullptr ? "" : value.data();
  DF_CHECK(sqlite3_bind_text64(statement_.get(),
                               position,
                               data,
                               value.size(),
                               SQLITE_TRANSIENT,  // NOLINT(performance-no-int-to-ptr)
                               SQLITE_UTF8) == SQLITE_OK,
           "cannot bind {}: {}",
           position,
           sqlite3_errmsg(database_));
  return *this;
}

Statement& Statement::BindNull(int position) {
  DF_CHECK(sqlite3_bind_null(statement_.get(), position) == SQLITE_OK,
           "cannot bind {}: {}",
           position,
           sqlite3_errmsg(database_));
  return *this;
}

Result<bool> Statement::Step() {
  switch (sqlite3_step(statement_.get())) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default: {
      auto failure = FailSqlite(database_, "cannot run a statement");
      sqlite3_reset(statement_.get());
      return failure;
    }
  }
}

Status Statement::Run() {
  for (;;) {
    DF_ASSIGN_OR_RETURN(const bool has_row, Step());
    if (!has_row) break;
  }
  Reset();
  return {};
}

void Statement::Reset() { sqlite3_reset(statement_.get()); }

std::int64_t Statement::ColumnInt(int column) const {
  return sqlite3_column_int64(statement_.get(), column);
}

double Statement::ColumnDouble(int column) const {
  return sqlite3_column_double(statement_.get(), column);
}

std::string_view Statement::ColumnText(int column) const {
  const unsigned char* text = sqlite3_column_text(statement_.get(), column);
  if (text == nullptr) return {};
  return {reinterpret_cast<const char*>(text),
          static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

bool Statement::ColumnIsNull(int column) const {
  return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
}

void Database::Close::operator()(sqlite3* database) const { sqlite3_close_v2(database); }

Result<Database> Database::Open(const std::filesystem::path& path, Mode mode) {
  const bool read_only = mode == Mode::kReadOnly;
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(),
                      &handle,
                      read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                      nullptr);
  DF_CHECK(handle != nullptr, "out of memory");
  Database database;
  database.database_.reset(handle);
  if (code != SQLITE_OK) return FailSqlite(handle, "cannot open", path.string());
  sqlite3_busy_timeout(handle, kBusyTimeout_ms);
  // Both read the file's header, so that what is no database is refused here and not later.
  DF_RETURN_IF_ERROR(
      database.Execute(read_only ? "PRAGMA schema_version"
                                 : "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL"));
  return database;
}

Status Database::Execute(const std::string& sql) {
  if (sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return FailSqlite(database_.get(), "cannot execute");
}

Result<Statement> Database::Prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(database_.get(),
                         sql.data(),
                         static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT,
                         &statement,
                         nullptr) != SQLITE_OK) {
    return FailSqlite(database_.get(), "cannot prepare");
  }
  return Statement(database_.get(), statement);
}

}  // namespace droidflow

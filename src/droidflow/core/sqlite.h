#pragma once

/// SQLite behind a few calls, so that no other header of ours knows it.

#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace droidflow {

class Database;

/// A prepared statement. Bind by position from 1, Step until false, read columns from 0, Reset.
///
/// Thread  one thread at a time. Must not outlive its Database.
class Statement {
 public:
  Statement(Statement&&) noexcept = default;
  Statement& operator=(Statement&&) noexcept = default;

  Statement& Bind(int position, std::int64_t value);
  Statement& Bind(int position, double value);
  Statement& Bind(int position, std::string_view value);
  Statement& BindNull(int position);

  /// @return true: a row is ready. false: done.
  [[nodiscard]] Result<bool> Step();
  /// Steps to the end and resets: for statements without rows.
  [[nodiscard]] Status Run();
  void Reset();

  [[nodiscard]] std::int64_t ColumnInt(int column) const;
  [[nodiscard]] double ColumnDouble(int column) const;
  /// Valid until the next Step or Reset.
  [[nodiscard]] std::string_view ColumnText(int column) const;
  [[nodiscard]] bool ColumnIsNull(int column) const;

 private:
  friend class Database;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  Statement(sqlite3* database, sqlite3_stmt* statement);

  sqlite3* database_ = nullptr;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

/// One connection. SQLITE_FULL -> kNoSpace, SQLITE_BUSY -> kBusy, SQLITE_NOTADB and SQLITE_CORRUPT
/// -> kInvalidData, SQLITE_CANTOPEN -> kNotFound, others -> kInternal; messages end with the file's
/// path.
class Database {
 public:
  enum class Mode { kReadWriteCreate, kReadOnly };

  /// Opens in WAL mode (read-write), synchronous = NORMAL, busy timeout 5 s.
  [[nodiscard]] static Result<Database> Open(const std::filesystem::path& path, Mode mode);

  /// Runs one or more statements without results.
  [[nodiscard]] Status Execute(const std::string& sql);
  [[nodiscard]] Result<Statement> Prepare(std::string_view sql);
  [[nodiscard]] sqlite3* handle() const { return database_.get(); }

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  std::unique_ptr<sqlite3, Close> database_;
};

/// Runs `body` as one transaction: all of it or, when it fails, nothing.
template <typename Body>
[[nodiscard]] Status InTransaction(Database& database, Body body) {
  DF_RETURN_IF_ERROR(database.Execute("BEGIN IMMEDIATE"));
  Status status = body();
  if (status) status = database.Execute("COMMIT");
  if (!status) {
    // A full disk may have rolled it back already; the first error is the one to tell.
    (void)database.Execute("ROLLBACK");
  }
  return status;
}

}  // namespace droidflow

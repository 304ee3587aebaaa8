#include "droidflow/jobs/run_store.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/core/sqlite.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <thread>
#include <unordered_map>
#include <utility>

namespace droidflow {
namespace {

constexpr int kSchemaVersion = 1;

constexpr const char kSchema[] = R"(
CREATE TABLE task (
  key TEXT NOT NULL PRIMARY KEY,
  position INTEGER NOT NULL,
  payload TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending',
  status TEXT NOT NULL DEFAULT '',
  message TEXT NOT NULL DEFAULT '',
  failed_stage TEXT NOT NULL DEFAULT '',
  attempts INTEGER NOT NULL DEFAULT 0,
  worker INTEGER NOT NULL DEFAULT -1,
  started_unix_ms INTEGER NOT NULL DEFAULT 0,
  finished_unix_ms INTEGER NOT NULL DEFAULT 0,
  stages TEXT NOT NULL DEFAULT '',
  output_bytes INTEGER NOT NULL DEFAULT 0,
  peak_rss_bytes INTEGER NOT NULL DEFAULT 0,
  directory TEXT NOT NULL DEFAULT '',
  files TEXT NOT NULL DEFAULT '',
  fingerprint TEXT NOT NULL DEFAULT '',
  detail TEXT NOT NULL DEFAULT ''
);
CREATE INDEX task_by_position ON task (position);
)";

constexpr const char kColumns[] =
    "key, payload, state, status, message, failed_stage, attempts, worker, started_unix_ms, "
    "finished_unix_ms, stages, output_bytes, peak_rss_bytes, directory, files, fingerprint, detail";

Result<TaskRecord> RecordOfRow(const Statement& row) {
  TaskRecord record;
  record.task = {.key = std::string(row.ColumnText(0)), .payload = std::string(row.ColumnText(1))};
  const std::optional<TaskState> state = ParseTaskState(row.ColumnText(2));
  if (!state) {
    return Fail(
        ErrorKind::kInvalidData, "task {}: unknown state '{}'", record.task.key, row.ColumnText(2));
  }
  record.state = *state;
  record.status = row.ColumnText(3);
  record.message = row.ColumnText(4);
  record.failed_stage = row.ColumnText(5);
  record.attempts = static_cast<int>(row.ColumnInt(6));
  record.worker = static_cast<int>(row.ColumnInt(7));
  record.started_unix_ms = row.ColumnInt(8);
  record.finished_unix_ms = row.ColumnInt(9);
  Result<std::vector<StageTime>> stages = ParseStages(row.ColumnText(10));
  if (!stages) return tl::unexpected(During("task " + record.task.key)(stages.error()));
  record.stages = *std::move(stages);
  record.output_bytes = static_cast<std::uint64_t>(row.ColumnInt(11));
  record.peak_rss_bytes = static_cast<std::uint64_t>(row.ColumnInt(12));
  record.directory = row.ColumnText(13);
  Result<std::vector<FileStamp>> files = ParseStamps(row.ColumnText(14));
  if (!files) return tl::unexpected(During("task " + record.task.key)(files.error()));
  record.files = *std::move(files);
  record.fingerprint = row.ColumnText(15);
  record.detail = row.ColumnText(16);
  return record;
}

Result<std::int64_t> QueryInt(Database& database, std::string_view sql) {
  DF_ASSIGN_OR_RETURN(Statement statement, database.Prepare(sql));
  DF_ASSIGN_OR_RETURN(const bool has_row, statement.Step());
  DF_CHECK(has_row, "{}", sql);
  return statement.ColumnInt(0);
}

std::filesystem::path StorePath(const std::filesystem::path& run_dir) {
  return run_dir / "run.sqlite";
}

Status CheckVersion(Database& database, const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(const std::int64_t version, QueryInt(database, "PRAGMA user_version"));
  if (version == kSchemaVersion) return {};
  if (version > kSchemaVersion) {
    return Fail(ErrorKind::kUnsupported,
                "the run store has version {}, want {} or older: {}",
                version,
                kSchemaVersion,
                path.string());
  }
  return Fail(ErrorKind::kInvalidData, "the database holds no run store: {}", path.string());
}

}  // namespace

struct RunStore::Impl {
  Database database;
  std::filesystem::path path;
  Statement mark_running;
  Statement release;
  Statement finish;
  Statement requeue;

  [[nodiscard]] static Result<std::unique_ptr<Impl>> Make(Database database,
                                                          std::filesystem::path path);
  [[nodiscard]] Result<std::vector<TaskRecord>> Load(const std::string& condition);
  /// Runs a bound statement that must change one row.
  [[nodiscard]] Status RunOnOne(Statement& statement, std::string_view key);
};

Result<std::unique_ptr<RunStore::Impl>> RunStore::Impl::Make(Database database,
                                                             std::filesystem::path path) {
  DF_ASSIGN_OR_RETURN(
      Statement mark_running,
      database.Prepare("UPDATE task SET state = 'running', attempts = attempts + 1, "
                       "worker = ?2, started_unix_ms = ?3 WHERE key = ?1"));
  DF_ASSIGN_OR_RETURN(Statement release,
                      database.Prepare("UPDATE task SET state = 'pending', status = ?2, "
                                       "message = ?3 WHERE key = ?1"));
  DF_ASSIGN_OR_RETURN(
      Statement finish,
      database.Prepare("UPDATE task SET state = ?2, status = ?3, message = ?4, failed_stage = ?5, "
                       "worker = ?6, started_unix_ms = ?7, finished_unix_ms = ?8, stages = ?9, "
                       "output_bytes = ?10, peak_rss_bytes = ?11, directory = ?12, files = ?13, "
                       "fingerprint = ?14, detail = ?15 WHERE key = ?1"));
  DF_ASSIGN_OR_RETURN(
      Statement requeue,
      database.Prepare("UPDATE task SET state = 'pending', status = '', message = '', "
                       "failed_stage = '', finished_unix_ms = 0, stages = '', output_bytes = 0, "
                       "files = '', fingerprint = '', detail = '' WHERE key = ?1"));
  return std::make_unique<Impl>(Impl{.database = std::move(database),
                                     .path = std::move(path),
                                     .mark_running = std::move(mark_running),
                                     .release = std::move(release),
                                     .finish = std::move(finish),
                                     .requeue = std::move(requeue)});
}

Result<std::vector<TaskRecord>> RunStore::Impl::Load(const std::string& condition) {
  DF_ASSIGN_OR_RETURN(Statement rows,
                      database.Prepare(fmt::format(
                          "SELECT {} FROM task {} ORDER BY position, rowid", kColumns, condition)));
  std::vector<TaskRecord> records;
  for (;;) {
    DF_ASSIGN_OR_RETURN(const bool has_row, rows.Step());
    if (!has_row) return records;
    Result<TaskRecord> record = RecordOfRow(rows);
    if (!record) {
      record.error().message += ": " + path.string();
      return tl::unexpected(std::move(record).error());
    }
    records.push_back(*std::move(record));
  }
}

Status RunStore::Impl::RunOnOne(Statement& statement, std::string_view key) {
  DF_RETURN_IF_ERROR(statement.Run());
  DF_ASSIGN_OR_RETURN(const std::int64_t changed, QueryInt(database, "SELECT changes()"));
  DF_CHECK(changed == 1, "no task '{}' in {}", key, path.string());
  return {};
}

RunStore::RunStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RunStore::RunStore(RunStore&&) noexcept = default;
RunStore& RunStore::operator=(RunStore&&) noexcept = default;
RunStore::~RunStore() = default;

Result<RunStore> RunStore::Open(const std::filesystem::path& run_dir) {
  DF_RETURN_IF_ERROR(MakeDirectories(run_dir));
  const std::filesystem::path path = StorePath(run_dir);
  DF_ASSIGN_OR_RETURN(Database database, Database::Open(path, Database::Mode::kReadWriteCreate));
  DF_RETURN_IF_ERROR(InTransaction(database, [&]() -> Status {
    DF_ASSIGN_OR_RETURN(
        const std::int64_t tables,
        QueryInt(database, "SELECT count(*) FROM sqlite_schema WHERE type = 'table'"));
    if (tables > 0) return CheckVersion(database, path);
    return database.Execute(fmt::format("{} PRAGMA user_version = {}", kSchema, kSchemaVersion));
  }));
  DF_ASSIGN_OR_RETURN(std::unique_ptr<Impl> impl, Impl::Make(std::move(database), path));
  return RunStore(std::move(impl));
}

Result<RunStore> RunStore::OpenReadOnly(const std::filesystem::path& run_dir) {
  const std::filesystem::path path = StorePath(run_dir);
  DF_ASSIGN_OR_RETURN(Database database, Database::Open(path, Database::Mode::kReadOnly));
  DF_RETURN_IF_ERROR(CheckVersion(database, path));
  DF_ASSIGN_OR_RETURN(std::unique_ptr<Impl> impl, Impl::Make(std::move(database), path));
  return RunStore(std::move(impl));
}

Status RunStore::AddTasks(std::span<const Task> tasks) {
  Database& database = impl_->database;
  // Only rows that differ are written: a resumed run adds what it knows already.
  DF_ASSIGN_OR_RETURN(
      Statement insert,
      database.Prepare("INSERT INTO task (key, position, payload) VALUES (?1, ?2, ?3) "
                       "ON CONFLICT (key) DO UPDATE SET position = ?2, payload = ?3 "
                       "WHERE position <> ?2 OR payload <> ?3"));
  return InTransaction(database, [&]() -> Status {
    std::int64_t position = 0;
    for (const Task& task : tasks) {
      insert.Bind(1, task.key).Bind(2, position++).Bind(3, task.payload);
      DF_RETURN_IF_ERROR(insert.Run());
    }
    return {};
  });
}

Result<std::vector<TaskRecord>> RunStore::LoadAll() { return impl_->Load(""); }

Result<std::vector<TaskRecord>> RunStore::LoadFailures() {
  return impl_->Load("WHERE state = 'quarantined'");
}

Result<std::int64_t> RunStore::ResetRunning() {
  DF_RETURN_IF_ERROR(
      impl_->database.Execute("UPDATE task SET state = 'pending' WHERE state = 'running'"));
  return QueryInt(impl_->database, "SELECT changes()");
}

Status RunStore::Requeue(std::span<const std::string> keys) {
  return InTransaction(impl_->database, [&]() -> Status {
    for (const std::string& key : keys) {
      impl_->requeue.Bind(1, key);
      DF_RETURN_IF_ERROR(impl_->RunOnOne(impl_->requeue, key));
    }
    return {};
  });
}

Status RunStore::MarkRunning(std::string_view key, int worker) {
  impl_->mark_running.Bind(1, key).Bind(2, std::int64_t{worker}).Bind(3, UnixNowMs());
  return impl_->RunOnOne(impl_->mark_running, key);
}

Status RunStore::Release(std::string_view key, const Error& reason) {
  impl_->release.Bind(1, key).Bind(2, reason.status).Bind(3, reason.message);
  return impl_->RunOnOne(impl_->release, key);
}

Status RunStore::Finish(std::string_view key,
                        const TaskResult& result,
                        std::string_view fingerprint) {
  DF_CHECK((result.state == TaskState::kDone) == !result.error.has_value(),
           "task '{}' is {}",
           key,
           ToString(result.state));
  const Error error = result.error.value_or(Error{});
  impl_->finish.Bind(1, key)
      .Bind(2, ToString(result.state))
      .Bind(3, result.error ? error.status : result.status)
      .Bind(4, error.message)
      .Bind(5, result.failed_stage)
      .Bind(6, std::int64_t{result.worker})
      .Bind(7, result.started_unix_ms)
      .Bind(8, result.finished_unix_ms)
      .Bind(9, FormatStages(result.stages))
      .Bind(10, static_cast<std::int64_t>(result.output_bytes))
      .Bind(11, static_cast<std::int64_t>(result.peak_rss_bytes))
      .Bind(12, result.directory)
      .Bind(13, FormatStamps(result.files))
      .Bind(14, fingerprint)
      .Bind(15, result.detail);
  return impl_->RunOnOne(impl_->finish, key);
}

Result<StateCounts> RunStore::CountStates() {
  DF_ASSIGN_OR_RETURN(Statement rows,
                      impl_->database.Prepare("SELECT state, count(*) FROM task GROUP BY state"));
  StateCounts counts;
  for (;;) {
    DF_ASSIGN_OR_RETURN(const bool has_row, rows.Step());
    if (!has_row) return counts;
    const std::optional<TaskState> state = ParseTaskState(rows.ColumnText(0));
    if (!state) {
      return Fail(ErrorKind::kInvalidData,
                  "unknown state '{}': {}",
                  rows.ColumnText(0),
                  impl_->path.string());
    }
    const std::int64_t count = rows.ColumnInt(1);
    switch (*state) {
      case TaskState::kPending:
        counts.pending = count;
        break;
      case TaskState::kRunning:
        counts.running = count;
        break;
      case TaskState::kDone:
        counts.done = count;
        break;
      case TaskState::kQuarantined:
        counts.quarantined = count;
        break;
      case TaskState::kSkipped:
        counts.skipped = count;
        break;
    }
  }
}

std::vector<bool> CheckFiles(std::span<const TaskRecord> records,
                             const std::filesystem::path& root,
                             unsigned threads) {
  constexpr std::size_t kBlock = 64;
  // Bytes, not bits: threads write neighbours at the same time.
  std::vector<std::uint8_t> unchanged(records.size());
  std::atomic<std::size_t> next{0};
  const auto check_blocks = [&] {
    for (;;) {
      const std::size_t first = next.fetch_add(kBlock);
      if (first >= records.size()) return;
      const std::size_t last = std::min(first + kBlock, records.size());
      for (std::size_t i = first; i < last; ++i) {
        const TaskRecord& record = records[i];
        unchanged[i] =
            !record.files.empty() && FilesUnchanged(root / record.directory, record.files);
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (unsigned i = 1; i < threads; ++i) helpers.emplace_back(check_blocks);
    check_blocks();
  }
  return {unchanged.begin(), unchanged.end()};
}

std::vector<StageSummary> SummarizeStages(std::span<const TaskRecord> records) {
  std::vector<StageSummary> summaries;
  std::vector<std::vector<double>> durations_ms;
  std::unordered_map<std::string_view, std::size_t> index_of;
  for (const TaskRecord& record : records) {
    if (record.state != TaskState::kDone) continue;
    for (const StageTime& stage : record.stages) {
      const auto [found, is_new] = index_of.emplace(stage.name, summaries.size());
      if (is_new) {
        summaries.push_back({.name = stage.name});
        durations_ms.emplace_back();
      }
      durations_ms[found->second].push_back(stage.duration_ms);
    }
  }
  for (std::size_t i = 0; i < summaries.size(); ++i) {
    std::vector<double>& sorted_ms = durations_ms[i];
    std::ranges::sort(sorted_ms);
    const auto at_rank = [&](double fraction) {
      const double rank = std::ceil(fraction * static_cast<double>(sorted_ms.size()));
      return sorted_ms[static_cast<std::size_t>(rank) - 1];
    };
    summaries[i].count = sorted_ms.size();
    for (const double duration_ms : sorted_ms) summaries[i].total_ms += duration_ms;
    summaries[i].median_ms = at_rank(0.5);
    summaries[i].p95_ms = at_rank(0.95);
  }
  return summaries;
}

}  // namespace droidflow

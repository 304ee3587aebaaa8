#include "droidflow/jobs/reports.h"

#include "droidflow/core/files.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <iterator>
#include <vector>

#include <fmt/chrono.h>

namespace droidflow {
namespace {

std::string CsvField(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string OnOneLine(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  std::ranges::replace(text, '\r', ' ');
  return text;
}

/// "2024-05-06T07:08:09Z"
std::string FormatUtc(std::int64_t unix_ms) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm utc = {};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", utc);
}

}  // namespace

std::string FormatTimingCsv(std::span<const TaskRecord> records, std::string_view noun) {
  std::vector<std::string_view> names;
  for (const TaskRecord& record : records) {
    for (const StageTime& stage : record.stages) {
      if (std::ranges::find(names, stage.name) == names.end()) names.push_back(stage.name);
    }
  }
  std::string text = fmt::format("{}_id,state,status,attempts,worker,total_s", noun);
  for (const std::string_view name : names) text += ',' + CsvField(fmt::format("{}_s", name));
  text += '\n';
  for (const TaskRecord& record : records) {
    if (record.finished_unix_ms == 0 || record.attempts == 0) continue;
    const std::int64_t total_ms = record.finished_unix_ms - record.started_unix_ms;
    fmt::format_to(std::back_inserter(text),
                   "{},{},{},{},{},{:.3f}",
                   CsvField(record.task.key),
                   ToString(record.state),
                   CsvField(record.status),
                   record.attempts,
                   record.worker,
                   static_cast<double>(total_ms) / 1000);
    for (const std::string_view name : names) {
      const auto stage = std::ranges::find(record.stages, name, &StageTime::name);
      text += ',';
      if (stage != record.stages.end()) text += fmt::format("{:.6f}", stage->duration_ms / 1000);
    }
    text += '\n';
  }
  return text;
}

std::string FormatErrorLog(std::span<const TaskRecord> records) {
  std::string text;
  for (const TaskRecord& record : records) {
    if (record.state != TaskState::kQuarantined) continue;
    fmt::format_to(std::back_inserter(text),
                   "{} {} {} attempts={} stage={}: {}\n",
                   FormatUtc(record.finished_unix_ms),
                   OnOneLine(record.task.key),
                   record.status.empty() ? "-" : record.status,
                   record.attempts,
                   record.failed_stage.empty() ? "-" : record.failed_stage,
                   OnOneLine(record.message));
  }
  return text;
}

std::string FormatFailedKeys(std::span<const TaskRecord> records) {
  std::string text;
  for (const TaskRecord& record : records) {
    if (record.state == TaskState::kQuarantined) text += OnOneLine(record.task.key) + '\n';
  }
  return text;
}

Status WriteReports(std::span<const TaskRecord> records,
                    const std::filesystem::path& run_dir,
                    std::string_view noun) {
  DF_RETURN_IF_ERROR(WriteFileAtomically(run_dir / "timing.csv", FormatTimingCsv(records, noun)));
  DF_RETURN_IF_ERROR(WriteFileAtomically(run_dir / "errors.log", FormatErrorLog(records)));
  return WriteFileAtomically(run_dir / fmt::format("failed_{}s.txt", noun),
                             FormatFailedKeys(records));
}

}  // namespace droidflow

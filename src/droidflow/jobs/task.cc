#include "droidflow/jobs/task.h"

#include "droidflow/core/check.h"

#include <array>
#include <charconv>
#include <chrono>
#include <iterator>
#include <utility>

namespace droidflow {
namespace {

constexpr std::array kStateNames{std::pair{TaskState::kPending, "pending"},
                                 std::pair{TaskState::kRunning, "running"},
                                 std::pair{TaskState::kDone, "done"},
                                 std::pair{TaskState::kQuarantined, "quarantined"},
                                 std::pair{TaskState::kSkipped, "skipped"}};

/// Takes a number and the space after it from the front of `text`.
template <typename Number>
bool TakeNumber(std::string_view& text, Number& value) {
  const char* const end = text.data() + text.size();
  const auto [next, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || next == end || *next != ' ') return false;
  text.remove_prefix(static_cast<std::size_t>(next - text.data()) + 1);
  return true;
}

}  // namespace

const char* ToString(TaskState state) {
  for (const auto& [value, name] : kStateNames) {
    if (value == state) return name;
  }
  return "unknown";
}

std::optional<TaskState> ParseTaskState(std::string_view text) {
  for (const auto& [value, name] : kStateNames) {
    if (text == name) return value;
  }
  return std::nullopt;
}

TaskResult FailedTask(Error error) {
  TaskResult result;
  result.state = TaskState::kQuarantined;
  result.error = std::move(error);
  return result;
}

TaskResult SkippedTask(Error error) {
  TaskResult result = FailedTask(std::move(error));
  result.state = TaskState::kSkipped;
  return result;
}

// One line "milliseconds name" per stage.
std::string FormatStages(const std::vector<StageTime>& stages) {
  std::string text;
  for (const StageTime& stage : stages) {
    DF_CHECK(stage.name.find('\n') == std::string::npos, "stage '{}'", stage.name);
    fmt::format_to(std::back_inserter(text), "{:.3f} {}\n", stage.duration_ms, stage.name);
  }
  return text;
}

Result<std::vector<StageTime>> ParseStages(std::string_view text) {
  std::vector<StageTime> stages;
  while (!text.empty()) {
    StageTime stage;
    std::size_t end = 0;
    if (!TakeNumber(text, stage.duration_ms) || (end = text.find('\n')) == std::string_view::npos) {
      return Fail(ErrorKind::kInvalidData,
                  "stage {}: want 'milliseconds name', have '{}'",
                  stages.size(),
                  text.substr(0, 40));
    }
    stage.name = text.substr(0, end);
    text.remove_prefix(end + 1);
    stages.push_back(std::move(stage));
  }
  return stages;
}

// One line "size mtime length name" per file; the length lets a name hold a line break.
std::string FormatStamps(const std::vector<FileStamp>& stamps) {
  std::string text;
  for (const FileStamp& stamp : stamps) {
    fmt::format_to(std::back_inserter(text),
                   "{} {} {} {}\n",
                   stamp.size_bytes,
                   stamp.mtime_ns,
                   stamp.name.size(),
                   stamp.name);
  }
  return text;
}

Result<std::vector<FileStamp>> ParseStamps(std::string_view text) {
  std::vector<FileStamp> stamps;
  while (!text.empty()) {
    FileStamp stamp;
    std::size_t length = 0;
    if (!TakeNumber(text, stamp.size_bytes) || !TakeNumber(text, stamp.mtime_ns) ||
        !TakeNumber(text, length) || length >= text.size() || text[length] != '\n') {
      return Fail(ErrorKind::kInvalidData,
                  "file {}: want 'size mtime length name', have '{}'",
                  stamps.size(),
                  text.substr(0, 40));
    }
    stamp.name = text.substr(0, length);
    text.remove_prefix(length + 1);
    stamps.push_back(std::move(stamp));
  }
  return stamps;
}

std::int64_t UnixNowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace droidflow

#include "droidflow/jobs/wire_internal.h"

#include "droidflow/core/check.h"

#include <charconv>
#include <utility>

namespace droidflow::wire {
namespace {

constexpr std::size_t kLength_bytes = 4;

/// The length in front of `bytes`, which are at least kLength_bytes.
std::uint32_t LengthOf(std::string_view bytes) {
  std::uint32_t length = 0;
  for (std::size_t i = 0; i < kLength_bytes; ++i) {
    length |= std::uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return length;
}

void AppendInt(std::string& buffer, std::int64_t value) {
  AppendText(buffer, fmt::format("{}", value));
}

/// Whether a result says that the task is done, or why not.
bool IsWhole(const TaskResult& result) {
  switch (result.state) {
    case TaskState::kPending:
    case TaskState::kRunning:
      return false;
    case TaskState::kDone:
      return !result.error.has_value();
    case TaskState::kQuarantined:
    case TaskState::kSkipped:
      return result.error.has_value();
  }
  return false;
}

}  // namespace

void AppendText(std::string& buffer, std::string_view text) {
  DF_CHECK(text.size() <= kMaxFrame_bytes, "{} bytes", text.size());
  for (std::size_t i = 0; i < kLength_bytes; ++i) {
    buffer += static_cast<char>((text.size() >> (8 * i)) & 0xff);
  }
  buffer += text;
}

std::optional<std::string_view> FieldReader::Text() {
  if (rest_.size() < kLength_bytes) return std::nullopt;
  const std::uint32_t length = LengthOf(rest_);
  if (length > rest_.size() - kLength_bytes) return std::nullopt;
  const std::string_view text = rest_.substr(kLength_bytes, length);
  rest_.remove_prefix(kLength_bytes + length);
  return text;
}

std::optional<std::int64_t> FieldReader::Int() {
  const std::optional<std::string_view> text = Text();
  if (!text) return std::nullopt;
  std::int64_t value = 0;
  const char* const end = text->data() + text->size();
  const auto [next, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc() || next != end) return std::nullopt;
  return value;
}

Result<std::optional<std::string>> FrameBuffer::Take() {
  if (buffer_.size() < kLength_bytes) return std::nullopt;
  const std::uint32_t length = LengthOf(buffer_);
  if (length > kMaxFrame_bytes) {
    return Fail(ErrorKind::kInvalidData,
                "a message says it has {} bytes, want at most {}",
                length,
                kMaxFrame_bytes);
  }
  if (buffer_.size() - kLength_bytes < length) return std::nullopt;
  std::string body = buffer_.substr(kLength_bytes, length);
  buffer_.erase(0, kLength_bytes + length);
  return body;
}

std::string EncodeTask(const TaskMessage& message) {
  std::string body;
  AppendText(body, message.task.key);
  AppendText(body, message.task.payload);
  AppendInt(body, message.attempt);
  return body;
}

std::optional<TaskMessage> DecodeTask(std::string_view body) {
  FieldReader reader(body);
  const auto key = reader.Text();
  const auto payload = reader.Text();
  const auto attempt = reader.Int();
  if (!key || !payload || !attempt || !reader.AtEnd()) return std::nullopt;
  return TaskMessage{.task = {.key = std::string(*key), .payload = std::string(*payload)},
                     .attempt = static_cast<int>(*attempt)};
}

std::string EncodeError(const Error& error) {
  std::string text;
  AppendInt(text, static_cast<std::int64_t>(error.kind));
  AppendText(text, error.message);
  AppendText(text, error.status);
  return text;
}

std::optional<Error> DecodeError(std::string_view text) {
  FieldReader reader(text);
  const auto kind = reader.Int();
  const auto message = reader.Text();
  const auto status = reader.Text();
  if (!kind || !message || !status || !reader.AtEnd()) return std::nullopt;
  if (*kind < 0 || *kind > static_cast<std::int64_t>(ErrorKind::kInternal)) return std::nullopt;
  return Error{.kind = static_cast<ErrorKind>(*kind),
               .message = std::string(*message),
               .status = std::string(*status)};
}

std::string EncodeResult(const TaskResult& result) {
  DF_CHECK(IsWhole(result), "a result that is {}", ToString(result.state));
  std::string text;
  AppendText(text, ToString(result.state));
  AppendText(text, result.error ? EncodeError(*result.error) : "");
  AppendText(text, result.failed_stage);
  AppendText(text, FormatStages(result.stages));
  AppendInt(text, static_cast<std::int64_t>(result.output_bytes));
  AppendText(text, result.directory);
  AppendText(text, FormatStamps(result.files));
  AppendText(text, result.detail);
  AppendText(text, result.status);
  AppendInt(text, result.leave ? 1 : 0);
  AppendInt(text, result.pid);
  AppendInt(text, static_cast<std::int64_t>(result.peak_rss_bytes));
  return text;
}

std::optional<TaskResult> DecodeResult(std::string_view text) {
  FieldReader reader(text);
  const auto state = reader.Text();
  const auto error = reader.Text();
  const auto failed_stage = reader.Text();
  const auto stages = reader.Text();
  const auto output_bytes = reader.Int();
  const auto directory = reader.Text();
  const auto files = reader.Text();
  const auto detail = reader.Text();
  const auto status = reader.Text();
  const auto leave = reader.Int();
  const auto pid = reader.Int();
  const auto peak_rss_bytes = reader.Int();
  if (!state || !error || !failed_stage || !stages || !output_bytes || !directory || !files ||
      !detail || !status || !leave || !pid || !peak_rss_bytes || !reader.AtEnd()) {
    return std::nullopt;
  }
  TaskResult result;
  const auto parsed_state = ParseTaskState(*state);
  auto parsed_stages = ParseStages(*stages);
  auto parsed_files = ParseStamps(*files);
  if (!parsed_state || !parsed_stages || !parsed_files) return std::nullopt;
  if (!error->empty()) {
    result.error = DecodeError(*error);
    if (!result.error) return std::nullopt;
  }
  const bool is_final =
      *parsed_state != TaskState::kPending && *parsed_state != TaskState::kRunning;
  if (!is_final || (*parsed_state == TaskState::kDone) == result.error.has_value()) {
    return std::nullopt;
  }
  result.state = *parsed_state;
  result.failed_stage = *failed_stage;
  result.stages = *std::move(parsed_stages);
  result.output_bytes = static_cast<std::uint64_t>(*output_bytes);
  result.directory = *directory;
  result.files = *std::move(parsed_files);
  result.detail = *detail;
  result.status = *status;
  result.leave = *leave != 0;
  result.pid = static_cast<int>(*pid);
  result.peak_rss_bytes = static_cast<std::uint64_t>(*peak_rss_bytes);
  return result;
}

}  // namespace droidflow::wire

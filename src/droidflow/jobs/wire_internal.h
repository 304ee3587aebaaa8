#pragma once

/// Messages between WorkerPool and its workers: frames of a length and a body, a body of fields.

#include "droidflow/core/result.h"
#include "droidflow/jobs/task.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace droidflow::wire {

/// Longer frames are refused: a worker whose memory is damaged may say any length.
inline constexpr std::uint32_t kMaxFrame_bytes = 64U << 20;

/// Appends a text with its length in front, 4 bytes little-endian. Frames and fields are both this.
void AppendText(std::string& buffer, std::string_view text);

/// Takes fields from the front of a body.
class FieldReader {
 public:
  explicit FieldReader(std::string_view body) : rest_(body) {}

  /// The next field; nothing when there is none or it is cut short.
  [[nodiscard]] std::optional<std::string_view> Text();
  /// The next field as a decimal number; nothing when it is none.
  [[nodiscard]] std::optional<std::int64_t> Int();
  [[nodiscard]] bool AtEnd() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

/// Joins what arrives in pieces into frames.
class FrameBuffer {
 public:
  void Append(std::string_view bytes) { buffer_ += bytes; }
  /// The body of the next whole frame, nothing when more bytes are needed.
  ///
  /// @return kInvalidData for a frame longer than kMaxFrame_bytes.
  [[nodiscard]] Result<std::optional<std::string>> Take();

 private:
  std::string buffer_;
};

struct TaskMessage {
  Task task;
  int attempt = 0;
};

/// Bodies. The first field of what a worker sends is one of these.
inline constexpr std::string_view kReady = "ready";
inline constexpr std::string_view kSetupFailed = "setup failed";
inline constexpr std::string_view kResult = "result";

[[nodiscard]] std::string EncodeTask(const TaskMessage& message);
[[nodiscard]] std::optional<TaskMessage> DecodeTask(std::string_view body);

[[nodiscard]] std::string EncodeError(const Error& error);
[[nodiscard]] std::optional<Error> DecodeError(std::string_view text);

/// All but `worker`, `attempt` and the times, which the coordinator knows better.
[[nodiscard]] std::string EncodeResult(const TaskResult& result);
[[nodiscard]] std::optional<TaskResult> DecodeResult(std::string_view text);

}  // namespace droidflow::wire

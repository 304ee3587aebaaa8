#pragma once

/// Time, as far as waiting goes, so that tests need not wait.

#include "droidflow/core/result.h"

#include <chrono>
#include <cstdint>

namespace droidflow {

/// Thread  any.
class Clock {
 public:
  Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  virtual ~Clock() = default;

  /// Never goes back.
  [[nodiscard]] virtual std::chrono::milliseconds Steady() = 0;
  /// What the machine believes; may jump.
  [[nodiscard]] virtual std::int64_t UnixMs() = 0;
  virtual void Sleep(std::chrono::milliseconds duration) = 0;
};

/// The machine's.
[[nodiscard]] Clock& SystemClock();

/// Lets time pass. @return kCancelled as soon as a stop was asked for.
[[nodiscard]] Status WaitFor(Clock& clock, std::chrono::milliseconds duration);

/// How long to wait before a retry, 0 being the first: `unit` times 1, 2, 4, 8 and 8, and up to a
/// quarter more.
[[nodiscard]] std::chrono::milliseconds BackoffBefore(int retry, std::chrono::milliseconds unit);

}  // namespace droidflow

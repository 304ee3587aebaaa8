#pragma once

/// Time, as far as waiting goes, so that tests need not wait.

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

}  // namespace droidflow

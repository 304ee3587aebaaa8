#include "droidflow/transfer/clock.h"

#include "droidflow/core/stop.h"

#include <algorithm>
#include <random>
#include <thread>

namespace droidflow {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

constexpr milliseconds kNap{200};  ///< how late a stop signal is noticed

class MachineClock : public Clock {
 public:
  milliseconds Steady() override {
    return duration_cast<milliseconds>(std::chrono::steady_clock::now().time_since_epoch());
  }
  std::int64_t UnixMs() override {
    return duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  }
  void Sleep(milliseconds duration) override { std::this_thread::sleep_for(duration); }
};

}  // namespace

Clock& SystemClock() {
  static MachineClock clock;
  return clock;
}

Status WaitFor(Clock& clock, milliseconds duration) {
  const milliseconds end = clock.Steady() + duration;
  for (milliseconds left = duration; left > milliseconds(0); left = end - clock.Steady()) {
    if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "a stop was asked for");
    clock.Sleep(std::min(left, kNap));
  }
  return {};
}

milliseconds BackoffBefore(int retry, milliseconds unit) {
  thread_local std::minstd_rand random{std::random_device()()};
  const double jitter = std::uniform_real_distribution<>(1.0, 1.25)(random);
  return duration_cast<milliseconds>(unit * (1 << std::min(retry, 3)) * jitter);
}

}  // namespace droidflow

#include "droidflow/transfer/clock.h"

#include <thread>

namespace droidflow {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

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

}  // namespace droidflow

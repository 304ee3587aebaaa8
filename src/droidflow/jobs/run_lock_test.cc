#include "droidflow/jobs/run_lock.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <chrono>
#include <csignal>
#include <fstream>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace droidflow {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;

/// A process that holds the lock of a folder until it is killed.
class OtherHolder {
 public:
  explicit OtherHolder(const std::filesystem::path& run_dir) {
    int ends[2];
    DF_CHECK(pipe(ends) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      const Result<RunLock> lock = RunLock::Acquire(run_dir);
      const char byte = lock ? 'y' : 'n';
      DF_CHECK(write(ends[1], &byte, 1) == 1);
      for (;;) pause();
    }
    char byte = 0;
    DF_CHECK(read(ends[0], &byte, 1) == 1 && byte == 'y');
    close(ends[0]);
    close(ends[1]);
  }
  OtherHolder(const OtherHolder&) = delete;
  OtherHolder& operator=(const OtherHolder&) = delete;
  ~OtherHolder() { Kill(); }

  void Kill() {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
};

TEST(RunLock, RefusesASecondProcessAtOnceAndNamesTheFirst) {
  const TemporaryDirectory dir;
  const OtherHolder holder(dir / "run");
  char host[256] = {};
  ASSERT_EQ(gethostname(host, sizeof(host) - 1), 0);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(
      RunLock::Acquire(dir / "run"),
      FailsWith(ErrorKind::kBusy,
                AllOf(HasSubstr("held by process " + std::to_string(holder.pid()) + " on " + host),
                      EndsWith((dir / "run/lock").string()))));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 1s);
}

TEST(RunLock, IsFreeAfterItsHolderWasKilled) {
  const TemporaryDirectory dir;
  OtherHolder holder(dir.path());
  holder.Kill();
  EXPECT_THAT(RunLock::Acquire(dir.path()), IsOk());
}

TEST(RunLock, IsFreeAfterItsHolderLetItGo) {
  const TemporaryDirectory dir;
  { ASSERT_THAT(RunLock::Acquire(dir.path()), IsOk()); }
  EXPECT_THAT(RunLock::Acquire(dir.path()), IsOk());
}

TEST(RunLock, WaitsForTheWorkersOfADeadHolder) {
  const TemporaryDirectory dir;
  const pid_t holder = fork();
  if (holder == 0) {
    const Result<RunLock> lock = RunLock::Acquire(dir.path());
    if (fork() == 0) {  // a worker that outlives its coordinator a little
      std::this_thread::sleep_for(200ms);
      _exit(0);
    }
    _exit(0);
  }
  waitpid(holder, nullptr, 0);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(RunLock::Acquire(dir.path()), IsOk());
  EXPECT_GT(std::chrono::steady_clock::now() - begin, 50ms);
}

TEST(RunLock, SaysWhenTheFolderCannotBeMade) {
  const TemporaryDirectory dir;
  std::ofstream(dir / "file") << "x";
  EXPECT_THAT(RunLock::Acquire(dir / "file/run"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("file/run")));
}

}  // namespace
}  // namespace droidflow

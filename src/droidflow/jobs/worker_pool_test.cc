#include "droidflow/jobs/worker_pool.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/stop.h"
#include "droidflow/core/test_support.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace droidflow {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr WorkerPoolOptions kTwoWorkers{.workers = 2, .retry_delay = 5ms};

/// What a run told its handlers, by task.
struct Account {
  std::map<std::string, TaskResult> finished;
  std::map<std::string, Error> dropped;
  std::vector<TaskResult> failed_attempts;
  std::vector<std::string> started;
  std::vector<std::string> output;
  int most_at_once = 0;
  int at_once = 0;
};

/// Handlers that hand out a task for each key and keep an Account.
PoolHandlers Accountant(const std::vector<std::string>& keys, Account& account) {
  PoolHandlers handlers;
  handlers.next = [keys, i = std::size_t{0}]() mutable -> Result<std::optional<Task>> {
    if (i == keys.size()) return std::nullopt;
    return Task{.key = keys[i++]};
  };
  handlers.on_started = [&account](const Task& task, const WorkerContext&) -> Status {
    account.started.push_back(task.key);
    account.most_at_once = std::max(account.most_at_once, ++account.at_once);
    return {};
  };
  handlers.on_finished = [&account](const Task& task, const TaskResult& result) -> Status {
    EXPECT_TRUE(account.finished.emplace(task.key, result).second) << task.key << " twice";
    --account.at_once;
    return {};
  };
  handlers.on_attempt_failed = [&account](const Task&, const TaskResult& result) -> Status {
    account.failed_attempts.push_back(result);
    --account.at_once;
    return {};
  };
  handlers.on_dropped = [&account](const Task& task, const Error& reason) -> Status {
    account.dropped.emplace(task.key, reason);
    --account.at_once;
    return {};
  };
  handlers.on_output = [&account](const WorkerContext&, std::string_view line) {
    account.output.emplace_back(line);
  };
  return handlers;
}

/// Dies of a signal also where a sanitizer has a handler for it.
[[noreturn]] void DieOf(int signal_number) {
  std::signal(signal_number, SIG_DFL);
  std::raise(signal_number);
  std::abort();
}

bool IsAlive(int pid) { return kill(pid, 0) == 0; }

/// Runs `body` in a process of its own and returns how that ended.
int WaitStatusOf(const std::function<void()>& body) {
  const pid_t pid = fork();
  if (pid == 0) {
    body();
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

TEST(WorkerPool, DoesEveryTaskOnceInOtherProcesses) {
  std::vector<std::string> keys(500);
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = std::to_string(i);
  Account account;
  WorkerPool pool({.workers = 3}, [](const Task& task, const WorkerContext& context) {
    TaskResult result;
    result.detail = task.key + " by " + std::to_string(context.worker);
    result.stages = {{"square", 1.5}};
    result.files = {{"a\nb", 12, -3}};
    return result;
  });
  ASSERT_THAT(pool.Run(Accountant(keys, account)), IsOk());
  ASSERT_THAT(account.finished, SizeIs(500));
  std::set<int> pids;
  for (const auto& [key, result] : account.finished) {
    EXPECT_EQ(result.detail, key + " by " + std::to_string(result.worker));
    EXPECT_EQ(result.stages, (std::vector<StageTime>{{"square", 1.5}}));
    EXPECT_EQ(result.files, (std::vector<FileStamp>{{"a\nb", 12, -3}}));
    EXPECT_EQ(result.attempt, 1);
    EXPECT_GE(result.finished_unix_ms, result.started_unix_ms);
    EXPECT_GT(result.peak_rss_bytes, 100'000U);
    EXPECT_TRUE(result.worker >= 0 && result.worker < 3) << result.worker;
    pids.insert(result.pid);
  }
  EXPECT_LE(pids.size(), 3U);
  EXPECT_FALSE(pids.contains(getpid()));
  for (const int pid : pids) EXPECT_FALSE(IsAlive(pid)) << pid;
  EXPECT_LE(account.most_at_once, 3);
}

TEST(WorkerPool, RunsWithoutTasksAndStartsNoMoreWorkersThanTasks) {
  Account account;
  WorkerPool pool({.workers = 8}, [](const Task&, const WorkerContext&) { return TaskResult{}; });
  EXPECT_THAT(pool.Run(Accountant({}, account)), IsOk());
  EXPECT_THAT(pool.Run(Accountant({"only"}, account)), IsOk());
  EXPECT_EQ(account.finished.at("only").worker, 0);
}

TEST(WorkerPool, CarriesPayloadsLargerThanASocketHolds) {
  const std::string payload(5 << 20, 'p');
  std::string detail;
  PoolHandlers handlers;
  handlers.next = [&, given = false]() mutable -> Result<std::optional<Task>> {
    if (std::exchange(given, true)) return std::nullopt;
    return Task{.key = "big", .payload = payload};
  };
  handlers.on_finished = [&](const Task&, const TaskResult& result) -> Status {
    detail = result.detail;
    return {};
  };
  WorkerPool pool({}, [](const Task& task, const WorkerContext&) {
    TaskResult result;
    result.detail = task.payload + "!";
    return result;
  });
  ASSERT_THAT(pool.Run(handlers), IsOk());
  EXPECT_TRUE(detail == payload + "!") << detail.size();
}

TEST(WorkerPool, TriesACrashedTaskThreeTimesAndNamesTheSignal) {
  Account account;
  WorkerPool pool(kTwoWorkers, [](const Task& task, const WorkerContext& context) {
    std::fprintf(stderr, "attempt %d at %s\n", context.attempt, task.key.c_str());
    if (task.key == "segv") DieOf(SIGSEGV);
    if (task.key == "abort") DieOf(SIGABRT);
    if (task.key == "exit") _exit(7);
    if (task.key == "kill") DieOf(SIGKILL);
    if (task.key == "throw") throw std::runtime_error("out of luck");
    return TaskResult{};
  });
  ASSERT_THAT(
      pool.Run(Accountant({"good", "segv", "abort", "exit", "kill", "throw", "fine"}, account)),
      IsOk());
  ASSERT_THAT(account.finished, SizeIs(7));
  EXPECT_THAT(account.failed_attempts, SizeIs(2 * 5));
  const auto message = [&](const std::string& key) {
    const TaskResult& result = account.finished.at(key);
    EXPECT_EQ(result.state, TaskState::kQuarantined) << key;
    EXPECT_EQ(result.attempt, 3) << key;
    EXPECT_EQ(result.error.value_or(Error{}).status, "crashed") << key;
    return result.error.value_or(Error{}).message;
  };
  EXPECT_THAT(
      message("segv"),
      AllOf(HasSubstr("was ended by SIGSEGV"), HasSubstr("it last printed: attempt 3 at segv")));
  EXPECT_THAT(message("abort"), HasSubstr("was ended by SIGABRT"));
  EXPECT_THAT(message("exit"), HasSubstr("ended with exit code 7"));
  EXPECT_THAT(message("kill"), HasSubstr("SIGKILL, perhaps for lack of memory"));
  EXPECT_THAT(message("throw"), HasSubstr("out of luck"));
  EXPECT_EQ(account.finished.at("good").state, TaskState::kDone);
  EXPECT_EQ(account.finished.at("fine").state, TaskState::kDone);
}

TEST(WorkerPool, TriesTransientErrorsAgainAndOthersNot) {
  Account account;
  WorkerPool pool(kTwoWorkers, [](const Task& task, const WorkerContext& context) {
    if (task.key == "passes" && context.attempt < 3) {
      return FailedTask({ErrorKind::kTransient, "busy"});
    }
    if (task.key == "stays") return FailedTask({ErrorKind::kTransient, "still busy"});
    if (task.key == "bad") return FailedTask({ErrorKind::kInvalidData, "want 6", "bad_values"});
    if (task.key == "twin") return SkippedTask({ErrorKind::kInvalidData, "seen", "duplicate"});
    return TaskResult{};
  });
  ASSERT_THAT(pool.Run(Accountant({"passes", "stays", "bad", "twin"}, account)), IsOk());
  EXPECT_EQ(account.finished.at("passes").state, TaskState::kDone);
  EXPECT_EQ(account.finished.at("passes").attempt, 3);
  EXPECT_EQ(account.finished.at("stays").error->message, "still busy");
  EXPECT_EQ(account.finished.at("stays").attempt, 3);
  EXPECT_EQ(account.finished.at("bad").attempt, 1);
  EXPECT_EQ(account.finished.at("bad").error->status, "bad_values");
  EXPECT_EQ(account.finished.at("twin").state, TaskState::kSkipped);
}

TEST(WorkerPool, KillsATaskThatTakesTooLong) {
  Account account;
  const auto begin = std::chrono::steady_clock::now();
  WorkerPool pool({.workers = 2, .task_timeout = 150ms, .max_attempts = 2, .retry_delay = 1ms},
                  [](const Task& task, const WorkerContext&) {
                    if (task.key == "hangs") std::this_thread::sleep_for(1h);
                    return TaskResult{};
                  });
  ASSERT_THAT(pool.Run(Accountant({"hangs", "a", "b"}, account)), IsOk());
  const TaskResult& result = account.finished.at("hangs");
  EXPECT_EQ(result.error->status, "timeout");
  EXPECT_THAT(result.error->message, HasSubstr("was killed: it was not done after 0.15 s"));
  EXPECT_EQ(result.attempt, 2);
  EXPECT_EQ(account.finished.at("b").state, TaskState::kDone);
  EXPECT_FALSE(IsAlive(result.pid));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST(WorkerPool, StopsTheRunWhenTheDiskIsFull) {
  Account account;
  WorkerPool pool({.workers = 1}, [](const Task& task, const WorkerContext&) {
    if (task.key == "2") return FailedTask({ErrorKind::kNoSpace, "no space left", "no_space"});
    return TaskResult{};
  });
  EXPECT_THAT(pool.Run(Accountant({"1", "2", "3", "4"}, account)),
              FailsAs("no_space", "no space left"));
  EXPECT_THAT(account.finished, SizeIs(1));
  EXPECT_EQ(account.dropped.at("2").kind, ErrorKind::kNoSpace);
  EXPECT_THAT(account.started, ElementsAre("1", "2"));
}

TEST(WorkerPool, EndsWithTheFirstFailureOfAHandler) {
  Account account;
  PoolHandlers handlers = Accountant({"1", "2", "3"}, account);
  handlers.on_finished = [](const Task& task, const TaskResult&) -> Status {
    return Fail(ErrorKind::kNoSpace, "cannot store {}", task.key);
  };
  WorkerPool pool({}, [](const Task&, const WorkerContext&) { return TaskResult{}; });
  EXPECT_THAT(pool.Run(handlers), FailsWith(ErrorKind::kNoSpace, "cannot store 1"));
}

TEST(WorkerPool, SetsUpEachNewWorkerAndReplacesWornOnes) {
  Account account;
  std::string set_up_as = "not set up";  // a worker's copy of it
  WorkerPool pool(
      {.workers = 1, .recycle_after = 2},
      [&](const Task&, const WorkerContext&) {
        TaskResult result;
        result.detail = set_up_as;
        return result;
      },
      [&](const WorkerContext& context) -> Status {
        set_up_as = "worker " + std::to_string(context.worker) + ", " + std::to_string(getpid());
        return {};
      });
  ASSERT_THAT(pool.Run(Accountant({"1", "2", "3", "4", "5"}, account)), IsOk());
  std::map<int, int> tasks_of;
  for (const auto& [key, result] : account.finished) {
    EXPECT_EQ(result.detail, "worker 0, " + std::to_string(result.pid));
    ++tasks_of[result.pid];
  }
  ASSERT_THAT(tasks_of, SizeIs(3));
  for (const auto& [pid, tasks] : tasks_of) EXPECT_LE(tasks, 2) << pid;
  EXPECT_EQ(set_up_as, "not set up");
}

TEST(WorkerPool, StartsNoTaskWhileNoneMayStart) {
  const auto work = [](const Task&, const WorkerContext&) { return TaskResult{}; };
  Account account;
  WorkerPool pool({.workers = 1}, work);
  PoolHandlers handlers = Accountant({"1", "2", "3"}, account);
  int refusals = 0;
  handlers.may_start = [&] { return account.finished.size() != 1 || ++refusals > 3; };
  ASSERT_THAT(pool.Run(handlers), IsOk());
  EXPECT_THAT(account.finished, SizeIs(3));
  EXPECT_GT(refusals, 3);
}

TEST(WorkerPool, WaitsForATaskThatIsNotThereYet) {
  Account account;
  PoolHandlers handlers = Accountant({"a", "b"}, account);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const UniqueFd reader(ends[0]);
  const UniqueFd writer(ends[1]);
  int asked = 0;
  handlers.has_next = [&] { return ++asked > 1; };
  handlers.wakes = [&] { return reader.get(); };
  ASSERT_EQ(write(writer.get(), "x", 1), 1);
  WorkerPool pool(kTwoWorkers, [](const Task&, const WorkerContext&) { return TaskResult{}; });
  ASSERT_THAT(pool.Run(handlers), IsOk());
  EXPECT_THAT(account.finished, SizeIs(2));
  EXPECT_GT(asked, 1);
}

TEST(WorkerPool, EndsThoughNothingMayStartAnyMore) {
  const auto work = [](const Task&, const WorkerContext&) { return TaskResult{}; };
  Account account;
  WorkerPool pool({.workers = 1}, work);
  PoolHandlers handlers = Accountant({"1"}, account);
  handlers.may_start = [&] { return account.finished.empty(); };
  ASSERT_THAT(pool.Run(handlers), IsOk());
  EXPECT_THAT(account.finished, SizeIs(1));
}

TEST(WorkerPool, ReplacesAWorkerThatAsksForIt) {
  WorkerPool pool({.workers = 1}, [](const Task& task, const WorkerContext&) {
    TaskResult result;
    result.leave = task.key == "1";
    result.status = "as " + task.key;
    return result;
  });
  Account account;
  ASSERT_THAT(pool.Run(Accountant({"1", "2", "3"}, account)), IsOk());
  EXPECT_NE(account.finished.at("1").pid, account.finished.at("2").pid);
  EXPECT_EQ(account.finished.at("2").pid, account.finished.at("3").pid);
  EXPECT_EQ(account.finished.at("3").status, "as 3");
}

TEST(WorkerPool, RefusesToGoOnWithoutASetUpWorker) {
  const auto work = [](const Task&, const WorkerContext&) { return TaskResult{}; };
  Account account;
  WorkerPool failing(kTwoWorkers, work, [](const WorkerContext&) -> Status {
    return Fail(ErrorKind::kUsage, "no scratch folder");
  });
  EXPECT_THAT(failing.Run(Accountant({"1"}, account)),
              FailsWith(ErrorKind::kUsage, "setting up worker 0: no scratch folder"));
  WorkerPool dying(kTwoWorkers, work, [](const WorkerContext&) -> Status { DieOf(SIGSEGV); });
  EXPECT_THAT(
      dying.Run(Accountant({"1"}, account)),
      FailsWith(ErrorKind::kInternal, AllOf(HasSubstr("SIGSEGV"), HasSubstr("3 times in a row"))));
  EXPECT_THAT(account.started, IsEmpty());
}

TEST(WorkerPool, KeepsWorkersOutputFromItsOwn) {
  Account account;
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  WorkerPool pool({.workers = 1}, [](const Task& task, const WorkerContext&) {
    std::printf("stdout of %s\n", task.key.c_str());
    std::fprintf(stderr, "stderr of %s\n", task.key.c_str());
    return TaskResult{};
  });
  ASSERT_THAT(pool.Run(Accountant({"1"}, account)), IsOk());
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  // In either order: stdout may wait in its buffer.
  EXPECT_THAT(account.output, UnorderedElementsAre("stdout of 1", "stderr of 1"));
}

TEST(WorkerPool, IsNotHeldUpByAWorkerThatPrintsWithoutEnd) {
  Account account;
  WorkerPool pool({.workers = 2, .task_timeout = 300ms, .max_attempts = 1},
                  [](const Task& task, const WorkerContext&) {
                    while (task.key == "prints") std::fprintf(stderr, "%s", task.key.c_str());
                    return TaskResult{};
                  });
  PoolHandlers handlers = Accountant({"prints", "a", "b", "c"}, account);
  handlers.on_output = {};
  ASSERT_THAT(pool.Run(handlers), IsOk());
  EXPECT_EQ(account.finished.at("prints").error->status, "timeout");
  EXPECT_LT(account.finished.at("prints").error->message.size(), 2000U);
  EXPECT_EQ(account.finished.at("c").state, TaskState::kDone);
}

TEST(WorkerPool, NoticesADeathWhenAGrandchildHoldsItsSocket) {
  const TemporaryDirectory dir;
  Account account;
  WorkerPool pool({.workers = 1, .max_attempts = 1}, [&](const Task&, const WorkerContext&) {
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      std::this_thread::sleep_for(1h);
      _exit(0);
    }
    std::ofstream(dir / "grandchild") << grandchild;
    DieOf(SIGSEGV);
    return TaskResult{};
  });
  ASSERT_THAT(pool.Run(Accountant({"1"}, account)), IsOk());
  EXPECT_THAT(account.finished.at("1").error->message, HasSubstr("SIGSEGV"));
  pid_t grandchild = 0;
  std::ifstream(dir / "grandchild") >> grandchild;
  ASSERT_GT(grandchild, 0);
  kill(grandchild, SIGKILL);
}

/// A coordinator in a process of its own, asked to stop by SIGTERM once a task is in hand. Workers
/// get the signal, too, as from a terminal, and must not care.
void RunAndStop(std::chrono::milliseconds grace,
                std::chrono::milliseconds task_duration,
                const std::function<void(const Account&, const Status&)>& check) {
  const int status = WaitStatusOf([&] {
    InstallStopHandlers();
    Account account;
    WorkerPool pool({.workers = 2, .stop_grace = grace}, [&](const Task&, const WorkerContext&) {
      std::raise(SIGTERM);
      kill(getppid(), SIGTERM);
      std::this_thread::sleep_for(task_duration);
      return TaskResult{};
    });
    check(account, pool.Run(Accountant({"1", "2", "3", "4"}, account)));
  });
  EXPECT_EQ(status, 0);
}

TEST(WorkerPool, FinishesWhatIsInHandWhenAskedToStop) {
  RunAndStop(10s, 100ms, [](const Account& account, const Status& status) {
    EXPECT_THAT(status, FailsWith(ErrorKind::kCancelled, "stopped by SIGTERM"));
    EXPECT_GE(account.finished.size(), 1U);
    EXPECT_EQ(account.finished.size(), account.started.size());
    EXPECT_THAT(account.dropped, IsEmpty());
    EXPECT_LE(account.started.size(), 2U);
  });
}

TEST(WorkerPool, DropsWhatDoesNotFinishInTime) {
  const auto begin = std::chrono::steady_clock::now();
  RunAndStop(100ms, 1h, [](const Account& account, const Status& status) {
    EXPECT_THAT(status, FailsWith(ErrorKind::kCancelled, "stopped by SIGTERM"));
    EXPECT_THAT(account.finished, IsEmpty());
    ASSERT_GE(account.dropped.size(), 1U);
    EXPECT_EQ(account.dropped.size(), account.started.size());
    EXPECT_EQ(account.dropped.begin()->second.message, "dropped unfinished: stopped by SIGTERM");
  });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST(WorkerPool, LeavesNoWorkerWhenTheCoordinatorIsKilled) {
  const TemporaryDirectory dir;
  const int status = WaitStatusOf([&] {
    Account account;
    WorkerPool pool({.workers = 3}, [&](const Task& task, const WorkerContext&) {
      std::ofstream(dir / task.key) << getpid() << std::endl;
      if (task.key == "3") kill(getppid(), SIGKILL);
      std::this_thread::sleep_for(1h);
      return TaskResult{};
    });
    (void)pool.Run(Accountant({"1", "2", "3"}, account));
  });
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    int pid = 0;
    std::ifstream(entry.path()) >> pid;
    if (pid == 0) continue;
    // Gone, or a zombie that nobody has waited for yet.
    const auto is_gone = [pid] {
      const Result<std::string> stat = ReadFileText("/proc/" + std::to_string(pid) + "/stat");
      return !stat || stat->find(") Z ") != std::string::npos;
    };
    const auto give_up = std::chrono::steady_clock::now() + 5s;
    while (!is_gone() && std::chrono::steady_clock::now() < give_up)
      std::this_thread::sleep_for(1ms);
    EXPECT_TRUE(is_gone()) << pid;
  }
}

}  // namespace
}  // namespace droidflow

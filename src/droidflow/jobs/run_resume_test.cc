/// Runs with real processes, as the pipeline puts them together: lock, store, workers and folders
/// placed in one step. Whatever is killed, in the end every task is done once and nothing is left.

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/jobs/run_lock.h"
#include "droidflow/jobs/run_store.h"
#include "droidflow/jobs/worker_pool.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int kTasks = 60;
constexpr int kWorkers = 3;

std::vector<Task> Tasks() {
  std::vector<Task> tasks;
  for (int i = 0; i < kTasks; ++i)
    tasks.push_back({std::to_string(i), "text of " + std::to_string(i)});
  return tasks;
}

/// Where a worker that has begun its first task says which process it is.
fs::path PidFile(const fs::path& root, int worker) { return root / fmt::format("pid-{}", worker); }

/// Writes two files, some milliseconds apart, and places them.
TaskResult WriteTwoFiles(const fs::path& root, const Task& task, const WorkerContext& context) {
  const fs::path incoming = root / "incoming" / std::to_string(context.worker);
  std::ofstream(PidFile(root, context.worker)) << getpid();
  const auto write = [&]() -> Status {
    DF_RETURN_IF_ERROR(RemoveTree(incoming));
    DF_RETURN_IF_ERROR(MakeDirectories(incoming));
    std::ofstream(incoming / "first") << task.payload;
    std::this_thread::sleep_for(3ms);
    std::ofstream(incoming / "second") << task.payload;
    return PlaceDirectory(incoming, root / "out" / task.key);
  };
  if (const Status status = write(); !status) return FailedTask(status.error());
  TaskResult result;
  result.directory = task.key;
  Result<std::vector<FileStamp>> files = ListFiles(root / "out" / task.key);
  if (!files) return FailedTask(files.error());
  result.files = *std::move(files);
  return result;
}

/// One run, or what is left of one. `done_here` counts what this run finished.
Status RunOnce(const fs::path& root, int* done_here = nullptr) {
  DF_ASSIGN_OR_RETURN(const RunLock lock, RunLock::Acquire(root / "run"));
  DF_ASSIGN_OR_RETURN(RunStore store, RunStore::Open(root / "run"));
  DF_RETURN_IF_ERROR(RemoveTree(root / "incoming"));
  DF_RETURN_IF_ERROR(store.AddTasks(Tasks()));
  DF_RETURN_IF_ERROR(store.ResetRunning());
  DF_ASSIGN_OR_RETURN(const std::vector<TaskRecord> records, store.LoadAll());
  const std::vector<bool> unchanged = CheckFiles(records, root / "out", 1);

  PoolHandlers handlers;
  handlers.next = [&, i = std::size_t{0}]() mutable -> Result<std::optional<Task>> {
    while (i < records.size() && records[i].state == TaskState::kDone && unchanged[i]) ++i;
    if (i == records.size()) return std::nullopt;
    return records[i++].task;
  };
  handlers.on_started = [&](const Task& task, const WorkerContext& context) {
    return store.MarkRunning(task.key, context.worker);
  };
  handlers.on_finished = [&](const Task& task, const TaskResult& result) {
    if (done_here != nullptr && result.state == TaskState::kDone) ++*done_here;
    return store.Finish(task.key, result, "");
  };
  handlers.on_dropped = [&](const Task& task, const Error& reason) {
    return store.Release(task.key, reason);
  };
  WorkerPool pool({.workers = kWorkers, .max_attempts = 20, .retry_delay = 1ms},
                  [&](const Task& task, const WorkerContext& context) {
                    return WriteTwoFiles(root, task, context);
                  });
  DF_RETURN_IF_ERROR(pool.Run(handlers));
  return RemoveTree(root / "incoming");
}

void ExpectEverythingOnceAndWhole(const fs::path& root) {
  const auto records = RunStore::OpenReadOnly(root / "run").value().LoadAll().value();
  ASSERT_EQ(records.size(), std::size_t{kTasks});
  const std::vector<bool> unchanged = CheckFiles(records, root / "out", 1);
  for (std::size_t i = 0; i < records.size(); ++i) {
    const TaskRecord& record = records[i];
    EXPECT_EQ(record.state, TaskState::kDone) << record.task.key << ": " << record.message;
    EXPECT_TRUE(unchanged[i]) << record.task.key;
    for (const char* const name : {"first", "second"}) {
      EXPECT_EQ(ReadFileText(root / "out" / record.task.key / name).value_or("missing"),
                record.task.payload);
    }
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(root / "out"), {}), kTasks);
  EXPECT_FALSE(fs::exists(root / "incoming"));
}

pid_t StartCoordinator(const fs::path& root) {
  const pid_t pid = fork();
  if (pid == 0) _exit(RunOnce(root) ? 0 : 1);
  return pid;
}

TEST(Run, SurvivesItsCoordinatorKilledAtRandomMoments) {
  const TemporaryDirectory dir;
  std::mt19937 random(7);
  int killed = 0;
  for (int i = 0; i < 25; ++i) {
    const pid_t coordinator = StartCoordinator(dir.path());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 25'000));
    kill(coordinator, SIGKILL);
    int status = 0;
    waitpid(coordinator, &status, 0);
    if (WIFSIGNALED(status)) {
      ++killed;
    } else {
      EXPECT_EQ(status, 0);
    }
  }
  EXPECT_GT(killed, 5);
  ASSERT_THAT(RunOnce(dir.path()), IsOk());
  ExpectEverythingOnceAndWhole(dir.path());
}

TEST(Run, SurvivesItsWorkersKilledAtRandomMoments) {
  const TemporaryDirectory dir;
  const pid_t coordinator = StartCoordinator(dir.path());
  std::mt19937 random(8);
  int status = 0;
  std::set<pid_t> killed;
  while (waitpid(coordinator, &status, WNOHANG) == 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 6'000));
    if (killed.size() == 25) continue;
    // Only workers that have begun: the pool gives up when its workers cannot even start.
    pid_t worker = 0;
    std::ifstream in(PidFile(dir.path(), static_cast<int>(random() % kWorkers)));
    if (in >> worker && killed.insert(worker).second) kill(worker, SIGKILL);
  }
  EXPECT_EQ(status, 0);
  EXPECT_GT(killed.size(), 5U);
  ExpectEverythingOnceAndWhole(dir.path());
}

TEST(Run, DoesOnlyWhatIsMissingOrChanged) {
  const TemporaryDirectory dir;
  int done = 0;
  ASSERT_THAT(RunOnce(dir.path(), &done), IsOk());
  EXPECT_EQ(done, kTasks);
  done = 0;
  ASSERT_THAT(RunOnce(dir.path(), &done), IsOk());
  EXPECT_EQ(done, 0);
  fs::remove(dir / "out/7/second");
  std::ofstream(dir / "out/9/first") << "damaged";
  fs::remove_all(dir / "out/11");
  ASSERT_THAT(RunOnce(dir.path(), &done), IsOk());
  EXPECT_EQ(done, 3);
  ExpectEverythingOnceAndWhole(dir.path());
}

TEST(Run, RefusesASecondCoordinator) {
  const TemporaryDirectory dir;
  const Result<RunLock> lock = RunLock::Acquire(dir / "run");
  ASSERT_THAT(lock, IsOk());
  const pid_t second = fork();
  if (second == 0) {
    const Status status = RunOnce(dir.path());
    _exit(!status && status.error().kind == ErrorKind::kBusy ? 11 : 1);
  }
  int status = 0;
  waitpid(second, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 11);
}

}  // namespace
}  // namespace droidflow

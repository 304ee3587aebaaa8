#include "droidflow/jobs/run_store.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/sqlite.h"
#include "droidflow/core/test_support.h"

#include <csignal>
#include <fstream>
#include <sys/wait.h>
#include <unistd.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::vector<Task> kThree{{"a", "payload a"}, {"b", "payload b"}, {"c", "payload c"}};

RunStore OpenWith(const fs::path& run_dir, std::span<const Task> tasks) {
  RunStore store = RunStore::Open(run_dir).value();
  EXPECT_THAT(store.AddTasks(tasks), IsOk());
  return store;
}

TaskResult FullResult() {
  TaskResult result;
  result.stages = {{"read file", 1.25}, {"project", 0.001}};
  result.output_bytes = 5'000'000'000;
  result.directory = "lab/success";
  result.files = {{"tracks.npz", 4'999'999'999, 1'700'000'000'123'456'789}, {"a\nb c", 1, -5}};
  result.detail = R"({"warnings": ["x"]})";
  result.worker = 3;
  result.pid = 77;
  result.peak_rss_bytes = 1 << 20;
  result.started_unix_ms = 1'700'000'000'000;
  result.finished_unix_ms = 1'700'000'000'500;
  return result;
}

std::vector<std::string> Keys(const std::vector<TaskRecord>& records) {
  std::vector<std::string> keys;
  for (const TaskRecord& record : records) keys.push_back(record.task.key);
  return keys;
}

TEST(RunStore, KeepsAResultWhole) {
  const TemporaryDirectory dir;
  {
    RunStore store = OpenWith(dir / "run", kThree);
    ASSERT_THAT(store.MarkRunning("b", 3), IsOk());
    ASSERT_THAT(store.Finish("b", FullResult(), "config 1"), IsOk());
  }
  const auto records = RunStore::Open(dir / "run").value().LoadAll().value();
  ASSERT_THAT(Keys(records), ElementsAre("a", "b", "c"));
  const TaskRecord& b = records[1];
  EXPECT_EQ(b.task.payload, "payload b");
  EXPECT_EQ(b.state, TaskState::kDone);
  EXPECT_EQ(b.attempts, 1);
  EXPECT_EQ(b.worker, 3);
  EXPECT_EQ(b.stages, FullResult().stages);
  EXPECT_EQ(b.files, FullResult().files);
  EXPECT_EQ(b.output_bytes, 5'000'000'000U);
  EXPECT_EQ(b.peak_rss_bytes, 1U << 20);
  EXPECT_EQ(b.directory, "lab/success");
  EXPECT_EQ(b.fingerprint, "config 1");
  EXPECT_EQ(b.detail, R"({"warnings": ["x"]})");
  EXPECT_EQ(b.finished_unix_ms - b.started_unix_ms, 500);
  EXPECT_EQ(records[2].state, TaskState::kPending);
}

TEST(RunStore, AddingAgainKeepsStatesAndRenewsOrderAndPayload) {
  const TemporaryDirectory dir;
  RunStore store = OpenWith(dir.path(), kThree);
  ASSERT_THAT(store.Finish("a", FullResult(), "config 1"), IsOk());
  ASSERT_THAT(store.AddTasks(std::vector<Task>{{"c", "payload c"}, {"a", "moved"}}), IsOk());
  const auto records = store.LoadAll().value();
  ASSERT_THAT(Keys(records), ElementsAre("c", "a", "b"));
  EXPECT_EQ(records[1].state, TaskState::kDone);
  EXPECT_EQ(records[1].task.payload, "moved");
}

TEST(RunStore, FollowsATaskThroughItsStates) {
  const TemporaryDirectory dir;
  RunStore store = OpenWith(dir.path(), kThree);
  ASSERT_THAT(store.MarkRunning("a", 0), IsOk());
  ASSERT_THAT(store.MarkRunning("b", 1), IsOk());
  EXPECT_EQ(store.CountStates().value(), (StateCounts{.pending = 1, .running = 2}));

  ASSERT_THAT(store.Release("a", {ErrorKind::kNoSpace, "disk full", "no_space"}), IsOk());
  EXPECT_EQ(store.LoadAll().value()[0].status, "no_space");
  EXPECT_EQ(store.ResetRunning().value(), 1);
  EXPECT_EQ(store.ResetRunning().value(), 0);
  EXPECT_EQ(store.CountStates().value(), (StateCounts{.pending = 3}));

  ASSERT_THAT(store.MarkRunning("a", 0), IsOk());
  TaskResult failed = FailedTask({ErrorKind::kInvalidData, "want 6 values", "bad_values"});
  failed.failed_stage = "read";
  ASSERT_THAT(store.Finish("a", failed, "config 1"), IsOk());
  ASSERT_THAT(
      store.Finish("c", SkippedTask({ErrorKind::kInvalidData, "seen before", "duplicate"}), ""),
      IsOk());
  EXPECT_EQ(store.CountStates().value(),
            (StateCounts{.pending = 1, .quarantined = 1, .skipped = 1}));
  const auto failures = store.LoadFailures().value();
  ASSERT_THAT(Keys(failures), ElementsAre("a"));
  EXPECT_EQ(failures[0].status, "bad_values");
  EXPECT_EQ(failures[0].message, "want 6 values");
  EXPECT_EQ(failures[0].failed_stage, "read");
  EXPECT_EQ(failures[0].attempts, 2);

  ASSERT_THAT(store.Requeue(std::vector<std::string>{"a", "c"}), IsOk());
  EXPECT_EQ(store.CountStates().value(), (StateCounts{.pending = 3}));
  EXPECT_EQ(store.LoadAll().value()[0].message, "");
}

TEST(RunStoreDeathTest, KnowsNoOtherTasks) {
  const TemporaryDirectory dir;
  RunStore store = OpenWith(dir.path(), kThree);
  EXPECT_DEATH((void)store.MarkRunning("z", 0), "no task 'z'");
}

TEST(RunStore, CanBeReadWhileItIsWritten) {
  const TemporaryDirectory dir;
  EXPECT_THAT(RunStore::OpenReadOnly(dir.path()),
              FailsWith(ErrorKind::kNotFound, EndsWith("run.sqlite")));
  RunStore writer = OpenWith(dir.path(), kThree);
  RunStore reader = RunStore::OpenReadOnly(dir.path()).value();
  EXPECT_EQ(reader.CountStates().value(), (StateCounts{.pending = 3}));
  ASSERT_THAT(writer.Finish("a", FullResult(), ""), IsOk());
  EXPECT_EQ(reader.CountStates().value(), (StateCounts{.pending = 2, .done = 1}));
  EXPECT_THAT(reader.MarkRunning("b", 0), FailsWith(ErrorKind::kInternal, HasSubstr("readonly")));
}

TEST(RunStore, RefusesNewerForeignAndDamagedFiles) {
  const TemporaryDirectory dir;
  const auto set_up = [&](const std::string& name, const std::string& sql) {
    fs::create_directories(dir / name);
    Database database =
        Database::Open(dir / name / "run.sqlite", Database::Mode::kReadWriteCreate).value();
    ASSERT_THAT(database.Execute(sql), IsOk());
  };
  set_up("newer", "CREATE TABLE task (id); PRAGMA user_version = 7");
  EXPECT_THAT(RunStore::Open(dir / "newer"),
              FailsWith(ErrorKind::kUnsupported, HasSubstr("has version 7, want 1 or older")));
  EXPECT_THAT(RunStore::OpenReadOnly(dir / "newer"),
              FailsWith(ErrorKind::kUnsupported, EndsWith("newer/run.sqlite")));
  set_up("foreign", "CREATE TABLE recipes (id)");
  EXPECT_THAT(RunStore::Open(dir / "foreign"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("holds no run store")));

  fs::create_directories(dir / "garbage");
  std::ofstream(dir / "garbage/run.sqlite") << std::string(10'000, '?');
  EXPECT_THAT(RunStore::Open(dir / "garbage"),
              FailsWith(ErrorKind::kInvalidData, EndsWith("garbage/run.sqlite")));
}

TEST(RunStore, SaysWhichDatabaseIsDamagedInside) {
  const TemporaryDirectory dir;
  const fs::path path = dir / "run.sqlite";
  {
    std::vector<Task> tasks;
    for (int i = 0; i < 1000; ++i) tasks.push_back({std::to_string(i), std::string(100, 'p')});
    OpenWith(dir.path(), tasks);
  }
  {
    // All but the header and the schema.
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);
    for (auto rest = fs::file_size(path) - 4096; rest > 0; --rest) file.put('\x5a');
  }
  Result<RunStore> store = RunStore::Open(dir.path());
  ASSERT_THAT(store, IsOk());
  EXPECT_THAT(store->LoadAll(),
              FailsWith(ErrorKind::kInvalidData, EndsWith("malformed: " + path.string())));
}

TEST(RunStore, SaysWhichRowMakesNoSense) {
  const TemporaryDirectory dir;
  RunStore store = OpenWith(dir.path(), kThree);
  Database database = Database::Open(dir / "run.sqlite", Database::Mode::kReadWriteCreate).value();
  ASSERT_THAT(database.Execute("UPDATE task SET files = '12 99999 5 ab' WHERE key = 'b'"), IsOk());
  EXPECT_THAT(store.LoadAll(),
              FailsWith(ErrorKind::kInvalidData,
                        HasSubstr("task b: file 0: want 'size mtime length name', have 'ab'")));
  ASSERT_THAT(database.Execute("UPDATE task SET state = 'napping' WHERE key = 'b'"), IsOk());
  EXPECT_THAT(store.CountStates(),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("unknown state 'napping'")));
}

TEST(RunStore, IsWholeAfterAKillAtAnyMoment) {
  const TemporaryDirectory dir;
  OpenWith(dir.path(), kThree);
  for (int round = 0; round < 10; ++round) {
    const pid_t writer = fork();
    if (writer == 0) {
      RunStore store = RunStore::Open(dir.path()).value();
      for (;;) {
        for (const Task& task : kThree) {
          (void)store.MarkRunning(task.key, 0);
          (void)store.Finish(task.key, FullResult(), "config");
        }
      }
    }
    usleep(static_cast<useconds_t>(1000 + 2700 * round));
    kill(writer, SIGKILL);
    waitpid(writer, nullptr, 0);
    const auto records = RunStore::Open(dir.path()).value().LoadAll().value();
    ASSERT_THAT(records, SizeIs(3));
    for (const TaskRecord& record : records) {
      if (record.state == TaskState::kDone) {
        EXPECT_EQ(record.files, FullResult().files);
      }
    }
  }
}

TEST(CheckFiles, FindsWhichTasksFilesAreNotAsTheyWere) {
  const TemporaryDirectory dir;
  std::vector<TaskRecord> records(300);
  for (std::size_t i = 0; i < records.size(); ++i) {
    records[i].directory = std::to_string(i);
    fs::create_directories(dir / records[i].directory);
    std::ofstream(dir / records[i].directory / "file") << i;
    records[i].files = ListFiles(dir / records[i].directory).value();
  }
  records[5].files[0].mtime_ns += 1;
  fs::remove_all(dir / "270");
  records[299].files.clear();
  for (const unsigned threads : {1U, 4U}) {
    const std::vector<bool> unchanged = CheckFiles(records, dir.path(), threads);
    ASSERT_THAT(unchanged, SizeIs(300));
    for (std::size_t i = 0; i < records.size(); ++i) {
      EXPECT_EQ(unchanged[i], i != 5 && i != 270 && i != 299) << i;
    }
  }
}

TEST(SummarizeStages, GivesMedianAndP95OfDoneTasks) {
  std::vector<TaskRecord> records(21);
  for (std::size_t i = 0; i < 20; ++i) {  // 20, 19 … 1 ms
    records[i].state = TaskState::kDone;
    records[i].stages = {{"read", 20.0 - static_cast<double>(i)}};
  }
  records[3].stages.push_back({"write", 7});
  records[20].state = TaskState::kQuarantined;
  records[20].stages = {{"read", 1e9}};
  const auto summaries = SummarizeStages(records);
  ASSERT_THAT(summaries, SizeIs(2));
  EXPECT_EQ(summaries[0].name, "read");
  EXPECT_EQ(summaries[0].count, 20U);
  EXPECT_EQ(summaries[0].total_ms, 210);  // 20 * 21 / 2
  EXPECT_EQ(summaries[0].median_ms, 10);  // the 10th of 20
  EXPECT_EQ(summaries[0].p95_ms, 19);     // the 19th
  EXPECT_EQ(summaries[1].name, "write");
  EXPECT_EQ(summaries[1].median_ms, 7);
  EXPECT_EQ(summaries[1].p95_ms, 7);
  EXPECT_THAT(SummarizeStages({}), IsEmpty());
}

}  // namespace
}  // namespace droidflow

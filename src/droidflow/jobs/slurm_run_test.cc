#include "droidflow/jobs/slurm_run.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr SlurmPatience kOnce{.timeout = std::chrono::milliseconds(60'000), .attempts = 1};

/// Seven items by two, in a run directory; sbatch counts from 100, squeue prints a file.
class SlurmRunTest : public ::testing::Test {
 protected:
  SlurmRunTest() {
    path_ = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): no other thread
    setenv("PATH", fmt::format("{}:{}", folder_.path().string(), path_).c_str(), 1);  // NOLINT
    Fake("sbatch", "echo $((99 + $(wc -l < sbatch.calls)))");
    Fake("squeue", "cat queue 2>/dev/null || true");
    Fake("scontrol", "echo 'MaxArraySize = 3'");
  }
  ~SlurmRunTest() override { setenv("PATH", path_.c_str(), 1); }  // NOLINT(concurrency-mt-unsafe)

  void Fake(const std::string& name, const std::string& body) {
    const std::string script = fmt::format(
        "#!/bin/sh\ncd '{}'\necho \"$*\" >> {}.calls\n{}\n", folder_.path().string(), name, body);
    ASSERT_THAT(WriteFileAtomically(folder_ / name, script), IsOk());
    std::filesystem::permissions(folder_ / name, std::filesystem::perms::owner_all);
  }
  [[nodiscard]] std::vector<std::string> Calls(const std::string& name) const {
    std::vector<std::string> calls;
    const std::string text = ReadFileText(folder_ / (name + ".calls")).value_or("");
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = text.find('\n', begin);
      calls.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    return calls;
  }
  void Queue(const std::string& lines) {
    ASSERT_THAT(WriteFileAtomically(folder_ / "queue", lines), IsOk());
  }

  [[nodiscard]] static SlurmPlan Plan(const std::string& hash = "h") {
    SlurmPlan plan;
    plan.name = "run";
    plan.version = "1";
    plan.hash = hash;
    plan.command = "metadata";
    plan.program = "/bin/it's";
    plan.directory = "/";
    plan.items = 7;
    plan.items_per_shard = 2;
    plan.max_parallel = 9;
    plan.sbatch = {"--partition=p"};
    plan.sbatch_tasks = {"--mem=1G"};
    return plan;
  }
  [[nodiscard]] Result<SlurmRun> Create(const SlurmPlan& plan = Plan()) const {
    return SlurmRun::Create(
        folder_ / "run", plan, "a: 1\n", {"i0", "i1", "i2", "i3", "i4", "i5", "i6"});
  }
  /// A run of which all is submitted: arrays 100 (tasks 0 to 2) and 101 (task 3), merge 102.
  [[nodiscard]] SlurmRun Submitted() {
    SlurmRun run = *Create();
    EXPECT_EQ(run.AddAttempt({0, 1, 2, 3}, {false, false, false, false}), 1);
    EXPECT_THAT(run.Submit(1, slurm_), IsOk());
    return run;
  }
  [[nodiscard]] static ShardResult ResultOf(int shard, const std::string& job) {
    ShardItem item{.record = {.task = {.key = "key\xff", .payload = "i"},
                              .state = TaskState::kQuarantined,
                              .status = "empty",
                              .message = "no steps",
                              .stages = {{"read", 1.5}},
                              .files = {{.name = "a", .size_bytes = 3}}},
                   .sha256 = {"00ff"}};
    return {.shard = shard,
            .maker = {.job = job,
                      .restarts = 1,
                      .node = "n1",
                      .started_unix_ms = 1000,
                      .finished_unix_ms = 3000},
            .counts = {.done = 1, .quarantined = 1},
            .items = {item, item}};
  }

  TemporaryDirectory folder_;
  std::string path_;
  Slurm slurm_{kOnce};
};

TEST_F(SlurmRunTest, GivesEachShardItsItems) {
  const SlurmRun run = *Create();
  EXPECT_EQ(run.plan().Shards(), 4);
  EXPECT_THAT(*run.ItemsOf(0), ElementsAre("i0", "i1"));
  EXPECT_THAT(*run.ItemsOf(3), ElementsAre("i6"));
  EXPECT_THAT(run.ItemsOf(4), FailsWith(ErrorKind::kInvalidData, HasSubstr("items.txt")));
  const auto opened = SlurmRun::Open(folder_ / "run");
  ASSERT_THAT(opened, IsOk());
  EXPECT_EQ(opened->plan().program, "/bin/it's");
  EXPECT_THAT(SlurmRun::Open(folder_ / "other"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("no run")));
}

TEST_F(SlurmRunTest, SubmitsArraysThatFitAndAMergingBehindThem) {
  const SlurmRun run = Submitted();
  const std::string dir = run.dir().string();
  const std::string fixed = fmt::format(
      "--requeue --open-mode=append --output={}/logs/0001/%A_%a.out --signal=B:TERM@120", dir);
  ASSERT_THAT(Calls("sbatch"), SizeIs(3));
  EXPECT_EQ(Calls("sbatch")[0],
            fmt::format("--parsable --job-name=run --comment=0001-0 --array=0-2%9 {} --mem=1G "
                        "--partition=p {}/attempts/0001/job.sh --offset 0",
                        fixed,
                        dir));
  EXPECT_THAT(Calls("sbatch")[1], HasSubstr("--array=0-0%9"));
  EXPECT_THAT(Calls("sbatch")[1], HasSubstr("job.sh --offset 3"));
  EXPECT_THAT(Calls("sbatch")[2], HasSubstr("--dependency=afterany:100:101,singleton"));
  EXPECT_THAT(*ReadFileText(run.AttemptDir(1) / "job.sh"),
              HasSubstr("exec '/bin/it'\\''s' slurm task --run-dir '"));
  EXPECT_TRUE(std::filesystem::is_directory(run.dir() / "logs/0001"));
  const auto attempt = run.ReadAttempt(1);
  ASSERT_THAT(attempt, IsOk());
  EXPECT_EQ(attempt->merge_job, "102");
  EXPECT_THAT(Create(), FailsWith(ErrorKind::kBusy, HasSubstr("submitted already")));
  EXPECT_THAT(Create(Plan("other")), FailsWith(ErrorKind::kBusy, HasSubstr("another run")));
}

TEST_F(SlurmRunTest, GoesOnWithASubmissionThatStoppedHalfWay) {
  Fake("sbatch", "[ $(wc -l < sbatch.calls) -lt 2 ] && echo 100 && exit; echo 'quota' >&2; exit 1");
  {
    const SlurmRun run = *Create();
    ASSERT_EQ(run.AddAttempt({0, 1, 2, 3}, {false, false, false, false}), 1);
    EXPECT_THAT(run.Submit(1, slurm_), FailsWith(ErrorKind::kUsage, HasSubstr("quota")));
  }
  // Slurm had taken the second all the same.
  Queue("55|0|run|0001-3|PENDING|None|\n");
  Fake("sbatch", "echo 200");
  const auto run = Create();
  ASSERT_THAT(run, IsOk());
  ASSERT_THAT(run->Submit(1, slurm_), IsOk());
  const SlurmAttempt attempt = *run->ReadAttempt(1);
  ASSERT_THAT(attempt.arrays, SizeIs(2));
  EXPECT_EQ(attempt.arrays[0].job, "100");
  EXPECT_EQ(attempt.arrays[1].job, "55");
  EXPECT_EQ(attempt.merge_job, "200");
}

TEST_F(SlurmRunTest, StartsAnewWhereSlurmTookNothing) {
  Fake("sbatch", "echo 'invalid partition' >&2; exit 1");
  {
    const SlurmRun run = *Create();
    ASSERT_EQ(run.AddAttempt({0, 1, 2, 3}, {false, false, false, false}), 1);
    EXPECT_THAT(run.Submit(1, slurm_),
                FailsWith(ErrorKind::kUsage, HasSubstr("invalid partition")));
  }
  SlurmPlan other = Plan("other");
  other.name = "new";
  other.sbatch = {"--partition=q"};
  const auto run = Create(other);
  ASSERT_THAT(run, IsOk());
  EXPECT_EQ(run->CountAttempts(), 0);
  EXPECT_EQ(SlurmRun::Open(folder_ / "run")->plan().hash, "other");
  EXPECT_EQ(run->plan().name, "run");
}

TEST_F(SlurmRunTest, KeepsTheFirstResultOfAShardUnlessItIsDoneAgain) {
  const SlurmRun run = *Create();
  EXPECT_EQ(run.ReadResult(1, true)->has_value(), false);
  EXPECT_EQ(run.PublishResult(ResultOf(1, "100_1"), folder_ / "own", false), true);
  EXPECT_EQ(run.PublishResult(ResultOf(1, "200_1"), folder_ / "other", false), false);
  auto result = run.ReadResult(1, true);
  ASSERT_THAT(result, IsOk());
  ASSERT_TRUE(*result);
  EXPECT_EQ((*result)->maker.job, "100_1");
  ASSERT_THAT((*result)->items, SizeIs(2));
  const TaskRecord& record = (*result)->items[1].record;
  EXPECT_EQ(record.state, TaskState::kQuarantined);
  EXPECT_THAT(record.stages, ElementsAre(StageTime{"read", 1.5}));
  EXPECT_EQ(record.files[0].size_bytes, 3U);
  EXPECT_THAT((*result)->items[1].sha256, ElementsAre("00ff"));
  EXPECT_EQ(run.PublishResult(ResultOf(1, "200_1"), folder_ / "other", true), true);
  result = run.ReadResult(1, false);
  EXPECT_EQ((*result)->maker.job, "200_1");
  EXPECT_EQ((*result)->counts.quarantined, 1);
  EXPECT_THAT((*result)->items, IsEmpty());
}

TEST_F(SlurmRunTest, TakesNoResultThatIsCutOffOrOfAnotherPlan) {
  const SlurmRun run = *Create();
  ASSERT_EQ(run.PublishResult(ResultOf(1, "100_1"), folder_ / "own", false), true);
  const std::string whole = *ReadFileText(run.ShardDir(1) / "done.json");
  for (const std::size_t size : {std::size_t{0}, whole.size() / 2, whole.size() - 2}) {
    ASSERT_THAT(WriteFileAtomically(run.ShardDir(1) / "done.json", whole.substr(0, size)), IsOk());
    EXPECT_EQ(run.ReadResult(1, false)->has_value(), false) << size;
  }
  ASSERT_THAT(WriteFileAtomically(run.ShardDir(2) / "done.json", whole), IsOk());
  EXPECT_EQ(run.ReadResult(2, false)->has_value(), false);
  // One that is broken is replaced.
  EXPECT_EQ(run.PublishResult(ResultOf(1, "300_1"), folder_ / "own", false), true);
  EXPECT_EQ((*run.ReadResult(1, false))->maker.job, "300_1");
}

TEST_F(SlurmRunTest, TellsHowEveryShardStands) {
  const SlurmRun run = Submitted();
  ASSERT_EQ(run.PublishResult(ResultOf(0, "100_0"), folder_ / "own", false), true);
  ASSERT_THAT(
      run.WriteFailure(1, 2, {.exit_code = kShardBad, .message = "no such folder", .maker = {}}),
      IsOk());
  Queue(
      "100|0|run|0001-0|RUNNING|None|n1\n"  // has just finished
      "100|1|run|0001-0|RUNNING|None|n2\n"
      "100|2|run|0001-0|FAILED|NonZeroExitCode|n2\n"
      "101|0|run|0001-3|NODE_FAIL|NodeDown|n3\n");
  const auto status = LookAtRun(run, slurm_);
  ASSERT_THAT(status, IsOk());
  const auto& shards = status->shards;
  EXPECT_EQ(shards[0].state, ShardState::kDone);
  EXPECT_EQ(shards[1].state, ShardState::kRunning);
  EXPECT_EQ(shards[1].node, "n2");
  EXPECT_EQ(shards[2].state, ShardState::kBad);
  EXPECT_EQ(shards[2].why, "no such folder");
  EXPECT_EQ(shards[3].state, ShardState::kLost);
  EXPECT_EQ(shards[3].why, "NODE_FAIL (NodeDown)");
  EXPECT_EQ(shards[3].job, "101_0");
  EXPECT_EQ(status->items, (StateCounts{.pending = 5, .done = 1, .quarantined = 1}));
  EXPECT_THAT(status->alive_arrays, ElementsAre("100"));
  EXPECT_EQ(status->items_per_hour, 3600);  // two in two seconds
  EXPECT_EQ(status->seconds_left, 5);
  EXPECT_FALSE(status->is_merged);
}

TEST_F(SlurmRunTest, TellsByFilesAloneWhenSlurmDoesNotAnswer) {
  const SlurmRun run = Submitted();
  ASSERT_EQ(run.PublishResult(ResultOf(0, "100_0"), folder_ / "own", false), true);
  Fake("squeue", "echo 'Unable to contact slurm controller' >&2; exit 1");
  const auto status = LookAtRun(run, slurm_);
  ASSERT_THAT(status, IsOk());
  EXPECT_THAT(status->slurm, FailsWith(ErrorKind::kTransient, HasSubstr("Unable to contact")));
  EXPECT_EQ(status->shards[0].state, ShardState::kDone);
  EXPECT_EQ(status->shards[1].state, ShardState::kLost);
  EXPECT_THAT(status->shards[1].why, HasSubstr("Slurm does not answer"));
}

TEST_F(SlurmRunTest, CountsTheAttemptThatLives) {
  const SlurmRun run = Submitted();
  ASSERT_EQ(run.AddAttempt({3, 1}, {false, true}), 2);
  ASSERT_THAT(run.Submit(2, slurm_, {"100"}), IsOk());
  EXPECT_THAT(Calls("sbatch").back(), HasSubstr("--dependency=afterany:100:103,singleton"));
  const SlurmAttempt attempt = *run.ReadAttempt(2);
  EXPECT_THAT(attempt.shards, ElementsAre(3, 1));
  EXPECT_THAT(attempt.is_again, ElementsAre(false, true));
  Queue("103|0|run|0002-0|PENDING|Resources|\n100|1|run|0001-0|RUNNING|None|n1\n");
  const auto status = LookAtRun(run, slurm_);
  ASSERT_THAT(status, IsOk());
  EXPECT_EQ(status->shards[3].state, ShardState::kWaiting);
  EXPECT_EQ(status->shards[3].attempt, 2);
  EXPECT_EQ(status->shards[1].state, ShardState::kRunning);
  EXPECT_EQ(status->shards[1].attempt, 1);
}

TEST_F(SlurmRunTest, MissesWhatTheMergingMissed) {
  const SlurmRun run = Submitted();
  for (int shard = 0; shard < 4; ++shard) {
    ASSERT_EQ(run.PublishResult(ResultOf(shard, "100_0"), folder_ / "own", false), true);
  }
  ASSERT_THAT(WriteFileAtomically(run.dir() / "merge.json",
                                  R"({"attempt": 1, "complete": false, "damaged": [2]})"),
              IsOk());
  EXPECT_EQ(LookAtRun(run, slurm_)->shards[2].state, ShardState::kLost);
  EXPECT_TRUE(LookAtRun(run, slurm_)->shards[2].is_damaged);
  ASSERT_EQ(run.AddAttempt({2}, {true}), 2);  // what an earlier merging missed may be there now
  EXPECT_EQ(LookAtRun(run, slurm_)->shards[2].state, ShardState::kDone);
}

TEST_F(SlurmRunTest, RemembersThatItWasCancelled) {
  const SlurmRun run = Submitted();
  EXPECT_FALSE(run.IsCancelled(1));
  ASSERT_THAT(run.MarkCancelled(1), IsOk());
  EXPECT_TRUE(run.ReadAttempt(1)->is_cancelled);
}

}  // namespace
}  // namespace droidflow

#include "droidflow/jobs/slurm.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <cstdlib>
#include <filesystem>
#include <string>

#include <fmt/format.h>

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr SlurmPatience kQuick{.timeout = std::chrono::milliseconds(60'000),
                               .attempts = 3,
                               .pause = std::chrono::milliseconds(1)};

/// Scripts in place of Slurm's programs.
class SlurmTest : public ::testing::Test {
 protected:
  SlurmTest() {
    path_ = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe): no other thread
    setenv("PATH", fmt::format("{}:{}", folder_.path().string(), path_).c_str(), 1);  // NOLINT
  }
  ~SlurmTest() override { setenv("PATH", path_.c_str(), 1); }  // NOLINT(concurrency-mt-unsafe)

  /// @param body  of a shell script that also writes down its arguments, one call a line.
  void Fake(const std::string& name, const std::string& body) {
    const std::string script =
        fmt::format("#!/bin/sh\ncd '{}'\necho \"$*\" >> {}.calls\ncalls=$(wc -l < {}.calls)\n{}\n",
                    folder_.path().string(),
                    name,
                    name,
                    body);
    ASSERT_THAT(WriteFileAtomically(folder_ / name, script), IsOk());
    std::filesystem::permissions(folder_ / name, std::filesystem::perms::owner_all);
  }
  [[nodiscard]] std::string Calls(const std::string& name) const {
    return ReadFileText(folder_ / (name + ".calls")).value_or("");
  }

  TemporaryDirectory folder_;
  std::string path_;
  Slurm slurm_{kQuick};
};

TEST(ParseSqueue, ReadsTasksAndJobs) {
  const auto jobs = ParseSqueue(
      "72|7|run|0001-0|RUNNING|None|n3\n"
      "72|10|run|0001-0|PENDING|JobArrayTaskLimit|\n"
      "75|N/A|run-merge|0001-merge|PENDING|Dependency|\n");
  ASSERT_THAT(jobs, IsOk());
  EXPECT_THAT(*jobs,
              ElementsAre(SlurmJob{.id = "72",
                                   .index = 7,
                                   .name = "run",
                                   .comment = "0001-0",
                                   .state = "RUNNING",
                                   .reason = "None",
                                   .node = "n3"},
                          SlurmJob{.id = "72",
                                   .index = 10,
                                   .name = "run",
                                   .comment = "0001-0",
                                   .state = "PENDING",
                                   .reason = "JobArrayTaskLimit",
                                   .node = ""},
                          SlurmJob{.id = "75",
                                   .index = -1,
                                   .name = "run-merge",
                                   .comment = "0001-merge",
                                   .state = "PENDING",
                                   .reason = "Dependency",
                                   .node = ""}));
  EXPECT_TRUE((*jobs)[0].IsAlive());
  EXPECT_THAT(*ParseSqueue("\n"), IsEmpty());
  EXPECT_THAT(ParseSqueue("slurm_load_jobs error"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want 7 fields")));
}

TEST(SlurmJob, IsDeadOnceItEnded) {
  for (const char* const state :
       {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}) {
    SlurmJob job;
    job.state = state;
    EXPECT_FALSE(job.IsAlive()) << state;
  }
}

TEST(ParseSbatch, TakesTheNumberOfFederationsAndGreetersToo) {
  EXPECT_EQ(ParseSbatch("12\n"), "12");
  EXPECT_EQ(ParseSbatch("12;cluster\n"), "12");
  EXPECT_EQ(ParseSbatch("Welcome to the cluster!\n4711;west\n"), "4711");
  EXPECT_THAT(ParseSbatch("Submitted batch job twelve"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("have 'Submitted batch job twelve'")));
  EXPECT_THAT(ParseSbatch(""), FailsWith(ErrorKind::kInvalidData, HasSubstr("have ''")));
}

TEST(ParseMaxArraySize, HasSlurmsDefaultWhereNothingIsSaid) {
  EXPECT_EQ(ParseMaxArraySize("MailProg = /bin/mail\nMaxArraySize            = 5\nMaxDBDMsgs = 1"),
            5);
  EXPECT_EQ(ParseMaxArraySize("MailProg = /bin/mail\n"), 1001);
  EXPECT_EQ(ParseMaxArraySize("MaxArraySize = many\n"), 1001);
}

TEST_F(SlurmTest, SubmitsOnceAndGivesTheNumber) {
  Fake("sbatch", "echo 12");
  EXPECT_EQ(
      slurm_.Submit({.name = "run", .comment = "0001-0", .arguments = {"job.sh", "a b"}}, false),
      "12");
  EXPECT_EQ(Calls("sbatch"), "--parsable --job-name=run --comment=0001-0 job.sh a b\n");
}

TEST_F(SlurmTest, AsksAgainWhenTheControllerIsAway) {
  Fake("sbatch",
       "[ $calls -ge 3 ] && echo 12 && exit\n"
       "echo 'sbatch: error: Batch job submission failed: Unable to contact slurm controller "
       "(connect failure)' >&2; exit 1");
  Fake("squeue", "");
  EXPECT_EQ(slurm_.Submit({.name = "run", .comment = "c", .arguments = {"job.sh"}}, false), "12");
}

TEST_F(SlurmTest, FindsWhatWasSubmittedThoughTheAnswerWasLost) {
  Fake("sbatch", "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1");
  Fake("squeue", "echo '7|0|run|c|PENDING|None|'; echo '8|0|run|d|PENDING|None|'");
  EXPECT_EQ(slurm_.Submit({.name = "run", .comment = "d", .arguments = {"job.sh"}}, false), "8");
  EXPECT_EQ(Calls("sbatch"), "--parsable --job-name=run --comment=d job.sh\n");
}

TEST_F(SlurmTest, LooksFirstWhereAnEarlierProcessMayHaveSubmitted) {
  Fake("sbatch", "echo 9");
  Fake("squeue", "echo '7|N/A|run|c|RUNNING|None|n1'");
  EXPECT_EQ(slurm_.Submit({.name = "run", .comment = "c", .arguments = {"job.sh"}}, true), "7");
  EXPECT_EQ(slurm_.Submit({.name = "run", .comment = "d", .arguments = {"job.sh"}}, true), "9");
}

TEST_F(SlurmTest, DoesNotArgueWithARefusal) {
  Fake("sbatch", "echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1");
  EXPECT_THAT(slurm_.Submit({.name = "run", .comment = "c", .arguments = {"job.sh"}}, false),
              FailsWith(ErrorKind::kUsage, HasSubstr("invalid partition specified: nowhere")));
  EXPECT_EQ(Calls("sbatch"), "--parsable --job-name=run --comment=c job.sh\n");
}

TEST_F(SlurmTest, GivesUpOnAControllerThatStaysAway) {
  Fake("squeue",
       "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; "
       "exit 1");
  EXPECT_THAT(slurm_.Jobs({"run"}),
              FailsWith(ErrorKind::kTransient, HasSubstr("Unable to contact slurm controller")));
  EXPECT_EQ(Calls("squeue"),
            "--noheader --array --states=all --name=run --format=%F|%K|%j|%k|%T|%r|%N\n"
            "--noheader --array --states=all --name=run --format=%F|%K|%j|%k|%T|%r|%N\n"
            "--noheader --array --states=all --name=run --format=%F|%K|%j|%k|%T|%r|%N\n");
}

TEST_F(SlurmTest, ReadsTheStateOfAJob) {
  Fake("scontrol", "echo 'JobId=3 ArrayJobId=1 JobName=x JobState=RUNNING Reason=None Requeue=1'");
  EXPECT_EQ(slurm_.StateOf("1_2"), "RUNNING");
  EXPECT_EQ(Calls("scontrol"), "--oneliner show job 1_2\n");
}

TEST_F(SlurmTest, SaysThatItIsNotInstalled) {
  setenv("PATH", folder_.path().c_str(), 1);  // NOLINT(concurrency-mt-unsafe): no other thread
  EXPECT_THAT(slurm_.Jobs({"run"}),
              FailsWith(ErrorKind::kUnsupported, HasSubstr("Slurm is not installed here")));
}

}  // namespace
}  // namespace droidflow

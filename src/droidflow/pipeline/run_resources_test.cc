#include "droidflow/pipeline/run_resources.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/pipeline/gpus.h"
#include "droidflow/pipeline/run_board.h"

#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using testing::ElementsAre;

MetadataOptions Full() {
  MetadataOptions options;
  options.pipeline = Pipeline::kFull;
  return options;
}

MatcherBackend BackendOf(const RunResources& resources) { return resources.depth.backend.matcher; }

TEST(ShareOut, GivesEachWorkerItsShareOfTheCores) {
  MetadataOptions options = Full();
  options.workers = 3;
  const RunResources resources = ShareOut(options, {}, 16);
  EXPECT_EQ(resources.workers, 3);
  EXPECT_EQ(resources.depth.Jobs(), 5);
  EXPECT_EQ(BackendOf(resources), MatcherBackend::kCpu);
  EXPECT_FALSE(resources.UsesGpus());
  options.full.camera_jobs = 2;
  EXPECT_EQ(ShareOut(options, {}, 16).depth.Jobs(), 2);
  EXPECT_EQ(ShareOut(options, {}, 1).depth.Jobs(), 1);
}

TEST(ShareOut, TakesAsManyGpusAsAskedForAndThere) {
  MetadataOptions options = Full();
  const std::vector<std::string> four = {"0", "1", "2", "3"};
  EXPECT_EQ(ShareOut(options, four, 16).workers, 12);
  options.full.gpus = 2;
  options.full.workers_per_gpu = 6;
  const RunResources resources = ShareOut(options, four, 16);
  EXPECT_THAT(resources.gpus, ElementsAre("0", "1"));
  EXPECT_EQ(resources.workers, 12);
  EXPECT_TRUE(resources.UsesGpus());
  EXPECT_EQ(resources.depth.Jobs(), 2);
  options.full.gpus = 0;
  EXPECT_FALSE(ShareOut(options, four, 16).UsesGpus());
}

TEST(ShareOut, KeepsWhatTheUserGave) {
  MetadataOptions options = Full();
  options.workers = 2;
  options.depth.jobs = 7;
  options.depth.backend = {.kind = DepthBackend::Kind::kMatcher,
                           .matcher = MatcherBackend::kReference};
  const RunResources resources = ShareOut(options, {}, 16);
  EXPECT_EQ(resources.depth.Jobs(), 7);
  EXPECT_EQ(BackendOf(resources), MatcherBackend::kReference);
}

TEST(ShareOut, LeavesMetadataAlone) {
  const MetadataOptions options;
  EXPECT_EQ(ShareOut(options, {}, 4).workers, 16);
}

TEST(NamesOfGpus, AreThoseThatTheUserAllows) {
  EXPECT_THAT(NamesOfGpus(2, nullptr), ElementsAre("0", "1"));
  EXPECT_THAT(NamesOfGpus(2, "3,GPU-5ebe9e2c"), ElementsAre("3", "GPU-5ebe9e2c"));
  EXPECT_THAT(NamesOfGpus(1, "4,-1,2"), ElementsAre("4"));
}

TEST(FindGpus, SaysWhyThereAreNone) {
  const Result<GpuList> gpus = FindGpus();
  ASSERT_THAT(gpus, IsOk());
  EXPECT_EQ(gpus->names.empty(), !gpus->why_none.empty());
}

TEST(RunBoard, LeavesAGpuOutThatFailsThreeTimesInARow) {
  Result<SharedRunBoard> board = MakeSharedRunBoard();
  ASSERT_THAT(board, IsOk());
  EXPECT_FALSE((*board)->CountFailure(1));
  EXPECT_FALSE((*board)->CountFailure(1));
  (*board)->CountSuccess(1);
  EXPECT_FALSE((*board)->CountFailure(1));
  EXPECT_FALSE((*board)->CountFailure(1));
  EXPECT_FALSE((*board)->IsOut(1));
  EXPECT_TRUE((*board)->CountFailure(1));
  (*board)->CountSuccess(1);
  EXPECT_TRUE((*board)->IsOut(1)) << "for good";
  EXPECT_FALSE((*board)->IsOut(0));
}

TEST(RunBoard, IsSeenByAllProcesses) {
  Result<SharedRunBoard> board = MakeSharedRunBoard();
  ASSERT_THAT(board, IsOk());
  for (int i = 0; i < kMostGpuFailures; ++i) {
    const pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      (*board)->CountFailure(0);
      _exit(0);
    }
    ASSERT_EQ(waitpid(pid, nullptr, 0), pid);
  }
  EXPECT_TRUE((*board)->IsOut(0));
}

TEST(GpuOfWorker, GoesRoundAndLeavesOutWhatFailed) {
  Result<SharedRunBoard> board = MakeSharedRunBoard();
  ASSERT_THAT(board, IsOk());
  const auto gpus_of = [&](int gpus) {
    std::vector<int> taken;
    for (int worker = 0; worker < 4; ++worker) {
      taken.push_back(GpuOfWorker(worker, gpus, **board).value_or(-1));
    }
    return taken;
  };
  EXPECT_THAT(gpus_of(3), ElementsAre(0, 1, 2, 0));
  EXPECT_THAT(gpus_of(0), ElementsAre(-1, -1, -1, -1));
  for (int i = 0; i < kMostGpuFailures; ++i) (*board)->CountFailure(1);
  EXPECT_THAT(gpus_of(3), ElementsAre(0, 2, 0, 2));
}

}  // namespace
}  // namespace droidflow

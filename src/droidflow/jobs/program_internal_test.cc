#include "droidflow/jobs/program_internal.h"

#include "droidflow/core/result_matchers.h"

#include <chrono>
#include <string>

namespace droidflow {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST(RunProgram, GivesWhatWasPrintedAndHowItEnded) {
  const auto end = RunProgram({"sh", "-c", "echo \"$1\"; echo bad >&2; exit 7", "-", "a b'c"}, 60s);
  ASSERT_THAT(end, IsOk());
  EXPECT_EQ(end->exit_code, 7);
  EXPECT_EQ(end->out, "a b'c\n");
  EXPECT_EQ(end->err, "bad\n");
}

TEST(RunProgram, ReadsMoreThanAPipeHolds) {
  const auto end =
      RunProgram({"sh", "-c", "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"}, 60s);
  ASSERT_THAT(end, IsOk());
  EXPECT_EQ(end->out.size(), 300'000U);
  EXPECT_EQ(end->err.size(), 300'000U);
}

TEST(RunProgram, HasNothingToRead) {
  const auto end = RunProgram({"cat"}, 60s);
  ASSERT_THAT(end, IsOk());
  EXPECT_EQ(end->exit_code, 0);
}

TEST(RunProgram, SaysWhichSignalEndedIt) {
  const auto end = RunProgram({"sh", "-c", "kill -KILL $$"}, 60s);
  ASSERT_THAT(end, IsOk());
  EXPECT_EQ(end->exit_code, 128 + 9);
}

TEST(RunProgram, KillsWhatTakesTooLongThoughItHasChildren) {
  EXPECT_THAT(RunProgram({"sh", "-c", "sleep 1000 & wait"}, 500ms),
              FailsWith(ErrorKind::kTransient, HasSubstr("no answer within 0.5 s: sh")));
}

TEST(RunProgram, SaysThatThereIsNone) {
  EXPECT_THAT(RunProgram({"droidflow-has-no-such-program"}, 60s),
              FailsWith(ErrorKind::kNotFound, HasSubstr("droidflow-has-no-such-program")));
}

}  // namespace
}  // namespace droidflow

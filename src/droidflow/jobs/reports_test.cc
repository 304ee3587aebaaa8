#include "droidflow/jobs/reports.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

namespace droidflow {
namespace {

using ::testing::HasSubstr;

std::vector<TaskRecord> Records() {
  std::vector<TaskRecord> records(4);
  records[0].task.key = "plain";
  records[0].state = TaskState::kDone;
  records[0].attempts = 1;
  records[0].worker = 2;
  records[0].started_unix_ms = 1'000;
  records[0].finished_unix_ms = 2'500;
  records[0].stages = {{"read", 250}, {"write", 1000.5}};
  records[1].task.key = "a,\"b\"";
  records[1].state = TaskState::kQuarantined;
  records[1].status = "bad_values";
  records[1].message = "want 6 values,\nhave 5";
  records[1].failed_stage = "check";
  records[1].attempts = 3;
  records[1].worker = 0;
  records[1].started_unix_ms = 951'782'399'000;
  records[1].finished_unix_ms = 951'782'400'000;  // 29 February 2000, midnight
  records[1].stages = {{"read", 1}, {"check", 2}};
  records[2].task.key = "not tried";
  records[3].task.key = "unnamed";
  records[3].state = TaskState::kQuarantined;
  records[3].message = "why";
  records[3].attempts = 1;
  return records;
}

TEST(FormatTimingCsv, HasALinePerTaskTriedAndAColumnPerStage) {
  EXPECT_EQ(FormatTimingCsv(Records(), "episode"),
            "episode_id,state,status,attempts,worker,total_s,read_s,write_s,check_s\n"
            "plain,done,,1,2,1.500,0.250000,1.000500,\n"
            "\"a,\"\"b\"\"\",quarantined,bad_values,3,0,1.000,0.001000,,0.002000\n");
}

TEST(FormatErrorLog, HasALinePerQuarantinedTask) {
  EXPECT_EQ(
      FormatErrorLog(Records()),
      "2000-02-29T00:00:00Z a,\"b\" bad_values attempts=3 stage=check: want 6 values, have 5\n"
      "1970-01-01T00:00:00Z unnamed - attempts=1 stage=-: why\n");
}

TEST(FormatFailedKeys, HasAKeyALine) {
  EXPECT_EQ(FormatFailedKeys(Records()), "a,\"b\"\nunnamed\n");
  EXPECT_EQ(FormatFailedKeys({}), "");
}

TEST(WriteReports, WritesTheThree) {
  const TemporaryDirectory dir;
  ASSERT_THAT(WriteReports(Records(), dir.path(), "episode"), IsOk());
  EXPECT_EQ(ReadFileText(dir / "timing.csv").value(), FormatTimingCsv(Records(), "episode"));
  EXPECT_EQ(ReadFileText(dir / "errors.log").value(), FormatErrorLog(Records()));
  EXPECT_EQ(ReadFileText(dir / "failed_episodes.txt").value(), FormatFailedKeys(Records()));
}

}  // namespace
}  // namespace droidflow

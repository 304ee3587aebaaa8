#include "droidflow/pipeline/process_episode.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/episode/status.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using Cameras = std::vector<CameraDepth>;

const CameraDepth kWithDepth{.serial = "1", .role = "ext1", .report = DepthReport{}, .reason = ""};
const CameraDepth kOneEye{.serial = "2", .role = "ext2", .report = {}, .reason = "one eye"};
const CameraDepth kBroken{
    .serial = "3", .role = "wrist", .report = {}, .reason = "cut short", .failed = true};

TEST(JudgeDepth, WantsOneCameraWhereThereAreStereoRecordings) {
  EXPECT_EQ(JudgeDepth(RequireDepth::kAny, {kWithDepth, kBroken}), "");
  EXPECT_EQ(JudgeDepth(RequireDepth::kAny, {kOneEye}), status::kNoStereo);
  EXPECT_EQ(JudgeDepth(RequireDepth::kAny, {}), status::kNoStereo);
  EXPECT_THAT(JudgeDepth(RequireDepth::kAny, {kOneEye, kBroken}),
              FailsAs(status::kNoDepth,
                      AllOf(HasSubstr("have it of 0 of 2"), HasSubstr("camera 3: cut short"))));
}

TEST(JudgeDepth, WantsEveryCamera) {
  EXPECT_EQ(JudgeDepth(RequireDepth::kAll, {kWithDepth, kWithDepth}), "");
  EXPECT_THAT(JudgeDepth(RequireDepth::kAll, {kWithDepth, kOneEye}),
              FailsAs(status::kNoDepth, HasSubstr("camera 2: one eye")));
  EXPECT_THAT(JudgeDepth(RequireDepth::kAll, {kOneEye}),
              FailsAs(status::kNoStereo, HasSubstr("have it of 0 of 1")));
  EXPECT_THAT(JudgeDepth(RequireDepth::kAll, {kWithDepth, kBroken}),
              FailsAs(status::kNoDepth, HasSubstr("have it of 1 of 2")));
  EXPECT_THAT(JudgeDepth(RequireDepth::kAll, {}), FailsAs(status::kNoStereo, HasSubstr("0 of 0")));
}

TEST(JudgeDepth, TakesWhatThereIsAndNamesIt) {
  EXPECT_EQ(JudgeDepth(RequireDepth::kNone, {kWithDepth, kBroken}), "");
  EXPECT_EQ(JudgeDepth(RequireDepth::kNone, {kOneEye}), status::kNoStereo);
  EXPECT_EQ(JudgeDepth(RequireDepth::kNone, {kBroken}), status::kNoDepth);
}

}  // namespace
}  // namespace droidflow

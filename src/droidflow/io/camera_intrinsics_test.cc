#include "droidflow/io/camera_intrinsics.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::HasSubstr;

constexpr Intrinsics kAnnotated{
    .fx_px = 730, .fy_px = 732, .cx_px = 641, .cy_px = 363, .width_px = 1280, .height_px = 720};
constexpr Intrinsics kTrajectory{.fx_px = 365, .fy_px = 366, .cx_px = 337, .cy_px = 189};

TEST(ChooseIntrinsics, TakesTheAnnotationsFirst) {
  const auto chosen = ChooseIntrinsics({.annotated = kAnnotated, .trajectory = kTrajectory});
  ASSERT_THAT(chosen, IsOk());
  EXPECT_EQ(chosen->intrinsics, kAnnotated);
  EXPECT_EQ(chosen->source, "annotations");
  EXPECT_FALSE(chosen->approximate);
}

// fx / 2, (641 + 31) / 2, (363 + 15) / 2: the mode halves the sensor's pixels and crops.
TEST(ChooseIntrinsics, TakesAnnotationsToAVgaRecording) {
  const auto chosen = ChooseIntrinsics({.annotated = kAnnotated, .recording = ImageSize{672, 376}});
  ASSERT_THAT(chosen, IsOk());
  const Intrinsics want{
      .fx_px = 365, .fy_px = 366, .cx_px = 336, .cy_px = 189, .width_px = 672, .height_px = 376};
  EXPECT_EQ(chosen->intrinsics, want);
}

TEST(ChooseIntrinsics, GivesTheTrajectorysTheSizeOfTheRecordingElseTheUsual) {
  auto chosen = ChooseIntrinsics({.trajectory = kTrajectory, .recording = ImageSize{672, 376}});
  ASSERT_THAT(chosen, IsOk());
  EXPECT_EQ(chosen->source, "trajectory");
  EXPECT_EQ(chosen->intrinsics.fx_px, 365);
  EXPECT_EQ(chosen->intrinsics.width_px, 672);
  chosen = ChooseIntrinsics({.trajectory = kTrajectory});
  EXPECT_EQ(chosen->intrinsics.width_px, 1280);
  EXPECT_EQ(chosen->intrinsics.height_px, 720);
}

TEST(ChooseIntrinsics, PassesOverAnnotationsForASizeNoZedHas) {
  const auto chosen = ChooseIntrinsics(
      {.annotated = kAnnotated, .trajectory = kTrajectory, .recording = ImageSize{640, 480}});
  ASSERT_THAT(chosen, IsOk());
  EXPECT_EQ(chosen->source, "trajectory");
}

TEST(ChooseIntrinsics, ComputesFromTheCalibrationFileLast) {
  DF_NEEDS_SHARED("data/zed_conf");
  const auto conf = ReadZedCalibration(SharedPath("data/zed_conf"), "23404442");
  ASSERT_THAT(conf, IsOk());
  const auto chosen = ChooseIntrinsics({.conf = &*conf});
  ASSERT_THAT(chosen, IsOk());
  EXPECT_EQ(chosen->source, "conf");
  EXPECT_TRUE(chosen->approximate);
  EXPECT_NEAR(chosen->intrinsics.fx_px, 522.502, 5.2);  // what the maker's software reports, 1 %
  EXPECT_THAT(ChooseIntrinsics({.conf = &*conf, .recording = ImageSize{640, 480}}),
              FailsWith(ErrorKind::kNotFound, HasSubstr("640x480")));
}

TEST(ChooseIntrinsics, TellsWhatEverySourceSays) {
  Considerations considered;
  ASSERT_THAT(
      ChooseIntrinsics(
          {.annotated = kAnnotated, .trajectory = kTrajectory, .recording = ImageSize{640, 480}},
          &considered),
      IsOk());
  ASSERT_EQ(considered.size(), 4U);
  EXPECT_THAT(considered[1].finding, HasSubstr("1280x720"));
  EXPECT_EQ(considered[2].what, "trajectory");
  EXPECT_TRUE(considered[2].chosen);
  EXPECT_FALSE(considered[0].chosen || considered[1].chosen || considered[3].chosen);
}

TEST(ChooseIntrinsics, SaysThatThereAreNone) {
  EXPECT_THAT(ChooseIntrinsics({}), FailsWith(ErrorKind::kNotFound, HasSubstr("1280x720")));
}

}  // namespace
}  // namespace droidflow

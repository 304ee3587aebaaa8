#include "droidflow/pipeline/recording_choice.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/episode/status.h"
#include "droidflow/formats/mp4_writer.h"

#include <unistd.h>

#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr const char kSerial[] = "22008760";

/// An episode's folder with one camera's recordings.
class ChooseRecordingTest : public ::testing::Test {
 protected:
  void WriteMp4(const std::string& name, int width_px, int height_px, int frames) {
    const std::vector<std::uint8_t> gray(static_cast<std::size_t>(width_px) * height_px, 128);
    const auto path = directory_ / "recordings/MP4" / name;
    ASSERT_THAT(MakeDirectories(path.parent_path()), IsOk());
    ASSERT_THAT(
        WriteStillMp4(
            path,
            {.gray = gray, .width_px = width_px, .height_px = height_px, .frame_count = frames}),
        IsOk());
  }
  void WriteText(const std::string& name, const std::string& text) {
    ASSERT_THAT(WriteFile(directory_ / "recordings" / name, text), IsOk());
  }
  /// The first bytes of an SVO file, and nothing behind them.
  void WriteSvo() {
    WriteText("SVO/22008760.svo", std::string("\xF5\xFF\xFF\xFF\0\5\0\0\xD0\2\0\0", 12));
  }
  RecordingChoice Choose(const RecordingOrder& order = DefaultRecordingOrder()) {
    const auto recordings = FindRecordings(directory_.path());
    EXPECT_THAT(recordings, IsOk());
    const auto choice = ChooseRecording(recordings->at(kSerial), kSerial, order);
    EXPECT_THAT(choice, IsOk());
    return choice.value_or(RecordingChoice());
  }

  TemporaryDirectory directory_;
};

TEST_F(ChooseRecordingTest, TakesTheFirstOfTheOrder) {
  WriteMp4("22008760.mp4", 320, 180, 9);
  WriteMp4("22008760-stereo.mp4", 640, 180, 8);
  const RecordingChoice choice = Choose();
  ASSERT_TRUE(choice.chosen);
  EXPECT_EQ(choice.chosen->kind, RecordingKind::kStereoMp4);
  EXPECT_EQ(choice.chosen->name, "recordings/MP4/22008760-stereo.mp4");
  EXPECT_EQ(choice.chosen->summary.info.width_px, 320) << "of one eye";
  EXPECT_EQ(choice.chosen->summary.info.frame_count, 8);
  EXPECT_EQ(choice.reason, "stereo_mp4 comes first");
  EXPECT_THAT(choice.warnings, IsEmpty());
}

TEST_F(ChooseRecordingTest, ObeysAnOrderOfTheUsers) {
  WriteMp4("22008760.mp4", 320, 180, 9);
  WriteMp4("22008760-stereo.mp4", 640, 180, 8);
  const auto order = ParseRecordingOrder("mono_mp4,stereo_mp4");
  ASSERT_THAT(order, IsOk());
  EXPECT_EQ(Choose(*order).chosen->kind, RecordingKind::kMonoMp4);
  const RecordingChoice none = Choose({RecordingKind::kSvo2});
  EXPECT_FALSE(none.chosen);
  EXPECT_EQ(none.reason, "no svo2 that can be read");
}

TEST_F(ChooseRecordingTest, BelievesTheShapeAndNotTheName) {
  WriteMp4("22008760.mp4", 640, 180, 9);
  const RecordingChoice choice = Choose();
  ASSERT_TRUE(choice.chosen);
  EXPECT_EQ(choice.chosen->kind, RecordingKind::kStereoMp4);
  EXPECT_EQ(choice.chosen->name, "recordings/MP4/22008760.mp4");
}

TEST_F(ChooseRecordingTest, PrefersTheFileThatSaysSoInItsName) {
  WriteMp4("22008760.mp4", 640, 180, 9);
  WriteMp4("22008760-stereo.mp4", 640, 180, 8);
  EXPECT_EQ(Choose().chosen->name, "recordings/MP4/22008760-stereo.mp4");
}

TEST_F(ChooseRecordingTest, GoesOnToTheNextWhenAFileIsBroken) {
  WriteMp4("22008760.mp4", 320, 180, 9);
  WriteText("MP4/22008760-stereo.mp4", "not a recording");
  WriteText("SVO/22008760.svo2", "");
  const RecordingChoice choice = Choose();
  ASSERT_TRUE(choice.chosen);
  EXPECT_EQ(choice.chosen->kind, RecordingKind::kMonoMp4);
  EXPECT_EQ(choice.reason, "no stereo_mp4, svo2, svo; mono_mp4 is next");
  ASSERT_THAT(choice.warnings, SizeIs(2));
  EXPECT_EQ(choice.warnings[0].code, status::kRecordingBroken);
  EXPECT_THAT(choice.warnings[0].text, HasSubstr("22008760-stereo.mp4"));
  EXPECT_THAT(choice.warnings[1].text, HasSubstr("zero bytes"));
  // By kind, as they were looked at.
  ASSERT_THAT(choice.files, SizeIs(3));
  EXPECT_EQ(choice.files[0].what, "recordings/MP4/22008760.mp4");
  EXPECT_TRUE(choice.files[0].chosen);
  EXPECT_THAT(choice.files[0].finding, HasSubstr("mono_mp4 by content"));
  EXPECT_THAT(choice.files[1].finding, HasSubstr("22008760-stereo.mp4"));
  EXPECT_THAT(choice.files[2].finding, HasSubstr("zero bytes"));
  EXPECT_FALSE(choice.files[1].chosen || choice.files[2].chosen);
}

TEST_F(ChooseRecordingTest, TakesAnSvoFileBeforeOneEyeAndLeavesItsFramesUncounted) {
  WriteMp4("22008760.mp4", 320, 180, 9);
  WriteSvo();
  const RecordingChoice choice = Choose();
  ASSERT_TRUE(choice.chosen);
  EXPECT_EQ(choice.chosen->kind, RecordingKind::kSvo);
  EXPECT_EQ(choice.chosen->summary.info.width_px, 1280);
  EXPECT_EQ(choice.chosen->summary.info.frame_count, std::nullopt);
  EXPECT_FALSE(choice.chosen->summary.info.rectified);
}

TEST_F(ChooseRecordingTest, GoesOnWhereAFileMayNotBeRead) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  WriteMp4("22008760.mp4", 320, 180, 9);
  WriteMp4("22008760-stereo.mp4", 640, 180, 8);
  std::filesystem::permissions(directory_ / "recordings/MP4/22008760-stereo.mp4",
                               std::filesystem::perms::none);
  const RecordingChoice choice = Choose();
  EXPECT_EQ(choice.chosen->kind, RecordingKind::kMonoMp4);
  ASSERT_THAT(choice.warnings, SizeIs(1));
  EXPECT_THAT(choice.warnings[0].text, HasSubstr("ermission denied"));
}

TEST_F(ChooseRecordingTest, LooksIntoNoMp4WhereNoneIsWanted) {
  WriteText("MP4/22008760.mp4", "not a recording");
  const RecordingChoice choice = Choose({RecordingKind::kSvo2});
  EXPECT_FALSE(choice.chosen);
  EXPECT_THAT(choice.warnings, IsEmpty());
}

TEST_F(ChooseRecordingTest, KnowsAnSvo2FileThatIsCalledSvo) {
  DF_NEEDS_SHARED("data/svo2");
  ASSERT_THAT(MakeDirectories(directory_ / "recordings/SVO"), IsOk());
  std::filesystem::copy_file(SharedPath("data/svo2/hevc_zstd.svo2"),
                             directory_ / "recordings/SVO/22008760.svo");
  const RecordingChoice choice = Choose();
  ASSERT_TRUE(choice.chosen);
  EXPECT_EQ(choice.chosen->kind, RecordingKind::kSvo2);
  EXPECT_EQ(choice.chosen->summary.info.serial, "23404442");
  EXPECT_THAT(choice.chosen->summary.frame_times_ns, SizeIs(24));
}

TEST(ParseRecordingOrder, ReadsWhatFormatWrites) {
  EXPECT_EQ(FormatRecordingOrder(DefaultRecordingOrder()), "stereo_mp4,svo2,svo,mono_mp4");
  EXPECT_EQ(*ParseRecordingOrder("stereo_mp4,svo2,svo,mono_mp4"), DefaultRecordingOrder());
  EXPECT_THAT(*ParseRecordingOrder("svo"), ElementsAre(RecordingKind::kSvo));
}

TEST(ParseRecordingOrder, RefusesWhatIsNoKindOrComesTwice) {
  for (const char* text : {"", "mp4", "svo,", "svo,svo", "svo;svo2"}) {
    EXPECT_THAT(ParseRecordingOrder(text),
                FailsWith(ErrorKind::kUsage, HasSubstr("stereo_mp4,svo2,svo,mono_mp4")))
        << text;
  }
}

TEST(FramesFitSteps, AllowsOneFrameFewer) {
  EXPECT_TRUE(FramesFitSteps(10, 10));
  EXPECT_TRUE(FramesFitSteps(9, 10));
  EXPECT_FALSE(FramesFitSteps(8, 10));
  EXPECT_FALSE(FramesFitSteps(11, 10));
}

}  // namespace
}  // namespace droidflow

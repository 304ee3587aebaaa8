#include "droidflow/io/recordings.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <fstream>

#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(FindRecordings, ListsWhatThereIsOfEachCamera) {
  const TemporaryDirectory directory;
  const auto mp4 = directory / "recordings/MP4";
  const auto svo = directory / "recordings/SVO";
  ASSERT_THAT(MakeDirectories(mp4 / "folder.mp4"), IsOk());
  ASSERT_THAT(MakeDirectories(svo), IsOk());
  std::ofstream(mp4 / "22008760-stereo.mp4") << "12345";
  std::ofstream(mp4 / "22008760.mp4") << "123";
  std::ofstream(mp4 / "22008760_timestamps.json") << "[]";
  std::ofstream(mp4 / "24400334.mp4") << "";
  std::ofstream(mp4 / "18026681_timestamps.json") << "[]";
  std::ofstream(mp4 / ".mp4") << "no serial";
  std::ofstream(mp4 / "99999999.svo") << "in the wrong folder";
  std::ofstream(svo / "24400334.svo") << "1234567";
  std::ofstream(svo / "18026681.svo2") << "12";

  const auto recordings = FindRecordings(directory.path());
  ASSERT_THAT(recordings, IsOk());
  ASSERT_THAT(*recordings, SizeIs(3));

  const CameraRecordings& left = recordings->at("22008760");
  ASSERT_THAT(left.files, SizeIs(2));
  EXPECT_EQ(left.files[0].kind, RecordingKind::kMonoMp4);
  EXPECT_EQ(left.files[0].size_bytes, 3);
  EXPECT_EQ(left.Find(RecordingKind::kStereoMp4)->size_bytes, 5);
  EXPECT_EQ(left.Find(RecordingKind::kStereoMp4)->path, mp4 / "22008760-stereo.mp4");
  EXPECT_EQ(left.Find(RecordingKind::kSvo), nullptr);
  EXPECT_EQ(left.files[0].name, "recordings/MP4/22008760.mp4");
  EXPECT_EQ(left.timestamps_json, mp4 / "22008760_timestamps.json");

  const CameraRecordings& right = recordings->at("24400334");
  EXPECT_EQ(right.Find(RecordingKind::kMonoMp4)->size_bytes, 0);
  EXPECT_EQ(right.Find(RecordingKind::kSvo)->size_bytes, 7);
  EXPECT_FALSE(right.timestamps_json);

  EXPECT_EQ(recordings->at("18026681").Find(RecordingKind::kSvo2)->size_bytes, 2);
  EXPECT_TRUE(recordings->at("18026681").timestamps_json);
}

TEST(FindRecordings, KnowsSvoFilesThatLieOutsideTheirFolder) {
  const TemporaryDirectory directory;
  ASSERT_THAT(MakeDirectories(directory / "recordings/SVO"), IsOk());
  std::ofstream(directory / "recordings/22008760.svo") << "123";
  std::ofstream(directory / "recordings/24400334.svo2") << "12345";
  std::ofstream(directory / "recordings/18026681.mp4") << "in no folder";
  std::ofstream(directory / "recordings/SVO/24400334.svo2") << "1";

  const auto recordings = FindRecordings(directory.path());
  ASSERT_THAT(recordings, IsOk());
  ASSERT_THAT(*recordings, SizeIs(2));
  EXPECT_EQ(recordings->at("22008760").Find(RecordingKind::kSvo)->size_bytes, 3);
  EXPECT_EQ(recordings->at("22008760").files[0].name, "recordings/22008760.svo");
  ASSERT_THAT(recordings->at("24400334").files, SizeIs(1)) << "the one in the folder counts";
  EXPECT_EQ(recordings->at("24400334").files[0].size_bytes, 1);
}

TEST(ReadFrameTimes, ReadsTheListThatTheRecorderWrites) {
  const TemporaryDirectory directory;
  const auto path = directory / "22008760_timestamps.json";
  std::ofstream(path) << "[1691882767123, 1691882767190]";
  EXPECT_THAT(*ReadFrameTimesMs(path), ElementsAre(1691882767123, 1691882767190));
}

TEST(ReadFrameTimes, RefusesOtherContentAndSaysWhatItSaw) {
  const TemporaryDirectory directory;
  const auto path = directory / "22008760_timestamps.json";
  for (const auto& [text, have] : {std::pair{"[1, 2", "no JSON"},
                                   {"{}", "object"},
                                   {"[1, \"2\"]", "string in it"},
                                   {"[1.5]", "number in it"}}) {
    std::ofstream(path) << text;
    EXPECT_THAT(ReadFrameTimesMs(path), FailsWith(ErrorKind::kInvalidData, HasSubstr(have)));
  }
  EXPECT_THAT(ReadFrameTimesMs(directory / "none"), FailsWith(ErrorKind::kNotFound, _));
}

TEST(FindRecordings, IsEmptyWithoutAnyRecording) {
  const TemporaryDirectory directory;
  EXPECT_THAT(*FindRecordings(directory.path()), IsEmpty());
  EXPECT_THAT(*FindRecordings(directory / "nowhere"), IsEmpty());
  ASSERT_THAT(MakeDirectories(directory / "recordings/MP4"), IsOk());
  std::ofstream(directory / "recordings/SVO") << "a file where a folder belongs";
  EXPECT_THAT(*FindRecordings(directory.path()), IsEmpty());
}

}  // namespace
}  // namespace droidflow

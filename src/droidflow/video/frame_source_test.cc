#include "droidflow/video/frame_source.h"

#include "droidflow/core/files.h"
#include "droidflow/formats/annexb.h"
#include "droidflow/formats/mp4_writer.h"
#include "droidflow/video/test_support_internal.h"
#include "droidflow/video/video_writer.h"

#include <cmath>
#include <cstdlib>
#include <random>

namespace droidflow {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int kWidth = 320;
constexpr int kHeight = 96;

/// A slope that moves by three pixels a frame, with some noise: every frame differs from the
/// others.
RgbImage MakePicture(int number) {
  std::mt19937 random(static_cast<unsigned>(number));
  RgbImage image(kWidth, kHeight);
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      const auto shade = static_cast<std::uint8_t>(40 + (x + 3 * number) % 160 + random() % 8);
      image.at(x, y) = {shade, shade, static_cast<std::uint8_t>(shade / 2 + y)};
    }
  }
  return image;
}

class FrameSourceTest : public ::testing::Test {
 protected:
  std::filesystem::path WriteMp4(VideoCodec codec,
                                 bool intra_refresh = false,
                                 int num_frames = 40) {
    const VideoOptions options{
        .codec = codec, .width_px = kWidth, .height_px = kHeight, .intra_refresh = intra_refresh};
    const auto path = directory_ / "written.mp4";
    auto writer = Mp4VideoWriter::Open(path, options);
    EXPECT_THAT(writer, IsOk());
    for (int i = 0; i < num_frames; ++i) {
      const RgbImage picture = MakePicture(i);
      EXPECT_THAT(writer->Write(picture.view()), IsOk());
    }
    EXPECT_THAT(writer->Close(), IsOk());
    return path;
  }

  /// By FFmpeg's command line; empty where there is none.
  std::filesystem::path MakeMp4(const std::string& options) {
    const auto path = directory_ / "made.mp4";
    const std::string command =
        "ffmpeg -v error -y -f lavfi -i testsrc2=s=320x96:r=60 -frames:v 50 " + options + " '" +
        path.string() + "' 2>&1";
    // NOLINTNEXTLINE(concurrency-mt-unsafe): tests have one thread.
    return std::system(command.c_str()) == 0 ? path : std::filesystem::path();
  }

  std::filesystem::path WriteBytes(const std::string& bytes) {
    const auto path = directory_ / "bytes";
    std::filesystem::remove(path);
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  /// Every frame once, in an order that jumps, then one past the end.
  void ExpectSeekGivesTheSame(const std::filesystem::path& path) {
    SCOPED_TRACE(path);
    const std::vector<KeptFrame> frames = KeepAll(path);
    ASSERT_FALSE(frames.empty());
    const auto source = OpenFrameSource(path, {});
    ASSERT_THAT(source, IsOk());
    StereoFrame frame;
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const KeptFrame& want = frames[i * 17 % frames.size()];
      ASSERT_THAT((*source)->Seek(want.index), IsOk());
      ASSERT_THAT((*source)->Next(frame), IsOk());
      ASSERT_EQ(frame.index, want.index);
      ASSERT_TRUE(Keep(frame) == want) << "frame " << want.index;
    }
    ASSERT_THAT((*source)->Seek(1000), IsOk());
    EXPECT_EQ((*source)->Next(frame), false);
    EXPECT_THAT((*source)->Seek(-1), FailsWith(ErrorKind::kUsage, HasSubstr("have -1")));
    ASSERT_THAT((*source)->Seek(0), IsOk());
    EXPECT_TRUE(KeepAll(**source) == frames) << "reading on after a jump";
  }

  TemporaryDirectory directory_;
};

TEST_F(FrameSourceTest, TellsFormatsByContent) {
  EXPECT_EQ(DetectRecordingFormat(WriteBytes("\x89MCAP0\r\n and more")), RecordingFormat::kSvo2);
  EXPECT_EQ(DetectRecordingFormat(WriteBytes("\xF5\xFF\xFF\xFF and more")), RecordingFormat::kSvo1);
  EXPECT_EQ(DetectRecordingFormat(WriteBytes("....ftypqt  ")), RecordingFormat::kMp4);
  EXPECT_EQ(ToString(RecordingFormat::kSvo1), "svo");
}

TEST_F(FrameSourceTest, RefusesWhatIsNoRecording) {
  const auto open = [&](const std::string& bytes) {
    return OpenFrameSource(WriteBytes(bytes), {});
  };
  EXPECT_THAT(open(""), FailsWith(ErrorKind::kInvalidData, HasSubstr("empty")));
  EXPECT_THAT(open("\xF5\xFF\xFF"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("begins with f5 ff ff:")));
  EXPECT_THAT(open("\x89HDF\r\n\x1a\n"), FailsWith(ErrorKind::kInvalidData, HasSubstr("89 48 44")));
  EXPECT_THAT(open("\x89MCAP0\r\n"), FailsWith(ErrorKind::kInvalidData, HasSubstr("bytes")));
  EXPECT_THAT(open("....ftypqt  "), FailsWith(ErrorKind::kInvalidData, HasSubstr("byte 0")));
  EXPECT_THAT(OpenFrameSource(directory_.path(), {}),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("no regular file")));
  EXPECT_THAT(OpenFrameSource(directory_ / "none", {}),
              FailsWith(ErrorKind::kNotFound, HasSubstr("none")));
}

TEST_F(FrameSourceTest, GivesTheLumaThatWasWrittenHalfForEachEye) {
  for (const VideoCodec codec : {VideoCodec::kMpeg4, VideoCodec::kH264, VideoCodec::kHevc}) {
    const auto source = OpenFrameSource(WriteMp4(codec), {});
    ASSERT_THAT(source, IsOk());
    const SourceInfo& info = (*source)->info();
    EXPECT_EQ(info.reader, "mp4");
    EXPECT_EQ(info.codec,
              codec == VideoCodec::kMpeg4  ? "mpeg4"
              : codec == VideoCodec::kH264 ? "h264"
                                           : "hevc");
    EXPECT_EQ(info.width_px, kWidth / 2);
    EXPECT_EQ(info.height_px, kHeight);
    EXPECT_TRUE(info.stereo);
    EXPECT_TRUE(info.rectified);
    EXPECT_EQ(info.frame_count, 40);
    EXPECT_DOUBLE_EQ(info.nominal_fps, 60);
    StereoFrame frame;
    for (int i = 0; i < 40; ++i) {
      ASSERT_EQ((*source)->Next(frame), true);
      ASSERT_EQ(frame.index, i);
      EXPECT_FALSE(frame.damaged);
      EXPECT_FALSE(frame.time_ns.has_value());
      EXPECT_TRUE(frame.left_rgb.empty());
      ASSERT_EQ(frame.left.width_px, kWidth / 2);
      ASSERT_EQ(frame.right.height_px, kHeight);
      const RgbImage picture = MakePicture(i);
      double error = 0;
      for (int y = 0; y < kHeight; ++y) {
        for (int x = 0; x < kWidth; ++x) {
          const Rgb& rgb = picture.at(x, y);
          // ITU-R BT.601, limited range.
          const double luma = 16 + (65.481 * rgb.r + 128.553 * rgb.g + 24.966 * rgb.b) / 255;
          const auto& eye = x < kWidth / 2 ? frame.left : frame.right;
          error += std::abs(luma - eye.at(x % (kWidth / 2), y));
        }
      }
      EXPECT_LT(error / (kWidth * kHeight), 3);
    }
    EXPECT_EQ((*source)->Next(frame), false);
    EXPECT_EQ((*source)->Next(frame), false);
    EXPECT_THAT((*source)->Warnings(), IsEmpty());
  }
}

TEST_F(FrameSourceTest, GivesColoursWhereTheyAreAskedFor) {
  const auto source = OpenFrameSource(WriteMp4(VideoCodec::kMpeg4), {.pixels = PixelFormat::kRgb});
  ASSERT_THAT(source, IsOk());
  StereoFrame frame;
  ASSERT_EQ((*source)->Next(frame), true);
  EXPECT_TRUE(frame.left.empty());
  ASSERT_EQ(frame.left_rgb.width_px, kWidth / 2);
  const RgbImage picture = MakePicture(0);
  double error = 0;
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 0; x < kWidth; ++x) {
      const Rgb& want = picture.at(x, y);
      const Rgb& have = (x < kWidth / 2 ? frame.left_rgb : frame.right_rgb).at(x % (kWidth / 2), y);
      error += std::abs(want.r - have.r) + std::abs(want.g - have.g) + std::abs(want.b - have.b);
    }
  }
  EXPECT_LT(error / (3 * kWidth * kHeight), 5);
}

TEST_F(FrameSourceTest, SeeksToWhatReadingGives) {
  ExpectSeekGivesTheSame(WriteMp4(VideoCodec::kMpeg4));
  ExpectSeekGivesTheSame(WriteMp4(VideoCodec::kH264));
  ExpectSeekGivesTheSame(WriteMp4(VideoCodec::kHevc));
  ExpectSeekGivesTheSame(WriteMp4(VideoCodec::kH264, /*intra_refresh=*/true));
}

TEST_F(FrameSourceTest, ShowsFramesInOrderAndSeeksWhereFramesAreStoredInAnother) {
  for (const char* codec :
       {"-c:v mpeg4 -g 8 -bf 2",
        "-c:v libx264 -preset veryfast -g 8 -bf 2 -pix_fmt yuv420p",
        "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=8:bframes=2"}) {
    const auto path = MakeMp4(codec);
    if (path.empty()) GTEST_SKIP() << "no ffmpeg with " << codec;
    const auto frames = KeepAll(path);
    ASSERT_EQ(frames.size(), 50U);
    for (std::size_t i = 0; i < frames.size(); ++i) {
      EXPECT_EQ(frames[i].index, static_cast<std::int64_t>(i));
    }
    EXPECT_TRUE(KeepAll(path, {.decode_threads = 4}) == frames);
    // What the command line decodes, in its order.
    const std::string raw = (directory_ / "raw").string();
    RunPython("import subprocess\nsubprocess.check_call(['ffmpeg', '-v', 'error', '-y', '-i', '" +
              path.string() + "', '-vf', 'extractplanes=y', '-vsync', '0', '-f', 'rawvideo', '" +
              raw + "'])");
    std::string pixels;
    for (const KeptFrame& frame : frames) pixels += frame.pixels;
    EXPECT_TRUE(ReadFileText(raw).value_or("") == pixels) << codec;
    ExpectSeekGivesTheSame(path);
  }
}

TEST_F(FrameSourceTest, ReadsStills) {
  std::vector<std::uint8_t> gray(64 * 36);
  for (std::size_t i = 0; i < gray.size(); ++i) gray[i] = static_cast<std::uint8_t>(i % 64 * 4);
  const auto path = directory_ / "still.mp4";
  ASSERT_THAT(WriteStillMp4(path, {gray, 64, 36, 30, 15}), IsOk());
  const auto frames = KeepAll(path);
  ASSERT_EQ(frames.size(), 30U);
  for (const KeptFrame& frame : frames) {
    EXPECT_TRUE(frame.pixels == std::string(gray.begin(), gray.end())) << frame.index;
  }
  const auto source = OpenFrameSource(path, {});
  EXPECT_FALSE((*source)->info().stereo);
  EXPECT_EQ((*source)->info().codec, "png");
  ExpectSeekGivesTheSame(path);
}

TEST_F(FrameSourceTest, RefusesPicturesItCannotUse) {
  const auto open = [&](int width, int height) {
    const std::vector<std::uint8_t> gray(static_cast<std::size_t>(width) * height, 90);
    EXPECT_THAT(WriteStillMp4(directory_ / "still.mp4", {gray, width, height, 2, 15}), IsOk());
    return OpenFrameSource(directory_ / "still.mp4", {});
  };
  EXPECT_THAT(open(101, 36), FailsWith(ErrorKind::kInvalidData, HasSubstr("pair of 101x36")));
  EXPECT_THAT(open(8200, 100), FailsWith(ErrorKind::kInvalidData, HasSubstr("have 8200x100")));
  EXPECT_THAT(open(4000, 2400), FailsWith(ErrorKind::kInvalidData, HasSubstr("have 4000x2400")));
  EXPECT_THAT(open(250, 100), IsOk()) << "5:2 is one eye";
  if (const auto deep = MakeMp4("-c:v libx264 -pix_fmt yuv420p10le"); !deep.empty()) {
    EXPECT_THAT(OpenFrameSource(deep, {}),
                FailsWith(ErrorKind::kUnsupported, HasSubstr("pixel format yuv420p10le")));
  }
  if (const auto other = MakeMp4("-c:v mpeg1video"); !other.empty()) {
    EXPECT_THAT(OpenFrameSource(other, {}),
                FailsWith(ErrorKind::kUnsupported, HasSubstr("have mpeg1video")));
  }
}

TEST_F(FrameSourceTest, GivesTheFramesBeforeTheCut) {
  const auto path = MakeMp4("-c:v mpeg4 -movflags +faststart");
  if (path.empty()) GTEST_SKIP() << "no ffmpeg";
  const auto frames = KeepAll(path);
  const std::string bytes = *ReadFileText(path);
  const auto source = OpenFrameSource(WriteBytes(bytes.substr(0, bytes.size() / 2)), {});
  ASSERT_THAT(source, IsOk());
  const auto cut = KeepAll(**source);
  ASSERT_GT(cut.size(), 10U);
  ASSERT_LT(cut.size(), 40U);
  EXPECT_TRUE(cut.back().damaged);
  for (std::size_t i = 0; i + 1 < cut.size(); ++i) EXPECT_TRUE(cut[i] == frames[i]) << i;
  EXPECT_EQ((*source)->info().frame_count, 50);
  EXPECT_THAT((*source)->Warnings(), Contains(HasSubstr("box mdat says it has")));
  EXPECT_THAT(
      (*source)->Warnings(),
      Contains(HasSubstr("could not be decoded, the first is " + std::to_string(cut.size()))));
}

TEST_F(FrameSourceTest, GoesOnBehindDamage) {
  for (const VideoCodec codec : {VideoCodec::kMpeg4, VideoCodec::kH264}) {
    const auto path = WriteMp4(codec);
    const auto frames = KeepAll(path);
    std::string bytes = *ReadFileText(path);
    const std::size_t begin = bytes.find("mdat") + bytes.size() / 4;
    for (std::size_t i = begin; i < begin + bytes.size() / 5; ++i) bytes[i] = 0x55;
    const auto source = OpenFrameSource(WriteBytes(bytes), {});
    ASSERT_THAT(source, IsOk());
    const auto damaged = KeepAll(**source);
    ASSERT_GT(damaged.size(), 20U);
    EXPECT_TRUE(damaged.front() == frames.front());
    EXPECT_EQ(damaged.back().index, 39) << "the frames behind the damage keep their numbers";
    EXPECT_THAT((*source)->Warnings(), Contains(HasSubstr("the first is")));
    for (std::size_t i = 1; i < damaged.size(); ++i)
      EXPECT_LT(damaged[i - 1].index, damaged[i].index);
  }
}

TEST_F(FrameSourceTest, SurvivesCutsAndFlippedBits) {
  const std::string mp4 = *ReadFileText(WriteMp4(VideoCodec::kH264, false, 12));
  std::mt19937 random(11);
  int num_read = 0;
  for (int i = 0; i < 60; ++i) {
    std::string bytes = mp4.substr(0, i % 2 == 0 ? mp4.size() : mp4.size() * i / 60);
    for (int flips = 0; flips < 4; ++flips) {
      bytes[random() % bytes.size()] ^= static_cast<char>(1U << random() % 8);
    }
    const auto source = OpenFrameSource(WriteBytes(bytes), {});
    if (!source) continue;
    ++num_read;
    StereoFrame frame;
    std::int64_t last = -1;
    while ((*source)->Next(frame).value_or(false)) {
      ASSERT_GT(frame.index, last);
      last = frame.index;
    }
    EXPECT_LT(last, 12);
  }
  EXPECT_GT(num_read, 10);
}

}  // namespace
}  // namespace droidflow

#include "droidflow/video/video_writer.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/video/command_line_internal.h"

#include <cmath>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

namespace droidflow {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr int kWidth_px = 128;
constexpr int kHeight_px = 72;
constexpr int kFrameCount = 35;

/// A colour wash that moves, and a red field on the left that does not.
RgbImage Picture(int index, int width_px = kWidth_px, int height_px = kHeight_px) {
  RgbImage image(width_px, height_px);
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) {
      image.at(x, y) = {static_cast<std::uint8_t>(x + 2 * index),
                        static_cast<std::uint8_t>(2 * y),
                        static_cast<std::uint8_t>(200 - x)};
      if (x < width_px / 4) image.at(x, y) = {220, 30, 40};
    }
  }
  return image;
}

VideoOptions Options(VideoCodec codec) {
  return {.codec = codec, .width_px = kWidth_px, .height_px = kHeight_px};
}

struct Packets {
  std::vector<std::string> bytes;
  std::vector<bool> is_key;
};

/// Skips where this FFmpeg was built without the encoder.
std::optional<Packets> EncodeAll(const VideoOptions& options) {
  Packets packets;
  auto encoder =
      VideoEncoder::Open(options, [&](std::span<const std::byte> packet, bool is_key) -> Status {
        packets.bytes.emplace_back(reinterpret_cast<const char*>(packet.data()), packet.size());
        packets.is_key.push_back(is_key);
        return {};
      });
  if (!encoder && encoder.error().kind == ErrorKind::kUnsupported) return std::nullopt;
  EXPECT_THAT(encoder, IsOk());
  for (int i = 0; i < kFrameCount; ++i) EXPECT_THAT(encoder->Write(Picture(i).view()), IsOk());
  EXPECT_THAT(encoder->Finish(), IsOk());
  return packets;
}

/// The mean difference of all channels from the pictures that went in.
double MeanError(const std::string& rgb) {
  double sum = 0;
  std::size_t at = 0;
  for (int i = 0; i < kFrameCount; ++i) {
    const RgbImage picture = Picture(i);
    for (int y = 0; y < kHeight_px; ++y) {
      const auto* const row = reinterpret_cast<const std::uint8_t*>(picture.row(y));
      for (int k = 0; k < 3 * kWidth_px; ++k) {
        sum += std::abs(row[k] - static_cast<std::uint8_t>(rgb[at++]));
      }
    }
  }
  return sum / static_cast<double>(at);
}

std::string DecodeWithFfmpeg(const std::filesystem::path& path) {
  return OutputOf("ffmpeg -v error -i '" + path.string() +
                  "' -fps_mode passthrough -f rawvideo -pix_fmt rgb24 -");
}

class VideoWriterTest : public ::testing::TestWithParam<VideoCodec> {
 protected:
  Status WriteMp4() {
    DF_ASSIGN_OR_RETURN(Mp4VideoWriter writer, Mp4VideoWriter::Open(path_, Options(GetParam())));
    for (int i = 0; i < kFrameCount; ++i) DF_RETURN_IF_ERROR(writer.Write(Picture(i).view()));
    return writer.Close();
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "24400334.mp4";
};

TEST_P(VideoWriterTest, WritesAnMp4ThatFfmpegPlays) {
  DF_NEEDS_PROGRAM("ffprobe");
  DF_NEEDS_PROGRAM("ffmpeg");
  const Status written = WriteMp4();
  if (!written && written.error().kind == ErrorKind::kUnsupported) GTEST_SKIP() << written.error();
  ASSERT_THAT(written, IsOk());
  const std::string codec = GetParam() == VideoCodec::kMpeg4  ? "mpeg4"
                            : GetParam() == VideoCodec::kH264 ? "h264"
                                                              : "hevc";
  EXPECT_EQ(OutputOf("ffprobe -v error -of csv=p=0 -show_entries stream="
                     "codec_name,width,height,has_b_frames,pix_fmt,r_frame_rate,nb_frames '" +
                     path_.string() + "'"),
            codec + ",128,72,0,yuv420p,60/1,35\n");
  const std::string rgb = DecodeWithFfmpeg(path_);
  ASSERT_EQ(rgb.size(), std::size_t{3} * kWidth_px * kHeight_px * kFrameCount);
  EXPECT_LT(MeanError(rgb), 4);
  // Far from edges colours survive the halved resolution: the matrix is the right one.
  const std::size_t in_red = std::size_t{3} * (kWidth_px * 36 + 12);
  EXPECT_NEAR(static_cast<std::uint8_t>(rgb[in_red]), 220, 6);
  EXPECT_NEAR(static_cast<std::uint8_t>(rgb[in_red + 1]), 30, 6);
  EXPECT_NEAR(static_cast<std::uint8_t>(rgb[in_red + 2]), 40, 6);
}

TEST_P(VideoWriterTest, WritesTheSameMp4EveryTimeWithItsIndexInFront) {
  const Status written = WriteMp4();
  if (!written && written.error().kind == ErrorKind::kUnsupported) GTEST_SKIP() << written.error();
  const std::string bytes = *ReadFileText(path_);
  ASSERT_THAT(WriteMp4(), IsOk());
  EXPECT_TRUE(*ReadFileText(path_) == bytes);
  EXPECT_LT(bytes.find("moov"), bytes.find("mdat"));
  EXPECT_EQ(bytes.find("Lavf"), std::string::npos) << "no version of the muxer";
}

TEST_P(VideoWriterTest, GivesAPacketPerPictureAndAKeyEverySoOften) {
  const auto packets = EncodeAll(Options(GetParam()));
  if (!packets) GTEST_SKIP() << "this FFmpeg lacks the encoder";
  ASSERT_EQ(packets->bytes.size(), static_cast<std::size_t>(kFrameCount));
  for (int i = 0; i < kFrameCount; ++i) EXPECT_EQ(packets->is_key[i], i % 30 == 0) << i;
  using namespace std::string_literals;
  const std::string start = GetParam() == VideoCodec::kMpeg4  ? "\x00\x00\x01\xB0"s
                            : GetParam() == VideoCodec::kH264 ? "\x00\x00\x00\x01\x09"s
                                                              : "\x00\x00\x00\x01\x46"s;
  EXPECT_THAT(packets->bytes[0], StartsWith(start)) << "headers or a delimiter in front";
  EXPECT_THAT(packets->bytes[30], StartsWith(start));
}

TEST_P(VideoWriterTest, WritesAStreamThatFfmpegDecodes) {
  DF_NEEDS_PROGRAM("ffmpeg");
  VideoOptions options = Options(GetParam());
  options.intra_refresh = GetParam() != VideoCodec::kMpeg4;
  const auto packets = EncodeAll(options);
  if (!packets) GTEST_SKIP() << "this FFmpeg lacks the encoder";
  const std::string suffix = GetParam() == VideoCodec::kMpeg4  ? ".m4v"
                             : GetParam() == VideoCodec::kH264 ? ".h264"
                                                               : ".hevc";
  std::ofstream file(directory_ / ("stream" + suffix), std::ios::binary);
  for (const std::string& packet : packets->bytes) file << packet;
  file.close();
  const std::string rgb = DecodeWithFfmpeg(directory_ / ("stream" + suffix));
  ASSERT_EQ(rgb.size(), std::size_t{3} * kWidth_px * kHeight_px * kFrameCount);
  EXPECT_LT(MeanError(rgb), 4);
}

TEST_P(VideoWriterTest, LeavesNothingBehindWithoutClose) {
  {
    auto writer = Mp4VideoWriter::Open(path_, Options(GetParam()));
    if (!writer) GTEST_SKIP() << writer.error();
    EXPECT_THAT(writer->Write(Picture(0).view()), IsOk());
    EXPECT_FALSE(std::filesystem::exists(path_));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

INSTANTIATE_TEST_SUITE_P(Codecs,
                         VideoWriterTest,
                         ::testing::Values(VideoCodec::kMpeg4,
                                           VideoCodec::kH264,
                                           VideoCodec::kHevc),
                         [](const auto& param_info) -> std::string {
                           switch (param_info.param) {
                             case VideoCodec::kMpeg4:
                               return "Mpeg4";
                             case VideoCodec::kH264:
                               return "H264";
                             case VideoCodec::kHevc:
                               break;
                           }
                           return "Hevc";
                         });

TEST(VideoEncoder, IntraRefreshHasOnePictureThatStandsAlone) {
  VideoOptions options = Options(VideoCodec::kH264);
  options.intra_refresh = true;
  const auto packets = EncodeAll(options);
  if (!packets) GTEST_SKIP() << "this FFmpeg lacks the encoder";
  constexpr std::string_view kStartCode("\0\0\1", 3);
  int idr_count = 0;
  for (const std::string& packet : packets->bytes) {
    for (std::size_t at = packet.find(kStartCode); at != std::string::npos;
         at = packet.find(kStartCode, at + 3)) {
      idr_count += (packet[at + 3] & 0x1F) == 5 ? 1 : 0;
    }
  }
  EXPECT_EQ(idr_count, 1);
}

TEST(VideoEncoder, StopsWhereThePacketsAreNotTaken) {
  auto encoder = VideoEncoder::Open(Options(VideoCodec::kMpeg4), [](auto, bool) -> Status {
    return Fail(ErrorKind::kNoSpace, "the disk is full");
  });
  ASSERT_THAT(encoder, IsOk());
  EXPECT_THAT(encoder->Write(Picture(0).view()),
              FailsWith(ErrorKind::kNoSpace, "the disk is full"));
}

TEST(VideoEncoder, ReadsPartsOfWiderPictures) {
  const RgbImage wide = Picture(3, 3 * kWidth_px);
  RgbImage alone(kWidth_px, kHeight_px);
  for (int y = 0; y < kHeight_px; ++y) std::copy_n(wide.row(y) + 100, kWidth_px, alone.row(y));
  std::vector<std::vector<std::byte>> packets;
  for (const RgbView view : {wide.view().Columns(100, kWidth_px), RgbView(alone.view())}) {
    auto encoder =
        VideoEncoder::Open(Options(VideoCodec::kMpeg4), [&](auto packet, bool) -> Status {
          packets.emplace_back(packet.begin(), packet.end());
          return {};
        });
    ASSERT_THAT(encoder, IsOk());
    ASSERT_THAT(encoder->Write(view), IsOk());
  }
  ASSERT_EQ(packets.size(), 2U);
  EXPECT_TRUE(packets[0] == packets[1]);
}

TEST(VideoEncoder, RefusesWhatCannotBe) {
  const auto open = [](const VideoOptions& options) {
    return VideoEncoder::Open(options, [](auto, bool) -> Status { return {}; });
  };
  VideoOptions options = Options(VideoCodec::kMpeg4);
  options.width_px = 127;
  EXPECT_THAT(open(options), FailsWith(ErrorKind::kUsage, HasSubstr("have 127x72")));
  options = Options(VideoCodec::kH264);
  options.quality = 7;
  EXPECT_THAT(open(options),
              FailsWith(ErrorKind::kUsage, HasSubstr("1 (best) to 6 for libx264, have 7")));
  options = Options(VideoCodec::kMpeg4);
  options.intra_refresh = true;
  EXPECT_THAT(open(options), FailsWith(ErrorKind::kUsage, HasSubstr("intra refresh")));
  options = Options(VideoCodec::kMpeg4);
  options.nominal_fps = 0;
  EXPECT_THAT(open(options), FailsWith(ErrorKind::kUsage, HasSubstr("have 0")));
  auto encoder = open(Options(VideoCodec::kMpeg4));
  ASSERT_THAT(encoder, IsOk());
  EXPECT_THAT(encoder->Write(Picture(0, 64, 64).view()),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want 128x72 px, have 64x64")));
}

}  // namespace
}  // namespace droidflow

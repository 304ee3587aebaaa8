#include "droidflow/video/recording_summary.h"

#include "droidflow/core/files.h"
#include "droidflow/formats/mp4_writer.h"
#include "droidflow/video/test_support_internal.h"

namespace droidflow {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t kStart_ns = 1'700'000'000'000'000'000;

std::filesystem::path Fixture(const std::string& name) { return SharedPath("data/svo2/" + name); }

TEST(SummarizeRecording, SaysOfSvo2WhatDecodingItWould) {
  DF_NEEDS_SHARED("data/svo2");
  for (const char* name :
       {"hevc_zstd", "hevc_lz4_nofooter", "h264_none", "jpeg_none", "truncated"}) {
    SCOPED_TRACE(name);
    const auto path = Fixture(std::string(name) + ".svo2");
    const auto summary = SummarizeRecording(path, SvoFrames::kCount);
    ASSERT_THAT(summary, IsOk());
    EXPECT_EQ(summary->format, RecordingFormat::kSvo2);
    const auto source = OpenFrameSource(path, {});
    ASSERT_THAT(source, IsOk());
    const SourceInfo& info = (*source)->info();
    EXPECT_EQ(summary->info.reader, info.reader);
    EXPECT_EQ(summary->info.codec, info.codec);
    EXPECT_EQ(summary->info.width_px, info.width_px);
    EXPECT_EQ(summary->info.height_px, info.height_px);
    EXPECT_EQ(summary->info.stereo, info.stereo);
    EXPECT_EQ(summary->info.rectified, info.rectified);
    EXPECT_EQ(summary->info.frame_count, info.frame_count);
    EXPECT_EQ(summary->info.serial, info.serial);
    ASSERT_EQ(std::ssize(summary->frame_times_ns), *info.frame_count);
    for (std::size_t i = 0; i < summary->frame_times_ns.size(); ++i) {
      EXPECT_NEAR(summary->frame_times_ns[i] - kStart_ns, i * 1e9 / 15, 1000);
    }
    if (name == std::string("truncated")) {
      EXPECT_THAT(summary->problems, Contains(HasSubstr("its recorder died")));
    } else {
      EXPECT_THAT(summary->problems, IsEmpty());
    }
  }
}

TEST(SummarizeRecording, SaysOfMp4WhatItsHeaderSays) {
  const TemporaryDirectory directory;
  const auto path = directory / "1-stereo.mp4";
  const std::vector<std::uint8_t> gray(128 * 36);
  ASSERT_THAT(WriteStillMp4(path, {gray, 128, 36, 300, 15}), IsOk());
  const auto summary = SummarizeRecording(path, SvoFrames::kCount);
  ASSERT_THAT(summary, IsOk());
  EXPECT_EQ(summary->format, RecordingFormat::kMp4);
  EXPECT_EQ(summary->info.reader, "mp4");
  EXPECT_EQ(summary->info.codec, "png");
  EXPECT_EQ(summary->info.width_px, 64);
  EXPECT_EQ(summary->info.height_px, 36);
  EXPECT_TRUE(summary->info.stereo);
  EXPECT_TRUE(summary->info.rectified);
  EXPECT_EQ(summary->info.frame_count, 300);
  EXPECT_DOUBLE_EQ(summary->info.nominal_fps, 15);
  EXPECT_THAT(summary->frame_times_ns, IsEmpty());
  EXPECT_THAT(summary->problems, IsEmpty());

  std::ofstream(path, std::ios::binary | std::ios::app) << std::string("\0\0\1\0mdat", 8);
  const auto cut = SummarizeRecording(path, SvoFrames::kCount);
  ASSERT_THAT(cut, IsOk());
  EXPECT_EQ(cut->info.frame_count, 300);
  EXPECT_THAT(cut->problems, Contains(HasSubstr("box mdat says it has 256 bytes")));
}

TEST(SummarizeRecording, RefusesWhatIsNoRecording) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "empty.mp4");
  std::ofstream(directory / "cut.mp4") << std::string("\0\0\0\x18", 4) << "ftypisom";
  EXPECT_THAT(SummarizeRecording(directory / "none.svo", SvoFrames::kCount),
              FailsWith(ErrorKind::kNotFound, HasSubstr("none.svo")));
  EXPECT_THAT(SummarizeRecording(directory / "empty.mp4", SvoFrames::kCount),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("empty")));
  EXPECT_THAT(SummarizeRecording(directory / "cut.mp4", SvoFrames::kCount),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("the file has 12 more")));
}

TEST(ReadSvo2Header, NeedsOnlyTheBeginningOfTheFile) {
  DF_NEEDS_SHARED("data/svo2");
  const TemporaryDirectory directory;
  const auto path = directory / "begin.svo2";
  std::ofstream(path, std::ios::binary)
      << ReadFileText(Fixture("jpeg_none.svo2"))->substr(0, 65536);
  const auto header = ReadSvo2Header(path);
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->width_px, 1280);
  EXPECT_EQ(header->height_px, 720);
  EXPECT_EQ(header->serial, "19824535");
  EXPECT_DOUBLE_EQ(header->fps, 15);
  EXPECT_EQ(header->sdk_version, "5.1.2");
}

TEST(ReadSvo2Header, RefusesHeadersThatSayNothing) {
  DF_NEEDS_SHARED("data/svo2");
  const TemporaryDirectory directory;
  const auto path = directory / "changed.svo2";
  const auto read = [&](const std::string& json) {
    RewriteSvo2(Fixture("h264_none.svo2"), path, [&](auto& topic, auto& data) {
      const auto* const bytes = reinterpret_cast<const std::byte*>(json.data());
      if (topic == "svo_header") data.assign(bytes, bytes + json.size());
      return true;
    });
    return ReadSvo2Header(path);
  };
  EXPECT_THAT(read("{"), FailsWith(ErrorKind::kInvalidData, HasSubstr("want a JSON object")));
  EXPECT_THAT(read("{\"header\": 5}"), FailsWith(ErrorKind::kInvalidData, HasSubstr("\"header\"")));
  EXPECT_THAT(read("{\"header\": \"AAAA\"}"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want at least 16 bytes, have 3")));
  EXPECT_THAT(read("{\"header\": \"/////wEAAAABAAAADwAAAA==\"}"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("have 4294967295x1")));
  // 2560x720: the pair's.
  const auto pair = read("{\"header\": \"AAoAANACAACXfy4BDwAAAA==\"}");
  ASSERT_THAT(pair, IsOk());
  EXPECT_EQ(pair->width_px, 1280);
}

}  // namespace
}  // namespace droidflow

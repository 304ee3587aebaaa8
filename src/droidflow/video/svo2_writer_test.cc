#include "droidflow/video/svo2_writer.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/formats/mcap_reader.h"
#include "droidflow/video/frame_source.h"

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using ::testing::HasSubstr;

constexpr int kWidth_px = 256;  // Of the pair.
constexpr int kHeight_px = 64;
constexpr std::uint64_t kStart_ns = 1'700'000'000'000'000'000;
constexpr std::uint64_t kStep_ns = 66'666'667;
constexpr int kFrameCount = 12;

/// Bright on the left eye, dark on the right, brighter with time.
RgbImage Pair(int index) {
  RgbImage image(kWidth_px, kHeight_px);
  for (int y = 0; y < kHeight_px; ++y) {
    for (int x = 0; x < kWidth_px; ++x) {
      const auto gray = static_cast<std::uint8_t>((x < kWidth_px / 2 ? 150 : 50) + 4 * index);
      image.at(x, y) = {gray, gray, gray};
    }
  }
  return image;
}

struct Message {
  std::string topic;
  std::string encoding;
  std::uint64_t time_ns = 0;
  std::string bytes;

  [[nodiscard]] std::uint32_t U32(std::size_t at) const {
    std::uint32_t value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof(value));
    return value;
  }
};

std::vector<Message> ReadMessages(const std::filesystem::path& path) {
  std::vector<Message> messages;
  auto reader = McapReader::Open(path);
  EXPECT_THAT(reader, IsOk());
  for (McapMessage message; reader && reader->Next(message).value_or(false);) {
    messages.push_back({message.channel.topic,
                        message.channel.message_encoding,
                        message.log_time_ns,
                        {reinterpret_cast<const char*>(message.data.data()), message.data.size()}});
  }
  EXPECT_TRUE(reader->warnings().empty());
  return messages;
}

class Svo2WriterTest : public ::testing::Test {
 protected:
  Svo2Options Options(VideoCodec codec) {
    return {.video = {.codec = codec,
                      .width_px = kWidth_px,
                      .height_px = kHeight_px,
                      .nominal_fps = 15,
                      .quality = 2,
                      .intra_refresh = true},
            .serial = "29838012"};
  }

  Status WriteFrames(const Svo2Options& options) {
    DF_ASSIGN_OR_RETURN(Svo2Writer writer, Svo2Writer::Open(path_, options));
    for (int i = 0; i < kFrameCount; ++i) {
      DF_RETURN_IF_ERROR(writer.Write(Pair(i).view(), kStart_ns + i * kStep_ns));
    }
    return writer.Close();
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "29838012.svo2";
};

TEST_F(Svo2WriterTest, WritesTheMessagesOfTheSpecification) {
  const Status written = WriteFrames(Options(VideoCodec::kH264));
  if (!written && written.error().kind == ErrorKind::kUnsupported) GTEST_SKIP() << written.error();
  ASSERT_THAT(written, IsOk());
  const auto messages = ReadMessages(path_);
  ASSERT_EQ(messages.size(), kFrameCount + 2U);

  EXPECT_EQ(messages.front().topic, "svo_header");
  EXPECT_EQ(messages.front().encoding, "json");
  const auto header = nlohmann::json::parse(messages.front().bytes);
  // 128 bytes, by another implementation of base64.
  EXPECT_EQ(NumbersFromPython("import base64, struct\nb = base64.b64decode('" +
                              header.at("header").get<std::string>() +
                              "', validate=True)\nprint(len(b), *struct.unpack('<4I', b[:16]))"),
            (std::vector<double>{128, kWidth_px, kHeight_px, 29838012, 15}));
  EXPECT_TRUE(header.contains("version"));

  nlohmann::json times = nlohmann::json::array();
  for (int i = 0; i < kFrameCount; ++i) {
    SCOPED_TRACE(i);
    const Message& frame = messages[i + 1];
    const std::uint64_t time_ns = kStart_ns + i * kStep_ns;
    times.push_back(time_ns);
    EXPECT_EQ(frame.topic, "Camera_SN29838012/side_by_side");
    EXPECT_EQ(frame.encoding, "zed_sdk_encoded");
    EXPECT_EQ(frame.time_ns, time_ns);
    const std::size_t size = frame.bytes.size();
    const std::uint32_t codec_bytes = frame.U32(4);
    EXPECT_EQ(frame.U32(0), size - 4);
    ASSERT_EQ(size, 8 + codec_bytes + 56);
    EXPECT_EQ(frame.bytes.substr(8, 5), std::string("\0\0\0\1\x09", 5)) << "Annex B, a delimiter";
    const std::size_t record = size - 56;
    EXPECT_EQ(frame.U32(record), kWidth_px);
    EXPECT_EQ(frame.U32(record + 4), kHeight_px);
    EXPECT_EQ(frame.U32(record + 0x18) | std::uint64_t{frame.U32(record + 0x1C)} << 32, time_ns);
    EXPECT_EQ(frame.U32(record + 0x20), codec_bytes);
    EXPECT_EQ(frame.U32(record + 0x24), i == 0 ? 3 : 0);
    EXPECT_EQ(frame.U32(record + 0x30), static_cast<std::uint32_t>(i));
  }
  EXPECT_EQ(messages.back().topic, "svo_footer");
  EXPECT_EQ(nlohmann::json::parse(messages.back().bytes).at("Camera_SN29838012/side_by_side"),
            times);
}

TEST_F(Svo2WriterTest, HasTheTopicsAndRecordsOfARecording) {
  DF_NEEDS_SHARED("data/svo2/h264_none.svo2");
  const Status written = WriteFrames(Options(VideoCodec::kH264));
  if (!written && written.error().kind == ErrorKind::kUnsupported) GTEST_SKIP() << written.error();
  const auto ours = ReadMessages(path_);
  auto theirs = ReadMessages(SharedPath("data/svo2/h264_none.svo2"));
  std::erase_if(theirs, [](const Message& message) { return message.topic.ends_with("/sensors"); });
  const auto names_of = [](const Message& message) {
    std::vector<std::string> names;
    const auto json = nlohmann::json::parse(message.bytes);
    for (const auto& item : json.items()) {
      // Of inertial sensors, which are not written.
      if (item.key() != "IMU_frequency" && !item.key().starts_with("Calib_")) {
        names.push_back(item.key());
      }
    }
    return names;
  };
  for (const std::size_t i : {0, 1, 2}) {
    EXPECT_EQ(ours[i].topic, theirs[i].topic);
    EXPECT_EQ(ours[i].encoding, theirs[i].encoding);
  }
  EXPECT_EQ(names_of(ours.front()), names_of(theirs.front()));
  EXPECT_EQ(ours.back().topic, theirs.back().topic);
  EXPECT_EQ(names_of(ours.back()), names_of(theirs.back()));
  for (const std::size_t i : {1, 2}) {
    for (const std::size_t at :
         {0x08, 0x0C, 0x10, 0x14, 0x18, 0x1C, 0x24, 0x28, 0x2C, 0x30, 0x34}) {
      EXPECT_EQ(ours[i].U32(ours[i].bytes.size() - 56 + at),
                theirs[i].U32(theirs[i].bytes.size() - 56 + at))
          << "frame " << i - 1 << ", byte " << at;
    }
  }
}

TEST_F(Svo2WriterTest, GivesBackPicturesAndTimes) {
  for (const VideoCodec codec : {VideoCodec::kH264, VideoCodec::kHevc}) {
    for (const McapCompression compression :
         {McapCompression::kNone, McapCompression::kLz4, McapCompression::kZstd}) {
      Svo2Options options = Options(codec);
      options.compression = compression;
      const Status written = WriteFrames(options);
      if (!written && written.error().kind == ErrorKind::kUnsupported) continue;
      ASSERT_THAT(written, IsOk());
      auto source = OpenFrameSource(path_, {});
      ASSERT_THAT(source, IsOk());
      EXPECT_EQ((*source)->info().codec, codec == VideoCodec::kH264 ? "h264" : "hevc");
      EXPECT_EQ((*source)->info().serial, "29838012");
      EXPECT_EQ((*source)->info().width_px, kWidth_px / 2);
      EXPECT_EQ((*source)->info().height_px, kHeight_px);
      StereoFrame frame;
      for (int i = 0; i < kFrameCount; ++i) {
        const auto more = (*source)->Next(frame);
        ASSERT_THAT(more, IsOk());
        ASSERT_TRUE(*more) << i;
        EXPECT_EQ(frame.time_ns, kStart_ns + i * kStep_ns);
        // Gray of BT.601 in limited range, worked by hand: 16 + 219 / 255 * gray.
        EXPECT_NEAR(frame.left.at(64, 32), 16 + 219.0 / 255 * (150 + 4 * i), 3);
        EXPECT_NEAR(frame.right.at(64, 32), 16 + 219.0 / 255 * (50 + 4 * i), 3);
      }
      EXPECT_EQ((*source)->Next(frame).value(), false);
      EXPECT_TRUE((*source)->Warnings().empty());
    }
  }
}

TEST_F(Svo2WriterTest, LeavesNothingBehindWithoutClose) {
  {
    auto writer = Svo2Writer::Open(path_, Options(VideoCodec::kH264));
    if (!writer) GTEST_SKIP() << writer.error();
    EXPECT_THAT(writer->Write(Pair(0).view(), kStart_ns), IsOk());
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(Svo2WriterTest, RefusesOtherCodecsAndSerials) {
  EXPECT_THAT(Svo2Writer::Open(path_, Options(VideoCodec::kMpeg4)),
              FailsWith(ErrorKind::kUsage, HasSubstr("have mpeg4")));
  for (const char* const serial : {"", "12a", "99999999999"}) {
    Svo2Options options = Options(VideoCodec::kH264);
    options.serial = serial;
    EXPECT_THAT(Svo2Writer::Open(path_, options),
                FailsWith(ErrorKind::kUsage, HasSubstr(fmt::format("have '{}'", serial))));
  }
}

}  // namespace
}  // namespace droidflow

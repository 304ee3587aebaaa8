#include "droidflow/core/files.h"
#include "droidflow/video/recording_summary.h"
#include "droidflow/video/test_support_internal.h"

#include <random>

namespace droidflow {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::filesystem::path Fixture(const std::string& name) { return SharedPath("data/svo2/" + name); }

std::string Header(std::uint32_t width, std::uint32_t height) {
  std::string bytes = "\xF5\xFF\xFF\xFF";
  for (const std::uint32_t value : {width, height}) {
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> (8 * i));
  }
  return bytes;
}

/// A record of the recorder: 40 to 200 random bytes, and in it something that looks like a unit.
std::string Record(std::mt19937& random) {
  static const std::vector<std::string> kLookAlikes{
      "",
      std::string("\0\0\1", 3),
      std::string("\0\0\0\1\x40\1\x0C\1", 8),        // H.265: video parameter set
      std::string("\0\0\1\x42\1\1\1\x60", 8),        // sequence parameter set
      std::string("\0\0\1\x44\1\xC1\x73", 7),        // picture parameter set
      std::string("\0\0\1\2\1\xD0\x12", 7),          // slice that begins a picture
      std::string("\0\0\1\x26\1\xAF\x12", 7),        // the same of a key picture
      std::string("\0\0\1\2\1\x10\x12", 7),          // slice that does not
      std::string("\0\0\1\x52\1\x10\x12", 7),        // reserved type
      std::string("\0\0\0\1\x67\x64\0\x1F\xAC", 9),  // H.264: sequence parameter set
      std::string("\0\0\1\x68\xEE\x3C", 6),          // picture parameter set
      std::string("\0\0\1\x41\x9A\x21", 6),          // slice that begins a picture
      std::string("\0\0\1\x65\x88\x84", 6),          // the same of a key picture
  };
  const std::string& look_alike = kLookAlikes[random() % kLookAlikes.size()];
  std::string bytes(40 + random() % (161 - look_alike.size()), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? 0 : random());
  return bytes.insert(random() % bytes.size(), look_alike);
}

class Svo1SourceTest : public ::testing::Test {
 protected:
  /// An SVO2 fixture's packets as the first format is thought to hold them.
  std::string MakeSvo1(const std::string& fixture, unsigned seed, std::size_t first = 0) {
    std::mt19937 random(seed);
    std::string bytes = Header(672, 376);
    for (int i = 0; i < 20; ++i) bytes += Record(random);
    const auto units = AccessUnits(Fixture(fixture));
    for (std::size_t i = first; i < units.size(); ++i) {
      bytes += Record(random);
      bytes.append(reinterpret_cast<const char*>(units[i].data()), units[i].size());
      bytes += Record(random);
    }
    return bytes;
  }

  std::filesystem::path Write(const std::string& bytes) {
    const auto path = directory_ / "22008760.svo";
    std::filesystem::remove(path);
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  TemporaryDirectory directory_;
};

TEST_F(Svo1SourceTest, FindsEveryPictureAmongRecords) {
  DF_NEEDS_SHARED("data/svo2");
  for (const char* fixture : {"hevc_zstd.svo2", "h264_none.svo2"}) {
    const auto want = KeepAll(Fixture(fixture));
    for (const unsigned seed : {1U, 2U, 3U}) {
      SCOPED_TRACE(seed);
      const auto path = Write(MakeSvo1(fixture, seed));
      const auto source = OpenFrameSource(path, {});
      ASSERT_THAT(source, IsOk());
      const SourceInfo& info = (*source)->info();
      EXPECT_EQ(info.reader, "svo1-salvage");
      EXPECT_EQ(info.codec, fixture[1] == 'e' ? "hevc" : "h264");
      EXPECT_EQ(info.width_px, 672);
      EXPECT_EQ(info.height_px, 376);
      EXPECT_TRUE(info.stereo);
      EXPECT_FALSE(info.rectified);
      EXPECT_EQ(info.frame_count, 24);
      EXPECT_EQ(info.serial, "");
      const auto have = KeepAll(**source);
      ASSERT_EQ(have.size(), want.size());
      for (std::size_t i = 0; i < want.size(); ++i) {
        EXPECT_EQ(have[i].index, static_cast<std::int64_t>(i));
        EXPECT_FALSE(have[i].time_ns.has_value());
        EXPECT_TRUE(have[i].pixels == want[i].pixels) << i;
      }
      EXPECT_THAT((*source)->Warnings(), IsEmpty());
      StereoFrame frame;
      ASSERT_THAT((*source)->Seek(7), IsOk());
      ASSERT_EQ((*source)->Next(frame), true);
      EXPECT_TRUE(Keep(frame) == have[7]);
      const auto summary = SummarizeRecording(path, SvoFrames::kCount);
      ASSERT_THAT(summary, IsOk());
      EXPECT_EQ(summary->format, RecordingFormat::kSvo1);
      EXPECT_EQ(summary->info.frame_count, 24);
      EXPECT_THAT(summary->frame_times_ns, IsEmpty());
    }
  }
}

TEST_F(Svo1SourceTest, TakesTheHeadersSizeForThePairToo) {
  DF_NEEDS_SHARED("data/svo2");
  std::string bytes = MakeSvo1("hevc_zstd.svo2", 4);
  bytes.replace(0, 12, Header(1344, 376));
  const auto source = OpenFrameSource(Write(bytes), {});
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ((*source)->info().width_px, 672);
  EXPECT_EQ((*source)->info().frame_count, 24);
}

TEST_F(Svo1SourceTest, GivesThePicturesBeforeTheCut) {
  DF_NEEDS_SHARED("data/svo2");
  const std::string bytes = MakeSvo1("hevc_zstd.svo2", 5);
  const auto want = KeepAll(Fixture("hevc_zstd.svo2"));
  std::size_t before = 0;
  for (int part = 1; part <= 8; ++part) {
    const auto source = OpenFrameSource(Write(bytes.substr(0, bytes.size() * part / 8)), {});
    ASSERT_THAT(source, IsOk());
    const auto have = KeepAll(**source);
    EXPECT_GE(have.size(), before);
    before = have.size();
    for (std::size_t i = 0; i + 1 < have.size(); ++i) {
      EXPECT_TRUE(have[i].pixels == want[i].pixels) << i;
    }
  }
  EXPECT_EQ(before, 24U);
}

TEST_F(Svo1SourceTest, RefusesFilesWithoutPicturesOfTheRightSize) {
  DF_NEEDS_SHARED("data/svo2");
  const auto open = [&](const std::string& bytes) { return OpenFrameSource(Write(bytes), {}); };
  EXPECT_THAT(open("\xF5\xFF\xFF\xFF"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want a header of 12 bytes")));
  EXPECT_THAT(open(Header(1280, 100'000)),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("have 1280x100000: ")));
  EXPECT_THAT(open(Header(1280, 720)),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("two eyes of 1280x720")));
  std::string other_size = MakeSvo1("hevc_zstd.svo2", 6);
  other_size.replace(0, 12, Header(1280, 720));
  EXPECT_THAT(open(other_size), FailsWith(ErrorKind::kInvalidData, HasSubstr("found no picture")));
  EXPECT_THAT(open(MakeSvo1("h264_none.svo2", 7, /*first=*/13)),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("found no picture")))
      << "slices without parameter sets";
  std::mt19937 random(8);
  std::string records = Header(672, 376);
  while (records.size() < 3'000'000) records += Record(random);
  EXPECT_THAT(open(records), FailsWith(ErrorKind::kInvalidData, HasSubstr("found no picture")));
  EXPECT_THAT(
      open(Header(672, 376) + std::string("\0\0\1\x26\1", 5) + std::string(12'000'000, '\x7F')),
      FailsWith(ErrorKind::kInvalidData, HasSubstr("found no picture")));
}

TEST_F(Svo1SourceTest, SurvivesFlippedBits) {
  DF_NEEDS_SHARED("data/svo2");
  std::mt19937 random(9);
  for (int i = 0; i < 8; ++i) {
    std::string bytes = MakeSvo1(i % 2 == 0 ? "hevc_zstd.svo2" : "h264_none.svo2", 10);
    for (int k = 0; k < 30; ++k) {
      bytes[12 + random() % (bytes.size() - 12)] ^= static_cast<char>(1U << random() % 8);
    }
    const auto source = OpenFrameSource(Write(bytes), {});
    if (!source) continue;
    StereoFrame frame;
    while ((*source)->Next(frame).value_or(false)) EXPECT_LT(frame.index, 24);
  }
}

}  // namespace
}  // namespace droidflow

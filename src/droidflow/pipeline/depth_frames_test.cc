#include "droidflow/pipeline/depth_frames.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/pipeline/map_file.h"
#include "droidflow/video/frame_source.h"
#include "droidflow/video/picture_file.h"
#include "droidflow/video/video_writer.h"

#include <algorithm>
#include <fstream>
#include <random>
#include <utility>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kWidth = 96;
constexpr int kHeight = 40;
constexpr StereoGeometry kCamera{.fx_px = 100, .baseline_m = 0.1};

/// A stereo MP4 of noise, frame i with a disparity of 4 + i pixels.
void WriteRecording(const std::filesystem::path& path, int frames) {
  auto writer =
      Mp4VideoWriter::Open(path, {.width_px = 2 * kWidth, .height_px = kHeight, .quality = 1});
  ASSERT_THAT(writer, IsOk());
  std::minstd_rand random(11);
  RgbImage picture(2 * kWidth, kHeight);
  for (int i = 0; i < frames; ++i) {
    const int disparity = 4 + i;
    for (int y = 0; y < kHeight; ++y) {
      // Blocks of four pixels, which the codec does not smear.
      std::uint8_t wide[kWidth + 64];
      for (int x = 0; x < kWidth + 64; ++x) {
        if (x % 4 == 0) wide[x] = static_cast<std::uint8_t>(random() % 256);
        wide[x] = wide[x - x % 4];
      }
      for (int x = 0; x < kWidth; ++x) {
        picture.at(x, y) = {wide[x], wide[x], wide[x]};
        const std::uint8_t right = wide[x + disparity];
        picture.at(kWidth + x, y) = {right, right, right};
      }
    }
    ASSERT_THAT(writer->Write(std::as_const(picture).view()), IsOk());
  }
  ASSERT_THAT(writer->Close(), IsOk());
}

/// An available backend, for tests of what is around it.
DepthOptions AnyMatcher() {
  DepthOptions options;
  options.backend = {.kind = DepthBackend::Kind::kMatcher, .matcher = MatcherBackend::kOpencv};
  options.row_align = RowAlign::kOff;
  options.max_disparity_px = 32;
  return options;
}

/// The bytes of every frame that has depth; those that are missing are empty.
std::vector<std::string> ReadAll(const DepthRecording& recording, const DepthOptions& options) {
  MatcherPool pool;
  DepthCounters counters;
  const auto source = OpenDepthSource(recording, options, pool, counters);
  EXPECT_THAT(source, IsOk());
  std::vector<std::string> frames;
  DepthFrame frame;
  while (source && (*source)->Next(frame).value_or(false)) {
    EXPECT_EQ(frame.index, options.every * static_cast<std::int64_t>(frames.size()));
    EXPECT_EQ(frame.depth_mm.width_px, kWidth);
    std::string& bytes = frames.emplace_back();
    if (frame.missing) continue;
    for (int y = 0; y < frame.depth_mm.height_px; ++y) {
      bytes.append(reinterpret_cast<const char*>(frame.depth_mm.row(y)),
                   static_cast<std::size_t>(frame.depth_mm.width_px) * 2);
    }
  }
  return frames;
}

TEST(DepthSource, GivesTheSameFramesInOrderWithAnyNumberOfThreads) {
  if (!IsAvailable(MatcherBackend::kOpencv)) {
    GTEST_SKIP() << WhyNotAvailable(MatcherBackend::kOpencv);
  }
  const TemporaryDirectory directory;
  WriteRecording(directory / "a.mp4", 9);
  const DepthRecording recording{.path = directory / "a.mp4", .geometry = kCamera};
  DepthOptions options = AnyMatcher();
  const std::vector<std::string> alone = ReadAll(recording, options);
  ASSERT_EQ(alone.size(), 9U);
  EXPECT_NE(alone[0], alone[8]);
  for (const int jobs : {2, 3, 7}) {
    options.jobs = jobs;
    EXPECT_EQ(ReadAll(recording, options), alone) << jobs;
  }
  // Left in the middle.
  MatcherPool pool;
  DepthCounters counters;
  const auto source = OpenDepthSource(recording, options, pool, counters);
  ASSERT_THAT(source, IsOk());
  DepthFrame frame;
  EXPECT_EQ((*source)->Next(frame), Result<bool>(true));
}

TEST(DepthSource, GivesTheFramesThatAreWanted) {
  if (!IsAvailable(MatcherBackend::kOpencv)) {
    GTEST_SKIP() << WhyNotAvailable(MatcherBackend::kOpencv);
  }
  const TemporaryDirectory directory;
  WriteRecording(directory / "a.mp4", 9);
  DepthRecording recording{.path = directory / "a.mp4", .geometry = kCamera};
  DepthOptions options = AnyMatcher();
  const std::vector<std::string> all = ReadAll(recording, options);
  ASSERT_EQ(all.size(), 9U);
  using Frames = std::vector<std::string>;
  options.every = 3;
  EXPECT_EQ(ReadAll(recording, options), (Frames{all[0], all[3], all[6]}));
  options.every = 4;
  EXPECT_EQ(ReadAll(recording, options), (Frames{all[0], all[4], all[8]}));
  recording.max_frames = 8;
  EXPECT_EQ(ReadAll(recording, options), (Frames{all[0], all[4]}));
  options.every = 1;
  recording.max_frames = 2;
  EXPECT_EQ(ReadAll(recording, options), (Frames{all[0], all[1]}));
  recording.max_frames = 100;
  EXPECT_EQ(ReadAll(recording, options), all);
  options.every = 100;
  EXPECT_EQ(ReadAll(recording, options), (Frames{all[0]}));
}

TEST(DepthSource, LeavesWhatTheDecoderLostMissing) {
  if (!IsAvailable(MatcherBackend::kOpencv)) {
    GTEST_SKIP() << WhyNotAvailable(MatcherBackend::kOpencv);
  }
  const TemporaryDirectory directory;
  WriteRecording(directory / "a.mp4", 12);
  std::string bytes = *ReadFileText(directory / "a.mp4");
  const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() / 3);
  std::fill_n(begin, bytes.size() / 3, '\x55');
  ASSERT_THAT(WriteFile(directory / "a.mp4", bytes), IsOk());
  const auto source = OpenFrameSource(directory / "a.mp4", {});
  ASSERT_THAT(source, IsOk());
  std::vector<bool> is_there(12);
  for (StereoFrame frame; (*source)->Next(frame).value_or(false);) {
    is_there[static_cast<std::size_t>(frame.index)] = true;
  }
  ASSERT_TRUE(is_there.front() && is_there.back());
  ASSERT_GT(std::ranges::count(is_there, false), 1);
  DepthOptions options = AnyMatcher();
  for (const int every : {1, 2, 5}) {
    options.every = every;
    const auto frames = ReadAll({.path = directory / "a.mp4", .geometry = kCamera}, options);
    ASSERT_EQ(frames.size(), static_cast<std::size_t>((12 + every - 1) / every));
    for (std::size_t i = 0; i < frames.size(); ++i) {
      EXPECT_EQ(!frames[i].empty(), is_there[i * static_cast<std::size_t>(every)]) << i;
    }
  }
}

TEST(DepthSource, MeasuresTheDistance) {
  if (!IsAvailable(MatcherBackend::kOpencv)) {
    GTEST_SKIP() << WhyNotAvailable(MatcherBackend::kOpencv);
  }
  const TemporaryDirectory directory;
  WriteRecording(directory / "a.mp4", 1);
  MatcherPool pool;
  DepthCounters counters;
  const auto source = OpenDepthSource(
      {.path = directory / "a.mp4", .geometry = kCamera}, AnyMatcher(), pool, counters);
  ASSERT_THAT(source, IsOk());
  DepthFrame frame;
  ASSERT_EQ((*source)->Next(frame), Result<bool>(true));
  std::vector<int> depths_mm;
  for (int y = 0; y < kHeight; ++y) {
    for (int x = 16; x < kWidth - 16; ++x) depths_mm.push_back(frame.depth_mm.at(x, y));
  }
  const auto middle = depths_mm.begin() + static_cast<std::ptrdiff_t>(depths_mm.size() / 2);
  std::nth_element(depths_mm.begin(), middle, depths_mm.end());
  EXPECT_NEAR(*middle, 2500, 60);  // 100 px * 0.1 m / 4 px
}

TEST(DepthSource, RefusesASearchBeyondThePictures) {
  const TemporaryDirectory directory;
  WriteRecording(directory / "a.mp4", 1);
  DepthOptions options = AnyMatcher();
  options.max_disparity_px = kWidth + 1;
  MatcherPool pool;
  DepthCounters counters;
  EXPECT_THAT(
      OpenDepthSource({.path = directory / "a.mp4", .geometry = kCamera}, options, pool, counters),
      FailsWith(ErrorKind::kUsage, HasSubstr("width of 96, have 97")));
  EXPECT_THAT(OpenDepthSource({.path = directory / "a.mp4"}, AnyMatcher(), pool, counters),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("focal length and baseline")));
}

class ExternalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteRecording(directory_ / "a.mp4", 3);
    options_.backend = {.kind = DepthBackend::Kind::kExternal,
                        .directory = (directory_ / "maps").string()};
    std::filesystem::create_directory(directory_ / "maps");
  }

  /// A map that is `value` everywhere.
  void WriteConstant(const std::string& name, MapKind kind, float value) {
    Image<float> map(kWidth, kHeight);
    for (int y = 0; y < kHeight; ++y) std::fill_n(map.row(y), kWidth, value);
    ASSERT_THAT(WriteMap(directory_ / "maps" / name, std::as_const(map).view(), kind), IsOk());
  }

  Result<std::unique_ptr<DepthSource>> Open() {
    return OpenDepthSource(
        {.path = directory_ / "a.mp4", .geometry = kCamera}, options_, pool_, counters_);
  }

  TemporaryDirectory directory_;
  DepthOptions options_;
  MatcherPool pool_;
  DepthCounters counters_;
};

TEST_F(ExternalTest, TakesEveryFormatByNumberAndLeavesGapsEmpty) {
  WriteConstant("x2.npy", MapKind::kDisparity, 6.31F);
  WriteConstant("frame_000.png", MapKind::kDisparity, 8);
  ASSERT_THAT(WriteFile(directory_ / "maps/README.txt", "1"), IsOk());
  const auto source = Open();
  ASSERT_THAT(source, IsOk());
  DepthFrame frame;
  ASSERT_EQ((*source)->Next(frame), Result<bool>(true));
  EXPECT_EQ(frame.depth_mm.at(5, 5), 1250);
  EXPECT_FALSE(frame.missing);
  ASSERT_EQ((*source)->Next(frame), Result<bool>(true));
  EXPECT_EQ(frame.index, 1);
  EXPECT_TRUE(frame.missing);
  EXPECT_EQ(frame.depth_mm.at(5, 5), 0);
  ASSERT_EQ((*source)->Next(frame), Result<bool>(true));
  EXPECT_EQ(frame.depth_mm.at(kWidth - 1, kHeight - 1), 1585);  // 10000 / 6.31 = 1584.8
  EXPECT_EQ((*source)->Next(frame), Result<bool>(false));
}

TEST_F(ExternalTest, TakesDepthInMetresAndInMillimetres) {
  options_.external_unit = MapKind::kDepth;
  options_.min_depth_m = 1;
  WriteConstant("0.pfm", MapKind::kDepth, 1.2346F);
  WriteConstant("1.png", MapKind::kDepth, 9.999F);
  WriteConstant("2.npy", MapKind::kDepth, 0.999F);
  const auto source = Open();
  ASSERT_THAT(source, IsOk());
  DepthFrame frame;
  for (const int wanted_mm : {1235, 9999, 0}) {
    ASSERT_EQ((*source)->Next(frame), Result<bool>(true));
    EXPECT_EQ(frame.depth_mm.at(0, 0), wanted_mm);
  }
}

TEST_F(ExternalTest, ReadsTheMapsThatAreWanted) {
  WriteConstant("0.npy", MapKind::kDisparity, 8);
  ASSERT_THAT(WriteFile(directory_ / "maps/1.npy", "not looked at"), IsOk());
  WriteConstant("2.npy", MapKind::kDisparity, 4);
  options_.every = 2;
  auto source = Open();
  ASSERT_THAT(source, IsOk());
  DepthFrame frame;
  ASSERT_EQ((*source)->Next(frame), Result<bool>(true));
  EXPECT_EQ(frame.depth_mm.at(5, 5), 1250);
  ASSERT_EQ((*source)->Next(frame), Result<bool>(true));
  EXPECT_EQ(frame.index, 2);
  EXPECT_EQ(frame.depth_mm.at(5, 5), 2500);
  EXPECT_EQ((*source)->Next(frame), Result<bool>(false));
}

TEST_F(ExternalTest, RefusesMapsThatDoNotFit) {
  WriteConstant("3.npy", MapKind::kDisparity, 1);
  EXPECT_THAT(Open(),
              FailsWith(ErrorKind::kInvalidData,
                        AllOf(HasSubstr("want maps of frames 0 … 2, have one of frame 3"),
                              HasSubstr("3.npy"))));
  std::filesystem::remove(directory_ / "maps/3.npy");
  const Image<float> small(2, 2);
  ASSERT_THAT(WriteMap(directory_ / "maps/0.pfm", small.view(), MapKind::kDisparity), IsOk());
  const auto source = Open();
  ASSERT_THAT(source, IsOk());
  DepthFrame frame;
  EXPECT_THAT((*source)->Next(frame),
              FailsWith(ErrorKind::kInvalidData,
                        HasSubstr("want a map of 96x40, as the recording, have 2x2")));
}

TEST(MapFolder, GoesByTheLastNumberInTheName) {
  const TemporaryDirectory directory;
  for (const char* const name :
       {"cam22008760_000010.png", "cam22008760_000009.pfm", "cam22008760_11_left.npy"}) {
    ASSERT_THAT(WriteFile(directory / name, ""), IsOk());
  }
  const auto maps = MapFolder::Open(directory.path());
  ASSERT_THAT(maps, IsOk());
  EXPECT_EQ(maps->last_frame(), 11);
  EXPECT_EQ(maps->Find(0), nullptr);
  ASSERT_NE(maps->Find(9), nullptr);
  EXPECT_EQ(maps->Find(9)->extension(), ".pfm");
}

TEST(MapFolder, GoesByTheOrderOfNamesWithoutNumbers) {
  const TemporaryDirectory directory;
  for (const char* const name : {"b.png", "a.png", "c.npy"}) {
    ASSERT_THAT(WriteFile(directory / name, ""), IsOk());
  }
  const auto maps = MapFolder::Open(directory.path());
  ASSERT_THAT(maps, IsOk());
  EXPECT_EQ(maps->last_frame(), 2);
  EXPECT_EQ(maps->Find(0)->filename(), "a.png");
}

TEST(MapFolder, SaysWhatItCannotTellApart) {
  const TemporaryDirectory directory;
  const auto fails = [](const char* text) {
    return FailsWith(ErrorKind::kInvalidData, HasSubstr(text));
  };
  EXPECT_THAT(MapFolder::Open(directory / "absent"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("absent")));
  EXPECT_EQ(MapFolder::Open(directory.path())->last_frame(), -1);
  ASSERT_THAT(WriteFile(directory / "7.png", ""), IsOk());
  ASSERT_THAT(WriteFile(directory / "a.png", ""), IsOk());
  EXPECT_THAT(MapFolder::Open(directory.path()), fails("want a number in every name or in none"));
  std::filesystem::rename(directory / "a.png", directory / "a007.npy");
  EXPECT_THAT(MapFolder::Open(directory.path()), fails("want one map of frame 7, have 7.png and"));
  std::filesystem::rename(directory / "a007.npy", directory / "99999999999999999999.npy");
  EXPECT_THAT(MapFolder::Open(directory.path()), fails("want a frame's number in the name"));
}

TEST(FindMapOfPair, GoesByTheNameThenTakesTheOnlyOneThenFrameZero) {
  const TemporaryDirectory directory;
  const auto left = directory / "left.png";
  const auto right = directory / "right.png";
  const auto find = [&] { return FindMapOfPair(directory.path(), left, right); };
  const auto add = [&](const char* name) { ASSERT_THAT(WriteFile(directory / name, ""), IsOk()); };
  add("left.png");
  add("right.png");
  EXPECT_THAT(find(), FailsWith(ErrorKind::kNotFound, HasSubstr("want left.png, .pfm or .npy")));
  add("result.npy");
  EXPECT_EQ(find(), directory / "result.npy");
  add("000003.npy");
  EXPECT_THAT(find(), FailsWith(ErrorKind::kNotFound, HasSubstr("have 2 maps with other names")));
  add("000000.PFM");
  EXPECT_EQ(find(), directory / "000000.PFM");
  add("left.pfm");
  EXPECT_EQ(find(), directory / "left.pfm");
  add("left.npy");
  EXPECT_THAT(find(), FailsWith(ErrorKind::kInvalidData, HasSubstr("left.npy and ")));
}

}  // namespace
}  // namespace droidflow

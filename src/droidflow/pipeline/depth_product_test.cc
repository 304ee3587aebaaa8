#include "droidflow/pipeline/depth_product.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/sha256.h"
#include "droidflow/core/test_support.h"
#include "droidflow/pipeline/map_file.h"
#include "droidflow/video/picture_file.h"
#include "droidflow/video/video_writer.h"

#include <algorithm>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr int kWidth = 64;
constexpr int kHeight = 24;

TEST(DepthOutput, IsAVideoOrAPatternOfPictures) {
  const auto video = DepthOutput::Parse("a/depth.mkv");
  ASSERT_THAT(video, IsOk());
  EXPECT_TRUE(video->is_video());
  EXPECT_EQ(video->meta_path(), "a/depth_meta.json");
  EXPECT_EQ(DepthOutput::Parse("left.mkv")->meta_path(), "left_meta.json");
  const auto pictures = DepthOutput::Parse("a%b/x_%06d.png");
  ASSERT_THAT(pictures, IsOk());
  EXPECT_FALSE(pictures->is_video());
  EXPECT_EQ(pictures->FrameFile(42), "a%b/x_000042.png");
  EXPECT_EQ(pictures->meta_path(), "a%b/depth_meta.json");
  EXPECT_EQ(DepthOutput::Parse("%d.npy")->FrameFile(7), "7.npy");
  for (const char* const name :
       {"a.mp4", "a", "a.png", "%06d.tiff", "%s.png", "%06d%06d.png", "%.png", "%9999d.png", "%"}) {
    EXPECT_THAT(DepthOutput::Parse(name),
                FailsWith(ErrorKind::kUsage, HasSubstr(fmt::format("have '{}'", name))));
  }
}

class WriteDepthTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto writer = Mp4VideoWriter::Open(
        directory_ / "a.mp4", {.width_px = 2 * kWidth, .height_px = kHeight, .nominal_fps = 20});
    ASSERT_THAT(writer, IsOk());
    RgbImage picture(2 * kWidth, kHeight);
    for (int y = 0; y < kHeight; ++y) std::fill_n(picture.row(y), 2 * kWidth, Rgb{9, 9, 9});
    for (int i = 0; i < 3; ++i) {
      ASSERT_THAT(writer->Write(std::as_const(picture).view()), IsOk());
      // Half of frame i is i + 1 metres away.
      Image<float> map(kWidth, kHeight);
      for (int y = 0; y < kHeight; ++y) {
        std::fill_n(map.row(y), kWidth / 2, static_cast<float>(i + 1));
        std::fill_n(map.row(y) + kWidth / 2, kWidth / 2, 0.0F);
      }
      ASSERT_THAT(WriteMap(directory_ / fmt::format("maps/{}.pfm", i),
                           std::as_const(map).view(),
                           MapKind::kDepth),
                  IsOk());
    }
    ASSERT_THAT(writer->Close(), IsOk());
    options_.backend = {.kind = DepthBackend::Kind::kExternal,
                        .directory = (directory_ / "maps").string()};
    options_.external_unit = MapKind::kDepth;
  }

  Result<DepthReport> Write(const std::string& out, const DepthContext& context = {}) {
    return WriteDepth(
        recording_, context, options_, *DepthOutput::Parse(directory_ / out), pool_, &live_);
  }
  /// Times of a video's frames.
  std::vector<std::int64_t> TimesMs(const std::string& name) {
    auto reader = DepthVideoReader::Open(directory_ / name);
    EXPECT_THAT(reader, IsOk());
    std::vector<std::int64_t> times_ms;
    for (DepthView depth_mm; reader && reader->Next(depth_mm).value_or(false);) {
      times_ms.push_back(reader->time_ms());
    }
    return times_ms;
  }
  Json Meta(const std::string& name) { return Json::parse(*ReadFileText(directory_ / name)); }

  TemporaryDirectory directory_;
  DepthRecording recording_{.path = directory_ / "a.mp4",
                            .geometry = StereoGeometry{.fx_px = 100, .baseline_m = 0.25}};
  DepthOptions options_;
  MatcherPool pool_;
  DepthCounters live_;
};

TEST_F(WriteDepthTest, DescribesTheVideo) {
  const auto report =
      Write("out/depth.mkv",
            {.recording_name = "recordings/MP4/1.mp4",
             .serial = "1",
             .step_to_frame = std::vector<std::int32_t>{0, -1, 2, 2, 3},
             .frame_times_ns = {
                 1'700'000'000'123'456'789, 1'700'000'000'223'000'000, 1'700'000'000'290'000'000}});
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->frames, 3);
  EXPECT_DOUBLE_EQ(report->valid_fraction, 0.5);
  auto reader = DepthVideoReader::Open(directory_ / "out/depth.mkv");
  ASSERT_THAT(reader, IsOk());
  DepthView depth_mm;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(reader->Next(depth_mm), Result<bool>(true));
    EXPECT_EQ(depth_mm.at(0, 0), 1000 * (i + 1));
    EXPECT_EQ(depth_mm.at(kWidth - 1, kHeight - 1), 0);
    EXPECT_EQ(reader->time_ms(), (std::array{0, 100, 167})[static_cast<std::size_t>(i)]);
  }
  const Json meta = Meta("out/depth_meta.json");
  EXPECT_EQ(meta["file"], "depth.mkv");
  EXPECT_EQ(meta["codec"], "ffv1");
  EXPECT_EQ(meta["pix_fmt"], "gray16le");
  EXPECT_EQ(meta["unit"], "millimetre");
  EXPECT_EQ(meta["scale"], 1000.0);
  EXPECT_EQ(meta["invalid_value"], 0);
  EXPECT_EQ(meta["width"], kWidth);
  EXPECT_EQ(meta["height"], kHeight);
  EXPECT_EQ(meta["frame_count"], 3);
  EXPECT_EQ(meta["depth_every"], 1);
  EXPECT_EQ(meta["nominal_fps"], 20.0);
  EXPECT_EQ(meta["min_depth_m"], 0.2);
  EXPECT_EQ(meta["max_depth_m"], 10.0);
  EXPECT_EQ(meta["backend"], "external");
  EXPECT_EQ(meta["backend_parameters"], Json({{"unit", "depth"}}));
  EXPECT_EQ(meta["fx"], 100.0);
  EXPECT_EQ(meta["baseline_m"], 0.25);
  EXPECT_EQ(meta["recording"], "recordings/MP4/1.mp4");
  EXPECT_EQ(meta["serial"], "1");
  EXPECT_EQ(meta["valid_fraction"], 0.5);
  EXPECT_EQ(meta["step_to_frame"], Json({0, -1, 2, 2, -1}));
  EXPECT_EQ(meta["frame_to_step"], Json({0, -1, 2}));
  EXPECT_EQ(meta["timestamps_ms"], Json({1700000000123.457, 1700000000223.0, 1700000000290.0}));
  EXPECT_EQ(meta["sha256"], *Sha256OfFile(directory_ / "out/depth.mkv"));
}

TEST_F(WriteDepthTest, LeavesNullWhatIsNotKnown) {
  std::filesystem::remove(directory_ / "maps/1.pfm");
  const auto report = Write("depth.mkv");
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->missing_frames, 1);
  const Json meta = Meta("depth_meta.json");
  EXPECT_EQ(meta["missing_frames"], Json({1}));
  for (const char* const key :
       {"recording", "serial", "step_to_frame", "frame_to_step", "timestamps_ms"}) {
    EXPECT_TRUE(meta[key].is_null()) << key;
  }
}

TEST_F(WriteDepthTest, GoesByTheNominalRateWhereTimesDoNotRise) {
  const auto report = Write("depth.mkv", {.frame_times_ns = {5'000'000, 5'400'000, 9'000'000}});
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(0, 50, 100));
  EXPECT_EQ(Meta("depth_meta.json")["timestamps_ms"], Json({5.0, 5.4, 9.0}));
}

TEST_F(WriteDepthTest, IsShownAsTheRecordingIsWhereNothingElseIsKnown) {
  const std::vector<std::int64_t> shown_at_ns = {5'000'000'000, 5'066'666'667, 5'533'333'333};
  ASSERT_THAT(Write("depth.mkv", {.shown_at_ns = shown_at_ns}), IsOk());
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(5000, 5067, 5533));
  EXPECT_TRUE(Meta("depth_meta.json")["timestamps_ms"].is_null());
  ASSERT_THAT(Write("depth.mkv", {.shown_at_ns = {-80'000'000, 0, 20'000'000}}), IsOk());
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(0, 80, 100));
  // A camera's clock, and a rate that is known, know better.
  ASSERT_THAT(Write("depth.mkv",
                    {.frame_times_ns = {1'000'000'000, 1'066'666'667, 1'133'000'000},
                     .shown_at_ns = shown_at_ns}),
              IsOk());
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(0, 67, 133));
  ASSERT_THAT(Write("depth.mkv", {.shown_at_ns = shown_at_ns, .nominal_fps = 10}), IsOk());
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(0, 100, 200));
  options_.every = 2;
  ASSERT_THAT(Write("depth.mkv", {.shown_at_ns = shown_at_ns}), IsOk());
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(5000, 5533));
}

TEST_F(WriteDepthTest, TellsWhatTheCallerWarnsOf) {
  const auto report = Write("depth.mkv", {.warnings = {"not its camera"}});
  ASSERT_THAT(report, IsOk());
  EXPECT_THAT(report->warnings, ElementsAre("not its camera"));
  EXPECT_EQ(Meta("depth_meta.json")["warnings"], Json({"not its camera"}));
}

TEST_F(WriteDepthTest, RefusesAFolderWithoutAMapOfAnyFrame) {
  std::filesystem::remove(directory_ / "maps/0.pfm");
  std::filesystem::remove(directory_ / "maps/2.pfm");
  options_.every = 2;
  EXPECT_THAT(Write("depth.mkv"),
              FailsWith(ErrorKind::kNotFound,
                        AllOf(HasSubstr("want maps of frames 0, 2, 4, …, as 000000.png"),
                              HasSubstr("have 1 maps and of none of these"))));
  options_.every = 1;
  EXPECT_THAT(Write("depth.mkv"), IsOk());
  std::filesystem::remove(directory_ / "maps/1.pfm");
  EXPECT_THAT(Write("depth.mkv"), FailsWith(ErrorKind::kNotFound, HasSubstr("have 0 maps")));
}

TEST_F(WriteDepthTest, TakesTheCallersWordForTheRate) {
  ASSERT_THAT(Write("depth.mkv", {.nominal_fps = 10}), IsOk());
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(0, 100, 200));
  EXPECT_EQ(Meta("depth_meta.json")["nominal_fps"], 20.0);
  ASSERT_THAT(Write("depth.mkv", {.nominal_fps = 0}), IsOk());
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(0, 50, 100));
  ASSERT_THAT(
      Write("depth.mkv", {.frame_times_ns = {5'000'000, 8'000'000, 9'000'000}, .nominal_fps = 10}),
      IsOk());
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(0, 3, 4));
}

TEST_F(WriteDepthTest, SpeaksOfTheFramesThatHaveDepth) {
  std::filesystem::remove(directory_ / "maps/2.pfm");
  options_.every = 2;
  const auto report = Write("depth.mkv",
                            {.step_to_frame = std::vector<std::int32_t>{-1, 0, 0, 1, 2, 2, 3, 4},
                             .frame_times_ns = {1'000'000'000, 1'010'000'000, 1'070'000'000}});
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->frames, 2);
  EXPECT_EQ(report->missing_frames, 1);
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(0, 70));
  const Json meta = Meta("depth_meta.json");
  EXPECT_EQ(meta["depth_every"], 2);
  EXPECT_EQ(meta["frame_count"], 2);
  EXPECT_EQ(meta["missing_frames"], Json({1}));
  EXPECT_EQ(meta["step_to_frame"], Json({-1, 0, 0, -1, 1, 1, -1, -1}));
  EXPECT_EQ(meta["frame_to_step"], Json({1, 4}));
  EXPECT_EQ(meta["timestamps_ms"], Json({1000.0, 1070.0}));
  // Frames without times are as far apart as in the recording.
  ASSERT_THAT(Write("depth.mkv"), IsOk());
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(0, 100));
  ASSERT_THAT(Write("png/%d.png"), IsOk());
  EXPECT_TRUE(std::filesystem::exists(directory_ / "png/1.png"));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "png/2.png"));
}

TEST_F(WriteDepthTest, StopsAfterTheFramesThatAreWanted) {
  recording_.max_frames = 2;
  const auto report = Write("depth.mkv", {.step_to_frame = std::vector<std::int32_t>{0, 1, 2}});
  ASSERT_THAT(report, IsOk());
  EXPECT_EQ(report->frames, 2);
  EXPECT_THAT(TimesMs("depth.mkv"), ElementsAre(0, 50));
  EXPECT_EQ(Meta("depth_meta.json")["step_to_frame"], Json({0, 1, -1}));
}

TEST_F(WriteDepthTest, CountsWhatItDoes) {
  const auto first = Write("depth.mkv");
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(live_.frames, 3);
  EXPECT_GT(first->decode_s, 0);
  EXPECT_EQ(first->match_s, 0);
  EXPECT_GT(first->encode_s, 0);
  EXPECT_GE(first->wall_s, first->encode_s + first->wait_s);
  const auto second = Write("depth.mkv");
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(live_.frames, 6);
  // What they say of themselves is what they added.
  EXPECT_NEAR(static_cast<double>(live_.decode_ns), 1e9 * (first->decode_s + second->decode_s), 9);
  EXPECT_NEAR(static_cast<double>(live_.encode_ns), 1e9 * (first->encode_s + second->encode_s), 9);
  EXPECT_NEAR(static_cast<double>(live_.wait_ns), 1e9 * (first->wait_s + second->wait_s), 9);
}

TEST_F(WriteDepthTest, RemovesWhatADeadProcessLeft) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  for (const char* const file : {"depth.mkv", "depth_meta.json", "other.mkv"}) {
    ASSERT_THAT(WriteFile(directory_ / fmt::format("out/{}.tmp-{}-0", file, child), "half"),
                IsOk());
  }
  ASSERT_THAT(Write("out/depth.mkv"), IsOk());
  std::vector<std::string> names;
  const auto files = ListFiles(directory_ / "out");
  ASSERT_THAT(files, IsOk());
  for (const FileStamp& file : *files) names.push_back(file.name);
  EXPECT_THAT(
      names, ElementsAre("depth.mkv", "depth_meta.json", fmt::format("other.mkv.tmp-{}-0", child)));
}

TEST_F(WriteDepthTest, GivesTheSameBytesWithMoreThreads) {
  ASSERT_THAT(Write("depth.mkv"), IsOk());
  options_.encode_threads = 3;
  options_.jobs = 2;
  ASSERT_THAT(Write("other.mkv"), IsOk());
  EXPECT_EQ(*ReadFileText(directory_ / "depth.mkv"), *ReadFileText(directory_ / "other.mkv"));
}

TEST_F(WriteDepthTest, WritesPicturesInPlaceOfAVideo) {
  ASSERT_THAT(Write("png/%06d.png"), IsOk());
  ASSERT_THAT(Write("npy/%d.npy"), IsOk());
  const auto picture = ReadPicture(directory_ / "png/000001.png");
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->gray16.at(0, 0), 2000);
  const auto map = ReadMap(directory_ / "npy/2.npy", MapKind::kDepth);
  ASSERT_THAT(map, IsOk());
  EXPECT_EQ(map->at(0, 0), 3);
  const Json png = Meta("png/depth_meta.json");
  EXPECT_EQ(png["codec"], "png");
  EXPECT_EQ(png["scale"], 1000.0);
  EXPECT_TRUE(png["sha256"].is_null());
  const Json npy = Meta("npy/depth_meta.json");
  EXPECT_EQ(npy["unit"], "metre");
  EXPECT_EQ(npy["scale"], 1.0);
  EXPECT_TRUE(npy["invalid_value"].is_null());
}

TEST_F(WriteDepthTest, LeavesTheOldResultWhereItFails) {
  ASSERT_THAT(Write("depth.mkv"), IsOk());
  const std::string video = *ReadFileText(directory_ / "depth.mkv");
  ASSERT_THAT(WriteFile(directory_ / "maps/2.pfm", "damaged"), IsOk());
  EXPECT_THAT(Write("depth.mkv"), FailsWith(ErrorKind::kInvalidData, HasSubstr("2.pfm")));
  EXPECT_EQ(*ReadFileText(directory_ / "depth.mkv"), video);
  EXPECT_EQ(Meta("depth_meta.json")["sha256"], *Sha256OfFile(directory_ / "depth.mkv"));
  EXPECT_EQ(ListFiles(directory_.path())->size(), 3U + 3U);  // Nothing half-done.
}

}  // namespace
}  // namespace droidflow

#include "droidflow/pipeline/verify_depth.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/sha256.h"
#include "droidflow/core/test_support.h"
#include "droidflow/video/command_line_internal.h"
#include "droidflow/video/depth_video.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Json = nlohmann::ordered_json;

constexpr int kWidth = 40;
constexpr int kHeight = 20;
constexpr int kFrames = 3;

/// An episode of five steps with one camera, whose depth has three frames of i + 1 metres in their
/// left quarter. Frame 1 has none.
class CheckDepthTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::vector<DepthImage> frames;
    for (int i = 0; i < kFrames; ++i) frames.push_back(Frame(i == 1 ? 0 : 1000 * (i + 1)));
    WriteVideo(frames);
    meta_ = {{"file", "depth.mkv"},
             {"codec", "ffv1"},
             {"pix_fmt", "gray16le"},
             {"unit", "millimetre"},
             {"scale", 1000.0},
             {"invalid_value", 0},
             {"width", kWidth},
             {"height", kHeight},
             {"frame_count", kFrames},
             {"nominal_fps", nullptr},
             {"min_depth_m", 0.2},
             {"max_depth_m", 10.0},
             {"backend", "cpu"},
             {"backend_parameters", Json::object()},
             {"fx", 500.0},
             {"baseline_m", 0.12},
             {"recording", "recordings/MP4/1.mp4"},
             {"serial", "1"},
             {"rows", {{"removed", Json::object()}, {"measured", nullptr}}},
             {"valid_fraction", 2.0 / 3 / 4},
             {"damaged_frames", {0, 2}},
             {"missing_frames", {1}},
             {"warnings", Json::array()},
             {"step_to_frame", {0, 0, -1, 2, -1}},
             {"frame_to_step", {0, -1, 3}},
             {"timestamps_ms", {1000.5, 1100, 1200}},
             {"droidflow_version", "1"},
             {"sha256", *Sha256OfFile(Path("depth.mkv"))}};
    ASSERT_THAT(WriteFile(Path("intrinsics.json"), R"({"width": 40, "height": 20})"), IsOk());
    depth_ = {.directory = directory_.path(),
              .serial = "1",
              .steps = 5,
              .valid_fraction = 2.0 / 3 / 4,
              .step_to_frame = std::vector<std::int64_t>{0, 0, -1, 2, 3}};
  }

  /// The left quarter has depth.
  static DepthImage Frame(int mm) {
    DepthImage frame(kWidth, kHeight);
    for (int y = 0; y < kHeight; ++y) {
      std::fill_n(frame.row(y), kWidth, std::uint16_t{0});
      std::fill_n(frame.row(y), kWidth / 4, static_cast<std::uint16_t>(mm));
    }
    return frame;
  }

  void WriteVideo(const std::vector<DepthImage>& frames) {
    auto writer = DepthVideoWriter::Open(
        Path("depth.mkv"), {.width_px = frames[0].width_px(), .height_px = frames[0].height_px()});
    ASSERT_THAT(writer, IsOk());
    for (const DepthImage& frame : frames) ASSERT_THAT(writer->Write(frame.view()), IsOk());
    ASSERT_THAT(writer->Close(), IsOk());
    meta_["sha256"] = *Sha256OfFile(Path("depth.mkv"));
  }

  [[nodiscard]] std::filesystem::path Path(const char* name) const {
    return directory_ / "recordings/1" / name;
  }

  CheckedDepth Check() {
    if (!meta_.is_null()) {
      EXPECT_THAT(WriteFile(Path("depth_meta.json"), meta_.dump()), IsOk());
    }
    return CheckDepth(depth_);
  }

  TemporaryDirectory directory_;
  Json meta_;
  DepthToCheck depth_;
};

TEST_F(CheckDepthTest, FindsNothingWrongWithAGoodEpisode) {
  const CheckedDepth checked = Check();
  EXPECT_THAT(checked.problems, IsEmpty());
  EXPECT_FALSE(checked.comparison) << "there are no points";
  meta_["timestamps_ms"] = nullptr;
  depth_.valid_fraction = {};
  depth_.step_to_frame = {};
  depth_.steps = 0;
  EXPECT_THAT(Check().problems, IsEmpty());
}

TEST_F(CheckDepthTest, TellsWhichKeyOfTheDescriptionIsWrong) {
  const struct {
    const char* key;
    Json value;
    const char* want;
    const char* have;
  } changes[] = {
      {"file", "other.mkv", "want \"depth.mkv\"", "have \"other.mkv\""},
      {"codec", "png", "want \"ffv1\"", "have \"png\""},
      {"pix_fmt", "gray", "want \"gray16le\"", "have \"gray\""},
      {"unit", "metre", "want \"millimetre\"", "have \"metre\""},
      {"scale", 1.0, "want 1000", "have 1.0"},
      {"invalid_value", nullptr, "want 0", "have null"},
      {"serial", "2", "want \"1\"", "have \"2\""},
      {"width", 41, "want 40 as in recordings/1/intrinsics.json", "have 41"},
      {"height", 21, "want 20 as in recordings/1/intrinsics.json", "have 21"},
      {"width", "40", "want a count", "have \"40\""},
      {"height", -20, "want a count", "have -20"},
      {"frame_count", 3.5, "want a count", "have 3.5"},
      {"depth_every", 0, "want a count", "have 0"},
      {"nominal_fps", "15", "want a number or null", "have \"15\""},
      {"min_depth_m", nullptr, "want a number", "have null"},
      {"max_depth_m", -1, "want a number", "have -1"},
      {"max_depth_m", 0.1, "want min_depth_m below max_depth_m", "have 0.2 and 0.1"},
      {"backend", 1, "want a text", "have 1"},
      {"backend_parameters", "fast", "want an object", "have \"fast\""},
      {"fx", "500", "want a number", "have \"500\""},
      {"baseline_m", Json::array(), "want a number", "have []"},
      {"recording", nullptr, "want a text", "have null"},
      {"rows", Json::object(), "want an object of measured and removed", "have {}"},
      {"valid_fraction", 1.5, "want 0 to 1", "have 1.5"},
      {"valid_fraction", 0.25, "want 0.16666666666666666", "have 0.25"},
      {"damaged_frames", {"a"}, "want a list of integers", "have [\"a\"]"},
      {"damaged_frames", {2, 0}, "want rising numbers from 0 to 2", "have 0"},
      {"missing_frames", {1, 3}, "want rising numbers from 0 to 2", "have 3"},
      {"warnings", "none", "want a list", "have \"none\""},
      {"step_to_frame", nullptr, "want a list of integers", "have null"},
      {"step_to_frame", {0, 0, -1, 2}, "want 5 entries", "have 4"},
      {"step_to_frame", {0, 0, -1, 2, 3}, "want frames from -1 to 2", "have 3 at step 4"},
      {"step_to_frame", {0, 0, 2, 2, -1}, "step 2: want -1 by recordings/1/video.json", "have 2"},
      {"frame_to_step", {0, -1}, "want 3 entries", "have 2"},
      {"frame_to_step", {1, -1, 3}, "frame 0: want 0 by step_to_frame", "have 1"},
      {"frame_to_step", {0, 2, 3}, "frame 1: want -1 by step_to_frame", "have 2"},
      {"timestamps_ms", {1, 2}, "want 3 entries", "have 2"},
      {"timestamps_ms", {1, nullptr, 3}, "want a list of numbers or null", "have [1,null,3]"},
      {"sha256", nullptr, "want a text", "have null"},
      {"droidflow_version", 1, "want a text", "have 1"},
  };
  const Json good = meta_;
  for (const auto& [key, value, want, have] : changes) {
    meta_ = good;
    meta_[key] = value;
    EXPECT_THAT(Check().problems,
                Contains(AllOf(HasSubstr("recordings/1/depth_meta.json: "),
                               HasSubstr(key),
                               HasSubstr(want),
                               HasSubstr(have))))
        << key;
  }
}

TEST_F(CheckDepthTest, WantsEveryKey) {
  const Json good = meta_;
  for (const auto& [key, value] : good.items()) {
    meta_ = good;
    meta_.erase(key);
    EXPECT_THAT(Check().problems, ElementsAre("recordings/1/depth_meta.json: no key " + key));
  }
}

TEST_F(CheckDepthTest, WantsBothFilesOrNone) {
  std::filesystem::remove(Path("depth.mkv"));
  EXPECT_THAT(Check().problems,
              ElementsAre("recordings/1/depth.mkv: missing, want it beside "
                          "recordings/1/depth_meta.json"));
  std::filesystem::remove(Path("depth_meta.json"));
  meta_ = nullptr;
  EXPECT_THAT(Check().problems,
              ElementsAre("recordings/1/depth.mkv: missing, want it beside quality.json",
                          "recordings/1/depth_meta.json: missing, want it beside quality.json"));
  depth_.valid_fraction = {};
  EXPECT_THAT(Check().problems, IsEmpty());
}

TEST_F(CheckDepthTest, ReadsAVideoThatHasNoDescription) {
  meta_ = nullptr;
  EXPECT_THAT(Check().problems,
              ElementsAre("recordings/1/depth_meta.json: missing, want it beside "
                          "recordings/1/depth.mkv"));
  ASSERT_THAT(WriteFile(Path("depth_meta.json"), "{"), IsOk());
  EXPECT_THAT(Check().problems, ElementsAre("recordings/1/depth_meta.json: not a JSON object"));
}

TEST_F(CheckDepthTest, SeesAVideoThatIsNotTheDescribedOne) {
  const Json good = meta_;
  std::vector<DepthImage> frames;
  frames.push_back(Frame(1000));
  frames.push_back(Frame(0));
  WriteVideo(frames);
  EXPECT_THAT(
      Check().problems,
      Contains(AllOf(
          HasSubstr("recordings/1/depth.mkv: "), HasSubstr("want 3 frames"), HasSubstr("have 2"))));
  meta_["sha256"] = good["sha256"];
  const std::string have = *Sha256OfFile(Path("depth.mkv"));
  EXPECT_THAT(Check().problems,
              Contains("recordings/1/depth.mkv: want sha256 " + good["sha256"].get<std::string>() +
                       " as in recordings/1/depth_meta.json, have " + have));
  frames.clear();
  frames.emplace_back(kWidth + 2, kHeight);
  WriteVideo(frames);
  EXPECT_THAT(
      Check().problems,
      Contains(AllOf(HasSubstr("recordings/1/depth.mkv: want 40x20 px"), HasSubstr("have 42x20"))));
}

TEST_F(CheckDepthTest, SeesDepthOutOfRangeAndInMissingFrames) {
  const auto write = [&](int middle_mm) {
    std::vector<DepthImage> frames;
    for (const int mm : {1000, 0, 3000}) frames.push_back(Frame(mm));
    frames[1].at(7, 5) = static_cast<std::uint16_t>(middle_mm);
    WriteVideo(frames);
    depth_.valid_fraction = 401.0 / (3 * kWidth * kHeight);
    meta_["valid_fraction"] = *depth_.valid_fraction;
  };
  write(1);
  EXPECT_THAT(Check().problems,
              ElementsAre(AllOf(HasSubstr("recordings/1/depth.mkv: frame 1: want no depth"),
                                HasSubstr("have 1 pixels")),
                          AllOf(HasSubstr("depth.mkv: frame 1, pixel (7, 5): want 0 or 200 to "
                                          "10000 mm"),
                                HasSubstr("have 1"))));
  meta_["missing_frames"] = Json::array();
  for (const int inside_mm : {200, 10'000}) {
    write(inside_mm);
    EXPECT_THAT(Check().problems, IsEmpty()) << inside_mm;
  }
  for (const int outside_mm : {199, 10'001, 65'535}) {
    write(outside_mm);
    EXPECT_THAT(Check().problems, ElementsAre(HasSubstr(fmt::format("have {}", outside_mm))));
  }
}

TEST_F(CheckDepthTest, SeesBytesThatChangedAndFilesThatWereCutOff) {
  const std::string good = *ReadFileText(Path("depth.mkv"));
  const auto check_with = [&](const std::string& bytes) {
    std::filesystem::remove(Path("depth.mkv"));
    EXPECT_THAT(WriteFile(Path("depth.mkv"), bytes), IsOk());
    return Check().problems;
  };
  EXPECT_THAT(check_with(good.substr(0, good.size() - 1)), ElementsAre(HasSubstr("cut off")));
  EXPECT_THAT(check_with(""), ElementsAre(HasSubstr("want a Matroska file")));
  EXPECT_THAT(check_with(good), IsEmpty());
  // In the middle of the last picture, which lies in front of the index.
  std::string damaged = good;
  damaged[good.rfind("\x1C\x53\xBB\x6B") - 30] ^= 1;
  EXPECT_THAT(check_with(damaged),
              ElementsAre(HasSubstr("want sha256"), HasSubstr("frame 2 is damaged")));
  depth_.every_frame = false;
  EXPECT_THAT(check_with(damaged), ElementsAre(HasSubstr("want sha256")));
}

TEST_F(CheckDepthTest, ReadsHeaderAndIndexWhenItIsQuick) {
  depth_.every_frame = false;
  depth_.valid_fraction = 0.5;
  meta_["valid_fraction"] = *depth_.valid_fraction;
  EXPECT_THAT(Check().problems, IsEmpty()) << "it takes every frame to know";
  std::vector<DepthImage> frames;
  for (int i = 0; i < 4; ++i) frames.push_back(Frame(1000));
  WriteVideo(frames);
  EXPECT_THAT(Check().problems, ElementsAre(HasSubstr("have 4")));
}

TEST_F(CheckDepthTest, SeesWhatQualityAndIntrinsicsSayOtherwise) {
  depth_.valid_fraction = 0.5;
  EXPECT_THAT(Check().problems,
              ElementsAre(AllOf(HasSubstr("quality.json: cameras.1.depth_valid_fraction"),
                                HasSubstr("want 0.16666666666666666"),
                                HasSubstr("have 0.5"))));
  depth_.valid_fraction = {};
  std::filesystem::remove(Path("intrinsics.json"));
  EXPECT_THAT(Check().problems, ElementsAre(HasSubstr("recordings/1/intrinsics.json: ")));
}

TEST_F(CheckDepthTest, CountsFramesOfTheVideoWhereItHasEveryKth) {
  meta_["depth_every"] = 2;
  depth_.step_to_frame = {0, 1, 2, 4, 6};  // Frame 6 is behind the end, 1 was left out.
  meta_["step_to_frame"] = {0, -1, 1, 2, -1};
  meta_["frame_to_step"] = {0, 2, 3};
  EXPECT_THAT(Check().problems, IsEmpty());
  meta_["step_to_frame"] = {0, 0, 1, 2, -1};
  EXPECT_THAT(Check().problems, ElementsAre(HasSubstr("step 1: want -1")));
  meta_["step_to_frame"] = {0, -1, 2, 2, -1};
  meta_["frame_to_step"] = {0, -1, 2};
  EXPECT_THAT(Check().problems, ElementsAre(HasSubstr("step 2: want 1")));
}

TEST_F(CheckDepthTest, SeesAnotherVersionOfFfv1) {
  DF_NEEDS_PROGRAM("ffmpeg");
  std::filesystem::rename(Path("depth.mkv"), Path("version3.mkv"));
  OutputOf("cd '" + Path("").string() +
           "' && ffmpeg -v error -i version3.mkv -c:v ffv1 -level 1 "
           "depth.mkv");
  meta_["sha256"] = *Sha256OfFile(Path("depth.mkv"));
  EXPECT_THAT(Check().problems, ElementsAre("recordings/1/depth.mkv: want FFV1 version 3, have 1"));
}

TEST_F(CheckDepthTest, ComparesDepthWithThePointsOfTheSteps) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  depth_.points_at = [&](std::int64_t step) -> std::vector<SeenPoint> {
    switch (step) {
      case 0:
        return {{0, 0, 0.99}, {9.4, 19.4, 1.03}};  // 10 and -30 mm
      case 1:
        return {{9.6, 3, 1}, {kNan, kNan, -1}};  // No depth there; not seen.
      case 3:
        return {{3, -0.6, 1}, {1e30, 4, 1}, {5, 5, 2}};  // Outside twice; 1000 mm
      default:
        ADD_FAILURE() << step << " has no frame";
        return {};
    }
  };
  const CheckedDepth checked = Check();
  EXPECT_THAT(checked.problems, IsEmpty());
  ASSERT_TRUE(checked.comparison);
  EXPECT_EQ(checked.comparison->steps, 3);
  EXPECT_EQ(checked.comparison->points, 4);
  EXPECT_EQ(checked.comparison->measured, 3);
  EXPECT_NEAR(checked.comparison->median_mm.value(), 10, 1e-9);
  EXPECT_NEAR(checked.comparison->near_fraction.value(), 1.0 / 3, 1e-12);
  depth_.every_frame = false;
  EXPECT_FALSE(Check().comparison);
}

TEST_F(CheckDepthTest, AsksForNoPointsOfStepsThatTheEpisodeDoesNotHave) {
  depth_.steps = 2;
  depth_.points_at = [](std::int64_t step) {
    EXPECT_LT(step, 2);
    return std::vector<SeenPoint>{{0, 0, 1}};
  };
  const CheckedDepth checked = Check();
  EXPECT_THAT(checked.problems, ElementsAre(HasSubstr("step_to_frame: want 2 entries, have 5")));
  EXPECT_EQ(checked.comparison->steps, 2);
}

TEST_F(CheckDepthTest, WantsThePointsInFrontOfTheCamera) {
  depth_.points_at = [](std::int64_t) {
    return std::vector<SeenPoint>{{1, 1, -1}, {2, 1, 0}, {30, 1, 1}};
  };
  const CheckedDepth checked = Check();
  EXPECT_THAT(checked.problems,
              ElementsAre("tracks.npz: tracks_2d_1: want points in front of the camera, have 6 of "
                          "9 in the image behind it"));
  EXPECT_EQ(checked.comparison->measured, 0);
  EXPECT_FALSE(checked.comparison->median_mm);
}

TEST_F(CheckDepthTest, ComparesAtMostAHundredSteps) {
  Json step_to_frame = Json::array();
  for (int i = 0; i < 250; ++i) step_to_frame.push_back(2);
  meta_["step_to_frame"] = step_to_frame;
  meta_["frame_to_step"] = {-1, -1, 0};
  depth_.step_to_frame = {};
  depth_.steps = 250;
  std::vector<std::int64_t> asked;
  depth_.points_at = [&](std::int64_t step) {
    asked.push_back(step);
    return std::vector<SeenPoint>{{0, 0, 3}, {0, 0, 3.001}};
  };
  const CheckedDepth checked = Check();
  EXPECT_THAT(checked.problems, IsEmpty());
  ASSERT_EQ(asked.size(), 84U);  // every third
  EXPECT_EQ(asked[83], 249);
  EXPECT_EQ(checked.comparison->steps, 84);
  EXPECT_NEAR(checked.comparison->median_mm.value(), -0.5, 1e-9);
}

}  // namespace
}  // namespace droidflow

#include "droidflow/pipeline/stereo_pairs.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/pipeline/synth_video.h"
#include "droidflow/video/video_writer.h"

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::HasSubstr;

constexpr int kWidth = 336;
constexpr int kHeight = 188;
constexpr Intrinsics kCamera{.fx_px = 132,
                             .fy_px = 132,
                             .cx_px = 167.5,
                             .cy_px = 93.5,
                             .width_px = kWidth,
                             .height_px = kHeight};
constexpr double kBaseline_m = 0.12;

/// Looks down at the table.
Transform OverTheTable() {
  Transform T_base_cam = Transform::Identity();
  T_base_cam.linear() = RotationX(3.0);
  T_base_cam.translation() = Vector3(0.5, 0.1, 0.6);
  return T_base_cam;
}

class PairSourceTest : public ::testing::Test {
 protected:
  /// A stereo MP4 whose right pictures are `down` rows too low.
  std::filesystem::path WriteStereo(int down) {
    const SynthScene scene = SynthScene::Make(3);
    SynthView left_eye(scene, SynthEye::Rectified(kCamera, 0));
    SynthView right_eye(scene, SynthEye::Rectified(kCamera, kBaseline_m));
    const SynthHand hand{.T_base_ee = Transform(Eigen::Translation3d(0.3, -0.4, 0.5)),
                         .gripper_position = 0};
    RgbImage left;
    RgbImage right;
    left_eye.Render(hand, OverTheTable(), 1, left);
    right_eye.Render(hand, OverTheTable(), 2, right);
    RgbImage pair(2 * kWidth, kHeight);
    for (int y = 0; y < kHeight; ++y) {
      Rgb* const half = std::copy_n(left.row(y), kWidth, pair.row(y));
      std::copy_n(right.row(std::max(y - down, 0)), kWidth, half);
    }
    const auto path = directory_ / "22008760-stereo.mp4";
    auto writer =
        Mp4VideoWriter::Open(path, {.width_px = 2 * kWidth, .height_px = kHeight, .quality = 1});
    EXPECT_THAT(writer, IsOk());
    for (int i = 0; i < 3; ++i) EXPECT_THAT(writer->Write(pair.view()), IsOk());
    EXPECT_THAT(writer->Close(), IsOk());
    return path;
  }

  TemporaryDirectory directory_;
};

/// Median |row offset| of the corners of the first pair.
double RowsOfFirst(PairSource& source) {
  AlignedPair pair;
  const auto more = source.Next(pair);
  EXPECT_THAT(more, IsOk());
  EXPECT_TRUE(*more);
  EXPECT_EQ(pair.index, 0) << "measuring reads frames, and must give them back";
  const auto alignment = FitRowAlignment(
      MatchCorners(pair.left, pair.right, {.max_disparity_px = 64}), kWidth, kHeight);
  EXPECT_TRUE(alignment);
  return alignment ? alignment->median_abs_px : NAN;
}

TEST_F(PairSourceTest, TakesARowOffsetOut) {
  const auto path = WriteStereo(2);
  auto aligned = PairSource::Open(path, nullptr, {});
  ASSERT_THAT(aligned, IsOk());
  ASSERT_TRUE(aligned->rows());
  EXPECT_NEAR(aligned->rows()->fit.offset_px, 2, 0.1);
  EXPECT_LT(RowsOfFirst(*aligned), 0.15);
  EXPECT_EQ(aligned->left_mask(), nullptr);
  ASSERT_NE(aligned->right_mask(), nullptr) << "its last rows have nothing to show";
  EXPECT_EQ(aligned->right_mask()->at(kWidth / 2, kHeight - 1), 0);

  auto as_it_is = PairSource::Open(path, nullptr, {.row_align = RowAlign::kOff});
  ASSERT_THAT(as_it_is, IsOk());
  EXPECT_FALSE(as_it_is->rows());
  EXPECT_NEAR(RowsOfFirst(*as_it_is), 2, 0.15);
}

TEST_F(PairSourceTest, LeavesAlignedPicturesAlone) {
  auto source = PairSource::Open(WriteStereo(0), nullptr, {});
  ASSERT_THAT(source, IsOk());
  ASSERT_TRUE(source->rows());
  EXPECT_LT(source->rows()->median_abs_px, kRowAlignThreshold_px);
  EXPECT_EQ(source->removed(), RowOffset{});
  EXPECT_EQ(source->right_mask(), nullptr);
}

TEST_F(PairSourceTest, RefusesOneEye) {
  const auto path = directory_ / "22008760.mp4";
  auto writer = Mp4VideoWriter::Open(path, {.width_px = 64, .height_px = 48});
  ASSERT_THAT(writer, IsOk());
  const RgbImage picture(64, 48);
  ASSERT_THAT(writer->Write(picture.view()), IsOk());
  ASSERT_THAT(writer->Close(), IsOk());
  EXPECT_THAT(PairSource::Open(path, nullptr, {}),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want both eyes, have one")));
}

TEST_F(PairSourceTest, RectifiesRawFramesOntoTheCameraWanted) {
  DF_NEEDS_SHARED("data/svo2");
  DF_NEEDS_SHARED("data/zed_conf");
  const auto recording = SharedPath("data/svo2/h264_none.svo2");
  EXPECT_THAT(PairSource::Open(recording, nullptr, {}),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want the calibration file")));
  const auto calibration = ReadZedCalibration(SharedPath("data/zed_conf"), "29838012");
  ASSERT_THAT(calibration, IsOk());

  const auto other_size = MakeRig(*calibration, 1280, 720, std::nullopt);
  ASSERT_THAT(other_size, IsOk());
  EXPECT_THAT(PairSource::Open(recording, &*other_size, {}),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want frames of 1280x720")));

  const Intrinsics wanted{
      .fx_px = 262, .fy_px = 262, .cx_px = 336, .cy_px = 187, .width_px = 672, .height_px = 376};
  const auto rig = MakeRig(*calibration, 672, 376, wanted);
  ASSERT_THAT(rig, IsOk());
  EXPECT_EQ(rig->rectified.intrinsics, wanted);
  auto source = PairSource::Open(recording, &*rig, {.row_align = RowAlign::kOff});
  ASSERT_THAT(source, IsOk());
  // A pixel by the lens model: where it says the right eye saw what is at (400, 100).
  StereoFrame raw;
  const auto raw_source = OpenFrameSource(recording, {});
  ASSERT_THAT(raw_source, IsOk());
  ASSERT_TRUE(*(*raw_source)->Next(raw));
  AlignedPair pair;
  ASSERT_TRUE(*source->Next(pair));
  const Pixel place = RawPixelFromRectified(
      rig->raw.right, rig->rectified.R_rect_right, wanted, {.u_px = 400, .v_px = 100});
  const int x = static_cast<int>(place.u_px);
  const int y = static_cast<int>(place.v_px);
  const double fx = place.u_px - x;
  const double fy = place.v_px - y;
  const double want = (1 - fy) * ((1 - fx) * raw.right.at(x, y) + fx * raw.right.at(x + 1, y)) +
                      fy * ((1 - fx) * raw.right.at(x, y + 1) + fx * raw.right.at(x + 1, y + 1));
  EXPECT_NEAR(pair.right.at(400, 100), want, 4) << "within a 32nd of a pixel on a steep edge";
}

}  // namespace
}  // namespace droidflow

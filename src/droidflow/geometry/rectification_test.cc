#include "droidflow/geometry/rectification.h"

#include "droidflow/core/result_matchers.h"

#include <cmath>
#include <random>

namespace droidflow {
namespace {

using ::testing::HasSubstr;

constexpr RawEye kPlainEye{.fx_px = 500, .fy_px = 500, .cx_px = 320, .cy_px = 240, .lens = {}};

StereoPair PlainPair() {
  return {.left = kPlainEye,
          .right = kPlainEye,
          .R_right_left = Matrix3::Identity(),
          .t_right_left_m = {0.12, 0, 0},
          .width_px = 641,
          .height_px = 481};
}

// A ZED 2 whose lens polynomial, inverted, sends the border to infinity.
StereoPair Zed2() {
  return {.left = {532.025,
                   531.9,
                   637.95,
                   369.1295,
                   BrownConrady{-0.0662344, 0.0469027, 0.000165288, 0.000136806, -0.0193995}},
          .right = {534.39,
                    534.375,
                    641.53,
                    367.7455,
                    BrownConrady{-0.066068, 0.046036, -0.000269993, 0.000652307, -0.0187435}},
          .R_right_left = StereoRotationFromZed(0.00259768, -2.91526e-05, 0.000764227),
          .t_right_left_m = {0.120058, -0.0000961898, -0.000141731},
          .width_px = 1280,
          .height_px = 720};
}

StereoPair ZedMini() {
  return {.left = {772.715,
                   772.835,
                   647.49,
                   359.987,
                   KannalaBrandt{-0.0372089, 0.0248186, -0.0158436, 0.0114693}},
          .right = {773.025,
                    772.965,
                    641.275,
                    350.7095,
                    KannalaBrandt{-0.0362021, 0.0229324, -0.0128515, 0.00940548}},
          .R_right_left = StereoRotationFromZed(0.00250705, 0.00606374, -0.000396757),
          .t_right_left_m = {0.0628023, 0.0000350723, 0.000449896},
          .width_px = 1280,
          .height_px = 720};
}

// Number of rectified border pixels of both eyes that fall outside their raw image.
int CountOutside(const StereoPair& pair, const RectifiedPair& rectified, double focal_px) {
  Intrinsics intrinsics = rectified.intrinsics;
  intrinsics.fx_px = intrinsics.fy_px = focal_px;
  int outside = 0;
  for (int u = 0; u < pair.width_px; ++u) {
    for (int v = 0; v < pair.height_px; ++v) {
      const bool is_border = u == 0 || v == 0 || u == pair.width_px - 1 || v == pair.height_px - 1;
      if (!is_border) continue;
      for (const auto& [eye, rotation] : {std::pair{pair.left, rectified.R_rect_left},
                                          std::pair{pair.right, rectified.R_rect_right}}) {
        const Pixel raw = RawPixelFromRectified(
            eye, rotation, intrinsics, {static_cast<double>(u), static_cast<double>(v)});
        const bool is_inside = raw.u_px >= 0 && raw.u_px <= pair.width_px - 1 && raw.v_px >= 0 &&
                               raw.v_px <= pair.height_px - 1;
        outside += is_inside ? 0 : 1;
      }
    }
  }
  return outside;
}

TEST(Rectify, LeavesAnIdealPairAsItIs) {
  const Result<RectifiedPair> rectified = Rectify(PlainPair());
  ASSERT_THAT(rectified, IsOk());
  EXPECT_NEAR(rectified->intrinsics.fx_px, 500, 1e-9);
  EXPECT_EQ(rectified->intrinsics.fy_px, rectified->intrinsics.fx_px);
  EXPECT_EQ(rectified->intrinsics.cx_px, 320);
  EXPECT_EQ(rectified->intrinsics.cy_px, 240);
  EXPECT_EQ(rectified->intrinsics.width_px, 641);
  EXPECT_EQ(rectified->intrinsics.height_px, 481);
  EXPECT_EQ(rectified->R_rect_left, Matrix3::Identity());
  EXPECT_EQ(rectified->R_rect_right, Matrix3::Identity());
  EXPECT_EQ(rectified->baseline_m, 0.12);
}

TEST(Rectify, ZoomsUntilTheNarrowerSideFits) {
  // The left border is 310 px from the left eye's centre and 320 px from the rectified one.
  StereoPair pair = PlainPair();
  pair.left.cx_px = 310;
  pair.right.cx_px = 330;
  const Result<RectifiedPair> rectified = Rectify(pair);
  ASSERT_THAT(rectified, IsOk());
  EXPECT_EQ(rectified->intrinsics.cx_px, 320);
  EXPECT_NEAR(rectified->intrinsics.fx_px, 500 * 320.0 / 310, 1e-9);
}

TEST(Rectify, TakesTheLargerOfTwoFocalLengths) {
  StereoPair pair = PlainPair();
  pair.right.fy_px = 520;
  EXPECT_NEAR(Rectify(pair)->intrinsics.fx_px, 520, 1e-9);
}

TEST(Rectify, FindsTheSmallestFocalLengthWithNothingOutside) {
  for (const StereoPair& pair : {Zed2(), ZedMini()}) {
    const Result<RectifiedPair> rectified = Rectify(pair);
    ASSERT_THAT(rectified, IsOk());
    EXPECT_EQ(CountOutside(pair, *rectified, rectified->intrinsics.fx_px), 0);
    EXPECT_GT(CountOutside(pair, *rectified, rectified->intrinsics.fx_px * (1 - 1e-9)), 0);
  }
}

TEST(Rectify, GivesRealCamerasTheirFocalLengths) {
  EXPECT_NEAR(Rectify(Zed2())->intrinsics.fx_px, 524, 1);
  // The maker's software says 697.9, after estimating the rotation again.
  EXPECT_NEAR(Rectify(ZedMini())->intrinsics.fx_px, 697.9, 0.05 * 697.9);
}

// The law that rectification is for: both eyes see a point in the same row, a baseline apart.
TEST(Rectify, BringsBothEyesToTheSameRows) {
  std::mt19937_64 random(4);
  std::uniform_real_distribution<double> coordinate(-1, 1);
  StereoPair tilted = ZedMini();
  tilted.t_right_left_m = {-0.063, 0.004, -0.007};
  for (const StereoPair& pair : {Zed2(), ZedMini(), tilted}) {
    const Result<RectifiedPair> rectified = Rectify(pair);
    ASSERT_THAT(rectified, IsOk());
    EXPECT_TRUE(IsRotation(rectified->R_rect_left, 1e-14));
    EXPECT_TRUE(IsRotation(rectified->R_rect_right, 1e-14));
    for (int i = 0; i < 100; ++i) {
      const Vector3 p_left_m(coordinate(random), coordinate(random), 2 + coordinate(random));
      const Vector3 p_right_m = pair.R_right_left * p_left_m + pair.t_right_left_m;
      const Vector3 apart_m =
          rectified->R_rect_right * p_right_m - rectified->R_rect_left * p_left_m;
      EXPECT_NEAR(std::abs(apart_m.x()), rectified->baseline_m, 1e-14);
      EXPECT_NEAR(apart_m.y(), 0, 1e-14);
      EXPECT_NEAR(apart_m.z(), 0, 1e-14);
    }
  }
}

TEST(Rectify, TurnsEachEyeByHalfOfTheRotation) {
  StereoPair pair = PlainPair();
  pair.R_right_left =
      RotationX(0.02);  // about the baseline: nothing is left to turn after the halves
  const Result<RectifiedPair> rectified = Rectify(pair);
  ASSERT_THAT(rectified, IsOk());
  EXPECT_LT((rectified->R_rect_left - RotationX(0.01)).norm(), 1e-15);
  EXPECT_LT((rectified->R_rect_right - RotationX(-0.01)).norm(), 1e-15);
}

TEST(Rectify, DoesNotDependOnTheSignOfTheTranslation) {
  StereoPair pair = Zed2();
  const Result<RectifiedPair> positive = Rectify(pair);
  pair.t_right_left_m *= -1;
  const Result<RectifiedPair> negative = Rectify(pair);
  EXPECT_EQ(positive->intrinsics, negative->intrinsics);
  EXPECT_EQ(positive->R_rect_left, negative->R_rect_left);
}

TEST(Rectify, RefusesNumbersThatAreNoCamera) {
  StereoPair pair = PlainPair();
  pair.width_px = 0;
  EXPECT_THAT(Rectify(pair), FailsWith(ErrorKind::kInvalidData, HasSubstr("have 0x481")));
  pair.width_px = 2'000'000'000;
  EXPECT_THAT(Rectify(pair), FailsWith(ErrorKind::kInvalidData, HasSubstr("have 2000000000x481")));

  pair = PlainPair();
  pair.right.fy_px = std::nan("");
  EXPECT_THAT(
      Rectify(pair),
      FailsWith(ErrorKind::kInvalidData, HasSubstr("right eye: want positive fx fy cx cy")));

  pair = PlainPair();
  pair.R_right_left(0, 0) = -1;
  EXPECT_THAT(Rectify(pair), FailsWith(ErrorKind::kInvalidData, HasSubstr("is no rotation")));

  for (const Vector3& t_m : {Vector3(0, 0.12, 0), Vector3(0, 0, 0), Vector3(INFINITY, 0, 0)}) {
    pair = PlainPair();
    pair.t_right_left_m = t_m;
    EXPECT_THAT(Rectify(pair), FailsWith(ErrorKind::kInvalidData, HasSubstr("mostly along x")));
  }
}

TEST(Rectify, RefusesALensThatNoFocalLengthFits) {
  StereoPair bent_out = PlainPair();
  bent_out.left.lens = KannalaBrandt{.k1 = 50};
  StereoPair whole_half_space = PlainPair();  // pi/2 * 100 px: its image has room for every ray
  for (RawEye* eye : {&whole_half_space.left, &whole_half_space.right}) {
    eye->fx_px = eye->fy_px = 100;
    eye->lens = KannalaBrandt{};
  }
  EXPECT_THAT(Rectify(bent_out),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("have none from 250 to 1000 px")));
  EXPECT_THAT(Rectify(whole_half_space),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("have none from 50 to 200 px")));
}

TEST(RawPixelFromRectified, IsNanForARayThatTheEyeCannotSee) {
  const Pixel raw = RawPixelFromRectified(
      kPlainEye, RotationY(3.0), Rectify(PlainPair())->intrinsics, {320, 240});
  EXPECT_TRUE(std::isnan(raw.u_px));
  EXPECT_TRUE(std::isnan(raw.v_px));
}

}  // namespace
}  // namespace droidflow

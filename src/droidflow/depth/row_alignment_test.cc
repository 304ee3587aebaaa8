#include "droidflow/depth/row_alignment.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/depth/row_shifter.h"
#include "droidflow/geometry/rectification.h"
#include "droidflow/io/calibration_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Field;
using ::testing::Ge;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::SizeIs;

// ---- A scene whose every pixel is known --------------------------------------------------------

double NoiseAt(std::int64_t x, std::int64_t y, std::uint64_t seed) {
  std::uint64_t bits = static_cast<std::uint64_t>(x) * 0x9e3779b97f4a7c15U +
                       static_cast<std::uint64_t>(y) * 0xc2b2ae3d27d4eb4fU + seed;
  bits = (bits ^ (bits >> 31)) * 0xbf58476d1ce4e5b9U;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebU;
  return static_cast<double>(bits >> 40) / 16777216.0;
}

// Random values on a grid of whole numbers, smooth in between: 0 to 1.
double SmoothNoise(double x, double y, std::uint64_t seed) {
  const double left = std::floor(x);
  const double top = std::floor(y);
  const auto ease = [](double t) { return t * t * (3 - 2 * t); };
  const double right = ease(x - left);
  const double down = ease(y - top);
  const auto column = static_cast<std::int64_t>(left);
  const auto row = static_cast<std::int64_t>(top);
  return std::lerp(
      std::lerp(NoiseAt(column, row, seed), NoiseAt(column + 1, row, seed), right),
      std::lerp(NoiseAt(column, row + 1, seed), NoiseAt(column + 1, row + 1, seed), right),
      down);
}

double Texture(double x_m, double y_m, std::uint64_t seed) {
  return 20 + 120 * SmoothNoise(x_m / 0.022, y_m / 0.022, seed) +
         80 * SmoothNoise(x_m / 0.07, y_m / 0.07, seed + 1);
}

struct Hit {
  double z_m;
  double gray;
};

// A slanted wall and three boards before it, seen from `centre` along `ray`. All in the left eye's
// frame, metres.
Hit SceneAt(const Vector3& centre, const Vector3& ray) {
  struct Board {
    double left, right, top, bottom, z;
  };
  constexpr std::array<Board, 3> kBoards{{{-0.45, -0.2, -0.2, 0.1, 0.7},
                                          {0.1, 0.5, -0.45, -0.15, 0.95},
                                          {-0.1, 0.35, 0.1, 0.5, 1.15}}};
  for (std::size_t i = 0; i < kBoards.size(); ++i) {
    const Board& board = kBoards[i];
    const Vector3 p = centre + ray * ((board.z - centre.z()) / ray.z());
    if (p.x() > board.left && p.x() < board.right && p.y() > board.top && p.y() < board.bottom) {
      return {p.z(), Texture(p.x(), p.y(), 100 + i)};
    }
  }
  // The wall: z = 1.6 + 0.4 x - 0.2 y.
  const double distance = (1.6 + 0.4 * centre.x() - 0.2 * centre.y() - centre.z()) /
                          (ray.z() - 0.4 * ray.x() + 0.2 * ray.y());
  const Vector3 p = centre + ray * distance;
  return {p.z(), Texture(p.x(), p.y(), 7)};
}

// The ideal point that a lens shows at `seen`, step by step back along the distortion from a guess;
// nothing where the steps do not close in, as in the far corners of some lens polynomials.
std::optional<NormalisedPoint> Undistort(const LensModel& lens,
                                         NormalisedPoint seen,
                                         NormalisedPoint guess) {
  constexpr double kClose = 1e-5;  // a few thousandths of a pixel
  for (int step = 0; step < 20; ++step) {
    const NormalisedPoint shown = Distort(lens, guess);
    const double dx = seen.x - shown.x;
    const double dy = seen.y - shown.y;
    guess = {guess.x + dx, guess.y + dy};
    if (std::abs(dx) + std::abs(dy) < kClose) return guess;
  }
  return std::nullopt;
}

// What an eye at `centre` (left frame, metres) sees of the scene.
GrayImage Render(const RawEye& eye,
                 const Matrix3& R_left_eye,
                 const Vector3& centre,
                 int width_px,
                 int height_px) {
  GrayImage picture(width_px, height_px);
  // What the lens did to the pixel before, and how that changes: a good guess for the next.
  NormalisedPoint shift{};
  NormalisedPoint change{};
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) {
      const NormalisedPoint seen{(x - eye.cx_px) / eye.fx_px, (y - eye.cy_px) / eye.fy_px};
      const std::optional<NormalisedPoint> ideal =
          Undistort(eye.lens, seen, {seen.x + shift.x + change.x, seen.y + shift.y + change.y});
      if (!ideal.has_value()) {
        picture.at(x, y) = 0;
        shift = change = {};
        continue;
      }
      change = {ideal->x - seen.x - shift.x, ideal->y - seen.y - shift.y};
      shift = {ideal->x - seen.x, ideal->y - seen.y};
      const Vector3 ray = R_left_eye * Vector3(ideal->x, ideal->y, 1);
      picture.at(x, y) = static_cast<std::uint8_t>(std::lround(SceneAt(centre, ray).gray));
    }
  }
  return picture;
}

struct Pictures {
  GrayImage left;
  GrayImage right;
};

// The pair's raw pictures. Its maker's t has the sign that puts the right eye on the left.
Pictures RenderRaw(const StereoPair& pair) {
  const Matrix3 R_left_right = pair.R_right_left.transpose();
  return {Render(pair.left, Matrix3::Identity(), Vector3::Zero(), pair.width_px, pair.height_px),
          Render(pair.right,
                 R_left_right,
                 R_left_right * pair.t_right_left_m,
                 pair.width_px,
                 pair.height_px)};
}

Pictures RectifyPictures(const StereoPair& pair, const Pictures& raw, const RowOffset& row_offset) {
  const Result<RectifiedPair> rectified = Rectify(pair);
  Pictures pictures;
  Remapper::FromRawEye(
      pair.left, pair.width_px, pair.height_px, rectified->R_rect_left, rectified->intrinsics)
      .Apply(raw.left.view(), pictures.left);
  Remapper::FromRawEye(pair.right,
                       pair.width_px,
                       pair.height_px,
                       rectified->R_rect_right,
                       rectified->intrinsics,
                       row_offset)
      .Apply(raw.right.view(), pictures.right);
  return pictures;
}

constexpr CornerMatchOptions kOptions{.max_corners = 600, .max_disparity_px = 128};

std::vector<CornerMatch> Match(const Pictures& pictures) {
  return MatchCorners(pictures.left.view(), pictures.right.view(), kOptions);
}

double MedianAbsolute(std::vector<double> values) {
  for (double& value : values) value = std::abs(value);
  std::sort(values.begin(), values.end());
  return values.at(values.size() / 2);
}

template <typename Value>
double MedianAbsolute(const std::vector<CornerMatch>& matches, Value value) {
  std::vector<double> values;
  for (const CornerMatch& match : matches) values.push_back(value(match));
  return MedianAbsolute(values);
}

double MedianAbsoluteRowOffset(const std::vector<CornerMatch>& matches) {
  return MedianAbsolute(matches, [](const CornerMatch& match) { return match.row_offset_px; });
}

// ---- Raw pairs, rectified ----------------------------------------------------------------------

// Made up, of a ZED 2's and a ZED Mini's kind at 672x376, the eyes turned by half a degree.
StereoPair BrownPair() {
  return {.left = {265, 265.5, 333, 187, BrownConrady{-0.065, 0.046, 0.0002, 0.0001, -0.019}},
          .right = {267, 266.5, 339, 184, BrownConrady{-0.066, 0.045, -0.0003, 0.0006, -0.018}},
          .R_right_left = RotationFromVector({0.006, 0.008, -0.004}),
          .t_right_left_m = {0.12, 0.0004, -0.0006},
          .width_px = 672,
          .height_px = 376};
}

StereoPair FisheyePair() {
  return {.left = {360, 361, 334, 190, KannalaBrandt{-0.037, 0.025, -0.016, 0.011}},
          .right = {361, 360.5, 331, 186, KannalaBrandt{-0.036, 0.023, -0.013, 0.009}},
          .R_right_left = RotationFromVector({-0.005, 0.01, 0.003}),
          .t_right_left_m = {0.063, -0.0003, 0.0005},
          .width_px = 672,
          .height_px = 376};
}

void ExpectRowsAgreeUnlessTheRotationIsTransposed(const StereoPair& pair) {
  const Pictures raw = RenderRaw(pair);
  const std::vector<CornerMatch> matches = Match(RectifyPictures(pair, raw, {}));
  EXPECT_GT(matches.size(), 300U);
  EXPECT_LT(MedianAbsoluteRowOffset(matches), 0.05);
  StereoPair wrong = pair;
  wrong.R_right_left.transposeInPlace();
  const std::vector<CornerMatch> wrong_matches = Match(RectifyPictures(wrong, raw, {}));
  EXPECT_GT(wrong_matches.size(), 100U);
  EXPECT_GT(MedianAbsoluteRowOffset(wrong_matches), 1);
}

TEST(MatchCorners, SeesThatRectifiedRowsAgreeOfAnOrdinaryLens) {
  ExpectRowsAgreeUnlessTheRotationIsTransposed(BrownPair());
}

TEST(MatchCorners, SeesThatRectifiedRowsAgreeOfAWideLens) {
  ExpectRowsAgreeUnlessTheRotationIsTransposed(FisheyePair());
}

TEST(MatchCorners, SeesThatRectifiedRowsAgreeOfRealCalibrations) {
  DF_NEEDS_SHARED("data/zed_conf");
  for (const char* const serial : {"20540549", "13062452"}) {  // a ZED 2 and a ZED Mini
    SCOPED_TRACE(serial);
    const Result<ZedCalibration> calibration =
        ReadZedCalibration(SharedPath("data/zed_conf"), serial);
    ASSERT_THAT(calibration, IsOk());
    const Result<StereoPair> pair = StereoPairFor(*calibration, 672, 376);
    ASSERT_THAT(pair, IsOk());
    ExpectRowsAgreeUnlessTheRotationIsTransposed(*pair);
  }
}

TEST(MatchCorners, MeasuresAnErrorOfTheCalibrationThatARawMapTakesOut) {
  const StereoPair calibrated = BrownPair();
  StereoPair pair = calibrated;
  pair.right.cy_px += 1.5;
  const Pictures raw = RenderRaw(pair);
  const std::optional<RowAlignment> alignment =
      FitRowAlignment(Match(RectifyPictures(calibrated, raw, {})), 672, 376);
  ASSERT_TRUE(alignment.has_value());
  EXPECT_NEAR(alignment->median_abs_px, 1.5, 0.15);
  EXPECT_NEAR(alignment->fit.offset_px, 1.5, 0.15);
  // The lens stretches its border, so that the same error is larger there: a part that is not
  // linear stays.
  const RowOffset chosen = ChooseRowOffset(alignment, RowAlign::kAuto);
  EXPECT_LT(MedianAbsoluteRowOffset(Match(RectifyPictures(calibrated, raw, chosen))), 0.15);
}

// ---- Pairs without lenses, and offsets that are known ------------------------------------------

constexpr int kWidth_px = 641;
constexpr int kHeight_px = 361;
constexpr double kFocal_px = 300;
constexpr double kBaseline_m = 0.12;

Vector3 PlainRay(double x_px, double y_px) {
  return {(x_px - 320) / kFocal_px, (y_px - 180) / kFocal_px, 1};
}

// A rectified pair whose right rows lie `planted.At(x, y)` lower, for x of the *right* picture.
Pictures PlainPair(const RowOffset& planted) {
  Pictures pictures{GrayImage(kWidth_px, kHeight_px), GrayImage(kWidth_px, kHeight_px)};
  for (int y = 0; y < kHeight_px; ++y) {
    for (int x = 0; x < kWidth_px; ++x) {
      // Solved for the row r that is shown at y: r + offset + slope_x x + slope_y r = y.
      const double row_px = 180 + (y - 180 - planted.At(x - 320, 0)) / (1 + planted.slope_y);
      pictures.left.at(x, y) =
          static_cast<std::uint8_t>(std::lround(SceneAt(Vector3::Zero(), PlainRay(x, y)).gray));
      pictures.right.at(x, y) = static_cast<std::uint8_t>(
          std::lround(SceneAt({kBaseline_m, 0, 0}, PlainRay(x, row_px)).gray));
    }
  }
  return pictures;
}

constexpr std::array<RowOffset, 5> kPlanted{{{.offset_px = 0.5},
                                             {.offset_px = 1.5},
                                             {.offset_px = -3},
                                             {.offset_px = 0.4, .slope_x = 0.001},
                                             {.slope_x = -0.0005, .slope_y = 0.004}}};

TEST(MatchCorners, PlacesMatchesWithinATwentiethOfAPixel) {
  for (const RowOffset& planted : {kPlanted.front(), kPlanted.back()}) {
    SCOPED_TRACE(testing::Message() << planted.offset_px << ' ' << planted.slope_x);
    const std::vector<CornerMatch> matches = Match(PlainPair(planted));
    EXPECT_GT(matches.size(), 300U);
    EXPECT_LT(MedianAbsolute(matches,
                             [&](const CornerMatch& match) {
                               return match.row_offset_px -
                                      planted.At(match.x_px - match.disparity_px - 320,
                                                 match.y_px - 180);
                             }),
              0.05);
    EXPECT_LT(MedianAbsolute(matches,
                             [](const CornerMatch& match) {
                               const Hit hit =
                                   SceneAt(Vector3::Zero(), PlainRay(match.x_px, match.y_px));
                               return match.disparity_px - kFocal_px * kBaseline_m / hit.z_m;
                             }),
              0.05);
  }
}

TEST(FitRowAlignment, FindsAPlantedOffsetAndARemapperTakesItOut) {
  for (const RowOffset& planted : kPlanted) {
    SCOPED_TRACE(testing::Message() << planted.offset_px << ' ' << planted.slope_x);
    Pictures pictures = PlainPair(planted);
    const std::vector<CornerMatch> matches = Match(pictures);
    const std::optional<RowAlignment> alignment = FitRowAlignment(matches, kWidth_px, kHeight_px);
    ASSERT_TRUE(alignment.has_value());
    EXPECT_EQ(alignment->matches, static_cast<int>(matches.size()));
    EXPECT_NEAR(alignment->median_abs_px, MedianAbsoluteRowOffset(matches), 1e-12);
    EXPECT_LT(alignment->residual_px, 0.05);
    // Disparities are about 25 px: what is planted by the right picture's columns is found by the
    // left one's.
    EXPECT_NEAR(alignment->fit.offset_px, planted.offset_px - 25 * planted.slope_x, 0.05);
    EXPECT_NEAR(alignment->fit.slope_x, planted.slope_x, 0.05 / 320);
    EXPECT_NEAR(alignment->fit.slope_y, planted.slope_y, 0.05 / 180);

    const GrayImage uncorrected = std::move(pictures.right);
    pictures.right = GrayImage();
    RowShifter(kWidth_px, kHeight_px, alignment->fit).Apply(uncorrected.view(), pictures.right);
    EXPECT_LT(MedianAbsoluteRowOffset(Match(pictures)), 0.1);
  }
}

TEST(MatchCorners, DoesNotMindAnotherExposure) {
  Pictures pictures = PlainPair({.offset_px = 0.5});
  const std::vector<CornerMatch> matches = Match(pictures);
  for (int y = 0; y < kHeight_px; ++y) {
    for (int x = 0; x < kWidth_px; ++x) {
      std::uint8_t& value = pictures.right.at(x, y);
      value = static_cast<std::uint8_t>(std::lround(0.7 * value + 20));
    }
  }
  const std::vector<CornerMatch> darker = Match(pictures);
  EXPECT_GT(darker.size(), matches.size() * 9 / 10);
  EXPECT_NEAR(FitRowAlignment(darker, kWidth_px, kHeight_px)->fit.offset_px, 0.5, 0.02);
}

TEST(MatchCorners, StaysWithinTheLimitsAskedFor) {
  const Pictures pictures = PlainPair({.offset_px = 3});
  const std::vector<CornerMatch> few =
      MatchCorners(pictures.left.view(),
                   pictures.right.view(),
                   {.max_corners = 50, .max_disparity_px = 30, .max_row_offset_px = 4});
  EXPECT_THAT(few, SizeIs(AllOf(Ge(20U), Le(50U))));
  EXPECT_THAT(few, Each(Field(&CornerMatch::disparity_px, AllOf(Ge(-4), Le(30)))));
  EXPECT_THAT(few, Each(Field(&CornerMatch::row_offset_px, AllOf(Ge(-4), Le(4)))));
  EXPECT_THAT(MatchCorners(pictures.left.view(),
                           pictures.right.view(),
                           {.max_corners = 600, .max_disparity_px = 128, .max_row_offset_px = 1}),
              SizeIs(Le(10U)));
}

TEST(MatchCorners, FindsNothingInAPlainWallOrAPattern) {
  Pictures pictures{GrayImage(320, 240), GrayImage(320, 240)};
  const auto fill = [&](auto value) {
    for (int y = 0; y < 240; ++y) {
      for (int x = 0; x < 320; ++x) {
        pictures.left.at(x, y) = pictures.right.at(x, y) = static_cast<std::uint8_t>(value(x, y));
      }
    }
  };
  fill([](int, int) { return 128; });
  EXPECT_THAT(Match(pictures), IsEmpty());
  fill([](int x, int y) { return (x / 10 + y / 10) % 2 == 0 ? 60 : 190; });
  EXPECT_THAT(Match(pictures), IsEmpty());
}

TEST(MatchCorners, FindsNothingInPicturesOfDifferentScenes) {
  Pictures pictures = PlainPair({});
  std::mt19937 random(1);
  for (int y = 0; y < kHeight_px; ++y) {
    for (int x = 0; x < kWidth_px; ++x) {
      pictures.right.at(x, y) = static_cast<std::uint8_t>(random() % 256);
    }
  }
  EXPECT_THAT(Match(pictures), IsEmpty());
}

TEST(MatchCorners, FindsNothingInPicturesTooSmallForAWindow) {
  for (const int side_px : {0, 1, 2, 13, 26}) {
    GrayImage picture(side_px, side_px);
    std::mt19937 random(2);
    for (int y = 0; y < side_px; ++y) {
      for (int x = 0; x < side_px; ++x) {
        picture.at(x, y) = static_cast<std::uint8_t>(random() % 256);
      }
    }
    EXPECT_THAT(MatchCorners(picture.view(), picture.view(), kOptions), IsEmpty()) << side_px;
  }
}

// ---- The fit alone -----------------------------------------------------------------------------

// Matches at random places of 1280x720 whose offsets are `truth`'s with a little noise.
std::vector<CornerMatch> NoisyMatches(std::size_t count, const RowOffset& truth) {
  std::mt19937 random(3);
  std::vector<CornerMatch> matches;
  for (std::size_t i = 0; i < count; ++i) {
    const double x_px = static_cast<double>(random() % 1280);
    const double y_px = static_cast<double>(random() % 720);
    // Between -0.1 and 0.1, in 201 steps.
    const double noise_px = (static_cast<double>(random() % 201) - 100) / 1000;
    matches.push_back({.x_px = x_px,
                       .y_px = y_px,
                       .disparity_px = 40,
                       .row_offset_px = truth.At(x_px - 639.5, y_px - 359.5) + noise_px});
  }
  return matches;
}

TEST(FitRowAlignment, SolvesOffsetsWithoutNoiseExactly) {
  // Every place of a grid, offset 1 + 0.002 x - 0.004 y from the centre.
  std::vector<CornerMatch> matches;
  for (int y = 0; y < 361; y += 20) {
    for (int x = 0; x < 641; x += 20) {
      matches.push_back({.x_px = static_cast<double>(x),
                         .y_px = static_cast<double>(y),
                         .row_offset_px = 1 + 0.002 * (x - 320) - 0.004 * (y - 180)});
    }
  }
  const std::optional<RowAlignment> alignment = FitRowAlignment(matches, 641, 361);
  ASSERT_TRUE(alignment.has_value());
  EXPECT_NEAR(alignment->fit.offset_px, 1, 1e-9);
  EXPECT_NEAR(alignment->fit.slope_x, 0.002, 1e-9);
  EXPECT_NEAR(alignment->fit.slope_y, -0.004, 1e-9);
  EXPECT_NEAR(alignment->residual_px, 0, 1e-9);
}

TEST(FitRowAlignment, DoesNotMindThirtyPercentOutliers) {
  constexpr RowOffset kTruth{.offset_px = 0.8, .slope_x = 0.001, .slope_y = -0.002};
  std::vector<CornerMatch> matches = NoisyMatches(1000, kTruth);
  for (std::size_t i = 0; i < 300; ++i) {
    matches[i].row_offset_px = 1.5 + 0.015 * static_cast<double>(i);  // one side: 1.5 to 6 px
  }
  const std::optional<RowAlignment> alignment = FitRowAlignment(matches, 1280, 720);
  ASSERT_TRUE(alignment.has_value());
  EXPECT_NEAR(alignment->fit.offset_px, kTruth.offset_px, 0.02);
  EXPECT_NEAR(alignment->fit.slope_x, kTruth.slope_x, 0.02 / 640);
  EXPECT_NEAR(alignment->fit.slope_y, kTruth.slope_y, 0.02 / 360);
}

TEST(FitRowAlignment, FitsNoSlopesToFewMatchesOrToOnePartOfThePicture) {
  constexpr RowOffset kTruth{.offset_px = 1, .slope_x = 0.0002};
  const std::optional<RowAlignment> few = FitRowAlignment(NoisyMatches(60, kTruth), 1280, 720);
  ASSERT_TRUE(few.has_value());
  EXPECT_EQ(few->fit.slope_x, 0);
  EXPECT_EQ(few->fit.slope_y, 0);
  EXPECT_NEAR(few->fit.offset_px, 1, 0.05);
  std::vector<CornerMatch> near = NoisyMatches(600, {.offset_px = 1});
  for (CornerMatch& match : near) match.y_px = 300 + match.y_px / 8;
  const std::optional<RowAlignment> one_part = FitRowAlignment(near, 1280, 720);
  ASSERT_TRUE(one_part.has_value());
  EXPECT_EQ(one_part->fit.slope_x, 0);
  EXPECT_EQ(one_part->fit.slope_y, 0);
  EXPECT_NEAR(one_part->fit.offset_px, 1, 0.02);
}

TEST(FitRowAlignment, GivesNothingForFewerThanThirtyMatches) {
  EXPECT_FALSE(FitRowAlignment({}, 1280, 720).has_value());
  EXPECT_FALSE(FitRowAlignment(NoisyMatches(29, {}), 1280, 720).has_value());
  EXPECT_TRUE(FitRowAlignment(NoisyMatches(30, {}), 1280, 720).has_value());
}

TEST(ChooseRowOffset, TakesTheFitAboveTheThresholdOnly) {
  constexpr RowOffset kFit{.offset_px = 0.2, .slope_x = 0.001, .slope_y = 0.002};
  RowAlignment alignment{.matches = 100, .median_abs_px = 0.16, .fit = kFit, .residual_px = 0.02};
  EXPECT_EQ(ChooseRowOffset(alignment, RowAlign::kAuto), kFit);
  EXPECT_EQ(ChooseRowOffset(alignment, RowAlign::kOff), RowOffset{});
  alignment.median_abs_px = 0.15;
  EXPECT_EQ(ChooseRowOffset(alignment, RowAlign::kAuto), RowOffset{});
  EXPECT_EQ(ChooseRowOffset(std::nullopt, RowAlign::kAuto), RowOffset{});
}

TEST(RowAlign, HasNames) {
  EXPECT_EQ(ToString(RowAlign::kAuto), "auto");
  EXPECT_EQ(ToString(RowAlign::kOff), "off");
}

}  // namespace
}  // namespace droidflow

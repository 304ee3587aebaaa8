#include "droidflow/pipeline/synth_scene.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/tracks/contact_pad.h"
#include "droidflow/tracks/contact_track.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

using DepthImage = Image<std::uint16_t>;

constexpr double kPi = std::numbers::pi;
constexpr double kBaseline_m = 0.12;
constexpr Intrinsics kCamera{
    .fx_px = 262, .fy_px = 262, .cx_px = 321.5, .cy_px = 178, .width_px = 640, .height_px = 360};

// A gripper that hangs over the middle of the table.
SynthHand HandAbove(double gripper_position) {
  return {TransformFromPoseVector({0.5, 0.05, 0.3, kPi, 0.05, 0.2}), gripper_position};
}

// A camera to the robot's left that sees the table, the things on it and the gripper: one that
// looks along base x, turned to the right and down.
Transform ExternalPose() {
  Matrix3 R_base_forward;
  R_base_forward << 0, 0, 1, -1, 0, 0, 0, -1, 0;
  return MakeTransform(RotationZ(-1.15) * R_base_forward * RotationX(-0.4), {0.2, 0.65, 0.45});
}

// A camera beside the flange that looks along the fingers.
Transform WristPose(const SynthHand& hand) {
  return hand.T_base_ee *
         MakeTransform(RotationZ(kPi / 2) * RotationX(-0.3), Vector3(0.07, 0.029, 0.02));
}

RgbImage Picture(const SynthScene& scene,
                 SynthEye eye,
                 const SynthHand& hand,
                 const Transform& T_base_rect,
                 std::optional<std::uint64_t> noise_seed = std::nullopt) {
  RgbImage picture;
  SynthView(scene, std::move(eye)).Render(hand, T_base_rect, noise_seed, picture);
  return picture;
}

DepthImage Depth(const SynthScene& scene,
                 const Intrinsics& intrinsics,
                 const SynthHand& hand,
                 const Transform& T_base_rect) {
  DepthImage depth_mm;
  SynthView(scene, SynthEye::Rectified(intrinsics, 0)).RenderDepth(hand, T_base_rect, depth_mm);
  return depth_mm;
}

// Brightness as video has it (BT.601).
double Gray(const Rgb& colour) { return 0.299 * colour.r + 0.587 * colour.g + 0.114 * colour.b; }

std::vector<double> Grays(const RgbImage& picture) {
  std::vector<double> grays;
  for (int y = 0; y < picture.height_px(); ++y) {
    for (int x = 0; x < picture.width_px(); ++x) grays.push_back(Gray(picture.at(x, y)));
  }
  return grays;
}

// The value that `share` of all are below.
double Quantile(std::vector<double> values, double share) {
  DF_CHECK(!values.empty(), "no values");
  const auto middle =
      values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

bool AreEqual(const RgbImage& a, const RgbImage& b) {
  for (int y = 0; y < a.height_px(); ++y) {
    if (!std::equal(a.row(y), a.row(y) + a.width_px(), b.row(y))) return false;
  }
  return true;
}

TEST(SynthScene, PutsFiveToEightThingsOnTheTableBeforeTheRobot) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const SynthScene scene = SynthScene::Make(seed);
    int things = 0;
    for (const SynthSolid& solid : scene.still()) {
      const Vector3 middle_m = solid.T_base_solid.translation();
      const bool is_reachable =
          middle_m.x() > 0.3 && middle_m.x() < 0.7 && std::abs(middle_m.y()) < 0.3;
      const double bottom_m = middle_m.z() - solid.half_m.z();
      things += is_reachable && std::abs(bottom_m - SynthScene::kTable_m) < 1e-12 ? 1 : 0;
    }
    EXPECT_GE(things, 5) << "seed " << seed;
    EXPECT_LE(things, 8) << "seed " << seed;
  }
}

TEST(SynthView, MeasuresTheTableFromStraightAboveAsTheCamerasHeight) {
  // Half a metre above a corner of the table where nothing stands.
  const Transform T_base_rect = MakeTransform(RotationX(kPi), {0.6, 0.58, 0.5});
  Intrinsics intrinsics = kCamera;
  intrinsics.width_px = 101;  // no whole number of tiles
  intrinsics.height_px = 67;
  intrinsics.cx_px = 50;
  intrinsics.cy_px = 33;
  const DepthImage depth_mm = Depth(SynthScene::Make(1), intrinsics, HandAbove(0), T_base_rect);
  for (int v = 0; v < 67; ++v) {
    for (int u = 0; u < 101; ++u) ASSERT_EQ(depth_mm.at(u, v), 500) << u << ", " << v;
  }
}

TEST(SynthView, MeasuresTheTableAslantAsWorkedByHand) {
  // Turned by half a radian about its x axis, the camera's ray (x, y, 1) sinks by cos 0.5 + y sin
  // 0.5 for each metre of depth.
  constexpr double kHeight_m = 0.4;
  const Transform T_base_rect = MakeTransform(RotationX(kPi + 0.5), {0.55, 0.45, kHeight_m});
  Intrinsics intrinsics = kCamera;
  intrinsics.width_px = 80;
  intrinsics.height_px = 90;
  intrinsics.cx_px = 40;
  intrinsics.cy_px = 45;
  const DepthImage depth_mm = Depth(SynthScene::Make(2), intrinsics, HandAbove(0), T_base_rect);
  for (int v = 0; v < 90; ++v) {
    const double y = (v - 45) / 262.0;
    const double want_mm = 1000 * kHeight_m / (std::cos(0.5) + y * std::sin(0.5));
    for (int u = 0; u < 80; ++u) ASSERT_NEAR(depth_mm.at(u, v), want_mm, 0.51) << u << ", " << v;
  }
}

TEST(SynthView, SeesSomethingAlongEveryRay) {
  const SynthScene scene = SynthScene::Make(3);
  const SynthHand hand = HandAbove(0.5);
  for (const Transform& T_base_rect : {ExternalPose(), WristPose(hand)}) {
    const DepthImage depth_mm = Depth(scene, kCamera, hand, T_base_rect);
    for (int y = 0; y < depth_mm.height_px(); ++y) {
      for (int x = 0; x < depth_mm.width_px(); ++x) ASSERT_GT(depth_mm.at(x, y), 0) << x << y;
    }
  }
}

// What a point of the left picture is found displaced by in the right one: the block that differs
// least, by a parabola between whole pixels.
double MatchedDisparity(const RgbImage& left, const RgbImage& right, int x, int y, int max_px) {
  constexpr int kRadius_px = 5;
  std::vector<double> costs;
  for (int d = 0; d <= max_px; ++d) {
    double cost = 0;
    for (int v = y - kRadius_px; v <= y + kRadius_px; ++v) {
      for (int u = x - kRadius_px; u <= x + kRadius_px; ++u) {
        const double difference = Gray(left.at(u, v)) - Gray(right.at(u - d, v));
        cost += difference * difference;
      }
    }
    costs.push_back(cost);
  }
  const auto best = std::min_element(costs.begin() + 1, costs.end() - 1);
  const double curve = best[-1] - 2 * best[0] + best[1];
  return static_cast<double>(best - costs.begin()) + 0.5 * (best[-1] - best[1]) / curve;
}

TEST(SynthView, ShowsBothEyesTheDisparityOfTheDepth) {
  const SynthScene scene = SynthScene::Make(4);
  const SynthHand hand = HandAbove(0.1);
  const Transform T_base_rect = ExternalPose();
  const RgbImage left = Picture(scene, SynthEye::Rectified(kCamera, 0), hand, T_base_rect, 1);
  const RgbImage right =
      Picture(scene, SynthEye::Rectified(kCamera, kBaseline_m), hand, T_base_rect, 2);
  const DepthImage depth_mm = Depth(scene, kCamera, hand, T_base_rect);

  std::vector<double> errors_px;
  constexpr int kMaxDisparity_px = 100;
  for (int y = 10; y < 350; y += 17) {
    for (int x = kMaxDisparity_px + 10; x < 630; x += 23) {
      const double want_px = kCamera.fx_px * kBaseline_m / (depth_mm.at(x, y) * 1e-3);
      errors_px.push_back(
          std::abs(MatchedDisparity(left, right, x, y, kMaxDisparity_px) - want_px));
    }
  }
  EXPECT_LT(Quantile(errors_px, 0.5), 0.15);
  EXPECT_LT(Quantile(errors_px, 0.75), 0.4);  // the rest: edges, and what one eye does not see
}

TEST(SynthView, ShowsTheFingersWhereTheContactTracksAre) {
  const SynthScene scene = SynthScene::Make(5);
  for (const double gripper_position : {0.0, 0.4}) {
    const SynthHand hand = HandAbove(gripper_position);
    const auto pad = PadGridPoints(kDefaultPadPoints);
    ASSERT_THAT(pad, IsOk());
    const ContactTrack track({&hand.T_base_ee, 1}, {&gripper_position, 1}, GripperModel{}, *pad);
    std::vector<double> xyz_m(3 * track.point_count());
    track.PointsAt(0, xyz_m);

    const Transform T_base_rect = WristPose(hand);
    const DepthImage depth_mm = Depth(scene, kCamera, hand, T_base_rect);
    int on_surface = 0;
    int before_surface = 0;
    for (std::size_t i = 0; i < track.point_count(); ++i) {
      const Vector3 point_m =
          T_base_rect.inverse() * Vector3(xyz_m[3 * i], xyz_m[3 * i + 1], xyz_m[3 * i + 2]);
      const Pixel pixel = ProjectPoint(kCamera, point_m, 0.01);
      const auto u = static_cast<int>(std::lround(pixel.u_px));
      const auto v = static_cast<int>(std::lround(pixel.v_px));
      ASSERT_TRUE(u >= 0 && u < 640 && v >= 0 && v < 360) << u << ", " << v;
      const double behind_mm = 1000 * point_m.z() - depth_mm.at(u, v);
      on_surface += std::abs(behind_mm) < 3 ? 1 : 0;
      before_surface += behind_mm < -3 ? 1 : 0;
    }
    // One pad looks at the camera; of the other and of what the palm hides, nothing lies before
    // the finger, but for pixels that straddle an edge.
    EXPECT_GT(on_surface, 350) << gripper_position;
    EXPECT_LT(before_surface, 48) << gripper_position;
  }
}

TEST(SynthView, MovesNothingButTheHandWhenTheHandMoves) {
  const SynthScene scene = SynthScene::Make(6);
  const Transform T_base_rect = ExternalPose();
  SynthHand moved = HandAbove(0.9);
  moved.T_base_ee.translation().y() += 0.1;
  SynthView view(scene, SynthEye::Rectified(kCamera, 0));
  RgbImage picture;
  DepthImage depth_mm;
  view.Render(HandAbove(0), T_base_rect, std::nullopt, picture);
  view.RenderDepth(moved, WristPose(moved), depth_mm);
  view.Render(moved, T_base_rect, std::nullopt, picture);
  // What the view has seen before leaves no trace.
  EXPECT_TRUE(
      AreEqual(picture, Picture(scene, SynthEye::Rectified(kCamera, 0), moved, T_base_rect)));

  const RgbImage before =
      Picture(scene, SynthEye::Rectified(kCamera, 0), HandAbove(0), T_base_rect);
  int changed = 0;
  for (int y = 0; y < 360; ++y) {
    for (int x = 0; x < 640; ++x) changed += picture.at(x, y) == before.at(x, y) ? 0 : 1;
  }
  EXPECT_GT(changed, 2000);
  EXPECT_LT(changed, 640 * 360 / 4);
}

TEST(SynthView, RepeatsASceneToTheByte) {
  const auto picture = [](std::uint64_t seed, std::uint64_t noise_seed) {
    return Picture(SynthScene::Make(seed),
                   SynthEye::Rectified(kCamera, 0),
                   HandAbove(0.3),
                   ExternalPose(),
                   noise_seed);
  };
  const RgbImage first = picture(7, 70);
  EXPECT_TRUE(AreEqual(first, picture(7, 70)));
  EXPECT_FALSE(AreEqual(first, picture(8, 70)));
  EXPECT_FALSE(AreEqual(first, picture(7, 71)));
}

TEST(SynthView, AddsNoiseOfOneLevel) {
  const SynthScene scene = SynthScene::Make(9);
  const RgbImage clean =
      Picture(scene, SynthEye::Rectified(kCamera, 0), HandAbove(0), ExternalPose());
  const RgbImage noisy =
      Picture(scene, SynthEye::Rectified(kCamera, 0), HandAbove(0), ExternalPose(), 90);
  double sum = 0;
  double squares = 0;
  double products = 0;  // of neighbours
  int count = 0;
  for (int y = 0; y < 360; ++y) {
    for (int x = 1; x < 640; ++x) {
      const auto noise = [&](int u) { return int{noisy.at(u, y).g} - int{clean.at(u, y).g}; };
      if (clean.at(x, y).g < 10 || clean.at(x, y).g > 245) continue;
      sum += noise(x);
      squares += noise(x) * noise(x);
      products += noise(x) * noise(x - 1);
      ++count;
    }
  }
  EXPECT_NEAR(sum / count, 0, 0.02);
  EXPECT_NEAR(std::sqrt(squares / count), 1, 0.1);
  EXPECT_NEAR(products / count, 0, 0.02);
}

TEST(SynthView, FillsTheRangeOfBrightnessWithLocalContrast) {
  const SynthScene scene = SynthScene::Make(10);
  const SynthHand hand = HandAbove(0.2);
  for (const Transform& T_base_rect : {ExternalPose(), WristPose(hand)}) {
    const RgbImage picture = Picture(scene, SynthEye::Rectified(kCamera, 0), hand, T_base_rect);
    const std::vector<double> grays = Grays(picture);
    EXPECT_LT(Quantile(grays, 0.005), 40);
    EXPECT_GT(Quantile(grays, 0.995), 190);

    int windows = 0;
    int contrasty = 0;
    for (int y = 5; y < 355; y += 5) {
      for (int x = 5; x < 635; x += 5) {
        double sum = 0;
        double squares = 0;
        for (int v = y - 5; v <= y + 5; ++v) {
          for (int u = x - 5; u <= x + 5; ++u) {
            const double gray = Gray(picture.at(u, v));
            sum += gray;
            squares += gray * gray;
          }
        }
        ++windows;
        contrasty += squares / 121 - (sum / 121) * (sum / 121) >= 5 * 5 ? 1 : 0;
      }
    }
    EXPECT_GE(contrasty, 0.95 * windows);
  }
}

// Real cameras' numbers at half their size, and a turn between the eyes large enough to see.
StereoPair BrownPair() {
  return {.left = {266.0125,
                   265.95,
                   318.975,
                   184.56475,
                   BrownConrady{-0.0662344, 0.0469027, 0.000165288, 0.000136806, -0.0193995}},
          .right = {267.195,
                    267.1875,
                    320.765,
                    183.87275,
                    BrownConrady{-0.066068, 0.046036, -0.000269993, 0.000652307, -0.0187435}},
          .R_right_left = StereoRotationFromZed(0.0126, -0.009, 0.0076),
          .t_right_left_m = {0.120058, -0.0000961898, -0.000141731},
          .width_px = 640,
          .height_px = 360};
}

StereoPair KannalaBrandtPair() {
  return {.left = {386.3575,
                   386.4175,
                   323.745,
                   179.9935,
                   KannalaBrandt{-0.0372089, 0.0248186, -0.0158436, 0.0114693}},
          .right = {386.5125,
                    386.4825,
                    320.6375,
                    175.35475,
                    KannalaBrandt{-0.0362021, 0.0229324, -0.0128515, 0.00940548}},
          .R_right_left = StereoRotationFromZed(0.0125, 0.012, -0.008),
          .t_right_left_m = {-0.0628023, 0.0000350723, 0.000449896},  // the other sign
          .width_px = 640,
          .height_px = 360};
}

TEST(SynthEye, InvertsTheLens) {
  for (const StereoPair& pair : {BrownPair(), KannalaBrandtPair()}) {
    const auto rectified = Rectify(pair);
    ASSERT_THAT(rectified, IsOk());
    const RawEye& raw = pair.right;
    const SynthEye eye = SynthEye::Raw(raw, rectified->R_rect_right, 640, 360, 0.1);
    int without_ray = 0;
    double worst_px = 0;
    for (int v = 0; v < 360; ++v) {
      for (int u = 0; u < 640; ++u) {
        const SynthEye::Ray ray = eye.rays().at(u, v);
        if (std::isnan(ray.x)) {
          ++without_ray;
          continue;
        }
        const Vector3 v_eye = rectified->R_rect_right.transpose() * Vector3(ray.x, ray.y, 1);
        const NormalisedPoint seen =
            Distort(raw.lens, {v_eye.x() / v_eye.z(), v_eye.y() / v_eye.z()});
        worst_px = std::max({worst_px,
                             std::abs(raw.fx_px * seen.x + raw.cx_px - u),
                             std::abs(raw.fy_px * seen.y + raw.cy_px - v)});
      }
    }
    EXPECT_LT(worst_px, 1e-4);  // rays are single precision
    EXPECT_LT(without_ray, 0.02 * 640 * 360);
  }
}

TEST(SynthEye, HasNoRaysBeyondTheFoldOfTheLens) {
  // x (1 - 0.1 x^2) is largest at x = sqrt(10 / 3), where it is 2/3 of that: 1.217.
  const RawEye raw{
      .fx_px = 100, .fy_px = 100, .cx_px = 140, .cy_px = 100, .lens = BrownConrady{.k1 = -0.1}};
  SynthEye eye = SynthEye::Raw(raw, Matrix3::Identity(), 281, 201, 0);
  Image<std::uint8_t> has_ray(281, 201);
  for (int v = 0; v < 201; ++v) {
    for (int u = 0; u < 281; ++u) {
      const double radius_px = std::hypot(u - 140, v - 100);
      has_ray.at(u, v) = std::isnan(eye.rays().at(u, v).x) ? 0 : 1;
      const bool is_at_fold = radius_px > 119 && radius_px < 122;
      EXPECT_TRUE(is_at_fold || (has_ray.at(u, v) == 1) == (radius_px < 120)) << u << ", " << v;
    }
  }
  const SynthScene scene = SynthScene::Make(11);
  SynthView view(scene, std::move(eye));
  RgbImage picture;
  DepthImage depth_mm;
  view.Render(HandAbove(0), ExternalPose(), std::nullopt, picture);
  view.RenderDepth(HandAbove(0), ExternalPose(), depth_mm);
  for (int v = 0; v < 201; ++v) {
    for (int u = 0; u < 281; ++u) {
      EXPECT_EQ(depth_mm.at(u, v) != 0, has_ray.at(u, v) != 0) << u << ", " << v;
      EXPECT_TRUE(has_ray.at(u, v) == 1 || picture.at(u, v) == Rgb{}) << u << ", " << v;
    }
  }
}

// Median difference between a rectified picture and a raw one resampled to it, of which the
// rectified one is displaced by `shift_px` rows and columns.
double MedianDifference(const RgbImage& rectified,
                        const RgbImage& raw,
                        const RawEye& eye,
                        const Matrix3& R_rect_eye,
                        const Intrinsics& intrinsics,
                        double shift_px) {
  std::vector<double> differences;
  for (int v = 1; v < intrinsics.height_px - 1; v += 3) {
    for (int u = 1; u < intrinsics.width_px - 1; u += 2) {
      const Pixel place =
          RawPixelFromRectified(eye, R_rect_eye, intrinsics, {u + shift_px, v + shift_px});
      const int x = std::clamp(static_cast<int>(std::floor(place.u_px)), 0, raw.width_px() - 2);
      const int y = std::clamp(static_cast<int>(std::floor(place.v_px)), 0, raw.height_px() - 2);
      const double right = place.u_px - x;
      const double low = place.v_px - y;
      const double resampled =
          (1 - low) * ((1 - right) * Gray(raw.at(x, y)) + right * Gray(raw.at(x + 1, y))) +
          low * ((1 - right) * Gray(raw.at(x, y + 1)) + right * Gray(raw.at(x + 1, y + 1)));
      differences.push_back(std::abs(resampled - Gray(rectified.at(u, v))));
    }
  }
  return Quantile(std::move(differences), 0.5);
}

TEST(SynthEye, RectifiedRawPicturesAreThoseOfTheRectifiedCamera) {
  const SynthScene scene = SynthScene::Make(12);
  const SynthHand hand = HandAbove(0.2);
  const Transform T_base_rect = ExternalPose();
  for (const StereoPair& pair : {BrownPair(), KannalaBrandtPair()}) {
    const auto rectified = Rectify(pair);
    ASSERT_THAT(rectified, IsOk());
    const Intrinsics& intrinsics = rectified->intrinsics;
    for (const bool is_right : {false, true}) {
      const RawEye& eye = is_right ? pair.right : pair.left;
      const Matrix3& R_rect_eye = is_right ? rectified->R_rect_right : rectified->R_rect_left;
      const double x_m = is_right ? rectified->baseline_m : 0;
      const RgbImage want = Picture(scene, SynthEye::Rectified(intrinsics, x_m), hand, T_base_rect);
      const RgbImage raw =
          Picture(scene, SynthEye::Raw(eye, R_rect_eye, 640, 360, x_m), hand, T_base_rect);
      const auto difference = [&](double shift_px) {
        return MedianDifference(want, raw, eye, R_rect_eye, intrinsics, shift_px);
      };
      const double aligned = difference(0);
      EXPECT_LT(aligned, 4);
      // A quarter of a pixel off would be seen.
      EXPECT_LT(aligned, difference(0.25));
      EXPECT_LT(aligned, difference(-0.25));
    }
  }
}

TEST(SynthEye, LooksAlongTheRawEyesAxisFromWhereItStands) {
  StereoPair pair = KannalaBrandtPair();
  pair.right.cx_px = 320;
  pair.right.cy_px = 175;
  const auto rectified = Rectify(pair);
  ASSERT_THAT(rectified, IsOk());
  const SynthEye eye =
      SynthEye::Raw(pair.right, rectified->R_rect_right, 640, 360, rectified->baseline_m);
  // The pair's own numbers: seen from the left eye, the right one is at -R^T t, and its z axis is
  // the third row of R.
  const Vector3 p_left_right = -(pair.R_right_left.transpose() * pair.t_right_left_m);
  const Vector3 z_left = pair.R_right_left.row(2);
  const Vector3 p_rect_right = rectified->R_rect_left * p_left_right;
  const Vector3 z_rect = rectified->R_rect_left * z_left;
  EXPECT_LT((p_rect_right - Vector3(eye.x_m(), 0, 0)).norm(), 1e-12);
  EXPECT_NEAR(eye.rays().at(320, 175).x, z_rect.x() / z_rect.z(), 1e-6);
  EXPECT_NEAR(eye.rays().at(320, 175).y, z_rect.y() / z_rect.z(), 1e-6);
}

}  // namespace
}  // namespace droidflow

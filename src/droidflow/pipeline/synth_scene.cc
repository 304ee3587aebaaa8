#include "droidflow/pipeline/synth_scene.h"

#include "droidflow/core/check.h"
#include "droidflow/pipeline/synth_random.h"
#include "droidflow/tracks/contact_pad.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numbers>
#include <utility>

namespace droidflow {
namespace {

// Full-period mixers of integers. Source: C. Wellons, "Prospecting for hash functions" (lowbias32);
// Steele et al. 2014, "Fast splittable pseudorandom number generators" (SplitMix64).
std::uint32_t Mix(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352dU;
  x = (x ^ (x >> 15)) * 0x846ca68bU;
  return x ^ (x >> 16);
}

std::uint64_t Mix64(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

// Logarithm to base 2, at most 0.09 too small; the same bits everywhere. x > 0.
float RoughLog2(float x) {
  return static_cast<float>(std::bit_cast<std::int32_t>(x)) * 0x1p-23F - 127;
}

}  // namespace

/// Unit     1/256 texels, from the middle of texel (0, 0); the texture repeats every kSide texels.
class SynthTexture {
 public:
  static constexpr int kSide = 1024;
  static constexpr int kBits = 8;
  static constexpr int kOne = 1 << kBits;
  static constexpr float kTexel_m = 0.0007F;

  explicit SynthTexture(std::uint32_t seed);

  /// The texture's value averaged over about 2^level texels, 0 … 255 * kOne.
  ///
  /// @param level  in 1/256; what is too little or too much becomes the least and the most.
  [[nodiscard]] int At(int u, int v, int level) const {
    level = std::clamp(level, 0, (kLevels - 1) * kOne - 1);
    const int finer = AtLevel(u, v, level / kOne);
    return finer + (AtLevel(u, v, level / kOne + 1) - finer) * (level % kOne) / kOne;
  }

  /// The same at a whole level, 0 … 7.
  [[nodiscard]] int AtLevel(int u, int v, int level) const {
    // Texel i of a level covers the texels 2^level i … of the finest: its middle lies further in.
    const int x = ((u + kOne / 2) >> level) - kOne / 2;
    const int y = ((v + kOne / 2) >> level) - kOne / 2;
    const int x_weight = x & (kOne - 1);
    const int y_weight = y & (kOne - 1);
    const std::ptrdiff_t side = kSide >> level;
    const auto mask = static_cast<int>(side) - 1;
    const int left = (x >> kBits) & mask;
    const int right = (left + 1) & mask;
    const int row = (y >> kBits) & mask;
    const std::uint8_t* const upper = levels_[level].data() + side * row;
    const std::uint8_t* const lower = levels_[level].data() + side * ((row + 1) & mask);
    const int top = kOne * upper[left] + x_weight * (upper[right] - upper[left]);
    const int bottom = kOne * lower[left] + x_weight * (lower[right] - lower[left]);
    return (kOne * top + y_weight * (bottom - top)) / kOne;
  }

 private:
  static constexpr int kLevels = 8;

  std::array<std::vector<std::uint8_t>, kLevels> levels_;
};

SynthTexture::SynthTexture(std::uint32_t seed) {
  // Value noise on lattices of 1, 2, 4 … texels, all of one strength: contrast at every scale.
  constexpr int kOctaves = 7;
  std::vector<float> sum(std::size_t{kSide} * kSide, 0);
  for (int octave = 0; octave < kOctaves; ++octave) {
    const int cell = 1 << octave;
    const int mask = kSide / cell - 1;
    const auto lattice = [&](int x, int y) {  // -1 … 1
      const auto place = static_cast<std::uint32_t>((x & mask) + kSide * (y & mask));
      return static_cast<float>(Mix(Mix(place) + seed + octave * 0x9e3779b9U) >> 8) * 0x1p-23F - 1;
    };
    std::vector<float> smooth(cell);  // 0 … 1 across a cell, level at both ends
    for (int i = 0; i < cell; ++i) {
      const float x = static_cast<float>(i) / static_cast<float>(cell);
      smooth[i] = x * x * (3 - 2 * x);
    }
    for (int y = 0; y < kSide; ++y) {
      float* const row = sum.data() + std::size_t{kSide} * y;
      const int cell_y = y / cell;
      const float y_weight = smooth[y % cell];
      const auto across = [&](int cell_x) {
        const float upper = lattice(cell_x, cell_y);
        return upper + y_weight * (lattice(cell_x, cell_y + 1) - upper);
      };
      float right = across(0);
      for (int cell_x = 0; cell_x <= mask; ++cell_x) {
        const float left = right;
        right = across(cell_x + 1);
        for (int i = 0; i < cell; ++i) row[cell_x * cell + i] += left + smooth[i] * (right - left);
      }
    }
  }
  // The variance of a uniform number in -1 … 1 is 1/3, that of smooth noise 0.552 times as much.
  // Two standard deviations fill the range: few places are flat.
  const float deviation = std::sqrt((1 + 0.552F * (kOctaves - 1)) / 3);
  levels_[0].resize(sum.size());
  std::transform(sum.begin(), sum.end(), levels_[0].begin(), [&](float value) {
    return static_cast<std::uint8_t>(std::clamp(128 + 127 * value / (2 * deviation), 0.0F, 255.0F));
  });
  for (int level = 1; level < kLevels; ++level) {
    const std::ptrdiff_t side = kSide >> level;
    levels_[level].resize(side * side);
    for (std::ptrdiff_t y = 0; y < side; ++y) {
      const std::uint8_t* const upper = levels_[level - 1].data() + 4 * side * y;
      const std::uint8_t* const lower = upper + 2 * side;
      for (std::ptrdiff_t x = 0; x < side; ++x) {
        const int four = upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1];
        levels_[level][side * y + x] = static_cast<std::uint8_t>((four + 2) / 4);
      }
    }
  }
}

namespace {

using Shape = SynthSolid::Shape;

constexpr SynthPaint kWood = {{24, 12, 6}, {255, 232, 200}, {232, 180, 124}};
constexpr SynthPaint kWall = {{30, 34, 42}, {246, 248, 252}, {182, 208, 238}};
constexpr SynthPaint kShell = {{96, 98, 104}, {255, 255, 255}, {226, 232, 240}};
constexpr SynthPaint kPalm = {{2, 2, 4}, {172, 174, 182}, {128, 134, 158}};
constexpr SynthPaint kPasser = {{16, 10, 40}, {210, 60, 70}, {90, 70, 200}};
constexpr SynthPaint kFinger = {{10, 10, 10}, {176, 172, 164}, {120, 128, 150}};

/// A colour of the rainbow.
///
/// @param hue  0 red, 1/3 green, 2/3 blue, 1 red again.
Rgb Rainbow(double hue, double low, double high) {
  const auto channel = [&](double peak) {
    const double away = std::abs(hue - std::floor(hue) - peak);
    const double share = std::clamp(2 - 6 * std::min(away, 1 - away), 0.0, 1.0);
    return static_cast<std::uint8_t>(low + (high - low) * share);
  };
  return {channel(0), channel(1.0 / 3), channel(2.0 / 3)};
}

SynthSolid BoxSolid(const Transform& T_base_solid, const Vector3& half_m, const SynthPaint& paint) {
  return {.half_m = half_m, .T_base_solid = T_base_solid, .paint = paint};
}

/// @param side  any direction across the axis, for the texture not to turn about it.
SynthSolid CylinderBetween(const Vector3& p_base_from,
                           const Vector3& p_base_to,
                           double radius_m,
                           const Vector3& side,
                           const SynthPaint& paint) {
  const Vector3 axis = p_base_to - p_base_from;
  const double length_m = axis.norm();
  Matrix3 R_base_solid;
  R_base_solid.col(2) = axis / length_m;
  R_base_solid.col(0) = side.cross(R_base_solid.col(2)).normalized();
  R_base_solid.col(1) = R_base_solid.col(2).cross(R_base_solid.col(0));
  return {.shape = Shape::kCylinder,
          .half_m = {radius_m, radius_m, length_m / 2},
          .T_base_solid = MakeTransform(R_base_solid, (p_base_from + p_base_to) / 2),
          .paint = paint};
}

SynthSolid RandomThing(SynthRandom& random) {
  constexpr std::array kShapes = {Shape::kBox, Shape::kCylinder, Shape::kSphere};
  SynthSolid thing;
  thing.shape = kShapes[static_cast<std::uint32_t>(random.Bits()) % kShapes.size()];
  const double radius_m = random.Uniform(0.022, 0.042);
  switch (thing.shape) {
    case Shape::kBox:
      thing.half_m = {
          random.Uniform(0.02, 0.05), random.Uniform(0.02, 0.05), random.Uniform(0.01, 0.05)};
      break;
    case Shape::kCylinder:
      thing.half_m = {radius_m, radius_m, random.Uniform(0.015, 0.055)};
      break;
    default:
      thing.half_m = {radius_m, radius_m, radius_m};
  }
  const double hue = random.Uniform(0, 1);
  thing.paint = {Rainbow(hue, 6, 40), Rainbow(hue, 110, 255), Rainbow(hue + 0.15, 60, 235)};
  thing.T_base_solid.linear() = RotationZ(random.Uniform(0, 2 * std::numbers::pi));
  return thing;
}

void AddThings(SynthRandom& random, std::vector<SynthSolid>& still) {
  struct Spot {
    double x_m, y_m, radius_m;
  };
  std::vector<Spot> taken;
  const std::size_t count = 5 + static_cast<std::uint32_t>(random.Bits()) % 4;
  while (taken.size() < count) {
    SynthSolid thing = RandomThing(random);
    const double radius_m = thing.half_m.head<2>().norm();
    const Spot spot{random.Uniform(0.36, 0.68), random.Uniform(-0.28, 0.28), radius_m};
    const bool is_free = std::all_of(taken.begin(), taken.end(), [&](const Spot& other) {
      const double dx_m = spot.x_m - other.x_m;
      const double dy_m = spot.y_m - other.y_m;
      const double apart_m = spot.radius_m + other.radius_m;
      return dx_m * dx_m + dy_m * dy_m > apart_m * apart_m;
    });
    if (!is_free) continue;
    thing.T_base_solid.translation() =
        Vector3(spot.x_m, spot.y_m, SynthScene::kTable_m + thing.half_m.z());
    still.push_back(thing);
    taken.push_back(spot);
  }
}

// The robot's shoulder, which the forearm points to.
const Vector3 kShoulder_m = {0, 0, 0.62};

}  // namespace

SynthScene SynthScene::Make(std::uint64_t seed, const GripperModel& gripper) {
  SynthRandom random(seed);
  SynthScene scene;
  scene.gripper_ = gripper;
  scene.texture_ = std::make_shared<SynthTexture>(static_cast<std::uint32_t>(random.Bits()));

  const auto at = [](double x_m, double y_m, double z_m) {
    return MakeTransform(Matrix3::Identity(), {x_m, y_m, z_m});
  };
  constexpr double kTableThickness_m = 0.04;
  scene.still_ = {
      BoxSolid(at(0.5, 0, kFloor_m + 1.5), {1.7, 1.6, 1.5}, kWall),
      BoxSolid(
          at(0.4, 0, kTable_m - kTableThickness_m / 2), {0.75, 0.8, kTableThickness_m / 2}, kWood),
      CylinderBetween({0, 0, kTable_m}, kShoulder_m, 0.075, Vector3::UnitX(), kShell),
      SynthSolid{.shape = Shape::kSphere,
                 .half_m = Vector3::Constant(0.09),
                 .T_base_solid = MakeTransform(Matrix3::Identity(), kShoulder_m),
                 .paint = kShell}};
  scene.still_.front().shape = Shape::kRoom;
  AddThings(random, scene.still_);
  for (SynthSolid& solid : scene.still_)
    solid.texture_seed = static_cast<std::uint32_t>(random.Bits());
  return scene;
}

std::vector<SynthSolid> SynthScene::Hand(const SynthHand& hand) const {
  const Transform T_base_gripper = hand.T_base_ee * GripperMount(gripper_);
  const Vector3 side = T_base_gripper.linear().col(1);
  const Vector3 p_base_wrist = hand.T_base_ee * Vector3(0, 0, -0.14);
  std::vector<SynthSolid> solids = {
      CylinderBetween(kShoulder_m, p_base_wrist, 0.055, Vector3::UnitZ(), kShell),
      CylinderBetween(p_base_wrist, hand.T_base_ee.translation(), 0.045, side, kShell),
      BoxSolid(T_base_gripper * Eigen::Translation3d(0, 0, 0.042), {0.048, 0.032, 0.042}, kPalm)};

  // A finger: a box whose face towards the other finger is the contact pad's and a little more.
  constexpr double kThickness_m = 0.014;
  constexpr double kRoot_m = -0.010;
  constexpr double kTip_m = PadFace::kMaxZ_m + 0.001;
  const Vector3 half_m(
      kThickness_m / 2, (PadFace::kMaxY_m - PadFace::kMinY_m) / 2, (kTip_m - kRoot_m) / 2);
  const Eigen::Translation3d middle_m(PadFace::kX_m + kThickness_m / 2,
                                      (PadFace::kMaxY_m + PadFace::kMinY_m) / 2,
                                      (kTip_m + kRoot_m) / 2);
  const double joint_rad = FingerJoint(gripper_, hand.gripper_position);
  for (const Transform& T_gripper_finger :
       {LeftFingerInGripper(joint_rad), RightFingerInGripper(joint_rad)}) {
    const Vector3 finger_m = T_gripper_finger.translation();
    const Vector3 knuckle_m(std::copysign(0.02, finger_m.x()), 0, 0.07);
    solids.push_back(CylinderBetween(
        T_base_gripper * knuckle_m, T_base_gripper * finger_m, 0.0075, side, kPalm));
    solids.push_back(BoxSolid(T_base_gripper * T_gripper_finger * middle_m, half_m, kFinger));
  }
  if (hand.passer_m) {
    const Transform T_base_passer = MakeTransform(Matrix3::Identity(), *hand.passer_m);
    solids.push_back(BoxSolid(T_base_passer, {0.14, 0.24, kPasserHeight_m / 2}, kPasser));
  }
  for (std::size_t i = 0; i < solids.size(); ++i) {
    solids[i].texture_seed = 1000 + static_cast<std::uint32_t>(i);
  }
  return solids;
}

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// The direction that a lens shows at `seen`, near `guess`; none where there is none before the
/// lens folds back.
std::optional<NormalisedPoint> Undistort(const LensModel& lens,
                                         NormalisedPoint seen,
                                         NormalisedPoint guess) {
  // Newton's method with the slopes at the guess, which is next to the answer: neighbouring pixels
  // differ by a thousandth, and so do their slopes.
  constexpr double kStep = 1e-6;
  constexpr double kExact = 1e-9;
  constexpr double kNear = 0.05;
  constexpr int kMaxRounds = 30;
  const NormalisedPoint at = Distort(lens, guess);
  const NormalisedPoint at_x = Distort(lens, {guess.x + kStep, guess.y});
  const NormalisedPoint at_y = Distort(lens, {guess.x, guess.y + kStep});
  const double xx = (at_x.x - at.x) / kStep;
  const double yx = (at_x.y - at.y) / kStep;
  const double xy = (at_y.x - at.x) / kStep;
  const double yy = (at_y.y - at.y) / kStep;
  const double determinant = xx * yy - xy * yx;
  if (!(determinant > 0)) return std::nullopt;
  NormalisedPoint ideal = guess;
  NormalisedPoint shown = at;
  for (int round = 0; round < kMaxRounds; ++round) {
    const double x = seen.x - shown.x;
    const double y = seen.y - shown.y;
    if (std::abs(x) < kExact && std::abs(y) < kExact) return ideal;
    ideal.x += (yy * x - xy * y) / determinant;
    ideal.y += (xx * y - yx * x) / determinant;
    if (!(std::abs(ideal.x - guess.x) < kNear && std::abs(ideal.y - guess.y) < kNear)) break;
    shown = Distort(lens, ideal);
  }
  return std::nullopt;
}

}  // namespace

SynthEye SynthEye::Rectified(const Intrinsics& intrinsics, double x_m) {
  SynthEye eye;
  eye.rays_.Resize(intrinsics.width_px, intrinsics.height_px);
  eye.x_m_ = x_m;
  eye.pixel_ = 1 / intrinsics.fx_px;
  for (int v = 0; v < intrinsics.height_px; ++v) {
    for (int u = 0; u < intrinsics.width_px; ++u) {
      eye.rays_.at(u, v) = {static_cast<float>((u - intrinsics.cx_px) / intrinsics.fx_px),
                            static_cast<float>((v - intrinsics.cy_px) / intrinsics.fy_px)};
    }
  }
  return eye;
}

SynthEye SynthEye::Raw(
    const RawEye& eye, const Matrix3& R_rect_eye, int width_px, int height_px, double x_m) {
  DF_CHECK(width_px > 0 && height_px > 0, "{}x{}", width_px, height_px);
  // From the middle outwards, each pixel's answer the next one's guess: that never leaves the
  // lens's first branch, whatever its polynomial does further out.
  Image<Ray> rays(width_px, height_px);
  std::vector<std::optional<NormalisedPoint>> line(width_px);
  const int middle_u = std::clamp(static_cast<int>(eye.cx_px), 0, width_px - 1);
  const int middle_v = std::clamp(static_cast<int>(eye.cy_px), 0, height_px - 1);
  const auto solve = [&](int u, int v, const std::optional<NormalisedPoint>& guess) {
    const NormalisedPoint seen{(u - eye.cx_px) / eye.fx_px, (v - eye.cy_px) / eye.fy_px};
    line[u] = guess ? Undistort(eye.lens, seen, *guess) : std::nullopt;
    Ray& ray = rays.at(u, v);
    ray = {kNan, kNan};
    if (!line[u]) return;
    const Vector3 v_rect = R_rect_eye * Vector3(line[u]->x, line[u]->y, 1);
    if (!(v_rect.z() > 0)) return;
    ray = {static_cast<float>(v_rect.x() / v_rect.z()),
           static_cast<float>(v_rect.y() / v_rect.z())};
  };
  solve(middle_u, middle_v, NormalisedPoint{0, 0});
  for (int u = middle_u + 1; u < width_px; ++u) solve(u, middle_v, line[u - 1]);
  for (int u = middle_u - 1; u >= 0; --u) solve(u, middle_v, line[u + 1]);
  const std::vector<std::optional<NormalisedPoint>> middle_line = line;
  for (int v = middle_v + 1; v < height_px; ++v) {
    for (int u = 0; u < width_px; ++u) solve(u, v, line[u]);
  }
  line = middle_line;
  for (int v = middle_v - 1; v >= 0; --v) {
    for (int u = 0; u < width_px; ++u) solve(u, v, line[u]);
  }

  SynthEye made;
  made.rays_ = std::move(rays);
  made.x_m_ = x_m;
  made.pixel_ = 1 / eye.fx_px;
  return made;
}

namespace {

constexpr float kFar = std::numeric_limits<float>::max();
constexpr std::int32_t kNothing = -1;

/// A vector as the inner loops use it.
struct Vec {
  float x = 0, y = 0, z = 0;

  float operator[](int axis) const { return axis == 0 ? x : axis == 1 ? y : z; }
};

Vec ToVec(const Vector3& v) {
  return {static_cast<float>(v.x()), static_cast<float>(v.y()), static_cast<float>(v.z())};
}

float Dot(const Vec& a, const Vec& b) { return a.x * b.x + a.y * b.y + a.z * b.z; }

/// What part of the texture a face shows.
struct TexturePlace {
  int u;
  int v;
};

/// A solid before one eye.
struct Placed {
  Shape shape;
  Vec half;     // m
  Vec eye;      // the eye in the solid's frame, m
  Vec along_x;  // rect's axes in the solid's frame
  Vec along_y;
  Vec along_z;
  Vec light;  // where the light comes from, in the solid's frame
  Vec dark;
  Vec bright;
  Vec tint;                           // less bright
  std::array<TexturePlace, 6> place;  // two for each axis: the negative side, the positive
  Vec middle;                         // of the solid as seen from the eye, rect's axes, m
  float reach;                        // radius of a sphere around it, m

  [[nodiscard]] Vec Direction(float x, float y) const {
    return {along_x.x * x + along_y.x * y + along_z.x,
            along_x.y * x + along_y.y * y + along_z.y,
            along_x.z * x + along_y.z * y + along_z.z};
  }
};

double Reach(const SynthSolid& solid) {
  switch (solid.shape) {
    case Shape::kBox:
      return solid.half_m.norm();
    case Shape::kCylinder:
      return solid.half_m.tail<2>().norm();
    case Shape::kSphere:
      return solid.half_m.x();
    case Shape::kRoom:
      break;
  }
  return 1e3;  // everywhere
}

Vec ToVec(const Rgb& colour) {
  return {static_cast<float>(colour.r), static_cast<float>(colour.g), static_cast<float>(colour.b)};
}

Vec MulAdd(float a, const Vec& b, const Vec& c) {
  return {a * b.x + c.x, a * b.y + c.y, a * b.z + c.z};
}

Placed Place(const SynthSolid& solid, const Transform& T_base_rect, double eye_x_m) {
  const Vector3 p_rect_eye(eye_x_m, 0, 0);
  const Transform T_solid_rect = solid.T_base_solid.inverse() * T_base_rect;
  const Matrix3 R_solid_rect = T_solid_rect.linear();
  constexpr std::uint32_t kAnywhere = SynthTexture::kSide * SynthTexture::kOne - 1;
  std::array<TexturePlace, 6> place{};
  for (std::uint32_t face = 0; face < place.size(); ++face) {
    const std::uint32_t bits = Mix(solid.texture_seed + face);
    place[face] = {static_cast<int>(bits & kAnywhere), static_cast<int>(Mix(bits) & kAnywhere)};
  }
  const Vec bright = ToVec(solid.paint.bright);
  const Vector3 light_base = Vector3(-0.35, 0.25, 0.9).normalized();
  return {.shape = solid.shape,
          .half = ToVec(solid.half_m),
          .eye = ToVec(T_solid_rect * p_rect_eye),
          .along_x = ToVec(R_solid_rect.col(0)),
          .along_y = ToVec(R_solid_rect.col(1)),
          .along_z = ToVec(R_solid_rect.col(2)),
          .light = ToVec(solid.T_base_solid.linear().transpose() * light_base),
          .dark = ToVec(solid.paint.dark),
          .bright = bright,
          .tint = MulAdd(-1, bright, ToVec(solid.paint.tint)),
          .place = place,
          .middle = ToVec(T_base_rect.inverse() * solid.T_base_solid.translation() - p_rect_eye),
          .reach = static_cast<float>(Reach(solid))};
}

/// The stretch of a ray within something.
struct Stretch {
  float near;
  float far;
};

Stretch BetweenPlanes(float origin, float direction, float half) {
  const float inverse = 1 / direction;
  const float to_low = (-half - origin) * inverse;
  const float to_high = (half - origin) * inverse;
  return {to_low < to_high ? to_low : to_high, to_low < to_high ? to_high : to_low};
}

Stretch Both(const Stretch& a, const Stretch& b) {
  return {a.near > b.near ? a.near : b.near, a.far < b.far ? a.far : b.far};
}

/// Where a t² + 2 b t + c <= 0.
Stretch WithinRound(float a, float b, float c) {
  const float square = b * b - a * c;
  if (!(square >= 0)) return {kFar, -kFar};
  const float root = std::sqrt(square);
  const float inverse = 1 / std::max(a, 1e-12F);
  return {(-b - root) * inverse, (-b + root) * inverse};
}

template <Shape kShape>
Stretch Within(const Placed& solid, const Vec& d) {
  const Vec& o = solid.eye;
  const Vec& half = solid.half;
  const float radius2 = half.x * half.x;
  if constexpr (kShape == Shape::kSphere) {
    return WithinRound(Dot(d, d), Dot(o, d), Dot(o, o) - radius2);
  } else if constexpr (kShape == Shape::kCylinder) {
    const Stretch around =
        WithinRound(d.x * d.x + d.y * d.y, o.x * d.x + o.y * d.y, o.x * o.x + o.y * o.y - radius2);
    return Both(around, BetweenPlanes(o.z, d.z, half.z));
  } else {
    return Both(Both(BetweenPlanes(o.x, d.x, half.x), BetweenPlanes(o.y, d.y, half.y)),
                BetweenPlanes(o.z, d.z, half.z));
  }
}

/// The pixels of one tile and what their rays meet first.
struct Tile {
  static constexpr int kSide_px = 16;
  static constexpr int kPixels = kSide_px * kSide_px;

  int count = 0;
  std::array<float, kPixels> x;
  std::array<float, kPixels> y;
  std::array<float, kPixels> depth;       // m
  std::array<std::int32_t, kPixels> hit;  // the solid's number
};

template <Shape kShape>
void Trace(const Placed& solid, std::int32_t number, Tile& tile) {
  for (int i = 0; i < tile.count; ++i) {
    const Stretch stretch = Within<kShape>(solid, solid.Direction(tile.x[i], tile.y[i]));
    const float depth = kShape == Shape::kRoom ? stretch.far : stretch.near;
    if (stretch.near <= stretch.far && depth > 0 && depth < tile.depth[i]) {
      tile.depth[i] = depth;
      tile.hit[i] = number;
    }
  }
}

void Trace(const Placed& solid, std::int32_t number, Tile& tile) {
  switch (solid.shape) {
    case Shape::kBox:
      return Trace<Shape::kBox>(solid, number, tile);
    case Shape::kCylinder:
      return Trace<Shape::kCylinder>(solid, number, tile);
    case Shape::kSphere:
      return Trace<Shape::kSphere>(solid, number, tile);
    case Shape::kRoom:
      return Trace<Shape::kRoom>(solid, number, tile);
  }
}

/// The cone that a tile's rays fill: what it does not touch need not be traced.
struct Cone {
  Vec axis;
  float cosine = 2;  // of half the opening; 2: the tile has no rays
  float sine = 0;

  [[nodiscard]] bool Touches(const Placed& solid) const {
    if (cosine > 1) return false;
    const float square = Dot(solid.middle, solid.middle);
    const float reach = solid.reach + 1e-3F;
    if (square <= reach * reach) return true;
    const float ahead = Dot(solid.middle, axis);
    const float aside = std::sqrt(std::max(0.0F, square - ahead * ahead));
    return ahead > -reach && aside * cosine - ahead * sine <= reach;
  }
};

std::uint8_t ToByte(float value) {
  return static_cast<std::uint8_t>(std::clamp(value + 0.5F, 0.0F, 255.0F));
}

/// A place on a solid.
struct Surface {
  Vec normal;        // towards the eye's side
  int axis;          // the normal is nearest to it,
  bool is_positive;  // and to its positive end
};

Surface SurfaceAt(const Placed& solid, const Vec& p) {
  // Relative to the solid's size: the flat face that p lies on is where this is largest.
  const Vec share{p.x / solid.half.x, p.y / solid.half.y, p.z / solid.half.z};
  const Vec size{std::abs(share.x), std::abs(share.y), std::abs(share.z)};
  const bool is_side =
      solid.shape == Shape::kCylinder && size.x * size.x + size.y * size.y > size.z * size.z;
  int axis = size.x > size.y ? 0 : 1;
  if (size.z > size[axis] && !is_side) axis = 2;
  Surface surface{.normal = share, .axis = axis, .is_positive = share[axis] > 0};
  if (is_side) {
    surface.normal.z = 0;
  } else if (solid.shape != Shape::kSphere) {
    const float side = surface.is_positive == (solid.shape != Shape::kRoom) ? 1.0F : -1.0F;
    surface.normal = {axis == 0 ? side : 0, axis == 1 ? side : 0, axis == 2 ? side : 0};
  }
  return surface;
}

/// The colour where a ray meets a solid. What is round is painted from its six sides.
///
/// @param pixel  width of a pixel on the plane z = 1.
Rgb Shade(
    const Placed& solid, float x, float y, float depth, const SynthTexture& texture, float pixel) {
  const Vec d = solid.Direction(x, y);
  const Vec p = MulAdd(depth, d, solid.eye);
  const auto [normal, axis, is_positive] = SurfaceAt(solid, p);

  // Texels a pixel covers: as wide as it is, and stretched where the surface is seen aslant; the
  // mean of the two sides.
  constexpr float kOne = SynthTexture::kOne;
  constexpr float kPerMetre = 1 / SynthTexture::kTexel_m;
  const float length = std::sqrt(Dot(d, d));
  const float slant = std::max(std::abs(Dot(normal, d)), length / 16);
  const float level =
      RoughLog2(depth * pixel * kPerMetre) + 0.5F * (RoughLog2(length) - RoughLog2(slant));

  const TexturePlace& place = solid.place[2 * axis + (is_positive ? 1 : 0)];
  const int u = static_cast<int>((axis == 0 ? p.y : p.x) * (kPerMetre * kOne)) + place.u;
  const int v = static_cast<int>((axis == 2 ? p.y : p.z) * (kPerMetre * kOne)) + place.v;
  constexpr float kShare = 1.0F / (255 * kOne);
  const float grain = kShare * static_cast<float>(texture.At(u, v, static_cast<int>(level * kOne)));
  // Texels of 11 mm, wider than any pixel here.
  const float tint = kShare * static_cast<float>(texture.AtLevel(u / 8, v / 8, 1));

  const float light = 0.78F + 0.22F * Dot(normal, solid.light);
  const Vec high = MulAdd(tint, solid.tint, solid.bright);
  const Vec colour = MulAdd(grain, MulAdd(-1, solid.dark, high), solid.dark);
  return {ToByte(light * colour.x), ToByte(light * colour.y), ToByte(light * colour.z)};
}

void AddNoise(std::uint64_t seed, RgbImage& image) {
  std::uint64_t state = Mix64(seed);
  // The sum of two bytes is triangular, with a standard deviation of 104.5.
  const auto noisy = [](std::uint8_t value, std::uint64_t bits) {
    const int sum = static_cast<int>(bits & 0xFF) + static_cast<int>((bits >> 8) & 0xFF) - 255;
    constexpr int kScale = 157;  // 2^14 / 104.5
    const int noise = (sum * kScale + (1 << 13)) >> 14;
    return static_cast<std::uint8_t>(std::clamp(value + noise, 0, 255));
  };
  for (int y = 0; y < image.height_px(); ++y) {
    Rgb* const row = image.row(y);
    for (int x = 0; x < image.width_px(); ++x) {
      state += 0x9e3779b97f4a7c15U;
      const std::uint64_t bits = Mix64(state);
      row[x] = {noisy(row[x].r, bits), noisy(row[x].g, bits >> 16), noisy(row[x].b, bits >> 32)};
    }
  }
}

}  // namespace

class SynthView::Painter {
 public:
  Painter(const SynthScene& scene, SynthEye eye)
      : scene_(&scene),
        eye_(std::move(eye)),
        still_depth_(eye_.width_px(), eye_.height_px()),
        still_hit_(eye_.width_px(), eye_.height_px()),
        still_colour_(eye_.width_px(), eye_.height_px()) {
    ForEachTile([&](const Area& area) { cones_.push_back(ConeOf(area)); });
  }

  void Render(const SynthHand& hand, const Transform& T_base_rect, RgbImage& out) {
    LookAtStill(T_base_rect);
    if (!colour_is_fresh_) PaintStill();
    const std::vector<Placed> solids = PlaceAll(scene_->Hand(hand));
    out.Resize(eye_.width_px(), eye_.height_px());
    ForEachTile([&](const Area& area) {
      ForEachRow(area, [&](int, int y) {
        const Rgb* const row = still_colour_.row(y) + area.x;
        std::copy(row, row + area.width, out.row(y) + area.x);
      });
      Tile tile;
      if (!TraceHand(area, solids, tile)) return;
      ForEachRow(area, [&](int first, int y) {
        for (int i = 0; i < area.width; ++i) {
          const std::int32_t hit = tile.hit[first + i];
          if (hit == kNothing) continue;
          out.at(area.x + i, y) =
              ColourOf(solids[hit], tile.x[first + i], tile.y[first + i], tile.depth[first + i]);
        }
      });
    });
  }

  void RenderDepth(const SynthHand& hand,
                   const Transform& T_base_rect,
                   Image<std::uint16_t>& depth_mm) {
    LookAtStill(T_base_rect);
    const std::vector<Placed> solids = PlaceAll(scene_->Hand(hand));
    depth_mm.Resize(eye_.width_px(), eye_.height_px());
    ForEachTile([&](const Area& area) {
      Tile tile;
      const bool has_hand = TraceHand(area, solids, tile);
      ForEachRow(area, [&](int first, int y) {
        const float* const still = still_depth_.row(y) + area.x;
        for (int i = 0; i < area.width; ++i) {
          const float depth = 1000 * (has_hand ? tile.depth[first + i] : still[i]) + 0.5F;
          depth_mm.at(area.x + i, y) = depth < 65536 ? static_cast<std::uint16_t>(depth) : 0;
        }
      });
    });
  }

 private:
  struct Area {
    std::size_t number;
    int x, y, width, height;
  };

  template <typename Function>
  void ForEachTile(Function&& function) const {
    std::size_t number = 0;
    for (int y = 0; y < eye_.height_px(); y += Tile::kSide_px) {
      for (int x = 0; x < eye_.width_px(); x += Tile::kSide_px) {
        function(Area{.number = number++,
                      .x = x,
                      .y = y,
                      .width = std::min(Tile::kSide_px, eye_.width_px() - x),
                      .height = std::min(Tile::kSide_px, eye_.height_px() - y)});
      }
    }
  }

  /// Calls function(number of the row's first pixel within the tile, y).
  template <typename Function>
  static void ForEachRow(const Area& area, Function&& function) {
    for (int row = 0; row < area.height; ++row) function(row * area.width, area.y + row);
  }

  [[nodiscard]] Cone ConeOf(const Area& area) const {
    std::vector<Vector3> directions;
    Vector3 sum = Vector3::Zero();
    ForEachRow(area, [&](int, int y) {
      for (int x = area.x; x < area.x + area.width; ++x) {
        const SynthEye::Ray ray = eye_.rays().at(x, y);
        if (std::isnan(ray.x)) continue;
        sum += directions.emplace_back(Vector3(ray.x, ray.y, 1).normalized());
      }
    });
    if (directions.empty()) return {};
    const Vector3 axis = sum.normalized();
    double cosine = 1;
    for (const Vector3& direction : directions) cosine = std::min(cosine, axis.dot(direction));
    return {.axis = ToVec(axis),
            .cosine = static_cast<float>(cosine),
            .sine = static_cast<float>(std::sqrt(1 - cosine * cosine))};
  }

  [[nodiscard]] std::vector<Placed> PlaceAll(const std::vector<SynthSolid>& solids) const {
    std::vector<Placed> placed;
    placed.reserve(solids.size());
    for (const SynthSolid& solid : solids) {
      placed.push_back(Place(solid, T_base_rect_, eye_.x_m()));
    }
    return placed;
  }

  void LoadRays(const Area& area, Tile& tile) const {
    tile.count = area.width * area.height;
    ForEachRow(area, [&](int first, int y) {
      const SynthEye::Ray* const rays = eye_.rays().row(y) + area.x;
      for (int i = 0; i < area.width; ++i) {
        tile.x[first + i] = rays[i].x;
        tile.y[first + i] = rays[i].y;
      }
    });
  }

  void LookAtStill(const Transform& T_base_rect) {
    if (T_base_rect_.matrix() == T_base_rect.matrix()) return;
    T_base_rect_ = T_base_rect;
    colour_is_fresh_ = false;
    still_ = PlaceAll(scene_->still());
    ForEachTile([&](const Area& area) {
      Tile tile;
      LoadRays(area, tile);
      tile.depth.fill(kFar);
      tile.hit.fill(kNothing);
      for (std::size_t i = 0; i < still_.size(); ++i) {
        if (cones_[area.number].Touches(still_[i]))
          Trace(still_[i], static_cast<std::int32_t>(i), tile);
      }
      ForEachRow(area, [&](int first, int y) {
        std::copy_n(tile.depth.data() + first, area.width, still_depth_.row(y) + area.x);
        std::copy_n(tile.hit.data() + first, area.width, still_hit_.row(y) + area.x);
      });
    });
  }

  void PaintStill() {
    for (int y = 0; y < eye_.height_px(); ++y) {
      for (int x = 0; x < eye_.width_px(); ++x) {
        const std::int32_t hit = still_hit_.at(x, y);
        const SynthEye::Ray ray = eye_.rays().at(x, y);
        still_colour_.at(x, y) =
            hit == kNothing ? Rgb{} : ColourOf(still_[hit], ray.x, ray.y, still_depth_.at(x, y));
      }
    }
    colour_is_fresh_ = true;
  }

  [[nodiscard]] Rgb ColourOf(const Placed& solid, float x, float y, float depth) const {
    return Shade(solid, x, y, depth, scene_->texture(), static_cast<float>(eye_.pixel()));
  }

  /// What of the hand is before what stands still; `tile.hit` counts the hand's solids only.
  ///
  /// @return  false, and nothing in `tile`, when the hand is nowhere near.
  bool TraceHand(const Area& area, const std::vector<Placed>& solids, Tile& tile) const {
    const Cone& cone = cones_[area.number];
    bool is_loaded = false;
    for (std::size_t i = 0; i < solids.size(); ++i) {
      if (!cone.Touches(solids[i])) continue;
      if (!is_loaded) {
        LoadRays(area, tile);
        tile.hit.fill(kNothing);
        ForEachRow(area, [&](int first, int y) {
          std::copy_n(still_depth_.row(y) + area.x, area.width, tile.depth.data() + first);
        });
        is_loaded = true;
      }
      Trace(solids[i], static_cast<std::int32_t>(i), tile);
    }
    return is_loaded;
  }

  const SynthScene* scene_;
  SynthEye eye_;
  std::vector<Cone> cones_;  // one for each tile

  // What stands still, as seen from T_base_rect_; no camera stands where everything is NaN.
  Transform T_base_rect_{Eigen::Matrix4d::Constant(std::numeric_limits<double>::quiet_NaN())};
  std::vector<Placed> still_;
  Image<float> still_depth_;
  Image<std::int32_t> still_hit_;
  RgbImage still_colour_;
  bool colour_is_fresh_ = false;
};

SynthView::SynthView(const SynthScene& scene, SynthEye eye)
    : painter_(std::make_unique<Painter>(scene, std::move(eye))) {}
SynthView::SynthView(SynthView&& other) noexcept = default;
SynthView& SynthView::operator=(SynthView&& other) noexcept = default;
SynthView::~SynthView() = default;

void SynthView::Render(const SynthHand& hand,
                       const Transform& T_base_rect,
                       std::optional<std::uint64_t> noise_seed,
                       RgbImage& out) {
  painter_->Render(hand, T_base_rect, out);
  if (noise_seed) AddNoise(*noise_seed, out);
}

void SynthView::RenderDepth(const SynthHand& hand,
                            const Transform& T_base_rect,
                            Image<std::uint16_t>& depth_mm) {
  painter_->RenderDepth(hand, T_base_rect, depth_mm);
}

}  // namespace droidflow

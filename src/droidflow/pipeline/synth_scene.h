#pragma once

/// A made-up room with a table, things on it and the robot's hand: stereo pictures whose depth is
/// known exactly.

#include "droidflow/core/image.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/geometry/projection.h"
#include "droidflow/geometry/rectification.h"
#include "droidflow/tracks/gripper.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace droidflow {

/// The colours of a surface: its texture runs from `dark` to `bright` in fine grains and towards
/// `tint` in coarse ones.
struct SynthPaint {
  Rgb dark;
  Rgb bright;
  Rgb tint;
};

/// A body with a textured surface.
///
/// Frame    solid: origin in its middle; a cylinder stands along z.
struct SynthSolid {
  enum class Shape {
    kBox,
    kCylinder,
    kSphere,
    kRoom,  ///< a box seen from inside
  };
  Shape shape = Shape::kBox;
  Vector3 half_m = Vector3::Zero();  ///< half the edges; of what is round: radius, radius, half z
  Transform T_base_solid = Transform::Identity();
  SynthPaint paint;
  std::uint32_t texture_seed = 0;
};

/// Where the robot is when a picture is taken.
struct SynthHand {
  Transform T_base_ee = Transform::Identity();
  double gripper_position = 0;           ///< 0 open … 1 closed
  std::optional<Vector3> passer_m = {};  ///< the middle of someone who walks by; none: nobody
};

/// The surfaces' grain: band-limited noise, averaged to ever coarser pictures so that it may be
/// looked at from any distance.
class SynthTexture;

/// Everything that can be seen.
///
/// Frame    base.
/// Thread   const functions may run at the same time.
class SynthScene {
 public:
  /// A room with a table, five to eight boxes, cylinders and spheres on it, and a robot. The same
  /// seed gives the same scene on every machine.
  [[nodiscard]] static SynthScene Make(std::uint64_t seed, const GripperModel& gripper = {});

  /// Height of the table's top.
  static constexpr double kTable_m = 0;
  static constexpr double kFloor_m = -0.8;
  static constexpr double kPasserHeight_m = 1.7;

  /// What stands still.
  [[nodiscard]] const std::vector<SynthSolid>& still() const { return still_; }
  /// The forearm, the wrist and the gripper, whose pads' faces lie where the contact tracks say;
  /// last who walks by, a box as large as a person.
  [[nodiscard]] std::vector<SynthSolid> Hand(const SynthHand& hand) const;
  [[nodiscard]] const SynthTexture& texture() const { return *texture_; }

 private:
  SynthScene() = default;

  GripperModel gripper_;
  std::vector<SynthSolid> still_;
  std::shared_ptr<const SynthTexture> texture_;
};

/// Where one eye of a stereo camera stands and looks, pixel by pixel.
///
/// Frame    rect: the rectified left eye, as geometry/rectification.h has it. Its pose is the one
///          that droidflow reports for a camera.
class SynthEye {
 public:
  /// Through one pixel: the direction (x, y, 1).
  struct Ray {
    float x;
    float y;
  };

  /// @param x_m  where the eye stands along the baseline: 0 the left one, the baseline the right.
  [[nodiscard]] static SynthEye Rectified(const Intrinsics& intrinsics, double x_m);

  /// A raw eye: the lens model inverted at every pixel.
  ///
  /// Rectified as geometry's Rectify says, its pictures are those of `Rectified`.
  [[nodiscard]] static SynthEye Raw(
      const RawEye& eye, const Matrix3& R_rect_eye, int width_px, int height_px, double x_m);

  [[nodiscard]] int width_px() const { return rays_.width_px(); }
  [[nodiscard]] int height_px() const { return rays_.height_px(); }
  [[nodiscard]] double x_m() const { return x_m_; }
  /// Width of a pixel near the middle on the plane z = 1.
  [[nodiscard]] double pixel() const { return pixel_; }
  /// Invalid  (NaN, NaN) where the lens model shows nothing: beyond the angle at which its
  ///          polynomial folds back.
  [[nodiscard]] ImageView<const Ray> rays() const { return rays_.view(); }

 private:
  SynthEye() = default;

  Image<Ray> rays_;
  double x_m_ = 0;
  double pixel_ = 0;
};

/// Takes the pictures of one eye.
///
/// What stands still is looked at again only when the camera has moved: pictures of a fixed camera
/// cost a fraction.
///
/// Memory   19 bytes a pixel.
/// Thread   one at a time; views of one scene may work side by side.
class SynthView {
 public:
  /// @param scene  must outlive the view.
  SynthView(const SynthScene& scene, SynthEye eye);
  SynthView(SynthView&& other) noexcept;
  SynthView& operator=(SynthView&& other) noexcept;
  ~SynthView();

  /// A picture in the scene's diffuse light. Pixels without a ray are black.
  ///
  /// @param T_base_rect  the pose of the rectified left eye, whichever eye this is.
  /// @param noise_seed   adds a sensor's noise, one level of standard deviation in each channel; to
  ///                     differ from picture to picture and from eye to eye. None: no noise.
  void Render(const SynthHand& hand,
              const Transform& T_base_rect,
              std::optional<std::uint64_t> noise_seed,
              RgbImage& out);

  /// The depth of what the eye sees through the pixels' centres.
  ///
  /// Unit     millimetres along rect's z, rounded.
  /// Invalid  0 where there is no ray, or beyond 65535 mm.
  void RenderDepth(const SynthHand& hand,
                   const Transform& T_base_rect,
                   Image<std::uint16_t>& depth_mm);

 private:
  class Painter;
  std::unique_ptr<Painter> painter_;
};

}  // namespace droidflow

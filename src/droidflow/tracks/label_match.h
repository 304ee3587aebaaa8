#pragma once

/// How well pictures agree with where the gripper is said to be.

#include "droidflow/core/image.h"
#include "droidflow/geometry/projection.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace droidflow {

/// Makes a picture `shrink` times smaller, and takes the mean of three by three of its pixels.
[[nodiscard]] Image<float> ShrinkAndSmooth(GrayView picture, int shrink);

/// Where a camera that stands still sees something that is not always there: the difference to the
/// pixel's median over all pictures, in its own deviations; 0 none … 1 surely.
///
/// @param pictures  of one size, three or more.
[[nodiscard]] std::vector<Image<float>> FindForeground(std::span<const Image<float>> pictures);

/// Where a camera that moves sees something that moves along: pixels that stay as they were in the
/// pictures before and after; 0 … 1.
[[nodiscard]] std::vector<Image<float>> FindStillness(std::span<const Image<float>> pictures);

/// The mean change from one picture to the other within a rectangle, what noise changes left out.
[[nodiscard]] double MeanChange(ImageView<const float> before,
                                ImageView<const float> after,
                                int left,
                                int top,
                                int right,
                                int bottom);

/// Where something is said to be at one moment, and what is around it.
struct Footprint {
  struct Place {
    int x, y;
  };
  std::vector<Place> inside;
  std::vector<Place> around;
  Pixel centre_px = {};    ///< from the principal point
  Pixel velocity_px = {};  ///< of the centre, a step
};

/// Shifts of a footprint that are tried: up to this far in both directions.
inline constexpr int kShiftReach_px = 48;

/// Takes the pixels of `shape`, and those within `ring_px` of it, `guard` excepted. Both pictures
/// are larger than the camera's by kShiftReach_px on each side.
[[nodiscard]] Footprint MakeFootprint(ImageView<const float> shape,
                                      ImageView<const float> guard,
                                      int ring_px);

/// By how much the evidence is stronger inside than around, for each shift of a footprint.
class ShiftTable {
 public:
  ShiftTable(const Footprint& footprint, ImageView<const float> evidence);

  /// -1 … 1; linear between shifts that were tried, -0.2 beyond.
  [[nodiscard]] double At(double dx_px, double dy_px) const;

 private:
  static constexpr int kStep_px = 2;
  static constexpr int kSide = 2 * kShiftReach_px / kStep_px + 1;

  std::vector<float> overlap_;
};

/// The shift that lets labels and pictures agree best.
struct LabelFit {
  double overlap = 0;       ///< as the labels stand, the time offset taken out; -1 … 1
  double best_overlap = 0;  ///< with the best shift
  double shift_px = 0;      ///< root mean square over the moments
  double late_steps = 0;    ///< by how much pictures lag; 0 for a camera on the hand
};

/// Tries shifts that are the same for all moments, grow with the distance from the principal point,
/// turn about it, and go along the motion; a camera on the hand has the first of them only.
[[nodiscard]] LabelFit FitLabels(std::span<const Footprint> footprints,
                                 std::span<const ShiftTable> tables,
                                 bool is_on_hand);

struct Lag {
  double steps = 0;        ///< by which `seen` comes after `said`
  double correlation = 0;  ///< at that lag
};

/// Where two rows of numbers correlate best, between steps by the parabola through three lags.
///
/// Invalid  NaN: not known at this step.
/// @return  none where they do not: below a correlation of 0.3, at the largest lag, or fewer than
///          20 numbers in common.
[[nodiscard]] std::optional<Lag> FindLag(std::span<const double> seen,
                                         std::span<const double> said,
                                         int max_lag);

}  // namespace droidflow

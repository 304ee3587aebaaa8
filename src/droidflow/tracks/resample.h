#pragma once

/// Tracks resampled by distance: one step per millimetre of path instead of one per control step,
/// so that a resting gripper does not fill them with copies.

#include "droidflow/core/result.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/tracks/contact_track.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace droidflow {

/// How lengths along the path are added up. kFloat32 is for agreement with the original pipeline.
enum class DistancePrecision { kFloat64, kFloat32 };

/// A place between two frames: (1 - weight) of `before`, weight of `after`.
struct FrameBlend {
  std::size_t before = 0;
  std::size_t after = 0;
  double weight = 0;  ///< 0 … 1

  bool operator==(const FrameBlend&) const = default;
};

/// Which frames make up each resampled step.
///
/// Shape    T frames, M steps.
struct ResamplePlan {
  std::vector<double> cumulative_distance_m;  ///< [T], of the centroid's path; starts at 0
  std::vector<FrameBlend> steps;              ///< [M], equal distances apart, both ends included
  std::vector<std::int32_t> frame_to_step;  ///< [T], nearest step of each frame, the first on a tie
};

/// Plans steps at most `step_m` apart along the path of the centroids.
///
/// One frame gives one step. A path shorter than a step gives two, the first and the last frame,
/// with the second half of the frames belonging to the second.
///
/// @param centroids_m  [T], T >= 1; rounded to float32 as they stand in the output.
/// @param step_m       finite, > 0.
/// @return             kInvalidData, status "bad_values", for a path that is not finite or makes
/// more
///                     than ten million steps.
[[nodiscard]] Result<ResamplePlan> PlanResample(std::span<const Eigen::Vector3f> centroids_m,
                                                double step_m,
                                                DistancePrecision precision);

/// The track's centroids as the output stores them.
[[nodiscard]] std::vector<Eigen::Vector3f> CentroidsAsStored(const ContactTrack& track);

/// A contact track at the steps of a plan.
///
/// Frame    robot base. Points and origins are blended linearly, rotations as InterpolateRotation.
/// Memory   one quaternion per frame and kind of frame, and the points of two frames. Refers to the
///          track and the plan, which must outlive it.
/// Thread   one thread at a time.
class ResampledTrack {
 public:
  ResampledTrack(const ContactTrack& track, const ResamplePlan& plan);

  [[nodiscard]] std::size_t step_count() const { return plan_.steps.size(); }

  [[nodiscard]] Vector3 Centroid(std::size_t step) const;
  [[nodiscard]] Transform ContactFrame(std::size_t step) const;
  [[nodiscard]] Transform LeftContactFrame(std::size_t step) const;
  [[nodiscard]] Transform RightContactFrame(std::size_t step) const;

  /// Writes the points of one step, [N, 3]. Ask in ascending order: neighbouring steps share
  /// frames.
  void PointsAt(std::size_t step, std::span<float> xyz_m);

 private:
  struct FramePoints {
    std::size_t frame;
    std::vector<double> xyz_m;
  };
  using Rotations = std::vector<Eigen::Quaterniond>;

  const std::vector<double>& PointsOfFrame(std::size_t frame, std::size_t keep);

  const ContactTrack& track_;
  const ResamplePlan& plan_;
  Rotations gripper_;
  Rotations left_;
  Rotations right_;
  std::array<FramePoints, 2> points_;
};

}  // namespace droidflow

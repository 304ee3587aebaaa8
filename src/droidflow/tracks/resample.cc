#include "droidflow/tracks/resample.h"

#include "droidflow/core/check.h"
#include "droidflow/episode/status.h"

#include <cmath>
#include <limits>

namespace droidflow {
namespace {

constexpr double kMaxSteps = 10'000'000;
constexpr std::size_t kNoFrame = std::numeric_limits<std::size_t>::max();

// Lengths and their running sum in `Sum`; float is what the original's NumPy code computes.
template <typename Sum>
std::vector<double> CumulativeDistance(std::span<const Eigen::Vector3f> centroids_m) {
  std::vector<double> distance_m = {0};
  distance_m.reserve(centroids_m.size());
  Sum sum = 0;
  for (std::size_t frame = 1; frame < centroids_m.size(); ++frame) {
    const auto step = (centroids_m[frame].cast<Sum>() - centroids_m[frame - 1].cast<Sum>()).eval();
    sum += std::sqrt(step.x() * step.x() + step.y() * step.y() + step.z() * step.z());
    distance_m.push_back(sum);
  }
  return distance_m;
}

// Precondition: distances ascend from 0; targets ascend within them.
std::vector<FrameBlend> BlendsAt(std::span<const double> targets_m,
                                 std::span<const double> distance_m) {
  constexpr double kSmallest_m = 1e-10;  // the original's guard
  std::vector<FrameBlend> blends;
  blends.reserve(targets_m.size());
  std::size_t after = 0;  // first frame at or beyond the target
  for (const double target_m : targets_m) {
    while (distance_m[after] < target_m) ++after;
    if (after == 0) {
      blends.push_back({});
      continue;
    }
    const double gap_m = distance_m[after] - distance_m[after - 1];
    const double weight = gap_m < kSmallest_m ? 0 : (target_m - distance_m[after - 1]) / gap_m;
    blends.push_back({.before = after - 1, .after = after, .weight = weight});
  }
  return blends;
}

// Precondition: both ascend.
std::vector<std::int32_t> NearestTargets(std::span<const double> targets_m,
                                         std::span<const double> distance_m) {
  std::vector<std::int32_t> nearest;
  nearest.reserve(distance_m.size());
  std::size_t target = 0;
  for (const double d : distance_m) {
    while (target + 1 < targets_m.size() &&
           std::abs(targets_m[target + 1] - d) < std::abs(targets_m[target] - d)) {
      ++target;
    }
    nearest.push_back(static_cast<std::int32_t>(target));
  }
  return nearest;
}

Transform BlendFrames(const FrameBlend& blend,
                      std::span<const Eigen::Quaterniond> rotations,
                      const Vector3& origin_m) {
  return MakeTransform(
      InterpolateRotation(rotations[blend.before], rotations[blend.after], blend.weight), origin_m);
}

Vector3 BlendPoints(const FrameBlend& blend, const Vector3& before_m, const Vector3& after_m) {
  return before_m + blend.weight * (after_m - before_m);
}

}  // namespace

Result<ResamplePlan> PlanResample(std::span<const Eigen::Vector3f> centroids_m,
                                  double step_m,
                                  DistancePrecision precision) {
  DF_CHECK(!centroids_m.empty(), "no frames");
  DF_CHECK(std::isfinite(step_m) && step_m > 0, "step of {} m", step_m);
  const std::size_t frames = centroids_m.size();
  ResamplePlan plan;
  plan.cumulative_distance_m = precision == DistancePrecision::kFloat32
                                   ? CumulativeDistance<float>(centroids_m)
                                   : CumulativeDistance<double>(centroids_m);
  const double length_m = plan.cumulative_distance_m.back();
  const double intervals = std::ceil(length_m / step_m);
  if (!(intervals < kMaxSteps)) {
    return FailAs(status::kBadValues,
                  ErrorKind::kInvalidData,
                  "want a path of fewer than {} steps of {} m, have {} m",
                  kMaxSteps,
                  step_m,
                  length_m);
  }

  if (frames < 2) {
    plan.steps = {{}};
    plan.frame_to_step = {0};
    return plan;
  }
  if (length_m < step_m) {
    plan.steps = {{}, {.before = frames - 1, .after = frames - 1, .weight = 0}};
    plan.frame_to_step.assign(frames, 0);
    for (std::size_t frame = frames / 2; frame < frames; ++frame) plan.frame_to_step[frame] = 1;
    return plan;
  }

  std::vector<double> targets_m(static_cast<std::size_t>(intervals) + 1);
  const double spacing_m = length_m / intervals;
  for (std::size_t i = 0; i < targets_m.size(); ++i) {
    targets_m[i] = static_cast<double>(i) * spacing_m;
  }
  targets_m.back() = length_m;  // not a rounding beyond it
  plan.steps = BlendsAt(targets_m, plan.cumulative_distance_m);
  plan.frame_to_step = NearestTargets(targets_m, plan.cumulative_distance_m);
  return plan;
}

std::vector<Eigen::Vector3f> CentroidsAsStored(const ContactTrack& track) {
  std::vector<Eigen::Vector3f> centroids_m;
  centroids_m.reserve(track.frame_count());
  for (std::size_t frame = 0; frame < track.frame_count(); ++frame) {
    centroids_m.emplace_back(track.Centroid(frame).cast<float>());
  }
  return centroids_m;
}

ResampledTrack::ResampledTrack(const ContactTrack& track, const ResamplePlan& plan)
    : track_(track), plan_(plan) {
  DF_CHECK(plan.frame_to_step.size() == track.frame_count(),
           "a plan of {} frames for a track of {}",
           plan.frame_to_step.size(),
           track.frame_count());
  for (std::size_t frame = 0; frame < track.frame_count(); ++frame) {
    gripper_.push_back(QuaternionFromRotation(track.gripper_pose(frame).linear()));
    left_.push_back(QuaternionFromRotation(track.left_pose(frame).linear()));
    right_.push_back(QuaternionFromRotation(track.right_pose(frame).linear()));
  }
  for (FramePoints& points : points_) {
    points.frame = kNoFrame;
    points.xyz_m.resize(3 * track.point_count());
  }
}

Vector3 ResampledTrack::Centroid(std::size_t step) const {
  const FrameBlend& blend = plan_.steps[step];
  return BlendPoints(blend, track_.Centroid(blend.before), track_.Centroid(blend.after));
}

Transform ResampledTrack::ContactFrame(std::size_t step) const {
  return BlendFrames(plan_.steps[step], gripper_, Centroid(step));
}

Transform ResampledTrack::LeftContactFrame(std::size_t step) const {
  const FrameBlend& blend = plan_.steps[step];
  return BlendFrames(blend,
                     left_,
                     BlendPoints(blend,
                                 track_.LeftContactFrame(blend.before).translation(),
                                 track_.LeftContactFrame(blend.after).translation()));
}

Transform ResampledTrack::RightContactFrame(std::size_t step) const {
  const FrameBlend& blend = plan_.steps[step];
  return BlendFrames(blend,
                     right_,
                     BlendPoints(blend,
                                 track_.RightContactFrame(blend.before).translation(),
                                 track_.RightContactFrame(blend.after).translation()));
}

void ResampledTrack::PointsAt(std::size_t step, std::span<float> xyz_m) {
  DF_CHECK(xyz_m.size() == 3 * track_.point_count(), "{} values", xyz_m.size());
  const FrameBlend& blend = plan_.steps[step];
  const double* before_m = PointsOfFrame(blend.before, blend.after).data();
  const double* after_m = PointsOfFrame(blend.after, blend.before).data();
  const double weight = blend.weight;
  float* __restrict out = xyz_m.data();
  for (std::size_t i = 0; i < xyz_m.size(); ++i) {
    out[i] = static_cast<float>(before_m[i] + weight * (after_m[i] - before_m[i]));
  }
}

// The points of `frame`, held until others are needed; those of `keep` stay.
const std::vector<double>& ResampledTrack::PointsOfFrame(std::size_t frame, std::size_t keep) {
  for (const FramePoints& points : points_) {
    if (points.frame == frame) return points.xyz_m;
  }
  FramePoints& points = points_[0].frame == keep ? points_[1] : points_[0];
  points.frame = frame;
  track_.PointsAt(frame, std::span<double>(points.xyz_m));
  return points.xyz_m;
}

}  // namespace droidflow

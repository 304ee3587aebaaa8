#pragma once

/// When the robot rests: steps that those who train on an episode may want to leave out.

#include "droidflow/episode/episode.h"
#include "droidflow/episode/trajectory.h"

#include <span>
#include <vector>

namespace droidflow {

/// The gripper counts as resting when it closes or opens by less than this between two steps.
inline constexpr double kIdleGripper = 0.01;

/// The idle steps of an episode as ranges: in order, apart from each other, none empty. Step t is
/// idle where movement is not enabled, or where from t to t + 1 (the last one: from t - 1 to t) the
/// centroid moves slower than `max_speed_m_per_s` and the gripper by less than kIdleGripper. An
/// episode of one step is idle.
///
/// @param cumulative_distance_m  [T] path length of the centroid.
/// @param fps                    of steps without times.
[[nodiscard]] std::vector<StepRange> FindIdleRanges(const Trajectory& trajectory,
                                                    std::span<const double> cumulative_distance_m,
                                                    double fps,
                                                    double max_speed_m_per_s);

}  // namespace droidflow

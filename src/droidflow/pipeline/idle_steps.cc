#include "droidflow/pipeline/idle_steps.h"

#include "droidflow/core/check.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace droidflow {

std::vector<StepRange> FindIdleRanges(const Trajectory& trajectory,
                                      std::span<const double> cumulative_distance_m,
                                      double fps,
                                      double max_speed_m_per_s) {
  const std::size_t steps = trajectory.size();
  DF_CHECK(cumulative_distance_m.size() == steps);
  const auto rests = [&](std::size_t from) {
    const std::vector<std::int64_t>& times_ms = trajectory.step_start_ms;
    const double duration_s = times_ms.empty()
                                  ? 1 / fps
                                  : static_cast<double>(times_ms[from + 1] - times_ms[from]) / 1000;
    const double distance_m = cumulative_distance_m[from + 1] - cumulative_distance_m[from];
    const std::vector<double>& gripper = trajectory.gripper_position;
    return distance_m < max_speed_m_per_s * duration_s &&
           std::abs(gripper[from + 1] - gripper[from]) < kIdleGripper;
  };
  const auto is_idle = [&](std::size_t t) {
    const bool is_enabled =
        trajectory.movement_enabled.empty() || trajectory.movement_enabled[t] != 0;
    return !is_enabled || steps == 1 || rests(t + 1 < steps ? t : t - 1);
  };
  std::vector<StepRange> ranges;
  for (std::size_t t = 0; t < steps; ++t) {
    if (!is_idle(t)) continue;
    const auto step = static_cast<std::int64_t>(t);
    if (ranges.empty() || ranges.back().end != step) ranges.push_back({step, step});
    ++ranges.back().end;
  }
  return ranges;
}

}  // namespace droidflow

#include "droidflow/episode/trajectory.h"

#include <algorithm>

namespace droidflow {

void TruncateTrajectory(Trajectory& trajectory, std::size_t frames) {
  const auto keep = [frames](auto& rows) {
    if (rows.size() > frames) rows.resize(frames);
  };
  keep(trajectory.cartesian_position);
  keep(trajectory.gripper_position);
  keep(trajectory.step_start_ms);
  keep(trajectory.movement_enabled);
  keep(trajectory.skip_action);
  for (auto& [serial, camera] : trajectory.cameras) {
    keep(camera.left_ee);
    keep(camera.frame_received_ms);
    keep(camera.estimated_capture_ms);
  }
}

std::optional<double> MeasureControlRate(std::span<const std::int64_t> step_start_ms) {
  std::vector<std::int64_t> steps_ms;
  for (std::size_t t = 1; t < step_start_ms.size(); ++t) {
    steps_ms.push_back(step_start_ms[t] - step_start_ms[t - 1]);
  }
  if (steps_ms.empty()) return std::nullopt;
  std::vector<std::int64_t> sorted_ms = steps_ms;
  std::ranges::sort(sorted_ms);
  const std::size_t half = sorted_ms.size() / 2;
  const double median_ms = sorted_ms.size() % 2 == 1
                               ? static_cast<double>(sorted_ms[half])
                               : static_cast<double>(sorted_ms[half - 1] + sorted_ms[half]) / 2;
  std::int64_t sum_ms = 0;
  std::int64_t count = 0;
  for (const std::int64_t step_ms : steps_ms) {
    if (static_cast<double>(step_ms) > 3 * median_ms) continue;  // a pause, not the robot's rate
    sum_ms += step_ms;
    ++count;
  }
  if (sum_ms <= 0) return std::nullopt;
  return 1000.0 * static_cast<double>(count) / static_cast<double>(sum_ms);
}

}  // namespace droidflow

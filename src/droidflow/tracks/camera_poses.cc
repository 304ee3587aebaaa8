#include "droidflow/tracks/camera_poses.h"

#include "droidflow/core/check.h"

#include <cstddef>

namespace droidflow {

Transform HandCameraInEe(const Transform& T_base_ee, const Transform& T_base_cam) {
  const Transform T_ee_base = T_base_ee.inverse();
  return T_ee_base * T_base_cam;
}

RobotStates InterpolateAt(std::span<const Transform> T_base_ee,
                          std::span<const double> gripper_position,
                          std::span<const std::int64_t> step_start_ms,
                          std::span<const std::int64_t> moments_ms) {
  const std::size_t steps = T_base_ee.size();
  DF_CHECK(gripper_position.size() == steps && step_start_ms.size() == steps &&
               moments_ms.size() == steps,
           "{} poses, {} gripper positions, {} step times, {} moments",
           steps,
           gripper_position.size(),
           step_start_ms.size(),
           moments_ms.size());
  RobotStates states;
  states.T_base_ee.reserve(steps);
  states.gripper_position.reserve(steps);
  for (std::size_t step = 0; step < steps; ++step) {
    const std::int64_t moment_ms = moments_ms[step];
    std::size_t before = step;
    while (before > 0 && step_start_ms[before] > moment_ms) --before;
    while (before + 1 < steps && step_start_ms[before + 1] <= moment_ms) ++before;
    if (before + 1 == steps || step_start_ms[before] > moment_ms) {
      states.T_base_ee.push_back(T_base_ee[before]);
      states.gripper_position.push_back(gripper_position[before]);
      continue;
    }
    // In double: the difference of two hostile integers would overflow.
    const auto start_ms = static_cast<double>(step_start_ms[before]);
    const double weight = (static_cast<double>(moment_ms) - start_ms) /
                          (static_cast<double>(step_start_ms[before + 1]) - start_ms);
    states.T_base_ee.push_back(InterpolatePose(T_base_ee[before], T_base_ee[before + 1], weight));
    states.gripper_position.push_back((1 - weight) * gripper_position[before] +
                                      weight * gripper_position[before + 1]);
  }
  return states;
}

}  // namespace droidflow

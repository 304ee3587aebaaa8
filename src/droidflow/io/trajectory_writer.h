#pragma once

#include "droidflow/core/result.h"
#include "droidflow/episode/trajectory.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace droidflow {

/// What trajectory.h5 stores of a moving camera beyond TrajectoryCamera.
struct MovingCameraRows {
  std::vector<PoseVector> left_base;   ///< [T] pose of the left lens in base
  std::vector<PoseVector> right_base;  ///< [T] pose of the right lens in base
  std::vector<PoseVector> right_ee;    ///< [T] pose of the right lens in ee, or empty
};

/// An episode as DROID's recorder stores it: what droidflow reads, and enough of the rest to give a
/// file its usual datasets. What is not here is derived or zero.
struct TrajectoryRecord {
  /// Cameras without a type become stale entries of camera_extrinsics. Empty step times become
  /// zeros.
  Trajectory trajectory;
  /// By serial. Cameras that are not here keep their poses of step 0 throughout.
  std::map<std::string, MovingCameraRows> moving_cameras;
  std::vector<std::array<double, 7>> joint_position_rad;  ///< [T], or empty: zeros

  std::string building = "lab";
  std::string current_task = "put the marker in the cup";
  std::string robot_serial_number = "panda-1";
  std::string time;  ///< the episode's folder name, e.g. "Sat_Aug_12_16:26:07_2023"
  std::string user = "nobody";
  std::string version_number = "1.3";
  std::int64_t scene_id = 1;
  bool success = true;
  bool with_action = true;            ///< false: a file without the group `action`
  bool with_gripper_position = true;  ///< false: a file without a dataset that readers need
  bool with_targets = true;           ///< false: without `action/target_*`, as version 1.0 wrote it
};

/// Writes a trajectory.h5 with the layout of DROID's recorder: superblock 0, one row per chunk,
/// booleans as 8-bit enumerations. Readers that know DROID cannot tell it from a recorded one.
///
/// Shape    every vector of `record` that is not empty holds T values; T may be 0.
/// Thread   one at a time in a process (HDF5 is built without locks).
/// Source   DROID's TrajectoryWriter; the real file in the data set's release 1.0.1.
[[nodiscard]] Status WriteTrajectory(const std::filesystem::path& path,
                                     const TrajectoryRecord& record);

}  // namespace droidflow

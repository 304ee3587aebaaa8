#pragma once

#include "droidflow/core/result.h"
#include "droidflow/episode/trajectory.h"

#include <filesystem>

namespace droidflow {

/// Reads the used part of a trajectory.h5.
///
/// Needed are `observation/robot_state/{cartesian_position [T,6], gripper_position [T]}`; every
/// other dataset may be missing, and counts as missing when its shape is not the one expected, when
/// a camera value is not finite, or when its times are not usable (zero or negative; for step_start
/// also not increasing). Every serial of `camera_extrinsics` gets its poses at step 0; what is
/// stored per step is read only for cameras that `camera_type` lists, and for all where the file
/// has no camera_type.
///
/// Memory   the whole file, read at once: its chunks hold one row each, and 16,000 of them on a
///          network file system would be as many round trips.
/// Thread   one at a time in a process (HDF5 is built without locks).
/// Source   DROID's TrajectoryWriter, droid/data_processing of droid-dataset/droid.
///
/// @return statuses no_trajectory, bad_trajectory, missing_dataset, empty, bad_values; kTransient
///         without a status where the file system failed.
[[nodiscard]] Result<Trajectory> ReadTrajectory(const std::filesystem::path& path);

}  // namespace droidflow

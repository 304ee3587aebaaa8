#pragma once

/// Names under which an episode is quarantined or a warning stands in quality.json. They are part
/// of the output format: docs/running.md lists what each means and what follows from it.

namespace droidflow::status {

// Quarantined.
inline constexpr const char kNotFound[] = "not_found";
inline constexpr const char kNoMetadata[] = "no_metadata";
inline constexpr const char kBadMetadata[] = "bad_metadata";
inline constexpr const char kNoTrajectory[] = "no_trajectory";
inline constexpr const char kBadTrajectory[] = "bad_trajectory";
inline constexpr const char kMissingDataset[] = "missing_dataset";
inline constexpr const char kEmpty[] = "empty";
inline constexpr const char kBadValues[] = "bad_values";
inline constexpr const char kNoDepth[] = "no_depth";

// Quarantined, or finished all the same: as --require-depth says.
inline constexpr const char kNoStereo[] = "no_stereo";

// Skipped and listed.
inline constexpr const char kDuplicate[] = "duplicate";
inline constexpr const char kInRepository[] = "in_repository";

// Tried again.
inline constexpr const char kCrashed[] = "crashed";
inline constexpr const char kTimeout[] = "timeout";
inline constexpr const char kNoSpace[] = "no_space";

// Warnings.
inline constexpr const char kLengthMismatch[] = "length_mismatch";
inline constexpr const char kNoExtrinsics[] = "no_extrinsics";
inline constexpr const char kNoIntrinsics[] = "no_intrinsics";
inline constexpr const char kNoRecordings[] = "no_recordings";
inline constexpr const char kRecordingMissing[] = "recording_missing";
inline constexpr const char kRecordingBroken[] = "recording_broken";
inline constexpr const char kFrameCount[] = "frame_count";
inline constexpr const char kFrameTimes[] = "frame_times";
inline constexpr const char kSerialMismatch[] = "serial_mismatch";
inline constexpr const char kStaleSerial[] = "stale_serial";
inline constexpr const char kWristCalibration[] = "wrist_calibration";
inline constexpr const char kNoTimestamps[] = "no_timestamps";

}  // namespace droidflow::status

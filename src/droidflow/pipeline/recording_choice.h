#pragma once

/// Which of a camera's recordings is used, and why.

#include "droidflow/core/result.h"
#include "droidflow/episode/considered.h"
#include "droidflow/episode/episode.h"
#include "droidflow/io/recordings.h"
#include "droidflow/video/recording_summary.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// Kinds in the order of preference; each at most once.
using RecordingOrder = std::vector<RecordingKind>;

/// Stereo MP4, SVO2, SVO, mono MP4: what droidflow takes unless told otherwise.
[[nodiscard]] const RecordingOrder& DefaultRecordingOrder();

/// "stereo_mp4,svo2,svo,mono_mp4"
[[nodiscard]] std::string FormatRecordingOrder(const RecordingOrder& order);

/// @return kUsage for an unknown or repeated kind, or none. Kinds left out are never used.
[[nodiscard]] Result<RecordingOrder> ParseRecordingOrder(std::string_view text);

struct ChosenRecording {
  RecordingKind kind = RecordingKind::kMonoMp4;  ///< by content: names are no promise
  std::filesystem::path path;
  std::string name;  ///< relative to the episode's folder
  RecordingSummary summary;
};

struct RecordingChoice {
  std::optional<ChosenRecording> chosen;
  std::string reason;    ///< "stereo_mp4 comes first", "no stereo_mp4, svo2; svo is next"
  Considerations files;  ///< every file of the camera
  std::vector<std::string> opened;  ///< of `files`, those into which it was looked
  std::vector<Warning> warnings;    ///< files that are broken
  bool has_broken_stereo = false;   ///< one of them should show both eyes
};

/// Takes the first kind of `order` that the camera has a readable recording of. Only headers and
/// indexes are read; MP4 files not at all where neither kind of them is in `order`.
///
/// An SVO file of the first format has no header to trust; its frames are counted by whoever
/// decodes it.
///
/// @return kTransient where the file system failed for now: the same files must give the same
/// choice. What stays unreadable is a warning.
[[nodiscard]] Result<RecordingChoice> ChooseRecording(const CameraRecordings& recordings,
                                                      std::string_view serial,
                                                      const RecordingOrder& order);

/// Whether a number of frames fits a trajectory: as many as steps, or one fewer.
[[nodiscard]] bool FramesFitSteps(std::int64_t frames, std::int64_t steps);

}  // namespace droidflow

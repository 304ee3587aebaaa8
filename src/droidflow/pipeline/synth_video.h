#pragma once

/// Recordings of a made-up scene, as a ZED camera's recorder leaves them.

#include "droidflow/core/result.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/geometry/projection.h"
#include "droidflow/geometry/rectification.h"
#include "droidflow/pipeline/synth_scene.h"
#include "droidflow/video/video_writer.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

enum class SynthVideo {
  kStill,   ///< a mono MP4 of one still picture: a few kB
  kMono,    ///< MP4 of the rectified left eye
  kStereo,  ///< that, and an MP4 of both rectified eyes side by side
  kSvo2,    ///< SVO2 of both raw eyes
};
/// "still", "mono", "stereo", "svo2".
[[nodiscard]] std::string_view ToString(SynthVideo video);

/// A camera and what it looks at.
struct SynthRecording {
  std::string serial;
  Intrinsics intrinsics;  ///< of the rectified camera, at the size that is recorded
  double baseline_m = 0;
  std::optional<StereoPair> raw;       ///< for kSvo2
  std::vector<Transform> T_base_rect;  ///< of every frame, or one for a camera that stands still
  std::vector<SynthHand> hands;        ///< of every frame
  std::vector<std::int64_t> frame_ns;  ///< of every frame, for kSvo2
  std::uint64_t noise_seed = 0;
};

struct SynthRecordingOptions {
  SynthVideo video = SynthVideo::kStereo;
  VideoCodec codec = VideoCodec::kMpeg4;  ///< of MP4 files; SVO2 has H.265
};

/// Writes recordings/MP4/{serial}.mp4 and {serial}-stereo.mp4, or recordings/SVO/{serial}.svo2,
/// below `episode_dir`, and recordings/{serial}/depth.mkv below `truth_dir`: the exact depth of the
/// rectified left eye in every frame.
///
/// Thread   several at a time, each with its own recording.
[[nodiscard]] Status WriteSynthRecording(const SynthScene& scene,
                                         const SynthRecording& recording,
                                         const SynthRecordingOptions& options,
                                         const std::filesystem::path& episode_dir,
                                         const std::filesystem::path& truth_dir);

}  // namespace droidflow

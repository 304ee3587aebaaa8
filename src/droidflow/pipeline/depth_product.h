#pragma once

/// depth.mkv and depth_meta.json of a recording; docs/formats.md has them byte for byte.

#include "droidflow/core/result.h"
#include "droidflow/depth/row_alignment.h"
#include "droidflow/pipeline/depth_frames.h"
#include "droidflow/pipeline/depth_options.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

inline constexpr const char kDepthVideoFile[] = "depth.mkv";
inline constexpr const char kDepthMetaFile[] = "depth_meta.json";
inline constexpr double kMillimetres = 1000;  ///< of a metre

/// Whether a file of a finished episode is one of these.
[[nodiscard]] inline bool IsDepthFile(const std::filesystem::path& file) {
  return file.filename() == kDepthVideoFile || file.filename() == kDepthMetaFile;
}

/// What depth_meta.json says besides what the recording itself does. Empty: not known, null there.
struct DepthContext {
  std::string recording_name = {};
  std::string serial = {};
  /// As FramePairing: frames of the recording.
  std::optional<std::vector<std::int32_t>> step_to_frame = {};
  /// Of every frame of the recording, Unix nanoseconds; empty: those that frames have.
  std::vector<std::int64_t> frame_times_ns = {};
  /// When the recording's container shows each of its frames, nanoseconds, for a video of frames
  /// without times of their own and of an unknown rate; empty: as the nominal rate has it.
  std::vector<std::int64_t> shown_at_ns = {};
  std::vector<std::string> warnings = {};  ///< what is wrong with what is said here
  /// The rate at which the recording's frames were taken, for a video of frames without times;
  /// none, or out of range: what the recording says.
  std::optional<double> nominal_fps = {};
};

/// Where depth goes.
///
/// A name that ends in .mkv is a video, its description beside it as {stem}_meta.json. A name that
/// has a number's place, "depth/%06d.png", is a picture for each frame, .png (16 bit, millimetres),
/// .pfm or .npy (metres, as WriteMap), and depth_meta.json beside them.
class DepthOutput {
 public:
  /// @return kUsage for any other name.
  [[nodiscard]] static Result<DepthOutput> Parse(const std::filesystem::path& path);

  [[nodiscard]] bool is_video() const { return is_video_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] const std::filesystem::path& meta_path() const { return meta_path_; }
  /// The file of a frame, for what is no video.
  [[nodiscard]] std::filesystem::path FrameFile(std::int64_t index) const;

 private:
  bool is_video_ = false;
  std::filesystem::path path_;
  std::filesystem::path meta_path_;
};

struct DepthReport {
  std::vector<std::filesystem::path> files;  ///< the video, or the first picture's folder; the meta
  std::int64_t frames = 0;
  std::int64_t missing_frames = 0;  ///< without depth: there was no map, or nothing was decoded
  std::int64_t damaged_frames = 0;
  double valid_fraction = 0;         ///< of all pixels of all frames
  std::optional<RowAlignment> rows;  ///< nothing: too few corners, or not measured
  RowOffset removed;
  std::string backend;
  std::vector<std::string> warnings;  ///< what was wrong with the recording
  // As DepthCounters, of this recording.
  double decode_s = 0;
  double match_s = 0;
  double encode_s = 0;
  double wait_s = 0;
  double wall_s = 0;  ///< from the first look at the recording until all files are in place
};

/// What became of a camera's depth.
struct CameraDepth {
  std::string serial;
  std::string role;
  std::optional<DepthReport> report;
  std::string reason;   ///< why there is no depth; empty: there is
  bool failed = false;  ///< there should be: its recording or its calibration is wrong
};

/// Writes a recording's depth, or that of every K-th frame: a DepthSource reads and matches while
/// the caller's thread compresses. What of the recording cannot be decoded any more is a warning,
/// as long as there is a frame; depth then ends there. Files are in place when they are complete;
/// the description is the last of them, and an older one is gone before a video takes its place.
/// What a process that died left of the same files is removed first.
///
/// Memory   as DepthSource.
/// @param pool  keeps the matchers for the next recording.
/// @param live  what is done is added to, frame by frame; may be shared by several recordings.
/// @return  as OpenDepthSource; kCancelled after a signal to stop; kInvalidData without a frame.
[[nodiscard]] Result<DepthReport> WriteDepth(const DepthRecording& recording,
                                             const DepthContext& context,
                                             const DepthOptions& options,
                                             const DepthOutput& output,
                                             MatcherPool& pool,
                                             DepthCounters* live = nullptr);

}  // namespace droidflow

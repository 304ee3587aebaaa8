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

/// What depth_meta.json says besides what the recording itself does. Empty: not known, null there.
struct DepthContext {
  std::string recording_name = {};
  std::string serial = {};
  std::optional<std::vector<std::int32_t>> step_to_frame = {};  ///< as FramePairing
  /// Of every frame, Unix nanoseconds; empty: those that frames have.
  std::vector<std::int64_t> frame_times_ns = {};
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
};

/// Writes a recording's depth. What of it cannot be decoded any more is a warning, as long as there
/// is a frame; depth then ends there. Files are in place when they are complete; the description
/// is the last of them, and an older one is gone before a video takes its place.
///
/// Memory   a few frames.
/// @param pool  keeps the matchers for the next recording.
/// @return  as OpenDepthSource; kCancelled after a signal to stop; kInvalidData without a frame.
[[nodiscard]] Result<DepthReport> WriteDepth(const DepthRecording& recording,
                                             const DepthContext& context,
                                             const DepthOptions& options,
                                             const DepthOutput& output,
                                             MatcherPool& pool);

}  // namespace droidflow

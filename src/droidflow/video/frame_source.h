#pragma once

/// Recordings as a row of pictures, whatever they are stored in.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"
#include "droidflow/geometry/projection.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// What a recording is, by its first bytes; names do not count.
enum class RecordingFormat {
  kMp4,
  kSvo2,  ///< MCAP, also when the file is called .svo
  kSvo1,  ///< ZED's first format, documented nowhere
};

/// "mp4", "svo2", "svo".
[[nodiscard]] std::string_view ToString(RecordingFormat format);

/// @return kInvalidData for anything else, an empty file included; kNotFound.
[[nodiscard]] Result<RecordingFormat> DetectRecordingFormat(const std::filesystem::path& path);

/// What is known of a recording when it is open.
struct SourceInfo {
  std::string reader;     ///< "mp4", "svo2", "svo1-salvage" or "zed-sdk"
  std::string codec;      ///< "mpeg4", "h264", "hevc" or "jpeg"; "zed-sdk" does not say
  int width_px = 0;       ///< of one eye
  int height_px = 0;      ///< of one eye
  bool stereo = false;    ///< both eyes, side by side in the file, left first
  bool rectified = true;  ///< false: as the sensors saw it
  std::optional<std::int64_t> frame_count;  ///< by the container; decoding may give fewer
  double nominal_fps = 0;  ///< what the file says, which for DROID's MP4 files is not true
  std::string serial;      ///< empty: the file does not say
  std::optional<Intrinsics> intrinsics = {};  ///< of the rectified left eye; "zed-sdk" only
  double baseline_m = 0;                      ///< 0: not known; "zed-sdk" only
};

enum class PixelFormat { kGray, kRgb };

/// Both eyes at one moment.
///
/// Memory   the source's: valid until its next call.
struct StereoFrame {
  std::int64_t index = 0;               ///< counts from 0 in the order in which frames are shown
  std::optional<std::int64_t> time_ns;  ///< of a clock of the recorder's choice; often Unix time
  GrayView left;                        ///< luma as stored; empty when RGB was asked for
  GrayView right;                       ///< empty: mono
  RgbView left_rgb;                     ///< empty when gray was asked for
  RgbView right_rgb;
  ImageView<const std::uint16_t> depth_mm;  ///< of the left eye, 0: none; see sdk_depth
  bool damaged = false;                     ///< the decoder had to guess at parts of it
};

struct SourceOptions {
  PixelFormat pixels = PixelFormat::kGray;
  int decode_threads = 1;  ///< at least 1; only what is damaged may look different with more
  /// Let the ZED SDK read SVO and SVO2 files where this build and machine can: rectified then. In
  /// worker processes only.
  bool use_zed_sdk = false;
  bool sdk_depth = false;                 ///< the ZED SDK's own depth too; OpenZedSource only
  std::string zed_depth_mode = "NEURAL";  ///< of sdk_depth: one of kZedDepthModes
};

/// An open recording.
///
/// Thread   one at a time.
class FrameSource {
 public:
  FrameSource() = default;
  FrameSource(const FrameSource&) = delete;
  FrameSource& operator=(const FrameSource&) = delete;
  virtual ~FrameSource() = default;

  [[nodiscard]] virtual const SourceInfo& info() const = 0;

  /// Decodes the next frame. @return false after the last one. kInvalidData where the recording
  /// cannot be read on; what was decoded before is good.
  [[nodiscard]] virtual Result<bool> Next(StereoFrame& frame) = 0;

  /// Makes Next give frame `index`, the same picture as when all before it are read. @return
  /// kUsage for a negative index; past the end is no error, Next says false.
  [[nodiscard]] virtual Status Seek(std::int64_t index) = 0;

  /// What was wrong so far without stopping the reading.
  [[nodiscard]] virtual std::vector<std::string> Warnings() const = 0;
};

/// Opens a recording by its content. SVO files of the first format go through the salvage reader.
///
/// @return kNotFound; kInvalidData for a file that is no recording or has no picture that can be
///         decoded; kUnsupported where this machine lacks FFmpeg's libraries.
[[nodiscard]] Result<std::unique_ptr<FrameSource>> OpenFrameSource(
    const std::filesystem::path& path, const SourceOptions& options);

}  // namespace droidflow

#pragma once

#include "droidflow/core/result.h"
#include "droidflow/video/frame_source.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// A recording as its headers and indexes describe it: no picture is decoded, and FFmpeg's
/// libraries are not needed.
struct RecordingSummary {
  RecordingFormat format = RecordingFormat::kMp4;
  SourceInfo info;
  /// Of every frame in the order in which frames are shown; empty: the file has none.
  std::vector<std::int64_t> frame_times_ns;
  std::vector<std::string> problems;  ///< what is wrong with it but leaves it readable
};

/// How far to go for the frame count of an SVO file of the first format, which has no index.
enum class SvoFrames {
  kUnknown,  ///< read its first bytes only: codec and frame count stay open
  kCount,    ///< read the file through for the pictures that the salvage reader finds
};

/// MP4: the movie box. SVO2: `svo_header`, the message indexes and the first frame's header.
///
/// @return as OpenFrameSource.
[[nodiscard]] Result<RecordingSummary> SummarizeRecording(const std::filesystem::path& path,
                                                          SvoFrames svo_frames);

/// What the header message of an SVO2 file says.
struct Svo2Header {
  int width_px = 0;  ///< of one eye
  int height_px = 0;
  std::string serial;
  double fps = 0;
  std::string sdk_version;  ///< empty: not said
};

/// Reads only as far as `svo_header`: at most 64 kB of a file with uncompressed chunks.
[[nodiscard]] Result<Svo2Header> ReadSvo2Header(const std::filesystem::path& path);

}  // namespace droidflow

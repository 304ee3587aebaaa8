#pragma once

/// What the headers of an MP4 or MOV file say of its video, without a decoder.

#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace droidflow {

/// The first video track of a file, as its header describes it.
struct Mp4Header {
  std::string codec_fourcc;  ///< "avc1", "hvc1", "mp4v", "png " …
  int width_px = 0;
  int height_px = 0;
  std::int64_t frame_count = 0;
  double nominal_fps =
      0;  ///< frames by duration: what the file says, which for DROID need not be true
  double duration_s = 0;
};

/// Reads the boxes' headers and the movie box, never the pictures.
///
/// Source  ISO/IEC 14496-12 (boxes moov to stsz); QuickTime File Format for "png ".
/// @return kInvalidData with the byte for a file that is empty, cut short or no MP4; kUnsupported
/// for a
///         fragmented one, whose frames the header does not count.
[[nodiscard]] Result<Mp4Header> ReadMp4Header(const std::filesystem::path& path);

/// As ReadMp4Header, but a file that was cut off behind its movie box is no error.
[[nodiscard]] Result<Mp4Header> ReadMp4HeaderOfCutFile(const std::filesystem::path& path);

/// When each frame is shown, in the order of being shown, by the file's own clock.
///
/// Unit    nanoseconds; less than 0: before the film begins.
/// Source  ISO/IEC 14496-12, boxes stts, ctts and, of elst, the empty edits and the first other.
/// @return as ReadMp4HeaderOfCutFile; kInvalidData for more than four million frames.
[[nodiscard]] Result<std::vector<std::int64_t>> ReadMp4FrameTimes(
    const std::filesystem::path& path);

}  // namespace droidflow

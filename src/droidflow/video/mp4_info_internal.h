#pragma once

#include "droidflow/core/result.h"
#include "droidflow/video/frame_source.h"

#include <filesystem>
#include <string>
#include <vector>

namespace droidflow {

/// An MP4 file as its header describes it.
struct Mp4Info {
  SourceInfo info;
  std::vector<std::string> problems;
};

/// Reads the header, also of files cut off behind it. @return kInvalidData where it says what a
/// decoder should not be asked to make room for.
[[nodiscard]] Result<Mp4Info> ReadMp4Info(const std::filesystem::path& path);

}  // namespace droidflow

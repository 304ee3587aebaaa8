#pragma once

#include "droidflow/core/result.h"

#include <string>

namespace droidflow {

/// Loads the libraries that decode and encode recordings, and says which they are: "FFmpeg's
/// libavcodec 59.37, libavformat 59.27". @return kUnsupported with the name of what is missing.
[[nodiscard]] Result<std::string> DescribeCodecs();

}  // namespace droidflow

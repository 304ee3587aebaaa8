#pragma once

#include "droidflow/core/result.h"
#include "droidflow/pipeline/options.h"

#include <string>
#include <vector>

namespace droidflow {

/// What a command line of `metadata` or `full` asks for.
struct RunRequest {
  std::string command;
  MetadataOptions options;
  bool dry_run = false;
};

/// Understands the words of such a command line, its name first. @return kUsage.
[[nodiscard]] Result<RunRequest> ParseRunCommand(const std::vector<std::string>& words);

}  // namespace droidflow

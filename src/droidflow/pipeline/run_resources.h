#pragma once

/// What of the machine a run uses.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/depth_options.h"
#include "droidflow/pipeline/options.h"

#include <string>
#include <vector>

namespace droidflow {

struct RunResources {
  int workers = 1;
  std::vector<std::string> gpus;   ///< as GpuList names them; workers take them in turn
  DepthOptions depth;              ///< with backend and threads of one worker
  std::vector<std::string> notes;  ///< for the user: where it is not what was asked for

  [[nodiscard]] bool UsesGpus() const {
    return depth.backend.kind == DepthBackend::Kind::kMatcher &&
           depth.backend.matcher == MatcherBackend::kCuda;
  }
};

/// Looks for GPUs, unless other options say that none is wanted, and shares cores out.
///
/// @return kUsage or kUnsupported for depth that this machine or build cannot make.
[[nodiscard]] Result<RunResources> FindRunResources(const MetadataOptions& options);

/// Without looking.
///
/// On processors every worker has its share of the cores, for matching; on GPUs for decoding and
/// compressing, and two frames are under way at a time. What the user gave stays.
///
/// @param gpus   as many as there are.
/// @param cores  of the machine, at least 1.
[[nodiscard]] RunResources ShareOut(const MetadataOptions& options,
                                    std::vector<std::string> gpus,
                                    int cores);

}  // namespace droidflow

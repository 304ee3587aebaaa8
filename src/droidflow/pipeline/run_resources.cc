#include "droidflow/pipeline/run_resources.h"

#include "droidflow/pipeline/gpus.h"
#include "droidflow/pipeline/run_board.h"

#include <algorithm>
#include <thread>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

using Kind = DepthBackend::Kind;

constexpr int kFramesUnderWay = 2;  // on a GPU: one is computed while another is copied

bool WantsCuda(const DepthBackend& backend) {
  return backend.kind == Kind::kMatcher && backend.matcher == MatcherBackend::kCuda;
}

}  // namespace

RunResources ShareOut(const MetadataOptions& options, std::vector<std::string> gpus, int cores) {
  const FullOptions& full = options.full;
  RunResources resources{.gpus = std::move(gpus), .depth = options.depth, .notes = {}};
  const std::size_t wanted = static_cast<std::size_t>(full.gpus.value_or(kMostGpus));
  if (resources.gpus.size() > wanted) resources.gpus.resize(wanted);
  const auto count = static_cast<int>(resources.gpus.size());
  resources.workers = count > 0 ? count * full.workers_per_gpu : options.Workers();
  if (options.pipeline != Pipeline::kFull) return resources;

  DepthOptions& depth = resources.depth;
  if (depth.backend.kind == Kind::kAuto || count > 0) {
    depth.backend = {.kind = Kind::kMatcher,
                     .matcher = count > 0 ? MatcherBackend::kCuda : MatcherBackend::kCpu};
  }
  const int share = std::max(1, cores / (resources.workers * full.camera_jobs));
  if (!depth.jobs) depth.jobs = count > 0 ? kFramesUnderWay : share;
  if (count > 0) depth.encode_threads = std::clamp(share - 1, 1, 4);
  return resources;
}

Result<RunResources> FindRunResources(const MetadataOptions& options) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const DepthBackend& backend = options.depth.backend;
  const bool may_use_gpus = options.pipeline == Pipeline::kFull &&
                            (backend.kind == Kind::kAuto || WantsCuda(backend)) &&
                            options.full.gpus.value_or(1) > 0;
  GpuList found;
  if (may_use_gpus) {
    DF_ASSIGN_OR_RETURN(found, FindGpus());
  }
  if (WantsCuda(backend) && found.names.empty()) {
    return Fail(
        ErrorKind::kUnsupported, "backend cuda: {}", may_use_gpus ? found.why_none : "--gpus is 0");
  }
  const auto count = static_cast<int>(found.names.size());
  RunResources resources = ShareOut(options, std::move(found.names), cores);
  if (options.pipeline != Pipeline::kFull) return resources;
  if (may_use_gpus && options.full.gpus.value_or(0) > count) {
    resources.notes.push_back(fmt::format("{} GPUs asked for, {} found{}; {} workers",
                                          *options.full.gpus,
                                          count,
                                          count == 0 ? ": " + found.why_none : "",
                                          resources.workers));
  }
  // Asking the driver here would keep workers from using a GPU.
  DepthOptions checked = resources.depth;
  if (resources.UsesGpus()) checked.backend.matcher = MatcherBackend::kCpu;
  DF_RETURN_IF_ERROR(CheckDepthOptions(checked));
  return resources;
}

}  // namespace droidflow

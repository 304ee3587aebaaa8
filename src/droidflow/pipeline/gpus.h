#pragma once

/// The GPUs of this machine, as workers see them.

#include "droidflow/core/result.h"

#include <string>
#include <vector>

namespace droidflow {

struct GpuList {
  std::vector<std::string> names;  ///< each as CUDA_VISIBLE_DEVICES names it
  std::string why_none;            ///< where there are none
};

/// Looks for GPUs that the CUDA backend can use. Obeys CUDA_VISIBLE_DEVICES.
///
/// A process that talked to a GPU cannot fork others that do; a process of its own asks.
[[nodiscard]] Result<GpuList> FindGpus();

/// The names of `count` GPUs: what a value of CUDA_VISIBLE_DEVICES lists, or 0, 1, …; null: unset.
[[nodiscard]] std::vector<std::string> NamesOfGpus(int count, const char* visible_devices);

/// From now on this process, which must not have talked to a GPU, sees one GPU only.
void SeeOnlyGpu(const std::string& name);

}  // namespace droidflow

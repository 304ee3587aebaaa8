#pragma once

/// What the processes of a run tell each other while it goes on, in memory that they share.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/depth_product.h"

#include <array>
#include <atomic>
#include <memory>
#include <optional>

namespace droidflow {

/// A GPU that fails so many times in a row is left out for the rest of the run.
inline constexpr int kMostGpuFailures = 3;
inline constexpr int kMostGpus = 64;

struct RunBoard {
  DepthCounters depth;                                 ///< of all workers
  std::array<std::atomic<int>, kMostGpus> failures{};  ///< in a row, of each GPU

  [[nodiscard]] bool IsOut(int gpu) const;
  /// A GPU failed. @return whether it is out from now on.
  bool CountFailure(int gpu);
  /// A GPU made an episode's depth.
  void CountSuccess(int gpu);
};

/// Unmaps it. Processes forked later share it.
struct UnmapBoard {
  void operator()(RunBoard* board) const;
};
using SharedRunBoard = std::unique_ptr<RunBoard, UnmapBoard>;
[[nodiscard]] Result<SharedRunBoard> MakeSharedRunBoard();

/// Workers take GPUs in turn, and leave out those that failed. @return nothing: none is left.
[[nodiscard]] std::optional<int> GpuOfWorker(int worker, int gpus, const RunBoard& board);

}  // namespace droidflow

#pragma once

/// Pairs through the GPU, several at a time: while one is matched, the next goes up and the one
/// before comes down.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"
#include "droidflow/depth/matcher.h"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace droidflow {

/// What one step of the matching takes.
struct CudaStepTime {
  std::string name;
  double ms = 0;          ///< median
  std::size_t bytes = 0;  ///< of the GPU's memory that it has to read and write
};

/// Memory   of the GPU: six bytes for each pixel and disparity (rounded up to 128, 256, 512 or
///          1024), 35 for each pixel and 5 more for each pair under way; of the host, pinned: 5 for
///          each pixel and pair under way. Taken for the first pair and for one of another size.
/// Thread   one at a time.
class CudaPipeline {
 public:
  /// @param options      checked.
  /// @param most_pairs   under way at once, at least 1.
  CudaPipeline(const MatcherOptions& options, int most_pairs);
  CudaPipeline(const CudaPipeline&) = delete;
  CudaPipeline& operator=(const CudaPipeline&) = delete;
  ~CudaPipeline();

  /// Pairs submitted and not collected.
  [[nodiscard]] int pairs() const;

  /// Takes a copy of the pair and returns before it is matched.
  ///
  /// @return as Matcher::Match; kUsage too where most_pairs are under way, or pairs of another
  /// size.
  [[nodiscard]] Status Submit(GrayView left, GrayView right);

  /// Waits for the oldest pair.
  ///
  /// @param confidence   may be null.
  /// @return kUsage where no pair is under way. After any other failure none is.
  [[nodiscard]] Status Collect(DisparityImage& disparity_px16, GrayImage* confidence);

  /// Matches a pair `rounds` times, a step at a time. No pair may be under way.
  [[nodiscard]] Result<std::vector<CudaStepTime>> TimeSteps(GrayView left,
                                                            GrayView right,
                                                            int rounds);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace droidflow

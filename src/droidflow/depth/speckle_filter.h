#pragma once

/// Small patches of disparities that nothing around supports.

#include "droidflow/core/image.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace droidflow {

/// Step 11 of docs/matching.md: patches of at most `area_px` pixels lose their disparities.
///
/// Pixels of a row that belong together are one run, and runs are joined with those of the row
/// above: every pixel is looked at twice, whatever the patches' shapes. The union of runs is that
/// of Tarjan 1975, "Efficiency of a good but not linear set union algorithm".
///
/// Memory   kept from picture to picture.
class SpeckleFilter {
 public:
  /// @param range_px16  neighbours that differ by more belong to different patches.
  void Apply(int area_px, int range_px16, ImageView<std::int16_t> disparity_px16);

 private:
  struct Run {
    std::int32_t parent;  ///< itself: it stands for its patch
    std::int32_t area_px;
    std::int32_t length_px;
  };

  std::int32_t Find(std::int32_t run);
  void Join(std::int32_t a, std::int32_t b);

  std::vector<Run> runs_;            ///< in reading order
  std::vector<std::int32_t> above_;  ///< of the row above, the run of each pixel that has one
  std::vector<std::int32_t> row_;
};

}  // namespace droidflow

#include "droidflow/depth/cpu_kernels_internal.h"
#include "droidflow/depth/matcher_internal.h"
#include "droidflow/depth/speckle_filter.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

namespace droidflow {
namespace {

/// A half disparity as one of the whole picture, from the pixel's own and those beside it.
int Doubled(int own_px16, int column_px16, int row_px16, int both_px16) {
  const auto is_near = [own_px16](int other_px16) {
    return other_px16 >= 0 && std::abs(other_px16 - own_px16) <= kDisparityScale;
  };
  if (!is_near(column_px16) || !is_near(row_px16) || !is_near(both_px16)) return 2 * own_px16;
  return (9 * own_px16 + 3 * column_px16 + 3 * row_px16 + both_px16 + 4) / 8;
}

/// What docs/matching.md says under "Half size", after the matching.
void Double(const MatcherOptions& options,
            DisparityView half_px16,
            ImageView<std::int16_t> whole_px16) {
  const int least_px16 = kDisparityScale * options.min_disparity_px;
  const int most_px16 = kDisparityScale * (options.max_disparity_px - 1);
  const int last_x = half_px16.width_px - 1;
  const int last_y = half_px16.height_px - 1;
  for (int y = 0; y < whole_px16.height_px; ++y) {
    const std::int16_t* const own = half_px16.row(y / 2);
    const std::int16_t* const beside =
        half_px16.row(std::clamp(y / 2 + (y % 2 != 0 ? 1 : -1), 0, last_y));
    std::int16_t* const out = whole_px16.row(y);
    for (int half_x = 0; half_x <= last_x; ++half_x) {
      const int x = 2 * half_x;
      const bool has_right = x + 1 < whole_px16.width_px;
      if (own[half_x] < 0) {
        out[x] = kNoDisparity_px16;
        if (has_right) out[x + 1] = kNoDisparity_px16;
        continue;
      }
      const auto doubled = [&](int other_x) {
        const int disparity_px16 =
            Doubled(own[half_x], own[other_x], beside[half_x], beside[other_x]);
        return static_cast<std::int16_t>(std::clamp(disparity_px16, least_px16, most_px16));
      };
      out[x] = doubled(std::max(half_x - 1, 0));
      if (has_right) out[x + 1] = doubled(std::min(half_x + 1, last_x));
    }
  }
}

class CpuMatcher : public Matcher {
 public:
  explicit CpuMatcher(const MatcherOptions& options)
      : options_(options), inner_(options.half_size ? AtHalfSize(options) : options) {}

  Status Match(GrayView left,
               GrayView right,
               DisparityImage& disparity_px16,
               GrayImage* confidence) override {
    DF_RETURN_IF_ERROR(CheckPair(left, right));
    disparity_px16.Resize(left.width_px, left.height_px);
    if (confidence != nullptr) confidence->Resize(left.width_px, left.height_px);
    if (!options_.half_size) {
      MatchAtOneSize(left,
                     right,
                     disparity_px16.view(),
                     confidence != nullptr ? confidence->view() : ImageView<std::uint8_t>{});
      return {};
    }
    const int half_width_px = (left.width_px + 1) / 2;
    const int half_height_px = (left.height_px + 1) / 2;
    half_left_.Resize(half_width_px, half_height_px);
    half_right_.Resize(half_width_px, half_height_px);
    half_disparity_px16_.Resize(half_width_px, half_height_px);
    if (confidence != nullptr) half_confidence_.Resize(half_width_px, half_height_px);
    HalveOnCpu(left, half_left_.view());
    HalveOnCpu(right, half_right_.view());
    MatchAtOneSize(half_left_.view(),
                   half_right_.view(),
                   half_disparity_px16_.view(),
                   confidence != nullptr ? half_confidence_.view() : ImageView<std::uint8_t>{});
    Double(options_, half_disparity_px16_.view(), disparity_px16.view());
    if (confidence == nullptr) return {};
    for (int y = 0; y < left.height_px; ++y) {
      for (int x = 0; x < left.width_px; ++x) {
        confidence->at(x, y) = half_confidence_.at(x / 2, y / 2);
      }
    }
    return {};
  }

 private:
  void MatchAtOneSize(GrayView left,
                      GrayView right,
                      ImageView<std::int16_t> disparity_px16,
                      ImageView<std::uint8_t> confidence) {
    if (inner_.median) {
      // With one more row and column on every side.
      unfiltered_px16_.Resize(left.width_px + 2, left.height_px + 2);
      ImageView<std::int16_t> unfiltered = unfiltered_px16_.view().Columns(1, left.width_px);
      unfiltered.data = unfiltered.row(1);
      unfiltered.height_px = left.height_px;
      SgmOnCpu(inner_, left, right, workspace_, unfiltered, confidence);
      MedianOnCpu(unfiltered, disparity_px16);
    } else {
      SgmOnCpu(inner_, left, right, workspace_, disparity_px16, confidence);
    }
    speckles_.Apply(
        inner_.speckle_area_px, kDisparityScale * inner_.speckle_range_px, disparity_px16);
    if (confidence.empty()) return;
    for (int y = 0; y < left.height_px; ++y) {
      for (int x = 0; x < left.width_px; ++x) {
        if (disparity_px16.at(x, y) < 0) confidence.at(x, y) = 0;
      }
    }
  }

  MatcherOptions options_;
  MatcherOptions inner_;  ///< at the size at which it is matched
  SgmWorkspace workspace_;
  SpeckleFilter speckles_;
  DisparityImage unfiltered_px16_;
  GrayImage half_left_;
  GrayImage half_right_;
  DisparityImage half_disparity_px16_;
  GrayImage half_confidence_;
};

}  // namespace

Result<std::unique_ptr<Matcher>> MakeCpuMatcher(const MatcherOptions& options) {
  return std::make_unique<CpuMatcher>(options);
}

}  // namespace droidflow

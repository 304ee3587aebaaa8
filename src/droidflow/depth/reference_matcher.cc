#include "droidflow/core/result.h"
#include "droidflow/depth/matcher_internal.h"
#include "droidflow/depth/reference_stages_internal.h"

#include <utility>

namespace droidflow {
namespace reference {
namespace {

struct Matched {
  DisparityImage disparity_px16;
  GrayImage confidence;
};

Matched MatchWholeSize(GrayView left, GrayView right, const MatcherOptions& options) {
  const Search search{options.min_disparity_px, options.max_disparity_px};
  const Costs costs = MatchingCosts(left, right, search);
  const Sums sums = SumOfPaths(left, costs, options);
  Winners winners = PickWinners(sums);
  DropAmbiguous(sums, options.uniqueness_percent, winners);
  DropWhereEyesDisagree(sums, options.lr_check_px, winners);
  DisparityImage disparity_px16 = Refine(sums, winners, options.subpixel);
  if (options.median) disparity_px16 = MedianOf(disparity_px16.view());
  DropSpeckles(options.speckle_area_px, options.speckle_range_px, disparity_px16);
  GrayImage confidence = ConfidenceOf(sums, winners, disparity_px16.view());
  return {std::move(disparity_px16), std::move(confidence)};
}

Matched MatchHalfSize(GrayView left, GrayView right, const MatcherOptions& options) {
  const GrayImage half_left = Halve(left);
  const GrayImage half_right = Halve(right);
  const Matched half =
      MatchWholeSize(half_left.view(), half_right.view(), HalfSizeOptions(options));
  Matched whole{DoubleDisparity(half.disparity_px16.view(),
                                left.width_px,
                                left.height_px,
                                {options.min_disparity_px, options.max_disparity_px}),
                GrayImage(left.width_px, left.height_px)};
  for (int y = 0; y < left.height_px; ++y) {
    for (int x = 0; x < left.width_px; ++x) {
      whole.confidence.at(x, y) = half.confidence.at(x / 2, y / 2);
    }
  }
  return whole;
}

}  // namespace
}  // namespace reference

namespace {

/// Unlike the others it takes its memory anew for every pair: some 4 bytes for each pixel and
/// disparity.
class ReferenceMatcher : public Matcher {
 public:
  explicit ReferenceMatcher(const MatcherOptions& options) : options_(options) {}

  Status Match(GrayView left,
               GrayView right,
               DisparityImage& disparity_px16,
               GrayImage* confidence) override {
    DF_RETURN_IF_ERROR(CheckPair(left, right));
    reference::Matched matched = options_.half_size
                                     ? reference::MatchHalfSize(left, right, options_)
                                     : reference::MatchWholeSize(left, right, options_);
    disparity_px16 = std::move(matched.disparity_px16);
    if (confidence != nullptr) *confidence = std::move(matched.confidence);
    return {};
  }

 private:
  MatcherOptions options_;
};

}  // namespace

Result<std::unique_ptr<Matcher>> MakeReferenceMatcher(const MatcherOptions& options) {
  return std::make_unique<ReferenceMatcher>(options);
}

}  // namespace droidflow

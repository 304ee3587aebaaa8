/// OpenCV's semi-global matching, for comparison: its own costs, penalties and checks. Of the
/// options it knows how far is searched and, by the number of paths, which of its variants to run.

#include "droidflow/depth/matcher_internal.h"

#include <algorithm>
#include <exception>
#include <new>
#include <opencv2/calib3d.hpp>

namespace droidflow {
namespace {

// Of OpenCV's documentation, for blocks of 3x3 pixels of one channel: 8 and 32 times their number.
constexpr int kSgbmBlock_px = 3;
constexpr int kP1 = 8 * kSgbmBlock_px * kSgbmBlock_px;
constexpr int kP2 = 32 * kSgbmBlock_px * kSgbmBlock_px;
constexpr int kPreFilterCap = 63;
constexpr int kUniqueness_percent = 10;
constexpr int kLrCheck_px = 1;
constexpr int kSpeckleArea_px = 100;
constexpr int kSpeckleRange_px = 2;
constexpr int kDisparityStep_px = 16;  // Searched are whole multiples of it.
constexpr int kAllPaths = 8;

/// A view's pixels where they are; OpenCV only reads them.
cv::Mat Wrap(GrayView picture) {
  return {picture.height_px,
          picture.width_px,
          CV_8UC1,
          const_cast<std::uint8_t*>(picture.data),
          static_cast<std::size_t>(picture.stride)};
}

class OpencvMatcher final : public Matcher {
 public:
  explicit OpencvMatcher(const MatcherOptions& options) : options_(options) {
    const int searched_px = options.max_disparity_px - options.min_disparity_px;
    const int rounded_px =
        (searched_px + kDisparityStep_px - 1) / kDisparityStep_px * kDisparityStep_px;
    // OpenCV leaves columns empty whose partners the search would look for outside the picture.
    padding_px_ = options.min_disparity_px + rounded_px;
    matcher_ = cv::StereoSGBM::create(
        options.min_disparity_px,
        rounded_px,
        kSgbmBlock_px,
        kP1,
        kP2,
        kLrCheck_px,
        kPreFilterCap,
        kUniqueness_percent,
        kSpeckleArea_px,
        kSpeckleRange_px,
        options.paths == kAllPaths ? cv::StereoSGBM::MODE_HH4 : cv::StereoSGBM::MODE_SGBM_3WAY);
  }

  Status Match(GrayView left,
               GrayView right,
               DisparityImage& disparity_px16,
               GrayImage* confidence) override try {
    DF_RETURN_IF_ERROR(CheckPair(left, right));
    if (confidence != nullptr) {
      return Fail(ErrorKind::kUnsupported, "opencv does not say how sure it is of a disparity");
    }
    cv::setNumThreads(1);  // Frames are done beside each other, not parts of one.
    cv::copyMakeBorder(Wrap(left), left_, 0, 0, padding_px_, 0, cv::BORDER_REPLICATE);
    cv::copyMakeBorder(Wrap(right), right_, 0, 0, padding_px_, 0, cv::BORDER_REPLICATE);
    matcher_->compute(left_, right_, found_px16_);
    static_assert(cv::StereoMatcher::DISP_SCALE == kDisparityScale);
    const int least_px16 = options_.min_disparity_px * kDisparityScale;
    const int most_px16 = (options_.max_disparity_px - 1) * kDisparityScale + kDisparityScale / 2;
    disparity_px16.Resize(left.width_px, left.height_px);
    for (int y = 0; y < left.height_px; ++y) {
      const auto* const row = found_px16_.ptr<std::int16_t>(y) + padding_px_;
      std::transform(row, row + left.width_px, disparity_px16.row(y), [&](std::int16_t px16) {
        return px16 >= least_px16 && px16 <= most_px16 ? px16 : kNoDisparity_px16;
      });
    }
    return {};
  } catch (const std::bad_alloc&) {
    return Fail(ErrorKind::kTransient, "no memory for OpenCV to match in");
  } catch (const std::exception& error) {
    return Fail(ErrorKind::kInternal,
                "OpenCV fails to match {}x{}: {}",
                left.width_px,
                left.height_px,
                error.what());
  }

 private:
  MatcherOptions options_;
  int padding_px_ = 0;
  cv::Ptr<cv::StereoSGBM> matcher_;
  cv::Mat left_;
  cv::Mat right_;
  cv::Mat found_px16_;
};

}  // namespace

std::string WhyNoOpencv() { return ""; }

Result<std::unique_ptr<Matcher>> MakeOpencvMatcher(const MatcherOptions& options) {
  return std::make_unique<OpencvMatcher>(options);
}

}  // namespace droidflow

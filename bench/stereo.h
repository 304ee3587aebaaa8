#pragma once

/// What the benchmarks of matching share: pairs with known disparities, OpenCV's matchers and how
/// disparities are scored.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"
#include "droidflow/depth/matcher.h"

#include <filesystem>
#include <opencv2/calib3d.hpp>
#include <opencv2/core.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// A rectified pair and what is known of it.
///
/// Shape    all pictures of one size.
struct KnownPair {
  std::string name;
  GrayImage left;
  GrayImage right;
  Image<float> truth_px;  ///< of the left picture; NaN: not known
  GrayImage scored;       ///< 255: known, and seen by the right eye; 0: does not count
  int max_disparity_px = 0;
};

/// Reads `{directory}/left.png`, `right.png`, `gt64.png` (16 bits, 64ths of a pixel, 0: not known),
/// `nonocc.png` and `meta.json`, whose "ndisp" is how far to search.
[[nodiscard]] Result<KnownPair> ReadKnownPair(const std::filesystem::path& directory);

/// Every pair in the folders of `directory`, by name. @return kNotFound where there is none.
[[nodiscard]] Result<std::vector<KnownPair>> ReadKnownPairs(const std::filesystem::path& directory);

/// A colour or gray picture file as gray.
[[nodiscard]] Result<GrayImage> ReadGray(const std::filesystem::path& path);

/// The same memory as OpenCV sees it; nobody may write through it.
[[nodiscard]] cv::Mat MatOf(GrayView view);
[[nodiscard]] GrayImage ImageOf(const cv::Mat& gray);

/// OpenCV's StereoSGBM with the settings that are compared with: block 3, P1 and P2 of 72 and
/// 288, uniqueness 10, left-right check 1, speckles of 100 pixels and 2 px.
///
/// OpenCV finds nothing in the first `max_disparity_px` columns, so pictures are padded by as many
/// on the left: it covers the columns that ours does.
class OpencvSgbm {
 public:
  OpencvSgbm(int mode, int pre_filter_cap, int max_disparity_px);

  /// Pads the pair, outside of what is timed.
  void Prepare(GrayView left, GrayView right);
  void Compute();
  void Read(DisparityImage& disparity_px16) const;

 private:
  int max_disparity_px_;
  cv::Ptr<cv::StereoSGBM> sgbm_;
  cv::Mat left_;
  cv::Mat right_;
  cv::Mat disparity_px16_;
};

/// How wrong disparities are, over the pixels that count.
///
/// "Dense" fills what has no disparity from its row, with the smaller of both neighbours, as what
/// is hidden lies behind; "valid" leaves it out.
struct Score {
  double bad1_percent = 0;  ///< dense: wrong by more than 1 px
  double bad2_percent = 0;
  double bad4_percent = 0;
  double average_px = 0;           ///< dense: mean error
  double valid_bad2_percent = 0;   ///< of those that have a disparity
  double valid_share_percent = 0;  ///< how many those are
};

/// @param unit_px  what counts as one pixel: for pictures that were enlarged.
[[nodiscard]] Score ScoreOf(DisparityView disparity_px16, const KnownPair& pair, float unit_px = 1);
[[nodiscard]] Score MeanOf(const std::vector<Score>& scores);

}  // namespace droidflow

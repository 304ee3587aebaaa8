#include "stereo.h"

#include "droidflow/core/files.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr float kTruthScale = 64;

Result<cv::Mat> ReadPicture(const fs::path& path, int flags, int type) {
  if (!fs::exists(path)) return Fail(ErrorKind::kNotFound, "no such file: {}", path.string());
  cv::Mat picture = cv::imread(path.string(), flags);
  if (picture.empty() || picture.type() != type) {
    return Fail(ErrorKind::kInvalidData,
                "want a picture of {} bits: {}",
                type == CV_16UC1 ? "16" : "8",
                path.string());
  }
  return picture;
}

Result<int> ReadMaxDisparity(const fs::path& path) {
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  const auto meta = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!meta.is_object() || !meta.contains("ndisp") || !meta["ndisp"].is_number_integer()) {
    return Fail(ErrorKind::kInvalidData, "want \"ndisp\", a whole number: {}", path.string());
  }
  return meta["ndisp"].get<int>();
}

/// Each pixel without disparity takes the smaller of the nearest ones in its row.
void FillRow(std::vector<float>& row_px) {
  constexpr float kNone = std::numeric_limits<float>::infinity();
  std::vector<float> from_right(row_px.size());
  float last = kNone;
  for (std::size_t x = row_px.size(); x-- > 0;) {
    if (!std::isnan(row_px[x])) last = row_px[x];
    from_right[x] = last;
  }
  last = kNone;
  for (std::size_t x = 0; x < row_px.size(); ++x) {
    if (!std::isnan(row_px[x])) {
      last = row_px[x];
    } else {
      row_px[x] = std::min(last, from_right[x]);
      if (row_px[x] == kNone) row_px[x] = 0;
    }
  }
}

}  // namespace

Result<GrayImage> ReadGray(const fs::path& path) {
  DF_ASSIGN_OR_RETURN(const cv::Mat bgr, ReadPicture(path, cv::IMREAD_COLOR, CV_8UC3));
  cv::Mat gray;
  cv::cvtColor(bgr, gray, cv::COLOR_BGR2GRAY);
  return ImageOf(gray);
}

Result<KnownPair> ReadKnownPair(const fs::path& directory) {
  KnownPair pair;
  pair.name = directory.filename().string();
  DF_ASSIGN_OR_RETURN(pair.left, ReadGray(directory / "left.png"));
  DF_ASSIGN_OR_RETURN(pair.right, ReadGray(directory / "right.png"));
  DF_ASSIGN_OR_RETURN(pair.scored, ReadGray(directory / "nonocc.png"));
  DF_ASSIGN_OR_RETURN(const cv::Mat truth,
                      ReadPicture(directory / "gt64.png", cv::IMREAD_UNCHANGED, CV_16UC1));
  DF_ASSIGN_OR_RETURN(pair.max_disparity_px, ReadMaxDisparity(directory / "meta.json"));
  pair.truth_px.Resize(truth.cols, truth.rows);
  const auto is_same_size = [&](const GrayImage& image) {
    return image.width_px() == truth.cols && image.height_px() == truth.rows;
  };
  if (!is_same_size(pair.left) || !is_same_size(pair.right) || !is_same_size(pair.scored)) {
    return Fail(ErrorKind::kInvalidData, "want pictures of one size: {}", directory.string());
  }
  for (int y = 0; y < truth.rows; ++y) {
    for (int x = 0; x < truth.cols; ++x) {
      const std::uint16_t known = truth.at<std::uint16_t>(y, x);
      pair.truth_px.at(x, y) = known == 0 ? NAN : static_cast<float>(known) / kTruthScale;
      if (known == 0 || pair.scored.at(x, y) != 255) pair.scored.at(x, y) = 0;
    }
  }
  return pair;
}

Result<std::vector<KnownPair>> ReadKnownPairs(const fs::path& directory) {
  std::error_code error;
  std::set<fs::path> folders;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    if (fs::exists(entry.path() / "meta.json")) folders.insert(entry.path());
  }
  if (folders.empty()) {
    return Fail(ErrorKind::kNotFound,
                "no folders with left.png, right.png, gt64.png, nonocc.png and meta.json: {}",
                directory.string());
  }
  std::vector<KnownPair> pairs;
  for (const fs::path& folder : folders) {
    DF_ASSIGN_OR_RETURN(KnownPair pair, ReadKnownPair(folder));
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

cv::Mat MatOf(GrayView view) {
  return {view.height_px,
          view.width_px,
          CV_8UC1,
          const_cast<std::uint8_t*>(view.data),
          static_cast<std::size_t>(view.stride)};
}

GrayImage ImageOf(const cv::Mat& gray) {
  GrayImage image(gray.cols, gray.rows);
  for (int y = 0; y < gray.rows; ++y) {
    std::copy_n(gray.ptr<std::uint8_t>(y), gray.cols, image.row(y));
  }
  return image;
}

OpencvSgbm::OpencvSgbm(int mode, int pre_filter_cap, int max_disparity_px)
    : max_disparity_px_(max_disparity_px),
      sgbm_(cv::StereoSGBM::create(/*minDisparity=*/0,
                                   max_disparity_px,
                                   /*blockSize=*/3,
                                   /*P1=*/72,
                                   /*P2=*/288,
                                   /*disp12MaxDiff=*/1,
                                   pre_filter_cap,
                                   /*uniquenessRatio=*/10,
                                   /*speckleWindowSize=*/100,
                                   /*speckleRange=*/2,
                                   mode)) {}

void OpencvSgbm::Prepare(GrayView left, GrayView right) {
  const auto pad = [&](GrayView from, cv::Mat& to) {
    cv::copyMakeBorder(MatOf(from), to, 0, 0, max_disparity_px_, 0, cv::BORDER_REPLICATE);
  };
  pad(left, left_);
  pad(right, right_);
}

void OpencvSgbm::Compute() { sgbm_->compute(left_, right_, disparity_px16_); }

void OpencvSgbm::Read(DisparityImage& disparity_px16) const {
  const int width_px = disparity_px16_.cols - max_disparity_px_;
  disparity_px16.Resize(width_px, disparity_px16_.rows);
  for (int y = 0; y < disparity_px16_.rows; ++y) {
    const auto* const from = disparity_px16_.ptr<std::int16_t>(y) + max_disparity_px_;
    std::transform(from, from + width_px, disparity_px16.row(y), [](std::int16_t d) {
      return d < 0 ? kNoDisparity_px16 : d;
    });
  }
}

Score ScoreOf(DisparityView disparity_px16, const KnownPair& pair, float unit_px) {
  DF_CHECK(disparity_px16.width_px == pair.truth_px.width_px() &&
           disparity_px16.height_px == pair.truth_px.height_px());
  std::int64_t count = 0;
  std::int64_t valid = 0;
  std::int64_t valid_bad2 = 0;
  std::int64_t bad1 = 0;
  std::int64_t bad2 = 0;
  std::int64_t bad4 = 0;
  double sum_px = 0;
  std::vector<float> row_px(static_cast<std::size_t>(disparity_px16.width_px));
  for (int y = 0; y < disparity_px16.height_px; ++y) {
    for (int x = 0; x < disparity_px16.width_px; ++x) {
      const std::int16_t d = disparity_px16.at(x, y);
      row_px[x] = d == kNoDisparity_px16 ? NAN : static_cast<float>(d) / kDisparityScale;
    }
    FillRow(row_px);
    for (int x = 0; x < disparity_px16.width_px; ++x) {
      if (pair.scored.at(x, y) == 0) continue;
      const float error_px = std::abs(row_px[x] - pair.truth_px.at(x, y)) / unit_px;
      ++count;
      sum_px += error_px;
      bad1 += error_px > 1 ? 1 : 0;
      bad2 += error_px > 2 ? 1 : 0;
      bad4 += error_px > 4 ? 1 : 0;
      if (disparity_px16.at(x, y) != kNoDisparity_px16) {
        ++valid;
        valid_bad2 += error_px > 2 ? 1 : 0;
      }
    }
  }
  const auto percent = [](std::int64_t part, std::int64_t whole) {
    return whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  };
  return {.bad1_percent = percent(bad1, count),
          .bad2_percent = percent(bad2, count),
          .bad4_percent = percent(bad4, count),
          .average_px = count == 0 ? 0 : sum_px / static_cast<double>(count),
          .valid_bad2_percent = percent(valid_bad2, valid),
          .valid_share_percent = percent(valid, count)};
}

Score MeanOf(const std::vector<Score>& scores) {
  Score mean;
  for (const auto member : {&Score::bad1_percent,
                            &Score::bad2_percent,
                            &Score::bad4_percent,
                            &Score::average_px,
                            &Score::valid_bad2_percent,
                            &Score::valid_share_percent}) {
    for (const Score& score : scores) mean.*member += score.*member;
    mean.*member /= static_cast<double>(scores.size());
  }
  return mean;
}

}  // namespace droidflow

// How long does resampling one 1280x720 eye take, next to OpenCV's remap?

#include "droidflow/depth/rectifier.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace droidflow {
namespace {

constexpr int kWidth_px = 1280;
constexpr int kHeight_px = 720;
constexpr int kRounds = 51;

// A ZED 2's left eye.
constexpr RawEye kEye{
    .fx_px = 532.025,
    .fy_px = 531.9,
    .cx_px = 637.95,
    .cy_px = 369.1295,
    .lens = BrownConrady{-0.0662344, 0.0469027, 0.000165288, 0.000136806, -0.0193995}};
constexpr Intrinsics kRectified{.fx_px = 524,
                                .fy_px = 524,
                                .cx_px = 639.7,
                                .cy_px = 368.4,
                                .width_px = kWidth_px,
                                .height_px = kHeight_px};

// Triangle waves and some noise: nowhere steeper than 32 levels a pixel, so that a place that the
// two round to different 32nds makes one level. Three times as wide for three channels.
GrayImage Scene(int channels) {
  GrayImage picture(kWidth_px * channels, kHeight_px);
  std::uint32_t state = 1;
  for (int y = 0; y < kHeight_px; ++y) {
    for (int i = 0; i < kWidth_px * channels; ++i) {
      state = state * 1664525 + 1013904223;
      const int noise = static_cast<int>(state >> 28);
      const int phase = (5 * (i / channels) + 3 * y + 40 * (i % channels)) % 480;
      picture.at(i, y) = static_cast<std::uint8_t>(std::min(phase, 480 - phase) + noise);
    }
  }
  return picture;
}

// Processor time: waiting for other programs does not count.
double MillisecondsOf(const auto& work) {
  const auto now_ms = [] {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
  };
  const double start_ms = now_ms();
  work();
  return now_ms() - start_ms;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.at(values.size() / 2);
}

int Run() {
  cv::setNumThreads(1);
  const Matrix3 R_rect_eye = RotationFromVector({0.0013, -0.0008, 0.0004});
  const auto make_map = [&] {
    return Remapper::FromRawEye(kEye, kWidth_px, kHeight_px, R_rect_eye, kRectified);
  };
  const Remapper remapper = make_map();
  cv::Mat u_px(kHeight_px, kWidth_px, CV_32FC1);
  cv::Mat v_px(kHeight_px, kWidth_px, CV_32FC1);
  for (int y = 0; y < kHeight_px; ++y) {
    for (int x = 0; x < kWidth_px; ++x) {
      const Pixel raw = RawPixelFromRectified(
          kEye, R_rect_eye, kRectified, {static_cast<double>(x), static_cast<double>(y)});
      u_px.at<float>(y, x) = static_cast<float>(raw.u_px);
      v_px.at<float>(y, x) = static_cast<float>(raw.v_px);
    }
  }
  cv::Mat places;
  cv::Mat weights;
  cv::convertMaps(u_px, v_px, places, weights, CV_16SC2);

  GrayImage gray = Scene(1);
  GrayImage bgr = Scene(3);
  const cv::Mat cv_gray(
      kHeight_px, kWidth_px, CV_8UC1, gray.row(0), static_cast<std::size_t>(gray.view().stride));
  const cv::Mat cv_bgr(
      kHeight_px, kWidth_px, CV_8UC3, bgr.row(0), static_cast<std::size_t>(bgr.view().stride));
  GrayImage ours;
  cv::Mat theirs;
  cv::Mat theirs_bgr;

  const auto run_ours = [&] { remapper.Apply(gray.view(), ours); };
  const auto run_theirs = [&] {
    cv::remap(cv_gray, theirs, places, weights, cv::INTER_LINEAR, cv::BORDER_CONSTANT);
  };
  const auto run_theirs_bgr = [&] {
    cv::remap(cv_bgr, theirs_bgr, places, weights, cv::INTER_LINEAR, cv::BORDER_CONSTANT);
  };

  run_ours();
  run_theirs();
  run_theirs_bgr();
  int largest = 0;
  int masked = 0;
  for (int y = 0; y < kHeight_px; ++y) {
    for (int x = 0; x < kWidth_px; ++x) {
      if (remapper.mask().at(x, y) == 0) {
        ++masked;  // OpenCV blends these with its border
      } else {
        largest = std::max(largest, std::abs(ours.at(x, y) - theirs.at<std::uint8_t>(y, x)));
      }
    }
  }
  if (largest > 1) {
    fmt::print(
        stderr, "the answers differ by up to {} levels; their speed means nothing\n", largest);
    return 1;
  }

  std::vector<double> ours_ms;
  std::vector<double> theirs_ms;
  std::vector<double> theirs_bgr_ms;
  for (int round = 0; round < kRounds; ++round) {
    ours_ms.push_back(MillisecondsOf(run_ours));
    theirs_ms.push_back(MillisecondsOf(run_theirs));
    theirs_bgr_ms.push_back(MillisecondsOf(run_theirs_bgr));
  }
  std::vector<double> map_ms;
  for (int round = 0; round < 5; ++round) {
    map_ms.push_back(MillisecondsOf([&] { (void)make_map(); }));
  }
  const double ours_median_ms = Median(ours_ms);
  const auto line = [&](std::string_view name, double median_ms) {
    fmt::print("{:<22} {:7.2f} ms  {:5.2f} x\n", name, median_ms, median_ms / ours_median_ms);
  };
  fmt::print("{}x{}, one thread, {} pixels masked, answers within {} level\n",
             kWidth_px,
             kHeight_px,
             masked,
             largest);
  line("droidflow, gray", ours_median_ms);
  line("OpenCV remap, gray", Median(theirs_ms));
  line("OpenCV remap, BGR", Median(theirs_bgr_ms));
  line("making the map", Median(map_ms));
  return 0;
}

}  // namespace
}  // namespace droidflow

int main() { return droidflow::Run(); }

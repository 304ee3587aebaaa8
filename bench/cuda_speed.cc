// How long does each step of matching a pair of 1280x720 on the GPU take, how close does it come to
// the speed of the GPU's memory, and how many pairs a second go through, transfers included?

#include "droidflow/core/check.h"
#include "droidflow/depth/cuda_pipeline_internal.h"
#include "droidflow/depth/matcher.h"
#include "droidflow/depth/matcher_internal.h"

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

constexpr int kWidth_px = 1280;
constexpr int kHeight_px = 720;
constexpr int kRounds = 51;
constexpr int kPairs = 500;
constexpr int kPairsUnderWay = 3;

/// What cannot be matched by chance, moved by up to 200 pixels, with a camera's noise on it.
GrayImage Picture(bool is_right) {
  GrayImage picture(kWidth_px, kHeight_px);
  std::uint32_t noise = is_right ? 1U : 2U;
  for (int y = 0; y < kHeight_px; ++y) {
    for (int x = 0; x < kWidth_px; ++x) {
      noise = noise * 1664525U + 1013904223U;
      const int column = is_right ? x + 20 + y / 4 : x;
      std::uint32_t texture = static_cast<std::uint32_t>(column / 2) * 0x9E3779B1U ^
                              static_cast<std::uint32_t>(y / 2) * 0x85EBCA77U;
      texture = (texture ^ texture >> 15) * 0x2C1B3C6DU;
      picture.at(x, y) = static_cast<std::uint8_t>((texture >> 25) + 60 + (noise >> 30));
    }
  }
  return picture;
}

void CheckAnswer(const MatcherOptions& options, const GrayImage& left, const GrayImage& right) {
  DisparityImage want;
  DisparityImage have;
  for (auto& [backend, disparity_px16] :
       {std::pair{MatcherBackend::kReference, &want}, std::pair{MatcherBackend::kCuda, &have}}) {
    auto matcher = MakeMatcher(backend, options);
    DF_CHECK(matcher.has_value(), "{}", matcher.error().message);
    const Status matched = (*matcher)->Match(left.view(), right.view(), *disparity_px16, nullptr);
    DF_CHECK(matched.has_value(), "{}", matched.error().message);
  }
  for (int y = 0; y < kHeight_px; ++y) {
    for (int x = 0; x < kWidth_px; ++x) {
      DF_CHECK(have.at(x, y) == want.at(x, y),
               "not the reference's answer, so its speed means nothing: ({}, {})",
               x,
               y);
    }
  }
}

void PrintSteps(CudaPipeline& pipeline, const GrayImage& left, const GrayImage& right) {
  const auto steps = pipeline.TimeSteps(left.view(), right.view(), kRounds);
  DF_CHECK(steps.has_value(), "{}", steps.error().message);
  fmt::print("  {:<18}{:>10}{:>10}{:>10}\n", "step", "ms", "MB", "GB/s");
  double total_ms = 0;
  for (const CudaStepTime& step : *steps) {
    const double megabytes = static_cast<double>(step.bytes) * 1e-6;
    fmt::print("  {:<18}{:>10.3f}{:>10.1f}{:>10.0f}\n",
               step.name,
               step.ms,
               megabytes,
               megabytes / step.ms);
    total_ms += step.ms;
  }
  fmt::print("  {:<18}{:>10.3f}\n", "all steps", total_ms);
}

void PrintRate(CudaPipeline& pipeline, const GrayImage& left, const GrayImage& right) {
  DisparityImage disparity_px16;
  GrayImage confidence;
  int submitted = 0;
  std::chrono::steady_clock::time_point start;
  for (int collected = -kPairsUnderWay; collected < kPairs; ++collected) {
    if (collected == 0) start = std::chrono::steady_clock::now();
    while (submitted < kPairs + kPairsUnderWay && pipeline.pairs() < kPairsUnderWay) {
      const Status status = pipeline.Submit(left.view(), right.view());
      DF_CHECK(status.has_value(), "{}", status.error().message);
      ++submitted;
    }
    const Status status = pipeline.Collect(disparity_px16, &confidence);
    DF_CHECK(status.has_value(), "{}", status.error().message);
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  fmt::print("  {:.0f} pairs a second, {} under way\n", kPairs / elapsed.count(), kPairsUnderWay);
}

int Run() {
  if (const std::string why = WhyNoCuda(); !why.empty()) {
    fmt::print("no GPU to measure: {}\n", why);
    return EXIT_SUCCESS;
  }
  const GrayImage left = Picture(false);
  const GrayImage right = Picture(true);
  for (const MatcherPreset preset :
       {MatcherPreset::kFast, MatcherPreset::kBalanced, MatcherPreset::kQuality}) {
    const MatcherOptions options = OptionsOf(preset);
    CheckAnswer(options, left, right);
    CudaPipeline pipeline(options, kPairsUnderWay);
    fmt::print("{}, {}x{}\n", ToString(preset), kWidth_px, kHeight_px);
    PrintSteps(pipeline, left, right);
    PrintRate(pipeline, left, right);
  }
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace droidflow

int main() { return droidflow::Run(); }

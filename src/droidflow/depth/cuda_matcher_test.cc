// The CUDA backend against the reference. Where CUDA is not built, its kernels and the code around
// them run on an emulated GPU (tools/cuda_emulation), which can also be made to fail.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/sanitizers.h"
#include "droidflow/depth/cuda_pipeline_internal.h"
#include "droidflow/depth/matcher.h"
#include "droidflow/depth/matcher_internal.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#if defined(DROIDFLOW_CUDA_EMULATED)
#include <cuda_emulation.h>
#include <cuda_runtime.h>
#endif

namespace droidflow {
namespace {

using ::testing::HasSubstr;

// Sanitized, the emulation is slow: fewer cases, as all paths are taken by few.
#if DF_ADDRESS_SANITIZER
constexpr std::size_t kEvery = 40;
constexpr int kRandomCases = 10;
#else
constexpr std::size_t kEvery = 9;
constexpr int kRandomCases = 40;
#endif

struct Pair {
  GrayImage left;
  GrayImage right;
};

enum class Content { kConstant, kNoise, kStripes, kScene };

int Noise(int x, int y, unsigned seed) {
  std::uint32_t h = static_cast<std::uint32_t>(x) * 0x9E3779B1U ^
                    static_cast<std::uint32_t>(y) * 0x85EBCA77U ^ seed * 0xC2B2AE3DU;
  h = (h ^ h >> 15) * 0x2C1B3C6DU;
  return static_cast<int>((h ^ h >> 13) >> 24);
}

/// Smooth over a few pixels, as what a lens draws.
int Texture(int x, int y, unsigned seed) {
  int sum = 0;
  for (int dy = 0; dy < 2; ++dy) {
    for (int dx = 0; dx < 3; ++dx) sum += Noise(x + dx, y + dy, seed);
  }
  return sum / 6;
}

/// @param reach_px  the largest disparity of the scene: two planes, one before the other.
Pair MakePair(int width_px, int height_px, Content content, int reach_px, unsigned seed) {
  Pair pair{GrayImage(width_px, height_px), GrayImage(width_px, height_px)};
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) {
      int left = 77;
      int right = 77;
      switch (content) {
        case Content::kConstant:
          break;
        case Content::kNoise:
          left = Noise(x, y, seed);
          right = Noise(x, y, seed + 1);
          break;
        case Content::kStripes:
          left = x / 3 % 2 * 200 + y % 2;
          right = (x + 1) / 3 % 2 * 200 + y % 2;
          break;
        case Content::kScene: {
          const auto is_near = [&](int column) {
            return column > width_px / 3 && column < 2 * width_px / 3 && y > height_px / 4;
          };
          const int far_px = reach_px / 4;
          left = is_near(x) ? Texture(x, y, seed) : Texture(x, y, seed + 7);
          right = is_near(x + reach_px) ? Texture(x + reach_px, y, seed)
                                        : Texture(x + far_px, y, seed + 7);
          right = std::min(255, right + Noise(x, y, seed + 3) % 3);
          break;
        }
      }
      pair.left.at(x, y) = static_cast<std::uint8_t>(left);
      pair.right.at(x, y) = static_cast<std::uint8_t>(right);
    }
  }
  return pair;
}

struct Matched {
  DisparityImage disparity_px16;
  GrayImage confidence;
};

template <typename T>
std::string FirstDifference(const Image<T>& have, const Image<T>& want) {
  if (have.width_px() != want.width_px() || have.height_px() != want.height_px()) return "sizes";
  for (int y = 0; y < want.height_px(); ++y) {
    for (int x = 0; x < want.width_px(); ++x) {
      if (have.at(x, y) == want.at(x, y)) continue;
      return fmt::format("({}, {}): want {}, have {}", x, y, want.at(x, y), have.at(x, y));
    }
  }
  return {};
}

Matched MatchWith(MatcherBackend backend, const MatcherOptions& options, const Pair& pair) {
  Matched matched;
  auto matcher = MakeMatcher(backend, options);
  EXPECT_THAT(matcher, IsOk());
  if (!matcher) return matched;
  EXPECT_THAT((*matcher)->Match(
                  pair.left.view(), pair.right.view(), matched.disparity_px16, &matched.confidence),
              IsOk());
  return matched;
}

std::string Text(const MatcherOptions& o) {
  return fmt::format(
      "{} <= d < {}, {} paths, P {} {} {}, unique {}, check {}{}{}{}, speckles {} {}",
      o.min_disparity_px,
      o.max_disparity_px,
      o.paths,
      o.p1,
      o.p2_min,
      o.p2,
      o.uniqueness_percent,
      o.lr_check_px,
      o.subpixel ? ", subpixel" : "",
      o.median ? ", median" : "",
      o.half_size ? ", half size" : "",
      o.speckle_area_px,
      o.speckle_range_px);
}

void ExpectSame(const Matched& have, const Matched& want) {
  EXPECT_EQ(FirstDifference(have.disparity_px16, want.disparity_px16), "");
  EXPECT_EQ(FirstDifference(have.confidence, want.confidence), "");
}

void ExpectReferencesAnswer(const MatcherOptions& options, const Pair& pair) {
  SCOPED_TRACE(
      fmt::format("{}x{}, {}", pair.left.width_px(), pair.left.height_px(), Text(options)));
  ExpectSame(MatchWith(MatcherBackend::kCuda, options, pair),
             MatchWith(MatcherBackend::kReference, options, pair));
}

class CudaMatcherTest : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(DROIDFLOW_CUDA_EMULATED)
    cuda_emulation::Set({});
    live_objects_ = cuda_emulation::LiveObjects();
#endif
    if (const std::string why = WhyNoCuda(); !why.empty()) GTEST_SKIP() << why;
  }
  void TearDown() override {
#if defined(DROIDFLOW_CUDA_EMULATED)
    EXPECT_EQ(cuda_emulation::LiveObjects(), live_objects_);
    EXPECT_EQ(cuda_emulation::Complaint(), "");
#endif
  }

  int live_objects_ = 0;
};

constexpr std::array kContents{
    Content::kConstant, Content::kNoise, Content::kStripes, Content::kScene};

TEST_F(CudaMatcherTest, EqualsTheReferenceOnSizesNoWarpDivides) {
  constexpr std::array<std::pair<int, int>, 7> kSizes{
      {{1, 1}, {2, 1}, {17, 5}, {33, 9}, {65, 31}, {127, 13}, {200, 40}}};
  constexpr std::array kDisparities{1, 2, 16, 31, 32, 33, 64, 100, 128, 256};
  std::size_t count = 0;
  for (const auto& [width_px, height_px] : kSizes) {
    for (const int disparities : kDisparities) {
      for (const int paths : {5, 8}) {
        // The larger ones take turns.
        if (count++ % (width_px * height_px > 1000 ? kEvery : kEvery / 9) != 0) continue;
        MatcherOptions options;
        options.max_disparity_px = disparities;
        options.paths = paths;
        options.speckle_area_px = 20;
        const Content content = kContents.at((count + static_cast<std::size_t>(paths)) % 4);
        const int reach_px = std::min(disparities - 1, width_px / 5);
        ExpectReferencesAnswer(options, MakePair(width_px, height_px, content, reach_px, 11));
      }
    }
  }
}

TEST_F(CudaMatcherTest, EqualsTheReferenceOnEveryContent) {
  for (const Content content : kContents) {
    if (kEvery > 9 && content != Content::kScene) continue;
    for (const MatcherPreset preset :
         {MatcherPreset::kFast, MatcherPreset::kBalanced, MatcherPreset::kQuality}) {
      ExpectReferencesAnswer(OptionsOf(preset), MakePair(131, 11, content, 24, 5));
    }
  }
}

TEST_F(CudaMatcherTest, EqualsTheReferenceUnderRandomOptions) {
  std::mt19937 random(20);
  const auto between = [&random](int least, int most) {
    return least + static_cast<int>(random() % static_cast<unsigned>(most - least + 1));
  };
  for (int i = 0; i < kRandomCases; ++i) {
    MatcherOptions options;
    options.max_disparity_px = between(1, 80);
    options.min_disparity_px = between(0, std::min(options.max_disparity_px - 1, 20));
    options.half_size = between(0, 3) == 0;
    options.paths = between(0, 1) == 0 ? 5 : 8;
    options.p2 = between(1, 27);
    options.p2_min = between(1, options.p2);
    options.p1 = between(1, options.p2_min);
    options.uniqueness_percent = between(0, 1) == 0 ? between(0, 99) : 5;
    options.lr_check_px = between(-1, 4);
    options.subpixel = between(0, 3) > 0;
    options.median = between(0, 3) > 0;
    options.speckle_area_px = between(0, 60);
    options.speckle_range_px = between(0, 3);
    ASSERT_THAT(CheckMatcherOptions(options), IsOk());
    const auto content = kContents.at(static_cast<std::size_t>(between(1, 3)));
    const int width_px = between(1, 90);
    ExpectReferencesAnswer(
        options, MakePair(width_px, between(1, 30), content, between(0, width_px / 3), random()));
  }
}

TEST_F(CudaMatcherTest, EqualsTheReferenceOnWideSearches) {
  for (const int disparities : {300, 512, 1024}) {
    MatcherOptions options = OptionsOf(MatcherPreset::kQuality);
    options.max_disparity_px = disparities;
    ExpectReferencesAnswer(options,
                           MakePair(disparities == 1024 ? 40 : 330, 7, Content::kScene, 30, 3));
  }
}

// The winners of a row are picked in chunks, and a row is longer than one of them here.
TEST_F(CudaMatcherTest, EqualsTheReferenceOnLongRowsAndTallPictures) {
  MatcherOptions options = OptionsOf(MatcherPreset::kQuality);
  options.max_disparity_px = 60;
  options.lr_check_px = 4;
  ExpectReferencesAnswer(options, MakePair(400, 3, Content::kScene, 33, 9));
  ExpectReferencesAnswer(options, MakePair(5, 301, Content::kScene, 2, 9));
}

TEST_F(CudaMatcherTest, JoinsPatchesOfAnyShape) {
  // Noise with loose rules leaves winding patches of every size.
  for (const int area_px : {1, 30, 1000}) {
    MatcherOptions options;
    options.max_disparity_px = 12;
    options.uniqueness_percent = 0;
    options.lr_check_px = -1;
    options.median = false;
    options.speckle_area_px = area_px;
    options.speckle_range_px = 2;
    ExpectReferencesAnswer(options, MakePair(165, 19, Content::kNoise, 0, 31));
  }
}

TEST_F(CudaMatcherTest, TakesPairsOfOtherSizesInTurn) {
  const MatcherOptions options;
  auto matcher = MakeMatcher(MatcherBackend::kCuda, options);
  ASSERT_THAT(matcher, IsOk());
  for (const auto& [width_px, height_px] : {std::pair{40, 10}, {41, 10}, {40, 10}, {40, 10}}) {
    const Pair pair = MakePair(width_px, height_px, Content::kScene, 9, 2);
    Matched matched;
    ASSERT_THAT(
        (*matcher)->Match(
            pair.left.view(), pair.right.view(), matched.disparity_px16, &matched.confidence),
        IsOk());
    ExpectSame(matched, MatchWith(MatcherBackend::kReference, options, pair));
    DisparityImage alone;
    ASSERT_THAT((*matcher)->Match(pair.left.view(), pair.right.view(), alone, nullptr), IsOk());
    EXPECT_EQ(FirstDifference(alone, matched.disparity_px16), "");
  }
}

TEST_F(CudaMatcherTest, RefusesPicturesOfDifferentSizes) {
  auto matcher = MakeMatcher(MatcherBackend::kCuda, {});
  ASSERT_THAT(matcher, IsOk());
  const GrayImage left(4, 3);
  const GrayImage right(3, 3);
  DisparityImage disparity_px16;
  EXPECT_THAT((*matcher)->Match(left.view(), right.view(), disparity_px16, nullptr),
              FailsWith(ErrorKind::kUsage, HasSubstr("have 4x3 and 3x3")));
}

TEST_F(CudaMatcherTest, HasSeveralPairsUnderWay) {
  const MatcherOptions options;
  std::vector<Pair> pairs;
  for (unsigned i = 0; i < 5; ++i) pairs.push_back(MakePair(50, 12, Content::kScene, 10, i));
  CudaPipeline pipeline(options, 3);
  std::size_t submitted = 0;
  for (std::size_t collected = 0; collected < pairs.size(); ++collected) {
    while (submitted < pairs.size() && pipeline.pairs() < 3) {
      ASSERT_THAT(pipeline.Submit(pairs[submitted].left.view(), pairs[submitted].right.view()),
                  IsOk());
      ++submitted;
    }
    Matched matched;
    ASSERT_THAT(pipeline.Collect(matched.disparity_px16, &matched.confidence), IsOk());
    ExpectSame(matched, MatchWith(MatcherBackend::kReference, options, pairs[collected]));
  }
}

TEST_F(CudaMatcherTest, RefusesWhatThePipelineCannotTake) {
  CudaPipeline pipeline({}, 1);
  const Pair pair = MakePair(20, 4, Content::kNoise, 0, 1);
  const Pair other = MakePair(21, 4, Content::kNoise, 0, 1);
  DisparityImage disparity_px16;
  EXPECT_THAT(pipeline.Collect(disparity_px16, nullptr),
              FailsWith(ErrorKind::kUsage, HasSubstr("have none")));
  ASSERT_THAT(pipeline.Submit(pair.left.view(), pair.right.view()), IsOk());
  EXPECT_THAT(pipeline.Submit(pair.left.view(), pair.right.view()),
              FailsWith(ErrorKind::kUsage, HasSubstr("at most 1 pairs")));
  EXPECT_THAT(pipeline.Collect(disparity_px16, nullptr), IsOk());
  CudaPipeline wide({}, 2);
  ASSERT_THAT(wide.Submit(pair.left.view(), pair.right.view()), IsOk());
  EXPECT_THAT(wide.Submit(other.left.view(), other.right.view()),
              FailsWith(ErrorKind::kUsage, HasSubstr("want pairs of 20x4")));
}

TEST_F(CudaMatcherTest, TimesItsSteps) {
  CudaPipeline pipeline(OptionsOf(MatcherPreset::kFast), 1);
  const Pair pair = MakePair(20, 4, Content::kNoise, 0, 1);
  const auto steps = pipeline.TimeSteps(pair.left.view(), pair.right.view(), 2);
  ASSERT_THAT(steps, IsOk());
  EXPECT_EQ(steps->front().name, "halving");
  EXPECT_EQ(steps->back().name, "doubling");
}

#if defined(DROIDFLOW_CUDA_EMULATED)

// Whatever depends on who comes first differs.
TEST_F(CudaMatcherTest, GivesTheSameInAnyOrderOfThreads) {
  MatcherOptions options = OptionsOf(MatcherPreset::kQuality);
  options.speckle_area_px = 10;
  const Pair pair = MakePair(150, 9, Content::kScene, 20, 8);
  const Matched want = MatchWith(MatcherBackend::kReference, options, pair);
  for (const auto order : {cuda_emulation::Order::kDescending, cuda_emulation::Order::kShuffled}) {
    for (const bool is_eager : {false, true}) {
      cuda_emulation::Set({.order = order, .is_eager = is_eager});
      ExpectSame(MatchWith(MatcherBackend::kCuda, options, pair), want);
    }
  }
}

TEST_F(CudaMatcherTest, TakesNoMemoryAfterTheFirstPair) {
  auto matcher = MakeMatcher(MatcherBackend::kCuda, {});
  ASSERT_THAT(matcher, IsOk());
  const Pair pair = MakePair(20, 4, Content::kNoise, 0, 1);
  DisparityImage disparity_px16;
  ASSERT_THAT((*matcher)->Match(pair.left.view(), pair.right.view(), disparity_px16, nullptr),
              IsOk());
  const int allocations = cuda_emulation::Allocations();
  ASSERT_THAT((*matcher)->Match(pair.left.view(), pair.right.view(), disparity_px16, nullptr),
              IsOk());
  EXPECT_EQ(cuda_emulation::Allocations(), allocations);
}

TEST_F(CudaMatcherTest, SaysThatTheGpuIsOutOfMemoryAndGoesOnWhenItIsNot) {
  const MatcherOptions options = OptionsOf(MatcherPreset::kFast);
  const Pair pair = MakePair(20, 4, Content::kScene, 3, 1);
  const Matched want = MatchWith(MatcherBackend::kReference, options, pair);
  const int before = cuda_emulation::Allocations();
  MatchWith(MatcherBackend::kCuda, options, pair);
  const int allocations = cuda_emulation::Allocations() - before;
  ASSERT_GT(allocations, 10);
  for (int nth = 1; nth <= allocations; ++nth) {
    SCOPED_TRACE(nth);
    cuda_emulation::Set({.failing_allocation = nth});
    auto matcher = MakeMatcher(MatcherBackend::kCuda, options);
    ASSERT_THAT(matcher, IsOk());
    Matched matched;
    EXPECT_THAT(
        (*matcher)->Match(pair.left.view(), pair.right.view(), matched.disparity_px16, nullptr),
        FailsWith(ErrorKind::kTransient, HasSubstr("GPU out of memory: want 1 MB")));
    ASSERT_THAT(
        (*matcher)->Match(
            pair.left.view(), pair.right.view(), matched.disparity_px16, &matched.confidence),
        IsOk());
    ExpectSame(matched, want);
  }
}

TEST_F(CudaMatcherTest, ReportsAKernelThatFails) {
  const Pair pair = MakePair(20, 4, Content::kNoise, 0, 1);
  for (int nth = 1; nth <= 12; ++nth) {
    SCOPED_TRACE(nth);
    cuda_emulation::Set({.failing_launch = nth});
    auto matcher = MakeMatcher(MatcherBackend::kCuda, OptionsOf(MatcherPreset::kFast));
    ASSERT_THAT(matcher, IsOk());
    DisparityImage disparity_px16;
    for (int again = 0; again < 2; ++again) {  // a GPU that failed does so for this process
      EXPECT_THAT((*matcher)->Match(pair.left.view(), pair.right.view(), disparity_px16, nullptr),
                  FailsWith(ErrorKind::kInternal, HasSubstr("illegal memory access")));
    }
  }
  cuda_emulation::Set({});
}

TEST_F(CudaMatcherTest, SaysWhyThereIsNoGpu) {
  cuda_emulation::Set({.driver_version = 0});
  EXPECT_EQ(WhyNoCuda(), "no NVIDIA driver is installed");
  EXPECT_FALSE(IsAvailable(MatcherBackend::kCuda));
  EXPECT_THAT(MakeMatcher(MatcherBackend::kCuda, {}),
              FailsWith(ErrorKind::kUnsupported, HasSubstr("no NVIDIA driver")));
  cuda_emulation::Set({.driver_version = 12040});
  EXPECT_EQ(WhyNoCuda(), "the NVIDIA driver is for CUDA 12.4, this build is for CUDA 13.0");
  cuda_emulation::Set({.devices = 0});
  EXPECT_EQ(WhyNoCuda(), "no GPU: no CUDA-capable device is detected");
  cuda_emulation::Set({.compute_capability_major = 7});
  EXPECT_EQ(WhyNoCuda(), "the GPU's compute capability is 7.0, want at least 8.0");
  cuda_emulation::Set({});
  EXPECT_TRUE(IsAvailable(MatcherBackend::kCuda));
}

// --- The emulation finds what it is there to find ------------------------------------------------

class CudaEmulationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cuda_emulation::Set({});
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), cudaSuccess);
  }
  void TearDown() override {
    cuda_emulation::Set({});
    cudaStreamDestroy(stream_);
  }

  template <typename... Parameters, typename... Arguments>
  cudaError_t Run(unsigned threads, void (*kernel)(Parameters...), Arguments... arguments) {
    cudaLaunchConfig_t config;
    config.gridDim = dim3(2);
    config.blockDim = dim3(threads);
    config.stream = stream_;
    const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
    return error == cudaSuccess ? cudaStreamSynchronize(stream_) : error;
  }

  cudaStream_t stream_ = nullptr;
};

__global__ void Reverse(unsigned* out) {
  __shared__ unsigned values[64];
  values[threadIdx.x] = threadIdx.x + 100 * blockIdx.x;
  __syncthreads();
  const unsigned mirrored = values[63 - threadIdx.x];
  const unsigned next = __shfl_down_sync(0xFFFFFFFFU, mirrored, 1);
  out[blockIdx.x * 64 + threadIdx.x] = next + __reduce_min_sync(0xFFFFFFFFU, mirrored);
}

TEST_F(CudaEmulationTest, RunsBarriersAndWarps) {
  for (const auto order : {cuda_emulation::Order::kAscending,
                           cuda_emulation::Order::kDescending,
                           cuda_emulation::Order::kShuffled}) {
    cuda_emulation::Set({.order = order});
    void* out = nullptr;
    ASSERT_EQ(cudaMalloc(&out, 128 * sizeof(unsigned)), cudaSuccess);
    ASSERT_EQ(Run(64, Reverse, static_cast<unsigned*>(out)), cudaSuccess);
    const auto* const values = static_cast<const unsigned*>(out);
    EXPECT_EQ(values[0], 62U + 32U);
    EXPECT_EQ(values[31], 32U + 32U);  // the last lane keeps its own
    EXPECT_EQ(values[32], 30U + 0U);
    EXPECT_EQ(values[64], 162U + 132U);
    ASSERT_EQ(cudaFree(out), cudaSuccess);
  }
}

__global__ void HalfABarrier() {
  if (threadIdx.x < 40) __syncthreads();
}
__global__ void HalfAWarp() {
  if (threadIdx.x % 2 == 0) __syncwarp();
}
__global__ void TwoMinds() {
  if (threadIdx.x % 2 == 0) {
    __syncwarp();
  } else {
    __ballot_sync(0xFFFFFFFFU, 1);
  }
}

TEST_F(CudaEmulationTest, ReportsWhoWaitsForEver) {
  EXPECT_EQ(Run(64, HalfABarrier), cudaErrorLaunchFailure);
  EXPECT_THAT(cuda_emulation::Complaint(), HasSubstr("24 threads ended, 40 wait in __syncthreads"));
  cuda_emulation::Set({});
  EXPECT_EQ(Run(32, HalfAWarp), cudaErrorLaunchFailure);
  EXPECT_THAT(cuda_emulation::Complaint(), HasSubstr("16 threads ended, 16 wait in __syncwarp"));
  cuda_emulation::Set({});
  EXPECT_EQ(Run(32, TwoMinds), cudaErrorLaunchFailure);
  EXPECT_THAT(cuda_emulation::Complaint(), HasSubstr("in __syncwarp and in __ballot_sync"));
}

#if !DF_ADDRESS_SANITIZER  // which ends the program there
__global__ void OneTooFar(unsigned char* out, unsigned size) { out[size] = 1; }

TEST_F(CudaEmulationTest, ReportsWritesOutsideOfMemory) {
  void* out = nullptr;
  ASSERT_EQ(cudaMalloc(&out, 10), cudaSuccess);
  EXPECT_EQ(Run(32, OneTooFar, static_cast<unsigned char*>(out), 10U), cudaErrorIllegalAddress);
  EXPECT_THAT(cuda_emulation::Complaint(), HasSubstr("an allocation of 10 bytes"));
  cuda_emulation::Set({});
  cudaFree(out);
}
#endif

TEST_F(CudaEmulationTest, DoesNothingBeforeSomebodyWaits) {
  void* device = nullptr;
  ASSERT_EQ(cudaMalloc(&device, 4), cudaSuccess);
  const auto* const bytes = static_cast<const unsigned char*>(device);
  ASSERT_EQ(cudaMemsetAsync(device, 1, 4, stream_), cudaSuccess);
  EXPECT_NE(bytes[0], 1);
  cudaEvent_t event = nullptr;
  ASSERT_EQ(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), cudaSuccess);
  ASSERT_EQ(cudaEventRecord(event, stream_), cudaSuccess);
  ASSERT_EQ(cudaMemsetAsync(device, 2, 4, stream_), cudaSuccess);
  ASSERT_EQ(cudaEventSynchronize(event), cudaSuccess);
  EXPECT_EQ(bytes[0], 1);
  ASSERT_EQ(cudaStreamSynchronize(stream_), cudaSuccess);
  EXPECT_EQ(bytes[0], 2);
  ASSERT_EQ(cudaEventDestroy(event), cudaSuccess);
  ASSERT_EQ(cudaFree(device), cudaSuccess);
}

#else

// More blocks than a GPU runs at once, and larger than its caches.
TEST_F(CudaMatcherTest, EqualsTheReferenceOnAWholePicture) {
  for (const MatcherPreset preset :
       {MatcherPreset::kFast, MatcherPreset::kBalanced, MatcherPreset::kQuality}) {
    ExpectReferencesAnswer(OptionsOf(preset), MakePair(1280, 720, Content::kScene, 150, 4));
  }
}

#endif

}  // namespace
}  // namespace droidflow

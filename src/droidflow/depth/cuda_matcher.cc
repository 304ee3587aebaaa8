#include "droidflow/core/check.h"
#include "droidflow/core/result.h"
#include "droidflow/depth/cuda_pipeline_internal.h"
#include "droidflow/depth/matcher_internal.h"
#include "droidflow/depth/sgm_cuda_kernels_internal.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <cuda_runtime.h>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace droidflow {
namespace {

constexpr int kLeastComputeCapability = 8;
constexpr int kMostRows = 65535;  // as many blocks as there may be on top of one another

Status CheckCuda(cudaError_t error, const char* doing) {
  if (error == cudaSuccess) return {};
  if (error == cudaErrorMemoryAllocation) {
    return FailAs(kGpuMemory, ErrorKind::kTransient, "GPU out of memory: {}", doing);
  }
  return FailAs(kGpuFailed, ErrorKind::kInternal, "GPU, {}: {}", doing, cudaGetErrorString(error));
}

/// Device or pinned memory that goes when its owner does.
class CudaMemory {
 public:
  CudaMemory() = default;
  CudaMemory(CudaMemory&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)), is_pinned_(other.is_pinned_) {}
  CudaMemory& operator=(CudaMemory&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(is_pinned_, other.is_pinned_);
    return *this;
  }
  ~CudaMemory() {
    if (memory_ == nullptr) return;
    // There is nobody to tell, and whatever is wrong has been seen by a call that matters.
    static_cast<void>(is_pinned_ ? cudaFreeHost(memory_) : cudaFree(memory_));
  }

  [[nodiscard]] static Result<CudaMemory> OnDevice(std::size_t bytes, const char* what) {
    return Take(bytes, what, false);
  }
  [[nodiscard]] static Result<CudaMemory> Pinned(std::size_t bytes, const char* what) {
    return Take(bytes, what, true);
  }

  template <typename T>
  [[nodiscard]] T* as() const {
    return static_cast<T*>(memory_);
  }

 private:
  static Result<CudaMemory> Take(std::size_t bytes, const char* what, bool is_pinned) {
    CudaMemory memory;
    memory.is_pinned_ = is_pinned;
    const cudaError_t error =
        is_pinned ? cudaMallocHost(&memory.memory_, bytes) : cudaMalloc(&memory.memory_, bytes);
    if (error == cudaSuccess) return memory;
    memory.memory_ = nullptr;
    // Not kept for the next call to find.
    static_cast<void>(cudaGetLastError());
    if (error == cudaErrorMemoryAllocation) {
      return FailAs(kGpuMemory,
                    ErrorKind::kTransient,
                    "GPU out of memory: want {} MB {} for {}",
                    (bytes >> 20) + 1,
                    is_pinned ? "pinned" : "more",
                    what);
    }
    return FailAs(kGpuFailed,
                  ErrorKind::kInternal,
                  "GPU, taking memory for {}: {}",
                  what,
                  cudaGetErrorString(error));
  }

  void* memory_ = nullptr;
  bool is_pinned_ = false;
};

class CudaStream {
 public:
  CudaStream() = default;
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream() {
    if (stream_ != nullptr) static_cast<void>(cudaStreamDestroy(stream_));
  }
  [[nodiscard]] Status Make() {
    return CheckCuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  }
  [[nodiscard]] cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

class CudaEvent {
 public:
  CudaEvent() = default;
  CudaEvent(CudaEvent&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}
  CudaEvent& operator=(CudaEvent&& other) noexcept {
    std::swap(event_, other.event_);
    return *this;
  }
  ~CudaEvent() {
    if (event_ != nullptr) static_cast<void>(cudaEventDestroy(event_));
  }
  [[nodiscard]] Status Make(unsigned flags) {
    return CheckCuda(cudaEventCreateWithFlags(&event_, flags), "making an event");
  }
  [[nodiscard]] cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

SgmCudaShape ShapeOf(int width_px, int height_px, const MatcherOptions& options) {
  const int disparities = options.max_disparity_px - options.min_disparity_px;
  return {.width_px = width_px,
          .height_px = height_px,
          .min_disparity_px = options.min_disparity_px,
          .disparities = disparities,
          .row_bytes = SgmCudaRowBytes(disparities)};
}

}  // namespace

class CudaPipeline::Impl {
 public:
  Impl(const MatcherOptions& options, int most_pairs)
      : whole_options_(options),
        options_(options.half_size ? AtHalfSize(options) : options),
        most_pairs_(most_pairs) {
    DF_CHECK(most_pairs >= 1, "{}", most_pairs);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { Release(); }

  [[nodiscard]] int pairs() const { return pairs_; }

  Status Submit(GrayView left, GrayView right) {
    DF_RETURN_IF_ERROR(CheckPair(left, right));
    if (pairs_ == most_pairs_) {
      return Fail(ErrorKind::kUsage, "want at most {} pairs under way", most_pairs_);
    }
    if (pairs_ > 0 && !IsOfSize(left)) {
      return Fail(ErrorKind::kUsage,
                  "want pairs of {}x{} while others are under way, have {}x{}",
                  whole_.width_px,
                  whole_.height_px,
                  left.width_px,
                  left.height_px);
    }
    return OrRelease([&] { return SubmitChecked(left, right); });
  }

  Status Collect(DisparityImage& disparity_px16, GrayImage* confidence) {
    if (pairs_ == 0) return Fail(ErrorKind::kUsage, "want a pair under way, have none");
    return OrRelease([&]() -> Status {
      Slot& slot = slots_[oldest_];
      DF_RETURN_IF_ERROR(CheckCuda(cudaEventSynchronize(slot.is_down.get()), "matching"));
      CopyOut(slot.host_disparity_px16.as<const std::int16_t>(), disparity_px16);
      if (confidence != nullptr) {
        CopyOut(slot.host_confidence.as<const std::uint8_t>(), *confidence);
      }
      oldest_ = (oldest_ + 1) % slots_.size();
      --pairs_;
      return {};
    });
  }

  Result<std::vector<CudaStepTime>> TimeSteps(GrayView left, GrayView right, int rounds) {
    DF_CHECK(pairs_ == 0 && rounds > 0, "{} pairs, {} rounds", pairs_, rounds);
    std::vector<CudaStepTime> steps;
    DF_RETURN_IF_ERROR(CheckPair(left, right));
    DF_RETURN_IF_ERROR(OrRelease([&] { return TimeStepsChecked(left, right, rounds, steps); }));
    return steps;
  }

 private:
  /// What each pair under way has of its own.
  struct Slot {
    CudaMemory host_pictures;  ///< left, then right
    CudaMemory host_disparity_px16;
    CudaMemory host_confidence;
    CudaMemory pictures;
    CudaMemory disparity_px16;
    CudaMemory confidence;
    CudaEvent is_up;
    CudaEvent is_matched;
    CudaEvent is_down;
  };

  /// What the pair that is being matched has; streams see to it that there is one at a time.
  struct Buffers {
    CudaMemory half_pictures;
    CudaMemory census;
    CudaMemory gradient;
    CudaMemory costs;
    CudaMemory states;
    CudaMemory sums;
    CudaMemory disparity_px16;
    CudaMemory median_px16;
    CudaMemory whole_px;
    CudaMemory confidence;
    CudaMemory least_near;
    CudaMemory least_right;
    CudaMemory labels;
    CudaMemory sizes;
  };

  /// After a failure nothing is known of what is under way: all of it is given up.
  template <typename Function>
  Status OrRelease(const Function& function) {
    Status status = function();
    if (!status) Release();
    return status;
  }

  void Release() {
    // Nothing may be freed or made anew while the GPU uses it; what goes wrong here did so before.
    for (const CudaStream* stream : {&up_, &compute_, &down_}) {
      if (stream->get() != nullptr) static_cast<void>(cudaStreamSynchronize(stream->get()));
    }
    slots_.clear();
    buffers_ = {};
    whole_ = {};
    pairs_ = 0;
    oldest_ = 0;
    static_cast<void>(cudaGetLastError());
  }

  [[nodiscard]] bool IsOfSize(GrayView picture) const {
    return picture.width_px == whole_.width_px && picture.height_px == whole_.height_px;
  }

  Status TakeMemory(int width_px, int height_px) {
    Release();
    for (CudaStream* stream : {&up_, &compute_, &down_}) {
      if (stream->get() == nullptr) DF_RETURN_IF_ERROR(stream->Make());
    }
    const SgmCudaShape whole = ShapeOf(width_px, height_px, whole_options_);
    if (whole.pixels() > kSgmCudaMostPixels || height_px > kMostRows) {
      return Fail(ErrorKind::kUsage,
                  "want at most {} pixels and {} rows on the GPU, have {}x{}",
                  kSgmCudaMostPixels,
                  kMostRows,
                  width_px,
                  height_px);
    }
    shape_ =
        options_.half_size ? ShapeOf((width_px + 1) / 2, (height_px + 1) / 2, options_) : whole;
    const auto device = [](std::size_t bytes, const char* what, CudaMemory& memory) -> Status {
      DF_ASSIGN_OR_RETURN(memory, CudaMemory::OnDevice(bytes, what));
      return {};
    };
    const auto pinned = [](std::size_t bytes, CudaMemory& memory) -> Status {
      DF_ASSIGN_OR_RETURN(memory, CudaMemory::Pinned(bytes, "pictures on their way"));
      return {};
    };
    const std::size_t pixels = shape_.pixels();
    Buffers& b = buffers_;
    if (options_.half_size) DF_RETURN_IF_ERROR(device(2 * pixels, "pictures", b.half_pictures));
    DF_RETURN_IF_ERROR(device(2 * pixels * sizeof(std::uint32_t), "the census", b.census));
    DF_RETURN_IF_ERROR(device(2 * pixels * sizeof(std::uint16_t), "gradients", b.gradient));
    DF_RETURN_IF_ERROR(device(shape_.volume_bytes(), "costs", b.costs));
    DF_RETURN_IF_ERROR(device(SgmCudaStateBytes(shape_), "paths", b.states));
    DF_RETURN_IF_ERROR(device(kSgmCudaSums * shape_.volume_bytes(), "sums", b.sums));
    DF_RETURN_IF_ERROR(device(pixels * sizeof(std::int16_t), "disparities", b.disparity_px16));
    DF_RETURN_IF_ERROR(device(pixels * sizeof(std::int16_t), "disparities", b.median_px16));
    DF_RETURN_IF_ERROR(device(pixels * sizeof(std::uint16_t), "disparities", b.whole_px));
    DF_RETURN_IF_ERROR(device(pixels, "confidence", b.confidence));
    DF_RETURN_IF_ERROR(device(pixels * sizeof(std::uint16_t), "the check", b.least_near));
    DF_RETURN_IF_ERROR(device(pixels * sizeof(std::uint32_t), "the check", b.least_right));
    DF_RETURN_IF_ERROR(device(pixels * sizeof(std::uint32_t), "patches", b.labels));
    DF_RETURN_IF_ERROR(device(pixels * sizeof(std::uint32_t), "patches", b.sizes));
    const std::size_t whole_pixels = whole.pixels();
    for (int i = 0; i < most_pairs_; ++i) {
      Slot& slot = slots_.emplace_back();
      DF_RETURN_IF_ERROR(pinned(2 * whole_pixels, slot.host_pictures));
      DF_RETURN_IF_ERROR(pinned(whole_pixels * sizeof(std::int16_t), slot.host_disparity_px16));
      DF_RETURN_IF_ERROR(pinned(whole_pixels, slot.host_confidence));
      DF_RETURN_IF_ERROR(device(2 * whole_pixels, "pictures", slot.pictures));
      DF_RETURN_IF_ERROR(
          device(whole_pixels * sizeof(std::int16_t), "disparities", slot.disparity_px16));
      DF_RETURN_IF_ERROR(device(whole_pixels, "confidence", slot.confidence));
      DF_RETURN_IF_ERROR(slot.is_up.Make(cudaEventDisableTiming));
      DF_RETURN_IF_ERROR(slot.is_matched.Make(cudaEventDisableTiming));
      // The processor has other work while it waits.
      DF_RETURN_IF_ERROR(slot.is_down.Make(cudaEventDisableTiming | cudaEventBlockingSync));
    }
    whole_ = whole;
    return {};
  }

  static void CopyIn(GrayView picture, std::uint8_t* to) {
    const auto width = static_cast<std::size_t>(picture.width_px);
    for (int y = 0; y < picture.height_px; ++y, to += width) {
      std::memcpy(to, picture.row(y), width);
    }
  }

  template <typename T>
  void CopyOut(const T* from, Image<T>& image) const {
    image.Resize(whole_.width_px, whole_.height_px);
    const auto width = static_cast<std::size_t>(whole_.width_px);
    for (int y = 0; y < whole_.height_px; ++y, from += width) {
      std::memcpy(image.row(y), from, width * sizeof(T));
    }
  }

  Status SubmitChecked(GrayView left, GrayView right) {
    if (!IsOfSize(left)) DF_RETURN_IF_ERROR(TakeMemory(left.width_px, left.height_px));
    Slot& slot = slots_[(oldest_ + static_cast<std::size_t>(pairs_)) % slots_.size()];
    DF_RETURN_IF_ERROR(Upload(left, right, slot));
    const cudaStream_t compute = compute_.get();
    DF_RETURN_IF_ERROR(CheckCuda(cudaStreamWaitEvent(compute, slot.is_up.get(), 0), "waiting"));
    DF_RETURN_IF_ERROR(Run(slot, [](const char* name, std::size_t /*bytes*/, const auto& launch) {
      return CheckCuda(launch(), name);
    }));
    DF_RETURN_IF_ERROR(CheckCuda(cudaEventRecord(slot.is_matched.get(), compute), "matching"));
    DF_RETURN_IF_ERROR(Download(slot));
    ++pairs_;
    return {};
  }

  // A slot that is taken again has been collected, so nothing reads what is written here.
  Status Upload(GrayView left, GrayView right, Slot& slot) {
    const std::size_t pixels = whole_.pixels();
    auto* const pictures = slot.host_pictures.as<std::uint8_t>();
    CopyIn(left, pictures);
    CopyIn(right, pictures + pixels);
    DF_RETURN_IF_ERROR(CheckCuda(
        cudaMemcpyAsync(
            slot.pictures.as<void>(), pictures, 2 * pixels, cudaMemcpyHostToDevice, up_.get()),
        "uploading"));
    return CheckCuda(cudaEventRecord(slot.is_up.get(), up_.get()), "uploading");
  }

  Status Download(Slot& slot) {
    const std::size_t pixels = whole_.pixels();
    const cudaStream_t down = down_.get();
    DF_RETURN_IF_ERROR(CheckCuda(cudaStreamWaitEvent(down, slot.is_matched.get(), 0), "waiting"));
    DF_RETURN_IF_ERROR(CheckCuda(cudaMemcpyAsync(slot.host_disparity_px16.as<void>(),
                                                 slot.disparity_px16.as<const void>(),
                                                 pixels * sizeof(std::int16_t),
                                                 cudaMemcpyDeviceToHost,
                                                 down),
                                 "downloading"));
    DF_RETURN_IF_ERROR(CheckCuda(cudaMemcpyAsync(slot.host_confidence.as<void>(),
                                                 slot.confidence.as<const void>(),
                                                 pixels,
                                                 cudaMemcpyDeviceToHost,
                                                 down),
                                 "downloading"));
    return CheckCuda(cudaEventRecord(slot.is_down.get(), down), "downloading");
  }

  /// Calls step(name, bytes moved, launch) for each step, in order, of matching what is in the
  /// slot.
  template <typename Step>
  Status Run(const Slot& slot, const Step& step) const {
    const cudaStream_t stream = compute_.get();
    const Buffers& b = buffers_;
    const std::size_t pixels = shape_.pixels();
    const std::size_t volume = shape_.volume_bytes();
    const auto* left = slot.pictures.as<const std::uint8_t>();
    const std::uint8_t* right = left + whole_.pixels();
    if (options_.half_size) {
      auto* const halves = b.half_pictures.as<std::uint8_t>();
      const auto halve = [&](const std::uint8_t* picture, std::uint8_t* half) {
        return step("halving", whole_.pixels() + pixels, [&] {
          return LaunchHalve(whole_, shape_, picture, half, stream);
        });
      };
      DF_RETURN_IF_ERROR(halve(left, halves));
      DF_RETURN_IF_ERROR(halve(right, halves + pixels));
      left = halves;
      right = halves + pixels;
    }
    auto* const census = b.census.as<std::uint32_t>();
    auto* const gradient = b.gradient.as<std::uint16_t>();
    DF_RETURN_IF_ERROR(step("features left", 7 * pixels, [&] {
      return LaunchFeatures(shape_, left, census, gradient, stream);
    }));
    DF_RETURN_IF_ERROR(step("features right", 7 * pixels, [&] {
      return LaunchFeatures(shape_, right, census + pixels, gradient + pixels, stream);
    }));
    DF_RETURN_IF_ERROR(step("costs", 12 * pixels + volume, [&] {
      return LaunchCosts(shape_,
                         {.census_left = census,
                          .census_right = census + pixels,
                          .gradient_left = gradient,
                          .gradient_right = gradient + pixels},
                         b.costs.as<std::uint8_t>(),
                         stream);
    }));
    const bool is_both_ways = options_.paths == 8;
    const std::size_t path_bytes =
        is_both_ways ? 12 * volume + 2 * SgmCudaStateBytes(shape_) : 9 * volume + volume / 4;
    DF_RETURN_IF_ERROR(step("paths", path_bytes, [&] {
      return LaunchPaths(shape_,
                         {.both_ways = is_both_ways,
                          .p1 = options_.p1,
                          .p2_min = options_.p2_min,
                          .p2 = options_.p2},
                         left,
                         b.costs.as<const std::uint8_t>(),
                         b.states.as<std::uint8_t>(),
                         b.sums.as<std::uint8_t>(),
                         stream);
    }));
    return RunFromSums(slot, step);
  }

  template <typename Step>
  Status RunFromSums(const Slot& slot, const Step& step) const {
    const cudaStream_t stream = compute_.get();
    const Buffers& b = buffers_;
    const std::size_t pixels = shape_.pixels();
    const SgmCudaWinners winners{.disparity_px16 = b.disparity_px16.as<std::int16_t>(),
                                 .whole_px = b.whole_px.as<std::uint16_t>(),
                                 .confidence = b.confidence.as<std::uint8_t>(),
                                 .least_near = b.least_near.as<std::uint16_t>(),
                                 .least_right = b.least_right.as<std::uint32_t>()};
    DF_RETURN_IF_ERROR(step("clearing", 4 * pixels, [&] {
      return cudaMemsetAsync(winners.least_right, 0xFF, pixels * sizeof(std::uint32_t), stream);
    }));
    DF_RETURN_IF_ERROR(step("winners", kSgmCudaSums * shape_.volume_bytes() + 11 * pixels, [&] {
      return LaunchWinners(shape_,
                           {.uniqueness_percent = options_.uniqueness_percent,
                            .lr_check_px = options_.lr_check_px,
                            .subpixel = options_.subpixel},
                           b.sums.as<const std::uint8_t>(),
                           winners,
                           stream);
    }));
    if (options_.lr_check_px >= 0) {
      DF_RETURN_IF_ERROR(step("left-right check", 12 * pixels, [&] {
        return LaunchLeftRightCheck(shape_, winners, stream);
      }));
    }
    auto* disparity_px16 = winners.disparity_px16;
    if (options_.median) {
      DF_RETURN_IF_ERROR(step("median", 4 * pixels, [&] {
        return LaunchMedian(shape_, disparity_px16, b.median_px16.as<std::int16_t>(), stream);
      }));
      disparity_px16 = b.median_px16.as<std::int16_t>();
    }
    if (options_.speckle_area_px > 0) {
      DF_RETURN_IF_ERROR(DropSpeckles(disparity_px16, step));
    }
    if (options_.half_size) {
      return step("doubling", 3 * (pixels + whole_.pixels()), [&] {
        return LaunchDouble(whole_,
                            shape_,
                            disparity_px16,
                            winners.confidence,
                            slot.disparity_px16.template as<std::int16_t>(),
                            slot.confidence.template as<std::uint8_t>(),
                            stream);
      });
    }
    return step("results", 7 * pixels, [&] {
      return LaunchResults(shape_,
                           disparity_px16,
                           winners.confidence,
                           slot.disparity_px16.template as<std::int16_t>(),
                           slot.confidence.template as<std::uint8_t>(),
                           stream);
    });
  }

  template <typename Step>
  Status DropSpeckles(std::int16_t* disparity_px16, const Step& step) const {
    const cudaStream_t stream = compute_.get();
    const std::size_t pixels = shape_.pixels();
    auto* const labels = buffers_.labels.as<std::uint32_t>();
    auto* const sizes = buffers_.sizes.as<std::uint32_t>();
    DF_RETURN_IF_ERROR(step("clearing", 4 * pixels, [&] {
      return cudaMemsetAsync(sizes, 0, pixels * sizeof(std::uint32_t), stream);
    }));
    DF_RETURN_IF_ERROR(step("labels", 6 * pixels, [&] {
      return LaunchLabels(shape_, options_.speckle_range_px, disparity_px16, labels, stream);
    }));
    DF_RETURN_IF_ERROR(step("joining", 10 * pixels, [&] {
      return LaunchJoin(shape_, options_.speckle_range_px, disparity_px16, labels, stream);
    }));
    DF_RETURN_IF_ERROR(step("counting", 10 * pixels, [&] {
      return LaunchCount(shape_, options_.speckle_area_px, disparity_px16, labels, sizes, stream);
    }));
    return step("speckles", 8 * pixels, [&] {
      return LaunchDropSpeckles(
          shape_, options_.speckle_area_px, labels, sizes, disparity_px16, stream);
    });
  }

  Status TimeStepsChecked(GrayView left,
                          GrayView right,
                          int rounds,
                          std::vector<CudaStepTime>& steps) {
    if (!IsOfSize(left)) DF_RETURN_IF_ERROR(TakeMemory(left.width_px, left.height_px));
    Slot& slot = slots_[oldest_];
    CudaEvent start;
    CudaEvent end;
    DF_RETURN_IF_ERROR(start.Make(cudaEventDefault));
    DF_RETURN_IF_ERROR(end.Make(cudaEventDefault));
    std::vector<std::vector<double>> times_ms;
    for (int round = 0; round < rounds; ++round) {
      DF_RETURN_IF_ERROR(Upload(left, right, slot));
      DF_RETURN_IF_ERROR(CheckCuda(cudaStreamSynchronize(up_.get()), "uploading"));
      std::size_t index = 0;
      const auto time = [&](const char* name, std::size_t bytes, const auto& launch) -> Status {
        DF_RETURN_IF_ERROR(CheckCuda(cudaEventRecord(start.get(), compute_.get()), name));
        DF_RETURN_IF_ERROR(CheckCuda(launch(), name));
        DF_RETURN_IF_ERROR(CheckCuda(cudaEventRecord(end.get(), compute_.get()), name));
        DF_RETURN_IF_ERROR(CheckCuda(cudaEventSynchronize(end.get()), name));
        float ms = 0;
        DF_RETURN_IF_ERROR(CheckCuda(cudaEventElapsedTime(&ms, start.get(), end.get()), name));
        if (round == 0) {
          steps.push_back({name, 0, bytes});
          times_ms.emplace_back();
        }
        times_ms[index++].push_back(ms);
        return {};
      };
      DF_RETURN_IF_ERROR(Run(slot, time));
    }
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const auto middle = times_ms[i].begin() + rounds / 2;
      std::nth_element(times_ms[i].begin(), middle, times_ms[i].end());
      steps[i].ms = *middle;
    }
    return {};
  }

  MatcherOptions whole_options_;
  MatcherOptions options_;  ///< of the size that is matched
  int most_pairs_;
  SgmCudaShape whole_;
  SgmCudaShape shape_;  ///< what is matched: the whole or half of it
  CudaStream up_;
  CudaStream compute_;
  CudaStream down_;
  Buffers buffers_;
  std::vector<Slot> slots_;
  std::size_t oldest_ = 0;
  int pairs_ = 0;
};

CudaPipeline::CudaPipeline(const MatcherOptions& options, int most_pairs)
    : impl_(std::make_unique<Impl>(options, most_pairs)) {}
CudaPipeline::~CudaPipeline() = default;

int CudaPipeline::pairs() const { return impl_->pairs(); }

Status CudaPipeline::Submit(GrayView left, GrayView right) { return impl_->Submit(left, right); }

Status CudaPipeline::Collect(DisparityImage& disparity_px16, GrayImage* confidence) {
  return impl_->Collect(disparity_px16, confidence);
}

Result<std::vector<CudaStepTime>> CudaPipeline::TimeSteps(GrayView left,
                                                          GrayView right,
                                                          int rounds) {
  return impl_->TimeSteps(left, right, rounds);
}

namespace {

class CudaMatcher : public Matcher {
 public:
  explicit CudaMatcher(const MatcherOptions& options) : pipeline_(options, 1) {}

  Status Match(GrayView left,
               GrayView right,
               DisparityImage& disparity_px16,
               GrayImage* confidence) override {
    DF_RETURN_IF_ERROR(pipeline_.Submit(left, right));
    return pipeline_.Collect(disparity_px16, confidence);
  }

 private:
  CudaPipeline pipeline_;
};

std::string Version(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

std::string WhyNoCuda() {
  int driver = 0;
  // Asks the library that the driver installs, which is all that happens without one.
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    static_cast<void>(cudaGetLastError());
    return "no NVIDIA driver is installed";
  }
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error == cudaErrorInsufficientDriver) {
    static_cast<void>(cudaGetLastError());
    int runtime = 0;
    static_cast<void>(cudaRuntimeGetVersion(&runtime));
    return fmt::format("the NVIDIA driver is for CUDA {}, this build is for CUDA {}",
                       Version(driver),
                       Version(runtime));
  }
  if (error != cudaSuccess || devices == 0) {
    static_cast<void>(cudaGetLastError());
    return fmt::format("no GPU: {}", cudaGetErrorString(error));
  }
  int major = 0;
  int minor = 0;
  static_cast<void>(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  static_cast<void>(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
  if (major < kLeastComputeCapability) {
    return fmt::format("the GPU's compute capability is {}.{}, want at least {}.0",
                       major,
                       minor,
                       kLeastComputeCapability);
  }
  return {};
}

int CountGpus() {
  int devices = 0;
  if (!WhyNoCuda().empty() || cudaGetDeviceCount(&devices) != cudaSuccess) return 0;
  return devices;
}

Result<std::unique_ptr<Matcher>> MakeCudaMatcher(const MatcherOptions& options) {
  if (const std::string why = WhyNoCuda(); !why.empty()) {
    return Fail(ErrorKind::kUnsupported, "{}", why);
  }
  return std::make_unique<CudaMatcher>(options);
}

}  // namespace droidflow

#pragma once

/// The steps of docs/matching.md as CUDA kernels. What nvcc compiles sees this header and nothing
/// else of ours: pointers, sizes and cudaError_t. Each function puts its work into a stream and
/// returns; all pointers are the device's.
///
/// Volumes hold a byte for each pixel and disparity; a pixel's bytes are one row of `row_bytes`, in
/// the order in which a warp has them in its registers (sgm_cuda_kernels.cu). Pictures and maps
/// have no padding.
///
/// What a pair of 1280x720 costs with 256 disparities and 8 paths, by counting, not by measuring. A
/// volume has 236 MB. The costs are written once and read twice by each of the four kinds of lines;
/// each writes the sum of its two directions, which is read once; the states saved on the way are
/// 0.8 volumes, written and read. That is 1 + 8 + 4 + 4 + 1.6 = 18.6 volumes or 4.4 GB: 1.6 ms at
/// 2.8 TB/s. Instructions of a warp for a pixel, from the machine code for Hopper: costs 97, paths
/// 4 x 193, winners some 350: 1.25 ms at 4 a clock on each of 132 multiprocessors at 1.7 GHz. With
/// both overlapping in part, and 0.1 ms for the rest, 2 ms or 500 pairs a second are to be expected
/// of an H100. 4.6 MB go over the bus.

#include <cstddef>
#include <cstdint>
#include <cuda_runtime.h>

namespace droidflow {

struct SgmCudaShape {
  int width_px = 0;
  int height_px = 0;
  int min_disparity_px = 0;
  int disparities = 0;  ///< max - min
  int row_bytes = 0;    ///< of a volume, for one pixel: 128, 256, 512 or 1024

  [[nodiscard]] std::size_t pixels() const {
    return static_cast<std::size_t>(width_px) * static_cast<std::size_t>(height_px);
  }
  [[nodiscard]] std::size_t volume_bytes() const {
    return pixels() * static_cast<std::size_t>(row_bytes);
  }
};
/// Of a picture: the kernels have other use for the upper five bits.
inline constexpr std::uint32_t kSgmCudaMostPixels = 1U << 27;
/// The least that holds so many disparities, 1 … 1024.
[[nodiscard]] int SgmCudaRowBytes(int disparities);

/// Steps 1 and 2 of one picture. The gradient's low byte is Gx, the high one Gy.
[[nodiscard]] cudaError_t LaunchFeatures(const SgmCudaShape& shape,
                                         const std::uint8_t* picture,
                                         std::uint32_t* census,
                                         std::uint16_t* gradient,
                                         cudaStream_t stream);

struct SgmCudaFeatures {
  const std::uint32_t* census_left;
  const std::uint32_t* census_right;
  const std::uint16_t* gradient_left;
  const std::uint16_t* gradient_right;
};
/// Step 3. A disparity that is not available costs more than any other (100).
[[nodiscard]] cudaError_t LaunchCosts(const SgmCudaShape& shape,
                                      const SgmCudaFeatures& features,
                                      std::uint8_t* costs,
                                      cudaStream_t stream);

struct SgmCudaPathOptions {
  bool both_ways;  ///< 8 paths; otherwise 5: both ways along rows only
  int p1;
  int p2_min;
  int p2;
};
/// Volumes that the paths are gathered in: along rows, columns and both diagonals.
inline constexpr int kSgmCudaSums = 4;
/// What LaunchPaths keeps its states in.
[[nodiscard]] std::size_t SgmCudaStateBytes(const SgmCudaShape& shape);
/// Step 4. The sum of both ways, or the one way, along each line.
[[nodiscard]] cudaError_t LaunchPaths(const SgmCudaShape& shape,
                                      const SgmCudaPathOptions& options,
                                      const std::uint8_t* left,
                                      const std::uint8_t* costs,
                                      std::uint8_t* states,
                                      std::uint8_t* sums,
                                      cudaStream_t stream);

struct SgmCudaWinnerOptions {
  int uniqueness_percent;
  int lr_check_px;
  bool subpixel;
};
struct SgmCudaWinners {
  std::int16_t* disparity_px16;
  std::uint16_t* whole_px;     ///< the winner itself, without sub-pixel; only where there is one
  std::uint8_t* confidence;    ///< wherever there is a winner
  std::uint16_t* least_near;   ///< step 8: the least S((x - d + d', y), d')
  std::uint32_t* least_right;  ///< step 8: R; all bits set before
};
/// Steps 5, 6, 7 and 9, and what step 8 needs.
[[nodiscard]] cudaError_t LaunchWinners(const SgmCudaShape& shape,
                                        const SgmCudaWinnerOptions& options,
                                        const std::uint8_t* sums,
                                        const SgmCudaWinners& winners,
                                        cudaStream_t stream);

/// Step 8.
[[nodiscard]] cudaError_t LaunchLeftRightCheck(const SgmCudaShape& shape,
                                               const SgmCudaWinners& winners,
                                               cudaStream_t stream);

/// Step 10.
[[nodiscard]] cudaError_t LaunchMedian(const SgmCudaShape& shape,
                                       const std::int16_t* disparity_px16,
                                       std::int16_t* median_px16,
                                       cudaStream_t stream);

/// Step 11, in the order that it is to be done. A pixel's label is the index of a pixel of its
/// patch; in the end the same for all of it. Sizes, zero before, are at that index, and right as
/// far as `area_px` + 1.
[[nodiscard]] cudaError_t LaunchLabels(const SgmCudaShape& shape,
                                       int range_px,
                                       const std::int16_t* disparity_px16,
                                       std::uint32_t* labels,
                                       cudaStream_t stream);
[[nodiscard]] cudaError_t LaunchJoin(const SgmCudaShape& shape,
                                     int range_px,
                                     const std::int16_t* disparity_px16,
                                     std::uint32_t* labels,
                                     cudaStream_t stream);
[[nodiscard]] cudaError_t LaunchCount(const SgmCudaShape& shape,
                                      int area_px,
                                      const std::int16_t* disparity_px16,
                                      std::uint32_t* labels,
                                      std::uint32_t* sizes,
                                      cudaStream_t stream);
[[nodiscard]] cudaError_t LaunchDropSpeckles(const SgmCudaShape& shape,
                                             int area_px,
                                             const std::uint32_t* labels,
                                             const std::uint32_t* sizes,
                                             std::int16_t* disparity_px16,
                                             cudaStream_t stream);

/// What is handed out: no confidence where there is no disparity.
[[nodiscard]] cudaError_t LaunchResults(const SgmCudaShape& shape,
                                        const std::int16_t* disparity_px16,
                                        const std::uint8_t* confidence,
                                        std::int16_t* out_px16,
                                        std::uint8_t* out_confidence,
                                        cudaStream_t stream);

/// Half a picture, of `half`'s size.
[[nodiscard]] cudaError_t LaunchHalve(const SgmCudaShape& whole,
                                      const SgmCudaShape& half,
                                      const std::uint8_t* picture,
                                      std::uint8_t* out,
                                      cudaStream_t stream);
/// The whole size's disparity and confidence, of the half's.
[[nodiscard]] cudaError_t LaunchDouble(const SgmCudaShape& whole,
                                       const SgmCudaShape& half,
                                       const std::int16_t* half_px16,
                                       const std::uint8_t* half_confidence,
                                       std::int16_t* disparity_px16,
                                       std::uint8_t* confidence,
                                       cudaStream_t stream);

}  // namespace droidflow

#include "droidflow/depth/sgm_cuda_kernels_internal.h"

#include <cstddef>
#include <cstdint>
#include <cuda_runtime.h>

// A warp has a whole row of a volume in its registers: each lane V = row_bytes / 32 disparities in
// a row. They are 16 bits wide there, two to a register, since that is the width Hopper has
// instructions for (minimum, add-and-minimum): register r of a lane holds its disparities r and
// r + V / 2, so that the neighbours of a register are the registers beside it, and only the first
// and the last look into another lane. In memory, word k holds registers 2k (bytes 0 and 2) and
// 2k + 1 (bytes 1 and 3): both are one instruction away.

namespace droidflow {
namespace {

constexpr int kLanes = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFU;
constexpr int kWarps = 4;        // of a block, each on its own
constexpr int kWinnerWarps = 2;  // … where each needs more shared memory
constexpr int kThreads = kLanes * kWarps;
constexpr int kWinnerThreads = kLanes * kWinnerWarps;
constexpr int kRun = 256;    // pixels of a row that a block of the simple kernels does
constexpr int kTile = 64;    // columns whose costs a warp computes
constexpr int kChunk = 128;  // columns whose winners a warp picks
constexpr int kRing = 16;    // columns of sums that it remembers; more than twice the widest check

constexpr std::uint32_t kGradientCap = 8;
constexpr std::uint32_t kCostCap = 36;
// More than any L of an available disparity with any penalty (63 + 27), and little enough that the
// sum of two L of a disparity that is not available, at most 100 + 27 each, fits a byte.
constexpr std::uint32_t kUnavailable = 100;
constexpr std::uint32_t kBeyond = 0x0FFF;  // a 16-bit value that no minimum picks
constexpr std::int16_t kNone = -1;
constexpr int kScale = 16;

__device__ constexpr std::uint32_t Twice(std::uint32_t value) { return value * 0x00010001U; }

__device__ int Min(int a, int b) { return a < b ? a : b; }
__device__ int Max(int a, int b) { return a > b ? a : b; }
__device__ int Abs(int a) { return a < 0 ? -a : a; }
__device__ int Clamp(int value, int least, int most) { return Max(least, Min(value, most)); }
__device__ std::size_t At(int x, int y, int width_px) {
  return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_px) +
         static_cast<std::size_t>(x);
}

template <int V>
__device__ std::size_t VolumeBytes(const SgmCudaShape& shape) {
  return At(0, shape.height_px, shape.width_px) * (kLanes * V);
}

// --- Rows of volumes -----------------------------------------------------------------------------

template <int V>
__device__ void Load(const std::uint8_t* row, int lane, std::uint32_t (&words)[V / 4]) {
  const std::uint8_t* from = row + lane * V;
  if constexpr (V == 4) {
    words[0] = *reinterpret_cast<const std::uint32_t*>(from);
  } else if constexpr (V == 8) {
    const uint2 loaded = *reinterpret_cast<const uint2*>(from);
    words[0] = loaded.x;
    words[1] = loaded.y;
  } else {
#pragma unroll
    for (int i = 0; i < V / 16; ++i) {
      const uint4 loaded = reinterpret_cast<const uint4*>(from)[i];
      words[4 * i] = loaded.x;
      words[4 * i + 1] = loaded.y;
      words[4 * i + 2] = loaded.z;
      words[4 * i + 3] = loaded.w;
    }
  }
}

template <int V>
__device__ void Store(const std::uint32_t (&words)[V / 4], std::uint8_t* row, int lane) {
  std::uint8_t* to = row + lane * V;
  if constexpr (V == 4) {
    *reinterpret_cast<std::uint32_t*>(to) = words[0];
  } else if constexpr (V == 8) {
    *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
  } else {
#pragma unroll
    for (int i = 0; i < V / 16; ++i) {
      reinterpret_cast<uint4*>(to)[i] =
          make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
    }
  }
}

template <int V>
__device__ void Unpack(const std::uint32_t (&words)[V / 4], std::uint32_t (&values)[V / 2]) {
#pragma unroll
  for (int k = 0; k < V / 4; ++k) {
    values[2 * k] = words[k] & 0x00FF00FFU;
    values[2 * k + 1] = __byte_perm(words[k], 0, 0x4341);
  }
}

template <int V>
__device__ void Pack(const std::uint32_t (&values)[V / 2], std::uint32_t (&words)[V / 4]) {
#pragma unroll
  for (int k = 0; k < V / 4; ++k) words[k] = values[2 * k] | (values[2 * k + 1] << 8);
}

// The byte of disparity `index` in a row.
template <int V>
__device__ int ByteOf(int index) {
  const int j = index % V;
  const int r = j % (V / 2);
  return index - j + 4 * (r / 2) + r % 2 + 2 * (j / (V / 2));
}

// Each disparity's neighbour below: register 0 of the result, where register r of it is register
// r - 1 of the row.
template <int V>
__device__ std::uint32_t BelowFirst(const std::uint32_t (&values)[V / 2], int lane) {
  const std::uint32_t top = values[V / 2 - 1];
  const std::uint32_t other = __shfl_up_sync(kAllLanes, top, 1);
  return __byte_perm(lane == 0 ? kBeyond << 16 : other, top, 0x5432);
}

// The neighbour above, of the last register.
template <int V>
__device__ std::uint32_t AboveLast(const std::uint32_t (&values)[V / 2], int lane) {
  const std::uint32_t bottom = values[0];
  const std::uint32_t other = __shfl_down_sync(kAllLanes, bottom, 1);
  return __byte_perm(bottom, lane == kLanes - 1 ? kBeyond : other, 0x5432);
}

template <int V>
__device__ std::uint32_t LeastOfLane(const std::uint32_t (&values)[V / 2]) {
  std::uint32_t least = values[0];
  if constexpr (V == 4) {
    least = __vminu2(least, values[1]);
  } else {
#pragma unroll
    for (int r = 1; r + 1 < V / 2; r += 2) least = __vimin3_u16x2(least, values[r], values[r + 1]);
    least = __vminu2(least, values[V / 2 - 1]);
  }
  return __vminu2(least, least >> 16) & 0xFFFFU;
}

template <int V>
__device__ std::uint32_t LeastOfRow(const std::uint32_t (&values)[V / 2]) {
  return __reduce_min_sync(kAllLanes, LeastOfLane<V>(values));
}

// Gives the lane's disparities from `available` on a value that counts as missing.
template <int V>
__device__ void HideFrom(int available, std::uint32_t value, std::uint32_t (&values)[V / 2]) {
  if (available >= V) return;
#pragma unroll
  for (int r = 0; r < V / 2; ++r) {
    if (r >= available) values[r] = (values[r] & 0xFFFF0000U) | value;
    if (r + V / 2 >= available) values[r] = (values[r] & 0x0000FFFFU) | (value << 16);
  }
}

// Disparities that are available at x.
__device__ int AvailableAt(const SgmCudaShape& shape, int x) {
  return Clamp(x - shape.min_disparity_px + 1, 0, shape.disparities);
}

// --- 1, 2: features ------------------------------------------------------------------------------

__global__ void __launch_bounds__(kRun) FeaturesKernel(SgmCudaShape shape,
                                                       const std::uint8_t* __restrict__ picture,
                                                       std::uint32_t* __restrict__ census,
                                                       std::uint16_t* __restrict__ gradient) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y);
  if (x >= shape.width_px) return;
  const auto value = [&](int dx, int dy) {
    return static_cast<int>(picture[At(Clamp(x + dx, 0, shape.width_px - 1),
                                       Clamp(y + dy, 0, shape.height_px - 1),
                                       shape.width_px)]);
  };
  const int middle = value(0, 0);
  std::uint32_t bits = 0;
#pragma unroll
  for (int dy = -3; dy <= 3; ++dy) {
#pragma unroll
    for (int dx = -4; dx <= 4; ++dx) {
      if ((dx + dy) % 2 != 0 || (dx == 0 && dy == 0)) continue;
      bits = bits << 1 | (value(dx, dy) < middle ? 1U : 0U);
    }
  }
  const int gx = (value(1, 0) - value(-1, 0) + 256) / 2;
  const int gy = (value(0, 1) - value(0, -1) + 256) / 2;
  census[At(x, y, shape.width_px)] = bits;
  gradient[At(x, y, shape.width_px)] = static_cast<std::uint16_t>(gx | gy << 8);
}

// --- 3: costs ------------------------------------------------------------------------------------

// A lane's V disparities at x are those of the right pixels x - d; at x + 1 one of them is new.
template <int V>
__global__ void __launch_bounds__(kThreads)
    CostsKernel(SgmCudaShape shape, SgmCudaFeatures features, std::uint8_t* __restrict__ costs) {
  // Right pixels of the tile, from x0 - min - (32 V - 1) on. One word in V is left out, so that the
  // lanes, V apart, do not meet in a bank.
  constexpr int kWindow = kLanes * V + kTile;
  constexpr int kPadded = kWindow + kWindow / V;
  __shared__ std::uint32_t shared_census[kWarps][kPadded];
  __shared__ std::uint32_t shared_gradient[kWarps][kPadded];

  const int lane = static_cast<int>(threadIdx.x);
  const int y = static_cast<int>(blockIdx.y) * kWarps + static_cast<int>(threadIdx.y);
  const int x0 = static_cast<int>(blockIdx.x) * kTile;
  if (y >= shape.height_px) return;
  std::uint32_t* const census = shared_census[threadIdx.y];
  std::uint32_t* const gradient = shared_gradient[threadIdx.y];
  const int first = x0 - shape.min_disparity_px - (kLanes * V - 1);
  for (int i = lane; i < kWindow; i += kLanes) {
    const std::size_t at = At(Clamp(first + i, 0, shape.width_px - 1), y, shape.width_px);
    census[i + i / V] = features.census_right[at];
    gradient[i + i / V] = features.gradient_right[at];
  }
  __syncwarp();

  const int window_at_x0 = kLanes * V - 1 - lane * V;  // of the lane's disparity 0
  std::uint32_t right_census[V];
  std::uint32_t right_gradient[V];
#pragma unroll
  for (int j = 0; j + 1 < V; ++j) {
    const int i = window_at_x0 - 1 - j;  // as at x0 - 1: the first column moves them on
    right_census[j] = census[i + i / V];
    right_gradient[j] = gradient[i + i / V];
  }
  const int columns = Min(kTile, shape.width_px - x0);
  for (int start = 0; start < columns; start += kLanes) {
    const std::size_t at = At(Min(x0 + start + lane, shape.width_px - 1), y, shape.width_px);
    const std::uint32_t lanes_census = features.census_left[at];
    const std::uint32_t lanes_gradient = features.gradient_left[at];
    const int end = Min(kLanes, columns - start);
#pragma unroll 4
    for (int column = 0; column < end; ++column) {
      const int x = x0 + start + column;
#pragma unroll
      for (int j = V - 1; j > 0; --j) {
        right_census[j] = right_census[j - 1];
        right_gradient[j] = right_gradient[j - 1];
      }
      const int i = window_at_x0 + start + column;
      right_census[0] = census[i + i / V];
      right_gradient[0] = gradient[i + i / V];
      const std::uint32_t left_census = __shfl_sync(kAllLanes, lanes_census, column);
      const std::uint32_t left_gradient = __shfl_sync(kAllLanes, lanes_gradient, column);
      std::uint32_t values[V / 2];
#pragma unroll
      for (int r = 0; r < V / 2; ++r) {
        const int low = __popc(left_census ^ right_census[r]);
        const int high = __popc(left_census ^ right_census[r + V / 2]);
        const std::uint32_t gradients = __vsadu4(left_gradient, right_gradient[r]) +
                                        (__vsadu4(left_gradient, right_gradient[r + V / 2]) << 16);
        values[r] = __viaddmin_u16x2(static_cast<std::uint32_t>(low + (high << 16)),
                                     __vminu2(gradients, Twice(kGradientCap)),
                                     Twice(kCostCap));
      }
      HideFrom<V>(AvailableAt(shape, x) - lane * V, kUnavailable, values);
      std::uint32_t words[V / 4];
      Pack<V>(values, words);
      Store<V>(words, costs + At(x, y, shape.width_px) * (kLanes * V), lane);
    }
  }
}

// --- 4: paths ------------------------------------------------------------------------------------

// L of a line's pixels is computed from L of the pixel before, kept in registers with its least
// value m in both halves. The first direction runs to the end and saves its state every kStretch
// steps; then, from the last stretch to the first, it is walked again from the saved state, its L
// and the costs kept in shared memory, and the other direction follows and adds to it. So L never
// goes to memory alone, and the costs are read twice instead of L being written and read.
template <int V>
struct PathState {
  std::uint32_t values[V / 2];
  std::uint32_t least;
};

template <int V>
__device__ void Begin(PathState<V>& state) {
#pragma unroll
  for (int r = 0; r < V / 2; ++r) state.values[r] = 0;
  state.least = 0;
}

// One pixel on. P2' = 0 makes L = C, whatever was before: m is the least of all.
template <int V>
__device__ void Advance(const std::uint32_t (&costs)[V / 4],
                        std::uint32_t p1,
                        std::uint32_t p2,
                        int lane,
                        PathState<V>& state) {
  std::uint32_t(&values)[V / 2] = state.values;
  std::uint32_t below = BelowFirst<V>(values, lane);
  const std::uint32_t above_last = AboveLast<V>(values, lane);
  const std::uint32_t limit = state.least + Twice(p2);
  std::uint32_t cost[V / 2];
  Unpack<V>(costs, cost);
#pragma unroll
  for (int r = 0; r < V / 2; ++r) {
    const std::uint32_t here = values[r];
    const std::uint32_t above = r + 1 < V / 2 ? values[Min(r + 1, V / 2 - 1)] : above_last;
    std::uint32_t least = __viaddmin_u16x2(below, Twice(p1), here);
    least = __viaddmin_u16x2(above, Twice(p1), least);
    least = __vminu2(least, limit);
    values[r] = least - state.least + cost[r];  // no half is less than m: nothing is borrowed
    below = here;
  }
  state.least = Twice(LeastOfRow<V>(values));
}

// Steps of a line between saved states.
__host__ __device__ constexpr int StretchFor(int row_bytes) { return row_bytes <= 512 ? 8 : 4; }

enum class Lines { kRows, kColumns, kDown, kUp };  // the diagonals: down and up to the right

struct Line {
  Lines kind;
  int index;

  // From one step to the next.
  __device__ int dx() const { return kind == Lines::kColumns ? 0 : (kind == Lines::kUp ? -1 : 1); }
  __device__ int dy() const { return kind == Lines::kRows ? 0 : 1; }
  __device__ int length(const SgmCudaShape& shape) const {
    return kind == Lines::kRows ? shape.width_px : shape.height_px;
  }
};

__device__ Line LineAt(const SgmCudaShape& shape, int index) {
  if (index < shape.height_px) return {Lines::kRows, index};
  index -= shape.height_px;
  return {static_cast<Lines>(1 + index / shape.width_px), index % shape.width_px};
}

// Some steps of a line, one a lane: the pixel of a step, and P2' between it and the step before, 0
// where nothing is known of one of them. Both in 32 bits, as registers are what is short.
struct Stretch {
  std::uint32_t packed;

  __device__ Stretch At(int step) const { return {__shfl_sync(kAllLanes, packed, step)}; }
  __device__ std::uint32_t pixel() const { return packed % kSgmCudaMostPixels; }
  __device__ std::uint32_t p2() const { return packed / kSgmCudaMostPixels; }
};

// A diagonal that leaves the picture begins again at its other side, so all have the same length.
// Steps past the end are the last one again.
__device__ Stretch StretchOf(const SgmCudaShape& shape,
                             const SgmCudaPathOptions& options,
                             const std::uint8_t* __restrict__ left,
                             const Line& line,
                             int first_step,
                             int lane) {
  const int step = Min(first_step + lane, line.length(shape) - 1);
  const int last = shape.width_px - 1;
  int x = line.index;
  int y = step;
  switch (line.kind) {
    case Lines::kRows:
      x = step;
      y = line.index;
      break;
    case Lines::kColumns:
      break;
    case Lines::kDown:
      x = (line.index + step) % shape.width_px;
      break;
    case Lines::kUp:
      x = last - (last - line.index + step) % shape.width_px;
      break;
  }
  const int x_before = x - line.dx();
  const auto pixel = static_cast<std::uint32_t>(At(x, y, shape.width_px));
  if (first_step + lane != step || step == 0 || x_before > last ||
      Min(x, x_before) < shape.min_disparity_px) {
    return {pixel};
  }
  const std::size_t before = At(x_before, y - line.dy(), shape.width_px);
  const int difference = Abs(static_cast<int>(left[pixel]) - static_cast<int>(left[before]));
  const int p2 = Max(options.p2_min, options.p2 - difference / 2);
  return {pixel + static_cast<std::uint32_t>(p2) * kSgmCudaMostPixels};
}

template <int V>
__device__ void LoadStretch(const std::uint8_t* __restrict__ costs,
                            const Stretch& stretch,
                            int lane,
                            std::uint32_t (&words)[StretchFor(kLanes * V)][V / 4]) {
#pragma unroll
  for (int k = 0; k < StretchFor(kLanes * V); ++k) {
    Load<V>(costs + std::size_t{stretch.At(k).pixel()} * (kLanes * V), lane, words[k]);
  }
}

// The first direction up to stretch `end`; what a step has used is replaced by what the same step
// of the next stretch needs, so that a stretch's loads are always under way. after_step(stretch,
// step) sees each L.
template <int V, typename StretchAt, typename BeforeStretch, typename AfterStep>
__device__ void WalkAhead(const std::uint8_t* __restrict__ costs,
                          std::uint32_t p1,
                          int end,
                          int lane,
                          const StretchAt& stretch_at,
                          const BeforeStretch& before_stretch,
                          const AfterStep& after_step,
                          Stretch& stretch,
                          std::uint32_t (&words)[StretchFor(kLanes * V)][V / 4],
                          PathState<V>& state) {
  for (int s = 0; s < end; ++s) {
    before_stretch(s);
    const Stretch next = stretch_at(s + 1);
#pragma unroll
    for (int k = 0; k < StretchFor(kLanes * V); ++k) {
      Advance<V>(words[k], p1, stretch.At(k).p2(), lane, state);
      after_step(s, k);
      Load<V>(costs + std::size_t{next.At(k).pixel()} * (kLanes * V), lane, words[k]);
    }
    stretch = next;
  }
}

// A pair of 1280x720 has 4560 lines, of which an H100 holds 4224 at once with 256 disparities (63
// registers); the others begin when the first columns are done, and end about when the rows do.
template <int V>
__global__ void __launch_bounds__(kThreads) PathsKernel(SgmCudaShape shape,
                                                        SgmCudaPathOptions options,
                                                        const std::uint8_t* __restrict__ left,
                                                        const std::uint8_t* __restrict__ costs,
                                                        std::uint8_t* __restrict__ states,
                                                        std::uint8_t* __restrict__ sums) {
  constexpr int kRow = kLanes * V;
  constexpr int kStretch = StretchFor(kRow);
  struct alignas(16) Rows {
    std::uint8_t bytes[kRow];
  };
  __shared__ Rows shared_costs[kWarps][kStretch];
  __shared__ Rows shared_first[kWarps][kStretch];

  const int lane = static_cast<int>(threadIdx.x);
  const int warp = static_cast<int>(threadIdx.y);
  // The rows, which may be longest, are first.
  const int index = static_cast<int>(blockIdx.x) * kWarps + warp;
  if (index >= shape.height_px + 3 * shape.width_px) return;
  const Line line = LineAt(shape, index);
  const int length = line.length(shape);
  // Volumes follow one another, so this is the row of a pixel in all of them.
  const auto first_row = static_cast<std::uint32_t>(
      At(0, static_cast<int>(line.kind) * shape.height_px, shape.width_px));
  const auto store_sum = [&](const std::uint32_t(&words)[V / 4], std::uint32_t pixel) {
    Store<V>(words, sums + std::size_t{first_row + pixel} * kRow, lane);
  };
  const auto p1 = static_cast<std::uint32_t>(options.p1);
  const int stretches = (length + kStretch - 1) / kStretch;
  const auto stretch_at = [&](int s) {
    return StretchOf(shape, options, left, line, s * kStretch, lane);
  };

  std::uint32_t words[kStretch][V / 4];
  PathState<V> first;
  Begin(first);
  Stretch stretch = stretch_at(0);
  LoadStretch<V>(costs, stretch, lane, words);

  if (!options.both_ways && line.kind != Lines::kRows) {
    const auto store = [&](int s, int k) {
      if (s * kStretch + k >= length) return;
      std::uint32_t packed[V / 4];
      Pack<V>(first.values, packed);
      store_sum(packed, stretch.At(k).pixel());
    };
    WalkAhead<V>(
        costs, p1, stretches, lane, stretch_at, [](int) {}, store, stretch, words, first);
    return;
  }

  const auto longest = static_cast<std::uint32_t>(Max(shape.width_px, shape.height_px));
  const std::uint32_t first_state =
      static_cast<std::uint32_t>(index) * ((longest + kStretch - 1) / kStretch);
  const auto state_at = [&](int s) {
    return states + static_cast<std::size_t>(first_state + static_cast<std::uint32_t>(s)) * kRow;
  };
  const auto save_state = [&](int s) {
    if (s == 0) return;
    std::uint32_t packed[V / 4];
    Pack<V>(first.values, packed);
    Store<V>(packed, state_at(s), lane);
  };
  WalkAhead<V>(
      costs,
      p1,
      stretches - 1,
      lane,
      stretch_at,
      save_state,
      [](int, int) {},
      stretch,
      words,
      first);

  PathState<V> second;
  Begin(second);
  for (int s = stretches - 1; s >= 0; --s) {
    // The first direction may go past its end, the second one must not begin there.
#pragma unroll
    for (int k = 0; k < kStretch; ++k) {
      Store<V>(words[k], shared_costs[warp][k].bytes, lane);
      Advance<V>(words[k], p1, stretch.At(k).p2(), lane, first);
      std::uint32_t packed[V / 4];
      Pack<V>(first.values, packed);
      Store<V>(packed, shared_first[warp][k].bytes, lane);
    }
    Stretch next = stretch;
    std::uint32_t state[V / 4] = {};
    if (s > 0) {
      next = stretch_at(s - 1);
      LoadStretch<V>(costs, next, lane, words);
    }
    if (s > 1) Load<V>(state_at(s - 1), lane, state);
      // A lane reads back what it wrote itself: nobody waits for anybody.
#pragma unroll
    for (int k = kStretch - 1; k >= 0; --k) {
      if (s * kStretch + k >= length) continue;
      std::uint32_t cost[V / 4];
      Load<V>(shared_costs[warp][k].bytes, lane, cost);
      Advance<V>(cost, p1, stretch.At(k + 1).p2(), lane, second);
      std::uint32_t packed[V / 4];
      std::uint32_t other[V / 4];
      Pack<V>(second.values, packed);
      Load<V>(shared_first[warp][k].bytes, lane, other);
#pragma unroll
      for (int i = 0; i < V / 4; ++i) packed[i] += other[i];
      store_sum(packed, stretch.At(k).pixel());
    }
    Unpack<V>(state, first.values);
    first.least = Twice(LeastOfRow<V>(first.values));
    stretch = next;
  }
}

// --- 5, 6, 7, 9: winners -------------------------------------------------------------------------

// What is remembered of a column until the columns beside it are known.
struct Winner {
  int index;           // of the disparity, from 0; none: -1
  std::uint32_t best;  // S of it
  std::uint32_t second;
};

// The pixel's values from its winner, and from S of the columns beside it.
template <int V, typename SumAt>
__device__ void Finish(const SgmCudaShape& shape,
                       const SgmCudaWinnerOptions& options,
                       const Winner& winner,
                       int x,
                       int y,
                       int lane,
                       const SumAt& sum_at,
                       const SgmCudaWinners& winners) {
  const std::size_t at = At(x, y, shape.width_px);
  if (winner.index < 0) {  // so for the whole warp
    if (lane == 0) {
      winners.disparity_px16[at] = kNone;
      winners.confidence[at] = 0;
    }
    return;
  }
  const int check = options.lr_check_px;
  const int x_near = x - check + lane;
  const int index_near = winner.index - check + lane;
  std::uint32_t near = 0xFFFFU;
  if (lane <= 2 * check && x_near >= 0 && x_near < shape.width_px && index_near >= 0 &&
      index_near < shape.disparities) {
    near = sum_at(x_near, index_near);
  }
  near = __reduce_min_sync(kAllLanes, near);
  if (lane != 0) return;
  const int best = static_cast<int>(winner.best);
  const int second = static_cast<int>(winner.second);
  const bool has_second = winner.second < kBeyond;
  const int whole = shape.min_disparity_px + winner.index;
  int disparity_px16 = kScale * whole;
  if (options.subpixel && winner.index > 0 && winner.index + 1 < AvailableAt(shape, x)) {
    const int before = static_cast<int>(sum_at(x, winner.index - 1));
    const int after = static_cast<int>(sum_at(x, winner.index + 1));
    const int slope = Max(before, after) - best;  // > 0: the smallest of equals wins
    // Not negative with 32 slope more, so that the quotient is its floor.
    disparity_px16 += (kScale * (before - after) + slope + 32 * slope) / (2 * slope) - 16;
  }
  if (has_second && second * (100 - options.uniqueness_percent) < best * 100 &&
      options.uniqueness_percent > 0) {
    disparity_px16 = kNone;
  }
  winners.disparity_px16[at] = static_cast<std::int16_t>(disparity_px16);
  winners.whole_px[at] = static_cast<std::uint16_t>(whole);
  winners.least_near[at] = static_cast<std::uint16_t>(near);
  winners.confidence[at] = static_cast<std::uint8_t>(
      !has_second ? 255 : (second > best ? 255 * (second - best) / second : 0));
}

// The warp goes along a row. R of the right pixels moves through it: what is at disparity d is at
// d + 1 a column later, and leaves at the end; what is left when the chunk ends is merged there.
template <int V>
__global__ void __launch_bounds__(kWinnerThreads)
    WinnersKernel(SgmCudaShape shape,
                  SgmCudaWinnerOptions options,
                  const std::uint8_t* __restrict__ sums,
                  SgmCudaWinners winners) {
  constexpr int kRow = kLanes * V;
  struct alignas(16) Rows {
    std::uint8_t bytes[kRow];
  };
  __shared__ Rows shared_sums[kWinnerWarps][kRing];
  __shared__ Winner shared_winners[kWinnerWarps][kRing];

  const int lane = static_cast<int>(threadIdx.x);
  const int warp = static_cast<int>(threadIdx.y);
  const int y = static_cast<int>(blockIdx.y) * (kWinnerWarps) + warp;
  if (y >= shape.height_px) return;
  const int x0 = static_cast<int>(blockIdx.x) * kChunk;
  const int x1 = Min(x0 + kChunk, shape.width_px);
  const int beside = Max(options.lr_check_px, 0);
  const std::size_t volume = VolumeBytes<V>(shape);
  const int first_right = -shape.min_disparity_px - lane * V;  // the lane's first right pixel at 0
  std::uint32_t* const least_right = winners.least_right + At(0, y, shape.width_px);

  std::uint32_t right[V / 2];
#pragma unroll
  for (int r = 0; r < V / 2; ++r) right[r] = Twice(kBeyond);
  const auto merge_right = [&](int x_right, std::uint32_t value) {
    if (x_right >= 0 && value < kBeyond) atomicMin(least_right + x_right, value);
  };
  const auto sum_at = [&](int x, int index) -> std::uint32_t {
    return shared_sums[warp][x % kRing].bytes[ByteOf<V>(index)];
  };

  std::uint32_t words[kSgmCudaSums][V / 4];
  const auto load = [&](int x) {
    const std::uint8_t* const from = sums + At(x, y, shape.width_px) * kRow;
#pragma unroll
    for (int i = 0; i < kSgmCudaSums; ++i) {
      Load<V>(from + static_cast<std::size_t>(i) * volume, lane, words[i]);
    }
  };
  const int first = Max(x0 - beside, 0);
  load(first);
  for (int x = first; x < x1 + beside; ++x) {
    if (x < shape.width_px) {
      std::uint32_t values[V / 2];
      Unpack<V>(words[0], values);
#pragma unroll
      for (int i = 1; i < kSgmCudaSums; ++i) {
        std::uint32_t more[V / 2];
        Unpack<V>(words[i], more);
#pragma unroll
        for (int r = 0; r < V / 2; ++r) values[r] += more[r];
      }
      load(Min(x + 1, shape.width_px - 1));
#pragma unroll
      for (int r = 0; r < V / 2; ++r) values[r] = __vminu2(values[r], Twice(255));
      std::uint32_t packed[V / 4];
      Pack<V>(values, packed);
      Store<V>(packed, shared_sums[warp][x % kRing].bytes, lane);
      if (x >= x0 && x < x1) {
        HideFrom<V>(AvailableAt(shape, x) - lane * V, kBeyond, values);
        // Right pixels.
        if (lane == kLanes - 1) merge_right(x - 1 + first_right - (V - 1), right[V / 2 - 1] >> 16);
        const std::uint32_t below = BelowFirst<V>(right, lane);
#pragma unroll
        for (int r = V / 2 - 1; r > 0; --r) right[r] = __vminu2(right[r - 1], values[r]);
        right[0] = __vminu2(below, values[0]);
        // The least, and the first that has it.
        const std::uint32_t best = LeastOfRow<V>(values);
        std::uint32_t mine = 0xFFFFU;
#pragma unroll
        for (int j = V - 1; j >= 0; --j) {
          const std::uint32_t value =
              j < V / 2 ? values[j % (V / 2)] & 0xFFFFU : values[j % (V / 2)] >> 16;
          if (value == best) mine = static_cast<std::uint32_t>(lane * V + j);
        }
        const int index = static_cast<int>(__reduce_min_sync(kAllLanes, mine));
        // The least of those that are not beside it.
#pragma unroll
        for (int r = 0; r < V / 2; ++r) {
          if (Abs(lane * V + r - index) <= 1) values[r] |= kBeyond;
          if (Abs(lane * V + r + V / 2 - index) <= 1) values[r] |= kBeyond << 16;
        }
        const std::uint32_t second = LeastOfRow<V>(values);
        if (lane == 0) {
          shared_winners[warp][x % kRing] = {best < kBeyond ? index : -1, best, second};
        }
      }
    }
    __syncwarp();
    const int done = x - beside;
    if (done >= x0) {
      Finish<V>(shape, options, shared_winners[warp][done % kRing], done, y, lane, sum_at, winners);
    }
  }
#pragma unroll
  for (int j = 0; j < V; ++j) {
    const std::uint32_t value = j < V / 2 ? right[j % (V / 2)] & 0xFFFFU : right[j % (V / 2)] >> 16;
    merge_right(x1 - 1 + first_right - j, value);
  }
}

// --- 8: left-right check -------------------------------------------------------------------------

__global__ void __launch_bounds__(kRun)
    LeftRightCheckKernel(SgmCudaShape shape, SgmCudaWinners winners) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (x >= shape.width_px) return;
  const std::size_t at = At(x, static_cast<int>(blockIdx.y), shape.width_px);
  if (winners.disparity_px16[at] == kNone) return;
  if (winners.least_near[at] != winners.least_right[at - winners.whole_px[at]]) {
    winners.disparity_px16[at] = kNone;
  }
}

// --- 10: median ----------------------------------------------------------------------------------

__global__ void __launch_bounds__(kRun)
    MedianKernel(SgmCudaShape shape,
                 const std::int16_t* __restrict__ disparity_px16,
                 std::int16_t* __restrict__ median_px16) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y);
  if (x >= shape.width_px) return;
  const int middle = disparity_px16[At(x, y, shape.width_px)];
  int v[9];
#pragma unroll
  for (int i = 0; i < 9; ++i) {
    const int x_beside = x + i % 3 - 1;
    const int y_beside = y + i / 3 - 1;
    int value = kNone;
    if (x_beside >= 0 && x_beside < shape.width_px && y_beside >= 0 && y_beside < shape.height_px) {
      value = disparity_px16[At(x_beside, y_beside, shape.width_px)];
    }
    v[i] = value == kNone ? middle : value;
  }
  const auto sort = [&v](int a, int b) {
    const int less = Min(v[a], v[b]);
    v[b] = Max(v[a], v[b]);
    v[a] = less;
  };
  // Sorts columns, then finds the median of: the greatest of the least, the median of the medians,
  // the least of the greatest.
  sort(0, 1), sort(3, 4), sort(6, 7);
  sort(1, 2), sort(4, 5), sort(7, 8);
  sort(0, 1), sort(3, 4), sort(6, 7);
  const int low = Max(Max(v[0], v[3]), v[6]);
  const int high = Min(Min(v[2], v[5]), v[8]);
  sort(1, 4), sort(4, 7), sort(1, 4);
  v[0] = low, v[1] = v[4], v[2] = high;
  sort(0, 1), sort(1, 2), sort(0, 1);
  median_px16[At(x, y, shape.width_px)] = static_cast<std::int16_t>(middle == kNone ? kNone : v[1]);
}

// --- 11: speckles --------------------------------------------------------------------------------

__device__ bool AreOfOnePatch(int a, int b, int range_px) {
  return a != kNone && b != kNone && Abs(a - b) <= kScale * range_px;
}

// Pixels of a run in one warp begin with the run's first as their label.
__global__ void __launch_bounds__(kRun)
    LabelsKernel(SgmCudaShape shape,
                 int range_px,
                 const std::int16_t* __restrict__ disparity_px16,
                 std::uint32_t* __restrict__ labels) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const bool is_inside = x < shape.width_px;
  const std::size_t at = At(x, static_cast<int>(blockIdx.y), shape.width_px);
  const int here = is_inside ? disparity_px16[at] : kNone;
  const int before = __shfl_up_sync(kAllLanes, here, 1);
  const unsigned starts =
      __ballot_sync(kAllLanes, lane == 0 || !AreOfOnePatch(before, here, range_px));
  if (!is_inside) return;
  const unsigned up_to_here = starts & (kAllLanes >> (kLanes - 1 - lane));
  const int start = kLanes - 1 - __clz(static_cast<int>(up_to_here));
  labels[at] = static_cast<std::uint32_t>(at) - static_cast<std::uint32_t>(lane - start);
}

__device__ std::uint32_t RootOf(const std::uint32_t* labels, std::uint32_t label) {
  const volatile std::uint32_t* const current = labels;
  for (std::uint32_t next = current[label]; next != label; next = current[label]) label = next;
  return label;
}

// A label never grows, so a root that meanwhile has got a parent is found out by atomicMin.
__device__ void Join(std::uint32_t* labels, std::uint32_t a, std::uint32_t b) {
  for (;;) {
    a = RootOf(labels, a);
    b = RootOf(labels, b);
    if (a == b) return;
    if (a > b) {
      const std::uint32_t swapped = a;
      a = b;
      b = swapped;
    }
    const std::uint32_t was = atomicMin(labels + b, a);
    if (was == b) return;
    b = was;
  }
}

__global__ void __launch_bounds__(kRun) JoinKernel(SgmCudaShape shape,
                                                   int range_px,
                                                   const std::int16_t* __restrict__ disparity_px16,
                                                   std::uint32_t* labels) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y);
  if (x >= shape.width_px) return;
  const std::size_t at = At(x, y, shape.width_px);
  const auto width = static_cast<std::size_t>(shape.width_px);
  const int here = disparity_px16[at];
  if (here == kNone) return;
  const bool is_joined_before = x > 0 && AreOfOnePatch(disparity_px16[at - 1], here, range_px);
  const auto label = static_cast<std::uint32_t>(at);
  if (is_joined_before && x % kLanes == 0) Join(labels, label, label - 1);
  if (y == 0 || !AreOfOnePatch(disparity_px16[at - width], here, range_px)) return;
  // Where the pixel before is joined to both, it has done this.
  if (is_joined_before &&
      AreOfOnePatch(disparity_px16[at - 1], disparity_px16[at - width - 1], range_px) &&
      AreOfOnePatch(disparity_px16[at - width - 1], disparity_px16[at - width], range_px)) {
    return;
  }
  Join(labels, label, label - static_cast<std::uint32_t>(width));
}

__global__ void __launch_bounds__(kRun) CountKernel(SgmCudaShape shape,
                                                    int area_px,
                                                    const std::int16_t* __restrict__ disparity_px16,
                                                    std::uint32_t* labels,
                                                    std::uint32_t* sizes) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const std::size_t at = At(x, static_cast<int>(blockIdx.y), shape.width_px);
  std::uint32_t root = kAllLanes;  // no pixel's
  if (x < shape.width_px && disparity_px16[at] != kNone) {
    root = RootOf(labels, static_cast<std::uint32_t>(at));
    labels[at] = root;  // still an ancestor of whoever comes through here
  }
  const unsigned same = __match_any_sync(kAllLanes, root);
  if (root == kAllLanes || lane != __ffs(static_cast<int>(same)) - 1) return;
  // A large patch's size is not counted to the end: all of them would wait for one another.
  const volatile std::uint32_t* const size = sizes + root;
  if (*size <= static_cast<std::uint32_t>(area_px)) {
    atomicAdd(sizes + root, static_cast<std::uint32_t>(__popc(same)));
  }
}

__global__ void __launch_bounds__(kRun)
    DropSpecklesKernel(SgmCudaShape shape,
                       int area_px,
                       const std::uint32_t* __restrict__ labels,
                       const std::uint32_t* __restrict__ sizes,
                       std::int16_t* __restrict__ disparity_px16) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (x >= shape.width_px) return;
  const std::size_t at = At(x, static_cast<int>(blockIdx.y), shape.width_px);
  if (disparity_px16[at] == kNone) return;
  if (sizes[labels[at]] <= static_cast<std::uint32_t>(area_px)) disparity_px16[at] = kNone;
}

// --- Confidence and the half size ----------------------------------------------------------------

__global__ void __launch_bounds__(kRun)
    ResultsKernel(SgmCudaShape shape,
                  const std::int16_t* __restrict__ disparity_px16,
                  const std::uint8_t* __restrict__ confidence,
                  std::int16_t* __restrict__ out_px16,
                  std::uint8_t* __restrict__ out_confidence) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (x >= shape.width_px) return;
  const std::size_t at = At(x, static_cast<int>(blockIdx.y), shape.width_px);
  const std::int16_t disparity = disparity_px16[at];
  out_px16[at] = disparity;
  out_confidence[at] = static_cast<std::uint8_t>(disparity == kNone ? 0 : confidence[at]);
}

__global__ void __launch_bounds__(kRun) HalveKernel(SgmCudaShape whole,
                                                    SgmCudaShape half,
                                                    const std::uint8_t* __restrict__ picture,
                                                    std::uint8_t* __restrict__ out) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y);
  if (x >= half.width_px) return;
  const int x_beside = Min(2 * x + 1, whole.width_px - 1);
  const int y_beside = Min(2 * y + 1, whole.height_px - 1);
  const int sum = picture[At(2 * x, 2 * y, whole.width_px)] +
                  picture[At(x_beside, 2 * y, whole.width_px)] +
                  picture[At(2 * x, y_beside, whole.width_px)] +
                  picture[At(x_beside, y_beside, whole.width_px)];
  out[At(x, y, half.width_px)] = static_cast<std::uint8_t>((sum + 2) / 4);
}

__global__ void __launch_bounds__(kRun)
    DoubleKernel(SgmCudaShape whole,
                 SgmCudaShape half,
                 const std::int16_t* __restrict__ half_px16,
                 const std::uint8_t* __restrict__ half_confidence,
                 std::int16_t* __restrict__ disparity_px16,
                 std::uint8_t* __restrict__ confidence) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y);
  if (x >= whole.width_px) return;
  const int x_beside = Clamp(x / 2 + (x % 2 == 1 ? 1 : -1), 0, half.width_px - 1);
  const int y_beside = Clamp(y / 2 + (y % 2 == 1 ? 1 : -1), 0, half.height_px - 1);
  const int a = half_px16[At(x / 2, y / 2, half.width_px)];
  const int b = half_px16[At(x_beside, y / 2, half.width_px)];
  const int c = half_px16[At(x / 2, y_beside, half.width_px)];
  const int e = half_px16[At(x_beside, y_beside, half.width_px)];
  const auto is_near_a = [a](int other) { return other != kNone && Abs(other - a) <= kScale; };
  int disparity = kNone;
  if (a != kNone) {
    const bool is_smooth = is_near_a(b) && is_near_a(c) && is_near_a(e);
    disparity = Clamp(is_smooth ? (9 * a + 3 * b + 3 * c + e + 4) / 8 : 2 * a,
                      kScale * whole.min_disparity_px,
                      kScale * (whole.min_disparity_px + whole.disparities - 1));
  }
  const std::size_t at = At(x, y, whole.width_px);
  disparity_px16[at] = static_cast<std::int16_t>(disparity);
  confidence[at] =
      static_cast<std::uint8_t>(a == kNone ? 0 : half_confidence[At(x / 2, y / 2, half.width_px)]);
}

// --- Launches ------------------------------------------------------------------------------------

template <typename... Parameters, typename... Arguments>
cudaError_t Launch(cudaStream_t stream,
                   dim3 blocks,
                   dim3 threads,
                   void (*kernel)(Parameters...),
                   Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
}

unsigned Blocks(int items, int of_a_block) {
  return static_cast<unsigned>((items + of_a_block - 1) / of_a_block);
}

template <typename... Parameters, typename... Arguments>
cudaError_t LaunchPerPixel(cudaStream_t stream,
                           const SgmCudaShape& shape,
                           void (*kernel)(Parameters...),
                           Arguments... arguments) {
  const dim3 blocks(Blocks(shape.width_px, kRun), static_cast<unsigned>(shape.height_px));
  return Launch(stream, blocks, dim3(kRun), kernel, arguments...);
}

// Calls launch.operator()<V>() for the V of such rows.
template <typename LaunchV>
cudaError_t ForRows(int row_bytes, const LaunchV& launch) {
  switch (row_bytes / kLanes) {
    case 4:
      return launch.template operator()<4>();
    case 8:
      return launch.template operator()<8>();
    case 16:
      return launch.template operator()<16>();
    case 32:
      return launch.template operator()<32>();
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace

int SgmCudaRowBytes(int disparities) {
  int bytes = 128;
  while (bytes < disparities) bytes *= 2;
  return bytes;
}

std::size_t SgmCudaStateBytes(const SgmCudaShape& shape) {
  const int longest = shape.width_px > shape.height_px ? shape.width_px : shape.height_px;
  const int stretch = StretchFor(shape.row_bytes);
  const auto lines = static_cast<std::size_t>(shape.height_px + 3 * shape.width_px);
  const auto states = static_cast<std::size_t>((longest + stretch - 1) / stretch);
  return lines * states * static_cast<std::size_t>(shape.row_bytes);
}

cudaError_t LaunchFeatures(const SgmCudaShape& shape,
                           const std::uint8_t* picture,
                           std::uint32_t* census,
                           std::uint16_t* gradient,
                           cudaStream_t stream) {
  return LaunchPerPixel(stream, shape, FeaturesKernel, shape, picture, census, gradient);
}

cudaError_t LaunchCosts(const SgmCudaShape& shape,
                        const SgmCudaFeatures& features,
                        std::uint8_t* costs,
                        cudaStream_t stream) {
  const dim3 blocks(Blocks(shape.width_px, kTile), Blocks(shape.height_px, kWarps));
  return ForRows(shape.row_bytes, [&]<int V>() {
    return Launch(stream, blocks, dim3(kLanes, kWarps), CostsKernel<V>, shape, features, costs);
  });
}

cudaError_t LaunchPaths(const SgmCudaShape& shape,
                        const SgmCudaPathOptions& options,
                        const std::uint8_t* left,
                        const std::uint8_t* costs,
                        std::uint8_t* states,
                        std::uint8_t* sums,
                        cudaStream_t stream) {
  const dim3 blocks(Blocks(shape.height_px + 3 * shape.width_px, kWarps));
  return ForRows(shape.row_bytes, [&]<int V>() {
    return Launch(stream,
                  blocks,
                  dim3(kLanes, kWarps),
                  PathsKernel<V>,
                  shape,
                  options,
                  left,
                  costs,
                  states,
                  sums);
  });
}

cudaError_t LaunchWinners(const SgmCudaShape& shape,
                          const SgmCudaWinnerOptions& options,
                          const std::uint8_t* sums,
                          const SgmCudaWinners& winners,
                          cudaStream_t stream) {
  const dim3 blocks(Blocks(shape.width_px, kChunk), Blocks(shape.height_px, kWinnerWarps));
  return ForRows(shape.row_bytes, [&]<int V>() {
    return Launch(stream,
                  blocks,
                  dim3(kLanes, kWinnerWarps),
                  WinnersKernel<V>,
                  shape,
                  options,
                  sums,
                  winners);
  });
}

cudaError_t LaunchLeftRightCheck(const SgmCudaShape& shape,
                                 const SgmCudaWinners& winners,
                                 cudaStream_t stream) {
  return LaunchPerPixel(stream, shape, LeftRightCheckKernel, shape, winners);
}

cudaError_t LaunchMedian(const SgmCudaShape& shape,
                         const std::int16_t* disparity_px16,
                         std::int16_t* median_px16,
                         cudaStream_t stream) {
  return LaunchPerPixel(stream, shape, MedianKernel, shape, disparity_px16, median_px16);
}

cudaError_t LaunchLabels(const SgmCudaShape& shape,
                         int range_px,
                         const std::int16_t* disparity_px16,
                         std::uint32_t* labels,
                         cudaStream_t stream) {
  return LaunchPerPixel(stream, shape, LabelsKernel, shape, range_px, disparity_px16, labels);
}

cudaError_t LaunchJoin(const SgmCudaShape& shape,
                       int range_px,
                       const std::int16_t* disparity_px16,
                       std::uint32_t* labels,
                       cudaStream_t stream) {
  return LaunchPerPixel(stream, shape, JoinKernel, shape, range_px, disparity_px16, labels);
}

cudaError_t LaunchCount(const SgmCudaShape& shape,
                        int area_px,
                        const std::int16_t* disparity_px16,
                        std::uint32_t* labels,
                        std::uint32_t* sizes,
                        cudaStream_t stream) {
  return LaunchPerPixel(stream, shape, CountKernel, shape, area_px, disparity_px16, labels, sizes);
}

cudaError_t LaunchDropSpeckles(const SgmCudaShape& shape,
                               int area_px,
                               const std::uint32_t* labels,
                               const std::uint32_t* sizes,
                               std::int16_t* disparity_px16,
                               cudaStream_t stream) {
  return LaunchPerPixel(
      stream, shape, DropSpecklesKernel, shape, area_px, labels, sizes, disparity_px16);
}

cudaError_t LaunchResults(const SgmCudaShape& shape,
                          const std::int16_t* disparity_px16,
                          const std::uint8_t* confidence,
                          std::int16_t* out_px16,
                          std::uint8_t* out_confidence,
                          cudaStream_t stream) {
  return LaunchPerPixel(
      stream, shape, ResultsKernel, shape, disparity_px16, confidence, out_px16, out_confidence);
}

cudaError_t LaunchHalve(const SgmCudaShape& whole,
                        const SgmCudaShape& half,
                        const std::uint8_t* picture,
                        std::uint8_t* out,
                        cudaStream_t stream) {
  return LaunchPerPixel(stream, half, HalveKernel, whole, half, picture, out);
}

cudaError_t LaunchDouble(const SgmCudaShape& whole,
                         const SgmCudaShape& half,
                         const std::int16_t* half_px16,
                         const std::uint8_t* half_confidence,
                         std::int16_t* disparity_px16,
                         std::uint8_t* confidence,
                         cudaStream_t stream) {
  return LaunchPerPixel(stream,
                        whole,
                        DoubleKernel,
                        whole,
                        half,
                        half_px16,
                        half_confidence,
                        disparity_px16,
                        confidence);
}

}  // namespace droidflow

#include "droidflow/core/check.h"
#include "droidflow/depth/cpu_kernels_internal.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <hwy/cache_control.h>

// Vectors stand in structs here, which those of unknown length cannot.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "droidflow/depth/cpu_kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

// Written here once, and not once per instruction set.
#ifndef DROIDFLOW_DEPTH_CPU_KERNELS_SHARED
#define DROIDFLOW_DEPTH_CPU_KERNELS_SHARED
namespace droidflow {
namespace {

// Rows, states and volumes are laid out in steps of this, so that every vector is aligned.
constexpr std::size_t kAlign = 64;
// What is not there: not available, or outside the picture.
constexpr std::uint8_t kNone = 255;
constexpr std::uint8_t kMostGradient = 8;
constexpr std::uint8_t kMostCost = 36;
constexpr int kCensusRadiusX_px = 4;
constexpr int kCensusRadiusY_px = 3;
// Pixels whose winners are chosen together, and pixels whose sums are kept for that and for the
// left-right check, which looks at up to four of the block before.
constexpr int kBlock_px = 16;
constexpr std::size_t kRing = 32;
// Rows that a sweep works on at a time.
constexpr std::size_t kBand = 4;
// How far ahead the sums of the first four paths are asked for.
constexpr std::size_t kPrefetch_px = 16;

constexpr std::size_t RoundUp(std::size_t value, std::size_t step) {
  return (value + step - 1) / step * step;
}

// floor((16 (a - c) + k) / (2 k)) for |a - c| <= k, as a product.
constexpr int kReciprocalBits = 23;
constexpr auto kReciprocals = [] {
  std::array<std::uint32_t, 256> reciprocals{};
  for (std::uint32_t k = 1; k < reciprocals.size(); ++k) {
    reciprocals[k] = ((1U << kReciprocalBits) + 2 * k - 1) / (2 * k);
  }
  return reciprocals;
}();
// The product is too large by n e / (2 k 2^bits), where e / (2 k) is what the reciprocal was
// rounded up by. That changes no floor while it is less than 1 / (2 k). n is at most 33 k.
constexpr bool ReciprocalsAreExact() {
  for (std::uint32_t k = 1; k < kReciprocals.size(); ++k) {
    const std::uint32_t e = kReciprocals[k] * 2 * k - (1U << kReciprocalBits);
    if (33 * k * e >= 1U << kReciprocalBits) return false;
  }
  return true;
}
static_assert(ReciprocalsAreExact());
constexpr int SubpixelOffset_px16(int before, int at, int after) {
  const int k = std::max(before, after) - at;
  if (k == 0) return 0;
  // 8 more, so that nothing is negative.
  const auto numerator = static_cast<std::uint32_t>(16 * (before - after) + k + 16 * k);
  return static_cast<int>((numerator * kReciprocals[static_cast<std::size_t>(k)]) >>
                          kReciprocalBits) -
         8;
}

// How one matching is laid out. Disparities count from the least one searched: index 0.
struct Layout {
  int width_px;
  int height_px;
  int min_disparity_px;
  std::size_t disparities;
  std::size_t padded;       // disparities, whole vectors
  std::size_t slot;         // bytes from one pixel's state to the next: its disparities, and before
                            // them kAlign bytes of kNone, which stand behind the pixel before too
  std::size_t feature_row;  // bytes of one plane of one row of features
  std::size_t planes;       // of one row of features
};

}  // namespace
}  // namespace droidflow
#endif

HWY_BEFORE_NAMESPACE();
namespace droidflow {
namespace {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Bytes = hn::CappedTag<std::uint8_t, kAlign>;
using Vector = hn::Vec<Bytes>;

// Bits of a census that one plane of bytes holds: eight where bits in bytes are counted by an
// instruction, four where they are looked up in a table of sixteen.
#if HWY_TARGET <= HWY_AVX3_DL || HWY_TARGET == HWY_NEON || HWY_TARGET == HWY_SCALAR
constexpr std::size_t kBitsInPlane = 8;
#else
constexpr std::size_t kBitsInPlane = 4;
#endif
constexpr std::size_t kCensusPlanes = 32 / kBitsInPlane;
constexpr std::size_t kGradientX = kCensusPlanes;
constexpr std::size_t kGradientY = kCensusPlanes + 1;
constexpr std::size_t kPlanes = kCensusPlanes + 2;

HWY_INLINE Vector CountBits(Vector v) {
#if HWY_TARGET <= HWY_AVX3_DL || HWY_TARGET == HWY_NEON || HWY_TARGET == HWY_SCALAR
  return hn::PopulationCount(v);
#else
  alignas(16) static constexpr std::uint8_t kCounts[16] = {
      0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};
  return hn::TableLookupBytes(hn::LoadDup128(Bytes(), kCounts), v);
#endif
}

// ---- Features -------------------------------------------------------------------------------

// Step 1 and 2 of one row.
// `rows` are the seven around it, each readable from kCensusRadiusX_px before to a vector behind
// its end; `mirror` is -1 where they are mirrored, so that the bits stand in the same order.
void FeatureRow(const std::array<const std::uint8_t*, 7>& rows,
                std::ptrdiff_t mirror,
                std::size_t width_px,
                std::size_t plane_bytes,
                std::uint8_t* out) {
  const Bytes d;
  const auto one = hn::Set(d, std::uint8_t{1});
  const std::uint8_t* const centre = rows[kCensusRadiusY_px];
  for (std::size_t x = 0; x < width_px; x += hn::Lanes(d)) {
    const auto middle = hn::LoadU(d, centre + x);
    auto bits = hn::Zero(d);
    std::size_t count = 0;
    for (int dy = -kCensusRadiusY_px; dy <= kCensusRadiusY_px; ++dy) {
      const std::uint8_t* const row = rows[static_cast<std::size_t>(dy + kCensusRadiusY_px)] + x;
      for (int dx = -kCensusRadiusX_px; dx <= kCensusRadiusX_px; ++dx) {
        if (((dx + dy) & 1) != 0 || (dx == 0 && dy == 0)) continue;
        const auto less = hn::Min(hn::SaturatedSub(middle, hn::LoadU(d, row + mirror * dx)), one);
        bits = hn::Add(hn::Add(bits, bits), less);
        if (++count % kBitsInPlane == 0) {
          hn::StoreU(bits, d, out + (count / kBitsInPlane - 1) * plane_bytes + x);
          bits = hn::Zero(d);
        }
      }
    }
    hn::StoreU(bits, d, out + (kCensusPlanes - 1) * plane_bytes + x);  // the 30 leave two short
  }
  const std::uint8_t* const above = rows[kCensusRadiusY_px - 1];
  const std::uint8_t* const below = rows[kCensusRadiusY_px + 1];
  std::uint8_t* const gradient_x = out + kGradientX * plane_bytes;
  std::uint8_t* const gradient_y = out + kGradientY * plane_bytes;
  for (std::size_t x = 0; x < width_px; ++x) {
    const auto at = static_cast<std::ptrdiff_t>(x);
    gradient_x[x] =
        static_cast<std::uint8_t>((centre[at + mirror] - centre[at - mirror] + 256) / 2);
    gradient_y[x] = static_cast<std::uint8_t>((below[x] - above[x] + 256) / 2);
  }
}

// Features of a whole picture, mirrored or not, row after row, plane after plane.
void Features(
    const Layout& layout, GrayView picture, bool mirrored, GrayImage& padded, std::uint8_t* out) {
  const int width_px = layout.width_px;
  const int height_px = layout.height_px;
  const std::ptrdiff_t mirror = mirrored ? -1 : 1;
  padded.Resize(static_cast<int>(kAlign) + width_px + kCensusRadiusX_px + 1, height_px);
  for (int y = 0; y < height_px; ++y) {
    const std::uint8_t* const from = picture.row(y);
    std::uint8_t* const to = padded.row(y) + kAlign;
    if (mirrored) {
      std::reverse_copy(from, from + width_px, to);
    } else {
      std::memcpy(to, from, static_cast<std::size_t>(width_px));
    }
    std::memset(to - kCensusRadiusX_px, to[0], kCensusRadiusX_px);
    std::memset(to + width_px, to[width_px - 1], kCensusRadiusX_px + 1);
  }
  for (int y = 0; y < height_px; ++y) {
    std::array<const std::uint8_t*, 7> rows{};
    for (int dy = -kCensusRadiusY_px; dy <= kCensusRadiusY_px; ++dy) {
      rows[static_cast<std::size_t>(dy + kCensusRadiusY_px)] =
          padded.row(std::clamp(y + dy, 0, height_px - 1)) + kAlign;
    }
    FeatureRow(rows,
               mirror,
               static_cast<std::size_t>(width_px),
               layout.feature_row,
               out + static_cast<std::size_t>(y) * kPlanes * layout.feature_row);
  }
}

// ---- Cost -----------------------------------------------------------------------------------

// The left pixel's features, and where the right ones lie for the first disparity.
struct CostOf {
  Vector left[kPlanes];
  const std::uint8_t* right;  // plane 0, disparity index 0
  std::size_t plane_bytes;
  // kNone where a disparity is not available, else 0; two of them, of which either says it.
  const std::uint8_t* outside;
  const std::uint8_t* beyond;

  // Step 3 for the disparities from index i on.
  template <bool kAllAvailable>
  HWY_INLINE Vector At(std::size_t i) const {
    const Bytes d;
    const std::uint8_t* const from = right + i;
    Vector count = CountBits(hn::Xor(left[0], hn::LoadU(d, from)));
    for (std::size_t plane = 1; plane < kCensusPlanes; ++plane) {
      count =
          hn::Add(count, CountBits(hn::Xor(left[plane], hn::LoadU(d, from + plane * plane_bytes))));
    }
    const auto x = hn::LoadU(d, from + kGradientX * plane_bytes);
    const auto y = hn::LoadU(d, from + kGradientY * plane_bytes);
    const auto difference_x =
        hn::Or(hn::SaturatedSub(x, left[kGradientX]), hn::SaturatedSub(left[kGradientX], x));
    const auto difference_y =
        hn::Or(hn::SaturatedSub(y, left[kGradientY]), hn::SaturatedSub(left[kGradientY], y));
    const auto gradient =
        hn::Min(hn::SaturatedAdd(difference_x, difference_y), hn::Set(d, kMostGradient));
    const auto cost = hn::Min(hn::Add(count, gradient), hn::Set(d, kMostCost));
    if constexpr (kAllAvailable) return cost;
    return hn::Or(cost, hn::Or(hn::LoadU(d, outside + i), hn::LoadU(d, beyond + i)));
  }
};

// ---- Paths ----------------------------------------------------------------------------------

// Step 4 for one path at one pixel, vector by vector. Terms that are left out are kNone, and stay
// so, as additions saturate; where nothing is available before, m is kNone too, and C is left.
struct PathStep {
  const std::uint8_t* before;  // state of the pixel before, kNone on both sides of it
  std::uint8_t* state;         // of this pixel; may be the same memory
  Vector least;                // of `before`
  Vector jump;                 // that and P2'
  Vector now_least;            // of `state`, lane by lane
  Vector held;                 // of `before`, just left of index i, as `state` may overwrite it

  HWY_INLINE void Start(const std::uint8_t* from,
                        std::uint8_t* to,
                        std::uint8_t from_least,
                        std::uint8_t p2) {
    const Bytes d;
    before = from;
    state = to;
    least = hn::Set(d, from_least);
    jump = hn::SaturatedAdd(least, hn::Set(d, p2));
    now_least = hn::Set(d, kNone);
    held = hn::LoadU(d, from - 1);
  }

  HWY_INLINE Vector At(std::size_t i, Vector cost, Vector p1) {
    const Bytes d;
    const auto same = hn::Load(d, before + i);
    const auto neighbour = hn::Min(held, hn::LoadU(d, before + i + 1));
    held = hn::LoadU(d, before + i + hn::Lanes(d) - 1);
    auto best = hn::Min(same, hn::SaturatedAdd(neighbour, p1));
    best = hn::Sub(hn::Min(best, jump), least);
    const auto path = hn::SaturatedAdd(cost, best);
    now_least = hn::Min(now_least, path);
    hn::Store(path, d, state + i);
    return path;
  }
};

struct FourLeast {
  std::uint8_t of[4];
};
#if HWY_TARGET == HWY_SCALAR
HWY_INLINE FourLeast LeastOfEach(Vector a, Vector b, Vector c, Vector e) {
  return {{hn::GetLane(a), hn::GetLane(b), hn::GetLane(c), hn::GetLane(e)}};
}
#else
using Block = hn::FixedTag<std::uint8_t, 16>;
HWY_INLINE hn::Vec<Block> ToBlock(Block /*d*/, hn::Vec<Block> v) { return v; }
template <class D, class V>
HWY_INLINE hn::Vec<Block> ToBlock(D /*d*/, V v) {
  const hn::Half<D> half;
  return ToBlock(half, hn::Min(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
}

// The least lane of each of four vectors.
HWY_INLINE FourLeast LeastOfEach(Vector a, Vector b, Vector c, Vector e) {
  const Block d;
  const hn::Repartition<std::uint16_t, Block> d16;
  const hn::Repartition<std::uint32_t, Block> d32;
  const auto a16 = ToBlock(Bytes(), a);
  const auto b16 = ToBlock(Bytes(), b);
  const auto c16 = ToBlock(Bytes(), c);
  const auto e16 = ToBlock(Bytes(), e);
  const auto ab = hn::Min(hn::InterleaveLower(d, a16, b16), hn::InterleaveUpper(d, a16, b16));
  const auto ce = hn::Min(hn::InterleaveLower(d, c16, e16), hn::InterleaveUpper(d, c16, e16));
  const auto ab16 = hn::BitCast(d16, ab);
  const auto ce16 = hn::BitCast(d16, ce);
  const auto all = hn::Min(hn::BitCast(d, hn::InterleaveLower(d16, ab16, ce16)),
                           hn::BitCast(d, hn::InterleaveUpper(d16, ab16, ce16)));
  const auto all32 = hn::BitCast(d32, all);
  const auto two = hn::Min(all, hn::BitCast(d, hn::Shuffle1032(all32)));
  const auto one = hn::Min(two, hn::BitCast(d, hn::Shuffle2301(hn::BitCast(d32, two))));
  const std::uint32_t lanes = hn::GetLane(hn::BitCast(d32, one));
  return {{static_cast<std::uint8_t>(lanes),
           static_cast<std::uint8_t>(lanes >> 8),
           static_cast<std::uint8_t>(lanes >> 16),
           static_cast<std::uint8_t>(lanes >> 24)}};
}
#endif

// ---- One matching ---------------------------------------------------------------------------

// What is noted of a pixel's winner until its row is done.
struct Winners {
  std::uint16_t* index;
  std::uint8_t* before;  // S beside it, and at it
  std::uint8_t* at;
  std::uint8_t* after;
  std::uint8_t* second;  // least S that is not at it or beside it
  std::uint8_t* agreed;  // least S of the disparities that agree with it on the right
};

// One of the rows that a sweep works on at a time.
struct Row {
  int y;
  std::size_t diagonal;  // where the states of its first pixel's diagonals lie
  std::size_t antidiagonal;
  std::array<std::uint8_t*, 4> p2;  // P2' of each path, by column
  std::uint8_t* along;              // states of a pixel and the one before
  std::uint8_t along_least;
  std::uint8_t* ring;         // S of the last kRing pixels
  std::uint8_t* ring_least;   // the least of it, lane by lane
  std::uint8_t* costs;        // with 5 paths, of the whole row
  std::uint8_t* backward;     // with 5 paths, states of its path from the right
  std::uint8_t* right_least;  // R, mirrored
  Winners winners;
};

// Hands out parts of a buffer, or, without one, says how long it must be.
class Parts {
 public:
  explicit Parts(std::uint8_t* buffer) : next_(buffer) {}
  std::uint8_t* Take(std::size_t bytes) {
    std::uint8_t* const taken = next_;
    if (next_ != nullptr) next_ += RoundUp(bytes, kAlign);
    taken_bytes_ += RoundUp(bytes, kAlign);
    return taken;
  }
  // With a guard on both sides.
  std::uint8_t* TakeStates(std::size_t bytes) {
    std::uint8_t* const taken = Take(bytes + 2 * kAlign);
    return taken != nullptr ? taken + kAlign : nullptr;
  }
  [[nodiscard]] std::size_t taken_bytes() const { return taken_bytes_; }

 private:
  std::uint8_t* next_;
  std::size_t taken_bytes_ = 0;
};

// A sweep works on kBand rows at a time, kBlock_px pixels of each in turn, every row two pixels
// behind the one before it: what one row leaves to the next is still in the nearest cache then.
class Matching {
 public:
  Matching(const MatcherOptions& options,
           const Layout& layout,
           GrayView left,
           SgmWorkspace& workspace,
           ImageView<std::int16_t> disparity_px16,
           ImageView<std::uint8_t> confidence)
      : options_(options),
        layout_(layout),
        left_(left),
        left_features_(workspace.left_features.data()),
        right_features_(workspace.right_features.data()),
        half_sums_(workspace.half_sums.data()),
        disparity_px16_(disparity_px16),
        confidence_(confidence) {
    workspace.states.Resize(TakeMemory(nullptr));
    TakeMemory(workspace.states.data());
    const auto width = static_cast<std::size_t>(layout.width_px);
    std::memset(outside_, 0, width);
    std::memset(outside_ + width, kNone, layout.feature_row - width);
    std::memset(beyond_, 0, layout.disparities);
    std::memset(beyond_ + layout.disparities, kNone, layout.padded - layout.disparities);
    std::memset(beside_, 0, 2 * layout.padded + 2 * kAlign);
    std::memset(beside_ + layout.padded + kAlign - 1, kNone, 3);
  }

  void Run() {
    if (options_.paths == 8) {
      Sweep<false, Role::kStoreSum>();
      Sweep<true, Role::kAddToSum>();
    } else {
      Sweep<false, Role::kAddToBackward>();
    }
  }

 private:
  enum class Role {
    kStoreSum,       // four paths into half_sums
    kAddToSum,       // four more, and the winner
    kAddToBackward,  // four to the one that came from the right, and the winner
  };
  // The paths along the row and from the row before.
  enum Path { kAlong, kStraight, kDiagonal, kAntidiagonal };

  std::size_t TakeMemory(std::uint8_t* buffer) {
    const auto width = static_cast<std::size_t>(layout_.width_px);
    Parts parts(buffer);
    for (std::uint8_t*& states : down_) states = parts.TakeStates(DiagonalSlots() * layout_.slot);
    for (std::uint8_t*& leasts : down_least_) leasts = parts.Take(DiagonalSlots());
    two_paths_ = parts.Take(layout_.padded);
    pixel_costs_ = parts.Take(layout_.padded);
    outside_ = parts.Take(layout_.feature_row);
    beyond_ = parts.Take(layout_.padded);
    beside_ = parts.Take(2 * layout_.padded + 2 * kAlign);
    for (Row& row : rows_) {
      for (std::uint8_t*& p2 : row.p2) p2 = parts.Take(width);
      row.along = parts.TakeStates(2 * layout_.slot);
      row.ring = parts.TakeStates(kRing * layout_.slot);
      row.ring_least = parts.Take(kRing * kAlign);
      if (options_.paths == 5) {
        row.costs = parts.Take(width * layout_.padded);
        row.backward = parts.TakeStates(width * layout_.slot);
      }
      row.right_least = parts.Take(RightLeastBytes());
      row.winners.index =
          reinterpret_cast<std::uint16_t*>(parts.Take(width * sizeof(std::uint16_t)));
      for (std::uint8_t** const values : {&row.winners.before,
                                          &row.winners.at,
                                          &row.winners.after,
                                          &row.winners.second,
                                          &row.winners.agreed}) {
        *values = parts.Take(width);
      }
    }
    return parts.taken_bytes();
  }

  // A diagonal's states stay in one place, so that pixels count from another in every row, and the
  // one that enters the picture takes the place of one that no row of the band still wants.
  [[nodiscard]] std::size_t DiagonalSlots() const {
    return static_cast<std::size_t>(layout_.width_px) + kBand;
  }
  [[nodiscard]] std::size_t RightLeastBytes() const {
    return static_cast<std::size_t>(layout_.width_px) + layout_.padded + kAlign;
  }

  // No row before the first.
  void Begin() {
    for (std::size_t index = 0; index < down_.size(); ++index) {
      std::memset(down_[index] - kAlign, kNone, DiagonalSlots() * layout_.slot + 2 * kAlign);
      std::memset(down_least_[index], kNone, DiagonalSlots());
    }
    for (Row& row : rows_) {
      std::memset(row.along - kAlign, kNone, 2 * layout_.slot + 2 * kAlign);
      std::memset(row.ring - kAlign, kNone, kRing * layout_.slot + 2 * kAlign);
      if (options_.paths == 5) {
        const std::size_t states = static_cast<std::size_t>(layout_.width_px) * layout_.slot;
        std::memset(row.backward - kAlign, kNone, states + 2 * kAlign);
      }
    }
  }

  // A sweep starts at the top left, or, kUp, at the bottom right; v and u count rows and columns
  // from there.
  template <bool kUp, Role kRole>
  void Sweep() {
    Begin();
    for (int first = 0; first < layout_.height_px; first += static_cast<int>(kBand)) {
      const auto count =
          static_cast<std::size_t>(std::min(static_cast<int>(kBand), layout_.height_px - first));
      const auto lag_px = [](std::size_t k) { return 2 * static_cast<int>(k); };
      for (std::size_t k = 0; k < count; ++k) {
        StartRow<kUp>(first + static_cast<int>(k), rows_[k]);
        if constexpr (kRole == Role::kAddToBackward) BackwardRow(rows_[k]);
        EnterPicture(rows_[k]);
      }
      const int end = layout_.width_px + lag_px(count - 1);
      for (int block = 0; block < end; block += kBlock_px) {
        for (std::size_t k = 0; k < count; ++k) {
          const int from = std::max(block - lag_px(k), 0);
          const int to = std::min(block + kBlock_px - lag_px(k), layout_.width_px);
          if (from < to) Block<kUp, kRole>(from, to, rows_[k]);
        }
      }
    }
  }

  // P2' of a path into row y from the pixel (step_x, step_y) before.
  void JumpCosts(int y, int step_x, int step_y, std::uint8_t* p2) const {
    const int width = layout_.width_px;
    const int from_y = y - step_y;
    const auto most = static_cast<std::uint8_t>(options_.p2);
    if (from_y < 0 || from_y >= layout_.height_px) {
      std::memset(p2, most, static_cast<std::size_t>(width));
      return;
    }
    const std::uint8_t* const here = left_.row(y);
    const std::uint8_t* const from = left_.row(from_y) - step_x;
    const int begin = std::max(0, step_x);
    const int end = width + std::min(0, step_x);
    p2[0] = most;
    p2[width - 1] = most;
    const int least = options_.p2_min;
    for (int x = begin; x < end; ++x) {
      const int difference = here[x] > from[x] ? here[x] - from[x] : from[x] - here[x];
      p2[x] = static_cast<std::uint8_t>(std::max(most - difference / 2, least));
    }
  }

  [[nodiscard]] HWY_INLINE CostOf CostAt(int x, int y) const {
    const std::size_t row = static_cast<std::size_t>(y) * kPlanes * layout_.feature_row;
    const std::uint8_t* const left = left_features_ + row + x;
    CostOf cost;
    for (std::size_t plane = 0; plane < kPlanes; ++plane) {
      cost.left[plane] = hn::Set(Bytes(), left[plane * layout_.feature_row]);
    }
    const std::ptrdiff_t first = layout_.width_px - 1 - x + layout_.min_disparity_px;
    cost.right = right_features_ + row + first;
    cost.plane_bytes = layout_.feature_row;
    cost.outside = outside_ + first;
    cost.beyond = beyond_;
    return cost;
  }

  // Whether every index, of whole vectors, is available at column x.
  [[nodiscard]] bool AllAvailable(int x) const {
    return layout_.padded == layout_.disparities &&
           x >= layout_.min_disparity_px + static_cast<int>(layout_.disparities) - 1;
  }

  // Cost of a row, and its path from the right.
  void BackwardRow(Row& row) {
    // The path along the row wants its P2' afterwards.
    JumpCosts(row.y, -1, 0, row.p2[kAlong]);
    std::uint8_t least = kNone;
    for (int x = layout_.width_px - 1; x >= 0; --x) {
      if (AllAvailable(x)) {
        BackwardPixel<true>(x, row, least);
      } else {
        BackwardPixel<false>(x, row, least);
      }
    }
    JumpCosts(row.y, 1, 0, row.p2[kAlong]);
  }

  template <bool kAllAvailable>
  HWY_INLINE void BackwardPixel(int x, const Row& row, std::uint8_t& least) {
    const Bytes d;
    const CostOf cost = CostAt(x, row.y);
    const auto p1 = hn::Set(d, static_cast<std::uint8_t>(options_.p1));
    std::uint8_t* const costs = row.costs + static_cast<std::size_t>(x) * layout_.padded;
    std::uint8_t* const state = row.backward + static_cast<std::size_t>(x) * layout_.slot;
    // Behind the last column lie no states, so its `before` is the guard of nothing: m is kNone.
    const bool is_first = x == layout_.width_px - 1;
    if (is_first) std::memset(state, kNone, layout_.padded);
    PathStep path;
    path.Start(is_first ? state : state + layout_.slot, state, least, row.p2[kAlong][x]);
    for (std::size_t i = 0; i < layout_.padded; i += hn::Lanes(d)) {
      const auto c = cost.template At<kAllAvailable>(i);
      hn::Store(c, d, costs + i);
      path.At(i, c, p1);
    }
    least = LeastOfEach(path.now_least, path.now_least, path.now_least, path.now_least).of[0];
  }

  template <bool kUp>
  void StartRow(int v, Row& row) {
    const int step = kUp ? -1 : 1;
    const std::size_t slots = DiagonalSlots();
    const std::size_t place = static_cast<std::size_t>(v) % slots;
    row.y = kUp ? layout_.height_px - 1 - v : v;
    row.diagonal = (slots - place) % slots;
    row.antidiagonal = place;
    JumpCosts(row.y, step, 0, row.p2[kAlong]);
    JumpCosts(row.y, 0, step, row.p2[kStraight]);
    JumpCosts(row.y, step, step, row.p2[kDiagonal]);
    JumpCosts(row.y, -step, step, row.p2[kAntidiagonal]);
    row.along_least = kNone;
    std::memset(row.along + layout_.slot, kNone, layout_.padded);
    std::memset(row.right_least, kNone, RightLeastBytes());
  }

  // The diagonals that begin in this row, at its first pixel and its last.
  void EnterPicture(const Row& row) {
    const auto enter = [this](Path path, std::size_t place) {
      const std::size_t index = path - 1;
      std::memset(down_[index] + place * layout_.slot, kNone, layout_.padded);
      down_least_[index][place] = kNone;
    };
    enter(kDiagonal, row.diagonal);
    enter(kAntidiagonal,
          (row.antidiagonal + static_cast<std::size_t>(layout_.width_px) - 1) % DiagonalSlots());
  }

  template <bool kUp, Role kRole>
  void Block(int begin, int end, Row& row) {
    for (int u = begin; u < end; ++u) {
      const int x = kUp ? layout_.width_px - 1 - u : u;
      if (AllAvailable(x)) {
        Pixel<kUp, kRole, true>(u, x, row);
      } else {
        Pixel<kUp, kRole, false>(u, x, row);
      }
    }
    if constexpr (kRole != Role::kStoreSum) {
      ChooseBlock<kUp>(begin, end, row);
      if (end == layout_.width_px) FinishRow(row);
    }
  }

  // The winners of pixels `begin` … `end` - 1, when their sums, and those of the blocks before, are
  // there. The check against the right picture lags, as it looks at pixels to come.
  template <bool kUp>
  void ChooseBlock(int begin, int end, Row& row) {
    for (int u = begin; u < end; u += 4) ChooseFour<kUp>(u, end, row);
    const int reach = options_.lr_check_px;
    if (reach < 0) return;
    const bool is_last = end == layout_.width_px;
    for (int u = std::max(begin - reach, 0); u < (is_last ? end : end - reach); ++u)
      Agree<kUp>(u, row.ring, row.winners);
  }

  template <bool kUp, Role kRole, bool kAllAvailable>
  HWY_INLINE void Pixel(int u, int x, Row& row) {
    const Bytes d;
    const std::size_t padded = layout_.padded;
    const std::size_t slot = layout_.slot;
    const auto column = static_cast<std::size_t>(x);
    const auto position = static_cast<std::size_t>(u);
    const std::size_t slots = DiagonalSlots();
    const auto p1 = hn::Set(d, static_cast<std::uint8_t>(options_.p1));
    const auto wrapped = [slots](std::size_t place) {
      return place < slots ? place : place - slots;
    };
    const std::array<std::size_t, 3> places = {
        position, wrapped(row.diagonal + position), wrapped(row.antidiagonal + position)};

    PathStep along;
    std::uint8_t* const state = row.along + (position % 2) * slot;
    along.Start(row.along + ((position + 1) % 2) * slot, state, row.along_least, row.p2[kAlong][x]);
    std::array<PathStep, 3> down;
    for (std::size_t k = 0; k < down.size(); ++k) {
      std::uint8_t* const place = down_[k] + places[k] * slot;
      down[k].Start(place, place, down_least_[k][places[k]], row.p2[k + 1][x]);
    }

    const std::size_t ring = position % kRing;

    // Three loops, as vectors in use fit the registers of AVX2 then.
    const std::uint8_t* costs = pixel_costs_;
    if constexpr (kRole == Role::kAddToBackward) {
      costs = row.costs + column * padded;
    } else {
      const CostOf cost = CostAt(x, row.y);
      for (std::size_t i = 0; i < padded; i += hn::Lanes(d)) {
        hn::Store(cost.template At<kAllAvailable>(i), d, pixel_costs_ + i);
      }
    }
    for (std::size_t i = 0; i < padded; i += hn::Lanes(d)) {
      const auto cost = hn::Load(d, costs + i);
      hn::Store(
          hn::SaturatedAdd(along.At(i, cost, p1), down[0].At(i, cost, p1)), d, two_paths_ + i);
    }
    // Where the sum of these four goes, or that of the others comes from.
    std::uint8_t* others;
    if constexpr (kRole == Role::kAddToBackward) {
      others = row.backward + column * slot;
    } else {
      const std::size_t pixel =
          static_cast<std::size_t>(row.y) * static_cast<std::size_t>(layout_.width_px) + column;
      others = half_sums_ + pixel * padded;
      if constexpr (kRole == Role::kAddToSum) {
        // Memory is read backwards here, pixel by pixel, which processors do not foresee.
        const std::uint8_t* const ahead = others - std::min(pixel, kPrefetch_px) * padded;
        for (std::size_t i = 0; i < padded; i += kAlign) hwy::Prefetch(ahead + i);
      }
    }
    std::uint8_t* const sums = row.ring + ring * slot;
    // R of the right column x - d lies at width - 1 - x + index.
    std::uint8_t* const right_least = row.right_least + (layout_.width_px - 1 - x);
    auto least = hn::Set(d, kNone);
    for (std::size_t i = 0; i < padded; i += hn::Lanes(d)) {
      const auto cost = hn::Load(d, costs + i);
      auto sum =
          hn::SaturatedAdd(hn::Load(d, two_paths_ + i),
                           hn::SaturatedAdd(down[1].At(i, cost, p1), down[2].At(i, cost, p1)));
      if constexpr (kRole == Role::kStoreSum) {
        hn::Stream(sum, d, others + i);
      } else {
        sum = hn::SaturatedAdd(sum, hn::Load(d, others + i));
        hn::Store(sum, d, sums + i);
        least = hn::Min(least, sum);
        hn::StoreU(hn::Min(sum, hn::LoadU(d, right_least + i)), d, right_least + i);
      }
    }
    if constexpr (kRole != Role::kStoreSum) hn::Store(least, d, row.ring_least + ring * kAlign);
    const FourLeast leasts =
        LeastOfEach(along.now_least, down[0].now_least, down[1].now_least, down[2].now_least);
    row.along_least = leasts.of[0];
    for (std::size_t k = 0; k < down.size(); ++k) down_least_[k][places[k]] = leasts.of[k + 1];
  }

  // Step 6, and what steps 7 and 9 need of it, for the four pixels from u on: side by side, as each
  // is a chain in which every step waits for the one before.
  template <bool kUp>
  HWY_INLINE void ChooseFour(int u, int end, Row& row) {
    const Bytes d;
    const std::size_t padded = layout_.padded;
    std::array<int, 4> columns;
    std::array<const std::uint8_t*, 4> sums;
    std::array<Vector, 4> v;
    for (std::size_t k = 0; k < 4; ++k) {
      const int at = std::min(u + static_cast<int>(k), end - 1);
      const std::size_t ring = static_cast<std::size_t>(at) % kRing;
      columns[k] = kUp ? layout_.width_px - 1 - at : at;
      sums[k] = row.ring + ring * layout_.slot;
      v[k] = hn::Load(d, row.ring_least + ring * kAlign);
    }
    const FourLeast least = LeastOfEach(v[0], v[1], v[2], v[3]);
    std::array<std::size_t, 4> index;
#if HWY_TARGET == HWY_SCALAR
    for (std::size_t k = 0; k < 4; ++k) {
      index[k] =
          static_cast<std::size_t>(std::find(sums[k], sums[k] + padded, least.of[k]) - sums[k]);
    }
#else
    // The first vector that has it, in each lane: of 1024 disparities there are 64 at the most.
    std::array<Vector, 4> wanted;
    for (std::size_t k = 0; k < 4; ++k) {
      wanted[k] = hn::Set(d, least.of[k]);
      v[k] = hn::Set(d, kNone);
    }
    auto number = hn::Zero(d);
    for (std::size_t i = 0; i < padded; i += hn::Lanes(d)) {
      for (std::size_t k = 0; k < 4; ++k) {
        const auto has_it = hn::Eq(hn::Load(d, sums[k] + i), wanted[k]);
        v[k] = hn::Min(v[k], hn::IfThenElse(has_it, number, hn::Set(d, kNone)));
      }
      number = hn::Add(number, hn::Set(d, std::uint8_t{1}));
    }
    const FourLeast first = LeastOfEach(v[0], v[1], v[2], v[3]);
    for (std::size_t k = 0; k < 4; ++k) {
      const std::size_t i = first.of[k] * hn::Lanes(d);
      const auto has_it = hn::Eq(hn::Load(d, sums[k] + i), wanted[k]);
      index[k] = i + static_cast<std::size_t>(hn::FindFirstTrue(d, has_it));
    }
#endif
    std::array<const std::uint8_t*, 4> beside;
    for (std::size_t k = 0; k < 4; ++k) {
      beside[k] = beside_ + padded + kAlign - index[k];
      v[k] = hn::Set(d, kNone);
    }
    for (std::size_t i = 0; i < padded; i += hn::Lanes(d)) {
      for (std::size_t k = 0; k < 4; ++k) {
        v[k] = hn::Min(v[k], hn::Or(hn::Load(d, sums[k] + i), hn::LoadU(d, beside[k] + i)));
      }
    }
    const FourLeast second = LeastOfEach(v[0], v[1], v[2], v[3]);
    for (std::size_t k = 0; k < 4; ++k) {
      const int x = columns[k];
      row.winners.index[x] = static_cast<std::uint16_t>(index[k]);
      row.winners.before[x] = *(sums[k] + index[k] - 1);
      row.winners.at[x] = least.of[k];
      row.winners.after[x] = sums[k][index[k] + 1];
      row.winners.second[x] = second.of[k];
    }
  }

  // Step 8 for pixel u, whose neighbours are all there by now.
  template <bool kUp>
  HWY_INLINE void Agree(int u, const std::uint8_t* ring, const Winners& winners) const {
    const int reach = options_.lr_check_px;
    const int width = layout_.width_px;
    const int x = kUp ? width - 1 - u : u;
    const int index = winners.index[x];
    std::uint8_t agreed = winners.at[x];
    for (int step = -reach; step <= reach; ++step) {
      const int other_u = kUp ? u - step : u + step;  // column x + step
      const int other = index + step;
      if (other_u < 0 || other_u >= width || other < 0 ||
          other >= static_cast<int>(layout_.disparities)) {
        continue;
      }
      const std::uint8_t* const sums =
          ring + (static_cast<std::size_t>(other_u) % kRing) * layout_.slot;
      agreed = std::min(agreed, sums[other]);
    }
    winners.agreed[x] = agreed;
  }

  // Steps 7 to 9, and confidence.
  void FinishRow(const Row& row) {
    const int min_px = layout_.min_disparity_px;
    const int unique = 100 - options_.uniqueness_percent;
    std::int16_t* const out = disparity_px16_.row(row.y);
    std::uint8_t* const confidence = confidence_.empty() ? nullptr : confidence_.row(row.y);
    for (int x = 0; x < layout_.width_px; ++x) {
      // The disparities available are those of index 0 … last.
      const int last = std::min(static_cast<int>(layout_.disparities) - 1, x - min_px);
      const int index = row.winners.index[x];
      const int at = row.winners.at[x];
      const int second = row.winners.second[x];
      const bool has_second = index >= 2 || index + 2 <= last;
      bool keep = last >= 0;
      if (options_.uniqueness_percent > 0 && has_second) keep = keep && second * unique >= at * 100;
      if (options_.lr_check_px >= 0) {
        keep = keep && row.winners.agreed[x] == row.right_least[layout_.width_px - 1 - x + index];
      }
      int disparity_px16 = kDisparityScale * (min_px + index);
      if (options_.subpixel && index > 0 && index < last) {
        disparity_px16 += SubpixelOffset_px16(row.winners.before[x], at, row.winners.after[x]);
      }
      out[x] = keep ? static_cast<std::int16_t>(disparity_px16) : kNoDisparity_px16;
      if (confidence != nullptr) {
        confidence[x] = static_cast<std::uint8_t>(!has_second    ? 255
                                                  : second <= at ? 0
                                                                 : 255 * (second - at) / second);
      }
    }
  }

  const MatcherOptions& options_;
  const Layout& layout_;
  GrayView left_;
  const std::uint8_t* left_features_;
  const std::uint8_t* right_features_;
  std::uint8_t* half_sums_;
  ImageView<std::int16_t> disparity_px16_;
  ImageView<std::uint8_t> confidence_;

  std::array<std::uint8_t*, 3> down_;        // states of the paths from the row before
  std::array<std::uint8_t*, 3> down_least_;  // the least of each state
  std::uint8_t* two_paths_;                  // sum of a pixel's first two
  std::uint8_t* pixel_costs_;
  std::uint8_t* outside_;  // see CostOf
  std::uint8_t* beyond_;
  std::uint8_t* beside_;  // kNone around the middle, else 0
  std::array<Row, kBand> rows_{};
};

std::size_t PlanesOfThisTarget() { return kPlanes; }

void RunSgm(const MatcherOptions& options,
            const Layout& layout,
            GrayView left,
            GrayView right,
            SgmWorkspace& workspace,
            ImageView<std::int16_t> disparity_px16,
            ImageView<std::uint8_t> confidence) {
  Features(
      layout, left, /*mirrored=*/false, workspace.padded_picture, workspace.left_features.data());
  Features(
      layout, right, /*mirrored=*/true, workspace.padded_picture, workspace.right_features.data());
  Matching(options, layout, left, workspace, disparity_px16, confidence).Run();
}

// ---- Filters --------------------------------------------------------------------------------

template <class V>
HWY_INLINE void Sort(V& a, V& b) {
  const V least = hn::Min(a, b);
  b = hn::Max(a, b);
  a = least;
}

// `rows` start one column before the first.
void MedianRow(const std::array<const std::int16_t*, 3>& rows,
               std::size_t width_px,
               std::int16_t* out) {
  const hn::CappedTag<std::int16_t, kAlign / 2> d;
  const auto zero = hn::Zero(d);
  std::size_t x = 0;
  const auto one_vector = [&](std::size_t at, auto store) {
    const auto middle = hn::LoadU(d, rows[1] + at + 1);
    std::array<decltype(hn::Zero(d)), 9> v;
    for (std::size_t i = 0; i < 9; ++i) {
      const auto neighbour = hn::LoadU(d, rows[i / 3] + at + i % 3);
      v[i] = hn::IfThenElse(hn::Lt(neighbour, zero), middle, neighbour);
    }
    // The median of nine in 19 exchanges: Paeth 1990, in Graphics Gems.
    Sort(v[1], v[2]), Sort(v[4], v[5]), Sort(v[7], v[8]);
    Sort(v[0], v[1]), Sort(v[3], v[4]), Sort(v[6], v[7]);
    Sort(v[1], v[2]), Sort(v[4], v[5]), Sort(v[7], v[8]);
    Sort(v[0], v[3]), Sort(v[5], v[8]), Sort(v[4], v[7]);
    Sort(v[3], v[6]), Sort(v[1], v[4]), Sort(v[2], v[5]);
    Sort(v[4], v[7]), Sort(v[4], v[2]), Sort(v[6], v[4]);
    Sort(v[4], v[2]);
    store(hn::IfThenElse(hn::Lt(middle, zero), middle, v[4]));
  };
  for (; x + hn::Lanes(d) <= width_px; x += hn::Lanes(d)) {
    one_vector(x, [&](auto median) { hn::StoreU(median, d, out + x); });
  }
  if (x < width_px) {
    HWY_ALIGN std::array<std::int16_t, kAlign / 2> rest;
    one_vector(x, [&](auto median) { hn::StoreU(median, d, rest.data()); });
    std::copy_n(rest.begin(), width_px - x, out + x);
  }
}

void HalveRow(const std::uint8_t* upper,
              const std::uint8_t* lower,
              std::size_t width_px,
              std::uint8_t* out) {
  for (std::size_t x = 0; x < width_px; ++x) {
    out[x] = static_cast<std::uint8_t>(
        (upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1] + 2) / 4);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace droidflow
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace droidflow {
namespace {

HWY_EXPORT(PlanesOfThisTarget);
HWY_EXPORT(RunSgm);
HWY_EXPORT(MedianRow);
HWY_EXPORT(HalveRow);

}  // namespace

void SgmOnCpu(const MatcherOptions& options,
              GrayView left,
              GrayView right,
              SgmWorkspace& workspace,
              ImageView<std::int16_t> disparity_px16,
              ImageView<std::uint8_t> confidence) {
  // No column has more disparities available than there are columns.
  const int max_px = std::min(options.max_disparity_px, left.width_px);
  if (max_px <= options.min_disparity_px) {
    for (int y = 0; y < left.height_px; ++y) {
      std::fill_n(disparity_px16.row(y), left.width_px, kNoDisparity_px16);
    }
    return;
  }
  Layout layout{};
  layout.width_px = left.width_px;
  layout.height_px = left.height_px;
  layout.min_disparity_px = options.min_disparity_px;
  layout.disparities = static_cast<std::size_t>(max_px - options.min_disparity_px);
  layout.padded = RoundUp(layout.disparities, kAlign);
  layout.slot = layout.padded + kAlign;
  layout.planes = HWY_DYNAMIC_DISPATCH(PlanesOfThisTarget)();
  layout.feature_row = RoundUp(
      static_cast<std::size_t>(left.width_px + layout.min_disparity_px) + layout.padded + kAlign,
      kAlign);
  const auto height = static_cast<std::size_t>(left.height_px);
  const std::size_t features_bytes = height * layout.planes * layout.feature_row;
  workspace.left_features.Resize(features_bytes);
  workspace.right_features.Resize(features_bytes);
  if (options.paths == 8) {
    workspace.half_sums.Resize(height * static_cast<std::size_t>(left.width_px) * layout.padded);
  }
  HWY_DYNAMIC_DISPATCH(RunSgm)
  (options, layout, left, right, workspace, disparity_px16, confidence);
}

void MedianOnCpu(ImageView<std::int16_t> in, ImageView<std::int16_t> out) {
  const int width_px = in.width_px;
  for (int y = -1; y <= in.height_px; ++y) {
    std::int16_t* const row = in.row(y);
    if (y < 0 || y == in.height_px) {
      std::fill(row - 1, row + width_px + 1, kNoDisparity_px16);
    } else {
      row[-1] = kNoDisparity_px16;
      row[width_px] = kNoDisparity_px16;
    }
  }
  for (int y = 0; y < in.height_px; ++y) {
    HWY_DYNAMIC_DISPATCH(MedianRow)
    ({in.row(y - 1) - 1, in.row(y) - 1, in.row(y + 1) - 1},
     static_cast<std::size_t>(width_px),
     out.row(y));
  }
}

void HalveOnCpu(GrayView in, ImageView<std::uint8_t> out) {
  for (int y = 0; y < out.height_px; ++y) {
    const std::uint8_t* const upper = in.row(2 * y);
    const std::uint8_t* const lower = in.row(std::min(2 * y + 1, in.height_px - 1));
    const int whole = in.width_px / 2;
    HWY_DYNAMIC_DISPATCH(HalveRow)(upper, lower, static_cast<std::size_t>(whole), out.row(y));
    if (out.width_px > whole) {
      const int x = in.width_px - 1;
      out.at(whole, y) = static_cast<std::uint8_t>((2 * upper[x] + 2 * lower[x] + 2) / 4);
    }
  }
}

}  // namespace droidflow
#endif

#include "droidflow/depth/rectifier.h"

#include "droidflow/core/check.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "droidflow/depth/rectifier.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

// Written here once, and not once per instruction set.
#ifndef DROIDFLOW_DEPTH_RECTIFIER_SHARED
#define DROIDFLOW_DEPTH_RECTIFIER_SHARED
namespace droidflow {
namespace {

// A place is rounded to 1/32 px: its weights are 5 bits.
constexpr int kWeightBits = 5;
constexpr std::uint32_t kWeightOne = 1U << kWeightBits;
constexpr std::uint32_t kHalf = 1U << (2 * kWeightBits - 1);
// Rows of a map are whole vectors.
constexpr std::size_t kLongestVector = 16;

}  // namespace
}  // namespace droidflow
#endif

HWY_BEFORE_NAMESPACE();
namespace droidflow {
namespace {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// `four` holds upper left, upper right, lower left and lower right of each pixel, a byte each.
void BlendRow(const std::uint32_t* four,
              const std::uint16_t* weights,
              const std::uint8_t* mask,
              std::size_t width_px,
              std::uint8_t* out) {
  const hn::CappedTag<std::uint32_t, kLongestVector> d;
  const hn::RebindToSigned<decltype(d)> d_signed;
  const hn::Rebind<std::uint16_t, decltype(d)> d_weights;
  const hn::Rebind<std::uint8_t, decltype(d)> d_bytes;
  const auto low_byte = hn::Set(d, 0xffU);
  const auto low_half = hn::Set(d, 0xffffU);
  const auto low_bytes = hn::Set(d, 0x00ff00ffU);
  const auto one = hn::Set(d, kWeightOne);
  const auto half = hn::Set(d, kHalf);
  for (std::size_t x = 0; x < width_px; x += hn::Lanes(d)) {
    const auto bytes = hn::LoadU(d, four + x);
    const auto both_weights = hn::PromoteTo(d, hn::LoadU(d_weights, weights + x));
    const auto weight_right = hn::And(both_weights, low_byte);
    const auto weight_lower = hn::ShiftRight<8>(both_weights);
    // Upper and lower row in the halves of a lane, blended at once: 255 * 32 needs 13 bits.
    const auto left = hn::And(bytes, low_bytes);
    const auto right = hn::And(hn::ShiftRight<8>(bytes), low_bytes);
    const auto rows =
        hn::Add(hn::Mul(left, hn::Sub(one, weight_right)), hn::Mul(right, weight_right));
    const auto sum = hn::Add(hn::Mul(hn::And(rows, low_half), hn::Sub(one, weight_lower)),
                             hn::Mul(hn::ShiftRight<16>(rows), weight_lower));
    const auto rounded = hn::ShiftRight<2 * kWeightBits>(hn::Add(sum, half));
    const auto value = hn::DemoteTo(d_bytes, hn::BitCast(d_signed, rounded));
    hn::StoreU(hn::And(value, hn::LoadU(d_bytes, mask + x)), d_bytes, out + x);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace droidflow
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace droidflow {
namespace {

HWY_EXPORT(BlendRow);

// Loads one by one: gather instructions are no faster where they exist, and far slower where they
// had to be made safe.
void CollectRow(const GrayView& raw,
                const std::uint32_t* place,
                int width_px,
                std::uint32_t* four) {
  for (int x = 0; x < width_px; ++x) {
    const std::uint8_t* const upper =
        raw.row(static_cast<int>(place[x] >> 16)) + (place[x] & 0xffff);
    std::uint16_t upper_two;
    std::uint16_t lower_two;
    std::memcpy(&upper_two, upper, 2);
    std::memcpy(&lower_two, upper + raw.stride, 2);
    four[x] = upper_two | static_cast<std::uint32_t>(lower_two) << 16;
  }
}

// The first of the two raw pixels between which a place lies, and the second's weight.
struct Between {
  int first;
  int weight;
};

Between Split(double place_px, int size_px) {
  const int fixed = static_cast<int>(std::floor(place_px * kWeightOne + 0.5));
  const int first = std::min(fixed >> kWeightBits, size_px - 2);
  return {first, fixed - (first << kWeightBits)};
}

}  // namespace

Remapper::Remapper(int raw_width_px, int raw_height_px, int width_px, int height_px)
    : raw_width_px_(raw_width_px),
      raw_height_px_(raw_height_px),
      mask_(width_px, height_px),
      map_stride_((static_cast<std::size_t>(width_px) + kLongestVector - 1) / kLongestVector *
                  kLongestVector),
      place_(map_stride_ * static_cast<std::size_t>(height_px)),
      weights_(place_.size()) {
  constexpr int kMaxSide_px = 16384;
  DF_CHECK(raw_width_px >= 2 && raw_height_px >= 2 && raw_width_px <= kMaxSide_px &&
               raw_height_px <= kMaxSide_px,
           "{}x{}",
           raw_width_px,
           raw_height_px);
}

void Remapper::Place(int x, int y, Pixel raw) {
  const bool is_inside = raw.u_px >= 0 && raw.u_px <= raw_width_px_ - 1 && raw.v_px >= 0 &&
                         raw.v_px <= raw_height_px_ - 1;
  mask_.at(x, y) = is_inside ? 255 : 0;
  if (!is_inside) {
    covers_everything_ = false;
    return;
  }
  const Between column = Split(raw.u_px, raw_width_px_);
  const Between row = Split(raw.v_px, raw_height_px_);
  const std::size_t index = static_cast<std::size_t>(y) * map_stride_ + static_cast<std::size_t>(x);
  place_[index] = static_cast<std::uint32_t>(column.first | row.first << 16);
  weights_[index] = static_cast<std::uint16_t>(column.weight | row.weight << 8);
}

Remapper Remapper::FromRawEye(const RawEye& eye,
                              int raw_width_px,
                              int raw_height_px,
                              const Matrix3& R_rect_eye,
                              const Intrinsics& rectified,
                              const RowOffset& row_offset) {
  Remapper remapper(raw_width_px, raw_height_px, rectified.width_px, rectified.height_px);
  const double centre_x_px = 0.5 * (rectified.width_px - 1);
  const double centre_y_px = 0.5 * (rectified.height_px - 1);
  for (int y = 0; y < rectified.height_px; ++y) {
    for (int x = 0; x < rectified.width_px; ++x) {
      const double row_px = y + row_offset.At(x - centre_x_px, y - centre_y_px);
      remapper.Place(
          x,
          y,
          RawPixelFromRectified(eye, R_rect_eye, rectified, {static_cast<double>(x), row_px}));
    }
  }
  return remapper;
}

void Remapper::Apply(GrayView raw, GrayImage& out) const {
  DF_CHECK(raw.width_px == raw_width_px_ && raw.height_px == raw_height_px_,
           "a picture of {}x{} for a map of {}x{}",
           raw.width_px,
           raw.height_px,
           raw_width_px_,
           raw_height_px_);
  out.Resize(mask_.width_px(), mask_.height_px());
  std::vector<std::uint32_t> four(map_stride_);
  for (int y = 0; y < mask_.height_px(); ++y) {
    const std::size_t start = static_cast<std::size_t>(y) * map_stride_;
    CollectRow(raw, &place_[start], mask_.width_px(), four.data());
    HWY_DYNAMIC_DISPATCH(BlendRow)
    (four.data(), &weights_[start], mask_.row(y), map_stride_, out.row(y));
  }
}

}  // namespace droidflow
#endif

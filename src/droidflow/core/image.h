#pragma once

/// Pictures in memory.

#include "droidflow/core/check.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

namespace droidflow {

/// A picture that somebody else owns.
///
/// Shape    [height_px, width_px]; rows are `stride` elements apart.
template <typename T>
struct ImageView {
  T* data = nullptr;
  int width_px = 0;
  int height_px = 0;
  std::ptrdiff_t stride = 0;

  [[nodiscard]] T* row(int y) const { return data + y * stride; }
  [[nodiscard]] T& at(int x, int y) const { return row(y)[x]; }
  [[nodiscard]] bool empty() const { return width_px == 0 || height_px == 0; }
  /// Columns x … x + width - 1.
  [[nodiscard]] ImageView Columns(int x, int width) const {
    DF_CHECK(x >= 0 && width >= 0 && x + width <= width_px, "{} + {} of {}", x, width, width_px);
    return {data + x, width, height_px, stride};
  }
  // NOLINTNEXTLINE(google-explicit-constructor): whoever may write may read.
  operator ImageView<const T>() const { return {data, width_px, height_px, stride}; }
};

/// A picture with memory of its own; the values of new memory are unspecified. Move only: copies
/// are expensive, so they are written out.
///
/// Memory   rows start at multiples of 64 bytes, and a vector of up to 64 bytes may be read past
/// the end of any row.
template <typename T>
class Image {
 public:
  Image() = default;
  Image(int width_px, int height_px) { Resize(width_px, height_px); }
  Image(Image&& other) noexcept
      : memory_(std::move(other.memory_)),
        capacity_bytes_(std::exchange(other.capacity_bytes_, 0)),
        view_(std::exchange(other.view_, {})) {}
  Image& operator=(Image&& other) noexcept {
    memory_ = std::move(other.memory_);
    capacity_bytes_ = std::exchange(other.capacity_bytes_, 0);
    view_ = std::exchange(other.view_, {});
    return *this;
  }

  /// Keeps the memory where it suffices; the values are unspecified afterwards.
  void Resize(int width_px, int height_px) {
    DF_CHECK(width_px >= 0 && height_px >= 0, "{}x{}", width_px, height_px);
    static_assert(kAlignment % sizeof(T) == 0 || sizeof(T) == 3);
    const std::size_t row_bytes = (width_px * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    // Rows of three-byte pixels cannot all be aligned; they are whole pixels apart.
    const std::size_t stride =
        sizeof(T) == 3 ? static_cast<std::size_t>(width_px) : row_bytes / sizeof(T);
    const std::size_t bytes = stride * sizeof(T) * static_cast<std::size_t>(height_px) + kAlignment;
    if (bytes > capacity_bytes_) {
      memory_.reset(static_cast<T*>(::operator new (bytes, std::align_val_t{kAlignment})));
      capacity_bytes_ = bytes;
    }
    view_ = {memory_.get(), width_px, height_px, static_cast<std::ptrdiff_t>(stride)};
  }

  [[nodiscard]] int width_px() const { return view_.width_px; }
  [[nodiscard]] int height_px() const { return view_.height_px; }
  [[nodiscard]] bool empty() const { return view_.empty(); }
  [[nodiscard]] ImageView<T> view() { return view_; }
  [[nodiscard]] ImageView<const T> view() const { return view_; }
  [[nodiscard]] T* row(int y) { return view_.row(y); }
  [[nodiscard]] const T* row(int y) const { return view_.row(y); }
  [[nodiscard]] T& at(int x, int y) { return view_.at(x, y); }
  [[nodiscard]] const T& at(int x, int y) const { return view_.at(x, y); }

 private:
  static constexpr std::size_t kAlignment = 64;
  struct Free {
    void operator()(T* memory) const { ::operator delete (memory, std::align_val_t{kAlignment}); }
  };

  std::unique_ptr<T, Free> memory_;
  std::size_t capacity_bytes_ = 0;
  ImageView<T> view_;
};

/// 8 bits a channel, in this order.
struct Rgb {
  std::uint8_t r = 0;
  std::uint8_t g = 0;
  std::uint8_t b = 0;

  bool operator==(const Rgb&) const = default;
};

using GrayView = ImageView<const std::uint8_t>;
using RgbView = ImageView<const Rgb>;
using GrayImage = Image<std::uint8_t>;
using RgbImage = Image<Rgb>;

}  // namespace droidflow

#pragma once

/// Memory for volumes: large enough that page tables matter as much as arithmetic.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <sys/mman.h>

namespace droidflow {

/// Bytes whose values are unspecified, kept while they suffice; on 2 MB pages where the system has
/// them to give.
class HugeBuffer {
 public:
  void Resize(std::size_t bytes) {
    if (bytes <= capacity_bytes_) return;
    const std::size_t rounded = (bytes + kPage_bytes - 1) / kPage_bytes * kPage_bytes;
    memory_.reset();
    capacity_bytes_ = 0;
    memory_.reset(static_cast<std::uint8_t*>(std::aligned_alloc(kPage_bytes, rounded)));
    if (!memory_) throw std::bad_alloc();
    // Refused where the system has no such pages: slower, not wrong.
    static_cast<void>(::madvise(memory_.get(), rounded, MADV_HUGEPAGE));
    capacity_bytes_ = rounded;
  }
  [[nodiscard]] std::uint8_t* data() const { return memory_.get(); }

 private:
  static constexpr std::size_t kPage_bytes = std::size_t{2} << 20;
  struct Free {
    // NOLINTNEXTLINE(cppcoreguidelines-no-malloc): what aligned_alloc gave.
    void operator()(std::uint8_t* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::uint8_t, Free> memory_;
  std::size_t capacity_bytes_ = 0;
};

}  // namespace droidflow

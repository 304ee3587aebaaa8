#pragma once

/// How often memory is asked for. A program that links this has its allocations counted: malloc and
/// its relatives, operator new, which uses them, and mmap.

#include <cstdint>

namespace droidflow {

/// Since the program started.
[[nodiscard]] std::int64_t AllocationCount();

}  // namespace droidflow

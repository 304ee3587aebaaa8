#pragma once

/// What a test may ask of the emulated GPU (cuda_runtime.h).

#include <cstddef>
#include <string>

namespace cuda_emulation {

enum class Order { kAscending, kDescending, kShuffled };

struct Settings {
  Order order = Order::kAscending;  ///< in which blocks, and threads that need not wait, run
  bool is_eager = false;            ///< streams do their work when they are given it
  int driver_version = 13000;       ///< 0: no driver is installed
  int devices = 1;
  int compute_capability_major = 9;
  std::size_t memory_bytes = std::size_t{8} << 30;
  int failing_allocation = 0;  ///< this one from now on, of the device's, fails; 0: none
  int failing_launch = 0;      ///< this kernel from now on faults; 0: none
};
/// Forgets errors too, as a new process would.
void Set(const Settings& settings);

/// What the emulation found wrong with a kernel, or with a call; empty: nothing since Set.
[[nodiscard]] std::string Complaint();

/// Allocations, streams and events that nobody has given back.
[[nodiscard]] int LiveObjects();
/// Of the device's memory, since the program started.
[[nodiscard]] int Allocations();
[[nodiscard]] int Launches();

}  // namespace cuda_emulation

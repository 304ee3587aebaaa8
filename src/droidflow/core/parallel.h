#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace droidflow {

/// Calls `work(i)` for each of `count`, on up to `jobs` threads, and waits for all.
template <typename Work>
void ParallelFor(std::size_t count, int jobs, Work work) {
  std::atomic<std::size_t> next = 0;
  const auto run = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < std::min(count, static_cast<std::size_t>(jobs)); ++i) {
    threads.emplace_back(run);
  }
  run();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace droidflow

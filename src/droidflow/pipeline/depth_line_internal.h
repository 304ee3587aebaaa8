#pragma once

/// How a recording becomes depth by several threads: one reads, some compute, the caller's writes.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"
#include "droidflow/pipeline/depth_frames.h"
#include "droidflow/video/depth_video.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace droidflow {

/// Adds the time from its making to its end.
class ScopedTime {
 public:
  explicit ScopedTime(std::atomic<std::int64_t>& total_ns) : total_ns_(total_ns) {}
  ScopedTime(const ScopedTime&) = delete;
  ScopedTime& operator=(const ScopedTime&) = delete;
  ~ScopedTime() {
    const std::chrono::nanoseconds time = std::chrono::steady_clock::now() - start_;
    total_ns_.fetch_add(time.count(), std::memory_order_relaxed);
  }

 private:
  std::atomic<std::int64_t>& total_ns_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// A frame on its way. Its memory is that of a frame before.
struct DepthSlot {
  DepthFrame frame;  ///< depth_mm is set when it is told
  GrayImage left;    ///< for those who compute
  GrayImage right;
  DepthImage depth_mm;
};

/// An assembly line: a thread reads frames, each of some workers computes one at a time, and the
/// caller is told them in the order in which they were read.
///
/// Memory   2 * workers + 2 frames: so many are read before the first of them is told.
/// Thread   one at a time. Threads start with the first Next; when it has said false or failed, and
///          when the line is gone, there are none.
class DepthLine {
 public:
  enum class Step {
    kFrame,
    kSkipped,  ///< the slot was not used: read on
    kEnd,
  };
  /// Fills a slot; called by one thread.
  using Read = std::function<Result<Step>(DepthSlot&)>;
  /// Computes a slot's depth; called by a thread of each worker, with 0 … workers - 1.
  using Work = std::function<Status(std::size_t worker, DepthSlot&)>;

  /// @param workers   0: what was read is told, and `work` may be empty.
  /// @param counters  get decode_ns and match_ns; outlive the line.
  DepthLine(Read read, Work work, std::size_t workers, DepthCounters& counters);
  DepthLine(const DepthLine&) = delete;
  DepthLine& operator=(const DepthLine&) = delete;
  ~DepthLine();

  /// @param frame  valid until the next call.
  /// @return  false after the last frame. Errors come in the place of the frame that they are of,
  ///          after those before, and are the end; kCancelled after a signal to stop. Exceptions of
  ///          `read` and `work` are errors.
  [[nodiscard]] Result<bool> Next(DepthFrame& frame);

 private:
  struct Place {
    DepthSlot slot;
    Status status;
    bool is_done = false;  ///< of the mutex
  };

  [[nodiscard]] Status Start();
  void Stop();
  [[nodiscard]] Result<bool> Take(DepthFrame& frame);
  void RunReader();
  void RunWorker(std::size_t worker);
  Place& PlaceOf(std::size_t number) { return places_[number % places_.size()]; }

  Read read_;
  Work work_;
  std::size_t workers_;
  DepthCounters& counters_;
  DepthImage told_mm_;                     ///< of the frame told last
  std::optional<Result<bool>> last_word_;  ///< what Next says from now on

  // A place is the reader's until `filled_` counts it, then a worker's until it is done, then the
  // caller's until `told_` counts it.
  std::vector<Place> places_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t filled_ = 0;           ///< frames that were read; of the mutex, as those below
  std::size_t claimed_ = 0;          ///< … that a worker has taken
  std::size_t told_ = 0;             ///< … that the caller has got
  std::optional<Result<bool>> end_;  ///< what comes after the last frame
  bool is_over_ = false;             ///< nobody wants any more
  std::vector<std::thread> threads_;
};

}  // namespace droidflow

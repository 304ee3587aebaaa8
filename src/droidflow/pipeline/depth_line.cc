#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/depth_line_internal.h"

#include <cerrno>
#include <exception>
#include <new>
#include <system_error>
#include <utility>

namespace droidflow {
namespace {

/// Out of a thread an exception would end the program.
template <typename Call>
auto Caught(Call call) -> decltype(call()) try {
  return call();
} catch (const std::bad_alloc&) {
  return FailErrno(ENOMEM, "cannot compute depth");
} catch (const std::exception& error) {
  return Fail(ErrorKind::kInternal, "cannot compute depth: {}", error.what());
}

}  // namespace

DepthLine::DepthLine(Read read, Work work, std::size_t workers, DepthCounters& counters)
    : read_(std::move(read)),
      work_(std::move(work)),
      workers_(workers),
      counters_(counters),
      places_(2 * workers + 2) {}

DepthLine::~DepthLine() { Stop(); }

Status DepthLine::Start() try {
  threads_.emplace_back([this] { RunReader(); });
  for (std::size_t worker = 0; worker < workers_; ++worker) {
    threads_.emplace_back([this, worker] { RunWorker(worker); });
  }
  return {};
} catch (const std::system_error& error) {
  return FailErrno(error.code().value(), "cannot start a thread");
}

void DepthLine::Stop() {
  {
    const std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

Result<bool> DepthLine::Next(DepthFrame& frame) {
  if (last_word_) return *last_word_;
  Result<bool> told = true;
  if (threads_.empty()) told = Start().map([] { return true; });
  if (told) told = Take(frame);
  if (!told || !*told) {
    Stop();
    last_word_ = told;
  }
  return told;
}

Result<bool> DepthLine::Take(DepthFrame& frame) {
  std::unique_lock lock(mutex_);
  Place& place = PlaceOf(told_);
  changed_.wait(lock, [&] { return place.is_done || (end_ && told_ == filled_); });
  if (!place.is_done) return *end_;
  if (!place.status) return tl::unexpected(place.status.error());
  std::swap(place.slot.depth_mm, told_mm_);
  frame = place.slot.frame;
  frame.depth_mm = std::as_const(told_mm_).view();
  place.is_done = false;
  ++told_;
  changed_.notify_all();
  return true;
}

void DepthLine::RunReader() {
  std::unique_lock lock(mutex_);
  while (!end_) {
    changed_.wait(lock, [&] { return is_over_ || filled_ - told_ < places_.size(); });
    if (is_over_) return;
    Place& place = PlaceOf(filled_);
    lock.unlock();
    Result<Step> step = Step::kEnd;
    if (StopSignal() == 0) {
      const ScopedTime time(counters_.decode_ns);
      step = Caught([&] { return read_(place.slot); });
    } else {
      step = Fail(ErrorKind::kCancelled, "stopped by a signal");
    }
    lock.lock();
    if (!step) {
      end_ = tl::unexpected(std::move(step).error());
    } else if (*step == Step::kEnd) {
      end_ = false;
    } else if (*step == Step::kFrame) {
      place.is_done = workers_ == 0;
      ++filled_;
    }
    changed_.notify_all();
  }
}

void DepthLine::RunWorker(std::size_t worker) {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return is_over_ || claimed_ < filled_; });
    if (is_over_) return;
    Place& place = PlaceOf(claimed_++);
    lock.unlock();
    {
      const ScopedTime time(counters_.match_ns);
      place.status = Caught([&] { return work_(worker, place.slot); });
    }
    lock.lock();
    place.is_done = true;
    changed_.notify_all();
  }
}

}  // namespace droidflow

#include "droidflow/pipeline/frame_pairing.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace droidflow {
namespace {

constexpr double kMillisecond_ns = 1e6;

/// Median distance between neighbours; nothing for fewer than two times.
std::optional<double> MedianStepMs(std::span<const std::int64_t> times_ms) {
  if (times_ms.size() < 2) return std::nullopt;
  std::vector<std::int64_t> steps_ms(times_ms.size());
  std::adjacent_difference(times_ms.begin(), times_ms.end(), steps_ms.begin());
  steps_ms.erase(steps_ms.begin());
  const auto middle = steps_ms.begin() + static_cast<std::ptrdiff_t>(steps_ms.size() / 2);
  std::ranges::nth_element(steps_ms, middle);
  return static_cast<double>(*middle);
}

/// Frames in the order of their times: a recorder's clock may be set back.
std::vector<std::int32_t> OrderByTime(std::span<const std::int64_t> frame_ns) {
  std::vector<std::int32_t> order(frame_ns.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](std::int32_t frame) { return frame_ns[frame]; });
  return order;
}

double DifferenceMs(std::int64_t frame_ns, std::int64_t received_ms) {
  // Taken apart: nanoseconds since 1970 do not fit a double, milliseconds do.
  const std::int64_t whole_ms = frame_ns / 1'000'000;
  const std::int64_t rest_ns = frame_ns % 1'000'000;
  return static_cast<double>(whole_ms) - static_cast<double>(received_ms) +
         static_cast<double>(rest_ns) / kMillisecond_ns;
}

FramePairing PairByIndex(const FrameClocks& clocks) {
  FramePairing pairing;
  pairing.step_to_frame.resize(clocks.steps, -1);
  const auto steps = static_cast<std::int64_t>(clocks.steps);
  const std::int64_t frames = clocks.frame_count.value_or(std::max<std::int64_t>(steps - 1, 1));
  for (std::size_t t = 0; t < clocks.steps; ++t) {
    if (static_cast<std::int64_t>(t) < frames)
      pairing.step_to_frame[t] = static_cast<std::int32_t>(t);
  }
  return pairing;
}

FramePairing PairByTime(const FrameClocks& clocks, double tolerance_ms) {
  FramePairing pairing{.paired_by = PairedBy::kTimestamps};
  pairing.step_to_frame.resize(clocks.steps, -1);
  const std::vector<std::int32_t> order = OrderByTime(clocks.frame_ns);
  for (std::size_t t = 0; t < clocks.steps; ++t) {
    const std::int64_t received_ms = clocks.received_ms[t];
    const auto after = std::ranges::lower_bound(order, 0.0, {}, [&](std::int32_t frame) {
      return DifferenceMs(clocks.frame_ns[frame], received_ms);
    });
    double nearest_ms = tolerance_ms;
    const auto consider = [&](std::int32_t frame) {
      const double distance_ms = std::abs(DifferenceMs(clocks.frame_ns[frame], received_ms));
      if (distance_ms > nearest_ms) return;
      nearest_ms = distance_ms;
      pairing.step_to_frame[t] = frame;
    };
    if (after != order.end()) consider(*after);
    if (after != order.begin()) consider(*std::prev(after));
  }
  return pairing;
}

}  // namespace

std::string_view ToString(PairedBy paired_by) {
  return paired_by == PairedBy::kTimestamps ? "timestamps" : "index";
}

std::size_t FramePairing::MatchedSteps() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(step_to_frame, [](std::int32_t frame) { return frame >= 0; }));
}

FramePairing PairFrames(const FrameClocks& clocks) {
  const bool has_times = !clocks.frame_ns.empty() && clocks.received_ms.size() == clocks.steps;
  std::optional<double> step_ms = MedianStepMs(clocks.step_start_ms);
  if (!step_ms) step_ms = MedianStepMs(clocks.received_ms);
  FramePairing pairing;
  if (has_times && step_ms) {
    pairing = PairByTime(clocks, *step_ms / 2);
    if (2 * pairing.MatchedSteps() < clocks.steps) {
      pairing = PairByIndex(clocks);
      pairing.times_disagree = true;
    }
  } else {
    pairing = PairByIndex(clocks);
  }
  pairing.difference_ms.resize(clocks.steps);
  for (std::size_t t = 0; has_times && t < clocks.steps; ++t) {
    const auto frame = static_cast<std::size_t>(pairing.step_to_frame[t]);
    if (pairing.step_to_frame[t] < 0 || frame >= clocks.frame_ns.size()) continue;
    pairing.difference_ms[t] = DifferenceMs(clocks.frame_ns[frame], clocks.received_ms[t]);
  }
  return pairing;
}

}  // namespace droidflow

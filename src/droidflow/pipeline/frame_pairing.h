#pragma once

/// Which frame of a recording shows which control step.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace droidflow {

enum class PairedBy {
  kTimestamps,  ///< each step with the frame nearest in time
  kIndex,       ///< step t with frame t
};

/// "timestamps" or "index".
[[nodiscard]] std::string_view ToString(PairedBy paired_by);

/// What pairing looks at. Times are Unix milliseconds of one clock, or useless.
struct FrameClocks {
  std::size_t steps = 0;
  std::span<const std::int64_t> received_ms = {};    ///< [steps] frame_received, or empty
  std::span<const std::int64_t> step_start_ms = {};  ///< [steps], or empty
  std::span<const std::int64_t> frame_ns = {};   ///< of every frame, in the order shown; or empty
  std::optional<std::int64_t> frame_count = {};  ///< empty: not known without decoding
};

struct FramePairing {
  PairedBy paired_by = PairedBy::kIndex;
  std::vector<std::int32_t> step_to_frame = {};  ///< [steps]; -1: no frame shows this step
  /// Frame's time minus frame_received, [steps], where both are known and the step has a frame.
  std::vector<std::optional<double>> difference_ms = {};
  /// Frames and steps have times, but those of fewer than half of the steps agree: they are of
  /// different clocks, and the pairing is by index.
  bool times_disagree = false;

  [[nodiscard]] std::size_t MatchedSteps() const;
};

/// Pairs every step with the frame nearest in time to its frame_received, at most half a median
/// step away. Without times on both sides, or if fewer than half of the steps find a frame, step t
/// goes with frame t; where the number of frames is not known, there are taken to be one fewer than
/// steps, as in most episodes. A container's frame rate counts for nothing.
[[nodiscard]] FramePairing PairFrames(const FrameClocks& clocks);

}  // namespace droidflow

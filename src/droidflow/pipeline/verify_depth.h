#pragma once

/// Checks of a camera's depth: do depth.mkv, depth_meta.json and what lies beside them agree?

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// A point as a camera sees it.
///
/// Frame    camera: z forward; the centre of the top-left pixel is (0, 0).
/// Invalid  (NaN, NaN): not seen.
struct SeenPoint {
  double u_px = 0;
  double v_px = 0;
  double z_m = 0;
};

/// The track points at a step of the episode, in the image or not.
using PointsAtStep = std::function<std::vector<SeenPoint>(std::int64_t step)>;

/// A camera's depth and what the episode's other files say of it.
struct DepthToCheck {
  std::filesystem::path directory;  ///< the episode's
  std::string serial;
  std::int64_t steps = 0;  ///< of the episode; 0: not known
  /// By quality.json; nothing: it does not say.
  std::optional<double> valid_fraction = {};
  /// By video.json, frames of the recording; nothing: it does not say.
  std::optional<std::vector<std::int64_t>> step_to_frame = {};
  bool every_frame = true;  ///< false: decode the first one only
  int decode_threads = 1;
  PointsAtStep points_at = {};  ///< empty: there are none to compare with
};

/// Measured depth beside that of track points. A finger that hides a point, or is too near for
/// depth, makes them differ: numbers to look at, not a fault.
struct DepthComparison {
  std::int64_t steps = 0;               ///< compared; at most 100, evenly spread
  std::int64_t points = 0;              ///< in the image and in front of the camera
  std::int64_t measured = 0;            ///< of these, where there is depth
  std::optional<double> median_mm;      ///< of measured minus predicted; nothing: none measured
  std::optional<double> near_fraction;  ///< of the measured, within 20 mm of the predicted
};

struct CheckedDepth {
  std::vector<std::string> problems;
  std::optional<DepthComparison> comparison;  ///< nothing: no points, or depth cannot be read
};

/// Checks recordings/{serial}/depth.mkv and depth_meta.json, if one of them is there or should be.
///
/// Memory   one frame, and numbers for each.
/// @return  no problem where there is neither and `valid_fraction` does not ask for any.
[[nodiscard]] CheckedDepth CheckDepth(const DepthToCheck& depth);

}  // namespace droidflow

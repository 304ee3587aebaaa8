#pragma once

/// SVO and SVO2 recordings read by the ZED SDK, in builds that have it (DROIDFLOW_WITH_ZED): frames
/// rectified as the SDK does, its camera, its depth.
///
/// Not run so far: on the machines of this project the code is compiled against a declaration of
/// the SDK's published interface (tools/zed_interface), never linked with the SDK.

#include "droidflow/core/result.h"
#include "droidflow/geometry/projection.h"
#include "droidflow/video/frame_source.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace droidflow {

/// The SDK's names. NEURAL_PLUS needs SDK 4.2, NEURAL_LIGHT 5.0, where the last three are
/// deprecated.
inline constexpr std::array<std::string_view, 6> kZedDepthModes{
    "NEURAL", "NEURAL_LIGHT", "NEURAL_PLUS", "ULTRA", "QUALITY", "PERFORMANCE"};

/// @return kUsage for a name that is not in kZedDepthModes.
[[nodiscard]] inline Status CheckZedDepthMode(std::string_view name) {
  if (std::ranges::find(kZedDepthModes, name) != kZedDepthModes.end()) return {};
  return Fail(ErrorKind::kUsage,
              "want a ZED depth mode ({}), have '{}'",
              fmt::join(kZedDepthModes, ", "),
              name);
}

/// Whether this build can call the SDK; the machine may still lack a GPU or its driver.
[[nodiscard]] bool ZedSdkBuiltIn();

/// Opens a recording with the SDK's defaults: the cameras are calibrated anew from the recording's
/// first frames, so that `intrinsics` may differ from the calibration file's. Depth is smoothed
/// over time by default: after Seek it may differ from what reading from the start gives.
///
/// Frame    rectified left eye: x right, y down, z forward.
/// Invalid  depth 0: occluded, too near, too far, or beyond 65535 mm.
/// Thread   in a run, in worker processes only: the SDK holds a CUDA context and threads of its
/// own,
///          and what crashes in it must not take the run along.
/// @return  kUnsupported in builds without the SDK and where GPU, driver, calibration file or depth
///          mode are missing; kUsage for an unknown depth mode; kNotFound; kInvalidData for a file
///          that is no SVO or that the SDK refuses; kTransient for CUDA's own failures.
[[nodiscard]] Result<std::unique_ptr<FrameSource>> OpenZedSource(const std::filesystem::path& path,
                                                                 const SourceOptions& options);

/// What the SDK makes of a recording's camera pair.
struct ZedIntrinsics {
  Intrinsics intrinsics;  ///< of the rectified left eye
  double baseline_m = 0;
  std::string serial;
};

/// Opens the recording without depth and reads no frame. Thread and errors as OpenZedSource.
[[nodiscard]] Result<ZedIntrinsics> ReadZedIntrinsics(const std::filesystem::path& path);

}  // namespace droidflow

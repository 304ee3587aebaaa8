#pragma once

/// What a user can set of depth, and what follows from it.

#include "droidflow/core/result.h"
#include "droidflow/depth/disparity_to_depth.h"
#include "droidflow/depth/matcher.h"
#include "droidflow/depth/row_alignment.h"
#include "droidflow/pipeline/map_file.h"

#include <optional>
#include <string>
#include <string_view>

namespace droidflow {

/// Where depth comes from.
struct DepthBackend {
  enum class Kind {
    kAuto,      ///< the GPU's matcher where there is one, else the CPU's
    kMatcher,   ///< `matcher`
    kZed,       ///< the ZED SDK's own depth, of SVO and SVO2 recordings
    kExternal,  ///< maps in `directory`, one for each frame, that somebody else made
  };
  Kind kind = Kind::kAuto;
  MatcherBackend matcher = MatcherBackend::kCpu;
  std::string directory = {};

  bool operator==(const DepthBackend&) const = default;
};

/// "auto", "cpu", "zed", "external:DIR".
[[nodiscard]] std::string ToString(const DepthBackend& backend);
/// @return kUsage with what there is.
[[nodiscard]] Result<DepthBackend> ParseDepthBackend(std::string_view text);

/// What kAuto means on this machine; others as they are.
[[nodiscard]] DepthBackend Resolve(const DepthBackend& backend);

/// Optional fields are given in place of the preset's, or of a default.
struct DepthOptions {
  DepthBackend backend;
  MatcherPreset preset = MatcherPreset::kBalanced;
  std::optional<int> min_disparity_px;
  std::optional<int> max_disparity_px;  ///< default: what min_depth_m needs, if that is given, else
                                        ///< DefaultMaxDisparityPx
  std::optional<int> paths;
  std::optional<int> p1;
  std::optional<int> p2_min;
  std::optional<int> p2;
  std::optional<int> uniqueness_percent;
  std::optional<int> lr_check_px;
  std::optional<bool> subpixel;
  std::optional<bool> median;
  std::optional<int> speckle_area_px;
  std::optional<int> speckle_range_px;
  std::optional<double> min_depth_m;  ///< default DepthRange's
  std::optional<double> max_depth_m;  ///< default DepthRange's
  RowAlign row_align = RowAlign::kAuto;
  std::string zed_depth_mode = "NEURAL";
  MapKind external_unit = MapKind::kDisparity;
  int every = 1;            ///< depth of frames 0, every, 2 every, … of a recording
  std::optional<int> jobs;  ///< frames of a recording that are matched at a time; default 1
  int encode_threads = 1;   ///< of the video, which has four slices for them

  [[nodiscard]] int Jobs() const { return jobs.value_or(1); }
  [[nodiscard]] DepthRange Range() const;
};

/// The matcher's options for pictures of a width, seen by a camera if that is known.
[[nodiscard]] MatcherOptions MatcherOptionsFor(const DepthOptions& options,
                                               int width_px,
                                               const std::optional<StereoGeometry>& geometry);

/// What can be told without pictures. @return kUsage with the option, what it must be and what it
/// is; kUnsupported where this build or machine has no such backend; kNotFound for a folder that is
/// not there.
[[nodiscard]] Status CheckDepthOptions(const DepthOptions& options);

/// Refuses a search that is given and goes beyond the picture. @return kUsage.
[[nodiscard]] Status CheckDisparityFits(const DepthOptions& options, int width_px);

/// The backend's parameters as a JSON object: `backend_parameters` of depth_meta.json.
///
/// @param matcher  what a matcher was made with; others do not look at it.
[[nodiscard]] std::string FormatBackendParameters(const DepthOptions& options,
                                                  const DepthBackend& resolved,
                                                  const MatcherOptions& matcher);

}  // namespace droidflow

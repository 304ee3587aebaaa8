#include "droidflow/depth/matcher.h"

#include "droidflow/core/check.h"
#include "droidflow/depth/matcher_internal.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace droidflow {
namespace {

constexpr int kMostP2 = 27;
constexpr int kMostLrCheck_px = 4;

Status CheckRange(std::string_view name, int value, int least, int most) {
  if (value >= least && value <= most) return {};
  return Fail(ErrorKind::kUsage, "{}: want {} … {}, have {}", name, least, most, value);
}

}  // namespace

std::string_view ToString(MatcherBackend backend) {
  switch (backend) {
    case MatcherBackend::kReference:
      return "reference";
    case MatcherBackend::kCpu:
      return "cpu";
    case MatcherBackend::kCuda:
      return "cuda";
    case MatcherBackend::kOpencv:
      return "opencv";
  }
  return "unknown";
}

std::string_view ToString(MatcherPreset preset) {
  switch (preset) {
    case MatcherPreset::kFast:
      return "fast";
    case MatcherPreset::kBalanced:
      return "balanced";
    case MatcherPreset::kQuality:
      return "quality";
  }
  return "unknown";
}

std::optional<MatcherPreset> MatcherPresetFromString(std::string_view name) {
  for (const MatcherPreset preset :
       {MatcherPreset::kFast, MatcherPreset::kBalanced, MatcherPreset::kQuality}) {
    if (ToString(preset) == name) return preset;
  }
  return std::nullopt;
}

MatcherOptions AtHalfSize(MatcherOptions options) {
  options.min_disparity_px = (options.min_disparity_px + 1) / 2;
  options.max_disparity_px =
      std::max((options.max_disparity_px + 1) / 2, options.min_disparity_px + 1);
  options.speckle_area_px /= 4;
  options.speckle_range_px = (options.speckle_range_px + 1) / 2;
  return options;
}

MatcherOptions OptionsOf(MatcherPreset preset) {
  MatcherOptions options;
  switch (preset) {
    case MatcherPreset::kFast:
      options.half_size = true;
      break;
    case MatcherPreset::kBalanced:
      break;
    case MatcherPreset::kQuality:
      options.paths = 8;
      options.p1 = 6;
      options.p2_min = 6;
      break;
  }
  return options;
}

Status CheckMatcherOptions(const MatcherOptions& options) {
  DF_RETURN_IF_ERROR(CheckRange("max disparity", options.max_disparity_px, 1, kMostDisparities));
  DF_RETURN_IF_ERROR(
      CheckRange("min disparity", options.min_disparity_px, 0, options.max_disparity_px - 1));
  if (options.paths != 5 && options.paths != 8) {
    return Fail(ErrorKind::kUsage, "paths: want 5 or 8, have {}", options.paths);
  }
  DF_RETURN_IF_ERROR(CheckRange("P2", options.p2, 1, kMostP2));
  DF_RETURN_IF_ERROR(CheckRange("least P2", options.p2_min, 1, options.p2));
  DF_RETURN_IF_ERROR(CheckRange("P1", options.p1, 1, options.p2_min));
  DF_RETURN_IF_ERROR(CheckRange("uniqueness", options.uniqueness_percent, 0, 99));
  DF_RETURN_IF_ERROR(CheckRange("left-right check", options.lr_check_px, -1, kMostLrCheck_px));
  DF_RETURN_IF_ERROR(CheckRange("speckle area", options.speckle_area_px, 0, 1 << 23));
  return CheckRange("speckle range", options.speckle_range_px, 0, kMostDisparities);
}

std::string WhyNotAvailable(MatcherBackend backend) {
  switch (backend) {
    case MatcherBackend::kReference:
    case MatcherBackend::kCpu:
      return "";
    case MatcherBackend::kCuda:
      return WhyNoCuda();
    case MatcherBackend::kOpencv:
      return WhyNoOpencv();
  }
  return "no such backend";
}

bool IsAvailable(MatcherBackend backend) { return WhyNotAvailable(backend).empty(); }

Result<std::unique_ptr<Matcher>> MakeMatcher(MatcherBackend backend,
                                             const MatcherOptions& options) {
  DF_RETURN_IF_ERROR(CheckMatcherOptions(options));
  switch (backend) {
    case MatcherBackend::kReference:
      return MakeReferenceMatcher(options);
    case MatcherBackend::kCpu:
      return MakeCpuMatcher(options);
    case MatcherBackend::kCuda:
      return MakeCudaMatcher(options);
    case MatcherBackend::kOpencv:
      return MakeOpencvMatcher(options);
  }
  return Fail(ErrorKind::kInternal, "no such backend: {}", static_cast<int>(backend));
}

Status CheckPair(GrayView left, GrayView right) {
  if (left.width_px != right.width_px || left.height_px != right.height_px) {
    return Fail(ErrorKind::kUsage,
                "want two pictures of one size, have {}x{} and {}x{}",
                left.width_px,
                left.height_px,
                right.width_px,
                right.height_px);
  }
  if (left.empty()) {
    return Fail(
        ErrorKind::kUsage, "want pictures with pixels, have {}x{}", left.width_px, left.height_px);
  }
  return {};
}

}  // namespace droidflow

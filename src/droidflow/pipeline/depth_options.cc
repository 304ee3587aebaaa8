#include "droidflow/pipeline/depth_options.h"

#include "droidflow/video/zed_source.h"

#include <array>
#include <filesystem>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;
using Kind = DepthBackend::Kind;

constexpr std::string_view kExternal = "external:";
constexpr std::array kMatchers{MatcherBackend::kReference,
                               MatcherBackend::kCpu,
                               MatcherBackend::kCuda,
                               MatcherBackend::kOpencv};
constexpr int kMostThreads = 256;

}  // namespace

std::string ToString(const DepthBackend& backend) {
  switch (backend.kind) {
    case Kind::kAuto:
      return "auto";
    case Kind::kMatcher:
      return std::string(ToString(backend.matcher));
    case Kind::kZed:
      return "zed";
    case Kind::kExternal:
      return fmt::format("{}{}", kExternal, backend.directory);
  }
  return "unknown";
}

Result<DepthBackend> ParseDepthBackend(std::string_view text) {
  if (text == "auto") return DepthBackend{};
  if (text == "zed") return DepthBackend{.kind = Kind::kZed};
  for (const MatcherBackend matcher : kMatchers) {
    if (ToString(matcher) == text) return DepthBackend{.kind = Kind::kMatcher, .matcher = matcher};
  }
  if (text.starts_with(kExternal) && text.size() > kExternal.size()) {
    return DepthBackend{.kind = Kind::kExternal,
                        .directory = std::string(text.substr(kExternal.size()))};
  }
  return Fail(ErrorKind::kUsage,
              "backend: want auto, reference, cpu, cuda, opencv, zed or external:DIR, have '{}'",
              text);
}

DepthBackend Resolve(const DepthBackend& backend) {
  if (backend.kind != Kind::kAuto) return backend;
  const bool has_gpu = IsAvailable(MatcherBackend::kCuda);
  return {.kind = Kind::kMatcher,
          .matcher = has_gpu ? MatcherBackend::kCuda : MatcherBackend::kCpu};
}

DepthRange DepthOptions::Range() const {
  const DepthRange range;
  return {.min_m = min_depth_m.value_or(range.min_m), .max_m = max_depth_m.value_or(range.max_m)};
}

MatcherOptions MatcherOptionsFor(const DepthOptions& options,
                                 int width_px,
                                 const std::optional<StereoGeometry>& geometry) {
  MatcherOptions matcher = OptionsOf(options.preset);
  const auto set = [](const auto& given, auto& value) { value = given.value_or(value); };
  matcher.max_disparity_px = options.min_depth_m && geometry
                                 ? MaxDisparityForPx(*geometry, *options.min_depth_m, width_px)
                                 : DefaultMaxDisparityPx(width_px);
  set(options.min_disparity_px, matcher.min_disparity_px);
  // A search that starts beyond the default's end goes on for as far as the default.
  if (matcher.min_disparity_px >= matcher.max_disparity_px) {
    matcher.max_disparity_px += matcher.min_disparity_px;
  }
  set(options.max_disparity_px, matcher.max_disparity_px);
  set(options.paths, matcher.paths);
  set(options.p1, matcher.p1);
  set(options.p2_min, matcher.p2_min);
  set(options.p2, matcher.p2);
  set(options.uniqueness_percent, matcher.uniqueness_percent);
  set(options.lr_check_px, matcher.lr_check_px);
  set(options.subpixel, matcher.subpixel);
  set(options.median, matcher.median);
  set(options.speckle_area_px, matcher.speckle_area_px);
  set(options.speckle_range_px, matcher.speckle_range_px);
  return matcher;
}

Status CheckDepthOptions(const DepthOptions& options) {
  // At a width at which only what is given can be wrong.
  constexpr int kWidth_px = 1280;
  DF_RETURN_IF_ERROR(CheckDepthRange(options.Range()));
  DF_RETURN_IF_ERROR(CheckMatcherOptions(MatcherOptionsFor(options, kWidth_px, std::nullopt)));
  DF_RETURN_IF_ERROR(CheckZedDepthMode(options.zed_depth_mode));
  if (options.every < 1) {
    return Fail(ErrorKind::kUsage, "every: want 1 or more, have {}", options.every);
  }
  for (const auto& [name, threads] :
       {std::pair("jobs", options.Jobs()), std::pair("encode threads", options.encode_threads)}) {
    if (threads < 1 || threads > kMostThreads) {
      return Fail(ErrorKind::kUsage, "{}: want 1 … {}, have {}", name, kMostThreads, threads);
    }
  }
  const DepthBackend backend = Resolve(options.backend);
  if (backend.kind == Kind::kZed && !ZedSdkBuiltIn()) {
    return Fail(ErrorKind::kUnsupported,
                "backend zed: this build has no ZED SDK (DROIDFLOW_WITH_ZED)");
  }
  std::error_code ignored;
  if (backend.kind == Kind::kExternal &&
      !std::filesystem::is_directory(backend.directory, ignored)) {
    return Fail(ErrorKind::kNotFound, "backend external: no such folder: {}", backend.directory);
  }
  if (backend.kind == Kind::kMatcher && !IsAvailable(backend.matcher)) {
    return Fail(ErrorKind::kUnsupported,
                "backend {}: {}",
                ToString(backend.matcher),
                WhyNotAvailable(backend.matcher));
  }
  return {};
}

Status CheckDisparityFits(const DepthOptions& options, int width_px) {
  if (!options.max_disparity_px || *options.max_disparity_px <= width_px) return {};
  return Fail(ErrorKind::kUsage,
              "max disparity: want at most the pictures' width of {}, have {}",
              width_px,
              *options.max_disparity_px);
}

std::string FormatBackendParameters(const DepthOptions& options,
                                    const DepthBackend& resolved,
                                    const MatcherOptions& matcher) {
  switch (resolved.kind) {
    case Kind::kZed:
      return Json{{"depth_mode", options.zed_depth_mode}}.dump();
    case Kind::kExternal:
      return Json{{"unit", ToString(options.external_unit)}}.dump();
    case Kind::kAuto:
    case Kind::kMatcher:
      break;
  }
  Json json = {{"preset", ToString(options.preset)},
               {"min_disparity", matcher.min_disparity_px},
               {"max_disparity", matcher.max_disparity_px}};
  // OpenCV's are its own; docs/running.md has them.
  if (resolved.matcher == MatcherBackend::kOpencv) return json.dump();
  json.update({{"half_size", matcher.half_size},
               {"paths", matcher.paths},
               {"p1", matcher.p1},
               {"p2_min", matcher.p2_min},
               {"p2", matcher.p2},
               {"uniqueness_percent", matcher.uniqueness_percent},
               {"lr_check_px", matcher.lr_check_px},
               {"subpixel", matcher.subpixel},
               {"median", matcher.median},
               {"speckle_area_px", matcher.speckle_area_px},
               {"speckle_range_px", matcher.speckle_range_px}});
  return json.dump();
}

}  // namespace droidflow

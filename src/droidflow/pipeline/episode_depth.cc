#include "droidflow/pipeline/episode_depth.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

/// The folder with a camera's maps; empty: there is none.
fs::path FindMaps(const fs::path& root, const EpisodeRef& episode, const std::string& serial) {
  for (const fs::path& folder :
       {root / episode.relative_path / "recordings" / serial, root / serial}) {
    std::error_code ignored;
    if (fs::is_directory(folder, ignored)) return folder;
  }
  return {};
}

/// Why a camera has no depth although nothing failed; empty: it has.
std::string ReasonAgainst(const EpisodeCamera& camera, DepthBackend::Kind kind) {
  const auto& chosen = camera.recording.chosen;
  if (!chosen) return "no recording";
  const SourceInfo& info = chosen->summary.info;
  if (kind != DepthBackend::Kind::kExternal && !info.stereo) {
    return fmt::format("no stereo recording, {} has one eye", chosen->name);
  }
  if (kind == DepthBackend::Kind::kZed) return "";
  if (!camera.intrinsics) return "its intrinsics are not known";
  return "";
}

/// What concerns a camera's data only.
bool IsOfTheCamera(const Error& error) {
  return error.kind == ErrorKind::kInvalidData || error.kind == ErrorKind::kNotFound;
}

Result<DepthReport> Write(const EpisodeContext& context,
                          const EpisodeRef& episode,
                          const EpisodeCamera& camera,
                          const fs::path& directory,
                          MatcherPool& pool) {
  const ChosenRecording& chosen = *camera.recording.chosen;
  const SourceInfo& info = chosen.summary.info;
  DepthOptions options = context.options.depth;
  if (options.backend.kind == DepthBackend::Kind::kExternal) {
    const fs::path maps = FindMaps(options.backend.directory, episode, camera.serial);
    if (maps.empty()) {
      return Fail(ErrorKind::kNotFound,
                  "backend external: no folder {} in {}",
                  camera.serial,
                  options.backend.directory);
    }
    options.backend.directory = maps.string();
  }
  std::optional<RectifiedRig> rig;
  const auto conf = context.conf.find(info.serial.empty() ? camera.serial : info.serial);
  if (conf != context.conf.end() && !info.rectified) {
    DF_ASSIGN_OR_RETURN(rig,
                        MakeRig(conf->second, info.width_px, info.height_px, camera.intrinsics));
  }
  DepthRecording recording{.path = chosen.path,
                           .rig = rig ? &*rig : nullptr,
                           .use_zed_sdk = true,
                           .decode_threads = context.options.decode_threads};
  if (camera.intrinsics) {
    recording.geometry = {.fx_px = camera.intrinsics->fx_px, .baseline_m = camera.baseline_m};
  }
  DF_ASSIGN_OR_RETURN(const DepthOutput output,
                      DepthOutput::Parse(directory / DepthFile(camera.serial)));
  return WriteDepth(recording,
                    {.recording_name = chosen.name,
                     .serial = camera.serial,
                     .step_to_frame = camera.pairing.step_to_frame,
                     .frame_times_ns = camera.frame_ns},
                    options,
                    output,
                    pool);
}

}  // namespace

fs::path DepthFile(const std::string& serial) {
  return fs::path("recordings") / serial / kDepthVideoFile;
}

Result<CameraDepth> WriteCameraDepth(const EpisodeContext& context,
                                     const EpisodeRef& episode,
                                     const EpisodeCamera& camera,
                                     const fs::path& directory,
                                     MatcherPool& pool) {
  CameraDepth depth{.serial = camera.serial,
                    .role = std::string(ToString(camera.role)),
                    .report = std::nullopt,
                    .reason = ReasonAgainst(camera, context.options.depth.backend.kind)};
  if (!depth.reason.empty()) return depth;
  Result<DepthReport> report = Write(context, episode, camera, directory, pool);
  if (report) {
    depth.report = *std::move(report);
    return depth;
  }
  if (!IsOfTheCamera(report.error())) return tl::unexpected(std::move(report).error());
  depth.reason = std::move(report).error().message;
  depth.failed = true;
  return depth;
}

Result<std::vector<CameraDepth>> WriteEpisodeDepth(const EpisodeContext& context,
                                                   const EpisodeRef& ref,
                                                   const std::vector<std::string>& cameras) {
  DF_RETURN_IF_ERROR(CheckDepthOptions(context.options.depth));
  DF_ASSIGN_OR_RETURN(const EpisodeData episode, CollectEpisode(context, ref));
  const auto is_named = [](const EpisodeCamera& camera, const std::string& name) {
    return camera.serial == name || ToString(camera.role) == name;
  };
  for (const std::string& name : cameras) {
    const bool is_there = std::ranges::any_of(
        episode.cameras, [&](const EpisodeCamera& camera) { return is_named(camera, name); });
    if (!is_there) {
      return Fail(ErrorKind::kNotFound, "no camera {} in {}", name, ref.relative_path);
    }
  }
  const fs::path directory = fs::path(context.options.out) / ref.relative_path;
  MatcherPool pool;
  std::vector<CameraDepth> all;
  for (const EpisodeCamera& camera : episode.cameras) {
    const bool is_wanted =
        cameras.empty() || std::ranges::any_of(cameras, [&](const std::string& name) {
          return is_named(camera, name);
        });
    if (!is_wanted) continue;
    DF_ASSIGN_OR_RETURN(CameraDepth depth,
                        WriteCameraDepth(context, episode.ref, camera, directory, pool));
    all.push_back(std::move(depth));
  }
  return all;
}

}  // namespace droidflow

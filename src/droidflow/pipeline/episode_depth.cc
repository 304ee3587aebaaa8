#include "droidflow/pipeline/episode_depth.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kNoIntrinsics = "its intrinsics are not known";

/// The folder with a camera's maps; empty: there is none.
fs::path FindMaps(const fs::path& root, const EpisodeRef& episode, const std::string& serial) {
  for (const fs::path& folder :
       {root / episode.relative_path / "recordings" / serial, root / serial}) {
    std::error_code ignored;
    if (fs::is_directory(folder, ignored)) return folder;
  }
  return {};
}

/// What concerns a camera's data only.
bool IsOfTheCamera(const Error& error) {
  return error.kind == ErrorKind::kInvalidData || error.kind == ErrorKind::kNotFound;
}

bool IsNamed(const EpisodeCamera& camera, const std::string& name) {
  return camera.serial == name || ToString(camera.role) == name;
}

}  // namespace

std::string ReasonAgainstDepth(const EpisodeCamera& camera, DepthBackend::Kind kind) {
  const auto& chosen = camera.recording.chosen;
  if (!chosen) return "no recording";
  const SourceInfo& info = chosen->summary.info;
  if (kind != DepthBackend::Kind::kExternal && !info.stereo) {
    return fmt::format("no stereo recording, {} has one eye", chosen->name);
  }
  if (kind == DepthBackend::Kind::kZed) return "";
  if (!camera.intrinsics) return std::string(kNoIntrinsics);
  return "";
}

fs::path DepthFile(const std::string& serial) {
  return fs::path("recordings") / serial / kDepthVideoFile;
}

DepthWorker::DepthWorker(DepthOptions options, int camera_jobs, DepthCounters* counters)
    : options_(std::move(options)),
      counters_(counters),
      pools_(static_cast<std::size_t>(camera_jobs)) {}

Result<DepthReport> DepthWorker::WriteReport(const EpisodeContext& context,
                                             const EpisodeData& episode,
                                             const EpisodeCamera& camera,
                                             const fs::path& directory,
                                             MatcherPool& pool) const {
  DepthOptions options = options_;
  const ChosenRecording& chosen = *camera.recording.chosen;
  const SourceInfo& info = chosen.summary.info;
  if (options.backend.kind == DepthBackend::Kind::kExternal) {
    const fs::path maps = FindMaps(options.backend.directory, episode.ref, camera.serial);
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
                           .decode_threads = context.options.decode_threads,
                           .max_frames = most_frames_};
  // The first steps only: also the first frames only.
  if (const std::vector<std::int32_t>& frames = camera.pairing.step_to_frame;
      context.options.track.max_frames && !frames.empty()) {
    const std::int64_t seen = std::max(std::int64_t{std::ranges::max(frames)} + 1, std::int64_t{1});
    recording.max_frames = std::min(recording.max_frames.value_or(seen), seen);
  }
  if (camera.intrinsics) {
    recording.geometry = {.fx_px = camera.intrinsics->fx_px, .baseline_m = camera.baseline_m};
  }
  DF_ASSIGN_OR_RETURN(const DepthOutput output,
                      DepthOutput::Parse(directory / DepthFile(camera.serial)));
  return WriteDepth(recording,
                    {.recording_name = chosen.name,
                     .serial = camera.serial,
                     .step_to_frame = camera.pairing.step_to_frame,
                     .frame_times_ns = camera.frame_ns,
                     .nominal_fps = episode.fps},
                    options,
                    output,
                    pool,
                    counters_);
}

Result<CameraDepth> DepthWorker::WriteCamera(const EpisodeContext& context,
                                             const EpisodeData& episode,
                                             const EpisodeCamera& camera,
                                             const fs::path& directory,
                                             MatcherPool& pool) const {
  CameraDepth depth{.serial = camera.serial,
                    .role = std::string(ToString(camera.role)),
                    .report = std::nullopt,
                    .reason = ReasonAgainstDepth(camera, options_.backend.kind)};
  if (!depth.reason.empty()) {
    // Not that there is no stereo recording, but that what there is is of no use.
    depth.failed = depth.reason == kNoIntrinsics || camera.recording.has_broken_stereo;
    return depth;
  }
  Result<DepthReport> report = WriteReport(context, episode, camera, directory, pool);
  if (report) {
    depth.report = *std::move(report);
    return depth;
  }
  if (!IsOfTheCamera(report.error())) return tl::unexpected(std::move(report).error());
  depth.reason = std::move(report).error().message;
  depth.failed = true;
  return depth;
}

Result<std::vector<CameraDepth>> DepthWorker::Write(const EpisodeContext& context,
                                                    const EpisodeData& episode,
                                                    const std::vector<std::string>& names,
                                                    const fs::path& directory) {
  std::vector<const EpisodeCamera*> wanted;
  for (const EpisodeCamera& camera : episode.cameras) {
    const bool is_wanted =
        names.empty() ||
        std::ranges::any_of(names, [&](const std::string& name) { return IsNamed(camera, name); });
    if (is_wanted) wanted.push_back(&camera);
  }
  std::vector<std::optional<Result<CameraDepth>>> results(wanted.size());
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> has_failed = false;
  const auto work = [&](MatcherPool& pool) {
    for (std::size_t i = 0; !has_failed && (i = next++) < wanted.size();) {
      results[i] = WriteCamera(context, episode, *wanted[i], directory, pool);
      if (!*results[i]) has_failed = true;
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < std::min(pools_.size(), wanted.size()); ++i) {
      others.emplace_back([&, i] { work(pools_[i]); });
    }
    work(pools_[0]);
  }
  std::vector<CameraDepth> all;
  for (std::optional<Result<CameraDepth>>& result : results) {
    if (!result) continue;  // another had failed
    if (!*result) return tl::unexpected(std::move(*result).error());
    all.push_back(**std::move(result));
  }
  return all;
}

Result<std::vector<CameraDepth>> WriteEpisodeDepth(const EpisodeContext& context,
                                                   const EpisodeRef& ref,
                                                   const std::vector<std::string>& cameras) {
  DF_RETURN_IF_ERROR(CheckDepthOptions(context.options.depth));
  DF_ASSIGN_OR_RETURN(const EpisodeData episode, CollectEpisode(context, ref));
  for (const std::string& name : cameras) {
    const bool is_there = std::ranges::any_of(
        episode.cameras, [&](const EpisodeCamera& camera) { return IsNamed(camera, name); });
    if (!is_there) {
      return Fail(ErrorKind::kNotFound, "no camera {} in {}", name, ref.relative_path);
    }
  }
  DepthWorker worker(context.options.depth, context.options.full.camera_jobs, nullptr);
  return worker.Write(context, episode, cameras, fs::path(context.options.out) / ref.relative_path);
}

}  // namespace droidflow

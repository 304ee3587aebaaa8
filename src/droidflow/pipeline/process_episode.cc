#include "droidflow/pipeline/process_episode.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/core/sha256.h"
#include "droidflow/episode/status.h"
#include "droidflow/formats/npy.h"
#include "droidflow/formats/stl.h"
#include "droidflow/io/listing_cache.h"
#include "droidflow/io/metadata_reader.h"
#include "droidflow/io/trajectory_reader.h"
#include "droidflow/pipeline/episode_fetcher.h"
#include "droidflow/pipeline/idle_steps.h"
#include "droidflow/pipeline/raw_roots.h"
#include "droidflow/pipeline/stereo_pairs.h"
#include "droidflow/tracks/camera_poses.h"
#include "droidflow/tracks/contact_pad.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <string_view>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

Result<std::vector<Vector3>> LoadPadPoints(const TrackOptions& options) {
  const auto count = static_cast<std::size_t>(options.PointsPerFinger());
  if (!options.contact_points.empty()) {
    DF_ASSIGN_OR_RETURN(const NpyArray array, ReadNpy(options.contact_points));
    DF_ASSIGN_OR_RETURN(const std::vector<double> values, array.ToDoubles());
    const std::vector<std::size_t> shape(array.shape.begin(), array.shape.end());
    return PadPointsFromArray(shape, values).map_error([&](Error error) {
      return Error{error.kind, fmt::format("{}: {}", error.message, options.contact_points)};
    });
  }
  if (!options.finger_mesh.empty()) {
    DF_ASSIGN_OR_RETURN(const std::vector<StlTriangle> stl, ReadStl(options.finger_mesh));
    std::vector<MeshFace> mesh;
    mesh.reserve(stl.size());
    for (const StlTriangle& face : stl) {
      MeshFace& triangle = mesh.emplace_back();
      for (std::size_t i = 0; i < triangle.size(); ++i) {
        triangle[i] = {face.vertices[i][0], face.vertices[i][1], face.vertices[i][2]};
      }
    }
    return PadPointsFromMesh(mesh, count).map_error([&](Error error) {
      return Error{error.kind, fmt::format("{}: {}", error.message, options.finger_mesh)};
    });
  }
  return PadGridPoints(count);
}

/// @param maker  the command that makes such a folder; empty: there is none.
Status RequireDirectory(const std::string& flag,
                        const std::string& path,
                        std::string_view maker = {}) {
  std::error_code error;
  if (fs::is_directory(path, error)) return {};
  if (error && error != std::errc::no_such_file_or_directory) {
    return FailErrno(error.value(), fmt::format("{}: cannot look into {}", flag, path));
  }
  const std::string hint = maker.empty() ? "" : fmt::format(", '{} --out DIR' makes one", maker);
  return Fail(ErrorKind::kNotFound, "{}: no such folder{}: {}", flag, hint, path);
}

Result<AnnotationPaths> ResolveAnnotationPaths(const InputOptions& input) {
  AnnotationPaths paths;
  if (!input.annotations.empty()) {
    DF_RETURN_IF_ERROR(
        RequireDirectory("--annotations", input.annotations, "droidflow fetch annotations"));
    paths = FindAnnotations(input.annotations);
  }
  const auto override_with = [](const std::string& given, std::optional<fs::path>& path) {
    if (!given.empty()) path = given;
  };
  override_with(input.superset, paths.superset);
  override_with(input.cam2base, paths.cam2base);
  override_with(input.intrinsics, paths.intrinsics);
  override_with(input.episode_paths, paths.episode_paths);
  override_with(input.serials, paths.serials);
  override_with(input.language, paths.language);
  override_with(input.keep_ranges, paths.keep_ranges);
  return paths;
}

/// Every SN<serial>.conf of a folder.
Result<ZedCalibrations> LoadConfFiles(const std::string& conf_dir) {
  ZedCalibrations calibrations;
  if (conf_dir.empty()) return calibrations;
  DF_RETURN_IF_ERROR(RequireDirectory("--conf-dir", conf_dir));
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(conf_dir, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("SN") || entry.path().extension() != ".conf") continue;
    const std::string serial = entry.path().stem().string().substr(2);
    DF_ASSIGN_OR_RETURN(ZedCalibration calibration, ReadZedCalibration(conf_dir, serial));
    calibrations.emplace(serial, std::move(calibration));
  }
  if (error) return FailErrno(error.value(), "cannot list " + conf_dir);
  return calibrations;
}

/// What every step is given.
struct StepInput {
  const EpisodeContext& context;
  const fs::path& directory;    ///< where products go
  const MakeDepth& make_depth;  ///< may be empty
};

// Steps -------------------------------------------------------------------------------------------

Status ReadMetadataStep(const StepInput& in, EpisodeData& episode) {
  const fs::path dir = RawFolder(in.context.options, episode.ref);
  DF_ASSIGN_OR_RETURN(episode.metadata, ReadMetadata(dir));
  episode.ref.uuid = episode.metadata.uuid;
  return {};
}

Status ReadTrajectoryStep(const StepInput& in, EpisodeData& episode) {
  const fs::path dir = RawFolder(in.context.options, episode.ref);
  DF_ASSIGN_OR_RETURN(episode.trajectory, ReadTrajectory(dir / "trajectory.h5"));
  const auto frames = static_cast<std::int64_t>(episode.trajectory.size());
  if (const auto length = episode.metadata.trajectory_length; length && *length != frames) {
    episode.warnings.push_back(
        {status::kLengthMismatch,
         fmt::format("metadata says {} steps, trajectory.h5 has {}", *length, frames)});
  }
  return {};
}

/// @return nothing where the pictures have too few corners.
Result<std::optional<RowAlignment>> RowsOf(const EpisodeContext& context,
                                           const EpisodeCamera& camera,
                                           const ChosenRecording& recording) {
  const SourceInfo& info = recording.summary.info;
  const auto conf = context.conf.find(info.serial.empty() ? camera.serial : info.serial);
  std::optional<RectifiedRig> rig;
  if (conf != context.conf.end() && !info.rectified) {
    DF_ASSIGN_OR_RETURN(rig,
                        MakeRig(conf->second, info.width_px, info.height_px, camera.intrinsics));
  }
  DF_ASSIGN_OR_RETURN(
      const PairSource pairs,
      PairSource::Open(recording.path,
                       rig ? &*rig : nullptr,
                       {.decode_threads = context.options.decode_threads, .use_zed_sdk = true}));
  return pairs.rows();
}

void TakeFps(const TrackOptions& options, EpisodeData& episode) {
  if (const auto fixed = options.FixedFps()) {
    episode.fps = *fixed;
  } else {
    if (episode.trajectory.step_start_ms.empty()) {
      episode.warnings.push_back(
          {status::kNoTimestamps,
           fmt::format("no usable step times, fps is taken to be {}", kDefaultFps)});
    }
    episode.fps = MeasureControlRate(episode.trajectory.step_start_ms).value_or(kDefaultFps);
  }
}

Status CollectCamerasStep(const StepInput& in, EpisodeData& episode) {
  const CameraInputs inputs{.metadata = episode.metadata,
                            .trajectory = episode.trajectory,
                            .annotations = in.context.annotations,
                            .episode_dir = RawFolder(in.context.options, episode.ref),
                            .conf = in.context.conf,
                            .recording_order = in.context.options.track.recording_order};
  DF_ASSIGN_OR_RETURN(episode.cameras, CollectCameras(inputs, episode.warnings));
  DF_ASSIGN_OR_RETURN(const auto calibration, in.context.annotations.Calibration(episode.ref.uuid));
  if (calibration) episode.calibration_json = calibration->raw_json;
  DF_ASSIGN_OR_RETURN(episode.language, in.context.annotations.LanguageOf(episode.ref.uuid));
  DF_ASSIGN_OR_RETURN(episode.keep_ranges,
                      in.context.annotations.KeepRangesOf(episode.ref.relative_path));
  // Only now: recordings and the metadata's length speak of the whole episode.
  if (const auto max_frames = in.context.options.track.max_frames) {
    TruncateTrajectory(episode.trajectory, static_cast<std::size_t>(*max_frames));
    for (EpisodeCamera& camera : episode.cameras) {
      const std::size_t steps = episode.trajectory.size();
      if (camera.capture_ms.size() > steps) camera.capture_ms.resize(steps);
      if (!camera.recording.chosen) continue;
      camera.pairing.step_to_frame.resize(steps);
      camera.pairing.difference_ms.resize(steps);
    }
  }
  if (episode.keep_ranges) {
    const auto steps = static_cast<std::int64_t>(episode.trajectory.size());
    for (StepRange& range : *episode.keep_ranges) range.end = std::min(range.end, steps);
    std::erase_if(*episode.keep_ranges, [](const auto& range) { return range.begin >= range.end; });
  }
  TakeFps(in.context.options.track, episode);
  return {};
}

/// Decodes the first frames of every stereo recording. What cannot be decoded is a warning.
Status MeasureRowsStep(const StepInput& in, EpisodeData& episode) {
  if (!in.context.options.track.measure_rows) return {};
  for (EpisodeCamera& camera : episode.cameras) {
    const auto& chosen = camera.recording.chosen;
    if (!chosen || !chosen->summary.info.stereo) continue;
    const Result<std::optional<RowAlignment>> rows = RowsOf(in.context, camera, *chosen);
    if (rows) {
      camera.rows = *rows;
      continue;
    }
    episode.warnings.push_back({status::kRecordingBroken,
                                fmt::format("camera {}: {}", camera.serial, rows.error().message)});
  }
  return {};
}

/// What a camera sees, and when.
CameraView ViewOf(const EpisodeCamera& camera,
                  const EpisodeData& episode,
                  const EpisodeContext& context,
                  const GripperModel& gripper,
                  std::span<const Transform> T_base_ee,
                  std::vector<Warning>& warnings) {
  CameraView view;
  if (!camera.pose) return view;
  std::span<const Transform> T_base_ee_seen = T_base_ee;
  RobotStates at_capture;
  if (context.options.track.pose_time == PoseTime::kCapture) {
    if (camera.capture_ms.empty() || episode.trajectory.step_start_ms.empty()) {
      warnings.push_back({status::kNoTimestamps,
                          fmt::format("camera {}: no capture times, poses are those of the steps",
                                      camera.serial)});
    } else {
      at_capture = InterpolateAt(T_base_ee,
                                 episode.trajectory.gripper_position,
                                 episode.trajectory.step_start_ms,
                                 camera.capture_ms);
      T_base_ee_seen = at_capture.T_base_ee;
      view.track.emplace(
          at_capture.T_base_ee, at_capture.gripper_position, gripper, episode.pad_points_m);
    }
  }
  if (!camera.is_wrist()) {
    view.T_base_cam = {*camera.pose};
    return view;
  }
  for (const Transform& T_base_ee_t : T_base_ee_seen) {
    view.T_base_cam.push_back(T_base_ee_t * *camera.pose);
  }
  return view;
}

Status ComputeTracksStep(const StepInput& in, EpisodeData& episode) {
  const TrackOptions& options = in.context.options.track;
  const std::vector<Transform> T_base_ee = EePoses(episode.trajectory);
  episode.pad_points_m = in.context.pad_points_m;
  DF_RETURN_IF_ERROR(ComputeTracks(options, T_base_ee, episode));
  episode.idle_ranges = FindIdleRanges(episode.trajectory,
                                       episode.plan.cumulative_distance_m,
                                       episode.fps,
                                       options.idle_speed_mm_per_s / 1000.0);
  const GripperModel gripper = GripperOf(options);
  for (const EpisodeCamera& camera : episode.cameras) {
    episode.views.push_back(
        ViewOf(camera, episode, in.context, gripper, T_base_ee, episode.warnings));
  }
  return {};
}

Status WriteTracksStep(const StepInput& in, EpisodeData& episode) {
  return WriteTracksNpz(episode, in.context.options.track, in.directory / kTracksFile);
}

Status WriteExtrinsicsStep(const StepInput& in, EpisodeData& episode) {
  return WriteExtrinsicsNpz(
      episode, in.context.options.track.compress, in.directory / kExtrinsicsFile);
}

Status WriteVideoStep(const StepInput& in, EpisodeData& episode) {
  return WriteVideoJson(episode, in.directory);
}

Status WriteIntrinsicsStep(const StepInput& in, EpisodeData& episode) {
  return WriteIntrinsicsJson(episode, in.directory);
}

/// Milliseconds of a stage over all cameras.
double SumOf(const std::vector<CameraDepth>& cameras, double DepthReport::*seconds) {
  double sum_s = 0;
  for (const CameraDepth& camera : cameras) sum_s += camera.report ? (*camera.report).*seconds : 0;
  return 1000 * sum_s;
}

Status MakeDepthStep(const StepInput& in, EpisodeData& episode) {
  if (!in.make_depth) return {};
  DF_ASSIGN_OR_RETURN(episode.depth, in.make_depth(episode, in.directory));
  episode.stages.push_back({"decode", SumOf(*episode.depth, &DepthReport::decode_s)});
  episode.stages.push_back({"match", SumOf(*episode.depth, &DepthReport::match_s)});
  episode.stages.push_back({"encode", SumOf(*episode.depth, &DepthReport::encode_s)});
  episode.stages.push_back({"wait", SumOf(*episode.depth, &DepthReport::wait_s)});
  for (const CameraDepth& camera : *episode.depth) {
    if (camera.report) continue;
    episode.warnings.push_back(
        {status::kNoDepth, fmt::format("camera {}: no depth: {}", camera.serial, camera.reason)});
  }
  DF_ASSIGN_OR_RETURN(episode.depth_status,
                      JudgeDepth(in.context.options.full.require_depth, *episode.depth));
  return {};
}

/// Whether a recording was read to its end.
bool IsDecoded(const EpisodeData& episode, const EpisodeCamera& camera) {
  return episode.depth && std::ranges::any_of(*episode.depth, [&](const CameraDepth& depth) {
           return depth.serial == camera.serial && depth.report.has_value();
         });
}

/// All that was read. Of a recording that was only looked into, size and time must do, or what its
/// bucket says: there may be nothing behind its head.
Status DescribeSourcesStep(const StepInput& in, EpisodeData& episode) {
  const fs::path dir = RawFolder(in.context.options, episode.ref);
  const bool is_fetched = dir.native().starts_with(FetchedFolder(in.context.options).native());
  std::vector<SourceEntry> listed;
  if (is_fetched) {
    DF_ASSIGN_OR_RETURN(listed, ReadListing(dir / kListedFile));
  }
  const auto add = [&](const fs::path& path, std::string name, bool whole) -> Status {
    SourceFile source{.file = std::move(name)};
    if (whole) {
      DF_ASSIGN_OR_RETURN(source.sha256, Sha256OfFile(path));
    }
    DF_ASSIGN_OR_RETURN(const FileStamp stamp, StampOfFile(path));
    source.size_bytes = stamp.size_bytes;
    if (!whole && !is_fetched) source.modified_unix_ms = stamp.mtime_ns / 1'000'000;
    if (!whole && is_fetched) {
      const auto entry = std::ranges::find(listed, source.file, &SourceEntry::name);
      if (entry != listed.end()) source.listed = *entry;
    }
    episode.sources.push_back(std::move(source));
    return {};
  };
  DF_ASSIGN_OR_RETURN(const fs::path metadata, FindMetadataFile(dir));
  DF_RETURN_IF_ERROR(add(metadata, metadata.filename().string(), /*whole=*/true));
  DF_RETURN_IF_ERROR(add(dir / "trajectory.h5", "trajectory.h5", /*whole=*/true));
  for (const EpisodeCamera& camera : episode.cameras) {
    const auto& chosen = camera.recording.chosen;
    if (chosen) {
      DF_RETURN_IF_ERROR(add(chosen->path, chosen->name, IsDecoded(episode, camera)));
    }
    for (const std::string& name : camera.recording.opened) {
      if (!chosen || name != chosen->name) DF_RETURN_IF_ERROR(add(dir / name, name, false));
    }
    if (const auto& times = camera.frame_times_file) {
      DF_RETURN_IF_ERROR(add(*times, times->lexically_relative(dir).string(), /*whole=*/true));
    }
    const bool knows_itself = chosen && !chosen->summary.info.serial.empty();
    const std::string& serial = knows_itself ? chosen->summary.info.serial : camera.serial;
    const fs::path conf = fmt::format("SN{}.conf", serial);
    if (in.context.conf.contains(serial)) {
      DF_RETURN_IF_ERROR(
          add(in.context.options.input.conf_dir / conf, conf.string(), /*whole=*/true));
    }
  }
  return {};
}

Status WriteQualityStep(const StepInput& in, EpisodeData& episode) {
  return WriteQualityJson(episode,
                          in.context.config_json,
                          FormatProvenance(in.context.run_provenance, episode.sources),
                          in.directory / kQualityFile);
}

struct Step {
  const char* name;  ///< also the stage in timings and reports
  bool for_tracks;
  bool for_intrinsics;
  Status (*run)(const StepInput&, EpisodeData&);
};

/// In order: each needs what those before it filled in. A new product is a new row.
constexpr Step kSteps[] = {
    {"metadata", true, true, ReadMetadataStep},
    {"trajectory", true, true, ReadTrajectoryStep},
    {"cameras", true, true, CollectCamerasStep},
    {"rows", true, false, MeasureRowsStep},
    {"geometry", true, false, ComputeTracksStep},
    {"tracks", true, false, WriteTracksStep},
    {"extrinsics", true, false, WriteExtrinsicsStep},
    {"video", true, false, WriteVideoStep},
    {"intrinsics", false, true, WriteIntrinsicsStep},
    {"depth", true, false, MakeDepthStep},
    {"sources", true, false, DescribeSourcesStep},
    {"quality", true, false, WriteQualityStep},
};

}  // namespace

Result<Annotations> OpenInputs(const InputOptions& input, const fs::path& indexes) {
  DF_RETURN_IF_ERROR(CheckRoots(input));
  DF_ASSIGN_OR_RETURN(const AnnotationPaths paths, ResolveAnnotationPaths(input));
  if (!indexes.empty()) return Annotations::OpenIndexed(paths, indexes);
  return Annotations::Open(paths);
}

Result<EpisodeContext> MakeEpisodeContext(const MetadataOptions& options) {
  if (options.out.empty()) return Fail(ErrorKind::kUsage, "--out is needed");
  DF_ASSIGN_OR_RETURN(Annotations annotations,
                      OpenInputs(options.input, options.shared.annotation_indexes));
  DF_ASSIGN_OR_RETURN(ZedCalibrations conf, LoadConfFiles(options.input.conf_dir));
  DF_ASSIGN_OR_RETURN(std::vector<Vector3> pad_points_m, LoadPadPoints(options.track));
  DF_ASSIGN_OR_RETURN(std::string config_json, FormatRunConfig(options));
  const std::array caches = {fs::path(options.shared.annotation_indexes), options.RunDir()};
  DF_ASSIGN_OR_RETURN(std::vector<FileChecksum> checksums,
                      ChecksumAnnotations(annotations.paths(), caches));
  std::string run_provenance = FormatRunProvenance(config_json, checksums);
  return EpisodeContext{.options = options,
                        .annotations = std::move(annotations),
                        .conf = std::move(conf),
                        .pad_points_m = std::move(pad_points_m),
                        .config_json = std::move(config_json),
                        .annotation_checksums = std::move(checksums),
                        .run_provenance = std::move(run_provenance)};
}

Result<std::string> JudgeDepth(RequireDepth require, const std::vector<CameraDepth>& cameras) {
  const auto count = [&](auto&& is_so) { return std::ranges::count_if(cameras, is_so); };
  const auto with_depth =
      count([](const CameraDepth& camera) { return camera.report.has_value(); });
  const bool has_failed = count([](const CameraDepth& camera) { return camera.failed; }) > 0;
  const char* const name = has_failed || with_depth > 0 ? status::kNoDepth : status::kNoStereo;
  const bool is_enough = require == RequireDepth::kNone ||
                         (require == RequireDepth::kAny && (with_depth > 0 || !has_failed)) ||
                         (with_depth > 0 && with_depth == std::ssize(cameras));
  if (is_enough) return with_depth > 0 ? "" : name;
  std::string reasons;
  for (const CameraDepth& camera : cameras) {
    if (camera.report) continue;
    reasons += fmt::format("; camera {}: {}", camera.serial, camera.reason);
  }
  return FailAs(name,
                ErrorKind::kInvalidData,
                "want depth of {} camera, have it of {} of {}{}",
                require == RequireDepth::kAll ? "every" : "one",
                with_depth,
                cameras.size(),
                reasons);
}

Result<EpisodeData> CollectEpisode(const EpisodeContext& context, const EpisodeRef& ref) {
  EpisodeData episode;
  episode.ref = ref;
  for (const auto step : {ReadMetadataStep, ReadTrajectoryStep, CollectCamerasStep}) {
    DF_RETURN_IF_ERROR(step({.context = context, .directory = {}, .make_depth = {}}, episode));
  }
  return episode;
}

ProcessedEpisode ProcessEpisode(const EpisodeContext& context,
                                const EpisodeRef& ref,
                                Products products,
                                const fs::path& directory,
                                const MakeDepth& make_depth) {
  using SteadyClock = std::chrono::steady_clock;
  EpisodeData episode;
  episode.ref = ref;
  ProcessedEpisode processed;
  const StepInput in{.context = context, .directory = directory, .make_depth = make_depth};
  for (const Step& step : kSteps) {
    if (products == Products::kTracks && !step.for_tracks) continue;
    if (products == Products::kIntrinsics && !step.for_intrinsics) continue;
    const SteadyClock::time_point start = SteadyClock::now();
    processed.status = step.run(in, episode);
    const std::chrono::duration<double, std::milli> duration = SteadyClock::now() - start;
    episode.stages.push_back({step.name, duration.count()});
    if (!processed.status) {
      processed.failed_stage = step.name;
      break;
    }
  }
  processed.stages = std::move(episode.stages);
  processed.warnings = std::move(episode.warnings);
  processed.depth_status = std::move(episode.depth_status);
  return processed;
}

}  // namespace droidflow

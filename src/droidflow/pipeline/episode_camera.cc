#include "droidflow/pipeline/episode_camera.h"

#include "droidflow/episode/status.h"
#include "droidflow/io/camera_intrinsics.h"
#include "droidflow/io/recordings.h"
#include "droidflow/tracks/camera_poses.h"
#include "droidflow/video/zed_source.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include <fmt/format.h>

namespace droidflow {
namespace {

/// The wrist camera's pose in metadata and in trajectory.h5 may differ by this much, per matrix
/// entry.
constexpr double kWristTolerance = 1e-6;

constexpr int kHandCameraType = 0;

void Warn(std::vector<Warning>& warnings, const char* code, std::string text) {
  warnings.push_back({code, std::move(text)});
}

/// Who is who: the metadata, gaps filled from camera_serials.json, then from trajectory.h5.
std::map<CameraRole, std::string> FindRoles(const CameraInputs& inputs,
                                            const std::map<CameraRole, std::string>& annotated) {
  std::map<CameraRole, std::string> roles;
  for (const MetadataCamera& camera : inputs.metadata.cameras) roles[camera.role] = camera.serial;
  const auto is_taken = [&](const std::string& serial) {
    return std::ranges::any_of(roles, [&](const auto& role) { return role.second == serial; });
  };
  for (const auto& [role, serial] : annotated) {
    if (!roles.contains(role) && !is_taken(serial)) roles[role] = serial;
  }
  for (const auto& [serial, camera] : inputs.trajectory.cameras) {
    if (!camera.type || is_taken(serial)) continue;
    if (*camera.type == kHandCameraType) {
      roles.try_emplace(CameraRole::kWrist, serial);
    } else if (!roles.try_emplace(CameraRole::kExternal1, serial).second) {
      roles.try_emplace(CameraRole::kExternal2, serial);
    }
  }
  return roles;
}

const TrajectoryCamera* RecordedCamera(const CameraInputs& inputs, const std::string& serial) {
  const auto found = inputs.trajectory.cameras.find(serial);
  return found == inputs.trajectory.cameras.end() ? nullptr : &found->second;
}

/// Where a camera's pose may be known from.
struct PoseSource {
  std::string what;
  std::string source;  ///< as docs/formats.md names it
  std::optional<Transform> pose;
  std::string finding;
  std::optional<CalibrationMetric> metric = {};
};

/// Takes the first pose.
void TakePose(const std::vector<PoseSource>& sources, EpisodeCamera& camera) {
  for (const PoseSource& source : sources) {
    const bool is_first = source.pose && !camera.pose;
    camera.pose_sources.push_back({source.what, source.finding, is_first});
    if (!is_first) continue;
    camera.pose = source.pose;
    camera.extrinsics_source = source.source;
    camera.metric = source.metric;
  }
}

PoseSource AnnotatedPose(const std::optional<EpisodeCalibration>& calibration,
                         const std::string& serial,
                         std::string_view file,
                         const std::string& source) {
  PoseSource found{source + ".json", source, std::nullopt, "no entry"};
  if (!calibration) return found;
  for (const auto* cameras : {&calibration->cameras, &calibration->passed_over}) {
    for (const CameraCalibration& annotated : *cameras) {
      if (annotated.serial != serial || annotated.file != file) continue;
      found.pose = TransformFromPoseVector(annotated.pose);
      found.finding = "no metric";
      if (annotated.metric_value) {
        found.metric = {annotated.metric_type, *annotated.metric_value};
        found.finding =
            fmt::format("{} {:.6g}", ToString(annotated.metric_type), *annotated.metric_value);
      }
      if (!annotated.source.empty()) found.finding += fmt::format(", {}", annotated.source);
    }
  }
  return found;
}

/// A pose of metadata or trajectory.h5, which have no metric.
template <typename ToPose>
PoseSource StatedPose(std::string what,
                      const char* source,
                      const std::optional<PoseVector>& stated,
                      const ToPose& to_pose) {
  if (!stated) return {std::move(what), source, std::nullopt, "has none"};
  return {std::move(what), source, to_pose(TransformFromPoseVector(*stated)), "has one"};
}

std::optional<PoseVector> StatedBy(const MetadataCamera* camera) {
  return camera == nullptr ? std::nullopt : camera->extrinsics;
}

/// Takes the best known pose of an external camera: annotation, metadata, trajectory.h5.
void PlaceExternal(const CameraInputs& inputs,
                   const std::optional<EpisodeCalibration>& calibration,
                   EpisodeCamera& camera) {
  const TrajectoryCamera* recorded = RecordedCamera(inputs, camera.serial);
  const auto as_it_is = [](const Transform& pose) { return pose; };
  TakePose(
      {AnnotatedPose(calibration, camera.serial, "superset", "cam2base_extrinsic_superset"),
       AnnotatedPose(calibration, camera.serial, "cam2base", "cam2base_extrinsics"),
       StatedPose(
           "metadata", "metadata", StatedBy(inputs.metadata.FindCamera(camera.serial)), as_it_is),
       StatedPose("trajectory.h5",
                  "trajectory",
                  recorded == nullptr ? std::nullopt : recorded->left_base,
                  as_it_is)},
      camera);
}

/// Takes the wrist camera's pose in ee, and holds it against what trajectory.h5 says of it.
void PlaceWrist(const CameraInputs& inputs, EpisodeCamera& camera, std::vector<Warning>& warnings) {
  const Transform T_base_ee = TransformFromPoseVector(inputs.trajectory.cartesian_position.front());
  const TrajectoryCamera* recorded = RecordedCamera(inputs, camera.serial);
  const auto in_ee = [&](const Transform& pose) { return HandCameraInEe(T_base_ee, pose); };
  std::optional<PoseVector> in_hand;
  if (recorded != nullptr && !recorded->left_ee.empty()) in_hand = recorded->left_ee.front();
  TakePose({StatedPose(
                "metadata", "metadata", StatedBy(inputs.metadata.FindCamera(camera.serial)), in_ee),
            StatedPose("trajectory.h5, in the hand",
                       "trajectory",
                       in_hand,
                       [](const Transform& pose) { return pose; }),
            StatedPose("trajectory.h5, in base",
                       "trajectory",
                       recorded == nullptr ? std::nullopt : recorded->left_base,
                       in_ee)},
           camera);
  if (!camera.pose || recorded == nullptr) return;
  double worst = 0;
  for (const PoseVector& left_ee : recorded->left_ee) {
    const Eigen::Matrix4d difference =
        TransformFromPoseVector(left_ee).matrix() - camera.pose->matrix();
    worst = std::max(worst, difference.cwiseAbs().maxCoeff());
  }
  if (worst > kWristTolerance) {
    Warn(warnings,
         status::kWristCalibration,
         fmt::format(
             "camera {}: its pose in the hand differs between {} and trajectory.h5 by up to {:.3g}",
             camera.serial,
             camera.extrinsics_source,
             worst));
  }
}

/// When the frames of the chosen recording were taken: its own times, else the list beside an MP4.
std::vector<std::int64_t> FrameTimesNs(const CameraRecordings& files,
                                       EpisodeCamera& camera,
                                       std::vector<Warning>& warnings) {
  const ChosenRecording& chosen = *camera.recording.chosen;
  const bool is_mp4 = chosen.summary.format == RecordingFormat::kMp4;
  if (!is_mp4 || !files.timestamps_json) return chosen.summary.frame_times_ns;
  const auto useless = [&](const std::string& why) {
    Warn(warnings, status::kFrameTimes, fmt::format("camera {}: {}", camera.serial, why));
    return std::vector<std::int64_t>();
  };
  camera.frame_times_file = files.timestamps_json;
  Result<std::vector<std::int64_t>> times_ms = ReadFrameTimesMs(*files.timestamps_json);
  if (!times_ms) return useless(times_ms.error().message);
  const auto frames = static_cast<std::size_t>(chosen.summary.info.frame_count.value_or(0));
  if (times_ms->size() != frames) {
    return useless(fmt::format("{} times for {} frames: {}",
                               times_ms->size(),
                               frames,
                               files.timestamps_json->filename().string()));
  }
  for (std::int64_t& time : *times_ms) {
    constexpr std::int64_t kMax_ms = std::numeric_limits<std::int64_t>::max() / 1'000'000;
    time = std::clamp(time, -kMax_ms, kMax_ms) * 1'000'000;
  }
  return *std::move(times_ms);
}

/// Chooses the camera's recording and pairs its frames with the steps.
Status FindRecording(const std::map<std::string, CameraRecordings>& recordings,
                     const CameraInputs& inputs,
                     EpisodeCamera& camera,
                     std::vector<Warning>& warnings) {
  if (recordings.empty()) return {};  // said once for the episode
  const auto files = recordings.find(camera.serial);
  if (files == recordings.end()) {
    Warn(
        warnings, status::kRecordingMissing, fmt::format("camera {}: no recording", camera.serial));
    return {};
  }
  DF_ASSIGN_OR_RETURN(camera.recording,
                      ChooseRecording(files->second, camera.serial, inputs.recording_order));
  warnings.insert(
      warnings.end(), camera.recording.warnings.begin(), camera.recording.warnings.end());
  if (!camera.recording.chosen) return {};
  const RecordingSummary& summary = camera.recording.chosen->summary;
  const auto steps = static_cast<std::int64_t>(inputs.trajectory.size());
  if (const auto frames = summary.info.frame_count; frames && !FramesFitSteps(*frames, steps)) {
    Warn(warnings,
         status::kFrameCount,
         fmt::format("camera {}: {} frames for {} steps", camera.serial, *frames, steps));
  }
  camera.frame_ns = FrameTimesNs(files->second, camera, warnings);
  const TrajectoryCamera* recorded = RecordedCamera(inputs, camera.serial);
  FrameClocks clocks{.steps = inputs.trajectory.size(),
                     .received_ms = {},
                     .step_start_ms = inputs.trajectory.step_start_ms,
                     .frame_ns = camera.frame_ns,
                     .frame_count = summary.info.frame_count};
  if (recorded != nullptr) clocks.received_ms = recorded->frame_received_ms;
  camera.pairing = PairFrames(clocks);
  if (camera.pairing.times_disagree) {
    Warn(warnings,
         status::kFrameTimes,
         fmt::format("camera {}: its frames' times fit fewer than half of the steps, frames are "
                     "paired by index",
                     camera.serial));
  }
  return {};
}

/// What the ZED SDK makes of a raw recording, in builds that have it: its frames come from it then.
Result<std::optional<ZedIntrinsics>> AskZedSdk(const EpisodeCamera& camera,
                                               std::vector<Warning>& warnings) {
  const auto& chosen = camera.recording.chosen;
  if (!ZedSdkBuiltIn() || !chosen || chosen->summary.info.rectified) return std::nullopt;
  const Result<ZedIntrinsics> sdk = ReadZedIntrinsics(chosen->path);
  if (sdk) return *sdk;
  if (sdk.error().kind == ErrorKind::kTransient) return tl::unexpected(sdk.error());
  // Without a GPU the recording is read as in builds without the SDK.
  if (sdk.error().kind != ErrorKind::kUnsupported) {
    Warn(warnings,
         status::kRecordingBroken,
         fmt::format("camera {}: {}", camera.serial, sdk.error().message));
  }
  return std::nullopt;
}

/// The factory calibration of the camera that recorded: by the serial in an SVO2 file, which is the
/// camera's own, else by the recording's name.
struct ConfOfCamera {
  const ZedCalibration* conf = nullptr;
  bool by_header = false;
};

ConfOfCamera FindConf(const CameraInputs& inputs,
                      const EpisodeCamera& camera,
                      std::vector<Warning>& warnings) {
  const auto find = [&](const std::string& serial) {
    const auto found = inputs.conf.find(serial);
    return found == inputs.conf.end() ? nullptr : &found->second;
  };
  if (camera.recording.chosen && !camera.recording.chosen->summary.info.serial.empty()) {
    const std::string& serial = camera.recording.chosen->summary.info.serial;
    if (serial != camera.serial) {
      Warn(warnings,
           status::kSerialMismatch,
           fmt::format("camera {}: its recording says that camera {} made it: {}",
                       camera.serial,
                       serial,
                       camera.recording.chosen->path.filename().string()));
    }
    return {.conf = find(serial), .by_header = true};
  }
  return {.conf = find(camera.serial), .by_header = false};
}

}  // namespace

Result<std::vector<EpisodeCamera>> CollectCameras(const CameraInputs& inputs,
                                                  std::vector<Warning>& warnings) {
  const std::string& uuid = inputs.metadata.uuid;
  DF_ASSIGN_OR_RETURN(const auto annotated_serials, inputs.annotations.SerialsOf(uuid));
  DF_ASSIGN_OR_RETURN(const auto calibration, inputs.annotations.Calibration(uuid));
  DF_ASSIGN_OR_RETURN(const auto annotated_intrinsics, inputs.annotations.IntrinsicsOf(uuid));
  DF_ASSIGN_OR_RETURN(const auto recordings, FindRecordings(inputs.episode_dir));
  if (recordings.empty()) Warn(warnings, status::kNoRecordings, "the episode has no recordings");

  std::vector<EpisodeCamera> cameras;
  for (const auto& [role, serial] : FindRoles(inputs, annotated_serials)) {
    EpisodeCamera& camera = cameras.emplace_back();
    camera.role = role;
    camera.serial = serial;
  }
  if (calibration) {
    warnings.insert(warnings.end(), calibration->warnings.begin(), calibration->warnings.end());
    // Externals in the order of the entry; those it does not have stay where they are, behind.
    const auto place_in_entry = [&](const EpisodeCamera& camera) {
      std::size_t place = 0;
      while (place < calibration->cameras.size() &&
             calibration->cameras[place].serial != camera.serial) {
        ++place;
      }
      return place;
    };
    std::ranges::stable_sort(cameras, {}, [&](const EpisodeCamera& camera) {
      return std::pair(camera.is_wrist(), camera.is_wrist() ? 0 : place_in_entry(camera));
    });
    for (const CameraCalibration& annotated : calibration->cameras) {
      const bool known = std::ranges::any_of(
          cameras, [&](const EpisodeCamera& camera) { return camera.serial == annotated.serial; });
      if (!known) {
        Warn(warnings,
             status::kStaleSerial,
             fmt::format("camera {} is calibrated but not on this robot", annotated.serial));
      }
    }
  }

  for (EpisodeCamera& camera : cameras) {
    if (camera.is_wrist()) {
      PlaceWrist(inputs, camera, warnings);
    } else {
      PlaceExternal(inputs, calibration, camera);
    }
    if (!camera.pose) {
      Warn(warnings,
           status::kNoExtrinsics,
           fmt::format("camera {}: its pose is not known", camera.serial));
    }
    const TrajectoryCamera* recorded = RecordedCamera(inputs, camera.serial);
    if (recorded != nullptr) camera.capture_ms = recorded->estimated_capture_ms;
    DF_RETURN_IF_ERROR(FindRecording(recordings, inputs, camera, warnings));
    const auto [conf, by_header] = FindConf(inputs, camera, warnings);

    DF_ASSIGN_OR_RETURN(const std::optional<ZedIntrinsics> sdk, AskZedSdk(camera, warnings));
    IntrinsicsSources sources;
    if (sdk) sources.sdk = sdk->intrinsics;
    if (const auto found = annotated_intrinsics.find(camera.serial);
        found != annotated_intrinsics.end()) {
      sources.annotated = found->second;
    }
    if (recorded != nullptr) sources.trajectory = recorded->intrinsics;
    sources.conf = conf;
    sources.conf_by_header = by_header;
    if (camera.recording.chosen) {
      const SourceInfo& info = camera.recording.chosen->summary.info;
      sources.recording = ImageSize{info.width_px, info.height_px};
    }
    Result<ChosenIntrinsics> chosen = ChooseIntrinsics(sources, &camera.intrinsics_sources);
    if (!chosen) {
      if (chosen.error().kind != ErrorKind::kNotFound)
        return tl::unexpected(std::move(chosen).error());
      Warn(warnings,
           status::kNoIntrinsics,
           fmt::format("camera {}: {}", camera.serial, chosen.error().message));
      continue;
    }
    camera.intrinsics = chosen->intrinsics;
    camera.intrinsics_source = chosen->source;
    camera.approximate_intrinsics = chosen->approximate;
    if (sdk) {
      camera.baseline_m = sdk->baseline_m;
      camera.baseline_source = "zed_sdk";
      continue;
    }
    const Baseline baseline = ChooseBaseline(conf, recorded, camera.role, chosen->intrinsics);
    camera.baseline_m = baseline.baseline_m;
    camera.baseline_source = baseline.source;
  }
  return cameras;
}

}  // namespace droidflow

#include "droidflow/pipeline/episode_camera.h"

#include "droidflow/episode/status.h"
#include "droidflow/formats/mp4_header.h"
#include "droidflow/io/camera_intrinsics.h"
#include "droidflow/io/recordings.h"
#include "droidflow/tracks/camera_poses.h"

#include <algorithm>
#include <cmath>
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

/// Takes the best known pose of an external camera: annotation, metadata, trajectory.h5.
void PlaceExternal(const CameraInputs& inputs,
                   const std::optional<EpisodeCalibration>& calibration,
                   EpisodeCamera& camera) {
  if (calibration) {
    for (const CameraCalibration& annotated : calibration->cameras) {
      if (annotated.serial != camera.serial) continue;
      camera.pose = TransformFromPoseVector(annotated.pose);
      camera.extrinsics_source =
          annotated.file == "superset" ? "cam2base_extrinsic_superset" : "cam2base_extrinsics";
      if (annotated.metric_value) camera.metric = {annotated.metric_type, *annotated.metric_value};
      return;
    }
  }
  const MetadataCamera* stated = inputs.metadata.FindCamera(camera.serial);
  if (stated != nullptr && stated->extrinsics) {
    camera.pose = TransformFromPoseVector(*stated->extrinsics);
    camera.extrinsics_source = "metadata";
    return;
  }
  const TrajectoryCamera* recorded = RecordedCamera(inputs, camera.serial);
  if (recorded != nullptr && recorded->left_base) {
    camera.pose = TransformFromPoseVector(*recorded->left_base);
    camera.extrinsics_source = "trajectory";
  }
}

/// Takes the wrist camera's pose in ee, and holds it against what trajectory.h5 says of it.
void PlaceWrist(const CameraInputs& inputs, EpisodeCamera& camera, std::vector<Warning>& warnings) {
  const Transform T_base_ee = TransformFromPoseVector(inputs.trajectory.cartesian_position.front());
  const MetadataCamera* stated = inputs.metadata.FindCamera(camera.serial);
  const TrajectoryCamera* recorded = RecordedCamera(inputs, camera.serial);
  if (stated != nullptr && stated->extrinsics) {
    camera.pose = HandCameraInEe(T_base_ee, TransformFromPoseVector(*stated->extrinsics));
    camera.extrinsics_source = "metadata";
  } else if (recorded != nullptr && !recorded->left_ee.empty()) {
    camera.pose = TransformFromPoseVector(recorded->left_ee.front());
    camera.extrinsics_source = "trajectory";
  } else if (recorded != nullptr && recorded->left_base) {
    camera.pose = HandCameraInEe(T_base_ee, TransformFromPoseVector(*recorded->left_base));
    camera.extrinsics_source = "trajectory";
  }
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

/// What the recording's header says; nothing where there is none that can be read.
std::optional<Mp4Header> ReadRecording(const std::map<std::string, CameraRecordings>& recordings,
                                       std::int64_t steps,
                                       EpisodeCamera& camera,
                                       std::vector<Warning>& warnings) {
  if (recordings.empty()) return std::nullopt;  // said once for the episode
  const auto found = recordings.find(camera.serial);
  if (found == recordings.end()) {
    Warn(
        warnings, status::kRecordingMissing, fmt::format("camera {}: no recording", camera.serial));
    return std::nullopt;
  }
  std::optional<Mp4Header> header;
  for (const RecordingFile& file : found->second.files) {
    const std::string name = file.path.filename().string();
    if (file.size_bytes == 0) {
      Warn(warnings,
           status::kRecordingBroken,
           fmt::format("camera {}: zero bytes: {}", camera.serial, name));
      continue;
    }
    const bool is_mp4 =
        file.kind == RecordingKind::kMonoMp4 || file.kind == RecordingKind::kStereoMp4;
    if (!is_mp4 || header) continue;
    Result<Mp4Header> read = ReadMp4Header(file.path);
    if (!read) {
      Warn(warnings,
           status::kRecordingBroken,
           fmt::format("camera {}: {}", camera.serial, read.error().message));
      continue;
    }
    header = *std::move(read);
    // Two eyes side by side: a name without "-stereo" is no promise, the shape is.
    if (header->width_px > 2 * header->height_px) header->width_px /= 2;
  }
  if (!header) return std::nullopt;
  camera.recording_frames = header->frame_count;
  if (header->frame_count != steps && header->frame_count != steps - 1) {
    Warn(warnings,
         status::kFrameCount,
         fmt::format(
             "camera {}: {} frames for {} steps", camera.serial, header->frame_count, steps));
  }
  return header;
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
    const std::optional<Mp4Header> recording = ReadRecording(
        recordings, static_cast<std::int64_t>(inputs.trajectory.size()), camera, warnings);
    const auto conf_entry = inputs.conf.find(camera.serial);
    const ZedCalibration* conf = conf_entry == inputs.conf.end() ? nullptr : &conf_entry->second;

    IntrinsicsSources sources;
    if (const auto found = annotated_intrinsics.find(camera.serial);
        found != annotated_intrinsics.end()) {
      sources.annotated = found->second;
    }
    if (recorded != nullptr) sources.trajectory = recorded->intrinsics;
    sources.conf = conf;
    if (recording) sources.recording = ImageSize{recording->width_px, recording->height_px};
    Result<ChosenIntrinsics> chosen = ChooseIntrinsics(sources);
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
    const Baseline baseline = ChooseBaseline(conf, recorded, camera.role, chosen->intrinsics);
    camera.baseline_m = baseline.baseline_m;
    camera.baseline_source = baseline.source;
  }
  return cameras;
}

}  // namespace droidflow

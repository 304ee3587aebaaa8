#include "droidflow/pipeline/synth.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/episode/episode.h"
#include "droidflow/episode/status.h"
#include "droidflow/formats/mp4_writer.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/geometry/rectification.h"
#include "droidflow/io/calibration_reader.h"
#include "droidflow/io/camera_intrinsics.h"
#include "droidflow/io/trajectory_writer.h"
#include "droidflow/pipeline/synth_random.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numbers>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr double kPi = std::numbers::pi;
constexpr double kZed2Baseline_m = 0.12;
constexpr double kMiniBaseline_m = 0.063;
constexpr int kStep_ms = 70;
constexpr int kReceivedBeforeStep_ms = 15;
constexpr int kCapturedBeforeStep_ms = 56;
constexpr std::int64_t kTransfer_ns = 300'000;  ///< from a frame's own time to frame_received

constexpr std::array<const char*, 4> kLabs = {"AUTOLab", "IRIS", "REAL", "TRI"};

/// The inverse of TransformFromPoseVector, away from pitch = 90 degrees.
PoseVector PoseVectorFrom(const Transform& pose) {
  const Matrix3 R = pose.linear();
  const Vector3 p = pose.translation();
  return {p.x(),
          p.y(),
          p.z(),
          std::atan2(R(2, 1), R(2, 2)),
          std::asin(std::clamp(-R(2, 0), -1.0, 1.0)),
          std::atan2(R(1, 0), R(0, 0))};
}

/// Pose in base of a camera at `eye_m` that looks at `target_m`, upright.
Transform LookAt(const Vector3& eye_m, const Vector3& target_m) {
  const Vector3 z = (target_m - eye_m).normalized();
  const Vector3 x = z.cross(Vector3::UnitZ()).normalized();
  Transform T_base_cam = Transform::Identity();
  T_base_cam.linear().col(0) = x;
  T_base_cam.linear().col(1) = z.cross(x);
  T_base_cam.linear().col(2) = z;
  T_base_cam.translation() = eye_m;
  return T_base_cam;
}

struct SynthCamera {
  CameraRole role;
  std::string serial;
  Transform pose;  ///< external: T_base_cam; wrist: T_ee_cam
  double baseline_m;
  double fx_px;
  double cx_px;
  double cy_px;

  /// Of the rectified camera, at a resolution of ZED's.
  [[nodiscard]] Intrinsics IntrinsicsAt(ImageSize size) const {
    const Intrinsics hd{.fx_px = fx_px,
                        .fy_px = fx_px,
                        .cx_px = cx_px,
                        .cy_px = cy_px,
                        .width_px = 1280,
                        .height_px = 720};
    return IntrinsicsAtSize(hd, size).value();
  }
};

/// One robot with its three cameras; every lab has one.
struct Station {
  std::string lab;
  std::vector<SynthCamera> cameras;  ///< ext1, ext2, wrist
};

Station MakeStation(std::size_t index, SynthRandom& random) {
  const Vector3 work_m(0.5, 0, 0.15);
  const auto serial = [&](std::size_t k) {
    return fmt::format("{}", 20000000 + 1000 * index + 100 * k + 7);
  };
  const auto camera = [&](CameraRole role, int k, const Transform& pose, bool mini) {
    return SynthCamera{.role = role,
                       .serial = serial(k),
                       .pose = pose,
                       .baseline_m = mini ? kMiniBaseline_m : kZed2Baseline_m,
                       .fx_px = mini ? random.Uniform(705, 735) : random.Uniform(518, 532),
                       .cx_px = 640 + random.Uniform(-10, 10),
                       .cy_px = 360 + random.Uniform(-10, 10)};
  };
  // The wrist camera sits beside the flange and looks along the fingers.
  Transform T_ee_cam = Transform::Identity();
  // About where real episodes have it.
  T_ee_cam.linear() = RotationZ(-kPi / 2) * RotationX(random.Uniform(-0.35, -0.25));
  T_ee_cam.translation() = Vector3(-0.07, 0.029, 0.02);
  return {.lab = kLabs[index],
          .cameras = {
              camera(CameraRole::kExternal1,
                     1,
                     LookAt({random.Uniform(0.1, 0.3), random.Uniform(0.5, 0.8), 0.45}, work_m),
                     false),
              camera(CameraRole::kExternal2,
                     2,
                     LookAt({random.Uniform(0.1, 0.3), random.Uniform(-0.8, -0.5), 0.4}, work_m),
                     false),
              camera(CameraRole::kWrist, 3, T_ee_cam, true)}};
}

/// A smooth way through random points of the work space, with rests, and a gripper that closes and
/// opens.
void MakeMotion(int steps, SynthRandom& random, Trajectory& trajectory) {
  struct Way {
    std::array<double, 6> pose;
    double gripper;
  };
  const auto pick = [&] {
    return Way{{random.Uniform(0.35, 0.65),
                random.Uniform(-0.25, 0.25),
                random.Uniform(0.22, 0.45),
                kPi + random.Uniform(-0.15, 0.15),
                random.Uniform(-0.15, 0.15),
                random.Uniform(-0.6, 0.6)},
               random.Uniform(0, 1) < 0.5 ? random.Uniform(0, 0.1) : random.Uniform(0.6, 1.0)};
  };
  Way from = pick();
  Way to = pick();
  int begin = 0;
  int move = 0;
  int rest = 0;
  for (int t = 0; t < steps; ++t) {
    if (t >= begin + move + rest) {
      begin = t;
      move = static_cast<int>(random.Uniform(15, 40));
      rest = static_cast<int>(random.Uniform(0, 8));
      from = to;
      to = pick();
    }
    const double x = std::min(1.0, static_cast<double>(t - begin) / move);
    const double s = x * x * x * (10 - 15 * x + 6 * x * x);  // least jerk
    PoseVector pose;
    for (std::size_t i = 0; i < pose.size(); ++i) {
      const double noise = (i < 3 ? 5e-5 : 2e-4) * random.Normal();
      pose[i] = from.pose[i] + s * (to.pose[i] - from.pose[i]) + noise;
    }
    for (std::size_t i = 3; i < 6; ++i) pose[i] = std::remainder(pose[i], 2 * kPi);
    trajectory.cartesian_position.push_back(pose);
    trajectory.gripper_position.push_back(from.gripper + s * (to.gripper - from.gripper));
  }
}

/// What makes an episode differ from a good one.
struct Twist {
  std::string kind = {};
  std::string expected = {};
  std::string outcome = "done";
  std::optional<int> steps = {};
  bool with_action = true;
  int metadata_length_off = 0;
  int frames_off = 0;
  bool recordings = true;
  bool calibrated = true;  ///< extrinsics anywhere
  bool known_intrinsics = true;
  bool empty_entry = false;  ///< in the superset: {}
  bool stale_annotation = false;
  /// Changes what is written to the trajectory.
  std::function<void(TrajectoryRecord&)> change_record = {};
  /// Breaks the finished folder.
  std::function<Status(const fs::path&)> breakage = {};
};

struct SynthAnnotations {
  Json superset = Json::object();
  Json cam2base = Json::object();
  Json intrinsics = Json::object();
  Json paths = Json::object();
  Json serials = Json::object();
  Json language = Json::object();
  Json keep_ranges = Json::object();
};

class Synthesizer {
 public:
  Synthesizer(fs::path directory, const SynthOptions& options)
      : directory_(std::move(directory)), options_(options), random_(options.seed) {
    for (std::size_t i = 0; i < kLabs.size(); ++i) stations_.push_back(MakeStation(i, random_));
  }

  Result<SynthReport> Run() {
    if (fs::exists(directory_ / "raw")) {
      return Fail(ErrorKind::kUsage,
                  "want a new folder, this one holds raw/ already: {}",
                  directory_.string());
    }
    DF_RETURN_IF_ERROR(MakeConfTexts());
    for (int i = 0; i < options_.episodes; ++i) {
      DF_ASSIGN_OR_RETURN(const EpisodeRef ref, WriteEpisode(Twist{}));
      report_.uuids.push_back(ref.uuid);
    }
    if (options_.faults) DF_RETURN_IF_ERROR(WriteFaults());
    DF_RETURN_IF_ERROR(WriteConfFiles());
    DF_RETURN_IF_ERROR(WriteAnnotations());
    return report_;
  }

 private:
  /// A moment for each episode; one every 26 hours from a fixed day on.
  std::chrono::sys_seconds NextTime() {
    using namespace std::chrono_literals;
    const std::chrono::sys_seconds first =
        std::chrono::sys_days{std::chrono::year{2023} / 7 / 3} + 9h;
    return first + (26h + 7min + 11s) * count_;
  }

  /// The station as calibration says that it is.
  [[nodiscard]] Station MisplaceCameras(Station station, std::size_t index) const {
    SynthRandom random(options_.seed + 7919 * (index + 1));
    const auto direction = [&] {
      // Within the ball, for all directions to be as likely.
      for (;;) {
        const double x = random.Uniform(-1, 1);
        const double y = random.Uniform(-1, 1);
        const double z = random.Uniform(-1, 1);
        const Vector3 v(x, y, z);
        if (v.norm() > 0.1 && v.norm() < 1) return Vector3(v.normalized());
      }
    };
    if (options_.extrinsics_error_cm == 0 && options_.extrinsics_error_deg == 0) return station;
    for (SynthCamera& camera : station.cameras) {
      camera.pose.translation() += options_.extrinsics_error_cm / 100 * direction();
      const Vector3 turn_rad = options_.extrinsics_error_deg * kPi / 180 * direction();
      camera.pose.linear() = camera.pose.linear() * RotationFromVector(turn_rad);
    }
    return station;
  }

  /// Where someone who walks to and fro behind the table is at a step.
  [[nodiscard]] Vector3 PasserAt(double step) const {
    constexpr double kToAndFro_steps = 90;
    constexpr double kFar_m = 1.2;
    const double start = static_cast<double>(options_.seed % 9) / 9;
    const double turns = step / kToAndFro_steps + start;
    const double part = turns - std::floor(turns);
    return {1.35,
            kFar_m * (4 * std::abs(part - 0.5) - 1),
            SynthScene::kFloor_m + SynthScene::kPasserHeight_m / 2};
  }

  /// Where everything was so many frames before a step.
  [[nodiscard]] SynthHand HandBefore(const Trajectory& trajectory, std::size_t step) const {
    const double last = static_cast<double>(trajectory.size()) - 1;
    const double at =
        std::clamp(static_cast<double>(step) - options_.time_offset_frames, 0.0, last);
    const auto before = static_cast<std::size_t>(at);
    const std::size_t after = std::min(before + 1, trajectory.size() - 1);
    const double weight = at - static_cast<double>(before);
    const auto& position = trajectory.gripper_position;
    return {weight == 0
                ? TransformFromPoseVector(trajectory.cartesian_position[before])
                : InterpolatePose(TransformFromPoseVector(trajectory.cartesian_position[before]),
                                  TransformFromPoseVector(trajectory.cartesian_position[after]),
                                  weight),
            position[before] + weight * (position[after] - position[before]),
            options_.passer_by ? std::optional(PasserAt(at)) : std::nullopt};
  }

  Result<EpisodeRef> WriteEpisode(const Twist& twist) {
    const std::size_t index = static_cast<std::size_t>(count_);
    const Station& real = stations_[index % stations_.size()];
    const Station station = MisplaceCameras(real, index);
    const std::chrono::sys_seconds time = NextTime();
    ++count_;

    const bool success = index % 5 != 4;
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss clock(time - day);
    const int year = static_cast<int>(date.year());
    const auto month = static_cast<unsigned>(date.month());
    const auto month_day = static_cast<unsigned>(date.day());
    constexpr std::array<const char*, 7> kDays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr std::array<const char*, 12> kMonths = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const char colon = index % 4 == 3 ? '_' : ':';  // both are found in the data set
    const std::string folder = fmt::format("{}_{}_{:_>2}_{:02}{}{:02}{}{:02}_{}",
                                           kDays[std::chrono::weekday(day).c_encoding()],
                                           kMonths[month - 1],
                                           month_day,
                                           clock.hours().count(),
                                           colon,
                                           clock.minutes().count(),
                                           colon,
                                           clock.seconds().count(),
                                           year);
    const std::string date_text = fmt::format("{:04}-{:02}-{:02}", year, month, month_day);
    const std::string timestamp = fmt::format("{}-{:02}h-{:02}m-{:02}s",
                                              date_text,
                                              clock.hours().count(),
                                              clock.minutes().count(),
                                              clock.seconds().count());
    EpisodeRef ref;
    ref.uuid = fmt::format("{}+{:08x}+{}", station.lab, random_.Bits() & 0xFFFFFFFF, timestamp);
    ref.lab = station.lab;
    ref.outcome = success ? Outcome::kSuccess : Outcome::kFailure;
    const std::string in_lab = fmt::format("{}/{}/{}", ToString(ref.outcome), date_text, folder);
    ref.relative_path = station.lab + "/" + in_lab;
    const fs::path episode_dir = directory_ / "raw" / ref.relative_path;
    DF_RETURN_IF_ERROR(MakeDirectories(episode_dir));

    const bool moving = twist.kind.empty() && options_.video != SynthVideo::kStill;
    TrajectoryRecord record = MakeRecord(station,
                                         twist.steps.value_or(options_.steps),
                                         time,
                                         moving ? recorded_size() : ImageSize{1280, 720});
    record.time = folder;
    record.success = success;
    record.scene_id = static_cast<std::int64_t>(index / 2) + 1;
    record.with_action = twist.with_action;
    if (!twist.known_intrinsics || index % 3 == 1) {
      // The annotations know this episode's cameras, or nobody does.
      for (auto& [serial, camera] : record.trajectory.cameras) camera.intrinsics.reset();
    }
    if (twist.change_record) twist.change_record(record);
    DF_RETURN_IF_ERROR(WriteTrajectory(episode_dir / "trajectory.h5", record));

    const int steps = static_cast<int>(record.trajectory.size());
    DF_RETURN_IF_ERROR(WriteMetadata(ref, station, record, twist, timestamp, in_lab, episode_dir));
    if (twist.recordings && moving) {
      DF_RETURN_IF_ERROR(WriteMovingRecordings(ref, real, record.trajectory, index));
    } else if (twist.recordings) {
      for (const SynthCamera& camera : station.cameras) {
        const fs::path path = episode_dir / "recordings/MP4" / (camera.serial + ".mp4");
        DF_RETURN_IF_ERROR(WriteRecording(path, camera, steps - 1 + twist.frames_off));
      }
    }
    Annotate(ref, station, twist, index);
    AnnotateMeaning(ref, index, steps);
    if (twist.breakage) DF_RETURN_IF_ERROR(twist.breakage(episode_dir));
    uuids_.push_back(ref.uuid);
    return ref;
  }

  /// Of recordings that move.
  [[nodiscard]] ImageSize recorded_size() const { return {options_.width_px, options_.height_px}; }

  TrajectoryRecord MakeRecord(const Station& station,
                              int steps,
                              std::chrono::sys_seconds time,
                              ImageSize recorded_size) {
    TrajectoryRecord record;
    Trajectory& trajectory = record.trajectory;
    MakeMotion(steps, random_, trajectory);
    const std::int64_t start_ms = std::chrono::milliseconds(time.time_since_epoch()).count();
    for (int t = 0; t < steps; ++t) {
      trajectory.step_start_ms.push_back(start_ms + std::int64_t{t} * kStep_ms +
                                         static_cast<std::int64_t>(random_.Uniform(-3, 3)));
      trajectory.movement_enabled.push_back(1);
      trajectory.skip_action.push_back(0);
    }
    for (const SynthCamera& camera : station.cameras) {
      TrajectoryCamera& recorded = trajectory.cameras[camera.serial];
      Transform T_left_right = Transform::Identity();
      T_left_right.translation().x() = camera.baseline_m;
      const bool wrist = camera.role == CameraRole::kWrist;
      recorded.type = wrist ? 0 : 1;
      for (const std::int64_t step_ms : trajectory.step_start_ms) {
        recorded.frame_received_ms.push_back(step_ms - kReceivedBeforeStep_ms);
        recorded.estimated_capture_ms.push_back(step_ms - kCapturedBeforeStep_ms);
      }
      recorded.intrinsics = camera.IntrinsicsAt(recorded_size);
      if (!wrist) {
        recorded.left_base = PoseVectorFrom(camera.pose);
        recorded.right_base = PoseVectorFrom(camera.pose * T_left_right);
        continue;
      }
      MovingCameraRows& rows = record.moving_cameras[camera.serial];
      for (const PoseVector& ee : trajectory.cartesian_position) {
        const Transform T_base_cam = TransformFromPoseVector(ee) * camera.pose;
        rows.left_base.push_back(PoseVectorFrom(T_base_cam));
        rows.right_base.push_back(PoseVectorFrom(T_base_cam * T_left_right));
        recorded.left_ee.push_back(PoseVectorFrom(camera.pose));
        rows.right_ee.push_back(PoseVectorFrom(camera.pose * T_left_right));
      }
      if (!rows.left_base.empty()) {
        recorded.left_base = rows.left_base.front();
        recorded.right_base = rows.right_base.front();
      }
    }
    // The recorder also lists cameras that were once calibrated here and are gone.
    trajectory.cameras["99999901"].left_base = PoseVector{0.3, 0.4, 0.5, -2.0, 0.0, -2.4};
    trajectory.cameras["99999901"].right_base = PoseVector{0.3, 0.52, 0.5, -2.0, 0.0, -2.4};
    return record;
  }

  static Status WriteMetadata(const EpisodeRef& ref,
                              const Station& station,
                              const TrajectoryRecord& record,
                              const Twist& twist,
                              const std::string& timestamp,
                              const std::string& in_lab,
                              const fs::path& episode_dir) {
    Json metadata = {{"uuid", ref.uuid},
                     {"lab", ref.lab},
                     {"user", record.user},
                     {"user_id", ref.uuid.substr(ref.lab.size() + 1, 8)},
                     {"date", timestamp.substr(0, 10)},
                     {"timestamp", timestamp},
                     {"hdf5_path", in_lab + "/trajectory.h5"},
                     {"building", record.building},
                     {"scene_id", record.scene_id},
                     {"success", record.success},
                     {"robot_serial", record.robot_serial_number},
                     {"droid_version", record.version_number},
                     {"current_task", record.current_task},
                     {"trajectory_length", record.trajectory.size() + twist.metadata_length_off}};
    for (const char* role : {"wrist", "ext1", "ext2"}) {
      for (const SynthCamera& camera : station.cameras) {
        if (ToString(camera.role) == role)
          metadata[role + std::string("_cam_serial")] = camera.serial;
      }
    }
    for (const SynthCamera& camera : station.cameras) {
      const std::string role(ToString(camera.role));
      const std::string mp4 = fmt::format("{}/recordings/MP4/{}.mp4", in_lab, camera.serial);
      const auto& recorded = record.trajectory.cameras.find(camera.serial);
      if (twist.calibrated && recorded != record.trajectory.cameras.end() &&
          recorded->second.left_base) {
        metadata[role + "_cam_extrinsics"] = *recorded->second.left_base;
      }
      metadata[role + "_svo_path"] = fmt::format("{}/recordings/SVO/{}.svo", in_lab, camera.serial);
      metadata[role + "_mp4_path"] = mp4;
    }
    return WriteFile(episode_dir / fmt::format("metadata_{}.json", ref.uuid), metadata.dump());
  }

  Status WriteRecording(const fs::path& path, const SynthCamera& camera, int frames) {
    constexpr int kWidth = 1280;
    constexpr int kHeight = 720;
    std::vector<std::uint8_t> gray(static_cast<std::size_t>(kWidth) * kHeight);
    const auto shade = static_cast<std::size_t>(std::lround(camera.fx_px));
    for (std::size_t i = 0; i < gray.size(); ++i) {
      const std::size_t cell = (i % kWidth / 80 + i / kWidth / 80 + shade) % 2;
      gray[i] = cell == 0 ? 60 : 190;
    }
    DF_RETURN_IF_ERROR(MakeDirectories(path.parent_path()));
    return WriteStillMp4(path,
                         {.gray = gray,
                          .width_px = kWidth,
                          .height_px = kHeight,
                          .frame_count = std::max(frames, 1),
                          .fps = 1000.0 / kStep_ms});
  }

  /// One thread a camera: their pictures have nothing to do with each other.
  Status WriteMovingRecordings(const EpisodeRef& ref,
                               const Station& station,
                               const Trajectory& trajectory,
                               std::size_t index) {
    const SynthScene scene = SynthScene::Make(options_.seed + 1000 * (index + 1));
    std::vector<SynthHand> hands;
    for (std::size_t t = 0; t < trajectory.size(); ++t) hands.push_back(HandBefore(trajectory, t));
    // As DROID's recorder: the last step has no frame. A single one has.
    if (hands.size() > 1) hands.pop_back();

    std::vector<SynthRecording> recordings;
    for (std::size_t k = 0; k < station.cameras.size(); ++k) {
      const SynthCamera& camera = station.cameras[k];
      SynthRecording& recording = recordings.emplace_back();
      recording.serial = camera.serial;
      recording.intrinsics = camera.IntrinsicsAt(recorded_size());
      recording.baseline_m = camera.baseline_m;
      recording.hands = hands;
      recording.noise_seed = options_.seed + 100000 * (3 * index + k + 1);
      if (options_.video == SynthVideo::kSvo2) {
        DF_ASSIGN_OR_RETURN(
            const ZedCalibration calibration,
            ParseZedConf(conf_texts_.at(camera.serial), "SN" + camera.serial + ".conf"));
        DF_ASSIGN_OR_RETURN(recording.raw,
                            StereoPairFor(calibration, options_.width_px, options_.height_px));
      }
      const bool wrist = camera.role == CameraRole::kWrist;
      if (!wrist) recording.T_base_rect.push_back(camera.pose);
      for (std::size_t i = 0; i < hands.size(); ++i) {
        if (wrist) recording.T_base_rect.push_back(hands[i].T_base_ee * camera.pose);
        const std::int64_t received_ms = trajectory.cameras.at(camera.serial).frame_received_ms[i];
        recording.frame_ns.push_back(received_ms * 1'000'000 + kTransfer_ns);
      }
    }
    std::vector<Status> statuses(recordings.size());
    std::vector<std::thread> threads;
    for (std::size_t k = 0; k < recordings.size(); ++k) {
      threads.emplace_back([&, k] {
        statuses[k] = WriteSynthRecording(scene,
                                          recordings[k],
                                          {.video = options_.video, .codec = options_.codec},
                                          directory_ / "raw" / ref.relative_path,
                                          directory_ / "truth" / ref.relative_path);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const Status& status : statuses) DF_RETURN_IF_ERROR(status);
    return {};
  }

  void Annotate(const EpisodeRef& ref,
                const Station& station,
                const Twist& twist,
                std::size_t index) {
    annotations_.paths[ref.uuid] = ref.relative_path;
    Json serials = Json::object();
    for (const SynthCamera& camera : station.cameras) {
      serials[std::string(ToString(camera.role)) + "_cam_serial"] = camera.serial;
    }
    annotations_.serials[ref.uuid] = serials;
    // A third of the episodes stand in neither calibration file: metadata has their poses.
    if (twist.empty_entry) annotations_.superset[ref.uuid] = Json::object();
    if (twist.stale_annotation || (twist.calibrated && !twist.empty_entry && index % 3 == 0)) {
      AnnotateSuperset(ref, station, twist, index);
    } else if (twist.calibrated && !twist.empty_entry && index % 3 == 1) {
      AnnotateCam2Base(ref, station);
    }
    if (twist.known_intrinsics && index % 3 != 0) {
      Json entry = Json::object();
      for (const SynthCamera& camera : station.cameras) {
        const Json matrix = {camera.fx_px, camera.cx_px, camera.fx_px, camera.cy_px};
        if (index % 2 == 0) {
          entry[camera.serial] = matrix;
        } else {
          entry[camera.serial] = {{"cameraMatrix", matrix},
                                  {"distCoeffs", std::vector<double>(12, 0.0)},
                                  {"width", 1280},
                                  {"height", 720}};
        }
      }
      annotations_.intrinsics[ref.uuid] = entry;
    }
  }

  /// What was asked of the robot, and when it did nothing: not of every episode.
  void AnnotateMeaning(const EpisodeRef& ref, std::size_t index, int steps) {
    if (index % 3 != 2) {
      const bool all = index % 3 == 0;
      annotations_.language[ref.uuid] = {
          {"language_instruction1", "put the marker in the cup"},
          {"language_instruction2", all ? "Move the marker into the cup" : ""},
          {"language_instruction3", all ? "Take the marker and place it in the cup" : ""}};
    }
    if (index % 2 != 0) return;
    const std::string key = fmt::format(
        "gs://bucket/{0}/recordings/MP4--/nfs/data/{0}/trajectory.h5", ref.relative_path);
    annotations_.keep_ranges[key] = {{0, steps / 2}, {steps / 2 + 1, steps}};
  }

  void AnnotateSuperset(const EpisodeRef& ref,
                        const Station& station,
                        const Twist& twist,
                        std::size_t index) {
    Json entry = {{"relative_path", ref.relative_path}};
    const auto add = [&](const std::string& serial, const Transform& pose) {
      const bool iou = index % 2 == 0;
      entry[serial] = PoseVectorFrom(pose);
      entry[serial + "_metric_type"] = iou ? "IoU" : "num_matches";
      entry[serial + "_quality_metric"] =
          iou ? random_.Uniform(0.4, 0.9) : std::floor(random_.Uniform(5000, 30000));
      entry[serial + "_source"] = iou ? "GT" : "Pred";
    };
    for (const SynthCamera& camera : station.cameras) {
      if (camera.role != CameraRole::kWrist) add(camera.serial, camera.pose);
    }
    if (twist.stale_annotation) add("99999902", station.cameras.front().pose);
    annotations_.superset[ref.uuid] = entry;
  }

  void AnnotateCam2Base(const EpisodeRef& ref, const Station& station) {
    Json entry = Json::object();
    for (const SynthCamera& camera : station.cameras) {
      if (camera.role != CameraRole::kWrist) entry[camera.serial] = PoseVectorFrom(camera.pose);
    }
    entry["metric_type"] = "Reprojection_error";
    entry["quality_metric"] = random_.Uniform(0.8, 6.0);
    entry["source"] = "calib";
    annotations_.cam2base[ref.uuid] = entry;
  }

  Status WriteFault(const Twist& twist) {
    DF_ASSIGN_OR_RETURN(const EpisodeRef ref, WriteEpisode(twist));
    report_.faults.push_back(
        {twist.kind, ref.uuid, ref.relative_path, twist.expected, twist.outcome});
    return {};
  }

  Status WriteFaults();

  /// A made-up calibration file: both lens models are there.
  static std::string MakeConfText(const SynthCamera& camera) {
    const bool mini = camera.role == CameraRole::kWrist;
    const std::string lens = mini ? "k1=0.04\nk2=0.02\nk3=-0.01\nk4=0.002\n"
                                  : "k1=-0.043\nk2=0.012\np1=0.0001\np2=-0.0002\nk3=-0.006\n";
    std::string text;
    for (const ZedResolution& mode : kZedResolutions) {
      for (const char* eye : {"LEFT", "RIGHT"}) {
        text += fmt::format("[{}_CAM_{}]\nfx={}\nfy={}\ncx={}\ncy={}\n{}\n",
                            eye,
                            mode.name,
                            camera.fx_px * mode.scale,
                            camera.fx_px * mode.scale,
                            0.5 * (mode.width_px - 1),
                            0.5 * (mode.height_px - 1),
                            lens);
      }
    }
    text += fmt::format("[STEREO]\nBaseline={}\nTY=0.1\nTZ=-0.2\n", camera.baseline_m * 1000);
    for (const ZedResolution& mode : kZedResolutions) {
      text += fmt::format("RX_{0}=0.002\nCV_{0}=0.004\nRZ_{0}=-0.0005\n", mode.name);
    }
    return text;
  }

  /// Gives every camera a calibration file: made up, or the next real one of its model.
  Status MakeConfTexts() {
    std::array<std::vector<fs::path>, 2> real;  // ZED 2, ZED Mini
    if (!options_.conf_dir.empty()) {
      DF_ASSIGN_OR_RETURN(real, SortConfFiles(options_.conf_dir));
    }
    for (Station& station : stations_) {
      for (SynthCamera& camera : station.cameras) {
        std::vector<fs::path>& files = real[camera.role == CameraRole::kWrist ? 1 : 0];
        if (options_.conf_dir.empty()) {
          conf_texts_[camera.serial] = MakeConfText(camera);
          continue;
        }
        if (files.empty()) {
          return Fail(ErrorKind::kInvalidData,
                      "want calibration files of {} ZED 2 and {} ZED Mini cameras, too few in {}",
                      2 * stations_.size(),
                      stations_.size(),
                      options_.conf_dir.string());
        }
        DF_RETURN_IF_ERROR(TakeOver(files.front(), camera));
        files.erase(files.begin());
      }
    }
    return {};
  }

  /// Turns a station's camera into the one that a calibration file describes.
  Status TakeOver(const fs::path& path, SynthCamera& camera) {
    DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
    DF_ASSIGN_OR_RETURN(const ZedCalibration calibration, ParseZedConf(text, path.string()));
    DF_ASSIGN_OR_RETURN(const StereoPair pair, StereoPairFor(calibration, 1280, 720));
    DF_ASSIGN_OR_RETURN(const RectifiedPair rectified, Rectify(pair));
    camera.serial = path.stem().string().substr(2);
    camera.baseline_m = rectified.baseline_m;
    camera.fx_px = rectified.intrinsics.fx_px;
    camera.cx_px = rectified.intrinsics.cx_px;
    camera.cy_px = rectified.intrinsics.cy_px;
    conf_texts_[camera.serial] = text;
    return {};
  }

  /// The calibration files of a folder by model, each in the order of their names.
  static Result<std::array<std::vector<fs::path>, 2>> SortConfFiles(const fs::path& folder) {
    std::array<std::vector<fs::path>, 2> sorted;
    std::error_code error;
    fs::directory_iterator entry(folder, error);
    for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      if (!name.starts_with("SN") || entry->path().extension() != ".conf") continue;
      const std::string serial = entry->path().stem().string().substr(2);
      DF_ASSIGN_OR_RETURN(const ZedCalibration calibration, ReadZedCalibration(folder, serial));
      const bool mini = calibration.baseline_m < (kZed2Baseline_m + kMiniBaseline_m) / 2;
      sorted[mini ? 1 : 0].push_back(entry->path());
    }
    if (error) return FailErrno(error.value(), "cannot list " + folder.string());
    for (auto& paths : sorted) std::ranges::sort(paths);
    return sorted;
  }

  Status WriteConfFiles() {
    for (const auto& [serial, text] : conf_texts_) {
      DF_RETURN_IF_ERROR(WriteFile(directory_ / "conf" / fmt::format("SN{}.conf", serial), text));
    }
    return {};
  }

  Status WriteAnnotations() {
    const fs::path folder = directory_ / "annotations";
    const auto write = [&](const char* name, const Json& json) {
      return WriteFile(folder / name, json.dump(1));
    };
    DF_RETURN_IF_ERROR(write("cam2base_extrinsic_superset.json", annotations_.superset));
    DF_RETURN_IF_ERROR(write("cam2base_extrinsics.json", annotations_.cam2base));
    DF_RETURN_IF_ERROR(write("intrinsics.json", annotations_.intrinsics));
    DF_RETURN_IF_ERROR(write("episode_id_to_path.json", annotations_.paths));
    DF_RETURN_IF_ERROR(write("camera_serials.json", annotations_.serials));
    DF_RETURN_IF_ERROR(write("droid_language_annotations.json", annotations_.language));
    DF_RETURN_IF_ERROR(write("keep_ranges_1_0_1.json", annotations_.keep_ranges));
    std::string uuids;
    for (const std::string& uuid : uuids_) uuids += uuid + "\n";
    DF_RETURN_IF_ERROR(WriteFile(directory_ / "episodes.txt", uuids));
    if (!options_.faults) return {};
    Json faults = Json::array();
    for (const SynthFault& fault : report_.faults) {
      faults.push_back({{"kind", fault.kind},
                        {"uuid", fault.uuid},
                        {"path", fault.path},
                        {"expected", fault.expected},
                        {"outcome", fault.outcome}});
    }
    return WriteFile(directory_ / "faults.json", faults.dump(1));
  }

  fs::path directory_;
  SynthOptions options_;
  SynthRandom random_;
  std::vector<Station> stations_;
  std::map<std::string, std::string> conf_texts_;  ///< by serial
  int count_ = 0;
  SynthAnnotations annotations_;
  std::vector<std::string> uuids_;
  SynthReport report_;
};

Status Remove(const fs::path& path) {
  std::error_code error;
  if (!fs::remove(path, error)) return FailErrno(error.value(), "cannot remove " + path.string());
  return {};
}

fs::path MetadataOf(const fs::path& episode_dir) {
  for (const auto& entry : fs::directory_iterator(episode_dir)) {
    if (entry.path().filename().string().starts_with("metadata_")) return entry.path();
  }
  DF_CHECK(false, "no metadata in {}", episode_dir.string());
}

Status Synthesizer::WriteFaults() {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const auto overwrite = [](const char* text) {
    return [text](const fs::path& dir) { return WriteFile(dir / "trajectory.h5", text); };
  };
  const auto first_recording = [this](const fs::path& dir) {
    const fs::path lab = *fs::relative(dir, directory_ / "raw").begin();
    for (const Station& station : stations_) {
      if (lab == station.lab) return dir / "recordings/MP4" / (station.cameras[0].serial + ".mp4");
    }
    DF_CHECK(false, "no station {}", lab.string());
    return fs::path();  // GCC asks for it where it does not optimise
  };
  const char* quarantined = "quarantined";

  const std::vector<Twist> twists = {
      {.kind = "no_metadata",
       .expected = status::kNoMetadata,
       .outcome = quarantined,
       .breakage = [](const fs::path& dir) { return Remove(MetadataOf(dir)); }},
      {.kind = "metadata_not_json",
       .expected = status::kBadMetadata,
       .outcome = quarantined,
       .breakage = [](const fs::path& dir) { return WriteFile(MetadataOf(dir), "{\"uuid\": \""); }},
      {.kind = "no_trajectory",
       .expected = status::kNoTrajectory,
       .outcome = quarantined,
       .breakage = [](const fs::path& dir) { return Remove(dir / "trajectory.h5"); }},
      {.kind = "trajectory_of_zero_bytes",
       .expected = status::kBadTrajectory,
       .outcome = quarantined,
       .breakage = overwrite("")},
      {.kind = "trajectory_not_hdf5",
       .expected = status::kBadTrajectory,
       .outcome = quarantined,
       .breakage = overwrite("<html>404 Not Found</html>")},
      {.kind = "truncated_trajectory",
       .expected = status::kBadTrajectory,
       .outcome = quarantined,
       .breakage = [](const fs::path& dir) -> Status {
         std::error_code error;
         const fs::path path = dir / "trajectory.h5";
         fs::resize_file(path, fs::file_size(path, error) / 2, error);
         if (error) return FailErrno(error.value(), "cannot truncate " + path.string());
         return {};
       }},
      {.kind = "missing_dataset",
       .expected = status::kMissingDataset,
       .outcome = quarantined,
       .change_record = [](TrajectoryRecord& record) { record.with_gripper_position = false; }},
      {.kind = "no_steps", .expected = status::kEmpty, .outcome = quarantined, .steps = 0},
      {.kind = "nan_pose",
       .expected = status::kBadValues,
       .outcome = quarantined,
       .change_record =
           [](TrajectoryRecord& record) { record.trajectory.cartesian_position.back()[1] = kNan; }},
      {.kind = "gripper_out_of_range",
       .expected = status::kBadValues,
       .outcome = quarantined,
       .change_record =
           [](TrajectoryRecord& record) { record.trajectory.gripper_position[0] = 1.2; }},
      {.kind = "one_step", .steps = 1},
      {.kind = "no_action", .with_action = false},
      {.kind = "stale_serial", .expected = status::kStaleSerial, .stale_annotation = true},
      {.kind = "length_mismatch", .expected = status::kLengthMismatch, .metadata_length_off = 7},
      {.kind = "no_extrinsics",
       .expected = status::kNoExtrinsics,
       .calibrated = false,
       .change_record =
           [](TrajectoryRecord& record) {
             record.moving_cameras.clear();
             for (auto& [serial, camera] : record.trajectory.cameras) {
               camera.left_base.reset();
               camera.right_base.reset();
               camera.left_ee.clear();
             }
           }},
      {.kind = "empty_calibration_entry", .empty_entry = true},
      {.kind = "no_recordings", .expected = status::kNoRecordings, .recordings = false},
      {.kind = "recording_missing",
       .expected = status::kRecordingMissing,
       .breakage = [&](const fs::path& dir) { return Remove(first_recording(dir)); }},
      {.kind = "recording_of_zero_bytes",
       .expected = status::kRecordingBroken,
       .breakage = [&](const fs::path& dir) { return WriteFile(first_recording(dir), ""); }},
      {.kind = "frame_count", .expected = status::kFrameCount, .frames_off = -5},
  };
  for (const Twist& twist : twists) DF_RETURN_IF_ERROR(WriteFault(twist));

  // Cameras of which nobody knows the intrinsics: serials without a conf file.
  {
    const std::vector<Station> known = stations_;
    for (Station& station : stations_) {
      for (SynthCamera& camera : station.cameras) camera.serial[0] = '8';
    }
    DF_RETURN_IF_ERROR(WriteFault(
        {.kind = "no_intrinsics", .expected = status::kNoIntrinsics, .known_intrinsics = false}));
    stations_ = known;
  }
  // A second folder with the uuid of a good episode. Its path comes later than the first one's.
  {
    const fs::path raw = directory_ / "raw";
    Twist twist{.kind = "duplicate", .expected = status::kDuplicate, .outcome = "skipped"};
    DF_ASSIGN_OR_RETURN(const EpisodeRef ref, WriteEpisode({}));
    const std::string copy = ref.relative_path + "_copy";
    DF_RETURN_IF_ERROR(CopyTree(raw / ref.relative_path, raw / copy));
    report_.uuids.push_back(ref.uuid);
    report_.faults.push_back({twist.kind, ref.uuid, copy, twist.expected, twist.outcome});
  }
  // A uuid that annotations know and the disk does not.
  DF_ASSIGN_OR_RETURN(const EpisodeRef gone, WriteEpisode({}));
  DF_RETURN_IF_ERROR(RemoveTree(directory_ / "raw" / gone.relative_path));
  report_.faults.push_back({"not_found", gone.uuid, "", status::kNotFound, quarantined});
  return {};
}

}  // namespace

Result<SynthReport> Synthesize(const fs::path& directory, const SynthOptions& options) {
  if (options.episodes < 0 || options.steps < 1) {
    return Fail(ErrorKind::kUsage,
                "want at least 0 episodes of at least 1 step, have {} and {}",
                options.episodes,
                options.steps);
  }
  if (FindZedResolution(options.width_px, options.height_px) == nullptr) {
    return Fail(ErrorKind::kUsage,
                "want a size at which ZED cameras record, have {}x{}",
                options.width_px,
                options.height_px);
  }
  return Synthesizer(directory, options).Run();
}

}  // namespace droidflow

#include "droidflow/pipeline/check_episode.h"

#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/formats/npz_writer.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/jobs/run_lock.h"
#include "droidflow/jobs/run_store.h"
#include "droidflow/pipeline/episode_depth.h"
#include "droidflow/pipeline/finished_episode.h"
#include "droidflow/pipeline/hub_targets.h"
#include "droidflow/pipeline/product_arrays.h"
#include "droidflow/pipeline/product_json_internal.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/upload_tree.h"
#include "droidflow/tracks/camera_poses.h"
#include "droidflow/tracks/gripper.h"
#include "droidflow/tracks/gripper_shape.h"
#include "droidflow/tracks/label_match.h"
#include "droidflow/transfer/upload_queue.h"
#include "droidflow/video/depth_video.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char kVisibilityFile[] = "visibility.npz";
constexpr const char kRunFolder[] = ".droidflow";
constexpr int kCheckVersion = 1;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

constexpr std::int64_t kMoments = 32;
constexpr std::int64_t kMinMoments = 8;
constexpr double kMinPath_m = 0.05;  ///< of the gripper, for its picture to change
constexpr int kExternalWidth_px = 640;
constexpr int kWristWidth_px = 320;
constexpr double kRing_m = 0.025;  ///< around the gripper, that is compared with it
constexpr std::size_t kMinPlaces = 60;
/// Overlap below which pictures show no gripper anywhere near, whatever the labels.
constexpr double kMinOverlap = 0.2;
constexpr double kNearby_m = 0.08;  ///< around the gripper, where pictures are looked at for motion
constexpr int kMaxLag_steps = 10;
constexpr double kSceneDepth_m = 0.4;  ///< of what a wrist camera looks at
constexpr double kNearest_m = 0.02;

constexpr int kDepthGrid_px = 4;
constexpr std::int64_t kDepthMoments = 64;
constexpr std::size_t kMinDepthPixels = 200;
constexpr double kWithin_mm = 20;
/// Between a point's depth and the measured one, for the point to be what was measured.
constexpr double kSamePoint_m = 0.01;

enum Visibility : std::uint8_t { kHidden = 0, kVisible = 1, kUnknown = 2 };

template <typename T>
T Median(std::vector<T>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

Image<float> CopyOf(const Image<float>& picture) {
  Image<float> copy(picture.width_px(), picture.height_px());
  for (int y = 0; y < picture.height_px(); ++y) {
    std::copy_n(picture.row(y), picture.width_px(), copy.row(y));
  }
  return copy;
}

/// The pose between two steps; before the first and after the last, theirs.
Transform PoseAt(const std::vector<Transform>& poses, double step) {
  const double at = std::clamp(step, 0.0, static_cast<double>(poses.size()) - 1);
  const auto before = static_cast<std::size_t>(at);
  const double weight = at - static_cast<double>(before);
  return weight == 0 ? poses[before] : InterpolatePose(poses[before], poses[before + 1], weight);
}

/// What the labels say of the robot.
struct SaidMotion {
  std::vector<Transform> T_world_gripper;  ///< [T]
  std::vector<double> gripper_position;    ///< [T], 0 open … 1 closed
  std::vector<double> joint_rad;           ///< [T]
  GripperModel model;
  std::vector<Vector3> pad_points_m;  ///< [P], inner finger

  [[nodiscard]] std::size_t steps() const { return T_world_gripper.size(); }
  void SetPositions(std::vector<double> positions) {
    gripper_position = std::move(positions);
    joint_rad.clear();
    for (const double position : gripper_position) {
      joint_rad.push_back(FingerJoint(model, position));
    }
  }
  /// Between the palm and the fingers' tips.
  [[nodiscard]] Vector3 MiddleAt(double step) const {
    return PoseAt(T_world_gripper, step) * Vector3(0, 0, 0.08);
  }
  [[nodiscard]] double JointAt(double step) const {
    return joint_rad[static_cast<std::size_t>(
        std::clamp(std::round(step), 0.0, static_cast<double>(steps()) - 1))];
  }
  /// A few that move as the gripper does.
  [[nodiscard]] std::array<Vector3, 5> PointsAt(std::size_t t) const {
    const Transform& T = T_world_gripper[t];
    const Vector3 tip(0, 0, 0.04);
    return {T.translation(),
            T * Vector3(0, 0, 0.05),
            T * Vector3(0, 0, 0.09),
            T * (LeftFingerInGripper(joint_rad[t]) * tip),
            T * (RightFingerInGripper(joint_rad[t]) * tip)};
  }
};

/// A camera's labels.
struct SaidCamera {
  std::string serial;
  bool is_wrist = false;
  Intrinsics intrinsics;
  std::vector<Transform> T_world_cam;  ///< [1] or [T]

  [[nodiscard]] Transform CamFromWorld(double step) const {
    return PoseAt(T_world_cam, step).inverse();
  }
};

Intrinsics ShrunkBy(const Intrinsics& intrinsics, int shrink) {
  return {.fx_px = intrinsics.fx_px / shrink,
          .fy_px = intrinsics.fy_px / shrink,
          .cx_px = (intrinsics.cx_px + 0.5) / shrink - 0.5,
          .cy_px = (intrinsics.cy_px + 0.5) / shrink - 0.5,
          .width_px = intrinsics.width_px / shrink,
          .height_px = intrinsics.height_px / shrink};
}

/// Gives the frames of a recording by number, rising, as the rectified camera sees them: small.
class SmallFrames {
 public:
  static Result<SmallFrames> Open(const fs::path& path,
                                  const SaidCamera& camera,
                                  int shrink,
                                  const LabelCheckOptions& options) {
    SmallFrames frames;
    frames.shrink_ = shrink;
    DF_ASSIGN_OR_RETURN(frames.source_,
                        OpenFrameSource(path, {.decode_threads = options.decode_threads}));
    const SourceInfo& info = frames.source_->info();
    DF_ASSIGN_OR_RETURN(
        frames.map_,
        LeftEyeRectifier(info, camera.serial, camera.intrinsics, options.conf_dir, path));
    if (!frames.map_ && (info.width_px != camera.intrinsics.width_px ||
                         info.height_px != camera.intrinsics.height_px)) {
      return Fail(ErrorKind::kInvalidData,
                  "want pictures of {}x{}, have {}x{}: {}",
                  camera.intrinsics.width_px,
                  camera.intrinsics.height_px,
                  info.width_px,
                  info.height_px,
                  path.string());
    }
    return frames;
  }

  /// @return nothing where the recording ends before.
  Result<const Image<float>*> At(std::int64_t index) {
    StereoFrame frame;
    while (next_ <= index) {
      if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
      DF_ASSIGN_OR_RETURN(const bool is_there, source_->Next(frame));
      if (!is_there) return nullptr;
      next_ = frame.index + 1;
      if (next_ <= index) continue;
      if (map_) map_->Apply(frame.left, rectified_);
      small_ = ShrinkAndSmooth(map_ ? std::as_const(rectified_).view() : frame.left, shrink_);
    }
    return &small_;
  }

 private:
  std::unique_ptr<FrameSource> source_;
  std::optional<Remapper> map_;
  std::int64_t next_ = 0;
  int shrink_ = 1;
  GrayImage rectified_;
  Image<float> small_;
};

/// Compares one camera's labels with its recording and its depth.
class CameraChecker {
 public:
  CameraChecker(const SaidMotion& motion, const SaidCamera& camera, CheckedCamera& checked)
      : motion_(motion), camera_(camera), checked_(checked) {}

  Status CheckPictures(const fs::path& recording,
                       const std::vector<std::int64_t>& step_to_frame,
                       const LabelCheckOptions& options);
  Status CheckDepth(const fs::path& folder, const Json& meta, const LabelCheckOptions& options);

 private:
  /// Steps with a frame, so that as much of the way lies between any two.
  [[nodiscard]] std::vector<std::size_t> ChooseMoments(
      const std::vector<std::int64_t>& step_to_frame) const;
  /// How far the labels say that the picture moves from step t to the next.
  [[nodiscard]] double SaidChange(const Intrinsics& small, std::size_t t) const;
  [[nodiscard]] double SeenChange(const Intrinsics& small,
                                  std::size_t t,
                                  const Image<float>& before,
                                  const Image<float>& after) const;
  [[nodiscard]] Footprint FootprintAt(const Intrinsics& small, double step) const;
  /// @param late_steps  by which the pictures show what was before.
  void Compare(const Intrinsics& small,
               int shrink,
               double late_steps,
               std::span<const std::size_t> moments,
               std::span<const Image<float>> pictures);
  void CompareSurface(DepthView depth_mm,
                      std::size_t t,
                      double nearest_m,
                      std::vector<float>& errors_mm) const;
  void FindVisible(DepthView depth_mm, std::size_t t, std::span<std::uint8_t> visible);
  void Note(std::string text) { checked_.notes.push_back(std::move(text)); }

  const SaidMotion& motion_;
  const SaidCamera& camera_;
  CheckedCamera& checked_;
};

std::vector<std::size_t> CameraChecker::ChooseMoments(
    const std::vector<std::int64_t>& step_to_frame) const {
  std::vector<std::size_t> steps;
  std::vector<double> way_m;
  for (std::size_t t = 0; t < motion_.steps(); ++t) {
    if (step_to_frame[t] < 0) continue;
    const double from_last_m =
        steps.empty() ? 0 : (motion_.MiddleAt(t) - motion_.MiddleAt(steps.back())).norm();
    way_m.push_back((way_m.empty() ? 0 : way_m.back()) + from_last_m);
    steps.push_back(t);
  }
  std::vector<std::size_t> moments;
  if (steps.empty() || way_m.back() < kMinPath_m) return moments;
  for (std::int64_t i = 0; i < kMoments; ++i) {
    const double wanted_m = way_m.back() * static_cast<double>(i) / (kMoments - 1);
    const auto at = std::ranges::lower_bound(way_m, wanted_m);
    const std::size_t step = steps[std::min<std::size_t>(at - way_m.begin(), steps.size() - 1)];
    if (moments.empty() || moments.back() != step) moments.push_back(step);
  }
  return moments;
}

double CameraChecker::SaidChange(const Intrinsics& small, std::size_t t) const {
  const Transform T_cam_world = camera_.CamFromWorld(t);
  const Transform T_next_world = camera_.CamFromWorld(t + 1);
  double sum = 0;
  int count = 0;
  const auto add = [&](const Vector3& now, const Vector3& then) {
    const Pixel from = ProjectPoint(small, T_cam_world * now, kNearest_m);
    const Pixel to = ProjectPoint(small, T_next_world * then, kNearest_m);
    if (std::isnan(from.u_px + to.u_px)) return;
    const double du_px = to.u_px - from.u_px;
    const double dv_px = to.v_px - from.v_px;
    sum += std::sqrt(du_px * du_px + dv_px * dv_px);
    ++count;
  };
  if (camera_.is_wrist) {
    const Transform T_world_cam = camera_.T_world_cam[t];
    for (const double x : {-0.2, 0.0, 0.2}) {
      for (const double y : {-0.1, 0.1}) {
        const Vector3 still = T_world_cam * Vector3(x, y, kSceneDepth_m);
        add(still, still);
      }
    }
  } else {
    const auto now = motion_.PointsAt(t);
    const auto then = motion_.PointsAt(t + 1);
    for (std::size_t i = 0; i < now.size(); ++i) add(now[i], then[i]);
  }
  return count == 0 ? kNone : sum / count;
}

double CameraChecker::SeenChange(const Intrinsics& small,
                                 std::size_t t,
                                 const Image<float>& before,
                                 const Image<float>& after) const {
  if (camera_.is_wrist) {
    return MeanChange(before.view(), after.view(), 0, 0, small.width_px, small.height_px);
  }
  const Transform T_cam_world = camera_.CamFromWorld(t);
  const Vector3 middle = T_cam_world * motion_.MiddleAt(t);
  const Pixel at = ProjectPoint(small, middle, kNearest_m);
  if (std::isnan(at.u_px)) return kNone;
  const double reach_px = (kNearby_m + 0.08) * small.fx_px / middle.z();
  return MeanChange(before.view(),
                    after.view(),
                    static_cast<int>(at.u_px - reach_px),
                    static_cast<int>(at.v_px - reach_px),
                    static_cast<int>(at.u_px + reach_px),
                    static_cast<int>(at.v_px + reach_px));
}

Footprint CameraChecker::FootprintAt(const Intrinsics& small, double step) const {
  Intrinsics wide = small;
  wide.cx_px += kShiftReach_px;
  wide.cy_px += kShiftReach_px;
  wide.width_px += 2 * kShiftReach_px;
  wide.height_px += 2 * kShiftReach_px;
  GripperShape gripper = GripperShapeAt(motion_.JointAt(step));
  std::vector<OrientedBox>& shown = gripper.fingers;
  std::vector<OrientedBox>& left_open = gripper.arm;
  if (camera_.is_wrist) {
    // So near, only the fingers' ends are known well enough.
    left_open.insert(left_open.end(), {gripper.body[0], shown[0], shown[2]});
    shown = {shown[1], shown[3]};
  } else {
    shown.insert(shown.end(), gripper.body.begin(), gripper.body.end());
  }

  const Transform T_cam_world = camera_.CamFromWorld(step);
  const Transform T_cam_gripper = T_cam_world * PoseAt(motion_.T_world_gripper, step);
  Image<float> shape;
  Image<float> guard;
  DrawBoxes(shown, T_cam_gripper, wide, shape);
  DrawBoxes(left_open, T_cam_gripper, wide, guard);
  const Vector3 middle = T_cam_world * motion_.MiddleAt(step);
  const double ring_px = kRing_m * small.fx_px / std::max(middle.z(), kNearest_m);
  Footprint footprint = MakeFootprint(std::as_const(shape).view(),
                                      std::as_const(guard).view(),
                                      static_cast<int>(std::clamp(ring_px, 4.0, 40.0)));
  const auto project = [&](double at) {
    return ProjectPoint(small, camera_.CamFromWorld(at) * motion_.MiddleAt(at), kNearest_m);
  };
  const Pixel centre = project(step);
  footprint.centre_px = {centre.u_px - small.cx_px, centre.v_px - small.cy_px};
  const Pixel from = project(step - 0.5);
  const Pixel to = project(step + 0.5);
  footprint.velocity_px = {to.u_px - from.u_px, to.v_px - from.v_px};
  return footprint;
}

void CameraChecker::Compare(const Intrinsics& small,
                            int shrink,
                            double late_steps,
                            std::span<const std::size_t> moments,
                            std::span<const Image<float>> pictures) {
  const std::vector<Image<float>> evidence =
      camera_.is_wrist ? FindStillness(pictures) : FindForeground(pictures);
  std::vector<Footprint> footprints;
  std::vector<ShiftTable> tables;
  std::vector<double> depths_m;
  for (std::size_t i = 0; i < moments.size(); ++i) {
    const double step = static_cast<double>(moments[i]) - late_steps;
    Footprint footprint = FootprintAt(small, step);
    const auto in_picture = std::ranges::count_if(footprint.inside, [&](const auto& place) {
      return place.x >= 0 && place.y >= 0 && place.x < small.width_px && place.y < small.height_px;
    });
    if (footprint.inside.size() < kMinPlaces || footprint.around.size() < kMinPlaces ||
        2 * static_cast<std::size_t>(in_picture) < footprint.inside.size() ||
        !std::isfinite(footprint.velocity_px.u_px + footprint.centre_px.u_px)) {
      continue;
    }
    depths_m.push_back((camera_.CamFromWorld(step) * motion_.MiddleAt(step)).z());
    tables.emplace_back(footprint, evidence[i].view());
    footprints.push_back(std::move(footprint));
  }
  checked_.moments = static_cast<std::int64_t>(tables.size());
  if (checked_.moments < kMinMoments) {
    return Note(fmt::format("pictures: the gripper is said to be in {} of {} pictures, want {}",
                            tables.size(),
                            moments.size(),
                            kMinMoments));
  }
  const LabelFit fit = FitLabels(footprints, tables, camera_.is_wrist);
  checked_.overlap = fit.overlap;
  checked_.score = std::clamp(fit.overlap / std::max(fit.best_overlap, kMinOverlap), 0.0, 1.0);
  if (fit.best_overlap < kMinOverlap) return Note("pictures: no gripper anywhere near");
  checked_.shift_px = fit.shift_px * shrink;
  checked_.shift_mm = 1000 * fit.shift_px / small.fx_px * Median(depths_m);
}

Status CameraChecker::CheckPictures(const fs::path& recording,
                                    const std::vector<std::int64_t>& step_to_frame,
                                    const LabelCheckOptions& options) {
  const int wanted_px = camera_.is_wrist ? kWristWidth_px : kExternalWidth_px;
  const int shrink =
      std::max(1, static_cast<int>(std::lround(camera_.intrinsics.width_px / double(wanted_px))));
  const Intrinsics small = ShrunkBy(camera_.intrinsics, shrink);
  Result<SmallFrames> frames = SmallFrames::Open(recording, camera_, shrink, options);
  if (!frames) {
    Note("pictures: " + frames.error().message);
    return {};
  }
  const std::vector<std::size_t> moments = ChooseMoments(step_to_frame);
  std::vector<std::size_t> shown;
  std::vector<Image<float>> pictures;
  std::vector<double> seen(motion_.steps() - 1, kNone);
  std::vector<double> said(motion_.steps() - 1, kNone);
  Image<float> before;
  std::int64_t last = -1;
  for (std::size_t t = 0; t < motion_.steps(); ++t) {
    const std::int64_t frame = step_to_frame[t];
    if (t + 1 < motion_.steps()) said[t] = SaidChange(small, t);
    if (frame < last || frame < 0) {
      before = {};
      continue;
    }
    last = frame;
    Result<const Image<float>*> read = frames->At(frame);
    if (!read && read.error().kind == ErrorKind::kCancelled) {
      return tl::unexpected(read.error());
    }
    if (!read) Note(fmt::format("pictures: up to step {} only: {}", t, read.error().message));
    if (read && *read == nullptr) {
      Note(fmt::format("pictures: up to step {} only, want frame {}: the recording ends before: {}",
                       t,
                       frame,
                       recording.string()));
    }
    checked_.saw_pictures = read && *read != nullptr;
    if (!checked_.saw_pictures) break;
    const Image<float>& now = **read;
    if (!before.empty()) seen[t - 1] = SeenChange(small, t - 1, before, now);
    if (std::ranges::binary_search(moments, t)) {
      pictures.push_back(CopyOf(now));
      shown.push_back(t);
    }
    before = CopyOf(now);
  }
  // Change in pictures does not grow as fast as motion: roots spread both more evenly.
  for (std::vector<double>* const row : {&seen, &said}) {
    for (double& value : *row) value = std::sqrt(value);
  }
  if (const std::optional<Lag> lag = FindLag(seen, said, kMaxLag_steps)) {
    checked_.time_offset_frames = lag->steps;
    checked_.time_correlation = lag->correlation;
  } else {
    Note("time: the two motions do not correlate");
  }
  if (std::ssize(shown) < kMinMoments) {
    Note(moments.empty() ? "pictures: the gripper hardly moves"
                         : fmt::format("pictures: of {} steps only", shown.size()));
    return {};
  }
  Compare(small, shrink, checked_.time_offset_frames.value_or(0), shown, pictures);
  return {};
}

/// 0 where it is not said.
double NumberAt(const Json& json, const char* pointer) {
  const Json::json_pointer at(pointer);
  return json.contains(at) && json[at].is_number() ? json[at].get<double>() : 0;
}

/// In metres. What is nearer has no depth: what was measured there is something else.
double NearestDepth(const Json& meta) {
  const double most_px = NumberAt(meta, "/backend_parameters/max_disparity");
  const double fx_baseline = NumberAt(meta, "/fx") * NumberAt(meta, "/baseline_m");
  return std::max(NumberAt(meta, "/min_depth_m"), most_px > 0 ? fx_baseline / most_px : 0);
}

void CameraChecker::CompareSurface(DepthView depth_mm,
                                   std::size_t t,
                                   double nearest_m,
                                   std::vector<float>& errors_mm) const {
  const GripperShape gripper = GripperShapeAt(motion_.joint_rad[t]);
  std::vector<OrientedBox> boxes = gripper.body;
  boxes.insert(boxes.end(), gripper.fingers.begin(), gripper.fingers.end());
  Intrinsics grid = camera_.intrinsics;
  // Pixel (x, y) of the grid is one near the middle of its block.
  constexpr int kMiddle = kDepthGrid_px / 2;
  grid.fx_px /= kDepthGrid_px;
  grid.fy_px /= kDepthGrid_px;
  grid.cx_px = (grid.cx_px - kMiddle) / kDepthGrid_px;
  grid.cy_px = (grid.cy_px - kMiddle) / kDepthGrid_px;
  grid.width_px /= kDepthGrid_px;
  grid.height_px /= kDepthGrid_px;
  Image<float> said_m;
  DrawBoxes(boxes, camera_.CamFromWorld(t) * motion_.T_world_gripper[t], grid, said_m);
  for (int y = 0; y < grid.height_px; ++y) {
    for (int x = 0; x < grid.width_px; ++x) {
      const std::uint16_t measured =
          depth_mm.at(kDepthGrid_px * x + kMiddle, kDepthGrid_px * y + kMiddle);
      if (said_m.at(x, y) == 0 || said_m.at(x, y) < nearest_m || measured == 0) continue;
      errors_mm.push_back(static_cast<float>(measured) - 1000 * said_m.at(x, y));
    }
  }
}

void CameraChecker::FindVisible(DepthView depth_mm,
                                std::size_t t,
                                std::span<std::uint8_t> visible) {
  const Transform T_cam_gripper = camera_.CamFromWorld(t) * motion_.T_world_gripper[t];
  const std::array fingers = {T_cam_gripper * LeftFingerInGripper(motion_.joint_rad[t]),
                              T_cam_gripper * RightFingerInGripper(motion_.joint_rad[t])};
  std::size_t i = 0;
  for (const Transform& T_cam_finger : fingers) {
    for (const Vector3& point_m : motion_.pad_points_m) {
      const Vector3 at = T_cam_finger * point_m;
      const Pixel pixel = ProjectPoint(camera_.intrinsics, at, kNearest_m);
      std::uint8_t& state = visible[i++];
      state = kHidden;
      const double u = std::round(pixel.u_px);
      const double v = std::round(pixel.v_px);
      if (!(u >= 0 && v >= 0 && u < depth_mm.width_px && v < depth_mm.height_px)) continue;
      const std::uint16_t measured = depth_mm.at(static_cast<int>(u), static_cast<int>(v));
      // Nothing measured, or farther away: what should be there is not what was measured.
      state = kUnknown;
      if (measured == 0) continue;
      const double behind_m = at.z() - measured / 1000.0;
      if (std::abs(behind_m) <= kSamePoint_m) state = kVisible;
      if (behind_m > kSamePoint_m) state = kHidden;
    }
  }
}

Status CameraChecker::CheckDepth(const fs::path& folder,
                                 const Json& meta,
                                 const LabelCheckOptions& options) {
  const std::size_t steps = motion_.steps();
  const std::vector<std::int64_t> step_to_depth =
      FramesOfSteps(meta, static_cast<std::int64_t>(steps));
  const double nearest_m = NearestDepth(meta);
  const std::size_t points = 2 * motion_.pad_points_m.size();
  DF_ASSIGN_OR_RETURN(DepthVideoReader depth,
                      DepthVideoReader::Open(folder / kDepthVideoFile, options.decode_threads));
  if (depth.width_px() != camera_.intrinsics.width_px ||
      depth.height_px() != camera_.intrinsics.height_px) {
    return Fail(ErrorKind::kInvalidData,
                "want depth of {}x{}, have {}x{}: {}",
                camera_.intrinsics.width_px,
                camera_.intrinsics.height_px,
                depth.width_px(),
                depth.height_px(),
                folder.string());
  }
  checked_.saw_depth = true;
  std::vector<std::uint8_t> visible(steps * points, kUnknown);
  std::vector<float> errors_mm;
  const std::int64_t shown = std::ranges::count_if(step_to_depth, [](auto f) { return f >= 0; });
  const std::int64_t stride = (shown + kDepthMoments - 1) / kDepthMoments;
  std::int64_t count = 0;
  std::int64_t next = 0;
  std::size_t seen_points = 0;
  std::size_t known_points = 0;
  DepthView frame;
  for (std::size_t t = 0; t < steps; ++t) {
    const std::int64_t index = step_to_depth[t];
    if (index < 0 || index < next - 1) continue;
    bool is_there = true;
    for (; is_there && next <= index; ++next) {
      if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
      DF_ASSIGN_OR_RETURN(is_there, depth.Next(frame));
    }
    if (!is_there) break;
    const std::span of_step = std::span(visible).subspan(t * points, points);
    FindVisible(frame, t, of_step);
    if (count++ % stride == 0) CompareSurface(frame, t, nearest_m, errors_mm);
  }
  for (const std::uint8_t state : visible) {
    seen_points += state == kVisible ? 1 : 0;
    known_points += state == kUnknown ? 0 : 1;
  }
  if (known_points > 0) {
    checked_.visible_fraction =
        static_cast<double>(seen_points) / static_cast<double>(known_points);
  }
  if (errors_mm.size() >= kMinDepthPixels) {
    const auto within = std::ranges::count_if(
        errors_mm, [](float error_mm) { return std::abs(error_mm) <= kWithin_mm; });
    checked_.depth_within_2cm = static_cast<double>(within) / static_cast<double>(errors_mm.size());
    checked_.depth_error_mm = Median(errors_mm);
  } else {
    Note(fmt::format("depth: {} measured pixels on the gripper beyond {:.2f} m, want {}",
                     errors_mm.size(),
                     nearest_m,
                     kMinDepthPixels));
  }
  if (!options.write) return {};
  DF_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(folder / kVisibilityFile));
  DF_ASSIGN_OR_RETURN(NpzWriter npz, NpzWriter::Create(file.temporary()));
  DF_RETURN_IF_ERROR(npz.AddArray<std::uint8_t>(
      "visibility",
      {static_cast<std::int64_t>(steps), static_cast<std::int64_t>(points)},
      visible));
  DF_RETURN_IF_ERROR(npz.Finish());
  return file.Commit();
}

Result<SaidMotion> ReadSaidMotion(const ProductArrays& tracks) {
  DF_ASSIGN_OR_RETURN(const std::int64_t steps, tracks.Count("num_frames"));
  SaidMotion motion;
  DF_ASSIGN_OR_RETURN(motion.T_world_gripper, tracks.Poses("gripper_poses", steps));
  DF_ASSIGN_OR_RETURN(std::vector<double> positions, tracks.Numbers("gripper_positions", steps));
  if (tracks.Contains("gripper_joint_max_rad")) {
    DF_ASSIGN_OR_RETURN(const std::vector<double> most, tracks.Numbers("gripper_joint_max_rad", 1));
    motion.model.joint_max_rad = most[0];
  }
  motion.SetPositions(std::move(positions));
  DF_ASSIGN_OR_RETURN(const std::vector<double> points, tracks.Numbers("contact_points_local"));
  for (std::size_t i = 0; i + 2 < points.size(); i += 3) {
    motion.pad_points_m.emplace_back(points[i], points[i + 1], points[i + 2]);
  }
  return motion;
}

/// What a camera's 2-D tracks are of: the motion when its pictures were taken, where they say when.
Result<SaidMotion> MotionSeenBy(const std::string& serial,
                                const ProductArrays& tracks,
                                const SaidMotion& motion) {
  const std::string capture = "capture_ms_" + serial;
  if (!tracks.Contains(capture) || !tracks.Contains("timestamps_ms")) return motion;
  const auto steps = static_cast<std::int64_t>(motion.steps());
  DF_ASSIGN_OR_RETURN(const std::vector<double> start_ms, tracks.Numbers("timestamps_ms", steps));
  DF_ASSIGN_OR_RETURN(const std::vector<double> capture_ms, tracks.Numbers(capture, steps));
  RobotStates states =
      InterpolateAt(motion.T_world_gripper,
                    motion.gripper_position,
                    std::vector<std::int64_t>(start_ms.begin(), start_ms.end()),
                    std::vector<std::int64_t>(capture_ms.begin(), capture_ms.end()));
  SaidMotion seen = motion;
  seen.T_world_gripper = std::move(states.T_base_ee);
  seen.SetPositions(std::move(states.gripper_position));
  return seen;
}

Result<SaidCamera> ReadSaidCamera(const ProductArrays& tracks,
                                  const ProductArrays& extrinsics,
                                  const std::string& serial,
                                  std::size_t steps) {
  constexpr int kMinSide_px = 16;
  SaidCamera camera;
  camera.serial = serial;
  DF_ASSIGN_OR_RETURN(camera.intrinsics, tracks.IntrinsicsOf(serial, kMinSide_px));
  camera.is_wrist = !extrinsics.Contains("external_" + serial);
  const std::string name = camera.is_wrist ? "wrist_extrinsics" : "external_" + serial;
  const auto count = camera.is_wrist ? static_cast<std::int64_t>(steps) : 1;
  DF_ASSIGN_OR_RETURN(camera.T_world_cam, extrinsics.Poses(name, count));
  return camera;
}

/// A number with so many digits after the point, or null.
Json Rounded(const std::optional<double>& value, double tens) {
  if (!value) return nullptr;
  return std::round(*value * tens) / tens;
}

Status CheckCamera(const fs::path& directory,
                   const std::string& source_path,
                   const SaidMotion& motion,
                   const SaidCamera& camera,
                   const LabelCheckOptions& options,
                   CheckedCamera& checked) {
  CameraChecker checker(motion, camera, checked);
  const Result<Json> video = ReadJsonObject(directory / VideoFile(camera.serial));
  if (!video) {
    checked.notes.emplace_back("pictures: no recording is known");
  } else if (options.droid_roots.empty()) {
    checked.notes.emplace_back("pictures: the recording takes --droid-root");
  } else {
    DF_RETURN_IF_ERROR(
        checker.CheckPictures(FindRecordingFile(options.droid_roots, source_path, *video),
                              FramesOfSteps(*video, static_cast<std::int64_t>(motion.steps())),
                              options));
  }
  const fs::path folder = (directory / DepthFile(camera.serial)).parent_path();
  if (const Result<Json> meta = ReadJsonObject(folder / kDepthMetaFile)) {
    DF_RETURN_IF_ERROR(checker.CheckDepth(folder, *meta, options));
  }
  return {};
}

/// `cameras` of the check that quality.json has; empty: none, or one that measured another way.
Json EarlierCheck(const Json& quality) {
  const auto check = quality.find("check");
  if (check == quality.end() || !check->is_object() || !check->contains("cameras") ||
      check->value("version", Json()) != kCheckVersion || !(*check)["cameras"].is_object()) {
    return Json::object();
  }
  return (*check)["cameras"];
}

/// What cannot be measured now, as the recording or depth is not here, stays as it was measured.
void KeepEarlier(const Json& was, CheckedCamera& checked) {
  if (!was.is_object()) return;
  const auto keep = [&](const char* name, std::optional<double>& value) {
    const auto number = was.find(name);
    if (number != was.end() && number->is_number()) value = number->get<double>();
  };
  const auto has = [&](const char* name) { return was.contains(name) && was[name].is_number(); };
  if (!checked.saw_pictures && (has("score") || has("time_offset_frames"))) {
    keep("score", checked.score);
    keep("overlap", checked.overlap);
    keep("shift_px", checked.shift_px);
    keep("shift_mm", checked.shift_mm);
    keep("time_offset_frames", checked.time_offset_frames);
    keep("time_correlation", checked.time_correlation);
    if (has("moments")) checked.moments = was["moments"].get<std::int64_t>();
    checked.notes.emplace_back("pictures: what was measured before is kept");
  }
  if (!checked.saw_depth && has("depth_error_mm")) {
    keep("depth_error_mm", checked.depth_error_mm);
    keep("depth_within_2cm", checked.depth_within_2cm);
    keep("visible_fraction", checked.visible_fraction);
    checked.notes.emplace_back("depth: what was measured before is kept");
  }
}

/// Lets a run that is resumed know what the files look like now.
Status TellRun(const fs::path& root, const std::vector<std::string>& checked) {
  std::error_code ignored;
  const fs::path run_dir = root / kRunFolder;
  if (!fs::exists(run_dir / "run.sqlite", ignored)) return {};
  DF_ASSIGN_OR_RETURN(const RunLock lock, RunLock::Acquire(run_dir));
  DF_ASSIGN_OR_RETURN(RunStore store, RunStore::Open(run_dir));
  DF_ASSIGN_OR_RETURN(const std::vector<TaskRecord> records, store.LoadAll());
  const std::set<std::string> folders(checked.begin(), checked.end());
  for (const TaskRecord& record : records) {
    if (record.state != TaskState::kDone || !folders.contains(record.directory)) continue;
    DF_ASSIGN_OR_RETURN(std::vector<FileStamp> files, ListFiles(root / record.directory));
    const TaskResult result{.stages = record.stages,
                            .output_bytes = record.output_bytes,
                            .directory = record.directory,
                            .files = std::move(files),
                            .detail = record.detail,
                            .status = record.status,
                            .worker = record.worker,
                            .peak_rss_bytes = record.peak_rss_bytes,
                            .started_unix_ms = record.started_unix_ms,
                            .finished_unix_ms = record.finished_unix_ms};
    DF_RETURN_IF_ERROR(store.Finish(record.task.key, result, record.fingerprint));
  }
  return {};
}

/// Queues the episodes anew wherever the queue beside them uploads to.
Status TellUploads(const fs::path& root, const std::vector<std::string>& checked) {
  std::error_code ignored;
  const fs::path queue_dir = root / kRunFolder;
  if (!fs::exists(queue_dir / "upload.sqlite", ignored)) return {};
  DF_ASSIGN_OR_RETURN(UploadQueue queue, UploadQueue::Open(queue_dir));
  DF_ASSIGN_OR_RETURN(const auto counts, queue.Counts());
  std::vector<UploadEntry> entries;
  for (const auto& [destination, count] : counts) {
    for (const std::string& folder : checked) {
      DF_ASSIGN_OR_RETURN(UploadEntry entry,
                          MakeUploadEntry(destination, EpisodeKey(root, folder), root, folder));
      entries.push_back(std::move(entry));
    }
  }
  return queue.Enqueue(entries);
}

}  // namespace

std::string FormatCheck(const CheckedEpisode& episode) {
  Json cameras = Json::object();
  for (const CheckedCamera& camera : episode.cameras) {
    cameras[camera.serial] = {{"role", camera.role},
                              {"score", Rounded(camera.score, 1e4)},
                              {"overlap", Rounded(camera.overlap, 1e4)},
                              {"shift_px", Rounded(camera.shift_px, 100)},
                              {"shift_mm", Rounded(camera.shift_mm, 100)},
                              {"time_offset_frames", Rounded(camera.time_offset_frames, 100)},
                              {"time_correlation", Rounded(camera.time_correlation, 1e4)},
                              {"depth_error_mm", Rounded(camera.depth_error_mm, 100)},
                              {"depth_within_2cm", Rounded(camera.depth_within_2cm, 1e4)},
                              {"visible_fraction", Rounded(camera.visible_fraction, 1e4)},
                              {"moments", camera.moments},
                              {"notes", camera.notes}};
  }
  return Json{{"method", "gripper_overlap"},
              {"version", kCheckVersion},
              {"score", Rounded(episode.score, 1e4)},
              {"cameras", cameras}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<double> ReadCheckScore(const fs::path& directory) {
  const Result<Json> quality = ReadJsonObject(directory / kQualityFile);
  if (!quality) return std::nullopt;
  const auto check = quality->find("check");
  if (check == quality->end() || !check->is_object()) return std::nullopt;
  const auto score = check->find("score");
  if (score == check->end() || !score->is_number()) return std::nullopt;
  return score->get<double>();
}

Result<CheckedEpisode> CheckEpisode(const fs::path& directory, const LabelCheckOptions& options) {
  constexpr std::string_view kPoses = "gripper_poses";
  DF_ASSIGN_OR_RETURN(const ProductArrays tracks,
                      ProductArrays::Open(directory / kTracksFile, std::span(&kPoses, 1)));
  DF_ASSIGN_OR_RETURN(const ProductArrays extrinsics,
                      ProductArrays::Open(directory / kExtrinsicsFile));
  DF_ASSIGN_OR_RETURN(Json quality, ReadJsonObject(directory / kQualityFile));
  DF_ASSIGN_OR_RETURN(const SaidMotion motion, ReadSaidMotion(tracks));
  DF_ASSIGN_OR_RETURN(const std::vector<std::string> serials, tracks.CamerasWithTracks());
  const std::string source_path = quality.value("source_path", "");

  const Json earlier = EarlierCheck(quality);

  CheckedEpisode episode;
  for (const std::string& serial : serials) {
    DF_ASSIGN_OR_RETURN(const SaidCamera camera,
                        ReadSaidCamera(tracks, extrinsics, serial, motion.steps()));
    CheckedCamera& checked = episode.cameras.emplace_back();
    checked.serial = serial;
    const auto role = quality.find("cameras");
    if (role != quality.end() && role->is_object() && role->contains(serial)) {
      checked.role = (*role)[serial].value("role", "");
    }
    DF_ASSIGN_OR_RETURN(const SaidMotion seen, MotionSeenBy(serial, tracks, motion));
    DF_RETURN_IF_ERROR(CheckCamera(directory, source_path, seen, camera, options, checked));
    if (const auto was = earlier.find(serial); was != earlier.end()) KeepEarlier(*was, checked);
    if (!camera.is_wrist && checked.score) {
      episode.score = std::min(episode.score.value_or(1), *checked.score);
    }
  }
  if (options.write) {
    quality["check"] = Json::parse(FormatCheck(episode));
    const std::string text = quality.dump(2, ' ', false, Json::error_handler_t::replace);
    DF_RETURN_IF_ERROR(WriteFileAtomically(directory / kQualityFile, text + "\n"));
  }
  return episode;
}

Status AnnounceChecked(std::span<const fs::path> directories) {
  std::map<fs::path, std::vector<std::string>> folders;  // by the root that keeps track of them
  for (const fs::path& directory : directories) {
    const fs::path folder = fs::absolute(directory / "").lexically_normal().parent_path();
    std::error_code ignored;
    for (fs::path root = folder.parent_path(); root != root.parent_path();
         root = root.parent_path()) {
      if (!fs::is_directory(root / kRunFolder, ignored)) continue;
      folders[root].push_back(folder.lexically_relative(root).generic_string());
      break;
    }
  }
  for (const auto& [root, checked] : folders) {
    DF_RETURN_IF_ERROR(TellRun(root, checked));
    DF_RETURN_IF_ERROR(TellUploads(root, checked));
  }
  return {};
}

}  // namespace droidflow

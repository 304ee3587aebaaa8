#include "droidflow/pipeline/verify.h"

#include "droidflow/formats/npz_reader.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/geometry/projection.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/tracks_layout.h"
#include "droidflow/pipeline/verify_internal.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <thread>

#include <fmt/ranges.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr double kRotationTolerance = 1e-5;  // float32 entries
constexpr double kPositionTolerance_m = 2e-6;
constexpr double kFloatEpsilon = 1.2e-7;

/// Whoever reads an axis by a letter: the same letter must have one length throughout an episode.
using Lengths = std::map<char, std::int64_t>;

struct ExpectedArray {
  std::string name;
  std::string_view descr;  ///< "<f4"; "<U": any text
  std::string_view axes;   ///< letters of Lengths, or digits
  bool may_be_nan = false;
  bool optional = false;
};

class EpisodeVerifier : private EpisodeChecker {
 public:
  EpisodeVerifier(fs::path directory, const VerifyOptions& options)
      : EpisodeChecker(std::move(directory)), options_(options) {}

  VerifiedEpisode Run() {
    CheckQuality();
    PointsAtStep wrist_points;
    if (const auto tracks = Opened(kTracksFile, OpenTracks(directory_ / kTracksFile))) {
      const auto extrinsics =
          Opened(kExtrinsicsFile, NpzReader::Open(directory_ / kExtrinsicsFile));
      CheckTracks(*tracks);
      if (extrinsics) CheckExtrinsics(*extrinsics);
      for (const std::string& serial : cameras_) {
        CheckCamera(*tracks, extrinsics ? &*extrinsics : nullptr, serial);
      }
      if (extrinsics) wrist_points = WristPoints(*tracks, *extrinsics);
    }
    for (const std::string& serial : recorded_) CheckVideo(serial);
    std::optional<DepthComparison> wrist_depth;
    for (const std::string& serial : CamerasThatMayHaveDepth()) {
      const bool is_wrist = serial == wrist_;
      CheckedDepth checked = CheckDepth(DepthOf(serial, is_wrist ? wrist_points : nullptr));
      std::ranges::move(checked.problems, std::back_inserter(problems_));
      if (is_wrist) wrist_depth = checked.comparison;
    }
    return {directory_, std::move(problems_), wrist_depth};
  }

 private:
  std::optional<NpzReader> Opened(const char* name, Result<NpzReader> archive) {
    if (archive) return *std::move(archive);
    Problem("{}: {}", name, archive.error().message);
    return std::nullopt;
  }

  /// Reads an array and checks its type, its shape and that it is finite.
  std::optional<NpyArray> Read(const NpzReader& archive, const ExpectedArray& expected) {
    if (!archive.Contains(expected.name)) {
      if (!expected.optional) Problem("{}: missing", expected.name);
      return std::nullopt;
    }
    Result<NpyArray> array = archive.Read(expected.name);
    if (!array) {
      Problem("{}", array.error().message);
      return std::nullopt;
    }
    if (!std::string_view(array->descr).starts_with(expected.descr)) {
      Problem("{}: want type {}, have {}", expected.name, expected.descr, array->descr);
      return std::nullopt;
    }
    bool fits = array->shape.size() == expected.axes.size();
    for (std::size_t i = 0; fits && i < expected.axes.size(); ++i) {
      const char axis = expected.axes[i];
      const std::int64_t want = axis >= '0' && axis <= '9'
                                    ? axis - '0'
                                    : lengths_.try_emplace(axis, array->shape[i]).first->second;
      fits = array->shape[i] == want;
    }
    if (!fits) {
      Problem("{}: want shape [{}] with {}, have [{}]",
              expected.name,
              fmt::join(expected.axes, ","),
              lengths_,
              fmt::join(array->shape, ","));
      return std::nullopt;
    }
    owners_.push_back(array->owner);
    if (!expected.may_be_nan && !IsFinite(*array)) {
      Problem("{}: values that are not finite", expected.name);
      return std::nullopt;
    }
    return *std::move(array);
  }

  static bool IsFinite(const NpyArray& array) {
    const auto finite = [](const auto& values) {
      return std::ranges::all_of(*values, [](double value) { return std::isfinite(value); });
    };
    if (const auto values = array.As<float>()) return finite(values);
    if (const auto values = array.As<double>()) return finite(values);
    return true;
  }

  template <typename T>
  std::optional<std::span<const T>> Values(const std::optional<NpyArray>& array) {
    if (!array) return std::nullopt;
    const Result<std::span<const T>> values = array->As<T>();
    if (values) return *values;
    Problem("{}", values.error().message);
    return std::nullopt;
  }

  /// Poses [K,4,4]: rotations orthonormal, last row 0 0 0 1.
  template <typename T>
  void CheckPoses(const std::string& name, std::span<const T> matrices) {
    for (std::size_t i = 0; i + 16 <= matrices.size(); i += 16) {
      const std::span<const T> m = matrices.subspan(i, 16);
      const bool last_row = m[12] == 0 && m[13] == 0 && m[14] == 0 && m[15] == 1;
      if (last_row && IsRotation(TransformFrom(m).linear(), kRotationTolerance)) continue;
      Problem("{}: pose {} is not a rigid transform", name, i / 16);
      return;
    }
  }

  template <typename T>
  static Transform TransformFrom(std::span<const T> m) {
    Transform pose;
    for (int row = 0; row < 4; ++row) {
      for (int column = 0; column < 4; ++column) {
        pose.matrix()(row, column) =
            m[4 * static_cast<std::size_t>(row) + static_cast<std::size_t>(column)];
      }
    }
    return pose;
  }

  void CheckQuality() {
    const auto quality = ReadJson(kQualityFile);
    if (!quality) return;
    for (const char* key : {"episode_id",
                            "source_path",
                            "outcome",
                            "num_frames",
                            "num_track_points",
                            "external_cameras",
                            "wrist_camera",
                            "cameras_with_2d_tracks",
                            "cam2base_calibration",
                            "droidflow_version",
                            "config",
                            "cameras",
                            "path_length_mm",
                            "warnings",
                            "timings_ms"}) {
      if (!quality->contains(key)) Problem("{}: no key {}", kQualityFile, key);
    }
    try {
      lengths_['T'] = quality->value("num_frames", std::int64_t{0});
      lengths_['N'] = quality->value("num_track_points", std::int64_t{0});
      lengths_['P'] = lengths_['N'] / 2;
      cameras_ = quality->value("cameras_with_2d_tracks", std::vector<std::string>{});
      const Json cameras = quality->value("cameras", Json::object());
      for (const auto& [serial, camera] : cameras.items()) {
        const Json recording = camera.value("recording", Json());
        if (recording.is_object() && recording.value("file", Json()).is_string()) {
          recorded_.push_back(serial);
        }
        const Json valid_fraction = camera.value("depth_valid_fraction", Json());
        if (!valid_fraction.is_null()) depth_fractions_[serial] = valid_fraction.get<double>();
      }
      const Json wrist = quality->value("wrist_camera", Json());
      if (!wrist.is_null()) wrist_ = wrist.get<std::string>();
      const Json config = quality->value("config", Json::object());
      min_depth_m_ = config.value("min_point_depth_m", 0.0);
      poses_at_steps_ = config.value("pose_time", "step") == "step";
    } catch (const Json::exception& error) {
      Problem("{}: {}", kQualityFile, error.what());
    }
    if (lengths_['T'] < 1) Problem("{}: num_frames is {}", kQualityFile, lengths_['T']);
    if (lengths_['N'] < 2) Problem("{}: num_track_points is {}", kQualityFile, lengths_['N']);
  }

  void CheckTracks(const NpzReader& tracks) {
    const auto points = Read(tracks, {"tracks_3d", "<f4", "TN3"});
    const auto centroids = Read(tracks, {"contact_centroids", "<f4", "T3"});
    Read(tracks, {"contact_points_local", "<f8", "P3"});
    const auto steps = Read(tracks, {"normalized_tracks_3d", "<f4", "MN3"});
    const auto step_centroids = Read(tracks, {"normalized_centroids", "<f4", "M3"});
    for (const char* name : {"contact_frames", "left_contact_frames", "right_contact_frames"}) {
      if (const auto poses = Values<float>(Read(tracks, {name, "<f4", "T44"})))
        CheckPoses(name, *poses);
    }
    for (const char* name :
         {"normalized_frames", "normalized_left_frames", "normalized_right_frames"}) {
      if (const auto poses = Values<float>(Read(tracks, {name, "<f4", "M44"})))
        CheckPoses(name, *poses);
    }
    if (const auto poses = Values<double>(Read(tracks, {"gripper_poses", "<f8", "T44"}))) {
      CheckPoses("gripper_poses", *poses);
    }
    Read(tracks, {"gripper_positions", "<f8", "T"});
    Read(tracks, {"cartesian_positions", "<f8", "T6"});
    Read(tracks, {"timestamps_ms", "<i8", "T", false, /*optional=*/true});
    Read(tracks, {"cameras_with_2d_tracks", "<U", "C"});
    const auto distance = Values<double>(Read(tracks, {"cumulative_distance_mm", "<f8", "T"}));
    const auto indices =
        Values<std::int32_t>(Read(tracks, {"frame_to_normalized_idx", "<i4", "T"}));
    const auto step_mm = Values<double>(Read(tracks, {"normalized_step_size_mm", "<f8", ""}));
    CheckNumber(tracks, "num_frames", lengths_['T']);
    CheckNumber(tracks, "num_points_per_finger", lengths_['P']);
    CheckNumber(tracks, "num_normalized_steps", lengths_['M']);
    const auto fps = Values<double>(Read(tracks, {"fps", "<f8", ""}));
    if (fps && !((*fps)[0] > 0)) Problem("fps: want more than 0, have {}", (*fps)[0]);

    if (points && centroids) CheckMeans("contact_centroids", *points, *centroids);
    if (steps && step_centroids) CheckMeans("normalized_centroids", *steps, *step_centroids);
    if (distance) CheckDistances(*distance);
    if (indices && !std::ranges::all_of(*indices, [&](std::int32_t index) {
          return index >= 0 && index < lengths_['M'];
        })) {
      Problem("frame_to_normalized_idx: an index outside 0 … {}", lengths_['M'] - 1);
    }
    if (step_mm && step_centroids) CheckSpacing(*step_centroids, (*step_mm)[0]);
  }

  void CheckNumber(const NpzReader& tracks, const char* name, std::int64_t want) {
    const auto value = Values<std::int64_t>(Read(tracks, {name, "<i8", ""}));
    if (value && (*value)[0] != want) Problem("{}: want {}, have {}", name, want, (*value)[0]);
  }

  /// Centroids are the means of their points.
  void CheckMeans(const char* name, const NpyArray& points, const NpyArray& means) {
    const auto xyz = *points.As<float>();
    const auto mean = *means.As<float>();
    const auto count = static_cast<std::size_t>(points.shape[1]);
    for (std::size_t t = 0; 3 * t < mean.size(); ++t) {
      std::array<double, 3> sum{};
      for (std::size_t i = 0; i < 3 * count; ++i) sum[i % 3] += xyz[3 * count * t + i];
      for (std::size_t k = 0; k < 3; ++k) {
        const double want = sum[k] / static_cast<double>(count);
        if (std::abs(want - mean[3 * t + k]) <= kPositionTolerance_m) continue;
        Problem("{}: row {} is not the mean of its points: want {}, have {}",
                name,
                t,
                want,
                mean[3 * t + k]);
        return;
      }
    }
  }

  void CheckDistances(std::span<const double> distance_mm) {
    if (distance_mm[0] != 0) Problem("cumulative_distance_mm: starts at {}", distance_mm[0]);
    if (!std::ranges::is_sorted(distance_mm)) Problem("cumulative_distance_mm: decreases");
  }

  /// Neighbouring resampled centroids are at most a step apart: a chord is no longer than its arc.
  void CheckSpacing(const NpyArray& centroids, double step_mm) {
    const auto xyz = *centroids.As<float>();
    for (std::size_t i = 3; i < xyz.size(); i += 3) {
      const Vector3 from(xyz[i - 3], xyz[i - 2], xyz[i - 1]);
      const Vector3 to(xyz[i], xyz[i + 1], xyz[i + 2]);
      const double apart_mm = (to - from).norm() * 1000;
      if (apart_mm <= step_mm + kPositionTolerance_m * 1000) continue;
      Problem("normalized_centroids: steps {} and {} are {:.6f} mm apart, want at most {}",
              i / 3 - 1,
              i / 3,
              apart_mm,
              step_mm);
      return;
    }
  }

  void CheckExtrinsics(const NpzReader& extrinsics) {
    CheckNumber(extrinsics, "num_frames", lengths_['T']);
    for (const std::string& name : extrinsics.names()) {
      if (name.starts_with("external_") && !name.starts_with("external_source_")) {
        if (const auto pose = Values<double>(Read(extrinsics, {name, "<f8", "44"})))
          CheckPoses(name, *pose);
      }
    }
    if (const auto poses =
            Values<double>(Read(extrinsics, {"wrist_extrinsics", "<f8", "T44", false, true}))) {
      CheckPoses("wrist_extrinsics", *poses);
    }
  }

  /// The camera's 2-D tracks, intrinsics and image size.
  void CheckCamera(const NpzReader& tracks,
                   const NpzReader* extrinsics,
                   const std::string& serial) {
    const auto uv = Read(tracks, {"tracks_2d_" + serial, "<f4", "TN2", /*may_be_nan=*/true});
    const auto matrix = Values<double>(Read(tracks, {"intrinsics_" + serial, "<f8", "33"}));
    const auto size = Values<std::int64_t>(Read(tracks, {"image_size_" + serial, "<i8", "2"}));
    if (!uv || !matrix || !size) return;
    if ((*size)[0] < 1 || (*size)[1] < 1) {
      Problem("image_size_{}: want a width and a height, have {} and {}",
              serial,
              (*size)[0],
              (*size)[1]);
    }
    const std::span<const double> K = *matrix;
    if (const auto json = ReadJson(IntrinsicsFile(serial))) {
      for (const auto& [key, want] : {std::pair{"fx", K[0]},
                                      {"fy", K[4]},
                                      {"cx", K[2]},
                                      {"cy", K[5]},
                                      {"width", static_cast<double>((*size)[0])},
                                      {"height", static_cast<double>((*size)[1])}}) {
        const auto found = json->find(key);
        if (found == json->end() || !found->is_number() || found->get<double>() != want) {
          Problem("{}: {} is not that of tracks.npz", IntrinsicsFile(serial).string(), key);
        }
      }
    }
    if (extrinsics == nullptr || !poses_at_steps_) return;
    const bool fixed = extrinsics->Contains("external_" + serial);
    const auto poses =
        fixed ? extrinsics->Read("external_" + serial) : extrinsics->Read("wrist_extrinsics");
    const auto points = tracks.Read("tracks_3d");
    if (!poses || !points) {
      Problem("tracks_2d_{}: extrinsics.npz has no pose of that camera", serial);
      return;
    }
    const auto pose_values = poses->As<double>();
    const auto xyz = points->As<float>();
    if (!pose_values || !xyz) return;  // said before
    CheckProjection(serial, *pose_values, fixed, *xyz, *uv->As<float>(), K);
  }

  /// 2-D tracks are the projection of the 3-D ones, as far as float32 points tell.
  void CheckProjection(const std::string& serial,
                       std::span<const double> poses,
                       bool fixed,
                       std::span<const float> xyz,
                       std::span<const float> uv,
                       std::span<const double> K) {
    const auto frames = static_cast<std::size_t>(lengths_['T']);
    const auto points = static_cast<std::size_t>(lengths_['N']);
    if (poses.size() != (fixed ? 1 : frames) * 16 || xyz.size() != frames * points * 3) return;
    const Intrinsics intrinsics{.fx_px = K[0], .fy_px = K[4], .cx_px = K[2], .cy_px = K[5]};
    for (std::size_t t = 0; t < frames; ++t) {
      const Transform T_cam_base = TransformFrom(poses.subspan(fixed ? 0 : 16 * t, 16)).inverse();
      for (std::size_t i = t * points; i < (t + 1) * points; ++i) {
        const Vector3 p_cam = T_cam_base * Vector3(xyz[3 * i], xyz[3 * i + 1], xyz[3 * i + 2]);
        const double z_m = p_cam.z();
        const bool seen = !std::isnan(uv[2 * i]) && !std::isnan(uv[2 * i + 1]);
        if (std::abs(z_m - min_depth_m_) < kPositionTolerance_m) continue;  // rounding decides
        const Pixel want = ProjectPoint(intrinsics, p_cam, min_depth_m_);
        const auto near = [&](double have, double expected, double centre, double focal_px) {
          const double slope = (focal_px + std::abs(expected - centre)) / z_m;  // pixels a metre
          return std::abs(have - expected) <=
                 1e-3 + 4 * kFloatEpsilon * (slope + std::abs(expected));
        };
        const bool fits = std::isnan(want.u_px) ? !seen
                                                : seen && near(uv[2 * i], want.u_px, K[2], K[0]) &&
                                                      near(uv[2 * i + 1], want.v_px, K[5], K[4]);
        if (fits) continue;
        Problem("tracks_2d_{}: step {}, point {}: want ({:.3f}, {:.3f}), have ({:.3f}, {:.3f})",
                serial,
                t,
                i - t * points,
                want.u_px,
                want.v_px,
                uv[2 * i],
                uv[2 * i + 1]);
        return;
      }
    }
  }

  /// Every step is shown by a frame that the recording has, or by none.
  void CheckVideo(const std::string& serial) {
    const std::string name = VideoFile(serial).string();
    const auto video = ReadJson(name);
    if (!video) return;
    try {
      const auto step_to_frame = video->at("step_to_frame").get<std::vector<std::int64_t>>();
      const auto steps = static_cast<std::int64_t>(step_to_frame.size());
      if (steps != lengths_['T']) {
        Problem("{}: step_to_frame: want {} entries, have {}", name, lengths_['T'], steps);
      }
      video_steps_[serial] = step_to_frame;
      const Json& frames = video->at("frames");
      const std::int64_t end = frames.is_null() ? steps : frames.get<std::int64_t>();
      for (const std::int64_t frame : step_to_frame) {
        if (frame >= -1 && frame < end) continue;
        Problem("{}: step_to_frame: want frames from -1 to {}, have {}", name, end - 1, frame);
        return;
      }
    } catch (const Json::exception& error) {
      Problem("{}: {}", name, error.what());
    }
  }

  /// The wrist camera's track points; empty where the arrays are not what they should be, which was
  /// said before. With poses of the capture, z is off by what the gripper moved until the step.
  PointsAtStep WristPoints(const NpzReader& tracks, const NpzReader& extrinsics) {
    const auto uv = tracks.Read("tracks_2d_" + wrist_);
    const auto xyz = tracks.Read("tracks_3d");
    const auto poses = extrinsics.Read("wrist_extrinsics");
    if (!uv || !xyz || !poses) return {};
    const auto is = [](const NpyArray& array, DType type, const NpyShape& shape) {
      return array.CheckIs(type) && array.shape == shape;
    };
    const std::int64_t steps = lengths_['T'];
    const std::int64_t points = lengths_['N'];
    if (!is(*uv, DType::kF4, {steps, points, 2}) || !is(*xyz, DType::kF4, {steps, points, 3}) ||
        !is(*poses, DType::kF8, {steps, 4, 4})) {
      return {};
    }
    return [uv = *uv, xyz = *xyz, poses = *poses, points](std::int64_t step) {
      const auto pixels = *uv.As<float>();
      const auto points_m = *xyz.As<float>();
      const auto first = static_cast<std::size_t>(step * points);
      const Transform T_cam_base =
          TransformFrom(poses.As<double>()->subspan(16 * static_cast<std::size_t>(step), 16))
              .inverse();
      std::vector<SeenPoint> seen(static_cast<std::size_t>(points));
      for (std::size_t i = 0; i < seen.size(); ++i) {
        const auto p_m = points_m.subspan(3 * (first + i), 3);
        seen[i] = {.u_px = pixels[2 * (first + i)],
                   .v_px = pixels[2 * (first + i) + 1],
                   .z_m = (T_cam_base * Vector3(p_m[0], p_m[1], p_m[2])).z()};
      }
      return seen;
    };
  }

  /// Those with a folder, and those that have depth by quality.json.
  std::set<std::string> CamerasThatMayHaveDepth() const {
    std::set<std::string> serials;
    for (const auto& [serial, fraction] : depth_fractions_) serials.insert(serial);
    std::error_code error;
    for (auto entry = fs::directory_iterator(directory_ / "recordings", error);
         !error && entry != fs::directory_iterator();
         entry.increment(error)) {
      serials.insert(entry->path().filename().string());
    }
    return serials;
  }

  DepthToCheck DepthOf(const std::string& serial, PointsAtStep points_at) {
    DepthToCheck depth{.directory = directory_,
                       .serial = serial,
                       .steps = lengths_['T'],
                       .every_frame = options_.every_depth_frame,
                       .decode_threads = options_.decode_threads,
                       .points_at = std::move(points_at)};
    if (const auto found = depth_fractions_.find(serial); found != depth_fractions_.end()) {
      depth.valid_fraction = found->second;
    }
    if (const auto found = video_steps_.find(serial); found != video_steps_.end()) {
      depth.step_to_frame = found->second;
    }
    return depth;
  }

  VerifyOptions options_;
  std::vector<std::shared_ptr<const void>> owners_;  ///< of what Values() has given spans of
  Lengths lengths_;
  std::vector<std::string> cameras_;
  std::vector<std::string> recorded_;  ///< cameras whose recording was found
  std::string wrist_;
  std::map<std::string, double> depth_fractions_;                 ///< of pixels, by quality.json
  std::map<std::string, std::vector<std::int64_t>> video_steps_;  ///< frame of each step
  double min_depth_m_ = 0;
  bool poses_at_steps_ = true;
};

bool IsProduct(const fs::path& name) {
  return name == kTracksFile || name == kExtrinsicsFile || name == kQualityFile;
}

}  // namespace

VerifiedEpisode VerifyEpisode(const fs::path& directory, const VerifyOptions& options) {
  return EpisodeVerifier(directory, options).Run();
}

void VerifyEpisodes(const std::vector<fs::path>& directories,
                    bool every_depth_frame,
                    int threads,
                    const std::function<void(const VerifiedEpisode&)>& on_verified) {
  const int episodes = static_cast<int>(std::clamp<std::size_t>(directories.size(), 1, 1000));
  const VerifyOptions options{.every_depth_frame = every_depth_frame,
                              .decode_threads = std::clamp(threads / episodes, 1, 4)};
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::map<std::size_t, VerifiedEpisode> waiting;  // for those before them
  std::size_t next_shown = 0;
  const auto work = [&] {
    for (std::size_t i = next++; i < directories.size(); i = next++) {
      VerifiedEpisode verified = VerifyEpisode(directories[i], options);
      const std::lock_guard lock(mutex);
      waiting.emplace(i, std::move(verified));
      for (auto first = waiting.find(next_shown); first != waiting.end();
           first = waiting.find(next_shown)) {
        on_verified(first->second);
        waiting.erase(first);
        ++next_shown;
      }
    }
  };
  std::vector<std::jthread> others;
  for (int i = 1; i < threads; ++i) others.emplace_back(work);
  work();
}

Result<std::vector<fs::path>> FindEpisodeOutputs(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error))
    return Fail(ErrorKind::kNotFound, "no such folder: {}", path.string());
  std::vector<fs::path> found;
  auto entries = fs::recursive_directory_iterator(path, error);
  for (; !error && entries != fs::recursive_directory_iterator(); entries.increment(error)) {
    if (entries->path().filename() == ".droidflow") {
      entries.disable_recursion_pending();
    } else if (IsProduct(entries->path().filename())) {
      found.push_back(entries->path().parent_path());
    }
  }
  if (error) return FailErrno(error.value(), fmt::format("cannot list {}", path.string()));
  std::ranges::sort(found);
  found.erase(std::unique(found.begin(), found.end()), found.end());
  if (found.empty()) return Fail(ErrorKind::kNotFound, "no finished episode: {}", path.string());
  return found;
}

}  // namespace droidflow

#include "droidflow/pipeline/tracks_layout.h"

#include "droidflow/core/files.h"
#include "droidflow/formats/npz_writer.h"
#include "droidflow/tracks/camera_poses.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <optional>
#include <string>
#include <sys/mman.h>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

/// More steps or points would not come from a robot; they keep products of lengths small.
constexpr std::int64_t kMostRows = 10'000'000;
constexpr std::int64_t kMostPixels = 1 << 20;
/// Of all arrays together: a small file could ask for any amount of memory.
constexpr double kMost_bytes = 16e9;

/// Reads arrays that must have a type and a shape.
class SourceReader {
 public:
  explicit SourceReader(const NpzReader& archive) : archive_(archive) {}

  [[nodiscard]] bool Contains(const std::string& name) const { return archive_.Contains(name); }

  template <typename T>
  [[nodiscard]] Result<std::vector<T>> Array(const std::string& name, const NpyShape& shape) const {
    DF_ASSIGN_OR_RETURN(const NpyArray array, archive_.Read(name));
    if (array.shape != shape) {
      return Refuse("{}: want shape [{}], have [{}]",
                    name,
                    fmt::join(shape, ","),
                    fmt::join(array.shape, ","));
    }
    if constexpr (std::is_same_v<T, double>) {
      DF_ASSIGN_OR_RETURN(std::vector<double> values, array.ToDoubles());
      if (!std::ranges::all_of(values, [](double value) { return std::isfinite(value); })) {
        return Refuse("{}: values that are not finite", name);
      }
      return values;
    } else {
      DF_ASSIGN_OR_RETURN(const std::span<const T> values, array.As<T>());
      return std::vector<T>(values.begin(), values.end());
    }
  }
  template <typename T>
  [[nodiscard]] Result<T> Scalar(const std::string& name) const {
    DF_ASSIGN_OR_RETURN(const std::vector<T> values, Array<T>(name, {}));
    return values[0];
  }
  /// A number above 0, also as a thousandth.
  [[nodiscard]] Result<double> Positive(const std::string& name) const {
    DF_ASSIGN_OR_RETURN(const double value, Scalar<double>(name));
    if (!(value / 1000 > 0)) return Refuse("{}: want more than 0, have {}", name, value);
    return value;
  }
  [[nodiscard]] Result<std::int64_t> Count(const std::string& name) const {
    DF_ASSIGN_OR_RETURN(const std::int64_t value, Scalar<std::int64_t>(name));
    if (value < 1 || value > kMostRows) {
      return Refuse("{}: want 1 to {}, have {}", name, kMostRows, value);
    }
    return value;
  }
  /// One pose, or a row of them.
  [[nodiscard]] Result<std::vector<Transform>> Poses(const std::string& name,
                                                     const NpyShape& shape) const {
    DF_ASSIGN_OR_RETURN(const std::vector<double> values, Array<double>(name, shape));
    std::vector<Transform> poses(values.size() / 16);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto row = static_cast<Eigen::Index>(i % 16 / 4);
      poses[i / 16].matrix()(row, static_cast<Eigen::Index>(i % 4)) = values[i];
    }
    return poses;
  }
  [[nodiscard]] Result<NpyShape> ShapeOf(const std::string& name) const {
    DF_ASSIGN_OR_RETURN(const NpyArray array, archive_.Read(name));
    return array.shape;
  }
  [[nodiscard]] Result<std::vector<std::string>> Texts(const std::string& name) const {
    DF_ASSIGN_OR_RETURN(const NpyArray array, archive_.Read(name));
    return array.ToStrings();
  }
  /// What stands behind `prefix` in names of arrays.
  [[nodiscard]] std::vector<std::string> Suffixes(std::string_view prefix) const {
    std::vector<std::string> suffixes;
    for (const std::string& name : archive_.names()) {
      if (name.starts_with(prefix)) suffixes.push_back(name.substr(prefix.size()));
    }
    return suffixes;
  }

  template <typename... Args>
  [[nodiscard]] tl::unexpected<Error> Refuse(fmt::format_string<Args...> format,
                                             Args&&... args) const {
    return Fail(ErrorKind::kInvalidData,
                "{}: {}",
                fmt::format(format, std::forward<Args>(args)...),
                archive_.path());
  }

 private:
  const NpzReader& archive_;
};

/// What stands in both layouts.
Status ReadCommon(const SourceReader& in, TracksSource& source) {
  Trajectory& trajectory = source.episode.trajectory;
  DF_ASSIGN_OR_RETURN(const std::int64_t steps, in.Count("num_frames"));
  DF_ASSIGN_OR_RETURN(const std::int64_t points, in.Count("num_points_per_finger"));
  DF_ASSIGN_OR_RETURN(const std::vector<double> poses,
                      in.Array<double>("cartesian_positions", {steps, 6}));
  trajectory.cartesian_position.resize(static_cast<std::size_t>(steps));
  for (std::size_t i = 0; i < poses.size(); ++i) {
    trajectory.cartesian_position[i / 6].at(i % 6) = poses[i];
  }
  DF_ASSIGN_OR_RETURN(trajectory.gripper_position, in.Array<double>("gripper_positions", {steps}));
  if (in.Contains("timestamps_ms")) {
    DF_ASSIGN_OR_RETURN(trajectory.step_start_ms, in.Array<std::int64_t>("timestamps_ms", {steps}));
  }
  DF_ASSIGN_OR_RETURN(const std::vector<double> pad,
                      in.Array<double>("contact_points_local", {points, 3}));
  for (std::size_t i = 0; i < pad.size(); i += 3) {
    source.episode.pad_points_m.emplace_back(pad[i], pad[i + 1], pad[i + 2]);
  }
  DF_ASSIGN_OR_RETURN(source.episode.fps, in.Scalar<double>("fps"));
  DF_ASSIGN_OR_RETURN(source.options.step_mm, in.Positive("normalized_step_size_mm"));
  if (const std::string key = "gripper_joint_max_rad";
      in.Contains(key) || source.options.tracks_layout == TracksLayout::kCompact) {
    DF_ASSIGN_OR_RETURN(source.options.joint_max_rad, in.Scalar<double>(key));
  }
  return {};
}

/// @param poses  of the camera, [T] or one.
Status ReadCamera(const SourceReader& in,
                  const std::string& serial,
                  std::vector<Transform> poses,
                  TracksSource& source) {
  EpisodeData& episode = source.episode;
  const auto steps = static_cast<std::int64_t>(episode.trajectory.size());
  EpisodeCamera camera;
  camera.serial = serial;
  camera.pose = poses.front();
  const std::string name = "intrinsics_" + serial;
  DF_ASSIGN_OR_RETURN(const std::vector<double> k, in.Array<double>(name, {3, 3}));
  const std::vector<double> pinhole{k[0], 0, k[2], 0, k[4], k[5], 0, 0, 1};
  if (k != pinhole) return in.Refuse("{}: want [{}], have [{}]", name, pinhole, k);
  DF_ASSIGN_OR_RETURN(const std::vector<std::int64_t> size,
                      in.Array<std::int64_t>("image_size_" + serial, {2}));
  if (size[0] < 1 || size[1] < 1 || size[0] > kMostPixels || size[1] > kMostPixels) {
    return in.Refuse("image_size_{}: want 1 to {}, have {}", serial, kMostPixels, size);
  }
  camera.intrinsics = {.fx_px = k[0],
                       .fy_px = k[4],
                       .cx_px = k[2],
                       .cy_px = k[5],
                       .width_px = static_cast<int>(size[0]),
                       .height_px = static_cast<int>(size[1])};
  if (const std::string capture = "capture_ms_" + serial; in.Contains(capture)) {
    if (episode.trajectory.step_start_ms.empty()) {
      return in.Refuse("{}: want timestamps_ms, too, have none", capture);
    }
    DF_ASSIGN_OR_RETURN(camera.capture_ms, in.Array<std::int64_t>(capture, {steps}));
    source.options.pose_time = PoseTime::kCapture;
  }
  episode.cameras.push_back(std::move(camera));
  episode.views.emplace_back().T_base_cam = std::move(poses);
  return {};
}

/// What only the compact layout has.
Status ReadCompact(const SourceReader& in, TracksSource& source) {
  DF_ASSIGN_OR_RETURN(const std::int64_t version, in.Scalar<std::int64_t>(kCompactKey));
  if (version != kCompactVersion) {
    return in.Refuse("{}: want {}, have {}", kCompactKey, kCompactVersion, version);
  }
  DF_ASSIGN_OR_RETURN(const std::int64_t is_float32, in.Scalar<std::int64_t>("float32_distances"));
  source.options.compat = is_float32 == 0 ? Compat::kNone : Compat::kOriginal;
  DF_ASSIGN_OR_RETURN(source.options.min_point_depth_m, in.Positive("min_point_depth_m"));
  DF_ASSIGN_OR_RETURN(const std::vector<double> xyz_m,
                      in.Array<double>("gripper_mount_xyz_m", {3}));
  DF_ASSIGN_OR_RETURN(const std::vector<double> rpy_rad,
                      in.Array<double>("gripper_mount_rpy_rad", {3}));
  std::ranges::copy(xyz_m, source.options.mount_xyz_m.begin());
  std::ranges::copy(rpy_rad, source.options.mount_rpy_rad.begin());
  DF_ASSIGN_OR_RETURN(const std::vector<std::string> serials, in.Texts("cameras_with_2d_tracks"));
  const auto steps = static_cast<std::int64_t>(source.episode.trajectory.size());
  for (const std::string& serial : serials) {
    const std::string name = "T_base_cam_" + serial;
    DF_ASSIGN_OR_RETURN(const NpyShape shape, in.ShapeOf(name));
    const bool is_fixed = !shape.empty() && shape[0] == 1;
    DF_ASSIGN_OR_RETURN(std::vector<Transform> poses, in.Poses(name, {is_fixed ? 1 : steps, 4, 4}));
    DF_RETURN_IF_ERROR(ReadCamera(in, serial, std::move(poses), source));
  }
  return {};
}

/// `config` of quality.json, as FormatTrackConfig writes it; what it lacks keeps its default.
Status ReadConfig(const std::filesystem::path& path, TrackOptions& options) {
  const Result<std::string> text = ReadFileText(path);
  if (!text && text.error().kind == ErrorKind::kNotFound) return {};
  if (!text) return tl::unexpected(text.error());
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  try {
    const nlohmann::json config = json.value("config", nlohmann::json::object());
    if (config.value("compat", "none") == ToString(Compat::kOriginal)) {
      options.compat = Compat::kOriginal;
    }
    options.min_point_depth_m = config.value("min_point_depth_m", options.MinPointDepthM());
    options.mount_xyz_m = config.value("mount_xyz_m", options.mount_xyz_m);
    options.mount_rpy_rad = config.value("mount_rpy_rad", options.mount_rpy_rad);
  } catch (const nlohmann::json::exception& error) {
    return Fail(ErrorKind::kInvalidData, "{}: {}", error.what(), path.string());
  }
  return {};
}

/// What the full layout leaves to the files beside it.
Status ReadBeside(const SourceReader& in,
                  const std::filesystem::path& directory,
                  TracksSource& source) {
  DF_RETURN_IF_ERROR(ReadConfig(directory / kQualityFile, source.options));
  DF_ASSIGN_OR_RETURN(const NpzReader extrinsics, NpzReader::Open(directory / kExtrinsicsFile));
  const SourceReader beside(extrinsics);
  const auto steps = static_cast<std::int64_t>(source.episode.trajectory.size());
  // Not cameras_with_2d_tracks: the original's are Python objects.
  for (const std::string& serial : in.Suffixes("tracks_2d_")) {
    const std::string fixed = "external_" + serial;
    const bool is_fixed = beside.Contains(fixed);
    DF_ASSIGN_OR_RETURN(
        std::vector<Transform> poses,
        is_fixed ? beside.Poses(fixed, {4, 4}) : beside.Poses("wrist_extrinsics", {steps, 4, 4}));
    DF_RETURN_IF_ERROR(ReadCamera(in, serial, std::move(poses), source));
  }
  return {};
}

/// What a compact file says of its size must be so.
Status CheckSize(const SourceReader& in, const TracksSource& source) {
  const EpisodeData& episode = source.episode;
  const std::size_t steps = episode.plan.steps.size();
  DF_ASSIGN_OR_RETURN(const std::int64_t want, in.Count("num_normalized_steps"));
  if (want != static_cast<std::int64_t>(steps)) {
    return in.Refuse("num_normalized_steps: want {} by the path, have {}", steps, want);
  }
  const auto numbers = static_cast<double>(episode.trajectory.size()) *
                           (3.0 + 2.0 * static_cast<double>(episode.cameras.size())) +
                       3.0 * static_cast<double>(steps);
  const double bytes =
      numbers * 2.0 * static_cast<double>(episode.pad_points_m.size()) * sizeof(float);
  if (bytes > kMost_bytes) {
    return in.Refuse(
        "want arrays of at most {:.0f} GB, have {:.0f} GB", kMost_bytes / kGiga, bytes / kGiga);
  }
  return {};
}

Status ComputeAll(TracksSource& source) {
  EpisodeData& episode = source.episode;
  const std::vector<Transform> T_base_ee = EePoses(episode.trajectory);
  DF_RETURN_IF_ERROR(ComputeTracks(source.options, T_base_ee, episode));
  for (std::size_t i = 0; i < episode.cameras.size(); ++i) {
    const EpisodeCamera& camera = episode.cameras[i];
    if (camera.capture_ms.empty()) continue;
    const RobotStates at_capture = InterpolateAt(T_base_ee,
                                                 episode.trajectory.gripper_position,
                                                 episode.trajectory.step_start_ms,
                                                 camera.capture_ms);
    episode.views[i].track.emplace(at_capture.T_base_ee,
                                   at_capture.gripper_position,
                                   GripperOf(source.options),
                                   episode.pad_points_m);
  }
  return {};
}

}  // namespace

TracksLayout LayoutOf(const NpzReader& tracks) {
  return tracks.Contains(kCompactKey) ? TracksLayout::kCompact : TracksLayout::kFull;
}

Result<TracksSource> ReadTracksSource(const NpzReader& tracks,
                                      const std::filesystem::path& directory) {
  TracksSource source;
  source.options.tracks_layout = LayoutOf(tracks);
  source.options.compress = tracks.HasDeflated() ? NpzCompression::kZip : NpzCompression::kNone;
  const SourceReader in(tracks);
  DF_RETURN_IF_ERROR(ReadCommon(in, source));
  if (source.options.tracks_layout == TracksLayout::kCompact) {
    DF_RETURN_IF_ERROR(ReadCompact(in, source));
  } else {
    DF_RETURN_IF_ERROR(ReadBeside(in, directory, source));
  }
  DF_RETURN_IF_ERROR(ComputeAll(source).map_error(During(tracks.path())));
  if (source.options.tracks_layout == TracksLayout::kCompact) {
    DF_RETURN_IF_ERROR(CheckSize(in, source));
  }
  return source;
}

Result<NpzReader> TracksInMemory(TracksSource& source,
                                 std::span<const std::string_view> only,
                                 const std::string& name) {
  const UniqueFd file(memfd_create("tracks.npz", MFD_CLOEXEC));
  UniqueFd written(file.valid() ? dup(file.get()) : -1);
  if (!written.valid()) return FailErrno(errno, "no memory to expand " + name);
  NpzWriter npz = NpzWriter::Create(std::move(written), name, NpzCompression::kNone);
  DF_RETURN_IF_ERROR(AddTracks(source.episode, source.options, only, npz));
  DF_RETURN_IF_ERROR(npz.Finish());
  return NpzReader::Open(file, name);
}

Result<NpzReader> OpenTracks(const std::filesystem::path& path,
                             std::span<const std::string_view> only) {
  DF_ASSIGN_OR_RETURN(NpzReader stored, NpzReader::Open(path));
  if (LayoutOf(stored) == TracksLayout::kFull) return stored;
  DF_ASSIGN_OR_RETURN(TracksSource source, ReadTracksSource(stored, path.parent_path()));
  source.options.tracks_layout = TracksLayout::kFull;
  return TracksInMemory(source, only, path.string());
}

}  // namespace droidflow

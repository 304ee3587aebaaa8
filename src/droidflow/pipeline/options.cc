#include "droidflow/pipeline/options.h"

#include "droidflow/core/files.h"
#include "droidflow/formats/checksum.h"

#include <charconv>
#include <cmath>
#include <functional>
#include <system_error>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

namespace droidflow {
namespace {

using Group = OptionInfo::Group;

/// One option: how its text becomes a value and back.
struct Option {
  OptionInfo info;
  std::vector<std::string_view> aliases;  ///< the original's names
  /// @return empty: understood. Otherwise what was expected.
  std::function<std::string(const std::string&, MetadataOptions&)> set;
  /// @return empty: not set, leave it out.
  std::function<std::string(const MetadataOptions&)> get;
};

template <typename T>
bool ParseNumber(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return false;
  if constexpr (std::is_floating_point_v<T>) return std::isfinite(value);
  return true;
}

bool ParseValue(const std::string& text, std::string& value) {
  value = text;
  return true;
}
bool ParseValue(const std::string& text, int& value) { return ParseNumber(text, value); }
bool ParseValue(const std::string& text, long long& value) { return ParseNumber(text, value); }
bool ParseValue(const std::string& text, double& value) { return ParseNumber(text, value); }
bool ParseValue(const std::string& text, bool& value) {
  if (text != "true" && text != "false") return false;
  value = text == "true";
  return true;
}
bool ParseValue(const std::string& text, std::array<double, 3>& value) {
  std::size_t begin = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t end = i < 2 ? text.find(',', begin) : text.size();
    if (end == std::string::npos) return false;
    if (!ParseNumber(std::string_view(text).substr(begin, end - begin), value[i])) return false;
    begin = end + 1;
  }
  return true;
}
bool ParseValue(const std::string& text, std::vector<std::string>& value) {
  value.clear();
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) value.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return true;
}
bool ParseValue(const std::string& text, PoseTime& value) {
  if (text != "step" && text != "capture") return false;
  value = text == "step" ? PoseTime::kStep : PoseTime::kCapture;
  return true;
}
bool ParseValue(const std::string& text, Compat& value) {
  if (text != "none" && text != "original") return false;
  value = text == "none" ? Compat::kNone : Compat::kOriginal;
  return true;
}
bool ParseValue(const std::string& text, std::optional<Outcome>& value) {
  if (text == "all") {
    value.reset();
    return true;
  }
  value = OutcomeFromString(text);
  return value.has_value();
}
bool ParseValue(const std::string& text, RecordingOrder& value) {
  Result<RecordingOrder> order = ParseRecordingOrder(text);
  if (!order) return false;
  value = *std::move(order);
  return true;
}
bool ParseValue(const std::string& text, DepthBackend& value) {
  Result<DepthBackend> backend = ParseDepthBackend(text);
  if (!backend) return false;
  value = *std::move(backend);
  return true;
}
/// For what has a …FromString.
template <typename T>
bool Assign(const std::optional<T>& parsed, T& value) {
  value = parsed.value_or(value);
  return parsed.has_value();
}
bool ParseValue(const std::string& text, MatcherPreset& value) {
  return Assign(MatcherPresetFromString(text), value);
}
bool ParseValue(const std::string& text, MapKind& value) {
  return Assign(MapKindFromString(text), value);
}
bool ParseValue(const std::string& text, TracksLayout& value) {
  return Assign(TracksLayoutFromString(text), value);
}
bool ParseValue(const std::string& text, NpzCompression& value) {
  return Assign(NpzCompressionFromString(text), value);
}
bool ParseValue(const std::string& text, RequireDepth& value) {
  for (const RequireDepth require : {RequireDepth::kNone, RequireDepth::kAny, RequireDepth::kAll}) {
    if (text != ToString(require)) continue;
    value = require;
    return true;
  }
  return false;
}
bool ParseValue(const std::string& text, HubLayout& value) {
  if (text != "files" && text != "shards") return false;
  value = text == "files" ? HubLayout::kFiles : HubLayout::kShards;
  return true;
}
bool ParseValue(const std::string& text, RunPart& value) {
  const std::size_t slash = text.find('/');
  return slash != std::string::npos &&
         ParseNumber(std::string_view(text).substr(0, slash), value.index) &&
         ParseNumber(std::string_view(text).substr(slash + 1), value.count);
}
bool ParseValue(const std::string& text, RowAlign& value) {
  if (text != "auto" && text != "off") return false;
  value = text == "auto" ? RowAlign::kAuto : RowAlign::kOff;
  return true;
}
template <typename T>
bool ParseValue(const std::string& text, std::optional<T>& value) {
  T parsed;
  if (!ParseValue(text, parsed)) return false;
  value = parsed;
  return true;
}

std::string FormatValue(const std::string& value) { return value; }
std::string FormatValue(bool value) { return value ? "true" : "false"; }
std::string FormatValue(int value) { return fmt::to_string(value); }
std::string FormatValue(long long value) { return fmt::to_string(value); }
std::string FormatValue(double value) { return fmt::to_string(value); }
std::string FormatValue(const std::array<double, 3>& value) {
  return fmt::format("{},{},{}", value[0], value[1], value[2]);
}
std::string FormatValue(const std::vector<std::string>& value) {
  return fmt::format("{}", fmt::join(value, ","));
}
std::string FormatValue(PoseTime value) { return std::string(ToString(value)); }
std::string FormatValue(Compat value) { return std::string(ToString(value)); }
std::string FormatValue(const RecordingOrder& value) { return FormatRecordingOrder(value); }
std::string FormatValue(const DepthBackend& value) { return ToString(value); }
std::string FormatValue(MatcherPreset value) { return std::string(ToString(value)); }
std::string FormatValue(MapKind value) { return std::string(ToString(value)); }
std::string FormatValue(RowAlign value) { return std::string(ToString(value)); }
std::string FormatValue(TracksLayout value) { return std::string(ToString(value)); }
std::string FormatValue(NpzCompression value) { return std::string(ToString(value)); }
std::string FormatValue(RequireDepth value) { return std::string(ToString(value)); }
std::string FormatValue(HubLayout value) { return std::string(ToString(value)); }
std::string FormatValue(const RunPart& value) {
  return fmt::format("{}/{}", value.index, value.count);
}
std::string FormatValue(Outcome value) { return std::string(ToString(value)); }
template <typename T>
std::string FormatValue(const std::optional<T>& value) {
  return value ? FormatValue(*value) : std::string();
}

struct AnyValue {
  template <typename T>
  bool operator()(const T&) const {
    return true;
  }
};

struct Positive {
  bool operator()(double value) const { return value > 0; }
  template <typename T>
  bool operator()(const std::optional<T>& value) const {
    return !value || *value > 0;
  }
};

struct Between {
  int least;
  int most;
  bool operator()(int value) const { return least <= value && value <= most; }
  bool operator()(const std::optional<int>& value) const { return !value || (*this)(*value); }
};

struct RepoName {
  bool operator()(const std::string& name) const {
    const std::size_t slash = name.find('/');
    return slash != std::string::npos && slash > 0 && slash + 1 < name.size() &&
           name.find('/', slash + 1) == std::string::npos;
  }
};

struct FilePlace {
  bool operator()(const std::string& place) const {
    return place.starts_with("file:") && place.size() > 5;
  }
};

/// A row of the table from a place in the options; `expected` completes "want …".
template <typename Get, typename Accept = AnyValue>
Option Row(std::string key,
           Group group,
           std::string value_name,
           std::string expected,
           std::string help,
           Get member,
           const std::vector<std::string_view>& aliases = {},
           Accept accept = {}) {
  return Option{.info = {std::move(key), group, std::move(value_name), std::move(help)},
                .aliases = aliases,
                .set =
                    [member, expected, accept](const std::string& text, MetadataOptions& options) {
                      auto value = member(options);
                      if (!ParseValue(text, value) || !accept(value)) return expected;
                      member(options) = std::move(value);
                      return std::string();
                    },
                .get =
                    [member](const MetadataOptions& options) {
                      return FormatValue(member(const_cast<MetadataOptions&>(options)));
                    }};
}

/// A row whose flag is not its key.
Option FlagRow(std::string flag, Option option) {
  option.info.flag = std::move(flag);
  return option;
}

/// A switch that is on or off in place of a preset's.
Option NegatableRow(std::string flag, Option option) {
  option.info.has_negation = true;
  return FlagRow(std::move(flag), std::move(option));
}

// NOLINTBEGIN(bugprone-macro-parentheses): a member's path is no expression
#define DF_MEMBER(path) \
  [](MetadataOptions & o) -> auto& { return o.path; }
// NOLINTEND(bugprone-macro-parentheses)

const std::vector<Option>& Options() {
  static const std::vector<Option> options = {
      Row("droid_root",
          Group::kInput,
          "DIR",
          "a folder",
          "Raw data: {lab}/{success,failure}/{date}/{folder}; given several times: an episode is "
          "read from the first that has it",
          DF_MEMBER(input.droid_root)),
      Row("annotations",
          Group::kInput,
          "DIR",
          "a folder",
          "Folder with DROID's annotation files under their published names",
          DF_MEMBER(input.annotations)),
      Row("superset",
          Group::kInput,
          "FILE",
          "a file",
          "cam2base_extrinsic_superset.json",
          DF_MEMBER(input.superset),
          {"cam2base_extrinsics_path"}),
      Row("cam2base",
          Group::kInput,
          "FILE",
          "a file",
          "cam2base_extrinsics.json",
          DF_MEMBER(input.cam2base)),
      Row("intrinsics",
          Group::kInput,
          "FILE",
          "a file",
          "intrinsics.json",
          DF_MEMBER(input.intrinsics)),
      Row("episode_paths",
          Group::kInput,
          "FILE",
          "a file",
          "episode_id_to_path.json",
          DF_MEMBER(input.episode_paths)),
      Row("serials",
          Group::kInput,
          "FILE",
          "a file",
          "camera_serials.json",
          DF_MEMBER(input.serials)),
      Row("language",
          Group::kInput,
          "FILE",
          "a file",
          "droid_language_annotations.json",
          DF_MEMBER(input.language)),
      Row("keep_ranges",
          Group::kInput,
          "FILE",
          "a file",
          "keep_ranges_1_0_1.json",
          DF_MEMBER(input.keep_ranges)),
      Row("conf_dir",
          Group::kInput,
          "DIR",
          "a folder",
          "Folder with the cameras' factory calibration, SN<serial>.conf",
          DF_MEMBER(input.conf_dir)),

      Row("prefetch",
          Group::kFetch,
          "N",
          "a whole number from 1 to 100",
          "Episodes per worker that are fetched ahead (2)",
          DF_MEMBER(fetch.prefetch),
          {},
          Between{1, 100}),
      Row("download_jobs",
          Group::kFetch,
          "N",
          "a whole number from 1 to 64",
          "Downloads at a time (8)",
          DF_MEMBER(fetch.jobs),
          {},
          Between{1, 64}),
      Row("download_rate",
          Group::kFetch,
          "MB",
          "a number more than 0",
          "Megabytes per second of all downloads together (no limit)",
          DF_MEMBER(fetch.rate_mb_per_s),
          {},
          Positive{}),
      Row("stall_timeout",
          Group::kFetch,
          "S",
          "a whole number from 1 to 3600",
          "Seconds below 1 kB/s after which a download is tried again (60)",
          DF_MEMBER(fetch.stall_timeout_s),
          {},
          Between{1, 3600}),
      Row("keep_raw",
          Group::kFetch,
          "",
          "true or false",
          "Keep what is fetched in {run-dir}/raw, or in --cache-dir without a limit",
          DF_MEMBER(fetch.keep_raw)),
      Row("cache_dir",
          Group::kFetch,
          "DIR",
          "a folder",
          "Keep what is fetched here for other runs",
          DF_MEMBER(fetch.cache_dir)),
      Row("cache_gb",
          Group::kFetch,
          "GB",
          "a number more than 0",
          "Size of --cache-dir; what was used longest ago goes first (100)",
          DF_MEMBER(fetch.cache_gb),
          {},
          Positive{}),

      Row("compat",
          Group::kTrack,
          "{none,original}",
          "none or original",
          "original: the numbers of the pipeline that droidflow replaces (joint limit 0.8 rad, "
          "minimum point depth 0.1 m, float32 distances, 30 fps)",
          DF_MEMBER(track.compat)),
      Row("contact_points",
          Group::kTrack,
          "FILE.npy",
          "a file",
          "Contact points [P,3] in the inner-finger frame, metres, in place of the built-in pad",
          DF_MEMBER(track.contact_points)),
      Row("finger_mesh",
          Group::kTrack,
          "FILE.stl",
          "a file",
          "Sample the contact points from the pad of this finger mesh",
          DF_MEMBER(track.finger_mesh),
          {"finger_mesh_path"}),
      Row("points",
          Group::kTrack,
          "P",
          "a whole number more than 0",
          "Contact points per finger (480)",
          DF_MEMBER(track.points),
          {"num_track_points"},
          Positive{}),
      Row("step_mm",
          Group::kTrack,
          "MM",
          "a number more than 0",
          "Travelled distance between resampled steps, millimetres (1)",
          DF_MEMBER(track.step_mm),
          {},
          Positive{}),
      Row("fps",
          Group::kTrack,
          "HZ",
          "a number more than 0",
          "Control rate to write in place of the measured one",
          DF_MEMBER(track.fps),
          {},
          Positive{}),
      Row("max_frames",
          Group::kTrack,
          "N",
          "a whole number more than 0",
          "Use only the first N steps",
          DF_MEMBER(track.max_frames),
          {},
          Positive{}),
      Row("min_point_depth",
          Group::kTrack,
          "M",
          "a number more than 0",
          "A point nearer to the camera plane than this has no 2-D track, metres (0.01)",
          DF_MEMBER(track.min_point_depth_m),
          {"min_depth"},
          Positive{}),
      Row("gripper_joint_max",
          Group::kTrack,
          "RAD",
          "a number more than 0",
          "Finger joint angle of a closed gripper, radians (0.725)",
          DF_MEMBER(track.joint_max_rad),
          {"gripper.joint_max"},
          Positive{}),
      Row("mount_xyz",
          Group::kTrack,
          "X,Y,Z",
          "three numbers x,y,z",
          "Gripper base in the end effector's frame, metres (0,0,0)",
          DF_MEMBER(track.mount_xyz_m),
          {"gripper.mount_xyz"}),
      Row("mount_rpy",
          Group::kTrack,
          "R,P,Y",
          "three numbers r,p,y",
          "Its rotation about the fixed axes x, y, z, radians (0,0,pi/2)",
          DF_MEMBER(track.mount_rpy_rad),
          {"gripper.mount_rpy"}),
      Row("pose_time",
          Group::kTrack,
          "{step,capture}",
          "step or capture",
          "capture: 2-D tracks and wrist poses at the time each image was taken, interpolated",
          DF_MEMBER(track.pose_time)),
      Row("recording_order",
          Group::kTrack,
          "KIND,KIND",
          "some of stereo_mp4,svo2,svo,mono_mp4, each once",
          "Which recording of a camera to take, best first; kinds left out are never taken "
          "(stereo_mp4,svo2,svo,mono_mp4)",
          DF_MEMBER(track.recording_order)),
      Row("idle_speed",
          Group::kTrack,
          "MM_S",
          "a number of 0 or more",
          "Millimetres per second below which a gripper that neither opens nor closes is idle, for "
          "quality.json (7.5)",
          DF_MEMBER(track.idle_speed_mm_per_s),
          {},
          [](double speed) { return speed >= 0; }),
      Row("measure_rows",
          Group::kTrack,
          "",
          "true or false",
          "Decode stereo recordings and say in quality.json how well the rows of both eyes agree",
          DF_MEMBER(track.measure_rows)),
      Row("tracks_layout",
          Group::kTrack,
          "{full,compact}",
          "full or compact",
          "compact: tracks.npz holds only what its arrays follow from, as the package in python/ "
          "and 'droidflow convert' make them of it (full)",
          DF_MEMBER(track.tracks_layout)),
      Row("compress",
          Group::kTrack,
          "{none,zip}",
          "none or zip",
          "zip: the arrays of .npz files are deflated; numpy.load reads them (none)",
          DF_MEMBER(track.compress)),

      FlagRow("backend",
              Row("depth_backend",
                  Group::kDepth,
                  "{auto,reference,cpu,cuda,opencv,zed,external:DIR}",
                  "auto, reference, cpu, cuda, opencv, zed or external:DIR",
                  "zed: the SDK's depth of SVO files; external: a folder with a disparity or depth "
                  "for each frame (auto: cuda where there is a GPU, else cpu)",
                  DF_MEMBER(depth.backend))),
      FlagRow("preset",
              Row("depth_preset",
                  Group::kDepth,
                  "{fast,balanced,quality}",
                  "fast, balanced or quality",
                  "How much time to spend on a frame (balanced)",
                  DF_MEMBER(depth.preset))),
      FlagRow("min-disparity",
              Row("depth_min_disparity",
                  Group::kDepth,
                  "PX",
                  "a whole number",
                  "Search from here on (0)",
                  DF_MEMBER(depth.min_disparity_px))),
      FlagRow("max-disparity",
              Row("depth_max_disparity",
                  Group::kDepth,
                  "PX",
                  "a whole number",
                  "Search below this (256 at a width of 1280, in proportion at others; what "
                  "--min-depth "
                  "needs, if that is given)",
                  DF_MEMBER(depth.max_disparity_px))),
      FlagRow("min-depth",
              Row("depth_min_m",
                  Group::kDepth,
                  "M",
                  "a number more than 0",
                  "Nearer is no depth, metres (0.2); also sets how far is searched",
                  DF_MEMBER(depth.min_depth_m),
                  {},
                  Positive{})),
      FlagRow("max-depth",
              Row("depth_max_m",
                  Group::kDepth,
                  "M",
                  "a number more than 0",
                  "Farther is no depth, metres (10)",
                  DF_MEMBER(depth.max_depth_m),
                  {},
                  Positive{})),
      FlagRow("row-align",
              Row("depth_row_align",
                  Group::kDepth,
                  "{auto,off}",
                  "auto or off",
                  "auto: measure by how much the rows of both eyes are off, and take it out (auto)",
                  DF_MEMBER(depth.row_align))),
      FlagRow("paths",
              Row("depth_paths",
                  Group::kDepth,
                  "N",
                  "a whole number",
                  "Directions that costs are gathered from, 5 or 8",
                  DF_MEMBER(depth.paths))),
      FlagRow("p1",
              Row("depth_p1",
                  Group::kDepth,
                  "N",
                  "a whole number",
                  "Cost of a change of the disparity by one, up to the least P2",
                  DF_MEMBER(depth.p1))),
      FlagRow("p2-min",
              Row("depth_p2_min",
                  Group::kDepth,
                  "N",
                  "a whole number",
                  "Cost of any other change where the picture changes most, up to P2",
                  DF_MEMBER(depth.p2_min))),
      FlagRow("p2",
              Row("depth_p2",
                  Group::kDepth,
                  "N",
                  "a whole number",
                  "Cost of any other change where the picture does not change, up to 27",
                  DF_MEMBER(depth.p2))),
      FlagRow("uniqueness",
              Row("depth_uniqueness",
                  Group::kDepth,
                  "PERCENT",
                  "a whole number",
                  "By how much the second best must be worse; 0: off",
                  DF_MEMBER(depth.uniqueness_percent))),
      FlagRow("lr-check",
              Row("depth_lr_check",
                  Group::kDepth,
                  "PX",
                  "a whole number",
                  "Largest disagreement of both eyes; -1: off",
                  DF_MEMBER(depth.lr_check_px))),
      FlagRow("speckle-area",
              Row("depth_speckle_area",
                  Group::kDepth,
                  "PX",
                  "a whole number",
                  "Patches of at most so many pixels are dropped; 0: off",
                  DF_MEMBER(depth.speckle_area_px))),
      FlagRow("speckle-range",
              Row("depth_speckle_range",
                  Group::kDepth,
                  "PX",
                  "a whole number",
                  "Neighbours that differ by more belong to different patches",
                  DF_MEMBER(depth.speckle_range_px))),
      NegatableRow("subpixel",
                   Row("depth_subpixel",
                       Group::kDepth,
                       "",
                       "true or false",
                       "Place disparities between whole pixels",
                       DF_MEMBER(depth.subpixel))),
      NegatableRow("median",
                   Row("depth_median",
                       Group::kDepth,
                       "",
                       "true or false",
                       "Median of 3x3 pixels, of what is valid",
                       DF_MEMBER(depth.median))),
      FlagRow("zed-depth-mode",
              Row("zed_depth_mode",
                  Group::kDepth,
                  "{NEURAL,NEURAL_LIGHT,NEURAL_PLUS,ULTRA,QUALITY,PERFORMANCE}",
                  "a depth mode of the ZED SDK",
                  "Of --backend zed (NEURAL)",
                  DF_MEMBER(depth.zed_depth_mode))),
      FlagRow("external-unit",
              Row("external_unit",
                  Group::kDepth,
                  "{disparity,depth}",
                  "disparity or depth",
                  "Of --backend external: disparity (pixels; PNG: 64ths of a pixel) or depth "
                  "(metres; PNG: "
                  "millimetres) (disparity)",
                  DF_MEMBER(depth.external_unit))),
      FlagRow("jobs",
              Row("depth_jobs",
                  Group::kDepth,
                  "N",
                  "a whole number more than 0",
                  "Frames of a recording that are matched at a time, each by a thread (1)",
                  DF_MEMBER(depth.jobs),
                  {},
                  Positive{})),

      Row("limit",
          Group::kSelection,
          "N",
          "a whole number, -1 or more",
          "How many episodes, -1 for all (10)",
          DF_MEMBER(selection.limit),
          {},
          [](long long limit) { return limit >= -1; }),
      Row("shard",
          Group::kSelection,
          "I/N",
          "I/N, 0/N to N-1/N",
          "Only every N-th episode of these, from the I-th on: N machines share a run (0/1)",
          DF_MEMBER(selection.part),
          {},
          [](const RunPart& part) { return 0 <= part.index && part.index < part.count; }),
      Row("episodes",
          Group::kSelection,
          "FILE|ID,ID",
          "a file or uuids",
          "Only these uuids, or folders below the root: a file with one a line, or a list with "
          "commas",
          DF_MEMBER(selection.episodes)),
      Row("labs",
          Group::kSelection,
          "LAB,LAB",
          "names",
          "Only these labs",
          DF_MEMBER(selection.labs)),
      Row("outcome",
          Group::kSelection,
          "{success,failure,all}",
          "success, failure or all",
          "Only episodes that ended so (all)",
          DF_MEMBER(selection.outcome)),
      Row("min_iou",
          Group::kSelection,
          "X",
          "a number",
          "Leave out episodes whose best calibration of type IoU is lower",
          DF_MEMBER(selection.min_iou)),
      Row("min_matches",
          Group::kSelection,
          "N",
          "a number",
          "Leave out episodes whose best calibration of type num_matches is lower",
          DF_MEMBER(selection.min_matches)),
      Row("max_reprojection_error",
          Group::kSelection,
          "PX",
          "a number",
          "Leave out episodes whose best calibration of type Reprojection_error is higher",
          DF_MEMBER(selection.max_reprojection_error)),

      Row("out",
          Group::kRun,
          "DIR",
          "a folder",
          "Where results go",
          DF_MEMBER(out),
          {"output_root"}),
      Row("run_dir",
          Group::kRun,
          "DIR",
          "a folder",
          "Where the run keeps its state and reports ({out}/.droidflow)",
          DF_MEMBER(run_dir)),
      Row("scratch_dir",
          Group::kRun,
          "DIR",
          "a folder",
          "Fast local disk for unfinished episodes ({run-dir}/incoming)",
          DF_MEMBER(scratch_dir)),
      Row("workers",
          Group::kRun,
          "N",
          "a whole number from 1 to 1024",
          "Worker processes (16; with depth, and without a GPU: a quarter of the cores)",
          DF_MEMBER(workers),
          {},
          Between{1, 1024}),
      Row("decode_threads",
          Group::kRun,
          "N",
          "a whole number from 1 to 64",
          "Threads of a worker that decode a recording (1)",
          DF_MEMBER(decode_threads),
          {},
          Between{1, 64}),
      Row("episode_timeout",
          Group::kRun,
          "S",
          "a number more than 0",
          "Seconds that one attempt at an episode may take (300; with depth 3600)",
          DF_MEMBER(episode_timeout_s),
          {},
          Positive{}),
      Row("deep_check",
          Group::kRun,
          "",
          "true or false",
          "On resume read finished files back; by default size and time of change are compared",
          DF_MEMBER(deep_check)),
      Row("retry_quarantined",
          Group::kRun,
          "",
          "true or false",
          "On resume try quarantined episodes again",
          DF_MEMBER(retry_quarantined)),
      Row("recompute",
          Group::kRun,
          "",
          "true or false",
          "Do finished episodes again too",
          DF_MEMBER(recompute)),
      Row("splits",
          Group::kRun,
          "TRAIN/VAL/TEST",
          "three shares of 0 or more, as in 80/10/10",
          "Shares of scenes to train with, validate and test, for meta/episodes.jsonl (as they are "
          "there, else 80/10/10)",
          DF_MEMBER(splits),
          {},
          [](const std::string& splits) {
            return splits.empty() || ParseSplitShares(splits).has_value();
          }),

      Row("cameras",
          Group::kFull,
          "CAMERA,CAMERA",
          "names",
          "Depth of these only: serials, or wrist, ext1, ext2",
          DF_MEMBER(full.cameras),
          {},
          [](const std::vector<std::string>& cameras) { return !cameras.empty(); }),
      Row("require_depth",
          Group::kFull,
          "{none,any,all}",
          "none, any or all",
          "Which cameras must have depth, or the episode is quarantined; any lets one without a "
          "stereo recording pass (any)",
          DF_MEMBER(full.require_depth)),
      Row("depth_every",
          Group::kFull,
          "K",
          "a whole number more than 0",
          "Depth of every K-th frame of a recording (1)",
          DF_MEMBER(depth.every),
          {},
          Positive{}),
      Row("workers_per_gpu",
          Group::kFull,
          "N",
          "a whole number from 1 to 64",
          "Worker processes for each GPU (3)",
          DF_MEMBER(full.workers_per_gpu),
          {},
          Between{1, 64}),
      Row("gpus",
          Group::kFull,
          "N",
          "a whole number from 0 to 64",
          "GPUs to use; 0: none (all there are)",
          DF_MEMBER(full.gpus),
          {},
          Between{0, 64}),
      Row("camera_jobs",
          Group::kFull,
          "N",
          "a whole number from 1 to 16",
          "Cameras of an episode that are done at a time (1)",
          DF_MEMBER(full.camera_jobs),
          {},
          Between{1, 16}),
      Row("staging_dir",
          Group::kFull,
          "DIR",
          "a folder",
          "Finished episodes move here before they go to their place",
          DF_MEMBER(full.staging_dir)),
      Row("batch_dir",
          Group::kFull,
          "DIR",
          "a folder",
          "Queue that finished episodes go to, in place of --out",
          DF_MEMBER(full.batch_dir)),
      Row("batch_metadata_dir",
          Group::kFull,
          "DIR",
          "a folder",
          "Queue that finished episodes go to without their depth",
          DF_MEMBER(full.batch_metadata_dir)),
      Row("max_staged_gb",
          Group::kFull,
          "GB",
          "a number more than 0",
          "Start no episode while unfinished ones and queues hold more (90 % of the free space)",
          DF_MEMBER(full.max_staged_gb),
          {},
          Positive{}),

      Row("hf_repo",
          Group::kHub,
          "NAMESPACE/NAME",
          "NAMESPACE/NAME",
          "Repository of Hugging Face that finished episodes are uploaded to",
          DF_MEMBER(hub.repo),
          {},
          RepoName{}),
      Row("hf_metadata_repo",
          Group::kHub,
          "NAMESPACE/NAME",
          "NAMESPACE/NAME",
          "Repository that they are uploaded to without depth",
          DF_MEMBER(hub.metadata_repo),
          {},
          RepoName{}),
      Row("hf_type",
          Group::kHub,
          "{dataset,model}",
          "dataset or model",
          "Type of the repositories (dataset)",
          DF_MEMBER(hub.type),
          {},
          [](const std::string& type) { return type == "dataset" || type == "model"; }),
      Row("hf_private",
          Group::kHub,
          "",
          "true or false",
          "A repository that has to be made is private",
          DF_MEMBER(hub.is_private)),
      Row("hf_branch",
          Group::kHub,
          "BRANCH",
          "a name",
          "Branch of the repositories (main)",
          DF_MEMBER(hub.branch),
          {},
          [](const std::string& branch) { return !branch.empty(); }),
      Row("hub",
          Group::kHub,
          "file:DIR",
          "file:DIR",
          "Folder in place of --hf-repo",
          DF_MEMBER(hub.hub),
          {},
          FilePlace{}),
      Row("metadata_hub",
          Group::kHub,
          "file:DIR",
          "file:DIR",
          "Folder in place of --hf-metadata-repo",
          DF_MEMBER(hub.metadata_hub),
          {},
          FilePlace{}),
      Row("keep_uploaded",
          Group::kHub,
          "",
          "true or false",
          "Leave files here that were uploaded and read back",
          DF_MEMBER(hub.keep_uploaded)),
      Row("upload_jobs",
          Group::kHub,
          "N",
          "a whole number from 1 to 64",
          "Files that are uploaded at a time (5)",
          DF_MEMBER(hub.upload_jobs),
          {},
          Between{1, 64}),
      Row("upload_interval",
          Group::kHub,
          "S",
          "a number, 0 or more",
          "Seconds that an uploaded file waits at most for its commit (600)",
          DF_MEMBER(hub.upload_interval_s),
          {},
          [](double seconds) { return seconds >= 0; }),
      Row("batch_files",
          Group::kHub,
          "N",
          "a whole number more than 0",
          "Files of a commit (1000; fewer where the place is slow)",
          DF_MEMBER(hub.batch_files),
          {},
          [](long long files) { return files > 0; }),
      Row("batch_gb",
          Group::kHub,
          "GB",
          "a number more than 0",
          "Size of a commit (50)",
          DF_MEMBER(hub.batch_gb),
          {},
          Positive{}),
      Row("hub_layout",
          Group::kHub,
          "{files,shards}",
          "files or shards",
          "shards: many episodes in one archive, for more than 10,000 of them (files)",
          DF_MEMBER(hub.layout)),
      Row("shard_gb",
          Group::kHub,
          "GB",
          "a number more than 0",
          "Size of a shard (1)",
          DF_MEMBER(hub.shard_gb),
          {},
          Positive{}),
      Row("commits_per_hour",
          Group::kHub,
          "N",
          "a whole number from 1 to 10000",
          "Commits to a repository within an hour (100)",
          DF_MEMBER(hub.commits_per_hour),
          {},
          Between{1, 10000}),
      Row("overwrite",
          Group::kHub,
          "",
          "true or false",
          "Replace other content under the same names; by default what is there stays",
          DF_MEMBER(hub.overwrite)),
      Row("skip_hf_check",
          Group::kHub,
          "",
          "true or false",
          "Process episodes that the repository has already",
          DF_MEMBER(hub.skip_check)),
  };
  return options;
}

#undef DF_MEMBER

const Option* FindOption(std::string_view key) {
  for (const Option& option : Options()) {
    if (option.info.key == key) return &option;
    for (const std::string_view alias : option.aliases) {
      if (alias == key) return &option;
    }
  }
  return nullptr;
}

std::string At(const YAML::Mark& mark) {
  return fmt::format("line {}, column {}", mark.line + 1, mark.column + 1);
}

/// The text of a scalar, or of a sequence of scalars joined by commas.
Result<std::string> ScalarText(const YAML::Node& node) {
  if (node.IsScalar()) return node.Scalar();
  if (node.IsSequence()) {
    std::vector<std::string> parts;
    for (const YAML::Node& part : node) {
      if (!part.IsScalar()) return Fail(ErrorKind::kUsage, "want single values in the list");
      parts.push_back(part.Scalar());
    }
    return fmt::format("{}", fmt::join(parts, ","));
  }
  return Fail(ErrorKind::kUsage, "want a value, have a nested mapping");
}

/// Sets every option that `node` names.
Status ApplyMapping(const YAML::Node& node, const std::string& prefix, MetadataOptions& options) {
  if (node.IsNull()) return {};
  if (!node.IsMap())
    return Fail(ErrorKind::kUsage, "want 'key: value' lines, at {}", At(node.Mark()));
  for (const auto& entry : node) {
    if (!entry.first.IsScalar()) {
      return Fail(ErrorKind::kUsage, "want a name, at {}", At(entry.first.Mark()));
    }
    const std::string key = prefix + entry.first.Scalar();
    if (entry.second.IsMap()) {
      DF_RETURN_IF_ERROR(ApplyMapping(entry.second, key + ".", options));
      continue;
    }
    if (entry.second.IsNull()) continue;  // "fps:" or "max_frames: null": the default
    const Status set = ScalarText(entry.second).and_then([&](const std::string& value) {
      return SetOption(key, value, options);
    });
    if (!set) {
      return Fail(ErrorKind::kUsage, "{}, at {}", set.error().message, At(entry.first.Mark()));
    }
  }
  return {};
}

/// "name crc32=0123abcd" of a file that shapes the numbers.
Result<std::string> Identify(const std::string& path) {
  DF_ASSIGN_OR_RETURN(const std::vector<std::byte> bytes, ReadFileBytes(path));
  return fmt::format(
      "{} crc32={:08x}", std::filesystem::path(path).filename().string(), Crc32(bytes));
}

}  // namespace

std::string_view ToString(PoseTime pose_time) {
  return pose_time == PoseTime::kStep ? "step" : "capture";
}

std::string_view ToString(TracksLayout layout) {
  return layout == TracksLayout::kFull ? "full" : "compact";
}

std::optional<TracksLayout> TracksLayoutFromString(std::string_view text) {
  for (const TracksLayout layout : {TracksLayout::kFull, TracksLayout::kCompact}) {
    if (text == ToString(layout)) return layout;
  }
  return std::nullopt;
}

std::string_view ToString(RequireDepth require) {
  switch (require) {
    case RequireDepth::kNone:
      return "none";
    case RequireDepth::kAny:
      return "any";
    case RequireDepth::kAll:
      return "all";
  }
  return "unknown";
}

std::string_view ToString(HubLayout layout) {
  return layout == HubLayout::kFiles ? "files" : "shards";
}

std::string_view ToString(Compat compat) { return compat == Compat::kNone ? "none" : "original"; }

double TrackOptions::JointMaxRad() const {
  return joint_max_rad.value_or(compat == Compat::kOriginal ? 0.8 : 0.725);
}

double TrackOptions::MinPointDepthM() const {
  return min_point_depth_m.value_or(compat == Compat::kOriginal ? 0.1 : 0.01);
}

std::optional<double> TrackOptions::FixedFps() const {
  if (!fps && compat == Compat::kOriginal) return 30.0;
  return fps;
}

std::vector<std::string> InputOptions::Roots() const {
  // A folder may have a comma in its name.
  std::error_code ignored;
  if (std::filesystem::is_directory(droid_root, ignored)) return {droid_root};
  std::vector<std::string> roots;
  ParseValue(droid_root, roots);
  return roots;
}

std::filesystem::path MetadataOptions::RunDir() const {
  if (!run_dir.empty()) return run_dir;
  const std::filesystem::path all = std::filesystem::path(out) / ".droidflow";
  const RunPart& part = selection.part;
  return part == RunPart() ? all : all / fmt::format("shard-{}-of-{}", part.index, part.count);
}

int MetadataOptions::Workers() const {
  if (workers) return *workers;
  if (pipeline == Pipeline::kMetadata) return 16;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency() / 4));
}

double MetadataOptions::EpisodeTimeoutS() const {
  return episode_timeout_s.value_or(pipeline == Pipeline::kMetadata ? 300 : 3600);
}

Status SetOption(std::string_view key, const std::string& text, MetadataOptions& options) {
  const Option* option = FindOption(key);
  if (option == nullptr) return Fail(ErrorKind::kUsage, "unknown option '{}'", key);
  if (const std::string expected = option->set(text, options); !expected.empty()) {
    return Fail(ErrorKind::kUsage, "{}: want {}, have '{}'", key, expected, text);
  }
  return {};
}

Status LoadConfig(const std::filesystem::path& path, MetadataOptions& options) {
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  try {
    return ApplyMapping(YAML::Load(text), /*prefix=*/"", options)
        .map_error([&](const Error& error) {
          return Error{error.kind, fmt::format("{}: {}", error.message, path.string())};
        });
  } catch (const YAML::Exception& error) {
    return Fail(
        ErrorKind::kUsage, "not YAML: {}, at {}: {}", error.msg, At(error.mark), path.string());
  }
}

std::string FormatConfig(const MetadataOptions& options) {
  MetadataOptions in_force = options;
  TrackOptions& track = in_force.track;
  track.min_point_depth_m = track.MinPointDepthM();
  track.joint_max_rad = track.JointMaxRad();
  track.fps = track.FixedFps();
  if (track.contact_points.empty()) track.points = track.PointsPerFinger();
  in_force.workers = options.Workers();
  in_force.episode_timeout_s = options.EpisodeTimeoutS();
  in_force.run_dir = options.out.empty() ? options.run_dir : options.RunDir().string();
  std::string text;
  for (const Option& option : Options()) {
    const std::string value = option.get(in_force);
    if (value.empty()) {
      text += fmt::format("# {}:\n", option.info.key);
      continue;
    }
    YAML::Emitter emitter;
    emitter << value;  // quotes what YAML would otherwise read as something else
    text += fmt::format("{}: {}\n", option.info.key, emitter.c_str());
  }
  return text;
}

std::vector<OptionInfo> ListOptions() {
  std::vector<OptionInfo> infos;
  for (const Option& option : Options()) infos.push_back(option.info);
  return infos;
}

Status CheckOptions(const MetadataOptions& options) {
  if (!options.track.contact_points.empty() && !options.track.finger_mesh.empty()) {
    return Fail(ErrorKind::kUsage, "give --contact-points or --finger-mesh, not both");
  }
  const HubOptions& hub = options.hub;
  if (!hub.repo.empty() && !hub.hub.empty()) {
    return Fail(ErrorKind::kUsage, "give --hf-repo or --hub, not both");
  }
  if (!hub.metadata_repo.empty() && !hub.metadata_hub.empty()) {
    return Fail(ErrorKind::kUsage, "give --hf-metadata-repo or --metadata-hub, not both");
  }
  return {};
}

Result<std::string> FormatTrackConfig(const TrackOptions& options) {
  nlohmann::ordered_json config;
  config["compat"] = ToString(options.compat);
  if (!options.contact_points.empty()) {
    DF_ASSIGN_OR_RETURN(config["contact_points"], Identify(options.contact_points));
  } else if (!options.finger_mesh.empty()) {
    DF_ASSIGN_OR_RETURN(config["finger_mesh"], Identify(options.finger_mesh));
    config["points"] = options.PointsPerFinger();
  } else {
    config["points"] = options.PointsPerFinger();
  }
  config["step_mm"] = options.step_mm;
  config["fps"] = nullptr;
  if (options.FixedFps()) config["fps"] = *options.FixedFps();
  config["max_frames"] = nullptr;
  if (options.max_frames) config["max_frames"] = *options.max_frames;
  config["min_point_depth_m"] = options.MinPointDepthM();
  config["gripper_joint_max_rad"] = options.JointMaxRad();
  config["mount_xyz_m"] = options.mount_xyz_m;
  config["mount_rpy_rad"] = options.mount_rpy_rad;
  config["pose_time"] = ToString(options.pose_time);
  config["idle_speed_mm_per_s"] = options.idle_speed_mm_per_s;
  config["measure_rows"] = options.measure_rows;
  config["recording_order"] = FormatRecordingOrder(options.recording_order);
  // Only where they are not what they always were, so that earlier results stay valid.
  if (options.tracks_layout != TracksLayout::kFull) {
    config["tracks_layout"] = ToString(options.tracks_layout);
  }
  if (options.compress != NpzCompression::kNone) config["compress"] = ToString(options.compress);
  return config.dump();
}

Result<std::string> FormatRunConfig(const MetadataOptions& options) {
  DF_ASSIGN_OR_RETURN(std::string track, FormatTrackConfig(options.track));
  if (options.pipeline == Pipeline::kMetadata) return track;
  nlohmann::ordered_json depth;
  const DepthBackend& backend = options.depth.backend;
  // The matchers but OpenCV's are one algorithm, to the bit.
  const bool is_ours =
      backend.kind == DepthBackend::Kind::kAuto ||
      (backend.kind == DepthBackend::Kind::kMatcher && backend.matcher != MatcherBackend::kOpencv);
  depth["method"] = is_ours ? "sgm" : ToString(backend);
  depth["cameras"] = options.full.cameras;
  for (const Option& option : Options()) {
    const std::string& key = option.info.key;
    const bool shapes_depth = option.info.group == Group::kDepth || key == "depth_every";
    if (!shapes_depth || key == "depth_backend" || key == "depth_jobs") continue;
    const std::string value = option.get(options);
    depth[key] = value.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(value);
  }
  nlohmann::ordered_json config = nlohmann::ordered_json::parse(track);
  config["depth"] = std::move(depth);
  return config.dump();
}

}  // namespace droidflow

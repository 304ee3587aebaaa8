#pragma once

/// Everything a user can set, once: the same table serves YAML files, `--print-config`, the record
/// in quality.json and the fingerprint by which a run knows results made with other settings.

#include "droidflow/core/result.h"
#include "droidflow/episode/episode.h"
#include "droidflow/formats/npz_writer.h"
#include "droidflow/pipeline/depth_options.h"
#include "droidflow/pipeline/recording_choice.h"
#include "droidflow/pipeline/splits.h"

#include <array>
#include <filesystem>
#include <numbers>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

inline constexpr double kGiga = 1e9;

enum class PoseTime {
  kStep,     ///< 2-D tracks and wrist poses at the control step's own time, as the original
  kCapture,  ///< … interpolated to each camera's estimated_capture
};
[[nodiscard]] std::string_view ToString(PoseTime pose_time);

/// What tracks.npz holds.
enum class TracksLayout {
  kFull,     ///< every array
  kCompact,  ///< what they follow from, see tracks_layout.h
};
[[nodiscard]] std::string_view ToString(TracksLayout layout);
[[nodiscard]] std::optional<TracksLayout> TracksLayoutFromString(std::string_view text);

enum class Compat {
  kNone,
  kOriginal,  ///< joint limit 0.8 rad, min point depth 0.1 m, float32 distances, 30 frames a second
};
[[nodiscard]] std::string_view ToString(Compat compat);

/// What shapes the numbers. Optional fields take a default that depends on `compat`.
struct TrackOptions {
  Compat compat = Compat::kNone;
  std::string contact_points;  ///< .npy file [P,3], inner-finger frame, metres; empty: built-in pad
  std::string finger_mesh;     ///< STL file to sample the pad from; empty: built-in pad
  std::optional<int> points;   ///< per finger; default 480
  double step_mm = 1.0;        ///< travelled distance between resampled steps
  std::optional<double> fps;   ///< control rate; default measured (compat original: 30)
  std::optional<int> max_frames;            ///< use the first so many steps only
  std::optional<double> min_point_depth_m;  ///< default 0.01 (compat original: 0.1)
  std::optional<double> joint_max_rad;      ///< default 0.725 (compat original: 0.8)
  std::array<double, 3> mount_xyz_m = {0, 0, 0};
  /// Gripper base in the end effector's frame, about the fixed axes x, y, z.
  std::array<double, 3> mount_rpy_rad = {0, 0, std::numbers::pi / 2};
  PoseTime pose_time = PoseTime::kStep;
  RecordingOrder recording_order = DefaultRecordingOrder();
  double idle_speed_mm_per_s = 7.5;  ///< below it the gripper's centroid rests
  bool measure_rows = false;         ///< decode stereo recordings for `rows` of quality.json
  TracksLayout tracks_layout = TracksLayout::kFull;
  NpzCompression compress = NpzCompression::kNone;  ///< of .npz files

  [[nodiscard]] int PointsPerFinger() const { return points.value_or(480); }
  [[nodiscard]] double JointMaxRad() const;
  [[nodiscard]] double MinPointDepthM() const;
  [[nodiscard]] bool Float32Distances() const { return compat == Compat::kOriginal; }
  /// The rate to write without looking at timestamps, if any.
  [[nodiscard]] std::optional<double> FixedFps() const;
};

/// What a run makes of every episode.
enum class Pipeline {
  kMetadata,  ///< tracks, poses, intrinsics, quality
  kFull,      ///< … and depth
};

/// When an episode counts as finished without depth.
enum class RequireDepth {
  kNone,  ///< always
  kAny,   ///< when it has no stereo recording; else one camera must have depth
  kAll,   ///< never: every camera must have depth
};
[[nodiscard]] std::string_view ToString(RequireDepth require);

/// What a run with depth needs besides DepthOptions.
struct FullOptions {
  std::vector<std::string> cameras;  ///< serials or roles that get depth; empty: all
  int camera_jobs = 1;               ///< cameras of an episode at a time
  RequireDepth require_depth = RequireDepth::kAny;
  int workers_per_gpu = 3;
  std::optional<int> gpus;              ///< default: all there are
  std::optional<double> max_staged_gb;  ///< default: 90 % of the free space at the start
  std::string staging_dir;              ///< empty: finished episodes go straight to their place
  std::string batch_dir;                ///< queue of whole episodes, in place of `out`; empty: none
  std::string batch_metadata_dir;       ///< queue of episodes without depth; empty: none
};

/// How episodes lie in a repository.
enum class HubLayout {
  kFiles,   ///< under their own names
  kShards,  ///< many in one archive, see transfer/shard_layout.h
};
[[nodiscard]] std::string_view ToString(HubLayout layout);

/// Where finished episodes are uploaded to. Without a place nothing is uploaded or removed.
struct HubOptions {
  std::string repo;           ///< NAMESPACE/NAME for whole episodes; empty: none
  std::string metadata_repo;  ///< … for episodes without depth; empty: none
  std::string type = "dataset";
  std::string branch = "main";
  bool is_private = false;   ///< of repositories that are made
  std::string hub;           ///< "file:DIR" in place of `repo`
  std::string metadata_hub;  ///< … of `metadata_repo`
  bool keep_uploaded = false;
  int upload_jobs = 5;
  double upload_interval_s = 600;
  long long batch_files = 1000;
  double batch_gb = 50;
  HubLayout layout = HubLayout::kFiles;
  double shard_gb = 1;
  int commits_per_hour = 100;
  bool overwrite = false;
  bool skip_check = false;  ///< do not look which episodes the repository has

  [[nodiscard]] bool HasPlace() const {
    return !(repo.empty() && metadata_repo.empty() && hub.empty() && metadata_hub.empty());
  }
};

/// Where raw data and calibration come from. Empty: not given.
struct InputOptions {
  std::string droid_root;   ///< folders and gs://BUCKET/FOLDER, separated by commas
  std::string annotations;  ///< folder with the published file names
  std::string superset;
  std::string cam2base;
  std::string intrinsics;
  std::string episode_paths;
  std::string serials;
  std::string language;
  std::string keep_ranges;
  std::string conf_dir;  ///< folder with SN<serial>.conf

  /// The parts of `droid_root`: an episode is read from the first that has it.
  [[nodiscard]] std::vector<std::string> Roots() const;
};

/// How a run gets raw data from buckets.
struct FetchOptions {
  int prefetch = 2;  ///< episodes per worker that are fetched before they are asked for
  int jobs = 8;      ///< files at a time
  /// Folders listed at a time: answers are small, and nothing begins before the last.
  [[nodiscard]] int ListingJobs() const { return 4 * jobs; }
  std::optional<double> rate_mb_per_s;  ///< of all together; default: as fast as it goes
  int stall_timeout_s = 60;
  bool keep_raw = false;  ///< in {run_dir}/raw
  std::string cache_dir;  ///< empty: none
  double cache_gb = 100;
};

/// One part of a run that several machines share: of its episodes every `count`-th, from `index`
/// on.
struct RunPart {
  int index = 0;
  int count = 1;

  bool operator==(const RunPart&) const = default;
};

/// Which episodes, and how many.
struct SelectionOptions {
  long long limit = 10;  ///< -1: all
  RunPart part;          ///< of what is there after the limit
  std::string episodes;  ///< a file with one uuid a line, or uuids separated by commas; empty: all
  std::vector<std::string> labs;  ///< empty: all
  std::optional<Outcome> outcome;
  std::optional<double> min_iou;
  std::optional<double> min_matches;
  std::optional<double> max_reprojection_error;
};

/// What a run does otherwise when it is one of many into the same `out`, at the same time. The
/// command's, not the user's.
struct SharedRunOptions {
  std::string arriving_dir;  ///< on the file system of `out`, nobody else's: finished episodes are
                             ///< renamed from here, unless the same result is there; empty: alone
  std::string annotation_indexes;  ///< folder of Annotations::SaveIndexes; empty: none
  double stop_grace_s = 10;        ///< for episodes in hand after a request to stop
};

struct MetadataOptions {
  TrackOptions track;
  InputOptions input;
  FetchOptions fetch;
  SelectionOptions selection;
  DepthOptions depth;
  FullOptions full;
  HubOptions hub;
  SharedRunOptions shared;
  Pipeline pipeline = Pipeline::kMetadata;  ///< the command's, not the user's
  std::string out;
  std::string run_dir;         ///< empty: {out}/.droidflow; of a part a folder of its own in it
  std::string scratch_dir;     ///< empty: {run_dir}/incoming
  std::optional<int> workers;  ///< default 16; kFull: a quarter of the cores, or by GPUs
  int decode_threads = 1;
  std::optional<double> episode_timeout_s;  ///< default 300; kFull: 3600
  bool deep_check =
      false;  ///< on resume read finished files back instead of trusting size and time
  bool retry_quarantined = false;  ///< on resume try quarantined episodes again
  std::string splits;              ///< SharesFor, for the index of `out`
  bool recompute = false;          ///< do finished episodes again too

  [[nodiscard]] std::filesystem::path RunDir() const;
  /// On processors.
  [[nodiscard]] int Workers() const;
  [[nodiscard]] double EpisodeTimeoutS() const;
};

/// Reads a YAML file over `options`. Keys are the long flags with '_' for '-', and the original's:
/// cam2base_extrinsics_path, finger_mesh_path, output_root, num_track_points, min_depth. A nested
/// mapping counts as dotted keys: `gripper: {mount_xyz: [0, 0, 0]}` is gripper.mount_xyz.
///
/// @return kNotFound when there is no such file; kUsage with file, line and column for malformed
/// YAML,
///         an unknown key or a value of the wrong type.
[[nodiscard]] Status LoadConfig(const std::filesystem::path& path, MetadataOptions& options);

/// The options in force as a YAML file that LoadConfig reads back: defaults are written out, what
/// has none stands in a comment.
[[nodiscard]] std::string FormatConfig(const MetadataOptions& options);

/// Sets one option from text, as a flag or a YAML file gives it. @return kUsage with what was
/// expected.
[[nodiscard]] Status SetOption(std::string_view key,
                               const std::string& text,
                               MetadataOptions& options);

/// One row of the table of options, for `--help` and for the command line to walk over.
struct OptionInfo {
  enum class Group { kInput, kFetch, kTrack, kDepth, kSelection, kRun, kFull, kHub };
  std::string key;  ///< with '_'
  Group group;
  std::string value_name;  ///< "DIR", "N", "{step,capture}"; empty: a switch
  std::string help;
  std::string flag = {};      ///< with '-'; empty: the key's
  bool has_negation = false;  ///< a switch that can also be turned off, as --no-{flag}
};
[[nodiscard]] std::vector<OptionInfo> ListOptions();

/// Refuses options that cannot work together. @return kUsage.
[[nodiscard]] Status CheckOptions(const MetadataOptions& options);

/// Every parameter that shaped the numbers, as compact JSON with resolved defaults: `config` of
/// quality.json. Contact points and meshes stand by name and CRC-32, not by path.
[[nodiscard]] Result<std::string> FormatTrackConfig(const TrackOptions& options);

/// The same of a run: with what shapes depth, as `depth`, where the pipeline makes it. Backends
/// that give the same depth stand by one name.
[[nodiscard]] Result<std::string> FormatRunConfig(const MetadataOptions& options);

}  // namespace droidflow

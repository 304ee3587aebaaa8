#pragma once

#include "droidflow/core/result.h"
#include "droidflow/episode/episode.h"
#include "droidflow/geometry/projection.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// The published annotation files; those not given are not used.
struct AnnotationPaths {
  std::optional<std::filesystem::path> superset;       ///< cam2base_extrinsic_superset.json
  std::optional<std::filesystem::path> cam2base;       ///< cam2base_extrinsics.json
  std::optional<std::filesystem::path> intrinsics;     ///< intrinsics.json
  std::optional<std::filesystem::path> episode_paths;  ///< episode_id_to_path.json
  std::optional<std::filesystem::path> serials;        ///< camera_serials.json
  std::optional<std::filesystem::path> language;       ///< droid_language_annotations.json
  std::optional<std::filesystem::path> keep_ranges;    ///< keep_ranges_1_0_1.json
};

/// Their published names, in this order.
inline constexpr std::array<const char*, 7> kAnnotationFiles = {"cam2base_extrinsic_superset.json",
                                                                "cam2base_extrinsics.json",
                                                                "intrinsics.json",
                                                                "episode_id_to_path.json",
                                                                "camera_serials.json",
                                                                "droid_language_annotations.json",
                                                                "keep_ranges_1_0_1.json"};

/// The annotation files that lie in a folder under their published names.
[[nodiscard]] AnnotationPaths FindAnnotations(const std::filesystem::path& folder);

/// How a calibration was judged. Values of different types are never compared.
enum class MetricType { kIou, kNumMatches, kReprojectionError, kOther };
inline constexpr std::size_t kNumRankedMetrics = 3;  ///< all but kOther

/// "IoU", "num_matches", "Reprojection_error", "other".
[[nodiscard]] std::string_view ToString(MetricType type);
/// Without regard to case: "IOU" is published too.
[[nodiscard]] MetricType MetricTypeFromString(std::string_view text);
/// Whether the first value of a type is the better one; false for kOther.
[[nodiscard]] bool IsBetter(MetricType type, double a, double b);

/// One camera of an annotation entry.
struct CameraCalibration {
  std::string serial;
  PoseVector pose;  ///< of the left lens in base
  MetricType metric_type = MetricType::kOther;
  std::optional<double> metric_value;
  std::string source;     ///< free text: "GT", "Pred", "calib"
  std::string_view file;  ///< "superset" or "cam2base"
};

/// What the annotations say of an episode's cameras.
struct EpisodeCalibration {
  /// In the order of the entry; those that only cam2base_extrinsics.json has come last.
  std::vector<CameraCalibration> cameras;
  /// What the other file says of cameras that are in both.
  std::vector<CameraCalibration> passed_over;
  std::string raw_json;           ///< the entry's text, of the superset where it has one
  std::vector<Warning> warnings;  ///< code no_extrinsics: entries that hold no pose
};

/// One episode's calibrations in few bytes, to rank all episodes by.
struct CalibrationSummary {
  struct Metric {
    double best = 0;
    std::uint8_t cameras = 0;  ///< how many have a value of this type; 0: `best` says nothing
  };
  std::string_view uuid;  ///< valid as long as the Annotations
  std::uint8_t cameras = 0;
  std::array<Metric, kNumRankedMetrics> metrics;  ///< by MetricType
};

/// The annotation files behind an index: lookups read a few hundred bytes each.
///
/// Memory   keys and offsets of every entry, 90 MB at most for the published files.
/// Thread   any number of readers, forked processes included.
/// Source   Hugging Face KarlP/droid.
class Annotations {
 public:
  /// Reads every file once and checks that all of it is JSON.
  /// @return kNotFound for a path without a file, kInvalidData with line and byte.
  [[nodiscard]] static Result<Annotations> Open(const AnnotationPaths& paths);

  /// Writes the indexes into a folder, for other processes on this or other machines.
  [[nodiscard]] Status SaveIndexes(const std::filesystem::path& folder) const;

  /// Opens the files by indexes that SaveIndexes wrote: no file is read through, Summaries() is
  /// empty.
  /// @return  kInternal for a file that was changed since.
  [[nodiscard]] static Result<Annotations> OpenIndexed(const AnnotationPaths& paths,
                                                       const std::filesystem::path& folder);

  Annotations(Annotations&&) noexcept;
  Annotations& operator=(Annotations&&) noexcept;
  ~Annotations();

  /// The files that are read.
  [[nodiscard]] const AnnotationPaths& paths() const;

  /// The camera poses of an episode, decided per camera: superset, else cam2base_extrinsics.
  [[nodiscard]] Result<std::optional<EpisodeCalibration>> Calibration(std::string_view uuid) const;

  /// By serial; without empty entries (width 0) and such as no camera has.
  [[nodiscard]] Result<std::map<std::string, Intrinsics>> IntrinsicsOf(std::string_view uuid) const;

  /// The serials that camera_serials.json knows; empty without an entry.
  [[nodiscard]] Result<std::map<CameraRole, std::string>> SerialsOf(std::string_view uuid) const;

  /// "{lab}/{outcome}/{date}/{folder}", as published.
  [[nodiscard]] Result<std::optional<std::string>> PathOf(std::string_view uuid) const;

  /// What the robot was told to do, at most three sentences; empty without an entry.
  [[nodiscard]] Result<std::vector<std::string>> LanguageOf(std::string_view uuid) const;

  /// The steps that are not idle, of the episode of a folder "{lab}/{outcome}/{date}/{folder}";
  /// nothing without an entry.
  [[nodiscard]] Result<std::optional<std::vector<StepRange>>> KeepRangesOf(
      std::string_view relative_path) const;

  /// The uuids of episodes by their published paths, for folders that do not say theirs. Reads
  /// every entry of episode_id_to_path.json.
  /// @return path -> uuid of those of `paths` that are known.
  [[nodiscard]] Result<std::map<std::string, std::string>> UuidsOfPaths(
      const std::set<std::string>& paths) const;

  /// Every episode with a calibrated camera, sorted by uuid.
  [[nodiscard]] const std::vector<CalibrationSummary>& Summaries() const;

 private:
  struct State;
  explicit Annotations(std::unique_ptr<const State> state);

  std::unique_ptr<const State> state_;
};

}  // namespace droidflow

#pragma once

/// What `droidflow report` tells of a run or of a folder of results, as plain values.

#include "droidflow/core/result.h"
#include "droidflow/jobs/task.h"
#include "droidflow/pipeline/render_episode.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// How often values occur: bar i counts those from first + i step up to the next.
struct Histogram {
  double first = 0;
  double step = 1;
  std::vector<std::int64_t> counts;
  std::int64_t below = 0;  ///< counted in the first bar, though smaller
  std::int64_t above = 0;  ///< counted in the last bar, though larger
  std::int64_t count = 0;
  double min = 0;
  double median = 0;
  double max = 0;
};

/// Bars of a round width: 1, 2 or 5 times a power of ten, and at least a ten thousandth of the
/// values. The median of an even number is the mean of the two in the middle. Where a few of many
/// values are far away, bars reach from the 1 % to the 99 % quantile, and the rest is counted at
/// the ends. NaN and infinite values are left out.
[[nodiscard]] Histogram MakeHistogram(std::vector<double> values);

struct Distribution {
  std::string title;
  std::string unit;  ///< empty: none
  std::string of;    ///< what is counted: "episodes", "cameras", "steps"
  Histogram histogram;
};

struct ReportCamera {
  std::string serial;
  std::string role;
  std::string metric_type;  ///< empty: none
  std::optional<double> metric;
  std::optional<double> in_image_fraction;
  std::optional<double> capture_delay_ms;
  std::optional<double> depth_valid_fraction;
  std::optional<double> check_score;  ///< of `droidflow check`, as the next
  std::optional<double> check_offset_frames;
};

/// An episode, by the store of the run and by what it left in the folder of results: either may be
/// missing.
struct ReportEpisode {
  std::string key;        ///< uuid
  std::string path;       ///< "{lab}/{outcome}/{date}/{time}"
  std::string directory;  ///< of its results; empty: not here
  std::string lab;
  std::string outcome;
  TaskState state = TaskState::kDone;
  std::string status;
  std::string message;
  std::string stage;  ///< that failed
  std::string task;   ///< as recorded
  int attempts = 0;
  std::int64_t started_unix_ms = 0;
  std::int64_t finished_unix_ms = 0;
  std::uint64_t output_bytes = 0;
  std::vector<StageTime> stages;
  std::optional<std::int64_t> steps;
  std::optional<double> fps;
  std::optional<double> path_length_mm;
  std::optional<double> idle_fraction;
  std::vector<std::string> warnings;  ///< codes
  std::vector<ReportCamera> cameras;
  std::optional<double> check_score;  ///< of `droidflow check`: the least of the external cameras
  std::optional<double> score;        ///< 0 worst … 1 best
};

/// A version and configuration, and how many episodes were made with it.
struct ReportConfig {
  std::string json;  ///< {"droidflow_version", "commit", "instruction_set", "config"}, as known
  std::int64_t episodes = 0;
};

struct ReportSheet {
  std::string choice;  ///< "best", "worst", "random"
  std::size_t episode = 0;
  int width_px = 0;
  int height_px = 0;
  bool has_depth = false;
  std::vector<std::byte> jpeg;
};

struct ReportData {
  std::string where;              ///< the folder that was asked for
  std::vector<std::string> runs;  ///< run directories; empty: none was found
  std::string settings;           ///< YAML of a run on a cluster; empty: not known
  std::vector<ReportEpisode> episodes;
  std::vector<Distribution> distributions;
  std::map<std::string, std::int64_t> warnings;         ///< episodes by code
  std::map<std::string, std::string> warning_examples;  ///< text by code
  std::vector<ReportConfig> configs;                    ///< most used first
  std::string score;  ///< what `score` of the episodes is; empty: none has one
  std::vector<ReportSheet> sheets;
  std::vector<std::string> notes;  ///< what could not be shown, and why
};

struct ReportOptions {
  std::filesystem::path results;  ///< of a run directory elsewhere; empty: where the run says
  int sheets = 4;                 ///< of each kind: best, worst, random
  RenderOptions render;
};

/// Reads a folder of results (its run is looked for in `.droidflow`), a run directory, or the
/// directory of a run on a cluster. The same input gives the same values: "random" follows from the
/// uuids.
///
/// @return kNotFound where there is neither a run nor an episode; kInvalidData for a damaged run;
///         kCancelled after a signal. Damaged episodes are noted.
[[nodiscard]] Result<ReportData> GatherReport(const std::filesystem::path& directory,
                                              const ReportOptions& options);

/// Gives each episode its score: `check_score` where any episode has one, else the mean rank of its
/// cameras' calibration metrics, each among all of that type (ties share a rank).
///
/// @return what it is, in words; empty: no episode has one.
[[nodiscard]] std::string ScoreEpisodes(std::vector<ReportEpisode>& episodes);

/// Episodes for contact sheets, each once: the best, the worst (worst first), and of the rest those
/// with the least hash of their name. Only those with a score can be best or worst, and none
/// without 2-D tracks.
struct SheetChoice {
  std::string choice;
  std::size_t episode = 0;
};
[[nodiscard]] std::vector<SheetChoice> ChooseSheets(const std::vector<ReportEpisode>& episodes,
                                                    int each);

}  // namespace droidflow

#include "droidflow/pipeline/report_data.h"

#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/formats/npz_reader.h"
#include "droidflow/io/annotations.h"
#include "droidflow/jobs/run_store.h"
#include "droidflow/jobs/slurm_run.h"
#include "droidflow/pipeline/options.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/verify.h"
#include "droidflow/video/picture_file.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ReportJson = nlohmann::ordered_json;

constexpr const char kRunFile[] = "run.sqlite";
constexpr const char kHiddenFolder[] = ".droidflow";
constexpr int kBars = 30;  ///< about as many
constexpr int kJpegQuantizer = 4;
constexpr std::size_t kMostNotesOfAKind = 5;
constexpr std::size_t kMostConfigs = 50;

/// 1, 2 or 5 times a power of ten, and not less.
double RoundStep(double step) {
  const double power = std::pow(10, std::floor(std::log10(step)));
  for (const double digit : {1.0, 2.0, 5.0}) {
    if (step <= digit * power * (1 + 1e-9)) return digit * power;
  }
  return 10 * power;
}

// ---------------------------------------------------------------- runs

struct FoundRuns {
  std::vector<std::string> directories;
  std::vector<TaskRecord> records;  ///< each task once
  fs::path results;                 ///< empty: not known
  std::string settings;
};

bool IsFileThere(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

/// Takes records over; of a task in several runs the one that is finished, or the later.
class RecordMerger {
 public:
  explicit RecordMerger(std::vector<TaskRecord>& records) : records_(records) {}

  void Add(TaskRecord record) {
    const auto [at, is_new] = place_.emplace(record.task.key, records_.size());
    if (is_new) {
      records_.push_back(std::move(record));
      return;
    }
    TaskRecord& old = records_[at->second];
    const auto weight = [](const TaskRecord& r) {
      return std::pair(r.state == TaskState::kDone, r.finished_unix_ms);
    };
    if (weight(record) > weight(old)) old = std::move(record);
  }

 private:
  std::vector<TaskRecord>& records_;
  std::unordered_map<std::string, std::size_t> place_;
};

Status AddStore(const fs::path& run_dir, RecordMerger& merger, FoundRuns& found) {
  DF_ASSIGN_OR_RETURN(RunStore store, RunStore::OpenReadOnly(run_dir));
  DF_ASSIGN_OR_RETURN(std::vector<TaskRecord> records, store.LoadAll());
  for (TaskRecord& record : records) merger.Add(std::move(record));
  found.directories.push_back(run_dir.string());
  return {};
}

/// What a run on a cluster has finished so far.
Status AddSlurmRun(const fs::path& run_dir, RecordMerger& merger, FoundRuns& found) {
  DF_ASSIGN_OR_RETURN(const SlurmRun run, SlurmRun::Open(run_dir));
  MetadataOptions options;
  DF_RETURN_IF_ERROR(LoadConfig(run.SettingsPath(), options));
  found.results = fs::path(run.plan().directory) / options.out;
  DF_ASSIGN_OR_RETURN(found.settings, ReadFileText(run.SettingsPath()));
  for (int shard = 0; shard < run.plan().Shards(); ++shard) {
    DF_ASSIGN_OR_RETURN(std::optional<ShardResult> result, run.ReadResult(shard, true));
    if (result) {
      for (ShardItem& item : result->items) merger.Add(std::move(item.record));
      continue;
    }
    DF_ASSIGN_OR_RETURN(const std::vector<std::string> items, run.ItemsOf(shard));
    for (const std::string& item : items) {
      TaskRecord waiting;
      waiting.task = {.key = item, .payload = item};
      merger.Add(std::move(waiting));
    }
  }
  found.directories.push_back(run_dir.string());
  return {};
}

/// @param directory  of results or of a run.
Result<FoundRuns> FindRuns(const fs::path& directory) {
  FoundRuns found;
  RecordMerger merger(found.records);
  if (IsFileThere(directory / kRunFile)) {
    DF_RETURN_IF_ERROR(AddStore(directory, merger, found));
    const fs::path whole = fs::absolute(directory / "").lexically_normal().parent_path();
    for (const fs::path& folder : {whole, whole.parent_path()}) {
      if (folder.filename() == kHiddenFolder) found.results = folder.parent_path();
    }
    return found;
  }
  if (IsFileThere(directory / "plan.json")) {
    DF_RETURN_IF_ERROR(AddSlurmRun(directory, merger, found));
    return found;
  }
  found.results = directory;
  const fs::path hidden = directory / kHiddenFolder;
  std::vector<fs::path> candidates{hidden};
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(hidden, ignored)) {
    candidates.push_back(entry.path());
  }
  std::ranges::sort(candidates);
  for (const fs::path& candidate : candidates) {
    if (IsFileThere(candidate / kRunFile)) {
      DF_RETURN_IF_ERROR(AddStore(candidate, merger, found));
    }
  }
  return found;
}

ReportEpisode FromRecord(const TaskRecord& record) {
  ReportEpisode episode;
  episode.key = record.task.key;
  episode.path = record.directory.empty() ? record.task.payload : record.directory;
  episode.state = record.state;
  episode.status = record.status;
  episode.message = record.message;
  episode.stage = record.failed_stage;
  episode.attempts = record.attempts;
  episode.started_unix_ms = record.started_unix_ms;
  episode.finished_unix_ms = record.finished_unix_ms;
  episode.output_bytes = record.output_bytes;
  episode.stages = record.stages;
  episode.lab = record.task.key.substr(0, record.task.key.find_first_of("+/"));
  for (const Outcome outcome : {Outcome::kSuccess, Outcome::kFailure}) {
    const std::string name(ToString(outcome));
    if (episode.path.find('/' + name + '/') != std::string::npos) episode.outcome = name;
  }
  return episode;
}

// ---------------------------------------------------------------- results

std::string WordAt(const ReportJson& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<double> NumberAt(const ReportJson& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

const ReportJson& ObjectAt(const ReportJson& object, const std::string& key) {
  static const ReportJson empty = ReportJson::object();
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : empty;
}

ReportCamera ReadReportCamera(const std::string& serial,
                              const ReportJson& camera,
                              const ReportJson& quality) {
  const ReportJson& metric = ObjectAt(camera, "calibration_metric");
  const ReportJson& check = ObjectAt(ObjectAt(ObjectAt(quality, "check"), "cameras"), serial);
  return {.serial = serial,
          .role = WordAt(camera, "role"),
          .metric_type = WordAt(metric, "type"),
          .metric = NumberAt(metric, "value"),
          .in_image_fraction = NumberAt(camera, "in_image_fraction"),
          .capture_delay_ms = NumberAt(camera, "capture_delay_ms"),
          .depth_valid_fraction = NumberAt(camera, "depth_valid_fraction"),
          .check_score = NumberAt(check, "score"),
          .check_offset_frames = NumberAt(check, "time_offset_frames")};
}

/// What is added up while episodes are read.
struct ReportSums {
  std::vector<double> gripper;  ///< of all steps
  std::map<std::string, std::int64_t> configs;
  std::map<std::string, std::vector<std::string>> notes;  ///< episodes, by what is wrong
};

/// Frame rate and gripper of tracks.npz, where they can be read.
void ReadReportTracks(const fs::path& path, ReportEpisode& episode, ReportSums& sums) {
  const Result<NpzReader> tracks = NpzReader::Open(path);
  const auto numbers = [&](const char* name) -> std::vector<double> {
    if (!tracks || !tracks->Contains(name)) return {};
    const Result<NpyArray> array = tracks->Read(name);
    if (!array) return {};
    return array->ToDoubles().value_or(std::vector<double>());
  };
  if (const std::vector<double> fps = numbers("fps"); fps.size() == 1) episode.fps = fps[0];
  const std::vector<double> gripper = numbers("gripper_positions");
  sums.gripper.insert(sums.gripper.end(), gripper.begin(), gripper.end());
}

/// Adds what an episode's folder says.
void ReadResults(const fs::path& directory,
                 ReportEpisode& episode,
                 ReportData& report,
                 ReportSums& sums) {
  const Result<std::string> text = ReadFileText(directory / kQualityFile);
  const ReportJson quality = ReportJson::parse(text.value_or(""), nullptr, false);
  if (!quality.is_object()) {
    std::error_code ignored;
    const bool is_there = fs::is_directory(directory, ignored);
    sums.notes[is_there ? "without a readable quality.json" : "not in the folder of results"]
        .push_back(episode.key.empty() ? directory.string() : episode.key);
    if (is_there) episode.directory = directory.string();
    return;
  }
  episode.directory = directory.string();
  if (episode.key.empty()) episode.key = WordAt(quality, "episode_id");
  const std::string source = WordAt(quality, "source_path");
  if (!source.empty()) {
    episode.path = source;
    episode.lab = source.substr(0, source.find('/'));
  }
  episode.outcome = WordAt(quality, "outcome");
  episode.task = WordAt(quality, "current_task");
  if (const auto steps = NumberAt(quality, "num_frames")) {
    episode.steps = static_cast<std::int64_t>(*steps);
  }
  episode.path_length_mm = NumberAt(quality, "path_length_mm");
  episode.idle_fraction = NumberAt(quality, "idle_fraction");
  episode.check_score = NumberAt(ObjectAt(quality, "check"), "score");
  if (episode.stages.empty()) {
    for (const auto& [name, duration] : ObjectAt(quality, "timings_ms").items()) {
      if (duration.is_number()) episode.stages.push_back({name, duration.get<double>()});
    }
  }
  for (const auto& [serial, camera] : ObjectAt(quality, "cameras").items()) {
    if (camera.is_object()) episode.cameras.push_back(ReadReportCamera(serial, camera, quality));
  }
  if (const auto warnings = quality.find("warnings");
      warnings != quality.end() && warnings->is_array()) {
    for (const ReportJson& warning : *warnings) {
      if (!warning.is_object()) continue;
      const std::string code = WordAt(warning, "code");
      if (std::ranges::find(episode.warnings, code) != episode.warnings.end()) continue;
      episode.warnings.push_back(code);
      ++report.warnings[code];
      report.warning_examples.emplace(code, WordAt(warning, "text"));
    }
  }
  ReportJson config = {{"droidflow_version", WordAt(quality, "droidflow_version")}};
  for (const char* const key : {"commit", "instruction_set"}) {
    const std::string value = WordAt(ObjectAt(quality, "provenance"), key);
    if (!value.empty()) config[key] = value;
  }
  config["config"] = ObjectAt(quality, "config");
  ++sums.configs[config.dump(-1, ' ', false, ReportJson::error_handler_t::replace)];
  ReadReportTracks(directory / kTracksFile, episode, sums);
}

/// Every episode of the runs, and those in the folder of results that no run knows.
Status ReadEpisodes(const FoundRuns& found, ReportData& report, ReportSums& sums) {
  std::unordered_set<std::string> read;
  const auto read_results = [&](const fs::path& directory, ReportEpisode& episode) -> Status {
    if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
    ReadResults(directory, episode, report, sums);
    return {};
  };
  for (const TaskRecord& record : found.records) {
    ReportEpisode& episode = report.episodes.emplace_back(FromRecord(record));
    if (found.results.empty()) continue;
    const fs::path directory = found.results / episode.path;
    read.insert(directory.lexically_normal().string());
    if (record.state == TaskState::kDone) DF_RETURN_IF_ERROR(read_results(directory, episode));
  }
  if (found.results.empty()) return {};
  const Result<std::vector<fs::path>> folders = FindEpisodeOutputs(found.results);
  if (!folders && found.records.empty()) return tl::unexpected(folders.error());
  for (const fs::path& folder : folders.value_or(std::vector<fs::path>())) {
    if (read.contains(folder.lexically_normal().string())) continue;
    ReportEpisode episode;
    episode.path = folder.lexically_relative(found.results).string();
    episode.lab = episode.path.substr(0, episode.path.find('/'));
    DF_RETURN_IF_ERROR(read_results(folder, episode));
    if (episode.key.empty()) episode.key = episode.path;
    report.episodes.push_back(std::move(episode));
  }
  return {};
}

// ---------------------------------------------------------------- distributions

template <typename Value>
std::vector<double> OfEpisodes(const ReportData& report, Value value) {
  std::vector<double> values;
  for (const ReportEpisode& episode : report.episodes) {
    if (const auto number = value(episode)) values.push_back(static_cast<double>(*number));
  }
  return values;
}

std::vector<double> OfCameras(const ReportData& report,
                              std::optional<double> ReportCamera::*value,
                              double scale = 1) {
  std::vector<double> values;
  for (const ReportEpisode& episode : report.episodes) {
    for (const ReportCamera& camera : episode.cameras) {
      if (camera.*value) values.push_back(*(camera.*value) * scale);
    }
  }
  return values;
}

void AddDistributions(ReportSums& sums, ReportData& report) {
  const auto add = [&](std::string title, std::string unit, std::string of, Histogram histogram) {
    if (histogram.count == 0) return;
    report.distributions.push_back(
        {std::move(title), std::move(unit), std::move(of), std::move(histogram)});
  };
  const auto add_values = [&](const char* title, const char* unit, const char* of, auto values) {
    add(title, unit, of, MakeHistogram(std::move(values)));
  };
  using Episode = const ReportEpisode&;
  add_values(
      "Steps", "", "episodes", OfEpisodes(report, [](Episode episode) { return episode.steps; }));
  add_values("Path length", "m", "episodes", OfEpisodes(report, [](Episode episode) {
               return episode.path_length_mm ? std::optional(*episode.path_length_mm / 1000)
                                             : std::nullopt;
             }));
  add_values("Gripper (0 open, 1 closed)", "", "steps", std::move(sums.gripper));
  add_values("Steps without motion", "%", "episodes", OfEpisodes(report, [](Episode episode) {
               return episode.idle_fraction ? std::optional(*episode.idle_fraction * 100)
                                            : std::nullopt;
             }));
  add_values("Frame rate", "steps/s", "episodes", OfEpisodes(report, [](Episode episode) {
               return episode.fps;
             }));
  std::map<std::string, std::vector<double>> metrics;
  for (const ReportEpisode& episode : report.episodes) {
    for (const ReportCamera& camera : episode.cameras) {
      if (camera.metric) metrics[camera.metric_type].push_back(*camera.metric);
    }
  }
  for (auto& [type, values] : metrics) {
    const MetricType known = MetricTypeFromString(type);
    const char* const better = known == MetricType::kOther ? ""
                               : IsBetter(known, 1, 0)     ? ", higher is better"
                                                           : ", lower is better";
    add(fmt::format("Calibration: {}{}", type, better),
        known == MetricType::kReprojectionError ? "px" : "",
        "cameras",
        MakeHistogram(std::move(values)));
  }
  add_values("Label check, least of the external cameras",
             "",
             "episodes",
             OfEpisodes(report, [](Episode episode) { return episode.check_score; }));
  add_values("Image against robot by the label check",
             "frames",
             "cameras",
             OfCameras(report, &ReportCamera::check_offset_frames));
  add_values("Step start minus image",
             "ms",
             "cameras",
             OfCameras(report, &ReportCamera::capture_delay_ms));
  add_values("Track points in the image",
             "%",
             "cameras",
             OfCameras(report, &ReportCamera::in_image_fraction, 100));
  add_values("Pixels with depth",
             "%",
             "cameras",
             OfCameras(report, &ReportCamera::depth_valid_fraction, 100));
}

// ---------------------------------------------------------------- pictures

/// The same everywhere, and without order: FNV-1a.
std::uint64_t HashOfName(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const unsigned char c : name) hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

Status DrawSheets(const ReportOptions& options, ReportData& report) {
  RenderOptions render = options.render;
  render.moments = 4;
  render.sheet_width_px = 1000;
  render.min_tile_px = 240;
  render.legend = false;
  std::map<std::string, std::vector<std::string>> notes;
  for (const auto& [choice, index] : ChooseSheets(report.episodes, options.sheets)) {
    const ReportEpisode& episode = report.episodes[index];
    Result<EpisodeSheet> sheet = DrawEpisodeSheet(episode.directory, render);
    if (!sheet && sheet.error().kind == ErrorKind::kCancelled) {
      return tl::unexpected(sheet.error());
    }
    if (!sheet) {
      report.notes.push_back(
          fmt::format("no pictures of {}: {}", episode.key, sheet.error().message));
      continue;
    }
    for (const std::string& note : sheet->notes) {
      // Without a root there is no recording, and that is no news.
      if (render.droid_roots.empty() && note.find("depth.mkv") == std::string::npos) continue;
      report.notes.push_back(fmt::format("{}: {}", episode.key, note));
    }
    const RgbView picture = std::as_const(sheet->picture).view();
    Result<std::vector<std::byte>> jpeg = EncodeJpeg(picture, kJpegQuantizer);
    if (!jpeg) {
      report.notes.push_back(fmt::format("no pictures: {}", jpeg.error().message));
      return {};
    }
    report.sheets.push_back({.choice = choice,
                             .episode = index,
                             .width_px = picture.width_px,
                             .height_px = picture.height_px,
                             .has_depth = sheet->has_depth,
                             .jpeg = *std::move(jpeg)});
  }
  return {};
}

void AddNotes(const ReportSums& sums, std::vector<std::string>& notes) {
  for (const auto& [what, keys] : sums.notes) {
    const std::size_t shown = std::min(keys.size(), kMostNotesOfAKind);
    notes.push_back(fmt::format("{} of the finished episodes {} {}: {}{}",
                                keys.size(),
                                keys.size() == 1 ? "is" : "are",
                                what,
                                fmt::join(keys.begin(), keys.begin() + shown, ", "),
                                shown < keys.size() ? ", …" : ""));
  }
}

}  // namespace

Histogram MakeHistogram(std::vector<double> values) {
  std::erase_if(values, [](double value) { return !std::isfinite(value); });
  Histogram histogram;
  if (values.empty()) return histogram;
  std::ranges::sort(values);
  const auto quantile = [&](double share) {
    return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
  };
  histogram.count = static_cast<std::int64_t>(values.size());
  histogram.min = values.front();
  const std::size_t half = values.size() / 2;
  histogram.median =
      values.size() % 2 == 1 ? values[half] : std::midpoint(values[half - 1], values[half]);
  histogram.max = values.back();
  double low = values.front();
  double high = values.back();
  const double middle = quantile(0.99) - quantile(0.01);
  if (values.size() >= 100 && middle > 0 && high - low > 3 * middle) {
    low = quantile(0.01);
    high = quantile(0.99);
  }
  const bool are_whole =
      std::ranges::all_of(values, [](double value) { return value == std::floor(value); });
  // What is closer together differs by rounding; its labels would be all digits.
  const double least = std::max({std::abs(low), std::abs(high), 1e-12}) * 1e-4;
  double step = RoundStep(std::max((high - low) / kBars, least));
  if (high == low) step = are_whole || low == 0 ? 1 : RoundStep(std::abs(low) / 10);
  if (are_whole) step = std::max(step, 1.0);
  histogram.step = step;
  histogram.first = std::floor(low / step) * step;
  const auto bar_of = [&](double value) {
    return std::floor((value - histogram.first) / step + 1e-9);
  };
  // The largest value at the end of the last bar is counted in it, but where each has its own.
  const bool ends_there = step * bar_of(high) + histogram.first >= high * (1 - 1e-12) &&
                          bar_of(high) > 0 && !(are_whole && step == 1);
  const double last = bar_of(high) - (ends_there ? 1 : 0);
  histogram.counts.assign(static_cast<std::size_t>(last) + 1, 0);
  for (const double value : values) {
    const double bar = bar_of(value);
    histogram.below += value < histogram.first ? 1 : 0;
    histogram.above += value > high ? 1 : 0;
    ++histogram.counts[static_cast<std::size_t>(std::clamp(bar, 0.0, last))];
  }
  return histogram;
}

std::string ScoreEpisodes(std::vector<ReportEpisode>& episodes) {
  const auto is_any_scored = [&] {
    return std::ranges::any_of(
        episodes, [](const ReportEpisode& episode) { return episode.score.has_value(); });
  };
  for (ReportEpisode& episode : episodes) episode.score = episode.check_score;
  if (is_any_scored()) {
    return "the score of the label check (droidflow check, as --min-check takes it): the least of "
           "an episode's external cameras";
  }
  std::map<MetricType, std::vector<double>> values;
  for (const ReportEpisode& episode : episodes) {
    for (const ReportCamera& camera : episode.cameras) {
      if (camera.metric) values[MetricTypeFromString(camera.metric_type)].push_back(*camera.metric);
    }
  }
  for (auto& [type, sorted] : values) std::ranges::sort(sorted);
  const auto rank_of = [&](const ReportCamera& camera) -> std::optional<double> {
    const MetricType type = MetricTypeFromString(camera.metric_type);
    if (!camera.metric || type == MetricType::kOther) return std::nullopt;
    const std::vector<double>& sorted = values[type];
    if (sorted.size() == 1) return 1;
    const auto [first, last] = std::equal_range(sorted.begin(), sorted.end(), *camera.metric);
    const double smaller = static_cast<double>(first - sorted.begin());
    const double ties = static_cast<double>(last - first);
    const double rank = (smaller + (ties - 1) / 2) / static_cast<double>(sorted.size() - 1);
    return IsBetter(type, 1, 0) ? rank : 1 - rank;
  };
  for (ReportEpisode& episode : episodes) {
    double sum = 0;
    int count = 0;
    for (const ReportCamera& camera : episode.cameras) {
      if (const std::optional<double> rank = rank_of(camera)) {
        sum += *rank;
        ++count;
      }
    }
    if (count > 0) episode.score = sum / count;
  }
  if (!is_any_scored()) return "";
  return "the rank of an episode's calibration metrics, each among all cameras here with one of "
         "that type (0 worst, 1 best; mean over its cameras)";
}

std::vector<SheetChoice> ChooseSheets(const std::vector<ReportEpisode>& episodes, int each) {
  std::vector<std::size_t> scored;
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < episodes.size(); ++i) {
    const bool has_tracks = std::ranges::any_of(
        episodes[i].cameras,
        [](const ReportCamera& camera) { return camera.in_image_fraction.has_value(); });
    if (episodes[i].directory.empty() || !has_tracks) continue;
    all.push_back(i);
    if (episodes[i].score) scored.push_back(i);
  }
  std::ranges::sort(scored, [&](std::size_t a, std::size_t b) {
    return std::pair(-episodes[a].score.value_or(0), episodes[a].key) <
           std::pair(-episodes[b].score.value_or(0), episodes[b].key);
  });
  std::ranges::sort(
      all, {}, [&](std::size_t i) { return std::pair(HashOfName(episodes[i].key), i); });
  std::vector<SheetChoice> chosen;
  std::unordered_set<std::size_t> taken;
  const auto take = [&](const char* choice, const auto& candidates) {
    int left = each;
    for (const std::size_t i : candidates) {
      if (left == 0) return;
      if (!taken.insert(i).second) continue;
      chosen.push_back({choice, i});
      --left;
    }
  };
  take("best", scored);
  std::ranges::reverse(scored);
  take("worst", scored);
  take("random", all);
  return chosen;
}

Result<ReportData> GatherReport(const fs::path& directory, const ReportOptions& options) {
  std::error_code ignored;
  if (!fs::is_directory(directory, ignored)) {
    return Fail(ErrorKind::kNotFound, "no such folder: {}", directory.string());
  }
  DF_ASSIGN_OR_RETURN(FoundRuns found, FindRuns(directory));
  if (!options.results.empty()) {
    if (!fs::is_directory(options.results, ignored)) {
      return Fail(ErrorKind::kNotFound, "no such folder: {}", options.results.string());
    }
    found.results = options.results;
  }
  ReportData report;
  report.where = directory.string();
  report.runs = found.directories;
  report.settings = std::move(found.settings);
  ReportSums sums;
  DF_RETURN_IF_ERROR(ReadEpisodes(found, report, sums));
  if (report.episodes.empty()) {
    return Fail(ErrorKind::kNotFound, "no episode in this run: {}", directory.string());
  }
  if (found.directories.empty()) {
    report.notes.emplace_back(
        "No run directory was found: failures and times of the run are not "
        "known, durations are those of quality.json.");
  }
  if (found.results.empty()) {
    report.notes.emplace_back(
        "Where the results are is not known (--results says so): there are no distributions and no "
        "pictures.");
  }
  AddNotes(sums, report.notes);
  for (const auto& [json, count] : sums.configs) report.configs.push_back({json, count});
  std::ranges::stable_sort(report.configs, std::greater(), &ReportConfig::episodes);
  if (report.configs.size() > kMostConfigs) {
    report.notes.push_back(fmt::format(
        "Of {} configurations the {} most used are shown.", report.configs.size(), kMostConfigs));
    report.configs.resize(kMostConfigs);
  }
  report.score = ScoreEpisodes(report.episodes);
  AddDistributions(sums, report);
  DF_RETURN_IF_ERROR(DrawSheets(options, report));
  return report;
}

}  // namespace droidflow

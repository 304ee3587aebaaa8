#include "droidflow/io/annotations.h"

#include "droidflow/episode/status.h"
#include "droidflow/formats/json_index.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <simdjson.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr std::string_view kSuperset = "superset";
constexpr std::string_view kCam2base = "cam2base";
constexpr int kAnnotatedWidth_px = 1280;
constexpr int kAnnotatedHeight_px = 720;

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

bool IsSerial(std::string_view key) {
  return !key.empty() &&
         std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// N finite numbers; nothing for anything else.
template <std::size_t N>
std::optional<std::array<double, N>> NumbersOf(const element& value) {
  array values;
  if (value.get(values) != simdjson::SUCCESS || values.size() != N) return std::nullopt;
  std::array<double, N> numbers;
  std::size_t i = 0;
  for (const element number : values) {
    if (number.get(numbers[i]) != simdjson::SUCCESS || !std::isfinite(numbers[i])) {
      return std::nullopt;
    }
    ++i;
  }
  return numbers;
}

// What "{serial}_{name}" says, else "{name}": the two files differ in that.
template <typename T>
std::optional<T> FieldOf(const object& entry, std::string_view serial, std::string_view name) {
  T value;
  if (entry.at_key(fmt::format("{}_{}", serial, name)).get(value) == simdjson::SUCCESS ||
      entry.at_key(name).get(value) == simdjson::SUCCESS) {
    return value;
  }
  return std::nullopt;
}

// The index has checked that every entry is JSON; what is left to refuse is its shape.
Result<object> ParseEntry(simdjson::dom::parser& parser,
                          std::string_view text,
                          std::string_view uuid,
                          const fs::path& path) {
  object entry;
  if (const auto error = parser.parse(text.data(), text.size()).get(entry);
      error != simdjson::SUCCESS) {
    return Fail(ErrorKind::kInvalidData,
                "entry {}: want a json object, have '{:.40}': {}: {}",
                uuid,
                text,
                simdjson::error_message(error),
                path.string());
  }
  return entry;
}

bool HasCamera(const EpisodeCalibration& calibration, std::string_view serial) {
  return std::any_of(calibration.cameras.begin(),
                     calibration.cameras.end(),
                     [serial](const auto& camera) { return camera.serial == serial; });
}

void AddCameras(const object& entry, std::string_view file, EpisodeCalibration& calibration) {
  for (const auto [serial, value] : entry) {
    if (!IsSerial(serial)) continue;
    const bool is_known = HasCamera(calibration, serial);
    const auto pose = NumbersOf<std::tuple_size_v<PoseVector>>(value);
    if (!pose && is_known) continue;
    if (!pose) {
      calibration.warnings.push_back(
          {.code = status::kNoExtrinsics,
           .text = fmt::format("{}: want 6 finite numbers, have {}; {} is passed over",
                               serial,
                               simdjson::minify(value),
                               file)});
      continue;
    }
    (is_known ? calibration.passed_over : calibration.cameras)
        .push_back(
            {.serial = std::string(serial),
             .pose = *pose,
             .metric_type = MetricTypeFromString(
                 FieldOf<std::string_view>(entry, serial, "metric_type").value_or("")),
             .metric_value = FieldOf<double>(entry, serial, "quality_metric"),
             .source = std::string(FieldOf<std::string_view>(entry, serial, "source").value_or("")),
             .file = file});
  }
}

CalibrationSummary Summarize(const EpisodeCalibration& calibration) {
  CalibrationSummary summary;
  for (const CameraCalibration& camera : calibration.cameras) {
    ++summary.cameras;
    const auto type = static_cast<std::size_t>(camera.metric_type);
    if (type >= kNumRankedMetrics || !camera.metric_value) continue;
    CalibrationSummary::Metric& metric = summary.metrics[type];
    if (metric.cameras == 0 || IsBetter(camera.metric_type, *camera.metric_value, metric.best)) {
      metric.best = *camera.metric_value;
    }
    ++metric.cameras;
  }
  return summary;
}

// A side of an image; the usual one where the entry does not say, 0 for what no image has.
int SideOf(const object& fields, std::string_view name, int usual_px) {
  constexpr std::int64_t kMaxSide_px = 1 << 16;
  element field;
  if (fields.at_key(name).get(field) != simdjson::SUCCESS) return usual_px;
  std::int64_t side_px = 0;
  if (field.get(side_px) != simdjson::SUCCESS || side_px < 0 || side_px > kMaxSide_px) {
    return 0;
  }
  return static_cast<int>(side_px);
}

// [fx, cx, fy, cy], or an object with such a cameraMatrix and the image's size.
std::optional<Intrinsics> IntrinsicsOfEntry(const element& value) {
  int width_px = kAnnotatedWidth_px;
  int height_px = kAnnotatedHeight_px;
  element matrix = value;
  object fields;
  if (value.get(fields) == simdjson::SUCCESS) {
    width_px = SideOf(fields, "width", kAnnotatedWidth_px);
    height_px = SideOf(fields, "height", kAnnotatedHeight_px);
    if (fields.at_key("cameraMatrix").get(matrix) != simdjson::SUCCESS) return std::nullopt;
  }
  const auto numbers = NumbersOf<4>(matrix);
  if (!numbers || width_px <= 0 || height_px <= 0) return std::nullopt;
  const auto [fx_px, cx_px, fy_px, cy_px] = *numbers;
  if (!(fx_px > 0) || !(fy_px > 0)) return std::nullopt;
  return Intrinsics{.fx_px = fx_px,
                    .fy_px = fy_px,
                    .cx_px = cx_px,
                    .cy_px = cy_px,
                    .width_px = width_px,
                    .height_px = height_px};
}

Status BuildIfGiven(const std::optional<fs::path>& path,
                    std::optional<JsonIndex>& index,
                    const JsonEntryCallback& callback = {}) {
  if (!path) return {};
  DF_ASSIGN_OR_RETURN(index, JsonIndex::Build(*path, callback));
  return {};
}

/// "{lab}/{outcome}/{date}/{folder}" in a key of keep_ranges_1_0_1.json, where it stands before
/// "/recordings"; empty: nowhere.
std::string_view FolderInKey(std::string_view key) {
  for (std::size_t end = key.find("/recordings"); end != key.npos;
       end = key.find("/recordings", end + 1)) {
    std::size_t begin = end;
    for (int part = 0; part < 4 && begin != key.npos && begin > 0; ++part) {
      begin = key.rfind('/', begin - 1);
    }
    const std::size_t from = begin == key.npos ? 0 : begin + 1;
    const std::string_view folder = key.substr(from, end - from);
    if (EpisodeRefFromPath(folder)) return folder;
  }
  return {};
}

Result<std::optional<std::string>> TextOf(const std::optional<JsonIndex>& index,
                                          std::string_view uuid) {
  if (!index) return std::nullopt;
  return index->ReadEntry(uuid);
}

}  // namespace

struct Annotations::State {
  AnnotationPaths paths;
  std::optional<JsonIndex> superset;
  std::optional<JsonIndex> cam2base;
  std::optional<JsonIndex> intrinsics;
  std::optional<JsonIndex> episode_paths;
  std::optional<JsonIndex> serials;
  std::optional<JsonIndex> language;
  std::optional<JsonIndex> keep_ranges;
  std::vector<CalibrationSummary> summaries;
  /// Folders in the keys of keep_ranges, and which key; sorted.
  std::vector<std::pair<std::string_view, std::uint32_t>> kept_folders;

  Status IndexCalibrations();
  Status IndexFolders();

  /// Calls `visit` with the path, the index and the index's file name of every kind.
  template <typename State, typename Visit>
  static Status ForEach(State& state, const Visit& visit) {
    DF_RETURN_IF_ERROR(visit(state.paths.superset, state.superset, "superset.index"));
    DF_RETURN_IF_ERROR(visit(state.paths.cam2base, state.cam2base, "cam2base.index"));
    DF_RETURN_IF_ERROR(visit(state.paths.intrinsics, state.intrinsics, "intrinsics.index"));
    DF_RETURN_IF_ERROR(visit(state.paths.episode_paths, state.episode_paths, "paths.index"));
    DF_RETURN_IF_ERROR(visit(state.paths.serials, state.serials, "serials.index"));
    DF_RETURN_IF_ERROR(visit(state.paths.language, state.language, "language.index"));
    return visit(state.paths.keep_ranges, state.keep_ranges, "keep_ranges.index");
  }
};

// Summaries are taken while the entries pass by. Only the superset's entries of episodes that both
// files have are read again.
Status Annotations::State::IndexCalibrations() {
  std::map<std::string, CalibrationSummary, std::less<>> by_uuid;
  simdjson::dom::parser parser;
  simdjson::dom::parser superset_parser;
  DF_RETURN_IF_ERROR(
      BuildIfGiven(paths.superset, superset, [&](const JsonEntry& passing) -> Status {
        DF_ASSIGN_OR_RETURN(const object entry,
                            ParseEntry(parser, passing.value, passing.key, *paths.superset));
        EpisodeCalibration calibration;
        AddCameras(entry, kSuperset, calibration);
        by_uuid.insert_or_assign(std::string(passing.key), Summarize(calibration));
        return {};
      }));
  DF_RETURN_IF_ERROR(
      BuildIfGiven(paths.cam2base, cam2base, [&](const JsonEntry& passing) -> Status {
        DF_ASSIGN_OR_RETURN(const object entry,
                            ParseEntry(parser, passing.value, passing.key, *paths.cam2base));
        EpisodeCalibration calibration;
        DF_ASSIGN_OR_RETURN(const auto better, TextOf(superset, passing.key));
        if (better) {
          DF_ASSIGN_OR_RETURN(const object better_entry,
                              ParseEntry(superset_parser, *better, passing.key, *paths.superset));
          AddCameras(better_entry, kSuperset, calibration);
        }
        AddCameras(entry, kCam2base, calibration);
        by_uuid.insert_or_assign(std::string(passing.key), Summarize(calibration));
        return {};
      }));
  for (auto& [uuid, summary] : by_uuid) {
    if (summary.cameras == 0) continue;
    const JsonIndex& index = superset && superset->Find(uuid) ? *superset : *cam2base;
    summary.uuid = index.Key(*index.Find(uuid));
    summaries.push_back(summary);
  }
  return {};
}

// Keys of keep_ranges are paths of those who published it: only a part of them is the episode's.
Status Annotations::State::IndexFolders() {
  if (!keep_ranges) return {};
  for (std::size_t i = 0; i < keep_ranges->size(); ++i) {
    const std::string_view folder = FolderInKey(keep_ranges->Key(i));
    if (!folder.empty()) kept_folders.emplace_back(folder, static_cast<std::uint32_t>(i));
  }
  if (kept_folders.empty() && keep_ranges->size() > 0) {
    return Fail(ErrorKind::kInvalidData,
                "want {{lab}}/{{outcome}}/{{date}}/{{folder}}/recordings in keys, have '{}': {}",
                keep_ranges->Key(0),
                paths.keep_ranges->string());
  }
  std::ranges::sort(kept_folders);
  return {};
}

AnnotationPaths FindAnnotations(const fs::path& folder) {
  const auto find = [&folder](const char* name) -> std::optional<fs::path> {
    std::error_code ignored;
    fs::path path = folder / name;
    if (!fs::exists(path, ignored)) return std::nullopt;
    return path;
  };
  return {.superset = find(kAnnotationFiles[0]),
          .cam2base = find(kAnnotationFiles[1]),
          .intrinsics = find(kAnnotationFiles[2]),
          .episode_paths = find(kAnnotationFiles[3]),
          .serials = find(kAnnotationFiles[4]),
          .language = find(kAnnotationFiles[5]),
          .keep_ranges = find(kAnnotationFiles[6])};
}

std::string_view ToString(MetricType type) {
  switch (type) {
    case MetricType::kIou:
      return "IoU";
    case MetricType::kNumMatches:
      return "num_matches";
    case MetricType::kReprojectionError:
      return "Reprojection_error";
    case MetricType::kOther:
      return "other";
  }
  return "other";
}

MetricType MetricTypeFromString(std::string_view text) {
  for (const MetricType type :
       {MetricType::kIou, MetricType::kNumMatches, MetricType::kReprojectionError}) {
    if (EqualsIgnoringCase(text, ToString(type))) return type;
  }
  return MetricType::kOther;
}

bool IsBetter(MetricType type, double a, double b) {
  switch (type) {
    case MetricType::kIou:
    case MetricType::kNumMatches:
      return a > b;
    case MetricType::kReprojectionError:
      return a < b;
    case MetricType::kOther:
      return false;
  }
  return false;
}

Annotations::Annotations(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Annotations::Annotations(Annotations&&) noexcept = default;
Annotations& Annotations::operator=(Annotations&&) noexcept = default;
Annotations::~Annotations() = default;

Result<Annotations> Annotations::Open(const AnnotationPaths& paths) {
  auto state = std::make_unique<State>();
  state->paths = paths;
  DF_RETURN_IF_ERROR(state->IndexCalibrations());
  DF_RETURN_IF_ERROR(BuildIfGiven(paths.intrinsics, state->intrinsics));
  DF_RETURN_IF_ERROR(BuildIfGiven(paths.episode_paths, state->episode_paths));
  DF_RETURN_IF_ERROR(BuildIfGiven(paths.serials, state->serials));
  DF_RETURN_IF_ERROR(BuildIfGiven(paths.language, state->language));
  DF_RETURN_IF_ERROR(BuildIfGiven(paths.keep_ranges, state->keep_ranges));
  DF_RETURN_IF_ERROR(state->IndexFolders());
  return Annotations(std::move(state));
}

Status Annotations::SaveIndexes(const fs::path& folder) const {
  return State::ForEach(*state_, [&](const auto&, const auto& index, const char* name) -> Status {
    if (!index) return {};
    return index->Save(folder / name);
  });
}

Result<Annotations> Annotations::OpenIndexed(const AnnotationPaths& paths, const fs::path& folder) {
  auto state = std::make_unique<State>();
  state->paths = paths;
  DF_RETURN_IF_ERROR(
      State::ForEach(*state, [&](const auto& path, auto& index, const char* name) -> Status {
        if (!path) return {};
        DF_ASSIGN_OR_RETURN(index, JsonIndex::Map(*path, folder / name));
        return {};
      }));
  DF_RETURN_IF_ERROR(state->IndexFolders());
  return Annotations(std::move(state));
}

const AnnotationPaths& Annotations::paths() const { return state_->paths; }

Result<std::optional<EpisodeCalibration>> Annotations::Calibration(std::string_view uuid) const {
  EpisodeCalibration calibration;
  bool found = false;
  const auto add = [&](const std::optional<JsonIndex>& index,
                       const std::optional<fs::path>& path,
                       std::string_view file) -> Status {
    DF_ASSIGN_OR_RETURN(std::optional<std::string> text, TextOf(index, uuid));
    if (!text) return {};
    simdjson::dom::parser parser;
    DF_ASSIGN_OR_RETURN(const object entry, ParseEntry(parser, *text, uuid, *path));
    AddCameras(entry, file, calibration);
    if (!found) calibration.raw_json = *std::move(text);
    found = true;
    return {};
  };
  DF_RETURN_IF_ERROR(add(state_->superset, state_->paths.superset, kSuperset));
  DF_RETURN_IF_ERROR(add(state_->cam2base, state_->paths.cam2base, kCam2base));
  if (!found) return std::nullopt;
  return calibration;
}

Result<std::map<std::string, Intrinsics>> Annotations::IntrinsicsOf(std::string_view uuid) const {
  std::map<std::string, Intrinsics> by_serial;
  DF_ASSIGN_OR_RETURN(const std::optional<std::string> text, TextOf(state_->intrinsics, uuid));
  if (!text) return by_serial;
  simdjson::dom::parser parser;
  DF_ASSIGN_OR_RETURN(const object entry,
                      ParseEntry(parser, *text, uuid, *state_->paths.intrinsics));
  for (const auto [serial, value] : entry) {
    if (const auto intrinsics = IntrinsicsOfEntry(value)) {
      by_serial.insert_or_assign(std::string(serial), *intrinsics);
    }
  }
  return by_serial;
}

Result<std::map<CameraRole, std::string>> Annotations::SerialsOf(std::string_view uuid) const {
  std::map<CameraRole, std::string> by_role;
  DF_ASSIGN_OR_RETURN(const std::optional<std::string> text, TextOf(state_->serials, uuid));
  if (!text) return by_role;
  simdjson::dom::parser parser;
  DF_ASSIGN_OR_RETURN(const object entry, ParseEntry(parser, *text, uuid, *state_->paths.serials));
  for (const CameraRole role :
       {CameraRole::kExternal1, CameraRole::kExternal2, CameraRole::kWrist}) {
    const auto field = entry.at_key(fmt::format("{}_cam_serial", ToString(role)));
    std::string_view serial;
    std::int64_t number = 0;
    if (field.get(serial) == simdjson::SUCCESS && !serial.empty()) {
      by_role[role] = serial;
    } else if (field.get(number) == simdjson::SUCCESS) {
      by_role[role] = std::to_string(number);
    }
  }
  return by_role;
}

Result<std::optional<std::string>> Annotations::PathOf(std::string_view uuid) const {
  DF_ASSIGN_OR_RETURN(const std::optional<std::string> text, TextOf(state_->episode_paths, uuid));
  if (!text) return std::nullopt;
  simdjson::dom::parser parser;
  std::string_view path;
  if (parser.parse(*text).get(path) != simdjson::SUCCESS) {
    return Fail(ErrorKind::kInvalidData,
                "entry {}: want a path, have '{:.40}': {}",
                uuid,
                *text,
                state_->paths.episode_paths->string());
  }
  return std::string(path);
}

Result<std::vector<std::string>> Annotations::LanguageOf(std::string_view uuid) const {
  std::vector<std::string> instructions;
  DF_ASSIGN_OR_RETURN(const std::optional<std::string> text, TextOf(state_->language, uuid));
  if (!text) return instructions;
  simdjson::dom::parser parser;
  DF_ASSIGN_OR_RETURN(const object entry, ParseEntry(parser, *text, uuid, *state_->paths.language));
  for (const char* const key :
       {"language_instruction1", "language_instruction2", "language_instruction3"}) {
    std::string_view instruction;
    if (entry.at_key(key).get(instruction) != simdjson::SUCCESS || instruction.empty()) continue;
    instructions.emplace_back(instruction);
  }
  return instructions;
}

Result<std::optional<std::vector<StepRange>>> Annotations::KeepRangesOf(
    std::string_view relative_path) const {
  const auto& folders = state_->kept_folders;
  // Of two keys for one folder the later one holds.
  const auto after =
      std::ranges::upper_bound(folders, relative_path, {}, [](const auto& f) { return f.first; });
  if (after == folders.begin() || std::prev(after)->first != relative_path) return std::nullopt;
  const std::string_view key = state_->keep_ranges->Key(std::prev(after)->second);
  DF_ASSIGN_OR_RETURN(const std::optional<std::string> text, TextOf(state_->keep_ranges, key));
  const auto refuse = [&] {
    return Fail(ErrorKind::kInvalidData,
                "entry {}: want [[begin, end], ...], have '{:.40}': {}",
                key,
                *text,
                state_->paths.keep_ranges->string());
  };
  simdjson::dom::parser parser;
  array entry;
  if (parser.parse(*text).get(entry) != simdjson::SUCCESS) return refuse();
  std::vector<StepRange> ranges;
  for (const element value : entry) {
    array ends;
    StepRange& range = ranges.emplace_back();
    if (value.get(ends) != simdjson::SUCCESS || ends.size() != 2 ||
        ends.at(0).get(range.begin) != simdjson::SUCCESS ||
        ends.at(1).get(range.end) != simdjson::SUCCESS) {
      return refuse();
    }
  }
  return ranges;
}

Result<std::map<std::string, std::string>> Annotations::UuidsOfPaths(
    const std::set<std::string>& paths) const {
  std::map<std::string, std::string> uuids;
  if (paths.empty() || !state_->episode_paths) return uuids;
  for (std::size_t i = 0; i < state_->episode_paths->size(); ++i) {
    const std::string_view uuid = state_->episode_paths->Key(i);
    DF_ASSIGN_OR_RETURN(const std::optional<std::string> path, PathOf(uuid));
    if (path && paths.contains(*path)) uuids.emplace(*path, uuid);
  }
  return uuids;
}

const std::vector<CalibrationSummary>& Annotations::Summaries() const { return state_->summaries; }

}  // namespace droidflow

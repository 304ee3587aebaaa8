#include "droidflow/pipeline/dataset_index.h"

#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/product_arrays.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/provenance.h"
#include "droidflow/pipeline/verify.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>
#include <tuple>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using IndexJson = nlohmann::ordered_json;

std::string DumpIndex(const IndexJson& json, int indent = -1) {
  return json.dump(indent, ' ', false, IndexJson::error_handler_t::replace);
}

/// What is said under a path of keys; null where nothing is.
const IndexJson& At(const IndexJson& object, std::initializer_list<const char*> keys) {
  static const IndexJson nothing;
  const IndexJson* at = &object;
  for (const char* const key : keys) {
    if (!at->is_object()) return nothing;
    const auto found = at->find(key);
    if (found == at->end()) return nothing;
    at = &*found;
  }
  return *at;
}

/// An episode's line, and what it adds to the whole.
struct IndexedEpisode {
  std::string uuid;
  std::string folder;
  IndexJson line;
  IndexJson made_with;
  IndexJson config;
  IndexJson annotations;
};

IndexJson LineOfCamera(const std::string& serial, const IndexJson& camera) {
  return {{"serial", serial},
          {"role", At(camera, {"role"})},
          {"intrinsics_source", At(camera, {"intrinsics_source"})},
          {"extrinsics_source", At(camera, {"extrinsics_source"})},
          {"metric_type", At(camera, {"calibration_metric", "type"})},
          {"metric_value", At(camera, {"calibration_metric", "value"})},
          {"in_image_fraction", At(camera, {"in_image_fraction"})},
          {"depth_valid_fraction", At(camera, {"depth_valid_fraction"})}};
}

/// The same of what the original pipeline writes: lists of serials, and a calibration.
IndexJson LinesOfOriginal(const IndexJson& quality) {
  IndexJson lines = IndexJson::array();
  const auto uuid = At(quality, {"episode_id"}).get<std::string>();
  const IndexJson& calibration = At(quality, {"cam2base_calibration", uuid.c_str()});
  const IndexJson& wrist = At(quality, {"wrist_camera"});
  IndexJson serials = At(quality, {"external_cameras"});
  if (!serials.is_array()) serials = IndexJson::array();
  if (wrist.is_string()) serials.push_back(wrist);
  for (const IndexJson& serial : serials) {
    if (!serial.is_string()) continue;
    const auto name = serial.get<std::string>();
    lines.push_back(
        LineOfCamera(name,
                     {{"role", serial == wrist ? IndexJson("wrist") : IndexJson()},
                      {"calibration_metric",
                       {{"type", At(calibration, {(name + "_metric_type").c_str()})},
                        {"value", At(calibration, {(name + "_quality_metric").c_str()})}}}}));
  }
  return lines;
}

/// A number of quality.json, or else of tracks.npz; null where it is in neither.
IndexJson NumberOf(const IndexJson& quality,
                   const char* name,
                   const fs::path& directory,
                   const std::string& array) {
  if (const IndexJson& number = At(quality, {name}); !number.is_null()) return number;
  const Result<ProductArrays> tracks = ProductArrays::Open(directory / kTracksFile);
  const std::vector<double> numbers =
      tracks ? tracks->Numbers(array).value_or(std::vector<double>()) : std::vector<double>();
  return numbers.empty() ? IndexJson() : IndexJson(numbers.back());
}

/// The annotations' instructions, else the recorded one.
IndexJson InstructionsOf(const IndexJson& quality) {
  const IndexJson& said = At(quality, {"language"});
  if (said.is_array() && !said.empty()) return said;
  const IndexJson& task = At(quality, {"current_task"});
  IndexJson instructions = IndexJson::array();
  if (task.is_string() && !task.get_ref<const std::string&>().empty()) instructions.push_back(task);
  return instructions;
}

Result<IndexedEpisode> IndexEpisode(const fs::path& directory,
                                    const std::string& folder,
                                    const SplitShares& shares) {
  const fs::path path = directory / folder / kQualityFile;
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  const IndexJson quality = IndexJson::parse(text, nullptr, /*allow_exceptions=*/false);
  const IndexJson& uuid = At(quality, {"episode_id"});
  if (!uuid.is_string()) {
    return Fail(ErrorKind::kInvalidData,
                "want a JSON object with episode_id, have '{:.40}': {}",
                text,
                path.string());
  }
  const std::string lab = folder.substr(0, folder.find('/'));
  const IndexJson& building = At(quality, {"building"});
  const IndexJson& scene = At(quality, {"scene_id"});
  IndexJson split;
  if (building.is_string() && scene.is_number_integer()) {
    split = SplitOf(lab, building.get<std::string>(), scene.get<std::int64_t>(), shares);
  }
  IndexJson cameras =
      quality.contains("cameras") ? IndexJson(IndexJson::array()) : LinesOfOriginal(quality);
  for (const auto& [serial, camera] : At(quality, {"cameras"}).items()) {
    cameras.push_back(LineOfCamera(serial, camera));
  }
  std::set<std::string> codes;
  for (const IndexJson& warning : At(quality, {"warnings"})) {
    if (At(warning, {"code"}).is_string()) codes.insert(warning["code"].get<std::string>());
  }
  IndexedEpisode episode;
  episode.uuid = uuid.get<std::string>();
  episode.folder = folder;
  episode.line = {
      {"uuid", episode.uuid},
      {"folder", folder},
      {"lab", lab},
      {"outcome", At(quality, {"outcome"})},
      {"building", building},
      {"scene_id", scene},
      {"split", split},
      {"num_frames", At(quality, {"num_frames"})},
      {"fps", NumberOf(quality, "fps", path.parent_path(), "fps")},
      {"path_length_mm",
       NumberOf(quality, "path_length_mm", path.parent_path(), "cumulative_distance_mm")},
      {"language", InstructionsOf(quality)},
      {"current_task", At(quality, {"current_task"})},
      {"cameras", cameras},
      {"keep_ranges", At(quality, {"keep_ranges"})},
      {"idle_ranges", At(quality, {"idle_ranges"})},
      {"warnings", codes}};
  episode.made_with = {{"droidflow_version", At(quality, {"droidflow_version"})},
                       {"commit", At(quality, {"provenance", "commit"})},
                       {"config_sha256", At(quality, {"provenance", "config_sha256"})},
                       {"instruction_set", At(quality, {"provenance", "instruction_set"})}};
  episode.config = At(quality, {"config"});
  episode.annotations = At(quality, {"provenance", "annotations"});
  return episode;
}

/// Counts values that are the same; in the order of their texts.
class IndexCounts {
 public:
  void Add(const IndexJson& value) { ++counts_[DumpIndex(value)]; }

  /// A list of these objects, each with its number of `episodes`.
  [[nodiscard]] IndexJson List() const {
    IndexJson list = IndexJson::array();
    for (const auto& [text, count] : counts_) {
      IndexJson& entry = list.emplace_back(IndexJson::parse(text));
      entry["episodes"] = count;
    }
    return list;
  }

 private:
  std::map<std::string, std::int64_t> counts_;
};

IndexJson Summarize(const std::vector<IndexedEpisode>& episodes, const SplitShares& shares) {
  struct Lab {
    std::int64_t success = 0;
    std::int64_t failure = 0;
    std::int64_t steps = 0;
  };
  std::map<std::string, Lab> labs;
  IndexJson splits = IndexJson::object();
  for (const char* const split : kSplits) splits[split] = 0;
  splits["none"] = 0;
  IndexCounts made_with;
  IndexCounts annotations;
  std::map<std::string, IndexJson> configs;
  std::int64_t steps = 0;
  for (const IndexedEpisode& episode : episodes) {
    Lab& lab = labs[episode.line["lab"].get<std::string>()];
    ++(episode.line["outcome"] == "success" ? lab.success : lab.failure);
    const IndexJson& frames = episode.line["num_frames"];
    const std::int64_t count = frames.is_number_integer() ? frames.get<std::int64_t>() : 0;
    lab.steps += count;
    steps += count;
    const IndexJson& split = episode.line["split"];
    IndexJson& of_split = splits[split.is_string() ? split.get<std::string>() : "none"];
    of_split = of_split.get<std::int64_t>() + 1;
    made_with.Add(episode.made_with);
    for (const IndexJson& file : episode.annotations) annotations.Add(file);
    const IndexJson& config = episode.made_with["config_sha256"];
    if (config.is_string()) configs[config.get<std::string>()] = episode.config;
  }
  IndexJson of_labs = IndexJson::object();
  for (const auto& [name, lab] : labs) {
    of_labs[name] = {{"success", lab.success}, {"failure", lab.failure}, {"steps", lab.steps}};
  }
  IndexJson of_configs = IndexJson::object();
  for (const auto& [sha256, config] : configs) of_configs[sha256] = config;
  return {{"episodes", episodes.size()},
          {"steps", steps},
          {"labs", of_labs},
          {"splits", {{"shares", shares}, {"episodes", splits}}},
          {"made_with", made_with.List()},
          {"configs", of_configs},
          {"annotations", annotations.List()}};
}

}  // namespace

fs::path EpisodesFile() { return fs::path("meta") / "episodes.jsonl"; }
fs::path DatasetFile() { return fs::path("meta") / "dataset.json"; }

Result<SplitShares> SharesFor(const fs::path& directory, std::string_view asked) {
  if (!asked.empty()) return ParseSplitShares(asked);
  const std::string text = ReadFileText(directory / DatasetFile()).value_or("");
  const IndexJson json = IndexJson::parse(text, nullptr, /*allow_exceptions=*/false);
  const IndexJson& shares = At(json, {"splits", "shares"});
  const auto is_number = [](const IndexJson& share) { return share.is_number(); };
  if (shares.is_array() && shares.size() == kSplits.size() &&
      std::ranges::all_of(shares, is_number)) {
    const auto numbers = shares.get<SplitShares>();
    Result<SplitShares> was = ParseSplitShares(fmt::format("{}", fmt::join(numbers, "/")));
    if (was) return was;
  }
  return ParseSplitShares(kDefaultSplits);
}

Result<IndexedDataset> WriteDatasetIndex(const fs::path& directory, const SplitShares& shares) {
  DF_ASSIGN_OR_RETURN(const std::vector<fs::path> folders, FindEpisodeOutputs(directory));
  std::vector<Result<IndexedEpisode>> read(folders.size());
  std::atomic<std::size_t> next{0};
  {
    std::vector<std::jthread> readers;
    for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) {
      readers.emplace_back([&] {
        for (std::size_t k = next++; k < folders.size() && StopSignal() == 0; k = next++) {
          const fs::path folder = folders[k].lexically_relative(directory);
          read[k] = IndexEpisode(directory, folder.generic_string(), shares);
        }
      });
    }
  }
  if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
  IndexedDataset dataset;
  std::vector<IndexedEpisode> episodes;
  for (Result<IndexedEpisode>& episode : read) {
    if (episode) {
      episodes.push_back(*std::move(episode));
    } else {
      dataset.left_out.push_back(std::move(episode).error().message);
    }
  }
  std::ranges::sort(episodes, {}, [](const IndexedEpisode& episode) {
    return std::tie(episode.uuid, episode.folder);
  });
  DF_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(directory / EpisodesFile()));
  for (const IndexedEpisode& episode : episodes) {
    const std::string line = DumpIndex(episode.line) + "\n";
    DF_RETURN_IF_ERROR(file.Write(std::as_bytes(std::span(line))));
    const IndexJson& split = episode.line["split"];
    ++dataset.splits[split.is_string() ? split.get<std::string>() : std::string()];
  }
  DF_RETURN_IF_ERROR(file.Commit());
  DF_RETURN_IF_ERROR(WriteFileAtomically(directory / DatasetFile(),
                                         DumpIndex(Summarize(episodes, shares), 2) + "\n"));
  dataset.episodes = std::ssize(episodes);
  return dataset;
}

Result<std::set<std::string>> FoldersOfSplit(const fs::path& directory, std::string_view split) {
  const fs::path path = directory / EpisodesFile();
  Result<std::string> text = ReadFileText(path);
  if (!text && text.error().kind == ErrorKind::kNotFound) {
    return Fail(ErrorKind::kNotFound, "no index, 'droidflow index' makes one: {}", path.string());
  }
  if (!text) return tl::unexpected(std::move(text).error());
  std::set<std::string> folders;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const IndexJson json = IndexJson::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!At(json, {"folder"}).is_string()) {
      return Fail(ErrorKind::kInvalidData,
                  "want an object with a folder in each line, have '{:.40}': {}",
                  line,
                  path.string());
    }
    if (At(json, {"split"}) == split) folders.insert(json["folder"].get<std::string>());
  }
  return folders;
}

bool IsIndexedSince(const fs::path& directory, const SplitShares& shares, std::int64_t unix_ms) {
  const Result<FileStamp> stamp = StampOfFile(directory / DatasetFile());
  std::error_code ignored;
  if (!stamp || stamp->mtime_ns / 1'000'000 <= unix_ms ||
      !fs::exists(directory / EpisodesFile(), ignored)) {
    return false;
  }
  const Result<std::string> text = ReadFileText(directory / DatasetFile());
  if (!text) return false;
  const IndexJson json = IndexJson::parse(*text, nullptr, /*allow_exceptions=*/false);
  return At(json, {"splits", "shares"}) == IndexJson(shares);
}

}  // namespace droidflow

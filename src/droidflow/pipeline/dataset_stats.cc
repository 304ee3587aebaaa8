#include "droidflow/pipeline/dataset_stats.h"

#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/formats/npz_reader.h"
#include "droidflow/pipeline/check_episode.h"
#include "droidflow/pipeline/dataset_index.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/tracks_layout.h"
#include "droidflow/pipeline/verify.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <set>
#include <span>
#include <string_view>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBins = std::size_t{1} << 16;
constexpr std::array<std::string_view, 3> kStepFeatures{
    "cartesian_positions", "contact_centroids", "gripper_positions"};
constexpr std::array<const char*, 3> kEpisodeFeatures{
    "num_frames", "path_length_mm", "idle_fraction"};
constexpr std::array<const char*, 3> kCameraFeatures{
    "in_image_fraction", "capture_delay_ms", "depth_valid_fraction"};

/// One component, while its values go by twice.
class ComponentAccumulator {
 public:
  /// First time.
  void Add(double value) {
    stats_.min = stats_.count == 0 ? value : std::min(stats_.min, value);
    stats_.max = stats_.count == 0 ? value : std::max(stats_.max, value);
    ++stats_.count;
    sum_ += value;
  }
  void EndFirst() {
    stats_.mean = stats_.count == 0 ? 0 : static_cast<double>(sum_ / stats_.count);
    bins_.assign(kBins, 0);
  }
  /// Second time.
  void AddAgain(double value) {
    const double away = value - stats_.mean;
    squares_ += away * away;
    ++bins_[BinOf(value)];
  }
  [[nodiscard]] ComponentStats End() {
    if (stats_.count == 0) return stats_;
    stats_.std = std::sqrt(static_cast<double>(squares_ / stats_.count));
    stats_.q01 = Quantile(0.01);
    stats_.q99 = Quantile(0.99);
    return stats_;
  }

 private:
  [[nodiscard]] std::size_t BinOf(double value) const {
    const double range = stats_.max - stats_.min;
    if (!(range > 0)) return 0;
    const double share = std::clamp((value - stats_.min) / range, 0.0, 1.0);
    return static_cast<std::size_t>(std::lround(share * static_cast<double>(kBins - 1)));
  }
  [[nodiscard]] double Quantile(double share) const {
    const double wanted = share * static_cast<double>(stats_.count);
    std::int64_t sum = 0;
    for (std::size_t bin = 0; bin < kBins; ++bin) {
      sum += bins_[bin];
      if (sum > 0 && static_cast<double>(sum) >= wanted) {
        return stats_.min + static_cast<double>(bin) / static_cast<double>(kBins - 1) *
                                (stats_.max - stats_.min);
      }
    }
    return stats_.max;
  }

  ComponentStats stats_;
  long double sum_ = 0;
  long double squares_ = 0;
  std::vector<std::int64_t> bins_;  ///< from min to max
};

using Take = std::function<void(const std::string& feature, std::size_t component, double value)>;

/// Gives all numbers of an episode to `take`.
///
/// @param labs  where it is counted; null: it was.
Status ReadEpisode(const fs::path& directory,
                   std::map<std::string, LabCounts>* labs,
                   const Take& take) {
  DF_ASSIGN_OR_RETURN(const NpzReader tracks, OpenTracks(directory / kTracksFile, kStepFeatures));
  for (const std::string_view feature : kStepFeatures) {
    if (!tracks.Contains(feature)) continue;
    DF_ASSIGN_OR_RETURN(const NpyArray array, tracks.Read(feature));
    DF_ASSIGN_OR_RETURN(const std::vector<double> values, array.ToDoubles());
    const std::size_t width = array.shape.size() > 1 ? static_cast<std::size_t>(array.shape[1]) : 1;
    for (std::size_t i = 0; i < values.size(); ++i)
      take(std::string(feature), i % width, values[i]);
  }
  const fs::path path = directory / kQualityFile;
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  const auto quality = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!quality.is_object() || !quality.value("episode_id", nlohmann::json()).is_string()) {
    return Fail(ErrorKind::kInvalidData,
                "want a JSON object with episode_id, have '{:.40}': {}",
                text,
                path.string());
  }
  const auto take_number = [&](const nlohmann::json& object, const char* key) {
    const auto found = object.find(key);
    if (found != object.end() && found->is_number()) take(key, 0, found->get<double>());
  };
  for (const char* const feature : kEpisodeFeatures) take_number(quality, feature);
  if (const auto cameras = quality.find("cameras"); cameras != quality.end()) {
    for (const auto& camera : *cameras) {
      for (const char* const feature : kCameraFeatures) {
        if (camera.is_object()) take_number(camera, feature);
      }
    }
  }
  if (labs == nullptr) return {};
  const auto word = [&](const char* key) {
    const auto found = quality.find(key);
    return found != quality.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const std::string source = word("source_path");
  LabCounts& lab = (*labs)[source.substr(0, source.find('/'))];
  ++(word("outcome") == "success" ? lab.success : lab.failure);
  if (const auto steps = quality.find("num_frames"); steps != quality.end() && steps->is_number()) {
    lab.steps += steps->get<std::int64_t>();
  }
  return {};
}

}  // namespace

Result<DatasetStats> ComputeDatasetStats(const fs::path& directory,
                                         const std::string& split,
                                         std::optional<double> min_check) {
  DF_ASSIGN_OR_RETURN(std::vector<fs::path> episodes, FindEpisodeOutputs(directory));
  if (!split.empty()) {
    DF_ASSIGN_OR_RETURN(const std::set<std::string> wanted, FoldersOfSplit(directory, split));
    std::erase_if(episodes, [&](const fs::path& episode) {
      return !wanted.contains(episode.lexically_relative(directory).generic_string());
    });
    if (episodes.empty()) {
      return Fail(ErrorKind::kNotFound, "no episode of {}: {}", split, directory.string());
    }
  }
  if (min_check) {
    std::erase_if(episodes, [&](const fs::path& episode) {
      return ReadCheckScore(episode).value_or(-1) < *min_check;
    });
    if (episodes.empty()) {
      return Fail(ErrorKind::kNotFound,
                  "no episode whose check has a score of {} or more: {}",
                  *min_check,
                  directory.string());
    }
  }
  DatasetStats stats{
      .episodes = static_cast<std::int64_t>(episodes.size()), .labs = {}, .features = {}};
  std::map<std::string, std::vector<ComponentAccumulator>> features;
  const auto read_all = [&](std::map<std::string, LabCounts>* labs, auto add) -> Status {
    for (const fs::path& episode : episodes) {
      if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
      DF_RETURN_IF_ERROR(ReadEpisode(
          episode, labs, [&](const std::string& feature, std::size_t component, double value) {
            if (!std::isfinite(value)) return;
            std::vector<ComponentAccumulator>& components = features[feature];
            if (components.size() <= component) components.resize(component + 1);
            (components[component].*add)(value);
          }));
    }
    return {};
  };
  DF_RETURN_IF_ERROR(read_all(&stats.labs, &ComponentAccumulator::Add));
  for (auto& [name, components] : features) {
    for (ComponentAccumulator& component : components) component.EndFirst();
  }
  DF_RETURN_IF_ERROR(read_all(nullptr, &ComponentAccumulator::AddAgain));
  for (auto& [name, components] : features) {
    for (ComponentAccumulator& component : components) {
      stats.features[name].push_back(component.End());
    }
  }
  return stats;
}

}  // namespace droidflow

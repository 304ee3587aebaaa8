#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/dataset_stats.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct StatsCommand {
  std::string directory;
  std::string out;
  std::string split;
  std::optional<double> min_check;
  bool json = false;
};

struct NamedStatistic {
  const char* name;
  double ComponentStats::*value;
};
constexpr NamedStatistic kStatistics[] = {{"min", &ComponentStats::min},
                                          {"max", &ComponentStats::max},
                                          {"mean", &ComponentStats::mean},
                                          {"std", &ComponentStats::std},
                                          {"q01", &ComponentStats::q01},
                                          {"q99", &ComponentStats::q99}};

Json JsonOf(const DatasetStats& stats) {
  Json labs = Json::object();
  for (const auto& [name, lab] : stats.labs) {
    labs[name] = {{"success", lab.success}, {"failure", lab.failure}, {"steps", lab.steps}};
  }
  Json features = Json::object();
  for (const auto& [name, components] : stats.features) {
    Json& feature = features[name];
    for (const NamedStatistic& statistic : kStatistics) {
      for (const ComponentStats& component : components) {
        feature[statistic.name].push_back(component.*statistic.value);
      }
    }
    for (const ComponentStats& component : components) feature["count"].push_back(component.count);
  }
  return {{"episodes", stats.episodes}, {"labs", labs}, {"features", features}};
}

void PrintStats(const DatasetStats& stats) {
  std::vector<std::vector<std::string>> labs{{"lab", "success", "failure", "steps"}};
  for (const auto& [name, lab] : stats.labs) {
    labs.push_back({name,
                    fmt::format("{}", lab.success),
                    fmt::format("{}", lab.failure),
                    fmt::format("{}", lab.steps)});
  }
  fmt::print("{}\n", FormatTable(labs, {1, 2, 3}));
  std::vector<std::vector<std::string>> rows{{"feature", "count"}};
  for (const NamedStatistic& statistic : kStatistics) rows[0].emplace_back(statistic.name);
  for (const auto& [name, components] : stats.features) {
    for (std::size_t i = 0; i < components.size(); ++i) {
      std::vector<std::string>& row = rows.emplace_back(
          std::vector{components.size() > 1 ? fmt::format("{}[{}]", name, i) : name,
                      fmt::format("{}", components[i].count)});
      for (const NamedStatistic& statistic : kStatistics) {
        row.push_back(fmt::format("{:.4g}", components[i].*statistic.value));
      }
    }
  }
  fmt::print("{}", FormatTable(rows, {1, 2, 3, 4, 5, 6, 7}));
}

int RunStats(const StatsCommand& command) {
  InstallStopHandlers();
  const Result<DatasetStats> stats =
      ComputeDatasetStats(command.directory, command.split, command.min_check);
  if (!stats) return Report(stats.error());
  const Json json = JsonOf(*stats);
  if (!command.out.empty()) {
    const Status written = WriteFileAtomically(command.out, json.dump(2) + '\n');
    if (!written) return Report(written.error());
  }
  if (command.json) {
    PrintJson(json);
  } else {
    PrintStats(*stats);
  }
  return kExitDone;
}

}  // namespace

void AddStatsCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<StatsCommand>();
  CLI::App* sub = app.add_subcommand(
      "stats", "Range, mean, deviation and quantiles of the numbers of finished episodes, per lab");
  sub->add_option("DIR", command->directory, "Folder with finished episodes")
      ->required()
      ->type_name("");
  sub->add_option("-o,--out", command->out, "JSON file that they are written to")
      ->type_name("FILE");
  sub->add_option(
         "--split", command->split, "Only episodes of this split, by DIR/meta/episodes.jsonl")
      ->check(CLI::IsMember({"train", "val", "test"}).description(""))
      ->type_name("{train,val,test}");
  sub->add_option("--min-check",
                  command->min_check,
                  "Leave out episodes in which droidflow check found a lower score, or none")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->type_name("S");
  sub->add_flag("--json", command->json, "Print JSON");
  sub->footer(
      "Values of steps: cartesian_positions, contact_centroids, gripper_positions. Of episodes:\n"
      "num_frames, path_length_mm, idle_fraction. Of cameras: in_image_fraction, "
      "capture_delay_ms,\n"
      "depth_valid_fraction. q01 and q99 are within a 65536th of max - min.\n"
      "Example:\n  droidflow stats /data/tracks -o stats.json\n"
      "Exit status: 0 done, 1 an episode is damaged, 10 no finished episode there, 130 stopped by\n"
      "a signal.");
  sub->callback([command, &exit_code] { exit_code = RunStats(*command); });
}

}  // namespace droidflow

#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/pipeline/episode_list.h"
#include "droidflow/pipeline/process_episode.h"

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct EpisodesCommand {
  OptionFlags flags;
  bool json = false;
};

void PrintList(const EpisodeList& list) {
  Json episodes = Json::array();
  for (const ListedEpisode& episode : list.episodes) {
    Json metric = nullptr;
    if (episode.metric)
      metric = {{"type", ToString(*episode.metric)}, {"value", episode.metric_value}};
    episodes.push_back({{"uuid", episode.ref.uuid},
                        {"path", episode.ref.relative_path},
                        {"lab", episode.ref.lab},
                        {"outcome", ToString(episode.ref.outcome)},
                        {"quality", episode.quality ? Json(*episode.quality) : Json(nullptr)},
                        {"calibration_metric", metric},
                        {"calibrated_cameras", episode.calibrated_cameras}});
  }
  Json duplicates = Json::array();
  for (const EpisodeRef& ref : list.duplicates) duplicates.push_back(ref.relative_path);
  const Json document = {{"matching", list.matching},
                         {"episodes", episodes},
                         {"duplicates", duplicates},
                         {"not_found", list.not_found_uuids}};
  PrintJson(document);
}

void PrintTable(const EpisodeList& list) {
  std::vector<std::vector<std::string>> rows = {
      {"quality", "metric", "value", "cameras", "uuid", "path"}};
  for (const ListedEpisode& episode : list.episodes) {
    rows.push_back({episode.quality ? fmt::format("{:.3f}", *episode.quality) : "-",
                    episode.metric ? std::string(ToString(*episode.metric)) : "-",
                    episode.metric ? fmt::format("{:.4g}", episode.metric_value) : "-",
                    fmt::to_string(episode.calibrated_cameras),
                    episode.ref.uuid.empty() ? "-" : episode.ref.uuid,
                    episode.ref.relative_path});
  }
  fmt::print("{}", FormatTable(rows, {0, 2, 3}));
  fmt::print("{} of {} matching episodes", list.episodes.size(), list.matching);
  if (!list.duplicates.empty()) fmt::print(", {} duplicate folders", list.duplicates.size());
  fmt::print("\n");
  for (const Error& error : list.not_found) fmt::print("not found: {}\n", error.message);
}

int RunEpisodes(const EpisodesCommand& command) {
  Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  if (command.flags.print_config()) {
    fmt::print("{}", FormatConfig(*options));
    return kExitDone;
  }
  const Result<Annotations> annotations = OpenInputs(options->input);
  if (!annotations) return Report(annotations.error());
  const Result<EpisodeList> list = ListEpisodes(*options, *annotations);
  if (!list) return Report(list.error());
  command.json ? PrintList(*list) : PrintTable(*list);
  return kExitDone;
}

}  // namespace

void AddEpisodesCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<EpisodesCommand>();
  CLI::App* sub =
      app.add_subcommand("episodes", "List episodes in the order of a run, with their scores");
  using Group = OptionInfo::Group;
  command->flags.AddPositional(*sub, "limit", "LIMIT");
  command->flags.AddTo(*sub, {Group::kInput, Group::kSelection});
  sub->add_flag("--json", command->json, "Print JSON");
  sub->footer(
      "Example: all episodes of two labs\n"
      "  droidflow episodes -1 --droid-root /data/droid_raw --annotations /data/annotations --labs "
      "IRIS,TRI\n"
      "Exit status: 0 done, 2 usage, 10 no such input.");
  sub->callback([command, &exit_code] { exit_code = RunEpisodes(*command); });
}

}  // namespace droidflow

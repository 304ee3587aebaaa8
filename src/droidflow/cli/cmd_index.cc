#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/dataset_index.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

struct IndexCommand {
  std::string directory;
  std::optional<std::string> splits;
  bool json = false;
};

int RunIndex(const IndexCommand& command) {
  const Result<SplitShares> shares =
      command.splits ? ParseSplitShares(*command.splits) : SharesFor(command.directory, "");
  if (!shares) return Report(shares.error());
  InstallStopHandlers();
  const Result<IndexedDataset> dataset = WriteDatasetIndex(command.directory, *shares);
  if (!dataset) return Report(dataset.error());
  nlohmann::ordered_json splits = nlohmann::ordered_json::object();
  std::string in_short;
  for (const char* const split : kSplits) {
    const auto found = dataset->splits.find(split);
    splits[split] = found == dataset->splits.end() ? 0 : found->second;
    in_short += fmt::format(", {} {}", splits[split].get<std::int64_t>(), split);
  }
  for (const std::string& why : dataset->left_out) fmt::print(stderr, "left out: {}\n", why);
  const std::filesystem::path directory = command.directory;
  const std::string file = (directory / EpisodesFile()).string();
  if (command.json) {
    PrintJson({{"episodes", dataset->episodes},
               {"splits", splits},
               {"left_out", dataset->left_out},
               {"files", {file, (directory / DatasetFile()).string()}}});
  } else {
    fmt::print("{}{}: {}\n", Counted(dataset->episodes, "episode"), in_short, file);
  }
  return dataset->left_out.empty() ? kExitDone : kExitQuarantined;
}

}  // namespace

void AddIndexCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<IndexCommand>();
  CLI::App* sub = app.add_subcommand(
      "index", "Write a line for each finished episode, to choose by, and which split it is in");
  sub->add_option("DIR", command->directory, "Folder with finished episodes")
      ->required()
      ->type_name("");
  sub->add_option(
         "--splits",
         command->splits,
         "Shares of scenes to train with, validate and test: a scene is in one of them (as "
         "they are in DIR/meta, else 80/10/10)")
      ->type_name("TRAIN/VAL/TEST");
  sub->add_flag("--json", command->json, "Print JSON");
  sub->footer(
      "Writes DIR/meta/episodes.jsonl and DIR/meta/dataset.json, as metadata and full do at their\n"
      "end.\n"
      "Example:\n  droidflow index /data/tracks --splits 0.9/0.05/0.05\n"
      "Exit status: 0 done, 2 usage, 3 episodes are damaged and left out, 10 no finished episode\n"
      "there, 130 stopped by a signal.");
  sub->callback([command, &exit_code] { exit_code = RunIndex(*command); });
}

}  // namespace droidflow

#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/compare_outputs.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct DiffCommand {
  std::string a;
  std::string b;
  bool all = false;
  bool json = false;
  bool quiet = false;
};

void PrintComparison(const OutputComparison& compared, bool all) {
  for (const std::string& name : compared.only_in_a) fmt::print("only in A: {}\n", name);
  for (const std::string& name : compared.only_in_b) fmt::print("only in B: {}\n", name);
  std::vector<std::vector<std::string>> rows{{"value", "equal", "not", "largest", "where"}};
  std::size_t equal = 0;
  for (const auto& [key, found] : compared.keys) {
    if (found.differing == 0) ++equal;
    if (found.differing == 0 && !all) continue;
    const bool has_number = found.what.empty() && found.differing > 0;
    rows.push_back({key,
                    fmt::format("{}", found.equal),
                    fmt::format("{}", found.differing),
                    has_number ? fmt::format("{:.3g}", found.largest) : found.what,
                    found.where});
  }
  if (rows.size() > 1) fmt::print("{}", FormatTable(rows, {1, 2}));
  fmt::print("{} in both; {} of {} values are equal\n",
             Counted(compared.episodes, "episode"),
             equal,
             compared.keys.size());
}

Json JsonOf(const OutputComparison& compared) {
  Json keys = Json::object();
  for (const auto& [key, found] : compared.keys) {
    Json& json = keys[key] = {{"equal", found.equal}, {"differing", found.differing}};
    if (found.differing == 0) continue;
    if (found.what.empty()) {
      // JSON has no infinity.
      json["largest"] = std::isfinite(found.largest) ? Json(found.largest) : Json("nan");
    } else {
      json["what"] = found.what;
    }
    json["where"] = found.where;
  }
  return {{"equal", compared.is_equal()},
          {"episodes", compared.episodes},
          {"only_in_a", compared.only_in_a},
          {"only_in_b", compared.only_in_b},
          {"values", keys}};
}

int RunDiff(const DiffCommand& command) {
  InstallStopHandlers();
  const Result<OutputComparison> compared = CompareOutputs(command.a, command.b, command.all);
  if (!compared) return Report(compared.error());
  if (command.json) {
    PrintJson(JsonOf(*compared));
  } else if (!command.quiet) {
    PrintComparison(*compared, command.all);
  }
  return compared->is_equal() ? kExitDone : kExitQuarantined;
}

}  // namespace

void AddDiffCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<DiffCommand>();
  CLI::App* sub = app.add_subcommand(
      "diff", "Compare two folders of results, value by value and pixel by pixel");
  sub->add_option("DIR_A", command->a, "Folder with finished episodes, or an episode")
      ->required()
      ->type_name("");
  sub->add_option("DIR_B", command->b, "Another")->required()->type_name("");
  sub->add_flag("--all",
                command->all,
                "Also timings_ms and provenance of quality.json, which differ from run to run, and "
                "list what is equal");
  sub->add_flag("--json", command->json, "Print JSON");
  sub->add_flag("-q,--quiet", command->quiet, "Print nothing; see the exit status");
  sub->footer(
      "Serials and positions in lists are shown as *. NaN equals NaN. The largest difference of\n"
      "depth.mkv is in millimetres.\n"
      "Example:\n  droidflow diff /data/tracks /data/tracks_new\n"
      "Exit status: 0 equal, 1 something cannot be read, 3 something differs or is only in one,\n"
      "10 no finished episode there, 130 stopped by a signal.");
  sub->callback([command, &exit_code] { exit_code = RunDiff(*command); });
}

}  // namespace droidflow

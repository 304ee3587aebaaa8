#include "droidflow/cli/commands.h"
#include "droidflow/cli/export_shards.h"
#include "droidflow/cli/output.h"
#include "droidflow/cli/python_package.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace droidflow {
namespace {

/// What "--to" names; empty: nothing.
std::string FormatOf(const std::vector<std::string>& words) {
  constexpr std::string_view kTo = "--to";
  for (auto word = words.begin(); word != words.end(); ++word) {
    if (word->starts_with("--to=")) return word->substr(kTo.size() + 1);
    if (*word == kTo && word + 1 != words.end()) return *(word + 1);
  }
  return {};
}

int RunShardExport(std::vector<std::string> words) {
  ShardExport command;
  std::string format;
  CLI::App app("Write finished episodes as shards that WebDataset reads; run it again for more",
               "droidflow export");
  app.add_option("--to", format)->required()->type_name("webdataset");
  app.add_option("OUT_DIR", command.results, "Folder of finished episodes")
      ->required()
      ->type_name("");
  app.add_option("DST", command.to, "Folder for data/{lab}/shard-….tar and meta/")
      ->required()
      ->type_name("");
  app.add_option("--shard-gb", command.shard_gb, "Size of a shard (1)")
      ->check(CLI::PositiveNumber.description(""))
      ->type_name("GB");
  app.add_option("--min-check",
                 command.min_check,
                 "Leave out episodes in which droidflow check found a lower score, or none")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->type_name("S");
  app.add_flag("--json", command.json, "Print the summary as JSON");
  app.add_flag("-q,--quiet", command.quiet, "Print errors only");
  std::ranges::reverse(words);
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  return ExportShards(command);
}

int RunExport(std::vector<std::string> words) {
  if (FormatOf(words) == "webdataset") return RunShardExport(std::move(words));
  words.insert(words.begin(), "export");
  return RunPythonPackage(words);
}

}  // namespace

void AddExportCommand(CLI::App& app, int& exit_code) {
  CLI::App* sub = app.add_subcommand("export", "Write finished episodes in another format");
  sub->prefix_command();
  sub->footer(
      "--to webdataset OUT_DIR DST writes the shards of an upload into a folder.\n"
      "Everything else goes to 'python3 -m droidflow export', of $DROIDFLOW_PYTHON or the python3 "
      "in\n"
      "PATH. Either shows what it takes after 'droidflow export --to FORMAT --help'.\n"
      "Example:\n"
      "  droidflow export --to webdataset /data/tracks /data/shards\n"
      "  droidflow export --to lerobot /data/tracks /data/lerobot --droid-root /data/droid_raw\n"
      "Exit status: 0 done, 1 failed, 2 usage, 3 episodes were left out, 10 no finished\n"
      "episode there, 11 another process writes there, 130 stopped by a signal.");
  sub->callback([sub, &exit_code] { exit_code = RunExport(sub->remaining()); });
}

}  // namespace droidflow

#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/convert.h"
#include "droidflow/pipeline/doctor.h"
#include "droidflow/pipeline/verify.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct ConvertCommand {
  std::vector<std::string> paths;
  std::string layout;
  std::string compression;
  std::string out;
  bool json = false;
  bool quiet = false;
};

/// `path` and the folders above it, below `root`, as far as nothing is in them.
void RemoveEmptyFolders(const fs::path& path, const fs::path& root) {
  fs::path folder = path;
  std::error_code error;
  while (folder != root && fs::is_empty(folder, error) && !error && fs::remove(folder, error)) {
    folder = folder.parent_path();
  }
}

int RunConvert(const ConvertCommand& command) {
  const ConvertOptions options{.layout = TracksLayoutFromString(command.layout),
                               .compression = NpzCompressionFromString(command.compression)};
  if (!options.layout && !options.compression) {
    return Report(Error{ErrorKind::kUsage, "give --tracks-layout, --compress or both"});
  }
  fs::path out = command.out;
  if (!out.empty()) out = fs::absolute(out / "").lexically_normal().parent_path();
  std::vector<EpisodeToConvert> episodes;
  for (const std::string& path : command.paths) {
    const fs::path folder = (fs::path(path) / "").parent_path();
    const Result<std::vector<fs::path>> found = FindEpisodeOutputs(folder);
    if (!found) return Report(found.error());
    for (const fs::path& from : *found) {
      const fs::path below = from == folder ? fs::absolute(folder).lexically_normal().filename()
                                            : from.lexically_relative(folder);
      episodes.push_back({from, out.empty() ? from : out / below});
    }
  }
  InstallStopHandlers();
  std::size_t converted = 0;
  std::size_t unchanged = 0;
  Json failed = Json::array();
  const auto on_done = [&](const EpisodeToConvert& episode, const Result<bool>& done) {
    if (!done) {
      failed.push_back({{"path", episode.from.string()}, {"message", done.error().message}});
      fmt::print(stderr, "droidflow: {}\n", done.error().message);
      return;
    }
    ++(*done ? converted : unchanged);
    if (*done && !command.quiet && !command.json) fmt::print("{}\n", episode.to.string());
  };
  ConvertEpisodes(episodes, options, UsableCores(), on_done);
  // Folders of episodes that were refused.
  if (!out.empty()) {
    for (const EpisodeToConvert& episode : episodes) RemoveEmptyFolders(episode.to, out);
  }
  if (command.json) {
    PrintJson({{"converted", converted}, {"unchanged", unchanged}, {"failed", failed}});
  } else {
    fmt::print("{} converted, {} were so before, {} failed\n",
               Counted(converted, "episode"),
               unchanged,
               failed.size());
  }
  if (StopSignal() != 0) return kExitCancelled;
  return failed.empty() ? kExitDone : kExitQuarantined;
}

}  // namespace

void AddConvertCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<ConvertCommand>();
  CLI::App* sub = app.add_subcommand(
      "convert", "Store the arrays of finished episodes in another way: compact, compressed");
  sub->add_option("EPISODE", command->paths, "Episode folders, or folders that hold some")
      ->required()
      ->type_name("");
  sub->add_option("--tracks-layout",
                  command->layout,
                  "full or compact: only what arrays follow from (as it is)")
      ->check(CLI::IsMember({"full", "compact"}).description(""))
      ->type_name("LAYOUT");
  sub->add_option("--compress", command->compression, "none or zip: of .npz files (as it is)")
      ->check(CLI::IsMember({"none", "zip"}).description(""))
      ->type_name("HOW");
  sub->add_option(
         "-o,--out",
         command->out,
         "Folder that episodes are written to, with all of their files, in place of what is "
         "there (where they are)")
      ->type_name("DIR");
  sub->add_flag("--json", command->json, "Print JSON");
  sub->add_flag("-q,--quiet", command->quiet, "Print failures and the sum only");
  sub->footer(
      "Every file is converted back before it takes its place, and refused if an array would not\n"
      "come back with the same bytes, as those of other programs.\n"
      "Example:\n  droidflow convert /data/tracks --tracks-layout compact -o /data/short\n"
      "Exit status: 0 done, 2 usage, 3 an episode was refused or cannot be read or written,\n"
      "10 no finished episode there, 130 stopped by a signal.");
  sub->callback([command, &exit_code] { exit_code = RunConvert(*command); });
}

}  // namespace droidflow

#include "droidflow/cli/commands.h"
#include "droidflow/cli/output.h"
#include "droidflow/pipeline/doctor.h"
#include "droidflow/pipeline/verify.h"

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct VerifyOptions {
  std::vector<std::string> paths;
  bool json = false;
  bool quiet = false;
};

int RunVerify(const VerifyOptions& options) {
  std::vector<std::filesystem::path> directories;
  for (const std::string& path : options.paths) {
    const Result<std::vector<std::filesystem::path>> found = FindEpisodeOutputs(path);
    if (!found) return Report(found.error());
    directories.insert(directories.end(), found->begin(), found->end());
  }
  std::size_t failed = 0;
  Json rows = Json::array();
  VerifyEpisodes(directories, UsableCores(), [&](const VerifiedEpisode& episode) {
    const bool ok = episode.problems.empty();
    failed += ok ? 0 : 1;
    if (options.json) {
      rows.push_back(
          {{"path", episode.directory.string()}, {"ok", ok}, {"problems", episode.problems}});
    } else if (!ok) {
      fmt::print("FAIL {}: {}\n", episode.directory.string(), fmt::join(episode.problems, "; "));
    } else if (!options.quiet) {
      fmt::print("ok   {}\n", episode.directory.string());
    }
  });
  if (options.json) {
    const Json document = {{"checked", directories.size()}, {"failed", failed}, {"episodes", rows}};
    fmt::print("{}\n", document.dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    fmt::print("{} episodes checked, {} failed\n", directories.size(), failed);
  }
  return failed > 0 ? kExitQuarantined : kExitDone;
}

}  // namespace

void AddVerifyCommand(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* command = app.add_subcommand(
      "verify", "Check finished episodes: keys, types, shapes, rotations, projections, spacing");
  command->add_option("PATH", options->paths, "Episode folders, or folders that hold some")
      ->required()
      ->type_name("");
  command->add_flag("--json", options->json, "Print JSON");
  command->add_flag("-q,--quiet", options->quiet, "Print failures only");
  command->footer(
      "Example:\n  droidflow verify /data/tracks\n"
      "Exit status: 0 all are well, 3 an episode fails, 10 no finished episode there.");
  command->callback([options, &exit_code] { exit_code = RunVerify(*options); });
}

}  // namespace droidflow

#include "droidflow/cli/commands.h"
#include "droidflow/cli/output.h"
#include "droidflow/pipeline/doctor.h"
#include "droidflow/pipeline/verify.h"

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

struct VerifyFlags {
  std::vector<std::string> paths;
  bool quick = false;
  bool json = false;
  bool quiet = false;
};

Json DescribeWristDepth(const std::optional<DepthComparison>& depth) {
  if (!depth) return nullptr;
  const auto or_null = [](std::optional<double> value) { return value ? Json(*value) : Json(); };
  return {{"steps", depth->steps},
          {"points", depth->points},
          {"measured", depth->measured},
          {"median_difference_mm", or_null(depth->median_mm)},
          {"within_20_mm_fraction", or_null(depth->near_fraction)}};
}

int RunVerify(const VerifyFlags& options) {
  std::vector<std::filesystem::path> directories;
  for (const std::string& path : options.paths) {
    const Result<std::vector<std::filesystem::path>> found = FindEpisodeOutputs(path);
    if (!found) return Report(found.error());
    directories.insert(directories.end(), found->begin(), found->end());
  }
  std::size_t failed = 0;
  Json rows = Json::array();
  const auto on_verified = [&](const VerifiedEpisode& episode) {
    const bool ok = episode.problems.empty();
    failed += ok ? 0 : 1;
    if (options.json) {
      rows.push_back({{"path", episode.directory.string()},
                      {"ok", ok},
                      {"problems", episode.problems},
                      {"wrist_depth", DescribeWristDepth(episode.wrist_depth)}});
    } else if (!ok) {
      fmt::print("FAIL {}: {}\n", episode.directory.string(), fmt::join(episode.problems, "; "));
    } else if (!options.quiet) {
      fmt::print("ok   {}\n", episode.directory.string());
    }
  };
  VerifyEpisodes(directories, !options.quick, UsableCores(), on_verified);
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
  auto options = std::make_shared<VerifyFlags>();
  CLI::App* command = app.add_subcommand(
      "verify",
      "Check finished episodes: keys, types, shapes, rotations, projections, spacing, depth");
  command->add_option("PATH", options->paths, "Episode folders, or folders that hold some")
      ->required()
      ->type_name("");
  command->add_flag(
      "--quick", options->quick, "Of depth videos decode the first frame only; checksums are read");
  command->add_flag("--json", options->json, "Print JSON");
  command->add_flag("-q,--quiet", options->quiet, "Print failures only");
  command->footer(
      "Example:\n  droidflow verify /data/tracks\n"
      "Exit status: 0 all are well, 3 an episode fails, 10 no finished episode there.");
  command->callback([options, &exit_code] { exit_code = RunVerify(*options); });
}

}  // namespace droidflow

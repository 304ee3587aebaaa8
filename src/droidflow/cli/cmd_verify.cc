#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/cli/upload_report.h"
#include "droidflow/pipeline/doctor.h"
#include "droidflow/pipeline/verify.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
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

/// Episodes that were uploaded from a folder of results, or by a run, and read back.
std::int64_t CountUploaded(const fs::path& folder) {
  std::int64_t most = 0;
  for (const fs::path& run_dir : {folder, folder / ".droidflow"}) {
    for (const auto& [destination, counts] : ReadUploadReport(run_dir).counts) {
      most = std::max(most, counts.of(UploadState::kConfirmed).episodes);
    }
  }
  return most;
}

int RunVerify(const VerifyFlags& options) {
  std::vector<fs::path> directories;
  std::int64_t uploaded = 0;
  for (const std::string& path : options.paths) {
    // A run's directory stands for the results that it is in.
    fs::path folder = (fs::path(path) / "").parent_path();
    if (folder.filename() == ".droidflow") folder = fs::absolute(folder).parent_path();
    const std::int64_t gone = CountUploaded(folder);
    const Result<std::vector<fs::path>> found = FindEpisodeOutputs(folder);
    if (found) {
      directories.insert(directories.end(), found->begin(), found->end());
    } else if (found.error().kind != ErrorKind::kNotFound || gone == 0) {
      return Report(found.error());
    }
    uploaded += gone;
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
    const Json document = {{"checked", directories.size()},
                           {"failed", failed},
                           {"uploaded", uploaded},
                           {"episodes", rows}};
    PrintJson(document);
  } else {
    fmt::print("{} checked, {} failed\n", Counted(directories.size(), "episode"), failed);
    if (uploaded > 0) fmt::print("{} were uploaded and read back\n", uploaded);
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

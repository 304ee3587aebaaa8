#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/pipeline/doctor.h"

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

struct DoctorOptions {
  std::vector<std::string> directories = {".", "/tmp", "/dev/shm"};
  std::size_t episodes = 0;
  bool json = false;
};

const char* Mark(Finding::Grade grade) {
  switch (grade) {
    case Finding::Grade::kOk:
      return "ok";
    case Finding::Grade::kNote:
      return "note";
    case Finding::Grade::kProblem:
      return "PROBLEM";
  }
  return "";
}

int RunDoctor(const DoctorOptions& options) {
  const std::vector<Finding> findings =
      ExamineMachine({options.directories.begin(), options.directories.end()}, options.episodes);
  if (options.json) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (const Finding& finding : findings) {
      rows.push_back({{"subject", finding.subject},
                      {"grade", Mark(finding.grade)},
                      {"found", finding.text},
                      {"allows", finding.allows}});
    }
    PrintJson(rows);
    return kExitDone;
  }
  for (const Finding& finding : findings) {
    fmt::print("{:<8} {:<10} {}\n", Mark(finding.grade), finding.subject, finding.text);
    if (!finding.allows.empty()) fmt::print("{:<8} {:<10} -> {}\n", "", "", finding.allows);
  }
  return kExitDone;
}

}  // namespace

void AddDoctorCommand(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* command =
      app.add_subcommand("doctor", "Say what this machine has and what that allows");
  command->add_option("DIR", options->directories, "Folders to check for space (., /tmp, /dev/shm)")
      ->type_name("");
  command
      ->add_option("--episodes",
                   options->episodes,
                   "Say what so many episodes need where they are uploaded to")
      ->type_name("N");
  command->add_flag("--json", options->json, "Print JSON");
  command->footer("Example:\n  droidflow doctor /data/out /scratch\nExit status: 0 done.");
  command->callback([options, &exit_code] { exit_code = RunDoctor(*options); });
}

}  // namespace droidflow

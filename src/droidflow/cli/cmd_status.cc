#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/cli/run_report.h"
#include "droidflow/cli/upload_report.h"
#include "droidflow/jobs/run_store.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct StatusOptions {
  std::string run_dir;
  bool json = false;
  bool all = false;
};

Json DescribeRecord(const TaskRecord& record) {
  return {{"uuid", record.task.key},
          {"path", record.task.payload},
          {"state", ToString(record.state)},
          {"status", record.status},
          {"message", record.message},
          {"stage", record.failed_stage},
          {"attempts", record.attempts}};
}

int RunStatus(const StatusOptions& options) {
  std::filesystem::path run_dir = options.run_dir;
  if (std::error_code ignored; std::filesystem::is_directory(run_dir / ".droidflow", ignored)) {
    run_dir /= ".droidflow";
  }
  Result<RunStore> store = RunStore::OpenReadOnly(run_dir);
  if (!store) return Report(store.error());
  const Result<std::vector<TaskRecord>> records = store->LoadAll();
  if (!records) return Report(records.error());
  const RunSummary summary = SummarizeRecords(*records);
  const UploadReport uploads = ReadUploadReport(run_dir);
  const auto is_shown = [&](const TaskRecord& record) {
    return options.all || record.state == TaskState::kQuarantined ||
           record.state == TaskState::kSkipped || record.state == TaskState::kRunning;
  };
  if (options.json) {
    Json document = StoreJson(summary);
    Json episodes = Json::array();
    for (const TaskRecord& record : *records) {
      if (is_shown(record)) episodes.push_back(DescribeRecord(record));
    }
    document["episodes"] = episodes;
    document["uploads"] = ToJson(uploads);
    PrintJson(document);
  } else {
    fmt::print("{}{}", FormatStore(summary), FormatUploads(uploads));
    std::vector<std::vector<std::string>> rows = {{"state", "status", "episode", "message"}};
    for (const TaskRecord& record : *records) {
      if (is_shown(record)) {
        rows.push_back({ToString(record.state), record.status, record.task.key, record.message});
      }
    }
    if (rows.size() > 1) fmt::print("\n{}", FormatTable(rows, {}));
  }
  return summary.store.quarantined > 0 ? kExitQuarantined : kExitDone;
}

}  // namespace

void AddStatusCommand(CLI::App& app, int& exit_code) {
  auto options = std::make_shared<StatusOptions>();
  CLI::App* command =
      app.add_subcommand("status", "Say how a run stands, also while it is going on");
  command
      ->add_option("DIR",
                   options->run_dir,
                   "Folder of results, or the run's directory where --run-dir gave one")
      ->required()
      ->type_name("");
  command->add_flag("--all", options->all, "List finished and waiting episodes too");
  command->add_flag("--json", options->json, "Print JSON");
  command->footer(
      "Example:\n  droidflow status /data/tracks\n"
      "Exit status: 0 none quarantined, 3 episodes are quarantined, 10 no such run.");
  command->callback([options, &exit_code] { exit_code = RunStatus(*options); });
}

}  // namespace droidflow

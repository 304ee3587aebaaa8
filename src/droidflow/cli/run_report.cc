#include "droidflow/cli/run_report.h"

#include "droidflow/cli/output.h"
#include "droidflow/jobs/progress.h"

#include <chrono>
#include <vector>

#include <fmt/format.h>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

double PerSecond(const RunSummary& summary) {
  return summary.wall_s > 0 ? static_cast<double>(summary.done) / summary.wall_s : 0;
}

}  // namespace

Json StoreJson(const RunSummary& summary) {
  Json stages = Json::object();
  for (const StageSummary& stage : summary.stages) {
    stages[stage.name] = {{"count", stage.count},
                          {"median_ms", stage.median_ms},
                          {"p95_ms", stage.p95_ms},
                          {"total_ms", stage.total_ms}};
  }
  return {{"done", summary.store.done},
          {"quarantined", summary.store.quarantined},
          {"skipped", summary.store.skipped},
          {"pending", summary.store.pending},
          {"running", summary.store.running},
          {"failures_by_status", summary.failures},
          {"failures_by_stage", summary.failures_by_stage},
          {"stages", stages}};
}

Json SummaryJson(const RunSummary& summary) {
  return {{"run_dir", summary.run_dir},
          {"stopped", summary.stopped ? Json(nullptr) : Json(summary.stopped.error().message)},
          {"selected", summary.selected},
          {"already_done", summary.already_done},
          {"in_repository", summary.in_repository},
          {"damaged", summary.damaged},
          {"done", summary.done},
          {"quarantined", summary.quarantined},
          {"wall_s", summary.wall_s},
          {"episodes_per_s", PerSecond(summary)},
          {"output_bytes", summary.output_bytes},
          {"not_uploaded", summary.uploads ? Json(nullptr) : Json(summary.uploads.error().message)},
          {"run", StoreJson(summary)}};
}

std::string FormatStore(const RunSummary& summary) {
  const StateCounts& store = summary.store;
  std::string text = fmt::format("run: {} done, {} quarantined, {} skipped, {} to do\n",
                                 store.done,
                                 store.quarantined,
                                 store.skipped,
                                 store.pending + store.running);
  if (!summary.failures.empty()) {
    std::vector<std::vector<std::string>> rows = {{"quarantined as", "episodes"}};
    for (const auto& [status, count] : summary.failures)
      rows.push_back({status, fmt::to_string(count)});
    text += "\n" + FormatTable(rows, {1});
    rows = {{"failed in stage", "episodes"}};
    for (const auto& [stage, count] : summary.failures_by_stage) {
      rows.push_back({stage, fmt::to_string(count)});
    }
    text += "\n" + FormatTable(rows, {1});
  }
  if (!summary.stages.empty()) {
    std::vector<std::vector<std::string>> rows = {{"stage", "median ms", "p95 ms"}};
    for (const StageSummary& stage : summary.stages) {
      rows.push_back({stage.name,
                      fmt::format("{:.1f}", stage.median_ms),
                      fmt::format("{:.1f}", stage.p95_ms)});
    }
    text += "\n" + FormatTable(rows, {1, 2});
  }
  return text;
}

std::string FormatSummary(const RunSummary& summary) {
  std::string text = fmt::format(
      "{} done in {} ({:.1f} per second, {} written), {} quarantined, {} done before\n",
      Counted(summary.done, "episode"),
      FormatDuration(std::chrono::milliseconds(static_cast<std::int64_t>(summary.wall_s * 1000))),
      PerSecond(summary),
      FormatBytes(static_cast<double>(summary.output_bytes)),
      summary.quarantined,
      summary.already_done);
  if (summary.damaged > 0) {
    text += fmt::format("{} had been finished but were damaged, and were done again\n",
                        summary.damaged);
  }
  if (summary.in_repository > 0) {
    text += fmt::format("{} are in the repository already\n", summary.in_repository);
  }
  text += FormatStore(summary);
  if (summary.store.quarantined > 0) {
    text += fmt::format("\nmessages: {0}/errors.log, uuids: {0}/failed_episodes.txt\n",
                        summary.run_dir);
  }
  return text;
}

}  // namespace droidflow

#include "droidflow/cli/upload_report.h"

#include "droidflow/cli/output.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/pipeline/hub_targets.h"

#include <fmt/format.h>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const UploadTotals& totals) {
  return {{"episodes", totals.episodes}, {"files", totals.files}, {"bytes", totals.bytes}};
}

}  // namespace

Result<UploadReport> MakeUploadReport(UploadQueue& queue) {
  UploadReport report;
  DF_ASSIGN_OR_RETURN(report.counts, queue.Counts());
  DF_ASSIGN_OR_RETURN(report.parked, queue.Parked());
  return report;
}

UploadReport ReadUploadReport(const std::filesystem::path& run_dir) {
  std::error_code ignored;
  if (!std::filesystem::exists(run_dir / "upload.sqlite", ignored)) return {};
  return UploadQueue::Open(run_dir)
      .and_then([](UploadQueue&& queue) { return MakeUploadReport(queue); })
      .value_or(UploadReport());
}

Json ToJson(const UploadReport& report, const UploadSummary* summary) {
  Json destinations = Json::object();
  for (const auto& [name, counts] : report.counts) {
    Json& row = destinations[name];
    row = {{"confirmed", ToJson(counts.of(UploadState::kConfirmed))},
           {"waiting", ToJson(UnfinishedTotals(counts))},
           {"parked", ToJson(counts.of(UploadState::kParked))}};
    if (summary == nullptr || !summary->targets.contains(name)) continue;
    const TargetSummary& target = summary->targets.at(name);
    row["now_confirmed"] = ToJson(target.confirmed);
    row["commits"] = target.commits;
    row["stopped"] = target.status ? Json(nullptr) : Json(target.status.error().message);
  }
  Json parked = Json::array();
  for (const ParkedEpisode& episode : report.parked) {
    parked.push_back({{"destination", episode.destination},
                      {"episode", episode.key},
                      {"status", episode.status},
                      {"reason", episode.reason}});
  }
  return {{"destinations", destinations}, {"parked", parked}};
}

std::string FormatUploads(const UploadReport& report) {
  std::string text;
  for (const auto& [name, counts] : report.counts) {
    const UploadTotals& confirmed = counts.of(UploadState::kConfirmed);
    const UploadTotals waiting = UnfinishedTotals(counts);
    text += fmt::format("uploads to {}: {} ({}, {}) there, {} ({}) to come, {} parked\n",
                        name,
                        Counted(confirmed.episodes, "episode"),
                        Counted(confirmed.files, "file"),
                        FormatBytes(static_cast<double>(confirmed.bytes)),
                        waiting.episodes,
                        FormatBytes(static_cast<double>(waiting.bytes)),
                        counts.of(UploadState::kParked).episodes);
  }
  if (report.parked.empty()) return text;
  std::vector<std::vector<std::string>> rows = {{"not uploaded to", "as", "episode", "reason"}};
  for (const ParkedEpisode& episode : report.parked) {
    rows.push_back({episode.destination, episode.status, episode.key, episode.reason});
  }
  return text + "\n" + FormatTable(rows, {});
}

}  // namespace droidflow

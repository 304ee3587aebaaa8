#pragma once

#include "droidflow/transfer/upload_queue.h"
#include "droidflow/transfer/uploader.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace droidflow {

/// How a queue stands.
struct UploadReport {
  std::map<std::string, UploadCounts> counts;  ///< by destination
  std::vector<ParkedEpisode> parked;           ///< the first thousand
};

[[nodiscard]] Result<UploadReport> MakeUploadReport(UploadQueue& queue);
/// … of a run directory; empty where it has no queue, or one that cannot be read.
[[nodiscard]] UploadReport ReadUploadReport(const std::filesystem::path& run_dir);

/// @param summary  of what this process has done; null: nothing.
[[nodiscard]] nlohmann::ordered_json ToJson(const UploadReport& report,
                                            const UploadSummary* summary = nullptr);
/// Lines per destination, and what was parked.
[[nodiscard]] std::string FormatUploads(const UploadReport& report);

}  // namespace droidflow

#pragma once

/// Text reports of a run, made from its store: they can be made again at any time.

#include "droidflow/core/result.h"
#include "droidflow/jobs/run_store.h"

#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace droidflow {

/// CSV, one line per task that was tried: `{noun}_id,state,status,attempts,worker,total_s` and
/// `{stage}_s` for each stage that any task has; empty where a task did not get there.
[[nodiscard]] std::string FormatTimingCsv(std::span<const TaskRecord> records,
                                          std::string_view noun);

/// One line per quarantined task: time (UTC), key, status, attempts, stage, message.
[[nodiscard]] std::string FormatErrorLog(std::span<const TaskRecord> records);

/// The keys of the quarantined tasks, one a line: a list to run again.
[[nodiscard]] std::string FormatFailedKeys(std::span<const TaskRecord> records);

/// Writes `timing.csv`, `errors.log` and `failed_{noun}s.txt`, each whole or not at all.
///
/// @param noun  what a task is called, e.g. "episode".
[[nodiscard]] Status WriteReports(std::span<const TaskRecord> records,
                                  const std::filesystem::path& run_dir,
                                  std::string_view noun);

}  // namespace droidflow

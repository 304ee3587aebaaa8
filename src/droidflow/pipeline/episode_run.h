#pragma once

/// A run over many episodes: `droidflow metadata`.

#include "droidflow/core/result.h"
#include "droidflow/jobs/run_store.h"
#include "droidflow/pipeline/episode_list.h"
#include "droidflow/pipeline/options.h"
#include "droidflow/pipeline/process_episode.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace droidflow {

/// How a run ended, and how its whole run directory stands.
struct RunSummary {
  std::string run_dir;
  std::size_t selected = 0;       ///< episodes that this run was about
  std::size_t already_done = 0;   ///< of those, found finished and whole
  std::size_t done = 0;           ///< finished by this run
  std::size_t quarantined = 0;    ///< by this run
  std::size_t in_repository = 0;  ///< of `selected`, found there and left alone
  std::size_t damaged = 0;        ///< found finished but with files missing or changed: done again
  double wall_s = 0;
  std::uint64_t output_bytes = 0;       ///< of `done`
  StateCounts store;                    ///< the whole run directory
  std::vector<StageSummary> stages;     ///< of every finished episode in it
  std::map<std::string, int> failures;  ///< quarantined episodes in it, by status
  std::map<std::string, int> failures_by_stage;
  Status stopped = {};  ///< why it ended early: kCancelled, kNoSpace, …
  Status uploads = {};  ///< why not everything was uploaded that was to be
};

struct RunDisplay {
  bool quiet = false;
  bool verbose = false;  ///< say a line for every episode
};

/// Processes the episodes of the context's options with worker processes, and goes on where an
/// earlier run in the same run directory stopped.
///
/// What it promises: an episode's folder below `out` is whole or not there; it appears in one step;
/// what is recorded as done is in place, or was uploaded and read back. Killed at any moment, the
/// next run does the rest. Failing uploads do not stop it.
///
/// @return kBusy when another process holds the run directory; kNotFound when there is no episode;
/// an
///         early end (signal, full disk) is in the summary's `stopped`, with what had been done.
[[nodiscard]] Result<RunSummary> RunEpisodes(const EpisodeContext& context,
                                             const RunDisplay& display);

/// What RunEpisodes would do; writes nothing.
struct RunPlan {
  EpisodeList list;
  std::size_t already_done = 0;
  std::size_t quarantined = 0;  ///< in earlier runs, and left alone
  std::size_t to_do = 0;
  std::uint64_t fetch_bytes = 0;  ///< from buckets
};
[[nodiscard]] Result<RunPlan> PlanRun(const EpisodeContext& context);

/// Sums up a run directory from its records.
[[nodiscard]] RunSummary SummarizeRecords(std::span<const TaskRecord> records);

}  // namespace droidflow

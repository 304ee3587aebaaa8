#include "droidflow/pipeline/metadata_run.h"

#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/episode/status.h"
#include "droidflow/formats/checksum.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/jobs/reports.h"
#include "droidflow/jobs/run_lock.h"
#include "droidflow/jobs/worker_pool.h"
#include "droidflow/pipeline/verify.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <iostream>
#include <optional>
#include <sys/stat.h>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr const char kNoun[] = "episode";

/// The run's folders.
struct RunPaths {
  fs::path out;
  fs::path run_dir;
  fs::path incoming;  ///< on the file system of `out`, so that a rename puts an episode in place
  fs::path scratch;   ///< where workers write; `incoming` unless the user named a disk
};

bool OnOneFileSystem(const fs::path& a, const fs::path& b) {
  struct stat stat_a = {};
  struct stat stat_b = {};
  return stat(a.c_str(), &stat_a) == 0 && stat(b.c_str(), &stat_b) == 0 &&
         stat_a.st_dev == stat_b.st_dev;
}

/// Makes the run's folders, and empties those of unfinished work. The run directory must be held.
Result<RunPaths> PreparePaths(const MetadataOptions& options) {
  RunPaths paths{.out = options.out, .run_dir = options.RunDir(), .incoming = {}, .scratch = {}};
  DF_RETURN_IF_ERROR(MakeDirectories(paths.out));
  // A run directory elsewhere cannot hand episodes over by renaming them.
  paths.incoming =
      (OnOneFileSystem(paths.run_dir, paths.out) ? paths.run_dir : paths.out / ".droidflow") /
      "incoming";
  paths.scratch = paths.incoming;
  if (!options.scratch_dir.empty()) {
    // Other runs may share the disk: a folder of this run's own, found again after a crash.
    const std::string run = fs::absolute(paths.run_dir).lexically_normal().string();
    paths.scratch = fs::path(options.scratch_dir) /
                    fmt::format("droidflow-{:08x}", Crc32(std::as_bytes(std::span(run))));
  }
  for (const fs::path& path : {paths.incoming, paths.scratch}) {
    DF_RETURN_IF_ERROR(RemoveTree(path));
    DF_RETURN_IF_ERROR(MakeDirectories(path));
  }
  return paths;
}

std::string KeyOf(const EpisodeRef& ref) { return ref.uuid.empty() ? ref.relative_path : ref.uuid; }

Task TaskOf(const EpisodeRef& ref) { return {.key = KeyOf(ref), .payload = ref.relative_path}; }

/// Moves a finished episode from the worker's folder to its place.
Status Deliver(const RunPaths& paths, const fs::path& scratch, const EpisodeRef& ref) {
  fs::path ready = scratch;
  if (!OnOneFileSystem(scratch, paths.incoming)) {
    ready = paths.incoming / scratch.filename();
    DF_RETURN_IF_ERROR(RemoveTree(ready));
    DF_RETURN_IF_ERROR(CopyTree(scratch, ready));
    DF_RETURN_IF_ERROR(RemoveTree(scratch));
  }
  DF_RETURN_IF_ERROR(SyncTree(ready));
  return PlaceDirectory(ready, paths.out / ref.relative_path);
}

/// Lists what was delivered, for the run store.
Result<TaskResult> DescribeResult(const RunPaths& paths, const EpisodeRef& ref) {
  TaskResult result;
  result.directory = ref.relative_path;
  DF_ASSIGN_OR_RETURN(result.files, ListFiles(paths.out / ref.relative_path));
  for (const FileStamp& file : result.files) result.output_bytes += file.size_bytes;
  return result;
}

/// One attempt at one episode, in a worker.
TaskResult DoEpisode(const EpisodeContext& context,
                     const RunPaths& paths,
                     const Task& task,
                     const WorkerContext& worker) {
  using Clock = std::chrono::steady_clock;
  const fs::path scratch = paths.scratch / fmt::format("worker-{}", worker.worker);
  std::vector<StageTime> stages;
  std::string failed_stage;
  const auto attempt = [&]() -> Result<TaskResult> {
    DF_ASSIGN_OR_RETURN(EpisodeRef ref, EpisodeRefFromPath(task.payload));
    DF_RETURN_IF_ERROR(RemoveTree(scratch));
    DF_RETURN_IF_ERROR(MakeDirectories(scratch));
    ProcessedEpisode processed = ProcessEpisode(context, ref, Products::kAll, scratch);
    stages = std::move(processed.stages);
    failed_stage = std::move(processed.failed_stage);
    DF_RETURN_IF_ERROR(processed.status);
    failed_stage = "deliver";
    const Clock::time_point start = Clock::now();
    DF_RETURN_IF_ERROR(Deliver(paths, scratch, ref));
    DF_ASSIGN_OR_RETURN(TaskResult result, DescribeResult(paths, ref));
    const std::chrono::duration<double, std::milli> duration = Clock::now() - start;
    stages.push_back({failed_stage, duration.count()});
    failed_stage.clear();
    return result;
  };
  Result<TaskResult> attempted = attempt();
  TaskResult result;
  if (attempted) {
    result = *std::move(attempted);
  } else {
    result = FailedTask(std::move(attempted).error());
    // What is left would take space that may be what was missing. The next attempt clears it too.
    if (const Status removed = RemoveTree(scratch); !removed) {
      result.error->message += fmt::format(" (and {})", removed.error().message);
    }
  }
  result.stages = std::move(stages);
  result.failed_stage = std::move(failed_stage);
  return result;
}

/// Which of the selected episodes are still to be done, given what earlier runs recorded.
struct Decision {
  std::vector<EpisodeRef> to_do;
  std::vector<std::string> requeue;  ///< keys of those that the store thinks finished
  std::size_t already_done = 0;
  std::size_t quarantined = 0;
  std::size_t damaged = 0;
};

bool IsWhole(const TaskRecord& record, bool files_unchanged, const MetadataOptions& options) {
  if (!files_unchanged) return false;
  return !options.deep_check ||
         VerifyEpisode(fs::path(options.out) / record.directory).problems.empty();
}

Decision Decide(const EpisodeContext& context,
                const std::vector<ListedEpisode>& episodes,
                std::vector<TaskRecord> records) {
  const MetadataOptions& options = context.options;
  std::unordered_map<std::string_view, TaskRecord*> by_key;
  by_key.reserve(records.size());
  for (TaskRecord& record : records) by_key[record.task.key] = &record;

  enum class Verdict { kNew, kAgain, kFinished, kGivenUp };
  const auto judge = [&](const TaskRecord& record) {
    const bool same_numbers = record.fingerprint == context.config_json;
    if (record.state == TaskState::kDone && same_numbers && !options.recompute)
      return Verdict::kFinished;
    // An episode that was not found, and now is, has not been tried.
    const bool given_up = record.state == TaskState::kQuarantined && same_numbers &&
                          !options.retry_quarantined && record.status != status::kNotFound;
    return given_up ? Verdict::kGivenUp : Verdict::kAgain;
  };
  std::vector<Verdict> verdicts;
  std::vector<TaskRecord> finished;  // as far as CheckFiles looks at them
  for (const ListedEpisode& episode : episodes) {
    const auto found = by_key.find(KeyOf(episode.ref));
    verdicts.push_back(found == by_key.end() ? Verdict::kNew : judge(*found->second));
    if (verdicts.back() != Verdict::kFinished) continue;
    TaskRecord& record = finished.emplace_back();
    record.directory = std::move(found->second->directory);
    record.files = std::move(found->second->files);
  }
  const std::vector<bool> unchanged =
      CheckFiles(finished, options.out, std::max(1U, std::thread::hardware_concurrency()));

  Decision decision;
  std::size_t next_finished = 0;
  for (std::size_t i = 0; i < episodes.size(); ++i) {
    const EpisodeRef& ref = episodes[i].ref;
    switch (verdicts[i]) {
      case Verdict::kGivenUp:
        ++decision.quarantined;
        continue;
      case Verdict::kNew:
        decision.to_do.push_back(ref);
        continue;
      case Verdict::kAgain:
        break;
      case Verdict::kFinished:
        const std::size_t at = next_finished++;
        if (IsWhole(finished[at], unchanged[at], options)) {
          ++decision.already_done;
          continue;
        }
        ++decision.damaged;
        break;
    }
    decision.to_do.push_back(ref);
    decision.requeue.push_back(KeyOf(ref));
  }
  return decision;
}

/// Reads the raw tree and the run store at the same time: with 100,000 episodes each takes its
/// while.
Result<std::tuple<EpisodeList, std::vector<TaskRecord>>> ListAndLoad(const EpisodeContext& context,
                                                                     RunStore& store) {
  std::future<Result<EpisodeList>> listing = std::async(
      std::launch::async, [&] { return ListEpisodes(context.options, context.annotations); });
  Result<std::vector<TaskRecord>> records = store.LoadAll();
  DF_ASSIGN_OR_RETURN(EpisodeList list, listing.get());
  if (!records) return tl::unexpected(std::move(records).error());
  return std::tuple(std::move(list), *std::move(records));
}

/// Records episodes that no worker is needed for.
Status RecordUndoable(RunStore& store, const EpisodeList& list, const std::string& fingerprint) {
  std::vector<Task> tasks;
  for (const std::string& uuid : list.not_found_uuids)
    tasks.push_back({.key = uuid, .payload = {}});
  for (const EpisodeRef& ref : list.duplicates) {
    tasks.push_back({.key = ref.relative_path, .payload = ref.relative_path});
  }
  DF_RETURN_IF_ERROR(store.AddTasks(tasks));
  const auto finish = [&](const std::string& key, TaskResult result) {
    result.started_unix_ms = result.finished_unix_ms = UnixNowMs();
    return store.Finish(key, result, fingerprint);
  };
  for (std::size_t i = 0; i < list.not_found.size(); ++i) {
    DF_RETURN_IF_ERROR(finish(list.not_found_uuids[i], FailedTask(list.not_found[i])));
  }
  for (const EpisodeRef& ref : list.duplicates) {
    const Error error{ErrorKind::kInvalidData,
                      fmt::format("another folder has uuid {} too and comes first", ref.uuid),
                      status::kDuplicate};
    DF_RETURN_IF_ERROR(finish(ref.relative_path, SkippedTask(error)));
  }
  return {};
}

/// Says on stderr how the run goes.
class RunReporter {
 public:
  RunReporter(const RunDisplay& display, const ProgressCounts& at_start)
      : verbose_(display.verbose),
        counts_(at_start),
        progress_(std::cerr, Options(display), at_start) {}

  void Finished(const Task& task, const TaskResult& result) {
    const bool failed = result.state == TaskState::kQuarantined;
    ++(failed ? counts_.failed : counts_.ok);
    if (failed) {
      Say(fmt::format(
          "quarantined {}: {}: {}", task.key, result.error->status, result.error->message));
    } else if (verbose_) {
      Say(fmt::format("done {}: {}",
                      task.key,
                      FormatDuration(std::chrono::milliseconds(result.finished_unix_ms -
                                                               result.started_unix_ms))));
    }
    progress_.Update(counts_);
  }
  void AttemptFailed(const Task& task, const TaskResult& result) {
    Say(fmt::format("attempt {} at {} failed, trying again: {}",
                    result.attempt,
                    task.key,
                    result.error->message));
  }
  void Output(const WorkerContext& worker, std::string_view line) {
    Say(fmt::format("worker {}: {}", worker.worker, line));
  }
  void Tick() { progress_.Update(counts_); }
  void End() { progress_.Finish(counts_); }

 private:
  static ProgressOptions Options(const RunDisplay& display) {
    ProgressOptions options = ProgressOptionsFor(STDERR_FILENO);
    if (display.quiet) options.style = ProgressOptions::Style::kQuiet;
    return options;
  }
  void Say(const std::string& line) {
    progress_.Clear();
    std::cerr << line << '\n';
  }

  bool verbose_;
  ProgressCounts counts_;
  Progress progress_;
};

}  // namespace

RunSummary SummarizeRecords(std::span<const TaskRecord> records) {
  RunSummary summary;
  summary.stages = SummarizeStages(records);
  for (const TaskRecord& record : records) {
    switch (record.state) {
      case TaskState::kPending:
        ++summary.store.pending;
        break;
      case TaskState::kRunning:
        ++summary.store.running;
        break;
      case TaskState::kDone:
        ++summary.store.done;
        break;
      case TaskState::kSkipped:
        ++summary.store.skipped;
        break;
      case TaskState::kQuarantined:
        ++summary.store.quarantined;
        ++summary.failures[record.status.empty() ? "failed" : record.status];
        ++summary.failures_by_stage[record.failed_stage.empty() ? "-" : record.failed_stage];
        break;
    }
  }
  return summary;
}

Result<RunPlan> PlanMetadataRun(const EpisodeContext& context) {
  RunPlan plan;
  std::vector<TaskRecord> records;
  if (Result<RunStore> store = RunStore::OpenReadOnly(context.options.RunDir())) {
    DF_ASSIGN_OR_RETURN(std::tie(plan.list, records), ListAndLoad(context, *store));
  } else if (store.error().kind == ErrorKind::kNotFound) {
    DF_ASSIGN_OR_RETURN(plan.list, ListEpisodes(context.options, context.annotations));
  } else {
    return tl::unexpected(std::move(store).error());
  }
  const Decision decision = Decide(context, plan.list.episodes, std::move(records));
  plan.already_done = decision.already_done;
  plan.quarantined = decision.quarantined;
  plan.to_do = decision.to_do.size();
  return plan;
}

Result<RunSummary> RunMetadata(const EpisodeContext& context, const RunDisplay& display) {
  const auto start = std::chrono::steady_clock::now();
  const MetadataOptions& options = context.options;
  EpisodeList list;
  std::vector<TaskRecord> known;
  // A selection without episodes must not leave a new run directory behind.
  const bool is_new = !fs::exists(options.RunDir());
  if (is_new) {
    DF_ASSIGN_OR_RETURN(list, ListEpisodes(options, context.annotations));
  }
  DF_ASSIGN_OR_RETURN(const RunLock lock, RunLock::Acquire(options.RunDir()));
  DF_ASSIGN_OR_RETURN(RunStore store, RunStore::Open(options.RunDir()));
  DF_ASSIGN_OR_RETURN(const RunPaths paths, PreparePaths(options));
  DF_RETURN_IF_ERROR(store.ResetRunning());
  if (!is_new) {
    DF_ASSIGN_OR_RETURN(std::tie(list, known), ListAndLoad(context, store));
  }
  const Decision decision = Decide(context, list.episodes, std::move(known));
  std::vector<Task> tasks;
  for (const EpisodeRef& ref : decision.to_do) tasks.push_back(TaskOf(ref));
  DF_RETURN_IF_ERROR(store.AddTasks(tasks));
  DF_RETURN_IF_ERROR(store.Requeue(decision.requeue));
  DF_RETURN_IF_ERROR(RecordUndoable(store, list, context.config_json));

  RunSummary summary;
  std::uint64_t output_bytes = 0;
  std::size_t done = 0;
  std::size_t quarantined = list.not_found.size();
  RunReporter reporter(display,
                       {.total = static_cast<std::int64_t>(list.episodes.size()),
                        .ok = static_cast<std::int64_t>(decision.already_done),
                        .failed = static_cast<std::int64_t>(decision.quarantined)});

  std::size_t next = 0;
  PoolHandlers handlers;
  handlers.next = [&]() -> Result<std::optional<Task>> {
    if (next == tasks.size()) return std::nullopt;
    return tasks[next++];
  };
  handlers.on_started = [&](const Task& task, const WorkerContext& worker) {
    return store.MarkRunning(task.key, worker.worker);
  };
  handlers.on_finished = [&](const Task& task, const TaskResult& result) -> Status {
    DF_RETURN_IF_ERROR(store.Finish(task.key, result, context.config_json));
    ++(result.state == TaskState::kQuarantined ? quarantined : done);
    output_bytes += result.output_bytes;
    reporter.Finished(task, result);
    return {};
  };
  handlers.on_attempt_failed = [&](const Task& task, const TaskResult& result) -> Status {
    reporter.AttemptFailed(task, result);
    return {};
  };
  handlers.on_dropped = [&](const Task& task, const Error& error) {
    return store.Release(task.key, error);
  };
  handlers.on_output = [&](const WorkerContext& worker, std::string_view line) {
    reporter.Output(worker, line);
  };
  handlers.tick = [&] { reporter.Tick(); };

  const WorkerPoolOptions pool_options{
      .workers = options.workers,
      .task_timeout =
          std::chrono::milliseconds(static_cast<std::int64_t>(options.episode_timeout_s * 1000))};
  WorkerPool pool(pool_options, [&](const Task& task, const WorkerContext& worker) {
    return DoEpisode(context, paths, task, worker);
  });
  const Status ran = pool.Run(handlers);
  reporter.End();

  DF_RETURN_IF_ERROR(RemoveTree(paths.incoming));
  DF_RETURN_IF_ERROR(RemoveTree(paths.scratch));
  DF_ASSIGN_OR_RETURN(const std::vector<TaskRecord> records, store.LoadAll());
  summary = SummarizeRecords(records);
  summary.stopped = ran;
  if (const Status reported = WriteReports(records, paths.run_dir, kNoun); !reported && ran) {
    summary.stopped = reported;
  }
  summary.run_dir = paths.run_dir.string();
  summary.selected = list.episodes.size() + list.not_found.size();
  summary.already_done = decision.already_done;
  summary.damaged = decision.damaged;
  summary.done = done;
  summary.quarantined = quarantined;
  summary.output_bytes = output_bytes;
  summary.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return summary;
}

}  // namespace droidflow

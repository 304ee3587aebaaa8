#include "droidflow/pipeline/episode_run.h"

#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/episode/status.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/jobs/reports.h"
#include "droidflow/jobs/run_lock.h"
#include "droidflow/jobs/worker_pool.h"
#include "droidflow/pipeline/dataset_index.h"
#include "droidflow/pipeline/delivery.h"
#include "droidflow/pipeline/disk_budget.h"
#include "droidflow/pipeline/episode_depth.h"
#include "droidflow/pipeline/gpus.h"
#include "droidflow/pipeline/hub_targets.h"
#include "droidflow/pipeline/raw_roots.h"
#include "droidflow/pipeline/run_board.h"
#include "droidflow/pipeline/run_fetches.h"
#include "droidflow/pipeline/run_resources.h"
#include "droidflow/pipeline/run_uploads.h"
#include "droidflow/pipeline/verify.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <iostream>
#include <optional>
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

std::string KeyOf(const EpisodeRef& ref) { return ref.uuid.empty() ? ref.relative_path : ref.uuid; }

Task TaskOf(const EpisodeRef& ref) { return {.key = KeyOf(ref), .payload = ref.relative_path}; }

/// One process of a run.
class EpisodeWorker {
 public:
  EpisodeWorker(const EpisodeContext& context,
                const RunResources& resources,
                const Delivery& delivery,
                RunBoard& board)
      : context_(context), resources_(resources), delivery_(delivery), board_(board) {}

  /// Once in each process.
  Status SetUp(const WorkerContext& worker) {
    if (context_.options.pipeline != Pipeline::kFull) return {};
    gpu_ = GpuOfWorker(worker.worker, std::ssize(resources_.gpus), board_);
    DepthOptions options = resources_.depth;
    if (gpu_) {
      SeeOnlyGpu(resources_.gpus[static_cast<std::size_t>(*gpu_)]);
    } else if (resources_.UsesGpus()) {
      options = OnProcessors(options);
    }
    depth_.emplace(std::move(options), context_.options.full.camera_jobs, &board_.depth);
    return {};
  }

  /// One attempt at one episode.
  TaskResult Do(const Task& task, const WorkerContext& worker) {
    const fs::path scratch = delivery_.ScratchOf(worker.worker);
    TaskResult result;
    std::vector<StageTime> stages;
    std::string failed_stage;
    std::string depth_status;
    const auto attempt = [&]() -> Result<TaskResult> {
      DF_ASSIGN_OR_RETURN(EpisodeRef ref, EpisodeRefFromPath(task.payload));
      ref.root = FindRoot(context_.options, ref.relative_path);
      DF_RETURN_IF_ERROR(RemoveTree(scratch));
      DF_RETURN_IF_ERROR(MakeDirectories(scratch));
      ProcessedEpisode processed =
          ProcessEpisode(context_, ref, Products::kAll, scratch, DepthMaker());
      stages = std::move(processed.stages);
      failed_stage = std::move(processed.failed_stage);
      depth_status = std::move(processed.depth_status);
      DF_RETURN_IF_ERROR(processed.status);
      failed_stage = "deliver";
      const Clock::time_point start = Clock::now();
      DF_ASSIGN_OR_RETURN(TaskResult delivered, delivery_.Deliver(worker.worker, ref));
      const std::chrono::duration<double, std::milli> duration = Clock::now() - start;
      stages.push_back({failed_stage, duration.count()});
      failed_stage.clear();
      return delivered;
    };
    Result<TaskResult> attempted = attempt();
    if (attempted) {
      result = *std::move(attempted);
      result.status = std::move(depth_status);
    } else {
      result = FailedTask(std::move(attempted).error());
      // What is left would take space that may be what was missing. The next attempt clears it too.
      if (const Status removed = RemoveTree(scratch); !removed) {
        result.error->message += fmt::format(" (and {})", removed.error().message);
      }
    }
    result.stages = std::move(stages);
    result.failed_stage = std::move(failed_stage);
    // A new process may have another GPU.
    result.leave = gpu_ && board_.IsOut(*gpu_);
    return result;
  }

 private:
  using Clock = std::chrono::steady_clock;

  static DepthOptions OnProcessors(DepthOptions options) {
    options.backend = {.kind = DepthBackend::Kind::kMatcher, .matcher = MatcherBackend::kCpu};
    return options;
  }

  MakeDepth DepthMaker() {
    if (!depth_) return {};
    return [this](const EpisodeData& episode, const fs::path& directory) {
      return WriteDepth(episode, directory);
    };
  }

  /// An episode that its GPU fails at is done again, once, by the processor: to the same bits.
  Result<std::vector<CameraDepth>> WriteDepth(const EpisodeData& episode,
                                              const fs::path& directory) {
    const std::vector<std::string>& cameras = context_.options.full.cameras;
    Result<std::vector<CameraDepth>> depth = depth_->Write(context_, episode, cameras, directory);
    if (depth && gpu_) board_.CountSuccess(*gpu_);
    if (depth || !gpu_ || !IsOfTheGpu(depth.error())) return depth;
    const bool is_out = board_.CountFailure(*gpu_);
    fmt::print(
        "{}: on GPU {}: {}; again without it{}\n",
        episode.ref.relative_path,
        resources_.gpus[static_cast<std::size_t>(*gpu_)],
        depth.error().message,
        is_out ? fmt::format(" ({} in a row: it is left out from now on)", kMostGpuFailures) : "");
    DepthWorker processors(
        OnProcessors(depth_->options()), context_.options.full.camera_jobs, &board_.depth);
    return processors.Write(context_, episode, cameras, directory);
  }

  static bool IsOfTheGpu(const Error& error) {
    return error.status == kGpuMemory || error.status == kGpuFailed;
  }

  const EpisodeContext& context_;
  const RunResources& resources_;
  const Delivery& delivery_;
  RunBoard& board_;
  std::optional<int> gpu_;  ///< of resources_.gpus
  std::optional<DepthWorker> depth_;
};

/// Which of the selected episodes are still to be done, given what earlier runs recorded.
struct Decision {
  std::vector<ListedEpisode> to_do;
  std::vector<std::string> requeue;  ///< keys of those that the store thinks finished
  std::vector<Task> here;            ///< finished, with all their files
  std::vector<Task> in_repository;
  std::size_t already_done = 0;
  std::size_t quarantined = 0;
  std::size_t damaged = 0;
};

bool IsIntact(const TaskRecord& record, bool files_unchanged, const MetadataOptions& options) {
  if (!files_unchanged) return false;
  return !options.deep_check ||
         VerifyEpisode(fs::path(options.out) / record.directory, {.every_depth_frame = false})
             .problems.empty();
}

Result<Decision> Decide(const EpisodeContext& context,
                        const std::vector<ListedEpisode>& episodes,
                        std::vector<TaskRecord> records,
                        RunUploads& uploads) {
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
    record.task = TaskOf(episode.ref);
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
      case Verdict::kAgain: {
        const bool is_wanted = options.recompute || options.hub.overwrite;
        if (is_wanted) break;
        DF_ASSIGN_OR_RETURN(const bool is_there, uploads.IsInRepository(TaskOf(ref)));
        if (!is_there) break;
        decision.in_repository.push_back(TaskOf(ref));
        continue;
      }
      case Verdict::kFinished:
        const std::size_t at = next_finished++;
        const TaskRecord& record = finished[at];
        bool is_done = HasLeftTheQueue(record.directory);
        if (!is_done && IsIntact(record, unchanged[at], options)) {
          is_done = true;
          decision.here.push_back(record.task);
        }
        if (!is_done) {
          DF_ASSIGN_OR_RETURN(is_done, uploads.IsUploaded(record));
        }
        if (is_done) {
          ++decision.already_done;
          continue;
        }
        ++decision.damaged;
        break;
    }
    decision.to_do.push_back(episodes[i]);
    if (verdicts[i] != Verdict::kNew) decision.requeue.push_back(KeyOf(ref));
  }
  return decision;
}

/// Reads the raw tree and the run store at the same time: with 100,000 episodes each takes its
/// while.
Result<std::tuple<EpisodeList, std::vector<TaskRecord>>> ListAndLoad(const EpisodeContext& context,
                                                                     RunStore& store,
                                                                     const fs::path& listings) {
  std::future<Result<EpisodeList>> listing = std::async(std::launch::async, [&] {
    return ListEpisodes(context.options, context.annotations, listings);
  });
  Result<std::vector<TaskRecord>> records = store.LoadAll();
  DF_ASSIGN_OR_RETURN(EpisodeList list, listing.get());
  if (!records) return tl::unexpected(std::move(records).error());
  return std::tuple(std::move(list), *std::move(records));
}

/// Lists what a new run is about. The folder of its listings stays only with episodes.
Result<EpisodeList> ListForNewRun(const EpisodeContext& context) {
  const MetadataOptions& options = context.options;
  Result<EpisodeList> list = ListEpisodes(options, context.annotations, ListingsFolder(options));
  if (!list && list.error().kind == ErrorKind::kNotFound) {
    DF_RETURN_IF_ERROR(RemoveTree(ListingsFolder(options)));
    std::error_code ignored;
    fs::remove(options.RunDir(), ignored);
  }
  return list;
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

/// Records episodes that a repository has already.
Status RecordInRepository(RunStore& store,
                          const std::vector<Task>& tasks,
                          const std::string& fingerprint) {
  DF_RETURN_IF_ERROR(store.AddTasks(tasks));
  TaskResult result = SkippedTask(
      {ErrorKind::kInvalidData, "the repository has it already", status::kInRepository});
  result.started_unix_ms = result.finished_unix_ms = UnixNowMs();
  for (const Task& task : tasks) {
    DF_RETURN_IF_ERROR(store.Finish(task.key, result, fingerprint));
  }
  return {};
}

/// The index of what lies in `out` after a run; not where it is one of many at the same time, nor
/// where what is finished goes elsewhere.
Status IndexResults(const MetadataOptions& options, std::span<const TaskRecord> records) {
  const bool stays =
      options.full.batch_dir.empty() && (!options.hub.HasPlace() || options.hub.keep_uploaded);
  const bool is_alone = options.selection.part == RunPart() && options.shared.arriving_dir.empty();
  if (!stays || !is_alone) return {};
  DF_ASSIGN_OR_RETURN(const SplitShares shares, SharesFor(options.out, options.splits));
  std::int64_t last_unix_ms = 0;
  for (const TaskRecord& record : records) {
    last_unix_ms = std::max(last_unix_ms, record.finished_unix_ms);
  }
  if (IsIndexedSince(options.out, shares, last_unix_ms)) return {};
  const Result<IndexedDataset> dataset = WriteDatasetIndex(options.out, shares);
  if (!dataset && dataset.error().kind != ErrorKind::kNotFound) {
    return tl::unexpected(dataset.error());
  }
  return {};
}

/// Says on stderr how the run goes.
class RunReporter {
 public:
  RunReporter(const RunDisplay& display, Pipeline pipeline, const ProgressCounts& at_start)
      : verbose_(display.verbose),
        describes_depth_(pipeline == Pipeline::kFull),
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
  /// How the processes of a run are getting on.
  void Tick(const RunBoard& board, const DiskBudget& budget, RunUploads& uploads) {
    for (const std::string& note : uploads.TakeNotes()) Say(note);
    counts_.more = uploads.Describe();
    if (describes_depth_) {
      const std::string separator = counts_.more.empty() ? "" : ", ";
      counts_.more = DescribeDepth(board.depth, budget) + separator + counts_.more;
    }
    progress_.Update(counts_);
  }
  /// Says when the disk budget stops the run, and when it lets it go on.
  void TellRoom(bool has_room, const DiskBudget& budget) {
    if (has_room == had_room_) return;
    had_room_ = has_room;
    Say(has_room ? "there is room again: going on"
                 : fmt::format("{} wait on disk, {} are allowed: no episode is started until there "
                               "is room again",
                               FormatBytes(budget.use().bytes),
                               FormatBytes(budget.limit_bytes())));
  }
  void Note(const std::string& line) { Say(line); }
  void End() { progress_.Finish(counts_); }

 private:
  std::string DescribeDepth(const DepthCounters& counters, const DiskBudget& budget) const {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started_;
    const auto decode = static_cast<double>(counters.decode_ns);
    const auto match = static_cast<double>(counters.match_ns);
    const auto encode = static_cast<double>(counters.encode_ns);
    const double percent = 100 / std::max(decode + match + encode, 1.0);
    std::string text =
        fmt::format("{:.1f} frames/s (decode {:.0f} %, match {:.0f} %, encode {:.0f} %)",
                    static_cast<double>(counters.frames) / elapsed.count(),
                    decode * percent,
                    match * percent,
                    encode * percent);
    return text + fmt::format(", {} queued, {} of {} on disk",
                              budget.use().episodes,
                              FormatBytes(budget.use().bytes),
                              FormatBytes(budget.limit_bytes()));
  }
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
  bool describes_depth_;
  bool had_room_ = true;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
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

Result<RunPlan> PlanRun(const EpisodeContext& context) {
  RunPlan plan;
  std::vector<TaskRecord> records;
  // Listings that a run has kept serve here too; without one nothing is written.
  std::error_code ignored;
  fs::path listings = ListingsFolder(context.options);
  if (!fs::exists(listings, ignored)) listings.clear();
  if (Result<RunStore> store = RunStore::OpenReadOnly(context.options.RunDir())) {
    DF_ASSIGN_OR_RETURN(std::tie(plan.list, records), ListAndLoad(context, *store, listings));
  } else if (store.error().kind == ErrorKind::kNotFound) {
    DF_ASSIGN_OR_RETURN(plan.list, ListEpisodes(context.options, context.annotations, listings));
  } else {
    return tl::unexpected(std::move(store).error());
  }
  DF_ASSIGN_OR_RETURN(RunUploads uploads, RunUploads::Look(context.options));
  DF_ASSIGN_OR_RETURN(const Decision decision,
                      Decide(context, plan.list.episodes, std::move(records), uploads));
  plan.already_done = decision.already_done;
  plan.quarantined = decision.quarantined;
  plan.to_do = decision.to_do.size();
  for (const ListedEpisode& episode : decision.to_do) plan.fetch_bytes += episode.fetch_bytes;
  return plan;
}

/// --max-staged-gb; nothing: the default.
std::optional<std::uint64_t> MaxStagedBytes(const MetadataOptions& options) {
  if (!options.full.max_staged_gb) return std::nullopt;
  return static_cast<std::uint64_t>(*options.full.max_staged_gb * kGiga);
}

/// For raw data that is fetched: what is allowed for all, or most of what is free.
Result<std::uint64_t> RoomForRawData(const MetadataOptions& options) {
  if (!HasBucket(options.input)) return 0;
  if (const auto limit_bytes = MaxStagedBytes(options)) return *limit_bytes;
  DF_ASSIGN_OR_RETURN(const std::uint64_t free_bytes, FreeBytes(FetchedFolder(options)));
  return free_bytes / 10 * 9;
}

Result<RunSummary> RunEpisodes(const EpisodeContext& context, const RunDisplay& display) {
  const auto start = std::chrono::steady_clock::now();
  const MetadataOptions& options = context.options;
  DF_ASSIGN_OR_RETURN(const RunResources resources, FindRunResources(options));
  EpisodeList list;
  std::vector<TaskRecord> known;
  // A selection without episodes must not leave a new run directory behind.
  const bool is_new = !fs::exists(options.RunDir());
  if (is_new) {
    DF_ASSIGN_OR_RETURN(list, ListForNewRun(context));
  }
  DF_ASSIGN_OR_RETURN(const RunLock lock, RunLock::Acquire(options.RunDir()));
  DF_ASSIGN_OR_RETURN(RunStore store, RunStore::Open(options.RunDir()));
  DF_RETURN_IF_ERROR(SaveChecksums(context.annotation_checksums, options.RunDir()));
  DF_ASSIGN_OR_RETURN(const Delivery delivery, Delivery::Prepare(options));
  DF_ASSIGN_OR_RETURN(const SharedRunBoard board, MakeSharedRunBoard());
  std::vector<fs::path> staged = delivery.StagedFolders();
  // What is uploaded from `out` goes away too.
  if (options.hub.HasPlace() && !options.hub.keep_uploaded) staged.emplace_back(options.out);
  DF_ASSIGN_OR_RETURN(DiskBudget budget, DiskBudget::Make(staged, MaxStagedBytes(options)));
  DF_RETURN_IF_ERROR(store.ResetRunning());
  DF_ASSIGN_OR_RETURN(RunUploads uploads, RunUploads::Start(options));
  if (!is_new) {
    DF_ASSIGN_OR_RETURN(std::tie(list, known),
                        ListAndLoad(context, store, ListingsFolder(options)));
  }
  uploads.WaitForIndex();
  DF_ASSIGN_OR_RETURN(const Decision decision,
                      Decide(context, list.episodes, std::move(known), uploads));
  // A run that was killed, or did not upload, may have left them out.
  DF_RETURN_IF_ERROR(uploads.Offer(decision.here));
  std::vector<Task> tasks;
  std::vector<FetchTask> fetch_tasks;
  for (const ListedEpisode& episode : decision.to_do) {
    tasks.push_back(TaskOf(episode.ref));
    fetch_tasks.push_back({tasks.back(), episode.bucket, episode.fetch_bytes});
  }
  DF_RETURN_IF_ERROR(store.AddTasks(tasks));
  DF_RETURN_IF_ERROR(store.Requeue(decision.requeue));
  DF_RETURN_IF_ERROR(RecordUndoable(store, list, context.config_json));
  DF_RETURN_IF_ERROR(RecordInRepository(store, decision.in_repository, context.config_json));

  RunSummary summary;
  std::uint64_t output_bytes = 0;
  std::size_t done = 0;
  std::size_t quarantined = list.not_found.size();
  RunReporter reporter(
      display,
      options.pipeline,
      {.total = static_cast<std::int64_t>(list.episodes.size()),
       .ok = static_cast<std::int64_t>(decision.already_done + decision.in_repository.size()),
       .failed = static_cast<std::int64_t>(decision.quarantined)});
  for (const std::string& note : resources.notes) reporter.Note(note);
  if (const std::string advice = AdviseOnLayout(list.episodes.size(), options); !advice.empty()) {
    reporter.Note(advice);
  }
  uploads.Begin();

  DF_ASSIGN_OR_RETURN(
      RunFetches fetches,
      RunFetches::Start(
          options, std::move(fetch_tasks), options.fetch.prefetch * resources.workers));
  DF_ASSIGN_OR_RETURN(const std::uint64_t raw_bytes, RoomForRawData(options));
  PoolHandlers handlers;
  handlers.has_next = [&] { return fetches.HasNext(); };
  handlers.next = [&]() -> Result<std::optional<Task>> { return fetches.Next(); };
  handlers.wakes = [&] { return fetches.wakes(); };
  int in_hand = 0;
  handlers.may_start = [&] {
    // Without uploads `out` does not get smaller: then the disk itself is the limit.
    const bool is_emptied = delivery.has_queues() || uploads.is_running();
    const bool has_room = budget.HasRoom(in_hand) || (options.hub.HasPlace() && !is_emptied);
    reporter.TellRoom(has_room, budget);
    return has_room;
  };
  handlers.on_started = [&](const Task& task, const WorkerContext& worker) {
    ++in_hand;
    return store.MarkRunning(task.key, worker.worker);
  };
  handlers.on_finished = [&](const Task& task, const TaskResult& result) -> Status {
    --in_hand;
    fetches.Release(task);
    DF_RETURN_IF_ERROR(store.Finish(task.key, result, context.config_json));
    if (result.state == TaskState::kDone) {
      budget.Delivered(result.output_bytes);
      DF_RETURN_IF_ERROR(uploads.Offer(std::span(&task, 1)));
    }
    ++(result.state == TaskState::kQuarantined ? quarantined : done);
    output_bytes += result.output_bytes;
    reporter.Finished(task, result);
    return {};
  };
  handlers.on_attempt_failed = [&](const Task& task, const TaskResult& result) -> Status {
    --in_hand;
    reporter.AttemptFailed(task, result);
    return {};
  };
  handlers.on_dropped = [&](const Task& task, const Error& error) {
    --in_hand;
    fetches.Release(task);
    return store.Release(task.key, error);
  };
  handlers.on_output = [&](const WorkerContext& worker, std::string_view line) {
    reporter.Output(worker, line);
  };
  const auto tick = [&] { reporter.Tick(*board, budget, uploads); };
  Status recorded;  // of what could not be fetched
  const auto poll = [&] {
    const std::uint64_t staged_bytes = budget.use().bytes;
    fetches.Poll(raw_bytes - std::min(raw_bytes, staged_bytes));
    for (auto& [task, error] : fetches.TakeFailures()) {
      TaskResult result = FailedTask(std::move(error));
      result.failed_stage = "fetch";
      result.started_unix_ms = result.finished_unix_ms = UnixNowMs();
      if (Status kept = store.Finish(task.key, result, context.config_json); !kept && recorded) {
        recorded = std::move(kept);
      }
      ++quarantined;
      reporter.Finished(task, result);
    }
  };
  handlers.tick = [&] {
    poll();
    uploads.Poll();
    tick();
  };

  const WorkerPoolOptions pool_options{
      .workers = resources.workers,
      .task_timeout =
          std::chrono::milliseconds(static_cast<std::int64_t>(options.EpisodeTimeoutS() * 1000)),
      .stop_grace =
          std::chrono::milliseconds(static_cast<std::int64_t>(options.shared.stop_grace_s * 1000))};
  EpisodeWorker episode_worker(context, resources, delivery, *board);
  WorkerPool pool(
      pool_options,
      [&](const Task& task, const WorkerContext& worker) {
        return episode_worker.Do(task, worker);
      },
      [&](const WorkerContext& worker) { return episode_worker.SetUp(worker); });
  poll();
  Status ran = pool.Run(handlers);
  if (ran) ran = recorded ? fetches.Outcome() : recorded;
  fetches.Stop();
  if (ran || ran.error().kind == ErrorKind::kNoSpace) {
    uploads.Finish(tick);
  } else {
    uploads.Stop();
  }
  tick();
  reporter.End();

  DF_RETURN_IF_ERROR(delivery.CleanUp());
  DF_ASSIGN_OR_RETURN(const std::vector<TaskRecord> records, store.LoadAll());
  summary = SummarizeRecords(records);
  summary.stopped = ran;
  summary.uploads = uploads.Outcome();
  if (ran && StopSignal() != 0 && !summary.uploads) {
    summary.stopped =
        Fail(ErrorKind::kCancelled, "asked to stop: {}", summary.uploads.error().message);
  }
  if (const Status reported = WriteReports(records, options.RunDir(), kNoun); !reported && ran) {
    summary.stopped = reported;
  }
  if (const Status indexed = IndexResults(options, records); !indexed && ran && summary.stopped) {
    summary.stopped = indexed;
  }
  summary.run_dir = options.RunDir().string();
  summary.selected = list.episodes.size() + list.not_found.size();
  summary.already_done = decision.already_done;
  summary.in_repository = decision.in_repository.size();
  summary.damaged = decision.damaged;
  summary.done = done;
  summary.quarantined = quarantined;
  summary.output_bytes = output_bytes;
  summary.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return summary;
}

}  // namespace droidflow

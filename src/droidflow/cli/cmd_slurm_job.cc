#include "droidflow/cli/commands.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/environment.h"
#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/jobs/reports.h"
#include "droidflow/jobs/slurm_run.h"
#include "droidflow/pipeline/build_info.h"
#include "droidflow/pipeline/shard_run.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// A task that is told to stop asks for another turn so often at most.
constexpr int kMostRestarts = 20;
constexpr SlurmPatience kBrief{.timeout = std::chrono::milliseconds(10'000), .attempts = 2};

struct JobCommandLine {
  std::string run_dir;
  int attempt = 0;
  int offset = 0;
};

std::string Variable(const char* name, const std::string& otherwise) {
  return EnvironmentVariable(name).value_or(otherwise);
}

int NumberIn(const char* name, int otherwise) {
  const std::string text = Variable(name, "");
  int number = otherwise;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() ? number : otherwise;
}

std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

/// What Slurm says of the job that this process is.
struct OwnJob {
  int task = NumberIn("SLURM_ARRAY_TASK_ID", -1);
  std::string id = Variable("SLURM_ARRAY_JOB_ID", Variable("SLURM_JOB_ID", "0"));
  int restarts = NumberIn("SLURM_RESTART_COUNT", 0);
  std::string node = Variable("SLURMD_NODENAME", HostName());

  [[nodiscard]] std::string Name() const { return task < 0 ? id : fmt::format("{}_{}", id, task); }
};

/// Asks for another turn, where it was the time limit that ended this one and not a user.
/// @return what came of it, for the log.
std::string AskForAnotherTurn(const SlurmRun& run, int attempt, const OwnJob& job) {
  if (run.IsCancelled(attempt)) return "the run was cancelled";
  if (job.restarts >= kMostRestarts) {
    return fmt::format("it had {} turns", job.restarts + 1);
  }
  Slurm slurm(kBrief);
  const Result<std::string> state = slurm.StateOf(job.Name());
  if (!state) return state.error().message;
  if (*state != "RUNNING") return "Slurm has it as " + *state;
  const Status requeued = slurm.Requeue(job.Name());
  return requeued ? "it waits for another turn" : requeued.error().message;
}

Result<MetadataOptions> ReadSettings(const SlurmRun& run) {
  const SlurmPlan& plan = run.plan();
  if (plan.version != build_info::kVersion) {
    return Fail(ErrorKind::kUsage,
                "the run was made by droidflow {}, this is {}",
                plan.version,
                build_info::kVersion);
  }
  std::error_code error;
  fs::current_path(plan.directory, error);
  if (error) return FailErrno(error.value(), "cannot go to " + plan.directory);
  MetadataOptions options;
  DF_RETURN_IF_ERROR(LoadConfig(run.SettingsPath(), options));
  options.pipeline = plan.command == "full" ? Pipeline::kFull : Pipeline::kMetadata;
  return options;
}

bool LeavesFilesHere(const HubOptions& hub) { return !hub.HasPlace() || hub.keep_uploaded; }

/// A folder on a local disk that is nobody else's, gone at the end. Those that killed processes of
/// this machine have left are cleared first.
class Scratch {
 public:
  static Result<Scratch> Make(const fs::path& parent, const std::string& run, const OwnJob& job) {
    const std::string prefix = fmt::format("{}-{}-", run, HostName());
    std::error_code ignored;
    std::vector<fs::path> abandoned;
    for (fs::directory_iterator entry(parent, ignored), end; !ignored && entry != end;
         entry.increment(ignored)) {
      const std::string name = entry->path().filename().string();
      if (!name.starts_with(prefix)) continue;
      int pid = 0;
      std::from_chars(name.data() + prefix.size(), name.data() + name.size(), pid);
      if (pid > 0 && kill(pid, 0) != 0 && errno == ESRCH) abandoned.push_back(entry->path());
    }
    for (const fs::path& folder : abandoned) fs::remove_all(folder, ignored);
    fs::path path = parent / fmt::format("{}{}-{}", prefix, getpid(), job.Name());
    DF_RETURN_IF_ERROR(RemoveTree(path));
    DF_RETURN_IF_ERROR(MakeDirectories(path));
    return Scratch(std::move(path));
  }
  Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  Scratch& operator=(Scratch&&) = delete;
  ~Scratch() {
    if (!path_.empty()) (void)RemoveTree(path_);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  explicit Scratch(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

fs::path ScratchParent(const MetadataOptions& options) {
  if (!options.scratch_dir.empty()) return options.scratch_dir;
  return Variable("SLURM_TMPDIR", Variable("TMPDIR", "/tmp"));
}

// ---------------------------------------------------------------- task

Result<std::string> DoShard(const SlurmRun& run,
                            const OwnJob& job,
                            int shard,
                            bool is_again,
                            std::int64_t started_unix_ms) {
  DF_ASSIGN_OR_RETURN(MetadataOptions options, ReadSettings(run));
  DF_ASSIGN_OR_RETURN(const auto before, run.ReadResult(shard, /*with_items=*/true));
  bool is_damaged = false;
  if (before) {
    is_damaged = !MissingFiles(*before, options.out, !LeavesFilesHere(options.hub)).empty();
    if (!is_damaged && (!is_again || before->counts.quarantined == 0)) return "it is done already";
    options.recompute = options.recompute || is_damaged;
  }
  DF_ASSIGN_OR_RETURN(const std::vector<std::string> items, run.ItemsOf(shard));
  DF_ASSIGN_OR_RETURN(const Scratch scratch,
                      Scratch::Make(ScratchParent(options), run.plan().name, job));
  const ShardPlaces places = {
      .scratch = scratch.path(),
      .arriving = run.ShardDir(shard) /
                  fmt::format(".tmp-{}-{}-{}-{}", job.Name(), job.restarts, HostName(), getpid()),
      .indexes = run.dir() / "index"};
  ShardResult result{.shard = shard, .maker = {}, .counts = {}, .items = {}};
  Result<std::vector<ShardItem>> done = RunShard(options, items, places);
  if (!done) {
    (void)RemoveTree(places.arriving);
    return tl::unexpected(std::move(done).error());
  }
  result.items = *std::move(done);
  for (const ShardItem& item : result.items) {
    switch (item.record.state) {
      case TaskState::kDone:
        ++result.counts.done;
        break;
      case TaskState::kSkipped:
        ++result.counts.skipped;
        break;
      case TaskState::kQuarantined:
        ++result.counts.quarantined;
        break;
      case TaskState::kPending:
      case TaskState::kRunning:
        return Fail(ErrorKind::kInternal, "{} is not finished", item.record.task.key);
    }
  }
  result.maker = {.job = job.Name(),
                  .restarts = job.restarts,
                  .node = job.node,
                  .started_unix_ms = started_unix_ms,
                  .finished_unix_ms = UnixNowMs()};
  DF_ASSIGN_OR_RETURN(const bool is_first,
                      run.PublishResult(result, places.arriving, is_again || is_damaged));
  DF_RETURN_IF_ERROR(RemoveTree(places.arriving));
  return fmt::format("{} done, {} quarantined, {} skipped{}",
                     result.counts.done,
                     result.counts.quarantined,
                     result.counts.skipped,
                     is_first ? "" : "; another process was first");
}

int ShardExitCode(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kCancelled:
      return kShardInterrupted;
    case ErrorKind::kInvalidData:
    case ErrorKind::kNotFound:
    case ErrorKind::kUsage:
    case ErrorKind::kUnsupported:
      return kShardBad;
    case ErrorKind::kTransient:
    case ErrorKind::kBusy:
    case ErrorKind::kNoSpace:
    case ErrorKind::kInternal:
      return kExitFailed;
  }
  return kExitFailed;
}

int RunTask(const JobCommandLine& command) {
  const std::int64_t started_unix_ms = UnixNowMs();
  InstallStopHandlers();
  const OwnJob job;
  const Result<SlurmRun> run = SlurmRun::Open(command.run_dir);
  if (!run) return Report(run.error());
  const Result<SlurmAttempt> attempt = run->ReadAttempt(command.attempt);
  if (!attempt) return Report(attempt.error());
  const int line = command.offset + job.task;
  if (job.task < 0 || line >= std::ssize(attempt->shards)) {
    return Report({ErrorKind::kUsage,
                   fmt::format("want a SLURM_ARRAY_TASK_ID below {}, have {}",
                               std::ssize(attempt->shards) - command.offset,
                               job.task)});
  }
  const int shard = attempt->shards[static_cast<std::size_t>(line)];
  const bool is_again = attempt->is_again[static_cast<std::size_t>(line)];
  const std::string what = fmt::format("task {} as job {} on {}", shard, job.Name(), job.node);
  const Result<std::string> done = DoShard(*run, job, shard, is_again, started_unix_ms);
  if (done) {
    fmt::print(stderr, "{}: {}\n", what, *done);
    return kExitDone;
  }
  ShardFailure failure{.exit_code = ShardExitCode(done.error()),
                       .message = done.error().message,
                       .maker = {.job = job.Name(),
                                 .restarts = job.restarts,
                                 .node = job.node,
                                 .started_unix_ms = started_unix_ms,
                                 .finished_unix_ms = UnixNowMs()}};
  if (const Status written = run->WriteFailure(attempt->number, shard, failure); !written) {
    fmt::print(stderr, "{}: {}\n", what, written.error().message);
  }
  fmt::print(stderr, "{}: {}\n", what, failure.message);
  if (failure.exit_code == kShardInterrupted) {
    fmt::print(stderr, "{}: {}\n", what, AskForAnotherTurn(*run, attempt->number, job));
  }
  return failure.exit_code;
}

// ---------------------------------------------------------------- merge and upload

std::vector<std::string> UploadWords(const SlurmRun& run,
                                     const MetadataOptions& options,
                                     const fs::path& queue_dir) {
  std::vector<std::string> words = {run.plan().program,
                                    "upload",
                                    options.out,
                                    "--queue-dir",
                                    queue_dir.string(),
                                    "--config",
                                    run.SettingsPath().string()};
  if (options.pipeline == Pipeline::kMetadata) words.emplace_back("--of-metadata");
  return words;
}

/// Runs this program to its end, or until `is_over`: then it is told to stop.
template <typename IsOver>
Result<int> RunSelf(const std::vector<std::string>& words, IsOver is_over) {
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) return FailErrno(errno, "cannot start " + words[0]);
  if (child == 0) {
    execv(arguments[0], arguments.data());
    _exit(127);
  }
  bool is_told = false;
  for (;;) {
    int status = 0;
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (!is_told && (StopSignal() != 0 || is_over())) {
      kill(child, SIGTERM);
      is_told = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

/// Uploads what is there, once; or until an attempt is merged, and then what is left.
int UploadAll(const SlurmRun& run, const MetadataOptions& options, int attempt, bool watch) {
  const OwnJob job;
  const Result<Scratch> scratch = Scratch::Make(ScratchParent(options), run.plan().name, job);
  if (!scratch) return Report(scratch.error());
  std::vector<std::string> words = UploadWords(run, options, scratch->path() / "queue");
  Result<int> code = kExitDone;
  if (watch) {
    const fs::path merged = run.AttemptDir(attempt) / "merge.json";
    std::vector<std::string> watching = words;
    watching.emplace_back("--watch");
    code = RunSelf(watching, [&] {
      std::error_code ignored;
      return fs::exists(merged, ignored);
    });
    if (!code) return Report(code.error());
  }
  if (StopSignal() == 0) code = RunSelf(words, [] { return false; });
  if (!code) return Report(code.error());
  if (StopSignal() == 0) return *code;
  fmt::print(stderr, "upload: {}\n", AskForAnotherTurn(run, attempt, job));
  return kShardInterrupted;
}

Result<std::vector<TaskRecord>> ReadUndoable(const fs::path& run_dir) {
  const fs::path path = run_dir / "undoable.json";
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  std::vector<TaskRecord> records;
  try {
    for (const Json& json : Json::parse(text)) {
      TaskRecord& record = records.emplace_back();
      record.task.key = json.at("key");
      record.state =
          ParseTaskState(json.at("state").get<std::string>()).value_or(TaskState::kSkipped);
      record.status = json.at("status");
      record.message = json.at("message");
    }
  } catch (const Json::exception& error) {
    return Fail(ErrorKind::kInvalidData, "{}: {}", error.what(), path.string());
  }
  return records;
}

/// What of a run is finished, by all of its files.
struct Merged {
  std::vector<int> missing;         ///< shards that are not done
  std::vector<int> damaged;         ///< shards whose files are not all there
  std::vector<std::string> files;   ///< of those
  std::vector<TaskRecord> records;  ///< of the others' items, and of what cannot be done
  StateCounts counts;

  [[nodiscard]] bool IsComplete() const { return missing.empty() && damaged.empty(); }
};

Result<Merged> CheckShards(const SlurmRun& run, const MetadataOptions& options) {
  Merged merged;
  DF_ASSIGN_OR_RETURN(merged.records, ReadUndoable(run.dir()));
  for (int shard = 0; shard < run.plan().Shards(); ++shard) {
    DF_ASSIGN_OR_RETURN(auto result, run.ReadResult(shard, /*with_items=*/true));
    if (!result) {
      merged.missing.push_back(shard);
      continue;
    }
    const std::vector<std::string> files =
        MissingFiles(*result, options.out, !LeavesFilesHere(options.hub));
    if (!files.empty()) merged.damaged.push_back(shard);
    merged.files.insert(merged.files.end(), files.begin(), files.end());
    for (ShardItem& item : result->items) merged.records.push_back(std::move(item.record));
  }
  for (const TaskRecord& record : merged.records) {
    merged.counts.done += record.state == TaskState::kDone ? 1 : 0;
    merged.counts.quarantined += record.state == TaskState::kQuarantined ? 1 : 0;
    merged.counts.skipped += record.state == TaskState::kSkipped ? 1 : 0;
  }
  return merged;
}

/// Removes what killed tasks have left of unfinished episodes.
void RemoveLeftovers(const SlurmRun& run) {
  for (int shard = 0; shard < run.plan().Shards(); ++shard) {
    std::error_code ignored;
    std::vector<fs::path> leftovers;
    for (fs::directory_iterator entry(run.ShardDir(shard), ignored), end; !ignored && entry != end;
         entry.increment(ignored)) {
      if (entry->path().filename().string().starts_with(".tmp-"))
        leftovers.push_back(entry->path());
    }
    for (const fs::path& folder : leftovers) fs::remove_all(folder, ignored);
  }
}

int RunMerge(const JobCommandLine& command) {
  InstallStopHandlers();
  const Result<SlurmRun> run = SlurmRun::Open(command.run_dir);
  if (!run) return Report(run.error());
  MetadataOptions options;
  Merged merged;
  const auto merge = [&]() -> Status {
    DF_ASSIGN_OR_RETURN(options, ReadSettings(*run));
    DF_ASSIGN_OR_RETURN(merged, CheckShards(*run, options));
    DF_RETURN_IF_ERROR(WriteReports(merged.records, run->dir(), "episode"));
    if (merged.IsComplete()) RemoveLeftovers(*run);
    const Json json = {{"attempt", command.attempt},
                       {"complete", merged.IsComplete()},
                       {"missing", merged.missing},
                       {"damaged", merged.damaged},
                       {"files", merged.files},
                       {"episodes",
                        {{"done", merged.counts.done},
                         {"quarantined", merged.counts.quarantined},
                         {"skipped", merged.counts.skipped}}}};
    const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
    DF_RETURN_IF_ERROR(WriteFileAtomically(run->dir() / "merge.json", text));
    // The uploading job waits for it.
    return WriteFileAtomically(run->AttemptDir(command.attempt) / "merge.json", text);
  };
  if (const Status status = merge(); !status) return Report(status.error());
  fmt::print(stderr,
             "{} done, {} quarantined, {} skipped\n",
             Counted(merged.counts.done, "episode"),
             merged.counts.quarantined,
             merged.counts.skipped);
  if (!merged.IsComplete()) {
    fmt::print(stderr,
               "droidflow: tasks that are not done: {}; whose files are not all there: {}\n",
               fmt::join(merged.missing, " "),
               fmt::join(merged.damaged, " "));
    if (!run->plan().merge_partial) return kShardBad;
  }
  int code = kExitDone;
  if (options.hub.HasPlace() && !run->plan().upload_task) {
    code = UploadAll(*run, options, command.attempt, /*watch=*/false);
  }
  return merged.IsComplete() || code != kExitDone ? code : kShardBad;
}

int RunUploadJob(const JobCommandLine& command) {
  InstallStopHandlers();
  const Result<SlurmRun> run = SlurmRun::Open(command.run_dir);
  if (!run) return Report(run.error());
  const Result<MetadataOptions> options = ReadSettings(*run);
  if (!options) return Report(options.error());
  return UploadAll(*run, *options, command.attempt, /*watch=*/true);
}

}  // namespace

void AddSlurmJobCommands(CLI::App& slurm, int& exit_code) {
  const std::pair<const char*, int (*)(const JobCommandLine&)> verbs[] = {
      {"task", RunTask}, {"merge", RunMerge}, {"upload", RunUploadJob}};
  for (const auto& [name, run] : verbs) {
    auto command = std::make_shared<JobCommandLine>();
    CLI::App* const verb = slurm.add_subcommand(name, "What a job of a run calls")->group("");
    verb->add_option("--run-dir", command->run_dir)->required();
    verb->add_option("--attempt", command->attempt)->required();
    verb->add_option("--offset", command->offset);
    verb->callback([command, run = run, &exit_code] { exit_code = run(*command); });
  }
}

}  // namespace droidflow

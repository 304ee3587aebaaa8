#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/cli/run_command.h"
#include "droidflow/core/files.h"
#include "droidflow/core/sha256.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/jobs/slurm_run.h"
#include "droidflow/pipeline/build_info.h"
#include "droidflow/pipeline/provenance.h"
#include "droidflow/pipeline/shard_run.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <sys/stat.h>
#include <system_error>
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

/// For commands that a user waits for.
constexpr SlurmPatience kSoon{.timeout = std::chrono::milliseconds(15'000), .attempts = 1};
constexpr std::size_t kMostLines = 20;

struct SubmitCommandLine {
  std::string run_dir;
  std::string partition;
  std::string time;
  int cpus = 1;
  std::string memory;
  std::string gres;
  int max_parallel = 0;
  int episodes_per_task = 32;
  std::vector<std::string> sbatch;
  std::string scratch_dir;
  bool upload_task = false;
  bool merge_partial = false;
  bool dry_run = false;
  bool json = false;
  std::vector<std::string> words;
};

/// Errors of Slurm itself have an exit code of their own.
int ReportSlurm(const Error& error) {
  const int code = Report(error);
  const bool is_slurm =
      error.kind == ErrorKind::kTransient || error.kind == ErrorKind::kUnsupported;
  return is_slurm ? kExitNoSlurm : code;
}

std::string HashOf(std::string_view text) {
  Sha256 sha;
  sha.Add(std::as_bytes(std::span(text)));
  return sha.Finish();
}

Result<std::string> OwnPath() {
  std::error_code error;
  const fs::path path = fs::read_symlink("/proc/self/exe", error);
  if (error) return FailErrno(error.value(), "cannot tell where droidflow lies");
  return path.string();
}

/// Finished episodes are renamed from the one into the other.
Status RequireOneFileSystem(const fs::path& run_dir, const fs::path& out) {
  struct stat of_run = {};
  struct stat of_out = {};
  DF_RETURN_IF_ERROR(MakeDirectories(run_dir));
  DF_RETURN_IF_ERROR(MakeDirectories(out));
  if (stat(run_dir.c_str(), &of_run) == 0 && stat(out.c_str(), &of_out) == 0 &&
      of_run.st_dev == of_out.st_dev) {
    return {};
  }
  return Fail(ErrorKind::kUsage,
              "want --run-dir and --out on one file system, that all machines see: {} and {}",
              run_dir.string(),
              out.string());
}

struct Submission {
  SlurmPlan plan;
  ShardedEpisodes episodes;
  std::string settings;
};

Result<Submission> PlanSubmission(const SubmitCommandLine& command, RunRequest request) {
  if (!request.options.run_dir.empty()) {
    return Fail(ErrorKind::kUsage, "give --run-dir before --, not behind it");
  }
  MetadataOptions options =
      OptionsOfTask(std::move(request.options), command.cpus, !command.gres.empty());
  if (!command.scratch_dir.empty()) options.scratch_dir = command.scratch_dir;
  DF_ASSIGN_OR_RETURN(ShardedEpisodes episodes, PlanShards(options));
  if (episodes.items.empty()) {
    return Fail(ErrorKind::kNotFound, "none of the episodes asked for is there");
  }
  std::string settings = FormatConfig(options);
  std::string all = request.command + '\n' + settings;
  for (const std::string& item : episodes.items) all += item + '\n';

  SlurmPlan plan;
  plan.hash = HashOf(all);
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  plan.name =
      "droidflow-" + HashOf(fmt::format("{} {} {}", command.run_dir, now, getpid())).substr(0, 12);
  plan.version = build_info::kVersion;
  plan.command = request.command;
  DF_ASSIGN_OR_RETURN(plan.program, OwnPath());
  plan.directory = fs::current_path().string();
  plan.items = static_cast<int>(episodes.items.size());
  plan.items_per_shard = command.episodes_per_task;
  plan.max_parallel = command.max_parallel;
  plan.upload_task = command.upload_task;
  plan.merge_partial = command.merge_partial;
  const auto add = [](std::vector<std::string>& words, const char* flag, const std::string& text) {
    if (!text.empty()) words.push_back(fmt::format("--{}={}", flag, text));
  };
  add(plan.sbatch, "partition", command.partition);
  add(plan.sbatch, "time", command.time);
  plan.sbatch.insert(plan.sbatch.end(), command.sbatch.begin(), command.sbatch.end());
  plan.sbatch_tasks = {"--nodes=1", "--ntasks=1", fmt::format("--cpus-per-task={}", command.cpus)};
  add(plan.sbatch_tasks, "mem", command.memory);
  add(plan.sbatch_tasks, "gres", command.gres);
  return Submission{
      .plan = std::move(plan), .episodes = std::move(episodes), .settings = std::move(settings)};
}

Status WriteUndoable(const fs::path& run_dir, const std::vector<TaskRecord>& undoable) {
  Json json = Json::array();
  for (const TaskRecord& record : undoable) {
    json.push_back({{"key", record.task.key},
                    {"state", ToString(record.state)},
                    {"status", record.status},
                    {"message", record.message}});
  }
  return WriteFileAtomically(run_dir / "undoable.json",
                             json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void PrintDryRun(const Submission& submission, const SlurmRun& run, int max_array_size, bool json) {
  const SlurmPlan& plan = submission.plan;
  std::vector<SubmittedArray> arrays;
  for (int offset = 0; offset < plan.Shards(); offset += max_array_size) {
    arrays.push_back(
        {.offset = offset, .count = std::min(max_array_size, plan.Shards() - offset), .job = {}});
  }
  if (json) {
    Json calls = Json::array();
    for (const SubmittedArray& array : arrays) calls.push_back(run.ArrayArguments(1, array));
    PrintJson({{"dry_run", true},
               {"episodes", plan.items},
               {"not_done", submission.episodes.undoable.size()},
               {"episodes_per_task", plan.items_per_shard},
               {"tasks", plan.Shards()},
               {"arrays", arrays.size()},
               {"sbatch", calls},
               {"script", run.FormatJobScript(1)}});
    return;
  }
  fmt::print("{} in {} of up to {}, {} of up to {}, {} at a time\n",
             Counted(plan.items, "episode"),
             Counted(plan.Shards(), "task"),
             plan.items_per_shard,
             Counted(arrays.size(), "array"),
             max_array_size,
             plan.max_parallel > 0 ? fmt::to_string(plan.max_parallel) : "as many as fit");
  for (const SubmittedArray& array : arrays) {
    fmt::print("\nsbatch {}\n", fmt::join(run.ArrayArguments(1, array), " "));
  }
  fmt::print("\n{}", run.FormatJobScript(1));
}

/// The last attempt, made if there is none.
Result<int> FirstAttempt(const SlurmRun& run) {
  DF_ASSIGN_OR_RETURN(const int attempts, run.CountAttempts());
  if (attempts > 0) return attempts;
  std::vector<int> shards(static_cast<std::size_t>(run.plan().Shards()));
  std::iota(shards.begin(), shards.end(), 0);
  return run.AddAttempt(shards, std::vector<bool>(shards.size(), false));
}

int PrintSubmitted(const SlurmRun& run, int number, bool json) {
  const Result<SlurmAttempt> attempt = run.ReadAttempt(number);
  if (!attempt) return Report(attempt.error());
  std::vector<std::string> ids;
  for (const SubmittedArray& array : attempt->arrays) ids.push_back(array.job);
  if (json) {
    PrintJson({{"run_dir", run.dir().string()},
               {"name", run.plan().name},
               {"attempt", number},
               {"tasks", attempt->shards.size()},
               {"arrays", ids},
               {"merge", attempt->merge_job},
               {"upload", attempt->upload_job}});
  } else {
    fmt::print("submitted {} tasks as {}{}, merging as {}{}: attempt {} of {}\n",
               attempt->shards.size(),
               ids.size() == 1 ? "array " : "arrays ",
               fmt::join(ids, ", "),
               attempt->merge_job,
               attempt->upload_job.empty() ? "" : ", uploading as " + attempt->upload_job,
               number,
               run.plan().name);
  }
  return kExitDone;
}

int RunSubmit(const SubmitCommandLine& command) {
  Result<RunRequest> request = ParseRunCommand(command.words);
  if (!request) return Report(request.error());
  const bool dry_run = command.dry_run || request->dry_run;
  const std::string out = request->options.out;
  const fs::path run_dir = fs::absolute(command.run_dir).lexically_normal();
  Result<Submission> submission = PlanSubmission(command, *std::move(request));
  if (!submission) return Report(submission.error());
  Slurm slurm;
  if (dry_run) {
    const int size = Slurm(kSoon).MaxArraySize().value_or(ParseMaxArraySize(""));
    PrintDryRun(*submission, SlurmRun(run_dir, submission->plan), size, command.json);
    return kExitDone;
  }
  if (const Status same = RequireOneFileSystem(run_dir, out); !same) return Report(same.error());
  const Result<SlurmRun> run =
      SlurmRun::Create(run_dir, submission->plan, submission->settings, submission->episodes.items);
  if (!run) return Report(run.error());
  const auto submit = [&]() -> Result<int> {
    const Annotations& annotations = submission->episodes.annotations;
    DF_RETURN_IF_ERROR(annotations.SaveIndexes(run_dir / "index"));
    DF_ASSIGN_OR_RETURN(const auto checksums, ChecksumAnnotations(annotations.paths(), {}));
    DF_RETURN_IF_ERROR(SaveChecksums(checksums, run_dir / "index"));
    DF_RETURN_IF_ERROR(WriteUndoable(run_dir, submission->episodes.undoable));
    DF_ASSIGN_OR_RETURN(const int attempt, FirstAttempt(*run));
    DF_RETURN_IF_ERROR(run->Submit(attempt, slurm));
    return attempt;
  };
  const Result<int> attempt = submit();
  if (!attempt) return ReportSlurm(attempt.error());
  return PrintSubmitted(*run, *attempt, command.json);
}

// ---------------------------------------------------------------- status

bool IsInTrouble(ShardState state) {
  return state == ShardState::kFailed || state == ShardState::kBad || state == ShardState::kLost;
}

/// The log of a shard's last attempt; empty: it was not submitted.
std::string LogOf(const SlurmRun& run, const ShardStatus& shard) {
  const std::size_t underscore = shard.job.find('_');
  if (underscore == std::string::npos) return {};
  return run
      .LogPath(shard.attempt,
               shard.job.substr(0, underscore),
               std::stoi(shard.job.substr(underscore + 1)))
      .string();
}

Json ToJson(const SlurmRun& run, const SlurmStatus& status) {
  Json states = Json::object();
  for (const ShardState state : kShardStates) {
    const auto found = status.shards_by_state.find(state);
    states[std::string(ToString(state))] =
        found == status.shards_by_state.end() ? 0 : found->second;
  }
  Json trouble = Json::array();
  for (std::size_t i = 0; i < status.shards.size(); ++i) {
    const ShardStatus& shard = status.shards[i];
    if (!IsInTrouble(shard.state)) continue;
    trouble.push_back({{"shard", i},
                       {"state", ToString(shard.state)},
                       {"why", shard.why},
                       {"attempt", shard.attempt},
                       {"job", shard.job},
                       {"node", shard.node},
                       {"log", LogOf(run, shard)}});
  }
  Json json = {{"run_dir", run.dir().string()},
               {"name", run.plan().name},
               {"attempts", status.attempts},
               {"tasks", states},
               {"episodes",
                {{"done", status.items.done},
                 {"quarantined", status.items.quarantined},
                 {"skipped", status.items.skipped},
                 {"pending", status.items.pending}}},
               {"episodes_per_hour", nullptr},
               {"seconds_left", nullptr},
               {"merged", status.is_merged},
               {"slurm", nullptr},
               {"in_trouble", trouble}};
  if (status.items_per_hour) json["episodes_per_hour"] = *status.items_per_hour;
  if (status.seconds_left) json["seconds_left"] = *status.seconds_left;
  if (!status.slurm) json["slurm"] = status.slurm.error().message;
  return json;
}

void Print(const SlurmRun& run, const SlurmStatus& status) {
  std::vector<std::vector<std::string>> rows = {{"tasks", ""}};
  for (const auto& [state, count] : status.shards_by_state) {
    rows.push_back({std::string(ToString(state)), fmt::to_string(count)});
  }
  fmt::print("{}", FormatTable(rows, {1}));
  fmt::print("\nepisodes: {} done, {} quarantined, {} skipped, {} to do",
             status.items.done,
             status.items.quarantined,
             status.items.skipped,
             status.items.pending);
  if (status.items_per_hour) fmt::print("; {:.0f} an hour", *status.items_per_hour);
  if (status.seconds_left && status.items.pending > 0) {
    fmt::print(", {} left",
               FormatDuration(std::chrono::milliseconds(
                   static_cast<std::int64_t>(1000 * *status.seconds_left))));
  }
  fmt::print("\n");
  if (status.is_merged) fmt::print("merged: {}\n", run.dir().string());
  std::vector<std::vector<std::string>> trouble = {{"task", "state", "job", "node", "why"}};
  for (std::size_t i = 0; i < status.shards.size(); ++i) {
    const ShardStatus& shard = status.shards[i];
    if (!IsInTrouble(shard.state)) continue;
    trouble.push_back(
        {fmt::to_string(i), std::string(ToString(shard.state)), shard.job, shard.node, shard.why});
  }
  const std::size_t all = trouble.size() - 1;
  if (all > kMostLines) trouble.resize(kMostLines + 1);
  if (all > 0) fmt::print("\n{}", FormatTable(trouble, {0}));
  if (all > kMostLines) fmt::print("… and {} more, see --json\n", all - kMostLines);
  if (all > 0) {
    fmt::print("'droidflow slurm resubmit --run-dir {}' does them again\n", run.dir().string());
  }
  if (!status.slurm) {
    fmt::print("by the files alone: {}\n", status.slurm.error().message);
  }
}

int RunStatus(const std::string& run_dir, bool json) {
  const Result<SlurmRun> run = SlurmRun::Open(run_dir);
  if (!run) return Report(run.error());
  Slurm slurm(kSoon);
  const Result<SlurmStatus> status = LookAtRun(*run, slurm);
  if (!status) return Report(status.error());
  if (json) {
    PrintJson(ToJson(*run, *status));
  } else {
    Print(*run, *status);
  }
  if (!status->slurm) return kExitNoSlurm;
  const bool trouble = std::ranges::any_of(
      status->shards_by_state, [](const auto& state) { return IsInTrouble(state.first); });
  return trouble || status->items.quarantined > 0 ? kExitQuarantined : kExitDone;
}

// ---------------------------------------------------------------- the rest

struct LogsCommandLine {
  std::string run_dir;
  int shard = -1;
  std::size_t lines = 20;
};

std::string LastLines(const std::string& text, std::size_t lines) {
  std::size_t begin = text.size();
  for (std::size_t found = 0; begin > 0; --begin) {
    if (text[begin - 1] == '\n' && begin != text.size() && ++found == lines) break;
  }
  return text.substr(begin);
}

int RunLogs(const LogsCommandLine& command) {
  const Result<SlurmRun> run = SlurmRun::Open(command.run_dir);
  if (!run) return Report(run.error());
  if (command.shard >= run->plan().Shards()) {
    return Report(
        {ErrorKind::kUsage,
         fmt::format("--task: want 0 to {}, have {}", run->plan().Shards() - 1, command.shard)});
  }
  Slurm slurm(kSoon);
  const Result<SlurmStatus> status = LookAtRun(*run, slurm);
  if (!status) return Report(status.error());
  for (int i = 0; i < run->plan().Shards(); ++i) {
    const ShardStatus& shard = status->shards[static_cast<std::size_t>(i)];
    const bool is_asked_for = command.shard < 0 ? IsInTrouble(shard.state) : command.shard == i;
    const std::string path = LogOf(*run, shard);
    if (!is_asked_for || path.empty()) continue;
    const Result<std::string> text = ReadFileText(path);
    fmt::print("== task {}, {}: {}\n{}",
               i,
               ToString(shard.state),
               path,
               text ? LastLines(*text, command.lines) : fmt::format("{}\n", text.error().message));
  }
  return kExitDone;
}

/// What is to be done again: nothing where all is, or is on its way.
Result<std::optional<int>> Resubmit(const SlurmRun& run, bool include_bad, Slurm& slurm) {
  DF_ASSIGN_OR_RETURN(const SlurmStatus status, LookAtRun(run, slurm));
  DF_RETURN_IF_ERROR(status.slurm);
  if (status.attempts == 0) {
    return Fail(ErrorKind::kNotFound, "nothing was submitted: run 'droidflow slurm submit' again");
  }
  DF_ASSIGN_OR_RETURN(const SlurmAttempt last, run.ReadAttempt(status.attempts));
  if (!last.IsSubmitted() && !last.is_cancelled) {
    DF_RETURN_IF_ERROR(run.Submit(last.number, slurm, status.alive_arrays));
    return last.number;
  }
  std::vector<int> shards;
  std::vector<bool> is_again;
  for (std::size_t i = 0; i < status.shards.size(); ++i) {
    const ShardStatus& shard = status.shards[i];
    const bool has_bad = shard.state == ShardState::kDone && shard.quarantined > 0;
    const bool is_wanted = shard.state == ShardState::kFailed || shard.state == ShardState::kLost ||
                           (include_bad && (shard.state == ShardState::kBad || has_bad));
    if (!is_wanted) continue;
    shards.push_back(static_cast<int>(i));
    is_again.push_back(has_bad || shard.is_damaged);
  }
  if (shards.empty()) {
    DF_ASSIGN_OR_RETURN(const std::vector<SlurmJob> merging, slurm.Jobs({run.plan().MergeName()}));
    if (status.is_merged || std::ranges::any_of(merging, &SlurmJob::IsAlive)) return std::nullopt;
  }
  DF_RETURN_IF_ERROR(slurm.Cancel({run.plan().MergeName()}, "PENDING"));
  DF_RETURN_IF_ERROR(slurm.Cancel({run.plan().UploadName()}));
  DF_ASSIGN_OR_RETURN(const int attempt, run.AddAttempt(shards, is_again));
  DF_RETURN_IF_ERROR(run.Submit(attempt, slurm, status.alive_arrays));
  return attempt;
}

int RunResubmit(const std::string& run_dir, bool include_bad, bool json) {
  const Result<SlurmRun> run = SlurmRun::Open(run_dir);
  if (!run) return Report(run.error());
  Slurm slurm;
  const Result<std::optional<int>> attempt = Resubmit(*run, include_bad, slurm);
  if (!attempt) return ReportSlurm(attempt.error());
  if (*attempt) return PrintSubmitted(*run, **attempt, json);
  if (json) {
    PrintJson({{"run_dir", run->dir().string()}, {"tasks", 0}});
  } else {
    fmt::print("nothing to submit: every task is done or on its way{}\n",
               include_bad ? "" : ", or of no use to try again (--include-bad does)");
  }
  return kExitDone;
}

int RunCancel(const std::string& run_dir) {
  const Result<SlurmRun> run = SlurmRun::Open(run_dir);
  if (!run) return Report(run.error());
  const auto cancel = [&]() -> Status {
    DF_ASSIGN_OR_RETURN(const int attempts, run->CountAttempts());
    for (int attempt = 1; attempt <= attempts; ++attempt) {
      DF_RETURN_IF_ERROR(run->MarkCancelled(attempt));
    }
    const SlurmPlan& plan = run->plan();
    return Slurm(kSoon).Cancel({plan.MergeName(), plan.UploadName(), plan.name});
  };
  if (const Status cancelled = cancel(); !cancelled) return ReportSlurm(cancelled.error());
  fmt::print("cancelled; what is finished stays, 'droidflow slurm resubmit' goes on\n");
  return kExitDone;
}

constexpr const char kSlurmExitStatus[] =
    "Exit status: 0 done, 1 failed, 2 usage (also: Slurm refuses), 3 tasks failed or are lost, or\n"
    "episodes are quarantined, 10 no such run, 11 the directory holds another run, 13 Slurm does\n"
    "not answer.";

CLI::App* AddVerb(CLI::App& slurm, const char* name, const char* what, std::string& run_dir) {
  CLI::App* const verb = slurm.add_subcommand(name, what);
  verb->add_option("--run-dir", run_dir, "Where the run keeps its state")
      ->required()
      ->type_name("DIR");
  verb->footer(kSlurmExitStatus);
  return verb;
}

void AddSubmit(CLI::App& slurm, int& exit_code) {
  auto command = std::make_shared<SubmitCommandLine>();
  CLI::App* const sub =
      AddVerb(slurm, "submit", "Do what stands behind -- as many jobs of Slurm", command->run_dir);
  sub->add_option("--partition", command->partition, "Partition of the jobs")->type_name("P");
  sub->add_option("--time", command->time, "Time limit of a job")->type_name("T");
  sub->add_option("--cpus", command->cpus, "Processors of a task (1)")
      ->type_name("N")
      ->check(CLI::Range(1, 4096).description(""));
  sub->add_option("--mem", command->memory, "Memory of a task")->type_name("M");
  sub->add_option("--gres", command->gres, "What else a task needs, as gpu:1")->type_name("G");
  sub->add_option("--max-parallel", command->max_parallel, "Tasks at a time (as many as fit)")
      ->type_name("K")
      ->check(CLI::Range(0, 1 << 20).description(""));
  sub->add_option("--episodes-per-task", command->episodes_per_task, "Episodes of a task (32)")
      ->type_name("E")
      ->check(CLI::Range(1, 1 << 20).description(""));
  sub->add_option("--sbatch-arg", command->sbatch, "Another argument of sbatch; may be repeated")
      ->type_name("ARG")
      ->allow_extra_args(false);
  sub->add_option("--scratch-dir",
                  command->scratch_dir,
                  "Local disk of the machines ($SLURM_TMPDIR, $TMPDIR, /tmp)")
      ->type_name("DIR");
  sub->add_flag("--upload-task",
                command->upload_task,
                "Upload in a job of its own while the tasks are at work, not after them");
  sub->add_flag("--merge-partial",
                command->merge_partial,
                "At the end merge and upload what is there, though tasks have failed");
  sub->add_flag("--dry-run", command->dry_run, "Print script and sizes; write and submit nothing");
  sub->add_flag("--json", command->json, "Print JSON");
  sub->add_option("COMMAND", command->words, "metadata or full with their options, behind --")
      ->required()
      ->type_name("");
  sub->footer(fmt::format(
      "Example:\n"
      "  droidflow slurm submit --run-dir /shared/run1 --time 4:00:00 --cpus 8 --mem 16G -- \\\n"
      "      metadata -1 --droid-root /shared/droid_raw --annotations /shared/annotations \\\n"
      "      --conf-dir /shared/zed_conf --out /shared/tracks\n{}",
      kSlurmExitStatus));
  sub->callback([command, &exit_code] { exit_code = RunSubmit(*command); });
}

}  // namespace

void AddSlurmCommand(CLI::App& app, int& exit_code) {
  CLI::App* const slurm =
      app.add_subcommand("slurm", "Run metadata or full on the machines of a Slurm cluster");
  slurm->require_subcommand(1);
  slurm->footer("'droidflow slurm submit --help' has an example.");
  AddSubmit(*slurm, exit_code);

  struct Flags {
    std::string run_dir;
    bool json = false;
    bool include_bad = false;
  };
  const auto flags = std::make_shared<Flags>();
  CLI::App* verb = AddVerb(*slurm, "status", "Say how it stands", flags->run_dir);
  verb->add_flag("--json", flags->json, "Print JSON");
  verb->callback([flags, &exit_code] { exit_code = RunStatus(flags->run_dir, flags->json); });

  const auto logs = std::make_shared<LogsCommandLine>();
  verb = AddVerb(*slurm, "logs", "Print the end of the logs of tasks in trouble", logs->run_dir);
  verb->add_option("--task", logs->shard, "… of this task in their place")->type_name("I");
  verb->add_option("--lines", logs->lines, "Lines of each (20)")->type_name("N");
  verb->callback([logs, &exit_code] { exit_code = RunLogs(*logs); });

  verb = AddVerb(*slurm, "resubmit", "Submit what has failed or is lost", flags->run_dir);
  verb->add_flag("--include-bad",
                 flags->include_bad,
                 "Also what is of no use to try again, and quarantined episodes");
  verb->add_flag("--json", flags->json, "Print JSON");
  verb->callback([flags, &exit_code] {
    exit_code = RunResubmit(flags->run_dir, flags->include_bad, flags->json);
  });

  verb = AddVerb(*slurm, "cancel", "End its jobs; what is finished stays", flags->run_dir);
  verb->callback([flags, &exit_code] { exit_code = RunCancel(flags->run_dir); });
  AddSlurmJobCommands(*slurm, exit_code);
}

}  // namespace droidflow

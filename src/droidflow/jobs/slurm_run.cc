#include "droidflow/jobs/slurm_run.h"

#include "droidflow/core/files.h"
#include "droidflow/core/place_new.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <functional>
#include <future>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr int kFormat = 1;
/// How long before its time limit a task is told.
constexpr const char kWarning[] = "--signal=B:TERM@120";
/// How a done.json ends; its first line ends where the items begin, each on a line of its own.
constexpr std::string_view kItemsEnd = "\n]}\n";
constexpr std::int64_t kMsPerHour = 3'600'000;

std::string ShellQuoted(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// Messages and names may hold bytes that are not UTF-8, as JSON must be.
std::string Text(const Json& json, int indent = 2) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// What a file of the run says, by `take`. @return kInvalidData, naming the file, for anything
/// else.
template <typename T>
Result<T> ReadJson(const fs::path& path, const std::function<T(const Json&)>& take) {
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  try {
    return take(Json::parse(text));
  } catch (const Json::exception& error) {
    return Fail(ErrorKind::kInvalidData, "{}: {}", error.what(), path.string());
  }
}

/// Nothing where there is no such file.
template <typename T>
Result<std::optional<T>> IfThere(Result<T> result) {
  if (result) return std::optional<T>(*std::move(result));
  if (result.error().kind == ErrorKind::kNotFound) return std::nullopt;
  return tl::unexpected(std::move(result).error());
}

Json ToJson(const ShardMaker& maker) {
  return {{"job", maker.job},
          {"restarts", maker.restarts},
          {"node", maker.node},
          {"started_unix_ms", maker.started_unix_ms},
          {"finished_unix_ms", maker.finished_unix_ms}};
}

ShardMaker MakerFrom(const Json& json) {
  return {.job = json.at("job"),
          .restarts = json.at("restarts"),
          .node = json.at("node"),
          .started_unix_ms = json.at("started_unix_ms"),
          .finished_unix_ms = json.at("finished_unix_ms")};
}

Json ToJson(const ShardItem& item) {
  const TaskRecord& record = item.record;
  Json stages = Json::object();
  for (const StageTime& stage : record.stages) stages[stage.name] = stage.duration_ms;
  Json files = Json::array();
  for (std::size_t i = 0; i < record.files.size(); ++i) {
    files.push_back({{"name", record.files[i].name},
                     {"bytes", record.files[i].size_bytes},
                     {"sha256", item.sha256[i]}});
  }
  return {{"key", record.task.key},
          {"item", record.task.payload},
          {"state", ToString(record.state)},
          {"status", record.status},
          {"message", record.message},
          {"stage", record.failed_stage},
          {"attempts", record.attempts},
          {"started_unix_ms", record.started_unix_ms},
          {"finished_unix_ms", record.finished_unix_ms},
          {"stages_ms", stages},
          {"directory", record.directory},
          {"files", files}};
}

ShardItem ItemFrom(const Json& json) {
  ShardItem item;
  TaskRecord& record = item.record;
  record.task = {.key = json.at("key"), .payload = json.at("item")};
  record.state = ParseTaskState(json.at("state").get<std::string>()).value_or(TaskState::kPending);
  record.status = json.at("status");
  record.message = json.at("message");
  record.failed_stage = json.at("stage");
  record.attempts = json.at("attempts");
  record.started_unix_ms = json.at("started_unix_ms");
  record.finished_unix_ms = json.at("finished_unix_ms");
  for (const auto& [name, duration_ms] : json.at("stages_ms").items()) {
    record.stages.push_back({name, duration_ms});
  }
  record.directory = json.at("directory");
  for (const Json& file : json.at("files")) {
    record.files.push_back({.name = file.at("name"), .size_bytes = file.at("bytes")});
    record.output_bytes += record.files.back().size_bytes;
    item.sha256.push_back(file.at("sha256"));
  }
  return item;
}

Json ToJson(const SlurmPlan& plan) {
  return {{"format", kFormat},
          {"name", plan.name},
          {"version", plan.version},
          {"hash", plan.hash},
          {"command", plan.command},
          {"program", plan.program},
          {"directory", plan.directory},
          {"items", plan.items},
          {"items_per_shard", plan.items_per_shard},
          {"shards", plan.Shards()},
          {"max_parallel", plan.max_parallel},
          {"sbatch", plan.sbatch},
          {"sbatch_tasks", plan.sbatch_tasks},
          {"upload_task", plan.upload_task},
          {"merge_partial", plan.merge_partial}};
}

Result<SlurmPlan> ReadPlan(const fs::path& path) {
  DF_ASSIGN_OR_RETURN(const auto plan,
                      (ReadJson<std::pair<int, SlurmPlan>>(path, [](const Json& json) {
                        return std::pair(json.at("format").get<int>(),
                                         SlurmPlan{.name = json.at("name"),
                                                   .version = json.at("version"),
                                                   .hash = json.at("hash"),
                                                   .command = json.at("command"),
                                                   .program = json.at("program"),
                                                   .directory = json.at("directory"),
                                                   .items = json.at("items"),
                                                   .items_per_shard = json.at("items_per_shard"),
                                                   .max_parallel = json.at("max_parallel"),
                                                   .sbatch = json.at("sbatch"),
                                                   .sbatch_tasks = json.at("sbatch_tasks"),
                                                   .upload_task = json.at("upload_task"),
                                                   .merge_partial = json.at("merge_partial")});
                      })));
  if (plan.first != kFormat || plan.second.items < 0 || plan.second.items_per_shard < 1) {
    return Fail(ErrorKind::kInvalidData,
                "want a plan of format {}, have format {} with {} items by {}: {}",
                kFormat,
                plan.first,
                plan.second.items,
                plan.second.items_per_shard,
                path.string());
  }
  return plan.second;
}

std::string CommentOf(int attempt, std::string_view what) {
  return fmt::format("{:04}-{}", attempt, what);
}

std::string JobName(const std::string& job, int task) { return fmt::format("{}_{}", job, task); }

}  // namespace

std::string_view ToString(ShardState state) {
  switch (state) {
    case ShardState::kDone:
      return "done";
    case ShardState::kRunning:
      return "running";
    case ShardState::kWaiting:
      return "waiting";
    case ShardState::kFailed:
      return "failed";
    case ShardState::kBad:
      return "bad";
    case ShardState::kLost:
      return "lost";
  }
  return "unknown";
}

Result<SlurmRun> SlurmRun::Create(const fs::path& dir,
                                  SlurmPlan plan,
                                  std::string_view settings,
                                  const std::vector<std::string>& items) {
  const fs::path path = dir / "plan.json";
  std::error_code ignored;
  if (fs::exists(path, ignored)) {
    DF_ASSIGN_OR_RETURN(SlurmRun there, Open(dir));
    DF_ASSIGN_OR_RETURN(const int attempts, there.CountAttempts());
    SlurmAttempt last;
    if (attempts > 0) {
      DF_ASSIGN_OR_RETURN(last, there.ReadAttempt(attempts));
    }
    if (attempts > 1 || !last.arrays.empty()) {
      if (there.plan_.hash != plan.hash) {
        return Fail(ErrorKind::kBusy, "another run is in this directory: {}", dir.string());
      }
      if (last.IsSubmitted()) {
        return Fail(ErrorKind::kBusy,
                    "it was submitted already; 'droidflow slurm resubmit' does what is left: {}",
                    dir.string());
      }
      return there;
    }
    // Slurm has refused it, say: the next may ask for something else.
    plan.name = there.plan_.name;
    DF_RETURN_IF_ERROR(RemoveTree(dir / "attempts"));
  }
  std::string lines;
  for (const std::string& item : items) lines += item + '\n';
  DF_RETURN_IF_ERROR(WriteFileAtomically(dir / "items.txt", lines));
  DF_RETURN_IF_ERROR(WriteFileAtomically(dir / "settings.yaml", settings));
  DF_RETURN_IF_ERROR(WriteFileAtomically(path, Text(ToJson(plan))));
  return SlurmRun(fs::absolute(dir), std::move(plan));
}

Result<SlurmRun> SlurmRun::Open(const fs::path& dir) {
  Result<SlurmPlan> plan = ReadPlan(dir / "plan.json");
  if (!plan && plan.error().kind == ErrorKind::kNotFound) {
    return Fail(ErrorKind::kNotFound, "no run of 'droidflow slurm submit': {}", dir.string());
  }
  if (!plan) return tl::unexpected(std::move(plan).error());
  return SlurmRun(fs::absolute(dir), *std::move(plan));
}

fs::path SlurmRun::ShardDir(int shard) const {
  return dir_ / "shards" / fmt::format("{:05}", shard);
}

fs::path SlurmRun::AttemptDir(int attempt) const {
  return dir_ / "attempts" / fmt::format("{:04}", attempt);
}

fs::path SlurmRun::LogPath(int attempt, const std::string& array, int task) const {
  return dir_ / "logs" / fmt::format("{:04}", attempt) / fmt::format("{}_{}.out", array, task);
}

Result<std::vector<std::string>> SlurmRun::ItemsOf(int shard) const {
  const fs::path path = dir_ / "items.txt";
  std::ifstream file(path, std::ios::binary);
  std::vector<std::string> items;
  const int begin = shard * plan_.items_per_shard;
  const int end = std::min(plan_.items, begin + plan_.items_per_shard);
  std::string line;
  for (int i = 0; i < end && std::getline(file, line); ++i) {
    if (i >= begin) items.push_back(line);
  }
  if (std::ssize(items) != end - begin || begin >= end) {
    return Fail(ErrorKind::kInvalidData,
                "shard {}: want lines {} to {}, have {} of them: {}",
                shard,
                begin + 1,
                end,
                items.size(),
                path.string());
  }
  return items;
}

Result<std::optional<ShardResult>> SlurmRun::ReadResult(int shard, bool with_items) const {
  const fs::path path = ShardDir(shard) / "done.json";
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    return FailErrno(errno, fmt::format("cannot open {}", path.string()));
  }
  // All but the items, which make nearly all of the file, is in the first line.
  std::string text;
  std::getline(file, text, with_items ? '\0' : '\n');
  if (!with_items) {
    std::string end(kItemsEnd.size(), ' ');
    file.seekg(-static_cast<std::streamoff>(end.size()), std::ios::end);
    file.read(end.data(), static_cast<std::streamsize>(end.size()));
    if (end != kItemsEnd) return std::nullopt;
    text += kItemsEnd;
  }
  try {
    const Json json = Json::parse(text);
    if (json.at("format") != kFormat || json.at("plan") != plan_.hash ||
        json.at("shard") != shard) {
      return std::nullopt;
    }
    ShardResult result{.shard = shard, .maker = MakerFrom(json), .counts = {}, .items = {}};
    const Json& counts = json.at("counts");
    result.counts = {.done = counts.at("done"),
                     .quarantined = counts.at("quarantined"),
                     .skipped = counts.at("skipped")};
    for (const Json& item : json.at("items")) result.items.push_back(ItemFrom(item));
    return result;
  } catch (const Json::exception&) {
    return std::nullopt;  // cut off by a file system that lost power: it is done again
  }
}

Result<bool> SlurmRun::PublishResult(const ShardResult& result,
                                     const fs::path& own,
                                     bool is_again) const {
  Json json = {{"format", kFormat}, {"plan", plan_.hash}, {"shard", result.shard}};
  json.update(ToJson(result.maker));
  json["counts"] = {{"done", result.counts.done},
                    {"quarantined", result.counts.quarantined},
                    {"skipped", result.counts.skipped}};
  std::string text = Text(json, -1);
  text.resize(text.rfind('}'));
  text += ",\"items\":[";
  for (std::size_t i = 0; i < result.items.size(); ++i) {
    const std::string item = Text(ToJson(result.items[i]), -1);
    text += (i > 0 ? ",\n" : "\n") + item.substr(0, item.size() - 1);
  }
  text += kItemsEnd;
  const fs::path ready = own / "done.json";
  const fs::path path = ShardDir(result.shard) / "done.json";
  DF_RETURN_IF_ERROR(WriteFileAtomically(ready, text));
  DF_ASSIGN_OR_RETURN(const bool is_new, PlaceNew(ready, path));
  if (is_new) return true;
  DF_ASSIGN_OR_RETURN(const auto there, ReadResult(result.shard, /*with_items=*/false));
  if (there && !is_again) return false;
  std::error_code error;
  fs::rename(ready, path, error);
  if (error) return FailErrno(error.value(), fmt::format("cannot replace {}", path.string()));
  return true;
}

Status SlurmRun::WriteFailure(int attempt, int shard, const ShardFailure& failure) const {
  Json json = {{"shard", shard}, {"exit_code", failure.exit_code}, {"message", failure.message}};
  json.update(ToJson(failure.maker));
  return WriteFileAtomically(AttemptDir(attempt) / fmt::format("fail-{:05}.json", shard),
                             Text(json));
}

Result<std::optional<ShardFailure>> SlurmRun::ReadFailure(int attempt, int shard) const {
  return IfThere(ReadJson<ShardFailure>(AttemptDir(attempt) / fmt::format("fail-{:05}.json", shard),
                                        [](const Json& json) {
                                          return ShardFailure{.exit_code = json.at("exit_code"),
                                                              .message = json.at("message"),
                                                              .maker = MakerFrom(json)};
                                        }));
}

Result<int> SlurmRun::CountAttempts() const {
  int count = 0;
  std::error_code ignored;
  while (fs::exists(AttemptDir(count + 1) / "job.sh", ignored)) ++count;
  return count;
}

Result<int> SlurmRun::AddAttempt(const std::vector<int>& shards,
                                 const std::vector<bool>& is_again) const {
  DF_ASSIGN_OR_RETURN(const int before, CountAttempts());
  const int number = before + 1;
  std::string lines;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    lines += fmt::format("{}{}\n", shards[i], is_again[i] ? " again" : "");
  }
  DF_RETURN_IF_ERROR(MakeDirectories(LogPath(number, "", 0).parent_path()));
  DF_RETURN_IF_ERROR(MakeDirectories(dir_ / "shards"));
  DF_RETURN_IF_ERROR(WriteFileAtomically(AttemptDir(number) / "shards.txt", lines));
  DF_RETURN_IF_ERROR(WriteFileAtomically(AttemptDir(number) / "job.sh", FormatJobScript(number)));
  return number;
}

Result<SlurmAttempt> SlurmRun::ReadAttempt(int number) const {
  SlurmAttempt attempt;
  attempt.number = number;
  const fs::path path = AttemptDir(number) / "shards.txt";
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    int shard = -1;
    const auto [next, error] = std::from_chars(text.data() + begin, text.data() + end, shard);
    const std::string_view rest(next, static_cast<std::size_t>(text.data() + end - next));
    if (error != std::errc() || shard < 0 || shard >= plan_.Shards() ||
        !(rest.empty() || rest == " again")) {
      return Fail(ErrorKind::kInvalidData,
                  "want the number of a shard, have '{}': {}",
                  text.substr(begin, end - begin),
                  path.string());
    }
    attempt.shards.push_back(shard);
    attempt.is_again.push_back(!rest.empty());
    begin = end + 1;
  }
  attempt.is_cancelled = IsCancelled(number);
  using Jobs = std::tuple<std::vector<SubmittedArray>, std::string, std::string>;
  DF_ASSIGN_OR_RETURN(
      const std::optional<Jobs> jobs,
      IfThere(ReadJson<Jobs>(AttemptDir(number) / "submit.json", [](const Json& json) {
        std::vector<SubmittedArray> arrays;
        for (const Json& array : json.at("arrays")) {
          arrays.push_back(
              {.offset = array.at("offset"), .count = array.at("count"), .job = array.at("job")});
        }
        return Jobs(arrays, json.at("merge"), json.at("upload"));
      })));
  if (jobs) std::tie(attempt.arrays, attempt.merge_job, attempt.upload_job) = *jobs;
  return attempt;
}

Status SlurmRun::SaveSubmitted(const SlurmAttempt& attempt) const {
  Json arrays = Json::array();
  for (const SubmittedArray& array : attempt.arrays) {
    arrays.push_back({{"offset", array.offset}, {"count", array.count}, {"job", array.job}});
  }
  const Json json = {
      {"arrays", arrays}, {"merge", attempt.merge_job}, {"upload", attempt.upload_job}};
  return WriteFileAtomically(AttemptDir(attempt.number) / "submit.json", Text(json));
}

std::string SlurmRun::FormatJobScript(int attempt) const {
  return fmt::format(
      "#!/bin/sh\n"
      "# In place of the shell: signals reach the program, and its exit status is the job's.\n"
      "exec {} slurm task --run-dir {} --attempt {} \"$@\"\n",
      ShellQuoted(plan_.program),
      ShellQuoted(dir_.string()),
      attempt);
}

std::vector<std::string> SlurmRun::ArrayArguments(int attempt, const SubmittedArray& array) const {
  std::vector<std::string> words = {
      fmt::format("--array=0-{}{}",
                  array.count - 1,
                  plan_.max_parallel > 0 ? fmt::format("%{}", plan_.max_parallel) : ""),
      "--requeue",
      "--open-mode=append",
      fmt::format("--output={}",
                  (dir_ / "logs" / fmt::format("{:04}", attempt) / "%A_%a.out").string()),
      kWarning};
  words.insert(words.end(), plan_.sbatch_tasks.begin(), plan_.sbatch_tasks.end());
  words.insert(words.end(), plan_.sbatch.begin(), plan_.sbatch.end());
  words.push_back((AttemptDir(attempt) / "job.sh").string());
  words.insert(words.end(), {"--offset", fmt::to_string(array.offset)});
  return words;
}

std::vector<std::string> SlurmRun::LoneJobArguments(const char* verb,
                                                    int attempt,
                                                    const std::string& dependency) const {
  std::vector<std::string> words = {
      "--requeue",
      "--open-mode=append",
      fmt::format(
          "--output={}",
          (dir_ / "logs" / fmt::format("{:04}", attempt) / fmt::format("{}.out", verb)).string()),
      kWarning};
  if (!dependency.empty()) words.push_back("--dependency=" + dependency);
  words.insert(words.end(), plan_.sbatch.begin(), plan_.sbatch.end());
  // A script of one line needs no file.
  words.push_back(fmt::format("--wrap=exec {} slurm {} --run-dir {} --attempt {}",
                              ShellQuoted(plan_.program),
                              verb,
                              ShellQuoted(dir_.string()),
                              attempt));
  return words;
}

Status SlurmRun::Submit(int number, Slurm& slurm, const std::vector<std::string>& others) const {
  DF_ASSIGN_OR_RETURN(SlurmAttempt attempt, ReadAttempt(number));
  std::error_code ignored;
  // An earlier process may have been stopped between sbatch's answer and its record.
  bool may_be_there = fs::exists(AttemptDir(number) / "submit.json", ignored);
  if (!may_be_there) DF_RETURN_IF_ERROR(SaveSubmitted(attempt));
  DF_ASSIGN_OR_RETURN(const int max_array_size, slurm.MaxArraySize());
  const auto tasks = static_cast<int>(attempt.shards.size());
  int offset =
      attempt.arrays.empty() ? 0 : attempt.arrays.back().offset + attempt.arrays.back().count;
  while (offset < tasks) {
    SubmittedArray array{
        .offset = offset, .count = std::min(tasks - offset, max_array_size), .job = {}};
    DF_ASSIGN_OR_RETURN(array.job,
                        slurm.Submit({.name = plan_.name,
                                      .comment = CommentOf(number, fmt::to_string(offset)),
                                      .arguments = ArrayArguments(number, array)},
                                     may_be_there));
    offset += array.count;
    attempt.arrays.push_back(array);
    DF_RETURN_IF_ERROR(SaveSubmitted(attempt));
  }
  if (plan_.upload_task && attempt.upload_job.empty()) {
    DF_ASSIGN_OR_RETURN(attempt.upload_job,
                        slurm.Submit({.name = plan_.UploadName(),
                                      .comment = CommentOf(number, "upload"),
                                      .arguments = LoneJobArguments("upload", number, "singleton")},
                                     may_be_there));
    DF_RETURN_IF_ERROR(SaveSubmitted(attempt));
  }
  if (attempt.merge_job.empty()) {
    std::vector<std::string> ids = others;
    for (const SubmittedArray& array : attempt.arrays) ids.push_back(array.job);
    // Not afterok: it never starts after a failure, and counts a forgotten job as a success. And
    // one at a time.
    const std::string dependency =
        ids.empty() ? "singleton" : fmt::format("afterany:{},singleton", fmt::join(ids, ":"));
    DF_ASSIGN_OR_RETURN(attempt.merge_job,
                        slurm.Submit({.name = plan_.MergeName(),
                                      .comment = CommentOf(number, "merge"),
                                      .arguments = LoneJobArguments("merge", number, dependency)},
                                     may_be_there));
    DF_RETURN_IF_ERROR(SaveSubmitted(attempt));
  }
  return {};
}

Status SlurmRun::MarkCancelled(int attempt) const {
  return WriteFileAtomically(AttemptDir(attempt) / "cancelled", "");
}

bool SlurmRun::IsCancelled(int attempt) const {
  std::error_code ignored;
  return fs::exists(AttemptDir(attempt) / "cancelled", ignored);
}

// ---------------------------------------------------------------- how a run stands

namespace {

/// What the files say of every shard, read side by side.
Result<std::vector<std::optional<ShardResult>>> ReadResults(const SlurmRun& run) {
  const int shards = run.plan().Shards();
  std::vector<std::optional<ShardResult>> results(static_cast<std::size_t>(shards));
  std::atomic<int> next = 0;
  const auto read = [&]() -> Status {
    for (int shard = next++; shard < shards; shard = next++) {
      DF_ASSIGN_OR_RETURN(results[static_cast<std::size_t>(shard)],
                          run.ReadResult(shard, /*with_items=*/false));
    }
    return {};
  };
  std::vector<std::future<Status>> readers;
  // More than there are cores: they wait for a file server.
  for (int i = 0; i < std::clamp(shards / 16, 1, 8); ++i) {
    readers.push_back(std::async(std::launch::async, read));
  }
  Status status;
  for (std::future<Status>& reader : readers) {
    if (Status one = reader.get(); !one) status = one;
  }
  if (!status) return tl::unexpected(std::move(status).error());
  return results;
}

struct MergeReport {
  int attempt = 0;
  bool is_complete = false;
  std::set<int> damaged;
};

/// What the last merging found.
Result<std::optional<MergeReport>> ReadMerge(const SlurmRun& run) {
  return IfThere(ReadJson<MergeReport>(run.dir() / "merge.json", [](const Json& json) {
    return MergeReport{.attempt = json.at("attempt"),
                       .is_complete = json.at("complete"),
                       .damaged = json.at("damaged").get<std::set<int>>()};
  }));
}

void AddRate(const std::vector<std::optional<ShardResult>>& results, SlurmStatus& status) {
  std::int64_t first = 0;
  std::int64_t last = 0;
  for (const std::optional<ShardResult>& result : results) {
    if (!result) continue;
    const ShardMaker& maker = result->maker;
    if (first == 0 || maker.started_unix_ms < first) first = maker.started_unix_ms;
    last = std::max(last, maker.finished_unix_ms);
  }
  if (last <= first) return;
  const auto finished = static_cast<double>(status.items.total() - status.items.pending);
  status.items_per_hour = finished * kMsPerHour / static_cast<double>(last - first);
  if (*status.items_per_hour > 0) {
    status.seconds_left = static_cast<double>(status.items.pending) * 3600 / *status.items_per_hour;
  }
}

}  // namespace

Result<SlurmStatus> LookAtRun(const SlurmRun& run, Slurm& slurm) {
  const SlurmPlan& plan = run.plan();
  SlurmStatus status;
  status.shards.resize(static_cast<std::size_t>(plan.Shards()));
  // Slurm first: what ends meanwhile has written its file by the time that files are read.
  Result<std::vector<SlurmJob>> jobs = slurm.Jobs({plan.name});
  if (!jobs) status.slurm = tl::unexpected(jobs.error());
  std::map<std::pair<std::string, int>, const SlurmJob*> by_id;
  std::set<std::string> alive;
  if (jobs) {
    for (const SlurmJob& job : *jobs) {
      by_id[{job.id, job.index}] = &job;
      if (job.IsAlive()) alive.insert(job.id);
    }
  }
  status.alive_arrays = {alive.begin(), alive.end()};
  DF_ASSIGN_OR_RETURN(const auto results, ReadResults(run));

  DF_ASSIGN_OR_RETURN(status.attempts, run.CountAttempts());
  for (int number = 1; number <= status.attempts; ++number) {
    DF_ASSIGN_OR_RETURN(const SlurmAttempt attempt, run.ReadAttempt(number));
    std::size_t array = 0;
    for (std::size_t line = 0; line < attempt.shards.size(); ++line) {
      const auto at = static_cast<int>(line);
      while (array < attempt.arrays.size() &&
             at >= attempt.arrays[array].offset + attempt.arrays[array].count) {
        ++array;
      }
      ShardStatus& shard = status.shards[static_cast<std::size_t>(attempt.shards[line])];
      // Of two attempts at a shard the one that lives counts.
      if (shard.state == ShardState::kRunning || shard.state == ShardState::kWaiting) continue;
      shard = {};
      shard.attempt = number;
      if (array == attempt.arrays.size()) {
        shard.why = "not submitted";
        continue;
      }
      const int task = at - attempt.arrays[array].offset;
      shard.job = JobName(attempt.arrays[array].job, task);
      const auto found = by_id.find({attempt.arrays[array].job, task});
      if (found == by_id.end()) continue;
      const SlurmJob& job = *found->second;
      shard.node = job.node;
      shard.why = job.reason == "None" ? job.state : fmt::format("{} ({})", job.state, job.reason);
      if (job.IsAlive()) {
        shard.state = job.state == "RUNNING" || job.state == "COMPLETING" ? ShardState::kRunning
                                                                          : ShardState::kWaiting;
      }
    }
  }
  DF_ASSIGN_OR_RETURN(const std::optional<MergeReport> merged, ReadMerge(run));
  const bool is_current = merged && merged->attempt == status.attempts;
  status.is_merged = is_current && merged->is_complete;
  for (int i = 0; i < plan.Shards(); ++i) {
    ShardStatus& shard = status.shards[static_cast<std::size_t>(i)];
    const std::optional<ShardResult>& result = results[static_cast<std::size_t>(i)];
    const bool is_alive =
        shard.state == ShardState::kRunning || shard.state == ShardState::kWaiting;
    const int size = std::min(plan.items_per_shard, plan.items - i * plan.items_per_shard);
    shard.is_damaged = is_current && merged->damaged.contains(i);
    if (shard.is_damaged) {
      shard.state = ShardState::kLost;
      shard.why = "some of its files are gone";
      status.items.pending += size;
    } else if (result) {
      shard.state = ShardState::kDone;
      shard.why.clear();
      shard.node = result->maker.node;
      shard.quarantined = result->counts.quarantined;
      status.items.done += result->counts.done;
      status.items.quarantined += result->counts.quarantined;
      status.items.skipped += result->counts.skipped;
    } else {
      status.items.pending += size;
    }
    if (!result && !is_alive && shard.attempt > 0) {
      DF_ASSIGN_OR_RETURN(const auto failure, run.ReadFailure(shard.attempt, i));
      if (failure) {
        shard.state = failure->exit_code == kShardBad ? ShardState::kBad : ShardState::kFailed;
        shard.why = failure->message;
        shard.node = failure->maker.node;
      } else if (shard.why.empty()) {
        shard.why = status.slurm ? "Slurm does not know it any more, and it left no word"
                                 : "it left no word, and Slurm does not answer";
      }
    }
    ++status.shards_by_state[shard.state];
  }
  AddRate(results, status);
  return status;
}

}  // namespace droidflow

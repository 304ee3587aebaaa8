#include "droidflow/jobs/slurm.h"

#include "droidflow/core/text.h"
#include "droidflow/jobs/program_internal.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>

namespace droidflow {
namespace {

constexpr int kDefaultMaxArraySize = 1001;

/// What Slurm's programs say when it is they that got no answer, or a late one.
constexpr std::string_view kUnreachable[] = {"Unable to contact slurm controller",
                                             "Socket timed out",
                                             "Zero Bytes were transmitted or received",
                                             "Connection refused",
                                             "Connection timed out",
                                             "Communication connection failure",
                                             "Slurm backup controller in standby mode",
                                             "Resource temporarily unavailable",
                                             "try again later"};

bool IsUnreachable(std::string_view text) {
  return std::ranges::any_of(kUnreachable, [&](std::string_view words) {
    return text.find(words) != std::string_view::npos;
  });
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<int> ParseIndex(std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// Calls until it is answered. @param call  gives kTransient where Slurm did not answer.
template <typename Call>
auto Patiently(const SlurmPatience& patience, Call call) {
  auto pause = patience.pause;
  for (int attempt = 1;; ++attempt) {
    auto answer = call(attempt);
    const bool may_pass = !answer && answer.error().kind == ErrorKind::kTransient;
    if (!may_pass || attempt >= patience.attempts) return answer;
    std::this_thread::sleep_for(pause);
    pause *= 2;
  }
}

/// One call. @return what it printed.
Result<std::string> Call(const std::vector<std::string>& words, std::chrono::milliseconds timeout) {
  const Result<ProgramEnd> end = RunProgram(words, timeout);
  if (!end) {
    Error error = end.error();
    if (error.kind == ErrorKind::kNotFound) {
      error = {ErrorKind::kUnsupported,
               fmt::format("Slurm is not installed here: {}", error.message)};
    }
    return tl::unexpected(std::move(error));
  }
  if (end->exit_code == 0) return end->out;
  std::string said(StripBlanks(end->err));
  std::ranges::replace(said, '\n', ' ');
  return Fail(IsUnreachable(said) ? ErrorKind::kTransient : ErrorKind::kUsage,
              "{}: {} (exit status {})",
              words[0],
              said,
              end->exit_code);
}

}  // namespace

bool SlurmJob::IsAlive() const {
  constexpr std::array<std::string_view, 12> kAlive = {"PENDING",
                                                       "RUNNING",
                                                       "SUSPENDED",
                                                       "CONFIGURING",
                                                       "COMPLETING",
                                                       "REQUEUED",
                                                       "REQUEUE_HOLD",
                                                       "REQUEUE_FED",
                                                       "RESIZING",
                                                       "SIGNALING",
                                                       "STAGE_OUT",
                                                       "STOPPED"};
  return std::ranges::find(kAlive, state) != kAlive.end();
}

Result<std::vector<SlurmJob>> ParseSqueue(std::string_view text) {
  constexpr std::size_t kFields = 7;
  std::vector<SlurmJob> jobs;
  for (const std::string_view line : Split(text, '\n')) {
    if (StripBlanks(line).empty()) continue;
    const std::vector<std::string_view> fields = Split(line, '|');
    if (fields.size() != kFields) {
      return Fail(ErrorKind::kInvalidData, "squeue: want {} fields, have '{}'", kFields, line);
    }
    jobs.push_back({.id = std::string(fields[0]),
                    .index = ParseIndex(fields[1]).value_or(-1),
                    .name = std::string(fields[2]),
                    .comment = std::string(fields[3]),
                    .state = std::string(fields[4]),
                    .reason = std::string(fields[5]),
                    .node = std::string(fields[6])});
  }
  return jobs;
}

Result<std::string> ParseSbatch(std::string_view text) {
  // Sites let sbatch print greetings first.
  const std::string_view stripped = StripBlanks(text);
  const std::string_view line = Split(stripped, '\n').back();
  const std::string_view id = Split(StripBlanks(line), ';').front();
  const bool is_number =
      !id.empty() && std::ranges::all_of(id, [](char c) { return c >= '0' && c <= '9'; });
  if (!is_number) {
    return Fail(ErrorKind::kInvalidData, "sbatch: want the number of a job, have '{}'", stripped);
  }
  return std::string(id);
}

int ParseMaxArraySize(std::string_view text) {
  for (const std::string_view line : Split(text, '\n')) {
    if (!line.starts_with("MaxArraySize")) continue;
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) break;
    const std::optional<int> size = ParseIndex(StripBlanks(line.substr(equals + 1)));
    if (size && *size > 0) return *size;
  }
  return kDefaultMaxArraySize;
}

Result<std::string> Slurm::Ask(const std::vector<std::string>& words) {
  return Patiently(patience_, [&](int /*attempt*/) { return Call(words, patience_.timeout); });
}

Result<std::string> Slurm::Submit(const SlurmSubmission& submission, bool may_be_there) {
  std::vector<std::string> words = {
      "sbatch", "--parsable", "--job-name=" + submission.name, "--comment=" + submission.comment};
  words.insert(words.end(), submission.arguments.begin(), submission.arguments.end());
  return Patiently(patience_, [&](int attempt) -> Result<std::string> {
    if (may_be_there || attempt > 1) {
      DF_ASSIGN_OR_RETURN(const std::vector<SlurmJob> jobs, Jobs({submission.name}));
      const auto found = std::ranges::find(jobs, submission.comment, &SlurmJob::comment);
      if (found != jobs.end()) return found->id;
    }
    return Call(words, patience_.timeout).and_then(ParseSbatch);
  });
}

Result<std::vector<SlurmJob>> Slurm::Jobs(const std::vector<std::string>& names) {
  return Ask({"squeue",
              "--noheader",
              "--array",
              "--states=all",
              fmt::format("--name={}", fmt::join(names, ",")),
              "--format=%F|%K|%j|%k|%T|%r|%N"})
      .and_then(ParseSqueue);
}

Result<int> Slurm::MaxArraySize() {
  return Ask({"scontrol", "show", "config"}).map(ParseMaxArraySize);
}

Result<std::string> Slurm::StateOf(const std::string& id) {
  return Ask({"scontrol", "--oneliner", "show", "job", id})
      .and_then([&](const std::string& text) -> Result<std::string> {
        constexpr std::string_view kKey = " JobState=";
        const std::size_t at = text.find(kKey);
        if (at == std::string::npos) {
          return Fail(ErrorKind::kInvalidData, "scontrol: job {} has no JobState: {}", id, text);
        }
        const std::size_t begin = at + kKey.size();
        return text.substr(begin, text.find_first_of(" \n", begin) - begin);
      });
}

Status Slurm::Requeue(const std::string& id) {
  return Ask({"scontrol", "requeue", id}).map([](const std::string&) {});
}

Status Slurm::Cancel(const std::vector<std::string>& names, const std::string& state) {
  for (const std::string& name : names) {
    std::vector<std::string> words = {"scancel", "--name=" + name};
    if (!state.empty()) words.push_back("--state=" + state);
    DF_RETURN_IF_ERROR(Ask(words));
  }
  return {};
}

}  // namespace droidflow

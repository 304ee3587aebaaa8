#include "droidflow/pipeline/run_fetches.h"

#include "droidflow/core/stop.h"
#include "droidflow/io/listing_cache.h"
#include "droidflow/pipeline/episode_fetcher.h"
#include "droidflow/pipeline/raw_roots.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <poll.h>
#include <span>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr int kMostTries = 3;
constexpr std::size_t kMostSilent = 3;

std::string LineOf(const nlohmann::json& message) {
  return message.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

/// Cuts whole lines off what came.
std::vector<std::string> TakeLines(std::string& heard) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t end; (end = heard.find('\n', begin)) != std::string::npos; begin = end + 1) {
    lines.push_back(heard.substr(begin, end - begin));
  }
  heard.erase(0, begin);
  return lines;
}

/// Fetches what the coordinator asks for, one line each, until it hangs up.
class FetchProcess {
 public:
  FetchProcess(const MetadataOptions& options, int socket) : options_(options), socket_(socket) {}

  void Run() {
    std::vector<std::thread> threads;
    threads.reserve(static_cast<std::size_t>(options_.fetch.jobs));
    for (int i = 0; i < options_.fetch.jobs; ++i) threads.emplace_back([this] { Work(); });
    std::string heard;
    std::array<char, 4096> buffer{};
    for (;;) {
      const ssize_t count = read(socket_, buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) break;
      heard.append(buffer.data(), static_cast<std::size_t>(count));
      for (std::string& line : TakeLines(heard)) {
        const std::scoped_lock lock(mutex_);
        lines_.push_back(std::move(line));
        has_more_.notify_one();
      }
    }
    _exit(0);
  }

 private:
  struct Bucket {
    std::unique_ptr<Source> source;
    std::unique_ptr<Source> listed;  ///< with the run's listings
    std::unique_ptr<EpisodeFetcher> fetcher;
  };

  void Work() {
    for (;;) {
      std::string line;
      {
        std::unique_lock lock(mutex_);
        has_more_.wait(lock, [this] { return !lines_.empty(); });
        line = std::move(lines_.front());
        lines_.pop_front();
      }
      const nlohmann::json asked = nlohmann::json::parse(line);
      const std::string path = asked["path"];
      const Result<std::uint64_t> bytes = Fetch(asked["bucket"], path);
      nlohmann::json answer = {{"path", path}};
      if (bytes) {
        answer["bytes"] = *bytes;
      } else {
        answer["kind"] = static_cast<int>(bytes.error().kind);
        answer["status"] = bytes.error().status;
        answer["message"] = bytes.error().message;
      }
      const std::string text = LineOf(answer);
      const std::scoped_lock lock(mutex_);
      (void)WriteAll(socket_, std::as_bytes(std::span(text)), "socket");
    }
  }

  Result<std::uint64_t> Fetch(const std::string& url, const std::string& path) {
    EpisodeFetcher* fetcher = nullptr;
    {
      const std::scoped_lock lock(mutex_);
      Bucket& bucket = buckets_[url];
      if (!bucket.fetcher) {
        DF_ASSIGN_OR_RETURN(bucket.source, OpenRawSource(url, options_.fetch));
        bucket.listed = KeepListings(*bucket.source, ListingsFolder(options_));
        bucket.fetcher = std::make_unique<EpisodeFetcher>(*bucket.listed, options_);
      }
      fetcher = bucket.fetcher.get();
    }
    return fetcher->Fetch(path, FetchedFolder(options_));
  }

  const MetadataOptions& options_;
  const int socket_;
  std::mutex mutex_;
  std::condition_variable has_more_;
  std::deque<std::string> lines_;
  std::map<std::string, Bucket> buckets_;
};

}  // namespace

struct RunFetches::Process {
  pid_t pid = -1;
  UniqueFd socket;
  std::string heard;
};

void RunFetches::EndProcess::operator()(Process* process) const {
  if (process->pid > 0) {
    kill(process->pid, SIGKILL);
    while (waitpid(process->pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  delete process;
}

RunFetches::~RunFetches() { Stop(); }

void RunFetches::Stop() {
  process_.reset();
  if (!folder_.empty()) (void)RemoveTree(folder_);
}

Result<RunFetches> RunFetches::Start(const MetadataOptions& options,
                                     std::vector<FetchTask> tasks,
                                     int ahead) {
  RunFetches fetches;
  for (FetchTask& task : tasks) {
    if (task.bucket.empty()) {
      fetches.here_.push_back(std::move(task.task));
    } else {
      fetches.waiting_.push_back({std::move(task)});
    }
  }
  if (HasBucket(options.input)) DF_RETURN_IF_ERROR(RemoveTree(FetchedFolder(options)));
  if (fetches.waiting_.empty()) return fetches;
  fetches.folder_ = FetchedFolder(options);
  fetches.ahead_ = static_cast<std::size_t>(ahead);
  DF_RETURN_IF_ERROR(MakeDirectories(fetches.folder_));

  std::unique_ptr<Process, EndProcess> process(new Process);
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return FailErrno(errno, "cannot make a socket");
  }
  process->socket = UniqueFd(ends[0]);
  UniqueFd other_end(ends[1]);
  const pid_t coordinator = getpid();
  const pid_t pid = fork();
  if (pid < 0) return FailErrno(errno, "cannot start the process that fetches");
  if (pid == 0) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != coordinator) _exit(1);
    process->socket.Close();
    IgnoreStopSignals();
    std::signal(SIGPIPE, SIG_IGN);
    FetchProcess(options, other_end.get()).Run();
  }
  process->pid = pid;
  fetches.process_ = std::move(process);
  return fetches;
}

bool RunFetches::HasNext() const {
  const bool is_all = waiting_.empty() && asked_.empty();
  return !ready_.empty() || !here_.empty() || is_all || !outcome_;
}

std::optional<Task> RunFetches::Next() {
  Task task;
  if (!ready_.empty()) {
    task = std::move(ready_.front().fetch.task);
    ready_.pop_front();
  } else if (!here_.empty()) {
    task = std::move(here_.front());
    here_.pop_front();
  } else {
    return std::nullopt;
  }
  return task;
}

int RunFetches::wakes() const { return process_ ? process_->socket.get() : -1; }

void RunFetches::Poll(std::uint64_t room_bytes) {
  if (!process_) return;
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t count = recv(process_->socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count <= 0) {
      End(Fail(ErrorKind::kInternal, "the process that fetches raw data has died"));
      return;
    }
    process_->heard.append(buffer.data(), static_cast<std::size_t>(count));
  }
  for (const std::string& line : TakeLines(process_->heard)) {
    Hear(line);
    if (!process_) return;
  }
  if (waiting_.empty() && asked_.empty()) process_.reset();
  while (
      process_ && !waiting_.empty() && OnItsWay() < ahead_ &&
      (held_bytes_.empty() || all_held_bytes_ + waiting_.front().fetch.fetch_bytes <= room_bytes)) {
    Ask();
  }
}

void RunFetches::Ask() {
  Asked asked = std::move(waiting_.front());
  waiting_.pop_front();
  const std::string path = asked.fetch.task.payload;
  const std::string text = LineOf({{"path", path}, {"bucket", asked.fetch.bucket}});
  all_held_bytes_ += held_bytes_[path] = asked.fetch.fetch_bytes;
  asked_.emplace(path, std::move(asked));
  // A process that has died is noticed by whoever reads.
  (void)send(process_->socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
}

void RunFetches::Hear(const std::string& line) {
  const nlohmann::json answer = nlohmann::json::parse(line);
  const auto found = asked_.find(answer["path"].get<std::string>());
  Asked asked = std::move(found->second);
  asked_.erase(found);
  if (answer.contains("bytes")) {
    TakeAsAnswer();
    ready_.push_back(std::move(asked));
    return;
  }
  Release(asked.fetch.task);
  Error error{static_cast<ErrorKind>(answer["kind"].get<int>()),
              answer["message"].get<std::string>(),
              answer["status"].get<std::string>()};
  switch (error.kind) {
    case ErrorKind::kInvalidData:
    case ErrorKind::kNotFound:
      TakeAsAnswer();
      break;
    case ErrorKind::kTransient: {
      silent_.insert(asked.fetch.task.payload);
      const bool is_last_try = ++asked.tries == kMostTries;
      if (silent_.size() == kMostSilent || (is_last_try && !has_answered_)) {
        error.message =
            fmt::format("raw data cannot be fetched, run again to go on: {}", error.message);
        End(tl::unexpected(std::move(error)));
        return;
      }
      if (!is_last_try) {
        waiting_.push_back(std::move(asked));
        return;
      }
      if (error.status.empty()) error.status = source_status::kNotFetched;
      break;
    }
    default:
      // Nothing is wrong with the episode.
      End(tl::unexpected(std::move(error)));
      return;
  }
  failures_.push_back({std::move(asked.fetch.task), std::move(error)});
}

void RunFetches::TakeAsAnswer() {
  silent_.clear();
  has_answered_ = true;
}

void RunFetches::End(Status outcome) {
  outcome_ = std::move(outcome);
  waiting_.clear();
  asked_.clear();
  process_.reset();
}

std::vector<RunFetches::Failure> RunFetches::TakeFailures() { return std::exchange(failures_, {}); }

void RunFetches::Release(const Task& task) {
  const auto held = held_bytes_.find(task.payload);
  if (held == held_bytes_.end()) return;
  all_held_bytes_ -= held->second;
  held_bytes_.erase(held);
  (void)RemoveTree(folder_ / task.payload);
}

}  // namespace droidflow

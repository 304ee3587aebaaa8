#include "droidflow/jobs/worker_pool.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/jobs/wire_internal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <iterator>
#include <poll.h>
#include <span>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using TimePoint = steady_clock::time_point;

constexpr milliseconds kTick{200};
constexpr milliseconds kQuietEnd{2000};  // for workers without a task to leave by themselves
constexpr int kMaxStartFailures = 3;     // deaths in a row of a slot's workers before one is ready
constexpr std::size_t kTail_bytes = 1000;  // of a worker's output, for the message of a crash
constexpr std::size_t kRead_bytes = 65536;
constexpr int kMaxReadsOfOutput =
    64;  // a worker that prints without end must not hold up the others

enum : int { kExitDone = 0, kExitOrphan = 97, kExitNoDescriptors = 98 };

std::uint64_t PeakRssBytes(const rusage& usage) {
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

std::string SignalName(int signal_number) {
  const char* name = sigabbrev_np(signal_number);
  return name == nullptr ? fmt::format("signal {}", signal_number) : fmt::format("SIG{}", name);
}

// ---------------------------------------------------------------- in the worker

bool SendFrame(int socket, std::string_view kind, std::string_view content) {
  std::string body;
  wire::AppendText(body, kind);
  wire::AppendText(body, content);
  std::string frame;
  wire::AppendText(frame, body);
  return WriteAll(socket, std::as_bytes(std::span(frame)), "the coordinator").has_value();
}

/// The next message; nothing when the coordinator has closed its end.
std::optional<std::string> ReceiveFrame(int socket, wire::FrameBuffer& frames) {
  std::array<char, kRead_bytes> bytes;
  for (;;) {
    Result<std::optional<std::string>> body = frames.Take();
    DF_CHECK(body.has_value(), "{}", body.error().message);
    if (*body) return **std::move(body);
    const ssize_t count = read(socket, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return std::nullopt;
    frames.Append({bytes.data(), static_cast<std::size_t>(count)});
  }
}

/// Tasks until the coordinator has no more. noexcept: an exception must end this process here and
/// not unwind into the copy of the coordinator that called fork.
void ServeTasks(int socket,
                WorkerContext context,
                const WorkerPool::Work& work,
                const WorkerPool::Setup& setup) noexcept {
  if (setup) {
    if (const Status ready = setup(context); !ready) {
      SendFrame(socket, wire::kSetupFailed, wire::EncodeError(ready.error()));
      return;
    }
  }
  if (!SendFrame(socket, wire::kReady, "")) return;
  wire::FrameBuffer frames;
  while (const std::optional<std::string> body = ReceiveFrame(socket, frames)) {
    const std::optional<wire::TaskMessage> message = wire::DecodeTask(*body);
    DF_CHECK(message.has_value(), "{} bytes", body->size());
    context.attempt = message->attempt;
    TaskResult result = work(message->task, context);
    rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    result.pid = getpid();
    result.peak_rss_bytes = PeakRssBytes(usage);
    if (!SendFrame(socket, wire::kResult, wire::EncodeResult(result))) return;
  }
}

/// What a forked process does first and last. `output` becomes its stdout and stderr.
[[noreturn]] void BeWorker(pid_t coordinator,
                           int socket,
                           int output,
                           const WorkerContext& context,
                           const WorkerPool::Work& work,
                           const WorkerPool::Setup& setup) {
  // The coordinator may have died between the fork and the request to die with it.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != coordinator) _exit(kExitOrphan);
  IgnoreStopSignals();
  std::signal(SIGPIPE, SIG_IGN);
  const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
      dup2(output, STDERR_FILENO) < 0) {
    _exit(kExitNoDescriptors);
  }
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  ServeTasks(socket, context, work, setup);
  std::fflush(stdout);
  _exit(kExitDone);  // not exit: what the coordinator registered to do at its end is not ours to do
}

// ---------------------------------------------------------------- in the coordinator

struct Attempt {
  Task task;
  int number = 1;
  TimePoint not_before = {};  // of one that waits to be tried again
};

enum class Phase { kNone, kStarting, kIdle, kBusy, kLeaving };

/// A place for a worker, and the worker in it.
struct Slot {
  int index = 0;
  int start_failures = 0;

  Phase phase = Phase::kNone;
  pid_t pid = 0;
  UniqueFd socket = {};
  UniqueFd output = {};
  wire::FrameBuffer frames = {};
  std::string outbox = {};  // not sent yet
  std::string line = {};    // of output, not ended yet
  std::string tail = {};    // of output since the task began
  int tasks_done = 0;
  std::optional<Error> killed_for = {};    // why we killed it
  std::optional<TimePoint> deadline = {};  // of the phase
  Attempt attempt = {};                    // in kBusy
  std::int64_t started_unix_ms = 0;        // in kBusy
};

class Coordinator {
 public:
  Coordinator(const WorkerPoolOptions& options,
              const WorkerPool::Work& work,
              const WorkerPool::Setup& setup,
              const PoolHandlers& handlers)
      : options_(options),
        work_(work),
        setup_(setup),
        handlers_(handlers),
        slots_(options.workers) {
    for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i].index = static_cast<int>(i);
  }

  Status Run() {
    Status status = Loop();
    EndWorkers();
    if (!status) return status;
    if (stopped_for_) return tl::unexpected(*stopped_for_);
    return {};
  }

 private:
  Status Loop();
  void EndWorkers();

  Result<bool> HasWorkFor(std::size_t workers);
  Result<std::optional<Attempt>> NextAttempt();
  Status HandOut();
  Status StartWorker(Slot& slot);
  Status StartAttempt(Slot& slot, Attempt attempt);

  void Wait();
  void Send(Slot& slot);
  void ReadOutput(Slot& slot);
  void TakeOutput(Slot& slot, std::string_view bytes);
  Status Receive(Slot& slot);
  Status OnMessage(Slot& slot, std::string_view body);
  Status OnResult(Slot& slot, TaskResult result);
  Status OnDeath(Slot& slot);
  Status CheckDeadlines();
  Status CheckDeaths();
  static void Kill(Slot& slot, Error reason);
  Error DescribeDeath(const Slot& slot, int wait_status) const;

  Status EndAttempt(const Attempt& attempt, TaskResult result);
  Status Drop(const Task& task, const Error& reason);
  Status BeginStop(Error reason);

  [[nodiscard]] bool IsFinished() const;
  [[nodiscard]] WorkerContext ContextOf(const Slot& slot) const {
    return {.worker = slot.index, .attempt = slot.phase == Phase::kBusy ? slot.attempt.number : 0};
  }

  const WorkerPoolOptions& options_;
  const WorkerPool::Work& work_;
  const WorkerPool::Setup& setup_;
  const PoolHandlers& handlers_;
  std::vector<Slot> slots_;
  std::deque<Attempt> fresh_;    // from next(), not started
  std::deque<Attempt> retries_;  // to be tried again
  bool exhausted_ = false;
  std::optional<Error> stopped_for_;
  TimePoint stop_deadline_;
};

Status Coordinator::Loop() {
  for (;;) {
    if (const int signal_number = StopSignal(); signal_number != 0 && !stopped_for_) {
      DF_RETURN_IF_ERROR(BeginStop(
          {ErrorKind::kCancelled, fmt::format("stopped by {}", SignalName(signal_number))}));
    }
    if (!stopped_for_) DF_RETURN_IF_ERROR(HandOut());
    if (IsFinished()) return {};
    Wait();
    for (Slot& slot : slots_) {
      if (!slot.outbox.empty()) Send(slot);
      if (slot.output.valid()) ReadOutput(slot);
      if (slot.socket.valid()) DF_RETURN_IF_ERROR(Receive(slot));
    }
    DF_RETURN_IF_ERROR(CheckDeadlines());
    DF_RETURN_IF_ERROR(CheckDeaths());
    if (handlers_.tick) handlers_.tick();
  }
}

bool Coordinator::IsFinished() const {
  const bool is_busy =
      std::ranges::any_of(slots_, [](const Slot& slot) { return slot.phase == Phase::kBusy; });
  return !is_busy && (stopped_for_ || (exhausted_ && fresh_.empty() && retries_.empty()));
}

Result<bool> Coordinator::HasWorkFor(std::size_t workers) {
  const auto now = steady_clock::now();
  const auto due =
      std::ranges::count_if(retries_, [&](const Attempt& a) { return a.not_before <= now; });
  while (fresh_.size() + static_cast<std::size_t>(due) < workers && !exhausted_ &&
         (!handlers_.has_next || handlers_.has_next())) {
    DF_ASSIGN_OR_RETURN(std::optional<Task> task, handlers_.next());
    if (task) {
      fresh_.push_back({.task = *std::move(task)});
    } else {
      exhausted_ = true;
    }
  }
  return fresh_.size() + static_cast<std::size_t>(due) >= workers;
}

Result<std::optional<Attempt>> Coordinator::NextAttempt() {
  DF_ASSIGN_OR_RETURN(const bool has_work, HasWorkFor(1));
  if (!has_work) return std::nullopt;
  const auto now = steady_clock::now();
  const auto due =
      std::ranges::find_if(retries_, [&](const Attempt& a) { return a.not_before <= now; });
  std::deque<Attempt>& queue = due == retries_.end() ? fresh_ : retries_;
  const auto position = due == retries_.end() ? fresh_.begin() : due;
  Attempt attempt = std::move(*position);
  queue.erase(position);
  return attempt;
}

Status Coordinator::HandOut() {
  for (Slot& slot : slots_) {
    if (slot.phase != Phase::kIdle) continue;
    // Whether there is more to do must be known also while none of it may start.
    DF_ASSIGN_OR_RETURN(const bool has_work, HasWorkFor(1));
    if (!has_work || (handlers_.may_start && !handlers_.may_start())) return {};
    DF_ASSIGN_OR_RETURN(std::optional<Attempt> attempt, NextAttempt());
    if (!attempt) return {};
    DF_RETURN_IF_ERROR(StartAttempt(slot, *std::move(attempt)));
  }
  auto starting = static_cast<std::size_t>(std::ranges::count_if(
      slots_, [](const Slot& slot) { return slot.phase == Phase::kStarting; }));
  for (Slot& slot : slots_) {
    if (slot.phase != Phase::kNone) continue;
    DF_ASSIGN_OR_RETURN(const bool has_work, HasWorkFor(starting + 1));
    if (!has_work) return {};
    if (Status started = StartWorker(slot); !started) {
      // The machine is out of processes or descriptors: go on with the workers there are.
      const bool is_alone =
          std::ranges::all_of(slots_, [](const Slot& s) { return s.phase == Phase::kNone; });
      return is_alone ? started : Status{};
    }
    ++starting;
  }
  return {};
}

Status Coordinator::StartWorker(Slot& slot) {
  int sockets[2];
  int pipes[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
    return FailErrno(errno, "cannot make a socket pair");
  }
  UniqueFd socket(sockets[0]);
  const UniqueFd worker_socket(sockets[1]);
  if (pipe2(pipes, O_CLOEXEC) != 0) return FailErrno(errno, "cannot make a pipe");
  UniqueFd output(pipes[0]);
  const UniqueFd worker_output(pipes[1]);
  if (fcntl(output.get(), F_SETFL, O_NONBLOCK) != 0) {
    return FailErrno(errno, "cannot set up a pipe");
  }

  std::fflush(nullptr);  // what is buffered here must not be written by the worker again
  const pid_t coordinator = getpid();
  const pid_t pid = fork();
  if (pid < 0) return FailErrno(errno, "cannot start a worker process");
  if (pid == 0) {
    socket.Close();
    output.Close();
    for (Slot& other : slots_) {
      other.socket.Close();
      other.output.Close();
    }
    BeWorker(coordinator,
             worker_socket.get(),
             worker_output.get(),
             {.worker = slot.index},
             work_,
             setup_);
  }
  slot = Slot{.index = slot.index,
              .start_failures = slot.start_failures,
              .phase = Phase::kStarting,
              .pid = pid,
              .socket = std::move(socket),
              .output = std::move(output)};
  if (options_.task_timeout.count() > 0) {
    slot.deadline = steady_clock::now() + options_.task_timeout;
  }
  return {};
}

Status Coordinator::StartAttempt(Slot& slot, Attempt attempt) {
  slot.phase = Phase::kBusy;
  slot.attempt = std::move(attempt);
  slot.started_unix_ms = UnixNowMs();
  slot.tail.clear();
  slot.deadline.reset();
  if (options_.task_timeout.count() > 0) {
    slot.deadline = steady_clock::now() + options_.task_timeout;
  }
  if (handlers_.on_started) {
    DF_RETURN_IF_ERROR(handlers_.on_started(slot.attempt.task, ContextOf(slot)));
  }
  wire::AppendText(slot.outbox,
                   wire::EncodeTask({.task = slot.attempt.task, .attempt = slot.attempt.number}));
  Send(slot);
  return {};
}

/// Sleeps until something may have happened, a tick at most.
void Coordinator::Wait() {
  const auto now = steady_clock::now();
  auto wake = now + kTick;
  std::vector<pollfd> polled;
  if (!stopped_for_) {
    polled.push_back({.fd = StopFd(), .events = POLLIN, .revents = 0});
    if (handlers_.wakes) {
      polled.push_back({.fd = handlers_.wakes(), .events = POLLIN, .revents = 0});
    }
    for (const Attempt& attempt : retries_) wake = std::min(wake, attempt.not_before);
  } else if (now < stop_deadline_) {
    wake = std::min(wake, stop_deadline_);
  }
  for (const Slot& slot : slots_) {
    const short events = slot.outbox.empty() ? POLLIN : POLLIN | POLLOUT;
    if (slot.socket.valid())
      polled.push_back({.fd = slot.socket.get(), .events = events, .revents = 0});
    if (slot.output.valid())
      polled.push_back({.fd = slot.output.get(), .events = POLLIN, .revents = 0});
    if (slot.deadline) wake = std::min(wake, *slot.deadline);
  }
  const auto timeout = std::chrono::ceil<milliseconds>(std::max(wake, now) - now);
  // An error is an interruption by a signal: the loop looks at everything again anyhow.
  (void)poll(polled.data(), polled.size(), static_cast<int>(timeout.count()));
}

void Coordinator::Send(Slot& slot) {
  while (!slot.outbox.empty()) {
    const ssize_t count = send(
        slot.socket.get(), slot.outbox.data(), slot.outbox.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) {
      slot.outbox.clear();  // it is dead, as Receive will see
      return;
    }
    slot.outbox.erase(0, static_cast<std::size_t>(count));
  }
}

void Coordinator::ReadOutput(Slot& slot) {
  std::array<char, kRead_bytes> bytes;
  for (int i = 0; i < kMaxReadsOfOutput; ++i) {
    const ssize_t count = read(slot.output.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return;
    if (count == 0) {
      slot.output.Close();
      return;
    }
    TakeOutput(slot, {bytes.data(), static_cast<std::size_t>(count)});
  }
}

void Coordinator::TakeOutput(Slot& slot, std::string_view bytes) {
  slot.tail += bytes;
  if (slot.tail.size() > kTail_bytes) slot.tail.erase(0, slot.tail.size() - kTail_bytes);
  if (!handlers_.on_output) return;
  slot.line += bytes;
  std::size_t begin = 0;
  for (std::size_t end = 0; (end = slot.line.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    handlers_.on_output(ContextOf(slot), std::string_view(slot.line).substr(begin, end - begin));
  }
  slot.line.erase(0, begin);
  if (slot.line.size() > kRead_bytes) {
    handlers_.on_output(ContextOf(slot), std::exchange(slot.line, {}));
  }
}

Status Coordinator::Receive(Slot& slot) {
  std::array<char, kRead_bytes> bytes;
  bool is_closed = false;
  for (;;) {
    const ssize_t count = recv(slot.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count <= 0) {
      is_closed = true;
      break;
    }
    slot.frames.Append({bytes.data(), static_cast<std::size_t>(count)});
  }
  for (;;) {
    Result<std::optional<std::string>> body = slot.frames.Take();
    if (!body) {
      Kill(slot, std::move(body).error());
      break;
    }
    if (!*body) break;
    DF_RETURN_IF_ERROR(OnMessage(slot, **body));
  }
  // A worker that closes its socket is dying or of no use.
  if (is_closed) DF_RETURN_IF_ERROR(OnDeath(slot));
  return {};
}

Status Coordinator::OnMessage(Slot& slot, std::string_view body) {
  wire::FieldReader reader(body);
  const std::optional<std::string_view> kind = reader.Text();
  const std::optional<std::string_view> content = reader.Text();
  if (kind && content) {
    if (*kind == wire::kReady && slot.phase == Phase::kStarting) {
      slot.phase = Phase::kIdle;
      slot.deadline.reset();
      slot.start_failures = 0;
      return {};
    }
    if (*kind == wire::kSetupFailed && slot.phase == Phase::kStarting) {
      if (const std::optional<Error> error = wire::DecodeError(*content)) {
        return tl::unexpected(During(fmt::format("setting up worker {}", slot.index))(*error));
      }
    }
    if (*kind == wire::kResult && slot.phase == Phase::kBusy) {
      if (std::optional<TaskResult> result = wire::DecodeResult(*content)) {
        return OnResult(slot, *std::move(result));
      }
    }
  }
  Kill(slot, {ErrorKind::kInternal, fmt::format("it sent {} bytes of nonsense", body.size())});
  return {};
}

Status Coordinator::OnResult(Slot& slot, TaskResult result) {
  result.worker = slot.index;
  result.attempt = slot.attempt.number;
  result.started_unix_ms = slot.started_unix_ms;
  result.finished_unix_ms = UnixNowMs();
  const Attempt attempt = std::exchange(slot.attempt, {});
  slot.phase = Phase::kIdle;
  slot.deadline.reset();
  if (++slot.tasks_done == options_.recycle_after || result.leave) {
    slot.phase = Phase::kLeaving;
    slot.deadline = steady_clock::now() + kQuietEnd;
    shutdown(slot.socket.get(), SHUT_WR);
  }
  return EndAttempt(attempt, std::move(result));
}

Status Coordinator::EndAttempt(const Attempt& attempt, TaskResult result) {
  if (result.error && result.error->kind == ErrorKind::kNoSpace) {
    DF_RETURN_IF_ERROR(Drop(attempt.task, *result.error));
    if (stopped_for_) return {};
    return BeginStop(*result.error);
  }
  const bool may_pass = result.error && result.error->kind == ErrorKind::kTransient;
  if (!may_pass || attempt.number >= options_.max_attempts) {
    return handlers_.on_finished(attempt.task, result);
  }
  if (stopped_for_) return Drop(attempt.task, *result.error);
  if (handlers_.on_attempt_failed) {
    DF_RETURN_IF_ERROR(handlers_.on_attempt_failed(attempt.task, result));
  }
  retries_.push_back({.task = attempt.task,
                      .number = attempt.number + 1,
                      .not_before = steady_clock::now() + options_.retry_delay * attempt.number});
  return {};
}

Status Coordinator::Drop(const Task& task, const Error& reason) {
  if (!handlers_.on_dropped) return {};
  return handlers_.on_dropped(task, reason);
}

Status Coordinator::BeginStop(Error reason) {
  stopped_for_ = std::move(reason);
  stop_deadline_ = steady_clock::now() + options_.stop_grace;
  fresh_.clear();
  for (const Attempt& attempt : std::exchange(retries_, {})) {
    DF_RETURN_IF_ERROR(Drop(attempt.task, *stopped_for_));
  }
  return {};
}

void Coordinator::Kill(Slot& slot, Error reason) {
  if (slot.killed_for) return;
  slot.killed_for = std::move(reason);
  slot.deadline.reset();
  kill(slot.pid, SIGKILL);
}

Error Coordinator::DescribeDeath(const Slot& slot, int wait_status) const {
  std::string message = fmt::format("worker {} (process {}) ", slot.index, slot.pid);
  std::string status = "crashed";
  if (slot.killed_for) {
    message += fmt::format("was killed: {}", slot.killed_for->message);
    if (!slot.killed_for->status.empty()) status = slot.killed_for->status;
  } else if (WIFSIGNALED(wait_status)) {
    message += fmt::format("was ended by {}", SignalName(WTERMSIG(wait_status)));
    if (WTERMSIG(wait_status) == SIGKILL) message += ", perhaps for lack of memory";
  } else {
    message += fmt::format("ended with exit code {}", WEXITSTATUS(wait_status));
  }
  std::string tail = slot.tail;
  while (!tail.empty() && tail.back() == '\n') tail.pop_back();
  if (!tail.empty()) message += fmt::format("; it last printed: {}", tail);
  return {.kind = ErrorKind::kTransient, .message = message, .status = status};
}

Status Coordinator::OnDeath(Slot& slot) {
  if (slot.output.valid()) ReadOutput(slot);
  // It has ended or, with its socket closed, is about to; this makes sure, so that wait4 returns.
  kill(slot.pid, SIGKILL);
  int wait_status = 0;
  rusage usage = {};
  while (wait4(slot.pid, &wait_status, 0, &usage) < 0 && errno == EINTR) {
  }
  const Slot dead =
      std::exchange(slot, Slot{.index = slot.index, .start_failures = slot.start_failures});
  switch (dead.phase) {
    case Phase::kNone:
    case Phase::kIdle:
    case Phase::kLeaving:
      return {};
    case Phase::kStarting: {
      if (++slot.start_failures < kMaxStartFailures) return {};
      return Fail(ErrorKind::kInternal,
                  "{} before it was ready, {} times in a row",
                  DescribeDeath(dead, wait_status).message,
                  slot.start_failures);
    }
    case Phase::kBusy:
      break;
  }
  if (stopped_for_ && dead.killed_for && dead.killed_for->kind == ErrorKind::kCancelled) {
    return Drop(dead.attempt.task, *dead.killed_for);
  }
  TaskResult result = FailedTask(DescribeDeath(dead, wait_status));
  result.worker = dead.index;
  result.attempt = dead.attempt.number;
  result.pid = dead.pid;
  result.peak_rss_bytes = PeakRssBytes(usage);
  result.started_unix_ms = dead.started_unix_ms;
  result.finished_unix_ms = UnixNowMs();
  return EndAttempt(dead.attempt, std::move(result));
}

Status Coordinator::CheckDeadlines() {
  const auto now = steady_clock::now();
  for (Slot& slot : slots_) {
    if (slot.deadline && now >= *slot.deadline) {
      Kill(slot,
           {.kind = ErrorKind::kTransient,
            .message = fmt::format("it was not done after {} s",
                                   std::chrono::duration<double>(options_.task_timeout).count()),
            .status = "timeout"});
    }
    if (stopped_for_ && now >= stop_deadline_ && slot.phase == Phase::kBusy) {
      Kill(slot, {ErrorKind::kCancelled, "dropped unfinished: " + stopped_for_->message});
    }
  }
  return {};
}

/// Finds deaths that no socket tells of, because the worker's own children hold it open.
Status Coordinator::CheckDeaths() {
  for (Slot& slot : slots_) {
    if (slot.phase == Phase::kNone) continue;
    siginfo_t info = {};
    if (waitid(P_PID, static_cast<id_t>(slot.pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid != slot.pid) {
      continue;
    }
    DF_RETURN_IF_ERROR(Receive(slot));
    if (slot.phase != Phase::kNone) DF_RETURN_IF_ERROR(OnDeath(slot));
  }
  return {};
}

void Coordinator::EndWorkers() {
  for (Slot& slot : slots_) {
    if (slot.phase == Phase::kNone) continue;
    if (slot.phase == Phase::kBusy) {
      kill(slot.pid, SIGKILL);
    } else {
      shutdown(slot.socket.get(), SHUT_WR);
    }
  }
  const auto give_up = steady_clock::now() + kQuietEnd;
  for (Slot& slot : slots_) {
    if (slot.phase == Phase::kNone) continue;
    // Its end of the stream; anything before it is of no interest any more.
    std::array<char, kRead_bytes> bytes;
    for (;;) {
      const auto left = std::chrono::ceil<milliseconds>(give_up - steady_clock::now());
      pollfd polled = {.fd = slot.socket.get(), .events = POLLIN, .revents = 0};
      const int ready = poll(&polled, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0 || recv(slot.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) <= 0)
        break;
    }
    kill(slot.pid, SIGKILL);
    while (waitpid(slot.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    if (slot.output.valid()) ReadOutput(slot);
    slot = Slot{.index = slot.index};
  }
}

}  // namespace

WorkerPool::WorkerPool(const WorkerPoolOptions& options, Work work, Setup setup)
    : options_(options), work_(std::move(work)), setup_(std::move(setup)) {
  DF_CHECK(options_.workers >= 1, "{} workers", options_.workers);
  DF_CHECK(options_.max_attempts >= 1, "{} attempts", options_.max_attempts);
}

Status WorkerPool::Run(const PoolHandlers& handlers) {
  DF_CHECK(handlers.next && handlers.on_finished);
  return Coordinator(options_, work_, setup_, handlers).Run();
}

}  // namespace droidflow

#include "droidflow/pipeline/run_uploads.h"

#include "droidflow/core/stop.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/pipeline/hub_targets.h"
#include "droidflow/pipeline/upload_tree.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <mutex>
#include <new>
#include <poll.h>
#include <span>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

constexpr milliseconds kStopGrace = 10s;
constexpr milliseconds kCountPause = 2s;
constexpr std::size_t kEpisodesPerCall = 500;

/// What the process is to do, in memory that both see.
enum class Phase { kWait, kUpload, kFinish };

/// Messages to the coordinator: lines of JSON.
class Line {
 public:
  explicit Line(int fd) : fd_(fd) {}

  void Send(const char* kind, Json value) {
    Json message;
    message[kind] = std::move(value);
    const std::string text = message.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    const std::lock_guard lock(mutex_);
    (void)WriteAll(fd_, std::as_bytes(std::span(text)), "pipe");
  }

 private:
  int fd_;
  std::mutex mutex_;
};

Json ToJson(const Error& error) { return {{"status", error.status}, {"message", error.message}}; }

Status IndexAll(const fs::path& queue_dir, const std::vector<HubPlace>& places, HubLayout layout) {
  DF_ASSIGN_OR_RETURN(UploadQueue queue, UploadQueue::Open(queue_dir));
  for (const HubPlace& place : places) DF_RETURN_IF_ERROR(IndexPlace(queue, place, layout));
  return {};
}

Status UploadOfRun(const MetadataOptions& options, const std::atomic<Phase>& phase, Line& line) {
  const HubOptions& hub = options.hub;
  const fs::path queue_dir = options.RunDir();
  const auto note = [&](const std::string& text) {
    if (!text.empty()) line.Send("note", text);
  };
  DF_ASSIGN_OR_RETURN(const std::vector<HubPlace> places,
                      MakeHubPlaces(hub, options.pipeline, note));
  if (!hub.skip_check || hub.layout == HubLayout::kShards) {
    Status indexed = IndexAll(queue_dir, places, hub.layout);
    if (!hub.skip_check) {
      line.Send("indexed", indexed ? Json(nullptr) : ToJson(indexed.error()));
    }
    // Without knowing what is there, shards would have episodes twice.
    if (!indexed && hub.layout == HubLayout::kShards) return indexed;
  }
  while (phase == Phase::kWait && StopSignal() == 0) std::this_thread::sleep_for(20ms);
  return UploadToPlaces(
             queue_dir,
             places,
             hub,
             options.pipeline,
             {.finish = [&] { return phase == Phase::kFinish; },
              .stop = [] { return StopSignal() != 0; }},
             [&](const UploadEvent& event) { note(DescribeEvent(event)); },
             note)
      .status;
}

}  // namespace

struct RunUploads::Process {
  pid_t pid = -1;
  UniqueFd line;
  std::string heard;
  std::atomic<Phase>* phase = nullptr;
};

void RunUploads::EndProcess::operator()(Process* process) const {
  if (process->pid > 0) {
    kill(process->pid, SIGKILL);
    while (waitpid(process->pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  if (process->phase != nullptr) munmap(process->phase, sizeof(std::atomic<Phase>));
  delete process;
}

RunUploads::~RunUploads() = default;

fs::path RunUploads::RootOf(const std::string& destination) const {
  return destination == kMetadataDestination ? metadata_root_ : whole_root_;
}

Result<RunUploads> RunUploads::Look(const MetadataOptions& options) {
  RunUploads uploads;
  uploads.out_ = options.out;
  uploads.whole_root_ = options.full.batch_dir.empty() ? options.out : options.full.batch_dir;
  uploads.metadata_root_ = options.full.batch_metadata_dir.empty()
                               ? uploads.whole_root_
                               : fs::path(options.full.batch_metadata_dir);
  uploads.destinations_ = HubDestinations(options.hub, options.pipeline);
  std::error_code ignored;
  if (fs::exists(options.RunDir() / "upload.sqlite", ignored)) {
    if (Result<UploadQueue> queue = UploadQueue::Open(options.RunDir())) {
      uploads.queue_ = *std::move(queue);
    } else {
      uploads.notes_.push_back(queue.error().message);
    }
  }
  return uploads;
}

Result<RunUploads> RunUploads::Start(const MetadataOptions& options) {
  DF_ASSIGN_OR_RETURN(RunUploads uploads, Look(options));
  if (!options.hub.HasPlace()) return uploads;
  DF_RETURN_IF_ERROR(MakeHubPlaces(options.hub, options.pipeline));
  // Episodes that are not in a new queue are offered to it, if they are there.
  uploads.queue_.reset();
  uploads.notes_.clear();
  DF_ASSIGN_OR_RETURN(uploads.queue_,
                      OpenOrRebuildQueue(options.RunDir(), {}, {}, [&](const std::string& note) {
                        uploads.notes_.push_back(note);
                      }));
  for (const std::string& destination : uploads.destinations_) {
    DF_RETURN_IF_ERROR(uploads.queue_->Unpark(destination));
  }
  uploads.queue_.reset();  // a process must open it itself

  std::unique_ptr<Process, EndProcess> process(new Process);
  void* const memory = mmap(nullptr,
                            sizeof(std::atomic<Phase>),
                            PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS,
                            -1,
                            0);
  if (memory == MAP_FAILED) return FailErrno(errno, "cannot share memory between processes");
  process->phase = new (memory) std::atomic<Phase>(Phase::kWait);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return FailErrno(errno, "cannot make a pipe");
  process->line = UniqueFd(ends[0]);
  UniqueFd other_end(ends[1]);
  const pid_t coordinator = getpid();
  const pid_t pid = fork();
  if (pid < 0) return FailErrno(errno, "cannot start the process that uploads");
  if (pid == 0) {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != coordinator) _exit(1);
    OwnStopHandlers();
    std::signal(SIGINT, SIG_IGN);
    std::signal(SIGPIPE, SIG_IGN);
    Line line(other_end.get());
    const Status ended = UploadOfRun(options, *process->phase, line);
    line.Send("ended", ended ? Json(nullptr) : ToJson(ended.error()));
    _exit(0);
  }
  process->pid = pid;
  uploads.process_ = std::move(process);
  uploads.is_index_awaited_ = !options.hub.skip_check;
  DF_ASSIGN_OR_RETURN(uploads.queue_, UploadQueue::Open(options.RunDir()));
  return uploads;
}

void RunUploads::Hear(const std::string& line) {
  const Json message = Json::parse(line, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (message.contains("note")) notes_.push_back(message["note"].get<std::string>());
  if (message.contains("indexed")) {
    is_index_awaited_ = false;
    is_indexed_ = message["indexed"].is_null();
    if (!is_indexed_) {
      notes_.push_back(
          fmt::format("it is not known what was uploaded before, so all episodes are processed: {}",
                      message["indexed"]["message"].get<std::string>()));
    }
  }
  if (message.contains("ended") && !message["ended"].is_null()) {
    const Json& error = message["ended"];
    ended_ = tl::unexpected(Error{ErrorKind::kTransient,
                                  error["message"].get<std::string>(),
                                  error["status"].get<std::string>()});
    notes_.push_back(fmt::format("uploads have ended: {}", ended_.error().message));
  }
}

void RunUploads::Poll(milliseconds duration) {
  if (!process_) return;
  pollfd waits{.fd = process_->line.get(), .events = POLLIN, .revents = 0};
  while (poll(&waits, 1, static_cast<int>(duration.count())) > 0) {
    duration = {};
    std::array<char, 4096> buffer{};
    const ssize_t count = read(process_->line.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      int how = 0;
      while (waitpid(process_->pid, &how, 0) < 0 && errno == EINTR) {
      }
      process_->pid = -1;
      process_.reset();
      is_index_awaited_ = false;
      if (WIFSIGNALED(how)) {
        ended_ = Fail(ErrorKind::kTransient, "its process was killed by signal {}", WTERMSIG(how));
        notes_.push_back(fmt::format("uploads have ended: {}", ended_.error().message));
      }
      return;
    }
    process_->heard.append(buffer.data(), static_cast<std::size_t>(count));
    for (std::size_t end; (end = process_->heard.find('\n')) != std::string::npos;) {
      Hear(process_->heard.substr(0, end));
      process_->heard.erase(0, end + 1);
    }
  }
  Count();
}

void RunUploads::Count() {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_count_) return;
  next_count_ = now + kCountPause;
  Result<std::map<std::string, UploadCounts>> counts = queue_->Counts();
  if (!counts) return;  // it is for people only
  left_ = {};
  for (const std::string& destination : destinations_) {
    const UploadTotals part = UnfinishedTotals((*counts)[destination]);
    left_.files += part.files;
    left_.bytes += part.bytes;
  }
}

std::vector<std::string> RunUploads::TakeNotes() { return std::exchange(notes_, {}); }

std::string RunUploads::Describe() const {
  if (destinations_.empty()) return {};
  return fmt::format(
      "{} files, {} to upload", left_.files, FormatBytes(static_cast<double>(left_.bytes)));
}

void RunUploads::WaitForIndex() {
  while (process_ && is_index_awaited_ && StopSignal() == 0) Poll(100ms);
}

Result<bool> RunUploads::IsInRepository(const Task& task) {
  if (!is_indexed_) return false;
  static const std::vector<std::string> names(std::begin(kEpisodeFiles), std::end(kEpisodeFiles));
  for (const std::string& destination : destinations_) {
    DF_ASSIGN_OR_RETURN(const bool is_there,
                        queue_->IsInRepository(destination, task.key, task.payload, names));
    if (!is_there) return false;
  }
  return true;
}

Result<bool> RunUploads::IsUploaded(const TaskRecord& record) {
  if (!queue_) return false;
  for (const FileStamp& file : record.files) {
    const fs::path path = out_ / record.directory / file.name;
    std::error_code ignored;
    if (fs::exists(path, ignored) &&
        !FilesUnchanged(out_ / record.directory, std::span(&file, 1))) {
      return false;
    }
  }
  for (const char* const destination : {kFullDestination, kMetadataDestination}) {
    DF_ASSIGN_OR_RETURN(const bool confirmed, queue_->IsConfirmed(record.task.key, destination));
    if (confirmed) return true;
  }
  return IsInRepository(record.task);
}

Status RunUploads::Offer(std::span<const Task> tasks) {
  if (destinations_.empty()) return {};
  std::vector<UploadEntry> entries;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    for (const std::string& destination : destinations_) {
      Result<UploadEntry> entry =
          MakeUploadEntry(destination, tasks[i].key, RootOf(destination), tasks[i].payload);
      // Others may empty the queues too.
      if (!entry && entry.error().kind == ErrorKind::kNotFound) continue;
      if (!entry) return tl::unexpected(std::move(entry).error());
      entries.push_back(*std::move(entry));
    }
    if (entries.size() < kEpisodesPerCall && i + 1 < tasks.size()) continue;
    DF_RETURN_IF_ERROR(queue_->Enqueue(entries));
    entries.clear();
  }
  return {};
}

void RunUploads::Begin() {
  if (process_) *process_->phase = Phase::kUpload;
}

void RunUploads::Finish(const std::function<void()>& tick) {
  if (process_) *process_->phase = Phase::kFinish;
  while (process_ && StopSignal() == 0) {
    Poll(200ms);
    tick();
  }
  Stop();
}

void RunUploads::Stop() {
  if (process_) kill(process_->pid, SIGTERM);
  const auto end = std::chrono::steady_clock::now() + kStopGrace;
  while (process_ && std::chrono::steady_clock::now() < end) Poll(100ms);
  process_.reset();
}

Status RunUploads::Outcome() {
  if (destinations_.empty()) return {};
  DF_ASSIGN_OR_RETURN(auto counts, queue_->Counts());
  std::int64_t waiting = 0;
  std::int64_t parked = 0;
  for (const std::string& destination : destinations_) {
    waiting += UnfinishedTotals(counts[destination]).episodes;
    parked += counts[destination].of(UploadState::kParked).episodes;
  }
  if (waiting + parked == 0) return {};
  const std::string why = ended_ ? "" : ": " + ended_.error().message;
  return Fail(ErrorKind::kTransient,
              "{} episodes wait for their upload, {} could not be uploaded{}",
              waiting,
              parked,
              why);
}

}  // namespace droidflow

#include "droidflow/jobs/run_lock.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <string>
#include <sys/file.h>
#include <thread>
#include <unistd.h>

namespace droidflow {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kWorkersEnd{5000};
constexpr milliseconds kRetry{10};

std::string HostName() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

struct Holder {
  int pid = 0;
  std::string host;
};

/// The file's "pid host"; pid 0 when the holder has not written it yet.
Holder ReadHolder(const std::filesystem::path& path) {
  const Result<std::string> text = ReadFileText(path);
  Holder holder;
  if (!text) return holder;
  const auto [next, error] = std::from_chars(text->data(), text->data() + text->size(), holder.pid);
  if (error != std::errc() || *next != ' ') return {};
  holder.host = text->substr(static_cast<std::size_t>(next + 1 - text->data()));
  if (!holder.host.empty() && holder.host.back() == '\n') holder.host.pop_back();
  return holder;
}

bool IsDead(const Holder& holder) {
  return holder.pid > 0 && holder.host == HostName() && kill(holder.pid, 0) != 0 && errno == ESRCH;
}

}  // namespace

Result<RunLock> RunLock::Acquire(const std::filesystem::path& run_dir) {
  DF_RETURN_IF_ERROR(MakeDirectories(run_dir));
  const std::filesystem::path path = run_dir / "lock";
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (!fd.valid()) return FailErrno(errno, fmt::format("cannot open {}", path.string()));

  const auto give_up = steady_clock::now() + kWorkersEnd;
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) return FailErrno(errno, fmt::format("cannot lock {}", path.string()));
    const Holder holder = ReadHolder(path);
    if (!IsDead(holder) || steady_clock::now() >= give_up) {
      return Fail(ErrorKind::kBusy,
                  "the run directory is held by process {} on {}: {}",
                  holder.pid,
                  holder.host,
                  path.string());
    }
    std::this_thread::sleep_for(kRetry);
  }
  const std::string text = fmt::format("{} {}\n", getpid(), HostName());
  if (ftruncate(fd.get(), 0) != 0) {
    return FailErrno(errno, fmt::format("cannot write {}", path.string()));
  }
  DF_RETURN_IF_ERROR(WriteAll(fd.get(), std::as_bytes(std::span(text)), path.string()));
  return RunLock(std::move(fd));
}

}  // namespace droidflow

#include "droidflow/jobs/program_internal.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

namespace droidflow {
namespace {

struct OutputPipe {
  UniqueFd read;
  UniqueFd write;
};

Result<OutputPipe> MakePipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return FailErrno(errno, "cannot make a pipe");
  return OutputPipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/// In the new process, where nothing may be allocated.
[[noreturn]] void Execute(char* const* words, int out, int err, int failed) {
  // Its own group: what it starts dies with it. And signals as a shell's child has them.
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);  // NOLINT(concurrency-mt-unsafe): one thread
  for (const int number : {SIGINT, SIGTERM, SIGPIPE}) {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;  // NOLINT(cppcoreguidelines-pro-type-union-access)
    sigaction(number, &action, nullptr);
  }
  const int input = open("/dev/null", O_RDONLY);  // NOLINT(android-cloexec-open): it is stdin
  if (dup2(input, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
      dup2(err, STDERR_FILENO) >= 0) {
    execvp(words[0], words);
  }
  const int reason = errno;
  [[maybe_unused]] const ssize_t told = write(failed, &reason, sizeof(reason));
  _exit(127);
}

}  // namespace

Result<ProgramEnd> RunProgram(const std::vector<std::string>& words,
                              std::chrono::milliseconds timeout) {
  DF_CHECK(!words.empty());
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  DF_ASSIGN_OR_RETURN(OutputPipe out, MakePipe());
  DF_ASSIGN_OR_RETURN(OutputPipe err, MakePipe());
  DF_ASSIGN_OR_RETURN(OutputPipe failed, MakePipe());
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) return FailErrno(errno, "cannot start " + words[0]);
  if (child == 0) Execute(arguments.data(), out.write.get(), err.write.get(), failed.write.get());
  for (OutputPipe* const pipe : {&out, &err, &failed}) pipe->write.Close();

  ProgramEnd end;
  std::string reason;
  std::array<pollfd, 3> polled = {pollfd{out.read.get(), POLLIN, 0},
                                  pollfd{err.read.get(), POLLIN, 0},
                                  pollfd{failed.read.get(), POLLIN, 0}};
  const std::array<std::string*, 3> texts = {&end.out, &end.err, &reason};
  bool is_late = false;
  while (std::ranges::any_of(polled, [](const pollfd& one) { return one.fd >= 0; })) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    is_late = left.count() <= 0;
    if (is_late) break;
    if (poll(polled.data(), polled.size(), static_cast<int>(left.count())) < 0) {
      if (errno == EINTR) continue;
      break;
    }
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].fd < 0 || polled[i].revents == 0) continue;
      std::array<char, 65536> bytes;
      const ssize_t count = read(polled[i].fd, bytes.data(), bytes.size());
      if (count > 0) {
        texts[i]->append(bytes.data(), static_cast<std::size_t>(count));
      } else if (count == 0 || errno != EINTR) {
        polled[i].fd = -1;
      }
    }
  }
  if (is_late) kill(-child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (is_late) {
    return Fail(
        ErrorKind::kTransient, "no answer within {} s: {}", timeout.count() / 1000.0, words[0]);
  }
  if (reason.size() == sizeof(int)) {
    int number = 0;
    std::copy_n(reason.data(), sizeof(number), reinterpret_cast<char*>(&number));
    return FailErrno(number, "cannot start " + words[0]);
  }
  end.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return end;
}

}  // namespace droidflow

#include "droidflow/core/stop.h"

#include "droidflow/core/check.h"

#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <unistd.h>

namespace droidflow {
namespace {

std::atomic<int> stop_signal{0};
int stop_pipe[2] = {-1, -1};

extern "C" void OnStopSignal(int signal_number) {
  stop_signal.store(signal_number);
  const char byte = 1;
  if (write(stop_pipe[1], &byte, 1) < 0) {
    // The pipe is full: the reader has been woken already.
  }
}

}  // namespace

void InstallStopHandlers() {
  if (stop_pipe[0] < 0) {
    DF_CHECK(pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK) == 0, "cannot make a pipe");
  }
  struct sigaction action = {};
  action.sa_handler = OnStopSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

void OwnStopHandlers() {
  const int inherited[2] = {stop_pipe[0], stop_pipe[1]};
  int own[2];
  DF_CHECK(pipe2(own, O_CLOEXEC | O_NONBLOCK) == 0, "cannot make a pipe");
  stop_pipe[0] = own[0];
  stop_pipe[1] = own[1];
  for (const int fd : inherited) close(fd);
  InstallStopHandlers();
}

void IgnoreStopSignals() {
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGTERM, SIG_IGN);
}

int StopSignal() { return stop_signal.load(); }

int StopFd() { return stop_pipe[0]; }

}  // namespace droidflow

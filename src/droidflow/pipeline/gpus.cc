#include "droidflow/pipeline/gpus.h"

#include "droidflow/core/files.h"
#include "droidflow/depth/matcher.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <fcntl.h>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

namespace droidflow {
namespace {

constexpr const char kVisibleDevices[] = "CUDA_VISIBLE_DEVICES";

/// "2" or "0 why": what the asking process answers.
std::string Answer() {
  return fmt::format("{} {}", CountGpus(), WhyNotAvailable(MatcherBackend::kCuda));
}

}  // namespace

std::vector<std::string> NamesOfGpus(int count, const char* visible_devices) {
  std::vector<std::string> names;
  std::string_view rest = visible_devices == nullptr ? "" : visible_devices;
  for (int i = 0; i < count; ++i) {
    const std::string_view name = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(name.size() + 1, rest.size()));
    names.push_back(name.empty() ? fmt::to_string(i) : std::string(name));
  }
  return names;
}

Result<GpuList> FindGpus() {
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC) != 0) return FailErrno(errno, "cannot make a pipe");
  const UniqueFd answer(pipes[0]);
  UniqueFd question(pipes[1]);
  const pid_t pid = fork();
  if (pid < 0) return FailErrno(errno, "cannot start a process that looks for GPUs");
  if (pid == 0) {
    const std::string text = Answer();
    const bool is_told = WriteAll(question.get(), std::as_bytes(std::span(text)), "").has_value();
    _exit(is_told ? 0 : 1);
  }
  question.Close();
  std::string text;
  std::array<char, 4096> bytes;
  for (;;) {
    const ssize_t count = read(answer.get(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(bytes.data(), static_cast<std::size_t>(count));
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  int count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  // A driver that takes its process down is no driver to use.
  if (status != 0 || error != std::errc()) {
    return GpuList{.names = {}, .why_none = "the process that looked for GPUs died"};
  }
  if (count == 0) {
    return GpuList{.names = {},
                   .why_none = text.substr(static_cast<std::size_t>(end + 1 - text.data()))};
  }
  const char* const visible = std::getenv(kVisibleDevices);  // NOLINT(concurrency-mt-unsafe)
  return GpuList{.names = NamesOfGpus(count, visible), .why_none = {}};
}

void SeeOnlyGpu(const std::string& name) {
  setenv(kVisibleDevices, name.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
}

}  // namespace droidflow

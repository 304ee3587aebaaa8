#include "droidflow/pipeline/doctor.h"

#include "droidflow/core/environment.h"
#include "droidflow/core/files.h"
#include "droidflow/depth/matcher.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/pipeline/build_info.h"
#include "droidflow/pipeline/depth_options.h"
#include "droidflow/pipeline/hub_targets.h"
#include "droidflow/transfer/hf_token.h"
#include "droidflow/video/codecs.h"
#include "droidflow/video/zed_source.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sched.h>
#include <sstream>
#include <sys/statfs.h>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Grade = Finding::Grade;

std::vector<std::string> InstructionSets() {
  std::vector<std::string> sets;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("sse4.2")) sets.emplace_back("SSE4.2");
  if (__builtin_cpu_supports("avx2")) sets.emplace_back("AVX2");
  if (__builtin_cpu_supports("avx512bw")) sets.emplace_back("AVX-512");
#elif defined(__aarch64__)
  sets.emplace_back("NEON");
#endif
  return sets;
}

std::string FirstLine(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// The value of "key : value" in a /proc file.
std::string ProcValue(const fs::path& path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const std::size_t begin = line.find_first_not_of(" \t", line.find(':') + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

double ProcBytes(std::string_view key) {
  return std::strtod(ProcValue("/proc/meminfo", key).c_str(), nullptr) * 1024;
}

/// Cores that the control group's quota allows; nothing where there is none.
std::optional<double> QuotaCores() {
  std::istringstream text(FirstLine("/sys/fs/cgroup/cpu.max"));
  double quota_us = 0;
  double period_us = 0;
  if (!(text >> quota_us >> period_us) || period_us <= 0) return std::nullopt;
  return quota_us / period_us;
}

std::optional<double> MemoryLimitBytes() {
  const std::string text = FirstLine("/sys/fs/cgroup/memory.max");
  if (text.empty() || text == "max") return std::nullopt;
  return std::strtod(text.c_str(), nullptr);
}

Finding Cores() {
  return {"cores",
          Grade::kOk,
          fmt::format("{} usable of {}, {}",
                      UsableCores(),
                      sysconf(_SC_NPROCESSORS_ONLN),
                      ProcValue("/proc/cpuinfo", "model name")),
          fmt::format("metadata: up to {} workers run at full speed", UsableCores())};
}

Finding Memory() {
  const double total = ProcBytes("MemTotal");
  const double available = std::min(ProcBytes("MemAvailable"), MemoryLimitBytes().value_or(total));
  constexpr double kWorkerBytes = 256e6;
  const auto workers = static_cast<int>(available / kWorkerBytes);
  return {"memory",
          workers < UsableCores() ? Grade::kProblem : Grade::kOk,
          fmt::format("{:.1f} GB available of {:.1f} GB", available / kGiga, total / kGiga),
          fmt::format("room for {} metadata workers of 256 MB", workers)};
}

std::string FileSystemName(std::int64_t type) {
  switch (type) {
    case 0x01021994:
      return "tmpfs";
    case 0xEF53:
      return "ext4";
    case 0x58465342:
      return "xfs";
    case 0x9123683E:
      return "btrfs";
    case 0x6969:
      return "nfs";
    case 0x0BD00BD0:
      return "lustre";
    case 0x794C7630:
      return "overlayfs";
    default:
      return fmt::format("type {:#x}", type);
  }
}

Finding Disk(const fs::path& directory) {
  fs::path existing = fs::absolute(directory);
  while (!fs::exists(existing) && existing.has_relative_path()) existing = existing.parent_path();
  struct statfs info = {};
  const Result<std::uint64_t> free_bytes = FreeBytes(existing);
  if (!free_bytes || statfs(existing.c_str(), &info) != 0) {
    return {"disk", Grade::kProblem, fmt::format("{}: cannot be examined", directory.string()), ""};
  }
  const bool writable = access(existing.c_str(), W_OK) == 0;
  const auto episodes =
      static_cast<std::int64_t>(static_cast<double>(*free_bytes) / kMetadataBytes);
  const Grade grade = !writable || episodes < 10 ? Grade::kProblem : Grade::kOk;
  return {
      "disk",
      grade,
      fmt::format("{}: {:.1f} GB free, {}, {}",
                  directory.string(),
                  static_cast<double>(*free_bytes) / kGiga,
                  FileSystemName(info.f_type),
                  writable ? "writable" : "not writable"),
      writable ? fmt::format("room for about {} episodes' metadata", episodes) : "no output here"};
}

Finding Gpus() {
  std::vector<std::string> models;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc/driver/nvidia/gpus", ignored)) {
    models.push_back(ProcValue(entry.path() / "information", "Model"));
  }
  if (models.empty())
    return {"gpu", Grade::kNote, "none found", "everything here runs without one"};
  return {"gpu",
          Grade::kNote,
          fmt::format("{}", fmt::join(models, ", ")),
          "not used: this build has no CUDA part, and metadata needs none"};
}

Finding ZedSdk() {
  if (ZedSdkBuiltIn()) {
    return {"zed sdk", Grade::kOk, "part of this build", "SVO recordings are read by it"};
  }
  const fs::path path = EnvironmentVariable("ZED_DIR").value_or("/usr/local/zed");
  if (!fs::exists(path)) {
    return {"zed sdk", Grade::kNote, "not installed", "droidflow reads recordings itself"};
  }
  return {"zed sdk", Grade::kNote, "installed: " + path.string(), "not part of this build"};
}

/// Who can compute depth here, and why others cannot.
Finding Depth() {
  std::vector<std::string> here;
  std::vector<std::string> not_here;
  for (const MatcherBackend backend : {MatcherBackend::kCuda,
                                       MatcherBackend::kCpu,
                                       MatcherBackend::kReference,
                                       MatcherBackend::kOpencv}) {
    if (IsAvailable(backend)) {
      here.emplace_back(ToString(backend));
    } else {
      not_here.push_back(fmt::format("{}: {}", ToString(backend), WhyNotAvailable(backend)));
    }
  }
  if (ZedSdkBuiltIn()) {
    here.emplace_back("zed");
  } else {
    not_here.emplace_back("zed: this build has no ZED SDK (DROIDFLOW_WITH_ZED)");
  }
  here.emplace_back("external");
  return {"depth",
          Grade::kOk,
          fmt::format("backends {}; auto is {}", fmt::join(here, ", "), ToString(Resolve({}))),
          not_here.empty() ? "" : fmt::format("not {}", fmt::join(not_here, "; not "))};
}

Finding Codecs() {
  const Result<std::string> codecs = DescribeCodecs();
  if (codecs) return {"codecs", Grade::kOk, *codecs, ""};
  return {"codecs",
          Grade::kProblem,
          codecs.error().message,
          "recordings' headers can be read, their pictures cannot"};
}

/// The place of a Hugging Face token, never the token.
Finding Token() {
  const HfToken token = FindHfToken("");
  if (token.text.empty()) {
    return {"token", Grade::kNote, "no Hugging Face token", "uploads go to folders only"};
  }
  return {"token", Grade::kNote, "Hugging Face token found: " + token.source, ""};
}

/// How so many episodes fit into a repository.
Finding Repository(std::size_t episodes) {
  if (episodes == 0) {
    return {"uploads",
            Grade::kNote,
            fmt::format("a repository has room for {} episodes, {} with depth, as files",
                        MostEpisodesAsFiles(Pipeline::kMetadata),
                        MostEpisodesAsFiles(Pipeline::kFull)),
            "more of them need --hub-layout shards"};
  }
  const bool fits = episodes <= MostEpisodesAsFiles(Pipeline::kMetadata);
  return {"uploads",
          fits ? Grade::kOk : Grade::kNote,
          fmt::format("{} episodes are about {} without depth",
                      episodes,
                      FormatBytes(static_cast<double>(episodes) * kMetadataBytes)),
          fits ? "" : "too many files for a repository: --hub-layout shards"};
}

}  // namespace

std::string FormatVersion() {
  std::string sanitizers = build_info::kSanitizers;
  if (!sanitizers.empty()) sanitizers = ", sanitizers: " + sanitizers;
  return fmt::format(
      "droidflow {}\nbuild: {}, {}{}\nprocessor: {}\noptional parts: CUDA no, OpenCV {}, ZED SDK "
      "{}\n"
      "libraries: {}",
      build_info::kVersion,
      build_info::kBuildType,
      build_info::kCompiler,
      sanitizers,
      fmt::join(InstructionSets(), " "),
      IsAvailable(MatcherBackend::kOpencv) ? "yes" : "no",
      ZedSdkBuiltIn() ? "yes" : "no",
      build_info::kLibraries);
}

int UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cores = CPU_COUNT(&set);
  if (const auto quota = QuotaCores()) cores = std::min(cores, static_cast<int>(std::ceil(*quota)));
  return std::max(cores, 1);
}

std::vector<Finding> ExamineMachine(const std::vector<fs::path>& directories,
                                    std::size_t episodes) {
  std::vector<Finding> findings = {Cores(), Memory()};
  for (const fs::path& directory : directories) findings.push_back(Disk(directory));
  findings.push_back({"libraries", Grade::kOk, build_info::kLibraries, ""});
  findings.push_back(Gpus());
  findings.push_back(Depth());
  findings.push_back(ZedSdk());
  findings.push_back(Codecs());
  findings.push_back(Token());
  findings.push_back(Repository(episodes));
  return findings;
}

}  // namespace droidflow

// How much longer than its slowest stage does the depth of a recording take, read by one thread,
// matched by one and compressed by one, on two cores? And how much memory?

#include "droidflow/core/check.h"
#include "droidflow/pipeline/depth_product.h"
#include "droidflow/pipeline/synth_video.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <sched.h>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr const char kSerial[] = "22008760";
constexpr double kBaseline_m = 0.12;
constexpr int kFrames = 300;
constexpr int kMemoryFrames = 30;
constexpr int kRounds = 5;
constexpr double kWantedRatio = 1.15;
constexpr double kWantedMb = 1200;

struct Size {
  const char* name;
  int width_px;
  int height_px;
  int frames;
};
constexpr Size kVga{"VGA", 672, 376, kFrames};
constexpr Size kHd720{"HD720", 1280, 720, kMemoryFrames};

/// Does something in a process of its own. @return its peak of memory.
double PeakMbOf(const std::function<void()>& work) {
  const pid_t child = fork();
  DF_CHECK(child >= 0, "no fork");
  if (child == 0) {
    work();
    _exit(0);
  }
  int status = 0;
  rusage usage{};
  DF_CHECK(wait4(child, &status, 0, &usage) == child && status == 0, "it ended with {}", status);
  return static_cast<double>(usage.ru_maxrss) * 1024 / 1e6;
}

Intrinsics CameraOf(const Size& size) {
  return {.fx_px = 0.55 * size.width_px,
          .fy_px = 0.55 * size.width_px,
          .cx_px = (size.width_px - 1) / 2.0,
          .cy_px = (size.height_px - 1) / 2.0,
          .width_px = size.width_px,
          .height_px = size.height_px};
}

/// A camera that looks at the table, and a hand that moves over it.
void WriteRecording(const Size& size, const fs::path& folder) {
  const Vector3 eye_m(0.2, 0.7, 0.45);
  const Vector3 forward = (Vector3(0.5, 0, 0.1) - eye_m).normalized();
  const Vector3 right = forward.cross(Vector3::UnitZ()).normalized();
  Transform T_base_rect = Transform::Identity();
  T_base_rect.linear().col(0) = right;
  T_base_rect.linear().col(1) = forward.cross(right);
  T_base_rect.linear().col(2) = forward;
  T_base_rect.translation() = eye_m;
  SynthRecording recording;
  recording.serial = kSerial;
  recording.intrinsics = CameraOf(size);
  recording.baseline_m = kBaseline_m;
  recording.T_base_rect = {T_base_rect};
  for (int i = 0; i < size.frames; ++i) {
    SynthHand hand;
    hand.T_base_ee.linear() << 1, 0, 0, 0, -1, 0, 0, 0, -1;
    hand.T_base_ee.translation() = Vector3(0.5, 0.2 * std::sin(0.05 * i), 0.3);
    recording.hands.push_back(hand);
  }
  const Status written =
      WriteSynthRecording(SynthScene::Make(1), recording, {}, folder, folder / "truth");
  DF_CHECK(written.has_value(), "{}", written.error().message);
}

DepthReport WriteDepthOf(const Size& size, MatcherPreset preset, const fs::path& folder) {
  DepthOptions options;
  options.backend = {.kind = DepthBackend::Kind::kMatcher, .matcher = MatcherBackend::kCpu};
  options.preset = preset;
  options.max_disparity_px = 256;
  MatcherPool pool;
  const Result<DepthReport> report =
      WriteDepth({.path = folder / fmt::format("recordings/MP4/{}-stereo.mp4", kSerial),
                  .geometry = {{.fx_px = CameraOf(size).fx_px, .baseline_m = kBaseline_m}}},
                 {},
                 options,
                 *DepthOutput::Parse(folder / "depth.mkv"),
                 pool);
  DF_CHECK(report.has_value(), "{}", report.error().message);
  DF_CHECK(report->frames == size.frames, "{} frames", report->frames);
  return *report;
}

/// The share of depth that is within 3 per cent of the truth.
double ShareRight(const fs::path& folder) {
  auto depth = DepthVideoReader::Open(folder / "depth.mkv");
  auto truth =
      DepthVideoReader::Open(folder / fmt::format("truth/recordings/{}/depth.mkv", kSerial));
  DF_CHECK(depth.has_value() && truth.has_value(), "no depth to compare");
  std::int64_t right = 0;
  std::int64_t all = 0;
  DepthView depth_mm;
  DepthView truth_mm;
  while (depth->Next(depth_mm).value_or(false) && truth->Next(truth_mm).value_or(false)) {
    for (int y = 0; y < depth_mm.height_px; ++y) {
      for (int x = 0; x < depth_mm.width_px; ++x) {
        const int known_mm = truth_mm.at(x, y);
        if (depth_mm.at(x, y) == 0 || known_mm == 0) continue;
        ++all;
        if (std::abs(depth_mm.at(x, y) - known_mm) * 100 <= 3 * known_mm) ++right;
      }
    }
  }
  return static_cast<double>(right) / static_cast<double>(std::max<std::int64_t>(all, 1));
}

/// The rounds' median by a number of theirs.
template <typename Number>
double MedianOf(const std::vector<DepthReport>& reports, Number number) {
  std::vector<double> values;
  for (const DepthReport& report : reports) values.push_back(number(report));
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

double SlowestOf(const DepthReport& report) {
  return std::max({report.decode_s, report.match_s, report.encode_s});
}

void KeepToTwoCores() {
  cpu_set_t all;
  CPU_ZERO(&all);
  DF_CHECK(sched_getaffinity(0, sizeof all, &all) == 0, "no affinity");
  cpu_set_t two;
  CPU_ZERO(&two);
  for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&two) < 2; ++core) {
    if (CPU_ISSET(core, &all)) CPU_SET(core, &two);
  }
  DF_CHECK(sched_setaffinity(0, sizeof two, &two) == 0, "no affinity");
  if (CPU_COUNT(&two) < 2) fmt::print("one core only: nothing can overlap\n");
}

void Main() {
  const std::string base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  const fs::path folder = fmt::format("{}/droidflow-bench-overlap-{}", base, getpid());
  for (const Size& size : {kVga, kHd720}) {
    PeakMbOf([&] { WriteRecording(size, folder / size.name); });
  }
  KeepToTwoCores();
  for (const MatcherPreset preset : {MatcherPreset::kBalanced, MatcherPreset::kQuality}) {
    const double peak_mb = PeakMbOf([&] { WriteDepthOf(kHd720, preset, folder / kHd720.name); });
    fmt::print("{}x{}, 256 disparities, {}: peak memory {:.0f} MB; wanted: at most {:.0f}\n",
               kHd720.width_px,
               kHd720.height_px,
               ToString(preset),
               peak_mb,
               kWantedMb);
  }
  std::vector<DepthReport> reports;
  for (int i = 0; i < kRounds; ++i) {
    reports.push_back(WriteDepthOf(kVga, MatcherPreset::kBalanced, folder / kVga.name));
  }
  const double right = ShareRight(folder / kVga.name);
  DF_CHECK(right > 0.9, "{} of the depth is right; its speed means nothing", right);
  fs::remove_all(folder);

  const double wall_s = MedianOf(reports, [](const DepthReport& r) { return r.wall_s; });
  fmt::print(
      "{} frames of {}x{}, 256 disparities, balanced, one matcher, two cores: {:.2f} s, "
      "{:.1f} frames/s ({:.1f} % of the depth is right)\n",
      kFrames,
      kVga.width_px,
      kVga.height_px,
      wall_s,
      kFrames / wall_s,
      100 * right);
  const auto print = [&](const char* stage, double DepthReport::*seconds) {
    const double stage_s = MedianOf(reports, [&](const DepthReport& r) { return r.*seconds; });
    fmt::print(
        "  {:<7} {:6.2f} s {:5.1f} % of the whole\n", stage, stage_s, 100 * stage_s / wall_s);
  };
  print("decode", &DepthReport::decode_s);
  print("match", &DepthReport::match_s);
  print("encode", &DepthReport::encode_s);
  print("wait", &DepthReport::wait_s);
  fmt::print("whole / slowest stage: median {:.3f}; wanted: at most {}\n",
             MedianOf(reports, [](const DepthReport& r) { return r.wall_s / SlowestOf(r); }),
             kWantedRatio);
  fmt::print("one after the other the stages would take {:.2f} times as long\n",
             MedianOf(reports, [](const DepthReport& r) {
               return (r.decode_s + r.match_s + r.encode_s) / r.wall_s;
             }));
}

}  // namespace
}  // namespace droidflow

int main() { droidflow::Main(); }

// How long does matching a pair of 1280x720 with 256 disparities take on one core, from gray
// pictures to filtered disparities, next to OpenCV's StereoSGBM 3WAY; and how much memory?

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/depth/matcher.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <ctime>
#include <functional>
#include <hwy/highway.h>
#include <memory>
#include <opencv2/imgproc.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "count_allocations.h"
#include "stereo.h"

namespace droidflow {
namespace {

constexpr int kWidth_px = 1280;
constexpr int kHeight_px = 720;
constexpr int kMaxDisparity_px = 256;
constexpr int kEnlarge = 3;  // 450 columns become 1350, and 55 px 165
constexpr int kMinRounds = 7;

// Dense, by more than 2 px of the scene as it was taken.
constexpr double kMaxWrong_percent = 10;

// The reference takes a second for 256 disparities of so much.
constexpr int kCropWidth_px = 397;
constexpr int kCropHeight_px = 61;

struct Options {
  std::vector<std::string> pair;
  std::string scene = DROIDFLOW_SHARED_DIR "/data/stereo/cones";
  int rounds = 9;
  bool without_avx512 = false;
};

/// What a preset may take of OpenCV's time and of memory.
struct Target {
  MatcherPreset preset;
  double ratio_avx512;
  double ratio_avx2;
  int memory_mb;
};

constexpr std::array<Target, 3> kTargets = {{{MatcherPreset::kFast, 0.10, 0.12, 300},
                                             {MatcherPreset::kBalanced, 0.30, 0.45, 300},
                                             {MatcherPreset::kQuality, 0.70, 0.75, 700}}};

// Processor time: waiting for other programs does not count.
double MillisecondsOf(const std::function<void()>& work) {
  const auto now_ms = [] {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
  };
  const double start_ms = now_ms();
  work();
  return now_ms() - start_ms;
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.at(values.size() / 2);
}

/// A line of /proc/self/status, as "VmHWM".
double StatusMb(std::string_view name) {
  const Result<std::string> text = ReadFileText("/proc/self/status");
  DF_CHECK(text.has_value(), "{}", text.error().message);
  const std::size_t at = text->find(fmt::format("{}:", name));
  DF_CHECK(at != std::string::npos, "no {} in /proc/self/status", name);
  return std::stod(text->substr(at + name.size() + 1)) * 1024 / 1e6;
}

/// By how much the most memory in use is above that before, in a process of its own.
double PeakMb(const std::function<void()>& work) {
  std::array<int, 2> ends{};
  DF_CHECK(pipe(ends.data()) == 0, "no pipe");
  const pid_t child = fork();
  DF_CHECK(child >= 0, "no fork");
  if (child == 0) {
    const double before_mb = StatusMb("VmRSS");
    work();
    const double peak_mb = StatusMb("VmHWM") - before_mb;
    const bool is_written = write(ends[1], &peak_mb, sizeof peak_mb) == sizeof peak_mb;
    _exit(is_written ? 0 : 1);
  }
  close(ends[1]);
  double peak_mb = 0;
  const bool is_read = read(ends[0], &peak_mb, sizeof peak_mb) == sizeof peak_mb;
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  DF_CHECK(is_read && status == 0, "the process that measures memory ended with {}", status);
  return peak_mb;
}

/// Adds what a sensor adds, -3 … 3 levels, other for each eye: enlarged pictures are too smooth.
void AddNoise(GrayImage& image, std::uint32_t state) {
  for (int y = 0; y < image.height_px(); ++y) {
    for (int x = 0; x < image.width_px(); ++x) {
      state = state * 1664525 + 1013904223;
      const int noise = static_cast<int>(state >> 30) - static_cast<int>(state << 8 >> 30);
      image.at(x, y) = static_cast<std::uint8_t>(std::clamp(image.at(x, y) + noise, 0, 255));
    }
  }
}

/// The middle rows of the scene, three times as large: texture and disparities everywhere.
KnownPair Enlarge(const KnownPair& pair) {
  const cv::Size size(pair.left.width_px() * kEnlarge, pair.left.height_px() * kEnlarge);
  const cv::Rect middle(0, std::max((size.height - kHeight_px) / 2, 0), kWidth_px, kHeight_px);
  DF_CHECK(size.width >= kWidth_px && size.height >= kHeight_px, "want a larger scene");
  const auto enlarge = [&](const cv::Mat& from, int interpolation) {
    cv::Mat to;
    cv::resize(from, to, size, 0, 0, interpolation);
    return to(middle);
  };
  KnownPair out{.name = pair.name,
                .left = ImageOf(enlarge(MatOf(pair.left.view()), cv::INTER_CUBIC)),
                .right = ImageOf(enlarge(MatOf(pair.right.view()), cv::INTER_CUBIC)),
                .truth_px = Image<float>(kWidth_px, kHeight_px),
                .scored = ImageOf(enlarge(MatOf(pair.scored.view()), cv::INTER_NEAREST)),
                .max_disparity_px = kMaxDisparity_px};
  AddNoise(out.left, 1);
  AddNoise(out.right, 2);
  for (int y = 0; y < kHeight_px; ++y) {
    for (int x = 0; x < kWidth_px; ++x) {
      out.truth_px.at(x, y) = kEnlarge * pair.truth_px.at(x / kEnlarge, (y + middle.y) / kEnlarge);
    }
  }
  return out;
}

Result<KnownPair> MakePair(const Options& options) {
  if (options.pair.empty()) {
    DF_ASSIGN_OR_RETURN(const KnownPair scene, ReadKnownPair(options.scene));
    return Enlarge(scene);
  }
  KnownPair pair;
  pair.name = options.pair[0];
  DF_ASSIGN_OR_RETURN(pair.left, ReadGray(options.pair[0]));
  DF_ASSIGN_OR_RETURN(pair.right, ReadGray(options.pair[1]));
  pair.max_disparity_px = kMaxDisparity_px;
  return pair;
}

std::unique_ptr<Matcher> Make(MatcherBackend backend, MatcherPreset preset, std::string& why_not) {
  MatcherOptions options = OptionsOf(preset);
  options.max_disparity_px = kMaxDisparity_px;
  Result<std::unique_ptr<Matcher>> made = MakeMatcher(backend, options);
  if (made) return *std::move(made);
  why_not = made.error().message;
  return nullptr;
}

void Match(Matcher& matcher, GrayView left, GrayView right, DisparityImage& disparity_px16) {
  const Status matched = matcher.Match(left, right, disparity_px16, nullptr);
  DF_CHECK(matched.has_value(), "{}", matched.error().message);
}

/// Whether the answer is the reference's, on a part of the pair.
///
/// @return nothing where there is no reference.
std::optional<bool> EqualsReference(const KnownPair& pair, MatcherPreset preset) {
  std::string why_not;
  const auto reference = Make(MatcherBackend::kReference, preset, why_not);
  const auto cpu = Make(MatcherBackend::kCpu, preset, why_not);
  if (reference == nullptr || cpu == nullptr) return std::nullopt;
  const auto crop = [](const GrayImage& image) {
    const int width_px = std::min(kCropWidth_px, image.width_px());
    const int height_px = std::min(kCropHeight_px, image.height_px());
    GrayView view = image.view().Columns((image.width_px() - width_px) / 2, width_px);
    view.data = view.row((image.height_px() - height_px) / 2);
    view.height_px = height_px;
    return view;
  };
  DisparityImage wanted_px16;
  DisparityImage found_px16;
  Match(*reference, crop(pair.left), crop(pair.right), wanted_px16);
  Match(*cpu, crop(pair.left), crop(pair.right), found_px16);
  for (int y = 0; y < wanted_px16.height_px(); ++y) {
    if (!std::equal(
            wanted_px16.row(y), wanted_px16.row(y) + wanted_px16.width_px(), found_px16.row(y))) {
      return false;
    }
  }
  return true;
}

/// What Highway takes of this machine, or of what --without-avx512 leaves of it.
std::int64_t InstructionSet() {
  const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets & -targets;  // the lowest bit is the best
}

struct Contestant {
  std::string name;
  std::function<void()> match;  ///< everything that is timed
  DisparityImage* disparity_px16 = nullptr;
  const Target* target = nullptr;  ///< nullptr: the yardstick
  double peak_mb = 0;
  std::int64_t allocations = 0;  ///< by one match after the first
  std::vector<double> times_ms = {};
  std::vector<double> ratios = {};
};

int Run(const Options& options) {
  cv::setNumThreads(1);
#if HWY_ARCH_X86
  if (options.without_avx512) hwy::DisableTargets(HWY_AVX2 - 1);
  const bool has_avx512 = InstructionSet() < HWY_AVX2;
#else
  const bool has_avx512 = false;
#endif
  const Result<KnownPair> made = MakePair(options);
  if (!made) {
    fmt::print("nothing measured: {} (--pair LEFT RIGHT)\n", made.error().message);
    return options.pair.empty() ? 0 : 1;
  }
  const KnownPair& pair = *made;
  const GrayView left = pair.left.view();
  const GrayView right = pair.right.view();

  OpencvSgbm sgbm(cv::StereoSGBM::MODE_SGBM_3WAY, /*pre_filter_cap=*/63, kMaxDisparity_px);
  sgbm.Prepare(left, right);
  DisparityImage opencv_px16;
  std::vector<Contestant> contestants;
  contestants.push_back({"OpenCV 3WAY", [&] { sgbm.Compute(); }, &opencv_px16});
  contestants[0].peak_mb = PeakMb(contestants[0].match);

  std::array<std::unique_ptr<Matcher>, kTargets.size()> matchers;
  std::array<DisparityImage, kTargets.size()> ours_px16;
  for (std::size_t i = 0; i < kTargets.size(); ++i) {
    const MatcherPreset preset = kTargets[i].preset;
    std::string why_not;
    matchers[i] = Make(MatcherBackend::kCpu, preset, why_not);
    if (matchers[i] == nullptr) {
      fmt::print("{:<12} {}\n", ToString(preset), why_not);
      continue;
    }
    const std::optional<bool> equals = EqualsReference(pair, preset);
    if (equals == false) {
      fmt::print(
          stderr, "{}: not the reference's answer; its speed means nothing\n", ToString(preset));
      return 1;
    }
    fmt::print("{:<12} {}\n",
               ToString(preset),
               equals ? "the reference's answer" : "not compared: there is no reference");
    contestants.push_back({std::string(ToString(preset)),
                           [&, i] { Match(*matchers[i], left, right, ours_px16[i]); },
                           &ours_px16[i],
                           &kTargets[i]});
    contestants.back().peak_mb = PeakMb(contestants.back().match);
  }

  for (Contestant& contestant : contestants) {
    contestant.match();
    const std::int64_t before = AllocationCount();
    contestant.match();
    contestant.allocations = AllocationCount() - before;
  }
  sgbm.Read(opencv_px16);
  if (!pair.scored.empty()) {
    for (const Contestant& contestant : contestants) {
      const Score score = ScoreOf(contestant.disparity_px16->view(), pair, kEnlarge);
      fmt::print("{:<12} {:.1f} % wrong by more than {} px, {:.1f} % have a disparity\n",
                 contestant.name,
                 score.bad2_percent,
                 2 * kEnlarge,
                 score.valid_share_percent);
      if (score.bad2_percent > kMaxWrong_percent) {
        fmt::print(stderr,
                   "{}: want at most {} %; its speed means nothing\n",
                   contestant.name,
                   kMaxWrong_percent);
        return 1;
      }
    }
  }

  for (int round = 0; round < options.rounds; ++round) {
    for (Contestant& contestant : contestants) {
      contestant.times_ms.push_back(MillisecondsOf(contestant.match));
      contestant.ratios.push_back(contestant.times_ms.back() / contestants[0].times_ms.back());
    }
  }
  fmt::print("\n{}, {}x{}, {} disparities, one core, {}, medians of {}\n",
             pair.name,
             left.width_px,
             left.height_px,
             kMaxDisparity_px,
             hwy::TargetName(InstructionSet()),
             options.rounds);
  fmt::print("{:<12} {:>8} {:>8} {:>8} {:>8} {:>8} {:>12}\n",
             "",
             "ms",
             "ratio",
             "wanted",
             "peak MB",
             "wanted",
             "allocations");
  for (const Contestant& contestant : contestants) {
    const Target* const target = contestant.target;
    fmt::print("{:<12} {:8.1f} {:8.3f} {:>8} {:8.0f} {:>8} {:12}\n",
               contestant.name,
               Median(contestant.times_ms),
               Median(contestant.ratios),
               target == nullptr
                   ? "-"
                   : fmt::format("{:.2f}", has_avx512 ? target->ratio_avx512 : target->ratio_avx2),
               contestant.peak_mb,
               target == nullptr ? "-" : fmt::to_string(target->memory_mb),
               contestant.allocations);
  }
  return 0;
}

}  // namespace
}  // namespace droidflow

int main(int argc, char** argv) {
  droidflow::Options options;
  CLI::App app{"How long matching a pair of 1280x720 takes, next to OpenCV's"};
  app.add_option("--pair", options.pair, "Match these pictures, whose disparities are not known")
      ->expected(2)
      ->type_name("LEFT RIGHT");
  app.add_option("--scene", options.scene, "Folder of the pair that is enlarged otherwise")
      ->capture_default_str();
  app.add_option("--rounds", options.rounds, "How often each is timed, taking turns")
      ->check(CLI::Range(droidflow::kMinRounds, 1000))
      ->capture_default_str();
  app.add_flag("--without-avx512", options.without_avx512, "As on a machine that ends at AVX2");
  CLI11_PARSE(app, argc, argv);
  return droidflow::Run(options);
}

// How wrong are disparities on pairs whose disparities are known, next to OpenCV's StereoSGBM? And
// how much worse do they become when the eyes' exposure differs, or their rows do not line up?

#include "droidflow/depth/matcher.h"
#include "droidflow/depth/row_alignment.h"
#include "droidflow/depth/row_shifter.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <opencv2/imgproc.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "stereo.h"

namespace droidflow {
namespace {

struct Options {
  std::string pairs = DROIDFLOW_SHARED_DIR "/data/stereo";
  std::string backend = "cpu";
  bool each = false;
};

/// Finds the disparities of a pair, whose truth it does not look at.
using Method = std::function<Status(const KnownPair& pair, DisparityImage& disparity_px16)>;

struct NamedMethod {
  std::string name;
  Method method;
};

/// What happens to a pair's right picture before it is matched.
using Change = std::function<GrayImage(const KnownPair& pair)>;

struct NamedChange {
  std::string name;
  Change change;
};

Method Opencv(int mode, int pre_filter_cap) {
  return [=](const KnownPair& pair, DisparityImage& disparity_px16) -> Status {
    OpencvSgbm sgbm(mode, pre_filter_cap, pair.max_disparity_px);
    sgbm.Prepare(pair.left.view(), pair.right.view());
    sgbm.Compute();
    sgbm.Read(disparity_px16);
    return {};
  };
}

Method Ours(MatcherBackend backend, MatcherPreset preset) {
  return [=](const KnownPair& pair, DisparityImage& disparity_px16) -> Status {
    MatcherOptions options = OptionsOf(preset);
    options.max_disparity_px = pair.max_disparity_px;
    DF_ASSIGN_OR_RETURN(const std::unique_ptr<Matcher> matcher, MakeMatcher(backend, options));
    return matcher->Match(pair.left.view(), pair.right.view(), disparity_px16, nullptr);
  };
}

GrayImage Copy(const GrayImage& image) { return ImageOf(MatOf(image.view())); }

/// Darker, and with other contrast.
GrayImage Expose(const GrayImage& image, double gain, double gamma) {
  GrayImage out = Copy(image);
  for (int y = 0; y < out.height_px(); ++y) {
    for (int x = 0; x < out.width_px(); ++x) {
      const double value = 255 * gain * std::pow(out.at(x, y) / 255.0, gamma);
      out.at(x, y) = static_cast<std::uint8_t>(std::lround(std::min(value, 255.0)));
    }
  }
  return out;
}

/// What was at row y is at row y + offset_px.
GrayImage Lower(const GrayImage& image, double offset_px) {
  const cv::Mat move = (cv::Mat_<double>(2, 3) << 1, 0, 0, 0, 1, offset_px);
  cv::Mat lowered;
  cv::warpAffine(MatOf(image.view()),
                 lowered,
                 move,
                 cv::Size(image.width_px(), image.height_px()),
                 cv::INTER_LANCZOS4,
                 cv::BORDER_REPLICATE);
  return ImageOf(lowered);
}

/// Measures how the rows agree and takes that out, as PairSource does for a recording.
GrayImage AlignRows(const KnownPair& pair, const GrayImage& right) {
  const std::vector<CornerMatch> matches = MatchCorners(
      pair.left.view(), right.view(), {.max_disparity_px = 1.0 * pair.max_disparity_px});
  const std::optional<RowAlignment> alignment =
      FitRowAlignment(matches, right.width_px(), right.height_px());
  const RowOffset offset = ChooseRowOffset(alignment, RowAlign::kAuto);
  if (offset == RowOffset{}) return Copy(right);
  GrayImage aligned;
  RowShifter(right.width_px(), right.height_px(), offset).Apply(right.view(), aligned);
  return aligned;
}

std::optional<MatcherBackend> BackendFromString(std::string_view name) {
  for (const MatcherBackend backend : {MatcherBackend::kReference,
                                       MatcherBackend::kCpu,
                                       MatcherBackend::kCuda,
                                       MatcherBackend::kOpencv}) {
    if (ToString(backend) == name) return backend;
  }
  return std::nullopt;
}

Result<std::vector<Score>> ScoreAll(const std::vector<KnownPair>& pairs, const Method& method) {
  std::vector<Score> scores;
  DisparityImage disparity_px16;
  for (const KnownPair& pair : pairs) {
    DF_RETURN_IF_ERROR(method(pair, disparity_px16).map_error(During(pair.name)));
    scores.push_back(ScoreOf(disparity_px16.view(), pair));
  }
  return scores;
}

void PrintRow(std::string_view name, const Score& score, std::optional<double> ratio) {
  fmt::print("{:<36} {:6.2f} {:6.2f} {:6.2f} {:7.3f} {:9.2f} {:8.1f}",
             name,
             score.bad1_percent,
             score.bad2_percent,
             score.bad4_percent,
             score.average_px,
             score.valid_bad2_percent,
             score.valid_share_percent);
  if (ratio) fmt::print(" {:7.2f}", *ratio);
  fmt::print("\n");
}

int Run(const Options& options) {
  cv::setNumThreads(1);
  const std::optional<MatcherBackend> backend = BackendFromString(options.backend);
  if (!backend) {
    fmt::print(stderr, "want reference, cpu, cuda or opencv, have {}\n", options.backend);
    return 2;
  }
  const Result<std::vector<KnownPair>> read = ReadKnownPairs(options.pairs);
  if (!read) {
    fmt::print("nothing measured: {} (--pairs DIR)\n", read.error().message);
    return 0;
  }
  const std::vector<KnownPair>& pairs = *read;

  // OpenCV takes a preFilterCap of less than 15 for 15.
  std::vector<NamedMethod> methods = {
      {"OpenCV 3WAY, preFilterCap 15", Opencv(cv::StereoSGBM::MODE_SGBM_3WAY, 15)},
      {"OpenCV 5 directions", Opencv(cv::StereoSGBM::MODE_SGBM, 63)},
      {"OpenCV 3WAY", Opencv(cv::StereoSGBM::MODE_SGBM_3WAY, 63)},
      {"OpenCV HH4", Opencv(cv::StereoSGBM::MODE_HH4, 63)},
  };
  for (const MatcherPreset preset :
       {MatcherPreset::kFast, MatcherPreset::kBalanced, MatcherPreset::kQuality}) {
    methods.push_back({fmt::format("droidflow {} {}", ToString(*backend), ToString(preset)),
                       Ours(*backend, preset)});
  }
  const std::array<NamedChange, 5> changes = {{
      {"right gain 0.7, gamma 1.3",
       [](const KnownPair& pair) { return Expose(pair.right, 0.7, 1.3); }},
      {"right 0.5 px lower", [](const KnownPair& pair) { return Lower(pair.right, 0.5); }},
      {"right 0.5 px lower, rows aligned",
       [](const KnownPair& pair) { return AlignRows(pair, Lower(pair.right, 0.5)); }},
      {"right 3 px lower", [](const KnownPair& pair) { return Lower(pair.right, 3); }},
      {"right 3 px lower, rows aligned",
       [](const KnownPair& pair) { return AlignRows(pair, Lower(pair.right, 3)); }},
  }};

  std::string names;
  for (const KnownPair& pair : pairs) names += " " + pair.name;
  fmt::print("means over{}; per cent, dense except where it says valid\n", names);
  fmt::print("{:<36} {:>6} {:>6} {:>6} {:>7} {:>9} {:>8} {:>7}\n",
             "",
             "bad-1",
             "bad-2",
             "bad-4",
             "avg px",
             "val bad-2",
             "valid",
             "x bad-2");
  std::vector<std::optional<double>> unchanged_bad2_percent;
  for (const NamedMethod& method : methods) {
    const Result<std::vector<Score>> scores = ScoreAll(pairs, method.method);
    if (!scores) {
      fmt::print("{:<36} {}\n", method.name, scores.error().message);
      unchanged_bad2_percent.emplace_back(std::nullopt);
      continue;
    }
    const Score mean = MeanOf(*scores);
    unchanged_bad2_percent.emplace_back(mean.bad2_percent);
    PrintRow(method.name, mean, std::nullopt);
    for (std::size_t i = 0; options.each && i < pairs.size(); ++i) {
      PrintRow("  " + pairs[i].name, (*scores)[i], std::nullopt);
    }
  }

  for (const NamedChange& change : changes) {
    fmt::print("\n{}\n", change.name);
    std::vector<KnownPair> changed;
    for (const KnownPair& pair : pairs) {
      KnownPair other{.name = pair.name,
                      .left = Copy(pair.left),
                      .right = change.change(pair),
                      .truth_px = Image<float>(pair.truth_px.width_px(), pair.truth_px.height_px()),
                      .scored = Copy(pair.scored),
                      .max_disparity_px = pair.max_disparity_px};
      for (int y = 0; y < pair.truth_px.height_px(); ++y) {
        std::copy_n(pair.truth_px.row(y), pair.truth_px.width_px(), other.truth_px.row(y));
      }
      changed.push_back(std::move(other));
    }
    for (std::size_t i = 0; i < methods.size(); ++i) {
      if (!unchanged_bad2_percent[i]) continue;
      const Result<std::vector<Score>> scores = ScoreAll(changed, methods[i].method);
      if (!scores) {
        fmt::print("{:<36} {}\n", methods[i].name, scores.error().message);
        continue;
      }
      const Score mean = MeanOf(*scores);
      PrintRow(methods[i].name, mean, mean.bad2_percent / *unchanged_bad2_percent[i]);
    }
  }
  return 0;
}

}  // namespace
}  // namespace droidflow

int main(int argc, char** argv) {
  droidflow::Options options;
  CLI::App app{"How wrong disparities are on pairs with known ones, next to OpenCV's"};
  app.add_option("--pairs", options.pairs, "Folder with a folder per pair")->capture_default_str();
  app.add_option("--backend", options.backend, "Ours")->capture_default_str();
  app.add_flag("--each", options.each, "Print every pair, too");
  CLI11_PARSE(app, argc, argv);
  return droidflow::Run(options);
}

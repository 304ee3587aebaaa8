// Runs with depth on GPUs, which are emulated: what their workers do when GPUs fail.

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/pipeline/episode_run.h"
#include "droidflow/pipeline/synth.h"

#include <algorithm>
#include <cuda_emulation.h>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int kEpisodes = 8;

std::vector<fs::path> FilesNamed(const std::string& name, const fs::path& directory) {
  std::vector<fs::path> found;
  const Result<std::vector<FileStamp>> files = ListFiles(directory);
  for (const FileStamp& file : files.value_or(std::vector<FileStamp>())) {
    if (fs::path(file.name).filename() == name) found.emplace_back(file.name);
  }
  return found;
}

int CountOf(const std::string& part, const std::string& text) {
  int count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

class GpuRunTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    raw_ = std::make_unique<TemporaryDirectory>();
    ASSERT_THAT(Synthesize(raw_->path(),
                           {.episodes = kEpisodes,
                            .steps = 1,
                            .video = SynthVideo::kStereo,
                            .width_px = 672,
                            .height_px = 376,
                            .conf_dir = {}}),
                IsOk());
  }
  static void TearDownTestSuite() { raw_.reset(); }
  void TearDown() override { cuda_emulation::Set({}); }

  MetadataOptions Options(const std::string& name) {
    MetadataOptions options;
    options.pipeline = Pipeline::kFull;
    options.input.droid_root = *raw_ / "raw";
    options.input.annotations = *raw_ / "annotations";
    options.input.conf_dir = *raw_ / "conf";
    options.out = dir_ / name;
    options.selection.limit = -1;
    options.depth.preset = MatcherPreset::kFast;
    options.depth.max_disparity_px = 16;
    options.full.workers_per_gpu = 1;
    options.workers = 2;
    return options;
  }

  /// @return what the run said.
  std::string Run(const MetadataOptions& options, std::size_t episodes) {
    const Result<EpisodeContext> context = MakeEpisodeContext(options);
    EXPECT_THAT(context, IsOk());
    testing::internal::CaptureStderr();
    const Result<RunSummary> summary = RunEpisodes(*context, {.quiet = true});
    std::string said = testing::internal::GetCapturedStderr();
    EXPECT_THAT(summary, IsOk());
    EXPECT_THAT(summary->stopped, IsOk());
    EXPECT_EQ(summary->done, episodes) << said;
    return said;
  }

  /// The backends that depth_meta.json files name.
  std::set<std::string> BackendsOf(const MetadataOptions& options) {
    std::set<std::string> backends;
    for (const fs::path& file : FilesNamed("depth_meta.json", options.out)) {
      backends.insert(Json::parse(*ReadFileText(fs::path(options.out) / file))
                          .at("backend")
                          .get<std::string>());
    }
    return backends;
  }

  void ExpectSameDepth(const MetadataOptions& a, const MetadataOptions& b, std::size_t cameras) {
    const std::vector<fs::path> files = FilesNamed("depth.mkv", a.out);
    EXPECT_EQ(files.size(), cameras);
    EXPECT_EQ(files, FilesNamed("depth.mkv", b.out));
    for (const fs::path& file : files) {
      EXPECT_TRUE(*ReadFileBytes(fs::path(a.out) / file) == *ReadFileBytes(fs::path(b.out) / file))
          << file;
    }
  }

  static inline std::unique_ptr<TemporaryDirectory> raw_;
  TemporaryDirectory dir_;
};

TEST_F(GpuRunTest, MakesTheDepthThatProcessorsMake) {
  cuda_emulation::Set({.devices = 2});
  MetadataOptions on_gpus = Options("gpus");
  on_gpus.selection.limit = 1;
  on_gpus.full.cameras = {"wrist"};  // an emulated GPU is slow
  MetadataOptions on_processors = on_gpus;
  on_processors.out = dir_ / "processors";
  on_processors.full.gpus = 0;
  Run(on_gpus, 1);
  Run(on_processors, 1);
  EXPECT_THAT(BackendsOf(on_gpus), ElementsAre("cuda"));
  EXPECT_THAT(BackendsOf(on_processors), ElementsAre("cpu"));
  ExpectSameDepth(on_gpus, on_processors, 1);
}

TEST_F(GpuRunTest, LosesNoEpisodeToGpusWithoutMemoryAndGivesThemUp) {
  MetadataOptions on_processors = Options("processors");
  on_processors.full.gpus = 0;
  Run(on_processors, kEpisodes);
  cuda_emulation::Set({.devices = 2, .memory_bytes = 1});
  const MetadataOptions on_gpus = Options("gpus");
  const std::string said = Run(on_gpus, kEpisodes);
  EXPECT_THAT(BackendsOf(on_gpus), ElementsAre("cpu"));
  ExpectSameDepth(on_gpus, on_processors, 3 * kEpisodes);
  // Three episodes each, then they are out.
  EXPECT_EQ(CountOf("GPU out of memory", said), 6) << said;
  EXPECT_EQ(CountOf("it is left out from now on", said), 2) << said;
}

TEST_F(GpuRunTest, DoesAnEpisodeAgainWhoseKernelFailed) {
  cuda_emulation::Set({.devices = 1, .failing_launch = 5});
  MetadataOptions options = Options("gpus");
  options.selection.limit = 1;
  EXPECT_THAT(Run(options, 1),
              HasSubstr("illegal memory access was encountered; again without it"));
  EXPECT_THAT(BackendsOf(options), ElementsAre("cpu"));
}

TEST_F(GpuRunTest, RefusesCudaWhereThereIsNone) {
  cuda_emulation::Set({.driver_version = 0});
  MetadataOptions options = Options("gpus");
  options.depth.backend = {.kind = DepthBackend::Kind::kMatcher, .matcher = MatcherBackend::kCuda};
  const Result<EpisodeContext> context = MakeEpisodeContext(options);
  ASSERT_THAT(context, IsOk());
  EXPECT_THAT(RunEpisodes(*context, {.quiet = true}),
              FailsWith(ErrorKind::kUnsupported, HasSubstr("no NVIDIA driver")));
}

}  // namespace
}  // namespace droidflow

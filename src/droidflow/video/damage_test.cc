/// Damaged recordings: whatever is cut off or changed, reading ends with an error or fewer frames,
/// in time and with little memory. DROIDFLOW_DAMAGE_SEEDS: how many changed files of each kind
/// (50).

#include "droidflow/core/environment.h"
#include "droidflow/core/files.h"
#include "droidflow/core/sanitizers.h"
#include "droidflow/video/recording_summary.h"
#include "droidflow/video/test_support_internal.h"
#include "droidflow/video/video_writer.h"

#include <algorithm>
#include <cstdlib>
#include <random>
#include <sys/resource.h>
#include <unistd.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kTimeLimit_s = 5;
// The sanitizers' own would be measured.
constexpr bool kMeasuresMemory = !DF_SANITIZED;
constexpr long kMemoryLimit_kB = 512L << 10;

int Seeds() {
  const auto text = EnvironmentVariable("DROIDFLOW_DAMAGE_SEEDS");
  return text ? std::max(1, std::atoi(text->c_str())) : 50;
}

/// Reads all that can be read. @return the number of frames.
std::int64_t ReadWhatIsLeft(const fs::path& path) {
  alarm(kTimeLimit_s);  // ends the test where reading hangs
  std::int64_t frames = 0;
  (void)SummarizeRecording(path, SvoFrames::kCount);
  if (const auto source = OpenFrameSource(path, {})) {
    StereoFrame frame;
    for (;;) {
      const Result<bool> more = (*source)->Next(frame);
      if (!more || !*more) break;
      EXPECT_EQ(frame.left.width_px, (*source)->info().width_px);
      ++frames;
    }
  }
  alarm(0);
  return frames;
}

/// A recording to damage, and how many frames it has.
struct Whole {
  std::string bytes;
  std::int64_t frames;
};

class DamageTest : public ::testing::TestWithParam<const char*> {
 protected:
  /// A recording of `GetParam()`; empty: this machine cannot make it.
  std::optional<Whole> MakeWhole() {
    const std::string kind = GetParam();
    if (kind.ends_with(".svo2")) {
      return ReadWhole(SharedPath("data/svo2/" + kind));
    }
    if (kind == "svo1") {
      std::string bytes("\xF5\xFF\xFF\xFF\xA0\x02\0\0\x78\x01\0\0", 12);
      for (const ByteVector& unit : AccessUnits(SharedPath("data/svo2/hevc_zstd.svo2"))) {
        bytes.append(60, '\x5A');
        bytes.append(reinterpret_cast<const char*>(unit.data()), unit.size());
      }
      std::ofstream(path_, std::ios::binary) << bytes;
      return ReadWhole(path_);
    }
    VideoOptions options{.codec = kind == "mpeg4.mp4" ? VideoCodec::kMpeg4 : VideoCodec::kH264,
                         .width_px = 320,
                         .height_px = 96};
    auto writer = Mp4VideoWriter::Open(path_, options);
    if (!writer) return std::nullopt;
    RgbImage picture(options.width_px, options.height_px);
    std::mt19937 random(5);
    for (int i = 0; i < 20; ++i) {
      for (int y = 0; y < picture.height_px(); ++y) {
        for (int x = 0; x < picture.width_px(); ++x) {
          const auto level =
              static_cast<std::uint8_t>((x * 3 + y * 5 + i * 7 + random() % 16) % 256);
          picture.at(x, y) = {level, level, 128};
        }
      }
      EXPECT_THAT(writer->Write(picture.view()), IsOk());
    }
    EXPECT_THAT(writer->Close(), IsOk());
    return ReadWhole(path_);
  }

  std::int64_t FramesOf(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
    return ReadWhatIsLeft(path_);
  }

  TemporaryDirectory directory_;
  fs::path path_ = directory_ / "22008760.mp4";

 private:
  static Whole ReadWhole(const fs::path& path) {
    return {ReadFileText(path).value(), ReadWhatIsLeft(path)};
  }
};

void ExpectLittleMemory() {
  if (!kMeasuresMemory) return;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  EXPECT_LT(usage.ru_maxrss, kMemoryLimit_kB);
}

TEST_P(DamageTest, GivesNoMoreFramesThanAreLeftOfACutFile) {
  DF_NEEDS_SHARED("data/svo2");
  const auto whole = MakeWhole();
  if (!whole) GTEST_SKIP() << "no encoder for it here";
  ASSERT_GT(whole->frames, 0);
  for (std::size_t percent = 0; percent < 100; ++percent) {
    SCOPED_TRACE(percent);
    const std::int64_t frames =
        FramesOf(whole->bytes.substr(0, whole->bytes.size() * percent / 100));
    EXPECT_LE(frames, whole->frames);
  }
  ExpectLittleMemory();
}

TEST_P(DamageTest, SurvivesChangedBits) {
  DF_NEEDS_SHARED("data/svo2");
  const auto whole = MakeWhole();
  if (!whole) GTEST_SKIP() << "no encoder for it here";
  for (int seed = 0; seed < Seeds(); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(static_cast<unsigned>(seed));
    std::string bytes = whole->bytes;
    // Most of what says how the rest is to be read stands at the ends.
    const std::size_t near_an_end = std::min<std::size_t>(bytes.size(), 4096);
    const int flips = 1 + static_cast<int>(random() % 8);
    for (int i = 0; i < flips; ++i) {
      const std::size_t offset = random() % (seed % 2 == 0 ? bytes.size() : near_an_end);
      const std::size_t at = seed % 4 == 3 ? bytes.size() - 1 - offset : offset;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
    }
    FramesOf(bytes);
  }
  ExpectLittleMemory();
}

INSTANTIATE_TEST_SUITE_P(EveryReader,
                         DamageTest,
                         ::testing::Values("hevc_zstd.svo2",
                                           "hevc_lz4_nofooter.svo2",
                                           "h264_none.svo2",
                                           "jpeg_none.svo2",
                                           "svo1",
                                           "mpeg4.mp4",
                                           "h264.mp4"),
                         [](const auto& kind) {
                           std::string name = kind.param;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace droidflow

// How long does reading the luma of a side-by-side 2560x720 recording take, next to the ffmpeg
// program decoding it into nothing? One thread each, processor time.

#include "droidflow/core/check.h"
#include "droidflow/video/frame_source.h"
#include "droidflow/video/video_writer.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <sys/resource.h>
#include <vector>

#include <fmt/format.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr int kWidth_px = 2560;
constexpr int kHeight_px = 720;
constexpr int kFrames = 120;
constexpr int kRounds = 7;

double ProcessorSeconds(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// A pattern that moves, with a camera's noise on it.
RgbImage Picture(int index) {
  RgbImage picture(kWidth_px, kHeight_px);
  std::uint32_t noise = 12345U + static_cast<std::uint32_t>(index);
  for (int y = 0; y < kHeight_px; ++y) {
    for (int x = 0; x < kWidth_px; ++x) {
      noise = noise * 1664525U + 1013904223U;
      const int wave = std::abs((x + 3 * index) % 128 - 64) + std::abs((y + index) % 96 - 48);
      const auto level = static_cast<std::uint8_t>(60 + wave + static_cast<int>(noise >> 29));
      picture.at(x, y) = {level, static_cast<std::uint8_t>(level / 2 + 40), level};
    }
  }
  return picture;
}

void WriteRecording(const fs::path& path, VideoCodec codec) {
  auto writer =
      Mp4VideoWriter::Open(path, {.codec = codec, .width_px = kWidth_px, .height_px = kHeight_px});
  DF_CHECK(writer.has_value(), "{}", writer.error().message);
  for (int i = 0; i < kFrames; ++i) {
    const RgbImage picture = Picture(i);
    const Status written = writer->Write(picture.view());
    DF_CHECK(written.has_value(), "{}", written.error().message);
  }
  const Status closed = writer->Close();
  DF_CHECK(closed.has_value(), "{}", closed.error().message);
}

/// Processor time of reading every frame; all must be there, and look as they were written.
double ReadAll(const fs::path& path) {
  const double start_s = ProcessorSeconds(RUSAGE_SELF);
  auto source = OpenFrameSource(path, {});
  DF_CHECK(source.has_value(), "{}", source.error().message);
  StereoFrame frame;
  int frames = 0;
  int middle = 0;
  for (;;) {
    const Result<bool> more = (*source)->Next(frame);
    DF_CHECK(more.has_value(), "{}", more.error().message);
    if (!*more) break;
    ++frames;
    middle = frame.right.at(frame.right.width_px / 2, frame.right.height_px / 2);
  }
  const double seconds = ProcessorSeconds(RUSAGE_SELF) - start_s;
  const RgbImage last = Picture(kFrames - 1);
  const Rgb want = last.at(kWidth_px * 3 / 4, kHeight_px / 2);
  const double luma = 16 + (65.7 * want.r + 129.1 * want.g + 25.1 * want.b) / 256;
  DF_CHECK(frames == kFrames, "{} frames", frames);
  DF_CHECK(std::abs(middle - luma) < 12, "luma {} in place of {}", middle, luma);
  return seconds;
}

double RunFfmpeg(const fs::path& path) {
  const double start_s = ProcessorSeconds(RUSAGE_CHILDREN);
  const std::string command =
      fmt::format("ffmpeg -v error -threads 1 -i {} -f null - </dev/null", path.string());
  // NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread
  const int status = std::system(command.c_str());
  DF_CHECK(status == 0, "{}: {}", command, status);
  return ProcessorSeconds(RUSAGE_CHILDREN) - start_s;
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void Run() {
  std::string folder = (fs::temp_directory_path() / "droidflow-bench-XXXXXX").string();
  DF_CHECK(mkdtemp(folder.data()) != nullptr, "cannot make {}", folder);
  for (const auto& [name, codec] :
       {std::pair{"mpeg4", VideoCodec::kMpeg4}, {"h264", VideoCodec::kH264}}) {
    const fs::path path = fs::path(folder) / fmt::format("{}.mp4", name);
    WriteRecording(path, codec);
    std::vector<double> ours_s;
    std::vector<double> theirs_s;
    std::vector<double> ratios;
    for (int round = 0; round < kRounds; ++round) {
      ours_s.push_back(ReadAll(path));
      theirs_s.push_back(RunFfmpeg(path));
      ratios.push_back(ours_s.back() / theirs_s.back());
    }
    fmt::print("{:<6} droidflow {:4.0f} frames/s, ffmpeg {:4.0f} frames/s, time ratio {:.2f}\n",
               name,
               kFrames / Median(ours_s),
               kFrames / Median(theirs_s),
               Median(ratios));
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace droidflow

int main() { droidflow::Run(); }

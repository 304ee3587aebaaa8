#include "droidflow/video/depth_video.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/video/command_line_internal.h"

#include <fstream>
#include <random>

namespace droidflow {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

DepthImage Noise(int width_px, int height_px, unsigned seed) {
  DepthImage image(width_px, height_px);
  std::mt19937 random(seed);
  for (int y = 0; y < height_px; ++y) {
    for (int x = 0; x < width_px; ++x) image.at(x, y) = static_cast<std::uint16_t>(random());
  }
  return image;
}

DepthImage Constant(int width_px, int height_px, std::uint16_t value) {
  DepthImage image(width_px, height_px);
  for (int y = 0; y < height_px; ++y) std::fill_n(image.row(y), width_px, value);
  return image;
}

bool SamePixels(DepthView a, DepthView b) {
  if (a.width_px != b.width_px || a.height_px != b.height_px) return false;
  for (int y = 0; y < a.height_px; ++y) {
    if (!std::equal(a.row(y), a.row(y) + a.width_px, b.row(y))) return false;
  }
  return true;
}

class DepthVideoTest : public ::testing::Test {
 protected:
  Status WriteFrames(const std::vector<DepthImage>& frames,
                     const std::vector<std::int64_t>& times_ms = {},
                     const std::string& name = "depth.mkv") {
    DF_ASSIGN_OR_RETURN(DepthVideoWriter writer,
                        DepthVideoWriter::Open(directory_ / name,
                                               {.width_px = frames[0].width_px(),
                                                .height_px = frames[0].height_px()}));
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const auto time = times_ms.empty() ? std::nullopt : std::optional(times_ms[i]);
      DF_RETURN_IF_ERROR(writer.Write(frames[i].view(), time));
    }
    return writer.Close();
  }

  /// Ten frames, every one another.
  std::vector<DepthImage> TenFrames() {
    std::vector<DepthImage> frames;
    for (unsigned i = 0; i < 10; ++i) frames.push_back(Noise(40, 30, i));
    return frames;
  }

  /// The frames that can be read before the end or an error, which `status` gets.
  std::vector<DepthImage> ReadFrames(const std::filesystem::path& path, Status& status) {
    std::vector<DepthImage> frames;
    auto reader = DepthVideoReader::Open(path);
    if (!reader) {
      status = tl::unexpected(reader.error());
      return frames;
    }
    for (DepthView view;;) {
      const auto more = reader->Next(view);
      if (!more) status = tl::unexpected(more.error());
      if (!more || !*more) return frames;
      DepthImage& kept = frames.emplace_back(view.width_px, view.height_px);
      for (int y = 0; y < view.height_px; ++y) {
        std::copy_n(view.row(y), view.width_px, kept.row(y));
      }
    }
  }

  /// Seeks forwards, backwards, to where it is, to the last frame and beyond it.
  void ExpectSeeks(const std::filesystem::path& path, const std::vector<DepthImage>& frames) {
    auto reader = DepthVideoReader::Open(path);
    ASSERT_THAT(reader, IsOk());
    const auto last = static_cast<std::int64_t>(frames.size()) - 1;
    DepthView view;
    for (const std::int64_t index : {last,
                                     std::int64_t{0},
                                     last / 2,
                                     last / 2 - 1,
                                     last / 2 - 1,
                                     last - 1,
                                     last + 5,
                                     std::int64_t{3},
                                     std::int64_t{4},
                                     last}) {
      SCOPED_TRACE(fmt::format("{}, frame {}", path.filename().string(), index));
      ASSERT_THAT(reader->Seek(index), IsOk());
      ASSERT_THAT(reader->Seek(index), IsOk());
      for (std::int64_t i = index; i < index + 3; ++i) {
        const Result<bool> is_there = reader->Next(view);
        ASSERT_THAT(is_there, IsOk());
        ASSERT_EQ(*is_there, i <= last) << i;
        if (!*is_there) break;
        EXPECT_TRUE(SamePixels(view, frames[i].view())) << i;
      }
    }
    EXPECT_THAT(reader->Seek(-1), FailsWith(ErrorKind::kUsage, HasSubstr("from 0 on, have -1")));
  }

  std::filesystem::path Changed(std::string_view bytes) {
    const auto path = directory_ / "changed.mkv";
    std::filesystem::remove(path);  // Some file systems flush a file that is written over.
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  std::size_t FilesLeft() {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(directory_.path()), {}));
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "depth.mkv";
};

TEST_F(DepthVideoTest, GivesBackEveryBitAtAnySize) {
  const std::pair<int, int> sizes[] = {{1, 1},
                                       {1, 2},
                                       {2, 1},
                                       {2, 2},
                                       {3, 2},
                                       {3, 3},
                                       {5, 3},
                                       {17, 9},
                                       {400, 1},
                                       {1, 300},
                                       {672, 376}};
  for (const auto& [width_px, height_px] : sizes) {
    SCOPED_TRACE(fmt::format("{}x{}", width_px, height_px));
    std::vector<DepthImage> frames;
    frames.push_back(Noise(width_px, height_px, 7));
    frames.push_back(Constant(width_px, height_px, 0));
    frames.push_back(Constant(width_px, height_px, 65535));
    ASSERT_THAT(WriteFrames(frames), IsOk());
    Status status;
    const auto read = ReadFrames(path_, status);
    EXPECT_THAT(status, IsOk());
    ASSERT_EQ(read.size(), frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i) {
      EXPECT_TRUE(SamePixels(read[i].view(), frames[i].view())) << i;
    }
  }
}

TEST_F(DepthVideoTest, KeepsAnHdFrame) {
  std::vector<DepthImage> frames;
  frames.push_back(Noise(1280, 720, 3));
  ASSERT_THAT(WriteFrames(frames), IsOk());
  Status status;
  const auto read = ReadFrames(path_, status);
  ASSERT_EQ(read.size(), 1U);
  EXPECT_TRUE(SamePixels(read[0].view(), frames[0].view()));
}

TEST_F(DepthVideoTest, ReadsViewsWhoseRowsAreFarApart) {
  const DepthImage wide = Noise(100, 20, 5);
  const DepthView part = wide.view().Columns(30, 33);
  auto writer = DepthVideoWriter::Open(path_, {.width_px = 33, .height_px = 20});
  ASSERT_THAT(writer, IsOk());
  ASSERT_THAT(writer->Write(part), IsOk());
  ASSERT_THAT(writer->Close(), IsOk());
  Status status;
  const auto read = ReadFrames(path_, status);
  ASSERT_EQ(read.size(), 1U);
  EXPECT_TRUE(SamePixels(read[0].view(), part));
}

TEST_F(DepthVideoTest, TellsSizeCountAndTimes) {
  const std::vector<std::int64_t> times_ms{
      0, 67, 134, 1000, 1001, 50'000, 50'066, 90'000, 3'600'000, 3'600'067};
  ASSERT_THAT(WriteFrames(TenFrames(), times_ms), IsOk());
  auto reader = DepthVideoReader::Open(path_, 2);
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ(reader->width_px(), 40);
  EXPECT_EQ(reader->height_px(), 30);
  EXPECT_EQ(reader->frame_count(), 10);
  DepthView view;
  for (const std::int64_t time_ms : times_ms) {
    ASSERT_EQ(reader->Next(view).value(), true);
    EXPECT_EQ(reader->time_ms(), time_ms);
  }
  EXPECT_EQ(reader->Next(view).value(), false);
  EXPECT_EQ(reader->Next(view).value(), false) << "the end stays the end";
}

TEST_F(DepthVideoTest, CountsTimesByTheNominalRateWhereThereAreNone) {
  ASSERT_THAT(WriteFrames(TenFrames()), IsOk());
  auto reader = DepthVideoReader::Open(path_);
  ASSERT_THAT(reader, IsOk());
  DepthView view;
  for (const std::int64_t time_ms : {0, 67, 133, 200, 267, 333, 400, 467, 533, 600}) {
    ASSERT_EQ(reader->Next(view).value(), true);
    EXPECT_EQ(reader->time_ms(), time_ms);
  }
}

TEST_F(DepthVideoTest, WritesTheSameBytesEveryTime) {
  ASSERT_THAT(WriteFrames(TenFrames()), IsOk());
  const std::string bytes = *ReadFileText(path_);
  ASSERT_THAT(WriteFrames(TenFrames()), IsOk());
  EXPECT_EQ(*ReadFileText(path_), bytes);
  EXPECT_EQ(bytes.find("Lavc"), std::string::npos) << "no version of the encoder";
}

TEST_F(DepthVideoTest, FfprobeAndFfmpegReadIt) {
  DF_NEEDS_PROGRAM("ffprobe");
  DF_NEEDS_PROGRAM("ffmpeg");
  const auto frames = TenFrames();
  ASSERT_THAT(WriteFrames(frames), IsOk());
  EXPECT_EQ(OutputOf("ffprobe -v error -count_frames -of csv=p=0 -show_entries "
                     "stream=codec_name,width,height,pix_fmt,nb_read_frames '" +
                     path_.string() + "'"),
            "ffv1,40,30,gray16le,10\n");
  const std::string raw = OutputOf("ffmpeg -v error -i '" + path_.string() + "' -f rawvideo -");
  std::string expected;
  for (const DepthImage& frame : frames) {
    for (int y = 0; y < 30; ++y) expected.append(reinterpret_cast<const char*>(frame.row(y)), 80);
  }
  EXPECT_TRUE(raw == expected);
}

TEST_F(DepthVideoTest, IsInPlaceOnlyAfterClose) {
  {
    auto writer = DepthVideoWriter::Open(path_, {.width_px = 8, .height_px = 8});
    ASSERT_THAT(writer, IsOk());
    ASSERT_THAT(writer->Write(Noise(8, 8, 1).view()), IsOk());
    EXPECT_FALSE(std::filesystem::exists(path_));
  }
  EXPECT_EQ(FilesLeft(), 0U) << "nothing is left behind without Close";
}

TEST_F(DepthVideoTest, RefusesAFileThatWasCutOffAnywhere) {
  ASSERT_THAT(WriteFrames(TenFrames()), IsOk());
  const std::string bytes = *ReadFileText(path_);
  for (int percent = 0; percent < 100; percent += 5) {
    EXPECT_THAT(
        DepthVideoReader::Open(Changed(bytes.substr(0, bytes.size() * percent / 100))),
        FailsWith(ErrorKind::kInvalidData, AnyOf(HasSubstr("cut off"), HasSubstr("want a"))))
        << percent << " %";
  }
  EXPECT_THAT(DepthVideoReader::Open(Changed(bytes.substr(0, bytes.size() - 1))),
              FailsWith(ErrorKind::kInvalidData,
                        HasSubstr(fmt::format(
                            "promises {} bytes, it has {}", bytes.size(), bytes.size() - 1))));
}

TEST_F(DepthVideoTest, NeverGivesADamagedFrameForAGoodOne) {
  const auto frames = TenFrames();
  ASSERT_THAT(WriteFrames(frames), IsOk());
  const std::string bytes = *ReadFileText(path_);
  std::mt19937 random(11);
  int refused = 0;
  for (int i = 0; i < 100; ++i) {
    std::string changed = bytes;
    changed[random() % changed.size()] ^= static_cast<char>(1U << random() % 8);
    Status status;
    const auto read = ReadFrames(Changed(changed), status);
    refused += status ? 0 : 1;
    ASSERT_LE(read.size(), frames.size());
    for (std::size_t k = 0; k < read.size(); ++k) {
      ASSERT_TRUE(SamePixels(read[k].view(), frames[k].view())) << "flip " << i << ", frame " << k;
    }
  }
  EXPECT_GT(refused, 70);
}

TEST_F(DepthVideoTest, SeeksToTheSameBitsThatReadingInOrderGives) {
  std::vector<DepthImage> frames = TenFrames();
  ASSERT_THAT(WriteFrames(frames), IsOk());
  ExpectSeeks(path_, frames);
  auto reader = DepthVideoReader::Open(path_);
  ASSERT_THAT(reader->Seek(9), IsOk());
  DepthView view;
  ASSERT_EQ(reader->Next(view).value(), true);
  EXPECT_EQ(reader->time_ms(), 600);
  for (DepthImage& frame : frames) frame = Noise(2, 2, frame.at(0, 0));  // No slices.
  ASSERT_THAT(WriteFrames(frames), IsOk());
  ExpectSeeks(path_, frames);
}

TEST_F(DepthVideoTest, SeeksOverADamagedFrame) {
  const auto frames = TenFrames();
  ASSERT_THAT(WriteFrames(frames), IsOk());
  std::string bytes = *ReadFileText(path_);
  bytes[bytes.size() * 45 / 100] ^= 1;  // In the middle of frame 4.
  auto reader = DepthVideoReader::Open(Changed(bytes));
  DepthView view;
  ASSERT_THAT(reader->Seek(7), IsOk());
  ASSERT_EQ(reader->Next(view).value(), true);
  EXPECT_TRUE(SamePixels(view, frames[7].view()));
  EXPECT_THAT(reader->Seek(4), FailsWith(ErrorKind::kInvalidData, HasSubstr("frame 4 is damaged")));
  ASSERT_THAT(reader->Seek(3), IsOk());
  ASSERT_EQ(reader->Next(view).value(), true);
  EXPECT_TRUE(SamePixels(view, frames[3].view()));
}

TEST_F(DepthVideoTest, SeeksByReadingOnWhereTheIndexDoesNotListEveryFrame) {
  const auto frames = TenFrames();
  ASSERT_THAT(WriteFrames(frames), IsOk());
  std::string bytes = *ReadFileText(path_);
  const std::string cues = "\x1C\x53\xBB\x6B";
  for (std::size_t at = 0; (at = bytes.find(cues, at)) != std::string::npos;) {
    bytes.replace(at, cues.size(), "\x1F\x43\xB6\x70");  // No element's name.
  }
  const auto path = Changed(bytes);
  ExpectSeeks(path, frames);
  EXPECT_EQ(DepthVideoReader::Open(path)->frame_count(), std::nullopt);

  DF_NEEDS_PROGRAM("ffmpeg");
  OutputOf("cd '" + directory_.path().string() +
           "' && ffmpeg -v error -f lavfi -i testsrc=s=64x48:r=10:d=2.5 -pix_fmt gray16le "
           "-c:v ffv1 -level 3 -g 10 groups.mkv");
  Status status;
  const auto others = ReadFrames(directory_ / "groups.mkv", status);
  ASSERT_EQ(others.size(), 25U);
  ExpectSeeks(directory_ / "groups.mkv", others);
}

TEST_F(DepthVideoTest, RefusesWhatIsNoDepthVideo) {
  EXPECT_THAT(DepthVideoReader::Open(directory_ / "none.mkv"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("none.mkv")));
  EXPECT_THAT(DepthVideoReader::Open(Changed("")),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want a Matroska file")));
  EXPECT_THAT(DepthVideoReader::Open(Changed(std::string(5000, 'x'))),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want a Matroska file")));
  EXPECT_THAT(DepthVideoReader::Open(Changed("\x1A\x45\xDF\xA3")),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("the file has 4 bytes")));
}

TEST_F(DepthVideoTest, ReadsOthersGrayAndRefusesOtherCodecsAndPixelsByName) {
  DF_NEEDS_PROGRAM("ffmpeg");
  OutputOf("cd '" + directory_.path().string() +
           "' && ffmpeg -v error -f lavfi -i testsrc=s=64x48:r=10:d=0.3 -c:v mpeg4 mpeg4.mkv "
           "-c:v ffv1 -pix_fmt yuv420p yuv420p.mkv -c:v ffv1 -f matroska pipe:1 "
           "-pix_fmt gray16le -c:v ffv1 -level 1 level1.mkv "
           "-pix_fmt gray16le -c:v ffv1 -level 3 -slicecrc 0 no_checksum.mkv "
           "-pix_fmt gray16le -c:v ffv1 -level 3 -g 10 long_group.mkv | cat > pipe.mkv");
  const auto open = [&](const char* name) { return DepthVideoReader::Open(directory_ / name); };
  EXPECT_THAT(open("mpeg4.mkv"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want ffv1 video, have mpeg4")));
  EXPECT_THAT(
      open("yuv420p.mkv"),
      FailsWith(ErrorKind::kInvalidData, HasSubstr("want pixels of gray16le, have yuv420p")));
  EXPECT_THAT(open("pipe.mkv"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("its writer did not finish it")));
  for (const char* const name : {"level1.mkv", "no_checksum.mkv", "long_group.mkv"}) {
    Status status;
    EXPECT_EQ(ReadFrames(directory_ / name, status).size(), 3U) << name;
    EXPECT_THAT(status, IsOk()) << name;
  }
}

TEST_F(DepthVideoTest, TellsFfv1sVersion) {
  DF_NEEDS_PROGRAM("ffmpeg");
  OutputOf("cd '" + directory_.path().string() +
           "' && ffmpeg -v error -f lavfi -i testsrc=s=64x48:d=0.1 "
           "-pix_fmt gray16le -c:v ffv1 -level 1 1.mkv -pix_fmt gray16le -c:v ffv1 -level 3 3.mkv "
           "-pix_fmt gray16le -c:v ffv1 -coder range_tab -context 1 -level 3 3_large.mkv");
  const std::pair<const char*, int> versions[] = {{"1.mkv", 1}, {"3.mkv", 3}, {"3_large.mkv", 3}};
  for (const auto& [name, version] : versions) {
    const auto reader = DepthVideoReader::Open(directory_ / name);
    ASSERT_THAT(reader, IsOk()) << name;
    EXPECT_EQ(reader->ffv1_version(), version) << name;
  }
}

TEST_F(DepthVideoTest, RefusesFramesThatDoNotFit) {
  const DepthImage frame = Noise(8, 8, 1);
  const auto open = [&] { return DepthVideoWriter::Open(path_, {.width_px = 8, .height_px = 8}); };
  auto writer = open();
  EXPECT_THAT(writer->Write(Noise(8, 9, 1).view()),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("frame 0: want 8x8 px, have 8x9")));
  EXPECT_THAT(writer->Close(), FailsWith(ErrorKind::kInvalidData, HasSubstr("have 8x9")))
      << "a file that lacks a frame is not put in place";
  writer = open();
  ASSERT_THAT(writer->Write(frame.view(), 10), IsOk());
  EXPECT_THAT(writer->Write(frame.view(), 10),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want a time of 11 to")));
  writer = open();
  ASSERT_THAT(writer->Write(frame.view(), 0), IsOk());
  EXPECT_THAT(writer->Write(frame.view()),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("frame 1 has no time")));
  writer = open();
  EXPECT_THAT(writer->Write(frame.view(), -1),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("have -1")));
  writer = open();
  EXPECT_THAT(writer->Close(), FailsWith(ErrorKind::kInvalidData, HasSubstr("at least one frame")));
}

TEST_F(DepthVideoTest, RefusesSizesAndRatesThatCannotBe) {
  EXPECT_THAT(DepthVideoWriter::Open(path_, {.width_px = 0, .height_px = 8}),
              FailsWith(ErrorKind::kUsage, HasSubstr("have 0x8")));
  EXPECT_THAT(DepthVideoWriter::Open(path_, {.width_px = 8192, .height_px = 8192}),
              FailsWith(ErrorKind::kUsage, HasSubstr("have 8192x8192")));
  for (const double fps : {0.0, -1.0, 1000.0, std::nan("")}) {
    EXPECT_THAT(DepthVideoWriter::Open(path_, {.width_px = 8, .height_px = 8, .nominal_fps = fps}),
                FailsWith(ErrorKind::kUsage, HasSubstr("frames a second")));
  }
  EXPECT_EQ(FilesLeft(), 0U);
}

}  // namespace
}  // namespace droidflow

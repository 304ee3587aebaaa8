#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/formats/mp4_header.h"
#include "droidflow/formats/mp4_writer.h"

#include <fstream>
#include <random>

namespace droidflow {
namespace {

using ::testing::HasSubstr;

std::string BigEndian(std::uint64_t value, int size) {
  std::string bytes;
  for (int i = size - 1; i >= 0; --i) bytes += static_cast<char>(value >> (8 * i));
  return bytes;
}

class Mp4Test : public ::testing::Test {
 protected:
  std::string Still(std::int32_t frame_count = 300, double fps = 15) {
    std::vector<std::uint8_t> gray(64 * 36);
    for (std::size_t i = 0; i < gray.size(); ++i) gray[i] = static_cast<std::uint8_t>(i % 64 * 4);
    EXPECT_THAT(WriteStillMp4(path_, {gray, 64, 36, frame_count, fps}), IsOk());
    return *ReadFileText(path_);
  }

  Result<Mp4Header> Header(std::string_view bytes) {
    const auto path = directory_ / "changed.mp4";
    std::filesystem::remove(path);  // Some file systems flush a file that is written over.
    std::ofstream(path, std::ios::binary) << bytes;
    return ReadMp4Header(path);
  }

  void ExpectStill(const Result<Mp4Header>& header) {
    ASSERT_THAT(header, IsOk());
    EXPECT_EQ(header->codec_fourcc, "png ");
    EXPECT_EQ(header->width_px, 64);
    EXPECT_EQ(header->height_px, 36);
    EXPECT_EQ(header->frame_count, 300);
    EXPECT_DOUBLE_EQ(header->nominal_fps, 15);
    EXPECT_DOUBLE_EQ(header->duration_s, 20);
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "24400334.mp4";
};

TEST_F(Mp4Test, ReadsTheStillItWrites) {
  const std::string bytes = Still();
  EXPECT_LT(bytes.size(), 4000U);
  ExpectStill(ReadMp4Header(path_));
  EXPECT_EQ(bytes, Still()) << "the same bytes every time";
}

TEST_F(Mp4Test, KeepsOddRates) {
  Still(1, 14.123);
  const auto header = ReadMp4Header(path_);
  ASSERT_THAT(header, IsOk());
  EXPECT_DOUBLE_EQ(header->nominal_fps, 14.123);
  EXPECT_EQ(header->frame_count, 1);
}

TEST_F(Mp4Test, WritesAPictureThatAnotherDecoderReads) {
  Still();
  // The PNG by the chunks and filters of its specification, with Python's zlib and its CRC.
  RunPython("data = open('" + path_.string() + R"(', 'rb').read()
import struct, zlib
at = data.index(b'\x89PNG\r\n\x1a\n') + 8
chunks = {}
while b'IEND' not in chunks:
    size, kind = struct.unpack('>I4s', data[at:at + 8])
    body = data[at + 8:at + 8 + size]
    assert zlib.crc32(kind + body) == struct.unpack('>I', data[at + 8 + size:at + 12 + size])[0]
    chunks[kind] = body
    at += size + 12
assert struct.unpack('>IIBBBBB', chunks[b'IHDR']) == (64, 36, 8, 0, 0, 0, 0)
rows = zlib.decompress(chunks[b'IDAT'])
assert rows == bytes([0] + [4 * x for x in range(64)]) * 36
)");
}

TEST_F(Mp4Test, IsARecordingToFfmpegWhereThereIsOne) {
  Still();
  RunPython("path = '" + path_.string() + R"('
import shutil, subprocess
if shutil.which('ffmpeg'):
    probe = ['ffprobe', '-v', 'error', '-count_frames', '-show_entries',
             'stream=codec_name,width,height,r_frame_rate,nb_read_frames', '-of', 'csv=p=0', path]
    assert subprocess.check_output(probe).decode().strip() == 'png,64,36,15/1,300'
    pixels = subprocess.check_output(['ffmpeg', '-v', 'error', '-i', path, '-f', 'rawvideo', '-pix_fmt', 'gray', '-'])
    assert pixels == bytes(4 * x for x in range(64)) * 36 * 300
)");
}

TEST_F(Mp4Test, ReadsMoviesBeforeTheirDataAndWith64BitSizes) {
  const std::string bytes = Still();
  const std::size_t mdat = bytes.find("mdat") - 4;
  const std::size_t moov = bytes.find("moov") - 4;
  ASSERT_LT(mdat, moov);
  const std::string file_type = bytes.substr(0, mdat);
  const std::string data = bytes.substr(mdat, moov - mdat);
  const std::string movie = bytes.substr(moov);
  ExpectStill(Header(file_type + movie + data));
  const std::string large =
      BigEndian(1, 4) + "mdat" + BigEndian(data.size() + 8, 8) + data.substr(8);
  ExpectStill(Header(file_type + large + movie));
  ExpectStill(
      Header(file_type + movie + BigEndian(0, 4) + data.substr(4)));  // To the end of the file.
}

TEST_F(Mp4Test, ReadsSizesThatDifferFromFrameToFrame) {
  std::string bytes = Still(3);
  const std::size_t stsz = bytes.find("stsz") + 4;
  // The chunk offsets behind it (3 x 4 bytes) lend their place to the list of sizes.
  const std::size_t stco = bytes.find("stco") - 4;
  bytes.erase(stco);
  bytes.replace(stsz + 4, 4, BigEndian(0, 4));
  bytes += BigEndian(7, 4) + BigEndian(8, 4) + BigEndian(9, 4);
  const auto grow = [&](const char* type, int change) {
    const std::size_t at = bytes.find(type) - 4;
    std::uint64_t size = 0;
    for (std::size_t i = 0; i < 4; ++i)
      size = size << 8 | static_cast<unsigned char>(bytes[at + i]);
    bytes.replace(at, 4, BigEndian(size + static_cast<std::uint64_t>(change), 4));
  };
  grow("stsz", 12);
  for (const char* const parent : {"stbl", "minf", "mdia", "trak", "moov"}) grow(parent, 12 - 28);
  const auto header = Header(bytes);
  ASSERT_THAT(header, IsOk());
  EXPECT_EQ(header->frame_count, 3);
}

/// A box of MP4.
std::string BoxOf(const std::string& type, const std::string& content) {
  return BigEndian(content.size() + 8, 4) + type + content;
}

/// The smallest movie with times: mvhd in milliseconds, the track in 90 kHz.
std::string TimedMovie(const std::string& edits, const std::string& table) {
  const std::string zeros(12, '\0');
  const auto header = [&](const char* type, std::uint64_t scale) {
    return BoxOf(type, zeros + BigEndian(scale, 4) + zeros);
  };
  const std::string media = header("mdhd", 90'000) +
                            BoxOf("hdlr", std::string(8, '\0') + "vide" + zeros) +
                            BoxOf("minf", BoxOf("stbl", table));
  return BoxOf("ftyp", "isom") +
         BoxOf("moov", header("mvhd", 1000) + BoxOf("trak", edits + BoxOf("mdia", media)));
}

/// A box of rows of 4-byte numbers.
std::string Table(const std::string& type,
                  const std::vector<std::vector<std::uint64_t>>& rows,
                  std::uint64_t version = 0) {
  std::string content = BigEndian(version << 24, 4) + BigEndian(rows.size(), 4);
  for (const auto& row : rows) {
    for (const std::uint64_t value : row) content += BigEndian(value, 4);
  }
  return BoxOf(type, content);
}

TEST_F(Mp4Test, TellsWhenFramesAreShown) {
  const auto times = [&](const std::string& bytes) {
    std::ofstream(directory_ / "times.mp4", std::ios::binary) << bytes;
    return ReadMp4FrameTimes(directory_ / "times.mp4");
  };
  const std::string even = Table("stts", {{3, 9000}, {1, 3000}});
  using Times = std::vector<std::int64_t>;
  constexpr std::int64_t kMs = 1'000'000;
  EXPECT_EQ(times(TimedMovie("", even)), (Times{0, 100 * kMs, 200 * kMs, 300 * kMs}));
  EXPECT_EQ(times(TimedMovie("", Table("stts", {{2, 1500}}))), (Times{0, 16'666'667}));
  // Shown in another order than stored, from 200 ms of the media on.
  const std::string offsets =
      Table("ctts", {{1, 18000}, {1, 27000}, {1, 9000}, {1, 0x1'0000'0000 - 9000}}, 1);
  EXPECT_EQ(times(TimedMovie("", even + offsets)),
            (Times{200 * kMs, 200 * kMs, 300 * kMs, 400 * kMs}));
  const auto edit = [](const std::vector<std::vector<std::uint64_t>>& rows) {
    return BoxOf("edts", Table("elst", rows));
  };
  EXPECT_EQ(times(TimedMovie(edit({{500, 18000, 0x10000}}), even + offsets)),
            (Times{0, 0, 100 * kMs, 200 * kMs}));
  // Empty edits: the film begins later.
  EXPECT_EQ(times(TimedMovie(
                edit({{4000, 0xFFFFFFFF, 0x10000}, {1000, 0xFFFFFFFF, 0x10000}, {500, 0, 0x10000}}),
                Table("stts", {{2, 9000}}))),
            (Times{5000 * kMs, 5100 * kMs}));
  EXPECT_EQ(times(Still(3)), (Times{0, 66'666'667, 133'333'333}));

  EXPECT_THAT(times(TimedMovie("", Table("stts", {{0xFFFFFFFF, 1}}))),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want at most 4000000 frames")));
  EXPECT_THAT(times(TimedMovie("", "")),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("no box stts")));
  EXPECT_THAT(
      times(TimedMovie(BoxOf("edts", BoxOf("elst", BigEndian(0, 4) + BigEndian(9, 4))), even)),
      FailsWith(ErrorKind::kInvalidData, HasSubstr("box elst needs 116 bytes, has 8")));
}

TEST_F(Mp4Test, SaysThatAFileIsEmptyUnfinishedOrNoMp4) {
  const std::string bytes = Still();
  EXPECT_THAT(Header(""), FailsWith(ErrorKind::kInvalidData, HasSubstr("this one is empty: ")));
  EXPECT_THAT(Header("<html>not found</html>"),
              FailsWith(ErrorKind::kInvalidData,
                        HasSubstr("byte 0: want an MP4 box, found none in 22 bytes")));
  EXPECT_THAT(Header(bytes.substr(0, bytes.find("moov") - 4)),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("no box moov in ")));
  EXPECT_THAT(ReadMp4Header("/nowhere/x.mp4"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("/nowhere/x.mp4")));
  EXPECT_THAT(ReadMp4Header(directory_.path()),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("no regular file")));
}

TEST_F(Mp4Test, RefusesEveryShorterFile) {
  const std::string bytes = Still(2);
  const std::size_t moov = bytes.find("moov") - 4;
  const std::string movie_first =
      bytes.substr(0, 20) + bytes.substr(moov) + bytes.substr(20, moov - 20);
  ASSERT_THAT(Header(movie_first), IsOk());
  for (const std::string& whole : {bytes, movie_first}) {
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const auto header = Header(whole.substr(0, size));
      // Cut between two boxes, behind the movie: nothing in the headers can tell.
      if (whole == movie_first && size == 20 + bytes.size() - moov) continue;
      EXPECT_THAT(header, FailsWith(ErrorKind::kInvalidData, HasSubstr("changed.mp4"))) << size;
    }
  }
}

TEST_F(Mp4Test, SaysWhereABoxIsWrong) {
  const std::string good = Still();
  const auto refuses =
      [&](const char* box, std::size_t offset, std::uint64_t value, const std::string& text) {
        std::string bad = good;
        bad.replace(bad.find(box) + offset, 4, BigEndian(value, 4));
        EXPECT_THAT(Header(bad), FailsWith(ErrorKind::kInvalidData, HasSubstr(text)))
            << box << offset;
      };
  const std::size_t moov = good.find("moov") - 4;
  const auto at_moov = [&](std::size_t size) {
    return fmt::format("byte {}: box moov says it has {} bytes, the file has {} more",
                       moov,
                       size,
                       good.size() - moov);
  };
  refuses("moov", static_cast<std::size_t>(-4), 0xFFFFFFFF, at_moov(0xFFFFFFFF));
  refuses("moov", static_cast<std::size_t>(-4), 7, at_moov(7));
  refuses("trak",
          static_cast<std::size_t>(-4),
          0xFFFFFF,
          "box trak says it has 16777215 bytes, its parent moov has");
  refuses(
      "stsd", static_cast<std::size_t>(-4), 0, "box stsd says it has 0 bytes, its parent stbl has");
  refuses("stts", 8, 0xFFFFFFFF, "box stts needs 34359738368 bytes, has 16");
  refuses("stsz", 8, 0, "box stsz needs 1212 bytes, has 12");
  refuses("stsz", 12, 299, "299 frames have sizes, 300 have durations");
  refuses("mdhd", 16, 0, "a time scale of 0");
  refuses("stsd", 0, 0x78787878, "no box stsd in stbl");
  refuses("vide", 0, 0x736F756E, "no video track");
}

TEST_F(Mp4Test, SurvivesRandomDamage) {
  const std::string good = Still(2);
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string bad = good;
    for (int i = 0; i < 3; ++i) bad[random() % bad.size()] = static_cast<char>(random());
    const auto header = Header(bad);
    if (!header) {
      EXPECT_EQ(header.error().kind, ErrorKind::kInvalidData) << header.error();
    }
  }
}

}  // namespace
}  // namespace droidflow

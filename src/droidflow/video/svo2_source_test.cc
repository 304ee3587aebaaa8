#include "droidflow/core/files.h"
#include "droidflow/formats/annexb.h"
#include "droidflow/video/recording_summary.h"
#include "droidflow/video/test_support_internal.h"

#include <algorithm>
#include <random>

namespace droidflow {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int64_t kStart_ns = 1'700'000'000'000'000'000;

std::filesystem::path Fixture(const std::string& name) { return SharedPath("data/svo2/" + name); }

bool IsFrame(const std::string& topic) { return topic.ends_with("/side_by_side"); }

/// Makes a unit of another type, which decoders skip, out of each that `is_unwanted`.
void Blank(ByteVector& payload, NalCodec codec, const std::function<bool(int type)>& is_unwanted) {
  const std::span<std::byte> bytes(payload);
  for (const NalUnit& unit : FindNalUnits(bytes.subspan(8))) {
    std::byte& header = bytes[8 + unit.begin];
    if (is_unwanted(NalType(codec, header)))
      header = codec == NalCodec::kH264 ? std::byte{12} : std::byte{38 << 1};
  }
}

TEST(Svo2Source, DecodesEveryFrameOfTheFixturesToTheByte) {
  DF_NEEDS_SHARED("data/svo2");
  for (const char* name : {"hevc_zstd", "hevc_lz4_nofooter", "h264_none", "truncated"}) {
    SCOPED_TRACE(name);
    const bool is_h264 = name == std::string("h264_none");
    auto md5s = Md5sFromFile(Fixture(is_h264 ? "h264.luma.framemd5" : "hevc.luma.framemd5"));
    ASSERT_EQ(md5s.size(), 24U);
    if (name == std::string("truncated")) md5s.resize(8);
    const auto source = OpenFrameSource(Fixture(std::string(name) + ".svo2"), {});
    ASSERT_THAT(source, IsOk());
    const SourceInfo& info = (*source)->info();
    EXPECT_EQ(info.reader, "svo2");
    EXPECT_EQ(info.codec, is_h264 ? "h264" : "hevc");
    EXPECT_EQ(info.serial, is_h264 ? "29838012" : "23404442");
    EXPECT_EQ(info.width_px, 672);
    EXPECT_EQ(info.height_px, 376);
    EXPECT_EQ(info.frame_count, std::ssize(md5s));
    EXPECT_DOUBLE_EQ(info.nominal_fps, 15);
    EXPECT_TRUE(info.stereo);
    EXPECT_FALSE(info.rectified);
    const auto frames = KeepAll(**source);
    EXPECT_EQ(Md5s(frames), md5s);
    for (std::size_t i = 0; i < frames.size(); ++i) {
      EXPECT_EQ(frames[i].index, static_cast<std::int64_t>(i));
      EXPECT_NEAR(*frames[i].time_ns - kStart_ns, i * 1e9 / 15, 1000);
      EXPECT_FALSE(frames[i].damaged);
    }
    if (md5s.size() == 8) {
      EXPECT_THAT((*source)->Warnings(), Contains(HasSubstr("its recorder died")));
    } else {
      EXPECT_THAT((*source)->Warnings(), IsEmpty());
    }
    EXPECT_TRUE(KeepAll(Fixture(std::string(name) + ".svo2"), {.decode_threads = 4}) == frames);
  }
}

TEST(Svo2Source, SeeksToWhatReadingGives) {
  DF_NEEDS_SHARED("data/svo2");
  for (const char* name : {"hevc_zstd.svo2", "jpeg_none.svo2"}) {
    const auto frames = KeepAll(Fixture(name));
    const auto source = OpenFrameSource(Fixture(name), {});
    ASSERT_THAT(source, IsOk());
    for (const std::size_t i :
         {std::size_t{1}, frames.size() - 1, std::size_t{0}, std::size_t{2}, std::size_t{2}}) {
      StereoFrame frame;
      ASSERT_THAT((*source)->Seek(static_cast<std::int64_t>(i)), IsOk());
      ASSERT_EQ((*source)->Next(frame), true);
      EXPECT_TRUE(Keep(frame) == frames[i]) << i;
    }
    StereoFrame frame;
    ASSERT_THAT((*source)->Seek(100), IsOk());
    EXPECT_EQ((*source)->Next(frame), false);
  }
}

TEST(Svo2Source, KeepsTheFramesOfAStreamWithoutItsOnlyKeyFrame) {
  DF_NEEDS_SHARED("data/svo2");
  const TemporaryDirectory directory;
  int num_blanked = 0;
  RewriteSvo2(Fixture("h264_none.svo2"), directory / "cut.svo2", [&](auto& topic, auto& data) {
    if (IsFrame(topic)) {
      Blank(data, NalCodec::kH264, [&](int type) { return type == 5 && ++num_blanked > 0; });
    }
    return true;
  });
  ASSERT_GE(num_blanked, 1);
  const auto whole = KeepAll(Fixture("h264_none.svo2"));
  const auto source = OpenFrameSource(directory / "cut.svo2", {});
  ASSERT_THAT(source, IsOk());
  const auto cut = KeepAll(**source);
  ASSERT_EQ(cut.size(), 23U);
  EXPECT_THAT((*source)->Warnings(),
              Contains(HasSubstr("1 frame could not be decoded, the first is 0")));
  for (std::size_t i = 0; i < cut.size(); ++i) {
    EXPECT_EQ(cut[i].index, static_cast<std::int64_t>(i) + 1);
    EXPECT_EQ(cut[i].time_ns, whole[i + 1].time_ns);
  }
  EXPECT_TRUE(cut.front().damaged);
  // Refresh brings the pictures back: the last one is much nearer to the truth than the first.
  const auto difference = [&](std::size_t i) {
    double sum = 0;
    for (std::size_t k = 0; k < cut[i].pixels.size(); ++k) {
      sum += std::abs(static_cast<unsigned char>(cut[i].pixels[k]) -
                      static_cast<unsigned char>(whole[i + 1].pixels[k]));
    }
    return sum;
  };
  EXPECT_LT(difference(22), difference(0) / 4);
}

TEST(Svo2Source, GoesOnBehindBadPayloads) {
  DF_NEEDS_SHARED("data/svo2");
  const TemporaryDirectory directory;
  for (const char* name : {"hevc_zstd.svo2", "jpeg_none.svo2"}) {
    int number = 0;
    RewriteSvo2(Fixture(name), directory / "bad.svo2", [&](auto& topic, auto& data) {
      if (IsFrame(topic) && ++number == 2)
        std::fill(data.begin(), data.begin() + 64, std::byte{0xFF});
      return true;
    });
    const auto whole = KeepAll(Fixture(name));
    const auto source = OpenFrameSource(directory / "bad.svo2", {});
    ASSERT_THAT(source, IsOk());
    const auto frames = KeepAll(**source);
    ASSERT_EQ(frames.size(), whole.size() - 1) << name;
    EXPECT_TRUE(frames[0] == whole[0]);
    EXPECT_EQ(frames[1].index, 2);
    EXPECT_EQ(frames[1].time_ns, whole[2].time_ns);
    EXPECT_EQ(frames.back().index, whole.back().index);
    EXPECT_THAT((*source)->Warnings(), Contains(HasSubstr("the first is 1: ")));
  }
}

TEST(Svo2Source, DoesWithoutTheHeader) {
  DF_NEEDS_SHARED("data/svo2");
  const TemporaryDirectory directory;
  for (const char* name : {"hevc_zstd.svo2", "jpeg_none.svo2"}) {
    const auto path = directory / "headless.svo2";
    RewriteSvo2(Fixture(name), path, [](auto& topic, auto&) { return topic != "svo_header"; });
    const auto want = SummarizeRecording(Fixture(name), SvoFrames::kCount);
    const auto have = SummarizeRecording(path, SvoFrames::kCount);
    ASSERT_THAT(want, IsOk());
    ASSERT_THAT(have, IsOk());
    EXPECT_EQ(have->info.serial, want->info.serial);
    EXPECT_EQ(have->info.width_px, want->info.width_px);
    EXPECT_EQ(have->info.height_px, want->info.height_px);
    EXPECT_EQ(have->frame_times_ns, want->frame_times_ns);
    EXPECT_THAT(have->problems, Contains(HasSubstr("want a message svo_header, found none")));
    EXPECT_THAT(ReadSvo2Header(path),
                FailsWith(ErrorKind::kInvalidData, HasSubstr("headless.svo2")));
    const auto source = OpenFrameSource(path, {});
    ASSERT_THAT(source, IsOk());
    EXPECT_EQ((*source)->info().width_px, want->info.width_px);
  }
}

TEST(Svo2Source, RefusesFilesWithoutFramesItKnows) {
  DF_NEEDS_SHARED("data/svo2");
  const TemporaryDirectory directory;
  const auto path = directory / "changed.svo2";
  const auto from = Fixture("h264_none.svo2");
  RewriteSvo2(from, path, [](auto& topic, auto&) { return !IsFrame(topic); });
  EXPECT_THAT(OpenFrameSource(path, {}),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("Camera_SN<serial>/side_by_side")));
  RewriteSvo2(from, path, [](auto& topic, auto& data) {
    if (IsFrame(topic)) Blank(data, NalCodec::kH264, [](int type) { return type == 7; });
    return true;
  });
  EXPECT_THAT(OpenFrameSource(path, {}),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("no frame has parameter sets")));
  RewriteSvo2(from, path, [](auto& topic, auto& data) {
    if (IsFrame(topic)) Blank(data, NalCodec::kH264, [](int type) { return type <= 5; });
    return true;
  });
  EXPECT_THAT(OpenFrameSource(path, {}),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("no picture can be decoded")));
}

TEST(Svo2Source, DecodesJpegStripsAsTheirSpecificationSays) {
  DF_NEEDS_SHARED("data/svo2");
  const auto path = Fixture("jpeg_none.svo2");
  const auto source = OpenFrameSource(path, {});
  ASSERT_THAT(source, IsOk());
  EXPECT_EQ((*source)->info().codec, "jpeg");
  EXPECT_EQ((*source)->info().width_px, 1280);
  const auto frames = KeepAll(**source);
  ASSERT_EQ(frames.size(), 3U);

  // Two rows of blocks of the third frame's second strip, by ITU-T T.81 and a cosine transform in
  // floating point.
  ByteVector payload;
  int number = 0;
  const TemporaryDirectory directory;
  RewriteSvo2(path, directory / "copy.svo2", [&](auto& topic, auto& data) {
    if (IsFrame(topic) && ++number == 3) payload = data;
    return true;
  });
  std::uint64_t sizes[2];
  std::memcpy(sizes, payload.data() + 8, sizeof(sizes));
  const auto* const jpeg = reinterpret_cast<const char*>(payload.data() + 40 + sizes[0]);
  std::ofstream(directory / "strip.jpg", std::ios::binary)
      .write(jpeg, static_cast<std::streamsize>(sizes[1]));
  const std::vector<double> luma =
      NumbersFromPython("data = open('" + (directory / "strip.jpg").string() + R"(', 'rb').read()
import struct, numpy as np
at, tables, quant = 2, {}, {}
while data[at + 1] != 0xDA:
    marker, size = data[at + 1], struct.unpack('>H', data[at + 2:at + 4])[0]
    body = data[at + 4:at + 2 + size]
    if marker == 0xC0: height, width, num_components = struct.unpack('>HHB', body[1:6])
    while marker == 0xDB and body:
        quant[body[0]], body = np.frombuffer(body[1:65], np.uint8).astype(float), body[65:]
    while marker == 0xC4 and body:
        counts, code, n, table = body[1:17], 0, 17, {}
        for length, count in enumerate(counts, 1):
            for _ in range(count):
                table[length, code] = body[n]; code += 1; n += 1
            code <<= 1
        tables[body[0]], body = table, body[n:]
    at += 2 + size
assert num_components == 1 and (width, height) == (5120, 180)
at += 2 + struct.unpack('>H', data[at + 2:at + 4])[0]
bits = ''.join(f'{b:08b}' for b in data[at:at + 120000].replace(b'\xff\x00', b'\xff'))
at = 0
def symbol(table):
    global at
    code = 0
    for length in range(1, 17):
        code = code * 2 + (bits[at] == '1'); at += 1
        if (length, code) in table: return table[length, code]
def value(size):
    global at
    if size == 0: return 0
    raw = int(bits[at:at + size], 2); at += size
    return raw if raw >> (size - 1) else raw - (1 << size) + 1
zigzag = sorted(range(64), key=lambda k: (k // 8 + k % 8, k // 8 if (k // 8 + k % 8) % 2 else k % 8))
k = np.arange(8)
basis = np.cos((2 * k[:, None] + 1) * k[None] * np.pi / 16) * np.where(k == 0, np.sqrt(1 / 8), 0.5)
picture, dc = np.zeros((16, width)), 0
for block in range(2 * width // 8):
    c = np.zeros(64)
    dc += value(symbol(tables[0])); c[0] = dc
    i = 1
    while i < 64:
        s = symbol(tables[16])
        if s == 0: break
        i += s >> 4
        c[zigzag[i]] = 0 if s == 0xF0 else value(s & 15)
        i += 1
    q = np.zeros(64); q[zigzag] = quant[0]
    y, x = divmod(block * 8, width)
    picture[8 * y:8 * y + 8, x:x + 8] = basis @ (c * q).reshape(8, 8) @ basis.T + 128
np.savetxt('/dev/stdout', np.clip(np.round(picture), 0, 255)[:, ::2], '%d')
)");
  ASSERT_EQ(luma.size(), 16U * 2560U);
  int worst = 0;
  for (int i = 0; i < 16 * 2560; ++i) {
    const auto have = static_cast<unsigned char>(frames[2].pixels[180 * 2560 + i]);
    worst = std::max(worst, std::abs(have - static_cast<int>(luma[i])));
  }
  EXPECT_LE(worst, 2);
}

TEST(Svo2Source, GivesColoursOfJpegStrips) {
  DF_NEEDS_SHARED("data/svo2");
  const auto path = Fixture("jpeg_none.svo2");
  const auto gray = KeepAll(path);
  const auto source = OpenFrameSource(path, {.pixels = PixelFormat::kRgb});
  ASSERT_THAT(source, IsOk());
  StereoFrame frame;
  ASSERT_EQ((*source)->Next(frame), true);
  ASSERT_EQ(frame.left_rgb.width_px, 1280);
  double error = 0;
  for (int y = 0; y < 720; ++y) {
    for (int x = 0; x < 1280; ++x) {
      const Rgb& rgb = frame.left_rgb.at(x, y);
      // Luma of full range colours, ITU-R BT.601.
      const double luma = 0.299 * rgb.r + 0.587 * rgb.g + 0.114 * rgb.b;
      error += std::abs(luma - static_cast<unsigned char>(gray[0].pixels[y * 2560 + x]));
    }
  }
  EXPECT_LT(error / (1280 * 720), 1);
}

TEST(Svo2Source, SurvivesCutsAndFlippedBits) {
  DF_NEEDS_SHARED("data/svo2");
  const TemporaryDirectory directory;
  std::mt19937 random(5);
  int num_read = 0;
  for (const char* name : {"h264_none.svo2", "hevc_zstd.svo2"}) {
    const std::string bytes = *ReadFileText(Fixture(name));
    for (int i = 0; i < 12; ++i) {
      std::string changed = bytes.substr(0, bytes.size() * (i + 1) / 12);
      for (int k = 0; k < i % 3 * 2; ++k)
        changed[random() % changed.size()] ^= static_cast<char>(1U << random() % 8);
      const auto path = directory / "changed";
      std::filesystem::remove(path);
      std::ofstream(path, std::ios::binary) << changed;
      const auto source = OpenFrameSource(path, {});
      if (!source) continue;
      ++num_read;
      StereoFrame frame;
      std::int64_t last = -1;
      while ((*source)->Next(frame).value_or(false)) {
        ASSERT_GT(frame.index, last);
        last = frame.index;
      }
      EXPECT_LT(last, 24);
    }
  }
  EXPECT_GT(num_read, 10);
}

}  // namespace
}  // namespace droidflow

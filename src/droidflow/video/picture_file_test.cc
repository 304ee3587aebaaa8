#include "droidflow/video/picture_file.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <array>
#include <fstream>
#include <random>
#include <string>
#include <string_view>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void Save(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A PNG of raw rows, put together by Python's zlib; `extra` are chunks in front of the data.
void SavePng(const std::filesystem::path& path,
             int width_px,
             int height_px,
             int depth,
             int color_type,
             const std::string& rows,
             const std::string& extra = "b''") {
  RunPython(fmt::format(R"(
import struct, zlib
def chunk(name, data):
    return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
head = struct.pack('>IIBBBBB', {}, {}, {}, {}, 0, 0, 0)
rows = b''.join(b'\0' + bytes(row) for row in {})
open('{}', 'wb').write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + {} +
    chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))
)",
                        width_px,
                        height_px,
                        depth,
                        color_type,
                        rows,
                        path.string(),
                        extra));
}

TEST(ReadPicture, ReadsEveryKindOfPng) {
  const TemporaryDirectory directory;
  const auto path = directory / "a.png";
  SavePng(path, 3, 2, 8, 0, "[[1, 2, 3], [4, 5, 255]]");
  auto picture = ReadPicture(path);
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->stored_as, "8-bit gray");
  EXPECT_EQ(picture->width_px(), 3);
  EXPECT_EQ(picture->height_px(), 2);
  EXPECT_EQ(picture->gray.at(0, 1), 4);
  EXPECT_EQ(picture->gray.at(2, 1), 255);

  SavePng(path, 2, 1, 16, 0, "[[1, 2, 255, 254]]");
  picture = ReadPicture(path);
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->stored_as, "16-bit gray");
  EXPECT_EQ(picture->gray16.at(0, 0), 258);
  EXPECT_EQ(picture->gray16.at(1, 0), 65534);

  SavePng(path, 2, 1, 8, 4, "[[7, 99, 8, 0]]");
  picture = ReadPicture(path);
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->stored_as, "8-bit gray with alpha");
  EXPECT_EQ(picture->gray.at(1, 0), 8);

  SavePng(path, 2, 1, 8, 2, "[[1, 2, 3, 4, 5, 6]]");
  picture = ReadPicture(path);
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->stored_as, "8-bit colour");
  EXPECT_EQ(picture->rgb.at(1, 0), (Rgb{4, 5, 6}));

  SavePng(path, 1, 1, 16, 2, "[[1, 99, 2, 99, 3, 99]]");
  picture = ReadPicture(path);
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->stored_as, "16-bit colour");
  EXPECT_EQ(picture->rgb.at(0, 0), (Rgb{1, 2, 3}));

  SavePng(path, 2, 1, 8, 6, "[[1, 2, 3, 0, 4, 5, 6, 128]]");  // With alpha.
  picture = ReadPicture(path);
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->rgb.at(0, 0), (Rgb{1, 2, 3}));
  EXPECT_EQ(picture->rgb.at(1, 0), (Rgb{4, 5, 6}));

  SavePng(path, 2, 1, 8, 4, "[[7, 0, 8, 255]]");  // Gray with alpha.
  picture = ReadPicture(path);
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->gray.at(0, 0), 7);
  EXPECT_EQ(picture->gray.at(1, 0), 8);

  SavePng(path, 2, 1, 8, 3, "[[1, 0]]", "chunk(b'PLTE', bytes([9, 8, 7, 6, 5, 4]))");
  picture = ReadPicture(path);
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->rgb.at(0, 0), (Rgb{6, 5, 4}));
  EXPECT_EQ(picture->rgb.at(1, 0), (Rgb{9, 8, 7}));

  SavePng(path, 10, 1, 1, 0, "[[0b10000000, 0b01000000]]");
  picture = ReadPicture(path);
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->gray.at(0, 0), 255);
  EXPECT_EQ(picture->gray.at(8, 0), 0);
  EXPECT_EQ(picture->gray.at(9, 0), 255);
}

TEST(ReadPicture, ReadsPgmAndPpmWhateverTheirNames) {
  const TemporaryDirectory directory;
  Save(directory / "a.png", "P5\n# a word\n2 1\n255\n\x03\xff");
  auto picture = ReadPicture(directory / "a.png");
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->gray.at(0, 0), 3);
  EXPECT_EQ(picture->gray.at(1, 0), 255);
  Save(directory / "a", "P5 1 1 65535 \x01\x02");
  picture = ReadPicture(directory / "a");
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->gray16.at(0, 0), 258);
  Save(directory / "b", "P6 1 1 255 abc");
  picture = ReadPicture(directory / "b");
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->rgb.at(0, 0), (Rgb{'a', 'b', 'c'}));
}

TEST(ReadPicture, SaysWhatIsWrong) {
  const TemporaryDirectory directory;
  EXPECT_THAT(ReadPicture(directory / "absent.png"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("absent.png")));
  Save(directory / "empty.png", "");
  EXPECT_THAT(ReadPicture(directory / "empty.png"),
              FailsWith(ErrorKind::kInvalidData,
                        AllOf(HasSubstr("want a picture (PNG, JPEG, PNM)"),
                              HasSubstr("0 bytes"),
                              HasSubstr("empty.png"))));
  Save(directory / "text.png", "hello");
  EXPECT_THAT(ReadPicture(directory / "text.png"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("5 bytes")));
  EXPECT_THAT(ReadPicture(directory.path()), ::testing::Not(IsOk()));
}

TEST(ReadPicture, RefusesSizesThatNobodyShouldMakeRoomFor) {
  const TemporaryDirectory directory;
  const auto path = directory / "huge.png";
  for (const auto& [width_px, height_px] :
       {std::pair{0, 1}, {1, 0}, {8193, 1}, {1, 8193}, {8192, 8192}, {2147483647, 2147483647}}) {
    SavePng(path, width_px, height_px, 8, 0, "[[0]]");
    EXPECT_THAT(ReadPicture(path), FailsWith(ErrorKind::kInvalidData, HasSubstr("huge.png")))
        << width_px << 'x' << height_px;
  }
  Save(path, "P5 100000 100000 255 x");
  EXPECT_THAT(ReadPicture(path), FailsWith(ErrorKind::kInvalidData, HasSubstr("huge.png")));
}

TEST(ReadPicture, RefusesDamage) {
  const TemporaryDirectory directory;
  const auto path = directory / "a.png";
  Gray16Image picture(61, 43);
  std::minstd_rand random(3);
  for (int y = 0; y < 43; ++y) {
    for (int x = 0; x < 61; ++x) picture.at(x, y) = static_cast<std::uint16_t>(random());
  }
  ASSERT_THAT(WriteGray16Png(path, picture.view()), IsOk());
  const std::string whole = *ReadFileText(path);
  for (std::size_t size = 0; size < whole.size() - 12; size += 1 + size / 8) {
    Save(path, whole.substr(0, size));
    EXPECT_THAT(ReadPicture(path), FailsWith(ErrorKind::kInvalidData, HasSubstr("a.png"))) << size;
  }
  for (int i = 0; i < 300; ++i) {
    std::string damaged = whole;
    damaged[8 + random() % (whole.size() - 20)] ^= static_cast<char>(1U << random() % 8);
    Save(path, damaged);
    const auto read = ReadPicture(path);
    EXPECT_FALSE(read.has_value()) << i;
  }
}

TEST(ToGray8, TakesTheUpperBitsAndTheBt601Mean) {
  PictureFile deep;
  deep.gray16.Resize(2, 1);
  deep.gray16.at(0, 0) = 0x12FF;
  deep.gray16.at(1, 0) = 0xFF00;
  const GrayImage upper = ToGray8(std::move(deep));
  EXPECT_EQ(upper.at(0, 0), 0x12);
  EXPECT_EQ(upper.at(1, 0), 0xFF);

  PictureFile color;
  color.rgb.Resize(4, 1);
  color.rgb.at(0, 0) = {255, 255, 255};
  color.rgb.at(1, 0) = {100, 0, 0};  // 7700 / 256 = 30.08
  color.rgb.at(2, 0) = {0, 100, 0};  // 15000 / 256 = 58.6
  color.rgb.at(3, 0) = {0, 0, 100};  // 2900 / 256 = 11.3
  const GrayImage gray = ToGray8(std::move(color));
  EXPECT_EQ(gray.at(0, 0), 255);
  EXPECT_EQ(gray.at(1, 0), 30);
  EXPECT_EQ(gray.at(2, 0), 58);
  EXPECT_EQ(gray.at(3, 0), 11);
}

TEST(WritePng, IsReadBackAsItWas) {
  const TemporaryDirectory directory;
  std::minstd_rand random(4);
  for (const auto& [width_px, height_px] : {std::pair{1, 1}, {2, 3}, {65, 7}}) {
    GrayImage gray(width_px, height_px);
    Gray16Image deep(width_px, height_px);
    RgbImage color(width_px, height_px);
    for (int y = 0; y < height_px; ++y) {
      for (int x = 0; x < width_px; ++x) {
        const auto value = static_cast<std::uint32_t>(random());
        gray.at(x, y) = static_cast<std::uint8_t>(value);
        deep.at(x, y) = static_cast<std::uint16_t>(value);
        color.at(x, y) = {static_cast<std::uint8_t>(value),
                          static_cast<std::uint8_t>(value >> 8),
                          static_cast<std::uint8_t>(value >> 16)};
      }
    }
    ASSERT_THAT(WriteGrayPng(directory / "g.png", gray.view()), IsOk());
    ASSERT_THAT(WriteGray16Png(directory / "d.png", deep.view()), IsOk());
    ASSERT_THAT(WriteRgbPng(directory / "new/c.png", color.view()), IsOk());
    const auto gray_read = ReadPicture(directory / "g.png");
    const auto deep_read = ReadPicture(directory / "d.png");
    const auto color_read = ReadPicture(directory / "new/c.png");
    ASSERT_THAT(gray_read, IsOk());
    ASSERT_THAT(deep_read, IsOk());
    ASSERT_THAT(color_read, IsOk());
    for (int y = 0; y < height_px; ++y) {
      for (int x = 0; x < width_px; ++x) {
        ASSERT_EQ(gray_read->gray.at(x, y), gray.at(x, y));
        ASSERT_EQ(deep_read->gray16.at(x, y), deep.at(x, y));
        ASSERT_EQ(color_read->rgb.at(x, y), color.at(x, y));
      }
    }
  }
}

TEST(WritePng, RefusesAPictureWithoutPixels) {
  const TemporaryDirectory directory;
  EXPECT_THAT(WriteGrayPng(directory / "a.png", GrayView{}),
              FailsWith(ErrorKind::kUsage, AllOf(HasSubstr("have 0x0"), HasSubstr("a.png"))));
  EXPECT_FALSE(std::filesystem::exists(directory / "a.png"));
}

TEST(EncodeJpeg, KeepsLinesOfOnePixelInTheirColours) {
  const TemporaryDirectory directory;
  constexpr std::array<Rgb, 3> kColours{{{220, 30, 30}, {30, 60, 200}, {240, 240, 240}}};
  RgbImage stripes(29, 21);  // No multiples of a block.
  for (int y = 0; y < stripes.height_px(); ++y) {
    for (int x = 0; x < stripes.width_px(); ++x) {
      stripes.at(x, y) = kColours[static_cast<std::size_t>(x) % 3];
    }
  }
  const auto jpeg = EncodeJpeg(std::as_const(stripes).view(), 2);
  ASSERT_THAT(jpeg, IsOk());
  Save(directory / "a.jpg", {reinterpret_cast<const char*>(jpeg->data()), jpeg->size()});
  const auto read = ReadPicture(directory / "a.jpg");
  ASSERT_THAT(read, IsOk());
  ASSERT_EQ(read->rgb.width_px(), 29);
  ASSERT_EQ(read->rgb.height_px(), 21);
  for (int y = 0; y < 21; ++y) {
    for (int x = 0; x < 29; ++x) {
      const Rgb colour = kColours[static_cast<std::size_t>(x) % 3];
      EXPECT_NEAR(read->rgb.at(x, y).r, colour.r, 25) << x << ", " << y;
      EXPECT_NEAR(read->rgb.at(x, y).g, colour.g, 25) << x << ", " << y;
      EXPECT_NEAR(read->rgb.at(x, y).b, colour.b, 25) << x << ", " << y;
    }
  }
}

TEST(EncodeJpeg, RefusesAPictureWithoutPixels) {
  EXPECT_THAT(EncodeJpeg(RgbView{}, 2), FailsWith(ErrorKind::kUsage, HasSubstr("have 0x0")));
}

}  // namespace
}  // namespace droidflow

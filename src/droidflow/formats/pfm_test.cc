#include "droidflow/formats/pfm.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <limits>
#include <random>
#include <string>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Result<Image<float>> ParsePicture(const std::string& file) {
  return ParsePfm(std::as_bytes(std::span(file)), "/data/a.pfm");
}

std::string Bytes(std::initializer_list<float> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(float)};
}

TEST(ParsePfm, TurnsRowsTopDown) {
  const auto picture = ParsePicture("Pf\n2 2\n-1\n" + Bytes({1, 2, 3, 4}));
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->at(0, 0), 3);
  EXPECT_EQ(picture->at(1, 0), 4);
  EXPECT_EQ(picture->at(0, 1), 1);
  EXPECT_EQ(picture->at(1, 1), 2);
}

TEST(ParsePfm, TakesTheByteOrderFromTheSignOfTheScale) {
  const auto picture = ParsePicture(std::string("Pf 1 1 0.0039 \x3f\x80\x00\x00", 18));
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->at(0, 0), 1);
}

TEST(ParsePfm, ReadsItsOwnFilesAndSoDoesNumPy) {
  constexpr float kNone = std::numeric_limits<float>::infinity();
  Image<float> picture(3, 2);
  for (int x = 0; x < 3; ++x) {
    picture.at(x, 0) = 0.5F + static_cast<float>(x);
    picture.at(x, 1) = -1.25F * static_cast<float>(x);
  }
  picture.at(2, 1) = kNone;
  const std::string file = FormatPfm(picture.view());
  const auto again = ParsePicture(file);
  ASSERT_THAT(again, IsOk());
  for (int y = 0; y < 2; ++y) {
    for (int x = 0; x < 3; ++x) EXPECT_EQ(again->at(x, y), picture.at(x, y));
  }

  const TemporaryDirectory directory;
  ASSERT_THAT(WriteFile(directory / "a.pfm", file), IsOk());
  const std::vector<double> numbers = NumbersFromPython(fmt::format(
      R"(
import numpy as np
head, size, scale, data = open('{}', 'rb').read().split(b'\n', 3)
assert head == b'Pf' and float(scale) < 0
width, height = map(int, size.split())
rows = np.frombuffer(data, '<f4').reshape(height, width)[::-1]
print(*np.where(np.isinf(rows), 99, rows).flat)
)",
      (directory / "a.pfm").string()));
  EXPECT_THAT(numbers, ::testing::ElementsAre(0.5, 1.5, 2.5, 0, -1.25, 99));
}

TEST(ParsePfm, RefusesEveryShorterFileAndALongerOne) {
  const std::string whole = "Pf\n2 1\n-1.0\n" + Bytes({1, 2});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(ParsePicture(whole.substr(0, size)),
                FailsWith(ErrorKind::kInvalidData, HasSubstr("/data/a.pfm")))
        << size;
  }
  EXPECT_THAT(ParsePicture(whole + "x"),
              FailsWith(ErrorKind::kInvalidData,
                        AllOf(HasSubstr("want 8 bytes behind the header of a PFM of 2x1"),
                              HasSubstr("have 9"))));
}

TEST(ParsePfm, RefusesWhatNobodyShouldMakeRoomFor) {
  for (const char* const size : {"0 1",
                                 "1 0",
                                 "-1 1",
                                 "1 -1",
                                 "65537 1",
                                 "65536 65536",
                                 "2147483647 2147483647",
                                 "99999999999 1",
                                 "1e3 1",
                                 "nan 1"}) {
    EXPECT_THAT(ParsePicture(fmt::format("Pf\n{}\n-1\n", size) + Bytes({1})),
                FailsWith(ErrorKind::kInvalidData, HasSubstr("/data/a.pfm")))
        << size;
  }
}

TEST(ParsePfm, SaysWhatItSaw) {
  EXPECT_THAT(ParsePicture("PF\n1 1\n-1\n" + Bytes({1, 2, 3})),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want a PFM of one channel")));
  EXPECT_THAT(ParsePicture("P5\n1 1\n255\n1"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("the file of 12 bytes has none")));
  EXPECT_THAT(ParsePicture("Pf\n1 1\n0\n" + Bytes({1})),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("scale")));
  EXPECT_THAT(ReadPfm("/absent/a.pfm"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("/absent/a.pfm")));
}

TEST(ParsePfm, SurvivesAnyDamageToItsHeader) {
  const std::string whole = "Pf\n12 1\n-1.0\n" + std::string(48, '\1');
  std::minstd_rand random(5);
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = whole;
    for (unsigned n = 0; n <= random() % 3; ++n) {
      damaged[random() % 13] = static_cast<char>(random());
    }
    const auto picture = ParsePicture(damaged);
    if (!picture) continue;
    EXPECT_EQ(picture->width_px() * picture->height_px(), 12) << damaged;
  }
}

}  // namespace
}  // namespace droidflow

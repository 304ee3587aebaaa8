#include "droidflow/formats/stl.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kAscii =
    "solid finger tip\n"
    "  facet normal 0 0 1\n"
    "    outer loop\n"
    "      vertex 0 0 0.5\n"
    "      vertex +1.5e-2 0 0\n"
    "      vertex 0 -2 0\n"
    "    endloop\n"
    "  endfacet\n"
    "endsolid finger tip\n";

Result<std::vector<StlTriangle>> Parse(std::string_view text) {
  return ParseStl(std::as_bytes(std::span(text)), "/data/finger.stl");
}

/// Twelve floats for each triangle: normal, then vertices.
std::string Binary(std::string_view header,
                   std::initializer_list<std::array<float, 12>> triangles) {
  std::string bytes(header);
  bytes.resize(80);
  const auto count = static_cast<std::uint32_t>(triangles.size());
  bytes.append(reinterpret_cast<const char*>(&count), sizeof(count));
  for (const auto& triangle : triangles) {
    bytes.append(reinterpret_cast<const char*>(triangle.data()), sizeof(triangle));
    bytes.append(2, '\0');
  }
  return bytes;
}

void ExpectTheSampleTriangle(const Result<std::vector<StlTriangle>>& triangles) {
  ASSERT_THAT(triangles, IsOk());
  ASSERT_EQ(triangles->size(), 1U);
  const StlTriangle& triangle = triangles->front();
  EXPECT_THAT(triangle.normal, ElementsAre(0, 0, 1));
  EXPECT_THAT(triangle.vertices[0], ElementsAre(0, 0, 0.5F));
  EXPECT_THAT(triangle.vertices[1], ElementsAre(0.015F, 0, 0));
  EXPECT_THAT(triangle.vertices[2], ElementsAre(0, -2, 0));
}

TEST(ParseStl, ReadsAscii) { ExpectTheSampleTriangle(Parse(kAscii)); }

TEST(ParseStl, ReadsAsciiInCapitalsWithWindowsLineEnds) {
  std::string text;
  for (const char c : kAscii) {
    if (c == '\n') text += '\r';
    text += static_cast<char>(std::toupper(c));
  }
  ExpectTheSampleTriangle(Parse(text));
}

TEST(ParseStl, ReadsSeveralSolidsInOneFile) {
  EXPECT_EQ(Parse(std::string(kAscii) + std::string(kAscii))->size(), 2U);
}

TEST(ParseStl, ReadsBinaryWhateverItsHeaderSays) {
  const std::array<float, 12> triangle{0, 0, 1, 0, 0, 0.5F, 0.015F, 0, 0, 0, -2, 0};
  ExpectTheSampleTriangle(Parse(Binary("made by hand", {triangle})));
  ExpectTheSampleTriangle(Parse(Binary("solid made by another hand", {triangle})));
  EXPECT_EQ(Parse(Binary("", {}))->size(), 0U);
}

TEST(ParseStl, RefusesBinaryOfAnotherSizeThanItsCountAsksFor) {
  const std::string good = Binary("", {std::array<float, 12>{}});
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_THAT(Parse(good.substr(0, size)),
                FailsWith(ErrorKind::kInvalidData,
                          HasSubstr(fmt::format("this one has {}: /data/", size))));
  }
  std::string hostile = good;
  hostile.replace(80, 4, "\xFF\xFF\xFF\xFF");
  EXPECT_THAT(
      Parse(hostile),
      FailsWith(ErrorKind::kInvalidData,
                HasSubstr("4294967295 triangles has 214748364834 bytes, this one has 134")));
}

TEST(ParseStl, RefusesEveryShorterAsciiFile) {
  // Up to the last word, "endsolid": behind it only a name is missing.
  for (std::size_t size = 5; size < kAscii.find("endsolid") + 8; ++size) {
    EXPECT_THAT(Parse(kAscii.substr(0, size)),
                FailsWith(ErrorKind::kInvalidData, HasSubstr("line ")))
        << size;
  }
}

TEST(ParseStl, SaysOnWhichLineAndByteItIsWrong) {
  const auto refuses = [](std::string_view from, std::string_view to, const std::string& text) {
    std::string bad(kAscii);
    bad.replace(bad.find(from), from.size(), to);
    EXPECT_THAT(Parse(bad), FailsWith(ErrorKind::kInvalidData, HasSubstr(text)));
  };
  refuses("+1.5e-2", "1,5", "line 5: want a number, found 1,5 in ASCII STL /data/finger.stl");
  refuses("0 -2 0", "0 -2", "line 7: want a number, found endloop");
  refuses("0.5", "nan", "line 5: want a finite vertex before, found vertex");
  refuses("endloop", "vertex", "line 7: want endloop, found vertex");
  refuses("endsolid finger tip\n", "", "line 9: want endsolid, found the end");

  const float inf = std::numeric_limits<float>::infinity();
  const std::array<float, 12> good{};
  const std::array<float, 12> bad{0, 0, 0, 0, 0, 0, inf};
  EXPECT_THAT(Parse(Binary("", {good, bad})),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("byte 134: triangle 1 is not finite")));
}

TEST(ReadStl, ReadsTheGrippersFinger) {
  DF_NEEDS_SHARED("data/meshes/inner_finger_fine.STL");
  const auto triangles = ReadStl(SharedPath("data/meshes/inner_finger_fine.STL"));
  ASSERT_THAT(triangles, IsOk());
  EXPECT_EQ(triangles->size(), (121'484U - 84) / 50);
  // A closed surface: what its sides enclose does not depend on where the origin is.
  std::array<double, 3> area{};
  for (const auto& [v, normal] : *triangles) {
    for (std::size_t k = 0; k < 3; ++k) {
      const std::size_t i = (k + 1) % 3;
      const std::size_t j = (k + 2) % 3;
      area[k] +=
          (v[1][i] - v[0][i]) * (v[2][j] - v[0][j]) - (v[1][j] - v[0][j]) * (v[2][i] - v[0][i]);
    }
  }
  for (const double component : area) EXPECT_NEAR(component, 0, 1e-8);
}

TEST(ReadStl, SaysWhichFileIsMissing) {
  EXPECT_THAT(ReadStl("/nowhere/x.stl"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("/nowhere/x.stl")));
}

}  // namespace
}  // namespace droidflow

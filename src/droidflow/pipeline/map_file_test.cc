#include "droidflow/pipeline/map_file.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/formats/npy.h"
#include "droidflow/formats/pfm.h"
#include "droidflow/video/picture_file.h"

#include <bit>
#include <cmath>
#include <limits>
#include <random>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kNone = std::numeric_limits<float>::quiet_NaN();

Image<float> Row(std::initializer_list<float> values) {
  Image<float> map(static_cast<int>(values.size()), 1);
  std::copy(values.begin(), values.end(), map.row(0));
  return map;
}

TEST(WriteMap, IsReadBackFromEveryFormat) {
  const TemporaryDirectory directory;
  Image<float> map(5, 3);
  for (int y = 0; y < 3; ++y) {
    for (int x = 0; x < 5; ++x) map.at(x, y) = x == y ? kNone : static_cast<float>(5 * y + x) / 16;
  }
  for (const MapKind kind : {MapKind::kDisparity, MapKind::kDepth}) {
    for (const char* const name : {"a.pfm", "a.npy", "a.png"}) {
      ASSERT_THAT(WriteMap(directory / name, map.view(), kind), IsOk());
      const auto read = ReadMap(directory / name, kind);
      ASSERT_THAT(read, IsOk());
      ASSERT_EQ(read->width_px(), 5);
      ASSERT_EQ(read->height_px(), 3);
      const bool is_rounded = kind == MapKind::kDepth && std::string_view(name) == "a.png";
      for (int y = 0; y < 3; ++y) {
        for (int x = 0; x < 5; ++x) {
          const float value = map.at(x, y);
          if (std::isnan(value)) {
            EXPECT_TRUE(std::isnan(read->at(x, y)));
          } else {
            EXPECT_NEAR(read->at(x, y), value, is_rounded ? 0.00051 : 0) << name;
          }
        }
      }
    }
  }
}

TEST(WriteMap, WritesTheNumbersWorkedByHand) {
  const TemporaryDirectory directory;
  const Image<float> map = Row({1.5F, kNone, 0, 1023.99F, 1024});
  ASSERT_THAT(WriteMap(directory / "d.png", map.view(), MapKind::kDisparity), IsOk());
  const auto disparity = ReadPicture(directory / "d.png");
  ASSERT_THAT(disparity, IsOk());
  EXPECT_EQ(disparity->gray16.at(0, 0), 96);
  EXPECT_EQ(disparity->gray16.at(1, 0), 0);
  EXPECT_EQ(disparity->gray16.at(2, 0), 0);
  EXPECT_EQ(disparity->gray16.at(3, 0), 65535);
  EXPECT_EQ(disparity->gray16.at(4, 0), 0);  // Does not fit.
  ASSERT_THAT(WriteMap(directory / "z.png", map.view(), MapKind::kDepth), IsOk());
  EXPECT_EQ(ReadPicture(directory / "z.png")->gray16.at(0, 0), 1500);
  ASSERT_THAT(WriteMap(directory / "d.pfm", map.view(), MapKind::kDisparity), IsOk());
  EXPECT_TRUE(std::isinf(ReadPfm(directory / "d.pfm")->at(1, 0)));
  ASSERT_THAT(WriteMap(directory / "d.npy", map.view(), MapKind::kDisparity), IsOk());
  const auto array = ReadNpy(directory / "d.npy");
  ASSERT_THAT(array, IsOk());
  EXPECT_EQ(array->shape, (NpyShape{1, 5}));
  EXPECT_TRUE(std::isnan((*array->As<float>())[1]));
}

TEST(ReadMap, KnowsWhatIsNoValue) {
  const TemporaryDirectory directory;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const Image<float> map = Row({kInfinity, kNone, -1, 0, 2});
  ASSERT_THAT(WriteFile(directory / "a.pfm", FormatPfm(map.view())), IsOk());
  const auto disparity = ReadMap(directory / "a.pfm", MapKind::kDisparity);
  const auto depth = ReadMap(directory / "a.pfm", MapKind::kDepth);
  ASSERT_THAT(disparity, IsOk());
  ASSERT_THAT(depth, IsOk());
  for (int x = 0; x < 3; ++x) EXPECT_TRUE(std::isnan(disparity->at(x, 0))) << x;
  EXPECT_EQ(disparity->at(3, 0), 0);
  EXPECT_TRUE(std::isnan(depth->at(3, 0)));
  EXPECT_EQ(depth->at(4, 0), 2);
}

TEST(ReadMap, SaysWhatIsWrong) {
  const TemporaryDirectory directory;
  const auto fails = [](const char* text) {
    return FailsWith(ErrorKind::kInvalidData, HasSubstr(text));
  };
  EXPECT_THAT(ReadMap(directory / "absent.pfm", MapKind::kDepth),
              FailsWith(ErrorKind::kNotFound, HasSubstr("absent.pfm")));
  ASSERT_THAT(WriteFile(directory / "a.npy", "text"), IsOk());
  EXPECT_THAT(ReadMap(directory / "a.npy", MapKind::kDisparity),
              fails("want a disparity (PFM, PNG or npy), the file of 4 bytes is none"));
  GrayImage gray(2, 1);
  gray.at(0, 0) = gray.at(1, 0) = 3;
  ASSERT_THAT(WriteGrayPng(directory / "g.png", gray.view()), IsOk());
  EXPECT_THAT(ReadMap(directory / "g.png", MapKind::kDepth),
              fails("want a depth of 16-bit gray, have 8-bit gray"));
  ASSERT_THAT(WriteFile(directory / "b.npy", FormatNpyHeader("<f4", {2}) + std::string(8, '\0')),
              IsOk());
  EXPECT_THAT(ReadMap(directory / "b.npy", MapKind::kDepth), fails("[H,W]"));
  ASSERT_THAT(WriteFile(directory / "c.npy", FormatNpyHeader("<f4", {0, 5})), IsOk());
  EXPECT_THAT(ReadMap(directory / "c.npy", MapKind::kDepth), fails("have [0,5]"));
  ASSERT_THAT(WriteFile(directory / "d.npy", FormatNpyHeader("<f4", {1LL << 40, 1LL << 40})),
              IsOk());
  EXPECT_THAT(ReadMap(directory / "d.npy", MapKind::kDepth), fails("d.npy"));
  for (const char* const name : {"a.tiff", "a", "a.PNGX"}) {
    EXPECT_THAT(
        WriteMap(directory / name, Row({1}).view(), MapKind::kDepth),
        FailsWith(ErrorKind::kUsage,
                  AllOf(HasSubstr("want a file named .pfm, .png or .npy"), HasSubstr(name))));
  }
}

TEST(ReadMap, SurvivesDamage) {
  const TemporaryDirectory directory;
  const Image<float> map = Row({1, 2, 3, 4, 5, 6, 7, 8, 9});
  std::minstd_rand random(9);
  for (const char* const name : {"a.pfm", "a.npy", "a.png"}) {
    const auto path = directory / name;
    ASSERT_THAT(WriteMap(path, map.view(), MapKind::kDisparity), IsOk());
    const std::string whole = *ReadFileText(path);
    for (int i = 0; i < 200; ++i) {
      std::string damaged = whole.substr(0, whole.size() - random() % 2 * random() % whole.size());
      damaged[random() % damaged.size()] = static_cast<char>(random());
      ASSERT_THAT(WriteFile(path, damaged), IsOk());
      const auto read = ReadMap(path, MapKind::kDisparity);
      if (!read) continue;
      for (int x = 0; x < read->width_px(); ++x) {
        const float value = read->at(x, 0);
        EXPECT_TRUE(std::isnan(value) || (std::isfinite(value) && value >= 0)) << value;
      }
    }
  }
}

}  // namespace
}  // namespace droidflow

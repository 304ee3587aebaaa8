#include "droidflow/view/depth_preview.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/video/picture_file.h"
#include "droidflow/view/colour_map.h"

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using ::testing::HasSubstr;

DepthImage Plane(int width_px, int height_px, int depth_mm) {
  DepthImage image(width_px, height_px);
  for (int y = 0; y < height_px; ++y) {
    std::fill_n(image.row(y), width_px, static_cast<std::uint16_t>(depth_mm));
  }
  return image;
}

/// Planes 100 mm apart, the first 1 m away, a second apart.
class Planes final : public DepthPictures {
 public:
  explicit Planes(int count) : count_(count) {}

  Result<bool> Next(DepthView& depth_mm) override {
    if (next_ == count_) return false;
    plane_ = Plane(64, 48, 1000 + 100 * next_++);
    depth_mm = std::as_const(plane_).view();
    return true;
  }
  [[nodiscard]] std::optional<double> time_s() const override { return next_ - 1; }
  [[nodiscard]] std::optional<std::int64_t> count() const override { return std::nullopt; }
  Status Seek(std::int64_t index) override {
    next_ = std::min(static_cast<int>(index), count_);
    return {};
  }

 private:
  int count_;
  int next_ = 0;
  DepthImage plane_;
};

DepthHistogram HistogramOf(std::initializer_list<int> depths_mm) {
  DepthHistogram histogram;
  for (const int depth_mm : depths_mm) histogram.Add(Plane(1, 1, depth_mm).view());
  return histogram;
}

TEST(DepthHistogram, CountsWhatIsValid) {
  const DepthHistogram histogram = HistogramOf({0, 300, 500, 65535});
  EXPECT_DOUBLE_EQ(histogram.valid_share(), 0.75);
  EXPECT_EQ(histogram.Quantile(0), 300);
  EXPECT_EQ(histogram.Quantile(0.5), 500);
  EXPECT_EQ(histogram.Quantile(1), 65535);
  EXPECT_EQ(DepthHistogram().valid_share(), 0);
  EXPECT_EQ(HistogramOf({0}).Quantile(0.5), 0);
}

TEST(ChooseDepthScale, WidensToRoundNumbers) {
  EXPECT_EQ(ChooseDepthScale(HistogramOf({313, 2930}), {}, {}), (DepthScale{200, 3000}));
  EXPECT_EQ(ChooseDepthScale(HistogramOf({500}), {}, {}), (DepthScale{500, 501}));
}

TEST(ChooseDepthScale, LeavesOutliersOut) {
  DepthHistogram histogram;
  histogram.Add(Plane(100, 10, 700).view());
  histogram.Add(Plane(100, 10, 1200).view());
  histogram.Add(Plane(10, 1, 60000).view());
  EXPECT_EQ(ChooseDepthScale(histogram, {}, {}), (DepthScale{700, 1250}));
}

TEST(ChooseDepthScale, TakesWhatIsGiven) {
  EXPECT_EQ(ChooseDepthScale(HistogramOf({313, 2930}), 400, 900), (DepthScale{400, 900}));
  EXPECT_EQ(ChooseDepthScale(HistogramOf({313, 2930}), 5000, {}), (DepthScale{5000, 6000}));
  EXPECT_EQ(ChooseDepthScale(HistogramOf({313, 2930}), {}, 100), (DepthScale{0, 100}));
  EXPECT_EQ(ChooseDepthScale(HistogramOf({0}), {}, {}), (DepthScale{250, 3000}));
}

TEST(DrawDepth, GivesDepthsTheirColoursAndHatchesTheRest) {
  std::vector<DepthTile> tiles(1);
  tiles[0].depth_mm = Plane(640, 16, 0);
  // The first half of the scale, an end, beyond both ends; then nothing.
  for (const auto& [x, depth_mm] :
       {std::pair{0, 1500}, {1, 1000}, {2, 999}, {3, 2000}, {4, 9999}}) {
    tiles[0].depth_mm.at(x, 5) = static_cast<std::uint16_t>(depth_mm);
  }
  const RgbImage picture = DrawDepth(tiles, {1000, 2000});
  EXPECT_EQ(picture.width_px(), 640);
  EXPECT_EQ(picture.height_px() % 2, 0);
  EXPECT_EQ(picture.at(0, 5), ViridisAt(0.5));
  EXPECT_EQ(picture.at(1, 5), ViridisAt(1));
  EXPECT_EQ(picture.at(2, 5), ViridisAt(1));
  EXPECT_EQ(picture.at(3, 5), ViridisAt(0));
  EXPECT_EQ(picture.at(4, 5), ViridisAt(0));
  std::vector<int> levels;
  for (int x = 5; x < 640; ++x) {
    const Rgb colour = picture.at(x, 5);
    EXPECT_TRUE(colour.r == colour.g && colour.g == colour.b) << x;
    levels.push_back(colour.r);
  }
  EXPECT_GE(*std::ranges::max_element(levels) - *std::ranges::min_element(levels), 40);
}

TEST(DrawDepth, HasAllColoursInItsLegend) {
  std::vector<DepthTile> tiles(1);
  tiles[0].depth_mm = Plane(1280, 720, 0);
  const RgbImage picture = DrawDepth(tiles, {500, 1500});
  for (int i = 0; i <= 16; ++i) {
    const Rgb wanted = ViridisAt(i / 16.0);
    int nearest = 255;
    for (int y = 720; y < picture.height_px(); ++y) {
      for (int x = 0; x < picture.width_px(); ++x) {
        const Rgb colour = picture.at(x, y);
        nearest = std::min(nearest,
                           std::max({std::abs(colour.r - wanted.r),
                                     std::abs(colour.g - wanted.g),
                                     std::abs(colour.b - wanted.b)}));
      }
    }
    EXPECT_LE(nearest, 1) << i;
  }
}

TEST(DrawDepth, FitsPicturesOfAnySize) {
  for (const auto& [width_px, height_px] :
       {std::pair{1, 1}, {1, 4000}, {4000, 1}, {63, 47}, {2000, 1500}, {8192, 64}}) {
    for (const int count : {1, 2, 8, 9, 64}) {
      std::vector<DepthTile> tiles(count);
      for (DepthTile& tile : tiles) {
        tile.depth_mm = Plane(width_px, height_px, 1000);
        tile.caption = "frame 1";
      }
      const RgbImage picture = DrawDepth(tiles, {500, 1500});
      SCOPED_TRACE(testing::Message() << count << " of " << width_px << 'x' << height_px << ": "
                                      << picture.width_px() << 'x' << picture.height_px());
      EXPECT_GE(picture.width_px(), 640);
      EXPECT_LE(picture.width_px(), 1920);
      EXPECT_LE(picture.height_px(), 8192);
      EXPECT_EQ(picture.width_px() % 2, 0);
      EXPECT_EQ(picture.height_px() % 2, 0);
    }
  }
}

TEST(CheckDepthPreview, SaysWhatIsWrong) {
  const auto check = [](const char* out, const DepthPreviewOptions& options) {
    return CheckDepthPreview(out, options);
  };
  EXPECT_THAT(check("x.PNG", {}), IsOk());
  EXPECT_THAT(check("x.jpg", {}), FailsWith(ErrorKind::kUsage, HasSubstr(".png or .mp4: x.jpg")));
  EXPECT_THAT(check("x.mp4", {.frame = 1}), FailsWith(ErrorKind::kUsage, HasSubstr("one frame")));
  EXPECT_THAT(check("x.png", {.frame = -1}), FailsWith(ErrorKind::kUsage, HasSubstr("have -1")));
  EXPECT_THAT(check("x.png", {.every = 0}), FailsWith(ErrorKind::kUsage, HasSubstr("have 0")));
  EXPECT_THAT(check("x.png", {.near_m = -0.5}),
              FailsWith(ErrorKind::kUsage, HasSubstr("have -0.5")));
  EXPECT_THAT(check("x.png", {.far_m = 99}), FailsWith(ErrorKind::kUsage, HasSubstr("have 99")));
  EXPECT_THAT(check("x.png", {.far_m = std::numeric_limits<double>::quiet_NaN()}),
              FailsWith(ErrorKind::kUsage, HasSubstr("have nan")));
  EXPECT_THAT(check("x.png", {.near_m = 2, .far_m = 2}),
              FailsWith(ErrorKind::kUsage, HasSubstr("more than 2 m, have 2")));
}

TEST(PreviewDepth, ShowsTheFrameAskedFor) {
  const TemporaryDirectory directory;
  Planes planes(5);
  const auto preview =
      PreviewDepth(planes, directory / "x.png", {.near_m = 1, .far_m = 2, .frame = 3});
  ASSERT_THAT(preview, IsOk());
  EXPECT_EQ(preview->pictures, 1);
  const Result<PictureFile> picture = ReadPicture(directory / "x.png");
  ASSERT_THAT(picture, IsOk());
  EXPECT_EQ(picture->rgb.at(picture->width_px() / 2, picture->height_px() / 2), ViridisAt(0.7));

  EXPECT_THAT(PreviewDepth(planes, directory / "x.png", {.frame = 5}),
              FailsWith(ErrorKind::kUsage, HasSubstr("want 0 … 4, have 5")));
}

TEST(PreviewDepth, ShowsEightMomentsFromTheFirstToTheLast) {
  const TemporaryDirectory directory;
  Planes planes(22);
  const auto preview = PreviewDepth(planes, directory / "x.png", {});
  ASSERT_THAT(preview, IsOk());
  EXPECT_EQ(preview->pictures, 8);
  EXPECT_EQ(preview->scale, (DepthScale{1000, 3200}));
  EXPECT_EQ(preview->valid_share, 1);
}

TEST(PreviewDepth, RefusesASheetOfMoreThan64) {
  const TemporaryDirectory directory;
  Planes planes(130);
  EXPECT_THAT(PreviewDepth(planes, directory / "x.png", {.every = 2}),
              FailsWith(ErrorKind::kUsage, HasSubstr("want at least 3")));
  const auto preview = PreviewDepth(planes, directory / "x.png", {.every = 3});
  ASSERT_THAT(preview, IsOk());
  EXPECT_EQ(preview->pictures, 44);
}

TEST(PreviewDepth, RefusesNothing) {
  const TemporaryDirectory directory;
  Planes planes(0);
  for (const char* name : {"x.png", "x.mp4"}) {
    EXPECT_THAT(PreviewDepth(planes, directory / name, {}),
                FailsWith(ErrorKind::kInvalidData, HasSubstr("at least one frame")));
    EXPECT_FALSE(std::filesystem::exists(directory / name));
  }
}

}  // namespace
}  // namespace droidflow

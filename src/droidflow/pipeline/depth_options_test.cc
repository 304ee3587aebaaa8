#include "droidflow/pipeline/depth_options.h"

#include "droidflow/core/result_matchers.h"

#include <limits>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(DepthBackend, IsReadBackFromItsName) {
  for (const char* const name :
       {"auto", "reference", "cpu", "cuda", "opencv", "zed", "external:/a/b c"}) {
    const auto backend = ParseDepthBackend(name);
    ASSERT_THAT(backend, IsOk());
    EXPECT_EQ(ToString(*backend), name);
  }
  for (const char* const name : {"", "CPU", "gpu", "external", "external:"}) {
    EXPECT_THAT(
        ParseDepthBackend(name),
        FailsWith(ErrorKind::kUsage, HasSubstr(fmt::format("external:DIR, have '{}'", name))));
  }
}

TEST(MatcherOptionsFor, TakesThePresetAndWhatIsGivenInItsPlace) {
  DepthOptions options;
  options.preset = MatcherPreset::kQuality;
  EXPECT_EQ(MatcherOptionsFor(options, 1280, std::nullopt), OptionsOf(MatcherPreset::kQuality));
  options.paths = 5;
  options.p1 = 3;
  options.p2_min = 5;
  options.p2 = 9;
  options.uniqueness_percent = 1;
  options.lr_check_px = -1;
  options.subpixel = false;
  options.median = false;
  options.speckle_area_px = 7;
  options.speckle_range_px = 4;
  options.min_disparity_px = 11;
  options.max_disparity_px = 22;
  const MatcherOptions wanted{.min_disparity_px = 11,
                              .max_disparity_px = 22,
                              .paths = 5,
                              .p1 = 3,
                              .p2_min = 5,
                              .p2 = 9,
                              .uniqueness_percent = 1,
                              .lr_check_px = -1,
                              .subpixel = false,
                              .median = false,
                              .speckle_area_px = 7,
                              .speckle_range_px = 4};
  EXPECT_EQ(MatcherOptionsFor(options, 640, std::nullopt), wanted);
}

TEST(MatcherOptionsFor, SearchesAsFarAsTheNearestDepthNeeds) {
  constexpr StereoGeometry kGeometry{.fx_px = 500, .baseline_m = 0.12};
  DepthOptions options;
  EXPECT_EQ(MatcherOptionsFor(options, 640, kGeometry).max_disparity_px, 128);
  options.min_depth_m = 0.5;  // 60 / 0.5 = 120
  EXPECT_EQ(MatcherOptionsFor(options, 640, kGeometry).max_disparity_px, 121);
  EXPECT_EQ(MatcherOptionsFor(options, 640, std::nullopt).max_disparity_px, 128);
  options.max_disparity_px = 64;
  EXPECT_EQ(MatcherOptionsFor(options, 640, kGeometry).max_disparity_px, 64);
}

TEST(CheckDepthOptions, NamesWhatIsWrong) {
  const auto status_with = [](auto change) {
    DepthOptions options;
    options.backend = *ParseDepthBackend("reference");
    change(options);
    return CheckDepthOptions(options);
  };
  EXPECT_THAT(status_with([](DepthOptions&) {}), IsOk());
  const auto usage = [](const char* text) { return FailsWith(ErrorKind::kUsage, HasSubstr(text)); };
  EXPECT_THAT(status_with([](DepthOptions& o) { o.max_disparity_px = 0; }), usage("have 0"));
  EXPECT_THAT(status_with([](DepthOptions& o) { o.max_disparity_px = 1025; }), usage("have 1025"));
  EXPECT_THAT(status_with([](DepthOptions& o) { o.min_disparity_px = -1; }), usage("have -1"));
  EXPECT_THAT(status_with([](DepthOptions& o) { o.paths = 4; }), usage("paths: want 5 or 8"));
  EXPECT_THAT(status_with([](DepthOptions& o) { o.p2 = 66; }), usage("P2"));
  EXPECT_THAT(status_with([](DepthOptions& o) { o.min_depth_m = kNan; }),
              usage("have nan to 10 m"));
  EXPECT_THAT(status_with([](DepthOptions& o) { o.max_depth_m = 0.1; }),
              usage("have 0.2 to 0.1 m"));
  EXPECT_THAT(status_with([](DepthOptions& o) { o.zed_depth_mode = "BEST"; }), usage("'BEST'"));
  EXPECT_THAT(status_with([](DepthOptions& o) { o.jobs = 0; }),
              usage("jobs: want 1 … 256, have 0"));
  EXPECT_THAT(status_with([](DepthOptions& o) { o.encode_threads = 257; }),
              usage("encode threads: want 1 … 256, have 257"));
  EXPECT_THAT(status_with([](DepthOptions& o) { o.every = 0; }),
              usage("every: want 1 or more, have 0"));
  EXPECT_THAT(
      status_with([](DepthOptions& o) { o.backend = *ParseDepthBackend("external:/absent"); }),
      FailsWith(ErrorKind::kNotFound, HasSubstr("no such folder: /absent")));
  DepthOptions wide;
  wide.max_disparity_px = 100;
  EXPECT_THAT(CheckDisparityFits(wide, 100), IsOk());
  EXPECT_THAT(CheckDisparityFits(wide, 99),
              usage("max disparity: want at most the pictures' width of 99, have 100"));
}

TEST(FormatBackendParameters, SaysWhatShapedTheNumbers) {
  DepthOptions options;
  const MatcherOptions matcher = MatcherOptionsFor(options, 1280, std::nullopt);
  EXPECT_THAT(FormatBackendParameters(options, *ParseDepthBackend("cpu"), matcher),
              AllOf(HasSubstr(R"("preset":"balanced","min_disparity":0,"max_disparity":256)"),
                    HasSubstr(R"("paths":5)")));
  EXPECT_THAT(FormatBackendParameters(options, *ParseDepthBackend("opencv"), matcher),
              Not(HasSubstr("p1")));
  EXPECT_EQ(FormatBackendParameters(options, *ParseDepthBackend("zed"), matcher),
            R"({"depth_mode":"NEURAL"})");
  // No place: it may be one of somebody's own machine.
  EXPECT_EQ(FormatBackendParameters(options, *ParseDepthBackend("external:/home/x"), matcher),
            R"({"unit":"disparity"})");
}

}  // namespace
}  // namespace droidflow

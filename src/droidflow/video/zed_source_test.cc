#include "droidflow/video/zed_source.h"

#include "droidflow/core/result_matchers.h"

#include <gtest/gtest.h>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;

TEST(ZedDepthModes, AreKnownByTheirNamesAsWritten) {
  EXPECT_THAT(CheckZedDepthMode("NEURAL"), IsOk());
  EXPECT_THAT(CheckZedDepthMode("NEURAL_LIGHT"), IsOk());
  EXPECT_THAT(CheckZedDepthMode("NEURAL_PLUS"), IsOk());
  EXPECT_THAT(CheckZedDepthMode("ULTRA"), IsOk());
  EXPECT_THAT(CheckZedDepthMode("QUALITY"), IsOk());
  EXPECT_THAT(CheckZedDepthMode("PERFORMANCE"), IsOk());
  EXPECT_THAT(CheckZedDepthMode("neural"),
              FailsWith(ErrorKind::kUsage,
                        "want a ZED depth mode (NEURAL, NEURAL_LIGHT, NEURAL_PLUS, ULTRA, QUALITY, "
                        "PERFORMANCE), have 'neural'"));
  EXPECT_THAT(CheckZedDepthMode(""), FailsWith(ErrorKind::kUsage, EndsWith("have ''")));
  // No depth is not a way of making depth.
  EXPECT_THAT(CheckZedDepthMode("NONE"), FailsWith(ErrorKind::kUsage, EndsWith("have 'NONE'")));
}

TEST(SourceOptions, AskForADepthModeThatThereIs) {
  EXPECT_THAT(CheckZedDepthMode(SourceOptions().zed_depth_mode), IsOk());
}

class WithoutZedSdk : public ::testing::Test {
 protected:
  void SetUp() override {
    if (ZedSdkBuiltIn()) GTEST_SKIP() << "this build has the ZED SDK";
  }
};

TEST_F(WithoutZedSdk, OpeningSaysWhatIsMissing) {
  const auto says_so =
      FailsWith(ErrorKind::kUnsupported,
                AllOf(HasSubstr("no ZED SDK (DROIDFLOW_WITH_ZED)"), EndsWith(": /data/1.svo2")));
  EXPECT_THAT(OpenZedSource("/data/1.svo2", {}), says_so);
  EXPECT_THAT(ReadZedIntrinsics("/data/1.svo2"), says_so);
}

TEST_F(WithoutZedSdk, AWrongDepthModeIsToldFirstWhereDepthIsWanted) {
  SourceOptions options;
  options.zed_depth_mode = "BEST";
  EXPECT_THAT(OpenZedSource("/data/1.svo2", options),
              FailsWith(ErrorKind::kUnsupported, HasSubstr("no ZED SDK")));
  options.sdk_depth = true;
  EXPECT_THAT(OpenZedSource("/data/1.svo2", options),
              FailsWith(ErrorKind::kUsage, HasSubstr("have 'BEST'")));
}

}  // namespace
}  // namespace droidflow

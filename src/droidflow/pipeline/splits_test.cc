#include "droidflow/pipeline/splits.h"

#include "droidflow/core/result_matchers.h"

#include <map>
#include <string>

#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// By hand: `printf %s '["AUTOLab", "lab", 1]' | sha256sum` begins with dad42dba, which is 0.855.
TEST(Split, IsTheSameForEver) {
  EXPECT_EQ(SplitOf("AUTOLab", "lab", 1, {80, 10, 10}), "val");
  EXPECT_EQ(SplitOf("AUTOLab", "lab", 1, {0.86, 0.07, 0.07}), "train");
  EXPECT_EQ(SplitOf("AUTOLab", "lab", 1, {0.4, 0.45, 0.15}), "test");
}

/// `printf %s '["R\\u00e9al", "a \\"b\\"\\u007f", -5]' | sha256sum` begins with a51b25c4, 0.645.
TEST(Split, EscapesAsJsonInAscii) {
  EXPECT_EQ(SplitOf("R\u00e9al", "a \"b\"\x7f", -5, {0.645, 0.355, 0}), "train");
  EXPECT_EQ(SplitOf("R\u00e9al", "a \"b\"\x7f", -5, {0.644, 0.356, 0}), "val");
}

TEST(Splits, DivideScenesByTheirShares) {
  std::map<std::string, int> counts;
  for (int scene = 0; scene < 10'000; ++scene) {
    ++counts[std::string(SplitOf("REAL", "hall", scene, {90, 5, 5}))];
  }
  EXPECT_NEAR(counts["train"], 9000, 100);
  EXPECT_NEAR(counts["val"], 500, 80);
  EXPECT_NEAR(counts["test"], 500, 80);
}

TEST(SplitShares, AreThreeNumbers) {
  const auto shares = ParseSplitShares("0.9/0.05/5e-2");
  ASSERT_THAT(shares, IsOk());
  EXPECT_THAT(*shares, ElementsAre(0.9, 0.05, 0.05));
  for (const char* const text :
       {"", "80", "80/20", "80/10/10/", "80/10/10/1", "80/10/x", "0/0/0", "-1/1/1", "nan/1/1"}) {
    EXPECT_THAT(ParseSplitShares(text), FailsWith(ErrorKind::kUsage, HasSubstr(text))) << text;
  }
}

}  // namespace
}  // namespace droidflow

#include "droidflow/transfer/hf_token.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <cstdlib>

namespace droidflow {
namespace {

using ::testing::HasSubstr;

class FindHfTokenTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME"}) {
      unsetenv(name);
    }
    setenv("HOME", directory_.path().c_str(), 1);
  }

  void Write(const std::string& name, const std::string& text) {
    ASSERT_THAT(WriteFile(directory_ / name, text), IsOk());
  }
  HfToken Find(const std::string& given = {}) { return FindHfToken(given, directory_ / "work"); }

  TemporaryDirectory directory_;
};

TEST_F(FindHfTokenTest, TakesTheNearestPlaceFirst) {
  EXPECT_EQ(Find().text, "");
  // From the farthest place to the nearest; each one hides those before.
  Write("work/.env", "# mine\nexport HF_TOKEN='of_dot_env'\nOTHER=1\n");
  EXPECT_EQ(Find().text, "of_dot_env");
  EXPECT_THAT(Find().source, HasSubstr("work/.env"));
  Write(".cache/huggingface/token", "of_home\n");
  EXPECT_EQ(Find().text, "of_home");
  Write("xdg/huggingface/token", "of_xdg");
  setenv("XDG_CACHE_HOME", (directory_ / "xdg").c_str(), 1);
  EXPECT_EQ(Find().text, "of_xdg");
  Write("hf/token", "of_hf_home");
  setenv("HF_HOME", (directory_ / "hf").c_str(), 1);
  EXPECT_EQ(Find().text, "of_hf_home");
  Write("file", " of_path \r\n");
  setenv("HF_TOKEN_PATH", (directory_ / "file").c_str(), 1);
  EXPECT_EQ(Find().text, "of_path");
  setenv("HUGGING_FACE_HUB_TOKEN", "of_old_variable", 1);
  EXPECT_EQ(Find().text, "of_old_variable");
  setenv("HF_TOKEN", "of_variable\n", 1);
  EXPECT_EQ(Find().text, "of_variable");
  EXPECT_EQ(Find().source, "HF_TOKEN");
  EXPECT_EQ(Find(" given ").text, "given");
}

TEST_F(FindHfTokenTest, PassesByWhatIsBlank) {
  setenv("HF_TOKEN", " \n", 1);
  Write(".cache/huggingface/token", "\n");
  Write("work/.env", "HF_TOKEN=\"quoted\"\n");
  EXPECT_EQ(Find("  ").text, "quoted");
}

}  // namespace
}  // namespace droidflow

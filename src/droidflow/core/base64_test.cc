#include "droidflow/core/base64.h"

#include <string_view>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

TEST(Base64, IsWhatTheRfcShows) {
  const auto encode = [](std::string_view text) { return Base64(std::as_bytes(std::span(text))); };
  EXPECT_EQ(encode(""), "");
  EXPECT_EQ(encode("f"), "Zg==");
  EXPECT_EQ(encode("fo"), "Zm8=");
  EXPECT_EQ(encode("foo"), "Zm9v");
  EXPECT_EQ(encode("foobar"), "Zm9vYmFy");
  EXPECT_EQ(encode("\xff\xfe\xfb"), "//77");
}

}  // namespace
}  // namespace droidflow

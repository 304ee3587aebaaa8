#include "droidflow/core/crc32c.h"

#include <numeric>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

std::uint32_t Crc32c(std::string_view text) {
  return AddToCrc32c(0, std::as_bytes(std::span(text)));
}

TEST(Crc32c, GivesThePublishedValues) {  // RFC 3720, B.4, and the catalogue's check value
  EXPECT_EQ(Crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(Crc32c(std::string_view("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
                                    32)),
            0x8A9136AAU);
  EXPECT_EQ(Crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
  EXPECT_EQ(Crc32c(""), 0U);
}

TEST(Crc32c, DoesNotDependOnThePieces) {
  std::vector<unsigned char> numbers(32);  // RFC 3720: ascending
  std::iota(numbers.begin(), numbers.end(), 0);
  const auto bytes = std::as_bytes(std::span(numbers));
  for (std::size_t cut = 0; cut <= 32; ++cut) {
    EXPECT_EQ(AddToCrc32c(AddToCrc32c(0, bytes.first(cut)), bytes.subspan(cut)), 0x46DD794EU);
  }
}

}  // namespace
}  // namespace droidflow

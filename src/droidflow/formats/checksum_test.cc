#include "droidflow/formats/checksum.h"

#include <span>
#include <string_view>

#include <gtest/gtest.h>

namespace droidflow {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Crc32, GivesThePublishedCheckValue) {
  // The check value of CRC-32/ISO-HDLC: that of the digits 1 to 9.
  EXPECT_EQ(Crc32(Bytes("123456789")), 0xCBF43926U);
  EXPECT_EQ(Crc32(Bytes("")), 0U);
}

TEST(Crc32, GoesOnWhereItStopped) {
  EXPECT_EQ(Crc32(Bytes("56789"), Crc32(Bytes("1234"))), 0xCBF43926U);
}

}  // namespace
}  // namespace droidflow

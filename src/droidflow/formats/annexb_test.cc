#include "droidflow/formats/annexb.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/formats/mcap_reader.h"

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <utility>

namespace droidflow {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// "00 00 01 67"
std::vector<std::byte> FromHex(std::string_view hex) {
  std::string digits;
  std::ranges::copy_if(hex, std::back_inserter(digits), [](char c) { return c != ' '; });
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(digits.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

/// "0110 1" and so on, ended by a one and zeros up to the next byte.
std::vector<std::byte> FromBits(std::string_view bits) {
  std::string digits;
  std::ranges::copy_if(bits, std::back_inserter(digits), [](char c) { return c != ' '; });
  digits += '1';
  digits.resize((digits.size() + 7) / 8 * 8, '0');
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < digits.size(); i += 8) {
    bytes.push_back(static_cast<std::byte>(std::stoi(digits.substr(i, 8), nullptr, 2)));
  }
  return bytes;
}

/// Exponential Golomb code as bits: value + 1 in binary, behind as many zeros as it has more
/// digits.
std::string Ue(std::uint64_t value) {
  std::string digits;
  for (std::uint64_t rest = value + 1; rest > 0; rest /= 2) {
    digits.insert(digits.begin(), rest % 2 == 1 ? '1' : '0');
  }
  return std::string(digits.size() - 1, '0') + digits;
}

std::vector<std::pair<std::size_t, std::size_t>> Places(std::string_view hex) {
  std::vector<std::pair<std::size_t, std::size_t>> places;
  for (const NalUnit& unit : FindNalUnits(FromHex(hex))) places.emplace_back(unit.begin, unit.end);
  return places;
}

TEST(FindNalUnits, GivesWhatStandsBetweenStartCodes) {
  using List = std::vector<std::pair<std::size_t, std::size_t>>;
  EXPECT_EQ(Places("00 00 01 67 AA 00 00 00 01 68 BB CC"), (List{{3, 5}, {9, 12}}));
  // Junk in front, zeros behind, a three byte sequence that is no start code.
  EXPECT_EQ(Places("FF 01 00 00 01 67 00 00 02 00 01 00 00"), (List{{5, 11}}));
  // Any number of zeros may stand in front of a start code.
  EXPECT_EQ(Places("00 00 00 00 00 01 67 00 00 00 00 00 01 68"), (List{{6, 7}, {13, 14}}));
  EXPECT_EQ(Places("00 00 01 00 00 01 67"), (List{{6, 7}}));
  for (const char* const none : {"", "00", "00 00", "00 00 01", "00 00 01 00 00", "67 01 01 01"}) {
    EXPECT_THAT(Places(none), IsEmpty()) << none;
  }
}

TEST(FindNalUnits, SaysWhereTheStartCodeBegins) {
  const auto units = FindNalUnits(FromHex("00 00 01 67 00 00 00 01 68"));
  ASSERT_EQ(units.size(), 2U);
  EXPECT_EQ(units[0].start_code, 0U);
  EXPECT_EQ(units[1].start_code, 4U);
}

TEST(FindNalUnits, AgreesWithASearchByteForByte) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::string text(random() % 60, '\0');
    for (char& c : text) c = "\0\0\0\1\2"[random() % 5];
    std::vector<std::string> expected;
    const std::string code("\0\0\1", 3);
    for (std::size_t at = text.find(code); at != std::string::npos;) {
      const std::size_t next = text.find(code, at + 3);
      std::string unit = text.substr(at + 3, next == std::string::npos ? next : next - at - 3);
      unit.erase(unit.find_last_not_of('\0') + 1);
      if (!unit.empty()) expected.push_back(unit);
      at = next;
    }
    std::vector<std::string> found;
    for (const NalUnit& unit : FindNalUnits(std::as_bytes(std::span(text)))) {
      found.push_back(text.substr(unit.begin, unit.end - unit.begin));
    }
    EXPECT_EQ(found, expected);
  }
}

TEST(NalType, ReadsTheTypeOfBothCodecs) {
  EXPECT_EQ(NalType(NalCodec::kH264, std::byte{0x67}), 7);
  EXPECT_EQ(NalType(NalCodec::kH264, std::byte{0x41}), 1);
  EXPECT_EQ(NalType(NalCodec::kHevc, std::byte{0x42}), 33);
  EXPECT_EQ(NalType(NalCodec::kHevc, std::byte{0x26}), 19);
}

TEST(IsPlausibleNalHeader, KnowsForbiddenBitsReservedTypesAndLayers) {
  const auto is_plausible = [](NalCodec codec, std::string_view hex) {
    return IsPlausibleNalHeader(codec, FromHex(hex));
  };
  for (const char* const good : {"67", "09", "65", "01", "74"}) {
    EXPECT_TRUE(is_plausible(NalCodec::kH264, good)) << good;
  }
  for (const char* const bad : {"", "E7", "00", "11", "12", "16", "17", "18", "1F"}) {
    EXPECT_FALSE(is_plausible(NalCodec::kH264, bad)) << bad;
  }
  for (const char* const good : {"40 01", "42 01", "46 01", "26 01", "02 01", "00 07", "50 01"}) {
    EXPECT_TRUE(is_plausible(NalCodec::kHevc, good)) << good;
  }
  // Too short, forbidden bit, temporal id 0, layers 1 and 32, types 10, 22, 41 and 48.
  for (const char* const bad :
       {"", "40", "C0 01", "40 00", "40 09", "41 01", "14 01", "2C 01", "52 01", "60 01"}) {
    EXPECT_FALSE(is_plausible(NalCodec::kHevc, bad)) << bad;
  }
}

TEST(DetectNalCodec, GoesByTheFirstParameterSet) {
  const auto detect = [](std::string_view hex) { return DetectNalCodec(FromHex(hex)); };
  // Behind a delimiter and SEI of each codec.
  EXPECT_EQ(detect("000001 0910 000001 0605 000001 6764001F"), NalCodec::kH264);
  EXPECT_EQ(detect("000001 46 01 10 000001 4E 01 05 000001 40 01 0C"), NalCodec::kHevc);
  EXPECT_EQ(detect("000001 42 01 01"), NalCodec::kHevc);
  EXPECT_EQ(detect("000001 44 01 C1"), NalCodec::kHevc);
  EXPECT_EQ(detect("000001 27 42 00"), NalCodec::kH264);
  // Slices only, a PPS of H.264 (which may be anything), delimiters, nothing.
  for (const char* const none :
       {"000001 41 9A", "000001 02 01 D0", "000001 0910", "000001 460110", ""}) {
    EXPECT_EQ(detect(none), std::nullopt) << none;
  }
}

TEST(DetectNalCodec, TellsWhatTheRecordingsHold) {
  DF_NEEDS_SHARED("data/svo2");
  for (const auto& [name, codec] : {std::pair("h264_none.svo2", NalCodec::kH264),
                                    std::pair("hevc_zstd.svo2", NalCodec::kHevc),
                                    std::pair("hevc_lz4_nofooter.svo2", NalCodec::kHevc)}) {
    SCOPED_TRACE(name);
    auto reader = McapReader::Open(SharedPath("data/svo2") / name);
    ASSERT_THAT(reader, IsOk());
    reader->SelectTopics([](std::string_view topic) { return topic.ends_with("side_by_side"); });
    McapMessage message;
    for (int frame = 0; frame < 24; ++frame) {
      ASSERT_TRUE(reader->Next(message).value_or(false));
      // Two sizes in front, a record behind: see svo2_packets.
      const auto stream = message.data.subspan(8, message.data.size() - 8 - 56);
      int num_pictures = 0;
      for (const NalUnit& place : FindNalUnits(stream)) {
        const auto unit = stream.subspan(place.begin, place.end - place.begin);
        EXPECT_TRUE(IsPlausibleNalHeader(codec, unit));
        if (IsFirstSliceOfPicture(codec, unit)) ++num_pictures;
        if (NalType(codec, unit[0]) != (codec == NalCodec::kH264 ? 7 : 33)) continue;
        EXPECT_EQ(DetectNalCodec(stream), codec);
        const auto info = ParseSequenceParameterSet(codec, unit);
        ASSERT_THAT(info, IsOk());
        EXPECT_EQ(info->width_px, 1344);
        EXPECT_EQ(info->height_px, 376);
      }
      EXPECT_EQ(num_pictures, 1);
    }
  }
}

TEST(IsFirstSliceOfPicture, ReadsTheFirstBitBehindTheHeader) {
  const auto is_first = [](NalCodec codec, std::string_view hex) {
    return IsFirstSliceOfPicture(codec, FromHex(hex));
  };
  EXPECT_TRUE(is_first(NalCodec::kH264, "65 88"));
  EXPECT_TRUE(is_first(NalCodec::kH264, "41 9A"));
  EXPECT_FALSE(is_first(NalCodec::kH264, "41 4A"));
  EXPECT_FALSE(is_first(NalCodec::kH264, "67 88"));
  EXPECT_FALSE(is_first(NalCodec::kH264, "65"));
  EXPECT_TRUE(is_first(NalCodec::kHevc, "26 01 AF"));
  EXPECT_FALSE(is_first(NalCodec::kHevc, "26 01 2F"));
  EXPECT_FALSE(is_first(NalCodec::kHevc, "42 01 81"));
  EXPECT_FALSE(is_first(NalCodec::kHevc, "26 01"));
}

struct Sps {
  const char* what;
  NalCodec codec;
  int width_px;
  int height_px;
  const char* hex;
};
// As x264 164 and x265 3.5 write them.
constexpr std::array kEncoded{
    Sps{"high, 8 rows cropped",
        NalCodec::kH264,
        1920,
        1080,
        "67640028acd940780227e5c044000003000400000300083c60c658"},
    Sps{"baseline",
        NalCodec::kH264,
        1918,
        1078,
        "6742c028d900780227a9b011000003000100000300020f183248"},
    Sps{"interlaced, JVT scaling lists",
        NalCodec::kH264,
        1920,
        1080,
        "67640028acd94078044fde022000000300200000030043e2c5b2c0"},
    Sps{"4:4:4",
        NalCodec::kH264,
        1277,
        719,
        "67f4001f919b280a00b7c9580880000003008000000301078c18cb"},
    Sps{"4:2:2",
        NalCodec::kH264,
        1278,
        719,
        "677a001fbcd9405005beab011000000300100000030020f1831960"},
    Sps{"gray",
        NalCodec::kH264,
        1277,
        719,
        "6764001ff365014016f92b016c80000003008000000301078c18cb"},
    Sps{"main",
        NalCodec::kHevc,
        1918,
        1078,
        "420101016000000300900000030000030078a003c08010e75596566924caf016808000000300800000030084"},
    Sps{"4:2:2",
        NalCodec::kHevc,
        1278,
        719,
        "4201010408000003009d0800000300005db00280802d1d565959a4932bc05a020000030002000003000210"},
    Sps{"4:4:4",
        NalCodec::kHevc,
        1277,
        719,
        "4201010408000003009c0800000300005d9000501005a3929b2cacd24995e02d010000030001000003000108"},
    Sps{"gray",
        NalCodec::kHevc,
        1277,
        719,
        "4201010408000003009fc800000300005dc00a0200b472565959a4932bc05b020000030002000003000210"},
};

TEST(ParseSequenceParameterSet, ReadsWhatEncodersWrite) {
  for (const Sps& sps : kEncoded) {
    SCOPED_TRACE(fmt::format("{} {}", sps.codec == NalCodec::kH264 ? "H.264" : "H.265", sps.what));
    const auto info = ParseSequenceParameterSet(sps.codec, FromHex(sps.hex));
    ASSERT_THAT(info, IsOk());
    EXPECT_EQ(info->width_px, sps.width_px);
    EXPECT_EQ(info->height_px, sps.height_px);
  }
}

TEST(ParseSequenceParameterSet, RefusesWhatEndsEarlyAndSurvivesAllElse) {
  std::mt19937 random(9);
  for (const Sps& sps : kEncoded) {
    SCOPED_TRACE(sps.what);
    const std::vector<std::byte> whole = FromHex(sps.hex);
    bool was_ok = false;
    for (std::size_t size = 0; size <= whole.size(); ++size) {
      const auto info = ParseSequenceParameterSet(sps.codec, std::span(whole).first(size));
      // More bytes change nothing once there are enough.
      EXPECT_TRUE(!was_ok || info.has_value()) << size;
      was_ok = info.has_value();
      EXPECT_FALSE(size <= 6 && was_ok) << size;
      EXPECT_EQ(was_ok ? info->width_px : sps.width_px, sps.width_px);
    }
    EXPECT_TRUE(was_ok);
    for (int round = 0; round < 2000; ++round) {
      std::vector<std::byte> bytes = whole;
      for (int flips = 0; flips < 3; ++flips) {
        bytes[1 + random() % (bytes.size() - 1)] ^= static_cast<std::byte>(1U << random() % 8);
      }
      const auto info = ParseSequenceParameterSet(sps.codec, bytes);
      if (!info) continue;
      EXPECT_GT(info->width_px, 0);
      EXPECT_GT(info->height_px, 0);
      EXPECT_LE(std::max(info->width_px, info->height_px), 16888);
    }
  }
}

TEST(ParseSequenceParameterSet, RefusesOtherUnits) {
  EXPECT_THAT(ParseSequenceParameterSet(NalCodec::kH264, FromHex("68 EE")),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("unit type 7, have 2 bytes of type 8")));
  EXPECT_THAT(ParseSequenceParameterSet(NalCodec::kHevc, {}),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("unit type 33, have 0 bytes")));
}

// ---- parameter sets worked by hand

constexpr const char* kH264High = "01100111 01100100 00000000 00011111";      // SPS, profile 100.
constexpr const char* kH264Baseline = "01100111 01000010 00000000 00011111";  // Profile 66.

Result<SequenceInfo> ParseBits(NalCodec codec, const std::string& bits) {
  return ParseSequenceParameterSet(codec, FromBits(bits));
}

void ExpectSize(const Result<SequenceInfo>& info, int width_px, int height_px) {
  ASSERT_THAT(info, IsOk());
  EXPECT_EQ(info->width_px, width_px);
  EXPECT_EQ(info->height_px, height_px);
}

TEST(ParseSequenceParameterSet, StepsOverScalingListsOfH264) {
  // Chroma 4:4:4 in planes of their own has twelve lists, and is cropped as monochrome. The first
  // list ends at once (delta -8: code 16), the seventh has 64 deltas of 0, the others are not
  // there.
  std::string lists = "1" + Ue(16) + "00000" + "1";
  for (int i = 0; i < 64; ++i) lists += Ue(0);
  lists += "00000";
  const std::string bits = kH264High + Ue(0) + Ue(3) + "1" + Ue(0) + Ue(0) + "0" + "1" + lists +
                           Ue(0) + Ue(0) + Ue(0) +                // Frame number, order.
                           Ue(1) + "0" + Ue(79) + Ue(44) + "1" +  // 80 x 45 macroblocks, frames.
                           "1" + "1" + Ue(1) + Ue(2) + Ue(3) + Ue(4) + "0";
  ExpectSize(ParseBits(NalCodec::kH264, bits), 1280 - 3, 720 - 7);
}

TEST(ParseSequenceParameterSet, CropsFieldsOfH264InUnitsOfFourRows) {
  // Order type 1 with two offsets, fields, 2 x 1 map units: 32 x 32 pixels, chroma 4:2:0.
  const std::string bits = kH264Baseline + Ue(0) + Ue(0) + Ue(1) + "0" + Ue(5) + Ue(6) + Ue(2) +
                           Ue(1) + Ue(70000) + Ue(1) + "0" + Ue(1) + Ue(0) + "0" + "1" + "1" + "1" +
                           Ue(1) + Ue(0) + Ue(0) + Ue(2) + "0";
  ExpectSize(ParseBits(NalCodec::kH264, bits), 32 - 2, 32 - 8);
}

TEST(ParseSequenceParameterSet, StepsOverTheSubLayersOfHevc) {
  // Two sub-layers above the first: one with profile and level, one with a level only.
  const std::string profile(88, '1');
  const std::string level(8, '0');
  const std::string bits = std::string("01000010 00000001 0000 010 1") + profile + level + "11 01" +
                           std::string(12, '0') + profile + level + level + Ue(0) + Ue(2) +
                           Ue(640) + Ue(480) + "1" + Ue(1) + Ue(1) + Ue(3) + Ue(0);
  ExpectSize(ParseBits(NalCodec::kHevc, bits), 640 - 4, 480 - 3);
}

TEST(ParseSequenceParameterSet, RefusesSizesThatCannotBe) {
  const auto hevc = [](std::uint64_t width_px, std::uint64_t height_px, const std::string& crop) {
    return ParseBits(NalCodec::kHevc,
                     std::string("01000010 00000001 0000 000 1") + std::string(96, '1') + Ue(0) +
                         Ue(1) + Ue(width_px) + Ue(height_px) + crop);
  };
  ExpectSize(hevc(16888, 8, "0"), 16888, 8);
  EXPECT_THAT(hevc(16889, 8, "0"), FailsWith(ErrorKind::kInvalidData, HasSubstr("16889 x 8")));
  EXPECT_THAT(hevc(0, 8, "0"), FailsWith(ErrorKind::kInvalidData, HasSubstr("0 x 8 pixels")));
  EXPECT_THAT(hevc(8, 8, "1" + Ue(2) + Ue(2) + Ue(0) + Ue(0)),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("of which 8 x 0 are cut off")));
  const std::uint64_t most = (std::uint64_t{1} << 32) - 2;
  EXPECT_THAT(hevc(8, 8, "1" + Ue(most) + Ue(most) + Ue(most) + Ue(most)),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("are cut off")));
  // A code of more than 32 bits.
  EXPECT_THAT(hevc(8, 8, "1" + std::string(32, '0') + std::string(40, '1')),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("ends early or is damaged")));
}

}  // namespace
}  // namespace droidflow

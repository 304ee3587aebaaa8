#include "droidflow/formats/npy.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <cstring>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kName = "/data/points.npy";

std::shared_ptr<const std::string> Share(std::string text) {
  return std::make_shared<const std::string>(std::move(text));
}

Result<NpyArray> Parse(std::string text) {
  const auto owner = Share(std::move(text));
  return ParseNpy(std::as_bytes(std::span(*owner)), kName, owner);
}

std::string Floats(std::initializer_list<float> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(float)};
}

/// A version 1.0 file with a dictionary of the test's own.
std::string FileWith(const std::string& dictionary, const std::string& data) {
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(dictionary.size());
  file += '\0';
  return file + dictionary + data;
}

TEST(NpyHeader, IsWhatNumPyWrites) {
  const std::string header = FormatNpyHeader("<f4", {3, 4});
  ASSERT_EQ(header.size(), 128U);
  EXPECT_EQ(header.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  EXPECT_THAT(header, HasSubstr("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } "));
  EXPECT_EQ(header.back(), '\n');
  EXPECT_THAT(FormatNpyHeader("<f8", {}), HasSubstr("'shape': (), }"));
  EXPECT_THAT(FormatNpyHeader("<f8", {7}), HasSubstr("'shape': (7,), }"));
}

TEST(NpyHeader, IsVersion2WhenTooLongForVersion1) {
  const std::string header = FormatNpyHeader("|u1", NpyShape(30'000, 1));
  EXPECT_EQ(header.size() % 64, 0U);
  EXPECT_EQ(header.substr(0, 8), std::string("\x93NUMPY\x02\x00", 8));
  std::uint32_t size = 0;
  std::memcpy(&size, header.data() + 8, 4);
  EXPECT_EQ(size + 12, header.size());
}

TEST(NpyHeader, DiesOfANegativeAxis) { EXPECT_DEATH(FormatNpyHeader("<f4", {-1}), "-1"); }

TEST(ParseNpy, GivesBackWhatWasFormatted) {
  const auto array = Parse(FormatNpyHeader("<f4", {1, 2}) + Floats({1.5F, -2}));
  ASSERT_THAT(array, IsOk());
  EXPECT_THAT(array->shape, ElementsAre(1, 2));
  EXPECT_EQ(array->size(), 2);
  const auto values = array->As<float>();
  ASSERT_THAT(values, IsOk());
  EXPECT_THAT(*values, ElementsAre(1.5F, -2));
  const auto doubles = array->ToDoubles();
  ASSERT_THAT(doubles, IsOk());
  EXPECT_THAT(*doubles, ElementsAre(1.5, -2));
}

TEST(ParseNpy, ReadsVersion2) {
  std::string header = FormatNpyHeader("<f4", {1});
  header[6] = 2;
  header[8] = static_cast<char>(header.size() - 10);
  header.insert(10, 2, '\0');
  EXPECT_THAT(Parse(header + Floats({1})), IsOk());
}

TEST(ParseNpy, SharesAlignedBytesAndCopiesOthers) {
  const auto owner = Share(std::string(1, ' ') + FormatNpyHeader("<f4", {1}) + Floats({9}));
  const std::span<const std::byte> bytes = std::as_bytes(std::span(*owner)).subspan(1);
  ASSERT_EQ(reinterpret_cast<std::uintptr_t>(owner->data()) % 16, 0U);
  const auto copied = ParseNpy(bytes, kName, owner);
  ASSERT_THAT(copied, IsOk());
  EXPECT_NE(copied->data.data(), bytes.data() + 128);
  EXPECT_EQ((*copied->As<float>())[0], 9);

  const auto aligned = Share(FormatNpyHeader("<f4", {1}) + Floats({9}));
  const auto shared = ParseNpy(std::as_bytes(std::span(*aligned)), kName, aligned);
  ASSERT_THAT(shared, IsOk());
  EXPECT_EQ(static_cast<const void*>(shared->data.data()), aligned->data() + 128);
}

TEST(ParseNpy, RefusesEveryShorterFile) {
  const std::string whole = FormatNpyHeader("<f4", {2}) + Floats({1, 2});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(Parse(whole.substr(0, size)),
                FailsWith(ErrorKind::kInvalidData, HasSubstr("/data/points.npy")))
        << size;
  }
  EXPECT_THAT(Parse(whole + "x"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("the 9 bytes of data")));
}

TEST(ParseNpy, SaysWhereAndWhatItSaw) {
  const auto fails = [](const char* text) {
    return FailsWith(ErrorKind::kInvalidData, HasSubstr(text));
  };
  EXPECT_THAT(Parse("PK\3\4 and so on"), fails("byte 0: no .npy magic in the 14 bytes"));
  EXPECT_THAT(Parse(std::string("\x93NUMPY\x04\x00\x00\x00\x00\x00", 12)), fails("have 4.0"));
  EXPECT_THAT(Parse(FileWith("{'descr': '|O', 'fortran_order': False, 'shape': (), }", "")),
              fails("type |O cannot be read without Python"));
  EXPECT_THAT(
      Parse(FileWith("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (), }", "")),
      fails("byte 20: want a quoted text"));
  EXPECT_THAT(Parse(FileWith("{'descr': '<f4', 'fortran_order': 0, 'shape': (), }", "")),
              fails("want True or False, found '0,"));
  EXPECT_THAT(Parse(FileWith("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "")),
              fails("want the length of an axis, found '-1,"));
  EXPECT_THAT(Parse(FileWith("{'descr': '<f4', 'fortran_order': False}", "")), fails("once each"));
  EXPECT_THAT(Parse(FileWith("{'descr': '<f4', 'descr': '<f4'}", "")), fails("once each"));
  EXPECT_THAT(Parse(FileWith("", "")), fails("want '{'"));
}

TEST(ParseNpy, RefusesShapesThatOverflow) {
  for (const char* const shape : {"(4611686018427387904, 4)",
                                  "(99999999999999999999,)",
                                  "(1000000000,)",
                                  "(4294967296, 4294967296, 4294967296)"}) {
    const std::string dictionary =
        fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': {}, }}", shape);
    EXPECT_THAT(Parse(FileWith(dictionary, "")),
                FailsWith(ErrorKind::kInvalidData, HasSubstr(std::string(kName))));
  }
  EXPECT_THAT(
      Parse(FileWith("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }", "")),
      FailsWith(ErrorKind::kInvalidData, HasSubstr("does not fit the 0 bytes")));
}

TEST(NpyArray, RefusesAnotherType) {
  const auto array = Parse(FormatNpyHeader("<f4", {1}) + Floats({1}));
  ASSERT_THAT(array, IsOk());
  EXPECT_THAT(array->As<double>(),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("want type <f8, have <f4")));
  EXPECT_THAT(array->ToStrings(), FailsWith(ErrorKind::kInvalidData, HasSubstr("have type <f4")));
  const auto complex = Parse(FormatNpyHeader("<c8", {1}) + Floats({1, 2}));
  ASSERT_THAT(complex, IsOk());
  EXPECT_THAT(complex->ToDoubles(), FailsWith(ErrorKind::kInvalidData, HasSubstr("have type <c8")));
}

TEST(NpyArray, RefusesWhatIsNoCharacter) {
  const auto array = Parse(FormatNpyHeader("<U1", {}) + std::string("\x00\xD8\x00\x00", 4));
  ASSERT_THAT(array, IsOk());
  EXPECT_THAT(array->ToStrings(), FailsWith(ErrorKind::kInvalidData, HasSubstr("0xd800")));
}

TEST(Utf32FromUtf8, TakesEveryLengthAndRefusesTheRest) {
  EXPECT_EQ(*Utf32FromUtf8("aé€😀"), U"aé€😀");
  for (const char* const bad :
       {"\x80", "\xC3", "\xC0\x80", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xFF"}) {
    EXPECT_THAT(Utf32FromUtf8(std::string("a") + bad),
                FailsWith(ErrorKind::kInvalidData, HasSubstr("byte 1 is not UTF-8")));
  }
}

TEST(ReadNpy, ReadsEveryNumericTypeThatNumPyWrites) {
  const TemporaryDirectory directory;
  RunPython(R"(
import numpy as np
values = np.array([[0, 1, 2], [3, 4, 100]])
for kind in 'f4 f8 i1 i2 i4 i8 u1 u2 u4 u8'.split():
    for order in '<>':
        np.save(')" +
            directory.path().string() +
            R"(/%s%s.npy' % ('be' if order == '>' else 'le', kind), values.astype(order + kind))
np.save(')" +
            directory.path().string() + R"(/fortran.npy', np.asfortranarray(values.astype('<f8')))
np.save(')" +
            directory.path().string() + R"(/bool.npy', values > 1)
)");
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
    SCOPED_TRACE(entry.path());
    const auto array = ReadNpy(entry.path());
    ASSERT_THAT(array, IsOk());
    EXPECT_THAT(array->shape, ElementsAre(2, 3));
    const auto values = array->ToDoubles();
    ASSERT_THAT(values, IsOk());
    if (entry.path().stem() == "bool") {
      EXPECT_THAT(*values, ElementsAre(0, 0, 1, 1, 1, 1));
    } else {
      EXPECT_THAT(*values, ElementsAre(0, 1, 2, 3, 4, 100));
    }
    ++num_files;
  }
  EXPECT_EQ(num_files, 22);
  EXPECT_THAT(ReadNpy(directory / "fortran.npy")->As<double>(),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("Fortran order")));
}

TEST(ReadNpy, SaysWhichFileIsMissing) {
  EXPECT_THAT(ReadNpy("/nowhere/x.npy"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("/nowhere/x.npy")));
}

}  // namespace
}  // namespace droidflow

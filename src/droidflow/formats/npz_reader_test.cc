#include "droidflow/formats/npz_reader.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/formats/npz_writer.h"

#include <cstring>
#include <fstream>
#include <random>
#include <unistd.h>

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NpzReaderTest : public ::testing::Test {
 protected:
  /// Two members: "a" f4 [2] and "serials" <U8 [2].
  std::string Sample(NpzWriter::Limits limits = {}) {
    const auto path = directory_ / "sample.npz";
    auto npz = NpzWriter::Create(path, limits);
    EXPECT_THAT(npz, IsOk());
    EXPECT_THAT(npz->AddArray<float>("a", {2}, std::array<float, 2>{1, 2}), IsOk());
    EXPECT_THAT(npz->AddStrings("serials", std::vector<std::string>{"24400334", "7"}), IsOk());
    EXPECT_THAT(npz->Finish(), IsOk());
    return *ReadFileText(path);
  }

  /// Opens a file of these bytes and reads every array of it.
  Status ReadAll(const std::string& bytes) {
    const auto path = directory_ / "changed.npz";
    std::filesystem::remove(path);  // Some file systems flush a file that is written over.
    std::ofstream(path, std::ios::binary) << bytes;
    DF_ASSIGN_OR_RETURN(const NpzReader npz, NpzReader::Open(path));
    for (const std::string& name : npz.names()) DF_RETURN_IF_ERROR(npz.Read(name));
    return {};
  }

  TemporaryDirectory directory_;
};

template <typename T>
void Store(std::string& bytes, std::size_t offset, T value) {
  ASSERT_LE(offset + sizeof(T), bytes.size());
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

TEST_F(NpzReaderTest, ReadsWhatWeWriteWithoutCopies) {
  for (const NpzWriter::Limits limits : {NpzWriter::Limits{}, NpzWriter::Limits{0, 0}}) {
    Sample(limits);
    auto npz = NpzReader::Open(directory_ / "sample.npz");
    ASSERT_THAT(npz, IsOk());
    EXPECT_THAT(npz->names(), ElementsAre("a", "serials"));
    EXPECT_TRUE(npz->Contains("a"));
    EXPECT_FALSE(npz->Contains("a.npy"));
    const auto a = npz->Read("a");
    const auto serials = npz->Read("serials");
    ASSERT_THAT(a, IsOk());
    ASSERT_THAT(serials, IsOk());
    EXPECT_EQ(a->data.data(), npz->Read("a")->data.data()) << "a view of the file";
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a->data.data()) % 64, 0U);
    npz = Fail(ErrorKind::kCancelled, "the arrays outlive their reader");
    EXPECT_THAT(*a->As<float>(), ElementsAre(1, 2));
    EXPECT_THAT(*serials->ToStrings(), ElementsAre("24400334", "7"));
  }
}

TEST_F(NpzReaderTest, ReadsWhatNumPyWrites) {
  for (const std::string function : {"savez", "savez_compressed"}) {
    SCOPED_TRACE(function);
    const auto path = directory_ / (function + ".npz");
    RunPython("import numpy as np; np." + function + "('" + path.string() + R"(',
      tracks=np.arange(100000, dtype='<f4').reshape(50, 1000, 2), fps=np.float64(14.1),
      serials=np.array(['24400334', 'é€😀']), wrist=np.array('7'), none=np.zeros((0, 3))))");
    const auto npz = NpzReader::Open(path);
    ASSERT_THAT(npz, IsOk());
    EXPECT_THAT(npz->names(), ElementsAre("tracks", "fps", "serials", "wrist", "none"));
    const auto tracks = npz->Read("tracks");
    ASSERT_THAT(tracks, IsOk());
    EXPECT_THAT(tracks->shape, ElementsAre(50, 1000, 2));
    const std::span<const float> values = *tracks->As<float>();
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], static_cast<float>(i));
    EXPECT_THAT(*npz->Read("fps")->As<double>(), ElementsAre(14.1));
    EXPECT_THAT(*npz->Read("serials")->ToStrings(), ElementsAre("24400334", "é€😀"));
    EXPECT_THAT(*npz->Read("wrist")->ToStrings(), ElementsAre("7"));
    EXPECT_THAT(npz->Read("none")->shape, ElementsAre(0, 3));
  }
}

TEST_F(NpzReaderTest, ReadsTheExpectedOutputsOfTheOriginal) {
  DF_NEEDS_SHARED("data/golden/expected");
  int num_arrays = 0;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(SharedPath("data/golden/expected"))) {
    if (entry.path().extension() != ".npz") continue;
    SCOPED_TRACE(entry.path());
    const auto npz = NpzReader::Open(entry.path());
    ASSERT_THAT(npz, IsOk());
    for (const std::string& name : npz->names()) {
      const auto array = npz->Read(name);
      if (name == "cameras_with_2d_tracks" && !array) {  // The original pickles it.
        EXPECT_THAT(array, FailsWith(ErrorKind::kInvalidData, HasSubstr("type |O")));
        continue;
      }
      EXPECT_THAT(array, IsOk()) << name;
      ++num_arrays;
    }
  }
  EXPECT_GT(num_arrays, 50);
}

TEST_F(NpzReaderTest, ReadsMembersBehind4GiB) {
  // The second member, moved to 5 GiB in a sparse file.
  constexpr std::uint64_t kFar = 5ULL << 30;
  const std::string bytes = Sample({0, 0});
  const std::size_t second = bytes.find("PK\x03\x04", 4);
  const std::size_t directory = bytes.find("PK\x01\x02");
  const std::size_t end64 = bytes.find("PK\x06\x06");
  ASSERT_NE(end64, std::string::npos);
  std::string tail = bytes.substr(second);
  const std::uint64_t shift = kFar - second;
  const std::size_t second_record = bytes.find("PK\x01\x02", directory + 4);
  // Header, name "serials.npy", extra id and size, two sizes: then the offset.
  Store(tail, second_record - second + 46 + 11 + 4 + 16, kFar);
  Store(tail, end64 - second + 48, directory + shift);
  Store(tail, end64 - second + 56 + 8, end64 + shift);
  const auto path = directory_ / "far.npz";
  std::ofstream(path, std::ios::binary) << bytes.substr(0, second);
  std::filesystem::resize_file(path, kFar);
  std::ofstream(path, std::ios::binary | std::ios::app) << tail;

  const auto npz = NpzReader::Open(path);
  ASSERT_THAT(npz, IsOk());
  EXPECT_THAT(*npz->Read("a")->As<float>(), ElementsAre(1, 2));
  EXPECT_THAT(*npz->Read("serials")->ToStrings(), ElementsAre("24400334", "7"));
  EXPECT_EQ(RunPython("import numpy; print(numpy.load('" + path.string() + "')['serials'][0])"),
            "24400334\n");
}

TEST_F(NpzReaderTest, SaysWhatIsNotThere) {
  EXPECT_THAT(NpzReader::Open("/nowhere/x.npz"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("/nowhere/x.npz")));
  EXPECT_THAT(NpzReader::Open(directory_.path()),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("no regular file")));
  Sample();
  const auto npz = NpzReader::Open(directory_ / "sample.npz");
  ASSERT_THAT(npz, IsOk());
  EXPECT_THAT(npz->Read("b"), FailsWith(ErrorKind::kNotFound, HasSubstr("no array b in")));
}

TEST_F(NpzReaderTest, RefusesEveryShorterFile) {
  const std::string bytes = Sample();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_THAT(
        ReadAll(bytes.substr(0, size)),
        FailsWith(ErrorKind::kInvalidData, HasSubstr("no ZIP directory at the end of the ")));
  }
}

TEST_F(NpzReaderTest, NoticesAChangedByteOfDataByItsCrc) {
  std::string bytes = Sample();
  bytes[64 + 128] ^= 1;  // The first float of "a".
  EXPECT_THAT(ReadAll(bytes),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("byte 0: want CRC-32 ")));
}

TEST_F(NpzReaderTest, SaysWhereTheDirectoryIsWrong) {
  const std::string good = Sample();
  const std::size_t record = good.find("PK\x01\x02");
  const std::size_t end = good.find("PK\x05\x06");
  const auto refuses = [&](std::size_t offset, auto value, const std::string& text) {
    std::string bad = good;
    Store(bad, offset, value);
    EXPECT_THAT(ReadAll(bad), FailsWith(ErrorKind::kInvalidData, HasSubstr(text)));
  };
  const std::string at = fmt::format("byte {}: member 0 of the directory: ", record);
  refuses(record, 0, at + "no directory record");
  refuses(record + 8, std::uint16_t{1}, at + "encrypted");
  refuses(record + 10, std::uint16_t{12}, at + "want method 0 (stored) or 8 (deflated), have 12");
  refuses(record + 28, std::uint16_t{60'000}, at + "runs past the end");
  refuses(record + 24, std::uint32_t{0xFFFFFFFF}, at + "64-bit sizes are missing");
  refuses(record + 20, std::uint32_t{0xFFFFFFF0}, at + "4294967280 bytes at byte 0 do not fit");
  refuses(record + 24, std::uint32_t{5}, at + "5 bytes cannot come out of 136");
  refuses(record + 42, std::uint32_t{1}, "byte 1: no member header where the directory says");
  refuses(26, std::uint16_t{60'000}, "byte 0: a member of 136 bytes runs into the directory");
  refuses(30, 'b', "byte 0: the member has another name");
  refuses(end + 10, std::uint16_t{60'000}, "a directory of 60000 members");
  refuses(end + 10, std::uint16_t{1}, "behind the last of 1 members");
  refuses(end + 16, std::uint32_t{0xFFFFFFFE}, "does not fit before byte");
  std::string twice = good;
  const std::size_t second = good.find("PK\x01\x02", record + 4);
  ASSERT_EQ(second - record, 46U + 5);
  twice.replace(second, std::string::npos, good.substr(record, second - record) + good.substr(end));
  Store(twice, second + (second - record) + 12, static_cast<std::uint32_t>(2 * (second - record)));
  EXPECT_THAT(ReadAll(twice), FailsWith(ErrorKind::kInvalidData, HasSubstr("a.npy comes twice")));
}

TEST_F(NpzReaderTest, DoesNotBelieveWhatADeflatedMemberSaysOfItsSize) {
  const auto path = directory_ / "zeros.npz";
  RunPython("import numpy as np; np.savez_compressed('" + path.string() + "', x=np.zeros(1000))");
  const std::string good = *ReadFileText(path);
  const std::size_t record = good.find("PK\x01\x02");
  std::string bad = good;
  Store(bad, record + 24, std::uint32_t{0xFFFFFFF0});
  EXPECT_THAT(ReadAll(bad),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("4294967280 bytes cannot come out of")));
  bad = good;
  Store(bad, record + 24, std::uint32_t{8129});
  EXPECT_THAT(ReadAll(bad),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("do not give 8129 bytes")));
}

TEST_F(NpzReaderTest, SurvivesRandomDamage) {
  std::mt19937 random(7);
  for (const std::string& good : {Sample(), Sample({0, 0})}) {
    for (int round = 0; round < 2000; ++round) {
      std::string bad = good;
      for (int i = 0; i < 3; ++i) bad[random() % bad.size()] = static_cast<char>(random());
      const Status status = ReadAll(bad);
      if (!status) {
        EXPECT_EQ(status.error().kind, ErrorKind::kInvalidData) << status.error();
      }
    }
  }
}

}  // namespace
}  // namespace droidflow

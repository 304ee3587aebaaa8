#include "droidflow/formats/npz_writer.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/formats/npz_reader.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

namespace droidflow {
namespace {

using ::testing::HasSubstr;

constexpr NpzWriter::Limits kEverythingIsLarge{.max_plain_bytes = 0, .max_plain_members = 0};

std::vector<float> Ramp(std::size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.F);
  return values;
}

/// The kinds of array that droidflow writes.
Status WriteSample(const std::filesystem::path& path,
                   NpzWriter::Limits limits,
                   NpzCompression compression = NpzCompression::kNone) {
  DF_ASSIGN_OR_RETURN(NpzWriter npz, NpzWriter::Create(path, compression, limits));
  const std::vector<float> ramp = Ramp(200'000);
  DF_RETURN_IF_ERROR(npz.AddArray<float>("tracks", {100, 1000, 2}, ramp));
  DF_RETURN_IF_ERROR(npz.AddScalar<std::int64_t>("num_frames", 226));
  DF_RETURN_IF_ERROR(npz.AddScalar<double>("fps", 14.1));
  DF_RETURN_IF_ERROR(npz.AddArray<std::int32_t>("none", {0, 3}, {}));
  DF_RETURN_IF_ERROR(
      npz.AddArray<std::uint8_t>("valid", {3}, std::vector<std::uint8_t>{1, 0, 255}));
  DF_RETURN_IF_ERROR(npz.AddStrings("cameras", std::vector<std::string>{"24400334", "7", "é€😀"}));
  DF_RETURN_IF_ERROR(npz.AddStrings("nobody", {}));
  DF_RETURN_IF_ERROR(npz.AddString("wrist_serial", "19824535"));
  DF_RETURN_IF_ERROR(npz.AddString("empty", ""));
  DF_RETURN_IF_ERROR(npz.AddScalar<double>("größe", 1));
  return npz.Finish();
}

/// What NumPy, Python's zipfile and unzip say about the file of WriteSample.
void ExpectPeersReadSample(const std::filesystem::path& path,
                           const std::string& deflated = "set()") {
  RunPython("deflated = " + deflated + "\npath = '" + path.string() + R"('
import numpy as np, zipfile, subprocess
with np.load(path) as npz:
    assert npz.files == ['tracks', 'num_frames', 'fps', 'none', 'valid', 'cameras', 'nobody', 'wrist_serial', 'empty', 'größe'], npz.files
    assert npz['tracks'].dtype == '<f4' and npz['tracks'].shape == (100, 1000, 2)
    assert (npz['tracks'].ravel() == np.arange(200000)).all()
    assert npz['num_frames'] == 226 and npz['num_frames'].dtype == '<i8' and npz['num_frames'].shape == ()
    assert npz['fps'] == 14.1
    assert npz['none'].shape == (0, 3) and npz['none'].dtype == '<i4'
    assert npz['valid'].tolist() == [1, 0, 255] and npz['valid'].dtype == '|u1'
    assert npz['cameras'].tolist() == ['24400334', '7', 'é€😀'] and npz['cameras'].dtype == '<U8'
    assert npz['nobody'].tolist() == []
    assert npz['wrist_serial'] == '19824535' and npz['wrist_serial'].shape == ()
    assert npz['empty'] == ''
archive = zipfile.ZipFile(path)
assert archive.testzip() is None
for info in archive.infolist():
    assert info.date_time == (1980, 1, 1, 0, 0, 0)
    assert info.compress_type == (8 if info.filename in deflated else 0), info
    if info.compress_type == 8:
        assert info.compress_size < info.file_size
        continue
    with open(path, 'rb') as file:
        file.seek(info.header_offset + 26)
        lengths = np.frombuffer(file.read(4), '<u2').astype(int)
        extra = file.read(lengths.sum())[lengths[0]:]
        member = file.tell()
        assert file.read(6) == b'\x93NUMPY'
    assert member % 64 == 0
    while extra:
        size = int.from_bytes(extra[2:4], 'little')
        assert len(extra) >= 4 + size
        extra = extra[4 + size:]
import shutil
if shutil.which('unzip'):
    subprocess.run(['unzip', '-tqq', path], check=True)
)");
}

TEST(NpzWriter, WritesWhatNumPyAndUnzipRead) {
  const TemporaryDirectory directory;
  ASSERT_THAT(WriteSample(directory / "sample.npz", {}), IsOk());
  ExpectPeersReadSample(directory / "sample.npz");
}

TEST(NpzWriter, WritesZip64RecordsThatNumPyAndUnzipRead) {
  const TemporaryDirectory directory;
  ASSERT_THAT(WriteSample(directory / "large.npz", kEverythingIsLarge), IsOk());
  ExpectPeersReadSample(directory / "large.npz");
}

TEST(NpzWriter, DeflatesForNumPyAndUnzip) {
  const TemporaryDirectory directory;
  const std::string all =
      "{n + '.npy' for n in 'tracks num_frames fps none valid cameras nobody wrist_serial empty "
      "größe'.split()}";
  ASSERT_THAT(WriteSample(directory / "zip.npz", {}, NpzCompression::kZip), IsOk());
  ExpectPeersReadSample(directory / "zip.npz", all);
  ASSERT_THAT(WriteSample(directory / "large.npz", kEverythingIsLarge, NpzCompression::kZip),
              IsOk());
  ExpectPeersReadSample(directory / "large.npz", all);
  EXPECT_LT(std::filesystem::file_size(directory / "zip.npz"), 800'000 / 2);
}

TEST(NpzWriter, StoresWhatDoesNotGetSmaller) {
  const TemporaryDirectory directory;
  auto npz = NpzWriter::Create(directory / "noise.npz", NpzCompression::kZip);
  ASSERT_THAT(npz, IsOk());
  std::minstd_rand random(1);
  std::vector<std::uint8_t> noise(100'000);
  for (std::uint8_t& value : noise) value = static_cast<std::uint8_t>(random() >> 8);
  ASSERT_THAT(npz->AddArray<std::uint8_t>("noise", {100'000}, noise), IsOk());
  ASSERT_THAT(npz->Finish(), IsOk());
  const auto read = NpzReader::Open(directory / "noise.npz");
  ASSERT_THAT(read, IsOk());
  EXPECT_FALSE(read->HasDeflated());
  EXPECT_TRUE(std::ranges::equal(*read->Read("noise")->As<std::uint8_t>(), noise));
}

TEST(NpzWriter, TakesMembersOfAnotherArchiveAsTheyAre) {
  const TemporaryDirectory directory;
  ASSERT_THAT(WriteSample(directory / "plain.npz", {}), IsOk());
  for (const NpzCompression compression : {NpzCompression::kZip, NpzCompression::kNone}) {
    const auto from = NpzReader::Open(directory / "plain.npz");
    ASSERT_THAT(from, IsOk());
    auto npz = NpzWriter::Create(directory / "copy.npz", compression);
    ASSERT_THAT(npz, IsOk());
    for (const std::string& name : from->names()) {
      ASSERT_THAT(npz->AddContent(name, from->Content(name)->bytes), IsOk());
    }
    ASSERT_THAT(npz->Finish(), IsOk());
    ASSERT_THAT(WriteSample(directory / "whole.npz", {}, compression), IsOk());
    EXPECT_TRUE(*ReadFileText(directory / "copy.npz") == *ReadFileText(directory / "whole.npz"));
  }
}

TEST(NpzWriter, HasZip64RecordsOnlyWhereNeeded) {
  const TemporaryDirectory directory;
  ASSERT_THAT(WriteSample(directory / "small.npz", {}), IsOk());
  ASSERT_THAT(WriteSample(directory / "large.npz", {.max_plain_bytes = 1000}), IsOk());
  const std::string end64("PK\x06\x06", 4);
  EXPECT_EQ(ReadFileText(directory / "small.npz")->find(end64), std::string::npos);
  EXPECT_NE(ReadFileText(directory / "large.npz")->find(end64), std::string::npos);
  ExpectPeersReadSample(directory / "large.npz");
}

TEST(NpzWriter, TakesMoreMembersThanPlainZipCounts) {
  const TemporaryDirectory directory;
  auto npz = NpzWriter::Create(directory / "many.npz");
  ASSERT_THAT(npz, IsOk());
  for (int i = 0; i < 65'536; ++i)
    ASSERT_THAT(npz->AddScalar<std::uint8_t>(std::to_string(i), 1), IsOk());
  ASSERT_THAT(npz->Finish(), IsOk());
  EXPECT_EQ(RunPython("import zipfile; print(len(zipfile.ZipFile('" +
                      (directory / "many.npz").string() + "').namelist()))"),
            "65536\n");
}

TEST(NpzWriter, GivesTheSameBytesHoweverTheValuesCome) {
  const TemporaryDirectory directory;
  const std::vector<float> ramp = Ramp(300'001);
  const auto write = [&](const std::string& name, auto fill) {
    auto npz = NpzWriter::Create(directory / name);
    EXPECT_THAT(npz, IsOk());
    EXPECT_THAT(npz->AddScalar<std::uint8_t>("first", 1), IsOk());
    EXPECT_THAT(npz->BeginArray<float>("ramp", {300'001}), IsOk());
    fill(*npz);
    EXPECT_THAT(npz->AddScalar<double>("last", 2), IsOk());
    EXPECT_THAT(npz->Finish(), IsOk());
    return *ReadFileText(directory / name);
  };
  const std::string whole =
      write("whole.npz", [&](NpzWriter& npz) { EXPECT_THAT(npz.Append<float>(ramp), IsOk()); });
  for (const std::size_t step : {7UL, 65'535UL, 65'536UL, 65'537UL, 100'000UL}) {
    SCOPED_TRACE(step);
    const std::string pieces = write("pieces.npz", [&](NpzWriter& npz) {
      for (std::size_t i = 0; i < ramp.size(); i += step) {
        const auto piece = std::span(ramp).subspan(i, std::min(step, ramp.size() - i));
        ASSERT_THAT(npz.Append<float>(piece), IsOk());
      }
    });
    EXPECT_TRUE(whole == pieces);
    if (step * sizeof(float) > NpzWriter::kMaxReserve_bytes) continue;
    const std::string in_place = write("in_place.npz", [&](NpzWriter& npz) {
      for (std::size_t i = 0; i < ramp.size(); i += step) {
        const std::size_t count = std::min(step, ramp.size() - i);
        const auto room = npz.Reserve<float>(count);
        ASSERT_THAT(room, IsOk());
        ASSERT_EQ(reinterpret_cast<std::uintptr_t>(room->data()) % alignof(float), 0U);
        std::copy_n(ramp.begin() + static_cast<std::ptrdiff_t>(i), count, room->begin());
        npz.Commit<float>(count);
      }
    });
    EXPECT_TRUE(whole == in_place);
  }
}

TEST(NpzWriter, TakesLessThanWasReserved) {
  const TemporaryDirectory directory;
  auto npz = NpzWriter::Create(directory / "less.npz");
  ASSERT_THAT(npz, IsOk());
  ASSERT_THAT(npz->BeginArray<double>("x", {2}), IsOk());
  for (const double value : {3.0, 4.0}) {
    const auto room = npz->Reserve<double>(1);
    ASSERT_THAT(room, IsOk());
    (*room)[0] = value;
    npz->Commit<double>(1);
    if (value == 3.0) {
      ASSERT_THAT(npz->Reserve<double>(1), IsOk());
      npz->Commit<double>(0);
    }
  }
  ASSERT_THAT(npz->Finish(), IsOk());
  EXPECT_THAT(*NpzReader::Open(directory / "less.npz")->Read("x")->ToDoubles(),
              testing::ElementsAre(3, 4));
}

TEST(NpzWriter, SaysThatTheDiskIsFull) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "this system has no /dev/full";
  auto npz = NpzWriter::Create("/dev/full");
  ASSERT_THAT(npz, IsOk());
  const std::vector<float> ramp = Ramp(100'000);
  EXPECT_THAT(npz->AddArray<float>("x", {100'000}, ramp),
              FailsWith(ErrorKind::kNoSpace, HasSubstr("/dev/full")));
}

TEST(NpzWriter, SaysThatTheFolderIsMissing) {
  EXPECT_THAT(NpzWriter::Create("/nowhere/x.npz"),
              FailsWith(ErrorKind::kNotFound, HasSubstr("/nowhere/x.npz")));
}

TEST(NpzWriter, RefusesANameTwice) {
  const TemporaryDirectory directory;
  auto npz = NpzWriter::Create(directory / "twice.npz");
  ASSERT_THAT(npz, IsOk());
  ASSERT_THAT(npz->AddScalar<double>("fps", 15), IsOk());
  EXPECT_THAT(npz->AddScalar<double>("fps", 15),
              FailsWith(ErrorKind::kInternal, HasSubstr("fps is already in")));
}

TEST(NpzWriter, RefusesTextThatIsNotUtf8) {
  const TemporaryDirectory directory;
  auto npz = NpzWriter::Create(directory / "text.npz");
  ASSERT_THAT(npz, IsOk());
  EXPECT_THAT(npz->AddString("serial", "24\xFF"),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("serial: byte 2")));
}

TEST(NpzWriterDeathTest, DiesWhenThePromiseOfTheShapeIsBroken) {
  const TemporaryDirectory directory;
  auto npz = NpzWriter::Create(directory / "promise.npz");
  ASSERT_THAT(npz, IsOk());
  ASSERT_THAT(npz->BeginArray<float>("x", {2}), IsOk());
  const std::array<float, 3> values{};
  EXPECT_DEATH((void)npz->Append<float>(values), "4 bytes too many");
  EXPECT_DEATH((void)npz->Append<std::int32_t>({}), "<i4 values, the array is <f4");
  EXPECT_DEATH((void)npz->Finish(), "8 bytes did not come");
}

}  // namespace
}  // namespace droidflow

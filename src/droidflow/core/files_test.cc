#include "droidflow/core/files.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAreArray;

void Write(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

std::string Read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> NamesBelow(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    names.push_back(entry.path().lexically_relative(directory).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(UniqueFd, ClosesWhatItHoldsOnce) {
  const int raw = open("/dev/null", O_RDONLY | O_CLOEXEC);
  UniqueFd first(raw);
  UniqueFd second(std::move(first));
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): empty after a move, by contract
  EXPECT_EQ(second.get(), raw);
  second = UniqueFd();
  EXPECT_EQ(fcntl(raw, F_GETFD), -1);
  EXPECT_EQ(errno, EBADF);
}

TEST(FailErrno, TurnsNumbersIntoKinds) {
  const auto kind_of = [](int number) {
    return Status(FailErrno(number, "cannot x")).error().kind;
  };
  EXPECT_EQ(kind_of(ENOENT), ErrorKind::kNotFound);
  EXPECT_EQ(kind_of(ENOTDIR), ErrorKind::kNotFound);
  EXPECT_EQ(kind_of(EDQUOT), ErrorKind::kNoSpace);
  EXPECT_EQ(kind_of(EIO), ErrorKind::kTransient);
  EXPECT_EQ(kind_of(EACCES), ErrorKind::kInternal);
  EXPECT_EQ(Status(FailErrno(ENOSPC, "cannot write /a/b")).error(),
            (Error{ErrorKind::kNoSpace, "no space left on device: cannot write /a/b", "no_space"}));
}

TEST(ReadFile, GivesEveryByte) {
  const TemporaryDirectory dir;
  const std::string text("a\0b\n\xff", 5);
  Write(dir / "file", text);
  EXPECT_EQ(ReadFileText(dir / "file").value(), text);
  const std::vector<std::byte> bytes = ReadFileBytes(dir / "file").value();
  ASSERT_THAT(bytes, SizeIs(5));
  EXPECT_EQ(bytes[4], std::byte{0xff});
  Write(dir / "empty", "");
  EXPECT_EQ(ReadFileText(dir / "empty").value(), "");
}

TEST(ReadFile, ReadsFilesThatSayTheyHaveNoSize) {
  EXPECT_THAT(ReadFileText("/proc/self/status").value(), HasSubstr("Pid:"));
}

TEST(ReadFile, SaysWhatIsMissingOrNoFile) {
  const TemporaryDirectory dir;
  EXPECT_THAT(ReadFileText(dir / "none"),
              FailsWith(ErrorKind::kNotFound, EndsWith("cannot open " + (dir / "none").string())));
  EXPECT_THAT(ReadFileBytes(dir.path()),
              FailsWith(ErrorKind::kInternal, HasSubstr("is a directory: cannot read")));
}

TEST(WriteAll, SaysThatTheDiskIsFull) {
  const UniqueFd full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  if (!full.valid()) GTEST_SKIP() << "this machine has no /dev/full";
  const std::byte byte{1};
  const Status status = WriteAll(full.get(), {&byte, 1}, "/dev/full");
  EXPECT_THAT(status, FailsAs("no_space", EndsWith("cannot write /dev/full")));
  EXPECT_EQ(status.error().kind, ErrorKind::kNoSpace);
}

TEST(WriteFileAtomically, WritesReplacesAndLeavesNothingElse) {
  const TemporaryDirectory dir;
  const fs::path path = dir / "a/b/file.txt";
  ASSERT_THAT(WriteFileAtomically(path, "first"), IsOk());
  ASSERT_THAT(WriteFileAtomically(path, "second"), IsOk());
  EXPECT_EQ(Read(path), "second");
  EXPECT_THAT(NamesBelow(dir / "a/b"), ElementsAre("file.txt"));
  struct stat info = {};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0400U, 0400U);
  EXPECT_EQ(info.st_mode & 0111U, 0U);
}

TEST(WriteFileAtomically, RemovesItsTemporaryWhenItFails) {
  const TemporaryDirectory dir;
  Write(dir / "taken/inside", "x");
  EXPECT_THAT(WriteFileAtomically(dir / "taken", "text"),
              FailsWith(ErrorKind::kInternal, HasSubstr("cannot rename")));
  EXPECT_THAT(NamesBelow(dir.path()), ElementsAre("taken", "taken/inside"));
}

TEST(WriteFileAtomically, TakesAPlaceWhereNothingCanBeForNoMissingInput) {
  const TemporaryDirectory directory;
  Write(directory / "file", "");
  for (const fs::path& path : {directory / "file/below", fs::path("/proc/none")}) {
    const Status status = WriteFileAtomically(path, "");
    ASSERT_FALSE(status.has_value()) << path;
    EXPECT_EQ(status.error().kind, ErrorKind::kInternal);
    EXPECT_THAT(status.error().message, HasSubstr("cannot make"));
  }
}

TEST(WriteFileAtomically, NeverShowsHalfAFile) {
  const TemporaryDirectory dir;
  const fs::path path = dir / "file";
  const std::string a(100'000, 'a');
  const std::string b(200'000, 'b');
  ASSERT_THAT(WriteFileAtomically(path, a), IsOk());
  std::jthread writer([&] {
    for (int i = 0; i < 50; ++i) {
      EXPECT_THAT(WriteFileAtomically(path, i % 2 == 0 ? b : a), IsOk());
    }
  });
  for (int i = 0; i < 200; ++i) {
    const std::string seen = Read(path);
    ASSERT_TRUE(seen == a || seen == b) << seen.size() << " bytes";
  }
}

TEST(AtomicFile, AppearsWholeAtCommit) {
  const TemporaryDirectory directory;
  auto file = AtomicFile::Create(directory / "new/file.bin");
  ASSERT_THAT(file, IsOk());
  ASSERT_THAT(file->Write(std::as_bytes(std::span(std::string_view("one ")))), IsOk());
  ASSERT_THAT(file->Write(std::as_bytes(std::span(std::string_view("two")))), IsOk());
  EXPECT_FALSE(fs::exists(file->path()));
  EXPECT_EQ(Read(file->temporary()), "one two");
  ASSERT_THAT(file->Commit(), IsOk());
  EXPECT_EQ(Read(directory / "new/file.bin"), "one two");
  EXPECT_THAT(NamesBelow(directory / "new"), ElementsAre("file.bin"));
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  const TemporaryDirectory directory;
  Write(directory / "file.bin", "before");
  {
    auto file = AtomicFile::Create(directory / "file.bin");
    ASSERT_THAT(file, IsOk());
    const AtomicFile moved = *std::move(file);
    EXPECT_THAT(NamesBelow(directory.path()), SizeIs(2));
    auto other = AtomicFile::Create(directory / "other.bin");
    ASSERT_THAT(other, IsOk());
    *other = *AtomicFile::Create(directory / "third.bin");
    EXPECT_THAT(NamesBelow(directory.path()), SizeIs(3));
  }
  EXPECT_THAT(NamesBelow(directory.path()), ElementsAre("file.bin"));
  EXPECT_EQ(Read(directory / "file.bin"), "before");
}

TEST(RemoveAbandoned, TakesWhatDeadProcessesLeftOfTheFile) {
  const TemporaryDirectory directory;
  const pid_t child = fork();
  if (child == 0) _exit(0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);  // Now nobody's number.
  auto mine = AtomicFile::Create(directory / "a.bin");
  ASSERT_THAT(mine, IsOk());
  Write(directory / fmt::format("a.bin.tmp-{}-0", child), "half");
  Write(directory / fmt::format("a.bin.tmp-{}-31", child), "half");
  const std::vector<std::string> kept = {"a.bin",
                                         fmt::format("a.bin.tmp-{}", child),
                                         fmt::format("a.bin.tmp-{}-1.bak", child),
                                         "a.bin.tmp-0-1",
                                         "a.bin.tmp--5-1",
                                         "a.bin.tmp-x-1",
                                         fmt::format("aa.bin.tmp-{}-1", child),
                                         fmt::format("b.bin.tmp-{}-1", child)};
  for (const std::string& name : kept) Write(directory / name, "kept");
  RemoveAbandoned(directory / "a.bin");
  std::vector<std::string> wanted = kept;
  wanted.push_back(mine->temporary().filename().string());
  EXPECT_THAT(NamesBelow(directory.path()), UnorderedElementsAreArray(wanted));
  RemoveAbandoned(directory / "absent/a.bin");
}

TEST(Trees, AreCopiedSyncedAndRemoved) {
  const TemporaryDirectory dir;
  Write(dir / "from/a.txt", "A");
  Write(dir / "from/sub/deep/b.txt", std::string(3 << 20, 'B'));
  fs::create_directories(dir / "from/empty");
  ASSERT_THAT(CopyTree(dir / "from", dir / "to"), IsOk());
  EXPECT_EQ(NamesBelow(dir / "to"), NamesBelow(dir / "from"));
  EXPECT_EQ(Read(dir / "to/sub/deep/b.txt"), Read(dir / "from/sub/deep/b.txt"));
  EXPECT_THAT(SyncTree(dir / "to"), IsOk());
  ASSERT_THAT(RemoveTree(dir / "to"), IsOk());
  EXPECT_FALSE(fs::exists(dir / "to"));
  EXPECT_THAT(RemoveTree(dir / "to"), IsOk());
}

TEST(Trees, RefuseToCopyOverWhatIsThere) {
  const TemporaryDirectory dir;
  Write(dir / "from/a.txt", "A");
  fs::create_directories(dir / "to");
  EXPECT_THAT(CopyTree(dir / "from", dir / "to"),
              FailsWith(ErrorKind::kInternal,
                        HasSubstr("file exists: cannot make " + (dir / "to").string())));
  EXPECT_THAT(SyncTree(dir / "none"), FailsWith(ErrorKind::kNotFound, HasSubstr("cannot list")));
}

TEST(PlaceDirectory, PutsAFolderWhereNoneWas) {
  const TemporaryDirectory dir;
  Write(dir / "incoming/1/a.txt", "new");
  ASSERT_THAT(PlaceDirectory(dir / "incoming/1", dir / "out/lab/day/episode"), IsOk());
  EXPECT_EQ(Read(dir / "out/lab/day/episode/a.txt"), "new");
  EXPECT_THAT(NamesBelow(dir / "incoming"), IsEmpty());
}

TEST(PlaceDirectory, ReplacesTheOldOneWhole) {
  const TemporaryDirectory dir;
  Write(dir / "out/old.txt", "old");
  Write(dir / "incoming/1/new.txt", "new");
  ASSERT_THAT(PlaceDirectory(dir / "incoming/1", dir / "out"), IsOk());
  EXPECT_THAT(NamesBelow(dir / "out"), ElementsAre("new.txt"));
  EXPECT_THAT(NamesBelow(dir / "incoming"), IsEmpty());
}

TEST(PlaceDirectory, MakesAParentAgainThatIsRemovedMeanwhile) {
  const TemporaryDirectory dir;
  std::jthread cleaner([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      rmdir((dir / "out/lab").c_str());
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  });
  for (int i = 0; i < 200; ++i) {
    Write(dir / "incoming/1/a.txt", "new");
    ASSERT_THAT(PlaceDirectory(dir / "incoming/1", dir / "out/lab/episode"), IsOk());
    fs::remove_all(dir / "out/lab/episode");
  }
}

TEST(PlaceDirectory, NeverLeavesAReaderWithoutAResult) {
  const TemporaryDirectory dir;
  Write(dir / "out/number", "0");
  std::jthread writer([&] {
    for (int i = 1; i <= 50; ++i) {
      Write(dir / "incoming/number", std::to_string(i));
      EXPECT_THAT(PlaceDirectory(dir / "incoming", dir / "out"), IsOk());
    }
  });
  for (int i = 0; i < 2000; ++i) ASSERT_TRUE(fs::exists(dir / "out"));
}

TEST(PlaceDirectory, SaysWhenThereIsNothingToPlace) {
  const TemporaryDirectory dir;
  EXPECT_THAT(
      PlaceDirectory(dir / "none", dir / "out"),
      FailsWith(ErrorKind::kNotFound, HasSubstr("cannot rename " + (dir / "none").string())));
}

TEST(ListFiles, NamesSizesAndTimesSorted) {
  const TemporaryDirectory dir;
  Write(dir / "b/z.txt", "12345");
  Write(dir / "a.txt", "1");
  const auto stamps = ListFiles(dir.path()).value();
  ASSERT_THAT(stamps, SizeIs(2));
  EXPECT_EQ(stamps[0].name, "a.txt");
  EXPECT_EQ(stamps[1].name, "b/z.txt");
  EXPECT_EQ(stamps[1].size_bytes, 5U);
  const auto now_ns = std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch());
  EXPECT_NEAR(static_cast<double>(stamps[1].mtime_ns), static_cast<double>(now_ns.count()), 60e9);
  EXPECT_THAT(ListFiles(dir / "none"), FailsWith(ErrorKind::kNotFound, HasSubstr("none")));
}

TEST(FilesUnchanged, NoticesEveryKindOfChange) {
  const TemporaryDirectory dir;
  Write(dir / "a.txt", "12345");
  Write(dir / "sub/b.txt", "1");
  const auto stamps = ListFiles(dir.path()).value();
  EXPECT_TRUE(FilesUnchanged(dir.path(), stamps));
  EXPECT_TRUE(FilesUnchanged(dir.path(), {}));

  auto other_size = stamps;
  ++other_size[0].size_bytes;
  EXPECT_FALSE(FilesUnchanged(dir.path(), other_size));
  auto other_time = stamps;
  ++other_time[1].mtime_ns;
  EXPECT_FALSE(FilesUnchanged(dir.path(), other_time));

  Write(dir / "new.txt", "of no interest");
  EXPECT_TRUE(FilesUnchanged(dir.path(), stamps));
  fs::remove(dir / "sub/b.txt");
  fs::create_directory(dir / "sub/b.txt");
  EXPECT_FALSE(FilesUnchanged(dir.path(), stamps));
  EXPECT_FALSE(FilesUnchanged(dir / "none", stamps));
}

TEST(FreeBytes, AsksTheNearestFolderThatExists) {
  const TemporaryDirectory dir;
  const fs::space_info space = fs::space(dir.path());
  const std::uint64_t free_bytes = FreeBytes(dir / "not/yet/there").value();
  EXPECT_NEAR(static_cast<double>(free_bytes),
              static_cast<double>(space.available),
              0.01 * static_cast<double>(space.capacity));
  EXPECT_THAT(FreeBytes("not/yet/there"), IsOk());
}

}  // namespace
}  // namespace droidflow

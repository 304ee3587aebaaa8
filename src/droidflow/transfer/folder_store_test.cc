#include "droidflow/transfer/folder_store.h"

#include "droidflow/transfer/store_suite.h"

#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <memory>
#include <set>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class FolderPlace : public StorePlace {
 public:
  std::shared_ptr<Store> Open() override {
    return std::make_shared<FolderStore>(directory_ / "hub");
  }

 private:
  TemporaryDirectory directory_;
};

INSTANTIATE_TEST_SUITE_P(InAFolder, StoreSuite, testing::Values([] {
                           return std::make_unique<FolderPlace>();
                         }));

class FolderStoreTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_THAT(store_.Prepare(), IsOk()); }

  OutgoingFile Local(const std::string& path, const std::string& content) {
    OutgoingFile file{
        .path = path, .source = directory_ / "source" / path, .size_bytes = content.size()};
    EXPECT_THAT(WriteFile(file.source, content), IsOk());
    file.sha256 = Sha256OfFile(file.source).value();
    return file;
  }

  Result<std::string> Commit(const std::vector<OutgoingFile>& files) {
    EXPECT_THAT(store_.Put(files), Each(IsOk()));
    return store_.Commit({.files = files, .summary = "a test", .batch_id = "batch 7"});
  }

  std::optional<StoredFile> Stat(const std::string& path) {
    FolderStore other(folder_);
    return other.Stat(other.Head().value(), std::vector{path}).value().at(0);
  }

  TemporaryDirectory directory_;
  fs::path folder_ = directory_ / "hub";
  FolderStore store_{folder_};
};

TEST_F(FolderStoreTest, HasFilesUnderTheirNamesToBeReadOnly) {
  ASSERT_THAT(Commit({Local("lab/tracks.npz", "tracks")}), IsOk());
  EXPECT_EQ(ReadFileText(folder_ / "lab/tracks.npz").value(), "tracks");
  const fs::perms writable =
      fs::perms::owner_write | fs::perms::group_write | fs::perms::others_write;
  EXPECT_EQ(fs::status(folder_ / "lab/tracks.npz").permissions() & writable, fs::perms::none);
}

TEST_F(FolderStoreTest, WritesALineOfHistoryPerCommit) {
  const std::string head = Commit({Local("a.npz", "aa"), Local("b.npz", "b")}).value();
  const std::string history = ReadFileText(folder_ / ".droidflow/commits.jsonl").value();
  EXPECT_EQ(std::ranges::count(history, '\n'), 2);
  EXPECT_THAT(history,
              HasSubstr(R"("summary":"a test","batch":"batch 7","files":[{"path":"a.npz",)"
                        R"("size_bytes":2,"sha256":")"));
  EXPECT_THAT(history, HasSubstr("\"commit\":\"" + head + "\""));
}

TEST_F(FolderStoreTest, TellsThatAFolderIsNoStore) {
  FolderStore other(directory_ / "none");
  EXPECT_THAT(other.Head(), FailsAs(store_status::kNoRepository, HasSubstr("none")));
  EXPECT_THAT(other.Commit({}), FailsAs(store_status::kNoRepository, HasSubstr("none")));
}

TEST_F(FolderStoreTest, NeverReplacesWhatOthersPutThere) {
  ASSERT_THAT(WriteFile(folder_ / "notes.json", "precious"), IsOk());
  EXPECT_THAT(Commit({Local("a.npz", "a"), Local("notes.json", "other")}),
              FailsAs(store_status::kRefused, HasSubstr("notes.json")));
  EXPECT_EQ(ReadFileText(folder_ / "notes.json").value(), "precious");
  EXPECT_FALSE(fs::exists(folder_ / "a.npz"));
  EXPECT_THAT(Commit({Local("notes.json", "precious")}), IsOk()) << "the same bytes are welcome";
}

TEST_F(FolderStoreTest, PutsBackWhatSomebodyRemoved) {
  const std::vector files{Local("lab/a.npz", "aaa"), Local("lab/b.npz", "bbb")};
  ASSERT_THAT(Commit(files), IsOk());
  fs::remove(folder_ / "lab/a.npz");
  EXPECT_EQ(Stat("lab/a.npz"), std::nullopt);
  ASSERT_THAT(Commit(files), IsOk());
  EXPECT_EQ(ReadFileText(folder_ / "lab/a.npz").value(), "aaa");
  EXPECT_NE(Stat("lab/a.npz"), std::nullopt);
}

TEST_F(FolderStoreTest, RemovesBytesThatNoFileHadForAWeek) {
  ASSERT_THAT(Commit({Local("kept.npz", "kept")}), IsOk());
  EXPECT_THAT(store_.Put(std::vector{Local("old.npz", "old"), Local("new.npz", "new")}),
              Each(IsOk()));
  const timespec week_and_a_day_ago{std::time(nullptr) - 8 * 86'400, 0};
  const timespec old[2] = {week_and_a_day_ago, week_and_a_day_ago};
  const fs::path objects = folder_ / ".droidflow/objects";
  for (const char* name : {"kept.npz", "old.npz"}) {
    const fs::path object = objects / Sha256OfFile(directory_ / "source" / name).value();
    ASSERT_EQ(utimensat(AT_FDCWD, object.c_str(), old, 0), 0);
  }
  ASSERT_THAT(store_.Prepare(), IsOk());
  std::set<std::string> contents;
  for (const auto& entry : fs::directory_iterator(objects)) {
    contents.insert(ReadFileText(entry.path()).value());
  }
  EXPECT_THAT(contents, ElementsAre("kept", "new"));
}

// A commit that was killed: its journal is there, and some of its files, or a part of its line.
class KilledCommit : public FolderStoreTest {
 protected:
  void SetUp() override {
    FolderStoreTest::SetUp();
    ASSERT_THAT(Commit({Local("old.npz", "old")}), IsOk());
    before_ = ReadFileText(history_).value();
    ASSERT_THAT(Commit({Local("lab/a.npz", "aaa"), Local("lab/b.npz", "bbb")}), IsOk());
    after_ = ReadFileText(history_).value();
    line_ = after_.substr(before_.size());
    ASSERT_THAT(WriteFileAtomically(folder_ / ".droidflow/journal", line_), IsOk());
  }

  void ExpectCompleted() {
    FolderStore other(folder_);
    const std::string head = other.Head().value();
    EXPECT_THAT(line_, HasSubstr(head));
    EXPECT_EQ(ReadFileText(folder_ / "lab/a.npz").value(), "aaa");
    EXPECT_EQ(ReadFileText(folder_ / "lab/b.npz").value(), "bbb");
    EXPECT_EQ(ReadFileText(history_).value(), after_);
    EXPECT_FALSE(fs::exists(folder_ / ".droidflow/journal"));
  }

  fs::path history_ = folder_ / ".droidflow/commits.jsonl";
  std::string before_;
  std::string after_;
  std::string line_;
};

TEST_F(KilledCommit, IsCompletedWhereNothingWasPlaced) {
  ASSERT_THAT(WriteFileAtomically(history_, before_), IsOk());
  fs::remove(folder_ / "lab/a.npz");
  fs::remove(folder_ / "lab/b.npz");
  ExpectCompleted();
}

TEST_F(KilledCommit, IsCompletedWhereAFileWasPlaced) {
  ASSERT_THAT(WriteFileAtomically(history_, before_), IsOk());
  fs::remove(folder_ / "lab/b.npz");
  ExpectCompleted();
}

TEST_F(KilledCommit, IsCompletedWhereItsLineWasCutOff) {
  ASSERT_THAT(WriteFileAtomically(history_, before_ + line_.substr(0, line_.size() / 2)), IsOk());
  ExpectCompleted();
}

TEST_F(KilledCommit, IsCompletedWhereOnlyTheJournalWasLeft) { ExpectCompleted(); }

TEST_F(KilledCommit, IsWholeOrNotThereWheneverItsProcessDies) {
  std::vector<OutgoingFile> files;
  for (int i = 0; i < 40; ++i)
    files.push_back(Local(fmt::format("many/{}.npz", i), std::to_string(i)));
  EXPECT_THAT(store_.Put(files), Each(IsOk()));
  bool happened = false;
  for (int delay_us = 0; !happened; delay_us += 150) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      FolderStore store(folder_);
      _exit(store.Commit({.files = files, .summary = "killed", .batch_id = "k"}) ? 0 : 1);
    }
    usleep(static_cast<useconds_t>(delay_us));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);

    FolderStore other(folder_);
    std::vector<std::string> names;
    ASSERT_THAT(
        other.List(
            other.Head().value(), "many", [&](StoredFile file) { names.push_back(file.path); }),
        IsOk());
    happened = !names.empty();
    EXPECT_THAT(names, SizeIs(happened ? 40 : 0));
  }
}

}  // namespace
}  // namespace droidflow

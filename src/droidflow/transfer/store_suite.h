#pragma once

/// What every Store must do. A test of a store includes this and says
///
///   INSTANTIATE_TEST_SUITE_P(OfMine, StoreSuite, testing::Values(StorePlaceMaker{MakePlace}));

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/sha256.h"
#include "droidflow/core/test_support.h"
#include "droidflow/transfer/store.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {

/// A new, empty place for files, which is gone when this is.
class StorePlace {
 public:
  StorePlace() = default;
  StorePlace(const StorePlace&) = delete;
  StorePlace& operator=(const StorePlace&) = delete;
  virtual ~StorePlace() = default;
  /// One more client of the place, as another process or machine has one.
  [[nodiscard]] virtual std::shared_ptr<Store> Open() = 0;
};

using StorePlaceMaker = std::function<std::unique_ptr<StorePlace>()>;

/// Short words for tests of a store.
class StoreFixture : public testing::Test {
 protected:
  void Open(std::unique_ptr<StorePlace> place) {
    place_ = std::move(place);
    store_ = place_->Open();
    ASSERT_THAT(store_->Prepare(), IsOk());
  }

  /// A local file with that content, to be stored at `path`.
  OutgoingFile Local(const std::string& path, const std::string& content) {
    OutgoingFile file{.path = path,
                      .source = directory_ / std::to_string(local_files_++),
                      .size_bytes = content.size()};
    EXPECT_THAT(WriteFile(file.source, content), IsOk());
    file.sha256 = Sha256OfFile(file.source).value();
    file.git_oid = GitBlobOidOfFile(file.source).value();
    return file;
  }

  std::string Head() { return store_->Head().value(); }

  Result<std::string> Commit(std::vector<OutgoingFile> files, std::string parent = {}) {
    return store_->Commit({.files = std::move(files),
                           .summary = "a test",
                           .batch_id = "batch",
                           .parent = std::move(parent)});
  }

  /// Stores bytes and makes them visible; the new head.
  std::string Store(const std::vector<OutgoingFile>& files) {
    EXPECT_THAT(store_->Put(files), testing::Each(IsOk()));
    const Result<std::string> head = Commit(files);
    EXPECT_THAT(head, IsOk());
    return head.value_or("");
  }

  std::optional<StoredFile> Stat(const std::string& revision, const std::string& path) {
    const auto files = store_->Stat(revision, std::vector{path});
    EXPECT_THAT(files, IsOk());
    return files ? files->at(0) : std::nullopt;
  }

  /// Paths below a folder, sorted; those that a place brings along are left out.
  std::vector<std::string> List(const std::string& revision, const std::string& folder = {}) {
    std::vector<std::string> paths;
    EXPECT_THAT(store_->List(revision,
                             folder,
                             [&](StoredFile file) {
                               if (file.path != ".gitattributes") paths.push_back(file.path);
                             }),
                IsOk());
    std::ranges::sort(paths);
    return paths;
  }

  Result<std::string> Read(const std::string& revision,
                           const std::string& path,
                           std::uint64_t offset = 0,
                           std::optional<std::uint64_t> length = {}) {
    std::string text;
    DF_RETURN_IF_ERROR(
        store_->Read(revision, path, offset, length, [&](std::span<const std::byte> bytes) {
          text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
          return Status();
        }));
    return text;
  }

  /// Bytes that no program takes for text.
  static std::string Noise(std::size_t size, unsigned seed) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>((seed = seed * 1664525U + 1013904223U) >> 24);
    return bytes;
  }

  std::unique_ptr<StorePlace> place_;
  std::shared_ptr<droidflow::Store> store_;
  TemporaryDirectory directory_;
  int local_files_ = 0;
};

class StoreSuite : public StoreFixture, public testing::WithParamInterface<StorePlaceMaker> {
 protected:
  void SetUp() override { Open(GetParam()()); }
};

TEST_P(StoreSuite, IsPreparedTwiceAndKeepsItsHead) {
  const std::string head = Head();
  EXPECT_FALSE(head.empty());
  EXPECT_THAT(store_->Prepare(), IsOk());
  EXPECT_EQ(Head(), head);
  EXPECT_THAT(List(head), testing::IsEmpty());
  EXPECT_FALSE(store_->Describe().empty());
  EXPECT_EQ(place_->Open()->Describe(), store_->Describe());
}

TEST_P(StoreSuite, ShowsFilesOnceTheyAreCommitted) {
  const std::string empty = Head();
  const std::vector files{Local("lab/episode/tracks.npz", Noise(300'000, 1)),
                          Local("lab/episode/quality.json", "{\"ok\":true}\n")};
  EXPECT_THAT(store_->Put(files), testing::Each(IsOk()));
  EXPECT_EQ(Head(), empty);
  EXPECT_THAT(List(empty), testing::IsEmpty());

  const Result<std::string> head = Commit(files);
  ASSERT_THAT(head, IsOk());
  EXPECT_NE(*head, empty);
  EXPECT_EQ(Head(), *head);
  EXPECT_EQ(place_->Open()->Head().value(), *head);
  EXPECT_THAT(List(*head),
              testing::ElementsAre("lab/episode/quality.json", "lab/episode/tracks.npz"));
  for (const OutgoingFile& file : files) {
    const std::optional<StoredFile> stored = Stat(*head, file.path);
    ASSERT_TRUE(stored.has_value()) << file.path;
    EXPECT_TRUE(SameContent(*stored, file)) << file.path;
    EXPECT_EQ(Read(*head, file.path).value(), ReadFileText(file.source).value());
  }
  EXPECT_THAT(List(empty), testing::IsEmpty()) << "an old state does not change";
}

TEST_P(StoreSuite, MakesNoNewStateOfWhatStandsThere) {
  const std::vector files{Local("a.npz", Noise(1000, 2)), Local("b.json", "{}")};
  const std::string head = Store(files);
  EXPECT_EQ(Store(files), head);
  EXPECT_EQ(Commit({}).value(), head);
  EXPECT_EQ(Head(), head);
  EXPECT_NE(Store({files[0], files[1], Local("c.json", "[]")}), head);
}

TEST_P(StoreSuite, StoresBytesUnderMoreThanOneName) {
  OutgoingFile file = Local("a.npz", Noise(5000, 3));
  Store({file});
  file.path = "copies/b.npz";
  OutgoingFile twin = file;
  twin.path = "copies/c.npz";
  const std::string head = Store({file, twin});
  EXPECT_THAT(List(head), testing::ElementsAre("a.npz", "copies/b.npz", "copies/c.npz"));
  EXPECT_EQ(Read(head, "copies/c.npz").value(), Noise(5000, 3));
}

TEST_P(StoreSuite, RefusesACommitWhoseBytesAreMissing) {
  const std::string head = Head();
  const OutgoingFile stored = Local("stored.npz", Noise(2000, 4));
  const OutgoingFile missing = Local("missing.npz", Noise(2000, 5));
  EXPECT_THAT(store_->Put(std::vector{stored}), testing::Each(IsOk()));
  EXPECT_THAT(Commit({stored, missing}),
              FailsAs(store_status::kBytesMissing, testing::HasSubstr("missing.npz")));
  EXPECT_EQ(Head(), head);
  EXPECT_THAT(List(Head()), testing::IsEmpty());
}

TEST_P(StoreSuite, TellsWhenTheHeadHasMoved) {
  const std::string old = Head();
  const std::vector files{Local("a.npz", Noise(100, 6))};
  const std::string head = Store(files);
  const OutgoingFile next = Local("b.npz", Noise(100, 7));
  EXPECT_THAT(store_->Put(std::vector{next}), testing::Each(IsOk()));
  EXPECT_THAT(Commit({next}, old), FailsAs(store_status::kHeadMoved, testing::_));
  EXPECT_THAT(Commit(files, old), FailsAs(store_status::kHeadMoved, testing::_));
  EXPECT_EQ(Head(), head);
  EXPECT_THAT(Commit({next}, head), IsOk());
}

TEST_P(StoreSuite, NeverTakesAChangedFileForWhatWasHashed) {
  const std::string head = Head();
  const std::pair<const char*, std::function<void(const OutgoingFile&)>> changes[] = {
      {"other", [](const auto& file) { (void)WriteFile(file.source, Noise(3000, 9)); }},
      {"longer", [](const auto& file) { (void)WriteFile(file.source, Noise(3001, 8)); }},
      {"shorter", [](const auto& file) { (void)WriteFile(file.source, Noise(2999, 8)); }},
      {"gone", [](const auto& file) { (void)RemoveTree(file.source); }}};
  for (const char* name : {"changed.npz", "changed.json"}) {
    for (const auto& [how, change] : changes) {
      SCOPED_TRACE(std::string(name) + ' ' + how);
      const OutgoingFile file = Local(name, Noise(3000, 8));
      const OutgoingFile other = Local(std::string(how) + name, Noise(500, 10));
      change(file);
      const std::vector<Status> put = store_->Put(std::vector{file, other});
      ASSERT_EQ(put.size(), 2U);
      EXPECT_THAT(put[1], IsOk()) << "one file's failure does not touch the others";
      if (put[0].has_value()) {
        EXPECT_THAT(Commit({other, file}),
                    FailsAs(store_status::kChanged, testing::HasSubstr(file.source.string())));
      } else {
        EXPECT_THAT(put[0],
                    FailsAs(store_status::kChanged, testing::HasSubstr(file.source.string())));
      }
    }
  }
  EXPECT_EQ(Head(), head);
}

TEST_P(StoreSuite, ReadsPartsOfFiles) {
  const std::string content = Noise(1'000'000, 11);
  const std::string head = Store({Local("big.npz", content), Local("small.json", "0123456789")});
  EXPECT_EQ(Read(head, "big.npz").value(), content);
  EXPECT_EQ(Read(head, "big.npz", 400'000).value(), content.substr(400'000));
  EXPECT_EQ(Read(head, "big.npz", 5, 400'000).value(), content.substr(5, 400'000));
  EXPECT_EQ(Read(head, "big.npz", 999'990, 100).value(), content.substr(999'990));
  EXPECT_EQ(Read(head, "small.json", 3, 4).value(), "3456");
  EXPECT_EQ(Read(head, "small.json", 3, 0).value(), "");
  EXPECT_EQ(Read(head, "small.json", 10).value(), "");
  EXPECT_EQ(Read(head, "small.json", 11, 5).value(), "");
  EXPECT_THAT(Read(head, "small.jso"), FailsWith(ErrorKind::kNotFound, testing::_));
  EXPECT_THAT(Read(head, "none.npz", 0, 0), FailsWith(ErrorKind::kNotFound, testing::_));
}

TEST_P(StoreSuite, StopsReadingWhereItsReaderFails) {
  const std::string head = Store({Local("big.npz", Noise(1'000'000, 12))});
  int pieces = 0;
  const Status read =
      store_->Read(head, "big.npz", 0, {}, [&](std::span<const std::byte>) -> Status {
        ++pieces;
        return Fail(ErrorKind::kNoSpace, "no room for it");
      });
  EXPECT_THAT(read, FailsWith(ErrorKind::kNoSpace, testing::HasSubstr("no room for it")));
  EXPECT_EQ(pieces, 1);
}

TEST_P(StoreSuite, KeepsOddNames) {
  std::map<std::string, std::string> contents;
  std::vector<OutgoingFile> files;
  for (const std::string& name : {std::string("a b+c#d%e?f&g=h;i"),
                                  std::string("IRIS+ef107c48+2023-03-07-16h-19m-59s"),
                                  std::string("%2F%20"),
                                  std::string("sn\xC3\xB6 \xE9\x9B\xAA \xF0\x9F\xA4\x96"),
                                  std::string("sno\xCC\x88"),
                                  std::string("'\"$(x)`*[]{}~!@^"),
                                  std::string(200, 'n')}) {
    for (const char* suffix : {".npz", ".json"}) {
      const std::string path = name + "/deep " + name.substr(0, 50) + suffix;
      contents[path] = path + " holds this";
      files.push_back(Local(path, contents[path]));
    }
  }
  const std::string head = Store(files);
  std::vector<std::string> paths;
  for (const auto& [path, content] : contents) {
    paths.push_back(path);
    EXPECT_EQ(Read(head, path).value_or("nothing"), content);
  }
  EXPECT_EQ(List(head), paths);
  const auto stored = store_->Stat(head, paths);
  ASSERT_THAT(stored, IsOk());
  EXPECT_THAT(*stored, testing::Each(testing::Ne(std::nullopt)));
  EXPECT_THAT(List(head, "a b+c#d%e?f&g=h;i"), testing::SizeIs(2));
}

TEST_P(StoreSuite, KeepsEmptyFiles) {
  const std::vector files{Local("empty.npz", ""), Local("empty.json", "")};
  const std::string head = Store(files);
  for (const OutgoingFile& file : files) {
    ASSERT_TRUE(Stat(head, file.path).has_value()) << file.path;
    EXPECT_TRUE(SameContent(*Stat(head, file.path), file)) << file.path;
    EXPECT_EQ(Read(head, file.path).value(), "");
  }
  EXPECT_EQ(Store(files), head);
}

TEST_P(StoreSuite, ReplacesAFileAndLeavesTheOthers) {
  const std::string old =
      Store({Local("a.npz", Noise(100, 13)), Local("b.npz", Noise(100, 14)), Local("c.json", "1")});
  const std::string head = Store({Local("a.npz", Noise(200, 15)), Local("c.json", "23")});
  EXPECT_THAT(List(head), testing::ElementsAre("a.npz", "b.npz", "c.json"));
  EXPECT_EQ(Read(head, "a.npz").value(), Noise(200, 15));
  EXPECT_EQ(Read(head, "b.npz").value(), Noise(100, 14));
  EXPECT_EQ(Read(head, "c.json").value(), "23");
  EXPECT_EQ(Stat(old, "a.npz")->size_bytes, 100U);
  EXPECT_EQ(Read(old, "a.npz").value(), Noise(100, 13));
  EXPECT_EQ(Read(old, "c.json").value(), "1");
}

TEST_P(StoreSuite, ListsAFolderAndNotItsNeighbours) {
  const std::string head = Store({Local("a/x.json", "1"),
                                  Local("a/b/y.json", "2"),
                                  Local("ab/x.json", "3"),
                                  Local("a.json", "4")});
  EXPECT_THAT(List(head, "a"), testing::ElementsAre("a/b/y.json", "a/x.json"));
  EXPECT_THAT(List(head, "a/b"), testing::ElementsAre("a/b/y.json"));
  EXPECT_THAT(List(head, "none"), testing::IsEmpty());
  EXPECT_THAT(List(head), testing::SizeIs(4));
}

TEST_P(StoreSuite, TellsOfFilesInTheOrderAskedFor) {
  const std::string head = Store({Local("a.json", "1"), Local("b.npz", "22")});
  const auto files =
      store_->Stat(head, std::vector<std::string>{"b.npz", "none", "a.json", "b.npz", "b"});
  ASSERT_THAT(files, IsOk());
  ASSERT_THAT(*files, testing::SizeIs(5));
  EXPECT_EQ(files->at(0)->path, "b.npz");
  EXPECT_EQ(files->at(1), std::nullopt);
  EXPECT_EQ(files->at(2)->size_bytes, 1U);
  EXPECT_EQ(files->at(3)->size_bytes, 2U);
  EXPECT_EQ(files->at(4), std::nullopt);
}

TEST_P(StoreSuite, TakesHundredsOfFilesAtOnce) {
  std::vector<OutgoingFile> files;
  std::vector<std::string> paths;
  for (int i = 0; i < 620; ++i) {
    paths.push_back(fmt::format("{:02}/{:03}.{}", i / 10, i, i % 2 == 0 ? "npz" : "json"));
    files.push_back(Local(paths.back(), std::to_string(i)));
  }
  const std::string head = Store(files);
  EXPECT_EQ(List(head), paths);
  const auto stored = store_->Stat(head, paths);
  ASSERT_THAT(stored, IsOk());
  for (std::size_t i = 0; i < files.size(); ++i) {
    ASSERT_TRUE(stored->at(i).has_value()) << paths[i];
    EXPECT_TRUE(SameContent(*stored->at(i), files[i])) << paths[i];
  }
}

TEST_P(StoreSuite, RefusesWhatIsNoPath) {
  const std::string head = Head();
  const OutgoingFile good = Local("good.json", "1");
  OutgoingFile file = good;
  for (const char* path : {"",
                           "/etc/passwd",
                           "a//b",
                           "a/",
                           "./a",
                           "a/../b",
                           "..",
                           ".git/config",
                           "a/.cache/b",
                           ".droidflow/journal",
                           "a\\b",
                           "a\nb",
                           "\xFF"}) {
    SCOPED_TRACE(path);
    file.path = path;
    const std::vector<Status> put = store_->Put(std::vector{file, good});
    ASSERT_EQ(put.size(), 2U);
    EXPECT_THAT(put[0], FailsAs(store_status::kRefused, testing::HasSubstr("path")));
    EXPECT_THAT(put[1], IsOk());
    EXPECT_THAT(Commit({good, file}), FailsAs(store_status::kRefused, testing::_));
  }
  EXPECT_THAT(Commit({good, good}), FailsAs(store_status::kRefused, testing::HasSubstr("twice")));
  file.path = "good.json/inner.json";
  EXPECT_THAT(Commit({good, file}), FailsAs(store_status::kRefused, testing::_));
  EXPECT_EQ(Head(), head);
}

TEST_P(StoreSuite, LetsTwoCommitAtTheSameTime) {
  constexpr int kCommits = 8;
  const auto work = [&](const std::shared_ptr<droidflow::Store>& store,
                        const std::vector<OutgoingFile>& files) {
    for (const OutgoingFile& file : files) {
      EXPECT_THAT(store->Put(std::vector{file}), testing::Each(IsOk()));
      Result<std::string> head = tl::unexpected(Error{});
      for (int tries = 0; tries < 100 && !head; ++tries) {
        head = store->Commit({.files = {file}, .summary = "one of two", .batch_id = file.path});
        if (!head) {
          ASSERT_EQ(head.error().status, store_status::kHeadMoved) << head.error().message;
        }
      }
      EXPECT_THAT(head, IsOk());
    }
  };
  std::vector<OutgoingFile> ours;
  std::vector<OutgoingFile> theirs;
  for (int i = 0; i < kCommits; ++i) {
    ours.push_back(Local(fmt::format("ours/{}.npz", i), Noise(100, 20 + i)));
    theirs.push_back(Local(fmt::format("theirs/{}.json", i), std::to_string(i)));
  }
  std::thread other(work, place_->Open(), theirs);
  work(store_, ours);
  other.join();
  const std::string head = Head();
  EXPECT_THAT(List(head), testing::SizeIs(2 * kCommits));
  for (const auto* files : {&ours, &theirs}) {
    for (const OutgoingFile& file : *files) {
      EXPECT_EQ(Read(head, file.path).value_or("none"), ReadFileText(file.source).value());
    }
  }
}

TEST_P(StoreSuite, ShowsAllOfACommitOrNothing) {
  std::vector<std::vector<OutgoingFile>> pairs;
  for (int i = 1; i <= 8; ++i) {
    const std::string content(static_cast<std::size_t>(i), 'x');  // its size is its number
    pairs.push_back({Local("a.npz", content), Local("z/z.json", content)});
  }
  Store(pairs[0]);
  std::atomic<bool> done = false;
  std::thread reader([&, store = place_->Open()] {
    while (!done) {
      const Result<std::string> head = store->Head();
      ASSERT_THAT(head, IsOk());
      const auto files = store->Stat(*head, std::vector<std::string>{"a.npz", "z/z.json"});
      ASSERT_THAT(files, IsOk());
      ASSERT_TRUE(files->at(0) && files->at(1));
      ASSERT_EQ(files->at(0)->size_bytes, files->at(1)->size_bytes);
    }
  });
  for (const auto& pair : pairs) Store(pair);
  done = true;
  reader.join();
}

}  // namespace droidflow

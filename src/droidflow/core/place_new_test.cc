#include "droidflow/core/place_new.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <atomic>
#include <thread>
#include <vector>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

void Put(const fs::path& path, std::string_view text) {
  ASSERT_THAT(WriteFileAtomically(path, text), IsOk());
}

TEST(PlaceNew, LetsTheFirstWinAndLeavesTheOthersAsTheyWere) {
  const TemporaryDirectory dir;
  for (const char* const mine : {"one", "two"}) {
    Put(dir / mine / "folder/a.txt", mine);
    Put(dir / mine / "file", mine);
    for (const char* const name : {"folder", "file"}) {
      const auto placed = PlaceNew(dir / mine / name, dir / "out/lab" / name);
      ASSERT_THAT(placed, IsOk());
      EXPECT_EQ(*placed, std::string(mine) == "one");
    }
  }
  EXPECT_EQ(*ReadFileText(dir / "out/lab/folder/a.txt"), "one");
  EXPECT_EQ(*ReadFileText(dir / "out/lab/file"), "one");
  EXPECT_TRUE(fs::is_empty(dir / "one"));
  EXPECT_EQ(*ReadFileText(dir / "two/folder/a.txt"), "two");
  EXPECT_EQ(*ReadFileText(dir / "two/file"), "two");
}

TEST(PlaceNew, HasOneWinnerOfMany) {
  const TemporaryDirectory dir;
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> winners = 0;
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&, i] {
          const fs::path mine = dir / fmt::format("ready/{}-{}", round, i);
          Put(mine / "a", "1");
          if (PlaceNew(mine, dir / fmt::format("out/{}", round)).value()) ++winners;
        });
      }
    }
    EXPECT_EQ(winners, 1);
  }
}

TEST(PlaceNew, KnowsItsOwnWhenAFileServerAnswersTheSecondRequest) {
  const TemporaryDirectory dir;
  Put(dir / "ready/file", "1");
  Put(dir / "out/folder/a", "1");  // "ready/folder" was renamed already
  fs::create_hard_link(dir / "ready/file", dir / "out/file");
  EXPECT_EQ(PlaceNew(dir / "ready/file", dir / "out/file"), true);
  EXPECT_EQ(PlaceNew(dir / "ready/folder", dir / "out/folder"), true);
  EXPECT_TRUE(fs::is_empty(dir / "ready"));
}

TEST(PlaceNew, SaysWhenThereIsNothingToPlace) {
  const TemporaryDirectory dir;
  EXPECT_THAT(
      PlaceNew(dir / "none", dir / "out"),
      FailsWith(ErrorKind::kNotFound, HasSubstr("cannot place " + (dir / "none").string())));
}

}  // namespace
}  // namespace droidflow

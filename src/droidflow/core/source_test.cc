#include "droidflow/core/source.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FolderSourceTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const auto& [name, text] : {std::pair{"b.txt", "bytes"},
                                     {"Lab/success/x:y+z%/one", "1"},
                                     {"Lab/two", "22"},
                                     {".two.part", "half"}}) {
      ASSERT_THAT(WriteFile(directory_ / name, text), IsOk());
    }
    source_ = MakeFolderSource(directory_.path());
  }

  const TemporaryDirectory directory_;
  std::unique_ptr<Source> source_;
};

TEST_F(FolderSourceTest, ListsAFolderOrATreeByName) {
  EXPECT_THAT(source_->List("", ListDepth::kFolder).value(),
              ElementsAre(SourceEntry{.name = "Lab", .is_folder = true},
                          SourceEntry{.name = "b.txt", .size_bytes = 5}));
  EXPECT_THAT(source_->List("Lab", ListDepth::kTree).value(),
              ElementsAre(SourceEntry{.name = "success/x:y+z%/one", .size_bytes = 1},
                          SourceEntry{.name = "two", .size_bytes = 2}));
  EXPECT_THAT(source_->List("none", ListDepth::kTree),
              FailsWith(ErrorKind::kNotFound, HasSubstr("none")));
}

TEST_F(FolderSourceTest, ReadsWholeFilesAndParts) {
  EXPECT_EQ(source_->ReadText("b.txt").value(), "bytes");
  EXPECT_EQ(source_->ReadText("b.txt", 1, 3).value(), "yte");
  EXPECT_EQ(source_->ReadText("b.txt", 3, 100).value(), "es");
  EXPECT_EQ(source_->ReadText("b.txt", 9).value(), "");
  EXPECT_THAT(source_->ReadText("c.txt"), FailsWith(ErrorKind::kNotFound, HasSubstr("c.txt")));
}

TEST_F(FolderSourceTest, EndsWithTheErrorOfItsTaker) {
  const Status read = source_->Read("b.txt", 0, {}, [](std::span<const std::byte>) -> Status {
    return Fail(ErrorKind::kNoSpace, "no room");
  });
  EXPECT_THAT(read, FailsWith(ErrorKind::kNoSpace, "no room"));
}

}  // namespace
}  // namespace droidflow

#include "droidflow/transfer/file_cache.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FileCacheTest : public testing::Test {
 protected:
  fs::path Fetched(const std::string& name, std::size_t size_bytes) const {
    EXPECT_THAT(WriteFile(folder_.path() / "fetched" / name, std::string(size_bytes, name[0])),
                IsOk());
    return folder_.path() / "fetched" / name;
  }
  /// As if the file had been used so many seconds after 1970.
  void Use(const std::string& path, std::time_t when_s) const {
    const timespec times[2] = {{.tv_sec = when_s, .tv_nsec = 0}, {.tv_sec = when_s, .tv_nsec = 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, (kept() / path).c_str(), times, 0), 0);
  }
  fs::path kept() const { return folder_.path() / "kept"; }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    const std::vector<FileStamp> files = ListFiles(kept()).value();
    for (const FileStamp& file : files) names.push_back(file.name);
    return names;
  }

  const TemporaryDirectory folder_;
};

TEST_F(FileCacheTest, GivesWhatWasPutAsLongAsItsSizeIsRight) {
  FileCache cache(kept(), {});
  const fs::path to = folder_.path() / "to";
  EXPECT_FALSE(cache.Take("a/b:c", 5, to));
  cache.Put("a/b:c", Fetched("x", 5));
  EXPECT_FALSE(cache.Take("a/b:c", 6, to));
  EXPECT_FALSE(fs::exists(to));
  EXPECT_TRUE(cache.Take("a/b:c", 5, to));
  EXPECT_EQ(ReadFileText(to).value(), "xxxxx");
  fs::remove(to);
  EXPECT_EQ(ReadFileText(kept() / "a/b:c").value(), "xxxxx");
}

TEST_F(FileCacheTest, RemovesWhatWasUsedLongestAgo) {
  FileCache cache(kept(), 100);
  cache.Put("one/a", Fetched("a", 30));
  cache.Put("two/b", Fetched("b", 30));
  cache.Put("three/c", Fetched("c", 30));
  Use("one/a", 100);
  Use("two/b", 200);
  Use("three/c", 300);
  EXPECT_TRUE(cache.Take("one/a", 30, folder_.path() / "to"));
  cache.Put("four/d", Fetched("d", 30));  // 120 bytes: two/b goes, and leaves 90 of 100
  EXPECT_THAT(Names(), ElementsAre("four/d", "one/a", "three/c"));
  EXPECT_FALSE(fs::exists(kept() / "two"));
  FileCache(kept(), 50).Put("five/e", Fetched("e", 30));
  EXPECT_THAT(Names(), ElementsAre("five/e"));
  FileCache(kept(), 10).Put("six/f", Fetched("f", 30));
  EXPECT_THAT(Names(), IsEmpty()) << "what is larger than the limit is not kept";
}

}  // namespace
}  // namespace droidflow

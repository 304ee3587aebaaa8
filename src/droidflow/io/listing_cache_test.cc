#include "droidflow/io/listing_cache.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"

namespace droidflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Has a folder "there", and counts how often it is asked.
class CountedSource : public Source {
 public:
  std::string Describe() const override { return "gs://counted"; }
  Result<std::vector<SourceEntry>> List(const std::string& folder, ListDepth depth) override {
    ++asked;
    if (fails) return Fail(ErrorKind::kTransient, "no answer");
    if (folder != "there") return FailAs("gone", ErrorKind::kNotFound, "no folder {}", folder);
    if (depth == ListDepth::kFolder)
      return std::vector{SourceEntry{.name = "a", .is_folder = true}};
    return std::vector{file};
  }
  Status Read(const std::string& path,
              std::uint64_t offset,
              std::optional<std::uint64_t>,
              const Sink& sink) override {
    const std::string text = fmt::format("{} from {}", path, offset);
    return sink(std::as_bytes(std::span(text)));
  }

  int asked = 0;
  bool fails = false;
  const SourceEntry file{.name = "a/Fri_Jul__7_09:42:23_2023/+\"\\.h5",
                         .size_bytes = std::uint64_t{1} << 40,
                         .md5 = "0123456789abcdef0123456789abcdef",
                         .crc32c = 0xfedcba98};
};

TEST(ListingCache, AsksForEachListingOnce) {
  const TemporaryDirectory folder;
  CountedSource source;
  for (int process = 0; process < 2; ++process) {
    const std::unique_ptr<Source> kept = KeepListings(source, folder.path() / "listings");
    EXPECT_THAT(kept->List("there", ListDepth::kTree).value(), ElementsAre(source.file));
    EXPECT_TRUE(kept->List("there", ListDepth::kFolder).value().at(0).is_folder);
    const auto missing = kept->List("elsewhere", ListDepth::kTree);
    EXPECT_THAT(missing, FailsWith(ErrorKind::kNotFound, HasSubstr("no folder elsewhere")));
    EXPECT_EQ(missing.error().status, "gone");
    EXPECT_EQ(source.asked, 3);
  }
  EXPECT_EQ(KeepListings(source, folder.path())->ReadText("x", 7).value(), "x from 7");
}

TEST(ListingCache, DoesNotKeepWhatMayPass) {
  const TemporaryDirectory folder;
  CountedSource source;
  const std::unique_ptr<Source> kept = KeepListings(source, folder.path());
  source.fails = true;
  EXPECT_THAT(kept->List("there", ListDepth::kTree), FailsWith(ErrorKind::kTransient, "no answer"));
  source.fails = false;
  EXPECT_THAT(kept->List("there", ListDepth::kTree), IsOk());
  EXPECT_THAT(kept->List("", ListDepth::kTree), FailsWith(ErrorKind::kNotFound, HasSubstr("")));
  EXPECT_THAT(kept->List("", ListDepth::kTree), FailsWith(ErrorKind::kNotFound, HasSubstr("")));
  EXPECT_EQ(source.asked, 4) << "a bucket that is not there yet may come";
}

TEST(ListingCache, ListsAnewWhatIsDamaged) {
  const TemporaryDirectory folder;
  CountedSource source;
  const std::unique_ptr<Source> kept = KeepListings(source, folder.path());
  ASSERT_THAT(kept->List("there", ListDepth::kTree), IsOk());
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    ASSERT_THAT(WriteFile(entry.path(), "{\"of\": \"gs://cou"), IsOk());
  }
  EXPECT_THAT(kept->List("there", ListDepth::kTree).value(), ElementsAre(source.file));
  EXPECT_EQ(source.asked, 2);
}

TEST(ReadListing, GivesBackWhatWasWritten) {
  const TemporaryDirectory folder;
  const std::filesystem::path file = folder / "of/files.json";
  const std::vector<SourceEntry> entries = {
      {.name = "a\"\\.mp4", .size_bytes = std::uint64_t{1} << 40, .md5 = "0f", .crc32c = 0},
      {.name = "b", .is_folder = true, .sha256 = "ab"}};
  EXPECT_THAT(ReadListing(file), FailsWith(ErrorKind::kNotFound, HasSubstr("files.json")));
  ASSERT_THAT(WriteListing(entries, file), IsOk());
  EXPECT_EQ(ReadListing(file).value(), entries);
  ASSERT_THAT(WriteFile(file, "[[1]]"), IsOk());
  EXPECT_THAT(ReadListing(file), FailsWith(ErrorKind::kInvalidData, HasSubstr("files.json")));
}

}  // namespace
}  // namespace droidflow

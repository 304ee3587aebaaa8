#include "droidflow/transfer/bucket_source.h"

#include "droidflow/transfer/bucket_test_server.h"

namespace droidflow {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BucketSourceTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!server_.runs()) GTEST_SKIP() << "needs tests/bucket_server";
  }

  [[nodiscard]] BucketOptions Options() const {
    return {.endpoint = server_.url(), .backoff = 1ms};
  }
  [[nodiscard]] std::unique_ptr<Source> Open(const std::string& url, BucketOptions options) const {
    return OpenBucket(url, options).value();
  }
  [[nodiscard]] std::unique_ptr<Source> Open() const { return Open("gs://b/raw/1.0", Options()); }

  static std::vector<std::string> Names(const Result<std::vector<SourceEntry>>& entries) {
    EXPECT_THAT(entries, IsOk());
    std::vector<std::string> names;
    if (!entries) return names;
    for (const SourceEntry& entry : *entries) {
      names.push_back(entry.name + (entry.is_folder ? "/" : ""));
    }
    return names;
  }
  [[nodiscard]] std::size_t Asked(const std::string& what) const {
    const std::string requests = server_.Requests();
    std::size_t count = 0;
    for (std::size_t at = 0; (at = requests.find(what, at)) != std::string::npos; ++at) ++count;
    return count;
  }

  const BucketTestServer server_;
};

TEST_F(BucketSourceTest, ListsFoldersAndTreesWithSizesAndChecksums) {
  server_.Put("raw/1.0/Lab/Fri_Jul__7_09:42:23_2023/metadata_Lab+5d05c5aa+x.json", "hello");
  server_.Put("raw/1.0/Lab/100% \xC3\xA4/a.composite", "hello");
  server_.Put("raw/1.0/top", "");
  server_.Put("raw/1.0b/other", "");
  for (const int page_size : {1, 2, 1000}) {
    BucketOptions options = Options();
    options.page_size = page_size;
    const auto source = Open("gs://b/raw/1.0/", options);
    EXPECT_EQ(source->Describe(), "gs://b/raw/1.0");
    EXPECT_THAT(Names(source->List("", ListDepth::kFolder)), ElementsAre("Lab/", "top"));
    EXPECT_THAT(Names(source->List("Lab", ListDepth::kFolder)),
                ElementsAre("100% \xC3\xA4/", "Fri_Jul__7_09:42:23_2023/"));
    EXPECT_THAT(
        source->List("Lab", ListDepth::kTree).value(),
        ElementsAre(
            SourceEntry{.name = "100% \xC3\xA4/a.composite", .size_bytes = 5, .crc32c = 0x9A71BB4C},
            SourceEntry{.name = "Fri_Jul__7_09:42:23_2023/metadata_Lab+5d05c5aa+x.json",
                        .size_bytes = 5,
                        .md5 = "5d41402abc4b2a76b9719d911017c592",
                        .crc32c = 0x9A71BB4C}));
  }
}

TEST_F(BucketSourceTest, ListsEveryNameOnceWhileTheBucketChanges) {
  for (const char* const name : {"a", "b", "c", "d", "e"}) {
    server_.Put(fmt::format("raw/1.0/{}", name), name);
  }
  BucketOptions options = Options();
  options.page_size = 2;
  const auto source = Open("gs://b/raw/1.0", options);
  server_.Fault(R"({"about": "pageToken", "remove": "raw/1.0/a"})");
  EXPECT_THAT(Names(source->List("", ListDepth::kFolder)), ElementsAre("a", "b", "c", "d", "e"));
  server_.Fault(R"({"about": "pageToken", "add": "raw/1.0/a"})");
  EXPECT_THAT(Names(source->List("", ListDepth::kFolder)), ElementsAre("b", "c", "d", "e"));
  server_.Fault(R"({"about": "pageToken", "add": "raw/1.0/f"})");
  EXPECT_THAT(Names(source->List("", ListDepth::kFolder)),
              ElementsAre("a", "b", "c", "d", "e", "f"));
  server_.Fault(R"({"about": "pageToken", "status": 400})");
  EXPECT_THAT(Names(source->List("", ListDepth::kFolder)),
              ElementsAre("a", "b", "c", "d", "e", "f"));
}

TEST_F(BucketSourceTest, DoesNotListForEver) {
  for (const char* const name : {"a", "b", "c"}) server_.Put(name, name);
  BucketOptions options = Options();
  options.page_size = 1;
  server_.Fault(R"({"about": "pageToken", "status": 400, "count": null})");
  EXPECT_THAT(Open("gs://b", options)->List("", ListDepth::kFolder),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("status 400")));
}

TEST_F(BucketSourceTest, SaysThatSomethingIsNotInTheBucketWithoutAskingAgain) {
  server_.Put("raw/1.0/x", "x");
  const auto source = Open();
  EXPECT_THAT(source->List("none", ListDepth::kTree),
              FailsAs(source_status::kNotInBucket, HasSubstr("gs://b/raw/1.0/none")));
  EXPECT_THAT(source->ReadText("none+1"),
              FailsAs(source_status::kNotInBucket, HasSubstr("gs://b/raw/1.0/none+1")));
  EXPECT_EQ(Asked("\"target\""), 2U);
  EXPECT_THAT(Open("gs://none", Options())->List("", ListDepth::kFolder),
              AllOf(FailsWith(ErrorKind::kNotFound, HasSubstr("gs://none")),
                    FailsAs(source_status::kNotInBucket, HasSubstr("404"))));
  server_.Fault(R"({"about": "media", "status": 403})");
  EXPECT_THAT(source->ReadText("x"), FailsAs(source_status::kForbidden, HasSubstr("403")));
}

TEST_F(BucketSourceTest, ReadsWholeFilesAndParts) {
  const std::string name = "Fri_Jul__7_09:42:23_2023/a+b c%2F#?&.txt";
  server_.Put("raw/1.0/" + name, "0123456789");
  const auto source = Open();
  EXPECT_EQ(source->ReadText(name).value(), "0123456789");
  EXPECT_EQ(source->ReadText(name, 2, 3).value(), "234");
  EXPECT_EQ(source->ReadText(name, 8, 100).value(), "89");
  EXPECT_EQ(source->ReadText(name, 10).value(), "");
  EXPECT_EQ(Asked("bytes=2-4"), 1U);
  server_.Fault(R"({"about": "media", "whole": true, "count": 2})");
  EXPECT_EQ(source->ReadText(name, 2, 3).value(), "234") << "of all that comes";
  EXPECT_EQ(source->ReadText(name, 8).value(), "89");
  const auto full = [](std::span<const std::byte>) {
    return Status(Fail(ErrorKind::kNoSpace, "full"));
  };
  EXPECT_THAT(source->Read(name, 2, 3, full), FailsWith(ErrorKind::kNoSpace, "full"));
  server_.Fault(R"({"about": "media", "moved": true})");
  EXPECT_EQ(source->ReadText(name, 1, 1).value(), "1");
  EXPECT_EQ(Asked("again=1"), 1U);
}

TEST_F(BucketSourceTest, WaitsAndAsksAgain) {
  server_.Put("raw/1.0/x", "x");
  const auto source = Open();
  server_.Fault(R"({"about": "maxResults", "status": 503, "count": 2})");
  server_.Fault(R"({"about": "media", "status": 429, "headers": {"Retry-After": "0"}})");
  server_.Fault(R"({"about": "media", "status": 503, "headers": {"Retry-After": "0"}})");
  EXPECT_THAT(Names(source->List("", ListDepth::kFolder)), ElementsAre("x"));
  EXPECT_EQ(Asked("maxResults"), 3U);
  EXPECT_EQ(source->ReadText("x").value(), "x");
  EXPECT_EQ(Asked("media"), 3U);
  server_.Fault(R"({"about": "media", "status": 503, "count": null})");
  EXPECT_THAT(source->ReadText("x"), FailsWith(ErrorKind::kTransient, HasSubstr("status 503")));
}

TEST_F(BucketSourceTest, TakesItsHostFromTheEnvironment) {
  server_.Put("x", "here");
  const std::string without_scheme = server_.url().substr(7);
  for (const std::string& host : {server_.url(), without_scheme, server_.url() + "/"}) {
    setenv("STORAGE_EMULATOR_HOST", host.c_str(), 1);
    EXPECT_EQ(Open("gs://b", {})->ReadText("x").value(), "here") << host;
  }
  unsetenv("STORAGE_EMULATOR_HOST");
}

TEST(OpenBucket, RefusesWhatIsNoBucket) {
  for (const char* const url : {"", "gs://", "gs:///x", "s3://b/x", "/data"}) {
    EXPECT_THAT(OpenBucket(url), FailsWith(ErrorKind::kUsage, HasSubstr("want gs://"))) << url;
  }
  EXPECT_THAT(OpenBucket("gs://b", {.endpoint = "ftp://h"}),
              FailsWith(ErrorKind::kUsage, HasSubstr("ftp")));
  EXPECT_TRUE(IsBucketUrl("gs://b"));
  EXPECT_FALSE(IsBucketUrl("data/gs:/b"));
}

}  // namespace
}  // namespace droidflow

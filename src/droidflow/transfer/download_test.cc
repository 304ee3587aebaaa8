#include "droidflow/transfer/download.h"

#include "droidflow/core/sha256.h"
#include "droidflow/transfer/bucket_source.h"
#include "droidflow/transfer/bucket_test_server.h"

#include <atomic>
#include <map>
#include <sys/file.h>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

/// Bytes that do not repeat soon.
std::string Content(std::size_t size_bytes, unsigned seed) {
  std::string content(size_bytes, '\0');
  for (char& c : content) {
    seed = seed * 1664525 + 1013904223;
    c = static_cast<char>(seed >> 24U);
  }
  return content;
}

/// Time that passes by waiting only.
class IdleClock : public Clock {
 public:
  std::chrono::milliseconds Steady() override { return now_; }
  std::int64_t UnixMs() override { return now_.load().count(); }
  void Sleep(std::chrono::milliseconds duration) override { now_ = now_.load() + duration; }

 private:
  std::atomic<std::chrono::milliseconds> now_{0ms};
};

class DownloaderTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!server_.runs()) GTEST_SKIP() << "needs tests/bucket_server";
    source_ = OpenBucket("gs://b", {.endpoint = server_.url(), .stall_timeout = 1s, .backoff = 1ms})
                  .value();
  }

  /// All that the bucket has.
  std::vector<Download> All() {
    std::vector<Download> downloads;
    const auto listed = source_->List("", ListDepth::kTree).value();
    for (const SourceEntry& entry : listed) {
      downloads.push_back({source_.get(), entry.name, entry, directory_ / entry.name});
    }
    return downloads;
  }
  Status Fetch(const Download& download) { return Downloader({.backoff = 1ms}).Fetch(download); }
  /// Everything on the disk by name, parts included.
  std::map<std::string, std::string> Tree() {
    std::map<std::string, std::string> files;
    const auto stamps = ListFiles(directory_.path()).value();
    for (const FileStamp& file : stamps) {
      files[file.name] = ReadFileText(directory_ / file.name).value();
    }
    return files;
  }

  const BucketTestServer server_;
  std::unique_ptr<Source> source_;
  const TemporaryDirectory directory_;
};

TEST_F(DownloaderTest, MakesTheTreeOfTheBucketWhateverGoesWrongOnTheWay) {
  std::map<std::string, std::string> bucket;
  for (unsigned i = 0; i < 24; ++i) {
    const std::string name = fmt::format("Lab/Fri_Jul__7_09:42:{:02}_2023/x+y{}", i, i);
    bucket[name] = Content(i * 1000, i);
    server_.Put(name, bucket[name]);
  }
  const std::vector<Download> downloads = All();
  for (const char* const what : {R"("cut": 1000)",
                                 R"("cut": 0)",
                                 R"("short": 700)",
                                 R"("flip": true)",
                                 R"("whole": true)",
                                 R"("moved": true)",
                                 R"("status": 503)",
                                 R"("status": 429, "headers": {"Retry-After": "0"})",
                                 R"("status": 500, "headers": {"Retry-After": "0"})"}) {
    server_.Fault(fmt::format(R"({{"about": "y1[0-9]", "after": 2, "count": 1, {}}})", what));
  }
  std::size_t told = 0;
  const std::vector<Status> statuses =
      Downloader({.jobs = 4, .backoff = 1ms})
          .FetchAll(downloads, [&](const Download&, const Status&) { ++told; });
  EXPECT_THAT(statuses, Each(IsOk()));
  EXPECT_EQ(told, downloads.size());
  EXPECT_EQ(Tree(), bucket);
}

TEST_F(DownloaderTest, GoesOnWhereItWasCut) {
  const std::string content = Content(100'000, 1);
  server_.Put("x", content);
  server_.Fault(R"({"about": "media", "cut": 30000, "count": 3})");
  EXPECT_THAT(Fetch(All()[0]), IsOk());
  EXPECT_EQ(Tree(), (std::map<std::string, std::string>{{"x", content}}));
  for (const char* const range : {"bytes=30000-\"", "bytes=60000-\"", "bytes=90000-\""}) {
    EXPECT_THAT(server_.Requests(), HasSubstr(range));
  }
}

TEST_F(DownloaderTest, LeavesThePartForALaterRunWhenBreaksDoNotEnd) {
  const std::string content = Content(100'000, 2);
  server_.Put("x", content);
  server_.Fault(R"({"about": "media", "cut": 1000, "count": 6})");
  EXPECT_THAT(Fetch(All()[0]), FailsWith(ErrorKind::kTransient, HasSubstr("/x")));
  EXPECT_EQ(Tree(), (std::map<std::string, std::string>{{".x.part", content.substr(0, 6000)}}));
  EXPECT_THAT(Fetch(All()[0]), IsOk());
  EXPECT_THAT(server_.Requests(), HasSubstr("bytes=6000-\""));
  EXPECT_EQ(Tree(), (std::map<std::string, std::string>{{"x", content}}));
}

TEST_F(DownloaderTest, FetchesAnewWhatAPartOfAnotherFileSpoils) {
  const std::string content = Content(50'000, 3);
  server_.Put("x", content);
  for (const std::size_t left : {std::size_t{10}, content.size(), content.size() + 1}) {
    ASSERT_THAT(WriteFile(directory_ / ".x.part", std::string(left, '?')), IsOk());
    EXPECT_THAT(Fetch(All()[0]), IsOk());
    EXPECT_EQ(Tree(), (std::map<std::string, std::string>{{"x", content}}));
    fs::remove(directory_ / "x");
  }
}

TEST_F(DownloaderTest, RefusesWhatIsNeverWhatIsListed) {
  server_.Put("flip.composite", Content(5000, 4));
  server_.Put("flip", Content(5000, 5));
  server_.Put("short", Content(5000, 6));
  server_.Fault(R"({"about": "flip.*media", "flip": true, "count": null})");
  server_.Fault(R"({"about": "short.*media", "short": 4999, "count": null})");
  std::vector<Download> downloads = All();
  server_.Put("long", Content(5000, 7));
  downloads.push_back({source_.get(), "long", {.size_bytes = 10}, directory_ / "long"});
  const std::vector<Status> statuses = Downloader({.backoff = 1ms}).FetchAll(downloads);
  EXPECT_THAT(
      statuses,
      ElementsAre(FailsAs(source_status::kBadDownload, HasSubstr("want MD5")),
                  FailsAs(source_status::kBadDownload, HasSubstr("want CRC-32C")),
                  FailsAs(source_status::kBadDownload, HasSubstr("want bytes 5000, have 4999")),
                  FailsAs(source_status::kBadDownload, HasSubstr("gs://b/long"))));
  EXPECT_THAT(Tree(), IsEmpty());
}

TEST_F(DownloaderTest, ComparesTheSha256WhereThatIsKnown) {
  server_.Put("x", "hello");
  Download download = All()[0];
  download.listed = {.size_bytes = 5,  // of "hello", as sha256sum prints it
                     .sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"};
  EXPECT_THAT(Fetch(download), IsOk());
  fs::remove(directory_ / "x");
  download.listed.sha256[0] = '3';
  EXPECT_THAT(Fetch(download), FailsAs(source_status::kBadDownload, HasSubstr("want SHA-256 3cf")));
}

TEST_F(DownloaderTest, LeavesNothingOfAFileThatIsGone) {
  server_.Put("x", Content(5000, 8));
  const std::vector<Download> downloads = All();
  server_.Fault(R"({"about": "media", "cut": 100})");
  server_.Fault(R"({"about": "media", "status": 404, "after": 1})");
  EXPECT_THAT(Fetch(downloads[0]), FailsAs(source_status::kNotInBucket, HasSubstr("gs://b/x")));
  EXPECT_THAT(Tree(), IsEmpty());
}

TEST_F(DownloaderTest, EndsASlowDrip) {
  server_.Put("x", Content(5000, 9));
  server_.Fault(R"({"about": "media", "drip": 20, "count": null})");
  EXPECT_THAT(Downloader({.retries = 1, .backoff = 1ms}).Fetch(All()[0]),
              FailsWith(ErrorKind::kTransient, HasSubstr("/x")));
  EXPECT_FALSE(fs::exists(directory_ / "x"));
}

TEST_F(DownloaderTest, KeepsTheRateOfAllTogether) {
  for (const char* const name : {"a", "b", "c"}) server_.Put(name, Content(40'000, 10));
  IdleClock clock;
  EXPECT_THAT(Downloader({.jobs = 3, .rate_bytes_per_s = 10e3, .clock = &clock}).FetchAll(All()),
              Each(IsOk()));
  EXPECT_GE(clock.Steady(), 11900ms);
}

TEST_F(DownloaderTest, LeavesWhatIsThereAndWhatAnotherFetches) {
  server_.Put("x", "hello");
  ASSERT_THAT(WriteFile(directory_ / "x", "HELLO"), IsOk());
  EXPECT_THAT(Fetch(All()[0]), IsOk());
  EXPECT_EQ(ReadFileText(directory_ / "x").value(), "HELLO") << "of the right size";
  ASSERT_THAT(WriteFile(directory_ / "x", "other size"), IsOk());
  {
    const UniqueFd other(
        open((directory_ / ".x.part").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    ASSERT_EQ(flock(other.get(), LOCK_EX), 0);
    EXPECT_THAT(Fetch(All()[0]), FailsWith(ErrorKind::kBusy, HasSubstr("/x")));
  }
  EXPECT_THAT(Fetch(All()[0]), IsOk());
  EXPECT_EQ(ReadFileText(directory_ / "x").value(), "hello");
}

TEST(Downloader, CopiesFromAFolderToo) {
  const TemporaryDirectory directory;
  const std::string content = Content(600'000, 11);
  ASSERT_THAT(WriteFile(directory / "from/x", content), IsOk());
  const auto source = MakeFolderSource(directory / "from");
  const SourceEntry listed = source->List("", ListDepth::kTree).value()[0];
  EXPECT_THAT(Downloader({}).Fetch({source.get(), "x", listed, directory / "to/deep/y"}), IsOk());
  EXPECT_EQ(ReadFileText(directory / "to/deep/y").value(), content);
}

}  // namespace
}  // namespace droidflow

#include "droidflow/transfer/hf_store.h"

#include "droidflow/transfer/http.h"
#include "droidflow/transfer/http_test_server.h"
#include "droidflow/transfer/store_suite.h"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <mutex>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::json;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

/// The stand-in of the Hub, in a process of its own.
class HubServer {
 public:
  HubServer() {
    const char* const script = std::getenv("DROIDFLOW_HUB_SERVER");
    if (script == nullptr || !std::filesystem::exists(script)) return;
    int ends[2] = {};
    DF_CHECK(pipe2(ends, O_CLOEXEC) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      execlp(DROIDFLOW_PYTHON,
             DROIDFLOW_PYTHON,
             script,
             "--multipart-over",
             "400000",
             "--part-size",
             "100000",
             "--page-size",
             "100",
             nullptr);
      _exit(127);
    }
    close(ends[1]);
    FILE* const output = fdopen(ends[0], "r");
    std::string line;
    for (int c = std::fgetc(output); c != EOF && c != '\n'; c = std::fgetc(output)) {
      line += static_cast<char>(c);
    }
    std::fclose(output);
    ready_ = Json::parse(line);
  }
  HubServer(const HubServer&) = delete;
  HubServer& operator=(const HubServer&) = delete;
  ~HubServer() {
    if (pid_ <= 0) return;
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }

  static HubServer& Get() {
    static HubServer server;
    return server;
  }

  [[nodiscard]] bool runs() const { return pid_ > 0; }
  [[nodiscard]] std::string endpoint() const { return ready_.at("endpoint"); }
  [[nodiscard]] std::string token() const { return ready_.at("token"); }

  Json Control(const std::string& method, const std::string& verb, const Json& body = {}) {
    HttpClient client({.origin = OriginOf(endpoint()).value()});
    HttpRequest request{.method = method, .url = endpoint() + "/__control__/" + verb};
    if (!body.is_null()) request.body = TextBody(body.dump());
    const Result<HttpResponse> response = client.Send(request);
    EXPECT_THAT(response, IsOk());
    return Json::parse(response->body);
  }

 private:
  pid_t pid_ = 0;
  Json ready_;
};

class HubPlace : public StorePlace {
 public:
  std::shared_ptr<Store> Open() override { return HfStore::Make(Options()).value(); }

  [[nodiscard]] HfStoreOptions Options() const {
    return {.endpoint = HubServer::Get().endpoint(),
            .repo = repo_,
            .token = HubServer::Get().token(),
            .backoff = std::chrono::milliseconds(2)};
  }

 private:
  static inline std::atomic<int> places{0};
  std::string repo_ = fmt::format("tester/place-{}", places++);
};

std::vector<StorePlaceMaker> Makers() {
  if (!HubServer::Get().runs()) return {};
  return {[] { return std::make_unique<HubPlace>(); }};
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreSuite);
INSTANTIATE_TEST_SUITE_P(AtTheHub, StoreSuite, testing::ValuesIn(Makers()));

/// The stand-in, and what goes wrong there.
class HfStoreAtTheHub : public StoreFixture {
 protected:
  void SetUp() override {
    if (!HubServer::Get().runs()) GTEST_SKIP() << "needs tests/hub_server";
    auto place = std::make_unique<HubPlace>();
    options_ = place->Options();
    Open(std::move(place));
  }
  void TearDown() override {
    if (!HubServer::Get().runs()) return;
    Heal();
    EXPECT_EQ(HubServer::Get().Control("GET", "violations"), Json::array());
  }

  static void Fault(const Json& rule) { HubServer::Get().Control("POST", "faults", rule); }
  static void Heal() { HubServer::Get().Control("DELETE", "faults"); }
  static void Do(const Json& what) { HubServer::Get().Control("POST", "do", what); }
  void ChangeRepo(Json change) {
    change["name"] = options_.repo;
    Do({{"repo", change}});
  }
  /// How many requests of a method had this in their path since `after`.
  static int Asked(const std::string& method, const std::string& path, int after = 0) {
    int count = 0;
    for (const Json& request :
         HubServer::Get().Control("GET", "requests?after=" + std::to_string(after))) {
      count += request.at("method") == method &&
               request.at("path").get<std::string>().find(path) != std::string::npos;
    }
    return count;
  }
  int Commits() {
    return static_cast<int>(
        HubServer::Get().Control("GET", "history?repo=" + options_.repo).size());
  }

  HfStoreOptions options_;
};

TEST_F(HfStoreAtTheHub, SendsNothingTwice) {
  const std::vector files{Local("a.npz", Noise(450'000, 1)), Local("b.npz", Noise(100, 2))};
  EXPECT_THAT(store_->Put(files), Each(IsOk()));
  const int sent = Asked("PUT", "");
  EXPECT_THAT(store_->Put(files), Each(IsOk()));
  Store(files);
  EXPECT_THAT(store_->Put(files), Each(IsOk()));
  EXPECT_EQ(Asked("PUT", ""), sent);
}

TEST_F(HfStoreAtTheHub, CoversVideosInItsOwnAndInOthersRepositories) {
  EXPECT_THAT(Read(Head(), ".gitattributes").value(),
              AllOf(HasSubstr("*.mkv filter=lfs diff=lfs merge=lfs -text\n"),
                    HasSubstr("*.npz filter=lfs diff=lfs merge=lfs -text\n"),
                    Not(HasSubstr("*.json"))));
  ChangeRepo({{"attributes", "*.npz filter=lfs -text\n*.mkv -text"}});
  ASSERT_THAT(store_->Prepare(), IsOk());
  EXPECT_EQ(Read(Head(), ".gitattributes").value(),
            "*.npz filter=lfs -text\n*.mkv -text\n*.mkv filter=lfs diff=lfs merge=lfs -text\n");
  const int commits = Commits();
  ASSERT_THAT(store_->Prepare(), IsOk());
  EXPECT_EQ(Commits(), commits);
  Store({Local("depth.mkv", "not large")});
  EXPECT_EQ(Stat(Head(), "depth.mkv")->sha256.size(), 64U);
  EXPECT_THAT(List(Head()), ElementsAre("depth.mkv"));
}

TEST_F(HfStoreAtTheHub, MakesTheBranchAsked) {
  options_.branch = "a/branch";
  const auto store = HfStore::Make(options_).value();
  ASSERT_THAT(store->Prepare(), IsOk());
  EXPECT_EQ(store->Head().value(), Head());
}

TEST_F(HfStoreAtTheHub, AsksForNewUrlsWhereTheStorageRefuses) {
  const Json faults[] = {
      {{"expired", true}},
      {{"status", 400}, {"body", "<Error/>"}},
      {{"truncate", 50}},
      {{"etag", ""}},
      {{"path", "partNumber=3"}, {"expired", true}},
      {{"path", "partNumber=2"}, {"status", 500}},
      {{"path", "objects/batch"}, {"origin", "hub"}, {"method", "POST"}, {"parts", 1}},
      {{"path", "complete_multipart"}, {"origin", "hub"}, {"method", "POST"}, {"status", 400}}};
  unsigned seed = 10;
  for (const Json& fault : faults) {
    Json rule{{"origin", "storage"}, {"method", "PUT"}};
    rule.update(fault);
    Fault(rule);
    const std::vector files{Local("a.npz", Noise(450'000, ++seed)),
                            Local("b.npz", Noise(900, ++seed))};
    EXPECT_THAT(store_->Put(files), Each(IsOk())) << rule;
    EXPECT_EQ(HubServer::Get().Control("GET", "faults").at(0).at("hits"), 1) << rule;
    const std::string head = Store(files);
    EXPECT_EQ(Read(head, "a.npz").value(), ReadFileText(files[0].source).value()) << rule;
    EXPECT_EQ(Read(head, "b.npz").value(), ReadFileText(files[1].source).value()) << rule;
    Heal();
  }
}

TEST_F(HfStoreAtTheHub, IsClearAboutWhatIsUnclear) {
  const std::vector files{Local("a.npz", Noise(100, 40))};
  EXPECT_THAT(store_->Put(files), Each(IsOk()));
  const std::string before = Head();
  Fault({{"path", "/commit/"}, {"status", 504}, {"body", "<html>"}});
  EXPECT_THAT(Commit(files), FailsAs(store_status::kUnclear, HasSubstr("504")));
  EXPECT_EQ(Head(), before);

  Fault({{"path", "/commit/"}, {"drop", "after"}});
  EXPECT_THAT(Commit(files), FailsAs(store_status::kUnclear, HasSubstr("/commit/main")));
  const std::string after = Head();
  EXPECT_NE(after, before);
  const int commits = Commits();
  EXPECT_EQ(Commit(files).value(), after) << "what stands there is not committed again";
  EXPECT_EQ(Commits(), commits);
}

TEST_F(HfStoreAtTheHub, StoresAgainWhatTheHubForgot) {
  const std::vector files{Local("a.npz", Noise(100, 41))};
  EXPECT_THAT(store_->Put(files), Each(IsOk()));
  Do({{"collect", true}});
  EXPECT_THAT(Commit(files), FailsAs(store_status::kBytesMissing, HasSubstr("a.npz")));
  EXPECT_THAT(List(Store(files)), ElementsAre("a.npz"));
}

TEST_F(HfStoreAtTheHub, ObeysHowTheHubWantsFiles) {
  Fault({{"path", "/preupload/"},
         {"count", nullptr},
         {"preupload",
          {{"reverse", true},
           {"ignore", "ignored"},
           {"leave_out", "forgotten"},
           {"mode", {{"json", "lfs"}, {"npz", "regular"}}}}}});
  const std::vector files{Local("a.npz", Noise(300, 42)),
                          Local("b.json", "{}"),
                          Local("ignored.json", "{}"),
                          Local("forgotten.json", "{}")};
  const std::vector<Status> put = store_->Put(files);
  EXPECT_THAT(put[0], IsOk());
  EXPECT_THAT(put[1], IsOk());
  EXPECT_THAT(put[2], FailsAs(store_status::kIgnored, HasSubstr("ignored.json")));
  EXPECT_THAT(put[3], FailsAs(store_status::kRefused, HasSubstr("forgotten.json")));
  EXPECT_THAT(Commit({files[0], files[2]}), FailsAs(store_status::kIgnored, HasSubstr("ignored")));
  const std::string head = Store({files[0], files[1]});
  EXPECT_TRUE(Stat(head, "a.npz")->sha256.empty());
  EXPECT_EQ(Stat(head, "b.json")->sha256, files[1].sha256);
  EXPECT_EQ(Read(head, "a.npz").value(), Noise(300, 42));
}

TEST_F(HfStoreAtTheHub, TellsWhichFileOfABatchIsRefused) {
  const std::vector files{Local("good.npz", Noise(300, 43)), Local("bad.npz", Noise(300, 44))};
  Fault({{"path", "objects/batch"},
         {"batch_error", {{"code", 422}, {"message", "no such thing"}, {"oid", files[1].sha256}}}});
  const std::vector<Status> put = store_->Put(files);
  EXPECT_THAT(put[0], IsOk());
  EXPECT_THAT(put[1],
              FailsAs(store_status::kRefused, AllOf(HasSubstr("bad.npz"), HasSubstr("no such"))));
}

TEST_F(HfStoreAtTheHub, NeverTakesAPartOfAListForAll) {
  std::vector<OutgoingFile> files;
  for (int i = 0; i < 150; ++i)
    files.push_back(Local(fmt::format("f/{}.json", i), std::to_string(i)));
  const std::string head = Store(files);
  const auto list = [&] { return store_->List(head, "", [](const StoredFile&) {}); };
  Fault({{"path", "cursor="}, {"status", 500}, {"count", nullptr}});
  EXPECT_THAT(list(), FailsWith(ErrorKind::kTransient, HasSubstr("500")));
  Heal();
  Fault({{"path", "/tree/"}, {"link", "foreign"}});
  EXPECT_THAT(list(), FailsWith(ErrorKind::kInvalidData, HasSubstr("another origin")));
  Fault({{"path", "/tree/"}, {"link", "loop"}, {"count", nullptr}});
  EXPECT_THAT(list(), FailsWith(ErrorKind::kTransient, HasSubstr("go round")));
  Heal();
  for (const char* form : {"lower", "bare"}) {
    Fault({{"path", "/tree/"}, {"link", form}, {"count", nullptr}});
    EXPECT_THAT(List(head), SizeIs(150)) << form;
    Heal();
  }
  Fault({{"path", "cursor="}, {"status", 502}});
  EXPECT_THAT(List(head), SizeIs(150)) << "a page is asked for again";
}

TEST_F(HfStoreAtTheHub, FindsAnotherTokenOnceOneIsRefused) {
  const std::filesystem::path file = directory_ / "token";
  setenv("HF_TOKEN_PATH", file.c_str(), 1);
  unsetenv("HF_TOKEN");
  HubServer::Get().Control(
      "POST", "tokens", {{"hf_test", "write"}, {"hf_old", "write"}, {"hf_new", "write"}});
  ASSERT_THAT(WriteFile(file, "hf_old\n"), IsOk());
  options_.token.clear();
  const auto store = HfStore::Make(options_).value();
  ASSERT_THAT(store->Prepare(), IsOk());
  Do({{"revoke", "hf_old"}});
  EXPECT_THAT(store->Head(),
              FailsAs(store_status::kUnauthorized,
                      AllOf(HasSubstr(file.string()), Not(HasSubstr("hf_old")))));
  ASSERT_THAT(WriteFile(file, "hf_new\n"), IsOk());
  EXPECT_THAT(store->Head(), IsOk());
}

TEST_F(HfStoreAtTheHub, TellsRepositoriesThatAreGoneFromThoseThatAreClosed) {
  const std::vector files{Local("a.npz", Noise(100, 45))};
  ChangeRepo({{"read_only", true}});
  EXPECT_THAT(store_->Put(files), ElementsAre(FailsAs(store_status::kForbidden, HasSubstr("403"))));
  ChangeRepo({{"read_only", false}, {"disabled", true}});
  EXPECT_THAT(store_->Head(), FailsAs(store_status::kNoRepository, HasSubstr("disabled")));
  ChangeRepo({{"disabled", false}});
  ChangeRepo({{"delete", true}});
  EXPECT_THAT(store_->Head(), FailsAs(store_status::kNoRepository, HasSubstr("404")));
  EXPECT_THAT(Commit(files), FailsAs(store_status::kNoRepository, HasSubstr("404")));
}

TEST_F(HfStoreAtTheHub, FollowsARepositoryThatWasRenamed) {
  ChangeRepo({{"rename", options_.repo + "-new"}});
  EXPECT_THAT(List(Store({Local("a.npz", Noise(500'000, 46)), Local("b.json", "{}")})), SizeIs(2));
}

TEST_F(HfStoreAtTheHub, IsRefusedByATokenThatOnlyReads) {
  HubServer::Get().Control("POST", "tokens", {{"hf_test", "write"}, {"hf_reads", "read"}});
  options_.token = "hf_reads";
  options_.repo += "-other";
  EXPECT_THAT(HfStore::Make(options_).value()->Prepare(),
              FailsAs(store_status::kForbidden, HasSubstr("may only read")));
}

/// What goes over the wire, against answers that a test gives.
class HfStoreOnTheWire : public testing::Test {
 protected:
  std::unique_ptr<HfStore> Store() {
    return HfStore::Make({.endpoint = server_.url(),
                          .repo = "lab/data",
                          .token = "hf_secret",
                          .backoff = std::chrono::milliseconds(1)})
        .value();
  }

  /// Answers requests whose path has this; others with 404.
  void Tell(const std::string& path, const std::string& answer) {
    const std::scoped_lock lock(mutex_);
    answers_[path] = answer;
  }

  std::mutex mutex_;  ///< guards answers_
  std::map<std::string, std::string> answers_;
  HttpTestServer server_{[this](const SeenRequest& request) {
    const std::scoped_lock lock(mutex_);
    for (const auto& [path, answer] : answers_) {
      if (request.target.find(path) != std::string::npos) return answer;
    }
    return Answer(404);
  }};
  TemporaryDirectory directory_;
};

TEST_F(HfStoreOnTheWire, WritesPreuploadsAndCommitsAsTheHubReadsThem) {
  const OutgoingFile json{
      .path = "a/\xC3\xB6.json",
      .source = directory_ / "json",
      .size_bytes = 4,
      .sha256 = "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a"};
  const OutgoingFile npz{
      .path = "b.npz",
      .source = directory_ / "npz",
      .size_bytes = 3,
      .sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"};
  ASSERT_THAT(WriteFile(json.source, "\1\2\3\4"), IsOk());
  ASSERT_THAT(WriteFile(npz.source, "abc"), IsOk());
  Tell("/preupload/main",
       Answer(200,
              R"({"files":[
      {"path":"b.npz","uploadMode":"lfs","shouldIgnore":false},
      {"path":"a/ö.json","uploadMode":"regular","shouldIgnore":false}]})"));
  Tell("/commit/main",
       Answer(200, R"({"success":true,"commitOid":"0123456789012345678901234567890123456789"})"));
  EXPECT_EQ(
      Store()
          ->Commit(
              {.files = {json, npz}, .summary = "Two \"files\"", .batch_id = "7", .parent = "abc"})
          .value(),
      "0123456789012345678901234567890123456789");

  const std::vector<SeenRequest> seen = server_.seen();
  ASSERT_THAT(seen, SizeIs(2));
  EXPECT_EQ(seen[0].target, "/api/datasets/lab/data/preupload/main");
  EXPECT_EQ(seen[0].Header("authorization"), "Bearer hf_secret");
  EXPECT_EQ(Json::parse(seen[0].body), Json::parse(R"({"files":[
      {"path":"a/ö.json","size":4,"sample":"AQIDBA=="},{"path":"b.npz","size":3,"sample":"YWJj"}]})"));
  EXPECT_EQ(seen[1].target, "/api/datasets/lab/data/commit/main");
  EXPECT_EQ(seen[1].Header("content-type"), "application/x-ndjson");
  std::istringstream lines(seen[1].body);
  std::vector<Json> values;
  for (std::string line; std::getline(lines, line);) values.push_back(Json::parse(line));
  EXPECT_THAT(
      values,
      ElementsAre(Json::parse(R"({"key":"header","value":{"summary":"Two \"files\"",
                          "description":"droidflow-batch: 7","parentCommit":"abc"}})"),
                  Json::parse(R"({"key":"file","value":{"path":"a/ö.json","content":"AQIDBA==",
                          "encoding":"base64"}})"),
                  Json::parse(R"({"key":"lfsFile","value":{"path":"b.npz","algo":"sha256","size":3,
          "oid":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}})")));
}

TEST_F(HfStoreOnTheWire, TellsWhatAnAnswerToACommitMeans) {
  const OutgoingFile file{
      .path = "b.npz",
      .source = directory_ / "npz",
      .size_bytes = 3,
      .sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"};
  ASSERT_THAT(WriteFile(file.source, "abc"), IsOk());
  Tell("/preupload/main",
       Answer(200, R"({"files":[{"path":"b.npz","uploadMode":"lfs","shouldIgnore":false}]})"));
  struct Case {
    int status;
    std::string body;
    std::string meaning;
    ErrorKind kind;
  };
  const Case cases[] = {
      {400,
       R"({"error":"Your push was rejected because an LFS pointer pointed to a file that does not exist. Offending file: - b.npz"})",
       store_status::kBytesMissing,
       ErrorKind::kTransient},
      {400,
       R"({"error":"too many files per directory"})",
       store_status::kRefused,
       ErrorKind::kInvalidData},
      {401, R"({"error":"Invalid credentials"})", store_status::kUnauthorized, ErrorKind::kUsage},
      {403, R"({"error":"storage limit reached"})", store_status::kForbidden, ErrorKind::kUsage},
      {404,
       R"({"error":"Repository not found"})",
       store_status::kNoRepository,
       ErrorKind::kNotFound},
      {409, "", store_status::kHeadMoved, ErrorKind::kTransient},
      {412,
       R"({"error":"The branch was updated"})",
       store_status::kHeadMoved,
       ErrorKind::kTransient},
      {413, "", store_status::kTooLarge, ErrorKind::kInvalidData},
      {422, R"({"error":["bad path","other"]})", store_status::kRefused, ErrorKind::kInvalidData},
      {500, "<html>", store_status::kUnclear, ErrorKind::kTransient},
      {504, "", store_status::kUnclear, ErrorKind::kTransient},
      {200, "<html>", store_status::kUnclear, ErrorKind::kTransient}};
  for (const Case& expected : cases) {
    Tell("/commit/main", Answer(expected.status, expected.body, {"X-Request-Id: Root=1"}));
    const auto head = Store()->Commit({.files = {file}, .summary = "one"});
    EXPECT_THAT(head, FailsAs(expected.meaning, testing::_)) << expected.status;
    EXPECT_THAT(head, FailsWith(expected.kind, testing::_)) << expected.status;
    if (expected.status == 422) {
      EXPECT_THAT(head.error().message, AllOf(HasSubstr("bad path; other"), HasSubstr("Root=1")));
    }
  }
}

TEST_F(HfStoreOnTheWire, GoesOnWhereTheConnectionBrokeWhileReading) {
  const std::string content = "0123456789";
  Tell("/resolve/", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123");
  std::string text;
  EXPECT_THAT(
      Store()->Read(
          "rev",
          "a b.npz",
          0,
          {},
          [&](std::span<const std::byte> bytes) -> Status {
            text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            const std::string rest = content.substr(text.size());
            Tell("/resolve/",
                 Answer(206, rest, {fmt::format("Content-Range: bytes {}-9/10", text.size())}));
            return {};
          }),
      IsOk());
  EXPECT_EQ(text, content);
  ASSERT_THAT(server_.seen(), SizeIs(2));
  EXPECT_EQ(server_.seen()[0].target, "/datasets/lab/data/resolve/rev/a%20b.npz");
  EXPECT_EQ(server_.seen()[1].Header("range"), "bytes=4-");
}

TEST(HfStore, RefusesWhatIsNoRepository) {
  for (const char* repo :
       {"name", "lab/", "/name", "lab/a b", "lab/a--b", "lab/a.git", "lab/.a", "a/b/c"}) {
    EXPECT_THAT(HfStore::Make({.repo = repo}),
                FailsWith(ErrorKind::kUsage, HasSubstr("NAMESPACE/NAME")))
        << repo;
  }
  EXPECT_THAT(HfStore::Make({.endpoint = "ftp://hub", .repo = "lab/data"}),
              FailsWith(ErrorKind::kUsage, HasSubstr("ftp://hub")));
  EXPECT_EQ(HfStore::Make({.endpoint = "https://hub/", .repo = "lab/data"}).value()->Describe(),
            "dataset lab/data (main) at https://hub");
}

}  // namespace
}  // namespace droidflow

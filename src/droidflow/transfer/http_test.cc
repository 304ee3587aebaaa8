#include "droidflow/transfer/http.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/transfer/http_test_server.h"
#include "droidflow/transfer/store.h"

#include <atomic>
#include <future>

namespace droidflow {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Not;
using ::testing::SizeIs;

/// Time that passes by waiting only.
class FakeClock : public Clock {
 public:
  milliseconds Steady() override { return now_; }
  std::int64_t UnixMs() override { return 1'893'456'000'000 + now_.load().count(); }  // 2030-01-01
  void Sleep(milliseconds duration) override { now_ = now_.load() + duration; }

 private:
  std::atomic<milliseconds> now_{milliseconds(0)};
};

class HttpClientTest : public testing::Test {
 protected:
  HttpOptions Options(const HttpTestServer& server) {
    return {.origin = OriginOf(server.url()).value(), .user_agent = "test/1", .clock = &clock_};
  }

  FakeClock clock_;
};

/// Answers of a script, one after the other; the last one again and again.
HttpTestServer::Handler Script(std::vector<std::string> answers) {
  return [answers = std::move(answers), next = std::make_shared<std::atomic<std::size_t>>(0)](
             const SeenRequest&) { return answers[std::min((*next)++, answers.size() - 1)]; };
}

TEST_F(HttpClientTest, SendsABodyByItsLengthAndKeepsTheConnection) {
  HttpTestServer server(Script({Answer(201, "stored", {"ETag: \"x\"", "X-Two: a", "x-two: b"})}));
  HttpClient client(Options(server));
  const std::string content(3'000'000, 'x');
  for (int i = 0; i < 2; ++i) {
    const auto response =
        client.Send({.method = "PUT", .url = server.url("/a?b=c"), .body = TextBody(content)});
    ASSERT_THAT(response, IsOk());
    EXPECT_EQ(response->status, 201);
    EXPECT_EQ(response->body, "stored");
    EXPECT_EQ(response->Header("etag"), "\"x\"");
    EXPECT_EQ(response->Header("x-two"), "a, b");
  }
  const auto seen = server.seen();
  ASSERT_THAT(seen, SizeIs(2));
  EXPECT_EQ(seen[0].method + ' ' + seen[0].target, "PUT /a?b=c");
  EXPECT_EQ(seen[0].body, content);
  EXPECT_EQ(seen[0].Header("content-length"), "3000000");
  EXPECT_EQ(seen[0].Header("transfer-encoding"), "(none)");
  EXPECT_EQ(seen[0].Header("expect"), "(none)");
  EXPECT_EQ(seen[0].Header("authorization"), "(none)");
  EXPECT_EQ(seen[0].Header("user-agent"), "test/1");
  EXPECT_EQ(seen[1].connection, seen[0].connection);
}

TEST_F(HttpClientTest, TriesAgainAfterOneTwoFourEightAndEightSeconds) {
  HttpTestServer server(Script(
      {Answer(503), Answer(500), Answer(408), Answer(502), Answer(504), Answer(200, "fine")}));
  HttpClient client(Options(server));
  const auto response =
      client.Send({.method = "POST", .url = server.url("/x"), .body = TextBody("again")});
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->body, "fine");
  EXPECT_GE(clock_.Steady(), 23s);
  EXPECT_LE(clock_.Steady(), 23s * 5 / 4);
  ASSERT_THAT(server.seen(), SizeIs(6));
  for (const SeenRequest& request : server.seen()) EXPECT_EQ(request.body, "again");
}

TEST_F(HttpClientTest, GivesTheLastAnswerAfterFiveRetries) {
  HttpTestServer server(Script({Answer(500, "broken")}));
  const auto response = HttpClient(Options(server)).Send({.url = server.url("/x")});
  ASSERT_THAT(response, IsOk());
  EXPECT_EQ(response->status, 500);
  EXPECT_EQ(response->body, "broken");
  EXPECT_THAT(server.seen(), SizeIs(6));
}

TEST_F(HttpClientTest, TakesNoForAnAnswer) {
  for (const int status : {400, 401, 403, 404, 409, 412, 413, 416, 422, 501}) {
    HttpTestServer server(Script({Answer(status)}));
    EXPECT_EQ(HttpClient(Options(server)).Send({.url = server.url()})->status, status);
    EXPECT_THAT(server.seen(), SizeIs(1)) << status;
  }
}

TEST_F(HttpClientTest, WaitsAsLongAsItIsTold) {
  struct Case {
    std::vector<std::string> headers;
    milliseconds wait;
  };
  const Case cases[] = {
      {{"Retry-After: 7"}, 8s},
      {{R"(RateLimit: "api";r=0;t=5)", "Retry-After: 50"}, 6s},
      {{R"(RateLimit: "api";r=949;t=271)", "Retry-After: 3"}, 4s},
      {{"Date: Tue, 05 Mar 2019 10:00:00 GMT", "Retry-After: Tue, 05 Mar 2019 10:00:30 GMT"}, 31s},
      {{"Retry-After: Tue, 01 Jan 2030 00:00:20 GMT"}, 21s},  // by the clock
  };
  for (const auto& [headers, wait] : cases) {
    HttpTestServer server(Script({Answer(429, "", headers), Answer(200)}));
    FakeClock clock;
    HttpOptions options = Options(server);
    options.clock = &clock;
    EXPECT_THAT(HttpClient(options).Send({.url = server.url()}), IsOk());
    EXPECT_EQ(clock.Steady(), wait) << headers.back();
  }
}

TEST_F(HttpClientTest, HoldsAllOfABucketBackWhenOneIsToldTo) {
  HttpTestServer server(Script({Answer(429, "", {"Retry-After: 99"}), Answer(200)}));
  HttpClient client(Options(server));
  const HttpRequest request{.url = server.url("/x?secret=1"), .bucket = "api"};
  const auto told = client.Send(request);
  EXPECT_THAT(told,
              FailsAs(store_status::kRateLimited,
                      AllOf(HasSubstr("100 s"), HasSubstr("/x"), Not(HasSubstr("secret")))));
  EXPECT_EQ(told.error().retry_after_ms, 100'000);
  clock_.Sleep(30s);
  EXPECT_EQ(client.Send(request).error().retry_after_ms, 70'000);
  EXPECT_THAT(server.seen(), SizeIs(1)) << "the second one did not ask";
  EXPECT_THAT(client.Send({.url = server.url(), .bucket = "other"}), IsOk());
  clock_.Sleep(70s);
  EXPECT_THAT(client.Send(request), IsOk());
}

TEST_F(HttpClientTest, HoldsAnActionBackForItsHourlyLimitAndNothingElse) {
  HttpTestServer server([](const SeenRequest& request) {
    if (request.target != "/commit") return Answer(200);
    return Answer(429,
                  "You have exceeded the rate limit for repository commits (128 per hour).",
                  {R"(RateLimit: "api";r=949;t=271)"});
  });
  HttpClient client(Options(server));
  const HttpRequest commit{.method = "POST",
                           .url = server.url("/commit"),
                           .body = TextBody("x"),
                           .bucket = "api",
                           .action = "commit",
                           .repeatable = false};
  EXPECT_EQ(client.Send(commit).error().retry_after_ms, 600'000);
  EXPECT_THAT(client.Send(commit), FailsAs(store_status::kRateLimited, HasSubstr("600 s")));
  EXPECT_THAT(client.Send({.url = server.url("/tree"), .bucket = "api"}), IsOk());
  EXPECT_THAT(server.seen(), SizeIs(2));
}

TEST_F(HttpClientTest, ShowsTheTokenToItsOriginOnly) {
  HttpTestServer storage(Script({Answer(200, "bytes")}));
  HttpTestServer hub(
      Script({Answer(302, "", {"Location: " + storage.url("/object?signature=secret")})}));
  HttpClient client(Options(hub));
  HttpRequest request{.url = hub.url("/file"), .token = "hf_secret", .may_leave = true};
  EXPECT_EQ(client.Send(request)->body, "bytes");
  ASSERT_THAT(hub.seen(), SizeIs(1));
  EXPECT_EQ(hub.seen()[0].Header("authorization"), "Bearer hf_secret");
  ASSERT_THAT(storage.seen(), SizeIs(1));
  EXPECT_EQ(storage.seen()[0].Header("authorization"), "(none)");

  request.may_leave = false;
  EXPECT_THAT(client.Send(request),
              FailsWith(ErrorKind::kInvalidData,
                        AllOf(HasSubstr("another origin"), Not(HasSubstr("secret")))));
  request.url = storage.url("/direct");
  EXPECT_THAT(client.Send(request), IsOk());
  EXPECT_EQ(storage.seen().back().Header("authorization"), "(none)");
  EXPECT_THAT(storage.seen(), SizeIs(2));
}

TEST_F(HttpClientTest, FollowsWithMethodBodyAndTokenWithinTheOrigin) {
  for (const int status : {301, 302, 307, 308}) {
    HttpTestServer server([&](const SeenRequest& request) {
      return request.target == "/old" ? Answer(status, "", {"Location: /new?x=1"}) : Answer(200);
    });
    EXPECT_EQ(HttpClient(Options(server))
                  .Send({.method = "POST",
                         .url = server.url("/old"),
                         .body = TextBody("content"),
                         .token = "hf_secret"})
                  ->status,
              200);
    const SeenRequest last = server.seen().back();
    EXPECT_EQ(last.method + ' ' + last.target + ' ' + last.body, "POST /new?x=1 content");
    EXPECT_EQ(last.Header("authorization"), "Bearer hf_secret");
  }
}

TEST_F(HttpClientTest, FollowsFiveTimesAtMost) {
  HttpTestServer server(Script({Answer(307, "", {"Location: /again"})}));
  EXPECT_THAT(HttpClient(Options(server)).Send({.url = server.url("/x")}),
              FailsWith(ErrorKind::kInvalidData, HasSubstr("more than 5 redirects")));
  EXPECT_THAT(server.seen(), SizeIs(6));
}

TEST_F(HttpClientTest, TellsOfTroubleThatLastsOnceAMinute) {
  std::vector<std::string> told;
  HttpTestServer server(Script({Answer(503), Answer(200), Answer(503)}));
  HttpOptions options = Options(server);
  options.notice = [&](const std::string& text) { told.push_back(text); };
  HttpClient client(options);
  EXPECT_EQ(client.Send({.url = server.url("/x?signature=secret")})->status, 200);
  EXPECT_THAT(told, IsEmpty()) << "it passed at once";
  EXPECT_EQ(client.Send({.url = server.url("/x?signature=secret")})->status, 503);
  EXPECT_THAT(told, ElementsAre("answer 503 from " + server.url("/x") + "?…; trying again"));
  const std::int64_t before_ms = clock_.Steady().count();
  while (clock_.Steady().count() < before_ms + 60'000) {
    EXPECT_EQ(client.Send({.url = server.url("/x")})->status, 503);
  }
  EXPECT_THAT(told, SizeIs(AllOf(Ge(2U), Le(3U))));
}

TEST_F(HttpClientTest, DoesNotRepeatWhatMayHaveHappened) {
  HttpTestServer silent(Script({""}));
  HttpRequest request{
      .method = "POST", .url = silent.url("/commit"), .body = TextBody("x"), .repeatable = false};
  EXPECT_THAT(HttpClient(Options(silent)).Send(request),
              FailsAs(store_status::kUnclear, HasSubstr("/commit")));
  EXPECT_THAT(silent.seen(), SizeIs(1));

  HttpTestServer broken(Script({Answer(504)}));
  request.url = broken.url();
  EXPECT_EQ(HttpClient(Options(broken)).Send(request)->status, 504);
  EXPECT_THAT(broken.seen(), SizeIs(1));

  HttpTestServer busy(Script({Answer(429), Answer(200)}));
  request.url = busy.url();
  EXPECT_EQ(HttpClient(Options(busy)).Send(request)->status, 200) << "a 429 did nothing";
}

TEST_F(HttpClientTest, NeverSendsTwiceOverAKeptConnectionThatDied) {
  HttpTestServer server(Script({Answer(200), ""}));
  HttpClient client(Options(server));
  EXPECT_THAT(client.Send({.url = server.url("/first")}), IsOk());
  EXPECT_THAT(client.Send({.method = "POST",
                           .url = server.url("/commit"),
                           .body = TextBody("x"),
                           .repeatable = false}),
              FailsAs(store_status::kUnclear, HasSubstr("/commit")));
  EXPECT_THAT(server.seen(), SizeIs(2));
}

TEST_F(HttpClientTest, SaysThatNobodyAnswers) {
  std::string url;
  {
    HttpTestServer server(Script({Answer(200)}));
    url = server.url("/x?signature=1");
  }
  HttpClient client({.origin = OriginOf(url).value(), .clock = &clock_});
  const auto response =
      client.Send({.method = "POST", .url = url, .body = TextBody("x"), .repeatable = false});
  EXPECT_THAT(
      response,
      FailsWith(ErrorKind::kTransient, AllOf(HasSubstr("/x"), Not(HasSubstr("signature")))));
  EXPECT_EQ(response.error().status, "") << "nothing was sent, so nothing is unclear";
  EXPECT_GE(clock_.Steady(), 23s) << "which is why it was tried again";
}

TEST_F(HttpClientTest, EndsATryThatNothingComesOf) {
  std::promise<void> end;
  HttpTestServer server([&, ended = end.get_future().share()](const SeenRequest&) {
    ended.wait();
    return Answer(200);
  });
  HttpOptions options = Options(server);
  options.low_speed_time = 1s;
  options.retries = 0;
  EXPECT_THAT(HttpClient(options).Send({.url = server.url("/hole")}),
              FailsWith(ErrorKind::kTransient, HasSubstr("/hole")));
  end.set_value();
}

TEST_F(HttpClientTest, StopsAtTheFirstErrorOfABody) {
  HttpTestServer server(Script({Answer(200)}));
  int opened = 0;
  const HttpBody body{.size_bytes = 10, .open = [&]() -> Result<HttpBody::Reader> {
                        ++opened;
                        return [](std::span<std::byte>) -> Result<std::size_t> {
                          return FailAs(
                              store_status::kChanged, ErrorKind::kInvalidData, "it is other");
                        };
                      }};
  EXPECT_THAT(
      HttpClient(Options(server)).Send({.method = "PUT", .url = server.url(), .body = body}),
      FailsAs(store_status::kChanged, HasSubstr("it is other")));
  EXPECT_EQ(opened, 1);
  EXPECT_THAT(server.seen(), SizeIs(0)) << "no whole request came";
}

TEST_F(HttpClientTest, GivesTheBodyOfASuccessPieceByPiece) {
  const std::string content(2'000'000, 'y');
  HttpTestServer server(
      Script({Answer(404, "none"), Answer(206, content, {"Content-Range: bytes 0-1/2"})}));
  HttpClient client(Options(server));
  std::string taken;
  HttpRequest request{.url = server.url()};
  request.sink = [&](const HttpResponse& head, std::span<const std::byte> bytes) -> Status {
    EXPECT_EQ(head.status, 206);
    EXPECT_EQ(head.Header("content-range"), "bytes 0-1/2");
    taken.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  };
  EXPECT_EQ(client.Send(request)->body, "none");
  EXPECT_EQ(taken, "");
  EXPECT_EQ(client.Send(request)->body, "");
  EXPECT_EQ(taken, content);
}

TEST(Url, IsTakenApartAndMasked) {
  EXPECT_EQ(OriginOf("HTTPS://Hub.Example/a?b").value(), "https://hub.example:443");
  EXPECT_EQ(OriginOf("http://127.0.0.1:8080").value(), "http://127.0.0.1:8080");
  EXPECT_THAT(OriginOf("file:///etc/passwd"), FailsWith(ErrorKind::kUsage, HasSubstr("http")));
  EXPECT_THAT(OriginOf("not a url"), FailsWith(ErrorKind::kUsage, HasSubstr("not a url")));
  EXPECT_EQ(ResolveUrl("https://h/a/b?c", "/d?e=%2F").value(), "https://h/d?e=%2F");
  EXPECT_EQ(ResolveUrl("https://h/a/b", "http://other/x").value(), "http://other/x");
  EXPECT_EQ(MaskUrl("https://u:p@h/a@b?X-Signature=1#f"), "https://h/a@b?…");
  EXPECT_EQ(MaskUrl("https://h/a"), "https://h/a");
}

TEST(PercentEncode, LeavesOnlyWhatIsSafeEverywhere) {
  EXPECT_EQ(PercentEncode("refs/pr/2"), "refs%2Fpr%2F2");
  EXPECT_EQ(PercentEncode("a b+c#d%/\xC3\xB6.npz", true), "a%20b%2Bc%23d%25/%C3%B6.npz");
  EXPECT_EQ(PercentEncode("AZaz09-._~"), "AZaz09-._~");
}

}  // namespace
}  // namespace droidflow

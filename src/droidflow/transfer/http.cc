#include "droidflow/transfer/http.h"

#include "droidflow/core/check.h"
#include "droidflow/core/environment.h"
#include "droidflow/core/stop.h"
#include "droidflow/core/text.h"
#include "droidflow/transfer/store.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstring>
#include <ctime>
#include <curl/curl.h>
#include <mutex>
#include <utility>

namespace droidflow {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t kBuffer_bytes = std::size_t{1} << 18;
constexpr std::size_t kMaxBody_bytes = std::size_t{32} << 20;
constexpr int kMaxRedirects = 5;
constexpr seconds kHourlyLimit{600};
constexpr seconds kTellAgain{60};

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string LowerCase(std::string text) {
  std::ranges::transform(text, text.begin(), Lower);
  return text;
}

std::optional<std::int64_t> NumberAt(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

/// The number after "r=" or "t=" in a RateLimit header.
std::optional<std::int64_t> RateField(std::string_view header, std::string_view name) {
  const std::size_t at = header.find(name);
  return at == std::string_view::npos ? std::nullopt : NumberAt(header.substr(at + name.size()));
}

struct UrlFree {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using Url = std::unique_ptr<CURLU, UrlFree>;

Result<Url> ParseUrl(const std::string& text) {
  Url url(curl_url());
  DF_CHECK(url != nullptr, "no memory");
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    return Fail(ErrorKind::kUsage, "not a URL: {}", MaskUrl(text));
  }
  return url;
}

std::string UrlPart(const Url& url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url.get(), part, &text, flags) != CURLUE_OK) return {};
  std::string copy = text;
  curl_free(text);
  return copy;
}

struct EasyFree {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
using Easy = std::unique_ptr<CURL, EasyFree>;

struct ListFree {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

/// One request on its way, as libcurl's callbacks see it. What goes wrong in them stands in
/// `error`.
struct Exchange {
  const HttpRequest& request;
  CURL* handle;
  HttpBody::Reader read = {};
  HttpResponse response = {};
  std::optional<Error> error = {};
  bool delivered = false;  ///< the sink had something
};

std::size_t Fill(char* buffer, std::size_t size, std::size_t count, void* user) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  const auto filled = exchange.read(std::as_writable_bytes(std::span(buffer, size * count)));
  if (filled) return *filled;
  exchange.error = filled.error();
  return CURL_READFUNC_ABORT;
}

/// libcurl begins anew where a kept connection turns out to be dead.
int Rewind(void* user, curl_off_t offset, int origin) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  Result<HttpBody::Reader> reader = exchange.request.body->open();
  if (!reader) {
    exchange.error = reader.error();
    return CURL_SEEKFUNC_FAIL;
  }
  exchange.read = *std::move(reader);
  return CURL_SEEKFUNC_OK;
}

std::size_t TakeHeader(char* buffer, std::size_t size, std::size_t count, void* user) {
  HttpResponse& response = static_cast<Exchange*>(user)->response;
  const std::string_view line(buffer, size * count);
  if (line.starts_with("HTTP/")) response.headers.clear();  // what came before was preliminary
  if (const std::size_t colon = line.find(':'); colon != std::string_view::npos) {
    std::string& value = response.headers[LowerCase(std::string(line.substr(0, colon)))];
    if (!value.empty()) value += ", ";
    value += StripBlanks(line.substr(colon + 1));
  }
  return size * count;
}

std::size_t TakeBody(char* buffer, std::size_t size, std::size_t count, void* user) {
  Exchange& exchange = *static_cast<Exchange*>(user);
  const std::span bytes(buffer, size * count);
  long status = 0;
  curl_easy_getinfo(exchange.handle, CURLINFO_RESPONSE_CODE, &status);
  if (exchange.request.sink && status >= 200 && status < 300) {
    exchange.response.status = static_cast<int>(status);
    exchange.delivered = true;
    const Status taken = exchange.request.sink(exchange.response, std::as_bytes(bytes));
    if (taken) return bytes.size();
    exchange.error = taken.error();
    return 0;
  }
  if (exchange.response.body.size() + bytes.size() > kMaxBody_bytes) {
    exchange.error = Error{ErrorKind::kInvalidData,
                           fmt::format("an answer is longer than {} bytes", kMaxBody_bytes)};
    return 0;
  }
  exchange.response.body.append(bytes.data(), bytes.size());
  return bytes.size();
}

int LookForStop(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return StopSignal() != 0 && static_cast<Exchange*>(user)->request.repeatable ? 1 : 0;
}

/// Keeps SIGPIPE, which TLS raises where a connection was closed, from this thread.
class NoBrokenPipe {
 public:
  NoBrokenPipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  NoBrokenPipe(const NoBrokenPipe&) = delete;
  NoBrokenPipe& operator=(const NoBrokenPipe&) = delete;
  ~NoBrokenPipe() {
    const timespec at_once{};
    if (sigismember(&before_, SIGPIPE) == 0) sigtimedwait(&pipe_, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t pipe_{};
  sigset_t before_{};
};

tl::unexpected<Error> Cancelled() { return Fail(ErrorKind::kCancelled, "a stop was asked for"); }

/// What a try came to: an answer, or why there is none.
struct Try {
  Result<HttpResponse> response;
  bool again = false;  ///< it may be repeated, as far as the network goes
};

}  // namespace

class HttpClient::Impl {
 public:
  explicit Impl(HttpOptions options) : options_(std::move(options)) {
    static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
    DF_CHECK(initialised == CURLE_OK, "{}", curl_easy_strerror(initialised));
    certificates_ = EnvironmentVariable("CURL_CA_BUNDLE");
    if (!certificates_) certificates_ = EnvironmentVariable("SSL_CERT_FILE");
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    const NoBrokenPipe no_broken_pipe;
    idle_.clear();
  }

  Result<HttpResponse> Send(const HttpRequest& request) {
    for (int attempt = 0;; ++attempt) {
      DF_RETURN_IF_ERROR(PassGates(request));
      Try tried = TryOnce(request);
      const int status = tried.response ? tried.response->status : 0;
      if (status == 429) {
        const milliseconds wait = AskedToWait(request, *tried.response, attempt);
        if (attempt < options_.retries && wait <= options_.max_wait) continue;
        return RateLimited(request, wait);
      }
      const bool failed = status == 0 ? tried.again
                                      : request.repeatable && (status == 408 || status == 500 ||
                                                               (status >= 502 && status <= 504));
      if (!failed || attempt >= options_.retries) return std::move(tried.response);
      milliseconds wait = Backoff(attempt);
      if (status != 0) {
        const std::optional<milliseconds> told = RetryAfter(*tried.response);
        if (told && *told > options_.max_wait) return std::move(tried.response);
        wait = std::max(wait, told.value_or(milliseconds(0)));
      }
      if (attempt > 0) TellOfTrouble(request, tried.response);
      DF_RETURN_IF_ERROR(Wait(wait));
    }
  }

 private:
  void TellOfTrouble(const HttpRequest& request, const Result<HttpResponse>& response) {
    if (!options_.notice) return;
    const milliseconds now = options_.clock->Steady();
    {
      const std::scoped_lock lock(mutex_);
      if (told_ && now - *told_ < kTellAgain) return;
      told_ = now;
    }
    options_.notice(fmt::format(
        "{}; trying again",
        response ? fmt::format("answer {} from {}", response->status, MaskUrl(request.url))
                 : response.error().message));
  }

  /// Waits until the bucket and the action are open again; they may be closed anew meanwhile.
  Status PassGates(const HttpRequest& request) {
    for (;;) {
      milliseconds left{0};
      {
        const std::scoped_lock lock(mutex_);
        for (const std::string& gate : {BucketOf(request), request.action}) {
          const auto opens = gates_.find(gate);
          if (opens != gates_.end()) {
            left = std::max(left, opens->second - options_.clock->Steady());
          }
        }
      }
      if (left <= milliseconds(0)) return {};
      if (left > options_.max_wait) return RateLimited(request, left);
      DF_RETURN_IF_ERROR(Wait(left));
    }
  }

  static std::string BucketOf(const HttpRequest& request) {
    return request.bucket.empty() ? OriginOf(request.url).value_or("") : request.bucket;
  }

  tl::unexpected<Error> RateLimited(const HttpRequest& request, milliseconds wait) {
    auto failure = FailAs(store_status::kRateLimited,
                          ErrorKind::kTransient,
                          "the server asks to wait for {} s: {} {}",
                          (wait.count() + 999) / 1000,
                          request.method,
                          MaskUrl(request.url));
    failure.value().retry_after_ms = wait.count();
    return failure;
  }

  Status Wait(milliseconds duration) { return WaitFor(*options_.clock, duration); }

  /// How long a 429 asks to wait; closes the gate for all who would meet it too.
  milliseconds AskedToWait(const HttpRequest& request, const HttpResponse& response, int attempt) {
    std::string gate = request.action.empty() ? BucketOf(request) : request.action;
    milliseconds wait{0};
    const std::string rate = response.Header("ratelimit");
    const auto left = RateField(rate, "r=");
    const auto reset_s = RateField(rate, "t=");
    if (left == 0 && reset_s && *reset_s >= 0) {
      gate = BucketOf(request);
      wait = seconds(*reset_s + 1);
    } else if (const auto told = RetryAfter(response)) {
      wait = *told;
    } else if (!request.action.empty() &&
               (response.body.find("per hour") != std::string::npos ||
                response.body.find("hourly") != std::string::npos ||
                response.body.find("repository commits") != std::string::npos)) {
      wait = std::min<milliseconds>(kHourlyLimit * (1 << std::min(attempt, 3)), seconds(3600));
    } else {
      wait = Backoff(attempt);
    }
    const std::scoped_lock lock(mutex_);
    milliseconds& opens = gates_[gate];
    opens = std::max(opens, options_.clock->Steady() + wait);
    return wait;
  }

  /// Retry-After in seconds or as a date, which is compared with the server's own clock.
  std::optional<milliseconds> RetryAfter(const HttpResponse& response) {
    const std::string text = response.Header("retry-after");
    if (text.empty()) return std::nullopt;
    if (const auto told_s = NumberAt(text)) {
      return std::clamp<milliseconds>(seconds(*told_s + 1), seconds(0), std::chrono::hours(24));
    }
    const std::time_t then = curl_getdate(text.c_str(), nullptr);
    if (then < 0) return std::nullopt;
    std::time_t now = curl_getdate(response.Header("date").c_str(), nullptr);
    if (now < 0) now = options_.clock->UnixMs() / 1000;
    return std::clamp<milliseconds>(seconds(then - now + 1), seconds(0), std::chrono::hours(24));
  }

  milliseconds Backoff(int attempt) const { return BackoffBefore(attempt, options_.backoff); }

  Try TryOnce(const HttpRequest& request) {
    std::string url = request.url;
    for (int redirects = 0;; ++redirects) {
      Try tried = Perform(request, url);
      if (!tried.response) return tried;
      const int status = tried.response->status;
      const std::string location = tried.response->Header("location");
      const bool is_redirect = status == 301 || status == 302 || status == 307 || status == 308 ||
                               (status == 303 && !request.body);
      if (!is_redirect || location.empty()) return tried;
      if (redirects == kMaxRedirects) {
        return {Fail(ErrorKind::kInvalidData,
                     "more than {} redirects: {}",
                     kMaxRedirects,
                     MaskUrl(request.url))};
      }
      Result<std::string> next = ResolveUrl(url, location);
      if (!next) return {tl::unexpected(next.error())};
      if (!(request.may_leave && request.method == "GET") && OriginOf(url) != OriginOf(*next)) {
        return {Fail(ErrorKind::kInvalidData,
                     "a redirect to another origin is refused, {}: {}",
                     MaskUrl(*next),
                     MaskUrl(url))};
      }
      url = *std::move(next);
    }
  }

  Easy TakeHandle() {
    const std::scoped_lock lock(mutex_);
    if (idle_.empty()) return Easy(curl_easy_init());
    Easy handle = std::move(idle_.back());
    idle_.pop_back();
    return handle;
  }

  Try Perform(const HttpRequest& request, const std::string& url) {
    const Result<std::string> origin = OriginOf(url);
    if (!origin) return {tl::unexpected(origin.error())};
    const NoBrokenPipe no_broken_pipe;
    Easy handle = TakeHandle();
    DF_CHECK(handle != nullptr, "no memory");
    CURL* const curl = handle.get();
    curl_easy_reset(curl);  // keeps the connections
    Exchange exchange{.request = request, .handle = curl};

    std::unique_ptr<curl_slist, ListFree> headers;
    const auto add = [&](const std::string& header) {
      curl_slist* const longer = curl_slist_append(headers.get(), header.c_str());
      DF_CHECK(longer != nullptr, "no memory");
      (void)headers.release();
      headers.reset(longer);
    };
    for (const std::string& header : request.headers) add(header);
    add("Expect:");
    if (!request.token.empty() && *origin == options_.origin) {
      add("Authorization: Bearer " + request.token);
    }

    std::array<char, CURL_ERROR_SIZE> reason{};
    const auto set = [curl](CURLoption option, auto value) {
      const CURLcode code = curl_easy_setopt(curl, option, value);
      DF_CHECK(
          code == CURLE_OK, "option {}: {}", static_cast<int>(option), curl_easy_strerror(code));
    };
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_PROTOCOLS_STR, options_.origin.starts_with("http:") ? "http,https" : "https");
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_HTTPHEADER, headers.get());
    set(CURLOPT_USERAGENT, options_.user_agent.c_str());
    set(CURLOPT_ERRORBUFFER, reason.data());
    set(CURLOPT_BUFFERSIZE, static_cast<long>(kBuffer_bytes));
    set(CURLOPT_UPLOAD_BUFFERSIZE, static_cast<long>(kBuffer_bytes));
    set(CURLOPT_CONNECTTIMEOUT, static_cast<long>(options_.connect_timeout.count()));
    const seconds slow =
        request.low_speed_time > seconds(0) ? request.low_speed_time : options_.low_speed_time;
    set(CURLOPT_LOW_SPEED_LIMIT, 1024L);
    set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(slow.count()));
    if (certificates_) set(CURLOPT_CAINFO, certificates_->c_str());
    set(CURLOPT_HEADERFUNCTION, &TakeHeader);
    set(CURLOPT_HEADERDATA, &exchange);
    set(CURLOPT_WRITEFUNCTION, &TakeBody);
    set(CURLOPT_WRITEDATA, &exchange);
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, &LookForStop);
    set(CURLOPT_XFERINFODATA, &exchange);
    // On a kept connection that ends without an answer libcurl would repeat it by itself.
    if (!request.repeatable) set(CURLOPT_FRESH_CONNECT, 1L);
    if (request.body) {
      Result<HttpBody::Reader> reader = request.body->open();
      if (!reader) return {tl::unexpected(reader.error())};
      exchange.read = *std::move(reader);
      set(CURLOPT_UPLOAD, 1L);
      set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body->size_bytes));
      set(CURLOPT_READFUNCTION, &Fill);
      set(CURLOPT_READDATA, &exchange);
      set(CURLOPT_SEEKFUNCTION, &Rewind);
      set(CURLOPT_SEEKDATA, &exchange);
    }
    if (request.method == "HEAD") {
      set(CURLOPT_NOBODY, 1L);
    } else {
      set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
    }

    const CURLcode code = curl_easy_perform(curl);
    if (exchange.error) return {tl::unexpected(*std::move(exchange.error))};
    if (code == CURLE_ABORTED_BY_CALLBACK) return {Cancelled()};
    if (code != CURLE_OK) {
      // The handle and its connections are not used again.
      long sent_bytes = 0;
      curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &sent_bytes);
      const bool may_have_happened = !request.repeatable && sent_bytes > 0;
      return {FailAs(may_have_happened ? store_status::kUnclear : "",
                     ErrorKind::kTransient,
                     "{}: {} {}",
                     LowerFirst(reason[0] != '\0' ? reason.data() : curl_easy_strerror(code)),
                     request.method,
                     MaskUrl(url)),
              !may_have_happened && !exchange.delivered};
    }
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    exchange.response.status = static_cast<int>(status);
    const std::scoped_lock lock(mutex_);
    idle_.push_back(std::move(handle));
    return {std::move(exchange.response)};
  }

  static std::string LowerFirst(std::string text) {
    if (text.size() > 1 && Lower(text[1]) == text[1]) text[0] = Lower(text[0]);
    return text;
  }

  HttpOptions options_;
  std::optional<std::string> certificates_;
  std::mutex mutex_;  ///< guards what follows
  std::vector<Easy> idle_;
  std::map<std::string, milliseconds> gates_;  ///< until when, on the steady clock
  std::optional<milliseconds> told_;           ///< when of trouble, on the same clock
};

HttpClient::HttpClient(HttpOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
HttpClient::~HttpClient() = default;

Result<HttpResponse> HttpClient::Send(const HttpRequest& request) { return impl_->Send(request); }

std::string HttpResponse::Header(const std::string& name) const {
  const auto header = headers.find(name);
  return header == headers.end() ? "" : header->second;
}

HttpBody TextBody(std::string text) {
  auto shared = std::make_shared<const std::string>(std::move(text));
  return {.size_bytes = shared->size(), .open = [shared]() -> Result<HttpBody::Reader> {
            return [shared, at = std::size_t{0}](std::span<std::byte> buffer) mutable {
              const std::size_t count = std::min(buffer.size(), shared->size() - at);
              std::memcpy(buffer.data(), shared->data() + at, count);
              at += count;
              return Result<std::size_t>(count);
            };
          }};
}

Result<std::string> OriginOf(const std::string& text) {
  DF_ASSIGN_OR_RETURN(const Url url, ParseUrl(text));
  const std::string scheme = LowerCase(UrlPart(url, CURLUPART_SCHEME));
  const std::string host = LowerCase(UrlPart(url, CURLUPART_HOST));
  if (host.empty() || (scheme != "http" && scheme != "https")) {
    return Fail(ErrorKind::kUsage, "want an http or https URL: {}", MaskUrl(text));
  }
  return fmt::format("{}://{}:{}", scheme, host, UrlPart(url, CURLUPART_PORT, CURLU_DEFAULT_PORT));
}

Result<std::string> ResolveUrl(const std::string& base, const std::string& relative) {
  DF_ASSIGN_OR_RETURN(const Url url, ParseUrl(base));
  if (curl_url_set(url.get(), CURLUPART_URL, relative.c_str(), 0) != CURLUE_OK) {
    return Fail(ErrorKind::kInvalidData, "not a URL: {}", MaskUrl(relative));
  }
  return UrlPart(url, CURLUPART_URL);
}

std::string PercentEncode(std::string_view text, bool keep_slashes) {
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (Lower(c) >= 'a' && Lower(c) <= 'z') ||
                       std::string_view("-._~").find(c) != std::string_view::npos;
    if (plain || (c == '/' && keep_slashes)) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

std::string MaskUrl(const std::string& url) {
  std::string masked = url.substr(0, url.find_first_of("?#"));
  if (masked.size() < url.size()) masked += "?…";
  const std::size_t host = masked.find("://");
  const std::size_t at =
      masked.rfind('@', masked.find('/', host == std::string::npos ? 0 : host + 3));
  if (host != std::string::npos && at != std::string::npos && at > host) {
    masked.erase(host + 3, at - host - 2);
  }
  return masked;
}

std::string HttpLibrary() {
  return fmt::format("libcurl/{}", curl_version_info(CURLVERSION_NOW)->version);
}

}  // namespace droidflow

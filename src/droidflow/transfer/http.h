#pragma once

/// HTTP as uploads need it: patient, in constant memory, and careful with secrets.

#include "droidflow/core/result.h"
#include "droidflow/transfer/clock.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

/// The content of a request, opened anew for every try.
struct HttpBody {
  /// Fills the buffer or a part of it; 0 at the end.
  using Reader = std::function<Result<std::size_t>(std::span<std::byte> buffer)>;

  std::uint64_t size_bytes = 0;
  std::function<Result<Reader>()> open = {};
};

[[nodiscard]] HttpBody TextBody(std::string text);

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers = {};  ///< names in lower case
  std::string body = {};                            ///< at most 32 MiB

  [[nodiscard]] bool ok() const { return status >= 200 && status < 300; }
  /// Empty: there is none.
  [[nodiscard]] std::string Header(const std::string& name) const;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url = {};
  std::vector<std::string> headers = {};  ///< "Name: value"
  std::optional<HttpBody> body = {};
  std::string token = {};   ///< goes to HttpOptions::origin only; empty: none
  std::string bucket = {};  ///< requests of one name wait together; empty: those to one origin
  std::string action = {};  ///< has a limit of its own besides the bucket's; empty: none
  bool repeatable = true;   ///< false: repeated only where the server surely did nothing
  bool may_leave = false;   ///< GET: redirects to other origins are followed, without the token
  std::chrono::seconds low_speed_time{0};  ///< 0: as HttpOptions says
  /// Takes the body of a 2xx answer piece by piece, beside the answer's head; once it has, there is
  /// no other try. Empty: the body is kept.
  std::function<Status(const HttpResponse& head, std::span<const std::byte> bytes)> sink = {};
};

struct HttpOptions {
  std::string origin = {};  ///< scheme, host and port that are told tokens; https unless it is not
  std::string user_agent = "droidflow";
  std::chrono::seconds connect_timeout{30};
  std::chrono::seconds low_speed_time{120};  ///< below 1 kB/s for so long: the try has failed
  int retries = 5;
  std::chrono::milliseconds backoff{1000};  ///< before the first retry; then 2, 4, 8 and 8 times
  std::chrono::seconds max_wait{60};        ///< longer waits are left to the caller
  Clock* clock = &SystemClock();
  /// Called by any thread when a request has failed twice and is tried again, and once a minute.
  std::function<void(const std::string&)> notice = {};
};

/// A client that tries again as the servers ask for.
///
/// It repeats what failed on the way, 408, 429, 500, 502, 503 and 504. A wait that a server asks
/// for (Retry-After, RateLimit) holds all requests of the bucket, or of the action. Redirects are
/// followed within an origin, with method and body. Proxies and certificates are taken from the
/// environment as curl does. A stop signal ends everything that is repeatable with kCancelled.
///
/// Errors  kTransient: no answer; status "rate_limited" with retry_after_ms where the server asks
///         for more time than max_wait or more often than retries; status "unclear" for what is not
///         repeatable and may have happened. Messages hold no token and no query of a URL.
/// Memory  256 KiB per request on its way.
/// Thread  any; connections are kept and shared.
class HttpClient {
 public:
  explicit HttpClient(HttpOptions options);
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();

  /// @return  an answer of any status other than those that are tried again and 429.
  [[nodiscard]] Result<HttpResponse> Send(const HttpRequest& request);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// "https://host:port", in lower case and with the scheme's port. kUsage: not an HTTP URL.
[[nodiscard]] Result<std::string> OriginOf(const std::string& url);

/// What a Location or Link means beside the URL that it came from.
[[nodiscard]] Result<std::string> ResolveUrl(const std::string& base, const std::string& relative);

/// Everything but letters, digits and "-._~" as %XX, also '/' unless it is to be kept.
[[nodiscard]] std::string PercentEncode(std::string_view text, bool keep_slashes = false);

/// For messages: without the query, which may hold a signature, and without a password.
[[nodiscard]] std::string MaskUrl(const std::string& url);

/// "libcurl/7.88.1"
[[nodiscard]] std::string HttpLibrary();

}  // namespace droidflow

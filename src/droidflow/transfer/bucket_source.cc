#include "droidflow/transfer/bucket_source.h"

#include "droidflow/core/environment.h"
#include "droidflow/transfer/http.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

constexpr std::string_view kScheme = "gs://";
constexpr int kListingTries = 3;

/// A listing under way, and where its next page begins.
struct Listing {
  std::string prefix;  ///< with '/' at the end; what names are relative to
  std::map<std::string, SourceEntry> entries = {};
  std::string next = {};
};

/// Bytes from base64; empty for other text.
std::string DecodeBase64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text.substr(0, text.find('='))) {
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return {};
    bits = bits << 6U | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> static_cast<unsigned>(count) & 0xFFU);
  }
  return bytes;
}

/// An item of a listing. Throws where it is not as the API says.
SourceEntry EntryOf(const nlohmann::json& item) {
  SourceEntry entry{.name = item.at("name").get<std::string>()};
  const std::string size =
      item.at("size").is_string() ? item["size"].get<std::string>() : item["size"].dump();
  entry.size_bytes = std::stoull(size);
  for (const unsigned char byte : DecodeBase64(item.value("md5Hash", ""))) {
    entry.md5 += fmt::format("{:02x}", byte);
  }
  if (const std::string crc = DecodeBase64(item.value("crc32c", "")); crc.size() == 4) {
    entry.crc32c = 0;
    for (const unsigned char byte : crc) *entry.crc32c = *entry.crc32c << 8U | byte;
  }
  return entry;
}

/// Takes up one answer. Throws where it is not as the API says.
void AddPage(const std::string& body, Listing& listing) {
  const nlohmann::json page = nlohmann::json::parse(body);
  const auto add = [&](SourceEntry entry) {
    if (!entry.name.starts_with(listing.prefix)) throw std::out_of_range(entry.name);
    entry.name.erase(0, listing.prefix.size());
    if (entry.is_folder && entry.name.ends_with('/')) entry.name.pop_back();
    // An object named like a folder is what some tools make of one.
    if (entry.name.empty() || entry.name.ends_with('/')) return;
    std::string name = entry.name;
    listing.entries[std::move(name)] = std::move(entry);
  };
  for (const auto& prefix : page.value("prefixes", nlohmann::json::array())) {
    add({.name = prefix.get<std::string>(), .is_folder = true});
  }
  for (const auto& item : page.value("items", nlohmann::json::array())) add(EntryOf(item));
  listing.next = page.value("nextPageToken", "");
}

/// The first byte that a partial answer has: "bytes 7-99/100".
std::optional<std::uint64_t> FirstByteOf(const HttpResponse& head) {
  const std::string range = head.Header("content-range");
  std::uint64_t first = 0;
  if (!range.starts_with("bytes ")) return std::nullopt;
  const auto [end, error] = std::from_chars(range.data() + 6, range.data() + range.size(), first);
  return error == std::errc() ? std::optional(first) : std::nullopt;
}

class BucketSource : public Source {
 public:
  BucketSource(std::string bucket, std::string prefix, std::string origin, BucketOptions options)
      : bucket_(std::move(bucket)),
        prefix_(std::move(prefix)),
        objects_(fmt::format("{}/storage/v1/b/{}/o", options.endpoint, PercentEncode(bucket_))),
        page_size_(options.page_size),
        client_({.origin = std::move(origin),
                 .low_speed_time = options.stall_timeout,
                 .retries = options.retries,
                 .backoff = options.backoff,
                 .max_wait = options.max_wait,
                 .clock = options.clock}) {}

  std::string Describe() const override { return UrlOf(""); }

  Result<std::vector<SourceEntry>> List(const std::string& folder, ListDepth depth) override {
    Listing listing{.prefix = NameOf(folder)};
    if (!listing.prefix.empty() && !listing.prefix.ends_with('/')) listing.prefix += '/';
    std::string url =
        fmt::format("{}?prefix={}&maxResults={}&fields={}",
                    objects_,
                    PercentEncode(listing.prefix),
                    page_size_,
                    PercentEncode("items(name,size,md5Hash,crc32c),prefixes,nextPageToken"));
    if (depth == ListDepth::kFolder) url += "&delimiter=%2F";
    for (int tries = 1;;) {
      const std::string token = listing.next;
      HttpRequest request{.url = url, .may_leave = true};
      if (!token.empty()) request.url += "&pageToken=" + PercentEncode(token);
      DF_ASSIGN_OR_RETURN(const HttpResponse page, client_.Send(request));
      if (page.status == 400 && !token.empty() && tries++ < kListingTries) {
        // The place between two pages is not known any more.
        listing = {.prefix = listing.prefix};
        continue;
      }
      if (!page.ok()) return Refused(page, "cannot list", folder);
      try {
        AddPage(page.body, listing);
      } catch (const std::exception& error) {
        return Fail(ErrorKind::kInvalidData,
                    "not the listing of a bucket, {}: {}",
                    error.what(),
                    UrlOf(folder));
      }
      if (listing.next.empty()) break;
      if (listing.next == token) {
        return Fail(ErrorKind::kTransient, "a listing does not go on: {}", UrlOf(folder));
      }
    }
    if (listing.entries.empty()) {
      return FailAs(source_status::kNotInBucket,
                    ErrorKind::kNotFound,
                    "nothing lies below {}",
                    UrlOf(folder));
    }
    std::vector<SourceEntry> entries;
    entries.reserve(listing.entries.size());
    for (auto& [name, entry] : listing.entries) entries.push_back(std::move(entry));
    return entries;
  }

  Status Read(const std::string& path,
              std::uint64_t offset,
              std::optional<std::uint64_t> length,
              const Sink& sink) override {
    if (length == 0) return {};
    HttpRequest request{
        .url = fmt::format("{}/{}?alt=media", objects_, PercentEncode(NameOf(path))),
        .may_leave = true};
    if (offset > 0 || length) {
      request.headers.push_back(fmt::format(
          "Range: bytes={}-{}", offset, length ? fmt::to_string(offset + *length - 1) : ""));
    }
    std::optional<std::uint64_t> at;  // the first byte of what comes next
    bool enough = false;
    request.sink = [&](const HttpResponse& head, std::span<const std::byte> bytes) -> Status {
      if (enough) return Fail(ErrorKind::kInvalidData, "more than was asked for");
      if (!at) at = head.status == 206 ? FirstByteOf(head) : 0;
      if (!at || *at > offset) {
        return Fail(ErrorKind::kTransient,
                    "want the bytes from {} on, have '{}': {}",
                    offset,
                    head.Header("content-range"),
                    UrlOf(path));
      }
      // Some send more than they were asked for, or all.
      const std::uint64_t skipped = std::min<std::uint64_t>(offset - *at, bytes.size());
      *at += skipped;
      bytes = bytes.subspan(skipped);
      if (bytes.empty()) return {};
      if (length) {
        bytes = bytes.first(std::min<std::uint64_t>(bytes.size(), *length));
        *length -= bytes.size();
      }
      at = offset += bytes.size();
      Status taken = sink(bytes);
      enough = taken && length == 0;
      return taken;
    };
    const Result<HttpResponse> response = client_.Send(request);
    if (!response && !enough) return tl::unexpected(response.error());
    if (!response || response->ok() || response->status == 416) return {};  // 416: beyond the end
    return Refused(*response, "cannot read", path);
  }

 private:
  /// A path's name in the bucket.
  std::string NameOf(const std::string& path) const {
    return prefix_.empty() || path.empty() ? prefix_ + path : prefix_ + "/" + path;
  }
  std::string UrlOf(const std::string& path) const {
    const std::string name = NameOf(path);
    return fmt::format("{}{}{}{}", kScheme, bucket_, name.empty() ? "" : "/", name);
  }

  tl::unexpected<Error> Refused(const HttpResponse& response,
                                std::string_view what,
                                const std::string& path) const {
    const char* status = "";
    ErrorKind kind = ErrorKind::kInvalidData;
    if (response.status == 404) {
      status = source_status::kNotInBucket;
      kind = ErrorKind::kNotFound;
    } else if (response.status == 401 || response.status == 403) {
      status = source_status::kForbidden;
      kind = ErrorKind::kUsage;
    } else if (response.status == 408 || response.status >= 500) {
      kind = ErrorKind::kTransient;
    }
    return FailAs(status, kind, "{}, status {}: {}", what, response.status, UrlOf(path));
  }

  const std::string bucket_;
  const std::string prefix_;   ///< without '/' at the end
  const std::string objects_;  ///< "https://storage.googleapis.com/storage/v1/b/BUCKET/o"
  const int page_size_;
  HttpClient client_;
};

}  // namespace

bool IsBucketUrl(std::string_view text) { return text.starts_with(kScheme); }

Result<std::unique_ptr<Source>> OpenBucket(const std::string& url, BucketOptions options) {
  if (!IsBucketUrl(url) || url.size() == kScheme.size() || url[kScheme.size()] == '/') {
    return Fail(ErrorKind::kUsage, "want gs://BUCKET/FOLDER, have '{}'", url);
  }
  const std::string rest = url.substr(kScheme.size());
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  std::string prefix = rest.substr(std::min(slash + 1, rest.size()));
  while (prefix.ends_with('/')) prefix.pop_back();
  if (options.endpoint.empty()) {
    options.endpoint =
        EnvironmentVariable("STORAGE_EMULATOR_HOST").value_or("https://storage.googleapis.com");
  }
  if (options.endpoint.find("://") == std::string::npos) options.endpoint.insert(0, "http://");
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  DF_ASSIGN_OR_RETURN(std::string origin, OriginOf(options.endpoint));
  return std::make_unique<BucketSource>(
      rest.substr(0, slash), std::move(prefix), std::move(origin), std::move(options));
}

}  // namespace droidflow

#include "droidflow/transfer/hf_store.h"

#include "droidflow/core/base64.h"
#include "droidflow/core/check.h"
#include "droidflow/core/environment.h"
#include "droidflow/core/files.h"
#include "droidflow/core/parallel.h"
#include "droidflow/transfer/checked_source_internal.h"
#include "droidflow/transfer/commit_body_internal.h"
#include "droidflow/transfer/commit_check_internal.h"
#include "droidflow/transfer/hf_token.h"
#include "droidflow/transfer/http.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <map>
#include <mutex>
#include <set>
#include <sys/stat.h>
#include <thread>
#include <unordered_set>
#include <utility>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::json;
using std::chrono::seconds;

constexpr std::size_t kFilesPerPreupload = 256;
constexpr std::size_t kObjectsPerBatch = 256;
constexpr std::size_t kPathsPerStat = 500;
constexpr std::size_t kSample_bytes = 512;
constexpr seconds kCommitTime{300};  ///< the Hub cuts at 60 s, what stands before it later
constexpr int kRounds = 3;           ///< of asking for URLs and sending
constexpr int kHeadTries = 8;
constexpr char kAttributes[] = ".gitattributes";
constexpr char kLfsJson[] = "application/vnd.git-lfs+json";

constexpr std::string_view kDefaultPatterns[] = {
    "*.7z",      "*.arrow",    "*.bin",    "*.bz2",  "*.ckpt", "*.ftz",         "*.gz",
    "*.h5",      "*.joblib",   "*.lfs.*",  "*.lz4",  "*.mds",  "*.mlmodel",     "*.model",
    "*.msgpack", "*.npy",      "*.npz",    "*.onnx", "*.ot",   "*.parquet",     "*.pb",
    "*.pickle",  "*.pkl",      "*.pt",     "*.pth",  "*.rar",  "*.safetensors", "saved_model/**/*",
    "*.tar.*",   "*.tar",      "*.tflite", "*.tgz",  "*.wasm", "*.xz",          "*.zip",
    "*.zst",     "*tfevents*", "*.pcm",    "*.sam",  "*.raw",  "*.aac",         "*.flac",
    "*.mp3",     "*.ogg",      "*.wav",    "*.bmp",  "*.gif",  "*.png",         "*.tiff",
    "*.jpg",     "*.jpeg",     "*.webp",   "*.mp4",  "*.webm"};
/// What droidflow writes besides. Without it every such file would get a line of its own.
constexpr std::string_view kOurPattern = "*.mkv";

std::string AttributesLine(std::string_view pattern) {
  return fmt::format("{} filter=lfs diff=lfs merge=lfs -text\n", pattern);
}

std::string DefaultAttributes() {
  std::string text;
  for (const std::string_view pattern : kDefaultPatterns) text += AttributesLine(pattern);
  return text + AttributesLine(kOurPattern);
}

bool CoversOurs(const std::string& attributes) {
  for (std::size_t at = 0; (at = attributes.find(kOurPattern, at)) != std::string::npos; ++at) {
    const std::string line = attributes.substr(at, attributes.find('\n', at) - at);
    if ((at == 0 || attributes[at - 1] == '\n') && line.find("filter=lfs") != std::string::npos) {
      return true;
    }
  }
  return false;
}

// --- JSON of others: whatever is not as it should be reads as absent.

const Json& Field(const Json& json, const char* name) {
  static const Json null;
  const auto found = json.is_object() ? json.find(name) : json.end();
  return json.is_object() && found != json.end() ? *found : null;
}

std::string Text(const Json& json) { return json.is_string() ? json.get<std::string>() : ""; }

std::optional<std::uint64_t> Number(const Json& json) {
  return json.is_number_unsigned() ? std::optional(json.get<std::uint64_t>()) : std::nullopt;
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json ParseJson(const std::string& text) {
  Json json = Json::parse(text, nullptr, false);
  return json.is_discarded() ? Json() : json;
}

/// What the Hub says went wrong.
std::string Explanation(const HttpResponse& response) {
  const Json json = ParseJson(response.body);
  std::string text;
  for (const Json* part : {&Field(json, "error"), &Field(json, "message")}) {
    if (text.empty() && part->is_array()) {
      for (const Json& line : *part) text += (text.empty() ? "" : "; ") + Text(line);
    }
    if (text.empty()) text = Text(*part);
  }
  if (const Json& errors = Field(json, "errors"); text.empty() && errors.is_array()) {
    for (const Json& error : errors)
      text += (text.empty() ? "" : "; ") + Text(Field(error, "message"));
  }
  if (const std::string more = Text(Field(json, "error_description")); !more.empty()) {
    text += " (" + more + ")";
  }
  if (text.empty()) text = response.Header("x-error-message");
  if (text.empty()) text = response.body.substr(0, 200);
  if (text.size() > 1000) text = text.substr(0, 1000) + "…";
  std::ranges::replace_if(
      text, [](unsigned char c) { return c < 0x20; }, ' ');
  return text.empty() ? "no reason was given" : text;
}

struct Kind {
  ErrorKind kind;
  const char* status;
};

/// What an answer other than 2xx means to a caller.
Kind KindOf(const HttpResponse& response, bool is_commit) {
  using namespace store_status;  // NOLINT(google-build-using-namespace)
  const std::string text = response.Header("x-error-message") + response.body;
  const auto says = [&](const char* words) { return text.find(words) != std::string::npos; };
  switch (response.status) {
    case 400:
      if (says("LFS pointer pointed to a file that does not exist")) {
        return {ErrorKind::kTransient, kBytesMissing};
      }
      return {ErrorKind::kInvalidData, kRefused};
    case 401:
      return {ErrorKind::kUsage,
              response.Header("x-error-code") == "RepoNotFound" &&
                      !says("Invalid credentials in Authorization header") &&
                      !says("Invalid username")
                  ? kNoRepository
                  : kUnauthorized};
    case 402:
      return {ErrorKind::kUsage, kForbidden};
    case 403:
      return {ErrorKind::kUsage,
              says("Access to this resource is disabled") ? kNoRepository : kForbidden};
    case 404:
    case 410:
      return {ErrorKind::kNotFound, kNoRepository};
    case 409:
    case 412:
      return {ErrorKind::kTransient, kHeadMoved};
    case 413:
      return {ErrorKind::kInvalidData, kTooLarge};
    case 422:
      return {ErrorKind::kInvalidData, kRefused};
    default:
      if (response.status == 408 || response.status >= 500) {
        return {ErrorKind::kTransient, is_commit ? kUnclear : ""};
      }
      return {ErrorKind::kInvalidData, kRefused};
  }
}

tl::unexpected<Error> FailOf(const HttpResponse& response,
                             const HttpRequest& request,
                             std::string_view what,
                             bool is_commit = false) {
  const auto [kind, status] = KindOf(response, is_commit);
  std::string id = response.Header("x-request-id");
  if (id.empty()) id = response.Header("x-amzn-trace-id");
  if (id.empty()) id = response.Header("x-amz-cf-id");
  return FailAs(status,
                kind,
                "{}: status {}, {}{}: {}",
                what,
                response.status,
                Explanation(response),
                id.empty() ? "" : " (request " + id + ")",
                MaskUrl(request.url));
}

HttpRequest WithJson(std::string method, std::string url, const Json& json, const char* type) {
  return {.method = std::move(method),
          .url = std::move(url),
          .headers = {fmt::format("Content-Type: {}", type), fmt::format("Accept: {}", type)},
          .body = TextBody(Dump(json))};
}

HttpRequest PostJson(std::string url, const Json& json) {
  return WithJson("POST", std::move(url), json, "application/json");
}

/// The target of rel="next" in a Link header; empty: there is none.
std::string NextLink(const std::string& header) {
  for (std::size_t begin = 0; (begin = header.find('<', begin)) != std::string::npos;) {
    const std::size_t end = header.find('>', begin);
    if (end == std::string::npos) break;
    std::string rest = header.substr(end + 1, header.find('<', end) - end - 1);
    std::ranges::transform(rest, rest.begin(), [](unsigned char c) { return std::tolower(c); });
    std::erase_if(rest, [](char c) { return c == ' ' || c == '"' || c == '\''; });
    rest += ',';
    for (const char* last : {";", ","}) {
      if (rest.find(std::string(";rel=next") + last) != std::string::npos) {
        return header.substr(begin + 1, end - begin - 1);
      }
    }
    begin = end;
  }
  return {};
}

bool IsSha(const std::string& revision) {
  return revision.size() == 40 &&
         std::ranges::all_of(revision, [](unsigned char c) { return std::isxdigit(c) != 0; });
}

bool IsRepoPart(const std::string& name) {
  const auto plain = [](unsigned char c) { return c < 0x80 && std::isalnum(c) != 0; };
  return !name.empty() && name.size() <= 96 && name.find("--") == std::string::npos &&
         name.find("..") == std::string::npos && !name.ends_with(".git") &&
         std::ranges::all_of(
             name, [&](char c) { return plain(c) || c == '-' || c == '_' || c == '.'; }) &&
         name.front() != '-' && name.front() != '.' && name.back() != '-' && name.back() != '.';
}

bool IsTrue(const char* variable) {
  std::string text = EnvironmentVariable(variable).value_or("");
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text == "1" || text == "ON" || text == "YES" || text == "TRUE";
}

std::string UserAgent() {
  std::string agent = "droidflow/" DROIDFLOW_VERSION;
  if (IsTrue("HF_HUB_DISABLE_TELEMETRY") || IsTrue("DISABLE_TELEMETRY") || IsTrue("DO_NOT_TRACK")) {
    return agent;
  }
  agent += "; " + HttpLibrary();
  if (const auto from = EnvironmentVariable("HF_HUB_USER_AGENT_ORIGIN"))
    agent += "; origin/" + *from;
  return agent;
}

StoredFile FileOf(const Json& entry) {
  StoredFile file{.path = Text(Field(entry, "path")),
                  .size_bytes = Number(Field(entry, "size")).value_or(0)};
  if (const Json& lfs = Field(entry, "lfs"); lfs.is_object()) {
    file.sha256 = Text(Field(lfs, "oid"));  // the entry's own is that of a pointer
    file.size_bytes = Number(Field(lfs, "size")).value_or(file.size_bytes);
  } else {
    file.git_oid = Text(Field(entry, "oid"));
  }
  return file;
}

bool IsWholeFile(const Json& entry) {
  const StoredFile file = FileOf(entry);
  return !file.path.empty() && Number(Field(entry, "size")) &&
         (file.sha256.size() == 64 || file.git_oid.size() == 40);
}

/// How the Hub wants a file.
struct Plan {
  bool is_lfs = false;
  bool stands = false;  ///< it is there already
};

/// Bytes [begin, begin + size) of a local file.
HttpBody PartBody(const OutgoingFile& file, std::uint64_t begin, std::uint64_t size_bytes) {
  return {.size_bytes = size_bytes,
          .open = [file, begin, end = begin + size_bytes]() -> Result<HttpBody::Reader> {
            DF_ASSIGN_OR_RETURN(UniqueFd opened, OpenSource(file));
            return [file, end, at = begin, fd = std::make_shared<UniqueFd>(std::move(opened))](
                       std::span<std::byte> buffer) mutable -> Result<std::size_t> {
              buffer = buffer.first(std::min<std::uint64_t>(buffer.size(), end - at));
              DF_ASSIGN_OR_RETURN(const std::size_t count,
                                  ReadAt(fd->get(), at, buffer, file.source));
              if (count < buffer.size()) {
                return FailChanged(file, fmt::format("it ends after {} bytes", at + count));
              }
              at += count;
              return count;
            };
          }};
}

HttpBody WholeBody(const OutgoingFile& file) {
  return {.size_bytes = file.size_bytes, .open = [file]() -> Result<HttpBody::Reader> {
            DF_ASSIGN_OR_RETURN(CheckedSource opened, CheckedSource::Open(file));
            return [source = std::make_shared<CheckedSource>(std::move(opened))](
                       std::span<std::byte> buffer) { return source->Read(buffer); };
          }};
}

/// When and what a file was, to see whether it is another one now.
Result<std::array<std::int64_t, 6>> StampOf(const OutgoingFile& file) {
  DF_ASSIGN_OR_RETURN(const UniqueFd fd, OpenSource(file));
  struct stat info = {};
  if (fstat(fd.get(), &info) != 0) return FailChanged(file, "there is no file");
  return std::array<std::int64_t, 6>{static_cast<std::int64_t>(info.st_dev),
                                     static_cast<std::int64_t>(info.st_ino),
                                     info.st_mtim.tv_sec,
                                     info.st_mtim.tv_nsec,
                                     info.st_ctim.tv_sec,
                                     info.st_ctim.tv_nsec};
}

/// What a batch says of one object; its codes are like those of answers.
Error ErrorOfObject(const Json& error, const std::string& path) {
  const std::uint64_t code = Number(Field(error, "code")).value_or(500);
  Error told{
      ErrorKind::kInvalidData,
      fmt::format(
          "the Hub does not take it: code {}, {}: {}", code, Text(Field(error, "message")), path),
      store_status::kRefused};
  if (code == 401 || code == 403) {
    told.kind = ErrorKind::kUsage;
    told.status = store_status::kForbidden;
  } else if (code == 408 || code == 429 || code >= 500) {
    told.kind = ErrorKind::kTransient;
    told.status.clear();
  }
  return told;
}

/// Bytes that are to be sent, for one file or several of equal content.
struct Object {
  const OutgoingFile* file = nullptr;
  std::vector<std::size_t> indices = {};  ///< of the files
  Json actions = {};
  Status status = {};
  bool again = false;  ///< worth asking for new URLs
};

}  // namespace

class HfStore::Hub {
 public:
  Hub(HfStoreOptions options, const std::string& origin)
      : options_(std::move(options)),
        origin_(origin),
        client_({.origin = origin,
                 .user_agent = UserAgent(),
                 .low_speed_time = options_.low_speed_time,
                 .backoff = options_.backoff,
                 .max_wait = options_.max_wait,
                 .clock = options_.clock,
                 .notice = options_.notice}),
        token_(FindHfToken(options_.token, options_.working_dir)) {
    const std::string plural = options_.type + 's';
    const std::string prefix = options_.type == "model" ? "" : plural + '/';
    api_ = fmt::format("{}/api/{}/{}", options_.endpoint, plural, options_.repo);
    web_ = fmt::format("{}/{}{}", options_.endpoint, prefix, options_.repo);
  }

  [[nodiscard]] std::string Describe() const {
    return fmt::format(
        "{} {} ({}) at {}", options_.type, options_.repo, options_.branch, options_.endpoint);
  }

  Status Prepare();
  Result<std::string> Head();
  Status List(const std::string& revision,
              const std::string& folder,
              const std::function<void(StoredFile)>& tell);
  Result<std::vector<std::optional<StoredFile>>> Stat(const std::string& revision,
                                                      std::span<const std::string> paths);
  std::vector<Status> Put(std::span<const OutgoingFile> files);
  Result<std::string> Commit(const CommitRequest& request);
  Status Read(const std::string& revision,
              const std::string& path,
              std::uint64_t offset,
              std::optional<std::uint64_t> length,
              const std::function<Status(std::span<const std::byte>)>& sink);

 private:
  // --- talking
  Result<HttpResponse> Ask(HttpRequest request);
  Result<Json> AskJson(const HttpRequest& request, std::string_view what);
  /// FailOf, and where a refused token came from.
  tl::unexpected<Error> Failed(const HttpResponse& response,
                               const HttpRequest& request,
                               std::string_view what,
                               bool is_commit = false);
  bool FindTokenAgain(const std::string& refused);
  void Notice(const HttpResponse& response);

  // --- the repository
  HttpRequest HeadRequest() const;
  Status Create();
  Status CheckRole();
  Status MakeBranch();
  Status CoverOurs();

  // --- sending
  std::vector<Result<Plan>> PlanAll(std::span<const OutgoingFile> files);
  Result<Json> Preupload(std::span<const OutgoingFile* const> files, const Json& rules);
  void SendGroup(std::span<Object* const> group);
  void Send(Object& object, int part_jobs);
  void SendWhole(Object& object, const Json& upload);
  void SendParts(Object& object, const Json& upload, int part_jobs);
  void Verify(Object& object);
  std::string Href(const Json& action) const;
  Result<std::string> SendCommit(const CommitBody& body);

  const HfStoreOptions options_;
  const std::string origin_;
  std::string api_;  ///< "https://huggingface.co/api/datasets/NS/NAME"
  std::string web_;  ///< "https://huggingface.co/datasets/NS/NAME"
  HttpClient client_;
  std::mutex mutex_;  ///< guards what follows
  HfToken token_;
  std::set<std::string> noticed_;
};

// --------------------------------------------------------------------------------------- talking

Result<HttpResponse> HfStore::Hub::Ask(HttpRequest request) {
  if (request.bucket.empty()) request.bucket = "api";
  {
    const std::scoped_lock lock(mutex_);
    request.token = token_.text;
  }
  Result<HttpResponse> response = client_.Send(request);
  if (response && response->status == 401 && FindTokenAgain(request.token)) {
    const std::scoped_lock lock(mutex_);
    request.token = token_.text;
  } else {
    if (response) Notice(*response);
    return response;
  }
  response = client_.Send(request);
  if (response) Notice(*response);
  return response;
}

/// Whether there is another token than the one that was refused.
bool HfStore::Hub::FindTokenAgain(const std::string& refused) {
  const std::scoped_lock lock(mutex_);
  if (token_.text == refused) token_ = FindHfToken(options_.token, options_.working_dir);
  return token_.text != refused && !token_.text.empty();
}

void HfStore::Hub::Notice(const HttpResponse& response) {
  const std::string warning = response.Header("x-hf-warning");
  if (warning.empty() || !options_.notice) return;
  {
    const std::scoped_lock lock(mutex_);
    if (!noticed_.insert(warning.substr(0, warning.find(';'))).second) return;
  }
  options_.notice("the Hub warns: " + warning);
}

tl::unexpected<Error> HfStore::Hub::Failed(const HttpResponse& response,
                                           const HttpRequest& request,
                                           std::string_view what,
                                           bool is_commit) {
  auto failure = FailOf(response, request, what, is_commit);
  if (failure.value().status == store_status::kUnauthorized) {
    const std::scoped_lock lock(mutex_);
    failure.value().message += token_.text.empty()
                                   ? "; no token was found: set HF_TOKEN or run `hf auth login`"
                                   : "; the token came from " + token_.source;
  }
  return failure;
}

Result<Json> HfStore::Hub::AskJson(const HttpRequest& request, std::string_view what) {
  DF_ASSIGN_OR_RETURN(const HttpResponse response, Ask(request));
  if (!response.ok()) return Failed(response, request, what);
  Json json = Json::parse(response.body, nullptr, false);
  if (!json.is_discarded()) return json;
  return Fail(ErrorKind::kTransient, "{}: the answer is not JSON: {}", what, MaskUrl(request.url));
}

// -------------------------------------------------------------------------------- the repository

HttpRequest HfStore::Hub::HeadRequest() const {
  // All of it would list every file.
  return {.url = fmt::format("{}/revision/{}?expand=sha", api_, PercentEncode(options_.branch))};
}

Result<std::string> HfStore::Hub::Head() {
  DF_ASSIGN_OR_RETURN(const Json info, AskJson(HeadRequest(), "cannot look at the repository"));
  std::string sha = Text(Field(info, "sha"));
  if (IsSha(sha)) return sha;
  return Fail(ErrorKind::kTransient, "the Hub told no head: {}", api_);
}

Status HfStore::Hub::Prepare() {
  const HttpRequest request = HeadRequest();
  DF_ASSIGN_OR_RETURN(const HttpResponse response, Ask(request));
  const std::string code = response.Header("x-error-code");
  if (code == "RevisionNotFound") {
    DF_RETURN_IF_ERROR(MakeBranch());
  } else if (response.status == 404 || response.status == 401) {
    DF_RETURN_IF_ERROR(CheckRole());
    DF_RETURN_IF_ERROR(Create());
    if (options_.branch != "main") DF_RETURN_IF_ERROR(MakeBranch());
  } else if (!response.ok()) {
    return Failed(response, request, "cannot look at the repository");
  }
  return CoverOurs();
}

/// The Hub limits this question hard: it is asked before a repository is made, and not else.
Status HfStore::Hub::CheckRole() {
  DF_ASSIGN_OR_RETURN(
      const Json user,
      AskJson({.url = options_.endpoint + "/api/whoami-v2"}, "cannot learn who the token is"));
  const Json& token = Field(Field(user, "auth"), "accessToken");
  if (Text(Field(token, "role")) != "read") return {};
  return FailAs(store_status::kForbidden,
                ErrorKind::kUsage,
                "the token '{}' of {} may only read: {}",
                Text(Field(token, "displayName")),
                Text(Field(user, "name")),
                options_.endpoint);
}

Status HfStore::Hub::Create() {
  const std::size_t slash = options_.repo.find('/');
  const std::string attributes = DefaultAttributes();
  const HttpRequest request =
      PostJson(options_.endpoint + "/api/repos/create",
               {{"name", options_.repo.substr(slash + 1)},
                {"organization", options_.repo.substr(0, slash)},
                {"type", options_.type},
                {"visibility", options_.is_private ? "private" : "public"},
                {"files",
                 {{{"path", kAttributes},
                   {"content", Base64(std::as_bytes(std::span(attributes)))},
                   {"encoding", "base64"}}}}});
  for (int tries = 1;; ++tries) {
    DF_ASSIGN_OR_RETURN(const HttpResponse response, Ask(request));
    if (response.ok()) return {};
    if (response.status == 409) {
      if (response.body.find("another conflicting operation") == std::string::npos) return {};
      if (tries < kHeadTries) {
        options_.clock->Sleep(options_.backoff * std::min(tries, 8));
        continue;
      }
    } else if (response.status == 401 || response.status == 402 || response.status == 403) {
      if (Head()) return {};  // it is there; this token may not make any
    }
    return Failed(response, request, "cannot make the repository " + options_.repo);
  }
}

Status HfStore::Hub::MakeBranch() {
  const HttpRequest request =
      PostJson(fmt::format("{}/branch/{}", api_, PercentEncode(options_.branch)), Json::object());
  DF_ASSIGN_OR_RETURN(const HttpResponse response, Ask(request));
  if (response.ok() || response.status == 409) return {};
  return Failed(response, request, "cannot make the branch " + options_.branch);
}

/// Sees to it that .gitattributes has what droidflow writes.
Status HfStore::Hub::CoverOurs() {
  for (int tries = 1;; ++tries) {
    DF_ASSIGN_OR_RETURN(const std::string head, Head());
    std::string text;
    Status read = Read(head, kAttributes, 0, {}, [&](std::span<const std::byte> bytes) {
      text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return Status();
    });
    if (!read && (read.error().kind != ErrorKind::kNotFound || !read.error().status.empty())) {
      return read;
    }
    if (CoversOurs(text)) return {};
    if (!read) {
      text = DefaultAttributes();
    } else {
      if (!text.empty() && text.back() != '\n') text += '\n';
      text += AttributesLine(kOurPattern);
    }
    CommitBody body("Store *.mkv by Git LFS", "", head);
    body.AddContent(kAttributes, text);
    const Result<std::string> committed = SendCommit(body);
    if (committed) return {};
    const std::string& status = committed.error().status;
    if (tries == kHeadTries ||
        (status != store_status::kHeadMoved && status != store_status::kUnclear)) {
      return tl::unexpected(committed.error());
    }
    options_.clock->Sleep(options_.backoff * tries / 4);
  }
}

// --------------------------------------------------------------------------------------- looking

Status HfStore::Hub::List(const std::string& revision,
                          const std::string& folder,
                          const std::function<void(StoredFile)>& tell) {
  const std::string what = "cannot list " + (folder.empty() ? "the repository" : folder);
  std::string fixed = revision;
  if (!IsSha(revision)) {  // the pages of a branch are not of one state
    DF_ASSIGN_OR_RETURN(
        const Json info,
        AskJson({.url = fmt::format("{}/revision/{}?expand=sha", api_, PercentEncode(revision))},
                what));
    fixed = Text(Field(info, "sha"));
  }
  HttpRequest request{.url = fmt::format("{}/tree/{}{}{}?recursive=true&expand=false",
                                         api_,
                                         PercentEncode(fixed),
                                         folder.empty() ? "" : "/",
                                         PercentEncode(folder))};
  std::set<std::string> pages;
  std::unordered_set<std::size_t> told;  // hashes of paths: the paths themselves would be large
  for (;;) {
    if (!pages.insert(request.url).second) {
      return Fail(ErrorKind::kTransient, "{}: the pages go round: {}", what, MaskUrl(request.url));
    }
    DF_ASSIGN_OR_RETURN(const HttpResponse response, Ask(request));
    if (response.status == 404 && response.Header("x-error-code") == "EntryNotFound") return {};
    if (!response.ok()) return Failed(response, request, what);
    const Json entries = ParseJson(response.body);
    if (!entries.is_array()) {
      return Fail(ErrorKind::kTransient, "{}: want an array: {}", what, MaskUrl(request.url));
    }
    for (const Json& entry : entries) {
      if (Text(Field(entry, "type")) != "file") continue;
      if (!IsWholeFile(entry)) {
        return Fail(ErrorKind::kTransient, "{}: not a file: {}", what, Dump(entry).substr(0, 200));
      }
      StoredFile file = FileOf(entry);
      if (told.insert(std::hash<std::string>()(file.path)).second) tell(std::move(file));
    }
    const std::string link = NextLink(response.Header("link"));
    if (link.empty()) return {};
    DF_ASSIGN_OR_RETURN(std::string next, ResolveUrl(request.url, link));
    if (OriginOf(next) != Result<std::string>(origin_)) {
      return Fail(ErrorKind::kInvalidData,
                  "{}: the next page is at another origin: {}",
                  what,
                  MaskUrl(next));
    }
    request.url = std::move(next);
  }
}

Result<std::vector<std::optional<StoredFile>>> HfStore::Hub::Stat(
    const std::string& revision, std::span<const std::string> paths) {
  std::map<std::string, StoredFile> found;
  for (std::size_t begin = 0; begin < paths.size(); begin += kPathsPerStat) {
    const auto some = paths.subspan(begin, std::min(kPathsPerStat, paths.size() - begin));
    DF_ASSIGN_OR_RETURN(
        const Json entries,
        AskJson(PostJson(fmt::format("{}/paths-info/{}", api_, PercentEncode(revision)),
                         {{"paths", std::vector(some.begin(), some.end())}, {"expand", false}}),
                "cannot look for files"));
    if (!entries.is_array()) return Fail(ErrorKind::kTransient, "want an array of files: {}", api_);
    for (const Json& entry : entries) {
      if (Text(Field(entry, "type")) != "file") continue;
      if (!IsWholeFile(entry)) {
        return Fail(ErrorKind::kTransient, "not a file: {}", Dump(entry).substr(0, 200));
      }
      StoredFile file = FileOf(entry);
      found[file.path] = file;
    }
  }
  std::vector<std::optional<StoredFile>> files;
  for (const std::string& path : paths) {
    const auto file = found.find(path);
    files.push_back(file == found.end() ? std::nullopt : std::optional(file->second));
  }
  return files;
}

Status HfStore::Hub::Read(const std::string& revision,
                          const std::string& path,
                          std::uint64_t offset,
                          std::optional<std::uint64_t> length,
                          const std::function<Status(std::span<const std::byte>)>& sink) {
  const auto absent = [&] {
    return Fail(ErrorKind::kNotFound, "there is no file {} at {}: {}", path, revision, web_);
  };
  if (length == 0) {
    DF_ASSIGN_OR_RETURN(const auto files, Stat(revision, std::span(&path, 1)));
    return files[0] ? Status() : Status(absent());
  }
  for (;;) {
    std::uint64_t got = 0;
    std::uint64_t skip = 0;
    bool first = true;
    bool refused = false;  // by the sink
    HttpRequest request{
        .url = fmt::format(
            "{}/resolve/{}/{}", web_, PercentEncode(revision), PercentEncode(path, true)),
        .bucket = "resolvers",
        .may_leave = true};
    if (offset > 0 || length) {
      request.headers.push_back(fmt::format(
          "Range: bytes={}-{}", offset, length ? std::to_string(offset + *length - 1) : ""));
    }
    request.sink = [&](const HttpResponse& head, std::span<const std::byte> bytes) -> Status {
      if (std::exchange(first, false)) {
        const std::string range = head.Header("content-range");
        if (head.status != 206) {
          skip = offset;  // it sends all of it
        } else if (!range.starts_with(fmt::format("bytes {}-", offset))) {
          return Fail(ErrorKind::kInvalidData, "want bytes from {}, have '{}'", offset, range);
        }
      }
      const std::size_t unwanted = std::min<std::uint64_t>(skip, bytes.size());
      skip -= unwanted;
      bytes = bytes.subspan(unwanted);
      if (length) bytes = bytes.first(std::min<std::uint64_t>(bytes.size(), *length - got));
      got += bytes.size();
      if (bytes.empty()) return {};
      Status taken = sink(bytes);
      refused = !taken;
      return taken;
    };
    const Result<HttpResponse> response = Ask(request);
    if (!response) {
      if (refused || got == 0 || response.error().kind != ErrorKind::kTransient) {
        return tl::unexpected(response.error());
      }
      offset += got;  // goes on where the connection broke
      if (length && (*length -= got) == 0) return {};
      continue;
    }
    if (response->ok() || response->status == 416) return {};
    if (response->status == 404 && response->Header("x-error-code") == "EntryNotFound") {
      return absent();
    }
    return Failed(*response, request, "cannot read " + path);
  }
}

// --------------------------------------------------------------------------------------- sending

Result<Json> HfStore::Hub::Preupload(std::span<const OutgoingFile* const> files,
                                     const Json& rules) {
  Json asked = rules;
  asked["files"] = Json::array();
  for (const OutgoingFile* file : files) {
    std::array<std::byte, kSample_bytes> sample{};
    DF_ASSIGN_OR_RETURN(const UniqueFd fd, OpenSource(*file));
    DF_ASSIGN_OR_RETURN(const std::size_t count, ReadAt(fd.get(), 0, sample, file->source));
    asked["files"].push_back({{"path", file->path},
                              {"size", file->size_bytes},
                              {"sample", Base64(std::span(sample).first(count))}});
  }
  return AskJson(
      PostJson(fmt::format("{}/preupload/{}", api_, PercentEncode(options_.branch)), asked),
      "cannot ask how to store files");
}

/// Asks how each file is to be stored and what stands there; errors are of one file each.
std::vector<Result<Plan>> HfStore::Hub::PlanAll(std::span<const OutgoingFile> files) {
  std::vector<Result<Plan>> plans(files.size());
  std::vector<std::size_t> asked;
  Json rules = Json::object();
  for (std::size_t i = 0; i < files.size(); ++i) {
    Status usable = CheckStorePath(files[i].path);
    if (usable) {
      // A file that is gone must not fail the question for the others.
      const Result<UniqueFd> fd = OpenSource(files[i]);
      if (!fd) usable = tl::unexpected(fd.error());
    }
    if (!usable) {
      plans[i] = tl::unexpected(usable.error());
      continue;
    }
    asked.push_back(i);
    for (const auto& [name, field] :
         {std::pair{kAttributes, "gitAttributes"}, std::pair{".gitignore", "gitIgnore"}}) {
      if (files[i].path == name) rules[field] = ReadFileText(files[i].source).value_or("");
    }
  }
  for (std::size_t begin = 0; begin < asked.size(); begin += kFilesPerPreupload) {
    const auto some =
        std::span(asked).subspan(begin, std::min(kFilesPerPreupload, asked.size() - begin));
    std::vector<const OutgoingFile*> group;
    for (const std::size_t i : some) group.push_back(&files[i]);
    const Result<Json> answer = Preupload(group, rules);
    std::map<std::string, Json> by_path;
    if (answer && Field(*answer, "files").is_array()) {
      for (const Json& file : Field(*answer, "files")) by_path[Text(Field(file, "path"))] = file;
    }
    for (const std::size_t i : some) {
      const OutgoingFile& file = files[i];
      const Json& told = by_path[file.path];
      const std::string mode = Text(Field(told, "uploadMode"));
      const std::string oid = Text(Field(told, "oid"));
      if (!answer) {
        plans[i] = tl::unexpected(answer.error());
      } else if (mode != "lfs" && mode != "regular") {
        plans[i] =
            FailAs(store_status::kRefused,
                   ErrorKind::kInvalidData,
                   "the Hub does not say how to store it (want lfs or regular, have '{}'): {}",
                   mode,
                   file.path);
      } else if (Field(told, "shouldIgnore") == Json(true)) {
        plans[i] = FailAs(store_status::kIgnored,
                          ErrorKind::kInvalidData,
                          "a .gitignore of the repository leaves it out: {}",
                          file.path);
      } else {
        // The Hub's storage takes no empty objects.
        plans[i] = Plan{.is_lfs = mode == "lfs" && file.size_bytes > 0,
                        .stands = !oid.empty() && (oid == file.sha256 || oid == file.git_oid)};
      }
    }
  }
  return plans;
}

std::vector<Status> HfStore::Hub::Put(std::span<const OutgoingFile> files) {
  std::vector<Status> results(files.size());
  std::map<std::string, Object> objects;  // by SHA-256
  const std::vector<Result<Plan>> plans = PlanAll(files);
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (!plans[i]) {
      results[i] = tl::unexpected(plans[i].error());
    } else if (plans[i]->is_lfs && !plans[i]->stands) {
      Object& object = objects[files[i].sha256];
      object.file = &files[i];
      object.indices.push_back(i);
    }
  }
  // In the order of the files, in groups that are sent before their URLs expire.
  std::vector<Object*> group;
  std::uint64_t group_bytes = 0;
  const auto send = [&] {
    std::vector<Object*> left = std::exchange(group, {});
    for (int round = 1; !left.empty(); ++round) {
      for (std::size_t begin = 0; begin < left.size(); begin += kObjectsPerBatch) {
        SendGroup(std::span(left).subspan(begin, std::min(kObjectsPerBatch, left.size() - begin)));
      }
      std::erase_if(left, [](const Object* object) { return !object->again; });
      if (round == kRounds) break;
    }
    group_bytes = 0;
  };
  for (std::size_t i = 0; i < files.size(); ++i) {
    const auto object = objects.find(files[i].sha256);
    if (object == objects.end() || object->second.indices.front() != i) continue;
    group.push_back(&object->second);
    group_bytes += files[i].size_bytes;
    if (group.size() == kObjectsPerBatch ||
        (group_bytes >= options_.group_bytes &&
         group.size() >= static_cast<std::size_t>(options_.upload_jobs))) {
      send();
    }
  }
  send();
  for (const auto& [sha256, object] : objects) {
    for (const std::size_t i : object.indices) results[i] = object.status;
  }
  return results;
}

void HfStore::Hub::SendGroup(std::span<Object* const> group) {
  Json asked{{"operation", "upload"},
             {"transfers", {"basic", "multipart"}},
             {"objects", Json::array()},
             {"hash_algo", "sha256"},
             {"ref", {{"name", options_.branch}}}};
  for (const Object* object : group) {
    asked["objects"].push_back({{"oid", object->file->sha256}, {"size", object->file->size_bytes}});
  }
  const Result<Json> answer =
      AskJson(WithJson("POST", web_ + ".git/info/lfs/objects/batch", asked, kLfsJson),
              "cannot ask where to send files");
  std::map<std::string, Json> by_oid;
  if (answer && Field(*answer, "objects").is_array()) {
    for (const Json& object : Field(*answer, "objects"))
      by_oid[Text(Field(object, "oid"))] = object;
  }
  std::vector<Object*> whole;
  std::vector<Object*> in_parts;
  for (Object* object : group) {
    object->again = false;
    object->status = {};
    const auto told = by_oid.find(object->file->sha256);
    if (!answer) {
      object->status = tl::unexpected(answer.error());
    } else if (told == by_oid.end()) {
      object->status = Fail(
          ErrorKind::kTransient, "the Hub does not say where to send it: {}", object->file->path);
    } else if (const Json& error = Field(told->second, "error"); error.is_object()) {
      object->status = tl::unexpected(ErrorOfObject(error, object->file->path));
    } else if (object->actions = Field(told->second, "actions");
               Field(object->actions, "upload").is_object()) {
      const Json& header = Field(Field(object->actions, "upload"), "header");
      (Field(header, "chunk_size").is_null() ? whole : in_parts).push_back(object);
    }
  }
  const int jobs = options_.upload_jobs;
  ParallelFor(whole.size(), jobs, [&](std::size_t i) { Send(*whole[i], 1); });
  // Few share the jobs that each of many has one of.
  const int at_once = std::clamp(static_cast<int>(in_parts.size()), 1, jobs);
  ParallelFor(in_parts.size(), at_once, [&](std::size_t i) { Send(*in_parts[i], jobs / at_once); });
}

void HfStore::Hub::Send(Object& object, int part_jobs) {
  const Json& upload = Field(object.actions, "upload");
  if (Field(Field(upload, "header"), "chunk_size").is_null()) {
    SendWhole(object, upload);
  } else {
    SendParts(object, upload, part_jobs);
  }
  if (object.status) Verify(object);
}

/// Old servers behind another endpoint still name the Hub itself.
std::string HfStore::Hub::Href(const Json& action) const {
  std::string href = Text(Field(action, "href"));
  for (const std::string_view hub : {"https://huggingface.co/", "https://hub-ci.huggingface.co/"}) {
    if (href.starts_with(hub)) return options_.endpoint + '/' + href.substr(hub.size());
  }
  return href;
}

void HfStore::Hub::SendWhole(Object& object, const Json& upload) {
  HttpRequest request{.method = "PUT", .url = Href(upload), .body = WholeBody(*object.file)};
  if (const Json& header = Field(upload, "header"); header.is_object()) {
    for (const auto& [name, value] : header.items()) {
      request.headers.push_back(name + ": " + Text(value));
    }
  }
  const Result<HttpResponse> response = client_.Send(request);
  if (!response) {
    object.status = tl::unexpected(response.error());
  } else if (!response->ok()) {
    object.status = Fail(ErrorKind::kTransient,
                         "the storage refuses it: status {}, {}: {}",
                         response->status,
                         Explanation(*response),
                         object.file->path);
    object.again = true;
  }
}

void HfStore::Hub::SendParts(Object& object, const Json& upload, int part_jobs) {
  const OutgoingFile& file = *object.file;
  const auto fail = [&](std::string_view what) {
    object.status = Fail(ErrorKind::kTransient, "{}: {}", what, file.path);
    object.again = true;
  };
  const Json& header = Field(upload, "header");
  std::map<std::uint64_t, std::string> urls;
  std::uint64_t part_bytes = 0;
  for (const auto& [name, value] : header.items()) {
    const std::string text = value.is_string() ? Text(value) : Dump(value);
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), number);
    if (name == "chunk_size") {
      std::from_chars(text.data(), text.data() + text.size(), part_bytes);
    } else if (parsed.ec == std::errc() && parsed.ptr == name.data() + name.size()) {
      urls[number] = text;
    }
  }
  const std::uint64_t want = part_bytes == 0 ? 0 : (file.size_bytes + part_bytes - 1) / part_bytes;
  if (want == 0 || urls.size() != want || urls.begin()->first != 1 ||
      urls.rbegin()->first != want) {
    return fail(
        fmt::format("want URLs of {} parts of {} bytes, have {}", want, part_bytes, urls.size()));
  }

  // The parts are sent side by side, and beside them the whole is hashed: what was sent is that, if
  // nobody writes meanwhile.
  const auto before = StampOf(file);
  if (!before) {
    object.status = tl::unexpected(before.error());
    return;
  }
  Status right;
  std::vector<Status> statuses(want);
  std::vector<std::string> etags(want);
  std::vector<char> refused(want, 0);
  std::thread checking([&] { right = CheckSource(file); });
  ParallelFor(want, part_jobs, [&](std::size_t i) {
    const std::uint64_t begin = i * part_bytes;
    const Result<HttpResponse> response = client_.Send(
        {.method = "PUT",
         .url = urls.at(i + 1),
         .body = PartBody(file, begin, std::min(part_bytes, file.size_bytes - begin))});
    if (!response) {
      statuses[i] = tl::unexpected(response.error());
    } else if (etags[i] = response->Header("etag"); !response->ok() || etags[i].empty()) {
      statuses[i] = Fail(ErrorKind::kTransient,
                         "the storage refuses part {}: status {}, {}: {}",
                         i + 1,
                         response->status,
                         response->ok() ? "no ETag" : Explanation(*response),
                         file.path);
      refused[i] = 1;
    }
  });
  checking.join();
  if (right && StampOf(file) != before) {
    right = FailChanged(file, "it was written to while it was sent");
  }
  if (!right) {
    object.status = right;
    return;
  }
  for (std::size_t i = 0; i < want; ++i) {
    if (statuses[i]) continue;
    object.status = statuses[i];
    object.again = refused[i] != 0;
    return;
  }
  Json done{{"oid", file.sha256}, {"parts", Json::array()}};
  for (std::size_t i = 0; i < want; ++i) {
    done["parts"].push_back({{"partNumber", i + 1}, {"etag", etags[i]}});
  }
  HttpRequest request = WithJson("POST", Href(upload), done, kLfsJson);  // the URL is its own token
  request.bucket = "api";
  const Result<HttpResponse> response = client_.Send(request);
  if (!response) {
    object.status = tl::unexpected(response.error());
  } else if (!response->ok()) {
    fail(fmt::format("the parts were not put together: status {}, {}",
                     response->status,
                     Explanation(*response)));
  }
}

void HfStore::Hub::Verify(Object& object) {
  const Json& verify = Field(object.actions, "verify");
  if (!verify.is_object()) return;
  const HttpRequest request =
      WithJson("POST",
               Href(verify),
               {{"oid", object.file->sha256}, {"size", object.file->size_bytes}},
               kLfsJson);
  const Result<HttpResponse> response = Ask(request);
  if (!response) {
    object.status = tl::unexpected(response.error());
  } else if (response->status == 404 || response->status == 422 || response->status == 400) {
    object.status = Fail(ErrorKind::kTransient,
                         "the bytes did not arrive: status {}, {}: {}",
                         response->status,
                         Explanation(*response),
                         object.file->path);
    object.again = true;
  } else if (!response->ok()) {
    object.status = Failed(*response, request, "cannot verify " + object.file->path);
  }
}

Result<std::string> HfStore::Hub::Commit(const CommitRequest& request) {
  DF_RETURN_IF_ERROR(CheckCommit(request));
  CommitBody body(request.summary.empty() ? "droidflow" : request.summary,
                  request.batch_id.empty() ? "" : "droidflow-batch: " + request.batch_id,
                  request.parent);
  bool is_empty = true;
  const std::vector<Result<Plan>> plans = PlanAll(request.files);
  for (std::size_t i = 0; i < plans.size(); ++i) {
    if (!plans[i]) return tl::unexpected(plans[i].error());
    if (plans[i]->stands) continue;
    is_empty = false;
    if (plans[i]->is_lfs) {
      body.AddLfsFile(request.files[i]);
    } else {
      body.AddFile(request.files[i]);
    }
  }
  if (!is_empty) return SendCommit(body);
  DF_ASSIGN_OR_RETURN(std::string head, Head());
  if (request.parent.empty() || request.parent == head) return head;
  return FailAs(store_status::kHeadMoved,
                ErrorKind::kTransient,
                "want head {}, have {}: {}",
                request.parent,
                head,
                api_);
}

Result<std::string> HfStore::Hub::SendCommit(const CommitBody& body) {
  const HttpRequest request{
      .method = "POST",
      .url = fmt::format("{}/commit/{}", api_, PercentEncode(options_.branch)),
      .headers = {"Content-Type: application/x-ndjson"},
      .body = body.Body(),
      .bucket = "api",
      .action = "commit",
      .repeatable = false,
      .low_speed_time = std::max(kCommitTime, options_.low_speed_time)};
  DF_ASSIGN_OR_RETURN(const HttpResponse response, Ask(request));
  if (!response.ok()) return Failed(response, request, "cannot commit", true);
  std::string head = Text(Field(ParseJson(response.body), "commitOid"));
  if (IsSha(head)) return head;
  return FailAs(store_status::kUnclear,
                ErrorKind::kTransient,
                "the answer to a commit names none: {}: {}",
                Explanation(response),
                MaskUrl(request.url));
}

// --------------------------------------------------------------------------------------- the door

Result<std::unique_ptr<HfStore>> HfStore::Make(HfStoreOptions options) {
  if (IsTrue("HF_HUB_OFFLINE")) {
    return Fail(ErrorKind::kUsage, "HF_HUB_OFFLINE is set, so the Hub is not to be talked to");
  }
  if (options.endpoint.empty()) {
    options.endpoint = EnvironmentVariable("HF_ENDPOINT").value_or("https://huggingface.co");
  }
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  DF_ASSIGN_OR_RETURN(const std::string origin, OriginOf(options.endpoint));
  if (options.type != "dataset" && options.type != "model") {
    return Fail(ErrorKind::kUsage, "want a dataset or a model, have '{}'", options.type);
  }
  const std::size_t slash = options.repo.find('/');
  if (slash == std::string::npos || !IsRepoPart(options.repo.substr(0, slash)) ||
      !IsRepoPart(options.repo.substr(slash + 1))) {
    return Fail(ErrorKind::kUsage,
                "want NAMESPACE/NAME of letters, digits, '-', '_' and '.', have '{}'",
                options.repo);
  }
  if (options.branch.empty()) return Fail(ErrorKind::kUsage, "want a branch: {}", options.repo);
  options.upload_jobs = std::max(options.upload_jobs, 1);
  return std::unique_ptr<HfStore>(new HfStore(std::make_unique<Hub>(std::move(options), origin)));
}

HfStore::HfStore(std::unique_ptr<Hub> hub) : hub_(std::move(hub)) {}
HfStore::~HfStore() = default;

std::string HfStore::Describe() const { return hub_->Describe(); }
Status HfStore::Prepare() { return hub_->Prepare(); }
Result<std::string> HfStore::Head() { return hub_->Head(); }

Status HfStore::List(const std::string& revision,
                     const std::string& folder,
                     const std::function<void(StoredFile)>& tell) {
  return hub_->List(revision, folder, tell);
}

Result<std::vector<std::optional<StoredFile>>> HfStore::Stat(const std::string& revision,
                                                             std::span<const std::string> paths) {
  return hub_->Stat(revision, paths);
}

std::vector<Status> HfStore::Put(std::span<const OutgoingFile> files) { return hub_->Put(files); }

Result<std::string> HfStore::Commit(const CommitRequest& request) { return hub_->Commit(request); }

Status HfStore::Read(const std::string& revision,
                     const std::string& path,
                     std::uint64_t offset,
                     std::optional<std::uint64_t> length,
                     const std::function<Status(std::span<const std::byte>)>& sink) {
  return hub_->Read(revision, path, offset, length, sink);
}

}  // namespace droidflow

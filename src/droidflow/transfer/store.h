#pragma once

/// Where finished episodes go: a data set repository, a folder, memory. One suite tests them all:
/// transfer/store_suite.h.

#include "droidflow/core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace droidflow {

/// Names in Error::status by which a caller tells what to do; docs/running.md lists them.
namespace store_status {
// no, bad or expired token: stop
inline constexpr const char kUnauthorized[] = "unauthorized";
// no right or no quota: a person must act
inline constexpr const char kForbidden[] = "forbidden";
// deleted, renamed, hidden, disabled: stop
inline constexpr const char kNoRepository[] = "no_repository";
// transient: it was waited for, and is not over
inline constexpr const char kRateLimited[] = "rate_limited";
// somebody else committed: look again
inline constexpr const char kHeadMoved[] = "head_moved";
// a commit names bytes that are not stored
inline constexpr const char kBytesMissing[] = "bytes_missing";
// the commit has too much: halve it
inline constexpr const char kTooLarge[] = "too_large";
// it may have happened: look before you repeat
inline constexpr const char kUnclear[] = "unclear";
// this file or this commit, for good
inline constexpr const char kRefused[] = "refused";
// the store's own rules leave this file out
inline constexpr const char kIgnored[] = "ignored";
// the local file is not what was hashed
inline constexpr const char kChanged[] = "changed";
}  // namespace store_status

/// A file as a store holds it.
struct StoredFile {
  std::string path = {};  ///< '/' between parts, relative
  std::uint64_t size_bytes = 0;
  std::string sha256 = {};   ///< 64 hex digits; empty: the store knows another hash only
  std::string git_oid = {};  ///< 40 hex digits, of a git blob; empty: not known
};

/// A local file and what it will be called.
struct OutgoingFile {
  std::string path = {};              ///< in the store
  std::filesystem::path source = {};  ///< on this machine
  std::uint64_t size_bytes = 0;
  std::string sha256 = {};   ///< of the content; it is checked while the bytes are sent
  std::string git_oid = {};  ///< GitBlobOidOfFile; files above 10 MiB do without
};

/// Refuses (kRefused) what cannot name a file everywhere: UTF-8 without control characters, parts
/// of 1 to 255 bytes that are not "." or "..", 1000 bytes in all, not below .git, .cache or
/// .droidflow.
[[nodiscard]] Status CheckStorePath(const std::string& path);

/// Whether a stored file has the content of a local one.
[[nodiscard]] bool SameContent(const StoredFile& stored, const OutgoingFile& local);

/// One commit of finished files.
struct CommitRequest {
  std::vector<OutgoingFile> files = {};  ///< their bytes were stored by Put
  std::string summary = {};
  std::string batch_id = {};  ///< stands in the history, so that a lost reply can be found again
  std::string parent = {};    ///< fail with kHeadMoved unless this is the head; empty: any head
};

/// A place for finished files, with history: bytes are stored first, and become visible by a
/// commit, all or none.
///
/// Errors  kTransient may pass (the store has tried again already, as its rules say); others are
///         for good. Error::status is one of store_status, or empty where it is no decision of the
///         store's: a network that is down, a disk that is full.
/// Thread  any: Put, Commit and reading may go on at the same time.
class Store {
 public:
  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  /// For people, and the same for the same place: "dataset NS/NAME (main) at https://…".
  [[nodiscard]] virtual std::string Describe() const = 0;

  /// Makes the place when it is not there. Idempotent.
  [[nodiscard]] virtual Status Prepare() = 0;

  /// The name of the newest state; never empty after Prepare.
  [[nodiscard]] virtual Result<std::string> Head() = 0;

  /// Every file below a folder ("" = all) at a state, none twice. An error means that the list was
  /// not complete, whatever was told before.
  [[nodiscard]] virtual Status List(const std::string& revision,
                                    const std::string& folder,
                                    const std::function<void(StoredFile)>& tell) = 0;

  /// What stands at paths, in their order; nothing: no such file.
  [[nodiscard]] virtual Result<std::vector<std::optional<StoredFile>>> Stat(
      const std::string& revision, std::span<const std::string> paths) = 0;

  /// Stores bytes, which no one sees yet. Repeating it costs nothing where they are there already.
  /// One file's failure does not touch the others. A source must stay as it is until its commit.
  ///
  /// @return  one status per file, in their order.
  [[nodiscard]] virtual std::vector<Status> Put(std::span<const OutgoingFile> files) = 0;

  /// Makes the files visible, all or none. Files that stand there already are left out; when none
  /// remains, there is no commit.
  ///
  /// @return  the new head, or the old one.
  [[nodiscard]] virtual Result<std::string> Commit(const CommitRequest& request) = 0;

  /// Part of a file, piece by piece; `length` empty: to its end. kNotFound when there is none.
  [[nodiscard]] virtual Status Read(
      const std::string& revision,
      const std::string& path,
      std::uint64_t offset,
      std::optional<std::uint64_t> length,
      const std::function<Status(std::span<const std::byte>)>& sink) = 0;
};

}  // namespace droidflow

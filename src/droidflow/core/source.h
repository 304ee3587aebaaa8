#pragma once

/// Where files are read from: a folder of this machine, or a bucket (transfer/bucket_source.h).

#include "droidflow/core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace droidflow {

/// Names in Error::status of what sources and downloads run into.
namespace source_status {
// a bucket has no such file or folder
inline constexpr const char kNotInBucket[] = "not_in_bucket";
// a bucket does not show itself to everybody
inline constexpr const char kForbidden[] = "forbidden";
// its bytes came several times, and never were what the listing says
inline constexpr const char kBadDownload[] = "bad_download";
// it did not come, though others did
inline constexpr const char kNotFetched[] = "not_fetched";
}  // namespace source_status

/// A file or folder as a source lists it.
struct SourceEntry {
  std::string name = {};  ///< below the folder that was listed, '/' between parts
  bool is_folder = false;
  std::uint64_t size_bytes = 0;
  std::string md5 = {};                      ///< 32 hexadecimal digits; empty: not known
  std::string sha256 = {};                   ///< 64 hexadecimal digits; empty: not known
  std::optional<std::uint32_t> crc32c = {};  ///< nothing: not known

  bool operator==(const SourceEntry&) const = default;
};

enum class ListDepth {
  kFolder,  ///< what lies in the folder: files and folders
  kTree,    ///< every file below it
};

/// Files to be read, by paths with '/' between parts; "" is the source itself.
///
/// Errors  kNotFound: no such file or folder; kTransient: it may be there at the next try.
/// Thread  any.
class Source {
 public:
  /// Takes a piece of a file; its error ends the reading.
  using Sink = std::function<Status(std::span<const std::byte>)>;

  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;

  /// For messages: "/data/droid_raw", "gs://gresearch/robotics/droid_raw/1.0.1".
  [[nodiscard]] virtual std::string Describe() const = 0;

  /// Sorted by name, none twice.
  [[nodiscard]] virtual Result<std::vector<SourceEntry>> List(const std::string& folder,
                                                              ListDepth depth) = 0;

  /// A file from `offset` on, piece by piece, at most `length` bytes; beyond its end there are
  /// none.
  [[nodiscard]] virtual Status Read(const std::string& path,
                                    std::uint64_t offset,
                                    std::optional<std::uint64_t> length,
                                    const Sink& sink) = 0;

  /// What there is of a part of a file, whole by default.
  [[nodiscard]] Result<std::string> ReadText(const std::string& path,
                                             std::uint64_t offset = 0,
                                             std::optional<std::uint64_t> length = {});
};

/// A folder of this machine. Links are followed; names that begin with a dot are left out.
[[nodiscard]] std::unique_ptr<Source> MakeFolderSource(std::filesystem::path folder);

}  // namespace droidflow

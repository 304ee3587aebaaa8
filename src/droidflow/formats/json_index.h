#pragma once

/// Entries of a JSON file that is too large to be read at once for each of them.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace droidflow {

/// One entry of the object at the top of a JSON file, while it passes by.
struct JsonEntry {
  std::string_view key;           ///< decoded: no escapes, UTF-8
  std::string_view value;         ///< the value's text, checked to be JSON
  std::int64_t offset_bytes = 0;  ///< of the value's text in the file
};

/// Called for every entry in file order, repeated keys included. An error ends the reading.
using JsonEntryCallback = std::function<Status(const JsonEntry&)>;

/// Where each entry of a JSON object {key: value, …} lies in its file.
///
/// Keeps the keys and 28 bytes for each, never the values. Of a key that comes more than once the
/// last value holds, at the place of the first, as in Python's json.
///
/// Memory  the file stays open. If another file is moved over its path, entries still come from the
///         file that was indexed; if it is changed in place, ReadEntry refuses.
/// Thread  any number of readers, forked processes included: nothing moves the file's position.
class JsonIndex {
 public:
  /// Reads the file once, through a window of a few MB, and checks that all of it is JSON.
  ///
  /// @param callback  may be empty.
  /// @return kInvalidData with line and byte for anything but one JSON object whose entries have 64
  /// MiB at most.
  [[nodiscard]] static Result<JsonIndex> Build(const std::filesystem::path& path,
                                               const JsonEntryCallback& callback = {});

  /// Writes what Build has found out, as this machine holds it in memory: for Map.
  [[nodiscard]] Status Save(const std::filesystem::path& index_path) const;

  /// Opens a file by what Save wrote, which is mapped: nothing but the head is read. On another
  /// machine too, if its processor is of the same kind.
  ///
  /// @return kInvalidData for a file that Save has not written whole; kInternal when `path` has
  ///         another size or time of change than it had.
  [[nodiscard]] static Result<JsonIndex> Map(const std::filesystem::path& path,
                                             const std::filesystem::path& index_path);

  /// Number of different keys.
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  /// How many entries were replaced by a later one with the same key.
  [[nodiscard]] std::size_t num_duplicates() const { return num_duplicates_; }
  /// The key at a position in file order. Valid as long as the index.
  [[nodiscard]] std::string_view Key(std::size_t position) const;
  /// The position of a key in file order.
  [[nodiscard]] std::optional<std::size_t> Find(std::string_view key) const;

  /// The text of a value, nullopt when there is no such key.
  ///
  /// @return kInternal when the file has changed since it was indexed.
  [[nodiscard]] Result<std::optional<std::string>> ReadEntry(std::string_view key) const;

 private:
  struct Table;
  struct FileHead;
  struct Entry {
    std::uint64_t key_offset = 0;  ///< in keys_
    std::uint64_t offset_bytes = 0;
    std::uint32_t key_bytes = 0;
    std::uint32_t value_bytes = 0;
  };

  JsonIndex() = default;
  std::string_view KeyOf(const Entry& entry) const;
  Status CheckUnchanged() const;

  UniqueFd fd_;
  FileStamp stamp_;                   ///< name: the path
  std::shared_ptr<const void> held_;  ///< what the three views look at
  std::string_view keys_;
  std::span<const Entry> entries_;         ///< in file order
  std::span<const std::uint32_t> by_key_;  ///< positions in entries_, sorted by key
  std::size_t num_duplicates_ = 0;
};

}  // namespace droidflow

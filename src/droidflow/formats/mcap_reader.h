#pragma once

/// MCAP: messages of many topics with times, in chunks. SVO2 recordings are MCAP files.

#include "droidflow/core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

struct McapChannel {
  std::uint16_t id = 0;
  std::string topic;
  std::string message_encoding;
};

struct McapMessage {
  McapChannel channel;
  std::uint32_t sequence = 0;
  std::uint64_t log_time_ns = 0;
  std::uint64_t publish_time_ns = 0;
  std::span<const std::byte> data;  ///< until the reader's next call
};

/// Reads the messages of an MCAP file in the order in which they stand in it.
///
/// Chunks may be uncompressed, lz4 or zstd; they are decompressed as a stream, and their CRC is
/// checked at their end unless parts of them were skipped unread. Files whose recorder died (no
/// summary, the last chunk cut off) give every whole message and a warning.
///
/// Memory   one message and fixed buffers, however large a chunk is; for zstd, up to 128 MB that a
///          stream may ask for. A message of more than 256 MB is refused, and memory is taken only
///          as bytes come, whatever a length says.
/// Thread   one at a time.
/// Source   MCAP specification, mcap.dev/spec.
class McapReader {
 public:
  /// @return kInvalidData for a file that is no MCAP; kNotFound.
  [[nodiscard]] static Result<McapReader> Open(const std::filesystem::path& path);
  McapReader(McapReader&&) noexcept;
  McapReader& operator=(McapReader&&) noexcept;
  ~McapReader();

  /// Gives only the messages of topics for which `wanted` is true; others are skipped, in
  /// uncompressed chunks without being read. A chunk of which the message indexes say that nothing
  /// in it is wanted is not opened. Counts from the next call of Next on.
  void SelectTopics(std::function<bool(std::string_view topic)> wanted);

  /// @return false at the end. kInvalidData, with the byte, for what is damaged, kUnsupported for
  /// an
  ///         unknown compression: nothing more can be read then, except after Rewind.
  [[nodiscard]] Result<bool> Next(McapMessage& message);

  /// Starts again at the first message. Warnings are kept, once each.
  [[nodiscard]] Status Rewind();

  /// The log times of all messages of the selected topics in file order, from the message indexes
  /// where the file has them: then no chunk is decompressed. Rewinds.
  [[nodiscard]] Result<std::vector<std::uint64_t>> ListLogTimes();

  /// What was wrong with the file but did not stop the reading: "the file ends inside the chunk at
  /// byte 131072: its recorder died".
  [[nodiscard]] const std::vector<std::string>& warnings() const;

  /// Channels met so far.
  [[nodiscard]] std::vector<McapChannel> Channels() const;

  /// Bytes read from the file so far.
  [[nodiscard]] std::uint64_t bytes_read() const;

 private:
  class Impl;
  explicit McapReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace droidflow

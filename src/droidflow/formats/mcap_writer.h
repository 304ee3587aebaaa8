#pragma once

#include "droidflow/core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace droidflow {

enum class McapCompression { kNone, kLz4, kZstd };

struct McapWriterOptions {
  McapCompression compression = McapCompression::kNone;
  std::size_t chunk_bytes = 4 << 20;  ///< a chunk is closed when it has grown to this
  std::string profile;
  std::string library = "droidflow";
};

/// Writes an MCAP file: chunks with CRC and message indexes, a summary with statistics and chunk
/// indexes. The same calls give the same bytes. The file is in place, under its name, only after
/// Close: see AtomicFile in core/files.h. After a failure the writer can only be destroyed.
///
/// Memory   one chunk, its compressed form, and some 100 bytes for each chunk written.
/// Source   MCAP specification, mcap.dev/spec.
class McapWriter {
 public:
  [[nodiscard]] static Result<McapWriter> Open(const std::filesystem::path& path,
                                               const McapWriterOptions& options);
  McapWriter(McapWriter&&) noexcept;
  McapWriter& operator=(McapWriter&&) noexcept;
  /// Without Close nothing is left behind.
  ~McapWriter();

  /// @return the schema's id. Schema id 0 means "none".
  [[nodiscard]] Result<std::uint16_t> AddSchema(std::string_view name,
                                                std::string_view encoding,
                                                std::span<const std::byte> data);
  /// @return the channel's id.
  [[nodiscard]] Result<std::uint16_t> AddChannel(std::string_view topic,
                                                 std::string_view message_encoding,
                                                 std::uint16_t schema_id);
  /// Adds a message, which is published when it is logged; a channel's sequence counts from 0.
  /// @return kInvalidData for one larger than readers take: 256 MB.
  [[nodiscard]] Status Write(std::uint16_t channel_id,
                             std::uint64_t log_time_ns,
                             std::span<const std::byte> data);
  /// Ends the file and puts it in its place. Nothing may follow.
  [[nodiscard]] Status Close();

 private:
  class Impl;
  explicit McapWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace droidflow

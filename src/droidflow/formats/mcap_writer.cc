#include "droidflow/formats/mcap_writer.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/formats/checksum.h"
#include "droidflow/formats/mcap_internal.h"
#include "droidflow/formats/record_internal.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include <lz4frame.h>
#include <zstd.h>

namespace droidflow {
namespace {

using mcap::Opcode;
constexpr std::size_t kMaxIds = std::numeric_limits<std::uint16_t>::max();

std::span<const std::byte> AsBytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Text as MCAP has it: its length in front.
std::string Prefixed(std::string_view text) {
  return LittleEndianRecord().U32(text.size()).Text(text).bytes();
}

std::string RecordOf(Opcode opcode, std::string_view content) {
  return LittleEndianRecord().U8(opcode).U64(content.size()).Text(content).bytes();
}

std::string_view NameOf(McapCompression compression) {
  switch (compression) {
    case McapCompression::kNone:
      return "";
    case McapCompression::kLz4:
      return "lz4";
    case McapCompression::kZstd:
      return "zstd";
  }
  return "";
}

Result<std::string> Compress(McapCompression compression, std::string_view content) {
  std::string packed;
  if (compression == McapCompression::kLz4) {
    packed.resize(LZ4F_compressFrameBound(content.size(), nullptr));
    const std::size_t size =
        LZ4F_compressFrame(packed.data(), packed.size(), content.data(), content.size(), nullptr);
    if (LZ4F_isError(size) != 0) {
      return Fail(ErrorKind::kInternal, "lz4: {}", LZ4F_getErrorName(size));
    }
    packed.resize(size);
  } else {
    packed.resize(ZSTD_compressBound(content.size()));
    const std::size_t size = ZSTD_compress(
        packed.data(), packed.size(), content.data(), content.size(), ZSTD_CLEVEL_DEFAULT);
    if (ZSTD_isError(size) != 0) {
      return Fail(ErrorKind::kInternal, "zstd: {}", ZSTD_getErrorName(size));
    }
    packed.resize(size);
  }
  return packed;
}

}  // namespace

class McapWriter::Impl {
 public:
  Impl(AtomicFile file, const McapWriterOptions& options)
      : file_(std::move(file)), options_(options) {}

  Status Begin() {
    DF_RETURN_IF_ERROR(Put(mcap::kMagic));
    return Put(RecordOf(mcap::kHeader, Prefixed(options_.profile) + Prefixed(options_.library)));
  }

  Result<std::uint16_t> AddSchema(std::string_view name,
                                  std::string_view encoding,
                                  std::span<const std::byte> data) {
    if (schemas_.size() == kMaxIds) {
      return Fail(ErrorKind::kInternal, "more than {} schemas: {}", kMaxIds, path());
    }
    const auto id = static_cast<std::uint16_t>(schemas_.size() + 1);
    LittleEndianRecord content;
    content.U16(id).Text(Prefixed(name)).Text(Prefixed(encoding)).Text(Prefixed(AsText(data)));
    schemas_.push_back({.record = RecordOf(mcap::kSchema, content.bytes())});
    return id;
  }

  Result<std::uint16_t> AddChannel(std::string_view topic,
                                   std::string_view message_encoding,
                                   std::uint16_t schema_id) {
    DF_CHECK(schema_id <= schemas_.size(), "schema {} of {}", schema_id, schemas_.size());
    if (channels_.size() == kMaxIds) {
      return Fail(ErrorKind::kInternal, "more than {} channels: {}", kMaxIds, path());
    }
    const auto id = static_cast<std::uint16_t>(channels_.size() + 1);
    LittleEndianRecord content;
    content.U16(id).U16(schema_id).Text(Prefixed(topic)).Text(Prefixed(message_encoding));
    content.U32(0);  // No metadata.
    channels_.push_back({.record = RecordOf(mcap::kChannel, content.bytes()),
                         .schema_id = schema_id,
                         .num_messages = 0,
                         .index = {}});
    return id;
  }

  Status Write(std::uint16_t channel_id,
               std::uint64_t log_time_ns,
               std::span<const std::byte> data) {
    DF_CHECK(!is_closed_, "{} is closed", path());
    DF_CHECK(channel_id >= 1 && channel_id <= channels_.size(),
             "channel {} of {}",
             channel_id,
             channels_.size());
    const std::size_t size = mcap::kMessageHeader_bytes + data.size();
    if (size > mcap::kMaxRecord_bytes) {
      return Fail(ErrorKind::kInvalidData,
                  "want messages of at most {} bytes, have {}: {}",
                  mcap::kMaxRecord_bytes,
                  size,
                  path());
    }
    Channel& channel = channels_[channel_id - 1U];
    Describe(channel);
    channel.index.emplace_back(log_time_ns, chunk_.size());
    chunk_ += LittleEndianRecord()
                  .U8(mcap::kMessage)
                  .U64(size)
                  .U16(channel_id)
                  .U32(channel.num_messages++)
                  .U64(log_time_ns)
                  .U64(log_time_ns)
                  .bytes();
    chunk_ += AsText(data);
    chunk_times_.Add(log_time_ns);
    return chunk_.size() >= options_.chunk_bytes ? EndChunk() : Status();
  }

  Status Close() {
    DF_CHECK(!is_closed_, "{} is closed", path());
    is_closed_ = true;
    if (!chunk_.empty()) {
      DF_RETURN_IF_ERROR(EndChunk());
    }
    DF_RETURN_IF_ERROR(Put(RecordOf(mcap::kDataEnd, LittleEndianRecord().U32(crc_).bytes())));

    std::string summary;
    std::string offsets;
    const std::uint64_t summary_start = position_;
    const auto add_group = [&](Opcode opcode, std::string_view records) {
      if (records.empty()) return;
      offsets += RecordOf(mcap::kSummaryOffset,
                          LittleEndianRecord()
                              .U8(opcode)
                              .U64(summary_start + summary.size())
                              .U64(records.size())
                              .bytes());
      summary += records;
    };
    add_group(mcap::kSchema, Joined(schemas_));
    add_group(mcap::kChannel, Joined(channels_));
    add_group(mcap::kStatistics, Statistics());
    add_group(mcap::kChunkIndex, chunk_indexes_);
    const std::uint64_t offsets_start = summary_start + summary.size();
    summary += offsets;

    // The checksum covers the footer up to itself.
    summary += LittleEndianRecord()
                   .U8(mcap::kFooter)
                   .U64(mcap::kFooter_bytes)
                   .U64(summary_start)
                   .U64(offsets_start)
                   .bytes();
    summary += LittleEndianRecord().U32(Crc32(AsBytes(summary))).bytes();
    DF_RETURN_IF_ERROR(Put(summary));
    DF_RETURN_IF_ERROR(Put(mcap::kMagic));
    return file_.Commit();
  }

 private:
  struct Schema {
    std::string record;
    bool is_written = false;  ///< in the data section
  };
  struct Channel {
    std::string record;
    std::uint16_t schema_id = 0;
    std::uint64_t num_messages = 0;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> index;  ///< time, offset; of this chunk
    bool is_written = false;                                     ///< in the data section
  };
  struct TimeSpan {
    std::uint64_t first_ns = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t last_ns = 0;

    void Add(std::uint64_t time_ns) {
      first_ns = std::min(first_ns, time_ns);
      last_ns = std::max(last_ns, time_ns);
    }
  };

  [[nodiscard]] std::string path() const { return file_.path().string(); }

  template <typename Described>
  static std::string Joined(const std::vector<Described>& all) {
    std::string records;
    for (const Described& one : all) records += one.record;
    return records;
  }

  /// Before its first message a channel is described in the same chunk.
  void Describe(Channel& channel) {
    if (channel.is_written) return;
    channel.is_written = true;
    if (channel.schema_id != 0) {
      Schema& schema = schemas_[channel.schema_id - 1U];
      if (!schema.is_written) chunk_ += schema.record;
      schema.is_written = true;
    }
    chunk_ += channel.record;
  }

  Status EndChunk() {
    const std::uint64_t start = position_;
    std::string packed;
    if (options_.compression != McapCompression::kNone) {
      DF_ASSIGN_OR_RETURN(packed, Compress(options_.compression, chunk_).map_error(During(path())));
    }
    const std::string_view stored =
        options_.compression == McapCompression::kNone ? chunk_ : packed;
    const std::string head = LittleEndianRecord()
                                 .U64(chunk_times_.first_ns)
                                 .U64(chunk_times_.last_ns)
                                 .U64(chunk_.size())
                                 .U32(Crc32(AsBytes(chunk_)))
                                 .Text(Prefixed(NameOf(options_.compression)))
                                 .U64(stored.size())
                                 .bytes();
    DF_RETURN_IF_ERROR(Put(
        LittleEndianRecord().U8(mcap::kChunk).U64(head.size() + stored.size()).Text(head).bytes()));
    DF_RETURN_IF_ERROR(Put(stored));
    const std::uint64_t end = position_;

    LittleEndianRecord places;
    for (std::size_t i = 0; i < channels_.size(); ++i) {
      Channel& channel = channels_[i];
      if (channel.index.empty()) continue;
      places.U16(i + 1).U64(position_);
      LittleEndianRecord content;
      content.U16(i + 1).U32(channel.index.size() * 16);
      for (const auto& [time_ns, offset] : channel.index) content.U64(time_ns).U64(offset);
      DF_RETURN_IF_ERROR(Put(RecordOf(mcap::kMessageIndex, content.bytes())));
      channel.index.clear();
    }

    LittleEndianRecord content;
    content.U64(chunk_times_.first_ns)
        .U64(chunk_times_.last_ns)
        .U64(start)
        .U64(end - start)
        .Text(Prefixed(places.bytes()))
        .U64(position_ - end)
        .Text(Prefixed(NameOf(options_.compression)))
        .U64(stored.size())
        .U64(chunk_.size());
    chunk_indexes_ += RecordOf(mcap::kChunkIndex, content.bytes());
    ++num_chunks_;
    file_times_.Add(chunk_times_.first_ns);
    file_times_.Add(chunk_times_.last_ns);
    chunk_times_ = {};
    chunk_.clear();
    return {};
  }

  [[nodiscard]] std::string Statistics() const {
    std::uint64_t num_messages = 0;
    LittleEndianRecord counts;
    for (std::size_t i = 0; i < channels_.size(); ++i) {
      if (channels_[i].num_messages == 0) continue;
      num_messages += channels_[i].num_messages;
      counts.U16(i + 1).U64(channels_[i].num_messages);
    }
    return RecordOf(mcap::kStatistics,
                    LittleEndianRecord()
                        .U64(num_messages)
                        .U16(schemas_.size())
                        .U32(channels_.size())
                        .U32(0)  // Attachments.
                        .U32(0)  // Metadata.
                        .U32(num_chunks_)
                        .U64(num_messages == 0 ? 0 : file_times_.first_ns)
                        .U64(file_times_.last_ns)
                        .Text(Prefixed(counts.bytes()))
                        .bytes());
  }

  Status Put(std::string_view bytes) {
    crc_ = Crc32(AsBytes(bytes), crc_);
    position_ += bytes.size();
    return file_.Write(AsBytes(bytes));
  }

  AtomicFile file_;
  McapWriterOptions options_;
  bool is_closed_ = false;
  std::uint64_t position_ = 0;
  std::uint32_t crc_ = 0;  ///< of everything in front of position_
  std::vector<Schema> schemas_;
  std::vector<Channel> channels_;
  std::string chunk_;  ///< the records of the open chunk
  TimeSpan chunk_times_;
  TimeSpan file_times_;
  std::string chunk_indexes_;
  std::uint32_t num_chunks_ = 0;
};

McapWriter::McapWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
McapWriter::McapWriter(McapWriter&&) noexcept = default;
McapWriter& McapWriter::operator=(McapWriter&&) noexcept = default;
McapWriter::~McapWriter() = default;

Result<McapWriter> McapWriter::Open(const std::filesystem::path& path,
                                    const McapWriterOptions& options) {
  DF_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  auto impl = std::make_unique<Impl>(std::move(file), options);
  DF_RETURN_IF_ERROR(impl->Begin());
  return McapWriter(std::move(impl));
}

Result<std::uint16_t> McapWriter::AddSchema(std::string_view name,
                                            std::string_view encoding,
                                            std::span<const std::byte> data) {
  return impl_->AddSchema(name, encoding, data);
}

Result<std::uint16_t> McapWriter::AddChannel(std::string_view topic,
                                             std::string_view message_encoding,
                                             std::uint16_t schema_id) {
  return impl_->AddChannel(topic, message_encoding, schema_id);
}

Status McapWriter::Write(std::uint16_t channel_id,
                         std::uint64_t log_time_ns,
                         std::span<const std::byte> data) {
  return impl_->Write(channel_id, log_time_ns, data);
}

Status McapWriter::Close() { return impl_->Close(); }

}  // namespace droidflow

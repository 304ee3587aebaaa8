#include "droidflow/formats/mcap_reader.h"

#include "droidflow/formats/mcap_chunk_internal.h"
#include "droidflow/formats/mcap_internal.h"
#include "droidflow/formats/record_internal.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <map>
#include <new>
#include <optional>
#include <sys/types.h>
#include <utility>

namespace droidflow {
namespace {

using mcap::ChunkHeader;
using mcap::ChunkStream;
using mcap::FileWindow;
using Bytes = std::span<const std::byte>;

constexpr std::size_t kStep_bytes = 1 << 20;
constexpr std::size_t kChunkHead_bytes = 32;  // Up to the name of the compression.
constexpr std::size_t kMaxCompressionName_bytes = 64;
constexpr std::uint64_t kMaxChannel_bytes = 64 << 10;  // names and a few words about them
constexpr std::size_t kIndexEntry_bytes = 16;

bool IsCut(const Error& error) { return error.status == mcap::kCut; }

/// Opcode and length, which have been read.
struct RecordHeader {
  std::uint8_t opcode = 0;
  std::uint64_t length = 0;
  std::uint64_t start = 0;  ///< its first byte, in the file or in its chunk
};

struct Channel {
  McapChannel channel;
  bool is_wanted = true;
};

/// Where a record stands: top-level record, and byte of its chunk.
using Place = std::pair<std::uint64_t, std::uint64_t>;

}  // namespace

class McapReader::Impl {
 public:
  explicit Impl(FileWindow file) : file_(std::move(file)) {}

  Status CheckMagic() {
    DF_ASSIGN_OR_RETURN(const Bytes bytes, file_.Peek(mcap::kMagic.size()));
    if (bytes.size() < mcap::kMagic.size() ||
        std::memcmp(bytes.data(), mcap::kMagic.data(), mcap::kMagic.size()) != 0) {
      return Fail(ErrorKind::kInvalidData,
                  "byte 0: want an MCAP file, its first {} bytes are not MCAP's: {}",
                  std::min(bytes.size(), mcap::kMagic.size()),
                  file_.path());
    }
    Rewind();
    return {};
  }

  void SelectTopics(std::function<bool(std::string_view)> wanted) {
    wanted_ = std::move(wanted);
    for (auto& [id, channel] : channels_) channel.is_wanted = IsWanted(channel.channel.topic);
  }

  Result<bool> Next(McapMessage& message) {
    if (failure_) return tl::unexpected(*failure_);
    while (!is_done_) {
      Result<bool> has_message = Step(message);
      if (has_message && *has_message) return true;
      if (has_message) continue;
      if (!IsCut(has_message.error())) {
        failure_ = std::move(has_message).error();
        return tl::unexpected(*failure_);
      }
      if (std::ranges::find(warnings_, has_message.error().message) == warnings_.end()) {
        warnings_.push_back(std::move(has_message).error().message);
      }
      is_done_ = true;
    }
    return false;
  }

  void Rewind() {
    file_.SeekTo(mcap::kMagic.size());
    chunk_.reset();
    is_done_ = false;
    is_past_data_ = false;
    has_skipped_chunks_ = false;
    resume_at_ = {};
    failure_.reset();
  }

  Result<std::vector<std::uint64_t>> ListLogTimes() {
    Rewind();
    std::vector<std::uint64_t> times_ns;
    listed_times_ns_ = &times_ns;
    McapMessage message;
    Result<bool> has_message = Next(message);
    while (has_message && *has_message) {
      times_ns.push_back(message.log_time_ns);
      has_message = Next(message);
    }
    listed_times_ns_ = nullptr;
    Rewind();
    if (!has_message) return tl::unexpected(std::move(has_message).error());
    return times_ns;
  }

  [[nodiscard]] const std::vector<std::string>& warnings() const { return warnings_; }
  [[nodiscard]] std::uint64_t bytes_read() const { return file_.bytes_read(); }
  [[nodiscard]] std::vector<McapChannel> Channels() const {
    std::vector<McapChannel> channels;
    for (const auto& [id, channel] : channels_) channels.push_back(channel.channel);
    return channels;
  }

 private:
  [[nodiscard]] bool IsWanted(std::string_view topic) const { return !wanted_ || wanted_(topic); }

  /// Reads one record, or leaves a chunk. @return whether it was a message that is wanted.
  Result<bool> Step(McapMessage& message) {
    if (chunk_ && chunk_->remaining() == 0) {
      DF_RETURN_IF_ERROR(chunk_->Finish());
      file_.SeekTo(chunk_->header().end);
      chunk_.reset();
      return false;
    }
    DF_ASSIGN_OR_RETURN(const RecordHeader record, ReadRecordHeader());
    if (!chunk_ && (is_past_data_ || record.opcode == mcap::kFooter)) {
      DF_RETURN_IF_ERROR(Skip(record.length));
      is_done_ = record.opcode == mcap::kFooter;
      return false;
    }
    switch (record.opcode) {
      case 0:
        return Damaged(record, "want a record, found opcode 0");
      case mcap::kMessage:
        return ReadMessage(record, message);
      case mcap::kChannel: {
        DF_RETURN_IF_ERROR(ReadContent(record, record.length, kMaxChannel_bytes));
        DF_ASSIGN_OR_RETURN(Channel channel, ParseChannel(record));
        channels_.insert_or_assign(channel.channel.id, std::move(channel));
        return false;
      }
      case mcap::kChunk:
        if (chunk_) return Damaged(record, "a chunk inside a chunk");
        DF_RETURN_IF_ERROR(EnterChunk(record));
        return false;
      case mcap::kDataEnd:
        is_past_data_ = !chunk_;
        break;
      default:
        break;
    }
    DF_RETURN_IF_ERROR(Skip(record.length));
    return false;
  }

  // Bytes of the open chunk, or of the file outside chunks.

  [[nodiscard]] std::uint64_t position() const {
    return chunk_ ? chunk_->position() : file_.position();
  }

  Status Read(std::span<std::byte> out) {
    if (chunk_) return chunk_->Read(out);
    while (!out.empty()) {
      DF_ASSIGN_OR_RETURN(const Bytes bytes, file_.Peek(out.size()));
      if (bytes.empty()) return FailCut(out.size());
      const std::size_t count = std::min(bytes.size(), out.size());
      std::memcpy(out.data(), bytes.data(), count);
      file_.Advance(count);
      out = out.subspan(count);
    }
    return {};
  }

  Status Skip(std::uint64_t count) {
    if (chunk_) return chunk_->Skip(count);
    DF_ASSIGN_OR_RETURN(const bool is_there, file_.Skip(count));
    if (!is_there) return FailCut(count);
    return {};
  }

  /// @param missing  bytes from the position on, not all of which are there.
  [[nodiscard]] tl::unexpected<Error> FailCut(std::uint64_t missing) const {
    return FailAs(mcap::kCut,
                  ErrorKind::kInvalidData,
                  "the file has no end record, it stops before byte {}: its recorder died",
                  file_.position() + missing);
  }

  Result<RecordHeader> ReadRecordHeader() {
    RecordHeader record{.start = position()};
    std::array<std::byte, mcap::kRecordHeader_bytes> bytes{};
    if (chunk_ && chunk_->remaining() < bytes.size()) {
      return Damaged(
          record, fmt::format("want a record, the chunk has {} more bytes", chunk_->remaining()));
    }
    DF_RETURN_IF_ERROR(Read(bytes));
    record.opcode = std::to_integer<std::uint8_t>(bytes[0]);
    record.length = Load<std::uint64_t>(bytes, 1);
    // In the file: what no file can hold. A record that is merely too long for this one is cut off.
    const std::uint64_t most =
        chunk_
            ? chunk_->remaining()
            : static_cast<std::uint64_t>(std::numeric_limits<off_t>::max() / 2) - file_.position();
    if (record.length > most) {
      return Damaged(record,
                     fmt::format("a record of opcode {} that says it has {} bytes, at most {} fit",
                                 record.opcode,
                                 record.length,
                                 most));
    }
    return record;
  }

  /// Reads the next `size` bytes of a record into content_, which grows only as they come.
  Status ReadContent(const RecordHeader& record,
                     std::uint64_t size,
                     std::uint64_t most = mcap::kMaxRecord_bytes) try {
    if (size > most) {
      return Damaged(
          record,
          fmt::format(
              "a record of opcode {} with {} bytes, want at most {}", record.opcode, size, most));
    }
    content_bytes_ = 0;
    while (content_bytes_ < size) {
      // Doubles, so that what came is copied a few times at most.
      const std::size_t goal =
          std::min<std::size_t>(size, std::max(2 * content_bytes_, kStep_bytes));
      if (content_.size() < goal) content_.resize(goal);
      DF_RETURN_IF_ERROR(Read(std::span(content_).subspan(content_bytes_, goal - content_bytes_)));
      content_bytes_ = goal;
    }
    return {};
  } catch (const std::bad_alloc&) {
    return FailErrno(ENOMEM, "cannot read " + file_.path());
  }

  [[nodiscard]] Bytes content() const { return Bytes(content_).first(content_bytes_); }

  [[nodiscard]] tl::unexpected<Error> Damaged(const RecordHeader& record,
                                              std::string_view what) const {
    if (!chunk_) {
      return Fail(ErrorKind::kInvalidData, "byte {}: {}: {}", record.start, what, file_.path());
    }
    return Fail(ErrorKind::kInvalidData,
                "byte {} of the chunk at byte {}: {}: {}",
                record.start,
                chunk_->header().start,
                what,
                file_.path());
  }

  Result<bool> ReadMessage(const RecordHeader& record, McapMessage& message) {
    if (record.length < mcap::kMessageHeader_bytes) {
      return Damaged(record, fmt::format("a message of {} bytes", record.length));
    }
    std::array<std::byte, mcap::kMessageHeader_bytes> head{};
    DF_RETURN_IF_ERROR(Read(head));
    const std::uint64_t data_bytes = record.length - head.size();
    const Place place =
        chunk_ ? Place(chunk_->header().start, record.start) : Place(record.start, 0);
    const auto id = Load<std::uint16_t>(head, 0);
    const auto found = channels_.find(id);
    if (found == channels_.end() && has_skipped_chunks_) {
      // Writers may describe a channel in the chunk before the one with its first message: begin
      // again, look into every chunk, and go on here.
      Rewind();
      resume_at_ = place;
      may_skip_chunks_ = false;
      return false;
    }
    if (found == channels_.end()) {
      return Damaged(record, fmt::format("a message of channel {}, which is not described", id));
    }
    if (!found->second.is_wanted || place < resume_at_) {
      DF_RETURN_IF_ERROR(Skip(data_bytes));
      return false;
    }
    if (listed_times_ns_ != nullptr) {
      DF_RETURN_IF_ERROR(Skip(data_bytes));
      content_bytes_ = 0;
    } else {
      DF_RETURN_IF_ERROR(ReadContent(record, data_bytes));
    }
    message.channel = found->second.channel;
    message.sequence = Load<std::uint32_t>(head, 2);
    message.log_time_ns = Load<std::uint64_t>(head, 6);
    message.publish_time_ns = Load<std::uint64_t>(head, 14);
    message.data = content();
    return true;
  }

  /// Of the record in content_.
  Result<Channel> ParseChannel(const RecordHeader& record) const {
    const Bytes bytes = content();
    std::size_t at = 4;  // Id and schema.
    const auto take_text = [&](std::string& text) {
      if (bytes.size() < at + 4) return false;
      const auto size = Load<std::uint32_t>(bytes, at);
      at += 4;
      if (bytes.size() - at < size) return false;
      text.assign(reinterpret_cast<const char*>(bytes.data()) + at, size);
      at += size;
      return true;
    };
    Channel channel;
    if (!take_text(channel.channel.topic) || !take_text(channel.channel.message_encoding)) {
      return Damaged(record,
                     fmt::format("a channel that needs more than its {} bytes", bytes.size()));
    }
    channel.channel.id = Load<std::uint16_t>(bytes, 0);
    channel.is_wanted = IsWanted(channel.channel.topic);
    return channel;
  }

  /// Reads the header of a chunk, whose record header has been read. The position is then that of
  /// its first record, or behind it when nothing in it is wanted.
  Status EnterChunk(const RecordHeader& record) {
    std::array<std::byte, kChunkHead_bytes> head{};
    std::array<std::byte, kMaxCompressionName_bytes> name{};
    std::array<std::byte, 8> tail{};
    const auto damaged = [&](std::uint64_t says) {
      return Damaged(
          record,
          fmt::format("a chunk of {} bytes that says {} about its content", record.length, says));
    };
    if (record.length < head.size() + tail.size()) return damaged(0);
    DF_RETURN_IF_ERROR(Read(head));
    const auto name_bytes = Load<std::uint32_t>(head, 28);
    if (name_bytes > name.size() || name_bytes > record.length - head.size() - tail.size()) {
      return damaged(name_bytes);
    }
    DF_RETURN_IF_ERROR(Read(std::span(name).first(name_bytes)));
    DF_RETURN_IF_ERROR(Read(tail));
    const auto content_bytes = Load<std::uint64_t>(tail, 0);
    const ChunkHeader header{
        .start = record.start,
        .content = file_.position(),
        .end = record.start + mcap::kRecordHeader_bytes + record.length,
        .uncompressed_bytes = Load<std::uint64_t>(head, 16),
        .crc32 = Load<std::uint32_t>(head, 24),
        .compression = std::string(reinterpret_cast<const char*>(name.data()), name_bytes)};
    const bool is_stored = header.compression.empty();
    if (content_bytes != header.end - header.content) return damaged(content_bytes);
    if (is_stored && header.uncompressed_bytes != content_bytes) {
      return damaged(header.uncompressed_bytes);
    }
    DF_ASSIGN_OR_RETURN(mcap::Decoder* const decoder, DecoderFor(header));

    DF_ASSIGN_OR_RETURN(const bool is_needless, IsCoveredByIndexes(header));
    if (is_needless) {
      has_skipped_chunks_ = true;
      file_.SeekTo(header.end);
    } else {
      file_.SeekTo(header.content);
      chunk_.emplace(header, decoder, file_);
    }
    return {};
  }

  Result<mcap::Decoder*> DecoderFor(const ChunkHeader& header) {
    if (header.compression.empty()) return nullptr;
    if (header.compression == "lz4") {
      if (!lz4_) lz4_ = mcap::MakeLz4Decoder();
      return lz4_.get();
    }
    if (header.compression == "zstd") {
      if (!zstd_) zstd_ = mcap::MakeZstdDecoder();
      return zstd_.get();
    }
    std::string name = header.compression;
    std::ranges::replace_if(
        name, [](char c) { return c < ' ' || c > '~'; }, '?');
    return Fail(ErrorKind::kUnsupported,
                "byte {}: want a chunk with lz4, zstd or no compression, have {}: {}",
                header.start,
                name,
                file_.path());
  }

  /// Whether the message indexes behind a chunk make it needless to open it: nothing in it is
  /// wanted, or all that is wanted are times, which are then listed.
  Result<bool> IsCoveredByIndexes(const ChunkHeader& header) {
    const bool is_listing = listed_times_ns_ != nullptr;
    // Where no channel is known, the chunk must be opened to meet the first.
    if (!may_skip_chunks_ || !(is_listing || (wanted_ && !channels_.empty()))) return false;
    if (header.uncompressed_bytes == 0) return false;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> offsets_and_times_ns;
    file_.SeekTo(header.end);
    Result<bool> is_covered = ReadIndexes(offsets_and_times_ns);
    // The file ends among the indexes, so they may not be all.
    if (!is_covered && IsCut(is_covered.error())) return false;
    if (!is_covered || !*is_covered) return is_covered;
    if (is_listing) {
      std::ranges::sort(offsets_and_times_ns);
      for (const auto& [offset, time_ns] : offsets_and_times_ns)
        listed_times_ns_->push_back(time_ns);
    }
    return true;
  }

  Result<bool> ReadIndexes(std::vector<std::pair<std::uint64_t, std::uint64_t>>& entries) {
    bool has_index = false;
    for (;;) {
      DF_ASSIGN_OR_RETURN(const RecordHeader record, ReadRecordHeader());
      if (record.opcode != mcap::kMessageIndex) return has_index;
      has_index = true;
      std::array<std::byte, 6> head{};
      if (record.length < head.size()) return false;
      DF_RETURN_IF_ERROR(Read(head));
      const auto size = Load<std::uint32_t>(head, 2);
      if (size != record.length - head.size() || size % kIndexEntry_bytes != 0) return false;
      if (size == 0) continue;
      const Channel* const channel = FindChannel(Load<std::uint16_t>(head, 0));
      if (channel == nullptr) return false;
      if (!channel->is_wanted) {
        DF_RETURN_IF_ERROR(Skip(size));
        continue;
      }
      if (listed_times_ns_ == nullptr) return false;
      DF_RETURN_IF_ERROR(ReadContent(record, size));
      for (std::size_t at = 0; at < size; at += kIndexEntry_bytes) {
        entries.emplace_back(Load<std::uint64_t>(content(), at + 8),
                             Load<std::uint64_t>(content(), at));
      }
    }
  }

  /// Also among the channels of the summary. nullptr: not described.
  const Channel* FindChannel(std::uint16_t id) {
    if (channels_.find(id) == channels_.end() && !is_summary_read_) {
      is_summary_read_ = true;
      const std::uint64_t position = file_.position();
      // What is wrong with the summary is no loss: the chunks say the same.
      (void)ReadSummaryChannels();
      file_.SeekTo(position);
    }
    const auto found = channels_.find(id);
    return found == channels_.end() ? nullptr : &found->second;
  }

  Status ReadSummaryChannels() {
    constexpr std::size_t kTail_bytes =
        mcap::kRecordHeader_bytes + mcap::kFooter_bytes + mcap::kMagic.size();
    DF_ASSIGN_OR_RETURN(const std::uint64_t file_bytes, file_.FileSize());
    if (file_bytes < mcap::kMagic.size() + kTail_bytes) return {};
    const std::uint64_t footer_byte = file_bytes - kTail_bytes;
    file_.SeekTo(footer_byte);
    DF_ASSIGN_OR_RETURN(const RecordHeader footer, ReadRecordHeader());
    if (footer.opcode != mcap::kFooter || footer.length != mcap::kFooter_bytes) return {};
    std::array<std::byte, 8> bytes{};
    DF_RETURN_IF_ERROR(Read(bytes));
    const auto summary_byte = Load<std::uint64_t>(bytes, 0);
    if (summary_byte == 0 || summary_byte > footer_byte) return {};

    file_.SeekTo(summary_byte);
    bool has_channel = false;
    while (file_.position() < footer_byte) {
      DF_ASSIGN_OR_RETURN(const RecordHeader record, ReadRecordHeader());
      if (record.opcode == mcap::kChannel) {
        has_channel = true;
        DF_RETURN_IF_ERROR(ReadContent(record, record.length, kMaxChannel_bytes));
        DF_ASSIGN_OR_RETURN(Channel channel, ParseChannel(record));
        channels_.emplace(channel.channel.id, std::move(channel));
      } else if (has_channel) {
        return {};  // Records of a kind stand together.
      } else {
        DF_RETURN_IF_ERROR(Skip(record.length));
      }
    }
    return {};
  }

  FileWindow file_;
  std::function<bool(std::string_view)> wanted_;
  std::map<std::uint16_t, Channel> channels_;
  bool is_summary_read_ = false;
  std::unique_ptr<mcap::Decoder> lz4_;
  std::unique_ptr<mcap::Decoder> zstd_;
  std::vector<std::string> warnings_;

  std::optional<ChunkStream> chunk_;  ///< that the position is in
  bool is_past_data_ = false;         ///< in the summary
  bool is_done_ = false;
  std::optional<Error> failure_;
  bool may_skip_chunks_ = true;
  bool has_skipped_chunks_ = false;
  Place resume_at_;  ///< messages in front of it were given before

  std::vector<std::uint64_t>* listed_times_ns_ = nullptr;  ///< where ListLogTimes wants times only

  std::vector<std::byte> content_;  ///< never shrinks; content_bytes_ of it count
  std::size_t content_bytes_ = 0;
};

McapReader::McapReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
McapReader::McapReader(McapReader&&) noexcept = default;
McapReader& McapReader::operator=(McapReader&&) noexcept = default;
McapReader::~McapReader() = default;

Result<McapReader> McapReader::Open(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(FileWindow file, FileWindow::Open(path));
  auto impl = std::make_unique<Impl>(std::move(file));
  DF_RETURN_IF_ERROR(impl->CheckMagic());
  return McapReader(std::move(impl));
}

void McapReader::SelectTopics(std::function<bool(std::string_view)> wanted) {
  impl_->SelectTopics(std::move(wanted));
}

Result<bool> McapReader::Next(McapMessage& message) { return impl_->Next(message); }

Status McapReader::Rewind() {
  impl_->Rewind();
  return {};
}

Result<std::vector<std::uint64_t>> McapReader::ListLogTimes() { return impl_->ListLogTimes(); }

const std::vector<std::string>& McapReader::warnings() const { return impl_->warnings(); }

std::vector<McapChannel> McapReader::Channels() const { return impl_->Channels(); }

std::uint64_t McapReader::bytes_read() const { return impl_->bytes_read(); }

}  // namespace droidflow

#pragma once

/// How the MCAP reader gets at bytes: of the file, and of a chunk in it. Not installed.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace droidflow::mcap {

/// Status of the error that says that the file ends where it should go on. It stays in the reader,
/// which makes a warning of it.
inline constexpr const char* kCut = "mcap_cut";

/// A file read forwards through one buffer.
///
/// It reads ahead little after a jump and ever more while it goes on, so that neither skipping nor
/// streaming reads or waits in vain.
class FileWindow {
 public:
  static constexpr std::size_t kBuffer_bytes = 256 << 10;

  /// @return kInvalidData for what is no regular file.
  [[nodiscard]] static Result<FileWindow> Open(const std::filesystem::path& path);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::uint64_t position() const { return base_ + begin_; }
  [[nodiscard]] std::uint64_t bytes_read() const { return bytes_read_; }

  /// Goes to any byte, past the end of the file too.
  void SeekTo(std::uint64_t position);

  /// Steps over bytes unread. @return false, and does nothing, when the file has fewer.
  [[nodiscard]] Result<bool> Skip(std::uint64_t count);

  /// Bytes from the position on: `size` of them, or what the buffer holds, fewer only where the
  /// file ends. Valid until the next call.
  [[nodiscard]] Result<std::span<const std::byte>> Peek(std::size_t size);

  /// Steps over bytes that Peek gave.
  void Advance(std::size_t count) { begin_ += count; }

  /// How large the file is now.
  [[nodiscard]] Result<std::uint64_t> FileSize() const;

 private:
  FileWindow(UniqueFd fd, std::string path);

  UniqueFd fd_;
  std::string path_;
  std::unique_ptr<std::byte[]> buffer_;
  // Bytes [begin_, end_) of the buffer are to be read, and byte base_ of the file is its first.
  std::uint64_t base_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t read_ahead_bytes_ = 0;
  std::uint64_t bytes_read_ = 0;
};

/// Decompresses one frame after the other.
class Decoder {
 public:
  struct Step {
    std::size_t consumed = 0;
    std::size_t produced = 0;
    std::size_t next_input_bytes = 0;  ///< what helps best; 0: the frame is complete
  };

  Decoder() = default;
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  virtual ~Decoder() = default;

  virtual void Reset() = 0;
  /// @return kInvalidData for what is no such stream.
  [[nodiscard]] virtual Result<Step> Decode(std::span<const std::byte> input,
                                            std::span<std::byte> output) = 0;
};

[[nodiscard]] std::unique_ptr<Decoder> MakeLz4Decoder();
[[nodiscard]] std::unique_ptr<Decoder> MakeZstdDecoder();

/// Where a chunk lies and what its header says.
struct ChunkHeader {
  std::uint64_t start = 0;    ///< first byte of the record
  std::uint64_t content = 0;  ///< first byte of its records, compressed or not
  std::uint64_t end = 0;      ///< one past the record
  std::uint64_t uncompressed_bytes = 0;
  std::uint32_t crc32 = 0;  ///< 0: not known
  std::string compression;
};

/// The records of a chunk as a stream of bytes.
class ChunkStream {
 public:
  /// @param decoder  nullptr: the chunk is not compressed.
  ChunkStream(ChunkHeader header, Decoder* decoder, FileWindow& file);

  [[nodiscard]] const ChunkHeader& header() const { return header_; }
  [[nodiscard]] std::uint64_t position() const { return position_; }
  [[nodiscard]] std::uint64_t remaining() const { return header_.uncompressed_bytes - position_; }

  /// Fills `out`, which is no longer than remaining(). @return kInvalidData for a stream that is
  /// damaged or too short, with status kCut where the file ends.
  [[nodiscard]] Status Read(std::span<std::byte> out);

  /// Steps over bytes; without reading them when they are not compressed.
  [[nodiscard]] Status Skip(std::uint64_t count);

  /// When nothing remains: checks that the compressed stream ends here too, and the CRC-32 of all
  /// that was read, if that was all.
  [[nodiscard]] Status Finish();

 private:
  Status ReadStored(std::span<std::byte> out);
  Status ReadCompressed(std::span<std::byte> out);
  /// One call of the decoder. @return how many bytes came; 0 when there is no more input.
  Result<std::size_t> DecodeSome(std::span<std::byte> out);

  ChunkHeader header_;
  Decoder* decoder_;
  FileWindow* file_;
  std::uint64_t position_ = 0;
  std::uint32_t crc32_ = 0;
  bool is_crc_known_ = true;
  std::size_t next_input_bytes_ = 0;
};

}  // namespace droidflow::mcap

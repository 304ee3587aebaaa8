#include "droidflow/formats/mcap_chunk_internal.h"

#include "droidflow/formats/checksum.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <lz4frame.h>
#include <zstd.h>
#include <zstd_errors.h>

namespace droidflow::mcap {
namespace {

constexpr std::size_t kFirstReadAhead_bytes = 4 << 10;
// What a frame may ask to be remembered: 128 MB, what zstd itself takes without --long.
constexpr int kMaxZstdWindowLog = 27;

class Lz4Decoder final : public Decoder {
 public:
  void Reset() override {
    if (context_) LZ4F_resetDecompressionContext(context_.get());
  }

  Result<Step> Decode(std::span<const std::byte> input, std::span<std::byte> output) override {
    if (!context_) {
      LZ4F_dctx* made = nullptr;
      const LZ4F_errorCode_t code = LZ4F_createDecompressionContext(&made, LZ4F_VERSION);
      if (LZ4F_isError(code) != 0) return FailErrno(ENOMEM, "cannot make an lz4 decoder");
      context_.reset(made);
    }
    Step step{.consumed = input.size(), .produced = output.size()};
    const std::size_t hint = LZ4F_decompress(
        context_.get(), output.data(), &step.produced, input.data(), &step.consumed, nullptr);
    if (LZ4F_isError(hint) != 0) {
      return Fail(ErrorKind::kInvalidData, "lz4: {}", LZ4F_getErrorName(hint));
    }
    step.next_input_bytes = hint;
    return step;
  }

 private:
  struct Free {
    void operator()(LZ4F_dctx* context) const { LZ4F_freeDecompressionContext(context); }
  };
  std::unique_ptr<LZ4F_dctx, Free> context_;
};

class ZstdDecoder final : public Decoder {
 public:
  void Reset() override {
    if (context_) ZSTD_DCtx_reset(context_.get(), ZSTD_reset_session_only);
  }

  Result<Step> Decode(std::span<const std::byte> input, std::span<std::byte> output) override {
    if (!context_) {
      context_.reset(ZSTD_createDCtx());
      if (!context_) return FailErrno(ENOMEM, "cannot make a zstd decoder");
      ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kMaxZstdWindowLog);
    }
    ZSTD_inBuffer in{.src = input.data(), .size = input.size(), .pos = 0};
    ZSTD_outBuffer out{.dst = output.data(), .size = output.size(), .pos = 0};
    const std::size_t hint = ZSTD_decompressStream(context_.get(), &out, &in);
    if (ZSTD_isError(hint) != 0) {
      if (ZSTD_getErrorCode(hint) == ZSTD_error_memory_allocation) {
        return FailErrno(ENOMEM, "cannot decompress zstd");
      }
      return Fail(ErrorKind::kInvalidData, "zstd: {}", ZSTD_getErrorName(hint));
    }
    return Step{.consumed = in.pos, .produced = out.pos, .next_input_bytes = hint};
  }

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };
  std::unique_ptr<ZSTD_DCtx, Free> context_;
};

tl::unexpected<Error> FailCut(const ChunkHeader& header) {
  return FailAs(kCut,
                ErrorKind::kInvalidData,
                "the file ends inside the chunk at byte {}: its recorder died",
                header.start);
}

}  // namespace

FileWindow::FileWindow(UniqueFd fd, std::string path)
    : fd_(std::move(fd)),
      path_(std::move(path)),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(kBuffer_bytes)),
      read_ahead_bytes_(kFirstReadAhead_bytes) {}

Result<FileWindow> FileWindow::Open(const std::filesystem::path& path) {
  // A pipe would make open wait for whoever writes to it.
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return FailErrno(errno, "cannot open " + path.native());
  struct stat info = {};
  if (fstat(fd.get(), &info) != 0) return FailErrno(errno, "cannot stat " + path.native());
  if (!S_ISREG(info.st_mode)) {
    return Fail(ErrorKind::kInvalidData, "want a regular file, this is none: {}", path.native());
  }
  return FileWindow(std::move(fd), path.native());
}

void FileWindow::SeekTo(std::uint64_t position) {
  if (position >= base_ && position - base_ <= end_) {
    begin_ = position - base_;
    return;
  }
  base_ = position;
  begin_ = end_ = 0;
  read_ahead_bytes_ = kFirstReadAhead_bytes;
}

Result<bool> FileWindow::Skip(std::uint64_t count) {
  const std::uint64_t goal = position() + count;
  if (goal > base_ + end_) {
    DF_ASSIGN_OR_RETURN(const std::uint64_t file_bytes, FileSize());
    if (goal > file_bytes) return false;
  }
  SeekTo(goal);
  return true;
}

Result<std::span<const std::byte>> FileWindow::Peek(std::size_t size) {
  size = std::min(size, kBuffer_bytes);
  if (end_ - begin_ < size) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    base_ += begin_;
    end_ -= std::exchange(begin_, 0);
    const std::size_t goal = std::clamp(end_ + read_ahead_bytes_, size, kBuffer_bytes);
    read_ahead_bytes_ = std::min(2 * read_ahead_bytes_, kBuffer_bytes);
    while (end_ < goal) {
      const ssize_t count =
          pread(fd_.get(), buffer_.get() + end_, goal - end_, static_cast<off_t>(base_ + end_));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return FailErrno(errno, "cannot read " + path_);
      if (count == 0) break;
      end_ += static_cast<std::size_t>(count);
      bytes_read_ += static_cast<std::uint64_t>(count);
    }
  }
  return std::span<const std::byte>(buffer_.get() + begin_, end_ - begin_);
}

Result<std::uint64_t> FileWindow::FileSize() const {
  struct stat info = {};
  if (fstat(fd_.get(), &info) != 0) return FailErrno(errno, "cannot stat " + path_);
  return static_cast<std::uint64_t>(info.st_size);
}

std::unique_ptr<Decoder> MakeLz4Decoder() { return std::make_unique<Lz4Decoder>(); }
std::unique_ptr<Decoder> MakeZstdDecoder() { return std::make_unique<ZstdDecoder>(); }

ChunkStream::ChunkStream(ChunkHeader header, Decoder* decoder, FileWindow& file)
    : header_(std::move(header)), decoder_(decoder), file_(&file) {
  if (decoder_ != nullptr) decoder_->Reset();
}

Status ChunkStream::Read(std::span<std::byte> out) {
  DF_RETURN_IF_ERROR(decoder_ == nullptr ? ReadStored(out) : ReadCompressed(out));
  crc32_ = Crc32(out, crc32_);
  position_ += out.size();
  return {};
}

Status ChunkStream::ReadStored(std::span<std::byte> out) {
  while (!out.empty()) {
    DF_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, file_->Peek(out.size()));
    if (bytes.empty()) return FailCut(header_);
    const std::size_t count = std::min(bytes.size(), out.size());
    std::memcpy(out.data(), bytes.data(), count);
    file_->Advance(count);
    out = out.subspan(count);
  }
  return {};
}

Status ChunkStream::ReadCompressed(std::span<std::byte> out) {
  while (!out.empty()) {
    DF_ASSIGN_OR_RETURN(const std::size_t count, DecodeSome(out));
    if (count == 0) {
      return Fail(ErrorKind::kInvalidData,
                  "byte {}: {} ends early, {} bytes of {} are missing: {}",
                  header_.end,
                  header_.compression,
                  header_.uncompressed_bytes - position_,
                  header_.uncompressed_bytes,
                  file_->path());
    }
    out = out.subspan(count);
  }
  return {};
}

Result<std::size_t> ChunkStream::DecodeSome(std::span<std::byte> out) {
  for (;;) {
    const std::uint64_t left = header_.end - file_->position();
    const std::size_t wanted = std::max<std::size_t>(next_input_bytes_, 1);
    DF_ASSIGN_OR_RETURN(std::span<const std::byte> input,
                        file_->Peek(std::min<std::uint64_t>(wanted, left)));
    input = input.first(std::min<std::uint64_t>(input.size(), left));
    auto step = decoder_->Decode(input, out);
    if (!step && step.error().kind == ErrorKind::kInvalidData) {
      return Fail(ErrorKind::kInvalidData,
                  "byte {}: {}: {}",
                  file_->position(),
                  step.error().message,
                  file_->path());
    }
    if (!step) return tl::unexpected(std::move(step).error());
    file_->Advance(step->consumed);
    // The decoder's word counts only when it had something to work on.
    if (step->consumed > 0 || step->produced > 0) next_input_bytes_ = step->next_input_bytes;
    if (step->produced > 0) return step->produced;
    if (step->consumed > 0) continue;
    if (left > 0 && input.empty()) return FailCut(header_);
    return 0;
  }
}

Status ChunkStream::Skip(std::uint64_t count) {
  if (decoder_ == nullptr) {
    DF_ASSIGN_OR_RETURN(const bool is_there, file_->Skip(count));
    if (!is_there) return FailCut(header_);
    position_ += count;
    if (count > 0) is_crc_known_ = false;
    return {};
  }
  std::array<std::byte, 16 << 10> ignored;
  while (count > 0) {
    const std::size_t size = std::min<std::uint64_t>(count, ignored.size());
    DF_RETURN_IF_ERROR(Read(std::span(ignored).first(size)));
    count -= size;
  }
  return {};
}

Status ChunkStream::Finish() {
  if (decoder_ != nullptr) {
    // What is left is the end of the frame, which gives no more bytes.
    std::array<std::byte, 1> ignored{};
    DF_ASSIGN_OR_RETURN(const std::size_t count, DecodeSome(ignored));
    if (count > 0 || next_input_bytes_ > 0) {
      return Fail(ErrorKind::kInvalidData,
                  "byte {}: {} {} after {} bytes: {}",
                  file_->position(),
                  header_.compression,
                  count > 0 ? "goes on" : "has no end",
                  header_.uncompressed_bytes,
                  file_->path());
    }
  }
  if (header_.crc32 != 0 && is_crc_known_ && crc32_ != header_.crc32) {
    return Fail(ErrorKind::kInvalidData,
                "byte {}: the chunk from byte {} to here should have CRC-32 {:08x}, it has {:08x}: "
                "{}",
                header_.end,
                header_.start,
                header_.crc32,
                crc32_,
                file_->path());
  }
  return {};
}

}  // namespace droidflow::mcap

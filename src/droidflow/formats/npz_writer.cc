#include "droidflow/formats/npz_writer.h"

#include "droidflow/core/check.h"
#include "droidflow/formats/checksum.h"
#include "droidflow/formats/record_internal.h"
#include "droidflow/formats/zip_internal.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <unistd.h>
#include <utility>

#include <libdeflate.h>

namespace droidflow {
namespace {

constexpr std::size_t kAlignment_bytes = 64;
constexpr std::size_t kBuffer_bytes = NpzWriter::kMaxReserve_bytes + kAlignment_bytes;
// What is CRCed and written at a time from the caller's memory: still in the cache for the second
// use.
constexpr std::size_t kSlice_bytes = 256 << 10;
constexpr std::size_t kCrcInLocalHeader = 14;
// Floats hardly get smaller at higher levels.
constexpr int kDeflateLevel = 6;

constexpr std::uint16_t kVersionPlain = 20;
constexpr std::uint16_t kVersionZip64 = 45;
constexpr std::uint16_t kMadeByUnix = 3 << 8;
constexpr std::uint32_t kRegularFile0644 = 0100644U << 16;
constexpr std::uint16_t kTime = 0;
constexpr std::uint16_t kDate = 1 << 5 | 1;  // 1980-01-01, the first day that ZIP can tell.

std::uint16_t FlagsFor(std::string_view file_name) {
  const bool is_ascii =
      std::all_of(file_name.begin(), file_name.end(), [](char c) { return (c & 0x80) == 0; });
  return is_ascii ? 0 : zip::kFlagUtf8;
}

}  // namespace

std::string_view ToString(NpzCompression compression) {
  return compression == NpzCompression::kNone ? "none" : "zip";
}

std::optional<NpzCompression> NpzCompressionFromString(std::string_view text) {
  for (const NpzCompression compression : {NpzCompression::kNone, NpzCompression::kZip}) {
    if (text == ToString(compression)) return compression;
  }
  return std::nullopt;
}

void NpzWriter::FreeCompressor::operator()(libdeflate_compressor* compressor) const {
  libdeflate_free_compressor(compressor);
}

void NpzWriter::FreeBuffer::operator()(std::byte* buffer) const {
  ::operator delete (buffer, std::align_val_t{kAlignment_bytes});
}

NpzWriter::NpzWriter(UniqueFd fd, std::string path, NpzCompression compression, Limits limits)
    : fd_(std::move(fd)),
      path_(std::move(path)),
      limits_(limits),
      buffer_(static_cast<std::byte*>(
          ::operator new (kBuffer_bytes, std::align_val_t{kAlignment_bytes}))) {
  if (compression == NpzCompression::kNone) return;
  compressor_.reset(libdeflate_alloc_compressor(kDeflateLevel));
  DF_CHECK(compressor_ != nullptr, "no memory to compress {}", path_);
}

Result<NpzWriter> NpzWriter::Create(const std::filesystem::path& path,
                                    NpzCompression compression,
                                    Limits limits) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return FailErrno(errno, "cannot create " + path.native());
  return NpzWriter(std::move(fd), path.native(), compression, limits);
}

Status NpzWriter::BeginMember(std::string_view name,
                              std::string_view descr,
                              std::size_t item_bytes,
                              const NpyShape& shape) {
  std::uint64_t data_bytes = item_bytes;
  for (const std::int64_t length : shape) {
    const bool overflows =
        __builtin_mul_overflow(data_bytes, static_cast<std::uint64_t>(length), &data_bytes);
    DF_CHECK(!overflows, "array {} is too large to be an array", name);
  }
  const std::string npy_header = FormatNpyHeader(descr, shape);
  DF_RETURN_IF_ERROR(BeginContent(name, npy_header.size() + data_bytes));
  missing_bytes_ = data_bytes;
  return Put(npy_header);
}

Status NpzWriter::AddContent(std::string_view name, std::span<const std::byte> content) {
  DF_RETURN_IF_ERROR(BeginContent(name, content.size()));
  return AppendData(content);
}

Status NpzWriter::BeginContent(std::string_view name, std::uint64_t size) {
  DF_RETURN_IF_ERROR(EndMember());
  DF_CHECK(!name.empty() && name.size() <= 1024, "a name of {} bytes", name.size());
  if (!names_.emplace(name).second) {
    return Fail(ErrorKind::kInternal, "array {} is already in {}", name, path_);
  }
  Member& member = members_.emplace_back();
  member.file_name = std::string(name).append(zip::kNpySuffix);
  member.size_bytes = member.stored_bytes = size;
  if (compressor_ == nullptr) {
    DF_RETURN_IF_ERROR(PutHeader(member));
  } else {
    DF_RETURN_IF_ERROR(Flush());
    // It is collected, not placed in the file: values lie aligned from the buffer's start on.
    begin_ = end_ = 0;
    collected_.reserve(size);
  }
  is_open_ = true;
  missing_bytes_ = size;
  crc32_ = 0;
  crc_end_ = end_;
  return {};
}

Status NpzWriter::PutHeader(Member& member) {
  member.offset = Position();
  const bool is_zip64 = std::max(member.size_bytes, member.stored_bytes) > limits_.max_plain_bytes;
  LittleEndianRecord extra;
  if (is_zip64) {
    extra.U16(zip::kExtraZip64).U16(16).U64(member.size_bytes).U64(member.stored_bytes);
  }
  if (member.method == zip::kStored) {
    constexpr std::size_t kAlignmentRecord_bytes = 6;
    const std::uint64_t unpadded = member.offset + zip::kLocalHeader_bytes +
                                   member.file_name.size() + extra.bytes().size() +
                                   kAlignmentRecord_bytes;
    const std::size_t padding = (kAlignment_bytes - unpadded % kAlignment_bytes) % kAlignment_bytes;
    extra.U16(zip::kExtraAlignment).U16(2 + padding).U16(kAlignment_bytes).Zeros(padding);
  }
  LittleEndianRecord header;
  header.U32(zip::kLocalHeader)
      .U16(is_zip64 ? kVersionZip64 : kVersionPlain)
      .U16(FlagsFor(member.file_name))
      .U16(member.method)
      .U16(kTime)
      .U16(kDate)
      .U32(member.crc32)  // Of one that is not there yet 0: EndMember() knows it.
      .U32(is_zip64 ? zip::kSeeZip64 : member.stored_bytes)
      .U32(is_zip64 ? zip::kSeeZip64 : member.size_bytes)
      .U16(member.file_name.size())
      .U16(extra.bytes().size())
      .Text(member.file_name)
      .Text(extra.bytes());
  // The header lies in the buffer or in the file, never in both: EndMember() patches it in one
  // place.
  DF_RETURN_IF_ERROR(EnsureRoom(header.bytes().size()));
  return Put(header.bytes());
}

Status NpzWriter::EndDeflated() {
  DF_RETURN_IF_ERROR(Flush());
  is_open_ = false;
  Member& member = members_.back();
  member.crc32 = Crc32(collected_);
  // What does not get smaller does not fit and gives 0.
  const std::size_t room = std::max<std::size_t>(1, collected_.size()) - 1;
  const std::unique_ptr<std::byte[]> deflated(new (std::nothrow) std::byte[room]);
  if (deflated == nullptr) {
    return FailErrno(ENOMEM, fmt::format("cannot deflate {} bytes of {}", room, path_));
  }
  const std::size_t deflated_bytes = libdeflate_deflate_compress(
      compressor_.get(), collected_.data(), collected_.size(), deflated.get(), room);
  std::span<const std::byte> stored = collected_;
  if (deflated_bytes > 0) {
    member.method = zip::kDeflated;
    stored = {deflated.get(), deflated_bytes};
  }
  member.stored_bytes = stored.size();
  DF_RETURN_IF_ERROR(PutHeader(member));
  DF_RETURN_IF_ERROR(Put(stored));
  collected_.clear();
  return {};
}

Status NpzWriter::EndMember() {
  if (!is_open_) return {};
  Member& member = members_.back();
  DF_CHECK(missing_bytes_ == 0, "{}: {} bytes did not come", member.file_name, missing_bytes_);
  if (compressor_ != nullptr) return EndDeflated();
  UpdateCrc();
  is_open_ = false;
  member.crc32 = crc32_;

  const std::string crc = LittleEndianRecord().U32(crc32_).bytes();
  const std::uint64_t offset = member.offset + kCrcInLocalHeader;
  if (offset >= flushed_) {
    std::memcpy(buffer_.get() + begin_ + (offset - flushed_), crc.data(), crc.size());
    return {};
  }
  ssize_t written = 0;
  do {
    written = pwrite(fd_.get(), crc.data(), crc.size(), static_cast<off_t>(offset));
  } while (written < 0 && errno == EINTR);
  if (written < 0) return FailErrno(errno, "cannot write " + path_);
  if (written != static_cast<ssize_t>(crc.size())) {
    return Fail(ErrorKind::kInternal,
                "wrote {} of {} bytes at byte {} of {}",
                written,
                crc.size(),
                offset,
                path_);
  }
  return {};
}

void NpzWriter::CheckOpen(DType dtype) const {
  DF_CHECK(
      is_open_ && dtype == dtype_, "{} values, the array is {}", ToString(dtype), ToString(dtype_));
}

Status NpzWriter::AppendData(std::span<const std::byte> data) {
  DF_CHECK(data.size() <= missing_bytes_, "{} bytes too many", data.size() - missing_bytes_);
  missing_bytes_ -= data.size();
  if (data.size() < kSlice_bytes) return Put(data);

  DF_RETURN_IF_ERROR(Flush());
  if (compressor_ != nullptr) {
    collected_.insert(collected_.end(), data.begin(), data.end());
    return {};
  }
  while (!data.empty()) {
    const std::span<const std::byte> slice = data.first(std::min(data.size(), kSlice_bytes));
    crc32_ = Crc32(slice, crc32_);
    DF_RETURN_IF_ERROR(WriteAll(fd_.get(), slice, path_));
    flushed_ += slice.size();
    data = data.subspan(slice.size());
  }
  begin_ = end_ = crc_end_ = flushed_ % kAlignment_bytes;
  return {};
}

Result<std::byte*> NpzWriter::ReserveData(std::size_t size) {
  DF_CHECK(size <= kMaxReserve_bytes && size <= missing_bytes_,
           "{} bytes, {} to come",
           size,
           missing_bytes_);
  DF_RETURN_IF_ERROR(EnsureRoom(size));
  return buffer_.get() + end_;
}

void NpzWriter::CommitData(std::size_t size) {
  DF_CHECK(size <= missing_bytes_ && size <= kBuffer_bytes - end_,
           "{} bytes, {} to come",
           size,
           missing_bytes_);
  end_ += size;
  missing_bytes_ -= size;
}

Status NpzWriter::AddStrings(std::string_view name, std::span<const std::string> texts) {
  return AddTexts(name,
                  std::vector<std::string_view>(texts.begin(), texts.end()),
                  {static_cast<std::int64_t>(texts.size())});
}

Status NpzWriter::AddString(std::string_view name, std::string_view text) {
  return AddTexts(name, std::span(&text, 1), {});
}

Status NpzWriter::AddTexts(std::string_view name,
                           std::span<const std::string_view> texts,
                           const NpyShape& shape) {
  std::vector<std::u32string> rows;
  std::size_t length = 1;  // As NumPy, which has no texts of no characters.
  for (const std::string_view text : texts) {
    DF_ASSIGN_OR_RETURN(std::u32string codes,
                        Utf32FromUtf8(text).map_error(During(std::string(name))));
    length = std::max(length, codes.size());
    rows.push_back(std::move(codes));
  }
  DF_RETURN_IF_ERROR(
      BeginMember(name, fmt::format("<U{}", length), length * sizeof(char32_t), shape));
  for (std::u32string& row : rows) {
    row.resize(length, U'\0');
    DF_RETURN_IF_ERROR(AppendData(std::as_bytes(std::span(row))));
  }
  return {};
}

Status NpzWriter::Finish() {
  DF_CHECK(fd_.valid(), "{} is finished", path_);
  DF_RETURN_IF_ERROR(EndMember());

  const std::uint64_t directory_offset = Position();
  for (const Member& member : members_) {
    const bool is_large =
        std::max(member.size_bytes, member.stored_bytes) > limits_.max_plain_bytes;
    const bool is_far = member.offset > limits_.max_plain_bytes;
    LittleEndianRecord fields64;
    if (is_large) fields64.U64(member.size_bytes).U64(member.stored_bytes);
    if (is_far) fields64.U64(member.offset);
    LittleEndianRecord extra;
    if (is_large || is_far) {
      extra.U16(zip::kExtraZip64).U16(fields64.bytes().size()).Text(fields64.bytes());
    }
    const std::uint16_t version = is_large || is_far ? kVersionZip64 : kVersionPlain;
    LittleEndianRecord header;
    header.U32(zip::kCentralHeader)
        .U16(kMadeByUnix | version)
        .U16(version)
        .U16(FlagsFor(member.file_name))
        .U16(member.method)
        .U16(kTime)
        .U16(kDate)
        .U32(member.crc32)
        .U32(is_large ? zip::kSeeZip64 : member.stored_bytes)
        .U32(is_large ? zip::kSeeZip64 : member.size_bytes)
        .U16(member.file_name.size())
        .U16(extra.bytes().size())
        .Zeros(6)  // No comment, first disk, no internal attributes.
        .U32(kRegularFile0644)
        .U32(is_far ? zip::kSeeZip64 : member.offset)
        .Text(member.file_name)
        .Text(extra.bytes());
    DF_RETURN_IF_ERROR(Put(header.bytes()));
  }
  const std::uint64_t directory_bytes = Position() - directory_offset;

  const bool has_many = members_.size() > limits_.max_plain_members;
  const bool is_large = directory_bytes > limits_.max_plain_bytes;
  const bool is_far = directory_offset > limits_.max_plain_bytes;
  LittleEndianRecord end;
  if (has_many || is_large || is_far) {
    end.U32(zip::kEnd64)
        .U64(zip::kEnd64_bytes - 12)
        .U16(kMadeByUnix | kVersionZip64)
        .U16(kVersionZip64)
        .Zeros(8)
        .U64(members_.size())
        .U64(members_.size())
        .U64(directory_bytes)
        .U64(directory_offset);
    end.U32(zip::kEnd64Locator).U32(0).U64(directory_offset + directory_bytes).U32(1);
  }
  const std::size_t count_field = has_many ? zip::kSeeZip64Count : members_.size();
  end.U32(zip::kEnd)
      .Zeros(4)
      .U16(count_field)
      .U16(count_field)
      .U32(is_large ? zip::kSeeZip64 : directory_bytes)
      .U32(is_far ? zip::kSeeZip64 : directory_offset)
      .U16(0);
  DF_RETURN_IF_ERROR(Put(end.bytes()));
  DF_RETURN_IF_ERROR(Flush());
  // A full disk behind NFS may show here first.
  if (close(fd_.Release()) != 0) return FailErrno(errno, "cannot close " + path_);
  return {};
}

Status NpzWriter::EnsureRoom(std::size_t size) {
  if (size <= kBuffer_bytes - end_) return {};
  return Flush();
}

Status NpzWriter::Put(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t size = std::min(bytes.size(), kBuffer_bytes - end_);
    std::memcpy(buffer_.get() + end_, bytes.data(), size);
    end_ += size;
    bytes = bytes.subspan(size);
    if (end_ == kBuffer_bytes) DF_RETURN_IF_ERROR(Flush());
  }
  return {};
}

Status NpzWriter::Put(std::string_view bytes) { return Put(std::as_bytes(std::span(bytes))); }

void NpzWriter::UpdateCrc() {
  crc32_ = Crc32(std::span(buffer_.get() + crc_end_, end_ - crc_end_), crc32_);
  crc_end_ = end_;
}

Status NpzWriter::Flush() {
  if (is_open_ && compressor_ != nullptr) {
    collected_.insert(collected_.end(), buffer_.get() + begin_, buffer_.get() + end_);
    end_ = begin_;
    return {};
  }
  if (is_open_) UpdateCrc();
  DF_RETURN_IF_ERROR(WriteAll(fd_.get(), std::span(buffer_.get() + begin_, end_ - begin_), path_));
  flushed_ += end_ - begin_;
  begin_ = end_ = crc_end_ = flushed_ % kAlignment_bytes;
  return {};
}

}  // namespace droidflow

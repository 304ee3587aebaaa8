#include "droidflow/formats/npz_reader.h"

#include "droidflow/core/files.h"
#include "droidflow/formats/checksum.h"
#include "droidflow/formats/record_internal.h"
#include "droidflow/formats/zip_internal.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>
#include <utility>

#include <libdeflate.h>

namespace droidflow {
namespace {

// DEFLATE's densest code: 258 bytes from 2 bits. A member that claims more is lying.
constexpr std::uint64_t kMaxInflation = 1032;
constexpr std::size_t kMaxComment_bytes = 0xFFFF;

/// Where the directory is, by the records at the end of the file.
struct Directory {
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t num_members = 0;
};

Result<std::size_t> FindEnd(std::span<const std::byte> bytes, std::string_view path) {
  if (bytes.size() >= zip::kEnd_bytes) {
    const std::size_t last = bytes.size() - zip::kEnd_bytes;
    const std::size_t first = last - std::min(last, kMaxComment_bytes);
    for (std::size_t offset = last + 1; offset-- > first;) {
      if (Load<std::uint32_t>(bytes, offset) == zip::kEnd &&
          Load<std::uint16_t>(bytes, offset + 20) == last - offset) {
        return offset;
      }
    }
  }
  return Fail(ErrorKind::kInvalidData,
              "no ZIP directory at the end of the {} bytes: truncated, or no .npz: {}",
              bytes.size(),
              path);
}

Result<Directory> FindDirectory(std::span<const std::byte> bytes, std::string_view path) {
  DF_ASSIGN_OR_RETURN(const std::size_t end, FindEnd(bytes, path));
  Directory directory{.offset = Load<std::uint32_t>(bytes, end + 16),
                      .size_bytes = Load<std::uint32_t>(bytes, end + 12),
                      .num_members = Load<std::uint16_t>(bytes, end + 10)};
  std::uint64_t limit = end;
  if (end >= zip::kEnd64Locator_bytes &&
      Load<std::uint32_t>(bytes, end - zip::kEnd64Locator_bytes) == zip::kEnd64Locator) {
    const std::size_t locator = end - zip::kEnd64Locator_bytes;
    const auto end64 = Load<std::uint64_t>(bytes, locator + 8);
    if (end64 > locator || locator - end64 < zip::kEnd64_bytes ||
        Load<std::uint32_t>(bytes, end64) != zip::kEnd64) {
      return Fail(ErrorKind::kInvalidData,
                  "byte {}: the ZIP64 record should be at byte {}, it is not: {}",
                  locator + 8,
                  end64,
                  path);
    }
    limit = end64;
    directory = {.offset = Load<std::uint64_t>(bytes, end64 + 48),
                 .size_bytes = Load<std::uint64_t>(bytes, end64 + 40),
                 .num_members = Load<std::uint64_t>(bytes, end64 + 32)};
  }
  if (directory.offset > limit || directory.size_bytes > limit - directory.offset ||
      directory.num_members > directory.size_bytes / zip::kCentralHeader_bytes) {
    return Fail(ErrorKind::kInvalidData,
                "byte {}: a directory of {} members and {} bytes at byte {} does not fit before "
                "byte {}: {}",
                end,
                directory.num_members,
                directory.size_bytes,
                directory.offset,
                limit,
                path);
  }
  return directory;
}

/// Puts the 64-bit values of a ZIP64 extra record where the plain fields refer to it.
/// @return whether every such field had its value.
bool ApplyZip64(std::span<const std::byte> extra, std::span<std::uint64_t* const> fields) {
  std::vector<std::uint64_t*> wanted;
  std::copy_if(
      fields.begin(), fields.end(), std::back_inserter(wanted), [](const std::uint64_t* field) {
        return *field == zip::kSeeZip64;
      });
  while (extra.size() >= 4) {
    const auto id = Load<std::uint16_t>(extra, 0);
    const std::size_t size = Load<std::uint16_t>(extra, 2);
    if (size > extra.size() - 4) return false;
    if (id == zip::kExtraZip64) {
      if (size < wanted.size() * sizeof(std::uint64_t)) return false;
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        *wanted[i] = Load<std::uint64_t>(extra, 4 + i * sizeof(std::uint64_t));
      }
      return true;
    }
    extra = extra.subspan(4 + size);
  }
  return wanted.empty();
}

struct FreeDecompressor {
  void operator()(libdeflate_decompressor* decompressor) const {
    libdeflate_free_decompressor(decompressor);
  }
};

}  // namespace

Result<NpzReader> NpzReader::Open(const std::filesystem::path& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return FailErrno(errno, "cannot open " + path.native());
  return Open(fd, path.native());
}

Result<NpzReader> NpzReader::Open(const UniqueFd& fd, std::string name) {
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return FailErrno(errno, "cannot stat " + name);
  if (!S_ISREG(info.st_mode)) {
    return Fail(ErrorKind::kInvalidData, "want an .npz file, this is no regular file: {}", name);
  }
  NpzReader reader;
  reader.path_ = std::move(name);
  if (const auto size = static_cast<std::size_t>(info.st_size); size > 0) {
    void* const address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (address == MAP_FAILED) return FailErrno(errno, "cannot map " + reader.path_);
    reader.mapping_ = std::shared_ptr<const void>(
        address, [size](const void* mapped) { munmap(const_cast<void*>(mapped), size); });
    reader.bytes_ = {static_cast<const std::byte*>(address), size};
  }
  DF_RETURN_IF_ERROR(reader.ReadDirectory());
  return reader;
}

Status NpzReader::ReadDirectory() {
  DF_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(bytes_, path_));
  directory_begin_ = directory.offset;
  const std::uint64_t directory_end = directory.offset + directory.size_bytes;
  std::uint64_t at = directory.offset;
  for (std::uint64_t i = 0; i < directory.num_members; ++i) {
    const auto broken = [&](std::string_view what) {
      return Fail(ErrorKind::kInvalidData,
                  "byte {}: member {} of the directory: {}: {}",
                  at,
                  i,
                  what,
                  path_);
    };
    if (directory_end - at < zip::kCentralHeader_bytes ||
        Load<std::uint32_t>(bytes_, at) != zip::kCentralHeader) {
      return broken("no directory record");
    }
    const std::size_t name_size = Load<std::uint16_t>(bytes_, at + 28);
    const std::size_t extra_size = Load<std::uint16_t>(bytes_, at + 30);
    const std::size_t comment_size = Load<std::uint16_t>(bytes_, at + 32);
    const std::uint64_t record_size =
        zip::kCentralHeader_bytes + name_size + extra_size + comment_size;
    if (record_size > directory_end - at) return broken("runs past the end of the directory");
    Member member{.header_offset = Load<std::uint32_t>(bytes_, at + 42),
                  .stored_bytes = Load<std::uint32_t>(bytes_, at + 20),
                  .size_bytes = Load<std::uint32_t>(bytes_, at + 24),
                  .crc32 = Load<std::uint32_t>(bytes_, at + 16),
                  .method = Load<std::uint16_t>(bytes_, at + 10),
                  .directory_offset = at};
    if ((Load<std::uint16_t>(bytes_, at + 8) & zip::kFlagEncrypted) != 0)
      return broken("encrypted");
    if (member.method != zip::kStored && member.method != zip::kDeflated) {
      return broken(fmt::format("want method 0 (stored) or 8 (deflated), have {}", member.method));
    }
    const std::array<std::uint64_t*, 3> fields{&member.size_bytes,
                                               &member.stored_bytes,
                                               &member.header_offset};  // The order of the record.
    const std::size_t extra_offset = at + zip::kCentralHeader_bytes + name_size;
    if (!ApplyZip64(bytes_.subspan(extra_offset, extra_size), fields)) {
      return broken("64-bit sizes are missing");
    }
    if (member.header_offset > directory_begin_ ||
        member.stored_bytes > directory_begin_ - member.header_offset) {
      return broken(fmt::format("{} bytes at byte {} do not fit before the directory at byte {}",
                                member.stored_bytes,
                                member.header_offset,
                                directory_begin_));
    }
    const bool is_possible = member.method == zip::kStored
                                 ? member.size_bytes == member.stored_bytes
                                 : member.size_bytes / kMaxInflation <= member.stored_bytes;
    if (!is_possible) {
      return broken(
          fmt::format("{} bytes cannot come out of {}", member.size_bytes, member.stored_bytes));
    }
    std::string file_name(
        reinterpret_cast<const char*>(bytes_.data()) + at + zip::kCentralHeader_bytes, name_size);
    std::string name = file_name;
    if (name.ends_with(zip::kNpySuffix)) name.resize(name.size() - zip::kNpySuffix.size());
    if (!members_.emplace(name, member).second)
      return broken(fmt::format("{} comes twice", file_name));
    names_.push_back(std::move(name));
    at += record_size;
  }
  if (at != directory_end) {
    return Fail(ErrorKind::kInvalidData,
                "byte {}: {} bytes behind the last of {} members of the directory: {}",
                at,
                directory_end - at,
                directory.num_members,
                path_);
  }
  return {};
}

bool NpzReader::Contains(std::string_view name) const {
  return members_.contains(std::string(name));
}

bool NpzReader::HasDeflated() const {
  return std::ranges::any_of(
      members_, [](const auto& member) { return member.second.method == zip::kDeflated; });
}

Result<std::span<const std::byte>> NpzReader::StoredBytes(const Member& member) const {
  const auto broken = [&](std::string_view what) {
    return Fail(ErrorKind::kInvalidData, "byte {}: {}: {}", member.header_offset, what, path_);
  };
  // The room between the header and the directory was checked when the directory was read.
  std::span<const std::byte> rest =
      bytes_.subspan(member.header_offset, directory_begin_ - member.header_offset);
  if (rest.size() < zip::kLocalHeader_bytes || Load<std::uint32_t>(rest, 0) != zip::kLocalHeader) {
    return broken("no member header where the directory says");
  }
  const std::size_t name_size = Load<std::uint16_t>(rest, 26);
  const std::size_t extra_size = Load<std::uint16_t>(rest, 28);
  rest = rest.subspan(zip::kLocalHeader_bytes);
  if (rest.size() < name_size + extra_size ||
      rest.size() - name_size - extra_size < member.stored_bytes) {
    return broken(fmt::format("a member of {} bytes runs into the directory", member.stored_bytes));
  }
  const std::size_t listed_name = member.directory_offset + zip::kCentralHeader_bytes;
  const std::size_t listed_name_size = Load<std::uint16_t>(bytes_, member.directory_offset + 28);
  const std::span<const std::byte> name = rest.first(name_size);
  if (!std::ranges::equal(name, bytes_.subspan(listed_name, listed_name_size))) {
    return broken("the member has another name than in the directory");
  }
  return rest.subspan(name_size + extra_size, member.stored_bytes);
}

Result<NpzReader::Bytes> NpzReader::Content(std::string_view name) const {
  const auto found = members_.find(std::string(name));
  if (found == members_.end()) return Fail(ErrorKind::kNotFound, "no array {} in {}", name, path_);
  const Member& member = found->second;
  const std::string label = fmt::format("array {} of {}", name, path_);

  DF_ASSIGN_OR_RETURN(std::span<const std::byte> bytes, StoredBytes(member));
  std::shared_ptr<const void> owner = mapping_;
  if (member.method == zip::kDeflated) {
    const std::shared_ptr<std::byte[]> inflated(new (std::nothrow) std::byte[member.size_bytes]);
    const std::unique_ptr<libdeflate_decompressor, FreeDecompressor> decompressor(
        libdeflate_alloc_decompressor());
    if (inflated == nullptr || decompressor == nullptr) {
      return FailErrno(ENOMEM,
                       fmt::format("cannot inflate {} bytes of {}", member.size_bytes, label));
    }
    std::size_t used = 0;
    const libdeflate_result result = libdeflate_deflate_decompress_ex(decompressor.get(),
                                                                      bytes.data(),
                                                                      bytes.size(),
                                                                      inflated.get(),
                                                                      member.size_bytes,
                                                                      &used,
                                                                      nullptr);
    if (result != LIBDEFLATE_SUCCESS || used != bytes.size()) {
      return Fail(ErrorKind::kInvalidData,
                  "byte {}: the {} deflated bytes do not give {} bytes in {}",
                  bytes.data() - bytes_.data(),
                  bytes.size(),
                  member.size_bytes,
                  label);
    }
    bytes = {inflated.get(), member.size_bytes};
    owner = inflated;
  }
  const std::uint32_t crc32 = Crc32(bytes);
  if (crc32 != member.crc32) {
    return Fail(ErrorKind::kInvalidData,
                "byte {}: want CRC-32 {:08x}, have {:08x} in {}",
                member.header_offset,
                member.crc32,
                crc32,
                label);
  }
  return Bytes{bytes, std::move(owner)};
}

Result<NpyArray> NpzReader::Read(std::string_view name) const {
  DF_ASSIGN_OR_RETURN(Bytes content, Content(name));
  return ParseNpy(
      content.bytes, fmt::format("array {} of {}", name, path_), std::move(content.owner));
}

}  // namespace droidflow

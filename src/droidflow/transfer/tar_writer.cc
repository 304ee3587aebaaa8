#include "droidflow/transfer/tar_writer.h"

#include "droidflow/core/check.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <numeric>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace droidflow {
namespace {

constexpr std::uint64_t kBlock = 512;
constexpr std::uint64_t kMaxUstarSize = std::uint64_t{1} << 33;  // 11 octal digits
constexpr std::size_t kMaxUstarName = 100;

/// "LENGTH key=value\n", where LENGTH counts itself.
std::string PaxRecord(std::string_view key, std::string_view value) {
  const std::string rest = fmt::format(" {}={}\n", key, value);
  std::size_t length = rest.size() + 1;
  while (fmt::formatted_size("{}", length) + rest.size() != length) ++length;
  return fmt::format("{}{}", length, rest);
}

}  // namespace

Result<TarWriter> TarWriter::Create(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  return TarWriter(std::move(file));
}

Status TarWriter::AddHeader(const std::string& name, std::uint64_t size_bytes, char type) {
  std::array<char, kBlock> header{};
  const auto put = [&](std::size_t offset, std::string_view text) {
    std::ranges::copy(text, header.begin() + static_cast<std::ptrdiff_t>(offset));
  };
  put(0, std::string_view(name).substr(0, kMaxUstarName));
  put(100, "0000644");
  put(108, "0000000");  // user
  put(116, "0000000");  // group
  put(124, fmt::format("{:011o}", size_bytes < kMaxUstarSize ? size_bytes : 0));
  put(136, "00000000000");  // time
  put(148, "        ");     // the checksum counts as spaces
  header[156] = type;
  put(257, std::string_view("ustar\00000", 8));
  const unsigned sum = std::accumulate(header.begin(), header.end(), 0U, [](unsigned a, char c) {
    return a + static_cast<unsigned char>(c);
  });
  put(148, fmt::format("{:06o}", sum));
  header[154] = '\0';
  size_bytes_ += kBlock;
  return file_.Write(std::as_bytes(std::span(header)));
}

Status TarWriter::Pad() {
  static constexpr std::array<std::byte, kBlock> kZeros{};
  const std::uint64_t count = (kBlock - size_bytes_ % kBlock) % kBlock;
  size_bytes_ += count;
  return file_.Write(std::span(kZeros).first(count));
}

Result<std::uint64_t> TarWriter::Begin(const std::string& name, std::uint64_t size_bytes) {
  DF_CHECK(missing_bytes_ == 0, "{} bytes of the last member are missing", missing_bytes_);
  std::string records;
  if (name.size() > kMaxUstarName) records += PaxRecord("path", name);
  if (size_bytes >= kMaxUstarSize) records += PaxRecord("size", std::to_string(size_bytes));
  if (!records.empty()) {
    DF_RETURN_IF_ERROR(AddHeader("pax", records.size(), 'x'));
    DF_RETURN_IF_ERROR(file_.Write(std::as_bytes(std::span(records))));
    size_bytes_ += records.size();
    DF_RETURN_IF_ERROR(Pad());
  }
  DF_RETURN_IF_ERROR(AddHeader(name, size_bytes, '0'));
  missing_bytes_ = size_bytes;
  return size_bytes_;
}

Status TarWriter::Write(std::span<const std::byte> bytes) {
  DF_CHECK(bytes.size() <= missing_bytes_, "{} bytes are too many", bytes.size());
  missing_bytes_ -= bytes.size();
  size_bytes_ += bytes.size();
  return file_.Write(bytes);
}

Status TarWriter::End() {
  DF_CHECK(missing_bytes_ == 0, "{} bytes of the member are missing", missing_bytes_);
  return Pad();
}

Status TarWriter::Truncate(std::uint64_t size_bytes) {
  const auto length = static_cast<off_t>(size_bytes);
  if (ftruncate(file_.fd(), length) != 0 || lseek(file_.fd(), length, SEEK_SET) != length) {
    return FailErrno(errno, fmt::format("cannot shorten {}", file_.path().string()));
  }
  size_bytes_ = size_bytes;
  missing_bytes_ = 0;
  return {};
}

Status TarWriter::Finish() {
  static constexpr std::array<std::byte, 2 * kBlock> kEnd{};
  DF_RETURN_IF_ERROR(file_.Write(kEnd));
  return file_.Commit();
}

}  // namespace droidflow

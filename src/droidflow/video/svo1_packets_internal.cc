#include "droidflow/video/svo1_packets_internal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

namespace droidflow {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::size_t kBlock_bytes = std::size_t{1} << 20;
constexpr std::size_t kMaxFrame_bytes = std::size_t{8} << 20;
/// Of parameter sets behind each other; real ones have some hundred bytes.
constexpr std::size_t kMaxGroup_bytes = std::size_t{16} << 10;
/// Of the recorder's records that are no pictures.
constexpr std::size_t kLargestRecord_bytes = 200;
constexpr std::array kStartCode{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}};

void Append(std::vector<std::byte>& units, Bytes unit) {
  units.insert(units.end(), kStartCode.begin(), kStartCode.end());
  units.insert(units.end(), unit.begin(), unit.end());
}

/// Where 00 00 01 stands at or behind `from`, else where to look on when more bytes have come.
std::pair<bool, std::size_t> FindStartCode(Bytes bytes, std::size_t from) {
  std::size_t at = from;
  while (at + 3 <= bytes.size()) {
    if (bytes[at + 2] > std::byte{1}) {
      at += 3;
    } else if (bytes[at] == std::byte{0} && bytes[at + 1] == std::byte{0} &&
               bytes[at + 2] == std::byte{1}) {
      return {true, at};
    } else {
      ++at;
    }
  }
  return {false, std::min(at, bytes.size())};
}

/// Up to where a unit can reach at most: inside it, two zeros are never followed by 0, 1 or 2, and
/// it does not end with a zero. Source  ITU-T H.264 7.4.1, H.265 7.4.2.
Bytes Trim(Bytes bytes) {
  std::size_t end = 0;
  for (std::size_t zeros = 0; end < bytes.size(); ++end) {
    if (zeros >= 2 && bytes[end] <= std::byte{2}) break;
    zeros = bytes[end] == std::byte{0} ? zeros + 1 : 0;
  }
  while (end > 0 && bytes[end - 1] == std::byte{0}) --end;
  return bytes.first(end);
}

}  // namespace

Result<std::unique_ptr<Svo1Packets>> Svo1Packets::Open(const std::filesystem::path& path) {
  auto packets = std::unique_ptr<Svo1Packets>(new Svo1Packets(path));
  DF_RETURN_IF_ERROR(packets->ReadHeader());
  Packet packet;
  for (;;) {
    DF_ASSIGN_OR_RETURN(const bool found, packets->Read(packet));
    if (!found) break;
  }
  SourceInfo& info = packets->info_;
  if (packets->number_ == 0) {
    return Fail(ErrorKind::kInvalidData,
                "found no picture of H.265 or H.264 with two eyes of {}x{} pixels: {}",
                info.width_px,
                info.height_px,
                path.string());
  }
  info.codec = packets->codec() == NalCodec::kH264 ? "h264" : "hevc";
  info.frame_count = packets->number_;
  packets->Rewind();
  return packets;
}

Result<SourceInfo> Svo1Packets::ReadInfo(const std::filesystem::path& path) {
  Svo1Packets packets(path);
  DF_RETURN_IF_ERROR(packets.ReadHeader());
  return packets.info_;
}

Status Svo1Packets::ReadHeader() {
  const std::string& name = path_.native();
  fd_ = UniqueFd(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd_.valid()) return FailErrno(errno, "cannot open " + name);
  std::array<std::uint8_t, 12> bytes{};
  const ssize_t got = pread(fd_.get(), bytes.data(), bytes.size(), 0);
  if (got < 0) return FailErrno(errno, "cannot read " + name);
  const auto field = [&](std::size_t at) {
    return static_cast<std::uint32_t>(bytes[at]) | static_cast<std::uint32_t>(bytes[at + 1]) << 8 |
           static_cast<std::uint32_t>(bytes[at + 2]) << 16 |
           static_cast<std::uint32_t>(bytes[at + 3]) << 24;
  };
  const std::uint32_t width = field(4);
  const std::uint32_t height = field(8);
  if (got < std::ssize(bytes)) {
    return Fail(
        ErrorKind::kInvalidData, "want a header of 12 bytes, the file has {}: {}", got, name);
  }
  if (const Status size = CheckPictureSize(width, height); !size) {
    return Fail(ErrorKind::kInvalidData, "{}: {}", size.error().message, name);
  }
  info_.reader = "svo1-salvage";
  info_.width_px = static_cast<int>(width);
  info_.height_px = static_cast<int>(height);
  if (IsPair(info_.width_px, info_.height_px)) info_.width_px /= 2;
  info_.stereo = true;
  info_.rectified = false;
  return {};
}

void Svo1Packets::Rewind() {
  buffer_.clear();
  end_byte_ = 0;
  scan_ = 0;
  unit_.reset();
  video_parameter_set_.clear();
  group_.clear();
  parameter_sets_.clear();
  follows_prefix_ = false;
  gathered_.clear();
  number_ = 0;
}

Result<bool> Svo1Packets::Fill() {
  const std::size_t keep_from = unit_.value_or(scan_);
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(keep_from));
  scan_ -= keep_from;
  if (unit_) unit_ = 0;
  const std::size_t old_size = buffer_.size();
  buffer_.resize(old_size + kBlock_bytes);
  ssize_t got = -1;
  do {
    got = pread(fd_.get(), buffer_.data() + old_size, kBlock_bytes, static_cast<off_t>(end_byte_));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return FailErrno(errno, "cannot read " + path_.string());
  buffer_.resize(old_size + static_cast<std::size_t>(got));
  end_byte_ += static_cast<std::uint64_t>(got);
  return got > 0;
}

Result<std::optional<Bytes>> Svo1Packets::NextUnit() {
  for (;;) {
    const auto [found, at] = FindStartCode(buffer_, scan_);
    scan_ = found ? at + 3 : at;
    if (found) {
      const std::optional<std::size_t> begin = std::exchange(unit_, scan_);
      if (begin) return Trim(Bytes(buffer_).subspan(*begin, at - *begin));
      continue;
    }
    if (unit_ && scan_ - *unit_ > kMaxFrame_bytes) unit_.reset();
    DF_ASSIGN_OR_RETURN(const bool more, Fill());
    if (more) continue;
    if (!unit_) return std::nullopt;
    scan_ = buffer_.size();
    return Trim(Bytes(buffer_).subspan(*std::exchange(unit_, std::nullopt)));
  }
}

bool Svo1Packets::SaysSize(NalCodec codec, Bytes unit) const {
  const auto sequence = ParseSequenceParameterSet(codec, unit);
  return sequence && sequence->width_px == 2 * info_.width_px &&
         sequence->height_px == info_.height_px;
}

/// Parameter sets count only in a group: behind each other, the picture size in it the right one.
/// A single one that is a record's in truth would spoil those that the decoder has.
bool Svo1Packets::TakeParameterSet(Bytes unit) {
  for (const NalCodec codec : {NalCodec::kHevc, NalCodec::kH264}) {
    if (codec_.value_or(codec) != codec || !IsPlausibleNalHeader(codec, unit)) continue;
    const bool is_hevc = codec == NalCodec::kHevc;
    const int type = NalType(codec, unit.front());
    follows_prefix_ = false;
    if (is_hevc && type == 32) {
      group_.clear();
      video_parameter_set_.assign(unit.begin(), unit.end());
      return true;
    }
    if (type == (is_hevc ? 33 : 7) && SaysSize(codec, unit)) {
      group_.clear();
      if (is_hevc && !video_parameter_set_.empty()) Append(group_, video_parameter_set_);
      Append(group_, unit);
      group_codec_ = codec;
      video_parameter_set_.clear();
      return true;
    }
    if (type == (is_hevc ? 34 : 8) && !group_.empty() && group_codec_ == codec &&
        group_.size() + unit.size() <= kMaxGroup_bytes) {
      Append(group_, unit);
      codec_ = codec;
      parameter_sets_ = group_;
      follows_prefix_ = true;
      return true;
    }
  }
  video_parameter_set_.clear();
  group_.clear();
  return false;
}

bool Svo1Packets::IsSlice(Bytes unit) const {
  if (!IsPlausibleNalHeader(*codec_, unit)) return false;
  const int type = NalType(*codec_, unit.front());
  const bool is_slice = *codec_ == NalCodec::kH264 ? type == 1 || type == 5 : type < 32;
  // A picture of a camera, with its noise, is never as small as a record.
  return is_slice && (follows_prefix_ || unit.size() > kLargestRecord_bytes);
}

/// Whether the unit is one that stands in front of a picture: an access unit delimiter, whose size
/// is always the same, and what follows it.
bool Svo1Packets::IsPrefix(Bytes unit) const {
  const bool is_h264 = *codec_ == NalCodec::kH264;
  const int type = NalType(*codec_, unit.front());
  if (type == (is_h264 ? 9 : 35)) return unit.size() == (is_h264 ? 2 : 3);
  return follows_prefix_ && type == (is_h264 ? 6 : 39);  // SEI
}

Result<bool> Svo1Packets::Read(Packet& packet) {
  for (;;) {
    DF_ASSIGN_OR_RETURN(const std::optional<Bytes> unit, NextUnit());
    if (unit && (unit->empty() || TakeParameterSet(*unit) || !codec_)) continue;
    const bool is_slice = unit && IsSlice(*unit);
    const bool is_first = is_slice && IsFirstSliceOfPicture(*codec_, *unit);
    if (is_first || !unit) {
      picture_ = std::move(gathered_);
      gathered_.clear();
    }
    if (is_first) {
      gathered_ = std::exchange(parameter_sets_, {});
      Append(gathered_, *unit);
    } else if (is_slice && !gathered_.empty() &&
               gathered_.size() + unit->size() <= kMaxFrame_bytes) {
      Append(gathered_, *unit);
    }
    if (unit) follows_prefix_ = !is_slice && IsPrefix(*unit);
    if ((is_first || !unit) && !picture_.empty()) {
      packet = {.key = number_++, .bytes = picture_, .has_picture = true};
      return true;
    }
    if (!unit) return false;
  }
}

std::int64_t Svo1Packets::StartFor(std::int64_t /*index*/) {
  return 0;  // The file has no index.
}

Status Svo1Packets::GoTo(std::int64_t /*start*/) {
  Rewind();
  return {};
}

std::optional<std::int64_t> Svo1Packets::TimeOf(std::int64_t /*index*/) const {
  return std::nullopt;
}

std::vector<std::string> Svo1Packets::Warnings() const { return {}; }

}  // namespace droidflow

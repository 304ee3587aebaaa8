#include "droidflow/video/svo2_packets_internal.h"

#include "droidflow/formats/annexb.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::string_view kHeaderTopic = "svo_header";
constexpr std::string_view kTopicBegin = "Camera_SN";
constexpr std::string_view kTopicEnd = "/side_by_side";
constexpr std::size_t kJpegHeader_bytes = 40;
constexpr std::size_t kMaxHeader_bytes = 1 << 20;

std::string SerialOf(std::string_view topic) {
  topic.remove_prefix(kTopicBegin.size());
  topic.remove_suffix(kTopicEnd.size());
  return std::string(topic);
}

bool IsFrameTopic(std::string_view topic) {
  if (!topic.starts_with(kTopicBegin) || !topic.ends_with(kTopicEnd)) return false;
  if (topic.size() <= kTopicBegin.size() + kTopicEnd.size()) return false;
  return std::ranges::all_of(SerialOf(topic), [](char c) { return c >= '0' && c <= '9'; });
}

std::uint64_t LittleEndian(Bytes bytes) {
  std::uint64_t value = 0;
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
    value = value << 8 | static_cast<std::uint64_t>(*byte);
  }
  return value;
}

/// As far as it is base64.
std::vector<std::byte> DecodeBase64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<std::byte> bytes;
  unsigned bits = 0;
  int num_bits = 0;
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) break;
    bits = bits << 6 | static_cast<unsigned>(digit);
    num_bits += 6;
    if (num_bits < 8) continue;
    num_bits -= 8;
    bytes.push_back(static_cast<std::byte>(bits >> num_bits));
  }
  return bytes;
}

/// `side_by_side` of H.264 and H.265: u32 size of what follows, u32 codec bytes, the access unit.
Result<Bytes> AccessUnit(Bytes payload) {
  constexpr std::size_t kHeader = 8;
  const std::uint64_t size = payload.size() < kHeader ? 0 : LittleEndian(payload.subspan(4, 4));
  if (size == 0 || size > payload.size() - kHeader || size > kMaxPacket_bytes) {
    return Fail(ErrorKind::kInvalidData,
                "want a picture of 1 to {} bytes, have {} in a message of {}",
                kMaxPacket_bytes,
                size,
                payload.size());
  }
  return payload.subspan(kHeader, size);
}

bool IsJpeg(Bytes payload) {
  return payload.size() > kJpegHeader_bytes + 2 && payload[kJpegHeader_bytes] == std::byte{0xFF} &&
         payload[kJpegHeader_bytes + 1] == std::byte{0xD8} && SplitJpegStrips(payload).has_value();
}

bool HasPicture(NalCodec codec, Bytes access_unit) {
  return std::ranges::any_of(FindNalUnits(access_unit), [&](const NalUnit& unit) {
    const int type = NalType(codec, access_unit[unit.begin]);
    return codec == NalCodec::kH264 ? type >= 1 && type <= 5 : type < 32;
  });
}

/// Picture size of the first sequence parameter set that says one.
std::optional<SequenceInfo> FindSequence(NalCodec codec, Bytes access_unit) {
  for (const NalUnit& unit : FindNalUnits(access_unit)) {
    const int type = NalType(codec, access_unit[unit.begin]);
    if (type != (codec == NalCodec::kH264 ? 7 : 33)) continue;
    const auto sequence =
        ParseSequenceParameterSet(codec, access_unit.subspan(unit.begin, unit.end - unit.begin));
    if (sequence) return *sequence;
  }
  return std::nullopt;
}

/// Picture size in a JPEG file's frame header. Source  ITU-T T.81, B.2.2.
std::optional<SequenceInfo> FindJpegSize(Bytes jpeg) {
  for (std::size_t at = 2; at + 9 <= jpeg.size();) {
    const auto marker = std::to_integer<unsigned>(jpeg[at + 1]);
    const bool is_frame =
        (marker & 0xF0U) == 0xC0 && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    const auto u16 = [&](std::size_t offset) {
      return std::to_integer<int>(jpeg[offset]) << 8 | std::to_integer<int>(jpeg[offset + 1]);
    };
    if (is_frame) return SequenceInfo{.width_px = u16(at + 7), .height_px = u16(at + 5)};
    at += 2 + static_cast<std::size_t>(u16(at + 2));
  }
  return std::nullopt;
}

Result<Svo2Header> ParseHeader(Bytes message) {
  if (message.size() > kMaxHeader_bytes) {
    return Fail(ErrorKind::kInvalidData,
                "svo_header: want at most {} bytes, have {}",
                kMaxHeader_bytes,
                message.size());
  }
  const auto* const text = reinterpret_cast<const char*>(message.data());
  const auto json = nlohmann::json::parse(text, text + message.size(), nullptr, false);
  if (!json.is_object() || !json.contains("header") || !json["header"].is_string()) {
    return Fail(ErrorKind::kInvalidData, "svo_header: want a JSON object with a string \"header\"");
  }
  const std::vector<std::byte> bytes = DecodeBase64(json["header"].get<std::string>());
  if (bytes.size() < 16) {
    return Fail(
        ErrorKind::kInvalidData, "svo_header: want at least 16 bytes, have {}", bytes.size());
  }
  const auto field = [&](std::size_t index) {
    return LittleEndian(Bytes(bytes).subspan(4 * index, 4));
  };
  const auto width = static_cast<std::int64_t>(field(0));
  const auto height = static_cast<std::int64_t>(field(1));
  DF_RETURN_IF_ERROR(CheckPictureSize(width, height).map_error(During("svo_header")));
  Svo2Header header;
  header.width_px = static_cast<int>(width);
  header.height_px = static_cast<int>(height);
  if (IsPair(header.width_px, header.height_px)) header.width_px /= 2;
  header.serial = std::to_string(field(2));
  header.fps = static_cast<double>(field(3));
  const auto sdk_version = json.find("ZED_SDK_version");
  if (sdk_version != json.end() && sdk_version->is_string()) {
    header.sdk_version = sdk_version->get<std::string>();
  }
  return header;
}

/// The first message of svo_header. Leaves the reader with another selection.
Result<Svo2Header> ReadHeader(McapReader& reader) {
  reader.SelectTopics([](std::string_view topic) { return topic == kHeaderTopic; });
  DF_RETURN_IF_ERROR(reader.Rewind());
  McapMessage message;
  DF_ASSIGN_OR_RETURN(const bool found, reader.Next(message));
  if (!found) return Fail(ErrorKind::kInvalidData, "want a message svo_header, found none");
  return ParseHeader(message.data);
}

}  // namespace

Result<std::array<Bytes, 4>> SplitJpegStrips(Bytes payload) {
  std::array<Bytes, 4> strips;
  std::size_t at = kJpegHeader_bytes;
  for (std::size_t i = 0; i < strips.size(); ++i) {
    const std::uint64_t size =
        payload.size() < kJpegHeader_bytes ? 0 : LittleEndian(payload.subspan(8 + 8 * i, 8));
    if (size == 0 || size > payload.size() - at) {
      return Fail(ErrorKind::kInvalidData,
                  "JPEG strip {}: want 1 byte or more, have {} at byte {} of {}",
                  i,
                  size,
                  at,
                  payload.size());
    }
    strips[i] = payload.subspan(at, size);
    at += size;
  }
  return strips;
}

Result<std::unique_ptr<Svo2Packets>> Svo2Packets::Open(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(McapReader reader, McapReader::Open(path));
  auto packets = std::unique_ptr<Svo2Packets>(new Svo2Packets(path, std::move(reader)));
  const Result<Svo2Header> header = ReadHeader(packets->reader_);
  DF_RETURN_IF_ERROR(packets->SelectCamera());
  SourceInfo& info = packets->info_;
  if (header) {
    info.width_px = header->width_px;
    info.height_px = header->height_px;
    info.serial = header->serial;
    info.nominal_fps = header->fps;
  } else {
    packets->problems_.push_back(header.error().message);
  }
  DF_RETURN_IF_ERROR(packets->FindCodec());
  packets->Describe();
  return packets;
}

/// Selects the frames and lists them.
Status Svo2Packets::SelectCamera() {
  reader_.SelectTopics(IsFrameTopic);
  DF_RETURN_IF_ERROR(reader_.Rewind());
  McapMessage message;
  DF_ASSIGN_OR_RETURN(const bool found, reader_.Next(message));
  if (!found) {
    return Fail(ErrorKind::kInvalidData,
                "want messages of a topic {}<serial>{}, found none: {}",
                kTopicBegin,
                kTopicEnd,
                path_.string());
  }
  const std::string frame_topic = message.channel.topic;
  info_.serial = SerialOf(frame_topic);
  reader_.SelectTopics([frame_topic](std::string_view topic) { return topic == frame_topic; });
  Result<std::vector<std::uint64_t>> times = reader_.ListLogTimes();
  if (times) {
    listed_times_ns_ = *std::move(times);
  } else {
    problems_.push_back(times.error().message);
  }
  return {};
}

/// By the first frame that tells.
Status Svo2Packets::FindCodec() {
  DF_RETURN_IF_ERROR(reader_.Rewind());
  McapMessage message;
  for (;;) {
    DF_ASSIGN_OR_RETURN(const bool found, reader_.Next(message));
    if (!found) break;
    std::optional<SequenceInfo> size;
    if (IsJpeg(message.data)) {
      codec_ = Svo2Codec::kJpeg;
      // Four strips of YUYV rows, two bytes a pixel.
      size = FindJpegSize(SplitJpegStrips(message.data)->front());
      if (size)
        size = SequenceInfo{.width_px = size->width_px / 2, .height_px = 4 * size->height_px};
    } else {
      const Result<Bytes> unit = AccessUnit(message.data);
      const auto codec = unit ? DetectNalCodec(*unit) : std::nullopt;
      if (!codec) continue;
      codec_ = *codec == NalCodec::kH264 ? Svo2Codec::kH264 : Svo2Codec::kHevc;
      size = FindSequence(*codec, *unit);
    }
    if (size) {
      pair_width_px_ = size->width_px;
      pair_height_px_ = size->height_px;
    }
    return reader_.Rewind();
  }
  return Fail(ErrorKind::kInvalidData,
              "no frame has parameter sets of H.264 or H.265, nor JPEG strips: {}",
              path_.string());
}

void Svo2Packets::Describe() {
  info_.reader = "svo2";
  info_.codec = codec_ == Svo2Codec::kH264 ? "h264" : codec_ == Svo2Codec::kHevc ? "hevc" : "jpeg";
  info_.rectified = false;
  info_.stereo = true;
  if (!listed_times_ns_.empty()) info_.frame_count = std::ssize(listed_times_ns_);
  if (pair_width_px_ == 0) return;
  const int width = pair_width_px_ / 2;
  if (info_.width_px != 0 && (info_.width_px != width || info_.height_px != pair_height_px_)) {
    problems_.push_back(fmt::format("svo_header says {}x{} pixels an eye, the pictures have {}x{}",
                                    info_.width_px,
                                    info_.height_px,
                                    width,
                                    pair_height_px_));
  }
  info_.width_px = width;
  info_.height_px = pair_height_px_;
}

Result<bool> Svo2Packets::Read(Packet& packet) {
  McapMessage message;
  DF_ASSIGN_OR_RETURN(const bool found, reader_.Next(message));
  if (!found) return false;
  packet = {.key = number_, .bytes = message.data, .has_picture = true};
  if (codec_ != Svo2Codec::kJpeg) {
    const Result<Bytes> unit = AccessUnit(message.data);
    const NalCodec codec = codec_ == Svo2Codec::kH264 ? NalCodec::kH264 : NalCodec::kHevc;
    packet.bytes = unit.value_or(Bytes());
    packet.has_picture = unit.has_value() && HasPicture(codec, *unit);
    if (!unit && !bad_frame_)
      bad_frame_ = fmt::format("frame {}: {}", number_, unit.error().message);
  }
  if (number_ == std::ssize(times_ns_)) times_ns_.push_back(message.log_time_ns);
  ++number_;
  return true;
}

std::int64_t Svo2Packets::StartFor(std::int64_t index) {
  // Where intra refresh is complete is not marked, so only the first frame is safe.
  return codec_ == Svo2Codec::kJpeg ? index : 0;
}

Status Svo2Packets::GoTo(std::int64_t start) {
  if (start < number_) {
    DF_RETURN_IF_ERROR(reader_.Rewind());
    number_ = 0;
  }
  Packet skipped;
  while (number_ < start) {
    DF_ASSIGN_OR_RETURN(const bool found, Read(skipped));
    if (!found) break;
  }
  return {};
}

std::optional<std::int64_t> Svo2Packets::TimeOf(std::int64_t index) const {
  if (index >= std::ssize(times_ns_)) return std::nullopt;
  const std::uint64_t time_ns = times_ns_[static_cast<std::size_t>(index)];
  if (time_ns > std::numeric_limits<std::int64_t>::max()) return std::nullopt;
  return static_cast<std::int64_t>(time_ns);
}

std::vector<std::string> Svo2Packets::Warnings() const {
  std::vector<std::string> warnings = reader_.warnings();
  warnings.insert(warnings.end(), problems_.begin(), problems_.end());
  if (bad_frame_) warnings.push_back(*bad_frame_);
  return warnings;
}

Result<Svo2Header> ReadSvo2Header(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(McapReader reader, McapReader::Open(path));
  return ReadHeader(reader).map_error([&](Error error) {
    error.message += ": " + path.string();
    return error;
  });
}

}  // namespace droidflow

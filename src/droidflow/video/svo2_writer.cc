#include "droidflow/video/svo2_writer.h"

#include "droidflow/core/base64.h"

#include <charconv>
#include <cmath>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

namespace droidflow {
namespace {

constexpr std::size_t kHeader_bytes = 128;
constexpr std::size_t kRecord_bytes = 56;
constexpr std::uint32_t kKeyFrameType = 3;
constexpr std::uint32_t kKeyFrameMark = 0x01234567;

void PutU32(std::vector<std::byte>& bytes, std::uint64_t value) {
  for (int shift = 0; shift < 32; shift += 8) bytes.push_back(std::byte(value >> shift & 0xFF));
}

std::string HeaderJson(const VideoOptions& video, std::uint32_t serial) {
  std::vector<std::byte> header;
  PutU32(header, static_cast<std::uint32_t>(video.width_px));
  PutU32(header, static_cast<std::uint32_t>(video.height_px));
  PutU32(header, serial);
  PutU32(header, static_cast<std::uint32_t>(std::lround(video.nominal_fps)));
  header.resize(kHeader_bytes);
  return fmt::format(
      R"({{"__title__":"svo_header","header":"{}","version":"2.0.5","ZED_SDK_version":"5.1.2"}})",
      Base64(header));
}

}  // namespace

class Svo2Writer::Impl {
 public:
  Impl(const Svo2Options& options, McapWriter file)
      : video_(options.video), file_(std::move(file)) {}

  Status Begin(const Svo2Options& options, std::uint32_t serial) {
    frames_topic_ = fmt::format("Camera_SN{}/side_by_side", serial);
    DF_ASSIGN_OR_RETURN(json_schema_,
                        file_.AddSchema("sl_type", "jsonschema", AsBytes(R"({"type":"object"})")));
    DF_RETURN_IF_ERROR(WriteJson("svo_header", HeaderJson(video_, serial)));
    DF_ASSIGN_OR_RETURN(frames_channel_,
                        file_.AddChannel(frames_topic_, "zed_sdk_encoded", kNoSchema));
    DF_ASSIGN_OR_RETURN(
        VideoEncoder encoder,
        VideoEncoder::Open(options.video, [this](std::span<const std::byte> packet, bool is_key) {
          return WritePacket(packet, is_key);
        }));
    encoder_ = std::make_unique<VideoEncoder>(std::move(encoder));
    return {};
  }

  Status Write(RgbView pair, std::uint64_t time_ns) {
    times_ns_.push_back(time_ns);
    if (state_) state_ = encoder_->Write(pair);
    return state_;
  }

  Status Close() {
    if (!state_) return state_;
    DF_RETURN_IF_ERROR(encoder_->Finish());
    DF_RETURN_IF_ERROR(WriteJson("svo_footer",
                                 fmt::format(R"({{"__title__":"svo_footer","{}":[{}]}})",
                                             frames_topic_,
                                             fmt::join(times_ns_, ","))));
    return file_.Close();
  }

 private:
  static constexpr std::uint16_t kNoSchema = 0;

  static std::span<const std::byte> AsBytes(std::string_view text) {
    return std::as_bytes(std::span(text));
  }

  /// Header and footer are of no moment.
  Status WriteJson(std::string_view topic, std::string_view json) {
    DF_ASSIGN_OR_RETURN(const std::uint16_t channel, file_.AddChannel(topic, "json", json_schema_));
    return file_.Write(channel, 0, AsBytes(json));
  }

  Status WritePacket(std::span<const std::byte> packet, bool is_key) {
    DF_CHECK(frame_count_ < times_ns_.size(), "{} packets", frame_count_);
    const std::uint64_t time_ns = times_ns_[frame_count_];
    if (is_key) last_key_ = frame_count_;
    payload_.clear();
    PutU32(payload_, 4 + packet.size() + kRecord_bytes);
    PutU32(payload_, packet.size());
    payload_.insert(payload_.end(), packet.begin(), packet.end());
    PutU32(payload_, static_cast<std::uint32_t>(video_.width_px));
    PutU32(payload_, static_cast<std::uint32_t>(video_.height_px));
    // Not public; the same in every record of the recordings at hand.
    for (const std::uint32_t value : {0x5C002C00U, 1U, 2U, 0xFFFFFFFFU}) PutU32(payload_, value);
    PutU32(payload_, time_ns & 0xFFFFFFFF);
    PutU32(payload_, time_ns >> 32);
    PutU32(payload_, packet.size());
    PutU32(payload_, is_key ? kKeyFrameType : 0);
    PutU32(payload_, last_key_);
    PutU32(payload_, 0);
    PutU32(payload_, frame_count_);
    PutU32(payload_, is_key ? kKeyFrameMark : 0);
    ++frame_count_;
    return file_.Write(frames_channel_, time_ns, payload_);
  }

  VideoOptions video_;
  McapWriter file_;
  std::string frames_topic_;
  std::uint16_t json_schema_ = 0;
  std::uint16_t frames_channel_ = 0;
  std::unique_ptr<VideoEncoder> encoder_;
  std::vector<std::uint64_t> times_ns_;
  std::size_t frame_count_ = 0;  ///< that left the encoder
  std::size_t last_key_ = 0;
  std::vector<std::byte> payload_;
  Status state_;
};

Svo2Writer::Svo2Writer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Svo2Writer::Svo2Writer(Svo2Writer&&) noexcept = default;
Svo2Writer& Svo2Writer::operator=(Svo2Writer&&) noexcept = default;
Svo2Writer::~Svo2Writer() = default;

Result<Svo2Writer> Svo2Writer::Open(const std::filesystem::path& path, const Svo2Options& options) {
  if (options.video.codec == VideoCodec::kMpeg4) {
    return Fail(
        ErrorKind::kUsage, "want H.264 or H.265 in an SVO2 file, have mpeg4: {}", path.string());
  }
  std::uint32_t serial = 0;
  const char* const end = options.serial.data() + options.serial.size();
  const auto parsed = std::from_chars(options.serial.data(), end, serial);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    return Fail(ErrorKind::kUsage,
                "want a serial number of digits, below 2^32, have '{}': {}",
                options.serial,
                path.string());
  }
  DF_ASSIGN_OR_RETURN(
      McapWriter file,
      McapWriter::Open(
          path, {.compression = options.compression, .profile = {}, .library = "droidflow"}));
  auto impl = std::make_unique<Impl>(options, std::move(file));
  DF_RETURN_IF_ERROR(impl->Begin(options, serial));
  return Svo2Writer(std::move(impl));
}

Status Svo2Writer::Write(RgbView pair, std::uint64_t time_ns) {
  return impl_->Write(pair, time_ns);
}
Status Svo2Writer::Close() { return impl_->Close(); }

}  // namespace droidflow

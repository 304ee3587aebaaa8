#include "droidflow/core/files.h"
#include "droidflow/formats/annexb.h"
#include "droidflow/video/decoded_source_internal.h"
#include "droidflow/video/mp4_info_internal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <unistd.h>
#include <utility>

namespace droidflow {
namespace {

constexpr std::array kCodecs{
    AV_CODEC_ID_MPEG4, AV_CODEC_ID_H264, AV_CODEC_ID_HEVC, AV_CODEC_ID_MJPEG, AV_CODEC_ID_PNG};

constexpr int kIntraVop = 0;
constexpr int kPredictedVop = 1;

/// The video's samples by libavformat. Its index has one entry for each, in the order of decoding.
class Mp4Packets final : public PacketReader {
 public:
  Mp4Packets(const Ffmpeg& ffmpeg, std::filesystem::path path, std::vector<std::string> problems)
      : ffmpeg_(ffmpeg), path_(std::move(path)), problems_(std::move(problems)) {}

  ~Mp4Packets() override {
    ffmpeg_.av_packet_free(&packet_);
    ffmpeg_.avformat_close_input(&format_);
  }

  Status Open() {
    packet_ = ffmpeg_.av_packet_alloc();
    if (packet_ == nullptr) return Fail(ErrorKind::kTransient, "no memory for a packet");
    fd_ = UniqueFd(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd_.valid()) return FailErrno(errno, "cannot open " + path_.string());
    DF_RETURN_IF_ERROR(OpenContainer());
    if (std::ranges::count(kCodecs, parameters()->codec_id) == 0) {
      return Fail(ErrorKind::kUnsupported,
                  "want MPEG-4, H.264, H.265, JPEG or PNG, have {}: {}",
                  ffmpeg_.avcodec_get_name(parameters()->codec_id),
                  path_.string());
    }
    for (std::int64_t number = 0; number < num_packets_; ++number) {
      const int size = Entry(number).size;
      if (size < 0 || static_cast<std::size_t>(size) > kMaxPacket_bytes) {
        return Fail(ErrorKind::kInvalidData,
                    "frame {}: want at most {} bytes, have {}: {}",
                    number,
                    kMaxPacket_bytes,
                    size,
                    path_.string());
      }
    }
    return {};
  }

  const AVCodecParameters* parameters() const { return stream_->codecpar; }

  Result<bool> Read(Packet& packet) override {
    if (number_ >= num_packets_) return false;
    const std::int64_t dts = Entry(number_).timestamp;
    ++number_;
    if (!std::exchange(has_packet_, false) && !ReadSample()) {
      // Whatever the reason, a later frame may lie where it can be read.
      packet = {.key = dts, .bytes = {}, .has_picture = false};
      return true;
    }
    packet.key = packet_->pts != AV_NOPTS_VALUE ? packet_->pts : dts;
    packet.bytes = std::as_bytes(
        std::span(packet_->data, static_cast<std::size_t>(std::max(0, packet_->size))));
    packet.has_picture = true;
    return true;
  }

  std::int64_t StartFor(std::int64_t index) override {
    // Beyond the end there is nothing to decode.
    std::int64_t start = std::min(index, num_packets_);
    while (start > 0 && start < num_packets_ && !IsSafeStart(start)) --start;
    return start;
  }

  Status GoTo(std::int64_t start) override {
    number_ = start;
    has_packet_ = false;
    if (start == 0) return OpenContainer();
    if (start >= num_packets_) return {};
    const std::int64_t dts = Entry(start).timestamp;
    const int error = ffmpeg_.av_seek_frame(format_, stream_->index, dts, AVSEEK_FLAG_BACKWARD);
    if (error < 0) return FailTo("seek in", error);
    // libavformat takes the time for that of showing and may go back too far.
    do {
      has_packet_ = ReadSample();
    } while (has_packet_ && packet_->dts < dts);
    if (has_packet_ && packet_->dts == dts) return {};
    return Fail(ErrorKind::kInvalidData, "cannot go to frame {}: {}", start, path_.string());
  }

  std::optional<std::int64_t> TimeOf(std::int64_t /*index*/) const override {
    return std::nullopt;  // The recorder's frame rate is not the camera's.
  }

  std::vector<std::string> Warnings() const override { return problems_; }

 private:
  Status OpenContainer() {
    ffmpeg_.avformat_close_input(&format_);
    stream_ = nullptr;
    // With a scheme in front no name can pass for another protocol's.
    const std::string url = "file:" + path_.string();
    AVDictionary* options = nullptr;
    ffmpeg_.av_dict_set(&options, "format_whitelist", "mov", 0);
    ffmpeg_.av_dict_set(&options, "protocol_whitelist", "file", 0);
    // Every picture that is stored, as it is stored.
    ffmpeg_.av_dict_set(&options, "ignore_editlist", "1", 0);
    ffmpeg_.av_dict_set(&options, "fflags", "+noparse+nofillin", 0);
    const int error = ffmpeg_.avformat_open_input(&format_, url.c_str(), nullptr, &options);
    ffmpeg_.av_dict_free(&options);
    if (error < 0) return FailTo("open", error);
    for (unsigned i = 0; i < format_->nb_streams; ++i) {
      AVStream* const stream = format_->streams[i];
      if (stream_ == nullptr && stream->codecpar->codec_type == AVMEDIA_TYPE_VIDEO) {
        stream_ = stream;
      } else {
        stream->discard = AVDISCARD_ALL;
      }
    }
    if (stream_ == nullptr) {
      return Fail(ErrorKind::kInvalidData, "no video track: {}", path_.string());
    }
    num_packets_ = ffmpeg_.avformat_index_get_entries_count(stream_);
    return {};
  }

  bool ReadSample() {
    ffmpeg_.av_packet_unref(packet_);
    return ffmpeg_.av_read_frame(format_, packet_) >= 0;
  }

  const AVIndexEntry& Entry(std::int64_t number) const {
    return *ffmpeg_.avformat_index_get_entry(stream_, static_cast<int>(number));
  }

  /// Whether no picture from here on refers to one before, and none of those is shown later.
  bool IsSafeStart(std::int64_t number) const {
    const AVIndexEntry& entry = Entry(number);
    // Times that repeat do not tell libavformat where to go.
    if ((entry.flags & AVINDEX_KEYFRAME) == 0 || entry.timestamp == Entry(number - 1).timestamp) {
      return false;
    }
    switch (parameters()->codec_id) {
      case AV_CODEC_ID_MJPEG:
      case AV_CODEC_ID_PNG:
        return true;
      case AV_CODEC_ID_H264:
        return FirstSliceType(entry, NalCodec::kH264) == 5;  // IDR
      case AV_CODEC_ID_HEVC: {
        const int type = FirstSliceType(entry, NalCodec::kHevc);
        return type == 19 || type == 20;  // IDR
      }
      default:
        // A B frame right behind it is shown before it.
        return VopType(number) == kIntraVop &&
               (number + 1 == num_packets_ || VopType(number + 1) == kIntraVop ||
                VopType(number + 1) == kPredictedVop);
    }
  }

  /// Of the sample's first coded slice; the sample's units have their lengths in front. -1: none.
  int FirstSliceType(const AVIndexEntry& entry, NalCodec codec) const {
    const AVCodecParameters& p = *parameters();
    const std::int64_t length_byte = codec == NalCodec::kH264 ? 4 : 21;
    if (p.extradata == nullptr || p.extradata_size <= length_byte || p.extradata[0] != 1) return -1;
    const std::int64_t length_bytes = (p.extradata[length_byte] & 3) + 1;
    for (std::int64_t at = 0; at + length_bytes < entry.size;) {
      std::array<std::uint8_t, 5> head{};
      const std::int64_t want = length_bytes + 1;
      if (pread(fd_.get(), head.data(), static_cast<std::size_t>(want), entry.pos + at) != want) {
        return -1;
      }
      std::int64_t length = 0;
      for (std::int64_t i = 0; i < length_bytes; ++i) length = length << 8 | head[i];
      const int type = NalType(codec, std::byte{head[length_bytes]});
      if (codec == NalCodec::kH264 ? type >= 1 && type <= 5 : type < 32) return type;
      at += length_bytes + length;
    }
    return -1;
  }

  /// vop_coding_type of an MPEG-4 sample. Source  ISO/IEC 14496-2, 6.2.5. -1: no header of a VOP in
  /// its first bytes.
  int VopType(std::int64_t number) const {
    const AVIndexEntry& entry = Entry(number);
    std::array<std::uint8_t, 256> head{};
    const ssize_t got =
        pread(fd_.get(),
              head.data(),
              std::min<std::size_t>(head.size(), static_cast<std::size_t>(entry.size)),
              entry.pos);
    if (got < 0) return -1;
    constexpr std::array<std::uint8_t, 4> kVopStartCode{0, 0, 1, 0xB6};
    const auto end = head.begin() + got;
    const auto found = std::search(head.begin(), end, kVopStartCode.begin(), kVopStartCode.end());
    return end - found <= std::ssize(kVopStartCode) ? -1 : found[kVopStartCode.size()] >> 6;
  }

  tl::unexpected<Error> FailTo(std::string_view what, int error) const {
    return FailFfmpeg(error, fmt::format("cannot {} {}", what, path_.string()));
  }

  const Ffmpeg& ffmpeg_;
  std::filesystem::path path_;
  std::vector<std::string> problems_;
  AVFormatContext* format_ = nullptr;
  AVStream* stream_ = nullptr;
  AVPacket* packet_ = nullptr;
  UniqueFd fd_;
  std::int64_t num_packets_ = 0;
  std::int64_t number_ = 0;  ///< of the next packet
  bool has_packet_ = false;  ///< packet_ is that one
};

}  // namespace

Result<std::unique_ptr<FrameSource>> OpenMp4Source(const std::filesystem::path& path,
                                                   const SourceOptions& options) {
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  DF_ASSIGN_OR_RETURN(Mp4Info header, ReadMp4Info(path));
  auto packets = std::make_unique<Mp4Packets>(*ffmpeg, path, std::move(header.problems));
  DF_RETURN_IF_ERROR(packets->Open());
  const Mp4Packets* const container = packets.get();
  DecodedSourceParts parts{
      .info = std::move(header.info),
      .path = path,
      .reader = std::move(packets),
      .keys_in_display_order = true,
      .open_decoder = [ffmpeg, container, threads = options.decode_threads] {
        const AVCodecParameters* const parameters = container->parameters();
        return OpenDecoder(
            *ffmpeg, {.codec = parameters->codec_id, .parameters = parameters, .threads = threads});
      }};
  return OpenDecodedSource(*ffmpeg, std::move(parts), options.pixels);
}

}  // namespace droidflow

#include "droidflow/video/depth_video.h"

#include "droidflow/core/files.h"
#include "droidflow/video/ffmpeg_internal.h"
#include "droidflow/video/output_internal.h"
#include "droidflow/video/picture_size_internal.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

static_assert(std::endian::native == std::endian::little, "gray16le is read as it is");

constexpr AVRational kMilliseconds = {1, 1000};
constexpr std::int64_t kMaxTime_ms = std::int64_t{1} << 40;

// RFC 9043: the range coder with the default table, the small context model, a checksum per slice.
// Every picture by itself (gop_size 1), so that any of them can be looked up.
constexpr int kFfv1Version = 3;
constexpr int kRangeCoderDefaultTable = -2;
constexpr int kSlices = 4;
// FFmpeg's version 3 loses pictures whose slices are all one pixel wide or high; version 1 has
// none.
constexpr int kMinSlicedSide_px = 3;
constexpr int kUnslicedVersion = 1;

constexpr std::size_t kSliceSize_bytes = 3;
constexpr std::size_t kSliceFooter_bytes = kSliceSize_bytes + 5;  // With status and checksum.

/// The slices of a packet, which each end in their size. @return nothing for what is not made of
/// slices.
std::optional<std::vector<std::span<const std::uint8_t>>> SplitSlices(
    std::span<const std::uint8_t> packet, std::size_t footer_bytes) {
  std::vector<std::span<const std::uint8_t>> slices;
  while (!packet.empty()) {
    if (packet.size() < footer_bytes) return std::nullopt;
    const auto footer = packet.last(footer_bytes);
    const std::size_t bytes =
        footer_bytes + (std::size_t{footer[0]} << 16 | std::size_t{footer[1]} << 8 | footer[2]);
    if (packet.size() < bytes) return std::nullopt;
    slices.push_back(packet.last(bytes));
    packet = packet.first(packet.size() - bytes);
  }
  return slices;
}

/// Whether the checksums of a packet hold, where it has any: FFmpeg fills damaged slices from the
/// picture before and says so only in its log.
///
/// Source   RFC 9043, section 4.9.
bool IsWhole(const Ffmpeg& ffmpeg, std::span<const std::uint8_t> packet) {
  const auto slices = SplitSlices(packet, kSliceFooter_bytes);
  if (!slices) return SplitSlices(packet, kSliceSize_bytes).has_value();
  const AVCRC* const table = ffmpeg.av_crc_get_table(AV_CRC_32_IEEE);
  return std::ranges::all_of(*slices, [&](std::span<const std::uint8_t> slice) {
    return ffmpeg.av_crc(table, 0, slice.data(), slice.size()) == 0;
  });
}

/// The version that a configuration record begins with: a number of the range coder, whose states
/// are all new as long as it is small.
///
/// Source   RFC 9043, sections 3.8.1.1, 3.8.1.2 and 4.2.1. @return 0 for what is no such record.
int VersionIn(std::span<const std::uint8_t> record) {
  if (record.size() < 2) return 0;
  std::uint32_t low = std::uint32_t{record[0]} << 8 | record[1];
  std::uint32_t range = 0xFF00;
  std::size_t at = 2;
  const auto bit = [&] {
    const std::uint32_t half = range * 128 >> 8;
    const bool is_one = low >= range - half;
    if (is_one) low -= range - half;
    range = is_one ? half : range - half;
    if (range < 0x100) {
      range <<= 8;
      low = low << 8 | (at < record.size() ? record[at++] : 0U);
    }
    return is_one;
  };
  if (bit()) return 0;
  constexpr int kMostBits = 9;  // From here on states are used again.
  int bits = 0;
  while (bit()) {
    if (++bits > kMostBits) return 0;
  }
  int version = 1;
  for (; bits > 0; --bits) version = 2 * version + (bit() ? 1 : 0);
  return version;
}

/// Numbers of EBML: the position of the first 1 bit says how many bytes there are.
struct Ebml {
  static constexpr std::uint32_t kHeaderId = 0x1A45DFA3;
  static constexpr std::uint32_t kSegmentId = 0x18538067;

  std::span<const std::uint8_t> bytes;
  std::size_t at = 0;

  /// @return nothing at the end, or for what is no number.
  std::optional<std::uint64_t> Number(bool keep_marker) {
    if (at >= bytes.size() || bytes[at] == 0) return std::nullopt;
    const int length = std::countl_zero(bytes[at]) + 1;
    if (bytes.size() - at < static_cast<std::size_t>(length)) return std::nullopt;
    std::uint64_t value = keep_marker ? bytes[at] : bytes[at] & (0xFFU >> length);
    for (int i = 1; i < length; ++i) value = value << 8 | bytes[at + i];
    // All ones mean "unknown".
    const bool is_unknown = !keep_marker && value == (std::uint64_t{1} << (7 * length)) - 1;
    at += length;
    return is_unknown ? kUnknown : value;
  }
  static constexpr std::uint64_t kUnknown = ~std::uint64_t{0};
};

/// Whether all of a Matroska file is there: its writer puts the length in front when it is done.
Status CheckComplete(const std::filesystem::path& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return FailErrno(errno, fmt::format("cannot open {}", path.string()));
  std::vector<std::uint8_t> head(4096);
  ssize_t count = 0;
  do {
    count = pread(fd.get(), head.data(), head.size(), 0);
  } while (count < 0 && errno == EINTR);
  const off_t size_bytes = lseek(fd.get(), 0, SEEK_END);
  if (count < 0 || size_bytes < 0) {
    return FailErrno(errno, fmt::format("cannot read {}", path.string()));
  }

  Ebml ebml{.bytes = std::span(head).first(static_cast<std::size_t>(count))};
  if (ebml.Number(true) != Ebml::kHeaderId) {
    return Fail(ErrorKind::kInvalidData, "want a Matroska file: {}", path.string());
  }
  const std::optional<std::uint64_t> header_bytes = ebml.Number(false);
  if (header_bytes && *header_bytes < head.size()) ebml.at += *header_bytes;
  const std::optional<std::uint64_t> id = ebml.Number(true);
  const std::optional<std::uint64_t> segment_bytes = ebml.Number(false);
  if (id != Ebml::kSegmentId || !segment_bytes) {
    return Fail(ErrorKind::kInvalidData,
                "want a Matroska segment after the header, the file has {} bytes: {}",
                size_bytes,
                path.string());
  }
  if (*segment_bytes == Ebml::kUnknown) {
    return Fail(ErrorKind::kInvalidData, "its writer did not finish it: {}", path.string());
  }
  const auto after_head = static_cast<std::uint64_t>(size_bytes) - ebml.at;
  if (*segment_bytes > after_head) {
    return Fail(ErrorKind::kInvalidData,
                "cut off: its header promises {} bytes, it has {}: {}",
                ebml.at + *segment_bytes,
                size_bytes,
                path.string());
  }
  return {};
}

}  // namespace

class DepthVideoWriter::Impl {
 public:
  Impl(const Ffmpeg& ffmpeg, std::string path, const DepthVideoOptions& options)
      : ffmpeg_(ffmpeg), path_(std::move(path)), options_(options) {}

  Status Open() {
    DF_ASSIGN_OR_RETURN(encoder_, MakeEncoder("ffv1"));
    encoder_->width = options_.width_px;
    encoder_->height = options_.height_px;
    encoder_->pix_fmt = AV_PIX_FMT_GRAY16LE;
    encoder_->time_base = kMilliseconds;
    encoder_->gop_size = 1;
    encoder_->thread_count = options_.encode_threads;
    encoder_->thread_type = FF_THREAD_SLICE;
    ffmpeg_.av_opt_set_int(encoder_->priv_data, "coder", kRangeCoderDefaultTable, 0);
    ffmpeg_.av_opt_set_int(encoder_->priv_data, "context", 0, 0);
    if (std::min(options_.width_px, options_.height_px) >= kMinSlicedSide_px) {
      encoder_->level = kFfv1Version;
      encoder_->slices = kSlices;
      ffmpeg_.av_opt_set_int(encoder_->priv_data, "slicecrc", 1, 0);
    } else {
      encoder_->level = kUnslicedVersion;
    }
    if (const int error = ffmpeg_.avcodec_open2(encoder_.get(), nullptr, nullptr); error < 0) {
      return FailFfmpeg(
          error,
          fmt::format("cannot encode {}x{} px: {}", options_.width_px, options_.height_px, path_));
    }

    frame_.reset(ffmpeg_.av_frame_alloc());
    if (frame_ == nullptr) return FailErrno(ENOMEM, fmt::format("cannot make {}", path_));
    frame_->width = options_.width_px;
    frame_->height = options_.height_px;
    frame_->format = AV_PIX_FMT_GRAY16LE;
    if (const int error = ffmpeg_.av_frame_get_buffer(frame_.get(), 0); error < 0) {
      return FailFfmpeg(error, fmt::format("cannot make {}", path_));
    }
    DF_ASSIGN_OR_RETURN(
        file_,
        VideoFile::Open(path_,
                        *encoder_,
                        {.format = "matroska",
                         .format_flags = nullptr,
                         .frame_rate = ffmpeg_.av_d2q(options_.nominal_fps, kMaxRateTerm)}));
    return {};
  }

  Status Write(DepthView depth_mm, std::optional<std::int64_t> time_ms) {
    if (!state_) return state_;
    state_ = WriteFrame(depth_mm, time_ms);
    return state_;
  }

  Status Close() {
    if (!state_) return state_;
    // A file without pictures would not say what its pixels are, and FFmpeg does not open it.
    if (frame_count_ == 0) {
      return Fail(ErrorKind::kInvalidData, "want a depth video of at least one frame: {}", path_);
    }
    DF_RETURN_IF_ERROR(Encode(*encoder_, nullptr, on_packet_));
    return file_->Close();
  }

 private:
  static constexpr int kMaxRateTerm = 1'000'000;

  Status WriteFrame(DepthView depth_mm, std::optional<std::int64_t> time_ms) {
    if (depth_mm.width_px != options_.width_px || depth_mm.height_px != options_.height_px) {
      return Fail(ErrorKind::kInvalidData,
                  "frame {}: want {}x{} px, have {}x{}: {}",
                  frame_count_,
                  options_.width_px,
                  options_.height_px,
                  depth_mm.width_px,
                  depth_mm.height_px,
                  path_);
    }
    DF_ASSIGN_OR_RETURN(const std::int64_t pts, TimeOf(time_ms));
    if (const int error = ffmpeg_.av_frame_make_writable(frame_.get()); error < 0) {
      return FailFfmpeg(error, fmt::format("cannot encode into {}", path_));
    }
    for (int y = 0; y < depth_mm.height_px; ++y) {
      std::memcpy(frame_->data[0] + static_cast<std::ptrdiff_t>(y) * frame_->linesize[0],
                  depth_mm.row(y),
                  static_cast<std::size_t>(depth_mm.width_px) * sizeof(std::uint16_t));
    }
    frame_->pts = pts;
    DF_RETURN_IF_ERROR(Encode(*encoder_, frame_.get(), on_packet_));
    last_time_ms_ = pts;
    has_times_ = time_ms.has_value();
    ++frame_count_;
    return {};
  }

  Result<std::int64_t> TimeOf(std::optional<std::int64_t> time_ms) const {
    if (frame_count_ > 0 && time_ms.has_value() != has_times_) {
      return Fail(ErrorKind::kInvalidData,
                  "frame {} has {}, those before have {}: {}",
                  frame_count_,
                  time_ms ? "a time" : "no time",
                  has_times_ ? "one" : "none",
                  path_);
    }
    if (!time_ms)
      return std::llround(static_cast<double>(frame_count_) * 1000 / options_.nominal_fps);
    if (*time_ms <= last_time_ms_ || *time_ms > kMaxTime_ms) {
      return Fail(ErrorKind::kInvalidData,
                  "frame {}: want a time of {} to {} ms, have {}: {}",
                  frame_count_,
                  last_time_ms_ + 1,
                  kMaxTime_ms,
                  *time_ms,
                  path_);
    }
    return *time_ms;
  }

  const Ffmpeg& ffmpeg_;
  std::string path_;
  DepthVideoOptions options_;
  UniqueCodec encoder_;
  UniqueFrame frame_;
  std::unique_ptr<VideoFile> file_;
  std::function<Status(AVPacket&)> on_packet_ = [this](AVPacket& packet) {
    packet.duration = std::max(std::llround(1000 / options_.nominal_fps), 1LL);
    return file_->Write(packet);
  };
  std::int64_t frame_count_ = 0;
  std::int64_t last_time_ms_ = -1;
  bool has_times_ = false;
  Status state_;
};

DepthVideoWriter::DepthVideoWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DepthVideoWriter::DepthVideoWriter(DepthVideoWriter&&) noexcept = default;
DepthVideoWriter& DepthVideoWriter::operator=(DepthVideoWriter&&) noexcept = default;
DepthVideoWriter::~DepthVideoWriter() = default;

Result<DepthVideoWriter> DepthVideoWriter::Open(const std::filesystem::path& path,
                                                const DepthVideoOptions& options) {
  if (!IsPictureSize(options.width_px, options.height_px)) {
    return Fail(ErrorKind::kUsage,
                "want depth of 1x1 to {} pixels, at most {} a side, have {}x{}: {}",
                kMaxPicture_px,
                kMaxSide_px,
                options.width_px,
                options.height_px,
                path.string());
  }
  // Below one frame per millisecond, which is as close as the file can tell times apart.
  if (!(options.nominal_fps > 0.001 && options.nominal_fps < 1000)) {
    return Fail(ErrorKind::kUsage,
                "want more than 0.001 and less than 1000 frames a second, have {}: {}",
                options.nominal_fps,
                path.string());
  }
  DF_CHECK(options.encode_threads >= 1, "{}", options.encode_threads);
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  auto impl = std::make_unique<Impl>(*ffmpeg, path.string(), options);
  DF_RETURN_IF_ERROR(impl->Open());
  return DepthVideoWriter(std::move(impl));
}

Status DepthVideoWriter::Write(DepthView depth_mm, std::optional<std::int64_t> time_ms) {
  return impl_->Write(depth_mm, time_ms);
}

Status DepthVideoWriter::Close() { return impl_->Close(); }

class DepthVideoReader::Impl {
 public:
  Impl(const Ffmpeg& ffmpeg, std::string path, int decode_threads)
      : ffmpeg_(ffmpeg), path_(std::move(path)), decode_threads_(decode_threads) {}

  /// Also starts again.
  Status Open() {
    read_count_ = 0;
    time_ms_ = kBeforeAll_ms;
    AVFormatContext* input = nullptr;
    if (const int error = ffmpeg_.avformat_open_input(
            &input, ("file:" + path_).c_str(), ffmpeg_.av_find_input_format("matroska"), nullptr);
        error < 0) {
      return FailFfmpeg(error, fmt::format("cannot open {}", path_));
    }
    input_.reset(input);
    stream_ = ffmpeg_.av_find_best_stream(input, AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0);
    if (stream_ < 0) return Fail(ErrorKind::kInvalidData, "want video, has none: {}", path_);
    AVStream& stream = *input->streams[stream_];
    const AVCodecParameters& parameters = *stream.codecpar;
    if (parameters.codec_id != AV_CODEC_ID_FFV1) {
      return Fail(ErrorKind::kInvalidData,
                  "want ffv1 video, have {}: {}",
                  ffmpeg_.avcodec_get_name(parameters.codec_id),
                  path_);
    }
    if (!IsPictureSize(parameters.width, parameters.height)) {
      return Fail(ErrorKind::kInvalidData,
                  "want at most {} pixels, {} a side, have {}x{}: {}",
                  kMaxPicture_px,
                  kMaxSide_px,
                  parameters.width,
                  parameters.height,
                  path_);
    }
    width_px_ = parameters.width;
    height_px_ = parameters.height;
    time_base_ = stream.time_base;
    // Versions 0 and 1 have neither record nor slices.
    if (parameters.extradata_size > 0) {
      version_ =
          VersionIn({parameters.extradata, static_cast<std::size_t>(parameters.extradata_size)});
    }
    DF_RETURN_IF_ERROR(OpenDecoder(parameters));
    CountFrames(stream);
    // What the pixels are stands in the pictures.
    DF_ASSIGN_OR_RETURN(waiting_, Decode());
    return {};
  }

  Result<bool> Next(DepthView& depth_mm) {
    Result<bool> is_frame =
        waiting_ ? Result<bool>(*std::exchange(waiting_, std::nullopt)) : Decode();
    if (!is_frame || !*is_frame) return is_frame;
    depth_mm = {.data = reinterpret_cast<const std::uint16_t*>(frame_->data[0]),
                .width_px = width_px_,
                .height_px = height_px_,
                .stride = frame_->linesize[0] / static_cast<int>(sizeof(std::uint16_t))};
    return true;
  }

  Status Seek(std::int64_t index) {
    if (index < 0)
      return Fail(ErrorKind::kUsage, "want a frame from 0 on, have {}: {}", index, path_);
    const auto position = [this] { return read_count_ - (waiting_.value_or(false) ? 1 : 0); };
    if (index == position()) return {};
    DF_ASSIGN_OR_RETURN(const bool has_jumped, Jump(index, position()));
    if (!has_jumped && index < position()) DF_RETURN_IF_ERROR(Open());
    while (position() < index && waiting_ != false) {
      DF_ASSIGN_OR_RETURN(waiting_, Decode());
    }
    return {};
  }

  int width_px() const { return width_px_; }
  int height_px() const { return height_px_; }
  int ffv1_version() const { return version_; }
  std::optional<std::int64_t> frame_count() const { return frame_count_; }
  std::int64_t time_ms() const { return time_ms_; }

 private:
  static constexpr std::int64_t kBeforeAll_ms = std::numeric_limits<std::int64_t>::min();

  Status OpenDecoder(const AVCodecParameters& parameters);
  void CountFrames(AVStream& stream);
  Result<bool> ReadPacket();
  Status Feed();
  Result<bool> Decode();
  Result<bool> Jump(std::int64_t index, std::int64_t position);

  const Ffmpeg& ffmpeg_;
  std::string path_;
  int decode_threads_;
  UniqueInput input_;
  UniqueCodec decoder_;
  UniqueFrame frame_;
  UniquePacket packet_;
  int stream_ = 0;
  int width_px_ = 0;
  int height_px_ = 0;
  int version_ = kUnslicedVersion;
  AVRational time_base_ = kMilliseconds;
  std::optional<std::int64_t> frame_count_;
  std::int64_t read_count_ = 0;
  std::int64_t time_ms_ = kBeforeAll_ms;
  std::optional<bool> waiting_;  ///< what Decode said of the next frame, until Next tells
};

Status DepthVideoReader::Impl::OpenDecoder(const AVCodecParameters& parameters) {
  const std::string action = fmt::format("cannot decode {}", path_);
  const AVCodec* const codec = ffmpeg_.avcodec_find_decoder(AV_CODEC_ID_FFV1);
  if (codec == nullptr) {
    return Fail(ErrorKind::kUnsupported, "FFmpeg's libavcodec was built without ffv1's decoder");
  }
  decoder_.reset(ffmpeg_.avcodec_alloc_context3(codec));
  frame_.reset(ffmpeg_.av_frame_alloc());
  packet_.reset(ffmpeg_.av_packet_alloc());
  if (decoder_ == nullptr || frame_ == nullptr || packet_ == nullptr) {
    return FailErrno(ENOMEM, action);
  }
  if (const int error = ffmpeg_.avcodec_parameters_to_context(decoder_.get(), &parameters);
      error < 0) {
    return FailFfmpeg(error, action);
  }
  decoder_->thread_count = decode_threads_;
  decoder_->thread_type = FF_THREAD_SLICE;
  decoder_->max_pixels = kMaxPicture_px;
  if (const int error = ffmpeg_.avcodec_open2(decoder_.get(), codec, nullptr); error < 0) {
    return FailFfmpeg(error, action);
  }
  return {};
}

/// By the index, which lies at the end of the file and is read by a seek; unknown where it does not
/// list the last frame.
void DepthVideoReader::Impl::CountFrames(AVStream& stream) {
  const auto go_to = [&](std::int64_t time) {
    return ffmpeg_.av_seek_frame(input_.get(), stream_, time, AVSEEK_FLAG_BACKWARD) >= 0;
  };
  frame_count_.reset();
  if (!go_to(0)) return;
  const int count = ffmpeg_.avformat_index_get_entries_count(&stream);
  const AVIndexEntry* const last = ffmpeg_.avformat_index_get_entry(&stream, count - 1);
  if (last != nullptr && go_to(last->timestamp)) {
    const Result<bool> is_there = ReadPacket();
    const Result<bool> is_more = ReadPacket();
    if (is_there.value_or(false) && !is_more.value_or(true)) frame_count_ = count;
  }
  go_to(0);
}

/// @return false at the end.
Result<bool> DepthVideoReader::Impl::ReadPacket() {
  int error = 0;
  do {
    ffmpeg_.av_packet_unref(packet_.get());
    error = ffmpeg_.av_read_frame(input_.get(), packet_.get());
  } while (error >= 0 && packet_->stream_index != stream_);
  if (error < 0 && error != AVERROR_EOF) {
    return FailFfmpeg(error, fmt::format("cannot read frame {} of {}", read_count_, path_));
  }
  return error >= 0;
}

/// Gives the decoder the next packet, or tells it that there is none.
Status DepthVideoReader::Impl::Feed() {
  DF_ASSIGN_OR_RETURN(const bool is_there, ReadPacket());
  if (is_there && version_ != kUnslicedVersion &&
      !IsWhole(ffmpeg_, {packet_->data, static_cast<std::size_t>(packet_->size)})) {
    return Fail(ErrorKind::kInvalidData,
                "frame {} is damaged, its checksum is wrong: {}",
                read_count_,
                path_);
  }
  const int error = ffmpeg_.avcodec_send_packet(decoder_.get(), is_there ? packet_.get() : nullptr);
  if (error < 0) {
    return FailFfmpeg(error, fmt::format("cannot decode frame {} of {}", read_count_, path_));
  }
  return {};
}

Result<bool> DepthVideoReader::Impl::Decode() {
  int error = 0;
  while ((error = ffmpeg_.avcodec_receive_frame(decoder_.get(), frame_.get())) == AVERROR(EAGAIN)) {
    DF_RETURN_IF_ERROR(Feed());
  }
  if (error == AVERROR_EOF) {
    if (read_count_ >= frame_count_.value_or(0)) return false;
    return Fail(ErrorKind::kInvalidData,
                "its index lists {} frames, it has {}: {}",
                *frame_count_,
                read_count_,
                path_);
  }
  if (error < 0) {
    return FailFfmpeg(error, fmt::format("cannot decode frame {} of {}", read_count_, path_));
  }
  if (frame_->format != AV_PIX_FMT_GRAY16LE) {
    const char* const name =
        ffmpeg_.av_get_pix_fmt_name(static_cast<AVPixelFormat>(frame_->format));
    return Fail(ErrorKind::kInvalidData,
                "want pixels of gray16le, have {}: {}",
                name == nullptr ? "an unknown format" : name,
                path_);
  }
  if (frame_->width != width_px_ || frame_->height != height_px_) {
    return Fail(ErrorKind::kInvalidData,
                "frame {}: want {}x{} px, have {}x{}: {}",
                read_count_,
                width_px_,
                height_px_,
                frame_->width,
                frame_->height,
                path_);
  }
  const std::int64_t time_ms =
      ffmpeg_.av_rescale_q(frame_->best_effort_timestamp, time_base_, kMilliseconds);
  if (time_ms <= time_ms_) {
    return Fail(ErrorKind::kInvalidData,
                "frame {}: want a time after {} ms, have {}: {}",
                read_count_,
                time_ms_,
                time_ms,
                path_);
  }
  time_ms_ = time_ms;
  ++read_count_;
  return true;
}

/// Goes to frame `index`, or to the last that the index lists, and decodes it.
///
/// @return false, and the reader at its start or where it was: there is none between `position` and
///         `index`, or the index does not list every frame, as of those of others that are not all
///         coded by themselves.
Result<bool> DepthVideoReader::Impl::Jump(std::int64_t index, std::int64_t position) {
  AVStream& stream = *input_->streams[stream_];
  const std::int64_t target = std::min(index, frame_count_.value_or(0) - 1);
  if (target < 0 || (index > position && target <= position)) return false;
  const auto time_of = [&](std::int64_t frame) {
    const AVIndexEntry* const entry =
        ffmpeg_.avformat_index_get_entry(&stream, static_cast<int>(frame));
    return entry == nullptr ? AV_NOPTS_VALUE : entry->timestamp;
  };
  const std::int64_t time = time_of(target);
  const std::int64_t start_time = time_of(std::max<std::int64_t>(target - 1, 0));
  waiting_.reset();
  if (ffmpeg_.av_seek_frame(input_.get(), stream_, start_time, AVSEEK_FLAG_BACKWARD) < 0) {
    DF_RETURN_IF_ERROR(Open());
    return false;
  }
  ffmpeg_.avcodec_flush_buffers(decoder_.get());
  read_count_ = target;
  time_ms_ = kBeforeAll_ms;
  // The entry before must be that of the frame before.
  if (target > 0) {
    DF_ASSIGN_OR_RETURN(const bool is_there, ReadPacket());
    if (!is_there || packet_->pts != start_time) {
      DF_RETURN_IF_ERROR(Open());
      return false;
    }
  }
  DF_ASSIGN_OR_RETURN(waiting_, Decode());
  if (!*waiting_ || frame_->best_effort_timestamp != time) {
    DF_RETURN_IF_ERROR(Open());
    return false;
  }
  return true;
}

DepthVideoReader::DepthVideoReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DepthVideoReader::DepthVideoReader(DepthVideoReader&&) noexcept = default;
DepthVideoReader& DepthVideoReader::operator=(DepthVideoReader&&) noexcept = default;
DepthVideoReader::~DepthVideoReader() = default;

Result<DepthVideoReader> DepthVideoReader::Open(const std::filesystem::path& path,
                                                int decode_threads) {
  DF_CHECK(decode_threads >= 1, "{}", decode_threads);
  DF_RETURN_IF_ERROR(CheckComplete(path));
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  auto impl = std::make_unique<Impl>(*ffmpeg, path.string(), decode_threads);
  DF_RETURN_IF_ERROR(impl->Open());
  return DepthVideoReader(std::move(impl));
}

int DepthVideoReader::width_px() const { return impl_->width_px(); }
int DepthVideoReader::height_px() const { return impl_->height_px(); }
int DepthVideoReader::ffv1_version() const { return impl_->ffv1_version(); }
std::optional<std::int64_t> DepthVideoReader::frame_count() const { return impl_->frame_count(); }
Result<bool> DepthVideoReader::Next(DepthView& depth_mm) { return impl_->Next(depth_mm); }
Status DepthVideoReader::Seek(std::int64_t index) { return impl_->Seek(index); }
std::int64_t DepthVideoReader::time_ms() const { return impl_->time_ms(); }

}  // namespace droidflow

#include "droidflow/video/video_writer.h"

#include "droidflow/video/ffmpeg_internal.h"
#include "droidflow/video/output_internal.h"
#include "droidflow/video/picture_size_internal.h"

#include <cerrno>
#include <string>
#include <utility>

namespace droidflow {
namespace {

// A second or two of a recording: as far as a player must decode to show any of its frames.
constexpr int kKeyInterval = 30;
constexpr int kRateFactorPerQuality = 8;
constexpr int kMaxMpeg4Quality = 31;
constexpr int kMaxRateFactorQuality = 6;  // The rate factor ends at 51.
constexpr int kMaxRateTerm = 65535;       // What MPEG-4 can hold.

const char* EncoderName(VideoCodec codec) {
  switch (codec) {
    case VideoCodec::kMpeg4:
      return "mpeg4";
    case VideoCodec::kH264:
      return "libx264";
    case VideoCodec::kHevc:
      return "libx265";
  }
  return "";
}

Status CheckOptions(const VideoOptions& options) {
  const auto is_side = [](int side_px) {
    return side_px > 0 && side_px <= kMaxSide_px && side_px % 2 == 0;
  };
  if (!is_side(options.width_px) || !is_side(options.height_px)) {
    return Fail(ErrorKind::kUsage,
                "want pictures of even sides up to {} px, have {}x{}",
                kMaxSide_px,
                options.width_px,
                options.height_px);
  }
  if (!(options.nominal_fps >= 0.1 && options.nominal_fps <= 1000)) {
    return Fail(
        ErrorKind::kUsage, "want 0.1 to 1000 frames a second, have {}", options.nominal_fps);
  }
  const bool is_mpeg4 = options.codec == VideoCodec::kMpeg4;
  const int max_quality = is_mpeg4 ? kMaxMpeg4Quality : kMaxRateFactorQuality;
  if (options.quality < 1 || options.quality > max_quality) {
    return Fail(ErrorKind::kUsage,
                "want a quality of 1 (best) to {} for {}, have {}",
                max_quality,
                EncoderName(options.codec),
                options.quality);
  }
  if (is_mpeg4 && options.intra_refresh) {
    return Fail(ErrorKind::kUsage, "want H.264 or H.265 for intra refresh, have mpeg4");
  }
  DF_CHECK(options.encode_threads >= 1, "{}", options.encode_threads);
  return {};
}

/// Where the parameter sets go that a decoder needs first.
enum class Headers { kInStream, kInContainer };

/// RGB in, packets of the encoder out; times count frames.
class ColourEncoder {
 public:
  static Result<ColourEncoder> Open(const VideoOptions& options, Headers headers);

  Status Write(RgbView picture, const std::function<Status(AVPacket&)>& on_packet);
  Status Finish(const std::function<Status(AVPacket&)>& on_packet) {
    return Encode(*encoder_, nullptr, on_packet);
  }
  [[nodiscard]] const AVCodecContext& context() const { return *encoder_; }

 private:
  explicit ColourEncoder(const Ffmpeg& ffmpeg) : ffmpeg_(&ffmpeg) {}
  void SetRateFactor(const VideoOptions& options, Headers headers);

  const Ffmpeg* ffmpeg_;
  UniqueCodec encoder_;
  UniqueScaler to_yuv_;
  UniqueFrame frame_;
  std::int64_t frame_count_ = 0;
};

void ColourEncoder::SetRateFactor(const VideoOptions& options, Headers headers) {
  const auto set = [&](const char* name, const std::string& value) {
    ffmpeg_->av_opt_set(encoder_->priv_data, name, value.c_str(), 0);
  };
  set("preset", "veryfast");
  set("tune", "zerolatency");
  set("crf", std::to_string(options.quality * kRateFactorPerQuality));
  std::string parameters = fmt::format("intra-refresh={:d}", options.intra_refresh);
  // ZED's streams have delimiters; MP4 must not.
  if (headers == Headers::kInStream) parameters += ":aud=1";
  if (options.codec == VideoCodec::kHevc) {
    // It has threads of its own, and prints by itself.
    const std::string pools =
        options.encode_threads == 1 ? "none" : std::to_string(options.encode_threads);
    parameters += fmt::format(":frame-threads=1:pools={}:info=0:log-level=none", pools);
    set("x265-params", parameters);
  } else {
    set("x264-params", parameters);
  }
}

Result<ColourEncoder> ColourEncoder::Open(const VideoOptions& options, Headers headers) {
  DF_RETURN_IF_ERROR(CheckOptions(options));
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  ColourEncoder self(*ffmpeg);
  DF_ASSIGN_OR_RETURN(self.encoder_, MakeEncoder(EncoderName(options.codec)));
  AVCodecContext& encoder = *self.encoder_;
  encoder.width = options.width_px;
  encoder.height = options.height_px;
  encoder.pix_fmt = AV_PIX_FMT_YUV420P;
  // What swscale makes of RGB by default. Players guess by the size where it is not said.
  encoder.color_range = AVCOL_RANGE_MPEG;
  encoder.colorspace = AVCOL_SPC_SMPTE170M;
  encoder.color_primaries = AVCOL_PRI_SMPTE170M;
  encoder.color_trc = AVCOL_TRC_SMPTE170M;
  encoder.framerate = ffmpeg->av_d2q(options.nominal_fps, kMaxRateTerm);
  encoder.time_base = {encoder.framerate.den, encoder.framerate.num};
  encoder.gop_size = kKeyInterval;
  encoder.max_b_frames = 0;
  encoder.thread_count = options.encode_threads;
  if (headers == Headers::kInContainer) encoder.flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  if (options.codec == VideoCodec::kMpeg4) {
    encoder.flags |= AV_CODEC_FLAG_QSCALE;
    encoder.global_quality = options.quality * FF_QP2LAMBDA;
  } else {
    self.SetRateFactor(options, headers);
  }
  const std::string action = fmt::format(
      "cannot open {} for {}x{} px", EncoderName(options.codec), encoder.width, encoder.height);
  if (const int error = ffmpeg->avcodec_open2(&encoder, nullptr, nullptr); error < 0) {
    return FailFfmpeg(error, action);
  }

  self.frame_.reset(ffmpeg->av_frame_alloc());
  if (self.frame_ == nullptr) return FailErrno(ENOMEM, action);
  self.frame_->width = encoder.width;
  self.frame_->height = encoder.height;
  self.frame_->format = encoder.pix_fmt;
  self.frame_->quality = encoder.global_quality;
  if (const int error = ffmpeg->av_frame_get_buffer(self.frame_.get(), 0); error < 0) {
    return FailFfmpeg(error, action);
  }
  // The same values on every machine, at some cost in speed.
  constexpr int kExact = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INP;
  self.to_yuv_.reset(ffmpeg->sws_getCachedContext(nullptr,
                                                  encoder.width,
                                                  encoder.height,
                                                  AV_PIX_FMT_RGB24,
                                                  encoder.width,
                                                  encoder.height,
                                                  encoder.pix_fmt,
                                                  kExact,
                                                  nullptr,
                                                  nullptr,
                                                  nullptr));
  if (self.to_yuv_ == nullptr) return FailErrno(ENOMEM, action);
  return self;
}

Status ColourEncoder::Write(RgbView picture, const std::function<Status(AVPacket&)>& on_packet) {
  if (picture.width_px != encoder_->width || picture.height_px != encoder_->height) {
    return Fail(ErrorKind::kInvalidData,
                "frame {}: want {}x{} px, have {}x{}",
                frame_count_,
                encoder_->width,
                encoder_->height,
                picture.width_px,
                picture.height_px);
  }
  if (const int error = ffmpeg_->av_frame_make_writable(frame_.get()); error < 0) {
    return FailFfmpeg(error, "cannot encode a picture");
  }
  const auto* const pixels = reinterpret_cast<const std::uint8_t*>(picture.data);
  const int row_bytes = static_cast<int>(picture.stride) * static_cast<int>(sizeof(Rgb));
  ffmpeg_->sws_scale(
      to_yuv_.get(), &pixels, &row_bytes, 0, picture.height_px, frame_->data, frame_->linesize);
  frame_->pts = frame_count_++;
  return Encode(*encoder_, frame_.get(), on_packet);
}

}  // namespace

class VideoEncoder::Impl {
 public:
  Impl(ColourEncoder encoder, OnPacket on_packet)
      : encoder_(std::move(encoder)), on_packet_(std::move(on_packet)) {}

  Status Write(RgbView frame) { return encoder_.Write(frame, give_); }
  Status Finish() { return encoder_.Finish(give_); }

 private:
  ColourEncoder encoder_;
  OnPacket on_packet_;
  std::function<Status(AVPacket&)> give_ = [this](const AVPacket& packet) {
    return on_packet_(std::as_bytes(std::span(packet.data, static_cast<std::size_t>(packet.size))),
                      (packet.flags & AV_PKT_FLAG_KEY) != 0);
  };
};

VideoEncoder::VideoEncoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VideoEncoder::VideoEncoder(VideoEncoder&&) noexcept = default;
VideoEncoder& VideoEncoder::operator=(VideoEncoder&&) noexcept = default;
VideoEncoder::~VideoEncoder() = default;

Result<VideoEncoder> VideoEncoder::Open(const VideoOptions& options, OnPacket on_packet) {
  DF_ASSIGN_OR_RETURN(ColourEncoder encoder, ColourEncoder::Open(options, Headers::kInStream));
  return VideoEncoder(std::make_unique<Impl>(std::move(encoder), std::move(on_packet)));
}

Status VideoEncoder::Write(RgbView frame) { return impl_->Write(frame); }
Status VideoEncoder::Finish() { return impl_->Finish(); }

class Mp4VideoWriter::Impl {
 public:
  Impl(ColourEncoder encoder, std::unique_ptr<VideoFile> file, std::string path)
      : encoder_(std::move(encoder)), file_(std::move(file)), path_(std::move(path)) {}

  Status Write(RgbView frame) {
    if (!state_) return state_;
    state_ = encoder_.Write(frame, to_file_).map_error(During("writing " + path_));
    return state_;
  }

  Status Close() {
    if (!state_) return state_;
    DF_RETURN_IF_ERROR(encoder_.Finish(to_file_));
    return file_->Close();
  }

 private:
  ColourEncoder encoder_;
  std::unique_ptr<VideoFile> file_;
  std::string path_;
  std::function<Status(AVPacket&)> to_file_ = [this](AVPacket& packet) {
    packet.duration = 1;
    return file_->Write(packet);
  };
  Status state_;
};

Mp4VideoWriter::Mp4VideoWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Mp4VideoWriter::Mp4VideoWriter(Mp4VideoWriter&&) noexcept = default;
Mp4VideoWriter& Mp4VideoWriter::operator=(Mp4VideoWriter&&) noexcept = default;
Mp4VideoWriter::~Mp4VideoWriter() = default;

Result<Mp4VideoWriter> Mp4VideoWriter::Open(const std::filesystem::path& path,
                                            const VideoOptions& options) {
  DF_ASSIGN_OR_RETURN(ColourEncoder encoder, ColourEncoder::Open(options, Headers::kInContainer));
  // Apple's players take H.265 only under this name.
  const unsigned tag = options.codec == VideoCodec::kHevc ? MKTAG('h', 'v', 'c', '1') : 0;
  DF_ASSIGN_OR_RETURN(std::unique_ptr<VideoFile> file,
                      VideoFile::Open(path,
                                      encoder.context(),
                                      {.format = "mp4",
                                       .format_flags = "+faststart",
                                       .frame_rate = encoder.context().framerate,
                                       .codec_tag = tag}));
  return Mp4VideoWriter(std::make_unique<Impl>(std::move(encoder), std::move(file), path.string()));
}

Status Mp4VideoWriter::Write(RgbView frame) { return impl_->Write(frame); }
Status Mp4VideoWriter::Close() { return impl_->Close(); }

}  // namespace droidflow

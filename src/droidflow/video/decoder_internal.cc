#include "droidflow/video/decoder_internal.h"

#include "droidflow/video/packet_reader_internal.h"
#include "droidflow/video/svo2_packets_internal.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>

namespace droidflow {
namespace {

/// 8 bits of luma a pixel, one after the other: from gray to 4:4:4, also full range (yuvj) and
/// nv12.
bool HasLumaPlane(const AVPixFmtDescriptor& format) {
  constexpr std::uint64_t kOther = AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL |
                                   AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_HWACCEL |
                                   AV_PIX_FMT_FLAG_BAYER;
  const AVComponentDescriptor& luma = format.comp[0];
  return (format.flags & kOther) == 0 && luma.depth == 8 && luma.plane == 0 && luma.step == 1;
}

bool IsFullRange(const AVFrame& frame) {
  switch (frame.format) {
    case AV_PIX_FMT_YUVJ411P:
    case AV_PIX_FMT_YUVJ420P:
    case AV_PIX_FMT_YUVJ422P:
    case AV_PIX_FMT_YUVJ440P:
    case AV_PIX_FMT_YUVJ444P:
    case AV_PIX_FMT_GRAY8:
      return true;
    default:
      return frame.color_range == AVCOL_RANGE_JPEG;
  }
}

class LibavDecoder final : public Decoder {
 public:
  explicit LibavDecoder(const Ffmpeg& ffmpeg) : ffmpeg_(ffmpeg) {}

  ~LibavDecoder() override {
    ffmpeg_.av_packet_free(&packet_);
    ffmpeg_.av_frame_free(&frame_);
    ffmpeg_.avcodec_free_context(&context_);
  }

  Status Open(const DecoderOptions& options) {
    const AVCodec* const codec = ffmpeg_.avcodec_find_decoder(options.codec);
    if (codec == nullptr) {
      return Fail(ErrorKind::kUnsupported,
                  "this FFmpeg cannot decode {}",
                  ffmpeg_.avcodec_get_name(options.codec));
    }
    context_ = ffmpeg_.avcodec_alloc_context3(codec);
    frame_ = ffmpeg_.av_frame_alloc();
    packet_ = ffmpeg_.av_packet_alloc();
    if (context_ == nullptr || frame_ == nullptr || packet_ == nullptr) {
      return Fail(ErrorKind::kTransient, "no memory for a decoder");
    }
    if (options.parameters != nullptr) {
      DF_RETURN_IF_ERROR(
          Check(ffmpeg_.avcodec_parameters_to_context(context_, options.parameters)));
    }
    context_->thread_count = options.threads;
    // Not slices: the pictures must not depend on the number of threads.
    context_->thread_type = FF_THREAD_FRAME;
    context_->max_pixels = kMaxPicturePixels;
    // Streams with intra refresh have no key frame but the first; that and damage must not make
    // frames vanish.
    context_->flags |= AV_CODEC_FLAG_OUTPUT_CORRUPT | AV_CODEC_FLAG_BITEXACT;
    context_->flags2 |= AV_CODEC_FLAG2_SHOW_ALL;
    context_->opaque = this;
    context_->get_format = &LibavDecoder::PickFormat;
    return Check(ffmpeg_.avcodec_open2(context_, codec, nullptr));
  }

  Status Send(std::span<const std::byte> packet, std::int64_t key) override {
    if (packet.empty()) return Check(ffmpeg_.avcodec_send_packet(context_, nullptr));
    if (packet.size() > kMaxPacket_bytes) {
      return Fail(ErrorKind::kInvalidData,
                  "want frames of at most {} bytes, have one of {}",
                  kMaxPacket_bytes,
                  packet.size());
    }
    // libavcodec copies what is not its own; it does not write to it.
    packet_->data = reinterpret_cast<std::uint8_t*>(const_cast<std::byte*>(packet.data()));
    packet_->size = static_cast<int>(packet.size());
    packet_->pts = key;
    // Without it libavcodec takes a PNG for the difference to the one before.
    packet_->flags = context_->codec_id == AV_CODEC_ID_PNG ? AV_PKT_FLAG_KEY : 0;
    const int error = ffmpeg_.avcodec_send_packet(context_, packet_);
    ffmpeg_.av_packet_unref(packet_);
    return Check(error);
  }

  Result<bool> Receive(Picture& picture) override {
    const int error = ffmpeg_.avcodec_receive_frame(context_, frame_);
    if (error == AVERROR(EAGAIN) || error == AVERROR_EOF) return false;
    DF_RETURN_IF_ERROR(Check(error));
    const auto format = static_cast<AVPixelFormat>(frame_->format);
    const AVPixFmtDescriptor* const description = ffmpeg_.av_pix_fmt_desc_get(format);
    if (description == nullptr || !HasLumaPlane(*description)) {
      refused_format_ = format;
      return tl::unexpected(RefuseFormat());
    }
    DF_RETURN_IF_ERROR(CheckPictureSize(frame_->width, frame_->height));
    picture.key = frame_->pts;
    picture.luma = {frame_->data[0], frame_->width, frame_->height, frame_->linesize[0]};
    picture.format = format;
    std::copy_n(frame_->data, picture.planes.size(), picture.planes.begin());
    std::copy_n(frame_->linesize, picture.strides.size(), picture.strides.begin());
    picture.matrix = frame_->colorspace;
    picture.full_range = IsFullRange(*frame_);
    picture.damaged =
        (frame_->flags & AV_FRAME_FLAG_CORRUPT) != 0 || frame_->decode_error_flags != 0;
    return true;
  }

  int ReorderDepth() const override { return context_->has_b_frames; }

 private:
  /// Called by libavcodec before it takes memory for pictures, from any of its threads.
  static AVPixelFormat PickFormat(AVCodecContext* context, const AVPixelFormat* formats) {
    auto* const self = static_cast<LibavDecoder*>(context->opaque);
    for (; *formats != AV_PIX_FMT_NONE; ++formats) {
      const AVPixFmtDescriptor* const format = self->ffmpeg_.av_pix_fmt_desc_get(*formats);
      if (format == nullptr || (format->flags & AV_PIX_FMT_FLAG_HWACCEL) != 0) continue;
      if (HasLumaPlane(*format)) return *formats;
      self->refused_format_ = *formats;
    }
    return AV_PIX_FMT_NONE;
  }

  Error RefuseFormat() {
    return {ErrorKind::kUnsupported,
            fmt::format("want 8 bits of luma in a plane of their own, have pixel format {}",
                        ffmpeg_.av_get_pix_fmt_name(refused_format_.exchange(AV_PIX_FMT_NONE)))};
  }

  Status Check(int error) {
    if (error >= 0) return {};
    if (refused_format_ != AV_PIX_FMT_NONE) return tl::unexpected(RefuseFormat());
    return Fail(ErrorKind::kInvalidData, "{}", ffmpeg_.ErrorText(error));
  }

  const Ffmpeg& ffmpeg_;
  AVCodecContext* context_ = nullptr;
  AVFrame* frame_ = nullptr;
  AVPacket* packet_ = nullptr;
  std::atomic<AVPixelFormat> refused_format_ = AV_PIX_FMT_NONE;
};

/// Four gray JPEGs above each other, of which every row is a row of YUYV.
class StripDecoder final : public Decoder {
 public:
  explicit StripDecoder(std::unique_ptr<Decoder> jpeg) : jpeg_(std::move(jpeg)) {}

  Status Send(std::span<const std::byte> packet, std::int64_t key) override {
    if (packet.empty()) return {};
    DF_ASSIGN_OR_RETURN(const auto strips, SplitJpegStrips(packet));
    picture_ = {};
    for (std::size_t i = 0; i < strips.size(); ++i) DF_RETURN_IF_ERROR(Decode(strips[i], i));
    picture_.key = key;
    picture_.luma = std::as_const(luma_).view();
    picture_.format = AV_PIX_FMT_YUYV422;
    picture_.planes = {yuyv_.row(0)};
    picture_.strides = {static_cast<int>(yuyv_.view().stride)};
    picture_.full_range = true;
    has_picture_ = true;
    return {};
  }

  Result<bool> Receive(Picture& picture) override {
    picture = picture_;
    return std::exchange(has_picture_, false);
  }

  int ReorderDepth() const override { return 0; }

 private:
  Status Decode(std::span<const std::byte> jpeg, std::size_t index) {
    Picture strip;
    // What follows the picture in a damaged strip must not pass for the next one.
    while (jpeg_->Receive(strip).value_or(false)) {
    }
    DF_RETURN_IF_ERROR(jpeg_->Send(jpeg, 0));
    DF_ASSIGN_OR_RETURN(const bool decoded, jpeg_->Receive(strip));
    const GrayView rows = strip.luma;
    if (!decoded || rows.width_px % 4 != 0) {
      return Fail(ErrorKind::kInvalidData,
                  "JPEG strip {}: want a width divisible by 4, have {}",
                  index,
                  rows.width_px);
    }
    if (index == 0) {
      DF_RETURN_IF_ERROR(CheckPictureSize(rows.width_px / 2, std::int64_t{4} * rows.height_px));
      yuyv_.Resize(rows.width_px, 4 * rows.height_px);
      luma_.Resize(rows.width_px / 2, 4 * rows.height_px);
    }
    if (rows.width_px != yuyv_.width_px() || 4 * rows.height_px != yuyv_.height_px()) {
      return Fail(ErrorKind::kInvalidData,
                  "JPEG strip {}: want {}x{}, have {}x{}",
                  index,
                  yuyv_.width_px(),
                  yuyv_.height_px() / 4,
                  rows.width_px,
                  rows.height_px);
    }
    for (int y = 0; y < rows.height_px; ++y) {
      const int to = static_cast<int>(index) * rows.height_px + y;
      std::copy_n(rows.row(y), rows.width_px, yuyv_.row(to));
      for (int x = 0; x < luma_.width_px(); ++x) luma_.at(x, to) = rows.at(2 * x, y);
    }
    picture_.damaged |= strip.damaged;
    return {};
  }

  std::unique_ptr<Decoder> jpeg_;
  GrayImage yuyv_;
  GrayImage luma_;
  Picture picture_;
  bool has_picture_ = false;
};

}  // namespace

Result<std::unique_ptr<Decoder>> OpenDecoder(const Ffmpeg& ffmpeg, const DecoderOptions& options) {
  auto decoder = std::make_unique<LibavDecoder>(ffmpeg);
  DF_RETURN_IF_ERROR(decoder->Open(options));
  return decoder;
}

Result<std::unique_ptr<Decoder>> OpenStripDecoder(const Ffmpeg& ffmpeg) {
  DF_ASSIGN_OR_RETURN(std::unique_ptr<Decoder> jpeg,
                      OpenDecoder(ffmpeg, {.codec = AV_CODEC_ID_MJPEG}));
  return std::make_unique<StripDecoder>(std::move(jpeg));
}

}  // namespace droidflow

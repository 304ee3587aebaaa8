#include "droidflow/video/picture_file.h"

#include "droidflow/core/files.h"
#include "droidflow/video/ffmpeg_internal.h"
#include "droidflow/video/output_internal.h"
#include "droidflow/video/picture_size_internal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

// The largest picture of 16-bit colour with alpha, as it is.
constexpr std::uintmax_t kMaxFile_bytes = kMaxPicture_px * 8 + (1 << 20);

/// AV_CODEC_ID_NONE for anything else.
AVCodecID CodecOf(std::span<const std::byte> file) {
  const auto starts_with = [&](std::string_view magic) {
    return file.size() >= magic.size() && std::memcmp(file.data(), magic.data(), magic.size()) == 0;
  };
  if (starts_with("\x89PNG\r\n\x1a\n")) return AV_CODEC_ID_PNG;
  if (starts_with("\xff\xd8\xff")) return AV_CODEC_ID_MJPEG;
  for (const char* const magic : {"P1", "P2", "P3", "P4", "P5", "P6"}) {
    if (starts_with(magic)) return AV_CODEC_ID_PPM;
  }
  return AV_CODEC_ID_NONE;
}

/// The only picture of a file.
Result<UniqueFrame> Decode(const Ffmpeg& ffmpeg,
                           AVCodecID codec_id,
                           std::span<const std::byte> file,
                           const std::string& path) {
  const std::string action = fmt::format("cannot decode {}", path);
  const AVCodec* const codec = ffmpeg.avcodec_find_decoder(codec_id);
  if (codec == nullptr) {
    return Fail(ErrorKind::kUnsupported,
                "this FFmpeg cannot decode {}: {}",
                ffmpeg.avcodec_get_name(codec_id),
                path);
  }
  const UniqueCodec decoder(ffmpeg.avcodec_alloc_context3(codec));
  const UniquePacket packet(ffmpeg.av_packet_alloc());
  UniqueFrame frame(ffmpeg.av_frame_alloc());
  if (decoder == nullptr || packet == nullptr || frame == nullptr) {
    return FailErrno(ENOMEM, action);
  }
  decoder->thread_count = 1;
  decoder->max_pixels = kMaxPicture_px;
  decoder->flags |= AV_CODEC_FLAG_BITEXACT;
  decoder->err_recognition = AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER | AV_EF_EXPLODE;
  if (const int error = ffmpeg.avcodec_open2(decoder.get(), codec, nullptr); error < 0) {
    return FailFfmpeg(error, action);
  }
  // libavcodec copies what is not its own; it does not write to it.
  packet->data = reinterpret_cast<std::uint8_t*>(const_cast<std::byte*>(file.data()));
  packet->size = static_cast<int>(file.size());
  packet->flags = AV_PKT_FLAG_KEY;
  int error = ffmpeg.avcodec_send_packet(decoder.get(), packet.get());
  ffmpeg.av_packet_unref(packet.get());
  if (error >= 0) error = ffmpeg.avcodec_send_packet(decoder.get(), nullptr);
  if (error >= 0) error = ffmpeg.avcodec_receive_frame(decoder.get(), frame.get());
  // Sizes and pixel formats that libavcodec refuses have no code of their own.
  if (error == AVERROR(EINVAL) || error == AVERROR_PATCHWELCOME) error = AVERROR_INVALIDDATA;
  if (error < 0) return FailFfmpeg(error, action);
  const bool damaged =
      frame->decode_error_flags != 0 || (frame->flags & AV_FRAME_FLAG_CORRUPT) != 0;
  if (damaged || !IsPictureSize(frame->width, frame->height)) {
    return Fail(ErrorKind::kInvalidData,
                "want a whole picture of at most {} pixels, {} a side, have {} of {}x{}: {}",
                kMaxPicture_px,
                kMaxSide_px,
                damaged ? "a damaged one" : "one",
                frame->width,
                frame->height,
                path);
  }
  return frame;
}

const std::uint8_t* RowOf(const AVFrame& frame, int plane, int y) {
  return frame.data[plane] + static_cast<std::ptrdiff_t>(y) * frame.linesize[plane];
}

/// The samples of one component, beside each other or between those of others.
class Samples {
 public:
  Samples(const AVFrame& frame, const AVPixFmtDescriptor& format, int component)
      : frame_(frame),
        component_(format.comp[component]),
        upper_((format.flags & AV_PIX_FMT_FLAG_BE) != 0 ? 0 : 1) {}

  [[nodiscard]] std::uint8_t At8(int x, int y) const {
    return component_.depth == 16 ? Bytes(x, y)[upper_] : Bytes(x, y)[0];
  }
  [[nodiscard]] std::uint16_t At16(int x, int y) const {
    const std::uint8_t* const bytes = Bytes(x, y);
    return static_cast<std::uint16_t>(bytes[upper_] << 8 | bytes[1 - upper_]);
  }

 private:
  [[nodiscard]] const std::uint8_t* Bytes(int x, int y) const {
    return RowOf(frame_, component_.plane, y) + static_cast<std::ptrdiff_t>(x) * component_.step +
           component_.offset;
  }

  const AVFrame& frame_;
  AVComponentDescriptor component_;
  int upper_;  ///< which of two bytes is the more significant
};

template <typename T, typename At>
void Fill(Image<T>& image, const AVFrame& frame, At at) {
  image.Resize(frame.width, frame.height);
  for (int y = 0; y < frame.height; ++y) {
    T* const row = image.row(y);
    for (int x = 0; x < frame.width; ++x) row[x] = at(x, y);
  }
}

PictureFile FromBits(const AVFrame& frame) {
  PictureFile picture{.stored_as = "1-bit gray"};
  const int flip = frame.format == AV_PIX_FMT_MONOWHITE ? 1 : 0;
  Fill(picture.gray, frame, [&](int x, int y) {
    const int bit = RowOf(frame, 0, y)[x / 8] >> (7 - x % 8) & 1;
    return static_cast<std::uint8_t>((bit ^ flip) * 255);
  });
  return picture;
}

PictureFile FromPalette(const AVFrame& frame) {
  PictureFile picture{.stored_as = "8-bit colour"};
  std::array<std::uint32_t, 256> palette;  // 0xAARRGGBB
  std::memcpy(palette.data(), frame.data[1], sizeof(palette));
  Fill(picture.rgb, frame, [&](int x, int y) {
    const std::uint32_t color = palette[RowOf(frame, 0, y)[x]];
    return Rgb{static_cast<std::uint8_t>(color >> 16),
               static_cast<std::uint8_t>(color >> 8),
               static_cast<std::uint8_t>(color)};
  });
  return picture;
}

PictureFile FromSamples(const AVFrame& frame, const AVPixFmtDescriptor& format) {
  const bool is_deep = format.comp[0].depth == 16;
  PictureFile picture;
  if ((format.flags & AV_PIX_FMT_FLAG_RGB) != 0) {
    picture.stored_as = is_deep ? "16-bit colour" : "8-bit colour";
    const Samples r(frame, format, 0);
    const Samples g(frame, format, 1);
    const Samples b(frame, format, 2);
    Fill(picture.rgb, frame, [&](int x, int y) {
      return Rgb{r.At8(x, y), g.At8(x, y), b.At8(x, y)};
    });
    return picture;
  }
  const Samples gray(frame, format, 0);
  const bool has_alpha = format.nb_components == 2;
  if (is_deep) {
    picture.stored_as = has_alpha ? "16-bit gray with alpha" : "16-bit gray";
  } else {
    picture.stored_as = has_alpha ? "8-bit gray with alpha" : "8-bit gray";
  }
  if (is_deep) {
    Fill(picture.gray16, frame, [&](int x, int y) { return gray.At16(x, y); });
  } else {
    Fill(picture.gray, frame, [&](int x, int y) { return gray.At8(x, y); });
  }
  return picture;
}

/// JPEG's colours, which are BT.601 of full range.
Result<PictureFile> FromYuv(const Ffmpeg& ffmpeg, const AVFrame& frame, const std::string& path) {
  const auto format = static_cast<AVPixelFormat>(frame.format);
  // The same colours on every machine.
  constexpr int kFlags = SWS_BILINEAR | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INT;
  const UniqueScaler scaler(ffmpeg.sws_getCachedContext(nullptr,
                                                        frame.width,
                                                        frame.height,
                                                        format,
                                                        frame.width,
                                                        frame.height,
                                                        AV_PIX_FMT_RGB24,
                                                        kFlags,
                                                        nullptr,
                                                        nullptr,
                                                        nullptr));
  if (scaler == nullptr) {
    return Fail(ErrorKind::kUnsupported,
                "FFmpeg does not convert {} to RGB: {}",
                ffmpeg.av_get_pix_fmt_name(format),
                path);
  }
  const int* const coefficients = ffmpeg.sws_getCoefficients(SWS_CS_ITU601);
  constexpr int kOne = 1 << 16;
  ffmpeg.sws_setColorspaceDetails(scaler.get(), coefficients, 1, coefficients, 1, 0, kOne, kOne);
  PictureFile picture{.stored_as = "8-bit colour"};
  picture.rgb.Resize(frame.width, frame.height);
  std::uint8_t* const rows = &picture.rgb.row(0)->r;
  const int stride = static_cast<int>(picture.rgb.view().stride * sizeof(Rgb));
  ffmpeg.sws_scale(scaler.get(), frame.data, frame.linesize, 0, frame.height, &rows, &stride);
  return picture;
}

Result<PictureFile> FromFrame(const Ffmpeg& ffmpeg, const AVFrame& frame, const std::string& path) {
  const auto pixel_format = static_cast<AVPixelFormat>(frame.format);
  if (pixel_format == AV_PIX_FMT_MONOBLACK || pixel_format == AV_PIX_FMT_MONOWHITE) {
    return FromBits(frame);
  }
  if (pixel_format == AV_PIX_FMT_PAL8) return FromPalette(frame);
  const AVPixFmtDescriptor* const format = ffmpeg.av_pix_fmt_desc_get(pixel_format);
  constexpr std::uint64_t kOther = AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM |
                                   AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_BAYER |
                                   AV_PIX_FMT_FLAG_FLOAT;
  if (format != nullptr && (format->flags & kOther) == 0 && format->comp[0].shift == 0) {
    const bool is_rgb = (format->flags & AV_PIX_FMT_FLAG_RGB) != 0;
    const int depth = format->comp[0].depth;
    if ((is_rgb || format->nb_components <= 2) && (depth == 8 || depth == 16)) {
      return FromSamples(frame, *format);
    }
    if (!is_rgb && depth == 8) return FromYuv(ffmpeg, frame, path);
  }
  return Fail(ErrorKind::kUnsupported,
              "want gray or colour of 8 or 16 bits, have pixel format {}: {}",
              format == nullptr ? "unknown" : format->name,
              path);
}

/// Bytes of a pixel row as PNG has them.
void CopyPngRow(std::uint8_t* to, const std::uint8_t* row, int width_px) {
  std::copy_n(row, width_px, to);
}
void CopyPngRow(std::uint8_t* to, const Rgb* row, int width_px) {
  std::memcpy(to, row, static_cast<std::size_t>(width_px) * sizeof(Rgb));
}
void CopyPngRow(std::uint8_t* to, const std::uint16_t* row, int width_px) {
  for (int x = 0; x < width_px; ++x) {
    to[2 * x] = static_cast<std::uint8_t>(row[x] >> 8);
    to[2 * x + 1] = static_cast<std::uint8_t>(row[x]);
  }
}

/// An encoder of one picture that is not open yet.
///
/// @param name  what the picture is for.
Result<UniqueCodec> MakePictureEncoder(
    const char* codec, int width_px, int height_px, AVPixelFormat format, std::string_view name) {
  if (!IsPictureSize(width_px, height_px)) {
    return Fail(ErrorKind::kUsage,
                "want a picture of 1x1 to {} pixels, at most {} a side, have {}x{}: {}",
                kMaxPicture_px,
                kMaxSide_px,
                width_px,
                height_px,
                name);
  }
  DF_ASSIGN_OR_RETURN(UniqueCodec encoder, MakeEncoder(codec));
  encoder->width = width_px;
  encoder->height = height_px;
  encoder->pix_fmt = format;
  encoder->time_base = {1, 1};
  encoder->thread_count = 1;
  return encoder;
}

/// Memory for the picture of an encoder.
Result<UniqueFrame> MakeFrameFor(const Ffmpeg& ffmpeg,
                                 const AVCodecContext& encoder,
                                 const std::string& action) {
  UniqueFrame frame(ffmpeg.av_frame_alloc());
  if (frame == nullptr) return FailErrno(ENOMEM, action);
  frame->width = encoder.width;
  frame->height = encoder.height;
  frame->format = encoder.pix_fmt;
  if (const int error = ffmpeg.av_frame_get_buffer(frame.get(), 0); error < 0) {
    return FailFfmpeg(error, action);
  }
  return frame;
}

template <typename T>
Status WritePng(const std::filesystem::path& path,
                ImageView<const T> picture,
                AVPixelFormat format) {
  const std::string action = fmt::format("cannot make {}", path.string());
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  DF_ASSIGN_OR_RETURN(
      const UniqueCodec encoder,
      MakePictureEncoder("png", picture.width_px, picture.height_px, format, path.string()));
  // Each pixel as its difference to the one before.
  ffmpeg->av_opt_set(encoder->priv_data, "pred", "sub", 0);
  if (const int error = ffmpeg->avcodec_open2(encoder.get(), nullptr, nullptr); error < 0) {
    return FailFfmpeg(error, action);
  }
  DF_ASSIGN_OR_RETURN(const UniqueFrame frame, MakeFrameFor(*ffmpeg, *encoder, action));
  for (int y = 0; y < picture.height_px; ++y) {
    CopyPngRow(frame->data[0] + static_cast<std::ptrdiff_t>(y) * frame->linesize[0],
               picture.row(y),
               picture.width_px);
  }
  DF_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  const auto write = [&](AVPacket& packet) {
    return file.Write(std::as_bytes(std::span(packet.data, static_cast<std::size_t>(packet.size))));
  };
  DF_RETURN_IF_ERROR(Encode(*encoder, frame.get(), write));
  DF_RETURN_IF_ERROR(Encode(*encoder, nullptr, write));
  return file.Commit();
}

}  // namespace

int PictureFile::width_px() const {
  return std::max({gray.width_px(), gray16.width_px(), rgb.width_px()});
}
int PictureFile::height_px() const {
  return std::max({gray.height_px(), gray16.height_px(), rgb.height_px()});
}

Result<PictureFile> ReadPicture(const std::filesystem::path& path) {
  std::error_code ignored;
  const std::uintmax_t size_bytes = std::filesystem::file_size(path, ignored);
  if (!ignored && size_bytes > kMaxFile_bytes) {
    return Fail(ErrorKind::kInvalidData,
                "want a picture of at most {} bytes, have {}: {}",
                kMaxFile_bytes,
                size_bytes,
                path.string());
  }
  DF_ASSIGN_OR_RETURN(const std::vector<std::byte> file, ReadFileBytes(path));
  const AVCodecID codec_id = CodecOf(file);
  if (codec_id == AV_CODEC_ID_NONE) {
    return Fail(ErrorKind::kInvalidData,
                "want a picture (PNG, JPEG, PNM), the file of {} bytes is none: {}",
                file.size(),
                path.string());
  }
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  DF_ASSIGN_OR_RETURN(const UniqueFrame frame, Decode(*ffmpeg, codec_id, file, path.string()));
  return FromFrame(*ffmpeg, *frame, path.string());
}

GrayImage ToGray8(PictureFile picture) {
  if (!picture.gray.empty()) return std::move(picture.gray);
  GrayImage gray(picture.width_px(), picture.height_px());
  for (int y = 0; y < gray.height_px(); ++y) {
    std::uint8_t* const out = gray.row(y);
    if (!picture.gray16.empty()) {
      const std::uint16_t* const row = picture.gray16.row(y);
      for (int x = 0; x < gray.width_px(); ++x) out[x] = static_cast<std::uint8_t>(row[x] >> 8);
    } else {
      const Rgb* const row = picture.rgb.row(y);
      for (int x = 0; x < gray.width_px(); ++x) {
        out[x] = static_cast<std::uint8_t>((77 * row[x].r + 150 * row[x].g + 29 * row[x].b) >> 8);
      }
    }
  }
  return gray;
}

Status WriteGrayPng(const std::filesystem::path& path, GrayView picture) {
  return WritePng(path, picture, AV_PIX_FMT_GRAY8);
}

Status WriteGray16Png(const std::filesystem::path& path, Gray16View picture) {
  return WritePng(path, picture, AV_PIX_FMT_GRAY16BE);
}

Status WriteRgbPng(const std::filesystem::path& path, RgbView picture) {
  return WritePng(path, picture, AV_PIX_FMT_RGB24);
}

Result<std::vector<std::byte>> EncodeJpeg(RgbView picture, int quantizer) {
  DF_CHECK(quantizer >= 2 && quantizer <= 31, "{}", quantizer);
  const std::string action = "cannot make a JPEG";
  constexpr AVPixelFormat kFormat = AV_PIX_FMT_YUVJ444P;
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  DF_ASSIGN_OR_RETURN(
      const UniqueCodec encoder,
      MakePictureEncoder("mjpeg", picture.width_px, picture.height_px, kFormat, "JPEG"));
  encoder->color_range = AVCOL_RANGE_JPEG;
  encoder->flags |= AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT;
  encoder->global_quality = quantizer * FF_QP2LAMBDA;
  if (const int error = ffmpeg->avcodec_open2(encoder.get(), nullptr, nullptr); error < 0) {
    return FailFfmpeg(error, action);
  }
  DF_ASSIGN_OR_RETURN(const UniqueFrame frame, MakeFrameFor(*ffmpeg, *encoder, action));
  frame->quality = encoder->global_quality;
  constexpr int kFlags = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INP;
  const UniqueScaler to_yuv(ffmpeg->sws_getCachedContext(nullptr,
                                                         picture.width_px,
                                                         picture.height_px,
                                                         AV_PIX_FMT_RGB24,
                                                         picture.width_px,
                                                         picture.height_px,
                                                         kFormat,
                                                         kFlags,
                                                         nullptr,
                                                         nullptr,
                                                         nullptr));
  if (to_yuv == nullptr) return FailErrno(ENOMEM, action);
  const auto* const pixels = reinterpret_cast<const std::uint8_t*>(picture.data);
  const int row_bytes = static_cast<int>(picture.stride * sizeof(Rgb));
  ffmpeg->sws_scale(
      to_yuv.get(), &pixels, &row_bytes, 0, picture.height_px, frame->data, frame->linesize);
  std::vector<std::byte> file;
  const auto keep = [&](AVPacket& packet) -> Status {
    const auto bytes = std::as_bytes(std::span(packet.data, static_cast<std::size_t>(packet.size)));
    file.insert(file.end(), bytes.begin(), bytes.end());
    return {};
  };
  DF_RETURN_IF_ERROR(Encode(*encoder, frame.get(), keep));
  DF_RETURN_IF_ERROR(Encode(*encoder, nullptr, keep));
  return file;
}

}  // namespace droidflow

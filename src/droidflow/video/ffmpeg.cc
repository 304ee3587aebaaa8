#include "droidflow/core/files.h"
#include "droidflow/video/codecs.h"
#include "droidflow/video/ffmpeg_internal.h"

#include <array>
#include <dlfcn.h>

namespace droidflow {
namespace {

Result<void*> LoadLibrary(const char* name) {
  // Never closed: its functions are used until the process ends.
  void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): glibc keeps a text for each thread
    return Fail(ErrorKind::kUnsupported, "want FFmpeg's library {}: {}", name, dlerror());
  }
  return library;
}

Result<Ffmpeg> Load() {
#define DF_SONAME(name, version) "lib" name ".so." AV_STRINGIFY(version)
  DF_ASSIGN_OR_RETURN(void* const avutil,
                      LoadLibrary(DF_SONAME("avutil", LIBAVUTIL_VERSION_MAJOR)));
  DF_ASSIGN_OR_RETURN(void* const avcodec,
                      LoadLibrary(DF_SONAME("avcodec", LIBAVCODEC_VERSION_MAJOR)));
  DF_ASSIGN_OR_RETURN(void* const avformat,
                      LoadLibrary(DF_SONAME("avformat", LIBAVFORMAT_VERSION_MAJOR)));
  DF_ASSIGN_OR_RETURN(void* const swscale,
                      LoadLibrary(DF_SONAME("swscale", LIBSWSCALE_VERSION_MAJOR)));
#undef DF_SONAME
  Ffmpeg ffmpeg;
#define DF_FFMPEG_LOAD(library, function)                                                   \
  ffmpeg.function = reinterpret_cast<decltype(ffmpeg.function)>(dlsym(library, #function)); \
  if (ffmpeg.function == nullptr) {                                                         \
    return Fail(ErrorKind::kUnsupported, "FFmpeg's lib{} lacks {}", #library, #function);   \
  }
  DF_FFMPEG_FUNCTIONS(DF_FFMPEG_LOAD)
#undef DF_FFMPEG_LOAD
  // What goes wrong comes back as error codes; the rest would drown the progress.
  ffmpeg.av_log_set_level(AV_LOG_QUIET);
  return ffmpeg;
}

}  // namespace

std::string Ffmpeg::ErrorText(int error) const {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(error, text.data(), text.size());
  return text.data();
}

tl::unexpected<Error> FailFfmpeg(int error, std::string_view action) {
  constexpr int kLargestErrno = 4095;
  if (error < 0 && error >= -kLargestErrno) return FailErrno(AVUNERROR(error), action);
  const bool is_data = error == AVERROR_INVALIDDATA || error == AVERROR_EOF;
  return Fail(is_data ? ErrorKind::kInvalidData : ErrorKind::kInternal,
              "FFmpeg says {}: {}",
              (*LoadFfmpeg())->ErrorText(error),
              action);
}

void FfmpegFree::operator()(AVFrame* frame) const { (*LoadFfmpeg())->av_frame_free(&frame); }
void FfmpegFree::operator()(AVPacket* packet) const { (*LoadFfmpeg())->av_packet_free(&packet); }
void FfmpegFree::operator()(AVCodecContext* codec) const {
  (*LoadFfmpeg())->avcodec_free_context(&codec);
}
void FfmpegFree::operator()(SwsContext* scaler) const { (*LoadFfmpeg())->sws_freeContext(scaler); }

void FfmpegCloseInput::operator()(AVFormatContext* input) const {
  (*LoadFfmpeg())->avformat_close_input(&input);
}

Result<std::string> DescribeCodecs() {
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  const auto text = [](unsigned version) {
    return fmt::format("{}.{}", AV_VERSION_MAJOR(version), AV_VERSION_MINOR(version));
  };
  return fmt::format("FFmpeg's libavcodec {}, libavformat {}",
                     text(ffmpeg->avcodec_version()),
                     text(ffmpeg->avformat_version()));
}

Result<const Ffmpeg*> LoadFfmpeg() {
  static const Result<Ffmpeg> ffmpeg = Load();
  if (!ffmpeg) return tl::unexpected(ffmpeg.error());
  return &*ffmpeg;
}

}  // namespace droidflow

#pragma once

/// FFmpeg's libraries, loaded when the first recording is decoded. Linked in the ordinary way they
/// bring 130 libraries and cost every start of the program 30 ms, also of the commands that decode
/// nothing.

#include "droidflow/core/result.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/crc.h>
#include <libavutil/frame.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>
#include <string_view>

namespace droidflow {

// library, function
#define DF_FFMPEG_FUNCTIONS(X)                  \
  X(avutil, av_crc)                             \
  X(avutil, av_crc_get_table)                   \
  X(avutil, av_d2q)                             \
  X(avutil, av_dict_free)                       \
  X(avutil, av_dict_set)                        \
  X(avutil, av_frame_alloc)                     \
  X(avutil, av_frame_free)                      \
  X(avutil, av_frame_get_buffer)                \
  X(avutil, av_frame_make_writable)             \
  X(avutil, av_get_pix_fmt_name)                \
  X(avutil, av_log_set_level)                   \
  X(avutil, av_opt_set)                         \
  X(avutil, av_opt_set_int)                     \
  X(avutil, av_pix_fmt_desc_get)                \
  X(avutil, av_rescale_q)                       \
  X(avutil, av_strerror)                        \
  X(avcodec, av_packet_alloc)                   \
  X(avcodec, av_packet_free)                    \
  X(avcodec, av_packet_rescale_ts)              \
  X(avcodec, av_packet_unref)                   \
  X(avcodec, avcodec_alloc_context3)            \
  X(avcodec, avcodec_find_decoder)              \
  X(avcodec, avcodec_find_encoder_by_name)      \
  X(avcodec, avcodec_flush_buffers)             \
  X(avcodec, avcodec_free_context)              \
  X(avcodec, avcodec_get_name)                  \
  X(avcodec, avcodec_open2)                     \
  X(avcodec, avcodec_parameters_from_context)   \
  X(avcodec, avcodec_parameters_to_context)     \
  X(avcodec, avcodec_receive_frame)             \
  X(avcodec, avcodec_receive_packet)            \
  X(avcodec, avcodec_send_frame)                \
  X(avcodec, avcodec_send_packet)               \
  X(avcodec, avcodec_version)                   \
  X(avformat, av_find_best_stream)              \
  X(avformat, av_find_input_format)             \
  X(avformat, av_interleaved_write_frame)       \
  X(avformat, av_read_frame)                    \
  X(avformat, av_seek_frame)                    \
  X(avformat, av_write_trailer)                 \
  X(avformat, avformat_alloc_output_context2)   \
  X(avformat, avformat_close_input)             \
  X(avformat, avformat_free_context)            \
  X(avformat, avformat_index_get_entries_count) \
  X(avformat, avformat_index_get_entry)         \
  X(avformat, avformat_new_stream)              \
  X(avformat, avformat_open_input)              \
  X(avformat, avformat_write_header)            \
  X(avformat, avio_closep)                      \
  X(avformat, avio_open)                        \
  X(avformat, avformat_version)                 \
  X(swscale, sws_freeContext)                   \
  X(swscale, sws_getCachedContext)              \
  X(swscale, sws_getCoefficients)               \
  X(swscale, sws_scale)                         \
  X(swscale, sws_setColorspaceDetails)

/// The functions under their own names: `ffmpeg.avcodec_open2(…)`.
struct Ffmpeg {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a name that is declared
#define DF_FFMPEG_MEMBER(library, function) decltype(&::function) function = nullptr;
  DF_FFMPEG_FUNCTIONS(DF_FFMPEG_MEMBER)
#undef DF_FFMPEG_MEMBER

  /// "Invalid data found when processing input"
  [[nodiscard]] std::string ErrorText(int error) const;
};

/// Turns FFmpeg's error code into an Error: an errno by FailErrno, AVERROR_INVALIDDATA and
/// AVERROR_EOF -> kInvalidData, everything else -> kInternal.
///
/// @param action  what was tried, with the path last: "cannot write /data/x".
[[nodiscard]] tl::unexpected<Error> FailFfmpeg(int error, std::string_view action);

/// Gives back what FFmpeg allocated; that it did says that the libraries are loaded.
struct FfmpegFree {
  void operator()(AVFrame* frame) const;
  void operator()(AVPacket* packet) const;
  void operator()(AVCodecContext* codec) const;
  void operator()(SwsContext* scaler) const;
};

struct FfmpegCloseInput {
  void operator()(AVFormatContext* input) const;
};

using UniqueInput = std::unique_ptr<AVFormatContext, FfmpegCloseInput>;
using UniqueFrame = std::unique_ptr<AVFrame, FfmpegFree>;
using UniquePacket = std::unique_ptr<AVPacket, FfmpegFree>;
using UniqueCodec = std::unique_ptr<AVCodecContext, FfmpegFree>;
using UniqueScaler = std::unique_ptr<SwsContext, FfmpegFree>;

/// Loads the libraries once, of the versions whose headers this was built with, and keeps FFmpeg
/// from printing. @return kUnsupported with the name of what is missing.
[[nodiscard]] Result<const Ffmpeg*> LoadFfmpeg();

}  // namespace droidflow

#pragma once

/// What the writers of video share: an encoder's loop, and a file that FFmpeg fills.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"
#include "droidflow/video/ffmpeg_internal.h"

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

namespace droidflow {

/// Looks for an encoder by FFmpeg's name of it. @return kUnsupported where this FFmpeg was built
/// without it.
[[nodiscard]] Result<UniqueCodec> MakeEncoder(const char* name);

/// Gives `frame` to the encoder, nullptr after the last one, and what leaves it to `on_packet`.
[[nodiscard]] Status Encode(AVCodecContext& encoder,
                            const AVFrame* frame,
                            const std::function<Status(AVPacket&)>& on_packet);

/// A file of one video stream, without dates and versions in it. In place, under its name, only
/// after Close; without Close nothing is left behind.
class VideoFile {
 public:
  struct Options {
    const char* format = nullptr;        ///< FFmpeg's name of the muxer
    const char* format_flags = nullptr;  ///< its "movflags"; nullptr: it has none
    AVRational frame_rate = {0, 1};      ///< nominal
    unsigned codec_tag = 0;              ///< 0: the muxer's choice
  };

  [[nodiscard]] static Result<std::unique_ptr<VideoFile>> Open(const std::filesystem::path& path,
                                                               const AVCodecContext& encoder,
                                                               const Options& options);
  VideoFile(const VideoFile&) = delete;
  VideoFile& operator=(const VideoFile&) = delete;
  ~VideoFile();

  /// @param packet  times by the encoder's time base; taken.
  [[nodiscard]] Status Write(AVPacket& packet);
  [[nodiscard]] Status Close();

 private:
  VideoFile(const Ffmpeg& ffmpeg, AtomicFile file, std::string path);

  const Ffmpeg& ffmpeg_;
  AtomicFile file_;
  std::string path_;
  AVFormatContext* muxer_ = nullptr;
  AVRational encoder_time_base_ = {0, 1};
};

}  // namespace droidflow

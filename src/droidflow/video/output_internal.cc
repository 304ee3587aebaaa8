#include "droidflow/video/output_internal.h"

#include <utility>

namespace droidflow {

Result<UniqueCodec> MakeEncoder(const char* name) {
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  const AVCodec* const codec = ffmpeg->avcodec_find_encoder_by_name(name);
  if (codec == nullptr) {
    return Fail(ErrorKind::kUnsupported, "FFmpeg's libavcodec was built without {}", name);
  }
  UniqueCodec encoder(ffmpeg->avcodec_alloc_context3(codec));
  if (encoder == nullptr) return FailFfmpeg(AVERROR(ENOMEM), "cannot make an encoder");
  encoder->flags |= AV_CODEC_FLAG_BITEXACT;
  return encoder;
}

Status Encode(AVCodecContext& encoder,
              const AVFrame* frame,
              const std::function<Status(AVPacket&)>& on_packet) {
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  const UniquePacket packet(ffmpeg->av_packet_alloc());
  if (packet == nullptr) return FailFfmpeg(AVERROR(ENOMEM), "cannot encode a picture");
  if (const int error = ffmpeg->avcodec_send_frame(&encoder, frame); error < 0) {
    return FailFfmpeg(error, "cannot encode a picture");
  }
  for (;;) {
    const int error = ffmpeg->avcodec_receive_packet(&encoder, packet.get());
    if (error == AVERROR(EAGAIN) || error == AVERROR_EOF) return {};
    if (error < 0) return FailFfmpeg(error, "cannot encode a picture");
    DF_RETURN_IF_ERROR(on_packet(*packet));
    ffmpeg->av_packet_unref(packet.get());
  }
}

VideoFile::VideoFile(const Ffmpeg& ffmpeg, AtomicFile file, std::string path)
    : ffmpeg_(ffmpeg), file_(std::move(file)), path_(std::move(path)) {}

Result<std::unique_ptr<VideoFile>> VideoFile::Open(const std::filesystem::path& path,
                                                   const AVCodecContext& encoder,
                                                   const Options& options) {
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  DF_ASSIGN_OR_RETURN(AtomicFile atomic_file, AtomicFile::Create(path));
  // FFmpeg opens the file itself, so that it may also read what it wrote.
  const std::string url = "file:" + atomic_file.temporary().string();
  std::unique_ptr<VideoFile> file(new VideoFile(*ffmpeg, std::move(atomic_file), path.string()));
  const std::string action = fmt::format("cannot make {}", path.string());

  AVFormatContext*& muxer = file->muxer_;
  if (const int error =
          ffmpeg->avformat_alloc_output_context2(&muxer, nullptr, options.format, url.c_str());
      error < 0) {
    return FailFfmpeg(error, action);
  }
  muxer->flags |= AVFMT_FLAG_BITEXACT;
  if (const int error = ffmpeg->avio_open(&muxer->pb, url.c_str(), AVIO_FLAG_WRITE); error < 0) {
    return FailFfmpeg(error, action);
  }
  AVStream* const stream = ffmpeg->avformat_new_stream(muxer, nullptr);
  if (stream == nullptr) return FailFfmpeg(AVERROR(ENOMEM), action);
  if (const int error = ffmpeg->avcodec_parameters_from_context(stream->codecpar, &encoder);
      error < 0) {
    return FailFfmpeg(error, action);
  }
  stream->codecpar->codec_tag = options.codec_tag;
  stream->time_base = encoder.time_base;
  stream->avg_frame_rate = options.frame_rate;
  file->encoder_time_base_ = encoder.time_base;

  AVDictionary* flags = nullptr;
  if (options.format_flags != nullptr) {
    ffmpeg->av_dict_set(&flags, "movflags", options.format_flags, 0);
  }
  const int error = ffmpeg->avformat_write_header(muxer, &flags);
  ffmpeg->av_dict_free(&flags);
  if (error < 0) return FailFfmpeg(error, action);
  return file;
}

VideoFile::~VideoFile() {
  if (muxer_ == nullptr) return;
  ffmpeg_.avio_closep(&muxer_->pb);
  ffmpeg_.avformat_free_context(muxer_);
}

Status VideoFile::Write(AVPacket& packet) {
  packet.stream_index = 0;
  ffmpeg_.av_packet_rescale_ts(&packet, encoder_time_base_, muxer_->streams[0]->time_base);
  if (const int error = ffmpeg_.av_interleaved_write_frame(muxer_, &packet); error < 0) {
    return FailFfmpeg(error, fmt::format("cannot write {}", path_));
  }
  return {};
}

Status VideoFile::Close() {
  if (const int error = ffmpeg_.av_write_trailer(muxer_); error < 0) {
    return FailFfmpeg(error, fmt::format("cannot finish {}", path_));
  }
  if (const int error = ffmpeg_.avio_closep(&muxer_->pb); error < 0) {
    return FailFfmpeg(error, fmt::format("cannot finish {}", path_));
  }
  return file_.Commit();
}

}  // namespace droidflow

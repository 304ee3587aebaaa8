#include "droidflow/video/decoded_source_internal.h"
#include "droidflow/video/svo1_packets_internal.h"

#include <utility>

namespace droidflow {

Result<std::unique_ptr<FrameSource>> OpenSvo1Source(const std::filesystem::path& path,
                                                    const SourceOptions& options) {
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  DF_ASSIGN_OR_RETURN(std::unique_ptr<Svo1Packets> packets, Svo1Packets::Open(path));
  const AVCodecID codec = packets->codec() == NalCodec::kH264 ? AV_CODEC_ID_H264 : AV_CODEC_ID_HEVC;
  const SourceInfo info = packets->info();
  DecodedSourceParts parts{.info = info,
                           .path = path,
                           .reader = std::move(packets),
                           .open_decoder = [ffmpeg, codec, threads = options.decode_threads] {
                             return OpenDecoder(*ffmpeg, {.codec = codec, .threads = threads});
                           }};
  return OpenDecodedSource(*ffmpeg, std::move(parts), options.pixels);
}

}  // namespace droidflow

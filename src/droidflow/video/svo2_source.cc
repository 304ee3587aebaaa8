#include "droidflow/video/decoded_source_internal.h"
#include "droidflow/video/svo2_packets_internal.h"

#include <utility>

namespace droidflow {

Result<std::unique_ptr<FrameSource>> OpenSvo2Source(const std::filesystem::path& path,
                                                    const SourceOptions& options) {
  DF_ASSIGN_OR_RETURN(const Ffmpeg* const ffmpeg, LoadFfmpeg());
  DF_ASSIGN_OR_RETURN(std::unique_ptr<Svo2Packets> packets, Svo2Packets::Open(path));
  const Svo2Codec codec = packets->codec();
  const SourceInfo info = packets->info();
  DecodedSourceParts parts{
      .info = info,
      .path = path,
      .reader = std::move(packets),
      .open_decoder = [ffmpeg, codec, threads = options.decode_threads] {
        if (codec == Svo2Codec::kJpeg) return OpenStripDecoder(*ffmpeg);
        return OpenDecoder(
            *ffmpeg,
            {.codec = codec == Svo2Codec::kH264 ? AV_CODEC_ID_H264 : AV_CODEC_ID_HEVC,
             .threads = threads});
      }};
  return OpenDecodedSource(*ffmpeg, std::move(parts), options.pixels);
}

}  // namespace droidflow

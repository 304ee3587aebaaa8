#pragma once

#include "droidflow/core/result.h"
#include "droidflow/video/decoder_internal.h"
#include "droidflow/video/frame_source.h"
#include "droidflow/video/packet_reader_internal.h"

#include <filesystem>
#include <functional>
#include <memory>

namespace droidflow {

/// What a container and a codec make together.
struct DecodedSourceParts {
  SourceInfo info;  ///< picture size, eyes: as the first decoded picture says
  std::filesystem::path path;
  std::unique_ptr<PacketReader> reader;
  bool keys_in_display_order = false;  ///< otherwise in the order of decoding
  /// Called again where reading starts anew: a new decoder remembers nothing.
  std::function<Result<std::unique_ptr<Decoder>>()> open_decoder;
};

/// Decodes the first picture, so that what cannot be decoded is refused here.
[[nodiscard]] Result<std::unique_ptr<FrameSource>> OpenDecodedSource(const Ffmpeg& ffmpeg,
                                                                     DecodedSourceParts parts,
                                                                     PixelFormat pixels);

/// One for each format, called by OpenFrameSource.
[[nodiscard]] Result<std::unique_ptr<FrameSource>> OpenMp4Source(const std::filesystem::path& path,
                                                                 const SourceOptions& options);
[[nodiscard]] Result<std::unique_ptr<FrameSource>> OpenSvo2Source(const std::filesystem::path& path,
                                                                  const SourceOptions& options);
[[nodiscard]] Result<std::unique_ptr<FrameSource>> OpenSvo1Source(const std::filesystem::path& path,
                                                                  const SourceOptions& options);

}  // namespace droidflow

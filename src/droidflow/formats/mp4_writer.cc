#include "droidflow/formats/mp4_writer.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/formats/checksum.h"
#include "droidflow/formats/record_internal.h"

#include <cerrno>
#include <cmath>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include <libdeflate.h>

namespace droidflow {
namespace {

constexpr std::uint32_t kTicksPerFrame = 1000;
constexpr std::uint32_t kFixedOne = 1 << 16;
constexpr std::uint32_t k72Dpi = 72 << 16;

/// The transformation in movie and track headers: none.
std::string UnitMatrix() {
  return BigEndianRecord().U32(kFixedOne).Zeros(12).U32(kFixedOne).Zeros(12).U32(1 << 30).bytes();
}

std::string BoxOf(std::string_view type, std::string_view content) {
  return BigEndianRecord().U32(content.size() + 8).Text(type).Text(content).bytes();
}

std::string Chunk(std::string_view type, std::string_view content) {
  const std::string body = std::string(type).append(content);
  const std::uint32_t crc = Crc32(std::as_bytes(std::span(body)));
  return BigEndianRecord().U32(content.size()).Text(body).U32(crc).bytes();
}

Result<std::string> EncodePng(const StillVideo& video) {
  const auto width = static_cast<std::size_t>(video.width_px);
  std::string rows;
  for (std::size_t begin = 0; begin < video.gray.size(); begin += width) {
    rows += '\0';  // No filter.
    rows.append(reinterpret_cast<const char*>(video.gray.data()) + begin, width);
  }
  constexpr int kBestCommonLevel = 9;
  const std::unique_ptr<libdeflate_compressor, decltype(&libdeflate_free_compressor)> compressor(
      libdeflate_alloc_compressor(kBestCommonLevel), &libdeflate_free_compressor);
  if (compressor == nullptr) return FailErrno(ENOMEM, "cannot compress a picture");
  std::string packed(libdeflate_zlib_compress_bound(compressor.get(), rows.size()), '\0');
  packed.resize(libdeflate_zlib_compress(
      compressor.get(), rows.data(), rows.size(), packed.data(), packed.size()));
  // 8 bits, gray, deflated, no filter method, not interlaced.
  const std::string header =
      BigEndianRecord().U32(width).U32(video.height_px).U8(8).U8(0).U8(0).U8(0).U8(0).bytes();
  return "\x89PNG\r\n\x1a\n" + Chunk("IHDR", header) + Chunk("IDAT", packed) + Chunk("IEND", "");
}

std::string MovieBox(const StillVideo& video,
                     std::uint32_t timescale,
                     std::size_t png_byte,
                     std::size_t png_size) {
  const auto num_frames = static_cast<std::uint64_t>(video.frame_count);
  const std::uint64_t duration = num_frames * kTicksPerFrame;
  const auto full = [] { return BigEndianRecord().U32(0); };  // Version and flags.

  const std::string sample_entry = BigEndianRecord()
                                       .Zeros(6)
                                       .U16(1)  // Data in this file: the first data reference.
                                       .Zeros(16)
                                       .U16(video.width_px)
                                       .U16(video.height_px)
                                       .U32(k72Dpi)
                                       .U32(k72Dpi)
                                       .U32(0)
                                       .U16(1)  // One frame a sample.
                                       .U8(3)
                                       .Text("PNG")
                                       .Zeros(28)
                                       .U16(32 + 8)  // Gray, 8 bits.
                                       .U16(0xFFFF)  // No colour table.
                                       .bytes();
  BigEndianRecord chunk_offsets = full().U32(num_frames);
  for (std::uint64_t i = 0; i < num_frames; ++i) chunk_offsets.U32(png_byte);
  const std::string sample_table =
      BoxOf("stbl",
            BoxOf("stsd", full().U32(1).Text(BoxOf("png ", sample_entry)).bytes()) +
                BoxOf("stts", full().U32(1).U32(num_frames).U32(kTicksPerFrame).bytes()) +
                BoxOf("stsc", full().U32(1).U32(1).U32(1).U32(1).bytes()) +
                BoxOf("stsz", full().U32(png_size).U32(num_frames).bytes()) +
                BoxOf("stco", chunk_offsets.bytes()));
  constexpr std::uint32_t kSelfContained = 1;
  const std::string data_info =
      BoxOf("dinf",
            BoxOf("dref",
                  full()
                      .U32(1)
                      .Text(BoxOf("url ", BigEndianRecord().U32(kSelfContained).bytes()))
                      .bytes()));
  const std::string video_header = BoxOf("vmhd", BigEndianRecord().U32(1).Zeros(8).bytes());
  const std::string media = BoxOf(
      "mdia",
      BoxOf("mdhd", full().U32(0).U32(0).U32(timescale).U32(duration).U16(0x55C4).U16(0).bytes()) +
          BoxOf("hdlr", full().Text("mhlr").Text("vide").Zeros(12).U8(0).bytes()) +
          BoxOf("minf", video_header + data_info + sample_table));
  constexpr std::uint32_t kEnabledInMovie = 3;
  const std::string track_header = BoxOf("tkhd",
                                         BigEndianRecord()
                                             .U32(kEnabledInMovie)
                                             .U32(0)
                                             .U32(0)
                                             .U32(1)  // Track 1.
                                             .U32(0)
                                             .U32(duration)
                                             .Zeros(16)
                                             .Text(UnitMatrix())
                                             .U32(static_cast<std::uint64_t>(video.width_px) << 16)
                                             .U32(static_cast<std::uint64_t>(video.height_px) << 16)
                                             .bytes());
  const std::string movie_header = BoxOf("mvhd",
                                         full()
                                             .U32(0)
                                             .U32(0)
                                             .U32(timescale)
                                             .U32(duration)
                                             .U32(kFixedOne)
                                             .U16(0x0100)
                                             .Zeros(10)
                                             .Text(UnitMatrix())
                                             .Zeros(24)
                                             .U32(2)  // The next track.
                                             .bytes());
  return BoxOf("moov", movie_header + BoxOf("trak", track_header + media));
}

}  // namespace

Status WriteStillMp4(const std::filesystem::path& path, const StillVideo& video) {
  DF_CHECK(video.width_px > 0 && video.width_px < 65536 && video.height_px > 0 &&
               video.height_px < 65536 &&
               video.gray.size() == static_cast<std::size_t>(video.width_px) * video.height_px,
           "{} x {} pixels, {} values",
           video.width_px,
           video.height_px,
           video.gray.size());
  DF_CHECK(video.frame_count > 0 && video.frame_count <= 1'000'000, "{} frames", video.frame_count);
  DF_CHECK(video.fps >= 0.001 && video.fps <= 1e6, "{} Hz", video.fps);

  DF_ASSIGN_OR_RETURN(const std::string png, EncodePng(video));
  const std::string file_type =
      BoxOf("ftyp", BigEndianRecord().Text("qt  ").U32(0x200).Text("qt  ").bytes());
  const std::size_t png_byte = file_type.size() + 8;
  const auto timescale = static_cast<std::uint32_t>(std::lround(video.fps * kTicksPerFrame));
  return WriteFileAtomically(
      path, file_type + BoxOf("mdat", png) + MovieBox(video, timescale, png_byte, png.size()));
}

}  // namespace droidflow

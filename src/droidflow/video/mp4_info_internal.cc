#include "droidflow/video/mp4_info_internal.h"

#include "droidflow/formats/mp4_header.h"
#include "droidflow/video/packet_reader_internal.h"

#include <algorithm>
#include <array>
#include <utility>

namespace droidflow {
namespace {

// 18 hours at 60 Hz. libavformat spends 24 bytes on each before it reads a single one.
constexpr std::int64_t kMaxFrames = 4'000'000;

std::string CodecOf(const std::string& fourcc) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kCodecs{{
      {"mp4v", "mpeg4"},
      {"avc1", "h264"},
      {"avc3", "h264"},
      {"hvc1", "hevc"},
      {"hev1", "hevc"},
      {"jpeg", "jpeg"},
      {"png ", "png"},
  }};
  for (const auto& [name, codec] : kCodecs) {
    if (name == fourcc) return std::string(codec);
  }
  const bool is_text = std::ranges::all_of(fourcc, [](char c) { return c >= ' ' && c <= '~'; });
  return is_text ? fourcc : "unknown";
}

}  // namespace

Result<Mp4Info> ReadMp4Info(const std::filesystem::path& path) {
  Mp4Info result;
  Result<Mp4Header> header = ReadMp4Header(path);
  if (!header) {
    const Error whole_file = header.error();
    header = ReadMp4HeaderOfCutFile(path);
    if (!header) return tl::unexpected(whole_file);
    result.problems.push_back(whole_file.message);
  }
  if (header->frame_count > kMaxFrames) {
    return Fail(ErrorKind::kInvalidData,
                "want at most {} frames, the header says {}: {}",
                kMaxFrames,
                header->frame_count,
                path.string());
  }
  if (const Status size = CheckPictureSize(header->width_px, header->height_px); !size) {
    return Fail(ErrorKind::kInvalidData, "{}: {}", size.error().message, path.string());
  }
  SourceInfo& info = result.info;
  info.reader = "mp4";
  info.codec = CodecOf(header->codec_fourcc);
  info.stereo = IsPair(header->width_px, header->height_px);
  info.width_px = info.stereo ? header->width_px / 2 : header->width_px;
  info.height_px = header->height_px;
  info.frame_count = header->frame_count;
  info.nominal_fps = header->nominal_fps;
  return result;
}

}  // namespace droidflow

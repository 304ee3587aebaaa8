#include "droidflow/formats/mp4_header.h"

#include "droidflow/core/files.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <fcntl.h>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <sys/stat.h>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

// A movie box spends about 16 bytes a frame: this is enough for weeks of video.
constexpr std::uint64_t kMaxMovieBox_bytes = 256 << 20;
constexpr int kMaxTopLevelBoxes = 1 << 16;
// 18 hours at 60 Hz; a file may promise any number.
constexpr std::uint64_t kMaxTimedFrames = 4'000'000;

using Bytes = std::span<const std::byte>;

std::uint64_t BigEndian(Bytes bytes) {
  std::uint64_t value = 0;
  for (const std::byte byte : bytes) value = value << 8 | static_cast<std::uint64_t>(byte);
  return value;
}

std::string FourCc(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), 4}; }

/// What an MP4 or MOV file may start with.
constexpr std::array<std::string_view, 6> kFirstBoxes{
    "ftyp", "moov", "mdat", "wide", "free", "skip"};

bool IsPrintable(std::string_view fourcc) {
  return std::ranges::all_of(fourcc, [](char c) { return (c >= ' ' && c <= '~') || c == '\xA9'; });
}

/// A box and where its content starts in the file.
struct Box {
  std::string type;
  Bytes content;
  std::uint64_t content_byte = 0;
};

class MovieParser {
 public:
  explicit MovieParser(std::string_view path) : path_(path) {}

  Result<Mp4Header> Parse(const Box& movie) const {
    DF_ASSIGN_OR_RETURN(const std::vector<Box> boxes, Children(movie));
    DF_ASSIGN_OR_RETURN(const VideoTrack video, FindVideo(movie, boxes));
    return ParseVideo(video.media, IsFragmented(boxes));
  }

  Result<std::vector<std::int64_t>> ParseTimes(const Box& movie) const {
    DF_ASSIGN_OR_RETURN(const std::vector<Box> boxes, Children(movie));
    DF_ASSIGN_OR_RETURN(const VideoTrack video, FindVideo(movie, boxes));
    DF_ASSIGN_OR_RETURN(const Box media_header, Child(video.media, "mdhd"));
    DF_ASSIGN_OR_RETURN(const std::uint32_t timescale, ParseTimescale(media_header));
    DF_ASSIGN_OR_RETURN(const Box media_info, Child(video.media, "minf"));
    DF_ASSIGN_OR_RETURN(const Box table, Child(media_info, "stbl"));
    DF_ASSIGN_OR_RETURN(std::vector<double> units, ParseDecodingTimes(table));
    DF_RETURN_IF_ERROR(AddOffsets(table, units));
    DF_ASSIGN_OR_RETURN(const double start_s, ParseStart(movie, video.track, timescale));
    std::ranges::sort(units);
    std::vector<std::int64_t> times_ns;
    times_ns.reserve(units.size());
    for (const double unit : units) {
      constexpr double kMost_ns = 9e18;
      const double time_ns = std::round((unit / timescale + start_s) * 1e9);
      times_ns.push_back(static_cast<std::int64_t>(std::clamp(time_ns, -kMost_ns, kMost_ns)));
    }
    return times_ns;
  }

 private:
  struct VideoTrack {
    Box track;
    Box media;
  };

  Result<VideoTrack> FindVideo(const Box& movie, const std::vector<Box>& boxes) const {
    for (const Box& track : boxes) {
      if (track.type != "trak") continue;
      DF_ASSIGN_OR_RETURN(const Box media, Child(track, "mdia"));
      DF_ASSIGN_OR_RETURN(const Box handler, Child(media, "hdlr"));
      DF_RETURN_IF_ERROR(Need(handler, 12));
      if (FourCc(handler.content.subspan(8)) == "vide") return VideoTrack{track, media};
    }
    return Fail(ErrorKind::kInvalidData, "byte {}: no video track: {}", movie.content_byte, path_);
  }

  /// A table of runs: how many samples, and a number of each. Calls use(count, number).
  template <typename Use>
  Status ForRuns(const Box& box, Use use) const {
    DF_RETURN_IF_ERROR(Need(box, 8));
    const std::uint64_t num_runs = BigEndian(box.content.subspan(4, 4));
    DF_RETURN_IF_ERROR(Need(box, 8 + num_runs * 8));
    for (std::uint64_t i = 0; i < num_runs; ++i) {
      use(BigEndian(box.content.subspan(8 + i * 8, 4)),
          BigEndian(box.content.subspan(12 + i * 8, 4)));
    }
    return {};
  }

  /// When each sample is decoded. Unit  of the time scale, which a double holds exactly.
  Result<std::vector<double>> ParseDecodingTimes(const Box& table) const {
    DF_ASSIGN_OR_RETURN(const auto durations, ParseDurations(table));
    if (durations.first > kMaxTimedFrames) {
      return Fail(ErrorKind::kInvalidData,
                  "want at most {} frames, have {}: {}",
                  kMaxTimedFrames,
                  durations.first,
                  path_);
    }
    std::vector<double> units;
    units.reserve(durations.first);
    double at = 0;
    DF_ASSIGN_OR_RETURN(const Box box, Child(table, "stts"));
    DF_RETURN_IF_ERROR(ForRuns(box, [&](std::uint64_t count, std::uint64_t duration) {
      for (; count > 0; --count, at += static_cast<double>(duration)) units.push_back(at);
    }));
    return units;
  }

  /// How much later than decoded samples are shown, where that is said.
  Status AddOffsets(const Box& table, std::vector<double>& units) const {
    DF_ASSIGN_OR_RETURN(const std::vector<Box> boxes, Children(table));
    const auto box = std::ranges::find(boxes, "ctts", &Box::type);
    if (box == boxes.end()) return {};
    std::size_t next = 0;
    return ForRuns(*box, [&](std::uint64_t count, std::uint64_t offset) {
      // Signed in version 1, and in version 0 by all who write it.
      const auto later = static_cast<std::int32_t>(static_cast<std::uint32_t>(offset));
      for (; count > 0 && next < units.size(); --count) units[next++] += later;
    });
  }

  /// What is added to a sample's time: empty edits delay it, the first other begins in the media.
  Result<double> ParseStart(const Box& movie, const Box& track, std::uint32_t timescale) const {
    DF_ASSIGN_OR_RETURN(const std::vector<Box> boxes, Children(track));
    const auto edits = std::ranges::find(boxes, "edts", &Box::type);
    if (edits == boxes.end()) return 0;
    DF_ASSIGN_OR_RETURN(const Box movie_header, Child(movie, "mvhd"));
    DF_ASSIGN_OR_RETURN(const std::uint32_t movie_timescale, ParseTimescale(movie_header));
    DF_ASSIGN_OR_RETURN(const Box list, Child(*edits, "elst"));
    DF_RETURN_IF_ERROR(Need(list, 8));
    const std::size_t bytes = list.content[0] == std::byte{1} ? 8 : 4;
    const std::uint64_t num_edits = BigEndian(list.content.subspan(4, 4));
    DF_RETURN_IF_ERROR(Need(list, 8 + num_edits * (2 * bytes + 4)));
    double delay_s = 0;
    for (std::uint64_t i = 0; i < num_edits; ++i) {
      const Bytes edit = list.content.subspan(8 + i * (2 * bytes + 4));
      const std::uint64_t duration = BigEndian(edit.first(bytes));
      const std::uint64_t begin = BigEndian(edit.subspan(bytes, bytes));
      const bool is_empty = begin == (bytes == 8 ? ~std::uint64_t{0} : ~std::uint32_t{0});
      if (!is_empty) return delay_s - static_cast<double>(begin) / timescale;
      delay_s += static_cast<double>(duration) / movie_timescale;
    }
    return delay_s;
  }

  static bool IsFragmented(const std::vector<Box>& boxes) {
    return std::ranges::any_of(boxes, [](const Box& box) { return box.type == "mvex"; });
  }

  Result<Mp4Header> ParseVideo(const Box& media, bool is_fragmented) const {
    DF_ASSIGN_OR_RETURN(const Box media_header, Child(media, "mdhd"));
    DF_ASSIGN_OR_RETURN(const Box media_info, Child(media, "minf"));
    DF_ASSIGN_OR_RETURN(const Box table, Child(media_info, "stbl"));
    DF_ASSIGN_OR_RETURN(const std::uint32_t timescale, ParseTimescale(media_header));
    Mp4Header header;
    DF_RETURN_IF_ERROR(ParseDescription(table, header));
    DF_ASSIGN_OR_RETURN(const auto durations, ParseDurations(table));
    DF_ASSIGN_OR_RETURN(const std::uint64_t num_samples, ParseSampleCount(table));
    if (num_samples == 0 && is_fragmented) {
      return Fail(
          ErrorKind::kUnsupported, "fragmented MP4, its header counts no frames: {}", path_);
    }
    const auto& [num_timed, total] = durations;
    if (num_samples != num_timed) {
      return Fail(ErrorKind::kInvalidData,
                  "byte {}: {} frames have sizes, {} have durations: {}",
                  table.content_byte,
                  num_samples,
                  num_timed,
                  path_);
    }
    header.frame_count = static_cast<std::int64_t>(num_samples);
    header.duration_s = static_cast<double>(total) / timescale;
    header.nominal_fps = total == 0 ? 0 : static_cast<double>(num_samples) / header.duration_s;
    return header;
  }

  Result<std::uint32_t> ParseTimescale(const Box& box) const {
    DF_RETURN_IF_ERROR(Need(box, 1));
    const std::size_t at = box.content[0] == std::byte{1} ? 20 : 12;
    DF_RETURN_IF_ERROR(Need(box, at + 4));
    const auto timescale = static_cast<std::uint32_t>(BigEndian(box.content.subspan(at, 4)));
    if (timescale == 0) {
      return Fail(
          ErrorKind::kInvalidData, "byte {}: a time scale of 0: {}", box.content_byte + at, path_);
    }
    return timescale;
  }

  /// The first sample entry: its type is the codec, its size the picture's.
  Status ParseDescription(const Box& table, Mp4Header& header) const {
    DF_ASSIGN_OR_RETURN(const Box box, Child(table, "stsd"));
    constexpr std::size_t kEntry = 8;
    DF_RETURN_IF_ERROR(Need(box, kEntry + 36));
    header.codec_fourcc = FourCc(box.content.subspan(kEntry + 4));
    header.width_px = static_cast<int>(BigEndian(box.content.subspan(kEntry + 32, 2)));
    header.height_px = static_cast<int>(BigEndian(box.content.subspan(kEntry + 34, 2)));
    return {};
  }

  /// @return number of samples and their total duration.
  Result<std::pair<std::uint64_t, std::uint64_t>> ParseDurations(const Box& table) const {
    DF_ASSIGN_OR_RETURN(const Box box, Child(table, "stts"));
    std::uint64_t num_samples = 0;
    std::uint64_t total = 0;
    DF_RETURN_IF_ERROR(ForRuns(box, [&](std::uint64_t count, std::uint64_t duration) {
      num_samples += count;
      total += count * duration;
    }));
    return std::pair(num_samples, total);
  }

  Result<std::uint64_t> ParseSampleCount(const Box& table) const {
    DF_ASSIGN_OR_RETURN(const std::vector<Box> boxes, Children(table));
    for (const Box& box : boxes) {
      if (box.type != "stsz" && box.type != "stz2") continue;
      DF_RETURN_IF_ERROR(Need(box, 12));
      const std::uint64_t common_size =
          box.type == "stsz" ? BigEndian(box.content.subspan(4, 4)) : 0;
      const std::uint64_t field_bits =
          box.type == "stsz" ? 32 : BigEndian(box.content.subspan(7, 1));
      const std::uint64_t num_samples = BigEndian(box.content.subspan(8, 4));
      if (common_size == 0) DF_RETURN_IF_ERROR(Need(box, 12 + (num_samples * field_bits + 7) / 8));
      return num_samples;
    }
    return Fail(
        ErrorKind::kInvalidData, "byte {}: no box stsz or stz2: {}", table.content_byte, path_);
  }

  Status Need(const Box& box, std::uint64_t size) const {
    if (box.content.size() >= size) return {};
    return Fail(ErrorKind::kInvalidData,
                "byte {}: box {} needs {} bytes, has {}: {}",
                box.content_byte,
                box.type,
                size,
                box.content.size(),
                path_);
  }

  Result<std::vector<Box>> Children(const Box& parent) const {
    std::vector<Box> boxes;
    std::size_t at = 0;
    // QuickTime may end a list with four zero bytes.
    while (parent.content.size() - at >= 8) {
      const Bytes rest = parent.content.subspan(at);
      std::uint64_t size = BigEndian(rest.first(4));
      std::size_t header_size = 8;
      if (size == 1 && rest.size() >= 16) {
        size = BigEndian(rest.subspan(8, 8));
        header_size = 16;
      }
      const std::string type = FourCc(rest.subspan(4));
      if (size < header_size || size > rest.size()) {
        return Fail(ErrorKind::kInvalidData,
                    "byte {}: box {} says it has {} bytes, its parent {} has {}: {}",
                    parent.content_byte + at,
                    IsPrintable(type) ? type : "?",
                    size,
                    parent.type,
                    rest.size(),
                    path_);
      }
      boxes.push_back({type,
                       rest.subspan(header_size, size - header_size),
                       parent.content_byte + at + header_size});
      at += size;
    }
    return boxes;
  }

  Result<Box> Child(const Box& parent, std::string_view type) const {
    DF_ASSIGN_OR_RETURN(std::vector<Box> boxes, Children(parent));
    const auto found = std::ranges::find(boxes, type, &Box::type);
    if (found != boxes.end()) return *found;
    return Fail(ErrorKind::kInvalidData,
                "byte {}: no box {} in {}: {}",
                parent.content_byte,
                type,
                parent.type,
                path_);
  }

  std::string_view path_;
};

Status ReadExactly(int fd,
                   std::uint64_t offset,
                   std::span<std::byte> bytes,
                   const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t got = pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno(errno, "cannot read " + path);
    if (got == 0) return Fail(ErrorKind::kInvalidData, "byte {}: the file ends: {}", offset, path);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return {};
}

/// @param may_be_cut  what stands behind the movie box may be wrong or missing.
/// @param parse       makes a Result of a MovieParser and the movie box.
template <typename Parse>
std::invoke_result_t<Parse, const MovieParser&, const Box&> ReadMovie(
    const std::filesystem::path& path, bool may_be_cut, Parse parse) {
  const std::string& name = path.native();
  // A pipe would make open wait for whoever writes to it.
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return FailErrno(errno, "cannot open " + name);
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return FailErrno(errno, "cannot stat " + name);
  if (!S_ISREG(info.st_mode)) {
    return Fail(ErrorKind::kInvalidData, "want an MP4 file, this is no regular file: {}", name);
  }
  const auto file_size = static_cast<std::uint64_t>(info.st_size);
  if (file_size == 0)
    return Fail(ErrorKind::kInvalidData, "want an MP4 file, this one is empty: {}", name);

  std::vector<std::byte> movie_bytes;
  std::optional<Box> movie;
  int num_boxes = 0;
  // All boxes, those behind the movie box too: a file cut short ends before its last box does.
  for (std::uint64_t at = 0; at < file_size;) {
    if (++num_boxes > kMaxTopLevelBoxes) {
      return Fail(
          ErrorKind::kInvalidData, "byte {}: more than {} boxes: {}", at, kMaxTopLevelBoxes, name);
    }
    std::array<std::byte, 16> bytes{};
    const std::uint64_t rest = file_size - at;
    const std::size_t got = std::min<std::uint64_t>(rest, bytes.size());
    DF_RETURN_IF_ERROR(ReadExactly(fd.get(), at, std::span(bytes).first(got), name));
    const std::string type = FourCc(Bytes(bytes).subspan(4));
    const bool is_box = got >= 8 && IsPrintable(type);
    if (!is_box && movie && may_be_cut) break;
    if (!is_box || (at == 0 && std::ranges::count(kFirstBoxes, type) == 0)) {
      return Fail(ErrorKind::kInvalidData,
                  "byte {}: want an MP4 box, found none in {} bytes: {}",
                  at,
                  rest,
                  name);
    }
    std::uint64_t size = BigEndian(Bytes(bytes).first(4));
    std::uint64_t header_size = 8;
    if (size == 0) {
      size = rest;  // By definition: to the end of the file.
    } else if (size == 1) {
      size = BigEndian(Bytes(bytes).subspan(8, 8));
      header_size = 16;
    }
    if (size < header_size || size > rest) {
      if (movie && may_be_cut) break;
      return Fail(ErrorKind::kInvalidData,
                  "byte {}: box {} says it has {} bytes, the file has {} more: {}",
                  at,
                  type,
                  size,
                  rest,
                  name);
    }
    if (type == "moov" && !movie) {
      if (size > kMaxMovieBox_bytes) {
        return Fail(ErrorKind::kInvalidData,
                    "byte {}: want at most {} bytes in box moov, have {}: {}",
                    at,
                    kMaxMovieBox_bytes,
                    size,
                    name);
      }
      movie_bytes.resize(size - header_size);
      DF_RETURN_IF_ERROR(ReadExactly(fd.get(), at + header_size, movie_bytes, name));
      movie = Box{type, movie_bytes, at + header_size};
    }
    at += size;
  }
  if (!movie) {
    return Fail(ErrorKind::kInvalidData,
                "no box moov in {} bytes, so the recording was never finished: {}",
                file_size,
                name);
  }
  return parse(MovieParser(name), *movie);
}

}  // namespace

Result<Mp4Header> ReadMp4Header(const std::filesystem::path& path) {
  return ReadMovie(path, false, std::mem_fn(&MovieParser::Parse));
}

Result<Mp4Header> ReadMp4HeaderOfCutFile(const std::filesystem::path& path) {
  return ReadMovie(path, true, std::mem_fn(&MovieParser::Parse));
}

Result<std::vector<std::int64_t>> ReadMp4FrameTimes(const std::filesystem::path& path) {
  return ReadMovie(path, true, std::mem_fn(&MovieParser::ParseTimes));
}

}  // namespace droidflow

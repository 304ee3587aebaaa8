#include "droidflow/video/frame_source.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/video/decoded_source_internal.h"
#include "droidflow/video/zed_source.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace droidflow {
namespace {

constexpr std::string_view kMcapMagic = "\x89MCAP0\r\n";
constexpr std::string_view kSvo1Version{"\xF5\xFF\xFF\xFF", 4};  // -11
/// What an MP4 or MOV file may start with, behind the size of it.
constexpr std::array<std::string_view, 6> kMp4Boxes{"ftyp", "moov", "mdat", "wide", "free", "skip"};

}  // namespace

std::string_view ToString(RecordingFormat format) {
  switch (format) {
    case RecordingFormat::kMp4:
      return "mp4";
    case RecordingFormat::kSvo2:
      return "svo2";
    case RecordingFormat::kSvo1:
      return "svo";
  }
  return "unknown";
}

Result<RecordingFormat> DetectRecordingFormat(const std::filesystem::path& path) {
  const std::string& name = path.native();
  // A pipe would make open wait for whoever writes to it.
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return FailErrno(errno, "cannot open " + name);
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return FailErrno(errno, "cannot stat " + name);
  if (!S_ISREG(info.st_mode)) {
    return Fail(ErrorKind::kInvalidData, "want a recording, this is no regular file: {}", name);
  }
  std::array<char, 8> bytes{};
  const ssize_t size = pread(fd.get(), bytes.data(), bytes.size(), 0);
  if (size < 0) return FailErrno(errno, "cannot read " + name);
  if (size == 0) {
    return Fail(ErrorKind::kInvalidData, "want a recording, this file is empty: {}", name);
  }
  const std::string_view begin(bytes.data(), static_cast<std::size_t>(size));
  if (begin == kMcapMagic) return RecordingFormat::kSvo2;
  if (begin.starts_with(kSvo1Version)) return RecordingFormat::kSvo1;
  if (begin.size() == 8 && std::ranges::count(kMp4Boxes, begin.substr(4)) != 0) {
    return RecordingFormat::kMp4;
  }
  return Fail(ErrorKind::kInvalidData,
              "want MP4, SVO2 (MCAP) or SVO, the file begins with {:02x}: {}",
              fmt::join(std::as_bytes(std::span(begin)), " "),
              name);
}

Result<std::unique_ptr<FrameSource>> OpenFrameSource(const std::filesystem::path& path,
                                                     const SourceOptions& options) {
  DF_CHECK(options.decode_threads >= 1, "{} threads", options.decode_threads);
  DF_ASSIGN_OR_RETURN(const RecordingFormat format, DetectRecordingFormat(path));
  if (format != RecordingFormat::kMp4 && options.use_zed_sdk && ZedSdkBuiltIn()) {
    Result<std::unique_ptr<FrameSource>> source = OpenZedSource(path, options);
    if (source || source.error().kind != ErrorKind::kUnsupported) return source;
  }
  switch (format) {
    case RecordingFormat::kMp4:
      return OpenMp4Source(path, options);
    case RecordingFormat::kSvo2:
      return OpenSvo2Source(path, options);
    case RecordingFormat::kSvo1:
      break;
  }
  return OpenSvo1Source(path, options);
}

}  // namespace droidflow

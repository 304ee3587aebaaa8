#include "droidflow/video/recording_summary.h"

#include "droidflow/video/mp4_info_internal.h"
#include "droidflow/video/svo1_packets_internal.h"
#include "droidflow/video/svo2_packets_internal.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

namespace droidflow {
namespace {

Result<RecordingSummary> SummarizeMp4(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(Mp4Info header, ReadMp4Info(path));
  return RecordingSummary{.format = RecordingFormat::kMp4,
                          .info = std::move(header.info),
                          .frame_times_ns = {},
                          .problems = std::move(header.problems)};
}

Result<RecordingSummary> SummarizeSvo2(const std::filesystem::path& path) {
  DF_ASSIGN_OR_RETURN(const std::unique_ptr<Svo2Packets> packets, Svo2Packets::Open(path));
  const std::vector<std::uint64_t>& times_ns = packets->listed_times_ns();
  RecordingSummary summary{.format = RecordingFormat::kSvo2,
                           .info = packets->info(),
                           .frame_times_ns = {},
                           .problems = packets->Warnings()};
  constexpr std::uint64_t kLast_ns = std::numeric_limits<std::int64_t>::max();
  if (std::ranges::all_of(times_ns, [](std::uint64_t time) { return time <= kLast_ns; })) {
    summary.frame_times_ns.assign(times_ns.begin(), times_ns.end());
  } else {
    summary.problems.push_back("a frame's time is no time: " + path.string());
  }
  return summary;
}

Result<RecordingSummary> SummarizeSvo1(const std::filesystem::path& path, SvoFrames svo_frames) {
  if (svo_frames == SvoFrames::kUnknown) {
    DF_ASSIGN_OR_RETURN(SourceInfo info, Svo1Packets::ReadInfo(path));
    return RecordingSummary{.format = RecordingFormat::kSvo1,
                            .info = std::move(info),
                            .frame_times_ns = {},
                            .problems = {}};
  }
  DF_ASSIGN_OR_RETURN(const std::unique_ptr<Svo1Packets> packets, Svo1Packets::Open(path));
  return RecordingSummary{.format = RecordingFormat::kSvo1,
                          .info = packets->info(),
                          .frame_times_ns = {},
                          .problems = packets->Warnings()};
}

}  // namespace

Result<RecordingSummary> SummarizeRecording(const std::filesystem::path& path,
                                            SvoFrames svo_frames) {
  DF_ASSIGN_OR_RETURN(const RecordingFormat format, DetectRecordingFormat(path));
  switch (format) {
    case RecordingFormat::kMp4:
      return SummarizeMp4(path);
    case RecordingFormat::kSvo2:
      return SummarizeSvo2(path);
    case RecordingFormat::kSvo1:
      break;
  }
  return SummarizeSvo1(path, svo_frames);
}

}  // namespace droidflow

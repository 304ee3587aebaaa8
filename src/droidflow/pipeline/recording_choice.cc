#include "droidflow/pipeline/recording_choice.h"

#include "droidflow/episode/status.h"

#include <algorithm>
#include <array>

namespace droidflow {
namespace {

constexpr std::array kKinds = {
    RecordingKind::kStereoMp4, RecordingKind::kSvo2, RecordingKind::kSvo, RecordingKind::kMonoMp4};

/// A file with what its content turned out to be.
struct Candidate {
  const RecordingFile* file;
  RecordingKind kind;
  std::optional<RecordingSummary> summary;  ///< where it took that to tell the kind
};

bool IsMp4(RecordingKind kind) {
  return kind == RecordingKind::kMonoMp4 || kind == RecordingKind::kStereoMp4;
}

/// Whether trying again may help, so that the choice must wait.
bool MayPass(const Error& error) { return error.kind == ErrorKind::kTransient; }

std::string Joined(const std::vector<std::string_view>& names) {
  return fmt::format("{}", fmt::join(names, ", "));
}

/// Tells the kind from the first bytes, and for MP4 from the header. Fails for a broken file.
Result<Candidate> LookInto(const RecordingFile& file) {
  if (file.size_bytes == 0) {
    return Fail(ErrorKind::kInvalidData, "zero bytes: {}", file.path.string());
  }
  DF_ASSIGN_OR_RETURN(const RecordingFormat format, DetectRecordingFormat(file.path));
  switch (format) {
    case RecordingFormat::kSvo2:
      return Candidate{&file, RecordingKind::kSvo2, {}};
    case RecordingFormat::kSvo1:
      return Candidate{&file, RecordingKind::kSvo, {}};
    case RecordingFormat::kMp4:
      break;
  }
  DF_ASSIGN_OR_RETURN(RecordingSummary summary, SummarizeRecording(file.path, SvoFrames::kUnknown));
  const RecordingKind kind =
      summary.info.stereo ? RecordingKind::kStereoMp4 : RecordingKind::kMonoMp4;
  return Candidate{&file, kind, std::move(summary)};
}

}  // namespace

const RecordingOrder& DefaultRecordingOrder() {
  static const RecordingOrder order(kKinds.begin(), kKinds.end());
  return order;
}

std::string FormatRecordingOrder(const RecordingOrder& order) {
  std::vector<std::string_view> names;
  for (const RecordingKind kind : order) names.push_back(ToString(kind));
  return fmt::format("{}", fmt::join(names, ","));
}

Result<RecordingOrder> ParseRecordingOrder(std::string_view text) {
  RecordingOrder order;
  while (true) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const std::string_view name = text.substr(0, comma);
    const auto* const kind = std::ranges::find(kKinds, name, [](auto k) { return ToString(k); });
    if (kind == kKinds.end() || std::ranges::find(order, *kind) != order.end()) {
      return Fail(ErrorKind::kUsage,
                  "want some of {}, each once, have '{}'",
                  FormatRecordingOrder(DefaultRecordingOrder()),
                  name);
    }
    order.push_back(*kind);
    if (comma == text.size()) return order;
    text.remove_prefix(comma + 1);
  }
}

Result<RecordingChoice> ChooseRecording(const CameraRecordings& recordings,
                                        std::string_view serial,
                                        const RecordingOrder& order) {
  RecordingChoice choice;
  const auto finding_of = [&](const RecordingFile& file) -> std::string& {
    return std::ranges::find(choice.files, file.name, &Considered::what)->finding;
  };
  const auto broken = [&](const RecordingFile& file, RecordingKind kind, const Error& error) {
    finding_of(file) = error.message;
    choice.has_broken_stereo |= kind != RecordingKind::kMonoMp4;
    choice.warnings.push_back(
        {status::kRecordingBroken, fmt::format("camera {}: {}", serial, error.message)});
  };
  std::vector<Candidate> candidates;
  const bool wants_mp4 = std::ranges::any_of(order, IsMp4);
  for (const RecordingFile& file : recordings.files) {
    choice.files.push_back({file.name, "MP4 files are not wanted"});
    if (IsMp4(file.kind) && !wants_mp4) continue;
    if (file.size_bytes > 0) choice.opened.push_back(file.name);
    Result<Candidate> candidate = LookInto(file);
    if (!candidate) {
      if (MayPass(candidate.error())) return tl::unexpected(candidate.error());
      broken(file, file.kind, candidate.error());
      continue;
    }
    const bool is_wanted = std::ranges::find(order, candidate->kind) != order.end();
    finding_of(file) = fmt::format("{} by content, {} bytes{}",
                                   ToString(candidate->kind),
                                   file.size_bytes,
                                   is_wanted ? "" : ", which is not wanted");
    candidates.push_back(*std::move(candidate));
  }
  // Of two files of one kind, the one that says so in its name.
  std::stable_partition(candidates.begin(), candidates.end(), [](const Candidate& candidate) {
    return candidate.file->kind == candidate.kind;
  });
  std::vector<std::string_view> missing;
  for (const RecordingKind kind : order) {
    for (Candidate& candidate : candidates) {
      if (candidate.kind != kind) continue;
      Result<RecordingSummary> summary =
          candidate.summary ? *std::move(candidate.summary)
                            : SummarizeRecording(candidate.file->path, SvoFrames::kUnknown);
      if (!summary) {
        if (MayPass(summary.error())) return tl::unexpected(summary.error());
        broken(*candidate.file, kind, summary.error());
        continue;
      }
      if (!summary->info.frame_count && kind != RecordingKind::kSvo) {
        broken(*candidate.file,
               kind,
               {ErrorKind::kInvalidData,
                fmt::format("its frames cannot be counted: {}", candidate.file->path.string())});
        continue;
      }
      for (const std::string& problem : summary->problems) {
        choice.warnings.push_back(
            {status::kRecordingBroken, fmt::format("camera {}: {}", serial, problem)});
      }
      std::ranges::find(choice.files, candidate.file->name, &Considered::what)->chosen = true;
      choice.chosen = {kind, candidate.file->path, candidate.file->name, *std::move(summary)};
      choice.reason = missing.empty()
                          ? fmt::format("{} comes first", ToString(kind))
                          : fmt::format("no {}; {} is next", Joined(missing), ToString(kind));
      return choice;
    }
    missing.push_back(ToString(kind));
  }
  choice.reason = fmt::format("no {} that can be read", Joined(missing));
  return choice;
}

bool FramesFitSteps(std::int64_t frames, std::int64_t steps) {
  return frames == steps || frames == steps - 1;
}

}  // namespace droidflow

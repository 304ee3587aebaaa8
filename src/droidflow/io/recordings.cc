#include "droidflow/io/recordings.h"

#include "droidflow/core/files.h"

#include <algorithm>
#include <array>
#include <system_error>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTimestampsSuffix = "_timestamps.json";
constexpr std::string_view kFolders[] = {"MP4", "SVO", ""};

struct NameRule {
  const char* folder;
  std::string_view suffix;
  RecordingKind kind;
};

// The first rule that fits counts: "-stereo.mp4" also ends with ".mp4".
constexpr std::array<NameRule, 6> kRules{{{"MP4", "-stereo.mp4", RecordingKind::kStereoMp4},
                                          {"MP4", ".mp4", RecordingKind::kMonoMp4},
                                          {"SVO", ".svo2", RecordingKind::kSvo2},
                                          {"SVO", ".svo", RecordingKind::kSvo},
                                          {"", ".svo2", RecordingKind::kSvo2},
                                          {"", ".svo", RecordingKind::kSvo}}};

// What comes before the suffix; nothing if the name does not end with it, or is nothing else.
std::optional<std::string> StemOf(std::string_view name, std::string_view suffix) {
  if (name.size() <= suffix.size() || !name.ends_with(suffix)) return std::nullopt;
  name.remove_suffix(suffix.size());
  return std::string(name);
}

// Takes up a file of "recordings/{folder}", if it is one of a camera's.
void AddFile(std::string_view folder,
             const std::string& name,
             const fs::path& path,
             std::uint64_t size_bytes,
             std::map<std::string, CameraRecordings>& cameras) {
  if (const auto serial = StemOf(name, kTimestampsSuffix)) cameras[*serial].timestamps_json = path;
  const auto* rule = std::find_if(kRules.begin(), kRules.end(), [&](const NameRule& candidate) {
    return candidate.folder == folder && StemOf(name, candidate.suffix);
  });
  if (rule == kRules.end()) return;
  CameraRecordings& camera = cameras[*StemOf(name, rule->suffix)];
  if (camera.Find(rule->kind) != nullptr) return;
  camera.files.push_back({.kind = rule->kind,
                          .path = path,
                          .name = (fs::path("recordings") / folder / name).generic_string(),
                          .size_bytes = size_bytes});
}

Status ListFolder(const fs::path& recordings_dir,
                  std::string_view folder,
                  std::map<std::string, CameraRecordings>& cameras) {
  const fs::path directory = recordings_dir / folder;
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
    std::error_code not_a_file;
    const std::uint64_t size_bytes = entry->file_size(not_a_file);
    if (not_a_file) continue;
    AddFile(folder, entry->path().filename().native(), entry->path(), size_bytes, cameras);
  }
  if (error && error != std::errc::no_such_file_or_directory &&
      error != std::errc::not_a_directory) {
    return FailErrno(error.value(), "cannot list " + directory.string());
  }
  return {};
}

void SortFiles(std::map<std::string, CameraRecordings>& cameras) {
  // Times without pictures are no recording.
  std::erase_if(cameras, [](const auto& camera) { return camera.second.files.empty(); });
  for (auto& [serial, camera] : cameras) {
    std::sort(camera.files.begin(), camera.files.end(), [](const auto& a, const auto& b) {
      return a.kind < b.kind;
    });
  }
}

}  // namespace

std::string_view ToString(RecordingKind kind) {
  switch (kind) {
    case RecordingKind::kMonoMp4:
      return "mono_mp4";
    case RecordingKind::kStereoMp4:
      return "stereo_mp4";
    case RecordingKind::kSvo:
      return "svo";
    case RecordingKind::kSvo2:
      return "svo2";
  }
  return "unknown";
}

const RecordingFile* CameraRecordings::Find(RecordingKind kind) const {
  const auto found = std::find_if(
      files.begin(), files.end(), [kind](const RecordingFile& file) { return file.kind == kind; });
  return found == files.end() ? nullptr : &*found;
}

Result<std::map<std::string, CameraRecordings>> FindRecordings(const fs::path& episode_dir) {
  std::map<std::string, CameraRecordings> cameras;
  for (const std::string_view folder : kFolders) {
    DF_RETURN_IF_ERROR(ListFolder(episode_dir / "recordings", folder, cameras));
  }
  SortFiles(cameras);
  return cameras;
}

std::map<std::string, CameraRecordings> RecordingsAmong(std::span<const SourceEntry> files) {
  std::map<std::string, CameraRecordings> cameras;
  for (const std::string_view folder : kFolders) {
    const fs::path parent = fs::path("recordings") / folder;
    for (const SourceEntry& file : files) {
      const fs::path path = file.name;
      if (path.parent_path() != (folder.empty() ? parent.parent_path() : parent)) continue;
      AddFile(folder, path.filename().native(), path, file.size_bytes, cameras);
    }
  }
  SortFiles(cameras);
  return cameras;
}

Result<std::vector<std::int64_t>> ReadFrameTimesMs(const fs::path& path) {
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto refuse = [&](std::string_view have) {
    return Fail(ErrorKind::kInvalidData,
                "want a list of Unix milliseconds, have {}: {}",
                have,
                path.string());
  };
  if (!json.is_array()) return refuse(json.is_discarded() ? "no JSON" : json.type_name());
  std::vector<std::int64_t> times_ms;
  times_ms.reserve(json.size());
  for (const auto& time : json) {
    if (!time.is_number_integer()) return refuse(fmt::format("{} in it", time.type_name()));
    times_ms.push_back(time.get<std::int64_t>());
  }
  return times_ms;
}

}  // namespace droidflow

#pragma once

#include "droidflow/core/result.h"
#include "droidflow/core/source.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

enum class RecordingKind {
  kMonoMp4,    ///< recordings/MP4/{serial}.mp4: the left eye
  kStereoMp4,  ///< recordings/MP4/{serial}-stereo.mp4: both eyes side by side
  kSvo,        ///< recordings/SVO/{serial}.svo, or without the SVO folder
  kSvo2,       ///< recordings/SVO/{serial}.svo2, or without the SVO folder
};

/// "mono_mp4", "stereo_mp4", "svo", "svo2".
[[nodiscard]] std::string_view ToString(RecordingKind kind);

struct RecordingFile {
  RecordingKind kind;
  std::filesystem::path path;
  std::string name;          ///< relative to the episode's folder: "recordings/MP4/22008760.mp4"
  std::uint64_t size_bytes;  ///< 0 is common: a recorder that died
};

/// What an episode's folder holds of one camera.
struct CameraRecordings {
  std::vector<RecordingFile> files;  ///< at most one of a kind, in the order of the kinds
  std::optional<std::filesystem::path> timestamps_json;

  [[nodiscard]] const RecordingFile* Find(RecordingKind kind) const;
};

/// Lists the recordings of an episode by serial. By names and sizes: no file is
/// opened, so a name is no promise ({serial}.mp4 may hold both eyes).
///
/// @return empty where the episode has no recordings at all, its folder included; a camera without
/// any
///         is not in the map. An error only where the file system fails.
[[nodiscard]] Result<std::map<std::string, CameraRecordings>> FindRecordings(
    const std::filesystem::path& episode_dir);

/// The same of an episode's files in a source, by their names in its folder; `path` is the name.
[[nodiscard]] std::map<std::string, CameraRecordings> RecordingsAmong(
    std::span<const SourceEntry> files);

/// Reads {serial}_timestamps.json: when each frame of an MP4 file was received.
///
/// Unit    Unix milliseconds in the file.
/// Source  DROID, camera_utils/recording_readers/mp4_reader.py: a JSON list of numbers.
/// @return kInvalidData for anything but a list of whole numbers; kNotFound.
[[nodiscard]] Result<std::vector<std::int64_t>> ReadFrameTimesMs(const std::filesystem::path& path);

}  // namespace droidflow

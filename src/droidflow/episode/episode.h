#pragma once

/// What an episode is: its name, where it lies, and what its metadata file says.

#include "droidflow/core/result.h"
#include "droidflow/geometry/pose.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace droidflow {

enum class Outcome { kSuccess, kFailure };

/// "success" or "failure", the folder's name in the data set.
[[nodiscard]] std::string_view ToString(Outcome outcome);
[[nodiscard]] std::optional<Outcome> OutcomeFromString(std::string_view text);

/// The parts of an episode's uuid, "AUTOLab+5d05c5aa+2023-08-12-16h-26m-07s".
struct EpisodeId {
  std::string lab;   ///< not from a fixed list
  std::string code;  ///< 8 characters, not always hexadecimal
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;

  bool operator==(const EpisodeId&) const = default;
};

/// Takes a uuid apart. @return kInvalidData with what was expected and found.
[[nodiscard]] Result<EpisodeId> ParseEpisodeId(std::string_view uuid);

/// An episode on disk, before it is read.
struct EpisodeRef {
  std::string uuid;  ///< empty: the folder has no readable metadata_<uuid>.json
  std::string lab;   ///< from the path
  Outcome outcome = Outcome::kSuccess;
  std::string relative_path;  ///< "{lab}/{outcome}/{date}/{folder}", relative to the raw root
  std::string root = {};      ///< the raw root, where there are several: a folder; empty: not said

  bool operator==(const EpisodeRef&) const = default;
};

/// Makes a reference from "{lab}/{outcome}/{date}/{folder}". @return kInvalidData for other shapes.
[[nodiscard]] Result<EpisodeRef> EpisodeRefFromPath(std::string_view relative_path);

enum class CameraRole { kExternal1, kExternal2, kWrist };

/// "ext1", "ext2", "wrist": the prefix of the metadata's keys.
[[nodiscard]] std::string_view ToString(CameraRole role);

/// A camera as metadata_<uuid>.json names it.
struct MetadataCamera {
  CameraRole role;
  std::string serial;
  std::optional<PoseVector>
      extrinsics;  ///< absent: no 6-vector in the file. For the wrist: at step 0
};

/// metadata_<uuid>.json, without the person's name that it holds.
struct EpisodeMetadata {
  std::string uuid;
  std::string lab;
  std::string current_task;
  std::string building;                  ///< empty: not said
  std::optional<std::int64_t> scene_id;  ///< where in the building
  std::optional<std::int64_t> trajectory_length;
  std::vector<MetadataCamera> cameras;  ///< those with a serial, in the order ext1, ext2, wrist

  [[nodiscard]] const MetadataCamera* FindCamera(std::string_view serial) const;
  [[nodiscard]] const MetadataCamera* FindRole(CameraRole role) const;
};

/// Control steps from `begin` to before `end`.
struct StepRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;

  bool operator==(const StepRange&) const = default;
};

/// Something worth knowing that did not stop the episode; stands in quality.json.
struct Warning {
  std::string code;  ///< machine-readable, one of the names in docs/running.md
  std::string text;

  bool operator==(const Warning&) const = default;
};

}  // namespace droidflow

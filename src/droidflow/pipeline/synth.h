#pragma once

/// Raw DROID episodes made up for demonstrations and tests, broken ones too.

#include "droidflow/core/result.h"
#include "droidflow/pipeline/synth_video.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace droidflow {

struct SynthOptions {
  int episodes = 6;
  int steps = 120;
  std::uint64_t seed = 1;
  bool faults = false;  ///< add one of each kind of broken episode
  /// Recordings of the good episodes; broken ones have still pictures.
  SynthVideo video = SynthVideo::kStill;
  VideoCodec codec = VideoCodec::kMpeg4;  ///< of MP4 files that move
  int width_px = 1280;                    ///< of an eye's pictures that move; 1280x720 or 672x376
  int height_px = 720;
  /// Real calibration files, SN<serial>.conf, to take the cameras' serials, lenses and baselines
  /// from; empty: made-up ones.
  std::filesystem::path conf_dir;
  /// How far the written poses of cameras are off, each in a direction of its own, from where the
  /// recordings were taken.
  double extrinsics_error_cm = 0;
  double extrinsics_error_deg = 0;
  /// Frames by which recordings that move come after the states that they are paired with.
  double time_offset_frames = 0;
  bool passer_by = false;  ///< someone walks to and fro behind the table
};

/// A broken episode that was made, and what must become of it.
struct SynthFault {
  std::string kind;  ///< what was done to it, e.g. "truncated_trajectory"
  std::string uuid;
  std::string path;      ///< relative to raw/; empty: there is no folder
  std::string expected;  ///< status or warning code; empty: it is done without a word
  std::string outcome;   ///< "done", "quarantined" or "skipped"
};

struct SynthReport {
  std::vector<std::string> uuids;  ///< of the good episodes
  std::vector<SynthFault> faults;
};

/// Writes `directory`/raw (episodes with trajectory.h5, metadata and recordings as DROID's recorder
/// lays them out), /annotations, /conf, /episodes.txt (every uuid, for --episodes) and, with
/// faults, /faults.json (what is wrong with which episode, and what must become of it).
///
/// The robot's motion, the cameras' poses and the intrinsics are plausible and made up. Recordings
/// that move show a textured table with the hand over it as it stands at each step, and come with
/// `directory`/truth/{episode}/recordings/{serial}/depth.mkv. The same options give the same
/// episodes.
///
/// @return kUsage when `directory` already holds raw/, or for a size at which no ZED records;
///         kNotFound and kInvalidData for calibration files.
[[nodiscard]] Result<SynthReport> Synthesize(const std::filesystem::path& directory,
                                             const SynthOptions& options);

}  // namespace droidflow

#pragma once

/// Raw DROID episodes made up for demonstrations and tests, broken ones too.

#include "droidflow/core/result.h"

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
/// The robot's motion, the cameras' poses and the intrinsics are plausible and made up; the
/// recordings are MP4 files of a still picture. The same options give the same episodes.
///
/// @return kUsage when `directory` already holds raw/.
[[nodiscard]] Result<SynthReport> Synthesize(const std::filesystem::path& directory,
                                             const SynthOptions& options);

}  // namespace droidflow

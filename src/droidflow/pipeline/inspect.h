#pragma once

/// What a file of DROID's or ours is, without believing its name.

#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

struct InspectOptions {
  bool rows = false;     ///< decode stereo recordings and measure how well their rows agree
  std::string conf_dir;  ///< calibration of raw recordings, for `rows`
  int decode_threads = 1;
};

struct InspectedFile {
  std::string file;
  std::string kind;  ///< "h5", "mp4", "svo", "svo2", "npz", "mkv" or "conf"; empty: none of them
  std::optional<std::int64_t> frames;  ///< or steps
  int width_px = 0;                    ///< of one eye; 0: it has no pictures
  int height_px = 0;
  std::string serial;                 ///< empty: the file does not say
  std::string summary;                ///< one line of what else there is to say
  std::string details_json;           ///< an object with the same for programs
  std::vector<std::string> problems;  ///< what is wrong with it
  bool readable = false;              ///< recognised, and read as what it is
};

/// Looks into one file. @return kNotFound where there is none; what is wrong with a file that is
/// there stands in `problems`.
[[nodiscard]] Result<InspectedFile> InspectFile(const std::filesystem::path& path,
                                                const InspectOptions& options);

}  // namespace droidflow

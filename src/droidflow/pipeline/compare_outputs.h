#pragma once

/// Two output trees, compared value by value.

#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace droidflow {

/// What was found of one value of one kind of file, over all episodes that both trees have.
struct ComparedKey {
  std::int64_t equal = 0;
  std::int64_t differing = 0;
  /// The largest absolute difference of numbers of equal shape; infinite where one is NaN.
  double largest = 0;
  std::string where;  ///< the file of the largest difference, or of the first of another kind
  std::string what;   ///< there: "[3,4] is [3,5]", "f4 is f8", "\"a\" is \"b\""; empty: numbers
};

struct OutputComparison {
  std::int64_t episodes = 0;           ///< that both have
  std::vector<std::string> only_in_a;  ///< episodes, and files of episodes that both have
  std::vector<std::string> only_in_b;
  /// By file and key, serials and positions in lists replaced by `*`: "tracks.npz tracks_2d_*",
  /// "quality.json /cameras/*/frames", "recordings/*/depth.mkv".
  std::map<std::string, ComparedKey> keys;

  [[nodiscard]] bool is_equal() const;
};

/// Compares every array of .npz files, every value of .json files, every pixel of depth videos, and
/// the bytes of other files. NaN equals NaN; of numbers all bits count but the sign of zero.
///
/// @param a, b    folders that hold episodes, or two episodes. Run directories are passed over.
/// @param strict  also what differs between two runs by its nature: quality.json's `timings_ms` and
///                `provenance`.
/// @return        kNotFound where there is no episode; what reading returns.
[[nodiscard]] Result<OutputComparison> CompareOutputs(const std::filesystem::path& a,
                                                      const std::filesystem::path& b,
                                                      bool strict);

}  // namespace droidflow

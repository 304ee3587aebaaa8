#pragma once

/// Dense stereo matching: a rectified pair in, a disparity for each pixel of the left picture out.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace droidflow {

/// Disparities of the left picture: what is at column x on the left is at column x - d on the
/// right.
///
/// Unit     sixteenths of a pixel.
/// Invalid  kNoDisparity_px16.
using DisparityView = ImageView<const std::int16_t>;
using DisparityImage = Image<std::int16_t>;
inline constexpr std::int16_t kNoDisparity_px16 = -1;
inline constexpr int kDisparityScale = 16;
inline constexpr int kMostDisparities = 1024;

/// Who matches. The first three give the same bits.
enum class MatcherBackend {
  kReference,  ///< plain C++, as the definition reads; slow, and takes its memory for every pair
  kCpu,        ///< vectors, chosen when the program runs
  kCuda,       ///< an NVIDIA GPU
  kOpencv,     ///< OpenCV's StereoSGBM, to compare with
};
/// "reference", "cpu", "cuda", "opencv".
[[nodiscard]] std::string_view ToString(MatcherBackend backend);

enum class MatcherPreset { kFast, kBalanced, kQuality };
/// "fast", "balanced", "quality".
[[nodiscard]] std::string_view ToString(MatcherPreset preset);
[[nodiscard]] std::optional<MatcherPreset> MatcherPresetFromString(std::string_view name);

/// How disparities are found; docs/matching.md defines every step.
struct MatcherOptions {
  int min_disparity_px = 0;    ///< searched: min <= d < max
  int max_disparity_px = 256;  ///< 1 … kMostDisparities; may be greater than the picture's width
  bool half_size = false;      ///< match pictures of half the size
  int paths = 5;               ///< directions that costs are gathered from: 5 or 8
  int p1 = 7;                  ///< cost of a change by one disparity: 1 … p2_min
  int p2_min = 8;  ///< … of any other change where the picture changes most: p1 … p2
  int p2 = 27;     ///< … of any other change where it does not change: p2_min … 27
  int uniqueness_percent = 2;  ///< by how much the second best must be worse; 0: off, at most 99
  int lr_check_px = 2;         ///< largest disagreement of both eyes, at most 4; -1: off
  bool subpixel = true;        ///< false: whole pixels
  bool median = true;          ///< 3x3, of what is valid
  int speckle_area_px = 100;   ///< patches of at most so many pixels are dropped; 0: off
  int speckle_range_px = 2;    ///< neighbours that differ by more belong to different patches

  bool operator==(const MatcherOptions&) const = default;
};

[[nodiscard]] MatcherOptions OptionsOf(MatcherPreset preset);

/// @return kUsage with the option, what it must be and what it is.
[[nodiscard]] Status CheckMatcherOptions(const MatcherOptions& options);

/// Finds disparities. Keeps its memory from pair to pair: after the first of a size nothing is
/// allocated.
///
/// Thread   one pair at a time.
class Matcher {
 public:
  Matcher() = default;
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;
  virtual ~Matcher() = default;

  /// @param left, right      of one size, at least 1x1, rectified, rows aligned.
  /// @param disparity        resized to that size.
  /// @param confidence       if not null: resized to that size; 0: no disparity, or no better than
  ///                         the second best; 255: the second best is far worse.
  /// @return kUsage for sizes that differ or are empty; kTransient (kGpuMemory) where the GPU is
  /// out of
  ///         memory; kInternal (kGpuFailed) for its other failures.
  [[nodiscard]] virtual Status Match(GrayView left,
                                     GrayView right,
                                     DisparityImage& disparity_px16,
                                     GrayImage* confidence) = 0;
};

/// Whether this build and this machine have it.
[[nodiscard]] bool IsAvailable(MatcherBackend backend);
/// What is missing; empty where IsAvailable.
[[nodiscard]] std::string WhyNotAvailable(MatcherBackend backend);

/// Error::status of a GPU's failures; they say nothing of the pictures.
inline constexpr const char kGpuMemory[] = "gpu_memory";
inline constexpr const char kGpuFailed[] = "gpu_failed";

/// How many GPUs kCuda could use. A process that asked cannot fork others that use one.
[[nodiscard]] int CountGpus();

/// @return as CheckMatcherOptions; kUnsupported, saying why, where IsAvailable is false.
[[nodiscard]] Result<std::unique_ptr<Matcher>> MakeMatcher(MatcherBackend backend,
                                                           const MatcherOptions& options);

}  // namespace droidflow

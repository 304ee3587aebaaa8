#pragma once

/// A finished episode as pictures: its tracks over what the cameras saw, and its depth.

#include "droidflow/core/image.h"
#include "droidflow/core/result.h"
#include "droidflow/pipeline/finished_episode.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

struct RenderOptions : FinishedEpisodeOptions {
  bool tracks = true;             ///< points, their tails, and the way of the gripper
  bool frames = true;             ///< axes of the contact frame
  std::optional<int> step = {};   ///< PNG: only this step, from 0
  std::optional<int> every = {};  ///< each K-th step; default: 8 of all in a PNG, each in an MP4
  int moments = 8;                ///< of a sheet without `step` and `every`
  int sheet_width_px = 1440;      ///< about
  int min_tile_px = 320;          ///< no tile of a sheet or a video is narrower
  bool legend = true;             ///< below a sheet: what the colours mean
};

struct RenderedEpisode {
  std::int64_t steps = 0;  ///< that are shown
  int width_px = 0;
  int height_px = 0;
  std::vector<std::string> notes;  ///< what could not be shown, and why
};

/// Draws tracks.npz, extrinsics.npz and depth.mkv of a finished episode. Pictures come from the
/// recordings that video.json names; where there is none, tracks are drawn on gray of the same
/// size. A PNG is a contact sheet: of each moment all cameras side by side, and as many moments in
/// a row as make it about as wide as high. An MP4 (H.264, as browsers play it) has the rate of the
/// steps. Whole or not at all; what killed processes left of the file is removed.
///
/// @param directory  with the episode's products.
/// @return kUsage for a name that ends in neither .png nor .mp4, a camera or a step that is not
///         there, and more than 64 moments in a PNG; kNotFound or kInvalidData for products that
///         are missing or damaged; kCancelled after a signal.
[[nodiscard]] Result<RenderedEpisode> RenderEpisode(const std::filesystem::path& directory,
                                                    const std::filesystem::path& out,
                                                    const RenderOptions& options);

/// The contact sheet that RenderEpisode writes as a PNG.
struct EpisodeSheet {
  RgbImage picture;
  std::int64_t steps = 0;
  bool has_depth = false;
  std::vector<std::string> notes;
};
[[nodiscard]] Result<EpisodeSheet> DrawEpisodeSheet(const std::filesystem::path& directory,
                                                    const RenderOptions& options);

}  // namespace droidflow

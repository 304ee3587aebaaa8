#include "droidflow/pipeline/synth_video.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/video/depth_video.h"
#include "droidflow/video/svo2_writer.h"

#include <algorithm>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

/// What the MP4 files of DROID's recorder claim.
constexpr double kMp4Fps = 60;
constexpr double kSvo2Fps = 15;

/// The two eyes of a camera, beside each other in one picture.
class PairView {
 public:
  PairView(const SynthScene& scene, SynthEye left, SynthEye right)
      : left_(scene, std::move(left)), right_(scene, std::move(right)) {}

  void Render(const SynthHand& hand, const Transform& T_base_rect, std::uint64_t noise_seed) {
    left_.Render(hand, T_base_rect, 2 * noise_seed, left_rgb_);
    right_.Render(hand, T_base_rect, 2 * noise_seed + 1, right_rgb_);
    pair_.Resize(left_rgb_.width_px() + right_rgb_.width_px(), left_rgb_.height_px());
    for (int y = 0; y < pair_.height_px(); ++y) {
      Rgb* const right_half = std::copy_n(left_rgb_.row(y), left_rgb_.width_px(), pair_.row(y));
      std::copy_n(right_rgb_.row(y), right_rgb_.width_px(), right_half);
    }
  }

  [[nodiscard]] RgbView left() const { return left_rgb_.view(); }
  [[nodiscard]] RgbView pair() const { return pair_.view(); }

 private:
  SynthView left_;
  SynthView right_;
  RgbImage left_rgb_;
  RgbImage right_rgb_;
  RgbImage pair_;
};

/// Writes the truth and hands every rendered frame on.
template <typename OnFrame>
Status ForEachFrame(const SynthScene& scene,
                    const SynthRecording& recording,
                    PairView pair,
                    const fs::path& truth_dir,
                    OnFrame on_frame) {
  const Intrinsics& K = recording.intrinsics;
  const fs::path truth_path = truth_dir / "recordings" / recording.serial / "depth.mkv";
  DF_ASSIGN_OR_RETURN(
      DepthVideoWriter truth,
      DepthVideoWriter::Open(truth_path, {.width_px = K.width_px, .height_px = K.height_px}));
  SynthView rectified(scene, SynthEye::Rectified(K, 0));
  DepthImage depth_mm;
  for (std::size_t i = 0; i < recording.hands.size(); ++i) {
    const Transform& T_base_rect =
        recording.T_base_rect.size() == 1 ? recording.T_base_rect[0] : recording.T_base_rect[i];
    rectified.RenderDepth(recording.hands[i], T_base_rect, depth_mm);
    DF_RETURN_IF_ERROR(truth.Write(depth_mm.view()));
    pair.Render(recording.hands[i], T_base_rect, recording.noise_seed + i);
    DF_RETURN_IF_ERROR(on_frame(i, pair));
  }
  return truth.Close();
}

Status WriteMp4s(const SynthScene& scene,
                 const SynthRecording& recording,
                 const SynthRecordingOptions& options,
                 const fs::path& episode_dir,
                 const fs::path& truth_dir) {
  const Intrinsics& K = recording.intrinsics;
  const fs::path folder = episode_dir / "recordings/MP4";
  VideoOptions video{.codec = options.codec,
                     .width_px = K.width_px,
                     .height_px = K.height_px,
                     .nominal_fps = kMp4Fps};
  DF_ASSIGN_OR_RETURN(Mp4VideoWriter mono,
                      Mp4VideoWriter::Open(folder / (recording.serial + ".mp4"), video));
  std::optional<Mp4VideoWriter> stereo;
  if (options.video == SynthVideo::kStereo) {
    video.width_px *= 2;
    DF_ASSIGN_OR_RETURN(stereo,
                        Mp4VideoWriter::Open(folder / (recording.serial + "-stereo.mp4"), video));
  }
  PairView pair(scene, SynthEye::Rectified(K, 0), SynthEye::Rectified(K, recording.baseline_m));
  const auto write = [&](std::size_t, const PairView& rendered) -> Status {
    DF_RETURN_IF_ERROR(mono.Write(rendered.left()));
    return stereo ? stereo->Write(rendered.pair()) : Status();
  };
  DF_RETURN_IF_ERROR(ForEachFrame(scene, recording, std::move(pair), truth_dir, write));
  if (stereo) {
    DF_RETURN_IF_ERROR(stereo->Close());
  }
  return mono.Close();
}

Status WriteSvo2(const SynthScene& scene,
                 const SynthRecording& recording,
                 const fs::path& episode_dir,
                 const fs::path& truth_dir) {
  DF_CHECK(recording.raw.has_value(), "an SVO2 file holds raw frames");
  DF_CHECK(recording.frame_ns.size() == recording.hands.size(), "every frame has a time");
  const StereoPair& raw = *recording.raw;
  DF_ASSIGN_OR_RETURN(const RectifiedPair rectified, Rectify(raw));
  PairView pair(
      scene,
      SynthEye::Raw(raw.left, rectified.R_rect_left, raw.width_px, raw.height_px, 0),
      SynthEye::Raw(
          raw.right, rectified.R_rect_right, raw.width_px, raw.height_px, recording.baseline_m));
  const Svo2Options options{.video = {.codec = VideoCodec::kHevc,
                                      .width_px = 2 * raw.width_px,
                                      .height_px = raw.height_px,
                                      .nominal_fps = kSvo2Fps},
                            .serial = recording.serial};
  DF_ASSIGN_OR_RETURN(
      Svo2Writer svo2,
      Svo2Writer::Open(episode_dir / "recordings/SVO" / (recording.serial + ".svo2"), options));
  const auto write = [&](std::size_t i, const PairView& rendered) {
    return svo2.Write(rendered.pair(), static_cast<std::uint64_t>(recording.frame_ns[i]));
  };
  DF_RETURN_IF_ERROR(ForEachFrame(scene, recording, std::move(pair), truth_dir, write));
  return svo2.Close();
}

}  // namespace

std::string_view ToString(SynthVideo video) {
  switch (video) {
    case SynthVideo::kStill:
      return "still";
    case SynthVideo::kMono:
      return "mono";
    case SynthVideo::kStereo:
      return "stereo";
    case SynthVideo::kSvo2:
      return "svo2";
  }
  return "unknown";
}

Status WriteSynthRecording(const SynthScene& scene,
                           const SynthRecording& recording,
                           const SynthRecordingOptions& options,
                           const fs::path& episode_dir,
                           const fs::path& truth_dir) {
  DF_CHECK(options.video != SynthVideo::kStill, "a still picture shows no scene");
  if (options.video == SynthVideo::kSvo2) {
    return WriteSvo2(scene, recording, episode_dir, truth_dir);
  }
  return WriteMp4s(scene, recording, options, episode_dir, truth_dir);
}

}  // namespace droidflow

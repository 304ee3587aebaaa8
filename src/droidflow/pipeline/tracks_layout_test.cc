#include "droidflow/pipeline/tracks_layout.h"

#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/formats/npz_writer.h"
#include "droidflow/pipeline/convert.h"
#include "droidflow/tracks/camera_poses.h"

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {
namespace {

using testing::AllOf;
using testing::HasSubstr;

/// An episode as a run computes it, of random motion: cameras that stand still, one on the hand,
/// points behind them, gripper values beyond their range, times that jump, no motion at all.
class MadeEpisode {
 public:
  explicit MadeEpisode(unsigned seed) : random_(seed) {
    options_.step_mm = Uniform(0.5, 20);
    if (seed % 3 == 0) options_.compat = Compat::kOriginal;
    if (seed % 4 == 1) options_.mount_rpy_rad = {Uniform(-3, 3), Uniform(-3, 3), Uniform(-3, 3)};
    if (seed % 4 == 2) options_.mount_xyz_m = {0.01, -0.02, Uniform(-0.1, 0.1)};
    const std::size_t steps = seed % 7 == 0 ? 1 : 2 + random_() % 20;
    const double stride = seed % 5 == 0 ? 0 : 0.02;
    PoseVector pose{0.5, 0, 0.4, 3.1, 0, 0};
    for (std::size_t t = 0; t < steps; ++t) {
      for (std::size_t i = 0; i < 6; ++i) pose.at(i) += stride * Uniform(-1, 1) * (i < 3 ? 1 : 20);
      episode_.trajectory.cartesian_position.push_back(pose);
      episode_.trajectory.gripper_position.push_back(Uniform(-0.05, 1.05));
      episode_.trajectory.step_start_ms.push_back(1'700'000'000'000 + 66 * static_cast<long>(t) +
                                                  static_cast<long>(random_() % 100));
    }
    if (seed % 6 == 4) episode_.trajectory.step_start_ms.clear();
    episode_.fps = Uniform(5, 30);
    for (unsigned i = 0; i < 1 + random_() % 30; ++i) {
      episode_.pad_points_m.emplace_back(Uniform(-0.01, 0.01), Uniform(-0.01, 0.01), 0.02);
    }
    T_base_ee_ = EePoses(episode_.trajectory);
    EXPECT_THAT(ComputeTracks(options_, T_base_ee_, episode_), IsOk());
    const bool capture = seed % 2 == 0 && !episode_.trajectory.step_start_ms.empty();
    for (unsigned i = 0; i < seed % 5; ++i) AddCamera(i, capture && i != 1);
  }

  EpisodeData& episode() { return episode_; }
  TrackOptions& options() { return options_; }

  /// Writes tracks.npz in a layout, extrinsics.npz and quality.json.
  void Write(const std::filesystem::path& directory, TracksLayout layout) {
    options_.tracks_layout = layout;
    ASSERT_THAT(WriteTracksNpz(episode_, options_, directory / kTracksFile), IsOk());
    ASSERT_THAT(WriteExtrinsicsNpz(episode_, options_.compress, directory / kExtrinsicsFile),
                IsOk());
    ASSERT_THAT(
        WriteQualityJson(episode_, *FormatTrackConfig(options_), "{}", directory / kQualityFile),
        IsOk());
  }

 private:
  double Uniform(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random_);
  }

  void AddCamera(unsigned index, bool at_capture) {
    EpisodeCamera camera;
    camera.serial = std::to_string(24'000'000 + index);
    camera.role = index == 2 ? CameraRole::kWrist
                             : (index == 0 ? CameraRole::kExternal1 : CameraRole::kExternal2);
    camera.pose = TransformFromPoseVector({Uniform(0, 0.6),
                                           Uniform(-0.2, 0.2),
                                           Uniform(0.2, 0.6),
                                           Uniform(-3, 3),
                                           Uniform(-3, 3),
                                           Uniform(-3, 3)});
    if (index != 3) {  // one without intrinsics has no 2-D tracks
      camera.intrinsics = Intrinsics{.fx_px = Uniform(300, 900),
                                     .fy_px = Uniform(300, 900),
                                     .cx_px = Uniform(300, 900),
                                     .cy_px = Uniform(200, 400),
                                     .width_px = 1280,
                                     .height_px = 720};
    }
    CameraView view;
    std::vector<Transform> T_base_ee = T_base_ee_;
    for (const std::int64_t step_ms : episode_.trajectory.step_start_ms) {
      camera.capture_ms.push_back(step_ms - 50 + static_cast<std::int64_t>(random_() % 100));
    }
    if (at_capture) {
      const RobotStates states = InterpolateAt(T_base_ee_,
                                               episode_.trajectory.gripper_position,
                                               episode_.trajectory.step_start_ms,
                                               camera.capture_ms);
      T_base_ee = states.T_base_ee;
      view.track.emplace(
          T_base_ee, states.gripper_position, GripperOf(options_), episode_.pad_points_m);
    }
    if (camera.is_wrist()) {
      for (const Transform& pose : T_base_ee) view.T_base_cam.push_back(pose * *camera.pose);
    } else {
      view.T_base_cam = {*camera.pose};
    }
    episode_.cameras.push_back(std::move(camera));
    episode_.views.push_back(std::move(view));
  }

  std::mt19937 random_;
  TrackOptions options_;
  EpisodeData episode_;
  std::vector<Transform> T_base_ee_;
};

class TracksLayoutOfAnyEpisode : public testing::TestWithParam<unsigned> {};

TEST_P(TracksLayoutOfAnyEpisode, GivesTheSameBytesBothWays) {
  const TemporaryDirectory directory;
  const std::filesystem::path file = directory / kTracksFile;
  MadeEpisode made(GetParam());
  made.Write(directory.path(), TracksLayout::kFull);
  const std::string full = *ReadFileText(file);
  std::vector<std::optional<double>> in_image;
  for (const CameraView& view : made.episode().views) in_image.push_back(view.in_image_fraction);
  const EpisodeToConvert in_place{directory.path(), directory.path()};
  const auto convert = [&](TracksLayout layout, NpzCompression compression) {
    const ConvertOptions options{.layout = layout, .compression = compression};
    EXPECT_EQ(ConvertEpisode(in_place, options), true);
    EXPECT_EQ(ConvertEpisode(in_place, options), false);
    return *ReadFileText(file);
  };

  const std::string converted = convert(TracksLayout::kCompact, NpzCompression::kNone);
  made.Write(directory.path(), TracksLayout::kCompact);
  EXPECT_TRUE(converted == *ReadFileText(file));
  for (std::size_t i = 0; i < in_image.size(); ++i) {
    EXPECT_EQ(made.episode().views[i].in_image_fraction, in_image[i]);
  }
  const std::string zipped = convert(TracksLayout::kFull, NpzCompression::kZip);
  EXPECT_TRUE(full == convert(TracksLayout::kFull, NpzCompression::kNone));
  convert(TracksLayout::kCompact, NpzCompression::kZip);
  EXPECT_TRUE(zipped == convert(TracksLayout::kFull, NpzCompression::kZip));
}

INSTANTIATE_TEST_SUITE_P(Seeds, TracksLayoutOfAnyEpisode, testing::Range(0U, 16U));

TEST(OpenTracks, ExpandsOfLargeArraysThoseAskedFor) {
  const TemporaryDirectory directory;
  MadeEpisode made(8);
  made.Write(directory.path(), TracksLayout::kCompact);
  const std::vector<std::string_view> only{"contact_centroids"};
  const auto some = OpenTracks(directory / kTracksFile, only);
  const auto all = OpenTracks(directory / kTracksFile);
  ASSERT_THAT(some, IsOk());
  ASSERT_THAT(all, IsOk());
  EXPECT_FALSE(some->Contains("tracks_3d"));
  EXPECT_TRUE(some->Contains("fps") && all->Contains("tracks_3d"));
  EXPECT_EQ(*some->Read("contact_centroids")->ToDoubles(),
            *all->Read("contact_centroids")->ToDoubles());
}

/// A compact file in which one number is another.
Status Change(const std::filesystem::path& file, const std::string& key, double value) {
  DF_ASSIGN_OR_RETURN(const NpzReader from, NpzReader::Open(file));
  const std::filesystem::path other = file.string() + ".new";
  DF_ASSIGN_OR_RETURN(NpzWriter npz, NpzWriter::Create(other));
  for (const std::string& name : from.names()) {
    DF_ASSIGN_OR_RETURN(const NpyArray array, from.Read(name));
    if (name != key) {
      DF_RETURN_IF_ERROR(npz.AddContent(name, from.Content(name)->bytes));
    } else if (array.CheckIs(DType::kI8)) {
      DF_RETURN_IF_ERROR(npz.AddScalar<std::int64_t>(name, static_cast<std::int64_t>(value)));
    } else {
      DF_RETURN_IF_ERROR(npz.AddScalar<double>(name, value));
    }
  }
  DF_RETURN_IF_ERROR(npz.Finish());
  std::filesystem::rename(other, file);
  return {};
}

TEST(OpenTracks, RefusesWhatItCannotExpand) {
  const TemporaryDirectory directory;
  const std::filesystem::path file = directory / kTracksFile;
  const struct {
    const char* key;
    double value;
    const char* message;
  } cases[] = {{"compact_version", 2, "compact_version: want 1, have 2"},
               {"num_frames", 1e9, "num_frames: want 1 to 10000000, have 1000000000"},
               {"num_frames", 1000, "cartesian_positions: want shape [1000,6], have ["},
               {"num_normalized_steps", 77, "num_normalized_steps: want "},
               {"normalized_step_size_mm", 0, "normalized_step_size_mm: want more than 0, have 0"},
               {"fps", NAN, "fps: values that are not finite"},
               {"image_size_24000000", 1, "image_size_24000000: want shape [2], have []"}};
  for (const auto& broken : cases) {
    MadeEpisode(8).Write(directory.path(), TracksLayout::kCompact);
    ASSERT_THAT(Change(file, broken.key, broken.value), IsOk());
    EXPECT_THAT(OpenTracks(file),
                FailsWith(ErrorKind::kInvalidData,
                          AllOf(HasSubstr(broken.message), HasSubstr(file.string()))));
  }
}

TEST(ConvertEpisode, RefusesArraysThatDoNotFollow) {
  const TemporaryDirectory directory;
  const std::filesystem::path file = directory / kTracksFile;
  MadeEpisode made(8);
  made.Write(directory.path(), TracksLayout::kFull);
  ASSERT_THAT(Change(file, "gripper_joint_max_rad", made.options().JointMaxRad() + 0.1), IsOk());
  const std::string before = *ReadFileText(file);
  EXPECT_THAT(ConvertEpisode({directory.path(), directory.path()},
                             {.layout = TracksLayout::kCompact, .compression = {}}),
              FailsWith(ErrorKind::kInvalidData,
                        AllOf(HasSubstr("not converted, its arrays would not come back: "
                                        "tracks_3d differs by up to 0.00"),
                              HasSubstr(file.string()))));
  EXPECT_TRUE(before == *ReadFileText(file));
  EXPECT_EQ(ListFiles(directory.path())->size(), 3U) << "nothing is left beside it";
}

}  // namespace
}  // namespace droidflow

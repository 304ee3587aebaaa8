#include "droidflow/io/trajectory_writer.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/io/trajectory_reader.h"

#include <cstdio>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const char* const kRealEpisode =
    "data/real_episode/raw/AUTOLab/success/2023-08-12/Sat_Aug_12_16:26:07_2023/trajectory.h5";

std::string OutputOf(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string output;
  char buffer[4096];
  while (pipe && fgets(buffer, sizeof(buffer), pipe.get()) != nullptr) output += buffer;
  return output;
}

// Everything of a file's layout that h5py shows, one line per object and attribute.
std::string LayoutOf(const std::filesystem::path& path) {
  const std::string output = OutputOf(fmt::format(
      "{} -c 'import h5py\nf = h5py.File(\"{}\")\nprint(f.libver, f.userblock_size)\n"
      "for k in f.attrs: t = f.attrs.get_id(k); print(k, t.dtype, t.shape, "
      "h5py.check_string_dtype(t.dtype), "
      "h5py.check_enum_dtype(t.dtype))\n"
      "def show(name, d):\n"
      " print(name, list(d.attrs), *((d.dtype, d.shape, d.chunks, d.maxshape, d.compression, "
      "d.fillvalue, d.id.get_create_plist().get_fill_time(), "
      "d.id.get_create_plist().get_alloc_time(), "
      "h5py.check_enum_dtype(d.dtype)) if isinstance(d, h5py.Dataset) else ()))\n"
      "f.visititems(show)' 2>&1",
      DROIDFLOW_PYTHON,
      path.string()));
  EXPECT_THAT(output, Not(HasSubstr("Traceback")));
  return output;
}

TEST(WriteTrajectory, WritesTheLayoutOfARecordedFile) {
  DF_NEEDS_SHARED(kRealEpisode);
  const auto recorded = ReadTrajectory(SharedPath(kRealEpisode));
  ASSERT_THAT(recorded, IsOk());
  TrajectoryRecord record;
  record.trajectory = *recorded;
  MovingCameraRows& wrist = record.moving_cameras["18026681"];
  wrist.left_base.assign(recorded->size(), *recorded->cameras.at("18026681").left_base);
  wrist.right_base.assign(recorded->size(), *recorded->cameras.at("18026681").right_base);
  wrist.right_ee = wrist.right_base;

  const TemporaryDirectory directory;
  ASSERT_THAT(WriteTrajectory(directory / "trajectory.h5", record), IsOk());
  const std::string layout = LayoutOf(directory / "trajectory.h5");
  EXPECT_THAT(layout, HasSubstr("observation/timestamp/skip_action"));
  EXPECT_EQ(layout, LayoutOf(SharedPath(kRealEpisode)));
}

TEST(WriteTrajectory, GivesBackWhatWasWritten) {
  TrajectoryRecord record;
  Trajectory& trajectory = record.trajectory;
  for (int t = 0; t < 300; ++t) {
    trajectory.cartesian_position.push_back({0.3, 0.001 * t, 0.4, 3.0, 0.02, -0.1});
    trajectory.gripper_position.push_back(t / 300.0);
    trajectory.step_start_ms.push_back(1'691'882'767'687 + std::int64_t{71} * t);
    trajectory.movement_enabled.push_back(1);
    trajectory.skip_action.push_back(0);
  }
  TrajectoryCamera& wrist = trajectory.cameras["18026681"];
  wrist.type = 0;
  wrist.left_base = PoseVector{0.1, 0.2, 0.3, 0.4, 0.5, 0.6};
  wrist.right_base = PoseVector{0.1, 0.26, 0.3, 0.4, 0.5, 0.6};
  wrist.left_ee.assign(trajectory.size(), {-0.08, 0.04, -0.01, 0, 0, 1.6});
  wrist.intrinsics = Intrinsics{.fx_px = 365, .fy_px = 366, .cx_px = 336, .cy_px = 188};
  wrist.frame_received_ms = trajectory.step_start_ms;
  wrist.estimated_capture_ms = trajectory.step_start_ms;
  trajectory.cameras["29838012"].left_base = PoseVector{1, 2, 3, 0, 0, 0};

  const TemporaryDirectory directory;
  ASSERT_THAT(WriteTrajectory(directory / "trajectory.h5", record), IsOk());
  const auto read = ReadTrajectory(directory / "trajectory.h5");
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->cartesian_position, trajectory.cartesian_position);
  EXPECT_EQ(read->gripper_position, trajectory.gripper_position);
  EXPECT_EQ(read->step_start_ms, trajectory.step_start_ms);
  EXPECT_EQ(read->movement_enabled, trajectory.movement_enabled);
  EXPECT_EQ(read->skip_action, trajectory.skip_action);
  ASSERT_EQ(read->cameras.size(), 2);
  const TrajectoryCamera& camera = read->cameras.at("18026681");
  EXPECT_EQ(camera.type, wrist.type);
  EXPECT_EQ(camera.left_base, wrist.left_base);
  EXPECT_EQ(camera.right_base, wrist.right_base);
  EXPECT_EQ(camera.left_ee, wrist.left_ee);
  EXPECT_EQ(camera.intrinsics, wrist.intrinsics);
  EXPECT_EQ(camera.frame_received_ms, wrist.frame_received_ms);
  EXPECT_EQ(camera.estimated_capture_ms, wrist.estimated_capture_ms);
  EXPECT_FALSE(read->cameras.at("29838012").type);
}

TEST(WriteTrajectory, LeavesOutWhatOldVersionsDidNotWrite) {
  TrajectoryRecord record;
  record.with_action = false;
  record.trajectory.cartesian_position.resize(1);
  record.trajectory.gripper_position.resize(1);
  const TemporaryDirectory directory;
  ASSERT_THAT(WriteTrajectory(directory / "a.h5", record), IsOk());
  EXPECT_THAT(LayoutOf(directory / "a.h5"), Not(HasSubstr("action/")));
  record.with_action = true;
  record.with_targets = false;
  ASSERT_THAT(WriteTrajectory(directory / "b.h5", record), IsOk());
  const std::string layout = LayoutOf(directory / "b.h5");
  EXPECT_THAT(layout, HasSubstr("action/joint_position"));
  EXPECT_THAT(layout, Not(HasSubstr("target_")));
}

TEST(WriteTrajectory, SaysWhichFileItCannotCreate) {
  TrajectoryRecord record;
  record.trajectory.cartesian_position.resize(1);
  record.trajectory.gripper_position.resize(1);
  EXPECT_THAT(WriteTrajectory("/nowhere/trajectory.h5", record),
              FailsWith(ErrorKind::kNotFound, HasSubstr("/nowhere/trajectory.h5")));
}

}  // namespace
}  // namespace droidflow

#include "droidflow/io/trajectory_reader.h"

#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/io/trajectory_writer.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace droidflow {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const char* const kRealEpisode =
    "data/real_episode/raw/AUTOLab/success/2023-08-12/Sat_Aug_12_16:26:07_2023/trajectory.h5";

TrajectoryRecord SmallRecord(int steps) {
  TrajectoryRecord record;
  Trajectory& trajectory = record.trajectory;
  for (int t = 0; t < steps; ++t) {
    trajectory.cartesian_position.push_back({0.3 + 0.01 * t, -0.1, 0.4, 3.0, 0.02, 0.1 * t});
    trajectory.gripper_position.push_back(t / 10.0);
    trajectory.step_start_ms.push_back(1'691'882'767'687 + std::int64_t{71} * t);
    trajectory.movement_enabled.push_back(t % 2 == 0 ? 1 : 0);
    trajectory.skip_action.push_back(t == 0 ? 1 : 0);
  }
  TrajectoryCamera& camera = trajectory.cameras["22008760"];
  camera.type = 1;
  camera.left_base = PoseVector{0.1, 0.2, 0.3, 0.4, 0.5, 0.6};
  camera.right_base = PoseVector{0.2, 0.2, 0.3, 0.4, 0.5, 0.6};
  camera.frame_received_ms = trajectory.step_start_ms;
  camera.estimated_capture_ms = trajectory.step_start_ms;
  camera.intrinsics = Intrinsics{.fx_px = 524, .fy_px = 525, .cx_px = 640, .cy_px = 360};
  trajectory.cameras["13062452"].left_base = PoseVector{1, 2, 3, 0, 0, 0};
  return record;
}

std::filesystem::path WriteSmall(const TemporaryDirectory& directory,
                                 const TrajectoryRecord& record) {
  std::filesystem::path path = directory / "trajectory.h5";
  EXPECT_THAT(WriteTrajectory(path, record), IsOk());
  return path;
}

// Changes a file by h5py; `script` sees it as `f`.
void EditWithH5py(const std::filesystem::path& path, const std::string& script) {
  const std::string command =
      fmt::format("{} -c 'import h5py, numpy as np\nwith h5py.File(\"{}\", \"r+\") as f:\n {}'",
                  DROIDFLOW_PYTHON,
                  path.string(),
                  script);
  ASSERT_EQ(std::system(command.c_str()), 0) << command;  // NOLINT(concurrency-mt-unsafe)
}

std::string Slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void Spill(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// The expected numbers are what h5dump prints of the file.
TEST(ReadTrajectory, ReadsARecordedEpisode) {
  DF_NEEDS_SHARED(kRealEpisode);
  const auto trajectory = ReadTrajectory(SharedPath(kRealEpisode));
  ASSERT_THAT(trajectory, IsOk());
  ASSERT_EQ(trajectory->size(), 226);
  EXPECT_NEAR(trajectory->cartesian_position[0][0], 0.30181432, 5e-9);
  EXPECT_NEAR(trajectory->cartesian_position[0][3], -2.95350463, 5e-9);
  EXPECT_EQ(trajectory->gripper_position[0], 0);
  EXPECT_THAT(trajectory->step_start_ms, SizeIs(226));
  EXPECT_EQ(trajectory->step_start_ms[0], 1'691'882'767'687);
  EXPECT_EQ(trajectory->movement_enabled[0], 0);
  EXPECT_EQ(trajectory->skip_action[0], 1);
  ASSERT_THAT(trajectory->cameras, SizeIs(7));

  const TrajectoryCamera& wrist = trajectory->cameras.at("18026681");
  EXPECT_EQ(wrist.type, 0);
  EXPECT_NEAR(wrist.left_base->at(0), 0.23420782, 5e-9);
  EXPECT_NEAR(wrist.right_base->at(1), -0.10570875, 5e-9);
  ASSERT_THAT(wrist.left_ee, SizeIs(226));
  EXPECT_NEAR(wrist.left_ee[0][1], 0.03999323, 5e-9);
  EXPECT_EQ(wrist.frame_received_ms.at(0), 1'691'882'767'679);
  EXPECT_EQ(wrist.estimated_capture_ms.at(0), 1'691'882'767'638);

  const TrajectoryCamera& stale = trajectory->cameras.at("29838012");
  EXPECT_FALSE(stale.type);
  EXPECT_TRUE(stale.left_base);
  EXPECT_THAT(stale.frame_received_ms, IsEmpty());
}

TEST(ReadTrajectory, EqualsWhatH5pyReadsStepByStep) {
  DF_NEEDS_SHARED(kRealEpisode);
  const TemporaryDirectory directory;
  const std::string command = fmt::format(
      "{} -c 'import h5py\nf = h5py.File(\"{}\")\n"
      "f[\"observation/robot_state/cartesian_position\"][:].tofile(\"{}\")'",
      DROIDFLOW_PYTHON,
      SharedPath(kRealEpisode).string(),
      (directory / "poses").string());
  ASSERT_EQ(std::system(command.c_str()), 0);  // NOLINT(concurrency-mt-unsafe)
  const auto trajectory = ReadTrajectory(SharedPath(kRealEpisode));
  ASSERT_THAT(trajectory, IsOk());
  const std::string have(reinterpret_cast<const char*>(trajectory->cartesian_position.data()),
                         trajectory->size() * sizeof(PoseVector));
  EXPECT_EQ(have, Slurp(directory / "poses"));
}

TEST(ReadTrajectory, ReadsAnEpisodeOfOneStep) {
  const char* const episode =
      "data/golden/raw/RPL/success/2023-04-26/Wed_Apr_26_18:09:40_2023/trajectory.h5";
  DF_NEEDS_SHARED(episode);
  const auto trajectory = ReadTrajectory(SharedPath(episode));
  ASSERT_THAT(trajectory, IsOk());
  EXPECT_EQ(trajectory->size(), 1);
  EXPECT_THAT(trajectory->step_start_ms, SizeIs(1));
}

TEST(ReadTrajectory, ConvertsOtherNumberTypesAndLayouts) {
  const TemporaryDirectory directory;
  const auto path = WriteSmall(directory, SmallRecord(5));
  EditWithH5py(path,
               "a, b, c, d = (\"observation/robot_state/cartesian_position\", "
               "\"observation/robot_state/gripper_position\", "
               "\"observation/timestamp/control/step_start\", "
               "\"observation/controller_info/movement_enabled\")\n"
               " v = {k: f[k][:] for k in (a, b, c, d)}\n"
               " for k in v: del f[k]\n"
               " f.create_dataset(a, data=v[a].astype(\">f4\"), chunks=(1, 6))\n"
               " f.create_dataset(b, data=v[b], chunks=(2,), compression=\"gzip\")\n"
               " f.create_dataset(c, data=v[c].astype(\"f8\"))\n"
               " f.create_dataset(d, data=v[d].astype(\"i4\"), chunks=(1,))");
  const auto trajectory = ReadTrajectory(path);
  ASSERT_THAT(trajectory, IsOk());
  EXPECT_EQ(trajectory->cartesian_position[2][0], static_cast<double>(0.32F));
  EXPECT_THAT(trajectory->gripper_position, ElementsAre(0, 0.1, 0.2, 0.3, 0.4));
  EXPECT_EQ(trajectory->step_start_ms[4], 1'691'882'767'971);
  EXPECT_THAT(trajectory->movement_enabled, ElementsAre(1, 0, 1, 0, 1));
}

TEST(ReadTrajectory, TakesOptionalDatasetsOfAnotherShapeForMissing) {
  const TemporaryDirectory directory;
  const auto path = WriteSmall(directory, SmallRecord(5));
  EditWithH5py(path,
               "del f[\"action\"], f[\"observation/timestamp/skip_action\"]\n"
               " f[\"observation/timestamp/cameras/22008760_frame_received\"].resize((4,))\n"
               " del f[\"observation/camera_extrinsics/22008760_left\"]\n"
               " f[\"observation/camera_extrinsics/22008760_left\"] = np.zeros((5, 7))");
  const auto trajectory = ReadTrajectory(path);
  ASSERT_THAT(trajectory, IsOk());
  EXPECT_THAT(trajectory->skip_action, IsEmpty());
  const TrajectoryCamera& camera = trajectory->cameras.at("22008760");
  EXPECT_THAT(camera.frame_received_ms, IsEmpty());
  EXPECT_THAT(camera.estimated_capture_ms, SizeIs(5));
  EXPECT_FALSE(camera.left_base);
  EXPECT_TRUE(camera.right_base);
}

TEST(ReadTrajectory, ReadsEveryCameraWhereTheFileHasNoTypes) {
  const TemporaryDirectory directory;
  const auto path = WriteSmall(directory, SmallRecord(5));
  EditWithH5py(path, "del f[\"observation/camera_type\"]");
  const auto trajectory = ReadTrajectory(path);
  ASSERT_THAT(trajectory, IsOk());
  EXPECT_FALSE(trajectory->cameras.at("22008760").type);
  EXPECT_THAT(trajectory->cameras.at("22008760").frame_received_ms, SizeIs(5));
}

TEST(ReadTrajectory, DropsCameraValuesThatAreNotFinite) {
  const TemporaryDirectory directory;
  const auto path = WriteSmall(directory, SmallRecord(5));
  EditWithH5py(path,
               "f[\"observation/camera_extrinsics/22008760_left\"][0, 2] = np.nan\n"
               " f[\"observation/camera_intrinsics/22008760_left\"][0, 0, 0] = np.inf");
  const auto trajectory = ReadTrajectory(path);
  ASSERT_THAT(trajectory, IsOk());
  EXPECT_FALSE(trajectory->cameras.at("22008760").left_base);
  EXPECT_FALSE(trajectory->cameras.at("22008760").intrinsics);
}

TEST(ReadTrajectory, DropsStepTimesThatAreZeroOrDoNotIncrease) {
  const TemporaryDirectory directory;
  TrajectoryRecord record = SmallRecord(5);
  record.trajectory.step_start_ms[3] = record.trajectory.step_start_ms[2];
  EXPECT_THAT(ReadTrajectory(WriteSmall(directory, record))->step_start_ms, IsEmpty());
  record.trajectory.step_start_ms = {0, 0, 0, 0, 0};
  EXPECT_THAT(ReadTrajectory(WriteSmall(directory, record))->step_start_ms, IsEmpty());
}

TEST(ReadTrajectory, RefusesAFileThatIsNotThere) {
  const auto trajectory = ReadTrajectory("/nowhere/trajectory.h5");
  EXPECT_THAT(trajectory, FailsAs("no_trajectory", HasSubstr("/nowhere/trajectory.h5")));
  EXPECT_EQ(trajectory.error().kind, ErrorKind::kNotFound);
}

TEST(ReadTrajectory, RefusesZeroBytesGarbageAndATruncatedFile) {
  const TemporaryDirectory directory;
  const auto path = directory / "trajectory.h5";
  Spill(path, "");
  EXPECT_THAT(ReadTrajectory(path), FailsAs("bad_trajectory", HasSubstr("zero bytes")));
  Spill(path, std::string(5000, 'x'));
  EXPECT_THAT(ReadTrajectory(path),
              FailsAs("bad_trajectory", AllOf(HasSubstr("5000 bytes"), HasSubstr("signature"))));
  WriteSmall(directory, SmallRecord(5));
  Spill(path, Slurp(path).substr(0, 20'000));
  EXPECT_THAT(ReadTrajectory(path),
              FailsAs("bad_trajectory", AllOf(HasSubstr("20000 bytes"), HasSubstr("truncated"))));
}

TEST(ReadTrajectory, RefusesAMissingOrMisshapenNeededDataset) {
  const TemporaryDirectory directory;
  auto path = WriteSmall(directory, SmallRecord(5));
  EditWithH5py(path, "f[\"observation/robot_state/gripper_position\"].resize((4,))");
  EXPECT_THAT(ReadTrajectory(path),
              FailsAs("missing_dataset",
                      AllOf(HasSubstr("gripper_position"), HasSubstr("[5]"), HasSubstr("[4]"))));
  EditWithH5py(path, "del f[\"observation/robot_state/gripper_position\"]");
  EXPECT_THAT(ReadTrajectory(path),
              FailsAs("missing_dataset", HasSubstr("robot_state/gripper_position is missing")));
  path = WriteSmall(directory, SmallRecord(5));
  EditWithH5py(path,
               "del f[\"observation/robot_state/cartesian_position\"]\n"
               " f[\"observation/robot_state/cartesian_position\"] = np.zeros((5, 6), \"S3\")");
  EXPECT_THAT(ReadTrajectory(path), FailsAs("missing_dataset", HasSubstr("another type")));
}

TEST(ReadTrajectory, RefusesNoStepsAndMoreThanAnyoneRecords) {
  const TemporaryDirectory directory;
  const auto resized = [&directory](const std::string& steps) {
    auto path = WriteSmall(directory, SmallRecord(5));
    EditWithH5py(path,
                 "f[\"observation/robot_state/cartesian_position\"].resize((" + steps + ", 6))\n" +
                     " f[\"observation/robot_state/gripper_position\"].resize((" + steps + ",))");
    return path;
  };
  EXPECT_THAT(ReadTrajectory(resized("2**45")),
              FailsAs("bad_trajectory", HasSubstr("35184372088832 steps")));
  EXPECT_THAT(ReadTrajectory(resized("0")), FailsAs("empty", HasSubstr("T = 0")));
}

TEST(ReadTrajectory, RefusesRowsThatWereNeverWritten) {
  const TemporaryDirectory directory;
  const auto path = WriteSmall(directory, SmallRecord(5));
  EditWithH5py(path,
               "f[\"observation/robot_state/cartesian_position\"].resize((6, 6))\n"
               " f[\"observation/robot_state/gripper_position\"].resize((6,))");
  EXPECT_THAT(
      ReadTrajectory(path),
      FailsAs("bad_trajectory", AllOf(HasSubstr("[6, 6]"), HasSubstr("want 288 bytes, have 240"))));
}

TEST(ReadTrajectory, RefusesValuesNoRobotHasAndSaysWhere) {
  const TemporaryDirectory directory;
  TrajectoryRecord record = SmallRecord(5);
  record.trajectory.gripper_position[3] = 1.06;
  EXPECT_THAT(ReadTrajectory(WriteSmall(directory, record)),
              FailsAs("bad_values", AllOf(HasSubstr("row 3"), HasSubstr("1.06"))));
  record.trajectory.gripper_position[3] = -0.05;
  EXPECT_THAT(ReadTrajectory(WriteSmall(directory, record)), IsOk());
  record.trajectory.cartesian_position[4][2] = std::numeric_limits<double>::infinity();
  EXPECT_THAT(
      ReadTrajectory(WriteSmall(directory, record)),
      FailsAs("bad_values", AllOf(HasSubstr("row 4"), HasSubstr("column 2"), HasSubstr("inf"))));
  record.trajectory.gripper_position[1] = std::nan("");
  record.trajectory.cartesian_position[4][2] = 0;
  EXPECT_THAT(ReadTrajectory(WriteSmall(directory, record)),
              FailsAs("bad_values", AllOf(HasSubstr("row 1"), HasSubstr("nan"))));
}

TEST(ReadTrajectory, SurvivesDamageAnywhere) {
  const TemporaryDirectory directory;
  const std::string intact = Slurp(WriteSmall(directory, SmallRecord(8)));
  std::mt19937 random(5);
  std::uniform_int_distribution<std::size_t> anywhere(0, intact.size() - 1);
  std::uniform_int_distribution<int> any_byte(0, 255);
  for (int round = 0; round < 150; ++round) {
    std::string damaged = intact;
    if (round % 3 == 0) damaged.resize(anywhere(random));
    for (int i = 0; i < 20 && !damaged.empty(); ++i) {
      damaged[anywhere(random) % damaged.size()] = static_cast<char>(any_byte(random));
    }
    Spill(directory / "damaged.h5", damaged);
    const auto trajectory = ReadTrajectory(directory / "damaged.h5");
    if (trajectory) continue;
    EXPECT_THAT(trajectory.error().status,
                AnyOf("bad_trajectory", "missing_dataset", "bad_values", "empty"))
        << trajectory.error();
  }
}

}  // namespace
}  // namespace droidflow

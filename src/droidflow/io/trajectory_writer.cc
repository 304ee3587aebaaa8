#include "droidflow/io/trajectory_writer.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/io/hdf5_internal.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace droidflow {
namespace {

constexpr std::size_t kImageIncrementBytes = 1 << 20;

// The enumeration that h5py makes of NumPy's bool.
Hdf5Handle MakeBoolType() {
  Hdf5Handle type(H5Tenum_create(H5T_STD_I8LE), H5Tclose);
  const std::int8_t no = 0;
  const std::int8_t yes = 1;
  H5Tenum_insert(type.get(), "FALSE", &no);
  H5Tenum_insert(type.get(), "TRUE", &yes);
  return type;
}

Hdf5Handle MakeStringType() {
  Hdf5Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

Hdf5Handle MakeMemoryFile() {
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_core(access.get(), kImageIncrementBytes, /*backing_store=*/0);
  return {H5Fcreate("trajectory.h5 in memory", H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose};
}

// A file under construction in memory. Calls after a failed one are harmless; `ok` remembers.
class ImageWriter {
 public:
  explicit ImageWriter(hsize_t steps)
      : steps_(steps),
        file_(MakeMemoryFile()),
        bool_type_(MakeBoolType()),
        string_type_(MakeStringType()),
        make_parents_(H5Pcreate(H5P_LINK_CREATE), H5Pclose) {
    Check(file_.get());
    Check(H5Pset_create_intermediate_group(make_parents_.get(), 1));
  }

  [[nodiscard]] bool ok() const { return ok_; }

  void Doubles(const std::string& name,
               std::span<const double> values,
               std::vector<hsize_t> row_shape = {}) {
    Rows(name, H5T_IEEE_F64LE, std::as_bytes(values), std::move(row_shape));
  }
  void Poses(const std::string& name, const std::vector<PoseVector>& poses) {
    Rows(name, H5T_IEEE_F64LE, std::as_bytes(std::span(poses)), {6});
  }
  void Joints(const std::string& name, const std::vector<std::array<double, 7>>& joints) {
    Rows(name, H5T_IEEE_F64LE, std::as_bytes(std::span(joints)), {7});
  }
  void Ints(const std::string& name, const std::vector<std::int64_t>& values) {
    Rows(name, H5T_STD_I64LE, std::as_bytes(std::span(values)), {});
  }
  void Bools(const std::string& name, const std::vector<std::uint8_t>& values) {
    Rows(name, bool_type_.get(), std::as_bytes(std::span(values)), {});
  }

  void StringAttribute(const char* name, const std::string& text) {
    const char* value = text.c_str();
    const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    Attribute(name, string_type_.get(), space.get(), &value);
  }
  void StringListAttribute(const char* name, const std::string& only_entry) {
    const char* value = only_entry.c_str();
    const hsize_t one = 1;
    const Hdf5Handle space(H5Screate_simple(1, &one, nullptr), H5Sclose);
    Attribute(name, string_type_.get(), space.get(), &value);
  }
  void EmptyListAttribute(const char* name) {
    const hsize_t none = 0;
    const Hdf5Handle space(H5Screate_simple(1, &none, nullptr), H5Sclose);
    Attribute(name, H5T_IEEE_F64LE, space.get(), nullptr);
  }
  void BoolAttribute(const char* name, bool yes) {
    const std::int8_t value = yes ? 1 : 0;
    const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    Attribute(name, bool_type_.get(), space.get(), &value);
  }
  void IntAttribute(const char* name, std::int64_t value) {
    const Hdf5Handle space(H5Screate(H5S_SCALAR), H5Sclose);
    Attribute(name, H5T_STD_I64LE, space.get(), &value);
  }

  // The finished file's bytes; nothing if any call failed.
  std::optional<std::vector<std::byte>> Finish() {
    if (ok_) Check(H5Fflush(file_.get(), H5F_SCOPE_LOCAL));
    const ssize_t size = ok_ ? H5Fget_file_image(file_.get(), nullptr, 0) : -1;
    if (size < 0) return std::nullopt;
    std::vector<std::byte> image(static_cast<std::size_t>(size));
    if (H5Fget_file_image(file_.get(), image.data(), image.size()) != size) return std::nullopt;
    return image;
  }

 private:
  void Check(hid_t result) { ok_ = ok_ && result >= 0; }

  void Rows(const std::string& name,
            hid_t type,
            std::span<const std::byte> bytes,
            std::vector<hsize_t> row_shape) {
    if (!ok_) return;
    std::vector<hsize_t> shape{steps_};
    shape.insert(shape.end(), row_shape.begin(), row_shape.end());
    std::vector<hsize_t> chunk = shape;
    chunk[0] = 1;
    std::vector<hsize_t> max_shape = shape;
    max_shape[0] = H5S_UNLIMITED;
    const int rank = static_cast<int>(shape.size());
    std::size_t row_bytes = H5Tget_size(type);
    for (const hsize_t extent : row_shape) row_bytes *= extent;
    DF_CHECK(
        bytes.size() == steps_ * row_bytes, "{}: {} bytes for {} rows", name, bytes.size(), steps_);

    const Hdf5Handle space(H5Screate_simple(rank, shape.data(), max_shape.data()), H5Sclose);
    const Hdf5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_chunk(creation.get(), rank, chunk.data());
    H5Pset_fill_time(creation.get(), H5D_FILL_TIME_ALLOC);
    H5Pset_obj_track_times(creation.get(), false);  // the same record gives the same bytes
    const Hdf5Handle dataset(H5Dcreate2(file_.get(),
                                        name.c_str(),
                                        type,
                                        space.get(),
                                        make_parents_.get(),
                                        creation.get(),
                                        H5P_DEFAULT),
                             H5Dclose);
    Check(dataset.get());
    std::vector<hsize_t> offset(shape.size(), 0);
    for (; ok_ && offset[0] < steps_; ++offset[0]) {
      Check(H5Dwrite_chunk(dataset.get(),
                           H5P_DEFAULT,
                           /*filters=*/0,
                           offset.data(),
                           row_bytes,
                           bytes.data() + offset[0] * row_bytes));
    }
  }

  void Attribute(const char* name, hid_t type, hid_t space, const void* value) {
    if (!ok_) return;
    const Hdf5Handle attribute(H5Acreate2(file_.get(), name, type, space, H5P_DEFAULT, H5P_DEFAULT),
                               H5Aclose);
    Check(attribute.get());
    if (ok_ && value != nullptr) Check(H5Awrite(attribute.get(), type, value));
  }

  hsize_t steps_;
  bool ok_ = true;
  Hdf5Handle file_;
  Hdf5Handle bool_type_;
  Hdf5Handle string_type_;
  Hdf5Handle make_parents_;
};

std::vector<std::int64_t> Later(std::vector<std::int64_t> times_ms, std::int64_t delay_ms) {
  for (std::int64_t& time : times_ms) time += delay_ms;
  return times_ms;
}

void WriteAttributes(ImageWriter& writer, const TrajectoryRecord& record) {
  writer.StringAttribute("building", record.building);
  writer.BoolAttribute("controller_on", true);
  writer.StringAttribute("current_task", record.current_task);
  writer.BoolAttribute("failure", !record.success);
  writer.EmptyListAttribute("fixed_tasks");
  writer.BoolAttribute("movement_enabled", false);
  writer.StringListAttribute("new_tasks", record.current_task);
  writer.StringAttribute("robot_serial_number", record.robot_serial_number);
  writer.IntAttribute("scene_id", record.scene_id);
  writer.BoolAttribute("success", record.success);
  writer.StringAttribute("time", record.time);
  writer.StringAttribute("user", record.user);
  writer.StringAttribute("version_number", record.version_number);
}

class RecordWriter {
 public:
  RecordWriter(ImageWriter& writer, const TrajectoryRecord& record)
      : writer_(writer),
        record_(record),
        trajectory_(record.trajectory),
        zeros_(trajectory_.size()),
        no_joints_(trajectory_.size()),
        joints_(record.joint_position_rad.empty() ? no_joints_ : record.joint_position_rad) {}

  void WriteAction() {
    // What was asked for at step t is where the arm is at step t + 1.
    std::vector<PoseVector> next = trajectory_.cartesian_position;
    if (!next.empty()) {
      next.erase(next.begin());
      next.push_back(trajectory_.cartesian_position.back());
    }
    const std::vector<PoseVector> no_motion(trajectory_.size());
    writer_.Poses("action/cartesian_position", next);
    writer_.Poses("action/cartesian_velocity", no_motion);
    writer_.Doubles("action/gripper_position", trajectory_.gripper_position);
    writer_.Doubles("action/gripper_velocity", zeros_);
    writer_.Joints("action/joint_position", joints_);
    writer_.Joints("action/joint_velocity", no_joints_);
    WriteRobotState("action/robot_state/");
    if (record_.with_targets) {
      writer_.Poses("action/target_cartesian_position", next);
      writer_.Doubles("action/target_gripper_position", trajectory_.gripper_position);
    }
  }

  void WriteRobotState(const std::string& group) {
    writer_.Poses(group + "cartesian_position", trajectory_.cartesian_position);
    if (record_.with_gripper_position) {
      writer_.Doubles(group + "gripper_position", trajectory_.gripper_position);
    }
    writer_.Joints(group + "joint_positions", joints_);
    writer_.Joints(group + "joint_torques_computed", no_joints_);
    writer_.Joints(group + "joint_velocities", no_joints_);
    writer_.Joints(group + "motor_torques_measured", no_joints_);
    writer_.Bools(group + "prev_command_successful", All(true));
    writer_.Doubles(group + "prev_controller_latency_ms", zeros_);
    writer_.Joints(group + "prev_joint_torques_computed", no_joints_);
    writer_.Joints(group + "prev_joint_torques_computed_safened", no_joints_);
  }

  void WriteCamera(const std::string& serial, const TrajectoryCamera& camera) {
    const std::string extrinsics = "observation/camera_extrinsics/" + serial;
    const auto moving = record_.moving_cameras.find(serial);
    if (moving != record_.moving_cameras.end()) {
      writer_.Poses(extrinsics + "_left", moving->second.left_base);
      writer_.Poses(extrinsics + "_right", moving->second.right_base);
      if (!moving->second.right_ee.empty()) {
        writer_.Poses(extrinsics + "_right_gripper_offset", moving->second.right_ee);
      }
    } else {
      WriteFixedPose(extrinsics + "_left", camera.left_base);
      WriteFixedPose(extrinsics + "_right", camera.right_base);
    }
    if (!camera.left_ee.empty()) writer_.Poses(extrinsics + "_left_gripper_offset", camera.left_ee);
    if (camera.type) {
      writer_.Ints("observation/camera_type/" + serial,
                   std::vector<std::int64_t>(trajectory_.size(), *camera.type));
    }
    const std::string times = "observation/timestamp/cameras/" + serial;
    if (!camera.estimated_capture_ms.empty()) {
      writer_.Ints(times + "_estimated_capture", camera.estimated_capture_ms);
    }
    if (!camera.frame_received_ms.empty()) {
      writer_.Ints(times + "_frame_received", camera.frame_received_ms);
      writer_.Ints(times + "_read_start", Later(camera.frame_received_ms, 15));
      writer_.Ints(times + "_read_end", Later(camera.frame_received_ms, 17));
    }
    if (camera.intrinsics) WriteIntrinsics(serial, *camera.intrinsics);
  }

  void WriteControllerInfo() {
    const std::string group = "observation/controller_info/";
    writer_.Bools(group + "controller_on", All(true));
    writer_.Bools(group + "failure", All(false));
    writer_.Bools(group + "success", All(false));
    if (!trajectory_.movement_enabled.empty()) {
      writer_.Bools(group + "movement_enabled", trajectory_.movement_enabled);
    }
  }

  // The delays are those of the recorded episode AUTOLab+5d05c5aa+2023-08-12-16h-26m-07s at step 0.
  void WriteTimes() {
    const std::vector<std::int64_t> start = trajectory_.step_start_ms.empty()
                                                ? std::vector<std::int64_t>(trajectory_.size())
                                                : trajectory_.step_start_ms;
    const std::string control = "observation/timestamp/control/";
    writer_.Ints(control + "step_start", start);
    writer_.Ints(control + "policy_start", Later(start, 15));
    writer_.Ints(control + "sleep_start", Later(start, 16));
    writer_.Ints(control + "control_start", Later(start, 67));
    writer_.Ints(control + "step_end", Later(start, 70));
    const std::string robot = "observation/timestamp/robot_state/";
    std::vector<std::int64_t> seconds;
    std::vector<std::int64_t> nanos;
    for (const std::int64_t time_ms : start) {
      seconds.push_back(time_ms / 1000);
      nanos.push_back(time_ms % 1000 * 1'000'000);
    }
    writer_.Ints(robot + "read_start", start);
    writer_.Ints(robot + "read_end", Later(start, 4));
    writer_.Ints(robot + "robot_timestamp_seconds", seconds);
    writer_.Ints(robot + "robot_timestamp_nanos", nanos);
    if (!trajectory_.skip_action.empty()) {
      writer_.Bools("observation/timestamp/skip_action", trajectory_.skip_action);
    }
  }

 private:
  void WriteFixedPose(const std::string& name, const std::optional<PoseVector>& pose) {
    if (pose) writer_.Poses(name, std::vector<PoseVector>(trajectory_.size(), *pose));
  }

  void WriteIntrinsics(const std::string& serial, const Intrinsics& k) {
    const std::array<double, 9> matrix{k.fx_px, 0, k.cx_px, 0, k.fy_px, k.cy_px, 0, 0, 1};
    std::vector<double> rows;
    for (std::size_t t = 0; t < trajectory_.size(); ++t) {
      rows.insert(rows.end(), matrix.begin(), matrix.end());
    }
    writer_.Doubles("observation/camera_intrinsics/" + serial + "_left", rows, {3, 3});
  }

  [[nodiscard]] std::vector<std::uint8_t> All(bool value) const {
    return std::vector<std::uint8_t>(trajectory_.size(), value ? 1 : 0);
  }

  ImageWriter& writer_;
  const TrajectoryRecord& record_;
  const Trajectory& trajectory_;
  const std::vector<double> zeros_;
  const std::vector<std::array<double, 7>> no_joints_;
  const std::vector<std::array<double, 7>>& joints_;
};

}  // namespace

Status WriteTrajectory(const std::filesystem::path& path, const TrajectoryRecord& record) {
  QuietHdf5();
  ImageWriter image(record.trajectory.size());
  RecordWriter writer(image, record);
  WriteAttributes(image, record);
  if (record.with_action) writer.WriteAction();
  for (const auto& [serial, camera] : record.trajectory.cameras) writer.WriteCamera(serial, camera);
  writer.WriteControllerInfo();
  writer.WriteRobotState("observation/robot_state/");
  writer.WriteTimes();

  const auto bytes = image.Finish();
  if (!bytes) {
    return Fail(ErrorKind::kInternal, "cannot lay out: {}: {}", Hdf5ErrorText(), path.string());
  }
  const UniqueFd fd(
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, /*mode=*/0644));  // NOLINT
  if (!fd.valid()) return FailErrno(errno, "cannot create " + path.string());
  return WriteAll(fd.get(), *bytes, path.string());
}

}  // namespace droidflow

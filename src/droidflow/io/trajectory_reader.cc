#include "droidflow/io/trajectory_reader.h"

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/episode/status.h"
#include "droidflow/io/hdf5_internal.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace droidflow {
namespace {

constexpr double kGripperMin = -0.05;
constexpr double kGripperMax = 1.05;
// The longest episode of the data set has 2287 steps. A header that says more than this is damaged,
// and believing it would ask for gigabytes.
constexpr hsize_t kMaxSteps = 1'000'000;
constexpr std::size_t kMaxNumberBytes = sizeof(long double);

// HDF5's core driver asks these for its copies of the file image; all of them are the one buffer
// that ReadTrajectory owns, so nothing is copied.
void* ImageMalloc(std::size_t, H5FD_file_image_op_t, void* image) { return image; }
void* ImageCopy(void* to, const void*, std::size_t, H5FD_file_image_op_t, void*) { return to; }
void* ImageRealloc(void*, std::size_t, H5FD_file_image_op_t, void*) { return nullptr; }
herr_t ImageFree(void*, H5FD_file_image_op_t, void*) { return 0; }
void* ImageOwner(void* image) { return image; }
herr_t ImageOwnerFree(void*) { return 0; }

Hdf5Handle OpenImage(std::span<std::byte> bytes) {
  const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5FD_file_image_callbacks_t callbacks{.image_malloc = ImageMalloc,
                                        .image_memcpy = ImageCopy,
                                        .image_realloc = ImageRealloc,
                                        .image_free = ImageFree,
                                        .udata_copy = ImageOwner,
                                        .udata_free = ImageOwnerFree,
                                        .udata = bytes.data()};
  if (H5Pset_fapl_core(access.get(), /*increment=*/bytes.size(), /*backing_store=*/0) < 0 ||
      H5Pset_file_image_callbacks(access.get(), &callbacks) < 0 ||
      H5Pset_file_image(access.get(), bytes.data(), bytes.size()) < 0) {
    return {H5I_INVALID_HID, H5Fclose};
  }
  return {H5Fopen("trajectory.h5 in memory", H5F_ACC_RDONLY, access.get()), H5Fclose};
}

std::string ShapeText(std::span<const hsize_t> shape) {
  std::string text;
  for (const hsize_t extent : shape) text += fmt::format("{}{}", text.empty() ? "" : ", ", extent);
  return "[" + text + "]";
}

bool AllFinite(std::span<const double> values) {
  return std::all_of(
      values.begin(), values.end(), [](double value) { return std::isfinite(value); });
}

template <typename T>
hid_t MemoryType() {
  if constexpr (std::is_same_v<T, double>) return H5T_NATIVE_DOUBLE;
  if constexpr (std::is_same_v<T, std::int64_t>) return H5T_NATIVE_INT64;
  if constexpr (std::is_same_v<T, std::uint8_t>) return H5T_NATIVE_UINT8;
}

// A dataset that was opened, and its shape; the shape is empty for a scalar or for other things
// than numbers.
struct OpenDataset {
  Hdf5Handle handle;
  std::vector<hsize_t> shape;
};

std::size_t ValueBytes(const OpenDataset& dataset) {
  const Hdf5Handle type(H5Dget_type(dataset.handle.get()), H5Tclose);
  return H5Tget_size(type.get());
}

// How a dataset lies in the file.
struct Storage {
  std::vector<hsize_t> chunk;  // empty: not in chunks
  bool is_filtered = false;
};

Storage StorageOf(const OpenDataset& dataset) {
  const Hdf5Handle creation(H5Dget_create_plist(dataset.handle.get()), H5Pclose);
  if (H5Pget_layout(creation.get()) != H5D_CHUNKED) return {};
  Storage storage{.chunk = std::vector<hsize_t>(dataset.shape.size()),
                  .is_filtered = H5Pget_nfilters(creation.get()) != 0};
  H5Pget_chunk(creation.get(), static_cast<int>(storage.chunk.size()), storage.chunk.data());
  return storage;
}

// As the recorder writes it: one row per chunk, not compressed.
bool IsOneRowPerChunk(const OpenDataset& dataset, const Storage& storage) {
  return !storage.is_filtered && !storage.chunk.empty() && storage.chunk[0] == 1 &&
         std::equal(storage.chunk.begin() + 1, storage.chunk.end(), dataset.shape.begin() + 1);
}

// The bytes of a dataset that is not compressed and all of whose chunks were written.
hsize_t WholeBytes(const OpenDataset& dataset, const Storage& storage) {
  hsize_t bytes = ValueBytes(dataset);
  for (std::size_t i = 0; i < dataset.shape.size(); ++i) {
    const hsize_t chunk = storage.chunk.empty() ? 1 : std::max<hsize_t>(storage.chunk[i], 1);
    bytes *= (dataset.shape[i] + chunk - 1) / chunk * chunk;
  }
  return bytes;
}

// The first `rows` rows straight from their chunks, then converted together: a third of the time of
// H5Dread, which sets up selections for each chunk.
//
// stored_bytes: what all chunks of the dataset have together.
template <typename T>
bool ReadRowChunks(const OpenDataset& dataset,
                   std::span<T> values,
                   hsize_t rows,
                   hsize_t stored_bytes) {
  const Hdf5Handle type(H5Dget_type(dataset.handle.get()), H5Tclose);
  const std::size_t value_bytes = H5Tget_size(type.get());
  const std::size_t row_bytes = values.size() / rows * value_bytes;
  // H5Dread_chunk writes as many bytes as the file says that the chunk has, which damage can make
  // any number. No chunk has more than all of them together: that much room is behind each row's
  // place. H5Tconvert works in place: room for the wider of the two types, too.
  std::vector<std::byte> buffer(values.size() * std::max(value_bytes, sizeof(T)) + stored_bytes);
  std::vector<hsize_t> offset(dataset.shape.size(), 0);
  std::uint32_t filter_mask = 0;
  for (; offset[0] < rows; ++offset[0]) {
    if (H5Dread_chunk(dataset.handle.get(),
                      H5P_DEFAULT,
                      offset.data(),
                      &filter_mask,
                      buffer.data() + offset[0] * row_bytes) < 0) {
      return false;
    }
  }
  if (H5Tconvert(type.get(), MemoryType<T>(), values.size(), buffer.data(), nullptr, H5P_DEFAULT) <
      0) {
    return false;
  }
  std::memcpy(values.data(), buffer.data(), values.size_bytes());
  return true;
}

template <typename T>
bool ReadSelection(const OpenDataset& dataset, std::span<T> values, hsize_t rows) {
  std::vector<hsize_t> count = dataset.shape;
  count[0] = rows;
  const std::vector<hsize_t> start(count.size(), 0);
  const Hdf5Handle space(H5Dget_space(dataset.handle.get()), H5Sclose);
  const Hdf5Handle memory(H5Screate_simple(static_cast<int>(count.size()), count.data(), nullptr),
                          H5Sclose);
  return H5Sselect_hyperslab(
             space.get(), H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr) >= 0 &&
         H5Dread(dataset.handle.get(),
                 MemoryType<T>(),
                 memory.get(),
                 space.get(),
                 H5P_DEFAULT,
                 values.data()) >= 0;
}

class TrajectoryFile {
 public:
  TrajectoryFile(hid_t file, std::string path) : file_(file), path_(std::move(path)) {}

  // Nothing where there is no dataset of that name.
  Result<std::optional<OpenDataset>> Open(const std::string& name) const {
    if (!Has(name)) return std::nullopt;
    Hdf5Handle handle(H5Dopen2(file_, name.c_str(), H5P_DEFAULT), H5Dclose);
    if (!handle.valid()) return Unreadable(name);
    const Hdf5Handle type(H5Dget_type(handle.get()), H5Tclose);
    const H5T_class_t type_class = H5Tget_class(type.get());
    if ((type_class != H5T_INTEGER && type_class != H5T_FLOAT && type_class != H5T_ENUM) ||
        H5Tget_size(type.get()) > kMaxNumberBytes) {
      return OpenDataset{std::move(handle), {}};
    }
    const Hdf5Handle space(H5Dget_space(handle.get()), H5Sclose);
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if (rank < 0) return Unreadable(name);
    std::vector<hsize_t> shape(static_cast<std::size_t>(rank));
    H5Sget_simple_extent_dims(space.get(), shape.data(), nullptr);
    return OpenDataset{std::move(handle), std::move(shape)};
  }

  // The first `rows` rows of a dataset.
  template <typename T>
  Result<std::vector<T>> Rows(const std::string& name,
                              const OpenDataset& dataset,
                              hsize_t rows) const {
    hsize_t size = rows;
    for (std::size_t i = 1; i < dataset.shape.size(); ++i) size *= dataset.shape[i];
    std::vector<T> values(size);
    const Storage storage = StorageOf(dataset);
    const hsize_t stored_bytes = H5Dget_storage_size(dataset.handle.get());
    const hsize_t whole_bytes = WholeBytes(dataset, storage);
    // Rows that were never written would read as zeros, and zeros as a robot's pose. And where
    // damage makes chunks smaller than their shape, HDF5 reads beyond its own buffers.
    if (!storage.is_filtered && stored_bytes != whole_bytes) {
      return FailAs(status::kBadTrajectory,
                    ErrorKind::kInvalidData,
                    "dataset {} of shape {}: want {} bytes, have {}: {}",
                    name,
                    ShapeText(dataset.shape),
                    whole_bytes,
                    stored_bytes,
                    path_);
    }
    const bool was_read = IsOneRowPerChunk(dataset, storage)
                              ? ReadRowChunks<T>(dataset, values, rows, stored_bytes)
                              : ReadSelection<T>(dataset, values, rows);
    if (!was_read) return Unreadable(name);
    return values;
  }

  // As Rows, for a dataset that may be missing or of another shape than [steps, row_shape...].
  template <typename T>
  Result<std::vector<T>> OptionalRows(const std::string& name,
                                      hsize_t steps,
                                      hsize_t rows,
                                      std::span<const hsize_t> row_shape = {}) const {
    DF_ASSIGN_OR_RETURN(const auto dataset, Open(name));
    if (!dataset || dataset->shape.size() != 1 + row_shape.size() ||
        dataset->shape.front() != steps ||
        !std::equal(row_shape.begin(), row_shape.end(), dataset->shape.begin() + 1)) {
      return std::vector<T>{};
    }
    return Rows<T>(name, *dataset, rows);
  }

  // The names in a group, sorted; none where there is no such group.
  std::vector<std::string> NamesIn(const std::string& group) const {
    std::vector<std::string> names;
    if (!Has(group)) return names;
    const Hdf5Handle handle(H5Gopen2(file_, group.c_str(), H5P_DEFAULT), H5Gclose);
    if (!handle.valid()) return names;
    H5Literate(
        handle.get(),
        H5_INDEX_NAME,
        H5_ITER_INC,
        nullptr,
        [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
          static_cast<std::vector<std::string>*>(out)->emplace_back(name);
          return 0;
        },
        &names);
    return names;
  }

  [[nodiscard]] tl::unexpected<Error> Unreadable(const std::string& name) const {
    return FailAs(status::kBadTrajectory,
                  ErrorKind::kInvalidData,
                  "cannot read dataset {}: {}: {}",
                  name,
                  Hdf5ErrorText(),
                  path_);
  }

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  bool Has(const std::string& name) const {
    for (std::size_t end = name.find('/'); end != std::string::npos;
         end = name.find('/', end + 1)) {
      if (H5Lexists(file_, name.substr(0, end).c_str(), H5P_DEFAULT) <= 0) return false;
    }
    return H5Lexists(file_, name.c_str(), H5P_DEFAULT) > 0;
  }

  hid_t file_;
  std::string path_;
};

std::vector<PoseVector> ToPoses(const std::vector<double>& values) {
  std::vector<PoseVector> poses(values.size() / std::tuple_size_v<PoseVector>);
  for (std::size_t i = 0; i < poses.size(); ++i) {
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(i * poses[i].size()),
                poses[i].size(),
                poses[i].begin());
  }
  return poses;
}

/// Unix milliseconds that a double holds exactly.
bool IsTime(std::int64_t value_ms) { return value_ms > 0 && value_ms < std::int64_t{1} << 53; }

constexpr std::array<hsize_t, 1> kPoseShape{6};
constexpr std::array<hsize_t, 2> kMatrixShape{3, 3};
constexpr char kCartesian[] = "observation/robot_state/cartesian_position";
constexpr char kGripper[] = "observation/robot_state/gripper_position";

// What one file is read with: its handle and how many steps it has.
struct Reader {
  const TrajectoryFile& file;
  hsize_t steps;

  Result<std::optional<PoseVector>> PoseAtStart(const std::string& name) const {
    DF_ASSIGN_OR_RETURN(const std::vector<double> row,
                        file.OptionalRows<double>(name, steps, 1, kPoseShape));
    if (row.empty() || !AllFinite(row)) return std::nullopt;
    return ToPoses(row).front();
  }

  Result<std::vector<std::int64_t>> Times(const std::string& name) const {
    DF_ASSIGN_OR_RETURN(std::vector<std::int64_t> times,
                        file.OptionalRows<std::int64_t>(name, steps, steps));
    if (!std::all_of(times.begin(), times.end(), IsTime)) times.clear();
    return times;
  }

  Result<std::optional<Intrinsics>> IntrinsicsAtStart(const std::string& name) const {
    DF_ASSIGN_OR_RETURN(const std::vector<double> k,
                        file.OptionalRows<double>(name, steps, 1, kMatrixShape));
    if (k.empty() || !AllFinite(k) || !(k[0] > 0) || !(k[4] > 0)) return std::nullopt;
    return Intrinsics{.fx_px = k[0], .fy_px = k[4], .cx_px = k[2], .cy_px = k[5]};
  }

  Status ReadPerStep(const std::string& serial, TrajectoryCamera& camera) const {
    DF_ASSIGN_OR_RETURN(
        const std::vector<double> offsets,
        file.OptionalRows<double>(
            fmt::format("observation/camera_extrinsics/{}_left_gripper_offset", serial),
            steps,
            steps,
            kPoseShape));
    if (AllFinite(offsets)) camera.left_ee = ToPoses(offsets);
    const std::string times = "observation/timestamp/cameras/" + serial;
    DF_ASSIGN_OR_RETURN(camera.frame_received_ms, Times(times + "_frame_received"));
    DF_ASSIGN_OR_RETURN(camera.estimated_capture_ms, Times(times + "_estimated_capture"));
    DF_ASSIGN_OR_RETURN(camera.intrinsics,
                        IntrinsicsAtStart("observation/camera_intrinsics/" + serial + "_left"));
    return {};
  }

  Result<std::map<std::string, TrajectoryCamera>> Cameras() const {
    std::map<std::string, TrajectoryCamera> cameras;
    const std::vector<std::string> typed = file.NamesIn("observation/camera_type");
    for (const std::string& serial : typed) {
      DF_ASSIGN_OR_RETURN(
          const std::vector<std::int64_t> type,
          file.OptionalRows<std::int64_t>("observation/camera_type/" + serial, steps, /*rows=*/1));
      if (!type.empty()) cameras[serial].type = static_cast<int>(type.front());
    }
    for (const std::string& name : file.NamesIn("observation/camera_extrinsics")) {
      const std::size_t split = name.find('_');
      const std::string_view kind = std::string_view(name).substr(std::min(split, name.size()));
      if (kind != "_left" && kind != "_right") continue;
      DF_ASSIGN_OR_RETURN(const auto pose, PoseAtStart("observation/camera_extrinsics/" + name));
      TrajectoryCamera& camera = cameras[name.substr(0, split)];
      (kind == "_left" ? camera.left_base : camera.right_base) = pose;
    }
    for (auto& [serial, camera] : cameras) {
      if (camera.type || typed.empty()) DF_RETURN_IF_ERROR(ReadPerStep(serial, camera));
    }
    return cameras;
  }
};

Result<OpenDataset> OpenNeeded(const TrajectoryFile& file, const char* name) {
  DF_ASSIGN_OR_RETURN(auto dataset, file.Open(name));
  if (!dataset) {
    return FailAs(status::kMissingDataset,
                  ErrorKind::kNotFound,
                  "dataset {} is missing: {}",
                  name,
                  file.path());
  }
  return *std::move(dataset);
}

tl::unexpected<Error> WrongShape(const TrajectoryFile& file,
                                 const char* name,
                                 std::string_view want,
                                 std::span<const hsize_t> found) {
  return FailAs(status::kMissingDataset,
                ErrorKind::kInvalidData,
                "dataset {}: want numbers of shape {}, have {}: {}",
                name,
                want,
                found.empty() ? "a scalar or another type" : ShapeText(found),
                file.path());
}

// T, once the two needed datasets are known to agree on it.
Result<hsize_t> CountSteps(const TrajectoryFile& file,
                           const OpenDataset& poses,
                           const OpenDataset& grippers) {
  if (poses.shape.size() != 2 || poses.shape[1] != kPoseShape[0]) {
    return WrongShape(file, kCartesian, "[T, 6]", poses.shape);
  }
  const hsize_t steps = poses.shape[0];
  if (grippers.shape.size() != 1 || grippers.shape[0] != steps) {
    return WrongShape(file, kGripper, ShapeText(std::array{steps}), grippers.shape);
  }
  if (steps == 0) {
    return FailAs(status::kEmpty, ErrorKind::kInvalidData, "no steps, T = 0: {}", file.path());
  }
  if (steps > kMaxSteps) {
    return FailAs(status::kBadTrajectory,
                  ErrorKind::kInvalidData,
                  "claims {} steps, at most {} are believed: {}",
                  steps,
                  kMaxSteps,
                  file.path());
  }
  return steps;
}

Status CheckRobotState(const Trajectory& trajectory, const std::string& path) {
  for (std::size_t t = 0; t < trajectory.size(); ++t) {
    const PoseVector& pose = trajectory.cartesian_position[t];
    const auto* bad = std::find_if_not(
        pose.begin(), pose.end(), [](double value) { return std::isfinite(value); });
    if (bad != pose.end()) {
      return FailAs(status::kBadValues,
                    ErrorKind::kInvalidData,
                    "{}: row {}, column {} is {}: {}",
                    kCartesian,
                    t,
                    bad - pose.begin(),
                    *bad,
                    path);
    }
    const double gripper = trajectory.gripper_position[t];
    if (!(gripper >= kGripperMin && gripper <= kGripperMax)) {
      return FailAs(status::kBadValues,
                    ErrorKind::kInvalidData,
                    "{}: row {} is {}, want {} to {}: {}",
                    kGripper,
                    t,
                    gripper,
                    kGripperMin,
                    kGripperMax,
                    path);
    }
  }
  return {};
}

}  // namespace

Result<Trajectory> ReadTrajectory(const std::filesystem::path& path) {
  QuietHdf5();
  Result<std::vector<std::byte>> bytes = ReadFileBytes(path);
  if (!bytes) {
    Error error = std::move(bytes).error();
    if (error.kind == ErrorKind::kNotFound) error.status = status::kNoTrajectory;
    return tl::unexpected(std::move(error));
  }
  if (bytes->empty()) {
    return FailAs(status::kBadTrajectory, ErrorKind::kInvalidData, "zero bytes: {}", path.string());
  }
  const Hdf5Handle handle = OpenImage(*bytes);
  if (!handle.valid()) {
    return FailAs(status::kBadTrajectory,
                  ErrorKind::kInvalidData,
                  "cannot open {} bytes as hdf5: {}: {}",
                  bytes->size(),
                  Hdf5ErrorText(),
                  path.string());
  }
  const TrajectoryFile file(handle.get(), path.string());
  DF_ASSIGN_OR_RETURN(const OpenDataset pose_rows, OpenNeeded(file, kCartesian));
  DF_ASSIGN_OR_RETURN(const OpenDataset gripper_rows, OpenNeeded(file, kGripper));
  DF_ASSIGN_OR_RETURN(const hsize_t steps, CountSteps(file, pose_rows, gripper_rows));
  const Reader reader{file, steps};

  Trajectory trajectory;
  DF_ASSIGN_OR_RETURN(const std::vector<double> poses,
                      file.Rows<double>(kCartesian, pose_rows, steps));
  trajectory.cartesian_position = ToPoses(poses);
  DF_ASSIGN_OR_RETURN(trajectory.gripper_position,
                      file.Rows<double>(kGripper, gripper_rows, steps));
  DF_RETURN_IF_ERROR(CheckRobotState(trajectory, path.string()));

  DF_ASSIGN_OR_RETURN(trajectory.step_start_ms,
                      reader.Times("observation/timestamp/control/step_start"));
  const auto& times = trajectory.step_start_ms;
  if (std::adjacent_find(times.begin(), times.end(), std::greater_equal<>()) != times.end()) {
    trajectory.step_start_ms.clear();
  }
  DF_ASSIGN_OR_RETURN(trajectory.movement_enabled,
                      file.OptionalRows<std::uint8_t>(
                          "observation/controller_info/movement_enabled", steps, steps));
  DF_ASSIGN_OR_RETURN(
      trajectory.skip_action,
      file.OptionalRows<std::uint8_t>("observation/timestamp/skip_action", steps, steps));
  DF_ASSIGN_OR_RETURN(trajectory.cameras, reader.Cameras());
  return trajectory;
}

}  // namespace droidflow

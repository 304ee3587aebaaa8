#include "droidflow/pipeline/inspect.h"

#include "droidflow/core/files.h"
#include "droidflow/episode/trajectory.h"
#include "droidflow/formats/npz_reader.h"
#include "droidflow/io/calibration_reader.h"
#include "droidflow/io/trajectory_reader.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/stereo_pairs.h"
#include "droidflow/video/depth_video.h"
#include "droidflow/video/frame_source.h"
#include "droidflow/video/recording_summary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Names from files need not be UTF-8, as JSON must be.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

constexpr std::string_view kHdf5Magic = "\x89HDF\r\n\x1a\n";
constexpr std::string_view kZipMagic = "PK\x03\x04";
constexpr std::string_view kEmptyZipMagic = "PK\x05\x06";

Result<std::string> ReadHead(const fs::path& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return FailErrno(errno, "cannot open " + path.string());
  std::array<char, 4096> head;
  const ssize_t size = pread(fd.get(), head.data(), head.size(), 0);
  if (size < 0) return FailErrno(errno, "cannot read " + path.string());
  return std::string(head.data(), static_cast<std::size_t>(size));
}

/// The serial in a recording's name, "22008760-stereo.mp4"; empty where it has none.
std::string SerialInName(const fs::path& path) {
  std::string stem = path.stem().string();
  constexpr std::string_view kStereo = "-stereo";
  if (stem.ends_with(kStereo)) stem.resize(stem.size() - kStereo.size());
  const bool is_number = std::ranges::all_of(stem, [](char c) { return c >= '0' && c <= '9'; });
  return is_number ? stem : "";
}

/// Whether a text has the sections of a ZED calibration file.
bool IsConf(std::string_view text) {
  return text.find("[LEFT_CAM_") != text.npos || text.find("[STEREO]") != text.npos;
}

void Refuse(InspectedFile& file, const Error& error) { file.problems.push_back(error.message); }

/// @return nothing where the pictures have too few corners.
Result<std::optional<RowAlignment>> RowsOf(const fs::path& path,
                                           const SourceInfo& info,
                                           const std::string& serial,
                                           const InspectOptions& options) {
  std::optional<RectifiedRig> rig;
  if (!info.rectified) {
    if (options.conf_dir.empty()) {
      return Fail(
          ErrorKind::kUsage, "rows of a raw recording: want --conf-dir with SN{}.conf", serial);
    }
    DF_ASSIGN_OR_RETURN(const ZedCalibration calibration,
                        ReadZedCalibration(options.conf_dir, serial));
    DF_ASSIGN_OR_RETURN(rig, MakeRig(calibration, info.width_px, info.height_px, std::nullopt));
  }
  DF_ASSIGN_OR_RETURN(
      const PairSource pairs,
      PairSource::Open(path, rig ? &*rig : nullptr, {.decode_threads = options.decode_threads}));
  return pairs.rows();
}

void InspectRecording(const fs::path& path,
                      RecordingFormat format,
                      const InspectOptions& options,
                      InspectedFile& file) {
  file.kind = ToString(format);
  const Result<RecordingSummary> summary = SummarizeRecording(path, SvoFrames::kCount);
  if (!summary) return Refuse(file, summary.error());
  const SourceInfo& info = summary->info;
  file.readable = true;
  file.frames = info.frame_count;
  file.width_px = info.width_px;
  file.height_px = info.height_px;
  file.serial = info.serial.empty() ? SerialInName(path) : info.serial;
  file.problems = summary->problems;
  const char* eyes = info.stereo ? "stereo" : "mono";
  const char* state = info.rectified ? "rectified" : "raw";
  file.summary = fmt::format(
      "{}, {}, {}, {:.4g} fps, {}", info.codec, eyes, state, info.nominal_fps, info.reader);
  Json details = {{"codec", info.codec},
                  {"stereo", info.stereo},
                  {"rectified", info.rectified},
                  {"nominal_fps", info.nominal_fps},
                  {"reader", info.reader},
                  {"frame_times", !summary->frame_times_ns.empty()}};
  if (options.rows && info.stereo) {
    const Result<std::optional<RowAlignment>> rows = RowsOf(path, info, file.serial, options);
    details["rows"] = nullptr;
    if (!rows) {
      Refuse(file, rows.error());
    } else if (*rows) {
      details["rows"] = Json::parse(FormatRowAlignment(**rows));
      file.summary += fmt::format(", rows off by {:.2f} px ({} corners; {:+.2f} px constant)",
                                  (*rows)->median_abs_px,
                                  (*rows)->matches,
                                  (*rows)->fit.offset_px);
    } else {
      file.problems.emplace_back(
          "too few corners of one eye are found in the other to compare the rows: no texture, or "
          "rows "
          "more than 6 px apart");
    }
  }
  file.details_json = Dump(details);
}

void InspectTrajectory(const fs::path& path, InspectedFile& file) {
  file.kind = "h5";
  const Result<Trajectory> trajectory = ReadTrajectory(path);
  if (!trajectory) return Refuse(file, trajectory.error());
  file.readable = true;
  file.frames = static_cast<std::int64_t>(trajectory->size());
  const std::optional<double> rate_hz = MeasureControlRate(trajectory->step_start_ms);
  std::vector<std::string> cameras;
  std::vector<std::string> stale;
  for (const auto& [serial, camera] : trajectory->cameras) {
    (camera.type ? cameras : stale).push_back(serial);
  }
  file.summary = fmt::format("trajectory, cameras {}", fmt::join(cameras, " "));
  if (rate_hz) file.summary += fmt::format(", {:.4g} steps a second", *rate_hz);
  if (!rate_hz) file.problems.emplace_back("no usable step times");
  if (!stale.empty() && !cameras.empty()) {
    file.summary += fmt::format(", calibrated but not on this robot: {}", fmt::join(stale, " "));
  }
  file.details_json = Dump({{"cameras", cameras},
                            {"stale_cameras", stale},
                            {"control_rate_hz", rate_hz ? Json(*rate_hz) : Json(nullptr)}});
}

void InspectNpz(const fs::path& path, InspectedFile& file) {
  file.kind = "npz";
  const Result<NpzReader> npz = NpzReader::Open(path);
  if (!npz) return Refuse(file, npz.error());
  Json arrays = Json::object();
  for (const std::string& name : npz->names()) {
    const Result<NpyArray> array = npz->Read(name);
    if (!array) {
      Refuse(file, array.error());
      continue;
    }
    arrays[name] = {{"dtype", array->descr}, {"shape", array->shape}};
    if (name != "num_frames") continue;
    const auto values = array->ToDoubles();
    if (!values || values->size() != 1) continue;
    constexpr double kMost = 1 << 30;
    const double frames = values->front();
    if (frames >= 0 && frames <= kMost && frames == std::floor(frames)) {
      file.frames = static_cast<std::int64_t>(frames);
    } else {
      file.problems.push_back(fmt::format("num_frames: want a count, have {}", frames));
    }
  }
  file.readable = file.problems.empty();
  file.summary = fmt::format("{} arrays", arrays.size());
  file.details_json = Dump({{"arrays", arrays}});
}

void InspectDepth(const fs::path& path, InspectedFile& file) {
  file.kind = "mkv";
  Result<DepthVideoReader> video = DepthVideoReader::Open(path);
  if (!video) return Refuse(file, video.error());
  file.readable = true;
  file.frames = video->frame_count();
  file.width_px = video->width_px();
  file.height_px = video->height_px();
  file.summary = "ffv1, 16-bit gray, depth in millimetres";
  file.details_json = Dump({{"codec", "ffv1"}, {"pix_fmt", "gray16le"}});
}

Json Describe(const RawEye& eye) {
  Json json = {{"fx", eye.fx_px}, {"fy", eye.fy_px}, {"cx", eye.cx_px}, {"cy", eye.cy_px}};
  if (const auto* brown = std::get_if<BrownConrady>(&eye.lens)) {
    json.update({{"k1", brown->k1},
                 {"k2", brown->k2},
                 {"p1", brown->p1},
                 {"p2", brown->p2},
                 {"k3", brown->k3}});
  } else if (const auto* wide = std::get_if<KannalaBrandt>(&eye.lens)) {
    json.update({{"k1", wide->k1}, {"k2", wide->k2}, {"k3", wide->k3}, {"k4", wide->k4}});
  }
  return json;
}

void InspectConf(const fs::path& path, const std::string& text, InspectedFile& file) {
  file.kind = "conf";
  const std::string stem = path.stem().string();
  if (stem.starts_with("SN")) file.serial = stem.substr(2);
  const Result<ZedCalibration> calibration = ParseZedConf(text, path.string());
  if (!calibration) return Refuse(file, calibration.error());
  Json modes = Json::object();
  std::vector<std::string> in_short;
  for (std::size_t i = 0; i < kZedResolutions.size(); ++i) {
    const ZedResolution& size = kZedResolutions[i];
    if (!calibration->modes[i]) continue;
    const Result<RectifiedPair> rectified =
        StereoPairFor(*calibration, size.width_px, size.height_px).and_then(Rectify);
    if (!rectified) {
      file.problems.push_back(fmt::format("{}: {}", size.name, rectified.error().message));
      continue;
    }
    const ZedCalibration::Mode& raw = *calibration->modes[i];
    const bool is_wide = std::holds_alternative<KannalaBrandt>(raw.left.lens);
    const Intrinsics& K = rectified->intrinsics;
    modes[std::string(size.name)] = {
        {"width", size.width_px},
        {"height", size.height_px},
        {"fx", K.fx_px},
        {"fy", K.fy_px},
        {"cx", K.cx_px},
        {"cy", K.cy_px},
        {"baseline_m", rectified->baseline_m},
        {"lens_model", is_wide ? "kannala_brandt" : "brown_conrady"},
        {"raw", {{"left", Describe(raw.left)}, {"right", Describe(raw.right)}}}};
    in_short.push_back(fmt::format("{} fx {:.2f}", size.name, K.fx_px));
  }
  file.readable = file.problems.empty() && !modes.empty();
  if (modes.empty() && file.problems.empty()) {
    file.problems.push_back(fmt::format("no resolution has both eyes: {}", path.string()));
  }
  file.summary = fmt::format(
      "baseline {:.2f} mm, {}", calibration->baseline_m * 1000, fmt::join(in_short, ", "));
  file.details_json = Dump({{"modes", modes}});
}

}  // namespace

Result<InspectedFile> InspectFile(const fs::path& path, const InspectOptions& options) {
  InspectedFile file;
  file.file = path.string();
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    file.problems.push_back("want a file, have a folder or a device: " + path.string());
    return file;
  }
  const Result<std::string> head = ReadHead(path);
  if (!head) {
    if (head.error().kind == ErrorKind::kNotFound) return tl::unexpected(head.error());
    Refuse(file, head.error());
    return file;
  }
  if (head->empty()) {
    file.problems.push_back("zero bytes: " + path.string());
  } else if (head->starts_with(kHdf5Magic)) {
    InspectTrajectory(path, file);
  } else if (head->starts_with(kZipMagic) || head->starts_with(kEmptyZipMagic)) {
    InspectNpz(path, file);
  } else if (head->starts_with(kMatroskaMagic)) {
    InspectDepth(path, file);
  } else if (const auto format = DetectRecordingFormat(path)) {
    InspectRecording(path, *format, options, file);
  } else if (IsConf(*head)) {
    const Result<std::string> text = ReadFileText(path);
    if (text) {
      InspectConf(path, *text, file);
    } else {
      Refuse(file, text.error());
    }
  } else {
    file.problems.push_back(fmt::format(
        "want h5, mp4, svo, svo2, npz, mkv or conf, have none of them: {}", path.string()));
  }
  return file;
}

}  // namespace droidflow

#include "droidflow/video/zed_source.h"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <sl/Camera.hpp>
#include <utility>
#include <vector>

#if ZED_SDK_MAJOR_VERSION < 3 || (ZED_SDK_MAJOR_VERSION == 3 && ZED_SDK_MINOR_VERSION < 8)
#error "droidflow needs ZED SDK 3.8 or later; build with DROIDFLOW_WITH_ZED=OFF"
#endif

namespace droidflow {
namespace {

/// Codes below SUCCESS are warnings: the call did what it should.
bool Failed(sl::ERROR_CODE code) { return code > sl::ERROR_CODE::SUCCESS; }

/// "CORRUPTED_FRAME", a name that it has since SDK 4.2.
constexpr auto kCorruptedFrame = static_cast<sl::ERROR_CODE>(-2);

ErrorKind KindOf(sl::ERROR_CODE code) {
  switch (code) {
    case sl::ERROR_CODE::NO_GPU_COMPATIBLE:
    case sl::ERROR_CODE::NO_GPU_DETECTED:
    case sl::ERROR_CODE::NVIDIA_DRIVER_OUT_OF_DATE:
    case sl::ERROR_CODE::CORRUPTED_SDK_INSTALLATION:
    case sl::ERROR_CODE::INCOMPATIBLE_SDK_VERSION:
    case sl::ERROR_CODE::MODULE_NOT_COMPATIBLE_WITH_CUDA_VERSION:
    case sl::ERROR_CODE::SVO_UNSUPPORTED_COMPRESSION:
    // The SDK's own copies, which it fetches over the network: nothing is wrong with the recording.
    case sl::ERROR_CODE::CALIBRATION_FILE_NOT_AVAILABLE:
    case sl::ERROR_CODE::INVALID_CALIBRATION_FILE:
      return ErrorKind::kUnsupported;
    case sl::ERROR_CODE::NOT_ENOUGH_GPU_MEMORY:
    case sl::ERROR_CODE::CUDA_ERROR:
      return ErrorKind::kTransient;
    default:
      return ErrorKind::kInvalidData;
  }
}

auto FailWith(sl::ERROR_CODE code, const std::string& what, const std::filesystem::path& path) {
  return Fail(
      KindOf(code), "the ZED SDK cannot {}: {}: {}", what, sl::toString(code).get(), path.string());
}

Result<sl::DEPTH_MODE> ParseDepthMode(const std::string& name) {
  DF_RETURN_IF_ERROR(CheckZedDepthMode(name));
  if (name == "NEURAL") return sl::DEPTH_MODE::NEURAL;
#if ZED_SDK_MAJOR_VERSION >= 5
  if (name == "NEURAL_LIGHT") return sl::DEPTH_MODE::NEURAL_LIGHT;
#endif
#if ZED_SDK_MAJOR_VERSION >= 5 || (ZED_SDK_MAJOR_VERSION == 4 && ZED_SDK_MINOR_VERSION >= 2)
  if (name == "NEURAL_PLUS") return sl::DEPTH_MODE::NEURAL_PLUS;
#endif
  if (name == "ULTRA") return sl::DEPTH_MODE::ULTRA;
  if (name == "QUALITY") return sl::DEPTH_MODE::QUALITY;
  if (name == "PERFORMANCE") return sl::DEPTH_MODE::PERFORMANCE;
  return Fail(ErrorKind::kUnsupported,
              "ZED SDK {}.{} has no depth mode {}",
              ZED_SDK_MAJOR_VERSION,
              ZED_SDK_MINOR_VERSION,
              name);
}

/// @return what the SDK warns of; empty: nothing.
Result<std::string> OpenCamera(const std::filesystem::path& path,
                               sl::DEPTH_MODE depth_mode,
                               sl::Camera& camera) {
  DF_ASSIGN_OR_RETURN(const RecordingFormat format, DetectRecordingFormat(path));
  if (format == RecordingFormat::kMp4) {
    return Fail(ErrorKind::kInvalidData,
                "want SVO or SVO2 for the ZED SDK, have {}: {}",
                ToString(format),
                path.string());
  }
  sl::InitParameters parameters;
  parameters.input.setFromSVOFile(path.c_str());
  parameters.depth_mode = depth_mode;
  parameters.coordinate_units = sl::UNIT::MILLIMETER;
  parameters.svo_real_time_mode = false;         // No frame is skipped to keep up.
  parameters.camera_disable_self_calib = false;  // The pictures that DROID published had it.
  parameters.sdk_verbose = 0;                    // Standard output is the program's.
  const sl::ERROR_CODE code = camera.open(parameters);
  if (Failed(code)) return FailWith(code, "open it", path);
  return code == sl::ERROR_CODE::SUCCESS ? std::string() : std::string(sl::toString(code).get());
}

ZedIntrinsics IntrinsicsOf(sl::Camera& camera) {
  const sl::CameraInformation information = camera.getCameraInformation();
  sl::CalibrationParameters rectified = information.camera_configuration.calibration_parameters;
  const sl::CameraParameters& left = rectified.left_cam;
  constexpr double kMetresPerMillimetre = 0.001;
  return {.intrinsics = {.fx_px = left.fx,
                         .fy_px = left.fy,
                         .cx_px = left.cx,
                         .cy_px = left.cy,
                         .width_px = static_cast<int>(left.image_size.width),
                         .height_px = static_cast<int>(left.image_size.height)},
          .baseline_m = rectified.getCameraBaseline() * kMetresPerMillimetre,
          .serial = std::to_string(information.serial_number)};
}

class ZedSource final : public FrameSource {
 public:
  ZedSource(std::filesystem::path path, SourceOptions options)
      : path_(std::move(path)), options_(std::move(options)) {}

  Status Open() {
    sl::DEPTH_MODE depth_mode = sl::DEPTH_MODE::NONE;
    if (options_.sdk_depth) {
      DF_ASSIGN_OR_RETURN(depth_mode, ParseDepthMode(options_.zed_depth_mode));
    }
    DF_ASSIGN_OR_RETURN(warning_, OpenCamera(path_, depth_mode, camera_));
    num_frames_ = camera_.getSVONumberOfFrames();
    if (num_frames_ <= 0) {
      return Fail(ErrorKind::kInvalidData,
                  "want a recording with frames, the ZED SDK counts {}: {}",
                  num_frames_,
                  path_.string());
    }
    ZedIntrinsics pair = IntrinsicsOf(camera_);
    info_ = {.reader = "zed-sdk",
             .codec = "",
             .width_px = pair.intrinsics.width_px,
             .height_px = pair.intrinsics.height_px,
             .stereo = true,
             .rectified = true,
             .frame_count = num_frames_,
             .nominal_fps = camera_.getCameraInformation().camera_configuration.fps,
             .serial = std::move(pair.serial),
             .intrinsics = pair.intrinsics,
             .baseline_m = pair.baseline_m};
    return {};
  }

  const SourceInfo& info() const override { return info_; }

  Result<bool> Next(StereoFrame& frame) override {
    if (next_index_ >= num_frames_) return false;
    const sl::ERROR_CODE code = camera_.grab();
    if (code == sl::ERROR_CODE::END_OF_SVOFILE_REACHED) return false;
    if (Failed(code)) return FailWith(code, fmt::format("read frame {}", next_index_), path_);
    frame = {};
    frame.index = next_index_++;
    frame.time_ns =
        static_cast<std::int64_t>(camera_.getTimestamp(sl::TIME_REFERENCE::IMAGE).getNanoseconds());
    frame.damaged = code == kCorruptedFrame;
    if (frame.damaged) damaged_.insert(frame.index);
    if (options_.pixels == PixelFormat::kGray) {
      DF_ASSIGN_OR_RETURN(frame.left, Gray(sl::VIEW::LEFT_GRAY, left_));
      DF_ASSIGN_OR_RETURN(frame.right, Gray(sl::VIEW::RIGHT_GRAY, right_));
    } else {
      DF_ASSIGN_OR_RETURN(frame.left_rgb, Color(sl::VIEW::LEFT, left_, left_rgb_));
      DF_ASSIGN_OR_RETURN(frame.right_rgb, Color(sl::VIEW::RIGHT, right_, right_rgb_));
    }
    if (options_.sdk_depth) {
      DF_ASSIGN_OR_RETURN(frame.depth_mm, Depth());
    }
    return true;
  }

  Status Seek(std::int64_t index) override {
    if (index < 0) {
      return Fail(ErrorKind::kUsage, "want a frame from 0 on, have {}: {}", index, path_.string());
    }
    if (index != next_index_ && index < num_frames_) {
      camera_.setSVOPosition(static_cast<int>(index));
    }
    next_index_ = index;
    return {};
  }

  std::vector<std::string> Warnings() const override {
    std::vector<std::string> warnings;
    if (!warning_.empty()) warnings.push_back("the ZED SDK warns: " + warning_);
    if (!damaged_.empty()) {
      warnings.push_back(fmt::format(
          "{} damaged, the first is {}",
          damaged_.size() == 1 ? "1 frame is" : fmt::format("{} frames are", damaged_.size()),
          *damaged_.begin()));
    }
    return warnings;
  }

 private:
  /// Pixels are read where the SDK put them, so it must have put what is expected.
  Status Check(sl::ERROR_CODE code, const sl::Mat& mat, std::size_t pixel_bytes) const {
    if (Failed(code)) {
      return FailWith(code, fmt::format("give frame {}", next_index_ - 1), path_);
    }
    const auto width = static_cast<int>(mat.getWidth());
    const auto height = static_cast<int>(mat.getHeight());
    if (width != info_.width_px || height != info_.height_px ||
        mat.getPixelBytes() != pixel_bytes) {
      return Fail(ErrorKind::kUnsupported,
                  "want {}x{} pixels of {} bytes from the ZED SDK, have {}x{} of {}: {}",
                  info_.width_px,
                  info_.height_px,
                  pixel_bytes,
                  width,
                  height,
                  mat.getPixelBytes(),
                  path_.string());
    }
    return {};
  }

  Result<GrayView> Gray(sl::VIEW view, sl::Mat& mat) {
    DF_RETURN_IF_ERROR(Check(camera_.retrieveImage(mat, view), mat, 1));
    return GrayView{mat.getPtr<sl::uchar1>(),
                    info_.width_px,
                    info_.height_px,
                    static_cast<std::ptrdiff_t>(mat.getStepBytes())};
  }

  Result<RgbView> Color(sl::VIEW view, sl::Mat& mat, RgbImage& rgb) {
    constexpr std::size_t kBgraBytes = 4;
    DF_RETURN_IF_ERROR(Check(camera_.retrieveImage(mat, view), mat, kBgraBytes));
    rgb.Resize(info_.width_px, info_.height_px);
    for (int y = 0; y < info_.height_px; ++y) {
      const std::uint8_t* bgra = mat.getPtr<sl::uchar1>() + y * mat.getStepBytes();
      for (int x = 0; x < info_.width_px; ++x, bgra += kBgraBytes) {
        rgb.at(x, y) = {.r = bgra[2], .g = bgra[1], .b = bgra[0]};
      }
    }
    return std::as_const(rgb).view();
  }

  Result<ImageView<const std::uint16_t>> Depth() {
    DF_RETURN_IF_ERROR(
        Check(camera_.retrieveMeasure(depth_, sl::MEASURE::DEPTH), depth_, sizeof(float)));
    depth_mm_.Resize(info_.width_px, info_.height_px);
    for (int y = 0; y < info_.height_px; ++y) {
      const float* const in_mm =
          depth_.getPtr<sl::float1>() + y * (depth_.getStepBytes() / sizeof(float));
      for (int x = 0; x < info_.width_px; ++x) {
        // NaN and the infinities, occluded, too near and too far, fail the comparison.
        constexpr float kEnd_mm = 65535.5F;
        const bool valid = in_mm[x] > 0 && in_mm[x] < kEnd_mm;
        depth_mm_.at(x, y) = valid ? static_cast<std::uint16_t>(std::lround(in_mm[x])) : 0;
      }
    }
    return std::as_const(depth_mm_).view();
  }

  std::filesystem::path path_;
  SourceOptions options_;
  sl::Camera camera_;
  SourceInfo info_;
  std::string warning_;  ///< of opening
  int num_frames_ = 0;
  std::int64_t next_index_ = 0;
  std::set<std::int64_t> damaged_;
  sl::Mat left_;
  sl::Mat right_;
  sl::Mat depth_;
  RgbImage left_rgb_;
  RgbImage right_rgb_;
  Image<std::uint16_t> depth_mm_;
};

}  // namespace

bool ZedSdkBuiltIn() { return true; }

Result<std::unique_ptr<FrameSource>> OpenZedSource(const std::filesystem::path& path,
                                                   const SourceOptions& options) {
  auto source = std::make_unique<ZedSource>(path, options);
  DF_RETURN_IF_ERROR(source->Open());
  return source;
}

Result<ZedIntrinsics> ReadZedIntrinsics(const std::filesystem::path& path) {
  sl::Camera camera;
  DF_RETURN_IF_ERROR(OpenCamera(path, sl::DEPTH_MODE::NONE, camera));
  return IntrinsicsOf(camera);
}

}  // namespace droidflow

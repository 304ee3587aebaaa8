#pragma once

// What video/zed_source.cc uses of the ZED SDK's C++ interface, declared anew from Stereolabs'
// public API reference (www.stereolabs.com/docs/api), so that the file is compiled where the SDK is
// not installed. Nothing is defined here, and enumerators are without the SDK's values: what is
// compiled against it must not be linked with the SDK.

#include <cstddef>

#ifndef ZED_SDK_MAJOR_VERSION
#define ZED_SDK_MAJOR_VERSION 5
#define ZED_SDK_MINOR_VERSION 0
#endif

namespace sl {

enum class ERROR_CODE {
  SUCCESS,
  NO_GPU_COMPATIBLE,
  NOT_ENOUGH_GPU_MEMORY,
  CALIBRATION_FILE_NOT_AVAILABLE,
  INVALID_CALIBRATION_FILE,
  SVO_UNSUPPORTED_COMPRESSION,
  END_OF_SVOFILE_REACHED,
  CUDA_ERROR,
  NVIDIA_DRIVER_OUT_OF_DATE,
  CORRUPTED_SDK_INSTALLATION,
  INCOMPATIBLE_SDK_VERSION,
  NO_GPU_DETECTED,
  MODULE_NOT_COMPATIBLE_WITH_CUDA_VERSION,
};

enum class DEPTH_MODE {
  NONE,
  PERFORMANCE,
  QUALITY,
  ULTRA,
#if ZED_SDK_MAJOR_VERSION >= 5
  NEURAL_LIGHT,
#endif
  NEURAL,
#if ZED_SDK_MAJOR_VERSION >= 5 || (ZED_SDK_MAJOR_VERSION == 4 && ZED_SDK_MINOR_VERSION >= 2)
  NEURAL_PLUS,
#endif
};

enum class MEASURE { DEPTH };
enum class MEM { CPU };
enum class TIME_REFERENCE { IMAGE };
enum class UNIT { MILLIMETER };
enum class VIEW { LEFT, RIGHT, LEFT_GRAY, RIGHT_GRAY };

using uchar1 = unsigned char;
using float1 = float;

struct String {
  String(const char* data);
  const char* get() const;
};

String toString(const ERROR_CODE& code);

struct Timestamp {
  unsigned long long getNanoseconds() const;
};

struct Resolution {
#if ZED_SDK_MAJOR_VERSION >= 4
  Resolution(int width, int height);
  int width;
  int height;
#else
  Resolution(std::size_t width, std::size_t height);
  std::size_t width;
  std::size_t height;
#endif
};

struct CameraParameters {
  float fx;
  float fy;
  float cx;
  float cy;
  Resolution image_size;
};

struct CalibrationParameters {
  float getCameraBaseline();
  CameraParameters left_cam;
};

struct CameraConfiguration {
  CalibrationParameters calibration_parameters;
  float fps;
};

struct CameraInformation {
  unsigned int serial_number;
  CameraConfiguration camera_configuration;
};

struct InputType {
  void setFromSVOFile(String svo_input_filename);
};

struct InitParameters {
  InitParameters();
  InputType input;
  DEPTH_MODE depth_mode;
  UNIT coordinate_units;
  bool svo_real_time_mode;
  bool camera_disable_self_calib;
#if ZED_SDK_MAJOR_VERSION >= 4
  int sdk_verbose;
#else
  bool sdk_verbose;
#endif
};

struct RuntimeParameters {
  RuntimeParameters();
};

class Mat {
 public:
  Mat();
  ~Mat();
  std::size_t getWidth() const;
  std::size_t getHeight() const;
  std::size_t getPixelBytes() const;
  std::size_t getStepBytes(MEM memory_type = MEM::CPU) const;
  template <typename N>
  N* getPtr(MEM memory_type = MEM::CPU) const;
};

class Camera {
 public:
  Camera();
  Camera(const Camera&) = delete;
  ~Camera();
  ERROR_CODE open(InitParameters init_parameters = InitParameters());
  ERROR_CODE grab(RuntimeParameters rt_parameters = RuntimeParameters());
  ERROR_CODE retrieveImage(Mat& mat,
                           VIEW view = VIEW::LEFT,
                           MEM type = MEM::CPU,
                           Resolution image_size = Resolution(0, 0));
  ERROR_CODE retrieveMeasure(Mat& mat,
                             MEASURE measure = MEASURE::DEPTH,
                             MEM type = MEM::CPU,
                             Resolution image_size = Resolution(0, 0));
  CameraInformation getCameraInformation(Resolution image_size = Resolution(0, 0));
  Timestamp getTimestamp(TIME_REFERENCE reference_time);
  int getSVONumberOfFrames();
  void setSVOPosition(int frame_number);
};

}  // namespace sl

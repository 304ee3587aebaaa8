#pragma once

/// From a calibrated raw stereo pair to the rectified pair that depth and projection work with.

#include "droidflow/core/result.h"
#include "droidflow/geometry/lens.h"
#include "droidflow/geometry/pose.h"
#include "droidflow/geometry/projection.h"

namespace droidflow {

/// One eye of a stereo camera before rectification.
///
/// Unit     pixels of the raw image. The centre of the top-left pixel is (0, 0).
struct RawEye {
  double fx_px = 0;
  double fy_px = 0;
  double cx_px = 0;
  double cy_px = 0;
  LensModel lens;
};

/// A raw stereo pair as its maker calibrated it.
///
/// Frame    left, right: each eye's own, x right, y down, z forward; p_right = R_right_left *
/// p_left + t. Invalid  the sign of t_right_left_m is the maker's and may be either: nothing here
/// depends on it.
struct StereoPair {
  RawEye left;
  RawEye right;
  Matrix3 R_right_left = Matrix3::Identity();
  Vector3 t_right_left_m = Vector3::Zero();
  int width_px = 0;
  int height_px = 0;
};

/// Rotation R_right_left from the numbers RX, CV, RZ of a ZED calibration file.
///
/// The one place that fixes its direction: the file's rotation vector takes left coordinates to
/// right ones and is not transposed. Both directions give the same intrinsics; the wrong one shifts
/// rows against each other by 2.6 px in the median file, which the measured row misalignment shows.
[[nodiscard]] Matrix3 StereoRotationFromZed(double rx_rad, double cv_rad, double rz_rad);

/// A stereo pair after rectification: both eyes look in the same direction, rows agree.
///
/// Frame    rect: left's origin, x along the baseline, z forward; R_rect_left turns left
/// coordinates
///          into rect ones.
struct RectifiedPair {
  Intrinsics intrinsics;  ///< of both eyes: zero disparity is at infinity
  Matrix3 R_rect_left = Matrix3::Identity();
  Matrix3 R_rect_right = Matrix3::Identity();
  double baseline_m = 0;  ///< distance between the eyes
};

/// Rectifies a pair as the maker's software does.
///
/// Each eye takes half of the rotation between them, then both turn so that the baseline is the x
/// axis. The principal point is the mean of the eyes'; the focal length is the smallest at which no
/// rectified pixel of either eye falls outside its raw image, whose borders are its outermost pixel
/// centres.
///
/// Source   Bouguet's method, as OpenCV's stereoRectify; the focal length from the forward lens
/// model.
///
/// @return  kInvalidData for numbers that are no stereo camera, or if no focal length fits.
[[nodiscard]] Result<RectifiedPair> Rectify(const StereoPair& pair);

/// Where a rectified pixel lies in an eye's raw image: the map for resampling a raw frame.
///
/// Invalid  (NaN, NaN) where the pixel's ray does not pass in front of the eye.
///
/// @param rectified  intrinsics of the rectified image wanted; need not be Rectify's own.
[[nodiscard]] Pixel RawPixelFromRectified(const RawEye& eye,
                                          const Matrix3& R_rect_eye,
                                          const Intrinsics& rectified,
                                          Pixel pixel);

}  // namespace droidflow

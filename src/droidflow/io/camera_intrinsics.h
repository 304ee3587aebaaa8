#pragma once

#include "droidflow/core/result.h"
#include "droidflow/episode/considered.h"
#include "droidflow/geometry/projection.h"
#include "droidflow/io/calibration_reader.h"

#include <optional>
#include <string_view>

namespace droidflow {

struct ImageSize {
  int width_px;
  int height_px;

  bool operator==(const ImageSize&) const = default;
};

/// The same camera at another resolution of ZED's. @return nothing if either size is not one.
[[nodiscard]] std::optional<Intrinsics> IntrinsicsAtSize(const Intrinsics& intrinsics,
                                                         ImageSize size);

/// What is known of a camera's rectified left image.
struct IntrinsicsSources {
  std::optional<Intrinsics> sdk =
      {};  ///< of the ZED SDK, where it rectifies the recording's frames
  std::optional<Intrinsics> annotated = {};   ///< of intrinsics.json
  std::optional<Intrinsics> trajectory = {};  ///< of trajectory.h5, which does not say its size
  const ZedCalibration* conf = nullptr;       ///< of the calibration file; null: none
  bool conf_by_header = false;                ///< its serial is that in the recording's header
  std::optional<ImageSize> recording = {};    ///< of one eye of the recording; absent: 1280x720
};

struct ChosenIntrinsics {
  Intrinsics intrinsics;    ///< in pixels of the recording's size
  std::string_view source;  ///< "zed_sdk", "annotations", "trajectory", "svo2+conf" or "conf"
  /// Computed here from the factory calibration: the maker's software re-estimates the pair each
  /// time it opens a recording and differs by up to 1 % (ZED 2) or 5 % (ZED Mini).
  bool approximate = false;
};

/// Chooses the intrinsics of a camera: the SDK's, else the annotations', else the trajectory's,
/// else the calibration file's. Annotated ones are taken to the recording's size if that is another
/// of a ZED camera's.
///
/// @param considered  is given every source, with what it says; may be null.
/// @return kNotFound where no source has any for the recording's size.
[[nodiscard]] Result<ChosenIntrinsics> ChooseIntrinsics(const IntrinsicsSources& sources,
                                                        Considerations* considered = nullptr);

}  // namespace droidflow

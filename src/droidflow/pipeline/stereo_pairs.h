#pragma once

/// The pictures that depth is computed from: rectified, row by row aligned.

#include "droidflow/core/result.h"
#include "droidflow/depth/rectifier.h"
#include "droidflow/depth/row_alignment.h"
#include "droidflow/depth/row_shifter.h"
#include "droidflow/geometry/projection.h"
#include "droidflow/geometry/rectification.h"
#include "droidflow/io/calibration_reader.h"
#include "droidflow/video/frame_source.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

namespace droidflow {

/// A raw pair and the rectified camera that its frames are resampled onto.
struct RectifiedRig {
  StereoPair raw;
  RectifiedPair rectified;  ///< its intrinsics are those wanted, not always the pair's own
};

/// @param wanted  the camera that is reported; none: the calibration's own at that size.
/// @return        kNotFound where the calibration has no such size; kInvalidData as Rectify.
[[nodiscard]] Result<RectifiedRig> MakeRig(const ZedCalibration& calibration,
                                           int width_px,
                                           int height_px,
                                           const std::optional<Intrinsics>& wanted);

struct PairOptions {
  RowAlign row_align = RowAlign::kAuto;
  int decode_threads = 1;
  bool use_zed_sdk = false;  ///< as SourceOptions
};

/// Both eyes at one moment.
///
/// Memory   the source's: valid until its next call.
struct AlignedPair {
  std::int64_t index = 0;               ///< of the recording's frame
  std::optional<std::int64_t> time_ns;  ///< as StereoFrame
  GrayView left;
  GrayView right;
  bool damaged = false;
};

/// A stereo recording as rectified pairs. A row offset between the eyes is estimated once, on the
/// recording's first frames, and taken out of every right picture.
///
/// Invalid  pixels that show nothing are 0 in the masks.
/// Thread   one at a time.
class PairSource {
 public:
  /// @param rig  of the camera; needed for raw recordings, and ignored for others.
  /// @return     as OpenFrameSource; kInvalidData for one eye, and for a raw recording without rig
  ///             or of another size.
  [[nodiscard]] static Result<PairSource> Open(const std::filesystem::path& path,
                                               const RectifiedRig* rig,
                                               const PairOptions& options);

  [[nodiscard]] const SourceInfo& info() const { return source_->info(); }
  /// How the rows agreed; nothing where the pictures have too few corners, or kOff was asked for.
  [[nodiscard]] const std::optional<RowAlignment>& rows() const { return rows_; }
  /// What is taken out.
  [[nodiscard]] const RowOffset& removed() const { return removed_; }
  /// Where the left, and the right, pictures show something; null: everywhere.
  [[nodiscard]] const GrayImage* left_mask() const { return MaskOf(left_map_); }
  [[nodiscard]] const GrayImage* right_mask() const {
    return row_shifter_ ? MaskOf(row_shifter_) : MaskOf(right_map_);
  }

  /// @param from  a pair of a frame before is read but not rectified: left and right are empty.
  /// @return false after the last pair; errors as FrameSource.
  [[nodiscard]] Result<bool> Next(AlignedPair& pair, std::int64_t from = 0);
  [[nodiscard]] std::vector<std::string> Warnings() const { return source_->Warnings(); }

 private:
  PairSource() = default;
  void MakeMaps(const RectifiedRig* rig);
  [[nodiscard]] Status MeasureRows();
  template <typename Map>
  [[nodiscard]] static const GrayImage* MaskOf(const std::optional<Map>& map) {
    return map && !map->covers_everything() ? &map->mask() : nullptr;
  }

  std::unique_ptr<FrameSource> source_;
  std::optional<Remapper> left_map_;       ///< none: the frames are taken as they are
  std::optional<Remapper> right_map_;      ///< none: the same
  std::optional<RowShifter> row_shifter_;  ///< for right frames that are rectified but too low
  GrayImage left_;
  GrayImage right_;
  std::optional<RowAlignment> rows_;
  RowOffset removed_;
};

}  // namespace droidflow

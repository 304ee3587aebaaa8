#pragma once

/// A recording as depth, frame by frame, wherever depth comes from.

#include "droidflow/core/result.h"
#include "droidflow/depth/disparity_to_depth.h"
#include "droidflow/depth/matcher.h"
#include "droidflow/depth/row_alignment.h"
#include "droidflow/pipeline/depth_options.h"
#include "droidflow/pipeline/stereo_pairs.h"
#include "droidflow/video/depth_video.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace droidflow {

/// A recording and what is known of its camera.
struct DepthRecording {
  std::filesystem::path path;
  const RectifiedRig* rig = nullptr;            ///< of raw recordings; outlives the depth's reading
  std::optional<StereoGeometry> geometry = {};  ///< nothing: the ZED SDK must know
  bool use_zed_sdk = false;                     ///< as SourceOptions
  int decode_threads = 1;
  std::optional<std::int64_t> max_frames = {};  ///< of the recording, from its first; none: all
};

/// What was done so far, for those who watch: other threads, or other processes where it lies in
/// memory that they share. Times are those that threads were at work, all threads together.
struct DepthCounters {
  std::atomic<std::int64_t> frames{0};     ///< of depth that are written
  std::atomic<std::int64_t> decode_ns{0};  ///< reading: decoding, measuring and moving rows,
                                           ///< rectifying; the SDK's depth; maps of others
  std::atomic<std::int64_t> match_ns{0};   ///< matching, and from disparities to millimetres
  std::atomic<std::int64_t> encode_ns{0};  ///< compressing and writing
  std::atomic<std::int64_t> wait_ns{0};    ///< how long the encoder had no frame

  static_assert(std::atomic<std::int64_t>::is_always_lock_free);
};

/// Memory  the source's: valid until its next call.
struct DepthFrame {
  std::int64_t index = 0;  ///< of the recording's frame: 0, and on by DepthOptions::every
  std::optional<std::int64_t> time_ns = {};
  DepthView depth_mm = {};
  bool damaged = false;  ///< the decoder had to guess at parts of the pictures
  bool missing = false;  ///< it was not decoded, or nobody made a map of it: no depth
};

/// Matchers by their options, kept from recording to recording.
///
/// Thread   one at a time.
class MatcherPool {
 public:
  /// @return so many matchers, the pool's until its next call.
  [[nodiscard]] Result<std::vector<Matcher*>> Get(MatcherBackend backend,
                                                  const MatcherOptions& options,
                                                  int count);

 private:
  MatcherBackend backend_ = MatcherBackend::kCpu;
  MatcherOptions options_;
  std::vector<std::unique_ptr<Matcher>> matchers_;
};

/// An open recording that gives depth of its rectified left eye, of every frame that is wanted.
///
/// Unit     millimetres.
/// Invalid  0: none, outside of the range, or one of both pictures shows nothing there.
/// Memory   a few frames, and a few more for each of DepthOptions::jobs.
/// Thread   one at a time. Reading has a thread of its own and matching one for each of the jobs,
///          from the first Next until it says false or fails: what comes next is computed while the
///          caller is busy with a frame.
class DepthSource {
 public:
  DepthSource() = default;
  DepthSource(const DepthSource&) = delete;
  DepthSource& operator=(const DepthSource&) = delete;
  virtual ~DepthSource() = default;

  /// @return false after the last frame; errors as FrameSource and Matcher, in the place of the
  ///         frame that they are of; kCancelled after a signal to stop. Neither is followed by
  ///         more.
  [[nodiscard]] virtual Result<bool> Next(DepthFrame& frame) = 0;

  /// Of the recording; width and height are those of the depth.
  [[nodiscard]] virtual const SourceInfo& info() const = 0;
  [[nodiscard]] virtual StereoGeometry geometry() const = 0;
  /// `backend_parameters` of depth_meta.json.
  [[nodiscard]] virtual std::string parameters_json() const = 0;
  /// How the rows agreed, and what is taken out; nothing where they were not measured.
  [[nodiscard]] virtual std::optional<RowAlignment> rows() const { return std::nullopt; }
  [[nodiscard]] virtual RowOffset removed() const { return {}; }
  /// To be asked when Next has said false or failed.
  [[nodiscard]] virtual std::vector<std::string> Warnings() const { return {}; }
};

/// @param options   as CheckDepthOptions wants them.
/// @param pool      outlives the source.
/// @param counters  get decode_ns and match_ns; outlive the source.
/// @return  as PairSource, OpenZedSource; kUsage for a search beyond the pictures; kInvalidData for
///          a folder of maps that are not numbered as frames are.
[[nodiscard]] Result<std::unique_ptr<DepthSource>> OpenDepthSource(const DepthRecording& recording,
                                                                   const DepthOptions& options,
                                                                   MatcherPool& pool,
                                                                   DepthCounters& counters);

/// Maps of depth or disparity in a folder, by the frame that they belong to. Files named .pfm, .png
/// and .npy count. A name's last number is the frame's, from 0; where no name has a number, the
/// order of the names is that of the frames.
class MapFolder {
 public:
  /// @return kNotFound; kInvalidData for two maps of one frame, and for names with and without
  ///         numbers in one folder.
  [[nodiscard]] static Result<MapFolder> Open(const std::filesystem::path& directory);

  /// Null: there is none.
  [[nodiscard]] const std::filesystem::path* Find(std::int64_t frame) const;
  [[nodiscard]] std::size_t size() const { return files_.size(); }
  /// The last frame that has one, -1 for an empty folder.
  [[nodiscard]] std::int64_t last_frame() const;

 private:
  std::map<std::int64_t, std::filesystem::path> files_;
};

/// The map of a pair of pictures: the one that is called as the left picture is, else the folder's
/// only one, else that of frame 0. The pictures themselves are none.
///
/// @return as MapFolder::Open; kNotFound with what there is; kInvalidData for two of that name.
[[nodiscard]] Result<std::filesystem::path> FindMapOfPair(const std::filesystem::path& directory,
                                                          const std::filesystem::path& left,
                                                          const std::filesystem::path& right);

}  // namespace droidflow

#include "droidflow/video/decoded_source_internal.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

/// More pictures than any decoder holds back: 16 of a stream's order and one for each thread.
constexpr std::size_t kMaxPending = 64;
constexpr int kMaxErrorsInARow = 64;  ///< then the next packet is tried

/// Frames with something wrong, each counted once however often it is read.
class FrameTally {
 public:
  void Add(std::int64_t index) {
    if (index >= std::ssize(seen_)) seen_.resize(static_cast<std::size_t>(index) + 1);
    if (seen_[index]) return;
    seen_[index] = true;
    if (count_++ == 0 || index < first_) first_ = index;
  }
  [[nodiscard]] std::int64_t count() const { return count_; }
  [[nodiscard]] std::int64_t first() const { return first_; }

 private:
  std::vector<bool> seen_;
  std::int64_t count_ = 0;
  std::int64_t first_ = 0;
};

class DecodedSource final : public FrameSource {
 public:
  DecodedSource(const Ffmpeg& ffmpeg, DecodedSourceParts parts, PixelFormat pixels)
      : ffmpeg_(ffmpeg), parts_(std::move(parts)), pixels_(pixels) {}

  ~DecodedSource() override { ffmpeg_.sws_freeContext(scaler_); }

  Status Open() {
    DF_ASSIGN_OR_RETURN(decoder_, parts_.open_decoder());
    SourceInfo& info = parts_.info;
    info.width_px = 0;  // The first picture tells, whatever the header says.
    DF_RETURN_IF_ERROR(Decode());
    if (!is_ready_) {
      if (read_error_) return tl::unexpected(*read_error_);
      const Error reason = last_error_.value_or(Error{ErrorKind::kInvalidData, "no packets"});
      return Fail(
          reason.kind, "no picture can be decoded: {}: {}", reason.message, parts_.path.string());
    }
    const GrayView& luma = picture_.luma;
    info.stereo = IsPair(luma.width_px, luma.height_px);
    if (info.stereo && luma.width_px % 2 != 0) {
      return Fail(ErrorKind::kInvalidData,
                  "want two eyes of the same width, have a pair of {}x{}: {}",
                  luma.width_px,
                  luma.height_px,
                  parts_.path.string());
    }
    info.width_px = info.stereo ? luma.width_px / 2 : luma.width_px;
    info.height_px = luma.height_px;
    return {};
  }

  const SourceInfo& info() const override { return parts_.info; }

  Result<bool> Next(StereoFrame& frame) override {
    if (!is_ready_) DF_RETURN_IF_ERROR(Decode());
    if (!std::exchange(is_ready_, false)) {
      if (read_error_) return tl::unexpected(*read_error_);
      return false;
    }
    frame = {};
    frame.index = next_index_ - 1;
    frame.time_ns = parts_.reader->TimeOf(frame.index);
    frame.damaged = picture_.damaged;
    const int width = parts_.info.width_px;
    if (pixels_ == PixelFormat::kGray) {
      frame.left = picture_.luma.Columns(0, width);
      if (parts_.info.stereo) frame.right = picture_.luma.Columns(width, width);
    } else {
      DF_RETURN_IF_ERROR(ConvertToRgb());
      const RgbView rgb = std::as_const(rgb_).view();
      frame.left_rgb = rgb.Columns(0, width);
      if (parts_.info.stereo) frame.right_rgb = rgb.Columns(width, width);
    }
    return true;
  }

  Status Seek(std::int64_t index) override {
    if (index < 0) {
      return Fail(
          ErrorKind::kUsage, "want a frame from 0 on, have {}: {}", index, parts_.path.string());
    }
    const std::int64_t position = is_ready_ ? next_index_ - 1 : next_index_;
    const std::int64_t start = parts_.reader->StartFor(index);
    if (index < position || start > position) {
      DF_RETURN_IF_ERROR(parts_.reader->GoTo(start));
      DF_ASSIGN_OR_RETURN(decoder_, parts_.open_decoder());
      pending_.clear();
      next_index_ = start;
      is_ready_ = false;
      is_at_end_ = false;
      read_error_.reset();
    }
    while (!(is_ready_ && next_index_ > index)) {
      DF_RETURN_IF_ERROR(Decode());
      if (!is_ready_) return {};  // Past the end; Next says so.
    }
    return {};
  }

  std::vector<std::string> Warnings() const override {
    std::vector<std::string> warnings = parts_.reader->Warnings();
    if (lost_.count() > 0) {
      warnings.push_back(fmt::format("{} frame{} could not be decoded, the first is {}: {}",
                                     lost_.count(),
                                     lost_.count() == 1 ? "" : "s",
                                     lost_.first(),
                                     last_error_ ? last_error_->message : "no picture in it"));
    }
    if (damaged_.count() > 0) {
      warnings.push_back(fmt::format(
          "{} damaged, the first is {}",
          damaged_.count() == 1 ? "1 frame is" : fmt::format("{} frames are", damaged_.count()),
          damaged_.first()));
    }
    return warnings;
  }

 private:
  /// Decodes the next frame: is_ready_, picture_ and next_index_ - 1, its index.
  Status Decode() {
    is_ready_ = false;
    int num_errors = 0;
    for (;;) {
      const Result<bool> received = decoder_->Receive(picture_);
      if (!received) {
        last_error_ = received.error();
        if (++num_errors < kMaxErrorsInARow) continue;
      } else if (*received) {
        is_ready_ = Place();
        if (is_ready_) return {};
        continue;
      }
      if (is_at_end_) break;
      num_errors = 0;
      Feed();
    }
    while (!pending_.empty()) LoseFront();
    return {};
  }

  void Feed() {
    Packet packet;
    const Result<bool> read = parts_.reader->Read(packet);
    if (!read) read_error_ = read.error();
    if (!read || !*read) {
      is_at_end_ = true;
      if (const Status ended = decoder_->Send({}, 0); !ended) last_error_ = ended.error();
      return;
    }
    if (!packet.bytes.empty()) {
      const Status sent = decoder_->Send(packet.bytes, packet.key);
      if (!sent && packet.has_picture) last_error_ = sent.error();
    }
    while (pending_.contains(packet.key)) ++packet.key;
    pending_.emplace(packet.key, packet.has_picture);
    if (pending_.size() > kMaxPending) LoseFront();
  }

  /// Finds out which frame the picture is: that of the first packet for which no picture has come,
  /// unless that one's cannot come any more. @return whether it can be shown.
  bool Place() {
    const auto depth = parts_.keys_in_display_order
                           ? std::ptrdiff_t{0}
                           : static_cast<std::ptrdiff_t>(decoder_->ReorderDepth());
    const auto num_before = [this] {
      return std::distance(pending_.begin(), pending_.lower_bound(picture_.key));
    };
    while (!pending_.empty() && (!pending_.begin()->second || num_before() > depth)) LoseFront();
    if (pending_.empty()) {
      last_error_ = {ErrorKind::kInvalidData, "more pictures than packets"};
      return false;
    }
    pending_.erase(pending_.begin());
    const std::int64_t index = next_index_++;
    const SourceInfo& info = parts_.info;
    const int width = info.stereo ? 2 * info.width_px : info.width_px;
    const GrayView& luma = picture_.luma;
    if (width != 0 && (luma.width_px != width || luma.height_px != info.height_px)) {
      last_error_ = {ErrorKind::kInvalidData,
                     fmt::format("want {}x{} pixels, have {}x{}",
                                 width,
                                 info.height_px,
                                 luma.width_px,
                                 luma.height_px)};
      lost_.Add(index);
      return false;
    }
    if (picture_.damaged) damaged_.Add(index);
    return true;
  }

  void LoseFront() {
    pending_.erase(pending_.begin());
    lost_.Add(next_index_++);
  }

  Status ConvertToRgb() {
    const int width = picture_.luma.width_px;
    const int height = picture_.luma.height_px;
    // The same colours on every machine.
    constexpr int kFlags = SWS_BILINEAR | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INT;
    scaler_ = ffmpeg_.sws_getCachedContext(scaler_,
                                           width,
                                           height,
                                           picture_.format,
                                           width,
                                           height,
                                           AV_PIX_FMT_RGB24,
                                           kFlags,
                                           nullptr,
                                           nullptr,
                                           nullptr);
    if (scaler_ == nullptr) {
      return Fail(ErrorKind::kUnsupported,
                  "FFmpeg does not convert {} to RGB",
                  ffmpeg_.av_get_pix_fmt_name(picture_.format));
    }
    // Streams that do not say what their colours are mean BT.601, limited range.
    const int* const coefficients = ffmpeg_.sws_getCoefficients(
        picture_.matrix == AVCOL_SPC_UNSPECIFIED ? SWS_CS_DEFAULT : picture_.matrix);
    constexpr int kOne = 1 << 16;
    ffmpeg_.sws_setColorspaceDetails(
        scaler_, coefficients, picture_.full_range ? 1 : 0, coefficients, 1, 0, kOne, kOne);
    rgb_.Resize(width, height);
    std::uint8_t* const rows = &rgb_.row(0)->r;
    const int stride = static_cast<int>(rgb_.view().stride * sizeof(Rgb));
    ffmpeg_.sws_scale(
        scaler_, picture_.planes.data(), picture_.strides.data(), 0, height, &rows, &stride);
    return {};
  }

  const Ffmpeg& ffmpeg_;
  DecodedSourceParts parts_;
  PixelFormat pixels_;
  std::unique_ptr<Decoder> decoder_;
  SwsContext* scaler_ = nullptr;
  RgbImage rgb_;

  Picture picture_;
  bool is_ready_ = false;        ///< picture_ is the next frame
  std::int64_t next_index_ = 0;  ///< of the frame behind picture_
  /// Keys of packets that were sent and for which no picture has come; whether one can come.
  std::map<std::int64_t, bool> pending_;
  bool is_at_end_ = false;
  std::optional<Error> read_error_;  ///< told after the frames before it
  std::optional<Error> last_error_;  ///< of the decoder
  FrameTally lost_;
  FrameTally damaged_;
};

}  // namespace

Result<std::unique_ptr<FrameSource>> OpenDecodedSource(const Ffmpeg& ffmpeg,
                                                       DecodedSourceParts parts,
                                                       PixelFormat pixels) {
  auto source = std::make_unique<DecodedSource>(ffmpeg, std::move(parts), pixels);
  DF_RETURN_IF_ERROR(source->Open());
  return source;
}

}  // namespace droidflow

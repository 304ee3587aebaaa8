#include "droidflow/pipeline/verify_depth.h"

#include "droidflow/core/sha256.h"
#include "droidflow/pipeline/depth_product.h"
#include "droidflow/pipeline/episode_depth.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/verify_internal.h"
#include "droidflow/video/depth_video.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using Integers = std::vector<std::int64_t>;

constexpr double kFractionTolerance = 1e-12;
constexpr int kFfv1Version = 3;
constexpr int kMinVersion3Side_px = 3;  // DepthVideoWriter
constexpr std::int64_t kMostComparedSteps = 100;
constexpr double kNear_mm = 20;

bool IsText(const Json& value) { return value.is_string(); }
bool IsObject(const Json& value) { return value.is_object(); }
bool IsList(const Json& value) { return value.is_array(); }
bool IsCount(const Json& value) {
  return value.is_number_integer() && value.get<std::int64_t>() >= 1;
}
bool IsAmount(const Json& value) { return value.is_number() && value.get<double>() >= 0; }
bool IsAmountOrNull(const Json& value) { return value.is_null() || IsAmount(value); }
bool IsFraction(const Json& value) { return IsAmount(value) && value.get<double>() <= 1; }
bool IsIntegers(const Json& value) {
  return value.is_array() &&
         std::ranges::all_of(value, [](const Json& item) { return item.is_number_integer(); });
}
bool IsAmountsOrNull(const Json& value) {
  return value.is_null() || (value.is_array() && std::ranges::all_of(value, IsAmount));
}
bool IsRows(const Json& value) {
  return value.is_object() && value.contains("measured") &&
         value.value("removed", Json()).is_object();
}

/// A key of depth_meta.json that every camera of an episode has.
struct Rule {
  const char* key;
  const char* want;
  bool (*fits)(const Json&);
};

constexpr Rule kRules[] = {
    {"width", "a count", IsCount},
    {"height", "a count", IsCount},
    {"frame_count", "a count", IsCount},
    {"nominal_fps", "a number or null", IsAmountOrNull},
    {"min_depth_m", "a number", IsAmount},
    {"max_depth_m", "a number", IsAmount},
    {"backend", "a text", IsText},
    {"backend_parameters", "an object", IsObject},
    {"fx", "a number", IsAmount},
    {"baseline_m", "a number", IsAmount},
    {"recording", "a text", IsText},
    {"rows", "an object of measured and removed", IsRows},
    {"valid_fraction", "0 to 1", IsFraction},
    {"damaged_frames", "a list of integers", IsIntegers},
    {"missing_frames", "a list of integers", IsIntegers},
    {"warnings", "a list", IsList},
    {"step_to_frame", "a list of integers", IsIntegers},
    {"frame_to_step", "a list of integers", IsIntegers},
    {"timestamps_ms", "a list of numbers or null", IsAmountsOrNull},
    {"sha256", "a text", IsText},
    {"droidflow_version", "a text", IsText},
};

/// What of depth_meta.json other files must agree with.
struct Meta {
  std::int64_t width_px = 0;
  std::int64_t height_px = 0;
  std::int64_t frames = 0;
  std::int64_t every = 1;  ///< frame i of depth is frame i * every of the recording
  int min_mm = 0;
  int max_mm = 65535;
  double valid_fraction = 0;
  Integers missing;
  Integers step_to_frame;
  std::string sha256;
};

std::string Shortened(const Json& value) {
  constexpr std::size_t kMost = 60;
  const std::string text = value.dump();
  return text.size() <= kMost ? text : text.substr(0, kMost) + "…";
}

/// The frame of depth that shows what a frame of the recording does; -1: none.
std::int64_t DepthFrameOf(std::int64_t video_frame, const Meta& meta) {
  if (video_frame < 0 || video_frame % meta.every != 0) return -1;
  const std::int64_t frame = video_frame / meta.every;
  return frame < meta.frames ? frame : -1;
}

bool IsInImage(const SeenPoint& point, DepthView depth_mm) {
  return point.u_px > -0.5 && point.u_px < depth_mm.width_px - 0.5 && point.v_px > -0.5 &&
         point.v_px < depth_mm.height_px - 0.5;
}

/// Depth beside the track points, step by step.
class Comparison {
 public:
  Comparison(const DepthToCheck& depth, const Meta& meta) : points_at_(depth.points_at) {
    if (!points_at_) return;
    Integers steps;
    const auto end = std::min(static_cast<std::int64_t>(meta.step_to_frame.size()), depth.steps);
    for (std::int64_t step = 0; step < end; ++step) {
      if (meta.step_to_frame[static_cast<std::size_t>(step)] >= 0) steps.push_back(step);
    }
    const auto count = static_cast<std::int64_t>(steps.size());
    const std::int64_t stride = (count + kMostComparedSteps - 1) / kMostComparedSteps;
    for (std::int64_t i = 0; i < count; i += stride) {
      const std::int64_t step = steps[static_cast<std::size_t>(i)];
      steps_of_frame_.emplace(meta.step_to_frame[static_cast<std::size_t>(step)], step);
    }
  }

  void Add(std::int64_t frame, DepthView depth_mm) {
    const auto [begin, end] = steps_of_frame_.equal_range(frame);
    for (auto it = begin; it != end; ++it) {
      ++result_.steps;
      for (const SeenPoint& point : points_at_(it->second)) {
        if (!IsInImage(point, depth_mm)) continue;
        if (point.z_m <= 0) {
          ++behind_;
          continue;
        }
        ++result_.points;
        const std::uint16_t measured_mm = depth_mm.at(static_cast<int>(std::lround(point.u_px)),
                                                      static_cast<int>(std::lround(point.v_px)));
        if (measured_mm != 0) differences_mm_.push_back(measured_mm - 1000 * point.z_m);
      }
    }
  }

  [[nodiscard]] std::int64_t behind() const { return behind_; }

  [[nodiscard]] std::optional<DepthComparison> Finish() {
    if (!points_at_) return std::nullopt;
    result_.measured = static_cast<std::int64_t>(differences_mm_.size());
    if (result_.measured == 0) return result_;
    const auto middle = differences_mm_.begin() + result_.measured / 2;
    std::nth_element(differences_mm_.begin(), middle, differences_mm_.end());
    const double below =
        result_.measured % 2 == 1 ? *middle : *std::max_element(differences_mm_.begin(), middle);
    result_.median_mm = (below + *middle) / 2;
    const auto near = std::ranges::count_if(
        differences_mm_, [](double difference_mm) { return std::abs(difference_mm) <= kNear_mm; });
    result_.near_fraction = static_cast<double>(near) / static_cast<double>(result_.measured);
    return result_;
  }

 private:
  const PointsAtStep& points_at_;
  std::multimap<std::int64_t, std::int64_t> steps_of_frame_;
  DepthComparison result_;
  std::int64_t behind_ = 0;  ///< in the image, but not in front of the camera
  std::vector<double> differences_mm_;
};

class DepthChecker : private EpisodeChecker {
 public:
  explicit DepthChecker(const DepthToCheck& depth)
      : EpisodeChecker(depth.directory),
        depth_(depth),
        video_(DepthFile(depth.serial).string()),
        meta_((DepthFile(depth.serial).parent_path() / kDepthMetaFile).string()) {}

  CheckedDepth Run() {
    const bool has_video = Exists(video_);
    const bool has_meta = Exists(meta_);
    if (!has_video && !has_meta && !depth_.valid_fraction) return {};
    if (!has_video) {
      Problem("{}: missing, want it beside {}", video_, has_meta ? meta_ : kQualityFile);
    }
    if (!has_meta) {
      Problem("{}: missing, want it beside {}", meta_, has_video ? video_ : kQualityFile);
    }
    const std::optional<Meta> meta = has_meta ? CheckMeta() : std::nullopt;
    std::optional<DepthComparison> comparison;
    if (has_video) comparison = CheckVideo(meta);
    return {std::move(problems_), comparison};
  }

 private:
  bool Exists(const std::string& name) const {
    std::error_code ignored;
    return fs::exists(directory_ / name, ignored);
  }

  /// @return nothing where a key is missing or of another kind.
  std::optional<Meta> CheckMeta() {
    const std::optional<Json> json = ReadJson(meta_);
    if (!json || !CheckKeys(*json)) return std::nullopt;
    const auto integer = [&](const char* key) { return json->at(key).get<std::int64_t>(); };
    const auto number = [&](const char* key) { return json->at(key).get<double>(); };
    const Meta meta{
        .width_px = integer("width"),
        .height_px = integer("height"),
        .frames = integer("frame_count"),
        .every = json->contains("depth_every") ? integer("depth_every") : 1,
        .min_mm = static_cast<int>(std::floor(std::min(number("min_depth_m"), 66.0) * 1000)),
        .max_mm = static_cast<int>(std::ceil(std::min(number("max_depth_m"), 66.0) * 1000)),
        .valid_fraction = number("valid_fraction"),
        .missing = json->at("missing_frames").get<Integers>(),
        .step_to_frame = json->at("step_to_frame").get<Integers>(),
        .sha256 = json->at("sha256").get<std::string>()};
    if (meta.min_mm >= meta.max_mm) {
      Problem("{}: want min_depth_m below max_depth_m, have {} and {}",
              meta_,
              number("min_depth_m"),
              number("max_depth_m"));
    }
    if (depth_.valid_fraction &&
        std::abs(*depth_.valid_fraction - meta.valid_fraction) > kFractionTolerance) {
      Problem("{}: cameras.{}.depth_valid_fraction: want {} as in {}, have {}",
              kQualityFile,
              depth_.serial,
              meta.valid_fraction,
              meta_,
              *depth_.valid_fraction);
    }
    for (const char* const key : {"damaged_frames", "missing_frames"}) {
      CheckFrameList(key, json->at(key).get<Integers>(), meta.frames);
    }
    if (const Json& times = json->at("timestamps_ms"); !times.is_null()) {
      CheckLength("timestamps_ms", times.size(), meta.frames);
    }
    CheckSteps(meta, json->at("frame_to_step").get<Integers>());
    CheckImageSize(meta);
    return meta;
  }

  bool CheckKeys(const Json& json) {
    const std::size_t before = problems_.size();
    const auto find = [&](const char* key) -> const Json* {
      const auto found = json.find(key);
      if (found != json.end()) return &*found;
      Problem("{}: no key {}", meta_, key);
      return nullptr;
    };
    const std::pair<const char*, Json> fixed[] = {{"file", kDepthVideoFile},
                                                  {"codec", "ffv1"},
                                                  {"pix_fmt", "gray16le"},
                                                  {"unit", "millimetre"},
                                                  {"scale", 1000},
                                                  {"invalid_value", 0},
                                                  {"serial", depth_.serial}};
    for (const auto& [key, want] : fixed) {
      const Json* const value = find(key);
      if (value != nullptr && *value != want) {
        Problem("{}: {}: want {}, have {}", meta_, key, want.dump(), Shortened(*value));
      }
    }
    const auto check = [&](const Rule& rule, const Json* value) {
      if (value == nullptr || rule.fits(*value)) return;
      Problem("{}: {}: want {}, have {}", meta_, rule.key, rule.want, Shortened(*value));
    };
    for (const Rule& rule : kRules) check(rule, find(rule.key));
    if (json.contains("depth_every")) {
      check({"depth_every", "a count", IsCount}, &json.at("depth_every"));
    }
    return problems_.size() == before;
  }

  bool CheckLength(const char* key, std::size_t have, std::int64_t want) {
    if (static_cast<std::int64_t>(have) == want) return true;
    Problem("{}: {}: want {} entries, have {}", meta_, key, want, have);
    return false;
  }

  /// Frames by their numbers, rising.
  void CheckFrameList(const char* key, const Integers& list, std::int64_t frames) {
    std::int64_t least = 0;
    for (const std::int64_t frame : list) {
      if (frame < least || frame >= frames) {
        Problem("{}: {}: want rising numbers from 0 to {}, have {}", meta_, key, frames - 1, frame);
        return;
      }
      least = frame + 1;
    }
  }

  /// step_to_frame and frame_to_step say the same, and the same as video.json.
  void CheckSteps(const Meta& meta, const Integers& frame_to_step) {
    const Integers& steps = meta.step_to_frame;
    if (depth_.steps > 0 && !CheckLength("step_to_frame", steps.size(), depth_.steps)) return;
    if (!CheckLength("frame_to_step", frame_to_step.size(), meta.frames)) return;
    Integers first(frame_to_step.size(), -1);  // first step of each frame
    for (std::size_t step = 0; step < steps.size(); ++step) {
      const std::int64_t frame = steps[step];
      if (frame < -1 || frame >= meta.frames) {
        Problem("{}: step_to_frame: want frames from -1 to {}, have {} at step {}",
                meta_,
                meta.frames - 1,
                frame,
                step);
        return;
      }
      if (frame >= 0 && first[static_cast<std::size_t>(frame)] < 0) {
        first[static_cast<std::size_t>(frame)] = static_cast<std::int64_t>(step);
      }
    }
    if (const auto [want, have] = std::ranges::mismatch(first, frame_to_step);
        want != first.end()) {
      Problem("{}: frame_to_step: frame {}: want {} by step_to_frame, have {}",
              meta_,
              want - first.begin(),
              *want,
              *have);
    }
    if (!depth_.step_to_frame || depth_.step_to_frame->size() != steps.size()) return;
    for (std::size_t step = 0; step < steps.size(); ++step) {
      const std::int64_t want = DepthFrameOf((*depth_.step_to_frame)[step], meta);
      if (steps[step] == want) continue;
      Problem("{}: step_to_frame: step {}: want {} by {}, have {}",
              meta_,
              step,
              want,
              VideoFile(depth_.serial).string(),
              steps[step]);
      return;
    }
  }

  void CheckImageSize(const Meta& meta) {
    const fs::path name = IntrinsicsFile(depth_.serial);
    const std::optional<Json> intrinsics = ReadJson(name);
    if (!intrinsics) return;
    for (const auto& [key, have_px] :
         {std::pair{"width", meta.width_px}, std::pair{"height", meta.height_px}}) {
      const Json want_px = intrinsics->value(key, Json());
      if (want_px == have_px) continue;
      Problem(
          "{}: {}: want {} as in {}, have {}", meta_, key, want_px.dump(), name.string(), have_px);
    }
  }

  std::optional<DepthComparison> CheckVideo(const std::optional<Meta>& meta) {
    auto reader = DepthVideoReader::Open(directory_ / video_, depth_.decode_threads);
    if (!reader) {
      Problem("{}: {}", video_, reader.error().message);
      return std::nullopt;
    }
    const bool is_tiny = std::min(reader->width_px(), reader->height_px()) < kMinVersion3Side_px;
    if (!is_tiny && reader->ffv1_version() != kFfv1Version) {
      Problem("{}: want FFV1 version {}, have {}", video_, kFfv1Version, reader->ffv1_version());
    }
    if (meta) {
      if (reader->width_px() != meta->width_px || reader->height_px() != meta->height_px) {
        Problem("{}: want {}x{} px as in {}, have {}x{}",
                video_,
                meta->width_px,
                meta->height_px,
                meta_,
                reader->width_px(),
                reader->height_px());
      }
      CheckSha256(*meta);
    }
    const Meta wanted = meta.value_or(Meta());
    Comparison comparison(depth_, wanted);
    std::optional<std::int64_t> frames = reader->frame_count();
    bool is_compared = false;
    if (depth_.every_frame) {
      const Tally tally = CheckFrames(*reader, wanted, comparison);
      is_compared = tally.is_whole && meta;
      if (tally.is_whole) {
        frames = tally.frames;
        if (meta) CheckValidFraction(*meta, tally);
      }
    }
    if (meta && frames && *frames != meta->frames) {
      Problem("{}: want {} frames as in {}, have {}", video_, meta->frames, meta_, *frames);
    }
    return is_compared ? CheckPoints(comparison) : std::nullopt;
  }

  void CheckSha256(const Meta& meta) {
    const Result<std::string> sha256 = Sha256OfFile(directory_ / video_);
    if (!sha256) {
      Problem("{}: {}", video_, sha256.error().message);
    } else if (*sha256 != meta.sha256) {
      Problem("{}: want sha256 {} as in {}, have {}", video_, meta.sha256, meta_, *sha256);
    }
  }

  struct Tally {
    std::int64_t frames = 0;
    std::int64_t valid_px = 0;
    std::int64_t all_px = 0;
    bool is_whole = false;  ///< all frames were decoded
  };

  Tally CheckFrames(DepthVideoReader& reader, const Meta& meta, Comparison& comparison) {
    Tally tally;
    bool is_in_range = true;
    DepthView depth_mm;
    for (;; ++tally.frames) {
      const Result<bool> more = reader.Next(depth_mm);
      if (!more) {
        Problem("{}: {}", video_, more.error().message);
        return tally;
      }
      if (!*more) break;
      const std::int64_t valid_px = CountValid(depth_mm);
      if (valid_px > 0 && std::ranges::binary_search(meta.missing, tally.frames)) {
        Problem("{}: frame {}: want no depth as in {}'s missing_frames, have {} pixels with depth",
                video_,
                tally.frames,
                meta_,
                valid_px);
      }
      if (is_in_range) is_in_range = CheckRange(depth_mm, tally.frames, meta);
      tally.valid_px += valid_px;
      tally.all_px += std::int64_t{depth_mm.width_px} * depth_mm.height_px;
      comparison.Add(tally.frames, depth_mm);
    }
    tally.is_whole = true;
    return tally;
  }

  static std::int64_t CountValid(DepthView depth_mm) {
    std::int64_t valid_px = 0;
    for (int y = 0; y < depth_mm.height_px; ++y) {
      const std::uint16_t* const row = depth_mm.row(y);
      valid_px += depth_mm.width_px - std::count(row, row + depth_mm.width_px, 0);
    }
    return valid_px;
  }

  bool CheckRange(DepthView depth_mm, std::int64_t frame, const Meta& meta) {
    const auto is_wrong = [&](std::uint16_t mm) {
      return mm != 0 && (mm < meta.min_mm || mm > meta.max_mm);
    };
    for (int y = 0; y < depth_mm.height_px; ++y) {
      const std::uint16_t* const row = depth_mm.row(y);
      const std::uint16_t* const end = row + depth_mm.width_px;
      const std::uint16_t* const wrong = std::find_if(row, end, is_wrong);
      if (wrong == end) continue;
      Problem("{}: frame {}, pixel ({}, {}): want 0 or {} to {} mm as in {}, have {}",
              video_,
              frame,
              wrong - row,
              y,
              meta.min_mm,
              meta.max_mm,
              meta_,
              *wrong);
      return false;
    }
    return true;
  }

  void CheckValidFraction(const Meta& meta, const Tally& tally) {
    const double have = static_cast<double>(tally.valid_px) / static_cast<double>(tally.all_px);
    if (std::abs(have - meta.valid_fraction) <= kFractionTolerance) return;
    Problem(
        "{}: valid_fraction: want {} as in {}, have {}", meta_, have, video_, meta.valid_fraction);
  }

  std::optional<DepthComparison> CheckPoints(Comparison& comparison) {
    const std::optional<DepthComparison> result = comparison.Finish();
    if (result && comparison.behind() > result->points) {
      Problem(
          "{}: tracks_2d_{}: want points in front of the camera, have {} of {} in the image behind "
          "it",
          kTracksFile,
          depth_.serial,
          comparison.behind(),
          comparison.behind() + result->points);
    }
    return result;
  }

  const DepthToCheck& depth_;
  std::string video_;
  std::string meta_;
};

}  // namespace

CheckedDepth CheckDepth(const DepthToCheck& depth) { return DepthChecker(depth).Run(); }

}  // namespace droidflow

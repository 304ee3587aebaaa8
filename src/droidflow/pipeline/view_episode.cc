#include "droidflow/pipeline/view_episode.h"

#include "droidflow/core/base64.h"
#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/formats/mcap_writer.h"
#include "droidflow/formats/npz_reader.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/tracks_layout.h"
#include "droidflow/video/picture_file.h"
#include "droidflow/view/canvas.h"
#include "droidflow/view/colour_map.h"
#include "droidflow/view/track_overlay.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <span>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Message = nlohmann::ordered_json;

constexpr int kJpegQuantizer = 4;
constexpr double kPath_m = 0.002;  ///< thickness
constexpr double kDot_px = 3;
constexpr std::uint64_t kMillisecond_ns = 1'000'000;
constexpr std::uint64_t kSecond_ns = 1'000'000'000;

// ------------------------------------------------------------------ what messages are made of

Message TimeOf(std::uint64_t ns) { return {{"sec", ns / kSecond_ns}, {"nsec", ns % kSecond_ns}}; }
Message Xyz(const Vector3& v) { return {{"x", v.x()}, {"y", v.y()}, {"z", v.z()}}; }
Message Rotation(const Transform& pose) {
  const Eigen::Quaterniond q(pose.linear());
  return {{"x", q.x()}, {"y", q.y()}, {"z", q.z()}, {"w", q.w()}};
}
Message NoPose() {
  return {{"position", Xyz(Vector3::Zero())}, {"orientation", Rotation(Transform::Identity())}};
}
Message ColourOf(Rgb colour) {
  return {{"r", colour.r / 255.0}, {"g", colour.g / 255.0}, {"b", colour.b / 255.0}, {"a", 1}};
}
Message TransformOf(std::uint64_t ns, std::string_view child, const Transform& T_world_child) {
  return {{"timestamp", TimeOf(ns)},
          {"parent_frame_id", "world"},
          {"child_frame_id", child},
          {"translation", Xyz(T_world_child.translation())},
          {"rotation", Rotation(T_world_child)}};
}

// ------------------------------------------------------------------ their schemas

Message Type(std::string_view type) { return {{"type", type}}; }
Message ListOf(Message items) { return {{"type", "array"}, {"items", std::move(items)}}; }
Message Structure(Message properties) {
  return {{"type", "object"}, {"properties", std::move(properties)}};
}
Message BytesType() { return {{"type", "string"}, {"contentEncoding", "base64"}}; }
Message TimeType() { return Structure({{"sec", Type("integer")}, {"nsec", Type("integer")}}); }
Message NumbersType(std::initializer_list<std::string_view> names) {
  Message properties = Message::object();
  for (const std::string_view name : names) properties[std::string(name)] = Type("number");
  return Structure(std::move(properties));
}
Message ColourType() { return NumbersType({"r", "g", "b", "a"}); }
Message PoseType() {
  return Structure({{"position", NumbersType({"x", "y", "z"})},
                    {"orientation", NumbersType({"x", "y", "z", "w"})}});
}
Message PairsType() {
  return ListOf(Structure({{"key", Type("string")}, {"value", Type("string")}}));
}

Message TransformsSchema() {
  return {{"transforms",
           ListOf(Structure({{"timestamp", TimeType()},
                             {"parent_frame_id", Type("string")},
                             {"child_frame_id", Type("string")},
                             {"translation", NumbersType({"x", "y", "z"})},
                             {"rotation", NumbersType({"x", "y", "z", "w"})}}))}};
}
Message PointCloudSchema() {
  return {
      {"timestamp", TimeType()},
      {"frame_id", Type("string")},
      {"pose", PoseType()},
      {"point_stride", Type("integer")},
      {"fields",
       ListOf(Structure(
           {{"name", Type("string")}, {"offset", Type("integer")}, {"type", Type("integer")}}))},
      {"data", BytesType()}};
}
Message SceneSchema() {
  const Message line = Structure({{"type", Type("integer")},
                                  {"pose", PoseType()},
                                  {"thickness", Type("number")},
                                  {"scale_invariant", Type("boolean")},
                                  {"points", ListOf(NumbersType({"x", "y", "z"}))},
                                  {"color", ColourType()},
                                  {"colors", ListOf(ColourType())},
                                  {"indices", ListOf(Type("integer"))}});
  Message entity = {{"timestamp", TimeType()},
                    {"frame_id", Type("string")},
                    {"id", Type("string")},
                    {"lifetime", TimeType()},
                    {"frame_locked", Type("boolean")},
                    {"metadata", PairsType()}};
  for (const char* const shape :
       {"arrows", "cubes", "spheres", "cylinders", "lines", "triangles", "texts", "models"}) {
    entity[shape] = ListOf(shape == std::string_view("lines") ? line : Type("object"));
  }
  return {{"deletions", ListOf(Type("object"))}, {"entities", ListOf(Structure(entity))}};
}
Message CalibrationSchema() {
  return {{"timestamp", TimeType()},
          {"frame_id", Type("string")},
          {"width", Type("integer")},
          {"height", Type("integer")},
          {"distortion_model", Type("string")},
          {"D", ListOf(Type("number"))},
          {"K", ListOf(Type("number"))},
          {"R", ListOf(Type("number"))},
          {"P", ListOf(Type("number"))}};
}
Message CompressedImageSchema() {
  return {{"timestamp", TimeType()},
          {"frame_id", Type("string")},
          {"data", BytesType()},
          {"format", Type("string")}};
}
Message RawImageSchema() {
  return {{"timestamp", TimeType()},
          {"frame_id", Type("string")},
          {"width", Type("integer")},
          {"height", Type("integer")},
          {"encoding", Type("string")},
          {"step", Type("integer")},
          {"data", BytesType()}};
}
Message AnnotationsSchema() {
  const Message points = Structure({{"timestamp", TimeType()},
                                    {"type", Type("integer")},
                                    {"points", ListOf(NumbersType({"x", "y"}))},
                                    {"outline_color", ColourType()},
                                    {"outline_colors", ListOf(ColourType())},
                                    {"fill_color", ColourType()},
                                    {"thickness", Type("number")},
                                    {"metadata", PairsType()}});
  return {{"circles", ListOf(Type("object"))},
          {"points", ListOf(points)},
          {"texts", ListOf(Type("object"))}};
}
Message LogSchema() {
  return {{"timestamp", TimeType()},
          {"level", Type("integer")},
          {"message", Type("string")},
          {"name", Type("string")},
          {"file", Type("string")},
          {"line", Type("integer")}};
}

// ------------------------------------------------------------------ the file

/// Topics of an MCAP file, made as they are written to.
class TopicWriter {
 public:
  static Result<TopicWriter> Open(const fs::path& path) {
    McapWriterOptions options;
    options.compression = McapCompression::kZstd;
    DF_ASSIGN_OR_RETURN(McapWriter writer, McapWriter::Open(path, options));
    return TopicWriter(std::move(writer));
  }

  /// @param schema  makes the properties of a schema that is not there yet.
  Status Write(const std::string& topic,
               const std::string& schema_name,
               Message (*schema)(),
               std::uint64_t ns,
               const Message& message) {
    auto channel = channels_.find(topic);
    if (channel == channels_.end()) {
      auto known = schemas_.find(schema_name);
      if (known == schemas_.end()) {
        Message document = Structure(schema());
        document["title"] = schema_name;
        const std::string text = document.dump();
        DF_ASSIGN_OR_RETURN(
            const std::uint16_t id,
            writer_.AddSchema(schema_name, "jsonschema", std::as_bytes(std::span(text))));
        known = schemas_.emplace(schema_name, id).first;
      }
      DF_ASSIGN_OR_RETURN(const std::uint16_t id, writer_.AddChannel(topic, "json", known->second));
      channel = channels_.emplace(topic, id).first;
    }
    const std::string text = message.dump(-1, ' ', false, Message::error_handler_t::replace);
    ++messages_;
    return writer_.Write(channel->second, ns, std::as_bytes(std::span(text)));
  }
  Status Close() { return writer_.Close(); }
  [[nodiscard]] std::uint64_t messages() const { return messages_; }

 private:
  explicit TopicWriter(McapWriter writer) : writer_(std::move(writer)) {}

  McapWriter writer_;
  std::map<std::string, std::uint16_t> schemas_;
  std::map<std::string, std::uint16_t> channels_;
  std::uint64_t messages_ = 0;
};

/// Of a warning of quality.json.
std::string TextOf(const Message& warning) {
  if (warning.is_string()) return warning.get<std::string>();
  if (!warning.is_object()) return warning.dump();
  const auto word = [&](const char* key) {
    const auto found = warning.find(key);
    return found != warning.end() && found->is_string() ? found->get<std::string>() : "";
  };
  return fmt::format("{}: {}", word("code"), word("text"));
}

/// Writes the messages of one episode.
class EpisodeView {
 public:
  EpisodeView(FinishedEpisode episode, std::vector<double> points_m, const ViewOptions& options)
      : episode_(std::move(episode)), points_m_(std::move(points_m)), options_(options) {}

  Result<ViewedEpisode> Write(const fs::path& out);

 private:
  /// A camera's pictures are so wide and high, and so much smaller than they were.
  struct Size {
    int width_px = 0;
    int height_px = 0;
    double scale = 1;
  };

  [[nodiscard]] Size SizeOf(const FinishedCamera& camera) const;
  [[nodiscard]] std::uint64_t TimeAt(std::int64_t t) const;
  enum LogLevel : int { kInfo = 2, kWarning = 3 };
  static Status WriteLog(LogLevel level,
                         const std::string& text,
                         std::uint64_t ns,
                         TopicWriter& writer);
  /// Those that are not written yet.
  Status WriteNotes(std::uint64_t ns, TopicWriter& writer);
  Status WriteOnce(TopicWriter& writer);
  Status WriteStep(std::int64_t t, TopicWriter& writer);
  Status WriteCamera(FinishedCamera& camera, std::int64_t t, TopicWriter& writer);
  Status WritePicture(FinishedCamera& camera, std::int64_t t, TopicWriter& writer);
  Status WriteDepth(FinishedCamera& camera, std::int64_t t, TopicWriter& writer);
  [[nodiscard]] Message CloudAt(std::int64_t t) const;
  [[nodiscard]] Message MarksAt(const FinishedCamera& camera, std::int64_t t) const;

  FinishedEpisode episode_;
  std::vector<double> points_m_;  ///< [steps,points,3] world
  const ViewOptions& options_;
  std::size_t logged_notes_ = 0;
};

EpisodeView::Size EpisodeView::SizeOf(const FinishedCamera& camera) const {
  const Intrinsics& of = camera.intrinsics;
  if (options_.width_px == 0 || of.width_px <= options_.width_px) {
    return {of.width_px, of.height_px, 1};
  }
  const double scale = static_cast<double>(options_.width_px) / of.width_px;
  return {
      options_.width_px, std::max(static_cast<int>(std::lround(of.height_px * scale)), 1), scale};
}

std::uint64_t EpisodeView::TimeAt(std::int64_t t) const {
  const FinishedMotion& motion = episode_.motion;
  return static_cast<std::uint64_t>(std::max<std::int64_t>(motion.start_unix_ms, 0)) *
             kMillisecond_ns +
         static_cast<std::uint64_t>(std::llround(std::max(motion.time_s[t], 0.0) * 1e9));
}

Message EpisodeView::CloudAt(std::int64_t t) const {
  constexpr std::size_t kStride_bytes = 16;
  const std::int64_t count = episode_.motion.points;
  std::vector<std::byte> data(kStride_bytes * count);
  for (std::int64_t i = 0; i < count; ++i) {
    std::byte* const at = data.data() + kStride_bytes * i;
    for (int axis = 0; axis < 3; ++axis) {
      const auto value = static_cast<float>(points_m_[3 * (t * count + i) + axis]);
      std::memcpy(at + sizeof(value) * axis, &value, sizeof(value));
    }
    const Rgb colour = i < count / 2 ? kLeftFingerColour : kRightFingerColour;
    const std::uint8_t rgba[] = {colour.r, colour.g, colour.b, 255};
    std::memcpy(at + 12, rgba, sizeof(rgba));
  }
  static_assert(std::endian::native == std::endian::little);
  constexpr int kUint8 = 1;
  constexpr int kFloat32 = 7;
  Message fields = Message::array();
  for (const auto& [name, offset, type] : {std::tuple("x", 0, kFloat32),
                                           std::tuple("y", 4, kFloat32),
                                           std::tuple("z", 8, kFloat32),
                                           std::tuple("red", 12, kUint8),
                                           std::tuple("green", 13, kUint8),
                                           std::tuple("blue", 14, kUint8),
                                           std::tuple("alpha", 15, kUint8)}) {
    fields.push_back({{"name", name}, {"offset", offset}, {"type", type}});
  }
  return {{"timestamp", TimeOf(TimeAt(t))},
          {"frame_id", "world"},
          {"pose", NoPose()},
          {"point_stride", kStride_bytes},
          {"fields", std::move(fields)},
          {"data", Base64(data)}};
}

/// Contact points on a picture; those behind the camera are left out.
Message EpisodeView::MarksAt(const FinishedCamera& camera, std::int64_t t) const {
  constexpr int kPoints = 1;
  const double scale = SizeOf(camera).scale;
  const std::int64_t count = episode_.motion.points;
  const auto hundredths = [](double value) { return std::round(value * 100) / 100; };
  Message fingers = Message::array();
  for (const bool is_left : {true, false}) {
    Message points = Message::array();
    const std::int64_t first = is_left ? 0 : count / 2;
    for (std::int64_t i = first; i < first + count / 2; ++i) {
      const double* const pixel = camera.tracks_px.data() + 2 * (t * count + i);
      if (!std::isfinite(pixel[0] + pixel[1])) continue;
      // The origin is the corner of the first pixel here, not its centre.
      points.push_back({{"x", hundredths((pixel[0] + 0.5) * scale)},
                        {"y", hundredths((pixel[1] + 0.5) * scale)}});
    }
    const Message colour = ColourOf(is_left ? kLeftFingerColour : kRightFingerColour);
    fingers.push_back({{"timestamp", TimeOf(TimeAt(t))},
                       {"type", kPoints},
                       {"points", std::move(points)},
                       {"outline_color", colour},
                       {"outline_colors", Message::array()},
                       {"fill_color", colour},
                       {"thickness", kDot_px},
                       {"metadata", Message::array()}});
  }
  return {
      {"circles", Message::array()}, {"points", std::move(fingers)}, {"texts", Message::array()}};
}

Status EpisodeView::WriteLog(LogLevel level,
                             const std::string& text,
                             std::uint64_t ns,
                             TopicWriter& writer) {
  return writer.Write("/status",
                      "foxglove.Log",
                      LogSchema,
                      ns,
                      {{"timestamp", TimeOf(ns)},
                       {"level", static_cast<int>(level)},
                       {"message", text},
                       {"name", "droidflow"},
                       {"file", ""},
                       {"line", 0}});
}

Status EpisodeView::WriteNotes(std::uint64_t ns, TopicWriter& writer) {
  for (; logged_notes_ < episode_.notes.size(); ++logged_notes_) {
    DF_RETURN_IF_ERROR(WriteLog(kWarning, episode_.notes[logged_notes_], ns, writer));
  }
  return {};
}

Status EpisodeView::WriteOnce(TopicWriter& writer) {
  const std::uint64_t start = TimeAt(0);
  const Message quality = Message::parse(episode_.quality_json);
  const auto text_of = [&](const char* key) {
    const auto found = quality.find(key);
    return found != quality.end() && found->is_string() ? found->get<std::string>() : "";
  };
  DF_RETURN_IF_ERROR(WriteLog(kInfo,
                              fmt::format("episode {}, {}: {} steps, {:.2f} m",
                                          text_of("episode_id"),
                                          text_of("outcome"),
                                          episode_.motion.steps,
                                          episode_.motion.path_mm / 1000.0),
                              start,
                              writer));
  if (const auto warnings = quality.find("warnings");
      warnings != quality.end() && warnings->is_array()) {
    for (const Message& warning : *warnings) {
      DF_RETURN_IF_ERROR(WriteLog(kWarning, TextOf(warning), start, writer));
    }
  }
  DF_RETURN_IF_ERROR(WriteNotes(start, writer));

  const std::vector<Vector3>& path = episode_.motion.path_world_m;
  Message points = Message::array();
  Message colours = Message::array();
  for (std::size_t i = 0; i < path.size(); ++i) {
    points.push_back(Xyz(path[i]));
    colours.push_back(
        ColourOf(ViridisAt(static_cast<double>(i) / std::max<double>(path.size() - 1.0, 1))));
  }
  Message entity = {{"timestamp", TimeOf(start)},
                    {"frame_id", "world"},
                    {"id", "path"},
                    {"lifetime", TimeOf(0)},
                    {"frame_locked", false},
                    {"metadata", Message::array()}};
  for (const char* const shape :
       {"arrows", "cubes", "spheres", "cylinders", "lines", "triangles", "texts", "models"}) {
    entity[shape] = Message::array();
  }
  constexpr int kLineStrip = 0;
  entity["lines"].push_back({{"type", kLineStrip},
                             {"pose", NoPose()},
                             {"thickness", kPath_m},
                             {"scale_invariant", false},
                             {"points", std::move(points)},
                             {"color", ColourOf({255, 255, 255})},
                             {"colors", std::move(colours)},
                             {"indices", Message::array()}});
  return writer.Write(
      "/path",
      "foxglove.SceneUpdate",
      SceneSchema,
      start,
      {{"deletions", Message::array()}, {"entities", Message::array({std::move(entity)})}});
}

Status EpisodeView::WritePicture(FinishedCamera& camera, std::int64_t t, TopicWriter& writer) {
  const std::optional<RgbView> seen = camera.PictureAt(t, episode_.notes);
  if (!seen) return {};
  const Size size = SizeOf(camera);
  Canvas picture(size.width_px, size.height_px, {});
  picture.Paste(*seen, {0, 0, size.width_px, size.height_px});
  DF_ASSIGN_OR_RETURN(const std::vector<std::byte> jpeg,
                      EncodeJpeg(std::as_const(picture.picture()).view(), kJpegQuantizer));
  return writer.Write(fmt::format("/camera/{}/image", camera.name()),
                      "foxglove.CompressedImage",
                      CompressedImageSchema,
                      TimeAt(t),
                      {{"timestamp", TimeOf(TimeAt(t))},
                       {"frame_id", camera.name()},
                       {"data", Base64(jpeg)},
                       {"format", "jpeg"}});
}

Status EpisodeView::WriteDepth(FinishedCamera& camera, std::int64_t t, TopicWriter& writer) {
  const std::optional<DepthView> depth_mm = camera.DepthAt(t, episode_.notes);
  if (!depth_mm) return {};
  const Size size = SizeOf(camera);
  // Depth is not averaged: between near and far there is nothing.
  std::vector<std::uint16_t> rows(static_cast<std::size_t>(size.width_px) * size.height_px);
  for (int y = 0; y < size.height_px; ++y) {
    for (int x = 0; x < size.width_px; ++x) {
      rows[static_cast<std::size_t>(y) * size.width_px + x] =
          depth_mm->at((2 * x + 1) * depth_mm->width_px / (2 * size.width_px),
                       (2 * y + 1) * depth_mm->height_px / (2 * size.height_px));
    }
  }
  return writer.Write(fmt::format("/camera/{}/depth", camera.name()),
                      "foxglove.RawImage",
                      RawImageSchema,
                      TimeAt(t),
                      {{"timestamp", TimeOf(TimeAt(t))},
                       {"frame_id", camera.name()},
                       {"width", size.width_px},
                       {"height", size.height_px},
                       {"encoding", "16UC1"},
                       {"step", 2 * size.width_px},
                       {"data", Base64(std::as_bytes(std::span(rows)))}});
}

Status EpisodeView::WriteCamera(FinishedCamera& camera, std::int64_t t, TopicWriter& writer) {
  const std::uint64_t ns = TimeAt(t);
  const Intrinsics& k = camera.intrinsics;
  const auto [width_px, height_px, scale] = SizeOf(camera);
  const double fx = k.fx_px * scale;
  const double fy = k.fy_px * scale;
  // A pixel's centre is a whole number, on the large picture as on the small one.
  const double cx = (k.cx_px + 0.5) * scale - 0.5;
  const double cy = (k.cy_px + 0.5) * scale - 0.5;
  DF_RETURN_IF_ERROR(writer.Write(fmt::format("/camera/{}/calibration", camera.name()),
                                  "foxglove.CameraCalibration",
                                  CalibrationSchema,
                                  ns,
                                  {{"timestamp", TimeOf(ns)},
                                   {"frame_id", camera.name()},
                                   {"width", width_px},
                                   {"height", height_px},
                                   {"distortion_model", "plumb_bob"},
                                   {"D", {0, 0, 0, 0, 0}},
                                   {"K", {fx, 0, cx, 0, fy, cy, 0, 0, 1}},
                                   {"R", {1, 0, 0, 0, 1, 0, 0, 0, 1}},
                                   {"P", {fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0}}}));
  DF_RETURN_IF_ERROR(WritePicture(camera, t, writer));
  DF_RETURN_IF_ERROR(writer.Write(fmt::format("/camera/{}/tracks", camera.name()),
                                  "foxglove.ImageAnnotations",
                                  AnnotationsSchema,
                                  ns,
                                  MarksAt(camera, t)));
  return WriteDepth(camera, t, writer);
}

Status EpisodeView::WriteStep(std::int64_t t, TopicWriter& writer) {
  const std::uint64_t ns = TimeAt(t);
  Message transforms = Message::array();
  transforms.push_back(TransformOf(ns, "contact", episode_.motion.frames[t]));
  for (const FinishedCamera& camera : episode_.cameras) {
    transforms.push_back(TransformOf(ns, camera.name(), camera.WorldFromCamera(t)));
  }
  DF_RETURN_IF_ERROR(writer.Write("/tf",
                                  "foxglove.FrameTransforms",
                                  TransformsSchema,
                                  ns,
                                  {{"transforms", std::move(transforms)}}));
  DF_RETURN_IF_ERROR(
      writer.Write("/tracks", "foxglove.PointCloud", PointCloudSchema, ns, CloudAt(t)));
  for (FinishedCamera& camera : episode_.cameras) {
    DF_RETURN_IF_ERROR(WriteCamera(camera, t, writer));
  }
  return {};
}

Result<ViewedEpisode> EpisodeView::Write(const fs::path& out) {
  DF_ASSIGN_OR_RETURN(TopicWriter writer, TopicWriter::Open(out));
  DF_RETURN_IF_ERROR(WriteOnce(writer));
  ViewedEpisode viewed;
  std::uint64_t last = 0;
  for (std::int64_t t = 0; t < episode_.motion.steps; t += options_.every) {
    if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
    DF_RETURN_IF_ERROR(WriteStep(t, writer));
    last = TimeAt(t);
    ++viewed.steps;
  }
  for (const FinishedCamera& camera : episode_.cameras) camera.NoteTrouble(episode_.notes);
  DF_RETURN_IF_ERROR(WriteNotes(last, writer));
  DF_RETURN_IF_ERROR(writer.Close());
  viewed.messages = writer.messages();
  viewed.notes = std::move(episode_.notes);
  return viewed;
}

}  // namespace

Result<ViewedEpisode> WriteView(const fs::path& directory,
                                const fs::path& out,
                                const ViewOptions& options) {
  DF_ASSIGN_OR_RETURN(FinishedEpisode episode, LoadFinishedEpisode(directory, options));
  const fs::path tracks = directory / kTracksFile;
  constexpr std::string_view kPoints = "tracks_3d";
  DF_ASSIGN_OR_RETURN(const NpzReader npz, OpenTracks(tracks, std::span(&kPoints, 1)));
  DF_ASSIGN_OR_RETURN(const NpyArray points, npz.Read(kPoints));
  const std::int64_t wanted = episode.motion.steps * episode.motion.points * 3;
  if (points.size() != wanted) {
    return Fail(ErrorKind::kInvalidData,
                "tracks_3d: want {} numbers, have {}: {}",
                wanted,
                points.size(),
                tracks.string());
  }
  DF_ASSIGN_OR_RETURN(std::vector<double> points_m, points.ToDoubles());
  RemoveAbandoned(out);
  return EpisodeView(std::move(episode), std::move(points_m), options).Write(out);
}

}  // namespace droidflow

#include "droidflow/io/metadata_reader.h"

#include "droidflow/core/files.h"
#include "droidflow/episode/status.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <dirent.h>
#include <limits>
#include <memory>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::string_view kPrefix = "metadata_";
constexpr std::string_view kSuffix = ".json";

std::string TextOf(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// Nothing for a number beyond 2^63 - 1 too.
std::optional<std::int64_t> WholeNumberOf(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return std::nullopt;
  if (found->is_number_unsigned() &&
      found->get<std::uint64_t>() > std::numeric_limits<std::int64_t>::max()) {
    return std::nullopt;
  }
  return found->get<std::int64_t>();
}

std::string SerialOf(const Json& object, const std::string& key) {
  if (const auto number = WholeNumberOf(object, key)) return std::to_string(*number);
  return TextOf(object, key);
}

std::optional<PoseVector> PoseOf(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  PoseVector pose;
  if (found == object.end() || !found->is_array() || found->size() != pose.size()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < pose.size(); ++i) {
    const Json& value = (*found)[i];
    if (!value.is_number()) return std::nullopt;
    pose[i] = value.get<double>();
    if (!std::isfinite(pose[i])) return std::nullopt;
  }
  return pose;
}

// The parser's own message quotes the text around the error, which may be the person's name.
tl::unexpected<Error> NotJson(const std::string& text, std::size_t byte, const fs::path& path) {
  const std::size_t end = std::min(byte, text.size());
  const auto line =
      1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(end), '\n');
  return FailAs(status::kBadMetadata,
                ErrorKind::kInvalidData,
                "want json, have a syntax error at line {}, byte {} of {}: {}",
                line,
                byte,
                text.size(),
                path.string());
}

}  // namespace

std::optional<std::string_view> UuidFromMetadataName(std::string_view file_name) {
  if (file_name.size() <= kPrefix.size() + kSuffix.size() || !file_name.starts_with(kPrefix) ||
      !file_name.ends_with(kSuffix)) {
    return std::nullopt;
  }
  file_name.remove_prefix(kPrefix.size());
  file_name.remove_suffix(kSuffix.size());
  return file_name;
}

Result<fs::path> FindMetadataFile(const fs::path& episode_dir) {
  // Not std::filesystem: it takes each entry's path apart, and a scan asks this of 100,000 folders.
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(episode_dir.c_str()), closedir);
  if (!directory) return FailErrno(errno, "cannot list " + episode_dir.string());
  std::string first;
  errno = 0;
  // One thread reads this stream: readdir is safe.
  while (const dirent* entry = readdir(directory.get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string_view name = entry->d_name;
    if (UuidFromMetadataName(name) && (first.empty() || name < first)) first = name;
  }
  if (errno != 0) return FailErrno(errno, "cannot list " + episode_dir.string());
  if (first.empty()) {
    return FailAs(status::kNoMetadata,
                  ErrorKind::kNotFound,
                  "no metadata_<uuid>.json in {}",
                  episode_dir.string());
  }
  return episode_dir / first;
}

Result<EpisodeMetadata> ReadMetadata(const fs::path& episode_dir) {
  DF_ASSIGN_OR_RETURN(const fs::path path, FindMetadataFile(episode_dir));
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(path));
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::parse_error& error) {
    return NotJson(text, error.byte, path);
  } catch (const Json::exception&) {  // a number that no double holds: the parser keeps no position
    return FailAs(status::kBadMetadata,
                  ErrorKind::kInvalidData,
                  "want json with finite numbers, have a number out of range: {}",
                  path.string());
  }
  if (!json.is_object()) {
    return FailAs(status::kBadMetadata,
                  ErrorKind::kInvalidData,
                  "want a json object, have {}: {}",
                  json.type_name(),
                  path.string());
  }

  EpisodeMetadata metadata;
  metadata.uuid = UuidFromMetadataName(path.filename().native()).value_or("");
  metadata.lab = TextOf(json, "lab");
  metadata.current_task = TextOf(json, "current_task");
  metadata.building = TextOf(json, "building");
  metadata.scene_id = WholeNumberOf(json, "scene_id");
  metadata.trajectory_length = WholeNumberOf(json, "trajectory_length");
  for (const CameraRole role :
       {CameraRole::kExternal1, CameraRole::kExternal2, CameraRole::kWrist}) {
    const std::string prefix(ToString(role));
    std::string serial = SerialOf(json, prefix + "_cam_serial");
    if (serial.empty()) continue;
    metadata.cameras.push_back({.role = role,
                                .serial = std::move(serial),
                                .extrinsics = PoseOf(json, prefix + "_cam_extrinsics")});
  }
  return metadata;
}

}  // namespace droidflow

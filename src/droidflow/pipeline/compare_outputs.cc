#include "droidflow/pipeline/compare_outputs.h"

#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/formats/npz_reader.h"
#include "droidflow/pipeline/products.h"
#include "droidflow/pipeline/tracks_layout.h"
#include "droidflow/pipeline/verify.h"
#include "droidflow/video/depth_video.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <set>
#include <span>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// What differs from run to run, and how arrays are stored, whatever they hold.
constexpr std::array<std::string_view, 4> kChanging{
    "/timings_ms", "/provenance", "/config/tracks_layout", "/config/compress"};
constexpr std::size_t kShortest_digits = 5;  // of a serial
constexpr std::size_t kMostText = 60;

bool IsNumber(std::string_view text) {
  return !text.empty() &&
         std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c); });
}

/// A part of a name without what differs from episode to episode: a serial before or behind a "_",
/// a position in a list, a uuid.
std::string WithoutNumber(std::string_view part) {
  if (IsNumber(part) || std::ranges::count(part, '+') == 2) return "*";
  const std::size_t first = part.find('_');
  const std::size_t last = part.rfind('_');
  if (first == std::string_view::npos) return std::string(part);
  const auto is_serial = [](std::string_view text) {
    return text.size() >= kShortest_digits && IsNumber(text);
  };
  if (is_serial(part.substr(0, first))) return fmt::format("*{}", part.substr(first));
  if (is_serial(part.substr(last + 1))) return fmt::format("{}*", part.substr(0, last + 1));
  return std::string(part);
}

/// "a/17225336/b" and "a/3/b" as "a/*/b".
std::string WithoutNumbers(std::string_view path) {
  std::string text;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    text += WithoutNumber(path.substr(begin, end - begin));
    if (end < path.size()) text += '/';
    begin = end + 1;
  }
  return text;
}

std::string Shorten(std::string text) {
  if (text.size() > kMostText) text = text.substr(0, kMostText - 3) + "...";
  return text;
}

/// The largest difference of two rows of equally many numbers.
template <typename T>
double LargestDifference(std::span<const T> a, std::span<const T> b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const auto one = static_cast<double>(a[i]);
    const auto other = static_cast<double>(b[i]);
    if (one == other || (std::isnan(one) && std::isnan(other))) continue;
    const double difference = std::abs(one - other);
    largest = std::max(
        largest, std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference);
  }
  return largest;
}

class OutputComparer {
 public:
  OutputComparer(fs::path a, fs::path b, bool strict)
      : roots_{std::move(a), std::move(b)}, strict_(strict) {}

  Result<OutputComparison> Run();

 private:
  using Pair = std::array<fs::path, 2>;

  Status CompareEpisode(const fs::path& episode);
  Status CompareFile(const Pair& paths, const std::string& name);
  Status CompareNpz(const Pair& paths, const std::string& name);
  Status CompareJson(const Pair& paths, const std::string& name);
  Status CompareDepth(const Pair& paths, const std::string& name);

  void Equal(const std::string& key) { ++found_.keys[key].equal; }
  void Differ(const std::string& key, const fs::path& where, double largest) {
    ComparedKey& compared = found_.keys[key];
    ++compared.differing;
    if (!compared.what.empty() || largest <= compared.largest) return;
    compared.largest = largest;
    compared.where = where.string();
  }
  void Differ(const std::string& key, const fs::path& where, std::string what) {
    ComparedKey& compared = found_.keys[key];
    ++compared.differing;
    if (!compared.what.empty()) return;
    compared.what = std::move(what);
    compared.where = where.string();
  }

  std::array<fs::path, 2> roots_;
  bool strict_;
  OutputComparison found_;
};

Result<OutputComparison> OutputComparer::Run() {
  std::array<std::set<fs::path>, 2> episodes;
  for (std::size_t side = 0; side < 2; ++side) {
    DF_ASSIGN_OR_RETURN(const std::vector<fs::path> paths, FindEpisodeOutputs(roots_.at(side)));
    for (const fs::path& path : paths) {
      episodes.at(side).insert(path.lexically_relative(roots_.at(side)));
    }
  }
  for (const fs::path& episode : episodes[0]) {
    if (!episodes[1].contains(episode)) {
      found_.only_in_a.push_back(episode.string());
    } else {
      if (StopSignal() != 0) return Fail(ErrorKind::kCancelled, "stopped by a signal");
      DF_RETURN_IF_ERROR(CompareEpisode(episode));
      ++found_.episodes;
    }
  }
  for (const fs::path& episode : episodes[1]) {
    if (!episodes[0].contains(episode)) found_.only_in_b.push_back(episode.string());
  }
  return std::move(found_);
}

Status OutputComparer::CompareEpisode(const fs::path& episode) {
  std::array<std::set<std::string>, 2> names;
  for (std::size_t side = 0; side < 2; ++side) {
    DF_ASSIGN_OR_RETURN(const std::vector<FileStamp> files, ListFiles(roots_.at(side) / episode));
    for (const FileStamp& file : files) names.at(side).insert(file.name);
  }
  for (const std::string& name : names[0]) {
    if (names[1].contains(name)) {
      DF_RETURN_IF_ERROR(
          CompareFile({roots_[0] / episode / name, roots_[1] / episode / name}, name));
    } else {
      found_.only_in_a.push_back((episode / name).string());
    }
  }
  for (const std::string& name : names[1]) {
    if (!names[0].contains(name)) found_.only_in_b.push_back((episode / name).string());
  }
  return {};
}

Status OutputComparer::CompareFile(const Pair& paths, const std::string& name) {
  const fs::path extension = fs::path(name).extension();
  if (extension == ".npz") return CompareNpz(paths, name);
  if (extension == ".json") return CompareJson(paths, name);
  if (extension == ".mkv") return CompareDepth(paths, name);
  DF_ASSIGN_OR_RETURN(const std::string a, ReadFileText(paths[0]));
  DF_ASSIGN_OR_RETURN(const std::string b, ReadFileText(paths[1]));
  const std::string key = WithoutNumbers(name);
  if (a == b) {
    Equal(key);
  } else {
    Differ(key, paths[0], "other bytes");
  }
  return {};
}

Status OutputComparer::CompareNpz(const Pair& paths, const std::string& name) {
  // The same arrays in another layout are the same.
  const auto open = [&](const fs::path& path) {
    return name == kTracksFile ? OpenTracks(path) : NpzReader::Open(path);
  };
  DF_ASSIGN_OR_RETURN(const NpzReader a, open(paths[0]));
  DF_ASSIGN_OR_RETURN(const NpzReader b, open(paths[1]));
  const auto key_of = [&](const std::string& array) {
    return fmt::format("{} {}", name, WithoutNumber(array));
  };
  for (const std::string& array : b.names()) {
    if (!a.Contains(array)) Differ(key_of(array), paths[1], "only in B");
  }
  for (const std::string& array : a.names()) {
    const std::string key = key_of(array);
    if (!b.Contains(array)) {
      Differ(key, paths[0], "only in A");
      continue;
    }
    DF_ASSIGN_OR_RETURN(const NpyArray left, a.Read(array));
    DF_ASSIGN_OR_RETURN(const NpyArray right, b.Read(array));
    if (left.shape != right.shape) {
      Differ(key,
             paths[0],
             fmt::format("[{}] is [{}]", fmt::join(left.shape, ","), fmt::join(right.shape, ",")));
      continue;
    }
    const Result<std::vector<double>> numbers = left.ToDoubles();
    const Result<std::vector<double>> other_numbers = right.ToDoubles();
    if (numbers && other_numbers) {
      const double largest = LargestDifference<double>(*numbers, *other_numbers);
      if (largest > 0) {
        Differ(key, paths[0], largest);
      } else if (left.descr != right.descr) {
        Differ(key, paths[0], fmt::format("{} is {}", left.descr, right.descr));
      } else {
        Equal(key);
      }
      continue;
    }
    DF_ASSIGN_OR_RETURN(const std::vector<std::string> texts, left.ToStrings());
    DF_ASSIGN_OR_RETURN(const std::vector<std::string> other_texts, right.ToStrings());
    if (texts == other_texts) {
      Equal(key);
    } else {
      Differ(key,
             paths[0],
             Shorten(fmt::format(
                 "[{}] is [{}]", fmt::join(texts, ", "), fmt::join(other_texts, ", "))));
    }
  }
  return {};
}

Status OutputComparer::CompareJson(const Pair& paths, const std::string& name) {
  std::array<std::map<std::string, Json>, 2> values;
  for (std::size_t side = 0; side < 2; ++side) {
    DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(paths.at(side)));
    const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded()) {
      return Fail(ErrorKind::kInvalidData, "want JSON: {}", paths.at(side).string());
    }
    const Json flat = json.flatten();
    for (const auto& [pointer, value] : flat.items()) {
      const bool is_changing =
          name == kQualityFile && std::ranges::any_of(kChanging, [&path = pointer](auto key) {
            return path.starts_with(key);
          });
      if (strict_ || !is_changing) values.at(side).emplace(pointer, value);
    }
  }
  const auto key_of = [&](const std::string& pointer) {
    return fmt::format("{} {}", WithoutNumbers(name), WithoutNumbers(pointer));
  };
  for (const auto& [pointer, value] : values[1]) {
    if (!values[0].contains(pointer)) Differ(key_of(pointer), paths[1], "only in B");
  }
  for (const auto& [pointer, value] : values[0]) {
    const std::string key = key_of(pointer);
    const auto other = values[1].find(pointer);
    if (other == values[1].end()) {
      Differ(key, paths[0], "only in A");
    } else if (value == other->second) {
      Equal(key);
    } else if (value.is_number() && other->second.is_number()) {
      Differ(key, paths[0], std::abs(value.get<double>() - other->second.get<double>()));
    } else {
      Differ(key, paths[0], Shorten(fmt::format("{} is {}", value.dump(), other->second.dump())));
    }
  }
  return {};
}

Status OutputComparer::CompareDepth(const Pair& paths, const std::string& name) {
  const std::string key = WithoutNumbers(name);
  DF_ASSIGN_OR_RETURN(DepthVideoReader a, DepthVideoReader::Open(paths[0]));
  DF_ASSIGN_OR_RETURN(DepthVideoReader b, DepthVideoReader::Open(paths[1]));
  if (a.width_px() != b.width_px() || a.height_px() != b.height_px()) {
    Differ(
        key,
        paths[0],
        fmt::format("{}x{} is {}x{} px", a.width_px(), a.height_px(), b.width_px(), b.height_px()));
    return {};
  }
  double largest_mm = 0;
  for (std::int64_t frame = 0;; ++frame) {
    DepthView left;
    DepthView right;
    DF_ASSIGN_OR_RETURN(const bool has_left, a.Next(left));
    DF_ASSIGN_OR_RETURN(const bool has_right, b.Next(right));
    if (has_left != has_right) {
      Differ(key, paths[0], fmt::format("only {} has frame {}", has_left ? "A" : "B", frame));
      return {};
    }
    if (!has_left) break;
    for (int y = 0; y < left.height_px; ++y) {
      const auto row = [&](const DepthView& view) {
        return std::span(view.row(y), static_cast<std::size_t>(view.width_px));
      };
      if (std::ranges::equal(row(left), row(right))) continue;
      largest_mm = std::max(largest_mm, LargestDifference(row(left), row(right)));
    }
  }
  if (largest_mm > 0) {
    Differ(key, paths[0], largest_mm);
  } else {
    Equal(key);
  }
  return {};
}

}  // namespace

bool OutputComparison::is_equal() const {
  return only_in_a.empty() && only_in_b.empty() &&
         std::ranges::all_of(keys, [](const auto& key) { return key.second.differing == 0; });
}

Result<OutputComparison> CompareOutputs(const fs::path& a, const fs::path& b, bool strict) {
  return OutputComparer(a, b, strict).Run();
}

}  // namespace droidflow

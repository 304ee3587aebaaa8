#include "droidflow/pipeline/depth_pictures.h"

#include "droidflow/core/files.h"
#include "droidflow/pipeline/map_file.h"
#include "droidflow/video/depth_video.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fcntl.h>
#include <limits>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kVideoName = "depth.mkv";

class VideoPictures final : public DepthPictures {
 public:
  static Result<std::unique_ptr<DepthPictures>> Open(const fs::path& path, int decode_threads) {
    DF_ASSIGN_OR_RETURN(DepthVideoReader reader, DepthVideoReader::Open(path, decode_threads));
    return std::make_unique<VideoPictures>(std::move(reader));
  }
  explicit VideoPictures(DepthVideoReader reader) : reader_(std::move(reader)) {}

  Result<bool> Next(DepthView& depth_mm) override { return reader_.Next(depth_mm); }
  [[nodiscard]] std::optional<double> time_s() const override {
    return static_cast<double>(reader_.time_ms() - first_ms_) / 1000;
  }
  [[nodiscard]] std::optional<std::int64_t> count() const override { return reader_.frame_count(); }
  Status Seek(std::int64_t index) override { return reader_.Seek(index); }

 private:
  DepthVideoReader reader_;
  std::int64_t first_ms_ = reader_.time_ms();  ///< the first frame is read on opening
};

class MapPictures final : public DepthPictures {
 public:
  explicit MapPictures(std::vector<fs::path> paths) : paths_(std::move(paths)) {}

  Result<bool> Next(DepthView& depth_mm) override {
    if (next_ == paths_.size()) return false;
    DF_ASSIGN_OR_RETURN(const Image<float> map_m, ReadMap(paths_[next_], MapKind::kDepth));
    const bool is_first = depth_mm_.empty();
    if (!is_first &&
        (map_m.width_px() != depth_mm_.width_px() || map_m.height_px() != depth_mm_.height_px())) {
      return Fail(ErrorKind::kInvalidData,
                  "want {}x{} px, as the first map has, have {}x{}: {}",
                  depth_mm_.width_px(),
                  depth_mm_.height_px(),
                  map_m.width_px(),
                  map_m.height_px(),
                  paths_[next_].string());
    }
    depth_mm_.Resize(map_m.width_px(), map_m.height_px());
    for (int y = 0; y < map_m.height_px(); ++y) {
      for (int x = 0; x < map_m.width_px(); ++x) {
        constexpr float kMost_mm = std::numeric_limits<std::uint16_t>::max();
        const float rounded_mm = map_m.at(x, y) * 1000 + 0.5F;  // NaN compares false.
        depth_mm_.at(x, y) = rounded_mm < kMost_mm ? static_cast<std::uint16_t>(rounded_mm) : 0;
      }
    }
    depth_mm = std::as_const(depth_mm_).view();
    ++next_;
    return true;
  }
  [[nodiscard]] std::optional<double> time_s() const override { return std::nullopt; }
  [[nodiscard]] std::optional<std::int64_t> count() const override {
    return static_cast<std::int64_t>(paths_.size());
  }
  Status Seek(std::int64_t index) override {
    next_ = std::min(static_cast<std::size_t>(index), paths_.size());
    return {};
  }

 private:
  std::vector<fs::path> paths_;
  std::size_t next_ = 0;
  DepthImage depth_mm_;
};

Result<bool> IsMatroska(const fs::path& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return FailErrno(errno, "cannot open " + path.string());
  std::array<char, kMatroskaMagic.size()> head{};
  const ssize_t size = pread(fd.get(), head.data(), head.size(), 0);
  if (size < 0) return FailErrno(errno, "cannot read " + path.string());
  return std::string_view(head.data(), static_cast<std::size_t>(size)) == kMatroskaMagic;
}

Result<std::unique_ptr<DepthPictures>> OpenFolder(const fs::path& folder,
                                                  int decode_threads,
                                                  const fs::path& out) {
  std::error_code error;
  std::vector<fs::path> maps;
  std::vector<fs::path> videos;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const fs::path& path = entry->path();
    if (CheckMapName(path) && entry.depth() == 0) maps.push_back(path);
    if (path.filename() == kVideoName) videos.push_back(path);
  }
  if (error) return FailErrno(error.value(), "cannot list " + folder.string());
  std::ranges::sort(videos);
  std::ranges::sort(maps);
  if (videos.size() == 1) return VideoPictures::Open(videos[0], decode_threads);
  if (!videos.empty()) {
    return Fail(ErrorKind::kUsage,
                "want one depth.mkv, have {}, the first of them {}",
                videos.size(),
                videos[0].string());
  }
  if (maps.empty()) {
    return Fail(ErrorKind::kNotFound,
                "no depth.mkv in or below, and no .png, .pfm or .npy in: {}",
                folder.string());
  }
  for (const fs::path& map : maps) DF_RETURN_IF_ERROR(CheckNotOver(out, {map}));
  return std::make_unique<MapPictures>(std::move(maps));
}

}  // namespace

Result<std::unique_ptr<DepthPictures>> OpenDepthPictures(const fs::path& path,
                                                         int decode_threads,
                                                         const fs::path& out) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return OpenFolder(path, decode_threads, out);
  DF_RETURN_IF_ERROR(CheckNotOver(out, {path}));
  DF_ASSIGN_OR_RETURN(const bool is_matroska, IsMatroska(path));
  if (is_matroska) return VideoPictures::Open(path, decode_threads);
  return std::make_unique<MapPictures>(std::vector{path});
}

}  // namespace droidflow

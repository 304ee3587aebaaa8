#include "droidflow/core/source.h"

#include "droidflow/core/files.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPiece_bytes = std::size_t{1} << 18;

class FolderSource : public Source {
 public:
  explicit FolderSource(fs::path folder) : folder_(std::move(folder)) {}

  std::string Describe() const override { return folder_.string(); }

  Result<std::vector<SourceEntry>> List(const std::string& folder, ListDepth depth) override {
    std::vector<SourceEntry> entries;
    DF_RETURN_IF_ERROR(Add(folder_ / folder, "", depth, entries));
    std::ranges::sort(entries, {}, &SourceEntry::name);
    return entries;
  }

  Status Read(const std::string& path,
              std::uint64_t offset,
              std::optional<std::uint64_t> length,
              const Sink& sink) override {
    const fs::path file = folder_ / path;
    const UniqueFd fd(open(file.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return FailErrno(errno, "cannot open " + file.string());
    std::vector<std::byte> buffer(kPiece_bytes);
    for (std::uint64_t left = length.value_or(UINT64_MAX); left > 0;) {
      const ssize_t count = pread(fd.get(),
                                  buffer.data(),
                                  std::min<std::uint64_t>(left, buffer.size()),
                                  static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return FailErrno(errno, "cannot read " + file.string());
      if (count == 0) break;
      DF_RETURN_IF_ERROR(sink(std::span(buffer).first(static_cast<std::size_t>(count))));
      offset += static_cast<std::uint64_t>(count);
      left -= static_cast<std::uint64_t>(count);
    }
    return {};
  }

 private:
  static Status Add(const fs::path& directory,
                    const std::string& prefix,
                    ListDepth depth,
                    std::vector<SourceEntry>& entries) {
    std::error_code error;
    fs::directory_iterator entry(directory, error);
    for (const fs::directory_iterator end; !error && entry != end; entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      if (name.starts_with('.')) continue;
      std::error_code dangling;
      if (!entry->is_directory(dangling)) {
        const std::uint64_t size_bytes = entry->file_size(dangling);
        if (!dangling) entries.push_back({.name = prefix + name, .size_bytes = size_bytes});
      } else if (depth == ListDepth::kFolder) {
        entries.push_back({.name = prefix + name, .is_folder = true});
      } else {
        DF_RETURN_IF_ERROR(Add(entry->path(), prefix + name + "/", depth, entries));
      }
    }
    if (error) return FailErrno(error.value(), "cannot list " + directory.string());
    return {};
  }

  const fs::path folder_;
};

}  // namespace

Result<std::string> Source::ReadText(const std::string& path,
                                     std::uint64_t offset,
                                     std::optional<std::uint64_t> length) {
  std::string text;
  DF_RETURN_IF_ERROR(Read(path, offset, length, [&](std::span<const std::byte> bytes) -> Status {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }));
  return text;
}

std::unique_ptr<Source> MakeFolderSource(fs::path folder) {
  return std::make_unique<FolderSource>(std::move(folder));
}

}  // namespace droidflow

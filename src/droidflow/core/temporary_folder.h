#pragma once

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

namespace droidflow {

/// A folder where the system keeps temporary files ($TMPDIR), gone at the end.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> Make() {
    std::error_code error;
    const std::filesystem::path parent = std::filesystem::temp_directory_path(error);
    if (error) return FailErrno(error.value(), "no folder for temporary files");
    std::string path = (parent / "droidflow-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) return FailErrno(errno, "cannot make " + path);
    return TemporaryFolder(path);
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder() {
    if (!path_.empty()) (void)RemoveTree(path_);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace droidflow

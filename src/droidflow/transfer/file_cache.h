#pragma once

/// Files that were fetched once, kept for whoever wants them next.

#include "droidflow/core/result.h"

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>

namespace droidflow {

/// A tree of whole files. Others may read it, and several processes use it at once.
///
/// Where it holds more than its limit, the files that were used longest ago go, until a tenth of it
/// is free. What cannot be kept or removed is no error.
///
/// Thread  any.
class FileCache {
 public:
  /// @param limit_bytes  nothing: no limit.
  FileCache(std::filesystem::path folder, std::optional<std::uint64_t> limit_bytes);

  /// Gives a file of this size the name `to`: a link, where that can be, or a copy.
  /// @return false: it is not there.
  [[nodiscard]] bool Take(const std::string& path,
                          std::uint64_t size_bytes,
                          const std::filesystem::path& to);

  /// Keeps a whole file under a path below the folder.
  void Put(const std::string& path, const std::filesystem::path& from);

 private:
  void MakeRoom();

  const std::filesystem::path folder_;
  const std::optional<std::uint64_t> limit_bytes_;
  std::mutex mutex_;
  std::optional<std::uint64_t> held_bytes_ = {};  ///< as far as this process knows
};

}  // namespace droidflow

#pragma once

#include "droidflow/core/result.h"

#include <filesystem>

namespace droidflow {

/// Puts a finished file or folder in its place, unless something is there: of several processes,
/// on any machines, one does. On network file systems too. The caller has flushed what is in it.
///
/// Both must be on one file system. Parents of `final_path` are made and flushed.
///
/// @return false: something is there, and `ready` is where it was. An empty folder is nothing.
[[nodiscard]] Result<bool> PlaceNew(const std::filesystem::path& ready,
                                    const std::filesystem::path& final_path);

}  // namespace droidflow

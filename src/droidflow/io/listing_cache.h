#pragma once

#include "droidflow/core/source.h"

#include <filesystem>
#include <memory>

namespace droidflow {

/// A source whose listings are kept in a folder, a file for each, so that nobody asks for one
/// again: whoever wants new ones removes the folder. That there is no such folder is kept too, but
/// not of the source itself. Without a folder nothing is kept.
///
/// What cannot be written or read there is listed anew.
///
/// Thread  any, several processes included.
///
/// @param source  must live as long.
[[nodiscard]] std::unique_ptr<Source> KeepListings(Source& source, std::filesystem::path folder);

}  // namespace droidflow

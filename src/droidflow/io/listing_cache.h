#pragma once

#include "droidflow/core/source.h"

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

namespace droidflow {

/// Keeps what a source said of files, for ReadListing.
[[nodiscard]] Status WriteListing(std::span<const SourceEntry> entries,
                                  const std::filesystem::path& file);

/// @return kNotFound; kInvalidData for what WriteListing does not write.
[[nodiscard]] Result<std::vector<SourceEntry>> ReadListing(const std::filesystem::path& file);

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

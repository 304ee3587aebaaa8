#pragma once

/// What results were made of, and by what: `provenance` of quality.json.

#include "droidflow/core/files.h"
#include "droidflow/core/result.h"
#include "droidflow/core/source.h"
#include "droidflow/io/annotations.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace droidflow {

/// Size and time of change of a file; `name` is the path. @return kNotFound when there is none.
[[nodiscard]] Result<FileStamp> StampOfFile(const std::filesystem::path& path);

/// A file that a run reads whole, with its checksum.
struct FileChecksum {
  std::string path;
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;
  std::string sha256;
};

/// Checksums of the annotation files that are used, in the order of kAnnotationFiles. Each file is
/// read once: what SaveChecksums wrote into one of `caches` holds for a file of the same path, size
/// and time of change.
[[nodiscard]] Result<std::vector<FileChecksum>> ChecksumAnnotations(
    const AnnotationPaths& paths, std::span<const std::filesystem::path> caches);

/// Keeps checksums in a folder, for ChecksumAnnotations.
[[nodiscard]] Status SaveChecksums(std::span<const FileChecksum> files,
                                   const std::filesystem::path& folder);

/// A raw file that an episode was made of.
struct SourceFile {
  std::string file;  ///< relative to the raw episode's folder; calibration files by their name
  std::uint64_t size_bytes = 0;
  std::string sha256 = {};  ///< of all its bytes, as they were read; empty: it was not read whole
  // Of a file that was not read whole: one of this machine, or what the bucket says of it.
  std::optional<std::int64_t> modified_unix_ms = {};
  std::optional<SourceEntry> listed = {};
};

/// What is the same for all episodes of a run, a JSON object: `commit`, `config_sha256`,
/// `instruction_set`, `annotations`.
[[nodiscard]] std::string FormatRunProvenance(const std::string& config_json,
                                              std::span<const FileChecksum> annotations);

/// `provenance` of an episode, a JSON object.
///
/// @param run_provenance  FormatRunProvenance's.
[[nodiscard]] std::string FormatProvenance(const std::string& run_provenance,
                                           std::span<const SourceFile> sources);

}  // namespace droidflow

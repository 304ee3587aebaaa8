#include "droidflow/pipeline/provenance.h"

#include "droidflow/core/sha256.h"
#include "droidflow/depth/instruction_set.h"
#include "droidflow/pipeline/build_commit.h"

#include <algorithm>
#include <cerrno>
#include <future>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using ProvenanceJson = nlohmann::ordered_json;

constexpr const char kChecksumsFile[] = "annotation_checksums.json";

std::string Sha256OfText(const std::string& text) {
  Sha256 sha256;
  sha256.Add(std::as_bytes(std::span(text)));
  return sha256.Finish();
}

/// Those that can be read; a cache that cannot is none.
std::vector<FileChecksum> ReadChecksums(const fs::path& folder) {
  std::vector<FileChecksum> files;
  const Result<std::string> text = ReadFileText(folder / kChecksumsFile);
  if (!text) return files;
  const auto json = ProvenanceJson::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) return files;
  for (const ProvenanceJson& entry : json) {
    try {
      files.push_back({.path = entry.at("path"),
                       .size_bytes = entry.at("bytes"),
                       .mtime_ns = entry.at("mtime_ns"),
                       .sha256 = entry.at("sha256")});
    } catch (const ProvenanceJson::exception&) {
      return {};
    }
  }
  return files;
}

}  // namespace

Result<FileStamp> StampOfFile(const fs::path& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return FailErrno(errno, "cannot look at " + path.string());
  return FileStamp{
      .name = path.string(),
      .size_bytes = static_cast<std::uint64_t>(info.st_size),
      .mtime_ns = info.st_mtim.tv_sec * std::int64_t{1'000'000'000} + info.st_mtim.tv_nsec};
}

Result<std::vector<FileChecksum>> ChecksumAnnotations(const AnnotationPaths& paths,
                                                      std::span<const fs::path> caches) {
  std::vector<FileChecksum> known;
  for (const fs::path& folder : caches) {
    const std::vector<FileChecksum> files = ReadChecksums(folder);
    known.insert(known.end(), files.begin(), files.end());
  }
  std::vector<FileChecksum> checksums;
  std::vector<std::future<Result<std::string>>> sums;  // beside `checksums`
  for (const auto& path : {paths.superset,
                           paths.cam2base,
                           paths.intrinsics,
                           paths.episode_paths,
                           paths.serials,
                           paths.language,
                           paths.keep_ranges}) {
    if (!path) continue;
    DF_ASSIGN_OR_RETURN(const FileStamp stamp, StampOfFile(fs::absolute(*path).lexically_normal()));
    const FileChecksum file{.path = stamp.name,
                            .size_bytes = stamp.size_bytes,
                            .mtime_ns = stamp.mtime_ns,
                            .sha256 = {}};
    const auto same = std::ranges::find_if(known, [&](const FileChecksum& other) {
      return other.path == file.path && other.size_bytes == file.size_bytes &&
             other.mtime_ns == file.mtime_ns;
    });
    checksums.push_back(same == known.end() ? file : *same);
    sums.push_back(
        std::async(std::launch::async, [sum = checksums.back()]() -> Result<std::string> {
          if (!sum.sha256.empty()) return sum.sha256;
          return Sha256OfFile(sum.path);
        }));
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    DF_ASSIGN_OR_RETURN(checksums[i].sha256, sums[i].get());
  }
  return checksums;
}

Status SaveChecksums(std::span<const FileChecksum> files, const fs::path& folder) {
  ProvenanceJson json = ProvenanceJson::array();
  for (const FileChecksum& file : files) {
    json.push_back({{"path", file.path},
                    {"bytes", file.size_bytes},
                    {"mtime_ns", file.mtime_ns},
                    {"sha256", file.sha256}});
  }
  return WriteFileAtomically(
      folder / kChecksumsFile,
      json.dump(1, ' ', false, ProvenanceJson::error_handler_t::replace) + "\n");
}

std::string FormatRunProvenance(const std::string& config_json,
                                std::span<const FileChecksum> annotations) {
  ProvenanceJson files = ProvenanceJson::array();
  for (const FileChecksum& file : annotations) {
    files.push_back({{"file", fs::path(file.path).filename().string()},
                     {"bytes", file.size_bytes},
                     {"sha256", file.sha256}});
  }
  const std::string commit = build_info::kCommit;
  return ProvenanceJson{{"commit", commit.empty() ? ProvenanceJson() : ProvenanceJson(commit)},
                        {"config_sha256", Sha256OfText(config_json)},
                        {"instruction_set", InstructionSet()},
                        {"annotations", files}}
      .dump(-1, ' ', false, ProvenanceJson::error_handler_t::replace);
}

std::string FormatProvenance(const std::string& run_provenance,
                             std::span<const SourceFile> sources) {
  ProvenanceJson json = ProvenanceJson::parse(run_provenance);
  ProvenanceJson& files = json["sources"] = ProvenanceJson::array();
  for (const SourceFile& source : sources) {
    ProvenanceJson& file =
        files.emplace_back(ProvenanceJson{{"file", source.file}, {"bytes", source.size_bytes}});
    if (!source.sha256.empty()) file["sha256"] = source.sha256;
    if (source.modified_unix_ms) file["modified_ms"] = *source.modified_unix_ms;
    if (!source.listed) continue;
    const SourceEntry& listed = *source.listed;
    if (listed.crc32c) file["listed"]["crc32c"] = fmt::format("{:08x}", *listed.crc32c);
    if (!listed.md5.empty()) file["listed"]["md5"] = listed.md5;
  }
  return json.dump(-1, ' ', false, ProvenanceJson::error_handler_t::replace);
}

}  // namespace droidflow

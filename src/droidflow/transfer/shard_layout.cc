#include "droidflow/transfer/shard_layout.h"

#include "droidflow/core/sha256.h"
#include "droidflow/transfer/store.h"
#include "droidflow/transfer/tar_writer.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// Copies a file into the archive, if it is and stays what the queue knows of it.
///
/// @param archive_status  the archive's own failure, which no other episode would escape.
Result<Json> PackFile(TarWriter& tar,
                      const std::string& member,
                      const UploadEntry& entry,
                      const UploadFile& file,
                      Status& archive_status) {
  const fs::path path = entry.Source(file);
  const auto check = [&]() -> Status {
    DF_ASSIGN_OR_RETURN(const UploadFile now, StampUploadFile(entry, file.name));
    if (now.SameStamp(file)) return {};
    return FailAs(
        store_status::kChanged, ErrorKind::kTransient, "it was changed: {}", path.string());
  };
  DF_RETURN_IF_ERROR(check());
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return FailErrno(errno, fmt::format("cannot open {}", path.string()));
  const Result<std::uint64_t> offset = tar.Begin(member, file.size_bytes);
  if (!offset) {
    archive_status = tl::unexpected(offset.error());
    return tl::unexpected(offset.error());
  }
  Sha256 hash;
  std::vector<std::byte> buffer(std::size_t{1} << 18);
  for (std::uint64_t rest = file.size_bytes; rest > 0;) {
    const ssize_t count =
        read(fd.get(), buffer.data(), std::min<std::uint64_t>(buffer.size(), rest));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FailErrno(errno, fmt::format("cannot read {}", path.string()));
    if (count == 0) break;
    const std::span piece = std::span(buffer).first(static_cast<std::size_t>(count));
    hash.Add(piece);
    if (Status status = tar.Write(piece); !status) {
      archive_status = status;
      return tl::unexpected(status.error());
    }
    rest -= piece.size();
  }
  DF_RETURN_IF_ERROR(check());
  if (Status status = tar.End(); !status) {
    archive_status = status;
    return tl::unexpected(status.error());
  }
  return Json{{"name", file.name},
              {"member", member},
              {"offset", *offset},
              {"size", file.size_bytes},
              {"sha256", hash.Finish()}};
}

/// Null when it is no JSON: the file is in the shard anyway.
Json ReadInlined(const fs::path& path) {
  const Result<std::string> text = ReadFileText(path);
  if (!text) return nullptr;
  Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  return json.is_discarded() ? Json(nullptr) : json;
}

/// @param read  may throw what nlohmann-json throws when a key is missing or of another type.
template <typename Read>
Status EachLine(const std::string& text, const Read& read) {
  int number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    ++number;
    try {
      read(nlohmann::json::parse(text.begin() + static_cast<std::ptrdiff_t>(begin),
                                 text.begin() + static_cast<std::ptrdiff_t>(end)));
    } catch (const nlohmann::json::exception& error) {
      return Fail(
          ErrorKind::kInvalidData, "want an episode's object, line {}: {}", number, error.what());
    }
    begin = end + 1;
  }
  return {};
}

}  // namespace

Result<std::string> ShardMemberName(const ShardOptions& options,
                                    const std::string& key,
                                    const std::string& name) {
  if (key.empty() || key.find_first_of("./") != std::string::npos) {
    return FailAs(store_status::kRefused,
                  ErrorKind::kInvalidData,
                  "want a key without dots and slashes for a shard, have '{}'",
                  key);
  }
  std::string rest = name;
  if (!options.dropped_folder.empty() && rest.starts_with(options.dropped_folder)) {
    rest.erase(0, options.dropped_folder.size());
  }
  std::ranges::replace(rest, '/', '.');
  return key + "." + rest;
}

Result<BuiltShard> BuildShard(const ShardOptions& options,
                              const fs::path& staging,
                              const std::string& name,
                              const std::string& group,
                              std::vector<QueuedEntry> episodes) {
  const fs::path directory = staging / name;
  DF_RETURN_IF_ERROR(RemoveTree(directory));
  const std::string tar_name = fmt::format("data/{}{}.tar", group.empty() ? "" : group + "/", name);
  const std::string index_name = fmt::format("meta/{}.jsonl", name);

  BuiltShard shard;
  shard.entry = {.destination = episodes.empty() ? "" : episodes.front().entry.destination,
                 .key = name,
                 .root = staging,
                 .folder = name,
                 .prefix = options.prefix};
  DF_ASSIGN_OR_RETURN(TarWriter tar, TarWriter::Create(directory / tar_name));
  DF_ASSIGN_OR_RETURN(AtomicFile index, AtomicFile::Create(directory / index_name));
  for (QueuedEntry& queued : episodes) {
    const std::uint64_t start = tar.size_bytes();
    Status archive_status;
    const auto pack = [&]() -> Result<Json> {
      Json members = Json::array();
      for (const UploadFile& file : queued.entry.files) {
        DF_ASSIGN_OR_RETURN(const std::string member,
                            ShardMemberName(options, queued.entry.key, file.name));
        DF_ASSIGN_OR_RETURN(Json packed, PackFile(tar, member, queued.entry, file, archive_status));
        members.push_back(std::move(packed));
      }
      return members;
    };
    Result<Json> members = pack();
    DF_RETURN_IF_ERROR(archive_status);
    if (!members) {
      DF_RETURN_IF_ERROR(tar.Truncate(start));
      shard.left_out.push_back({std::move(queued), std::move(members).error()});
      continue;
    }
    Json line{{"key", queued.entry.key},
              {"shard", tar_name},
              {"folder", queued.entry.folder},
              {"members", *std::move(members)}};
    if (!options.inlined_file.empty()) {
      line[fs::path(options.inlined_file).stem().string()] =
          ReadInlined(queued.entry.root / queued.entry.folder / options.inlined_file);
    }
    const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    DF_RETURN_IF_ERROR(index.Write(std::as_bytes(std::span(text))));
    shard.packed.push_back(std::move(queued));
  }
  if (shard.packed.empty()) return shard;
  DF_RETURN_IF_ERROR(tar.Finish());
  DF_RETURN_IF_ERROR(index.Commit());
  DF_ASSIGN_OR_RETURN(shard.entry.files, ListUploadFiles(staging, name));
  return shard;
}

bool IsShardIndex(std::string_view path) {
  return path.ends_with(".jsonl") &&
         (path.starts_with("meta/shard-") || path.find("/meta/shard-") != std::string_view::npos);
}

Result<std::vector<ShardedEpisode>> ParseShardEpisodes(const std::string& text) {
  std::vector<ShardedEpisode> episodes;
  DF_RETURN_IF_ERROR(EachLine(text, [&](const nlohmann::json& line) {
    ShardedEpisode episode{.key = line.at("key"),
                           .shard = line.at("shard"),
                           .folder = line.at("folder"),
                           .members = {}};
    for (const auto& member : line.at("members")) {
      episode.members.push_back({.name = member.at("name"),
                                 .offset = member.at("offset"),
                                 .size_bytes = member.at("size"),
                                 .sha256 = member.at("sha256")});
    }
    episodes.push_back(std::move(episode));
  }));
  return episodes;
}

Result<std::vector<std::string>> ParseShardIndex(const std::string& text) {
  std::vector<std::string> keys;
  DF_RETURN_IF_ERROR(
      EachLine(text, [&](const nlohmann::json& line) { keys.push_back(line.at("key")); }));
  return keys;
}

}  // namespace droidflow

#include "droidflow/io/listing_cache.h"

#include "droidflow/core/files.h"
#include "droidflow/core/sha256.h"

#include <utility>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

namespace fs = std::filesystem;

// Of a file's name: enough that no two listings meet.
constexpr std::size_t kListingNameDigits = 24;

nlohmann::json JsonOfListing(std::span<const SourceEntry> entries) {
  nlohmann::json list = nlohmann::json::array();
  for (const SourceEntry& entry : entries) {
    list.push_back({entry.name,
                    entry.is_folder,
                    entry.size_bytes,
                    entry.md5,
                    entry.sha256,
                    entry.crc32c ? nlohmann::json(*entry.crc32c) : nlohmann::json(nullptr)});
  }
  return list;
}

/// Throws where it is not what JsonOfListing makes.
std::vector<SourceEntry> EntriesOfListing(const nlohmann::json& list) {
  std::vector<SourceEntry> entries;
  entries.reserve(list.size());
  for (const nlohmann::json& item : list) {
    SourceEntry& entry = entries.emplace_back();
    entry.name = item.at(0).get<std::string>();
    entry.is_folder = item.at(1).get<bool>();
    entry.size_bytes = item.at(2).get<std::uint64_t>();
    entry.md5 = item.at(3).get<std::string>();
    entry.sha256 = item.at(4).get<std::string>();
    if (!item.at(5).is_null()) entry.crc32c = item.at(5).get<std::uint32_t>();
  }
  return entries;
}

Status WriteJson(const nlohmann::json& document, const fs::path& file) {
  return WriteFileAtomically(
      file, document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

class ListingKeeper : public Source {
 public:
  ListingKeeper(Source& source, fs::path folder) : source_(source), folder_(std::move(folder)) {}

  std::string Describe() const override { return source_.Describe(); }

  Result<std::vector<SourceEntry>> List(const std::string& folder, ListDepth depth) override {
    if (folder_.empty()) return source_.List(folder, depth);
    const std::string title = fmt::format(
        "{}/{}{}", source_.Describe(), folder, depth == ListDepth::kTree ? "/**" : "/*");
    Sha256 name;
    name.Add(std::as_bytes(std::span(title)));
    const fs::path file = folder_ / (name.Finish().substr(0, kListingNameDigits) + ".json");
    if (auto kept = Read(file, title)) return *std::move(kept);
    Result<std::vector<SourceEntry>> listed = source_.List(folder, depth);
    nlohmann::json document = {{"of", title}};
    if (listed) {
      document["entries"] = JsonOfListing(*listed);
    } else if (listed.error().kind == ErrorKind::kNotFound && !folder.empty()) {
      document["not_found"] = {{"status", listed.error().status},
                               {"message", listed.error().message}};
    } else {
      return listed;
    }
    (void)WriteJson(document, file);
    return listed;
  }

  Status Read(const std::string& path,
              std::uint64_t offset,
              std::optional<std::uint64_t> length,
              const Sink& sink) override {
    return source_.Read(path, offset, length, sink);
  }

 private:
  static std::optional<Result<std::vector<SourceEntry>>> Read(const fs::path& file,
                                                              const std::string& title) {
    const Result<std::string> text = ReadFileText(file);
    if (!text) return std::nullopt;
    try {
      const nlohmann::json document = nlohmann::json::parse(*text);
      if (document.at("of") != title) return std::nullopt;
      if (document.contains("entries")) return EntriesOfListing(document["entries"]);
      const nlohmann::json& missing = document.at("not_found");
      return tl::unexpected(Error{ErrorKind::kNotFound,
                                  missing.at("message").get<std::string>(),
                                  missing.at("status").get<std::string>()});
    } catch (const nlohmann::json::exception&) {
      return std::nullopt;
    }
  }

  Source& source_;
  const fs::path folder_;
};

}  // namespace

Status WriteListing(std::span<const SourceEntry> entries, const fs::path& file) {
  return WriteJson(JsonOfListing(entries), file);
}

Result<std::vector<SourceEntry>> ReadListing(const fs::path& file) {
  DF_ASSIGN_OR_RETURN(const std::string text, ReadFileText(file));
  try {
    return EntriesOfListing(nlohmann::json::parse(text));
  } catch (const nlohmann::json::exception& error) {
    return Fail(
        ErrorKind::kInvalidData, "want a listing of files, {}: {}", error.what(), file.string());
  }
}

std::unique_ptr<Source> KeepListings(Source& source, fs::path folder) {
  return std::make_unique<ListingKeeper>(source, std::move(folder));
}

}  // namespace droidflow

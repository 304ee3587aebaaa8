#include "droidflow/transfer/store_source.h"

#include <map>
#include <utility>

namespace droidflow {
namespace {

class StoreSource : public Source {
 public:
  StoreSource(Store& store, std::string revision) : store_(store), revision_(std::move(revision)) {}

  std::string Describe() const override { return store_.Describe(); }

  Result<std::vector<SourceEntry>> List(const std::string& folder, ListDepth depth) override {
    std::map<std::string, SourceEntry> by_name;
    const std::size_t skipped = folder.empty() ? 0 : folder.size() + 1;
    DF_RETURN_IF_ERROR(store_.List(revision_, folder, [&](const StoredFile& file) {
      std::string name = file.path.substr(skipped);
      const std::size_t slash = name.find('/');
      if (depth == ListDepth::kFolder && slash != std::string::npos) {
        name.resize(slash);
        by_name[name] = {.name = name, .is_folder = true};
      } else {
        by_name[name] = {.name = name, .size_bytes = file.size_bytes, .sha256 = file.sha256};
      }
    }));
    if (by_name.empty() && !folder.empty()) {
      return Fail(ErrorKind::kNotFound, "no such folder at {}: {}", Describe(), folder);
    }
    std::vector<SourceEntry> entries;
    entries.reserve(by_name.size());
    for (auto& [name, entry] : by_name) entries.push_back(std::move(entry));
    return entries;
  }

  Status Read(const std::string& path,
              std::uint64_t offset,
              std::optional<std::uint64_t> length,
              const Sink& sink) override {
    return store_.Read(revision_, path, offset, length, sink);
  }

 private:
  Store& store_;
  const std::string revision_;
};

}  // namespace

Result<std::unique_ptr<Source>> OpenStoreAsSource(Store& store) {
  DF_ASSIGN_OR_RETURN(std::string head, store.Head());
  return std::make_unique<StoreSource>(store, std::move(head));
}

}  // namespace droidflow

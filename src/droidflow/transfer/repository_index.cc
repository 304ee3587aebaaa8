#include "droidflow/transfer/repository_index.h"

#include "droidflow/transfer/shard_layout.h"

#include <utility>
#include <vector>

namespace droidflow {
namespace {

constexpr std::size_t kRows = 5000;  // per transaction: others want to write too

}  // namespace

Status IndexRepository(UploadQueue& queue, const std::string& destination, Store& store) {
  DF_ASSIGN_OR_RETURN(const std::string head, store.Head());
  DF_ASSIGN_OR_RETURN(const std::string indexed, queue.IndexedRevision(destination));
  if (head == indexed) return {};

  DF_ASSIGN_OR_RETURN(const std::int64_t index, queue.BeginIndex(destination));
  std::vector<std::string> names;
  std::vector<std::string> shard_indexes;
  Status written;
  const auto flush = [&](std::size_t at_least) {
    if (!written || names.size() < at_least) return;
    written = queue.AddToIndex(destination, index, names);
    names.clear();
  };
  DF_RETURN_IF_ERROR(store.List(head, "", [&](StoredFile file) {
    if (IsShardIndex(file.path)) shard_indexes.push_back(file.path);
    names.push_back(std::move(file.path));
    flush(kRows);
  }));
  for (const std::string& path : shard_indexes) {
    std::string text;
    DF_RETURN_IF_ERROR(
        store.Read(head, path, 0, std::nullopt, [&](std::span<const std::byte> bytes) -> Status {
          text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
          return {};
        }));
    Result<std::vector<std::string>> keys = ParseShardIndex(text);
    if (!keys) return tl::unexpected(During("reading " + path)(keys.error()));
    for (const std::string& key : *keys) names.push_back("/" + key);
    flush(kRows);
  }
  flush(1);
  DF_RETURN_IF_ERROR(written);
  return queue.FinishIndex(destination, index, head);
}

}  // namespace droidflow

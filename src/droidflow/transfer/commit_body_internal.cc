#include "droidflow/transfer/commit_body_internal.h"

#include "droidflow/core/base64.h"
#include "droidflow/transfer/checked_source_internal.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kPiece_bytes = std::size_t{3} << 16;  // of threes, so that base64 goes on

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::uint64_t Base64Size(std::uint64_t size_bytes) { return (size_bytes + 2) / 3 * 4; }

/// Walks through the pieces of a body.
class PieceReader {
 public:
  using Pieces = std::vector<std::variant<std::string, OutgoingFile>>;

  explicit PieceReader(std::shared_ptr<const Pieces> pieces) : pieces_(std::move(pieces)) {}

  Result<std::size_t> Read(std::span<std::byte> buffer) {
    while (at_ == ready_.size()) {
      if (!source_ && next_ == pieces_->size()) return 0;
      DF_RETURN_IF_ERROR(Prepare());
    }
    const std::size_t count = std::min(buffer.size(), ready_.size() - at_);
    std::memcpy(buffer.data(), ready_.data() + at_, count);
    at_ += count;
    return count;
  }

 private:
  /// Makes the next text ready, or opens the next file.
  Status Prepare() {
    at_ = 0;
    ready_.clear();
    if (source_) {
      std::vector<std::byte> bytes(kPiece_bytes);
      DF_ASSIGN_OR_RETURN(const std::size_t count, source_->Read(bytes));
      ready_ = Base64(std::span(bytes).first(count));
      if (count < bytes.size()) source_.reset();
      return {};
    }
    const auto& piece = (*pieces_)[next_++];
    if (const auto* text = std::get_if<std::string>(&piece)) {
      ready_ = *text;
      return {};
    }
    DF_ASSIGN_OR_RETURN(CheckedSource source, CheckedSource::Open(std::get<OutgoingFile>(piece)));
    source_ = std::make_unique<CheckedSource>(std::move(source));
    return {};
  }

  std::shared_ptr<const Pieces> pieces_;
  std::size_t next_ = 0;
  std::unique_ptr<CheckedSource> source_;  ///< of a file that is being read
  std::string ready_;
  std::size_t at_ = 0;  ///< in it
};

}  // namespace

CommitBody::CommitBody(const std::string& summary,
                       const std::string& description,
                       const std::string& parent) {
  Json header{{"summary", summary}, {"description", description}};
  if (!parent.empty()) header["parentCommit"] = parent;
  AddText(Dump({{"key", "header"}, {"value", header}}) + '\n');
}

void CommitBody::AddText(std::string_view text) {
  if (pieces_.empty() || !std::holds_alternative<std::string>(pieces_.back())) {
    pieces_.emplace_back(std::string());
  }
  std::get<std::string>(pieces_.back()) += text;
}

void CommitBody::AddLfsFile(const OutgoingFile& file) {
  AddText(Dump({{"key", "lfsFile"},
                {"value",
                 {{"path", file.path},
                  {"algo", "sha256"},
                  {"oid", file.sha256},
                  {"size", file.size_bytes}}}}) +
          '\n');
}

void CommitBody::AddContent(const std::string& path, const std::string& content) {
  AddText(Dump({{"key", "file"},
                {"value",
                 {{"content", Base64(std::as_bytes(std::span(content)))},
                  {"path", path},
                  {"encoding", "base64"}}}}) +
          '\n');
}

void CommitBody::AddFile(const OutgoingFile& file) {
  AddText(R"({"key":"file","value":{"content":")");
  pieces_.emplace_back(file);
  AddText(R"(","path":)" + Dump(file.path) + R"(,"encoding":"base64"}})" + '\n');
}

HttpBody CommitBody::Body() const {
  auto pieces = std::make_shared<const PieceReader::Pieces>(pieces_);
  std::uint64_t size_bytes = 0;
  for (const auto& piece : *pieces) {
    const auto* text = std::get_if<std::string>(&piece);
    size_bytes +=
        text != nullptr ? text->size() : Base64Size(std::get<OutgoingFile>(piece).size_bytes);
  }
  return {.size_bytes = size_bytes, .open = [pieces]() -> Result<HttpBody::Reader> {
            return [reader = std::make_shared<PieceReader>(pieces)](std::span<std::byte> buffer) {
              return reader->Read(buffer);
            };
          }};
}

}  // namespace droidflow

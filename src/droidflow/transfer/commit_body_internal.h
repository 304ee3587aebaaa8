#pragma once

#include "droidflow/transfer/http.h"
#include "droidflow/transfer/store.h"

#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace droidflow {

/// The lines of a commit as the Hub takes them. Files are read while they are sent.
class CommitBody {
 public:
  /// `parent` may be empty.
  CommitBody(const std::string& summary, const std::string& description, const std::string& parent);

  /// A file whose bytes are stored.
  void AddLfsFile(const OutgoingFile& file);
  /// A file whose bytes go with the commit.
  void AddFile(const OutgoingFile& file);
  void AddContent(const std::string& path, const std::string& content);

  [[nodiscard]] HttpBody Body() const;

 private:
  void AddText(std::string_view text);

  std::vector<std::variant<std::string, OutgoingFile>> pieces_;  ///< text, and files in base64
};

}  // namespace droidflow

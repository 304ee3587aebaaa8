#pragma once

/// INI files: sections, keys, values.

#include "droidflow/core/result.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace droidflow {

/// The values of one INI file. Sections and keys are compared without regard to case; of a key that
/// comes twice in a section the last value holds. Lines starting with ; or # are comments, and so
/// is what follows " ;" behind a value.
class Ini {
 public:
  /// The value, without the space around it.
  [[nodiscard]] std::optional<std::string_view> Find(std::string_view section,
                                                     std::string_view key) const;

  /// The value as a finite number.
  ///
  /// @return kNotFound without the key, kInvalidData when its value is no finite number.
  [[nodiscard]] Result<double> GetDouble(std::string_view section, std::string_view key) const;

  /// What messages call the file.
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  friend Result<Ini> ParseIni(std::string_view text, std::string_view name);

  std::string name_;
  std::map<std::pair<std::string, std::string>, std::string>
      values_;  ///< by lower-case section and key
};

/// Reads INI text. @return kInvalidData with the number of the first line that is none.
[[nodiscard]] Result<Ini> ParseIni(std::string_view text, std::string_view name);

/// Reads an INI file.
[[nodiscard]] Result<Ini> ReadIni(const std::filesystem::path& path);

}  // namespace droidflow

#pragma once

#include "droidflow/core/result.h"
#include "droidflow/pipeline/options.h"

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace droidflow {

/// The options table as flags of one command. A flag beats the environment, that beats the file of
/// --config, that beats the default.
class OptionFlags {
 public:
  /// Adds a flag per option of `groups`.
  void AddGroups(CLI::App& command, std::initializer_list<OptionInfo::Group> groups);

  /// Adds a flag per option of `groups`, --config and --print-config. Must outlive the parsing.
  void AddTo(CLI::App& command, std::initializer_list<OptionInfo::Group> groups);

  /// Adds the flags of single options.
  void AddKeys(CLI::App& command, std::initializer_list<std::string_view> keys);

  /// Adds one option as an optional positional, e.g. LIMIT; it and its flag are one.
  void AddPositional(CLI::App& command, const std::string& key, const std::string& name);

  /// @return kUsage with the flag, variable or file and line that is wrong; kNotFound for the file.
  [[nodiscard]] Result<MetadataOptions> Resolve() const;

  [[nodiscard]] bool print_config() const { return print_config_; }

 private:
  void Add(CLI::App& command, const OptionInfo& info);

  std::map<std::string, std::string> flags_;  ///< key -> text as given; absent keys are empty
  std::map<std::string, std::string> positionals_;
  std::map<std::string, bool> switches_;
  std::map<std::string, const CLI::Option*> options_;  ///< key -> flag with a value
  std::map<std::string, std::string> names_;           ///< key -> flag, where it is not the key's
  std::string config_;
  bool print_config_ = false;
};

}  // namespace droidflow

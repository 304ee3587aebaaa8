#include "droidflow/cli/option_flags.h"

#include "droidflow/core/environment.h"

#include <algorithm>
#include <utility>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace droidflow {
namespace {

/// Environment variables and the options they set.
constexpr std::pair<const char*, const char*> kEnvironment[] = {
    {"DROID_NUM_WORKERS", "workers"},
    {"DROID_WORKERS_PER_GPU", "workers_per_gpu"},
    {"DROID_NUM_GPUS", "gpus"},
    {"FAST_LOCAL_DIR", "scratch_dir"},
    {"STAGING_DIR", "staging_dir"},
    {"BATCH_UPLOAD_DIR", "batch_dir"},
    {"BATCH_UPLOAD_METADATA_DIR", "batch_metadata_dir"},
    {"BATCH_UPLOAD_INTERVAL", "upload_interval"},
    {"SKIP_HF_CHECK", "skip_hf_check"},
};

std::string FlagName(std::string key) {
  std::ranges::replace(key, '_', '-');
  return fmt::format("--{}", key);
}

const char* GroupTitle(OptionInfo::Group group) {
  switch (group) {
    case OptionInfo::Group::kInput:
      return "Input";
    case OptionInfo::Group::kFetch:
      return "Raw data from a bucket";
    case OptionInfo::Group::kTrack:
      return "Numbers";
    case OptionInfo::Group::kDepth:
      return "Depth";
    case OptionInfo::Group::kSelection:
      return "Which episodes";
    case OptionInfo::Group::kRun:
      return "Run";
    case OptionInfo::Group::kFull:
      return "Run with depth";
    case OptionInfo::Group::kHub:
      return "Upload";
  }
  return "";
}

}  // namespace

void OptionFlags::Add(CLI::App& command, const OptionInfo& info) {
  const std::string flag = FlagName(info.flag.empty() ? info.key : info.flag);
  const char* const title = GroupTitle(info.group);
  if (!info.flag.empty()) names_[info.key] = flag;
  if (info.has_negation) {
    command
        .add_flag_callback(
            flag, [this, key = info.key] { flags_[key] = "true"; }, info.help)
        ->group(title);
    command
        .add_flag_callback(
            FlagName("no-" + info.flag),
            [this, key = info.key] { flags_[key] = "false"; },
            fmt::format("Turns {} off", flag))
        ->group(title);
  } else if (info.value_name.empty()) {
    command.add_flag(flag, switches_[info.key], info.help)->group(title);
  } else {
    CLI::Option* const option =
        command.add_option(flag, flags_[info.key], info.help)->type_name(info.value_name);
    option->group(title);
    options_[info.key] = option;
    if (info.key == "droid_root") option->join(',');
  }
}

void OptionFlags::AddGroups(CLI::App& command, std::initializer_list<OptionInfo::Group> groups) {
  for (const OptionInfo& info : ListOptions()) {
    if (std::find(groups.begin(), groups.end(), info.group) != groups.end()) Add(command, info);
  }
}

void OptionFlags::AddTo(CLI::App& command, std::initializer_list<OptionInfo::Group> groups) {
  AddGroups(command, groups);
  command.add_option("--config", config_, "YAML file with any of these options")->type_name("FILE");
  command.add_flag("--print-config", print_config_, "Print the options in force as YAML and stop");
}

void OptionFlags::AddKeys(CLI::App& command, std::initializer_list<std::string_view> keys) {
  for (const OptionInfo& info : ListOptions()) {
    if (std::find(keys.begin(), keys.end(), info.key) != keys.end()) Add(command, info);
  }
}

void OptionFlags::AddPositional(CLI::App& command,
                                const std::string& key,
                                const std::string& name) {
  command.add_option(name, positionals_[key], fmt::format("Same as {}", FlagName(key)))
      ->type_name("N");
}

Result<MetadataOptions> OptionFlags::Resolve() const {
  MetadataOptions options;
  if (!config_.empty()) DF_RETURN_IF_ERROR(LoadConfig(config_, options));
  for (const auto& [variable, key] : kEnvironment) {
    if (!flags_.contains(key) && !switches_.contains(key)) continue;  // not for this command
    if (auto text = EnvironmentVariable(variable)) {
      if (switches_.contains(key) && (*text == "0" || *text == "1")) {
        *text = *text == "1" ? "true" : "false";
      }
      DF_RETURN_IF_ERROR(SetOption(key, *text, options).map_error(During(variable)));
    }
  }
  MetadataOptions unused;
  for (const auto* given : {&positionals_, &flags_}) {
    for (const auto& [key, text] : *given) {
      const auto option = given == &flags_ ? options_.find(key) : options_.end();
      const bool is_empty = option != options_.end() && option->second->count() > 0 && text.empty();
      if (text.empty() && !is_empty) continue;
      const std::string trimmed = text.substr(std::min(text.find_first_not_of(' '), text.size()));
      // What the user typed: "--backend: want …", not "depth_backend: want …".
      const auto name = names_.find(key);
      const std::string typed = name == names_.end() ? FlagName(key) : name->second;
      const std::string prefix = given == &flags_ ? typed : key;
      DF_RETURN_IF_ERROR(
          // An empty text is as none, but where it must be a number or one of some words.
          SetOption(key, trimmed, is_empty ? unused : options)
              .map_error([&, skipped = key.size()](const Error& error) {
                return Error{error.kind, prefix + error.message.substr(skipped)};
              }));
    }
  }
  for (const auto& [key, on] : switches_) {
    if (on) DF_RETURN_IF_ERROR(SetOption(key, "true", options));
  }
  DF_RETURN_IF_ERROR(CheckOptions(options));
  return options;
}

}  // namespace droidflow

#include "droidflow/cli/completion.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <string_view>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace droidflow {
namespace {

/// What an option or a positional takes, as far as the name of its value tells.
struct ValueKind {
  std::vector<std::string> words;  ///< one that ends in a colon is followed by a folder
  bool files = false;
  bool folders = false;
};

bool HasWord(std::string_view text, std::string_view word) {
  const auto is_part = [&](std::size_t i) {
    return i < text.size() && std::isalnum(static_cast<unsigned char>(text[i])) != 0;
  };
  for (std::size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
    if ((at == 0 || !is_part(at - 1)) && !is_part(at + word.size())) return true;
  }
  return false;
}

/// Of names such as "{fast,quality,external:DIR}", "file:DIR", "DIR", "FILE|ID,ID" and "SN.conf".
ValueKind KindOfValue(const std::string& name) {
  ValueKind kind;
  if (name.starts_with('{')) {
    for (std::string& word : CLI::detail::split(name.substr(1, name.find('}') - 1), ',')) {
      kind.words.push_back(word.substr(0, std::min(word.find(':'), word.size() - 1) + 1));
    }
  } else if (name.ends_with(":DIR")) {
    kind.words = {name.substr(0, name.size() - 3)};
  } else {
    constexpr std::string_view kFiles[] = {"FILE", "RESULT", "TRUTH"};
    kind.files = name.find('.') != name.npos ||
                 std::ranges::any_of(kFiles, [&](auto word) { return HasWord(name, word); });
    kind.folders = !kind.files && (HasWord(name, "DIR") || HasWord(name, "PATH"));
  }
  return kind;
}

bool IsFlag(std::string_view word) {
  return word.size() > 1 && word[0] == '-' && word[1] != '.' &&
         std::isdigit(static_cast<unsigned char>(word[1])) == 0;
}

/// The part of a help text that shells show: one line.
std::string OneLine(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  return text;
}

class Completion {
 public:
  explicit Completion(const std::vector<std::string>& words) : word_(words.back()) {}

  void AddWord(const std::string& word, const std::string& help = {}) {
    if (word.starts_with(word_)) text_ += fmt::format("{}\t{}\n", word, OneLine(help));
  }

  /// Of a value that begins after the first `skipped` letters of the word.
  void AddValues(const CLI::Option& option, std::size_t skipped = 0) {
    const std::string type = option.get_type_name();
    ValueKind kind = KindOfValue(type.empty() ? option.get_name(true) : type);
    // A positional that says no more than its name is a path.
    if (type.empty() && kind.words.empty() && !kind.folders) kind.files = true;
    const std::string prefix = word_.substr(0, skipped);
    for (const std::string& value : kind.words) {
      const std::string word = prefix + value;
      if (value.ends_with(':') && word_.starts_with(word)) {
        text_ += fmt::format(":folders\t{}\n", word);
      } else {
        AddWord(word, option.get_description());
      }
    }
    if (kind.files) text_ += fmt::format(":files\t{}\n", prefix);
    if (kind.folders) text_ += fmt::format(":folders\t{}\n", prefix);
  }

  void AddFlags(const CLI::App& command, const std::set<const CLI::Option*>& given) {
    for (const CLI::Option* option : command.get_options()) {
      const bool is_done = given.contains(option) && option->get_items_expected_max() <= 1;
      if (option->get_group().empty() || is_done) continue;
      for (const std::string& name : option->get_lnames()) {
        AddWord("--" + name, option->get_description());
      }
    }
  }

  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  const std::string& word_;
  std::string text_;
};

}  // namespace

std::string CompleteWords(const CLI::App& app, const std::vector<std::string>& words) {
  if (words.empty()) return {};
  const auto is_shown = [](const CLI::App* command) { return !command->get_group().empty(); };
  const CLI::App* command = &app;
  const CLI::Option* taking = nullptr;  // of which `left` more values may come
  int left = 0;
  std::size_t positionals_given = 0;
  std::set<const CLI::Option*> given;
  bool flags_end = false;
  for (auto word = words.begin(); word + 1 != words.end(); ++word) {
    const bool is_flag = !flags_end && IsFlag(*word);
    if (!is_flag && left > 0) {
      --left;
      continue;
    }
    left = 0;
    if (is_flag && *word == "--") {
      // Behind it some commands take another command with its options.
      if (command->get_option_no_throw("COMMAND") != nullptr) {
        return CompleteWords(app, {word + 1, words.end()});
      }
      flags_end = true;
    } else if (is_flag) {
      const std::size_t equals = word->find('=');
      taking = command->get_option_no_throw(word->substr(0, equals));
      if (taking == nullptr) continue;
      given.insert(taking);
      left = equals == word->npos ? taking->get_items_expected_max() : 0;
    } else {
      const auto named = [&](const CLI::App* sub) { return sub->check_name(*word); };
      const auto found = command->get_subcommands(named);
      if (found.empty()) {
        ++positionals_given;
      } else {
        command = found.front();
        given.clear();
      }
    }
  }

  const std::string& last = words.back();
  Completion completion(words);
  const std::size_t equals = last.find('=');
  if (!flags_end && last.starts_with("--") && equals != last.npos) {
    const CLI::Option* const option = command->get_option_no_throw(last.substr(0, equals));
    if (option != nullptr) completion.AddValues(*option, equals + 1);
  } else if (!flags_end && last.starts_with('-')) {
    completion.AddFlags(*command, given);
  } else if (left > 0) {
    completion.AddValues(*taking);
  } else {
    for (const CLI::App* sub : command->get_subcommands(is_shown)) {
      completion.AddWord(sub->get_name(), sub->get_description());
    }
    const auto positionals =
        command->get_options([](const CLI::Option* option) { return option->get_positional(); });
    if (!positionals.empty()) {
      completion.AddValues(*positionals[std::min(positionals_given, positionals.size() - 1)]);
    }
    if (completion.text().empty() && last.empty()) completion.AddFlags(*command, given);
  }
  return completion.text();
}

}  // namespace droidflow

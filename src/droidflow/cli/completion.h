#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace droidflow {

/// What may stand in place of the last of `words`, which follow the program's name: a line per
/// word, "WORD\tWHAT IT IS\n". ":files\tPREFIX" and ":folders\tPREFIX" ask for paths behind PREFIX,
/// with which the last word begins. Commands, options and values are those of the help texts.
[[nodiscard]] std::string CompleteWords(const CLI::App& app, const std::vector<std::string>& words);

}  // namespace droidflow

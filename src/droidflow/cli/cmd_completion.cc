#include "droidflow/cli/commands.h"
#include "droidflow/cli/completion_scripts.h"
#include "droidflow/cli/man_page.h"

#include <map>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace droidflow {

void AddCompletionCommands(CLI::App& app) {
  CLI::App* completion = app.add_subcommand(
      "completion", "Print the script by which a shell completes commands, options and values");
  static const std::map<std::string, const char*> scripts = {
      {"bash", kBashCompletion}, {"fish", kFishCompletion}, {"zsh", kZshCompletion}};
  auto shell = std::make_shared<std::string>();
  completion->add_option("SHELL", *shell, "bash, fish or zsh")
      ->required()
      ->check(CLI::IsMember(&scripts).description(""))
      ->type_name("{bash,fish,zsh}");
  completion->footer(
      "Example:\n  source <(droidflow completion bash)\nExit status: 0 done, 2 usage.");
  completion->callback([shell] { fmt::print("{}", scripts.at(*shell)); });
  completion->group("");

  CLI::App* man = app.add_subcommand("man", "Print the manual page");
  man->footer("Example:\n  droidflow man | man -l -\nExit status: 0 done, 2 usage.");
  man->callback([&app] { fmt::print("{}", FormatManPage(app)); });
  man->group("");
}

}  // namespace droidflow

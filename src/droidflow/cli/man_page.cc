#include "droidflow/cli/man_page.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace droidflow {
namespace {

/// Text as man(7) takes it: no letter is read as a macro or an escape, and '-' can be copied.
std::string Escape(std::string_view text) {
  std::string escaped;
  for (const char letter : text) {
    const bool is_line_start = escaped.empty() || escaped.back() == '\n';
    if (is_line_start && (letter == '.' || letter == '\'')) escaped += "\\&";
    if (letter == '\\') {
      escaped += "\\e";
    } else if (letter == '-') {
      escaped += "\\-";
    } else {
      escaped += letter;
    }
  }
  return escaped;
}

std::string Bold(std::string_view text) { return fmt::format("\\fB{}\\fR", Escape(text)); }
std::string Italic(std::string_view text) { return fmt::format("\\fI{}\\fR", Escape(text)); }

/// Lines that are indented are commands, and stay lines.
std::string FormatText(const std::string& text) {
  std::string page;
  bool in_example = false;
  for (const std::string& line : CLI::detail::split(text, '\n')) {
    const bool is_example = line.starts_with("  ");
    if (is_example != in_example) page += is_example ? ".PP\n.RS 4\n.nf\n" : ".fi\n.RE\n.PP\n";
    in_example = is_example;
    if (!line.empty()) page += Escape(is_example ? line.substr(2) : line) + "\n";
  }
  if (in_example) page += ".fi\n.RE\n";
  return page;
}

bool IsShown(const CLI::Option* option) { return !option->get_group().empty(); }

std::string PositionalName(const CLI::Option& option) {
  const std::string name = option.get_name(true) + (option.get_expected_max() > 1 ? "…" : "");
  return option.get_required() ? Italic(name) : fmt::format("[{}]", Italic(name));
}

/// "-o, --out FILE"
std::string OptionTerm(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back(Bold("-" + name));
  for (const std::string& name : option.get_lnames()) names.push_back(Bold("--" + name));
  std::string term = fmt::format("{}", fmt::join(names, ", "));
  if (option.get_items_expected_max() > 0) term += " " + Italic(option.get_type_name());
  if (!option.get_default_str().empty()) {
    term += Escape(fmt::format(" (={})", option.get_default_str()));
  }
  return term;
}

std::string FormatOptions(const CLI::App& command) {
  std::string page;
  const auto add = [&](const std::string& term, const CLI::Option& option) {
    page += fmt::format(".TP\n{}\n{}\n", term, Escape(option.get_description()));
  };
  for (const CLI::Option* option : command.get_options(IsShown)) {
    if (option->get_positional()) add(PositionalName(*option), *option);
  }
  for (const std::string& group : command.get_groups()) {
    if (group.empty()) continue;
    const auto options = command.get_options([&](const CLI::Option* option) {
      return option->get_group() == group && option->nonpositional();
    });
    if (options.empty()) continue;
    if (group != "Options") page += fmt::format(".PP\n{}:\n", Escape(group));
    for (const CLI::Option* option : options) add(OptionTerm(*option), *option);
  }
  return page;
}

void AddCommands(const CLI::App& parent, const std::string& parent_name, std::string& page) {
  const auto is_shown = [](const CLI::App* command) { return !command->get_group().empty(); };
  for (const CLI::App* command : parent.get_subcommands(is_shown)) {
    const std::string name = fmt::format("{} {}", parent_name, command->get_name());
    page +=
        fmt::format(".SS \"{}\"\n{}.PP\n", Escape(name), FormatText(command->get_description()));
    page += Bold(name);
    if (command->get_require_subcommand_min() > 0) page += " " + Italic("COMMAND");
    page += fmt::format(" [{}]", Italic("OPTION…"));
    for (const CLI::Option* option : command->get_options(IsShown)) {
      if (option->get_positional()) page += " " + PositionalName(*option);
    }
    page += "\n" + FormatOptions(*command) + ".PP\n" + FormatText(command->get_footer());
    AddCommands(*command, name, page);
  }
}

}  // namespace

std::string FormatManPage(const CLI::App& app) {
  const std::string version = app.version();  // "droidflow 0.1.0" and lines on the build
  std::string page = fmt::format(
      ".TH DROIDFLOW 1 \"\" \"{}\" \"User Commands\"\n"
      ".ad l\n"
      ".nh\n"
      ".SH NAME\n"
      "droidflow \\- raw DROID robot episodes into training data\n"
      ".SH SYNOPSIS\n"
      "{} {} [{}]\n"
      ".SH DESCRIPTION\n",
      Escape(version.substr(0, version.find('\n'))),
      Bold("droidflow"),
      Italic("COMMAND"),
      Italic("OPTION…"));
  page += FormatText(app.get_description()) + FormatOptions(app);
  page += ".SH COMMANDS\n";
  AddCommands(app, app.get_name(), page);
  return page + ".SH EXAMPLES AND EXIT STATUS\n" + FormatText(app.get_footer());
}

}  // namespace droidflow

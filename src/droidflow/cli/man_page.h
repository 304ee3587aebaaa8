#pragma once

#include <string>

namespace CLI {
class App;
}

namespace droidflow {

/// The manual page droidflow(1), in the macros of man(7): the help texts of all commands.
[[nodiscard]] std::string FormatManPage(const CLI::App& app);

}  // namespace droidflow

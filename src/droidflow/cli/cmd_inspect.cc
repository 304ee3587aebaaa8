#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/pipeline/inspect.h"

#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct InspectCommand {
  std::vector<std::string> files;
  InspectOptions options;
  bool json = false;
};

template <typename T>
Json NullUnless(bool known, const T& value) {
  return known ? Json(value) : Json(nullptr);
}

Json ToJson(const InspectedFile& file) {
  Json json = {{"file", file.file},
               {"kind", NullUnless(!file.kind.empty(), file.kind)},
               {"frames", NullUnless(file.frames.has_value(), file.frames.value_or(0))},
               {"width", NullUnless(file.width_px > 0, file.width_px)},
               {"height", NullUnless(file.height_px > 0, file.height_px)},
               {"serial", NullUnless(!file.serial.empty(), file.serial)},
               {"problems", file.problems}};
  if (!file.details_json.empty()) json.update(Json::parse(file.details_json));
  return json;
}

int RunInspect(const InspectCommand& command) {
  Json all = Json::array();
  std::vector<std::vector<std::string>> rows = {
      {"FILE", "KIND", "FRAMES", "SIZE", "SERIAL", "WHAT"}};
  std::string problems;
  int exit_code = kExitDone;
  for (const std::string& path : command.files) {
    Result<InspectedFile> inspected = InspectFile(path, command.options);
    if (!inspected) {
      exit_code = kExitNoInput;
      InspectedFile missing;
      missing.file = path;
      missing.problems.push_back(inspected.error().message);
      inspected = std::move(missing);
    } else if (!inspected->readable && exit_code == kExitDone) {
      exit_code = kExitFailed;
    }
    const InspectedFile& file = *inspected;
    all.push_back(ToJson(file));
    rows.push_back({file.file,
                    file.kind.empty() ? "-" : file.kind,
                    file.frames ? fmt::to_string(*file.frames) : "-",
                    file.width_px > 0 ? fmt::format("{}x{}", file.width_px, file.height_px) : "-",
                    file.serial.empty() ? "-" : file.serial,
                    file.summary});
    for (const std::string& problem : file.problems) {
      problems += fmt::format("droidflow: {}: {}\n", file.file, problem);
    }
  }
  if (command.json) {
    PrintJson(all);
  } else {
    fmt::print("{}", FormatTable(rows, {2}));
    fmt::print(stderr, "{}", problems);
  }
  return exit_code;
}

}  // namespace

void AddInspectCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<InspectCommand>();
  CLI::App* sub = app.add_subcommand(
      "inspect", "Say what files are: recordings, trajectories, calibration, results");
  sub->add_option("files", command->files, "Files")->required()->type_name("FILE");
  sub->add_flag("--rows",
                command->options.rows,
                "Decode stereo recordings and measure how well the rows of both eyes agree");
  sub->add_option("--conf-dir",
                  command->options.conf_dir,
                  "Calibration of raw recordings, SN<serial>.conf, for --rows")
      ->type_name("DIR");
  sub->add_option(
         "--decode-threads", command->options.decode_threads, "Threads that decode, for --rows")
      ->check(CLI::Range(1, 64).description(""))
      ->type_name("N")
      ->capture_default_str();
  sub->add_flag("--json", command->json, "Print a list with one object per file");
  sub->footer(
      "Sizes are those of one eye. For a conf file --json has the rectified camera of each "
      "resolution.\n"
      "Example:\n"
      "  droidflow inspect recordings/SVO/*.svo2 recordings/MP4/*.mp4 trajectory.h5\n"
      "Exit status: 0 every file was recognised and read, 1 one could not be read, 2 usage,\n"
      "10 one is missing.");
  sub->callback([command, &exit_code] { exit_code = RunInspect(*command); });
}

}  // namespace droidflow

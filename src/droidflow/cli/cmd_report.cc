#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/option_flags.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/files.h"
#include "droidflow/core/stop.h"
#include "droidflow/jobs/progress.h"
#include "droidflow/pipeline/doctor.h"
#include "droidflow/pipeline/raw_roots.h"
#include "droidflow/pipeline/report_page.h"

#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace droidflow {
namespace {

struct ReportCommand {
  OptionFlags flags;
  std::string directory;
  std::string out = "report.html";
  ReportOptions options;
  bool json = false;
};

int RunReport(ReportCommand& command) {
  const Result<MetadataOptions> options = command.flags.Resolve();
  if (!options) return Report(options.error());
  RenderOptions& render = command.options.render;
  Result<std::vector<std::filesystem::path>> folders = RecordingFolders(options->input);
  if (!folders) return Report(folders.error());
  render.droid_roots = *std::move(folders);
  render.conf_dir = options->input.conf_dir;
  render.decode_threads = UsableCores();
  InstallStopHandlers();
  Result<ReportData> report = GatherReport(command.directory, command.options);
  if (!report) return Report(report.error());
  const std::string page = FormatReportPage(*report);
  RemoveAbandoned(command.out);
  const Status written = WriteFileAtomically(command.out, page);
  if (!written) return Report(written.error());
  if (command.json) {
    PrintJson({{"file", command.out},
               {"bytes", page.size()},
               {"episodes", report->episodes.size()},
               {"pictures", report->sheets.size()},
               {"notes", report->notes}});
    return kExitDone;
  }
  for (const std::string& note : report->notes) fmt::print(stderr, "note: {}\n", note);
  fmt::print("{}, pictures of {}, {}: {}\n",
             Counted(report->episodes.size(), "episode"),
             report->sheets.size(),
             FormatBytes(static_cast<double>(page.size())),
             command.out);
  return kExitDone;
}

}  // namespace

void AddReportCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<ReportCommand>();
  CLI::App* sub = app.add_subcommand(
      "report", "One HTML page about a run: numbers, failures, distributions, pictures, episodes");
  sub->add_option("DIR", command->directory, "Folder of results, or a run's directory")
      ->required()
      ->type_name("");
  sub->add_option("-o,--out", command->out, "The page")->type_name("FILE")->capture_default_str();
  sub->add_option("--results",
                  command->options.results,
                  "Folder of results, where DIR is a run's directory elsewhere")
      ->type_name("DIR");
  sub->add_option(
         "--sheets", command->options.sheets, "Pictures of as many best, worst and random episodes")
      ->check(CLI::Range(0, 12).description(""))
      ->type_name("N")
      ->capture_default_str();
  sub->add_flag("--json", command->json, "Print what was written as JSON");
  command->flags.AddKeys(*sub, {"droid_root", "conf_dir"});
  sub->footer(
      "The page is one file without anything from elsewhere. Pictures show tracks over the\n"
      "recordings below --droid-root, without it on gray. Best and worst are by the score of\n"
      "`droidflow check` where it was run, else by the rank of the calibration metrics.\n"
      "Example:\n  droidflow report /data/tracks --droid-root /data/droid_raw/1.0.1\n"
      "Exit status: 0 done, 1 it cannot be written or a run is damaged, 2 usage, 10 no such run "
      "or\n"
      "no finished episode there, 130 stopped by a signal.");
  sub->callback([command, &exit_code] { exit_code = RunReport(*command); });
}

}  // namespace droidflow

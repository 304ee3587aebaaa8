#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/pipeline/synth.h"

#include <map>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct SynthCommand {
  std::string directory;
  SynthOptions options;
  std::string resolution = "HD";
  bool json = false;
  bool dry_run = false;
};

int RunSynth(const SynthCommand& command) {
  if (command.dry_run) {
    fmt::print("would write {} of {}{} to {}\n",
               Counted(command.options.episodes, "episode"),
               Counted(command.options.steps, "step"),
               command.options.faults ? " and one of each kind of broken episode" : "",
               command.directory);
    return kExitDone;
  }
  SynthOptions options = command.options;
  if (command.resolution == "VGA") {
    options.width_px = 672;
    options.height_px = 376;
  }
  const Result<SynthReport> report = Synthesize(command.directory, options);
  if (!report) return Report(report.error());
  if (command.json) {
    Json faults = Json::array();
    for (const SynthFault& fault : report->faults) {
      faults.push_back({{"kind", fault.kind},
                        {"uuid", fault.uuid},
                        {"path", fault.path},
                        {"expected", fault.expected},
                        {"outcome", fault.outcome}});
    }
    PrintJson({{"episodes", report->uuids}, {"faults", faults}});
    return kExitDone;
  }
  fmt::print("{} good and {} broken episodes: {}\n",
             report->uuids.size(),
             report->faults.size(),
             command.directory);
  return kExitDone;
}

}  // namespace

void AddSynthCommand(CLI::App& app, int& exit_code) {
  auto synth = std::make_shared<SynthCommand>();
  CLI::App* command = app.add_subcommand(
      "synth", "Make raw episodes, annotations and calibration files to try things on");
  command
      ->add_option("DIR", synth->directory, "New folder: raw/, annotations/, conf/, episodes.txt")
      ->required()
      ->type_name("");
  command->add_option("--episodes", synth->options.episodes, "Good episodes")
      ->check(CLI::Range(0, 1000000).description(""))
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--steps", synth->options.steps, "Control steps of each")
      ->check(CLI::Range(1, 100000).description(""))
      ->type_name("T")
      ->capture_default_str();
  command->add_option("--seed", synth->options.seed, "The same seed gives the same episodes")
      ->type_name("S")
      ->capture_default_str();
  const std::map<std::string, SynthVideo> videos = {{"still", SynthVideo::kStill},
                                                    {"mono", SynthVideo::kMono},
                                                    {"stereo", SynthVideo::kStereo},
                                                    {"svo2", SynthVideo::kSvo2}};
  command
      ->add_option("--video",
                   synth->options.video,
                   "Recordings of the good episodes: a still picture (default), the left eye, both "
                   "rectified eyes side by side, or both raw eyes as SVO2; all but the first come "
                   "with exact depth in DIR/truth")
      ->transform(CLI::CheckedTransformer(videos).description(""))
      ->type_name("{still,mono,stereo,svo2}");
  const std::map<std::string, VideoCodec> codecs = {{"mpeg4", VideoCodec::kMpeg4},
                                                    {"h264", VideoCodec::kH264}};
  command->add_option("--codec", synth->options.codec, "Of MP4 files that move (mpeg4)")
      ->transform(CLI::CheckedTransformer(codecs).description(""))
      ->type_name("{mpeg4,h264}");
  command->add_option("--resolution", synth->resolution, "Of an eye in recordings that move")
      ->check(CLI::IsMember({"HD", "VGA"}).description(""))
      ->type_name("{HD,VGA}")
      ->capture_default_str();
  command
      ->add_option("--conf-dir",
                   synth->options.conf_dir,
                   "Take the cameras from these calibration files, SN<serial>.conf")
      ->type_name("DIR");
  command
      ->add_option("--extrinsics-error-cm",
                   synth->options.extrinsics_error_cm,
                   "Write each camera's pose this far off, in a direction of its own")
      ->check(CLI::Range(0.0, 100.0).description(""))
      ->type_name("CM");
  command
      ->add_option("--extrinsics-error-deg",
                   synth->options.extrinsics_error_deg,
                   "Write each camera's pose turned so far, about an axis of its own")
      ->check(CLI::Range(0.0, 180.0).description(""))
      ->type_name("DEG");
  command
      ->add_option("--time-offset-frames",
                   synth->options.time_offset_frames,
                   "Frames by which recordings that move come late; also fractions")
      ->check(CLI::Range(-20.0, 20.0).description(""))
      ->type_name("N");
  command->add_flag("--passer-by",
                    synth->options.passer_by,
                    "Let someone walk to and fro behind the table in recordings that move");
  command->add_flag("--faults",
                    synth->options.faults,
                    "Add one of each kind of broken episode, and faults.json that lists them");
  command->add_flag("--json", synth->json, "Print what was made as JSON");
  command->add_flag("--dry-run", synth->dry_run, "Say what would be made and write nothing");
  command->footer(
      "Example:\n  droidflow synth demo --episodes 20 --faults\n"
      "  droidflow synth moving --episodes 2 --steps 40 --video stereo\n"
      "Exit status: 0 done, 1 failed, 2 usage (the folder holds episodes already).");
  command->callback([synth, &exit_code] { exit_code = RunSynth(*synth); });
}

}  // namespace droidflow

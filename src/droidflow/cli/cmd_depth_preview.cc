#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/core/stop.h"
#include "droidflow/pipeline/depth_pictures.h"
#include "droidflow/view/depth_preview.h"

#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct DepthPreviewCommand {
  std::string input;
  std::string out = "depth-preview.png";
  DepthPreviewOptions options;
  int decode_threads = 1;
  bool json = false;
  bool dry_run = false;
};

int RunDepthPreview(const DepthPreviewCommand& command) {
  if (const Status status = CheckDepthPreview(command.out, command.options); !status) {
    return Report(status.error());
  }
  const Result<std::unique_ptr<DepthPictures>> frames =
      OpenDepthPictures(command.input, command.decode_threads, command.out);
  if (!frames) return Report(frames.error());
  if (command.dry_run) {
    fmt::print("would write {}\n", command.out);
    return kExitDone;
  }
  InstallStopHandlers();
  const Result<DepthPreview> preview = PreviewDepth(**frames, command.out, command.options);
  if (!preview) return Report(preview.error());
  const DepthScale& scale = preview->scale;
  if (command.json) {
    const Json json = {{"file", command.out},
                       {"width", preview->width_px},
                       {"height", preview->height_px},
                       {"pictures", preview->pictures},
                       {"near_m", scale.near_mm / 1000.0},
                       {"far_m", scale.far_mm / 1000.0},
                       {"valid_fraction", preview->valid_share}};
    PrintJson(json);
    return kExitDone;
  }
  fmt::print("{} of depth, {:g} to {:g} m, {:.1f} % of the pixels have depth: {}\n",
             Counted(preview->pictures, "picture"),
             scale.near_mm / 1000.0,
             scale.far_mm / 1000.0,
             100 * preview->valid_share,
             command.out);
  return kExitDone;
}

}  // namespace

void AddDepthPreviewCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<DepthPreviewCommand>();
  CLI::App* sub =
      app.add_subcommand("depth-preview", "Make a picture or a video of depth, with a legend");
  sub->add_option("depth",
                  command->input,
                  "Depth video, map (16-bit PNG in mm, PFM or .npy in m), or folder of maps or of "
                  "one depth.mkv")
      ->required()
      ->type_name("FILE|DIR");
  sub->add_option("-o,--out", command->out, "Contact sheet (.png) or H.264 video (.mp4)")
      ->type_name("FILE")
      ->capture_default_str();
  sub->add_option("--near", command->options.near_m, "Metres that are yellow (1st percentile)")
      ->type_name("M");
  sub->add_option("--far", command->options.far_m, "Metres that are dark violet (99th percentile)")
      ->type_name("M");
  CLI::Option* const frame =
      sub->add_option("--frame", command->options.frame, "Only this frame, from 0; .png")
          ->type_name("N");
  sub->add_option("--every", command->options.every, "Each K-th frame (.png: 8 of all; .mp4: 1)")
      ->type_name("K")
      ->excludes(frame);
  sub->add_option("--decode-threads", command->decode_threads, "Threads that decode a video")
      ->check(CLI::Range(1, 64).description(""))
      ->type_name("N")
      ->capture_default_str();
  sub->add_flag("--json", command->json, "Print what was written as JSON");
  sub->add_flag("--dry-run", command->dry_run, "Say what would be written and write nothing");
  sub->footer(
      "Near is yellow, far is dark violet; what is nearer or farther has the colour of that end. "
      "Hatched\n"
      "in gray: no depth. With --every K an .mp4 plays K times as fast; each picture has its "
      "time.\n"
      "Example:\n"
      "  droidflow depth-preview out/recordings/22008760/depth.mkv -o depth.mp4 --near 0.3 --far "
      "1.5\n"
      "Exit status: 0 done, 1 the depth cannot be read or the picture not be written, 2 usage,\n"
      "10 no such file, 130 stopped by a signal.");
  sub->callback([command, &exit_code] { exit_code = RunDepthPreview(*command); });
}

}  // namespace droidflow

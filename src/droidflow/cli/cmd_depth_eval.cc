#include "droidflow/cli/commands.h"
#include "droidflow/cli/json_output.h"
#include "droidflow/cli/output.h"
#include "droidflow/depth/disparity_error.h"
#include "droidflow/pipeline/map_file.h"
#include "droidflow/video/picture_file.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using Json = nlohmann::ordered_json;

struct DepthEvalCommand {
  std::string result;
  std::string truth;
  std::string mask;
  bool json = false;
};

Json ToJson(const DisparityErrors& errors) {
  return {{"bad1", errors.bad1_percent},
          {"bad2", errors.bad2_percent},
          {"bad4", errors.bad4_percent},
          {"avg_px", errors.avg_px}};
}

std::vector<std::string> ToRow(const char* name, const DisparityErrors& errors) {
  return {name,
          fmt::format("{:.2f} %", errors.bad1_percent),
          fmt::format("{:.2f} %", errors.bad2_percent),
          fmt::format("{:.2f} %", errors.bad4_percent),
          fmt::format("{:.3f} px", errors.avg_px)};
}

Result<DisparityScore> Evaluate(const DepthEvalCommand& command) {
  DF_ASSIGN_OR_RETURN(const Image<float> result, ReadMap(command.result, MapKind::kDisparity));
  DF_ASSIGN_OR_RETURN(const Image<float> truth, ReadMap(command.truth, MapKind::kDisparity));
  std::optional<GrayImage> mask;
  if (!command.mask.empty()) {
    DF_ASSIGN_OR_RETURN(PictureFile picture, ReadPicture(command.mask));
    mask = ToGray8(std::move(picture));
  }
  return ScoreDisparity(result.view(), truth.view(), mask ? &*mask : nullptr)
      .map_error([&](Error error) {
        error.message += fmt::format(
            ": {} against {}{}{}", command.result, command.truth, mask ? " in " : "", command.mask);
        return error;
      });
}

int RunDepthEval(const DepthEvalCommand& command) {
  const Result<DisparityScore> score = Evaluate(command);
  if (!score) return Report(score.error());
  if (command.json) {
    const Json json = {{"pixels", score->pixels},
                       {"density", score->density_percent},
                       {"valid", score->valid ? ToJson(*score->valid) : Json(nullptr)},
                       {"dense", ToJson(score->dense)}};
    PrintJson(json);
    return kExitDone;
  }
  std::vector<std::vector<std::string>> rows = {{"", "BAD1", "BAD2", "BAD4", "AVG"}};
  if (score->valid) rows.push_back(ToRow("valid", *score->valid));
  rows.push_back(ToRow("dense", score->dense));
  fmt::print("{} pixels, {:.2f} % of them with a result\n{}",
             score->pixels,
             score->density_percent,
             FormatTable(rows, {1, 2, 3, 4}));
  return kExitDone;
}

}  // namespace

void AddDepthEvalCommand(CLI::App& app, int& exit_code) {
  auto command = std::make_shared<DepthEvalCommand>();
  CLI::App* sub = app.add_subcommand("depth-eval", "Score disparities against the truth");
  sub->add_option(
         "result", command->result, "Disparities: PFM, 16-bit PNG (64ths of a pixel) or npy")
      ->required()
      ->type_name("RESULT");
  sub->add_option("truth", command->truth, "The truth, in any of these formats")
      ->required()
      ->type_name("TRUTH");
  sub->add_option("--mask", command->mask, "Picture that is 255 where pixels count (all)")
      ->type_name("MASK.png");
  sub->add_flag("--json", command->json, "Print JSON");
  sub->footer(
      "bad1, bad2, bad4: percent of pixels that are wrong by more than so many pixels. valid: of "
      "those "
      "with a\n"
      "result. dense: of all, what has none being filled with the smaller of its neighbours in the "
      "row.\n"
      "Example:\n"
      "  droidflow depth-eval cones.pfm truth/gt.pfm --mask truth/nonocc.png\n"
      "Exit status: 0 done, 1 not such files, 2 usage, also for files of different sizes, 10 a "
      "file is missing.");
  sub->callback([command, &exit_code] { exit_code = RunDepthEval(*command); });
}

}  // namespace droidflow

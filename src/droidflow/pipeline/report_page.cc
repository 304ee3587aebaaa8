#include "droidflow/pipeline/report_page.h"

#include "droidflow/core/base64.h"
#include "droidflow/pipeline/build_info.h"
#include "droidflow/pipeline/report_page_text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace droidflow {
namespace {

using PageJson = nlohmann::ordered_json;

/// Five digits are more than a picture shows, and a third of the bytes. Whole numbers stay.
PageJson FiveDigits(double value) {
  if (!std::isfinite(value)) return nullptr;
  if (value == std::floor(value) && std::abs(value) < 1e15) return static_cast<std::int64_t>(value);
  const std::string text = fmt::format("{:.5g}", value);
  double rounded = 0;
  std::from_chars(text.data(), text.data() + text.size(), rounded);
  if (rounded == std::floor(rounded) && std::abs(rounded) < 1e15) {
    return static_cast<std::int64_t>(rounded);
  }
  return rounded;
}
PageJson FiveDigits(const std::optional<double>& value) {
  return value ? FiveDigits(*value) : PageJson(nullptr);
}

constexpr std::size_t kMostData_bytes = kMostReport_bytes * 7 / 10;  ///< the rest is for pictures
constexpr std::size_t kFigure_bytes = 2000;  ///< of HTML around a picture, with room to spare
/// The first that does is taken.
constexpr std::array<std::size_t, 4> kMostText_bytes = {4000, 1000, 300, 100};

/// Without its middle: messages begin with what was wrong and end with the file.
std::string WithoutMiddle(const std::string& text, std::size_t most_bytes) {
  if (text.size() <= most_bytes) return text;
  const auto is_inside = [&](std::size_t at) { return (text[at] & 0xC0) == 0x80; };  // of a letter
  std::size_t head = most_bytes / 2;
  std::size_t tail = text.size() - most_bytes / 2;
  while (head > 0 && is_inside(head)) --head;
  while (tail < text.size() && is_inside(tail)) ++tail;
  return text.substr(0, head) + " … " + text.substr(tail);
}

/// Texts that occur again and again, as numbers.
class TextTable {
 public:
  explicit TextTable(std::size_t most_bytes) : most_bytes_(most_bytes) {}

  std::size_t IndexOf(const std::string& text) {
    const auto [at, is_new] = index_.emplace(text, texts_.size());
    if (is_new) texts_.push_back(WithoutMiddle(text, most_bytes_));
    return at->second;
  }
  [[nodiscard]] const std::vector<std::string>& texts() const { return texts_; }

 private:
  std::size_t most_bytes_;
  std::vector<std::string> texts_;
  std::unordered_map<std::string, std::size_t> index_;
};

/// The order is that of `columns` in the document.
constexpr std::array kReportColumns{
    "key",   "path", "lab",      "outcome", "state",    "status", "message",
    "stage", "task", "attempts", "start_s", "time_s",   "bytes",  "stages_ms",
    "steps", "fps",  "path_m",   "idle",    "warnings", "score",  "cameras"};

PageJson RowOf(const ReportEpisode& episode, std::int64_t base_unix_ms, TextTable& texts) {
  const bool is_timed = episode.finished_unix_ms > 0 && episode.started_unix_ms > 0;
  const auto seconds = [](std::int64_t ms) { return static_cast<double>(ms) / 1000; };
  PageJson stages = PageJson::array();
  for (const StageTime& stage : episode.stages) {
    stages.push_back(texts.IndexOf(stage.name));
    stages.push_back(FiveDigits(stage.duration_ms));
  }
  PageJson warnings = PageJson::array();
  for (const std::string& code : episode.warnings) warnings.push_back(texts.IndexOf(code));
  PageJson cameras = PageJson::array();
  for (const ReportCamera& camera : episode.cameras) {
    cameras.push_back({texts.IndexOf(camera.serial),
                       texts.IndexOf(camera.role),
                       texts.IndexOf(camera.metric_type),
                       FiveDigits(camera.metric),
                       FiveDigits(camera.in_image_fraction),
                       FiveDigits(camera.capture_delay_ms),
                       FiveDigits(camera.depth_valid_fraction),
                       FiveDigits(camera.check_score)});
  }
  PageJson row = {
      episode.key,
      episode.path,
      texts.IndexOf(episode.lab),
      texts.IndexOf(episode.outcome),
      texts.IndexOf(ToString(episode.state)),
      texts.IndexOf(episode.status),
      texts.IndexOf(episode.message),
      texts.IndexOf(episode.stage),
      texts.IndexOf(episode.task),
      episode.attempts,
      is_timed ? PageJson(seconds(episode.started_unix_ms - base_unix_ms)) : PageJson(nullptr),
      is_timed ? PageJson(seconds(episode.finished_unix_ms - episode.started_unix_ms))
               : PageJson(nullptr),
      episode.output_bytes,
      std::move(stages),
      episode.steps ? PageJson(*episode.steps) : PageJson(nullptr),
      FiveDigits(episode.fps),
      episode.path_length_mm ? FiveDigits(*episode.path_length_mm / 1000) : PageJson(nullptr),
      FiveDigits(episode.idle_fraction),
      std::move(warnings),
      FiveDigits(episode.score),
      std::move(cameras)};
  DF_CHECK(row.size() == kReportColumns.size(), "{}", row.size());
  return row;
}

PageJson DocumentOf(const ReportData& data, std::size_t most_text_bytes) {
  std::int64_t base_unix_ms = std::numeric_limits<std::int64_t>::max();
  for (const ReportEpisode& episode : data.episodes) {
    if (episode.started_unix_ms > 0) base_unix_ms = std::min(base_unix_ms, episode.started_unix_ms);
  }
  TextTable texts(most_text_bytes);
  PageJson rows = PageJson::array();
  for (const ReportEpisode& episode : data.episodes) {
    rows.push_back(RowOf(episode, base_unix_ms, texts));
  }
  PageJson distributions = PageJson::array();
  for (const auto& [title, unit, of, histogram] : data.distributions) {
    distributions.push_back({{"title", title},
                             {"unit", unit},
                             {"of", of},
                             {"first", histogram.first},
                             {"step", histogram.step},
                             {"counts", histogram.counts},
                             {"below", histogram.below},
                             {"above", histogram.above},
                             {"n", histogram.count},
                             {"min", histogram.min},
                             {"middle", histogram.median},
                             {"max", histogram.max}});
  }
  PageJson warnings = PageJson::array();
  for (const auto& [code, count] : data.warnings) {
    const std::string& example = data.warning_examples.at(code);
    warnings.push_back({code, count, WithoutMiddle(example, most_text_bytes)});
  }
  PageJson configs = PageJson::array();
  for (const ReportConfig& config : data.configs) {
    configs.push_back({config.json, config.episodes});
  }
  return {{"where", data.where},
          {"runs", data.runs},
          {"settings", data.settings},
          {"notes", data.notes},
          {"score", data.score},
          {"base", base_unix_ms == std::numeric_limits<std::int64_t>::max() ? 0 : base_unix_ms},
          {"warnings", warnings},
          {"configs", configs},
          {"distributions", distributions},
          {"strings", texts.texts()},
          {"columns", kReportColumns},
          {"rows", rows}};
}

std::string FormatSheet(const ReportSheet& sheet, const ReportEpisode& episode) {
  std::string facts;
  const auto add = [&](const std::string& fact) {
    if (!fact.empty()) facts += (facts.empty() ? "" : " · ") + fact;
  };
  add(episode.lab);
  add(episode.outcome);
  if (episode.steps) add(fmt::format("{} step{}", *episode.steps, *episode.steps == 1 ? "" : "s"));
  if (episode.score) add(fmt::format("score {:.2f}", *episode.score));
  add(WithoutMiddle(episode.task, 300));
  const std::string key = EscapeHtml(episode.key);
  return fmt::format(
      "<figure><button type=\"button\" class=\"picture\" aria-pressed=\"false\" "
      "aria-label=\"Enlarge the pictures of {0}\"><img loading=\"lazy\" decoding=\"async\" "
      "width=\"{1}\" height=\"{2}\" alt=\"Four moments of {0}, side by side what its cameras saw, "
      "with "
      "the tracks of both fingers{5}\" src=\"data:image/jpeg;base64,{3}\"></button>\n"
      "<figcaption><button type=\"button\" class=\"word\" data-episode=\"{0}\">{0}</button><br>"
      "{4}</figcaption></figure>\n",
      key,
      sheet.width_px,
      sheet.height_px,
      Base64(sheet.jpeg),
      EscapeHtml(facts),
      sheet.has_depth ? ", and its depth" : "");
}

std::string FormatSheets(const ReportData& data) {
  if (data.sheets.empty()) return "<p class=\"note\">There are none.</p>\n";
  const bool has_depth = std::ranges::any_of(data.sheets, &ReportSheet::has_depth);
  std::string html =
      "<p class=\"note\">Four moments from the first step to the last; of each, its cameras side "
      "by "
      "side. "
      "<span class=\"swatch\" style=\"background:#ff9614\"></span> left finger, <span "
      "class=\"swatch\" style=\"background:#00c8ff\"></span> right finger, <span class=\"swatch\" "
      "style=\"background:#ff00c8\"></span> outside of the picture; violet to yellow is the way of "
      "the gripper.";
  if (has_depth) {
    html += " Depth is beside the picture: yellow is near, dark violet far, hatching none.";
  }
  if (!data.score.empty()) {
    html += fmt::format(" Best and worst are by {}.", EscapeHtml(data.score));
  }
  html += "</p>\n";
  for (const auto& [choice, title] :
       {std::pair("best", "Best"), std::pair("worst", "Worst"), std::pair("random", "Random")}) {
    std::string figures;
    for (const ReportSheet& sheet : data.sheets) {
      if (sheet.choice == choice) figures += FormatSheet(sheet, data.episodes[sheet.episode]);
    }
    if (!figures.empty()) {
      html += fmt::format("<h3>{}</h3>\n<div class=\"sheets{}\">\n{}</div>\n",
                          title,
                          has_depth ? " wide-sheets" : "",
                          figures);
    }
  }
  return html;
}

/// Keeps of each kind as many pictures as there is room for.
///
/// @return how many it left out.
std::size_t LeaveOutSheets(std::size_t room_bytes, std::vector<ReportSheet>& sheets) {
  std::map<std::string, std::size_t> count;
  std::vector<std::pair<std::size_t, std::size_t>> in_turn;  // place within its kind, number
  for (std::size_t i = 0; i < sheets.size(); ++i)
    in_turn.emplace_back(count[sheets[i].choice]++, i);
  std::ranges::sort(in_turn);
  std::vector<bool> is_kept(sheets.size(), false);
  for (const auto& [place, i] : in_turn) {
    const std::size_t size_bytes = (sheets[i].jpeg.size() + 2) / 3 * 4 + kFigure_bytes;
    if (size_bytes > room_bytes) continue;
    room_bytes -= size_bytes;
    is_kept[i] = true;
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < sheets.size(); ++i) {
    if (!is_kept[i]) continue;
    if (kept != i) sheets[kept] = std::move(sheets[i]);
    ++kept;
  }
  const std::size_t left_out = sheets.size() - kept;
  sheets.resize(kept);
  return left_out;
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string html;
  for (const char c : text) {
    switch (c) {
      case '&':
        html += "&amp;";
        break;
      case '<':
        html += "&lt;";
        break;
      case '>':
        html += "&gt;";
        break;
      case '"':
        html += "&quot;";
        break;
      case '\'':
        html += "&#39;";
        break;
      default:
        html += c;
    }
  }
  return html;
}

std::string EscapeJsonForScript(std::string_view json) {
  std::string text;
  text.reserve(json.size());
  for (const char c : json) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

std::string FormatReportPage(ReportData& data) {
  std::size_t most_text_bytes = 0;
  const auto format_data = [&] {
    return EscapeJsonForScript(
        DocumentOf(data, most_text_bytes)
            .dump(-1, ' ', /*ensure_ascii=*/true, PageJson::error_handler_t::replace));
  };
  std::string json;
  for (const std::size_t bytes : kMostText_bytes) {
    most_text_bytes = bytes;
    json = format_data();
    if (json.size() <= kMostData_bytes) break;
  }
  const std::size_t around = sizeof(kReportHtml) + sizeof(kReportCss) + sizeof(kReportJs) +
                             12 * data.where.size() + 2 * kFigure_bytes;
  const std::size_t taken = std::min(json.size() + around, kMostReport_bytes);
  const std::size_t left_out = LeaveOutSheets(kMostReport_bytes - taken, data.sheets);
  const std::size_t notes = data.notes.size();
  if (most_text_bytes < kMostText_bytes[0]) {
    data.notes.push_back(fmt::format(
        "Long texts are shortened to {} bytes, for the page to stay small.", most_text_bytes));
  }
  if (left_out > 0) {
    data.notes.push_back(fmt::format("{} pictures are left out, for the page to stay below {} MB.",
                                     left_out,
                                     kMostReport_bytes / 1'000'000));
  }
  if (data.notes.size() > notes) json = format_data();
  const std::string pictures = FormatSheets(data);
  const std::string where = EscapeHtml(data.where);
  const std::string title = fmt::format("droidflow report: {}", where);
  const std::array<std::pair<std::string_view, std::string_view>, 7> values{
      {{"title", title},
       {"style", kReportCss},
       {"where", where},
       {"pictures", pictures},
       {"version", build_info::kVersion},
       {"data", json},
       {"script", kReportJs}}};
  std::string page;
  std::string_view rest = kReportHtml;
  while (true) {
    const std::size_t begin = rest.find("{{");
    page += rest.substr(0, begin);
    if (begin == std::string_view::npos) return page;
    const std::size_t end = rest.find("}}", begin);
    DF_CHECK(end != std::string_view::npos, "{}", rest);
    const std::string_view name = rest.substr(begin + 2, end - begin - 2);
    const auto value =
        std::ranges::find(values, name, &std::pair<std::string_view, std::string_view>::first);
    DF_CHECK(value != values.end(), "{}", name);
    page += value->second;
    rest.remove_prefix(end + 2);
  }
}

}  // namespace droidflow

#include "droidflow/view/colour_bar.h"

#include "droidflow/view/colour_map.h"

#include <array>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

namespace droidflow {
namespace {

constexpr std::array kTickSteps_mm = {
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000};
constexpr int kLetter_dots = 6;
constexpr Rgb kBarInk{240, 240, 240};

}  // namespace

std::string FormatMetres(int length_mm) { return fmt::format("{:g} m", length_mm / 1000.0); }

void DrawColourBar(const ColourBar& bar, const Box& box, int dot_px, Canvas& canvas) {
  for (int x = 0; x < box.width_px; ++x) {
    const double share = static_cast<double>(x) / (box.width_px - 1);
    canvas.Fill({box.x_px + x, box.y_px, 1, box.height_px},
                ViridisAt(bar.first_share + share * (bar.last_share - bar.first_share)));
  }
  const auto place_px = [&](int length_mm) {
    const double share =
        static_cast<double>(length_mm - bar.first_mm) / (bar.last_mm - bar.first_mm);
    return box.x_px + static_cast<int>(std::lround(share * (box.width_px - 1)));
  };
  const auto draw_tick = [&](int length_mm, std::string_view text) {
    const int x_px = place_px(length_mm);
    const int tick_y_px = box.y_px + box.height_px;
    canvas.Fill({x_px - dot_px / 2, tick_y_px, dot_px, 3 * dot_px}, kBarInk);
    canvas.Write(
        x_px - Canvas::WidthOf(text, dot_px) / 2, tick_y_px + 5 * dot_px, text, dot_px, kBarInk);
  };
  draw_tick(bar.first_mm, FormatMetres(bar.first_mm));
  draw_tick(bar.last_mm, FormatMetres(bar.last_mm));
  // Round numbers between them, two letters apart; a tick alone where an end's number is too close.
  const auto fits = [&](int left_mm, int right_mm, int letters) {
    const int words_px = Canvas::WidthOf(FormatMetres(left_mm), dot_px) / 2 +
                         Canvas::WidthOf(FormatMetres(right_mm), dot_px) / 2;
    return place_px(right_mm) - place_px(left_mm) >= words_px + letters * kLetter_dots * dot_px;
  };
  for (const int step_mm : kTickSteps_mm) {
    const int begin_mm = (bar.first_mm / step_mm + 1) * step_mm;
    if (begin_mm >= bar.last_mm || !fits(begin_mm, begin_mm + step_mm, 2)) continue;
    for (int length_mm = begin_mm; length_mm < bar.last_mm; length_mm += step_mm) {
      const bool has_room = fits(bar.first_mm, length_mm, 1) && fits(length_mm, bar.last_mm, 1);
      draw_tick(length_mm, has_room ? FormatMetres(length_mm) : "");
    }
    break;
  }
}

}  // namespace droidflow

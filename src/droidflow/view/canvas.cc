#include "droidflow/view/canvas.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <utility>

namespace droidflow {
namespace {

constexpr int kWidth_dots = 5;
constexpr int kPitch_dots = 6;

/// Rows from above, the leftmost dot highest; the last two are below the line.
struct Letter {
  char name = 0;
  std::array<std::uint8_t, 9> rows = {};
};

// clang-format off
constexpr std::array kLetters = std::to_array<Letter>({
    {'0', {0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110, 0b00000, 0b00000}},
    {'1', {0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110, 0b00000, 0b00000}},
    {'2', {0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111, 0b00000, 0b00000}},
    {'3', {0b01110, 0b10001, 0b00001, 0b00110, 0b00001, 0b10001, 0b01110, 0b00000, 0b00000}},
    {'4', {0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010, 0b00000, 0b00000}},
    {'5', {0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110, 0b00000, 0b00000}},
    {'6', {0b01110, 0b10000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110, 0b00000, 0b00000}},
    {'7', {0b11111, 0b00001, 0b00010, 0b00100, 0b00100, 0b01000, 0b01000, 0b00000, 0b00000}},
    {'8', {0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110, 0b00000, 0b00000}},
    {'9', {0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00001, 0b01110, 0b00000, 0b00000}},
    {'a', {0b00000, 0b00000, 0b01110, 0b00001, 0b01111, 0b10001, 0b01111, 0b00000, 0b00000}},
    {'b', {0b10000, 0b10000, 0b11110, 0b10001, 0b10001, 0b10001, 0b11110, 0b00000, 0b00000}},
    {'c', {0b00000, 0b00000, 0b01110, 0b10001, 0b10000, 0b10001, 0b01110, 0b00000, 0b00000}},
    {'d', {0b00001, 0b00001, 0b01111, 0b10001, 0b10001, 0b10001, 0b01111, 0b00000, 0b00000}},
    {'e', {0b00000, 0b00000, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110, 0b00000, 0b00000}},
    {'f', {0b00110, 0b01000, 0b11110, 0b01000, 0b01000, 0b01000, 0b01000, 0b00000, 0b00000}},
    {'g', {0b00000, 0b00000, 0b01111, 0b10001, 0b10001, 0b10001, 0b01111, 0b00001, 0b01110}},
    {'h', {0b10000, 0b10000, 0b11110, 0b10001, 0b10001, 0b10001, 0b10001, 0b00000, 0b00000}},
    {'i', {0b00100, 0b00000, 0b01100, 0b00100, 0b00100, 0b00100, 0b01110, 0b00000, 0b00000}},
    {'j', {0b00010, 0b00000, 0b00110, 0b00010, 0b00010, 0b00010, 0b00010, 0b00010, 0b01100}},
    {'k', {0b10000, 0b10000, 0b10010, 0b10100, 0b11000, 0b10100, 0b10010, 0b00000, 0b00000}},
    {'l', {0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110, 0b00000, 0b00000}},
    {'m', {0b00000, 0b00000, 0b11010, 0b10101, 0b10101, 0b10101, 0b10101, 0b00000, 0b00000}},
    {'n', {0b00000, 0b00000, 0b11110, 0b10001, 0b10001, 0b10001, 0b10001, 0b00000, 0b00000}},
    {'o', {0b00000, 0b00000, 0b01110, 0b10001, 0b10001, 0b10001, 0b01110, 0b00000, 0b00000}},
    {'p', {0b00000, 0b00000, 0b11110, 0b10001, 0b10001, 0b10001, 0b11110, 0b10000, 0b10000}},
    {'q', {0b00000, 0b00000, 0b01111, 0b10001, 0b10001, 0b10001, 0b01111, 0b00001, 0b00001}},
    {'r', {0b00000, 0b00000, 0b10110, 0b11001, 0b10000, 0b10000, 0b10000, 0b00000, 0b00000}},
    {'s', {0b00000, 0b00000, 0b01111, 0b10000, 0b01110, 0b00001, 0b11110, 0b00000, 0b00000}},
    {'t', {0b01000, 0b01000, 0b11110, 0b01000, 0b01000, 0b01000, 0b00110, 0b00000, 0b00000}},
    {'u', {0b00000, 0b00000, 0b10001, 0b10001, 0b10001, 0b10001, 0b01111, 0b00000, 0b00000}},
    {'v', {0b00000, 0b00000, 0b10001, 0b10001, 0b10001, 0b01010, 0b00100, 0b00000, 0b00000}},
    {'w', {0b00000, 0b00000, 0b10101, 0b10101, 0b10101, 0b10101, 0b01010, 0b00000, 0b00000}},
    {'x', {0b00000, 0b00000, 0b10001, 0b01010, 0b00100, 0b01010, 0b10001, 0b00000, 0b00000}},
    {'y', {0b00000, 0b00000, 0b10001, 0b10001, 0b10001, 0b10001, 0b01111, 0b00001, 0b01110}},
    {'z', {0b00000, 0b00000, 0b11111, 0b00010, 0b00100, 0b01000, 0b11111, 0b00000, 0b00000}},
    {'.', {0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b01100, 0b01100, 0b00000, 0b00000}},
    {',', {0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b01100, 0b01100, 0b00100, 0b01000}},
    {':', {0b00000, 0b00000, 0b01100, 0b01100, 0b00000, 0b01100, 0b01100, 0b00000, 0b00000}},
    {'-', {0b00000, 0b00000, 0b00000, 0b11111, 0b00000, 0b00000, 0b00000, 0b00000, 0b00000}},
    {'+', {0b00000, 0b00100, 0b00100, 0b11111, 0b00100, 0b00100, 0b00000, 0b00000, 0b00000}},
    {'%', {0b11001, 0b11001, 0b00010, 0b00100, 0b01000, 0b10011, 0b10011, 0b00000, 0b00000}},
    {'/', {0b00001, 0b00001, 0b00010, 0b00100, 0b01000, 0b10000, 0b10000, 0b00000, 0b00000}},
    {' ', {}},
});
// clang-format on
constexpr Letter kUnknown{'?', {0b11111, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b11111}};

const Letter& LetterOf(char name) {
  const auto* const found = std::ranges::find(kLetters, name, &Letter::name);
  return found == kLetters.end() ? kUnknown : *found;
}

}  // namespace

Canvas::Canvas(int width_px, int height_px, Rgb background) : picture_(width_px, height_px) {
  Fill({0, 0, width_px, height_px}, background);
}

void Canvas::Fill(const Box& box, Rgb colour) {
  const int left = std::max(box.x_px, 0);
  const int right = std::min(box.x_px + box.width_px, picture_.width_px());
  const int bottom = std::min(box.y_px + box.height_px, picture_.height_px());
  for (int y = std::max(box.y_px, 0); y < bottom && left < right; ++y) {
    std::fill(picture_.row(y) + left, picture_.row(y) + right, colour);
  }
}

void Canvas::Stroke(Pixel from, Pixel to, double width_px, Rgb colour, double opacity) {
  const double reach_px = width_px / 2 + 1;
  const auto range = [&](double a_px, double b_px, int size_px) {
    const double first = std::max(std::min(a_px, b_px) - reach_px, 0.0);
    const double last = std::min(std::max(a_px, b_px) + reach_px, size_px - 1.0);
    // NaN compares false: an empty range.
    if (!(first <= last)) return std::pair{0, -1};
    return std::pair{static_cast<int>(first), static_cast<int>(last)};
  };
  if (!std::isfinite(from.u_px + from.v_px + to.u_px + to.v_px)) return;
  const auto [left, right] = range(from.u_px, to.u_px, picture_.width_px());
  const auto [top, bottom] = range(from.v_px, to.v_px, picture_.height_px());
  const double along_u = to.u_px - from.u_px;
  const double along_v = to.v_px - from.v_px;
  const double length_squared = along_u * along_u + along_v * along_v;
  for (int y = top; y <= bottom; ++y) {
    for (int x = left; x <= right; ++x) {
      const double u = x - from.u_px;
      const double v = y - from.v_px;
      const double share = length_squared > 0
                               ? std::clamp((u * along_u + v * along_v) / length_squared, 0.0, 1.0)
                               : 0;
      const double distance_px = std::hypot(u - share * along_u, v - share * along_v);
      const double cover = opacity * std::clamp(width_px / 2 + 0.5 - distance_px, 0.0, 1.0);
      if (cover <= 0) continue;
      const auto mix = [&](std::uint8_t under, std::uint8_t over) {
        return static_cast<std::uint8_t>(std::lround(under + cover * (over - under)));
      };
      Rgb& pixel = picture_.at(x, y);
      pixel = {mix(pixel.r, colour.r), mix(pixel.g, colour.g), mix(pixel.b, colour.b)};
    }
  }
}

void Canvas::Paste(RgbView picture, const Box& box) {
  const auto source = [](int i, int from_px, int to_px) {
    return static_cast<int>(std::int64_t{i} * from_px / to_px);
  };
  for (int y = 0; y < box.height_px; ++y) {
    const int to_y = box.y_px + y;
    if (to_y < 0 || to_y >= picture_.height_px()) continue;
    const int top = source(y, picture.height_px, box.height_px);
    const int bottom = std::max(source(y + 1, picture.height_px, box.height_px), top + 1);
    for (int x = 0; x < box.width_px; ++x) {
      const int to_x = box.x_px + x;
      if (to_x < 0 || to_x >= picture_.width_px()) continue;
      const int left = source(x, picture.width_px, box.width_px);
      const int right = std::max(source(x + 1, picture.width_px, box.width_px), left + 1);
      int r = 0;
      int g = 0;
      int b = 0;
      for (int from_y = top; from_y < bottom; ++from_y) {
        for (int from_x = left; from_x < right; ++from_x) {
          const Rgb& pixel = picture.at(from_x, from_y);
          r += pixel.r;
          g += pixel.g;
          b += pixel.b;
        }
      }
      const int count = (bottom - top) * (right - left);
      const auto mean = [&](int sum) {
        return static_cast<std::uint8_t>((sum + count / 2) / count);
      };
      picture_.at(to_x, to_y) = {mean(r), mean(g), mean(b)};
    }
  }
}

void Canvas::Write(int x_px, int y_px, std::string_view text, int dot_px, Rgb colour) {
  for (const char name : text) {
    const Letter& letter = LetterOf(name);
    for (int y = 0; y < kLetterHeight_dots; ++y) {
      for (int x = 0; x < kWidth_dots; ++x) {
        if ((letter.rows[y] >> (kWidth_dots - 1 - x) & 1) == 0) continue;
        Fill({x_px + x * dot_px, y_px + y * dot_px, dot_px, dot_px}, colour);
      }
    }
    x_px += kPitch_dots * dot_px;
  }
}

int Canvas::WidthOf(std::string_view text, int dot_px) {
  if (text.empty()) return 0;
  return (static_cast<int>(text.size()) * kPitch_dots - (kPitch_dots - kWidth_dots)) * dot_px;
}

}  // namespace droidflow

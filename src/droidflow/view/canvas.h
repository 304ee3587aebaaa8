#pragma once

/// A picture to draw boxes, lines, pictures and words on.

#include "droidflow/core/image.h"
#include "droidflow/geometry/projection.h"

#include <string_view>

namespace droidflow {

/// A rectangle; its first column and row, and how many it has.
///
/// Unit  pixels.
struct Box {
  int x_px = 0;
  int y_px = 0;
  int width_px = 0;
  int height_px = 0;
};

/// What lies outside of the picture is left out.
class Canvas {
 public:
  Canvas(int width_px, int height_px, Rgb background);

  void Fill(const Box& box, Rgb colour);

  /// Draws a line with round ends and smooth edges; from a point to itself: a disc.
  ///
  /// @param opacity  0 (nothing) … 1.
  /// Invalid  an end that is NaN: nothing is drawn.
  void Stroke(Pixel from, Pixel to, double width_px, Rgb colour, double opacity = 1);

  /// Draws a picture as large as the box: made smaller by averaging, larger by repeating pixels.
  void Paste(RgbView picture, const Box& box);

  /// Writes one line in letters of 5x7 dots and two more below the line. Small letters, digits and
  /// " .,:-+%/" are there; anything else is written as a box.
  ///
  /// @param x_px, y_px  the upper left of the first letter.
  /// @param dot_px      size of a dot.
  void Write(int x_px, int y_px, std::string_view text, int dot_px, Rgb colour);

  /// Pixels that Write fills, without the blank behind the last letter.
  [[nodiscard]] static int WidthOf(std::string_view text, int dot_px);
  [[nodiscard]] static int LineHeight(int dot_px) { return kLetterHeight_dots * dot_px; }

  [[nodiscard]] RgbImage& picture() { return picture_; }
  [[nodiscard]] const RgbImage& picture() const { return picture_; }

 private:
  static constexpr int kLetterHeight_dots = 9;

  RgbImage picture_;
};

}  // namespace droidflow

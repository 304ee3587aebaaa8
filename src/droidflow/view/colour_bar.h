#pragma once

/// A legend: which colour is how many metres.

#include "droidflow/view/canvas.h"

#include <string>

namespace droidflow {

/// Colours of viridis for lengths from `first_mm`, on the left, to `last_mm`.
struct ColourBar {
  int first_mm = 0;
  int last_mm = 0;         ///< greater than first_mm
  double first_share = 0;  ///< of viridis, as ViridisAt
  double last_share = 1;
};

/// Metres, with as many decimals as a number of millimetres needs: "0.3 m", "1 m".
[[nodiscard]] std::string FormatMetres(int length_mm);

/// Fills the box with the colours and writes numbers below it, at both ends and at round lengths
/// between them; half of a number stands out at each end.
///
/// @param dot_px  of the letters: ticks and numbers take 14 dots below the box.
void DrawColourBar(const ColourBar& bar, const Box& box, int dot_px, Canvas& canvas);

}  // namespace droidflow

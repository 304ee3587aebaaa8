#pragma once

/// Tracks drawn over what a camera saw.

#include "droidflow/geometry/projection.h"
#include "droidflow/view/canvas.h"

#include <array>
#include <vector>

namespace droidflow {

inline constexpr Rgb kLeftFingerColour{255, 150, 20};
inline constexpr Rgb kRightFingerColour{0, 200, 255};
inline constexpr Rgb kOutsideColour{255, 0, 200};
inline constexpr std::array<Rgb, 3> kAxisColours{{{255, 60, 60}, {70, 220, 70}, {90, 120, 255}}};

/// One finger at one moment.
struct FingerOverlay {
  std::vector<Pixel> points;
  std::vector<Pixel> tail;  ///< its middle, at the last moments, the newest last
};

/// What belongs over one picture.
///
/// Unit     pixels of the picture that it is drawn on.
/// Invalid  NaN: not drawn.
struct TrackOverlay {
  FingerOverlay left;
  FingerOverlay right;
  std::vector<Pixel> path;        ///< the gripper's whole way, equal steps apart
  std::vector<Pixel> frame = {};  ///< origin, and the ends of its x, y and z axis; empty: none
};

/// Draws the path in viridis from its start (dark) to its end, tails that fade, points, and axes in
/// red, green and blue. A point outside of the picture becomes a mark at the border next to it.
void DrawOverlay(const TrackOverlay& overlay, Canvas& canvas);

}  // namespace droidflow

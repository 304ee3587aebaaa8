#include "droidflow/view/track_overlay.h"

#include "droidflow/core/check.h"
#include "droidflow/view/colour_map.h"

#include <algorithm>
#include <cmath>

namespace droidflow {
namespace {

constexpr double kWidthOfLine_px = 640;  // of a picture on which lines are as thick as given here
constexpr double kPath_px = 1.5;
constexpr double kTail_px = 3;
constexpr double kPoint_px = 1.2;
constexpr double kAxis_px = 2.5;
constexpr double kMark_px = 4;

void DrawTail(const std::vector<Pixel>& tail, double width_px, Rgb colour, Canvas& canvas) {
  for (std::size_t i = 1; i < tail.size(); ++i) {
    const double age = static_cast<double>(i) / static_cast<double>(tail.size());
    canvas.Stroke(tail[i - 1], tail[i], width_px, colour, age * age);
  }
}

void DrawPoints(const std::vector<Pixel>& points, double scale, Rgb colour, Canvas& canvas) {
  const double last_u = canvas.picture().width_px() - 1;
  const double last_v = canvas.picture().height_px() - 1;
  for (const Pixel& point : points) {
    if (!std::isfinite(point.u_px + point.v_px)) continue;
    const Pixel inside{std::clamp(point.u_px, 0.0, last_u), std::clamp(point.v_px, 0.0, last_v)};
    if (inside.u_px == point.u_px && inside.v_px == point.v_px) {
      canvas.Stroke(point, point, kPoint_px * scale, colour, 0.8);
    } else {
      canvas.Stroke(inside, inside, kMark_px * scale, kOutsideColour);
    }
  }
}

}  // namespace

void DrawOverlay(const TrackOverlay& overlay, Canvas& canvas) {
  DF_CHECK(overlay.frame.empty() || overlay.frame.size() == 4);
  const double scale = std::max(canvas.picture().width_px() / kWidthOfLine_px, 0.5);
  const std::vector<Pixel>& path = overlay.path;
  for (std::size_t i = 1; i < path.size(); ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(path.size() - 1);
    canvas.Stroke(path[i - 1], path[i], kPath_px * scale, ViridisAt(share));
  }
  DrawTail(overlay.left.tail, kTail_px * scale, kLeftFingerColour, canvas);
  DrawTail(overlay.right.tail, kTail_px * scale, kRightFingerColour, canvas);
  DrawPoints(overlay.left.points, scale, kLeftFingerColour, canvas);
  DrawPoints(overlay.right.points, scale, kRightFingerColour, canvas);
  for (std::size_t axis = 0; axis + 1 < overlay.frame.size(); ++axis) {
    canvas.Stroke(
        overlay.frame[0], overlay.frame[axis + 1], kAxis_px * scale, kAxisColours.at(axis));
  }
}

}  // namespace droidflow

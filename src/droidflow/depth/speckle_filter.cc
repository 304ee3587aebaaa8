#include "droidflow/depth/speckle_filter.h"

#include "droidflow/depth/matcher.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace droidflow {

std::int32_t SpeckleFilter::Find(std::int32_t run) {
  auto at = [this](std::int32_t index) -> Run& { return runs_[static_cast<std::size_t>(index)]; };
  while (at(run).parent != run) {
    at(run).parent = at(at(run).parent).parent;
    run = at(run).parent;
  }
  return run;
}

void SpeckleFilter::Join(std::int32_t a, std::int32_t b) {
  a = Find(a);
  b = Find(b);
  if (a == b) return;
  Run* larger = &runs_[static_cast<std::size_t>(a)];
  Run* smaller = &runs_[static_cast<std::size_t>(b)];
  if (larger->area_px < smaller->area_px) std::swap(larger, smaller);
  larger->area_px += smaller->area_px;
  smaller->parent = larger->parent;
}

void SpeckleFilter::Apply(int area_px, int range_px16, ImageView<std::int16_t> disparity_px16) {
  if (area_px <= 0) return;
  const int width_px = disparity_px16.width_px;
  const auto width = static_cast<std::size_t>(width_px);
  runs_.clear();
  runs_.reserve(width * static_cast<std::size_t>(disparity_px16.height_px));
  row_.resize(width);
  above_.resize(width);
  for (int y = 0; y < disparity_px16.height_px; ++y) {
    const std::int16_t* const here = disparity_px16.row(y);
    const std::int16_t* const above = y > 0 ? disparity_px16.row(y - 1) : nullptr;
    int x = 0;
    while (x < width_px) {
      if (here[x] < 0) {
        ++x;
        continue;
      }
      const auto run = static_cast<std::int32_t>(runs_.size());
      const int begin = x;
      do {
        row_[static_cast<std::size_t>(x)] = run;
        ++x;
      } while (x < width_px && here[x] >= 0 && std::abs(here[x] - here[x - 1]) <= range_px16);
      runs_.push_back({run, x - begin, x - begin});
      if (above == nullptr) continue;
      std::int32_t joined = -1;
      for (int i = begin; i < x; ++i) {
        if (above[i] < 0 || std::abs(here[i] - above[i]) > range_px16) continue;
        const std::int32_t other = above_[static_cast<std::size_t>(i)];
        if (other == joined) continue;
        Join(run, other);
        joined = other;
      }
    }
    std::swap(row_, above_);
  }
  std::size_t next = 0;
  for (int y = 0; y < disparity_px16.height_px; ++y) {
    std::int16_t* const here = disparity_px16.row(y);
    int x = 0;
    while (x < width_px) {
      if (here[x] < 0) {
        ++x;
        continue;
      }
      const auto run = static_cast<std::int32_t>(next);
      const int end = x + runs_[next++].length_px;
      if (runs_[static_cast<std::size_t>(Find(run))].area_px <= area_px) {
        std::fill(here + x, here + end, kNoDisparity_px16);
      }
      x = end;
    }
  }
}

}  // namespace droidflow

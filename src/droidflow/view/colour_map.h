#pragma once

/// Numbers as colours.

#include "droidflow/core/image.h"

namespace droidflow {

/// A colour of viridis: equal steps look equally large, lightness rises throughout, and none of its
/// colours is gray.
///
/// Source  viridis by Nathaniel Smith and Stéfan van der Walt, as Matplotlib has it; released under
///         CC0. 33 of its 256 colours, which are joined by straight lines: within 2 levels of it.
///
/// @param share  0 (dark violet) … 1 (yellow); anything beyond gives the colour at that end, NaN
///               the first.
[[nodiscard]] Rgb ViridisAt(double share);

}  // namespace droidflow

#include "droidflow/view/colour_map.h"

#include <array>
#include <cmath>
#include <cstdint>

namespace droidflow {
namespace {

constexpr std::array<Rgb, 33> kViridis = {{
    {68, 1, 84},    {71, 13, 96},   {72, 24, 106},  {72, 35, 116},  {71, 45, 123},  {69, 54, 129},
    {66, 64, 134},  {63, 73, 137},  {59, 82, 139},  {55, 90, 141},  {51, 99, 141},  {47, 106, 142},
    {44, 114, 142}, {41, 122, 142}, {38, 129, 142}, {35, 137, 142}, {33, 144, 140}, {31, 152, 139},
    {31, 159, 136}, {33, 166, 133}, {40, 174, 128}, {49, 181, 123}, {62, 188, 116}, {76, 194, 108},
    {93, 201, 99},  {110, 206, 88}, {130, 211, 76}, {150, 216, 63}, {171, 220, 50}, {192, 223, 36},
    {213, 226, 26}, {234, 229, 26}, {253, 231, 37},
}};

}  // namespace

Rgb ViridisAt(double share) {
  if (!(share > 0)) return kViridis.front();
  if (share >= 1) return kViridis.back();
  const double place = share * static_cast<double>(kViridis.size() - 1);
  const auto index = static_cast<std::size_t>(place);
  const double weight = place - static_cast<double>(index);
  const Rgb& from = kViridis[index];
  const Rgb& to = kViridis[index + 1];
  const auto between = [&](std::uint8_t a, std::uint8_t b) {
    return static_cast<std::uint8_t>(std::lround(a + weight * (b - a)));
  };
  return {between(from.r, to.r), between(from.g, to.g), between(from.b, to.b)};
}

}  // namespace droidflow

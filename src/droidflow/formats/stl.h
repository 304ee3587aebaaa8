#pragma once

/// STL meshes, binary and ASCII.

#include "droidflow/core/result.h"

#include <array>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace droidflow {

/// One facet. STL names no unit: whoever knows the file knows it.
struct StlTriangle {
  std::array<std::array<float, 3>, 3> vertices{};  ///< counter-clockwise seen from outside
  std::array<float, 3> normal{};  ///< as in the file: often zero, never to be relied on
};

/// Reads a mesh from the bytes of a file.
///
/// A file is binary when its size is the one that its triangle count asks for, whatever its first
/// word: many binary files start with "solid".
///
/// Invalid  a vertex that is not finite is refused; a normal is not looked at.
/// @param name  what messages call it.
[[nodiscard]] Result<std::vector<StlTriangle>> ParseStl(std::span<const std::byte> bytes,
                                                        std::string_view name);

/// Reads an STL file.
[[nodiscard]] Result<std::vector<StlTriangle>> ReadStl(const std::filesystem::path& path);

}  // namespace droidflow

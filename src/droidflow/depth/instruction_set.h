#pragma once

#include <string_view>

namespace droidflow {

/// The instruction set that depth is computed with on this machine's processor, as "AVX2". Results
/// do not depend on it.
[[nodiscard]] std::string_view InstructionSet();

}  // namespace droidflow

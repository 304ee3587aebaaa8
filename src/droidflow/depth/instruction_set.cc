#include "droidflow/depth/instruction_set.h"

#include <hwy/highway.h>

namespace droidflow {

std::string_view InstructionSet() {
  // Of those that there is code for and that the processor has, the lowest bit is the best.
  const auto usable = hwy::SupportedTargets() & HWY_TARGETS;
  return hwy::TargetName(usable & -usable);
}

}  // namespace droidflow

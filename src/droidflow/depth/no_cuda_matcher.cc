#include "droidflow/depth/matcher_internal.h"

namespace droidflow {

std::string WhyNoCuda() { return "this build has no CUDA (DROIDFLOW_WITH_CUDA)"; }

int CountGpus() { return 0; }

Result<std::unique_ptr<Matcher>> MakeCudaMatcher(const MatcherOptions& /*options*/) {
  return Fail(ErrorKind::kUnsupported, "{}", WhyNoCuda());
}

}  // namespace droidflow

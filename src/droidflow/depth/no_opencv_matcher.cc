#include "droidflow/depth/matcher_internal.h"

namespace droidflow {

std::string WhyNoOpencv() {
  return "this build has no OpenCV calib3d (Debian: libopencv-calib3d-dev)";
}

Result<std::unique_ptr<Matcher>> MakeOpencvMatcher(const MatcherOptions& /*options*/) {
  return Fail(ErrorKind::kUnsupported, "{}", WhyNoOpencv());
}

}  // namespace droidflow

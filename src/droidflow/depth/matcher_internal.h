#pragma once

/// One maker per backend. Each is in a file of its own; `no_<backend>_matcher.cc` stands in where a
/// build has no such backend.

#include "droidflow/depth/matcher.h"

#include <memory>
#include <string>

namespace droidflow {

/// Why a backend cannot be used here; empty: it can.
[[nodiscard]] std::string WhyNoCuda();
[[nodiscard]] std::string WhyNoOpencv();

/// Options are checked, and the backend is there.
[[nodiscard]] Result<std::unique_ptr<Matcher>> MakeReferenceMatcher(const MatcherOptions& options);
[[nodiscard]] Result<std::unique_ptr<Matcher>> MakeCpuMatcher(const MatcherOptions& options);
[[nodiscard]] Result<std::unique_ptr<Matcher>> MakeCudaMatcher(const MatcherOptions& options);
[[nodiscard]] Result<std::unique_ptr<Matcher>> MakeOpencvMatcher(const MatcherOptions& options);

/// The options of the matching at half size (docs/matching.md).
[[nodiscard]] MatcherOptions AtHalfSize(MatcherOptions options);

/// kUsage for pictures of different size or without pixels.
[[nodiscard]] Status CheckPair(GrayView left, GrayView right);

}  // namespace droidflow

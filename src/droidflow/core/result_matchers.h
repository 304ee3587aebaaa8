#pragma once

/// GoogleMock matchers for Result and Status. Test code only.

#include "droidflow/core/result.h"

#include <ostream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace droidflow {

inline std::ostream& operator<<(std::ostream& os, const Error& error) {
  return os << ToString(error.kind) << " error, status '" << error.status << "': " << error.message;
}

inline std::ostream& operator<<(std::ostream& os, ErrorKind kind) { return os << ToString(kind); }

MATCHER(IsOk, "is a value") {
  if (arg.has_value()) return true;
  *result_listener << arg.error();
  return false;
}

/// FailsWith(ErrorKind::kInvalidData, HasSubstr("have 5"))
MATCHER_P2(FailsWith, kind, message_matcher, "fails with that kind and message") {
  if (arg.has_value()) {
    *result_listener << "it holds a value";
    return false;
  }
  *result_listener << arg.error();
  return arg.error().kind == kind &&
         ::testing::Value(arg.error().message, ::testing::Matcher<std::string>(message_matcher));
}

/// FailsAs("bad_trajectory", HasSubstr("have 5"))
MATCHER_P2(FailsAs, status, message_matcher, "fails with that status and message") {
  if (arg.has_value()) {
    *result_listener << "it holds a value";
    return false;
  }
  *result_listener << arg.error();
  return arg.error().status == status &&
         ::testing::Value(arg.error().message, ::testing::Matcher<std::string>(message_matcher));
}

}  // namespace droidflow

#include "droidflow/core/check.h"

#include <cstdio>
#include <cstdlib>

namespace droidflow {

void CheckFailed(const char* condition, const char* file, int line, std::string_view message) {
  fmt::print(stderr, "droidflow: {}:{}: check failed: {} {}\n", file, line, condition, message);
  std::fflush(stderr);
  std::abort();
}

}  // namespace droidflow

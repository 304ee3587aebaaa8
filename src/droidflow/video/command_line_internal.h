#pragma once

/// Other programs as peers of the tests: FFmpeg's own, where they are installed.

#include "droidflow/core/check.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

namespace droidflow {

inline bool HasProgram(const std::string& name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): tests have one thread
  return std::system(("command -v " + name + " >/dev/null").c_str()) == 0;
}

/// What a command of the shell prints; one that ends with an error fails the test.
inline std::string OutputOf(const std::string& command) {
  FILE* const pipe = popen(command.c_str(), "r");
  DF_CHECK(pipe != nullptr, "cannot start {}", command);
  std::string output;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
    output.push_back(static_cast<char>(c));
  }
  EXPECT_EQ(pclose(pipe), 0) << command << "\n" << output;
  return output;
}

}  // namespace droidflow

#define DF_NEEDS_PROGRAM(name) \
  if (!::droidflow::HasProgram(name)) GTEST_SKIP() << "needs " << (name)

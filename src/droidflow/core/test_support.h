#pragma once

/// What tests share: a folder that removes itself, and the test data that is not part of the
/// project.

#include "droidflow/core/check.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace droidflow {

/// A folder of its own for a test, removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "droidflow-test-XXXXXX").string();
    DF_CHECK(mkdtemp(pattern.data()) != nullptr, "cannot make {}", pattern);
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(const std::filesystem::path& name) const {
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

/// Where the shared test data lies, e.g. SharedPath("data/zed_conf").
inline std::filesystem::path SharedPath(const std::filesystem::path& relative) {
  return std::filesystem::path(DROIDFLOW_SHARED_DIR) / relative;
}

/// What a script prints under the distribution's Python, which has NumPy, SciPy and h5py: a peer to
/// compare with. A script that ends with an error fails the test.
inline std::string RunPython(const std::string& script) {
  const TemporaryDirectory directory;
  const std::filesystem::path file = directory / "script.py";
  std::ofstream(file) << script;
  FILE* const pipe = popen((DROIDFLOW_PYTHON " '" + file.string() + "' 2>&1").c_str(), "r");
  DF_CHECK(pipe != nullptr, "cannot start {}", DROIDFLOW_PYTHON);
  std::string output;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe))
    output.push_back(static_cast<char>(c));
  EXPECT_EQ(pclose(pipe), 0) << script << output;
  return output;
}

/// The numbers that a script prints, and nothing but numbers.
inline std::vector<double> NumbersFromPython(const std::string& script) {
  std::istringstream output(RunPython(script));
  std::vector<double> numbers;
  for (double number = 0; output >> number;) numbers.push_back(number);
  EXPECT_TRUE(output.eof()) << "a word that is no number: " << output.str();
  return numbers;
}

inline bool IsCi() { return std::getenv("CI") != nullptr; }  // NOLINT(concurrency-mt-unsafe)

}  // namespace droidflow

/// First line of a test that needs shared data: skips in a user's clone, fails where CI is set.
#define DF_NEEDS_SHARED(relative)                                         \
  do {                                                                    \
    if (!std::filesystem::exists(::droidflow::SharedPath(relative))) {    \
      if (::droidflow::IsCi()) {                                          \
        FAIL() << "missing in CI: " << ::droidflow::SharedPath(relative); \
      }                                                                   \
      GTEST_SKIP() << "needs test data that is not part of the project: " \
                   << ::droidflow::SharedPath(relative);                  \
    }                                                                     \
  } while (false)

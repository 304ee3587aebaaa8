#pragma once

/// tests/bucket_server in a process of its own.

#include "droidflow/core/check.h"
#include "droidflow/core/files.h"
#include "droidflow/core/result_matchers.h"
#include "droidflow/core/test_support.h"
#include "droidflow/transfer/http.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace droidflow {

/// Serves the files of a folder of its own as those of any bucket.
class BucketTestServer {
 public:
  BucketTestServer() {
    const char* const script = std::getenv("DROIDFLOW_BUCKET_SERVER");
    if (script == nullptr) return;
    int ends[2] = {};
    DF_CHECK(pipe2(ends, O_CLOEXEC) == 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      execlp(DROIDFLOW_PYTHON, DROIDFLOW_PYTHON, script, folder_.path().c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    FILE* const output = fdopen(ends[0], "r");
    for (int c = std::fgetc(output); c != EOF && c != '\n'; c = std::fgetc(output)) {
      url_ += static_cast<char>(c);
    }
    std::fclose(output);
  }
  BucketTestServer(const BucketTestServer&) = delete;
  BucketTestServer& operator=(const BucketTestServer&) = delete;
  ~BucketTestServer() {
    if (pid_ <= 0) return;
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }

  [[nodiscard]] bool runs() const { return !url_.empty(); }
  [[nodiscard]] const std::string& url() const { return url_; }

  void Put(const std::string& name, const std::string& content) const {
    ASSERT_THAT(WriteFile(folder_ / name, content), IsOk());
  }
  /// Adds a rule, in JSON; see tests/bucket_server.
  void Fault(const std::string& rule) const {
    EXPECT_TRUE(Control("POST", "faults", rule).ok()) << rule;
  }
  /// What was asked for, in JSON.
  [[nodiscard]] std::string Requests() const { return Control("GET", "requests", {}).body; }

 private:
  [[nodiscard]] HttpResponse Control(const std::string& method,
                                     const std::string& verb,
                                     const std::string& body) const {
    HttpClient client({.origin = OriginOf(url_).value()});
    return client
        .Send({.method = method, .url = url_ + "/__control__/" + verb, .body = TextBody(body)})
        .value();
  }

  const TemporaryDirectory folder_;
  pid_t pid_ = 0;
  std::string url_;
};

}  // namespace droidflow
